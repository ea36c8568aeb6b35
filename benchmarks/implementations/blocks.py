"""Blocks of 32, as a GPU kernel works: online softmax, Welford's mean and variance, partial sums of the hidden units."""
# ruff: noqa: ANN001, ANN201, ANN202

import numpy as np

BLOCK = 32


def _cuts(length):
    return [slice(start, start + BLOCK) for start in range(0, length, BLOCK)]


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """Running maximum, sum and output, that are rescaled after every block of keys; divided once, at the end."""
    n, m = q.shape[-2], k.shape[-2]
    if q.shape[-1] != k.shape[-1] or m != v.shape[-2]:
        raise ValueError("q, k and v do not fit together")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    allowed = np.broadcast_to(True if mask is None else mask, (*np.shape(mask)[:-2], n, m))
    if causal:
        allowed = allowed & causal_mask(n, m)
    top, total, output = -np.inf, 0.0, 0.0
    for cut in _cuts(m):
        scores = q @ k[..., cut, :].swapaxes(-1, -2) * scale
        scores = np.where(allowed[..., cut], scores, scores.dtype.type(-np.inf))
        greater = np.maximum(top, scores.max(axis=-1, keepdims=True))
        base = np.where(np.isneginf(greater), 0, greater).astype(q.dtype)
        weights, rescale = np.exp(scores - base), np.exp((top - base).astype(q.dtype))
        total = total * rescale + weights.sum(axis=-1, keepdims=True)
        output = output * rescale + weights @ v[..., cut, :]
        top = greater
    return output / np.where(total == 0, 1, total).astype(q.dtype)


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """A batched product for each projection, and one for the output."""
    if not len(w_q) == len(w_k) == len(w_v):
        raise ValueError("the weights have different numbers of heads")
    q, k, v = (x[..., None, :, :] @ w for x, w in ((q, w_q), (k, w_k), (v, w_v)))  # [..., h, n, d_k]
    heads = attention(q, k, v, mask=None if mask is None else mask[..., None, :, :], causal=causal)
    rows = np.moveaxis(heads, -3, -2)  # [..., n, h, d_v]
    return rows.reshape(*rows.shape[:-2], len(w_v) * w_v.shape[-1]) @ w_o


def feed_forward(x, w1, b1, w2, b2):
    """A block of hidden units adds its part of the result while it is at hand."""
    if b1.shape != w1.shape[1:] or b2.shape != w2.shape[1:] or w1.shape[1] != w2.shape[0]:
        raise ValueError("the weights do not fit together")
    result = np.zeros((*x.shape[:-1], w2.shape[1]), x.dtype)
    for cut in _cuts(w1.shape[1]):
        result += np.maximum(x @ w1[:, cut] + b1[cut], 0) @ w2[cut]
    return result + b2


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Welford's update, feature by feature: the mean, and the sum of squares around it."""
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError("gamma and beta need one number for each feature")
    mean, squares = np.zeros(x.shape[:-1], x.dtype), np.zeros(x.shape[:-1], x.dtype)
    for i in range(x.shape[-1]):
        away = x[..., i] - mean
        mean = mean + away / x.dtype.type(i + 1)
        squares = squares + away * (x[..., i] - mean)
    deviation = np.sqrt(squares / x.dtype.type(x.shape[-1]) + x.dtype.type(eps))
    return (x - mean[..., None]) / deviation[..., None] * gamma + beta


def residual(x, sublayer):
    """Into a copy of x."""
    output = sublayer(x)
    if output.shape != x.shape:
        raise ValueError("a sublayer keeps the shape")
    result = np.array(x)
    result += output
    return result


def causal_mask(n, m=None):
    """The places of queries and keys, counted from the end."""
    m = n if m is None else m
    return np.arange(m)[None, :] - m <= np.arange(n)[:, None] - n


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Each token gets one of four fates, drawn with their four probabilities."""
    draw = np.random.default_rng([2, seed])
    fates = draw.choice(4, size=tokens.shape, p=[0.8 * rate, 0.1 * rate, 0.1 * rate, max(0.0, 1 - rate)])
    fates = np.where(np.isin(tokens, np.array(list(special_ids), np.int64)), 3, fates)
    corrupted = tokens.copy()
    corrupted[fates == 0] = mask_id
    corrupted[fates == 1] = draw.integers(0, vocab_size, int((fates == 1).sum()))
    return corrupted, fates < 3


def mlm_loss(logits, labels, selected):
    """Sum over all positions, of zeros where nothing is asked for, and divide by the count."""
    if labels.shape != logits.shape[:-1] or selected.shape != logits.shape[:-1]:
        raise ValueError("one label and one truth value for each row of logits")
    count = np.count_nonzero(selected)
    if not count:
        return logits.dtype.type(np.nan)
    losses = np.where(selected, _losses(logits, labels), logits.dtype.type(0))
    return losses.sum() / logits.dtype.type(count)


def sequence_log_prob(logits, tokens):
    """Minus the sum of the losses of the next tokens."""
    if tokens.shape != logits.shape[:-1]:
        raise ValueError("one token for each row of logits")
    return -_losses(logits[..., :-1, :], tokens[..., 1:]).sum(axis=-1)


def _losses(logits, labels):
    """The greatest logit and the sum of exponentials go along the vocabulary, block by block."""
    top = np.full((*logits.shape[:-1], 1), -np.inf, logits.dtype)
    total = np.zeros_like(top)
    for cut in _cuts(logits.shape[-1]):
        greater = np.maximum(top, logits[..., cut].max(axis=-1, keepdims=True))
        base = np.where(np.isneginf(greater), 0, greater)
        total = total * np.exp(top - base) + np.exp(logits[..., cut] - base).sum(axis=-1, keepdims=True)
        top = greater
    of_label = np.take_along_axis(logits, labels[..., None], axis=-1)
    return (np.log(total) - (of_label - top))[..., 0]
