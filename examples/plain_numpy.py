"""All eight concepts in plain NumPy, with nothing declared: `toise check examples/plain_numpy.py` passes."""

import numpy as np


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """softmax(scale * q k^T) v; a query without any allowed key gives zeros."""
    n, m, d_k = q.shape[-2], k.shape[-2], q.shape[-1]
    scores = q @ k.swapaxes(-1, -2) * (d_k**-0.5 if scale is None else scale)
    allowed = np.ones((n, m), bool) if mask is None else mask
    if causal:
        allowed = allowed & causal_mask(n, m)
    scores = np.where(allowed, scores, -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total > 0, total, 1) @ v


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Concat(head_1, ..., head_h) w_o, head by head."""
    heads = [
        attention(q @ w_q[i], k @ w_k[i], v @ w_v[i], mask=mask, causal=causal)  # one head
        for i in range(len(w_q))
    ]
    return np.concatenate(heads, axis=-1) @ w_o


def feed_forward(x, w1, b1, w2, b2):
    """relu(x w1 + b1) w2 + b2."""
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """gamma * (x - mean) / sqrt(variance + eps) + beta."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return gamma * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) + beta


def residual(x, sublayer):
    """x + sublayer(x)."""
    return x + sublayer(x)


def causal_mask(n, m=None):
    """True where query i may attend to key j: j <= i + (m - n)."""
    m = n if m is None else m
    return np.arange(m) <= np.arange(n)[:, None] + (m - n)


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Select tokens at random: 80 % become [MASK], 10 % a random token, 10 % stay."""
    draw = np.random.default_rng(seed)
    selected = (draw.random(tokens.shape) < rate) & ~np.isin(tokens, special_ids)
    action = draw.random(tokens.shape)
    random = draw.integers(0, vocab_size, tokens.shape)
    corrupted = np.where(action < 0.8, mask_id, np.where(action < 0.9, random, tokens))
    return np.where(selected, corrupted, tokens), selected


def mlm_loss(logits, labels, selected):
    """-mean of log P(label) over the selected positions, in nats."""
    return -_log_probability(logits, labels)[selected].mean()


def sequence_log_prob(logits, tokens):
    """log P(x_2, ..., x_n | x_1): logits[t] predicts tokens[t + 1]."""
    return _log_probability(logits[..., :-1, :], tokens[..., 1:]).sum(axis=-1)


def _log_probability(logits, tokens):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]
