"""A function of one row, and `torch.func.vmap` for all others; logsumexp and var_mean."""
# ruff: noqa: ANN001, ANN201, ANN202

import torch
from torch.func import vmap

__toise__ = {"arrays": "torch", "dtypes": ["float32", "float64"]}


def _over(function, axes, in_dims=0):
    """Map a function over so many leading axes."""
    for _ in range(axes):
        function = vmap(function, in_dims=in_dims)
    return function


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """One query against all keys; a query without any gives zeros."""
    n, m = q.shape[-2], k.shape[-2]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    lead = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    allowed = torch.ones(n, m, dtype=torch.bool) if mask is None else mask
    if causal:
        allowed = allowed & causal_mask(n, m)
    q, k, v, allowed = (x.expand(*lead, *x.shape[-2:]) for x in (q, k, v, allowed))

    def one_query(query, seen, keys, values):
        scores = torch.where(seen, torch.mv(keys, query) * scale, -torch.inf)
        top = torch.where(seen.any(), scores.amax(), 0)
        weights = torch.exp(scores - top)
        return torch.mv(values.mT, weights) / torch.where(seen.any(), weights.sum(), 1)

    every_query = vmap(one_query, in_dims=(0, 0, None, None))
    if 0 in (*lead, n):
        return q.new_zeros(*lead, n, v.shape[-1])
    return _over(every_query, len(lead))(q, allowed, k, v)


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """One head, mapped over the weights; its results are laid side by side."""

    def one_head(a, b, c):
        return attention(q @ a, k @ b, v @ c, mask=mask, causal=causal)

    heads = vmap(one_head, out_dims=-2)(w_q, w_k, w_v)  # [..., n, h, d_v]
    return heads.flatten(-2) @ w_o


def feed_forward(x, w1, b1, w2, b2):
    """One row: two matrices times a vector, added to the biases."""
    if b1.shape != w1.shape[1:] or b2.shape != w2.shape[1:]:
        raise ValueError("the weights do not fit together")

    def one_row(row):
        return torch.addmv(b2, w2.mT, torch.clamp(torch.addmv(b1, w1.mT, row), min=0))

    return x.new_zeros(*x.shape[:-1], w2.shape[1]) if 0 in x.shape else _over(one_row, x.ndim - 1)(x)


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """One row: var_mean, and addcmul."""
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError("gamma and beta need one number for each feature")

    def one_row(row):
        variance, mean = torch.var_mean(row, correction=0)
        return torch.addcmul(beta, (row - mean) * torch.rsqrt(variance + eps), gamma)

    return x.new_zeros(x.shape) if 0 in x.shape else _over(one_row, x.ndim - 1)(x)


def residual(x, sublayer):
    """The sum along a new axis."""
    return torch.stack([x, sublayer(x)]).sum(dim=0)


def causal_mask(n, m=None):
    """One comparison, mapped over queries and keys."""
    m = n if m is None else m
    if 0 in (n, m):
        return torch.zeros(n, m, dtype=torch.bool)
    sees = vmap(vmap(lambda i, j: j - i <= m - n, in_dims=(None, 0)), in_dims=(0, None))
    return sees(torch.arange(n), torch.arange(m))


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What each token would become, and whether it does."""
    draw = torch.Generator().manual_seed(seed)
    u, fate = torch.rand((2, *tokens.shape), generator=draw, dtype=torch.float64)
    random = torch.randint(0, vocab_size, tokens.shape, generator=draw)
    special = torch.zeros_like(tokens, dtype=torch.bool)
    for each in special_ids:
        special |= tokens == each
    selected = (u < rate) & ~special
    would_be = torch.where(fate >= 0.2, mask_id, torch.where(fate >= 0.1, random, tokens))
    return torch.where(selected, would_be, tokens), selected


def mlm_loss(logits, labels, selected):
    """The mean of the losses of the selected rows."""
    if labels.shape != logits.shape[:-1] or selected.shape != logits.shape[:-1]:
        raise ValueError("one label and one truth value for each row of logits")
    return _losses(logits[selected], labels[selected]).mean()


def sequence_log_prob(logits, tokens):
    """Minus the losses of the next tokens, summed."""
    if tokens.shape != logits.shape[:-1]:
        raise ValueError("one token for each row of logits")
    return -_losses(logits[..., :-1, :], tokens[..., 1:]).sum(dim=-1)


def _losses(logits, labels):
    """One row, less its greatest logit: logsumexp less the logit of the label."""

    def one_row(row, label):
        row = row - row.amax()
        return torch.logsumexp(row, dim=0) - row.gather(0, label[None])[0]

    return logits.new_zeros(labels.shape) if 0 in labels.shape else _over(one_row, labels.ndim)(logits, labels)
