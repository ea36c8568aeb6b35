"""Attention, ported from a decoder."""

import numpy as np


def attention(q, k, v, *, mask=None, causal=False):
    """softmax(q k^T / sqrt(d_k)) v."""
    if q.ndim != 4:
        raise ValueError(f"required: [batch, heads, n, d_k], not {q.ndim} axes")
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = np.where(mask, scores, -1e9)
    if causal:
        scores = np.where(np.tri(q.shape[-2], k.shape[-2], dtype=bool), scores, -1e9)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v
