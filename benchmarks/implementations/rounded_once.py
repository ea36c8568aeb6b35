"""Everything in float64, with `logaddexp` for sums of exponentials, and rounded once, at the end."""
# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202

import functools

import numpy as np

# With float64 arrays nothing would be wider than they are.
__toise__ = {"dtypes": ["float32"]}


def rounded(function):
    """Widen every floating-point argument, and round the result to the dtype of the first."""

    @functools.wraps(function)
    def widened(first, *data, **options):
        wide = [x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x for x in (first, *data)]
        with np.errstate(over="ignore"):
            return np.asarray(function(*wide, **options)).astype(first.dtype)

    return widened


@rounded
def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """The weight of a key is exp(score - logsumexp of the scores)."""
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    allowed = np.broadcast_to(True if mask is None else mask, scores.shape)
    if causal:
        allowed = np.logical_and(allowed, causal_mask(*scores.shape[-2:]))
    scores = np.where(allowed, scores, -np.inf)
    log_total = np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    return np.exp(scores - np.where(np.isneginf(log_total), 0, log_total)) @ v


@rounded
def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads are stacked on a first axis, then concatenated."""
    if not len(w_q) == len(w_k) == len(w_v):
        raise ValueError("the weights have different numbers of heads")
    heads = [attention(q @ a, k @ b, v @ c, mask=mask, causal=causal) for a, b, c in zip(w_q, w_k, w_v, strict=True)]
    return np.concatenate(heads, axis=-1) @ w_o


@rounded
def feed_forward(x, w1, b1, w2, b2):
    """relu(z) = (z + |z|) / 2, exactly."""
    if b1.shape != w1.shape[1:] or b2.shape != w2.shape[1:]:
        raise ValueError("the weights do not fit together")
    z = x @ w1 + b1
    return (z + np.abs(z)) / 2 @ w2 + b2


@rounded
def layer_norm(x, gamma, beta, *, eps=1e-5):
    """NumPy's own mean and variance."""
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError("gamma and beta need one number for each feature")
    mean, variance = np.mean(x, axis=-1, keepdims=True), np.var(x, axis=-1, keepdims=True)
    return (x - mean) * (variance + eps) ** -0.5 * gamma + beta


def residual(x, sublayer):
    """Add in float64: the sum of two float32 numbers, rounded once, is what float32 gives."""
    output = sublayer(x)
    if output.shape != x.shape:
        raise ValueError("a sublayer keeps the shape")
    return (x.astype(np.float64) + output.astype(np.float64)).astype(x.dtype)


def causal_mask(n, m=None):
    """The lower triangle of a full array."""
    m = n if m is None else m
    return np.tril(np.full((n, m), fill_value=True), k=m - n)


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Gather the tokens that may be selected into one list, draw on that, and put back what changed."""
    draw = np.random.Generator(np.random.PCG64DXSM(seed))
    corrupted, selected = tokens.reshape(-1).copy(), np.zeros(tokens.size, bool)
    places = np.flatnonzero(~np.isin(corrupted, list(special_ids)))
    places = places[draw.binomial(1, rate, len(places)) == 1]
    selected[places] = True
    fates = draw.permuted(draw.integers(10, size=len(places)))  # 0 to 7: hidden, 8: random, 9: kept
    corrupted[places[fates < 8]] = mask_id
    corrupted[places[fates == 8]] = draw.integers(vocab_size, size=int((fates == 8).sum()))
    return corrupted.reshape(tokens.shape), selected.reshape(tokens.shape)


@rounded
def mlm_loss(logits, labels, selected):
    """The mean of logsumexp(logits) - logits[label]; NaN where nothing is selected."""
    if labels.shape != logits.shape[:-1] or selected.shape != logits.shape[:-1]:
        raise ValueError("one label and one truth value for each row of logits")
    losses = -_log_softmax(logits)[(*np.indices(labels.shape), labels)]
    return np.mean(losses, where=selected) if selected.any() else np.nan


@rounded
def sequence_log_prob(logits, tokens):
    """The sum of the next tokens' log-probabilities."""
    if tokens.shape != logits.shape[:-1]:
        raise ValueError("one token for each row of logits")
    log_p = _log_softmax(logits[..., :-1, :])
    return log_p[(*np.indices(log_p.shape[:-1]), tokens[..., 1:])].sum(axis=-1)


def _log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
