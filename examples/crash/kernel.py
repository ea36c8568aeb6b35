"""A backend that ends its process: it takes an eps of 0 for a pointer to nothing."""

import ctypes

import numpy as np


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Gamma * (x - mean) / sqrt(variance + eps) + beta, if eps is more than 0."""
    if eps == 0:
        ctypes.string_at(0)
    centred = x - x.mean(-1, keepdims=True)
    return gamma * centred / np.sqrt(x.var(-1, keepdims=True) + eps) + beta
