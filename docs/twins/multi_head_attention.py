"""MHA · Right ways of writing multi_head_attention, as the faults of multi_head_attention are written."""

# ruff: noqa: RET504 - a result has a name here where faults go on to change it

import numpy as np
from toise.faults.multi_head_attention import attend, both, merge, project, softmax, visible
from toise_reference import attention
from toise_reference import multi_head_attention as right

from twins import twin


@twin("multi_head_attention")
def handed_on(q, k, v, w_q, w_k, w_v, w_o, **options):
    """All is left to the reference, with the weights by their names."""
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@twin("multi_head_attention")
def weights_together(q, k, v, *weights, **options):
    """All is left to the reference, with the weights as one."""
    return right(q, k, v, *weights, **options)


@twin("multi_head_attention")
def options_named(q, k, v, *weights, mask=None, causal=False):
    """All is left to the reference, with the options by their names."""
    return right(q, k, v, *weights, mask=mask, causal=causal)


@twin("multi_head_attention")
def data_together(*data, mask=None, causal=False):
    """All is left to the reference, with all arrays as one."""
    return right(*data, mask=mask, causal=causal)


@twin("multi_head_attention")
def all_together(q, *data, **options):
    """All is left to the reference, and only q has a name."""
    return right(q, *data, **options)


@twin("multi_head_attention")
def result_named(q, k, v, *weights, mask=None, causal=False):
    """The result has a name."""
    result = right(q, k, v, *weights, mask=mask, causal=causal)
    return result


@twin("multi_head_attention")
def result_of_all(q, k, v, *weights, **options):
    """The result has a name, and the options have none."""
    result = right(q, k, v, *weights, **options)
    return result


@twin("multi_head_attention")
def order_in_the_mask(q, k, v, *weights, mask=None, causal=False):
    """The causal order is put into the mask."""
    n, m = q.shape[-2], k.shape[-2]
    return right(q, k, v, *weights, mask=both(mask, np.tri(n, m, m - n, dtype=bool)) if causal else mask)


@twin("multi_head_attention")
def order_first(q, k, v, *weights, mask=None, causal=False):
    """The causal order is put into the mask first."""
    n, m = q.shape[-2], k.shape[-2]
    if causal:
        mask, causal = both(mask, np.tri(n, m, m - n, dtype=bool)), False
    return right(q, k, v, *weights, mask=mask, causal=causal)


@twin("multi_head_attention")
def heads_named(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads have a name before they are merged."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    return merge(heads) @ w_o


@twin("multi_head_attention")
def one_line(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The formula alone."""
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))) @ w_o


@twin("multi_head_attention")
def allowed_named(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The keys that may be seen have a name."""
    allowed = visible(q, k, mask, causal)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed)) @ w_o


@twin("multi_head_attention")
def scale_given(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scale is written out."""
    allowed = visible(q, k, mask, causal)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed, scale=w_q.shape[-1] ** -0.5)) @ w_o


@twin("multi_head_attention")
def projected_first(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Queries, keys and values have names."""
    queries, keys, values = (project(x, w) for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    return merge(attend(queries, keys, values, visible(q, k, mask, causal))) @ w_o


@twin("multi_head_attention")
def queries_and_keys_first(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Queries and keys have names."""
    queries, keys = project(q, w_q), project(k, w_k)
    return merge(attend(queries, keys, project(v, w_v), visible(q, k, mask, causal))) @ w_o


@twin("multi_head_attention")
def split_in_blocks(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The projections are joined, and split into heads afterwards."""

    def split(x, w):
        h, d_model, d = w.shape
        joined = w.swapaxes(0, 1).reshape(d_model, h * d)
        return (x @ joined).reshape(*x.shape[:-1], h, d).swapaxes(-3, -2)

    heads = attend(split(q, w_q), split(k, w_k), split(v, w_v), visible(q, k, mask, causal))
    return merge(heads) @ w_o


@twin("multi_head_attention")
def merged_by_hand(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads are laid side by side in the line that projects them."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    return heads.swapaxes(-3, -2).reshape(*q.shape[:-1], len(w_v) * w_v.shape[-1]) @ w_o


@twin("multi_head_attention")
def weights_named(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Scores and weights have names."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    weights = softmax(np.where(visible(q, k, mask, causal), scores, -np.inf))
    return merge(weights @ project(v, w_v)) @ w_o


@twin("multi_head_attention")
def softmax_written_out(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The softmax is written out."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    scores = np.where(visible(q, k, mask, causal), scores, -np.inf)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=np.finfo(q.dtype).min))
    total = parts.sum(axis=-1, keepdims=True)
    return merge(parts / np.where(total > 0, total, 1) @ project(v, w_v)) @ w_o


@twin("multi_head_attention")
def head_by_head(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads are made one after the other."""
    heads = [
        attention(q @ for_q, k @ for_k, v @ for_v, mask=mask, causal=causal)
        for for_q, for_k, for_v in zip(w_q, w_k, w_v, strict=True)
    ]
    return np.concatenate(heads, axis=-1) @ w_o
