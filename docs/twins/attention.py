"""ATT · Right ways of writing attention, as the faults of attention are written."""

# ruff: noqa: RET504 - a result has a name here where faults go on to change it

import numpy as np
from toise.faults.attention import attend, attend_in_blocks, score, softmax, visible

from twins import twin


@twin("attention")
def handed_on(q, k, v, *, mask=None, causal=False, scale=None):
    """All is left to the helper."""
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@twin("attention")
def result_named(q, k, v, *, mask=None, causal=False, scale=None):
    """The result has a name."""
    y = attend(q, k, v, mask=mask, causal=causal, scale=scale)
    return y


@twin("attention")
def default_scale_inline(q, k, v, *, mask=None, causal=False, scale=None):
    """The default scale is written where it is handed on."""
    return attend(q, k, v, mask=mask, causal=causal, scale=q.shape[-1] ** -0.5 if scale is None else scale)


@twin("attention")
def default_scale_first(q, k, v, *, mask=None, causal=False, scale=None):
    """The scale is settled first."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@twin("attention")
def queries_scaled(q, k, v, *, mask=None, causal=False, scale=None):
    """The queries are scaled, not the scores."""
    scaled = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    return attend(scaled, k, v, mask=mask, causal=causal, scale=1)


@twin("attention")
def keys_scaled(q, k, v, *, mask=None, causal=False, scale=None):
    """The keys are scaled, not the scores."""
    scaled = k * (q.shape[-1] ** -0.5 if scale is None else scale)
    return attend(q, scaled, v, mask=mask, causal=causal, scale=1)


@twin("attention")
def mask_inline(q, k, v, *, mask=None, causal=False, scale=None):
    """Mask and causal order are joined where they are handed on."""
    return attend(q, k, v, mask=visible(q, k, mask, causal), scale=scale)


@twin("attention")
def mask_first(q, k, v, *, mask=None, causal=False, scale=None):
    """Mask and causal order are joined first."""
    allowed = visible(q, k, mask, causal)
    return attend(q, k, v, mask=allowed, scale=scale)


@twin("attention")
def order_written_out(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order is put into the mask."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & np.tri(n, m, m - n, dtype=bool)
    return attend(q, k, v, mask=allowed, scale=scale)


@twin("attention")
def one_line(q, k, v, *, mask=None, causal=False, scale=None):
    """Scores, mask, softmax and mean in one line."""
    return softmax(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)) @ v


@twin("attention")
def scores_named(q, k, v, *, mask=None, causal=False, scale=None):
    """The scores have a name before the mask hides some."""
    scores = score(q, k, scale)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@twin("attention")
def scores_scaled(q, k, v, *, mask=None, causal=False, scale=None):
    """The products are scaled in a line of their own."""
    scores = score(q, k, 1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@twin("attention")
def hidden_named(q, k, v, *, mask=None, causal=False, scale=None):
    """The scores have a name when the mask has hidden some."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    return softmax(scores) @ v


@twin("attention")
def allowed_named(q, k, v, *, mask=None, causal=False, scale=None):
    """The scores have a name, and so have the keys that may be seen."""
    scores, allowed = score(q, k, scale), visible(q, k, mask, causal)
    return softmax(np.where(allowed, scores, -np.inf)) @ v


@twin("attention")
def weights_named(q, k, v, *, mask=None, causal=False, scale=None):
    """The weights have a name."""
    weights = softmax(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf))
    return weights @ v


@twin("attention")
def softmax_written_out(q, k, v, *, mask=None, causal=False, scale=None):
    """The softmax is written out."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min))
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@twin("attention")
def greatest_named(q, k, v, *, mask=None, causal=False, scale=None):
    """The softmax is written out, and the greatest score of a row has a name."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    top = scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min)
    parts = np.exp(scores - top)
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@twin("attention")
def in_blocks(q, k, v, *, mask=None, causal=False, scale=None):
    """Keys are taken in by blocks, and the sums so far are rescaled when the maximum moves."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    return attend_in_blocks(scores, v, lambda old, new: np.exp(old - new))
