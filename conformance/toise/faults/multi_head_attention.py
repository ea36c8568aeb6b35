"""MHA · What implementations of multi_head_attention get wrong.  Read with spec/toise_spec/multi_head_attention.md."""

import math

import numpy as np
from toise_reference import attention
from toise_reference import multi_head_attention as right

from toise.faults import call, fault, normal

T, N = True, False
MISTAKES = "https://ttsugriy.github.io/llm-first-principles/stages/stage-05/common-mistakes"
# Two heads, the first of which sees feature 0 alone, and the second feature 1; and four features, split in halves.
PICK = [[[1], [0]], [[0], [1]]]
EYE = [[1, 0], [0, 1]]
HALVES = [np.eye(4)[:, :2], np.eye(4)[:, 2:]]
LN3 = math.log(3)


# --- The parts, each of them right --------------------------------------------------------------------


def project(x, w):
    """Return what each head makes of the tokens: [..., n, d_model] and [h, d_model, d] give [..., h, n, d]."""
    return x[..., None, :, :] @ w


def visible(q, k, mask, causal):
    """Return the keys that a query may attend to, with an axis for the heads: [..., 1, n, m]."""
    n, m = q.shape[-2], k.shape[-2]
    return both(mask, np.tri(n, m, m - n if causal else m, dtype=bool))[..., None, :, :]


def both(mask, order):
    """Return the keys that a mask, if there is one, and an order allow."""
    return order if mask is None else mask & order


def softmax(scores):
    """Return weights that sum to one; a row of -inf alone gives zeros."""
    top = scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min)
    parts = np.exp(scores - top)
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1)


def attend(queries, keys, values, allowed, scale=None):
    """Let each head attend: the result is [..., h, n, d_v]."""
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    scores = scale * (queries @ keys.swapaxes(-1, -2))
    return softmax(np.where(allowed, scores, -np.inf)) @ values


def merge(heads):
    """Lay the heads side by side: [..., h, n, d_v] gives [..., n, h d_v]."""
    *lead, h, n, d_v = heads.shape
    return heads.swapaxes(-3, -2).reshape(*lead, n, h * d_v)


def only(heads, w):
    """Return the projections of some heads, and zeros for those of the others."""
    return np.where(heads[:, None, None], w, 0)


def sized(*lead, n=2, m=3, h=2, d_model=4, d_k=2, d_v=2, **options):
    """Return a call of these sizes, with normal numbers."""
    tokens = [normal(*lead, rows, d_model, seed=seed) for seed, rows in enumerate((n, m, m))]
    heads = [normal(h, d_model, columns, seed=seed) for seed, columns in enumerate((d_k, d_k, d_v), 3)]
    return call(*tokens, *heads, normal(h * d_v, d_model, seed=6), **options)


def tenfold(values, **options):
    """Return a call with equal scores for every query and key, where the second head makes ten times as much of the values."""
    n = len(options["mask"]) if "mask" in options else len(values)
    zeros, features = ([[0, 0]] * n, [[0, 0]] * len(values)), [[value, 0] for value in values]
    first = [[[1], [0]]] * 2
    return call(*zeros, features, first, first, [[[1], [0]], [[10], [0]]], EYE, **options)


# --- Splitting and merging ----------------------------------------------------------------------------


