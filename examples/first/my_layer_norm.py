"""Layer normalisation, ported from a model in PyTorch."""

import numpy as np


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Gamma * (x - mean) / sqrt(variance + eps) + beta."""
    mean = x.mean(axis=-1, keepdims=True)
    std = x.std(axis=-1, keepdims=True, ddof=1)
    return gamma * (x - mean) / np.sqrt(std**2 + eps) + beta
