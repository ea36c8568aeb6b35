"""GEN · Right ways of writing any operation, as the faults of general are written."""

# ruff: noqa: RET504 - a result has a name here where faults go on to change it

from typing import Any

import numpy as np
import toise_reference as right
from toise_reference.attention import softmax
from toise_reference.log_softmax import log_softmax

from twins import twin


@twin("attention")
def attention_handed_on(q, k, v, **options):
    """All is left to the reference."""
    return right.attention(q, k, v, **options)


@twin("attention")
def attention_by_name(q, k, v, *, mask=None, causal=False, scale=None):
    """All is left to the reference, with the options by their names."""
    return right.attention(q, k, v, mask=mask, causal=causal, scale=scale)


@twin("attention")
def attention_result_named(q, k, v, **options):
    """The result has a name."""
    y = right.attention(q, k, v, **options)
    return y


@twin("attention")
def attention_written_out(q, k, v, *, mask=None, causal=False, scale=None):
    """Mask, scores and weights are written out."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = np.ones((n, m), bool) if mask is None else mask
    if causal:
        allowed = allowed & np.tri(n, m, m - n, dtype=bool)
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return softmax(np.where(allowed, scores, -np.inf)) @ v


@twin("attention")
def attention_queries_scaled(q, k, v, *, mask=None, causal=False, scale=None):
    """The queries are scaled, not the scores."""
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    y = right.attention(q * factor, k, v, mask=mask, causal=causal, scale=1.0)
    return y


@twin("attention", stateful=True)
def attention_kept():
    """A result is kept for all that it depends on."""
    kept: dict[Any, Any] = {}

    def attention(q, k, v, *, mask=None, causal=False, scale=None):
        key = (*((a.shape, a.dtype, a.tobytes()) for a in (q, k, v)), mask if mask is None else mask.tobytes(), causal, scale)
        if key not in kept:
            kept[key] = right.attention(q, k, v, mask=mask, causal=causal, scale=scale)
        return kept[key].copy()

    return attention


@twin("multi_head_attention")
def multi_head_attention_handed_on(q, k, v, *weights, **options):
    """All is left to the reference."""
    return right.multi_head_attention(q, k, v, *weights, **options)


@twin("multi_head_attention")
def multi_head_attention_arrays(*arrays, **options):
    """All is left to the reference, with all arrays as one."""
    return right.multi_head_attention(*arrays, **options)


@twin("multi_head_attention")
def multi_head_attention_result_named(q, *others, **options):
    """The result has a name."""
    y = right.multi_head_attention(q, *others, **options)
    return y


@twin("multi_head_attention")
def multi_head_attention_head_by_head(q, k, v, w_q, w_k, w_v, w_o, **options):
    """The heads are made one after the other."""
    heads = [right.attention(q @ w_q[i], k @ w_k[i], v @ w_v[i], **options) for i in range(len(w_q))]
    return np.concatenate(heads, axis=-1) @ w_o


@twin("multi_head_attention")
def multi_head_attention_by_name(q, k, v, *weights, mask=None, causal=False):
    """All is left to the reference, with the options by their names."""
    return right.multi_head_attention(q, k, v, *weights, mask=mask, causal=causal)


@twin("multi_head_attention")
def multi_head_attention_in_a_buffer(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Heads are collected in a buffer."""
    d_v = w_v.shape[-1]
    heads = np.empty((*q.shape[:-1], len(w_q) * d_v), q.dtype)
    for i in range(len(w_q)):
        heads[..., i * d_v : (i + 1) * d_v] = right.attention(q @ w_q[i], k @ w_k[i], v @ w_v[i], **options)
    return heads @ w_o


@twin("feed_forward")
def feed_forward_handed_on(x, w1, b1, w2, b2):
    """All is left to the reference."""
    return right.feed_forward(x, w1, b1, w2, b2)


@twin("feed_forward")
def feed_forward_result_named(x, w1, b1, w2, b2):
    """The result has a name."""
    y = right.feed_forward(x, w1, b1, w2, b2)
    return y


@twin("feed_forward")
def feed_forward_written_out(x, w1, b1, w2, b2):
    """The activation is written out, and the hidden units have a name."""
    hidden = np.maximum(x @ w1 + b1, 0)
    return hidden @ w2 + b2


@twin("feed_forward", stateful=True)
def feed_forward_kept():
    """A result is kept for all numbers of its inputs."""
    kept: dict[Any, Any] = {}

    def feed_forward(*arrays):
        key = tuple((array.shape, array.dtype, array.tobytes()) for array in arrays)
        if key not in kept:
            kept[key] = right.feed_forward(*arrays)
        return kept[key].copy()

    return feed_forward


@twin("layer_norm")
def layer_norm_handed_on(x, gamma, beta, *, eps=1e-5):
    """All is left to the reference."""
    return right.layer_norm(x, gamma, beta, eps=eps)


@twin("layer_norm")
def layer_norm_result_named(x, gamma, beta, *, eps=1e-5):
    """The result has a name."""
    y = right.layer_norm(x, gamma, beta, eps=eps)
    return y


@twin("layer_norm", stateful=True)
def layer_norm_kept():
    """A result is kept for all that it depends on."""
    kept: dict[Any, Any] = {}

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        key = (*((array.shape, array.dtype, array.tobytes()) for array in (x, gamma, beta)), eps)
        if key not in kept:
            kept[key] = right.layer_norm(x, gamma, beta, eps=eps)
        return kept[key].copy()

    return layer_norm


@twin("causal_mask")
def causal_mask_handed_on(n, m=None):
    """All is left to the reference."""
    return right.causal_mask(n, m)


@twin("mlm_loss")
def mlm_loss_handed_on(logits, labels, selected):
    """All is left to the reference."""
    return right.mlm_loss(logits, labels, selected)


@twin("mlm_loss")
def mlm_loss_written_out(logits, labels, selected):
    """The logarithm of the softmax is written out."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(log_p, labels[..., None], -1)[selected].mean()


@twin("mlm_loss")
def mlm_loss_found_named(logits, labels, selected):
    """The log-probabilities that count have a name."""
    losses = np.take_along_axis(log_softmax(logits), labels[..., None], -1)[selected]
    return -losses.mean()


@twin("sequence_log_prob")
def sequence_log_prob_handed_on(logits, tokens):
    """All is left to the reference."""
    return right.sequence_log_prob(logits, tokens)


@twin("sequence_log_prob")
def sequence_log_prob_steps_named(logits, tokens):
    """The steps have a name."""
    steps = np.take_along_axis(log_softmax(logits[..., :-1, :]), tokens[..., 1:, None], axis=-1)
    return steps.sum(axis=(-2, -1))


@twin("sequence_log_prob")
def sequence_log_prob_written_out(logits, tokens):
    """The logarithm of the softmax is written out."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    steps = np.take_along_axis((shifted - np.log(total))[..., :-1, :], tokens[..., 1:, None], axis=-1)
    return steps.sum(axis=(-2, -1))


@twin("sequence_log_prob")
def sequence_log_prob_result_named(logits, tokens):
    """The result has a name."""
    y = right.sequence_log_prob(logits, tokens)
    return y
