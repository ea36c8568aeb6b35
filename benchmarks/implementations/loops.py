"""Loops over batch entries, heads and rows, as a first version in C would be; every row alone."""
# ruff: noqa: ANN001, ANN201, ANN202

import math
import random

import numpy as np


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """One query at a time, against the keys that it may see; a query without any gives zeros."""
    n, m = q.shape[-2], k.shape[-2]
    if q.shape[-1] != k.shape[-1] or m != v.shape[-2]:
        raise ValueError("q, k and v do not fit together")
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (q, k, v))
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, n, m))
    result = np.zeros((*lead, n, v.shape[-1]), q.dtype)
    for entry in np.ndindex(*lead):
        for i in range(n):
            seen = allowed[entry][i].copy()
            if causal:
                seen[max(0, i + m - n + 1) :] = False
            if seen.any():
                result[entry][i] = _one_query(q[entry][i], k[entry][seen], v[entry][seen], scale)
    return result


def _one_query(query, keys, values, scale):
    scores = (keys @ query) * scale
    weights = np.exp(scores - scores.max())
    return (weights @ values) / weights.sum()


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Each head adds its part of the output, through its own rows of w_o."""
    h, d_v = w_v.shape[0], w_v.shape[-1]
    if len(w_q) != h or len(w_k) != h or w_o.shape[0] != h * d_v:
        raise ValueError("the weights do not fit together")
    result = None
    for i in range(h):
        head = attention(q @ w_q[i], k @ w_k[i], v @ w_v[i], mask=mask, causal=causal)
        part = head @ w_o[i * d_v : (i + 1) * d_v]
        result = part if result is None else result + part
    return result


def feed_forward(x, w1, b1, w2, b2):
    """One row at a time."""
    if b1.shape != w1.shape[-1:] or b2.shape != w2.shape[-1:] or x.shape[-1] != w1.shape[0] or w1.shape[1] != w2.shape[0]:
        raise ValueError("the weights do not fit together")
    result = np.zeros((*x.shape[:-1], w2.shape[-1]), x.dtype)
    for row in np.ndindex(*x.shape[:-1]):
        hidden = x[row] @ w1 + b1
        hidden[hidden < 0] = 0
        result[row] = hidden @ w2 + b2
    return result


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """One row at a time."""
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError("gamma and beta need one number for each feature")
    result = np.zeros(x.shape, x.dtype)
    for row in np.ndindex(*x.shape[:-1]):
        centred = x[row] - x[row].sum() / x.shape[-1]
        deviation = np.sqrt(np.dot(centred, centred) / x.shape[-1] + eps)
        result[row] = centred / deviation * gamma + beta
    return result


def residual(x, sublayer):
    """Element by element in order of memory, into a fresh array."""
    output = sublayer(x)
    if output.shape != x.shape:
        raise ValueError("a sublayer keeps the shape")
    result = np.empty(x.shape, x.dtype)
    for row in np.ndindex(*x.shape[:-1]):
        result[row] = x[row] + output[row]
    return result


def causal_mask(n, m=None):
    """Row by row: query i sees the first i + 1 + (m - n) keys."""
    m = n if m is None else m
    result = np.zeros((n, m), bool)
    for i in range(n):
        result[i, : max(0, i + 1 + m - n)] = True
    return result


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """One token at a time, with draws of Python's own generator."""
    draw, special = random.Random(seed), set(special_ids)  # noqa: S311 - nothing is kept secret
    corrupted, selected = tokens.copy(), np.zeros(tokens.shape, bool)
    for place in np.ndindex(*tokens.shape):
        if int(tokens[place]) not in special and draw.random() < rate:
            selected[place] = True
            fate = draw.random()
            if fate < 0.8:
                corrupted[place] = mask_id
            elif fate < 0.9:
                corrupted[place] = draw.randrange(vocab_size)
    return corrupted, selected


def mlm_loss(logits, labels, selected):
    """Add up over the selected positions, then divide by how many there are; NaN where nothing is selected."""
    if labels.shape != logits.shape[:-1] or selected.shape != logits.shape[:-1]:
        raise ValueError("one label and one truth value for each row of logits")
    losses = [_loss(logits[place], labels[place]) for place in np.ndindex(*labels.shape) if selected[place]]
    total = np.array(losses, logits.dtype).sum()
    return total / logits.dtype.type(len(losses)) if losses else logits.dtype.type(np.nan)


def sequence_log_prob(logits, tokens):
    """Add up minus the losses of the next tokens, sequence by sequence."""
    if tokens.shape != logits.shape[:-1]:
        raise ValueError("one token for each row of logits")
    result = np.zeros(tokens.shape[:-1], logits.dtype)
    for entry in np.ndindex(*tokens.shape[:-1]):
        losses = [_loss(logits[entry][t], tokens[entry][t + 1]) for t in range(tokens.shape[-1] - 1)]
        result[entry] = -np.array(losses, logits.dtype).sum()
    return result


def _loss(row, label):
    top = row.max()
    return np.log(np.exp(row - top).sum()) - (row[label] - top)
