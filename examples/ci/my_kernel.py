"""Layer normalisation in blocks of two features, which forgets the last feature of an odd row: read docs/en/test/ci.md."""

import numpy as np


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Gamma * (x - mean) / sqrt(variance + eps) + beta, of whole blocks."""
    blocks = x[..., : max(x.shape[-1] // 2 * 2, 1)]
    centred = x - blocks.mean(-1, keepdims=True)
    return gamma * centred / np.sqrt(blocks.var(-1, keepdims=True) + eps) + beta
