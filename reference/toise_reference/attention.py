"""ATT · Attention: every query takes a weighted mean of the values.  Read with spec/toise_spec/attention.md."""

import math

import numpy as np

from toise_reference.domain import checked


@checked
def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """Compare each query with the keys, and mix the values in proportion.

        softmax(scale * q k^T) v                                    (ATT-1)

    q      [..., n, d_k]   queries
    k      [..., m, d_k]   keys
    v      [..., m, d_v]   values
    mask   [..., n, m]     bool  True = may attend
    causal flag            query i sees the keys j <= i + (m - n)
    scale  number          1 / sqrt(d_k) unless given
    ->     [..., n, d_v]

    Raises ValueError or TypeError where the arguments do not fit together.

    Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762), section 3.2.1.
    """
    n, m, d_k = q.shape[-2], k.shape[-2], q.shape[-1]
    allowed = np.ones((n, m), bool) if mask is None else mask           # [..., n, m]
    if causal:
        allowed = allowed & np.tril(np.ones((n, m), bool), k=m - n)     # [..., n, m]  ATT-14: aligned bottom-right
    if scale is None:
        scale = 1 / math.sqrt(d_k)
    scores = scale * (q @ k.swapaxes(-1, -2))                           # [..., n, m]
    weights = softmax(np.where(allowed, scores, -np.inf))               # [..., n, m]
    return weights @ v                                                  # [..., n, d_v]


def softmax(scores):
    """Turn each row of scores into weights that sum to one; a row of -inf alone is all zeros (ATT-18).

        weights_j = exp(score_j - top) / sum_i exp(score_i - top)

    scores  [..., n, m]   any real numbers, -inf for a key that may not be attended to
    ->      [..., n, m]   probabilities
    """
    lowest = np.finfo(scores.dtype).min
    top = scores.max(axis=-1, keepdims=True, initial=lowest)            # [..., n, 1]  ATT-11: exp cannot overflow
    parts = np.exp(scores - top)                                        # [..., n, m]
    total = parts.sum(axis=-1, keepdims=True)                           # [..., n, 1]
    return parts / np.where(total > 0, total, 1)                        # [..., n, m]
