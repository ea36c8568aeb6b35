"""Attention without the matrix of all scores: the keys come in blocks, and the softmax is taken as they come."""

import numpy as np


def blockwise_attention(q, k, v, mask, scale, block=16):
    """Return softmax(scale q kᵀ) v over the keys that the mask allows; a query without any gets zeros.

    q, k, v  [..., n, d_k], [..., m, d_k], [..., m, d_v]
    mask     boolean, [..., n, m], or None for all keys
    """
    peak = np.full((*q.shape[:-1], 1), -np.inf, q.dtype)
    total = np.zeros_like(peak)
    result = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    for start in range(0, k.shape[-2], block):
        keys = slice(start, start + block)
        scores = q @ k[..., keys, :].swapaxes(-1, -2) * q.dtype.type(scale)
        if mask is not None:
            scores = np.where(mask[..., keys], scores, -np.inf)
        highest = np.maximum(peak, scores.max(axis=-1, keepdims=True))
        level = np.where(np.isneginf(highest), 0, highest)  # of a row without a key so far
        weights, kept = np.exp(scores - level), np.exp(peak - level)
        total = total * kept + weights.sum(axis=-1, keepdims=True)
        result = result * kept + weights @ v[..., keys, :]
        peak = highest
    return result / np.where(total == 0, 1, total)
