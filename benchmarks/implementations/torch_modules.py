"""torch's modules and functions, put together as in a model: nn.LayerNorm, linear, heads by view and transpose, cross_entropy."""
# ruff: noqa: ANN001, ANN201, ANN202

import torch
from torch import nn
from torch.nn import functional

__toise__ = {"arrays": "torch", "dtypes": ["float32", "float64"]}


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """The fused function, with one mask for both reasons to hide a key."""
    if k.shape[-2] != v.shape[-2]:
        raise ValueError("k and v have different numbers of rows")
    if causal:
        allowed = causal_mask(q.shape[-2], k.shape[-2]).to(q.device)
        mask = allowed if mask is None else mask & allowed
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Project with one linear each, view as heads, transpose, attend, transpose back, and project."""
    if not len(w_q) == len(w_k) == len(w_v):
        raise ValueError("the weights have different numbers of heads")
    q, k, v = (_heads(functional.linear(x, w.transpose(1, 2).flatten(0, 1)), len(w)) for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    joined = attention(q, k, v, mask=None if mask is None else mask.unsqueeze(-3), causal=causal)
    return functional.linear(joined.transpose(-2, -3).flatten(-2), w_o.T)


def _heads(rows, h):
    return rows.unflatten(-1, (h, -1)).transpose(-2, -3)  # [..., h, n, d]


def feed_forward(x, w1, b1, w2, b2):
    """A Sequential of two Linear modules that hold these very weights."""
    first, second = _linear(w1, b1), _linear(w2, b2)
    with torch.no_grad():
        return nn.Sequential(first, nn.ReLU(), second)(x)


def _linear(w, b):
    if b.shape != w.shape[1:]:
        raise ValueError("a bias needs one number for each column")
    module = nn.Linear(*w.shape, device="meta")
    module.weight, module.bias = nn.Parameter(w.T), nn.Parameter(b)
    return module


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """nn.LayerNorm with these parameters."""
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError("gamma and beta need one number for each feature")
    module = nn.LayerNorm(x.shape[-1], eps=eps, device="meta")
    module.weight, module.bias = nn.Parameter(gamma), nn.Parameter(beta)
    with torch.no_grad():
        return module(x)


def residual(x, sublayer):
    """torch.add."""
    output = sublayer(x)
    if output.shape != x.shape:
        raise ValueError("a sublayer keeps the shape")
    return torch.add(x, output)


def causal_mask(n, m=None):
    """From indices: the upper triangle is cleared."""
    m = n if m is None else m
    mask = torch.ones(n, m, dtype=torch.bool)
    mask[tuple(torch.triu_indices(n, m, offset=m - n + 1))] = False
    return mask


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Bernoulli draws from matrices of probabilities: 80 % of the selected, then half of the others."""
    draw = torch.Generator().manual_seed(seed)
    chance = torch.full(tokens.shape, float(rate))
    chance.masked_fill_(torch.isin(tokens, torch.tensor(list(special_ids), dtype=torch.int64)), 0.0)
    selected = torch.bernoulli(chance, generator=draw).bool()
    hidden = torch.bernoulli(torch.full(tokens.shape, 0.8), generator=draw).bool() & selected
    changed = torch.bernoulli(torch.full(tokens.shape, 0.5), generator=draw).bool() & selected & ~hidden
    random = torch.randint(vocab_size, tokens.shape, generator=draw)
    return torch.where(changed, random, tokens.masked_fill(hidden, mask_id)), selected


def mlm_loss(logits, labels, selected):
    """cross_entropy over classes in the second place, with -100 where nothing is asked for."""
    if labels.shape != logits.shape[:-1] or selected.shape != logits.shape[:-1]:
        raise ValueError("one label and one truth value for each row of logits")
    return functional.cross_entropy(logits.flatten(0, -2), labels.masked_fill(~selected, -100).flatten())


def sequence_log_prob(logits, tokens):
    """Minus the unreduced cross-entropy of the next tokens, summed."""
    if tokens.shape != logits.shape[:-1]:
        raise ValueError("one token for each row of logits")
    asked, labels = logits[..., :-1, :], tokens[..., 1:]
    losses = functional.cross_entropy(asked.flatten(0, -2), labels.flatten(), reduction="none")
    return -losses.view(labels.shape).sum(dim=-1)
