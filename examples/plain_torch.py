"""All eight concepts in plain torch, with what they declare: `toise check examples/plain_torch.py` passes."""

import torch

__toise__ = {
    "arrays": "torch",
    "dtypes": ["float32", "float64"],
    # softmax over a row of -inf alone is NaN in torch.
    "attention": {"empty_row": "nan"},
    "multi_head_attention": {"empty_row": "nan"},
}


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """softmax(scale * q k^T) v."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    if causal:
        scores = scores.masked_fill(~causal_mask(q.shape[-2], k.shape[-2]).to(q.device), -torch.inf)
    return scores.softmax(dim=-1) @ v


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """All heads at once, on an axis of their own: [..., h, n, d]."""
    q, k, v = (x.unsqueeze(-3) @ w for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    mask = None if mask is None else mask.unsqueeze(-3)
    heads = attention(q, k, v, mask=mask, causal=causal)
    return heads.transpose(-3, -2).flatten(-2) @ w_o


def feed_forward(x, w1, b1, w2, b2):
    """relu(x w1 + b1) w2 + b2."""
    return (x @ w1 + b1).relu() @ w2 + b2


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """gamma * (x - mean) / sqrt(variance + eps) + beta."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return gamma * centred / (variance + eps).sqrt() + beta


def residual(x, sublayer):
    """x + sublayer(x)."""
    return x + sublayer(x)


def causal_mask(n, m=None):
    """True where query i may attend to key j: j <= i + (m - n)."""
    m = n if m is None else m
    return torch.ones(n, m, dtype=torch.bool).tril(m - n)


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Select tokens at random: 80 % become [MASK], 10 % a random token, 10 % stay."""
    draw = torch.Generator(tokens.device).manual_seed(seed)
    chance = torch.rand(tokens.shape, generator=draw, device=tokens.device)
    action = torch.rand(tokens.shape, generator=draw, device=tokens.device)
    random = torch.randint(vocab_size, tokens.shape, generator=draw, device=tokens.device)
    selected = (chance < rate) & ~torch.isin(tokens, torch.tensor(special_ids, device=tokens.device))
    corrupted = tokens.clone()
    corrupted[selected & (action < 0.8)] = mask_id
    randomised = selected & (action >= 0.8) & (action < 0.9)
    corrupted[randomised] = random[randomised]
    return corrupted, selected


def mlm_loss(logits, labels, selected):
    """-mean of log P(label) over the selected positions, in nats."""
    return torch.nn.functional.cross_entropy(logits[selected], labels[selected])


def sequence_log_prob(logits, tokens):
    """log P(x_2, ..., x_n | x_1): logits[t] predicts tokens[t + 1]."""
    log_p = logits[..., :-1, :].log_softmax(dim=-1)
    return log_p.gather(-1, tokens[..., 1:, None]).squeeze(-1).sum(dim=-1)
