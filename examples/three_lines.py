"""Attention in three lines of NumPy: no mask, no causal order, no scale, and parameters of its own names.

What it lacks is NOT PROVIDED, and what it has is judged: `toise check examples/three_lines.py` passes.
"""

import numpy as np


def attention(queries, keys, values):
    """softmax(queries keys^T / sqrt(d_k)) values."""
    scores = queries @ keys.swapaxes(-1, -2) / keys.shape[-1] ** 0.5
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ values
