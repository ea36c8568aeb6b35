"""Weights laid side by side: one product for queries, keys and values of all heads, biases as one more row, base-2 softmax."""
# ruff: noqa: ANN001, ANN201, ANN202

import math

import numpy as np

LOG2E = math.log2(math.e)


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """Scores in base 2, transposed: [..., m, n], keys before queries."""
    n, m = q.shape[-2], k.shape[-2]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = np.matmul(k, np.swapaxes(q, -1, -2)) * (scale * LOG2E)  # [..., m, n]
    hidden = False if mask is None else ~np.swapaxes(mask, -1, -2)
    if causal:
        hidden = hidden | ~causal_mask(n, m).T
    scores = np.where(hidden, np.array(-np.inf, scores.dtype), scores)
    weights = np.exp2(scores - np.maximum(scores.max(axis=-2, keepdims=True), np.finfo(scores.dtype).min))
    output = np.swapaxes(weights, -1, -2) @ v
    total = weights.sum(axis=-2)[..., None]
    return np.where(total > 0, output, 0) / np.where(total > 0, total, 1)


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """One product of all rows with all weights, [d_model, h (2 d_k + d_v)], of which each part is then taken."""
    h, d_k = len(w_q), w_q.shape[-1]
    n, m, d_v = q.shape[-2], k.shape[-2], w_v.shape[-1]
    if not len(w_q) == len(w_k) == len(w_v) or w_k.shape[-1] != d_k:
        raise ValueError("the weights do not fit together")
    fused = np.concatenate([_side_by_side(w) for w in (w_q, w_k, w_v)], axis=1)
    rows = np.concatenate([q, k, v], axis=-2) @ fused  # [..., n + m + m, h (2 d_k + d_v)]
    of_q, of_k, of_v = np.split(rows, [n, n + m], axis=-2)
    first, second, _ = np.split(np.arange(rows.shape[-1]), [h * d_k, 2 * h * d_k])
    heads = attention(
        _split(of_q[..., first], h),
        _split(of_k[..., second], h),
        _split(of_v[..., 2 * h * d_k :], h),
        mask=None if mask is None else mask[..., None, :, :],
        causal=causal,
    )
    return np.swapaxes(heads, -2, -3).reshape(*q.shape[:-1], h * d_v) @ w_o


def _side_by_side(w):
    return np.transpose(w, (1, 0, 2)).reshape(w.shape[1], -1)  # [d_model, h d]


def _split(rows, h):
    return np.swapaxes(rows.reshape(*rows.shape[:-1], h, rows.shape[-1] // h), -2, -3)  # [..., h, n, d]


def feed_forward(x, w1, b1, w2, b2):
    """A column of ones beside x and beside the hidden units, and the biases as one more row of the weights."""
    ones = np.ones((*x.shape[:-1], 1), x.dtype)
    hidden = np.concatenate([x, ones], axis=-1) @ np.vstack([w1, b1])
    hidden = np.where(hidden > 0, hidden, np.zeros_like(hidden))
    return np.concatenate([hidden, ones], axis=-1) @ np.vstack([w2, b2])


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Statistics by products with a column of ones; the scale is folded into one factor for each element."""
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError("gamma and beta need one number for each feature")
    ones = np.ones((x.shape[-1], 1), x.dtype)
    centred = x - x @ ones / x.shape[-1]
    variance = np.square(centred) @ ones / x.shape[-1]
    return centred * (np.reciprocal(np.sqrt(variance + eps)) * gamma) + beta


def residual(x, sublayer):
    """The sublayer gets a copy, and x is added to its answer."""
    output = sublayer(x.copy())
    if output.shape != x.shape:
        raise ValueError("a sublayer keeps the shape")
    return np.sum([x, output], axis=0)


def causal_mask(n, m=None):
    """A cut of the square mask: the last n rows, or rows that see nothing before it."""
    m = n if m is None else m
    square = np.logical_not(np.triu(np.ones((max(n, m), max(n, m)), bool), 1))
    return square[-n:, max(n, m) - m :] if n > m else square[m - n :]


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Flat, with a table of what each id may become."""
    draw = np.random.Generator(np.random.SFC64(seed))
    may = np.ones(vocab_size, bool)
    may[list(special_ids)] = False
    selected = (draw.uniform(size=tokens.shape) < rate) & may[tokens]
    table = draw.multinomial(1, [0.8, 0.1, 0.1], size=tokens.shape).argmax(axis=-1)
    choices = (np.full_like(tokens, mask_id), draw.integers(vocab_size, size=tokens.shape), tokens)
    return np.where(selected, np.choose(table, choices), tokens), selected


def mlm_loss(logits, labels, selected):
    """All losses, and a mean with truth values for weights."""
    if labels.shape != logits.shape[:-1] or selected.shape != logits.shape[:-1]:
        raise ValueError("one label and one truth value for each row of logits")
    if not selected.any():
        return np.array(np.nan, logits.dtype)
    flat, which = logits.reshape(-1, logits.shape[-1]), np.flatnonzero(selected)
    return _losses(flat[which], labels.reshape(-1)[which]).mean(keepdims=True)[0]


def sequence_log_prob(logits, tokens):
    """All positions of all sequences in one column, then summed by sequence."""
    if tokens.shape != logits.shape[:-1]:
        raise ValueError("one token for each row of logits")
    asked = logits[..., :-1, :]
    losses = _losses(asked.reshape(-1, logits.shape[-1]), tokens[..., 1:].reshape(-1))
    return -losses.reshape(asked.shape[:-1]).sum(axis=-1)


def _losses(rows, labels):
    """In base 2, and back to nats at the end."""
    away = rows - rows.max(axis=-1, initial=-np.inf, keepdims=True)
    log_total = np.log2(np.exp2(away * LOG2E).sum(axis=-1)) / LOG2E
    return (log_total - away[np.arange(len(rows)), labels]).astype(rows.dtype)
