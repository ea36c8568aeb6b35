"""One `einsum` after the other, all heads and all entries at once; softmax from SciPy's definition."""
# ruff: noqa: ANN001, ANN201, ANN202

import numpy as np


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """The scale goes to the queries; forbidden scores get minus infinity added."""
    n, m = q.shape[-2], k.shape[-2]
    q = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = np.einsum("...id,...jd->...ij", q, k)  # [..., n, m]
    if mask is not None:
        scores = scores + np.where(mask, 0, -np.inf).astype(scores.dtype)
    if causal:
        scores = scores + np.where(causal_mask(n, m), 0, -np.inf).astype(scores.dtype)
    return np.einsum("...ij,...jd->...id", _softmax(scores), v)  # [..., n, d_v]


def _softmax(scores):
    top = scores.max(axis=-1, keepdims=True)
    exponentials = np.exp(scores - np.where(np.isneginf(top), 0, top))
    total = exponentials.sum(axis=-1, keepdims=True)
    return np.divide(exponentials, total, out=np.zeros_like(exponentials), where=total != 0)


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads have an axis of their own, up to the last product: w_o is seen as [h, d_v, d_model]."""
    h, d_v = w_v.shape[0], w_v.shape[-1]
    if len(w_q) != h or len(w_k) != h or len(w_o) != h * d_v:
        raise ValueError("the weights do not fit together")
    q, k, v = (np.einsum("...id,hdk->...hik", x, w) for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    mask = None if mask is None else np.expand_dims(mask, -3)
    heads = attention(q, k, v, mask=mask, causal=causal)  # [..., h, n, d_v]
    return np.einsum("...hik,hkd->...id", heads, w_o.reshape(h, d_v, -1))


def feed_forward(x, w1, b1, w2, b2):
    """relu(x w1 + b1) w2 + b2, with the contracted axes named."""
    if b1.shape != w1.shape[1:] or b2.shape != w2.shape[1:] or x.shape[-1] != w1.shape[0] or w1.shape[1] != w2.shape[0]:
        raise ValueError("the weights do not fit together")
    hidden = np.einsum("...d,df->...f", x, w1) + b1
    return np.einsum("...f,fd->...d", hidden.clip(min=0), w2) + b2


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Mean and variance are contractions over the last axis."""
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError("gamma and beta need one number for each feature")
    d = x.shape[-1]
    centred = x - (np.einsum("...d->...", x) / d)[..., None]
    variance = np.einsum("...d,...d->...", centred, centred) / d
    return np.einsum("...d,...,d->...d", centred, 1 / np.sqrt(variance + eps), gamma) + beta


def residual(x, sublayer):
    """sublayer(x) + x."""
    output = sublayer(x)
    if output.shape != x.shape:
        raise ValueError("a sublayer keeps the shape")
    return np.add(output, x)


def causal_mask(n, m=None):
    """A triangle of ones, cut from below."""
    m = n if m is None else m
    return np.tri(n, m, m - n, dtype=bool)


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """One uniform number decides all: whether a token is selected, and, by where it falls below the rate, its fate."""
    draw = np.random.Generator(np.random.Philox(seed))
    u = draw.random(tokens.shape)
    selected = (u < rate) & ~np.isin(tokens, list(special_ids))
    corrupted = np.select(
        [~selected, u < 0.8 * rate, u < 0.9 * rate],
        [tokens, mask_id, draw.integers(vocab_size, size=tokens.shape)],
        default=tokens,
    )
    return corrupted.astype(tokens.dtype), selected


def mlm_loss(logits, labels, selected):
    """The mean over those that are picked out first."""
    if labels.shape != logits.shape[:-1] or selected.shape != logits.shape[:-1]:
        raise ValueError("one label and one truth value for each row of logits")
    return _losses(logits[selected], labels[selected]).mean(dtype=logits.dtype)


def sequence_log_prob(logits, tokens):
    """Minus the sum of the losses of the next tokens."""
    if tokens.shape != logits.shape[:-1]:
        raise ValueError("one token for each row of logits")
    return -np.einsum("...n->...", _losses(logits[..., :-1, :], tokens[..., 1:]))


def _losses(logits, labels):
    """logsumexp(logits) - logits[label], both of them less the greatest logit."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    of_label = np.take_along_axis(shifted, labels[..., None], axis=-1)[..., 0]
    return np.log(np.einsum("...v->...", np.exp(shifted))) - of_label
