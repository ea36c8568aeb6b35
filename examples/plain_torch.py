"""Attention and layer_norm in plain torch, with what they declare: `toise check examples/plain_torch.py`."""

import torch

__toise__ = {
    "arrays": "torch",
    "dtypes": ["float32", "float64"],
    # softmax over a row of -inf alone is NaN in torch.
    "attention": {"empty_row": "nan"},
}


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """softmax(scale * q k^T) v."""
    n, m = q.shape[-2], k.shape[-2]
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    if causal:
        later = torch.ones(n, m, dtype=torch.bool, device=q.device).triu(m - n + 1)
        scores = scores.masked_fill(later, -torch.inf)
    return scores.softmax(dim=-1) @ v


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """gamma * (x - mean) / sqrt(variance + eps) + beta."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return gamma * centred / (variance + eps).sqrt() + beta