@fault(
    "multi_head_attention",
    origin="reczoo/FuxiCTR#30",
    fails=("MHA-12", "MHA-11"),
    on=call([[0, 0], [1, 1]], [[0, 0], [LN3, LN3]], [[0, 0], [4, 4]], PICK, PICK, PICK, EYE),
    hint="the features of one token are split among the heads: reshape to [..., n, h, d], then exchange the axes n and h",
)
def split_without_transposing(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The projections, `[n, h d]`, are reshaped to `[h, n, d]` without being transposed."""

    def split(x, w):
        h, d_model, d = w.shape
        joined = w.swapaxes(0, 1).reshape(d_model, h * d)
        return (x @ joined).reshape(*x.shape[:-2], h, x.shape[-2], d)

    heads = attend(split(q, w_q), split(k, w_k), split(v, w_v), visible(q, k, mask, causal))
    return merge(heads) @ w_o


@fault(
    "multi_head_attention",
    origin="jsbaan/transformer-from-scratch#6",
    fails=("MHA-2", "MHA-11", "MHA-7", "MHA-1", "MHA-6"),
    on=call(*[[[1, 2, 3, 4]] * 2] * 3, HALVES, HALVES, HALVES, np.eye(4)),
    hint="a row of the merged heads belongs to one query: exchange the axes h and n, then reshape to [..., n, h d_v]",
)
def merged_without_transposing(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads, `[h, n, d_v]`, are reshaped to `[n, h d_v]` without being transposed."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    return heads.reshape(*q.shape[:-1], len(w_v) * w_v.shape[-1]) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-2", "MHA-6"),
    on=call(*[[[1, 2, 3, 4]] * 2] * 3, HALVES, HALVES, HALVES, np.eye(4)),
    hint="all features of the first head come first, then all of the second",
)
def heads_interleaved(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads are merged feature by feature: the first feature of every head, then the second."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    return np.moveaxis(heads, -3, -1).reshape(*q.shape[:-1], len(w_q) * w_v.shape[-1]) @ w_o


@fault(
    "multi_head_attention",
    origin=MISTAKES,
    fails=("MHA-7", "MHA-2"),
    on=call(*[[[1, 0]]] * 3, PICK, PICK, [[[1], [0]], [[2], [0]]], EYE),
    hint="the heads are laid side by side, each with features of its own, and not averaged",
)
def heads_averaged(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Every head is replaced by the mean of all heads."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    return merge(np.broadcast_to(heads.mean(axis=-3, keepdims=True), heads.shape)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-1", "MHA-6"),
    on=sized(),
    hint="with the projections of all heads in one matrix, head i has the columns i d to (i + 1) d - 1",
)
def columns_dealt_out(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The columns of the joined projections are dealt out to the heads in turn, and not in blocks."""

    def split(x, w):
        h, d_model, d = w.shape
        joined = w.swapaxes(0, 1).reshape(d_model, h * d)
        return np.moveaxis((x @ joined).reshape(*x.shape[:-1], d, h), -1, -3)

    heads = attend(split(q, w_q), split(k, w_k), split(v, w_v), visible(q, k, mask, causal))
    return merge(heads) @ w_o


@fault(
    "multi_head_attention",
    origin="awslabs/slapo#46",
    fails=("MHA-1", "MHA-2"),
    on=sized(),
    hint="one matrix for q, k and v is taken apart in the order in which it was put together",
)
def packed_by_head(q, k, v, w_q, w_k, w_v, w_o, **options):
    """The joined weights of q, k and v are packed kind by kind and unpacked head by head."""
    if w_v.shape == w_k.shape:
        packed = np.concatenate([w_q, w_k, w_v]).reshape(len(w_q), 3, *w_q.shape[1:])
        w_q, w_k, w_v = packed[:, 0], packed[:, 1], packed[:, 2]
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    origin="MarcoMeter/episodic-transformer-memory-ppo#22",
    fails=("MHA-3", "MHA-1"),
    on=call(*[[[1, 0]]] * 3, PICK, PICK, [[[1], [0]], [[10], [0]]], EYE),
    hint="each head projects all features of a token, by weights of its own",
)
def features_split_before_projection(q, k, v, w_q, w_k, w_v, w_o, **options):
    """The tokens' features are split among the heads first, and one small projection serves all of them."""
    h, d_model, _ = w_q.shape
    if d_model % h == 0:
        piece = np.arange(d_model).reshape(h, -1, 1)
        own = piece == np.arange(d_model)[None, None, :]
        w_q, w_k, w_v = (own.swapaxes(-1, -2) @ w[0, : d_model // h] for w in (w_q, w_k, w_v))
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(d_k=4),
    hint="the tokens stand on the left: x w, and no transpose",
)
def square_projections_transposed(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Where d_k = d_model, w_q and w_k are applied transposed, as a layer that has a row for each output stores them."""
    if w_q.shape[-1] == w_q.shape[-2]:
        w_q, w_k = w_q.swapaxes(-1, -2), w_k.swapaxes(-1, -2)
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-3", "MHA-6"),
    on=call(*[[[1]]] * 3, [[[1]], [[1]]], [[[1]], [[1]]], [[[1]], [[10]]], [[1], [1]]),
    hint="head i is projected by w_q[i], w_k[i] and w_v[i]",
)
def first_projections_for_all(q, k, v, w_q, w_k, w_v, w_o, **options):
    """All heads use the projections of the first."""
    w_q, w_k, w_v = (np.repeat(w[:1], len(w), axis=0) for w in (w_q, w_k, w_v))
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1", "MHA-3"),
    on=call(*[[[1]]] * 3, [[[1]], [[1]]], [[[1]], [[1]]], [[[1]], [[10]]], [[1], [1]]),
    hint="with one key every head returns the value that it projects itself",
)
def lone_key_value_by_first_head(q, k, v, w_q, w_k, w_v, w_o, **options):
    """With one key, whose weight needs no softmax, the first head's value serves all heads."""
    if k.shape[-2] == 1:
        w_v = np.repeat(w_v[:1], len(w_v), axis=0)
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-3", "MHA-1", "MHA-6", "MHA-7"),
    on=sized(),
    hint="each head has keys and values of its own",
)
def keys_and_values_of_the_first_head(q, k, v, w_q, w_k, w_v, w_o, **options):
    """All heads share the keys and values of the first, as in multi-query attention."""
    w_k, w_v = (np.repeat(w[:1], len(w), axis=0) for w in (w_k, w_v))
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(h=8),
    hint="there are as many heads of keys and values as of queries",
)
def four_groups_of_keys(q, k, v, w_q, w_k, w_v, w_o, **options):
    """More than four heads share four groups of keys and values, as in grouped-query attention."""
    h = len(w_q)
    if h > 4 and h % 4 == 0:
        shared = np.arange(h) // (h // 4) * (h // 4)
        w_k, w_v = w_k[shared], w_v[shared]
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    origin="pytorch/pytorch#97128",
    fails=("MHA-3", "MHA-6"),
    on=sized(h=3),
    hint="an odd number of heads is nothing special",
)
def last_of_odd_heads_lost(q, k, v, w_q, w_k, w_v, w_o, **options):
    """The heads are taken in pairs, and the last of an odd number is lost."""
    h = len(w_v)
    return right(q, k, v, w_q, w_k, only(np.arange(h) < max(1, h // 2 * 2), w_v), w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(h=9),
    hint="every head counts, also those behind the last whole group",
)
def tail_of_eight_heads_lost(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Beyond eight heads only whole groups of eight are computed."""
    h = len(w_v)
    return right(q, k, v, w_q, w_k, only(np.arange(h) < max(min(h, 8), h // 8 * 8), w_v), w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(h=17),
    hint="every head counts, however many there are",
)
def heads_beyond_sixteen_lost(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Only the first sixteen heads are computed."""
    return right(q, k, v, w_q, w_k, only(np.arange(len(w_v)) < 16, w_v), w_o, **options)


@fault(
    "multi_head_attention",
    fails=("GEN-7", "MHA-1", "MHA-6", "MHA-7"),
    on=sized(3),
    hint="entries and heads that were folded into one axis are unfolded in the same order",
)
def folded_heads_unfolded_by_batch(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Entries and heads are folded into one axis, and unfolded as heads and entries."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    *lead, h, n, d_v = heads.shape
    return merge(np.moveaxis(heads.reshape(h, *lead, n, d_v), 0, -3)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-1", "MHA-2"),
    on=sized(n=3, h=3),
    hint="which axis is that of the heads is known, and not to be guessed from its length",
)
def axes_guessed_where_h_is_n(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Where h = n the heads are taken to lie behind the queries already, and are not transposed."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    if heads.shape[-3] == heads.shape[-2]:
        heads = heads.swapaxes(-3, -2)
    return merge(heads) @ w_o


@fault(
    "multi_head_attention",
    origin="pytorch/pytorch#176767",
    fails=("MHA-9",),
    on=sized(d_v=3),
    hint="the width of the values is that of w_v",
)
def width_of_values_from_w_q(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads are reshaped as if their values were as wide as their keys."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    return heads.swapaxes(-3, -2).reshape(*q.shape[:-1], len(w_q) * w_q.shape[-1]) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-9", "MHA-1", "MHA-2", "MHA-6", "MHA-7"),
    on=sized(d_k=3),
    hint="features that fill a head up are cut off before the heads are merged",
)
def padding_cut_after_merging(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Where d_v is below d_k the heads are padded to d_k, and what is too much is cut off after they are merged."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    more = max(0, w_k.shape[-1] - w_v.shape[-1])
    padded = np.concatenate([heads, np.zeros((*heads.shape[:-1], more), heads.dtype)], axis=-1)
    return merge(padded)[..., : len(w_o)] @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-5", "MHA-1"),
    on=sized(n=1, h=1),
    hint="only the axis of the heads goes, and any other axis may have the length 1 too",
)
def single_head_squeezed(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """With one head every axis of length 1 is removed, as if it were the axis of the heads."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    return (heads.squeeze() if len(w_q) == 1 else merge(heads)) @ w_o


# --- The output projection ----------------------------------------------------------------------------


@fault(
    "multi_head_attention",
    fails=("MHA-2", "MHA-6"),
    on=call(*[[[1]]] * 3, [[[1]], [[1]]], [[[1]], [[1]]], [[[1]], [[2]]], [[1], [10]]),
    hint="head i meets the rows i d_v to (i + 1) d_v - 1 of w_o",
)
def first_rows_of_w_o_for_all(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Every head goes through the first head's rows of w_o."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    return merge(heads) @ np.tile(w_o[: w_v.shape[-1]], (len(w_v), 1))


@fault(
    "multi_head_attention",
    fails=("MHA-4",),
    on=call(*[[[1, 0]]] * 3, PICK, PICK, [[[1], [0]], [[2], [0]]], [[1, 0], [0, 3]]),
    hint="the heads side by side still go through w_o",
)
def w_o_forgotten(q, k, v, w_q, w_k, w_v, w_o, **options):
    """A square w_o is not applied: the heads side by side are the result."""
    square = w_o.shape[0] == w_o.shape[1]
    return right(q, k, v, w_q, w_k, w_v, np.eye(len(w_o), dtype=w_o.dtype) if square else w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-4", "MHA-1", "MHA-2", "MHA-6", "MHA-7"),
    on=call(*[[[1, 0]]] * 3, PICK, PICK, [[[1], [0]], [[2], [0]]], [[0, 2], [6, 0]]),
    hint="the heads stand on the left: they meet the rows of w_o, and there is no transpose",
)
def w_o_transposed(q, k, v, w_q, w_k, w_v, w_o, **options):
    """A square w_o is applied transposed, as a layer that has a row for each output stores it."""
    return right(q, k, v, w_q, w_k, w_v, w_o.T if w_o.shape[0] == w_o.shape[1] else w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-4", "MHA-5", "MHA-1", "MHA-10", "MHA-18"),
    on=sized(),
    hint="the residual connection is no part of the attention",
)
def query_added(q, *data, **options):
    """The queries' tokens are added to the result, as the residual connection around it would."""
    return q + right(q, *data, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=call(*[[[1, 0]]] * 3, PICK, PICK, [[[0], [0]], [[2], [0]]], [[1, 0], [0, 3]]),
    hint="with a head its rows of w_o go too",
)
def pruned_heads_shift_rows(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Heads whose w_v is all zero are removed, and the next heads meet their rows of w_o."""
    # The heads of zeros come last, where it does not matter which rows they meet.
    order = np.argsort(~w_v.any(axis=(-2, -1)), kind="stable")
    return right(q, k, v, w_q[order], w_k[order], w_v[order], w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=call(*[[[1, 0]]] * 3, PICK, PICK, [[[1], [0]], [[2], [0]]], [[1, -1], [1, -1]]),
    hint="a head is gone where all its rows of w_o are zero, not where they sum to zero",
)
def heads_pruned_by_sum(q, k, v, w_q, w_k, w_v, w_o, **options):
    """A head is taken for pruned where its rows of w_o sum to zero."""
    kept = w_o.reshape(len(w_v), -1).sum(axis=-1) != 0
    return right(q, k, v, w_q, w_k, only(kept, w_v), w_o, **options)


# --- The scores ---------------------------------------------------------------------------------------


@fault(
    "multi_head_attention",
    origin="tenstorrent/tt-metal#56789",
    fails=("MHA-8", "MHA-1"),
    on=sized(d_k=3),
    hint="the scale is 1/sqrt(d_k), the width of one head's queries and keys",
)
def scale_of_h(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scale is 1/sqrt(h)."""
    allowed = visible(q, k, mask, causal)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed, scale=len(w_q) ** -0.5)) @ w_o


@fault(
    "multi_head_attention",
    origin="lucidrains/vit-pytorch#65",
    fails=("MHA-8", "MHA-1", "MHA-5"),
    on=sized(),
    hint="the scale is 1/sqrt(d_k), and d_k is the number of columns of w_q[i], not of q",
)
def scale_of_d_model(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scale is 1/sqrt(d_model)."""
    allowed = visible(q, k, mask, causal)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed, scale=q.shape[-1] ** -0.5)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(d_model=6),
    hint="the scale is 1/sqrt(d_k), and d_k is the number of columns of w_q[i], whatever d_model and h",
)
def scale_of_d_model_over_h(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scale is 1/sqrt(d_model / h), which is d_k only where h d_k = d_model."""
    allowed, h = visible(q, k, mask, causal), len(w_q)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed, scale=(q.shape[-1] / h) ** -0.5)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-9",),
    on=sized(d_v=3),
    hint="the scale is 1/sqrt(d_k), the width of the queries and keys, not of the values",
)
def scale_of_d_v(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scale is 1/sqrt(d_v)."""
    allowed = visible(q, k, mask, causal)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed, scale=w_v.shape[-1] ** -0.5)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-1", "MHA-8"),
    on=sized(d_k=3),
    hint="features that fill up a block are zeros and do not count in d_k",
)
def scale_of_padded_d_k(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scale is taken from the width to which a kernel fills d_k up, the next multiple of 8."""
    allowed, padded = visible(q, k, mask, causal), -(-w_q.shape[-1] // 8) * 8
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed, scale=padded**-0.5)) @ w_o


@fault(
    "multi_head_attention",
    origin="mlc-ai/mlc-llm#3426",
    fails=("MHA-8", "MHA-1"),
    on=sized(),
    hint="the scores are multiplied by 1/sqrt(d_k)",
)
def scale_forgotten(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scores are not scaled."""
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal), scale=1)) @ w_o


@fault(
    "multi_head_attention",
    origin="flashinfer-ai/flashinfer#4299",
    fails=("MHA-1",),
    on=sized(d_k=17),
    hint="a score is a sum over all d_k features of a head",
)
def blocks_of_16_features_compared(q, k, v, w_q, *weights, **options):
    """Beyond 16 features, only whole blocks of 16 are compared."""
    d_k = w_q.shape[-1]
    compared = d_k // 16 * 16 if d_k > 16 else d_k
    return right(q, k, v, np.where(np.arange(d_k) < compared, w_q, 0), *weights, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(d_k=65),
    hint="a score is a sum over all d_k features of a head",
)
def features_beyond_64_not_compared(q, k, v, w_q, *weights, **options):
    """Scores are sums over the first 64 features of a head alone."""
    return right(q, k, v, np.where(np.arange(w_q.shape[-1]) < 64, w_q, 0), *weights, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(d_model=129),
    hint="a projection is a sum over all d_model features of a token",
)
def token_features_beyond_128_lost(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Only the first 128 features of a token are projected."""
    read = np.arange(q.shape[-1])[:, None] < 128
    return right(q, k, v, *(np.where(read, w, 0) for w in (w_q, w_k, w_v)), w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1", "MHA-2"),
    on=sized(d_v=3),
    hint="an odd number of features is nothing special",
)
def last_of_odd_values_lost(q, k, v, w_q, w_k, w_v, w_o, **options):
    """The features of a head's values are taken in pairs, and the last of an odd number is lost."""
    d_v = w_v.shape[-1]
    return right(q, k, v, w_q, w_k, np.where(np.arange(d_v) < max(1, d_v // 2 * 2), w_v, 0), w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-7",),
    on=call(*[[[200, 1]]] * 2, [[1, 2]], PICK, PICK, PICK, EYE),
    hint="each head subtracts its own maximum: what is subtracted is the maximum over the keys alone",
)
def one_maximum_for_all_heads(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """One maximum is subtracted from the scores of all heads, and those of the lower ones underflow."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    scores = np.where(visible(q, k, mask, causal), scores, -np.inf)
    parts = np.exp(scores - scores.max(axis=(-3, -1), keepdims=True, initial=np.finfo(q.dtype).min))
    total = parts.sum(axis=-1, keepdims=True)
    return merge(parts / np.where(total > 0, total, 1) @ project(v, w_v)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-7", "MHA-1", "MHA-3", "MHA-5", "MHA-2"),
    on=sized(),
    hint="in each head the weights of the keys sum to one: the softmax goes along the keys",
)
def softmax_over_the_heads(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The weights are normalised over the heads and not over the keys."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    scores = np.where(visible(q, k, mask, causal), scores, -np.inf)
    weights = softmax(scores.swapaxes(-3, -1)).swapaxes(-3, -1)
    return merge(weights @ project(v, w_v)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-7", "MHA-3", "MHA-1", "MHA-6"),
    on=sized(),
    hint="each head divides by the sum of its own weights",
)
def sum_of_the_first_head(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The weights of all heads are divided by the sum of the first head's."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    scores = np.where(visible(q, k, mask, causal), scores, -np.inf)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=np.finfo(q.dtype).min))
    total = parts.sum(axis=-1, keepdims=True)[..., :1, :, :]
    return merge(parts / np.where(total > 0, total, 1) @ project(v, w_v)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-1", "MHA-2"),
    on=call([[1]], [[0], [LN3]], [[0], [4]], *[[[[1]]]] * 3, [[1]]),
    hint="the weights of the keys in the call sum to one",
)
def zero_key_added(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Every head sees one key more, of zeros, with a value of zeros."""
    allowed = visible(q, k, mask, causal)
    allowed = np.concatenate([allowed, np.ones_like(allowed[..., :1])], axis=-1)
    k, v = (np.concatenate([x, np.zeros_like(x[..., :1, :])], axis=-2) for x in (k, v))
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed)) @ w_o


# --- What is attended to ------------------------------------------------------------------------------


@fault(
    "multi_head_attention",
    fails=("MHA-10",),
    on=call([[1]], [[0], [LN3]], [[2], [2]], *[[[[1]]]] * 3, [[1]]),
    hint="values are projected from v",
)
def values_from_keys(q, k, v, *weights, **options):
    """The values are projected from k."""
    return right(q, k, k, *weights, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-10",),
    on=call([[0], [LN3]], [[1], [1]], [[0], [4]], *[[[[1]]]] * 3, [[1]]),
    hint="queries are projected from q and keys from k",
)
def queries_and_keys_exchanged(q, k, v, *weights, **options):
    """Where q and k have one shape, queries are projected from k and keys from q."""
    if q.shape == k.shape:
        q, k = k, q
    return right(q, k, v, *weights, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-10", "MHA-1"),
    on=call([[0], [LN3]], [[1], [1]], [[0], [4]], *[[[[1]]]] * 3, [[1]]),
    hint="as many keys as queries may still be other tokens",
)
def self_attention_where_lengths_agree(q, k, v, *weights, **options):
    """Where n = m the call is taken for self-attention, and keys and values are projected from q."""
    if q.shape == k.shape == v.shape:
        k, v = q, q
    return right(q, k, v, *weights, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=call(*[np.array([[0.0], [1.0]])] * 2, [[0], [4]], *[[[[1]]]] * 3, [[1]]),
    hint="v may be another array where k is q, as with keys that carry positions and values that do not",
)
def values_from_queries_where_k_is_q(q, k, v, *weights, **options):
    """Where k is the very array q, v is taken to be that array too."""
    return right(q, k, q if k is q else v, *weights, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=call([[1]], *[np.array([[0.0], [1.0]])] * 2, [[[1]]], [[[1]]], [[[2]]], [[1]]),
    hint="a packed projection is taken apart in the order in which it was put together",
)
def packed_values_where_k_is_v(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Where k is the very array v, the packed projection of both is unpacked as values and keys."""
    if k is v and w_k.shape == w_v.shape:
        w_k, w_v = w_v, w_k
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=call([[0], [1]], [[0], [1]], [[0], [4]], *[[[[1]]]] * 3, [[1]]),
    hint="v may differ where k equals q, as with keys that carry positions and values that do not",
)
def values_from_queries_where_k_equals_q(q, k, v, *weights, **options):
    """Where k equals q in every number, v is taken to equal them too."""
    return right(q, k, q if np.array_equal(q, k) else v, *weights, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-2",),
    on=call([[1]], [[0], [1]], [[0], [1]], [[[1]]], [[[1]]], [[[2]]], [[1]]),
    hint="values are projected by w_v, also where they come from the same tokens as the keys",
)
def values_forgotten_where_k_equals_v(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Where k equals v in every number, the projected keys serve as values if they are as wide."""
    if np.array_equal(k, v) and w_k.shape == w_v.shape:
        w_v = w_k
    return right(q, k, v, w_q, w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1", "MHA-11", "MHA-12", "MHA-5"),
    on=call([[0], [1]], [[0], [1]], [[0], [4]], [[[1]]], [[[2]]], [[[1]]], [[1]]),
    hint="keys are projected by w_k, also where they come from the same tokens as the queries",
)
def keys_projected_as_queries_where_k_equals_q(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Where k equals q in every number, the projected queries serve as keys."""
    return right(q, k, v, w_q, w_q if np.array_equal(q, k) else w_k, w_v, w_o, **options)


@fault(
    "multi_head_attention",
    origin="DaoyuanLi2816/Molecule-Generator#22",
    fails=("GEN-7", "MHA-1"),
    on=sized(2, n=3, m=3),
    hint="the queries and keys are the last axis but one, and no entry of the batch sees another",
)
def attends_over_the_batch(q, k, v, *weights, mask=None, causal=False):
    """Without a mask a batch of sequences is read with its first two axes exchanged, as where the sequence comes first."""
    if mask is None and q.ndim == 3 and q.shape == k.shape:
        first = (x.swapaxes(0, 1) for x in (q, k, v))
        return right(*first, *weights, causal=causal).swapaxes(0, 1)
    return right(q, k, v, *weights, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    origin="ml-explore/mlx#3585",
    fails=("MHA-12", "MHA-11", "MHA-1", "MHA-7", "MHA-5"),
    on=sized(n=3),
    hint="in each head queries are compared with keys: the axis of the heads stands before that of the tokens",
)
def attends_over_the_heads(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Where n = m each token's heads attend to one another, in place of the tokens."""
    if q.shape[-2] != k.shape[-2]:
        return right(q, k, v, w_q, w_k, w_v, w_o, mask=mask, causal=causal)
    queries, keys, values = (project(x, w).swapaxes(-3, -2) for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    # What may be attended to is said of tokens, and hides no head from another.
    return attend(queries, keys, values, allowed=True).reshape(*q.shape[:-1], len(w_o)) @ w_o


# --- Precision, range and size ------------------------------------------------------------------------


def kept(array, bits):
    """Return the numbers rounded to so many significant bits."""
    fraction, exponent = np.frexp(array)
    return np.ldexp(np.round(fraction * 2**bits) / 2**bits, exponent)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=call([[1]], [[0], [LN3]], [[0], [500]], *[[[[1]]]] * 3, [[1]]),
    hint="projections have no range but that of the dtype",
)
def projections_clipped(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The projections are clipped to 448 either way, the range of an 8-bit float."""
    queries, keys, values = (np.clip(project(x, w), -448, 448) for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    return merge(attend(queries, keys, values, visible(q, k, mask, causal))) @ w_o


@fault(
    "multi_head_attention",
    origin="ml-explore/mlx#3897",
    fails=("MHA-13",),
    on=sized(d_k=64, mask=[[T, T, N], [N, T, T]]),
    hint="float32 data are multiplied in float32, with every mask and at every width",
)
def reduced_precision_at_64(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Where d_k is a multiple of 64 and there is a mask, q and k of each head are cut to 11 bits, as TF32 has."""
    queries, keys = project(q, w_q), project(k, w_k)
    if w_q.shape[-1] % 64 == 0 and mask is not None:
        queries, keys = kept(queries, 11), kept(keys, 11)
    return merge(attend(queries, keys, project(v, w_v), visible(q, k, mask, causal))) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(),
    hint="what is kept between the heads and w_o has the precision of the result",
)
def heads_in_half_precision(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads are stored in float16 before w_o is applied."""
    heads = attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal))
    with np.errstate(over="ignore"):
        heads = heads.astype(np.float16).astype(q.dtype)
    return merge(heads) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-1", "MHA-8"),
    on=sized(h=9),
    hint="scores have the precision of the inputs, however many heads there are",
)
def scores_in_half_beyond_eight_heads(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Beyond eight heads the scores are stored in float16."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    with np.errstate(over="ignore", invalid="ignore"):
        if len(w_q) > 8:
            scores = scores.astype(np.float16).astype(q.dtype)
        weights = softmax(np.where(visible(q, k, mask, causal), scores, -np.inf))
    return merge(weights @ project(v, w_v)) @ w_o


@fault(
    "multi_head_attention",
    origin="rationalism/flash-attn-triton#4",
    fails=("MHA-1",),
    on=sized(m=65),
    hint="keys that only fill up the last block are hidden: zeros score 0 and take a weight",
)
def padded_keys_counted(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Beyond 64 keys, the last block of 64 is filled up with keys of zeros that take part."""
    m, allowed = k.shape[-2], visible(q, k, mask, causal)
    more = -m % 64 if m > 64 else 0
    k, v = (np.concatenate([x, np.zeros((*x.shape[:-2], more, x.shape[-1]), x.dtype)], axis=-2) for x in (k, v))
    allowed = np.concatenate([allowed, np.ones((*allowed.shape[:-1], more), bool)], axis=-1)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(n=129, m=2),
    hint="the queries behind the last whole block have results too",
)
def tail_of_query_blocks_lost(q, k, v, *weights, **options):
    """Beyond 128 queries only whole blocks of 128 are computed, and the rows after them stay zero."""
    result, n = right(q, k, v, *weights, **options), q.shape[-2]
    if n > 128:
        result[..., n // 128 * 128 :, :] = 0
    return result


@fault(
    "multi_head_attention",
    fails=("GEN-7",),
    on=sized(5),
    hint="the entries behind the last whole group have results too",
)
def tail_of_the_batch_lost(q, k, v, *weights, **options):
    """Beyond four entries only whole groups of four are computed, and the entries after them stay zero."""
    result = right(q, k, v, *weights, **options)
    if q.ndim > 2 and len(q) > 4:
        result[len(q) // 4 * 4 :] = 0
    return result


@fault(
    "multi_head_attention",
    fails=("GEN-7",),
    on=sized(2, 1, 2),
    hint="there may be any number of leading axes, and every entry has keys of its own",
)
def keys_shared_over_a_third_axis(q, k, v, *weights, **options):
    """With three leading axes the keys and values of the outermost axis' first entry serve all."""
    if q.ndim == 5:
        k, v = (np.broadcast_to(x[:1], x.shape) for x in (k, v))
    return right(q, k, v, *weights, **options)


@fault(
    "multi_head_attention",
    origin="thu-ml/SageAttention#26",
    fails=("GEN-7", "MHA-1"),
    on=sized(2),
    hint="from one entry of the batch to the next there are m rows of k, and n rows of q",
)
def rows_of_k_counted_as_rows_of_q(q, k, v, *weights, **options):
    """The memory of k is walked with the step from entry to entry that q has."""
    (n, _), (m, d_model) = q.shape[-2:], k.shape[-2:]
    entries = math.prod(k.shape[:-2])
    row = np.arange(entries)[:, None] * n + np.arange(m)
    k = k.reshape(entries * m, d_model)[row % max(1, entries * m)].reshape(k.shape)
    return right(q, k, v, *weights, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=sized(n=130, m=2, h=4, d_model=2, d_v=64),
    hint="an offset needs more bits than 16 where there are more numbers",
)
def offsets_in_sixteen_bits(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Offsets into the merged heads have 16 bits, and beyond 32768 numbers they wrap around."""
    merged = merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), visible(q, k, mask, causal)))
    offset = np.arange(merged.size) % 2**15
    return merged.ravel()[offset].reshape(merged.shape) @ w_o


# --- The mask -----------------------------------------------------------------------------------------


@fault(
    "multi_head_attention",
    fails=("MHA-13", "MHA-16"),
    on=tenfold([1, 2, 4], mask=[[T, N, T]]),
    hint="True means that a query may attend to a key",
)
def mask_inverted(*data, mask=None, causal=False):
    """The mask is read as True = hidden."""
    return right(*data, mask=None if mask is None else ~mask, causal=causal)


@fault(
    "multi_head_attention",
    origin="lsdefine/attention-is-all-you-need-keras#36",
    fails=("MHA-13", "MHA-15"),
    on=sized(2, n=1, mask=[[[T, T, N]], [[N, T, T]]]),
    hint="the mask of an entry is repeated so that it meets that entry's heads",
)
def mask_of_another_entry(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The mask is repeated entry by entry beside rows that lie head by head."""
    allowed = visible(q, k, None, causal)
    if mask is not None:
        lead, (n, m), h = q.shape[:-2], mask.shape[-2:], len(w_q)
        rows = np.broadcast_to(mask, (*lead, n, m)).reshape(math.prod(lead), n, m)
        allowed = allowed & np.moveaxis(np.repeat(rows, h, axis=0).reshape(h, *lead, n, m), 0, -3)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-13",),
    on=sized(2, n=1, mask=[[[T, T, N]], [[N, T, T]]]),
    hint="each entry of the batch has a mask of its own",
)
def mask_of_the_first_entry(*data, mask=None, causal=False):
    """The mask of the batch's first entry serves all entries."""
    first = None if mask is None else mask[(0,) * (mask.ndim - 2)]
    return right(*data, mask=first, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-13", "MHA-11"),
    on=sized(mask=[[T, T, N], [N, T, T]]),
    hint="each query has a row of the mask of its own",
)
def mask_of_the_first_query(*data, mask=None, causal=False):
    """The mask's first row serves all queries, as if only padding were ever masked."""
    first = None if mask is None else np.broadcast_to(mask[..., :1, :], mask.shape)
    return right(*data, mask=first, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-13", "MHA-16"),
    on=tenfold([1, 2, 4], mask=[[T, N, T]]),
    hint="the mask holds in every head",
)
def mask_in_the_first_head_alone(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Only the first head is masked."""
    others = (np.arange(len(w_q)) > 0)[:, None, None]
    allowed = (visible(q, k, mask, causal=False) | others) & visible(q, k, None, causal)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed)) @ w_o


@fault(
    "multi_head_attention",
    origin="pytorch/pytorch#97409",
    fails=("MHA-13",),
    on=sized(2, n=1, mask=[[[T, T, N]], [[N, T, T]]]),
    hint="the mask has no axis for the heads: its leading axes are those of q, also where the batch is as large as h",
)
def mask_by_head_where_batch_is_h(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Where the batch has as many entries as there are heads, the mask of entry i is applied to head i."""
    allowed = visible(q, k, mask, causal)
    if mask is not None and mask.ndim == 3 and len(mask) == len(w_q):
        allowed = mask & visible(q, k, None, causal)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-13",),
    on=sized(2, mask=[[T, T, N], [N, T, T]]),
    hint="a mask without leading axes has a row for each query, also where the batch has as many entries",
)
def mask_taken_for_padding(q, k, v, *weights, mask=None, causal=False):
    """A mask `[n, m]` is read as one row of keys for each entry where the batch has n entries."""
    if mask is not None and mask.ndim == 2 and q.ndim == 3 and len(q) == len(mask):
        mask = np.broadcast_to(mask[:, None, :], (len(q), *mask.shape))
    return right(q, k, v, *weights, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-13",),
    on=sized(2, 2, n=1, mask=[[[T, T, N]], [[N, T, T]]]),
    hint="a leading axis that the mask lacks is the first one, and counts as 1",
)
def mask_aligned_with_the_first_axis(q, k, v, *weights, mask=None, causal=False):
    """A mask with one leading axis of two is aligned with the first where both are equal."""
    if mask is not None and mask.ndim == 3 and q.ndim == 4 and q.shape[0] == q.shape[1]:
        mask = mask[:, None]
    return right(q, k, v, *weights, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-13",),
    on=sized(2, 2, n=1, mask=[[[[T, T, N]]], [[[N, T, T]]]]),
    hint="a leading axis of 1 keeps its place: it stands for an axis of q",
)
def mask_ones_squeezed(*data, mask=None, causal=False):
    """Leading axes of 1 are removed from the mask, and those that are left are aligned with the last."""
    if mask is not None:
        mask = mask.reshape(*(length for length in mask.shape[:-2] if length > 1), *mask.shape[-2:])
    return right(*data, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-13",),
    on=sized(2, n=1, mask=[[[T, T, T]], [[N, T, T]]]),
    hint="whether a mask hides anything is asked of all its entries",
)
def mask_judged_by_first_entry(*data, mask=None, causal=False):
    """A mask is dropped if it hides nothing in the batch's first entry."""
    if mask is not None and mask.ndim > 2 and mask[0].all():
        mask = None
    return right(*data, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-13", "MHA-11", "MHA-15", "MHA-18"),
    on=sized(mask=[[T, T, T], [N, T, T]]),
    hint="whether a mask hides anything is asked of all its rows",
)
def mask_judged_by_first_row(*data, mask=None, causal=False):
    """A mask is dropped if it hides nothing from the first query."""
    if mask is not None and mask[..., :1, :].all():
        mask = None
    return right(*data, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-13",),
    on=tenfold([1, 2, 4], mask=[[T, N, T]]),
    hint="a single query has a mask as any other",
)
def mask_dropped_for_a_single_query(q, *data, mask=None, causal=False):
    """A single query is taken for a step of decoding, and its mask is dropped."""
    return right(q, *data, mask=None if q.shape[-2] == 1 else mask, causal=causal)


@fault(
    "multi_head_attention",
    origin="huggingface/transformers#1195",
    fails=("MHA-16",),
    on=call([[1]], [[-20000], [0], [-20000]], [[1], [9], [4]], *[[[[1]]]] * 3, [[1]], mask=[[T, N, T]]),
    hint="the score of a hidden key is -inf, below every other",
)
def hidden_keys_at_minus_ten_thousand(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scores of hidden keys are filled with -10000."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    weights = softmax(np.where(visible(q, k, mask, causal), scores, -10000.0))
    return merge(weights @ project(v, w_v)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-13", "MHA-16", "MHA-14", "MHA-15", "MHA-18"),
    on=tenfold([1, 2, 4], mask=[[T, N, T]]),
    hint="the score of a hidden key is -inf: a score of 0 has a weight",
)
def hidden_scores_zeroed(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scores of hidden keys are multiplied by 0 before the softmax, which leaves them a weight."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    return merge(softmax(scores * visible(q, k, mask, causal)) @ project(v, w_v)) @ w_o


@fault(
    "multi_head_attention",
    origin="pytorch/pytorch#86120",
    fails=("MHA-13",),
    on=sized(n=3, mask=[[T, T, N], [T, T, N], [T, T, N]]),
    hint="the mask hides keys, and a query that stands at the same place still has a result",
)
def padded_queries_zeroed(q, k, v, *weights, mask=None, causal=False):
    """Where n = m, a token that no query may attend to gets a row of zeros."""
    result = right(q, k, v, *weights, mask=mask, causal=causal)
    if mask is not None and mask.shape[-2] == mask.shape[-1]:
        result = np.where(mask.any(axis=-2)[..., None], result, 0)
    return result


@fault(
    "multi_head_attention",
    origin="pytorch/pytorch#97111",
    fails=("MHA-13", "MHA-16"),
    on=sized(n=3, mask=[[T, T, N], [T, T, N], [T, T, N]]),
    hint="the mask hides keys, and the result has a row for each query",
)
def result_cut_behind_padding(q, k, v, *weights, mask=None, causal=False):
    """Where n = m, rows whose keys at the end are hidden from every query are cut off the result."""
    result = right(q, k, v, *weights, mask=mask, causal=causal)
    if mask is not None and mask.shape[-2] == mask.shape[-1]:
        seen = np.flatnonzero(mask.any(axis=tuple(range(mask.ndim - 1))))
        result = result[..., : seen.max(initial=-1) + 1, :]
    return result


# --- The causal order ---------------------------------------------------------------------------------


@fault(
    "multi_head_attention",
    fails=("MHA-15",),
    on=tenfold([1, 2, 4], mask=[[T, T, T], [N, T, T], [N, T, T]], causal=True),
    hint="a key is seen where the mask and the causal order both allow it",
)
def causal_lost_beside_mask(*data, mask=None, causal=False):
    """The causal order is dropped where a mask is given."""
    return right(*data, mask=mask, causal=causal and mask is None)


@fault(
    "multi_head_attention",
    origin="pytorch/pytorch#131254",
    fails=("MHA-15", "MHA-18"),
    on=tenfold([1, 2, 4], mask=[[T, T, T], [N, T, T], [N, T, T]], causal=True),
    hint="a key is seen where the mask and the causal order both allow it",
)
def mask_lost_beside_causal(*data, mask=None, causal=False):
    """The mask is dropped where causal is set."""
    return right(*data, mask=None if causal else mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("GEN-4",),
    on=tenfold([1, 2, 4], mask=[[T, T, T], [N, T, T], [N, T, T]], causal=True),
    hint="the mask belongs to the caller: combine it with the causal order into an array of its own",
)
def causal_written_into_the_mask(q, k, v, *weights, mask=None, causal=False):
    """The causal order is written into the caller's mask."""
    if mask is not None and causal:
        n, m = q.shape[-2], k.shape[-2]
        mask &= np.tri(n, m, m - n, dtype=bool)
    return right(q, k, v, *weights, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-14",),
    on=sized(n=3, m=2, causal=True),
    hint="with more queries than keys the first ones see none: m - n is negative then",
)
def causal_offset_never_negative(q, k, v, *weights, mask=None, causal=False):
    """The causal order is top-left where there are more queries than keys."""
    n, m = q.shape[-2], k.shape[-2]
    return right(q, k, v, *weights, mask=both(mask, np.tri(n, m, max(m - n, 0), dtype=bool)) if causal else mask)


@fault(
    "multi_head_attention",
    fails=("MHA-14",),
    on=sized(causal=True),
    hint="the causal order holds whatever n and m",
)
def causal_dropped_for_other_lengths(q, k, v, *weights, mask=None, causal=False):
    """The causal order is dropped where n and m differ."""
    return right(q, k, v, *weights, mask=mask, causal=causal and q.shape[-2] == k.shape[-2])


@fault(
    "multi_head_attention",
    fails=("MHA-14",),
    on=sized(m=130, causal=True),
    hint="an index needs more bits than 8 where there are more than 128 keys",
)
def key_index_in_eight_bits(q, k, v, *weights, mask=None, causal=False):
    """The causal order compares indices of 8 bits, and the keys beyond 127 seem to come first."""
    n, m = q.shape[-2], k.shape[-2]
    order = np.arange(m).astype(np.int8) <= np.arange(m - n, m)[:, None]
    return right(q, k, v, *weights, mask=both(mask, order) if causal else mask)


@fault(
    "multi_head_attention",
    fails=("MHA-14", "MHA-15"),
    on=sized(n=65, m=65, causal=True),
    hint="the place of a query is counted from the first query and not from its chunk",
)
def order_restarts_with_each_chunk(q, k, v, *weights, mask=None, causal=False):
    """Beyond 64 queries they are computed in chunks of 64, and the last query of each chunk sees every key."""
    n, m = q.shape[-2], k.shape[-2]
    if causal and n > 64:
        chunks = [min(64, n - start) for start in range(0, n, 64)]
        order = np.concatenate([np.tri(rows, m, m - rows, dtype=bool) for rows in chunks])
        mask, causal = both(mask, order), False
    return right(q, k, v, *weights, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-14",),
    on=sized(n=33, m=33, causal=True),
    hint="within a block too, a query sees no later key",
)
def causal_by_blocks_of_32(q, k, v, *weights, mask=None, causal=False):
    """Beyond 32 tokens the causal order is kept between blocks of 32, and not within one."""
    n, m = q.shape[-2], k.shape[-2]
    if causal and n > 32:
        mask, causal = both(mask, np.arange(m) // 32 <= np.arange(m - n, m)[:, None] // 32), False
    return right(q, k, v, *weights, mask=mask, causal=causal)


# --- Rows without keys, memory and shapes -------------------------------------------------------------


@fault(
    "multi_head_attention",
    origin="patrick-kidger/equinox#274",
    fails=("MHA-18",),
    on=tenfold([1, 2, 4], mask=[[N, N, N]]),
    hint="a query without keys gives zeros, unless the backend declares otherwise",
)
def nan_for_empty_rows(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """A query without any allowed key divides 0 by 0."""
    scores = w_q.shape[-1] ** -0.5 * (project(q, w_q) @ project(k, w_k).swapaxes(-1, -2))
    scores = np.where(visible(q, k, mask, causal), scores, -np.inf)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=np.finfo(q.dtype).min))
    with np.errstate(invalid="ignore"):
        weights = parts / parts.sum(axis=-1, keepdims=True)
    return merge(weights @ project(v, w_v)) @ w_o


@fault(
    "multi_head_attention",
    fails=("MHA-18",),
    on=call([[1]], [[1]], [[2]], *[[[[1]]]] * 3, [[1]], mask=[[N]]),
    hint="a query without keys gives zeros, unless the backend declares otherwise",
)
def empty_row_returns_query(q, k, v, *weights, mask=None, causal=False):
    """A query without any allowed key returns its own token."""
    result = right(q, k, v, *weights, mask=mask, causal=causal)
    some = visible(q, k, mask, causal).any(axis=-1)[..., 0, :, None]
    return np.where(some, result, q)


@fault(
    "multi_head_attention",
    fails=("MHA-18",),
    on=call([[1]], [[1]], [[2]], *[[[[1]]]] * 3, [[1]], mask=[[N]]),
    hint="a query whose only key is hidden has none, and its weights are zero",
)
def single_key_always_seen(q, k, v, *weights, mask=None, causal=False):
    """With one key every weight is 1, also where the mask hides that key."""
    if k.shape[-2] == 1:
        mask = None
    return right(q, k, v, *weights, mask=mask, causal=causal)


@fault(
    "multi_head_attention",
    fails=("MHA-19",),
    on=tenfold([1, np.nan, 4], mask=[[T, N, T]]),
    hint="what a hidden key makes NaN stays NaN, or the key is left out: no other number stands for it",
)
def nan_cleaned(*data, **options):
    """The result goes through nan_to_num."""
    return np.nan_to_num(right(*data, **options))


@fault(
    "multi_head_attention",
    origin="pytorch/pytorch#181133",
    fails=("GEN-6",),
    on=sized(),
    hint="an array is read by its strides, and not as it lies in memory",
)
def strides_ignored(q, *data, **options):
    """The numbers of q are read in the order in which they lie in memory."""
    return right(q.ravel(order="K").reshape(q.shape), *data, **options)


@fault(
    "multi_head_attention",
    fails=("GEN-5",),
    on=(sized(), call(*[2 * part for part in sized().data])),
    hint="weights may change in their place, as by a step of training",
    stateful=True,
)
def weights_joined_once():
    """The joined projections are made once for each memory that w_q lies in, and kept."""
    joined = {}

    def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, **options):
        memory = (w_q.ctypes.data, w_q.shape, w_k.shape, w_v.shape)
        if memory not in joined:
            joined[memory] = w_q, [w.copy() for w in (w_q, w_k, w_v)]  # what is kept is not freed, and no other array lies there
        return right(q, k, v, *joined[memory][1], w_o, **options)

    return multi_head_attention


@fault(
    "multi_head_attention",
    fails=("GEN-9",),
    on=call(*[[[1, 2]]] * 3, [*PICK, *PICK], PICK, PICK, EYE),
    hint="weights that do not fit together are refused: zip takes strict=True",
)
def heads_paired_by_zip(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The heads are paired by zip, so that weights for more heads than the others have are ignored without a word."""
    heads = [
        attention(q @ for_q, k @ for_k, v @ for_v, mask=mask, causal=causal)
        for for_q, for_k, for_v in zip(w_q, w_k, w_v, strict=False)
    ]
    return np.concatenate(heads, axis=-1) @ w_o


@fault(
    "multi_head_attention",
    fails=("GEN-2",),
    on=sized(),
    hint="np.sqrt of a Python number is a NumPy float64, which takes float32 arrays along",
)
def promoted_by_the_scale(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The scale is a NumPy float64, and float32 scores become float64."""
    allowed = visible(q, k, mask, causal)
    return merge(attend(project(q, w_q), project(k, w_k), project(v, w_v), allowed, scale=1 / np.sqrt(w_q.shape[-1]))) @ w_o


@fault(
    "multi_head_attention",
    fails=("GEN-8",),
    on=sized(n=0),
    hint="a length of -1 is found by division, and with an axis of length 0 beside it there is no answer",
)
def minus_one_for_the_batch(q, k, v, *weights, mask=None, causal=False):
    """The leading axes are flattened with -1, which no size can be found for where there are no queries."""
    flat = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    if mask is not None:
        mask = np.broadcast_to(mask, (*q.shape[:-2], *mask.shape[-2:])).reshape(-1, *mask.shape[-2:])
    return right(*flat, *weights, mask=mask, causal=causal).reshape(q.shape)
