"""ATT · What implementations of attention get wrong.  Read with spec/toise_spec/attention.md."""

import numpy as np

from toise.faults import call, fault, normal
from toise.faults.general import to_tf32

# The example of the page: the weights are 1/4 and 3/4, the result is 3.
LN3 = np.log(3)
QUERY, KEYS, VALUES = [[1]], [[0], [LN3]], [[0], [4]]
# Equal scores, so that the result is the mean of the values seen.
ZEROS, ONE_TWO_FOUR = [[0], [0], [0]], [[1], [2], [4]]
# Of two lists that are one, a call makes one array.
TOKENS, ENTRIES = [[2, 0, 0, 0], [0, 1, 0, 0]], [[[1], [2]], [[2], [4]]]


def score(q, k, scale=None):
    """Return the scaled products of queries and keys."""
    return (q @ k.swapaxes(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)


def visible(q, k, mask=None, causal=None):
    """Return which keys each query may attend to."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = np.ones((n, m), bool) if mask is None else mask
    return allowed & np.tri(n, m, m - n, dtype=bool) if causal else allowed


def softmax(scores, axis=-1):
    """Return weights that sum to one; where all scores are minus infinity they are zeros."""
    parts = np.exp(scores - scores.max(axis=axis, keepdims=True, initial=np.finfo(scores.dtype).min))
    total = parts.sum(axis=axis, keepdims=True)
    return parts / np.where(total > 0, total, 1)


def attend(q, k, v, *, mask=None, causal=False, scale=None):
    """Return what attention is, for faults that are wrong in what they hand to it or in what they make of it."""
    return softmax(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)) @ v


def attend_in_blocks(scores, v, shrink):
    """Take in 16 keys at a time; `shrink` says what is left of the sums when the maximum moves from one number to another."""
    top, total, y = np.full((*scores.shape[:-1], 1), np.finfo(scores.dtype).min, scores.dtype), 0, 0
    for at in range(0, v.shape[-2], 16):
        block = scores[..., at : at + 16]
        new = np.maximum(top, block.max(axis=-1, keepdims=True))
        kept, parts = shrink(top, new), np.exp(block - new)
        total = total * kept + parts.sum(axis=-1, keepdims=True)
        y = y * kept + parts @ v[..., at : at + 16, :]
        top = new
    return y / np.where(total > 0, total, 1)


# --- The scale -----------------------------------------------------------------------------------------


@fault(
    "attention",
    origin="mlc-ai/mlc-llm#3426",
    fails=("ATT-8", "ATT-1"),
    on=call([[2, 0, 0, 0]], [[0, 0, 0, 0], [LN3, 0, 0, 0]], VALUES),
    hint="the scores are divided by the root of d_k before the softmax",
)
def no_scale(q, k, v, *, mask=None, causal=False, scale=None):
    """The scores are not scaled at all unless a scale is given."""
    return attend(q, k, v, mask=mask, causal=causal, scale=1 if scale is None else scale)


@fault(
    "attention",
    fails=("ATT-1", "ATT-8", "ATT-7"),
    on=call([[2, 0, 0, 0]], [[0, 0, 0, 0], [LN3, 0, 0, 0]], VALUES),
    hint="one query is scaled as many are: a step of decoding gives what the whole text gives",
)
def single_query_unscaled(q, k, v, *, mask=None, causal=False, scale=None):
    """A single query, as in decoding, is compared without the default scale."""
    return attend(q, k, v, mask=mask, causal=causal, scale=1 if scale is None and q.shape[-2] == 1 else scale)


@fault(
    "attention",
    fails=("ATT-8", "ATT-1"),
    on=call([[2, 0, 0, 0]], [[0, 0, 0, 0], [LN3, 0, 0, 0]], VALUES),
    hint="the scores are divided by the root of d_k, not by d_k",
)
def scale_without_root(q, k, v, *, mask=None, causal=False, scale=None):
    """The default scale is 1/d_k, without the root."""
    return attend(q, k, v, mask=mask, causal=causal, scale=1 / q.shape[-1] if scale is None else scale)


@fault(
    "attention",
    origin="lucidrains/vit-pytorch#65",
    fails=("ATT-1",),
    on=call([QUERY] * 4, [KEYS] * 4, [VALUES] * 4),
    hint="d_k is the width of one head, the last axis of k, and not the width of the model",
)
def scale_of_all_heads(q, k, v, *, mask=None, causal=False, scale=None):
    """The default scale is that of the width of all heads together, 1/sqrt(h * d_k)."""
    heads = q.shape[-3] if q.ndim > 2 else 1
    return attend(q, k, v, mask=mask, causal=causal, scale=(heads * q.shape[-1]) ** -0.5 if scale is None else scale)


@fault(
    "attention",
    origin="tenstorrent/tt-metal#56789",
    fails=("ATT-8", "ATT-1"),
    on=call([QUERY] * 4, [KEYS] * 4, [VALUES] * 4),
    hint="d_k is the last axis of k; the number of heads has no part in the scale",
)
def scale_of_head_count(q, k, v, *, mask=None, causal=False, scale=None):
    """The default scale is 1/sqrt(h), of the number of heads."""
    heads = q.shape[-3] if q.ndim > 2 else 1
    return attend(q, k, v, mask=mask, causal=causal, scale=heads**-0.5 if scale is None else scale)


@fault(
    "attention",
    fails=("ATT-8", "ATT-1"),
    on=call(QUERY, KEYS, [[0, 0, 0, 0], [4, 4, 4, 4]]),
    hint="the scale is made of the width of the keys; that of the values may differ",
)
def scale_of_the_values(q, k, v, *, mask=None, causal=False, scale=None):
    """The default scale is that of the width of the values, 1/sqrt(d_v)."""
    return attend(q, k, v, mask=mask, causal=causal, scale=v.shape[-1] ** -0.5 if scale is None else scale)


@fault(
    "attention",
    fails=("ATT-8", "ATT-1"),
    on=call(QUERY, KEYS, VALUES),
    hint="the padding of the features is no part of d_k",
)
def scale_of_padded_width(q, k, v, *, mask=None, causal=False, scale=None):
    """The default scale is that of d_k rounded up to a multiple of 8, to which the kernel pads."""
    padded = (q.shape[-1] + 7) // 8 * 8
    return attend(q, k, v, mask=mask, causal=causal, scale=padded**-0.5 if scale is None else scale)


@fault(
    "attention",
    fails=("ATT-9",),
    on=call(QUERY, KEYS, VALUES, scale=0),
    hint="0 is a scale; only None means that none is given",
)
def scale_of_zero_ignored(q, k, v, *, mask=None, causal=False, scale=None):
    """A scale of zero is taken for one that is not given."""
    return attend(q, k, v, mask=mask, causal=causal, scale=scale or None)


@fault(
    "attention",
    fails=("ATT-9",),
    on=call([[1, 0, 0, 0]], [[0, 0, 0, 0], [LN3, 0, 0, 0]], VALUES, scale=1),
    hint="1 is a scale; only None means that none is given",
)
def scale_of_one_ignored(q, k, v, *, mask=None, causal=False, scale=None):
    """A scale of one is taken for one that is not given."""
    return attend(q, k, v, mask=mask, causal=causal, scale=None if scale == 1 else scale)


@fault(
    "attention",
    fails=("ATT-9",),
    on=call([[1, 0, 0, 0]], [[0, 0, 0, 0], [LN3, 0, 0, 0]], VALUES, scale=1),
    hint="a scale that is given replaces the default one",
)
def scale_on_top(q, k, v, *, mask=None, causal=False, scale=None):
    """An explicit scale multiplies the default one where it should replace it."""
    return attend(q, k, v, mask=mask, causal=causal, scale=q.shape[-1] ** -0.5 * (1 if scale is None else scale))


@fault(
    "attention",
    fails=("ATT-9",),
    on=call(QUERY, KEYS, VALUES, scale=2),
    hint="the scale multiplies the scores; what divides them is a temperature",
)
def scale_as_divisor(q, k, v, *, mask=None, causal=False, scale=None):
    """A scale that is given divides the scores, as a temperature does."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = score(q, k, 1) / (q.shape[-1] ** 0.5 if scale is None else scale)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    fails=("ATT-9",),
    on=call(QUERY, KEYS, VALUES, scale=-1),
    hint="a negative scale exchanges what matches well and what matches badly",
)
def scale_split_by_root(q, k, v, *, mask=None, causal=False, scale=None):
    """The root of the scale multiplies both q and k, so that the sign of a negative scale is lost."""
    root = (q.shape[-1] ** -0.5 if scale is None else abs(scale)) ** 0.5
    return attend(q * root, k * root, v, mask=mask, causal=causal, scale=1)


@fault(
    "attention",
    fails=("ATT-9",),
    on=call(normal(1, 64), normal(3, 64, seed=1), ONE_TWO_FOUR, scale=0.5),
    hint="a scale that is given replaces the default one, for the usual d_k too",
)
def scale_of_usual_width_fixed(q, k, v, *, mask=None, causal=False, scale=None):
    """For heads of 64 features the scale is written into the code, and an explicit one is ignored."""
    return attend(q, k, v, mask=mask, causal=causal, scale=0.125 if q.shape[-1] == 64 else scale)


@fault(
    "attention",
    fails=("ATT-9",),
    on=call(QUERY, KEYS, VALUES, causal=True, scale=2),
    hint="options come together: the scale holds in causal order too",
)
def scale_lost_beside_order(q, k, v, *, mask=None, causal=False, scale=None):
    """An explicit scale is ignored when causal is set."""
    return attend(q, k, v, mask=mask, causal=causal, scale=None if causal else scale)


@fault(
    "attention",
    fails=("ATT-9",),
    on=call(QUERY, [[0], [10]], VALUES, scale=0.1),
    hint="the scale has the precision of the inputs, whether it is given or not",
)
def given_scale_in_half(q, k, v, *, mask=None, causal=False, scale=None):
    """A scale that is given is rounded to float16, the default one is not."""
    return attend(q, k, v, mask=mask, causal=causal, scale=None if scale is None else float(np.float16(scale)))


@fault(
    "attention",
    fails=("ATT-9",),
    on=call(QUERY, KEYS, VALUES, mask=[[True, False]], scale=-1),
    hint="the mask comes after the scale: minus infinity times 0 is no number, and times -1 it is infinite",
)
def scale_after_the_mask(q, k, v, *, mask=None, causal=False, scale=None):
    """The scale multiplies the scores after the hidden ones became minus infinity; a scale of 0 or below brings them back."""
    hidden = np.where(visible(q, k, mask, causal), score(q, k, 1), -np.inf)
    return softmax(hidden * (q.shape[-1] ** -0.5 if scale is None else scale)) @ v


@fault(
    "attention",
    fails=("ATT-2", "ATT-1"),
    on=call([[1, 0, 0, 0]], [[0, 0, 0, 0], [LN3, 0, 0, 0]], VALUES),
    hint="the scale multiplies the scores before the softmax, and the weights sum to one",
)
def scale_after_the_softmax(q, k, v, *, mask=None, causal=False, scale=None):
    """The weights are multiplied by the scale, not the scores."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return attend(q, k, v, mask=mask, causal=causal, scale=1) * scale


# --- The products --------------------------------------------------------------------------------------


@fault(
    "attention",
    fails=("ATT-1",),
    on=call(normal(2, 3, 2), normal(2, 2, 2, seed=1), normal(2, 2, 2, seed=2)),
    hint="the transpose exchanges the last two axes alone; leading axes stay where they are",
)
def keys_reversed_in_all_axes(q, k, v, *, mask=None, causal=False, scale=None):
    """The transpose of k reverses all of its axes, the leading ones too."""
    scores = (q @ k.T) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[1, 0]], [[0, LN3], [0, 0]], VALUES),
    hint="the keys are always [m, d_k], and always transposed",
)
def square_keys_not_transposed(q, k, v, *, mask=None, causal=False, scale=None):
    """Keys that are as many as their features are taken for transposed ones, since the shapes fit."""
    features_first = k if k.shape[-1] == k.shape[-2] else k.swapaxes(-1, -2)
    return attend(q, features_first.swapaxes(-1, -2), v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[0, 0, 1]], [[0, 0, 0], [0, 0, LN3]], VALUES),
    hint="every feature counts, the last one of an odd number too",
)
def odd_feature_dropped(q, k, v, *, mask=None, causal=False, scale=None):
    """Features are multiplied in pairs, and the last of an odd number is left out."""
    width = q.shape[-1]
    pairs = max(1, width // 2) * 2
    return attend(q[..., :pairs], k[..., :pairs], v, mask=mask, causal=causal, scale=width**-0.5 if scale is None else scale)


@fault(
    "attention",
    fails=("ATT-8",),
    on=call([[0, 0, 0, 1, 0]], [[0, 0, 0, 0, 0], [0, 0, 0, LN3, 0]], VALUES),
    hint="each feature counts once: what the last group shares with the one before is left out of it",
)
def tail_features_counted_twice(q, k, v, *, mask=None, causal=False, scale=None):
    """Features are read four at a time, and the last four overlap those before where d_k is above four and no multiple of it."""
    width = q.shape[-1]
    if width > 4 and width % 4:
        scale = width**-0.5 if scale is None else scale
        read = [*range(width // 4 * 4), *range(width - 4, width)]
        q, k = q[..., read], k[..., read]
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call(normal(1, 130), normal(3, 130, seed=1), ONE_TWO_FOUR),
    hint="every feature counts, however wide a head is",
)
def features_past_128_dropped(q, k, v, *, mask=None, causal=False, scale=None):
    """Features of q and k from the 129th on are left out of the scores."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return attend(q[..., :128], k[..., :128], v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-11",),
    on=call([[1]], [[60], [56]], [[7], [1]]),
    hint="the formula has no limit for scores",
)
def scores_soft_capped(q, k, v, *, mask=None, causal=False, scale=None):
    """The scores are capped at 50 by a tanh that only some models have."""
    scores = 50 * np.tanh(score(q, k, scale) / 50)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    fails=("ATT-11", "ATT-10"),
    on=call([[1]], [[70000], [69999]], VALUES),
    hint="scores may be as large as the dtype of the inputs allows",
)
def scores_saturated(q, k, v, *, mask=None, causal=False, scale=None):
    """The products of q and k are clipped at 65504, the largest number of half precision."""
    scores = np.clip(score(q, k, 1), -65504, 65504) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    fails=("ATT-1", "ATT-8", "ATT-10"),
    on=call([[1]], [[0], [1 / 3]], VALUES),
    hint="scores have the digits of the inputs, also behind the point",
)
def scores_in_fixed_point(q, k, v, *, mask=None, causal=False, scale=None):
    """Scores are rounded to multiples of 1/1024."""
    scores = np.round(score(q, k, scale) * 1024) / 1024
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    fails=("ATT-4",),
    on=call([[1]], [[-20000], [-20001]], [[1], [9]]),
    hint="a low score is a score, and no mark of a hidden key",
)
def low_scores_clipped(q, k, v, *, mask=None, causal=False, scale=None):
    """Scores below -10000 are raised to it, as if they marked hidden keys."""
    scores = np.maximum(score(q, k, scale), -1e4)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


# --- The softmax ---------------------------------------------------------------------------------------


@fault(
    "attention",
    origin="labmlai/annotated_deep_learning_paper_implementations#146",
    fails=("ATT-7", "ATT-2"),
    on=call(QUERY, KEYS, VALUES),
    hint="each query has one distribution over the keys: the softmax runs over the last axis",
)
def softmax_over_queries(q, k, v, *, mask=None, causal=False, scale=None):
    """The softmax runs over the queries."""
    return softmax(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf), axis=-2) @ v


@fault(
    "attention",
    origin="PetrochukM/PyTorch-NLP#2",
    fails=("GEN-7", "ATT-2"),
    on=call([QUERY, QUERY], [KEYS, KEYS], [VALUES, VALUES]),
    hint="the axis of the softmax is that of the keys, and no entry of the batch has a part in another",
)
def softmax_over_batch(q, k, v, *, mask=None, causal=False, scale=None):
    """The softmax runs over the first axis, the batch."""
    return softmax(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf), axis=0) @ v


@fault(
    "attention",
    fails=("ATT-2",),
    on=call([[0]], [[0], [0]], [[3], [3]]),
    hint="the weights of a query sum to one",
)
def softmax_with_one_more(q, k, v, *, mask=None, causal=False, scale=None):
    """The denominator of the softmax has one more, for attending to nothing."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    top = scores.max(axis=-1, keepdims=True, initial=0)
    parts = np.exp(scores - top)
    return parts / (np.exp(-top) + parts.sum(axis=-1, keepdims=True)) @ v


@fault(
    "attention",
    fails=("ATT-1",),
    on=call(QUERY, KEYS, VALUES),
    hint="the scores are multiplied by log2(e) before a power of 2 stands for one of e",
)
def softmax_in_base_two(q, k, v, *, mask=None, causal=False, scale=None):
    """The softmax raises 2, not e, to the scores."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    parts = np.exp2(scores - scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min))
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-9",),
    on=call(QUERY, KEYS, VALUES, scale=2),
    hint="the scores are multiplied by log2(e) before a power of 2 stands for one of e, whichever scale they have",
)
def base_two_beside_scale(q, k, v, *, mask=None, causal=False, scale=None):
    """The factor log2(e), which makes a power of e one of 2, is part of the default scale alone, and missing in a given one."""
    scale = float(np.log2(np.e)) * q.shape[-1] ** -0.5 if scale is None else scale
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    parts = np.exp2(scores - scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min))
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-2", "ATT-1", "ATT-3", "ATT-12", "ATT-16"),
    on=call([[0]], [[0]], [[7]]),
    hint="the sum is at least 1 where there is a key, for the greatest score counts 1: only a row without keys needs care",
)
def eps_in_the_sum(q, k, v, *, mask=None, causal=False, scale=None):
    """The sum of the weights has 1e-5 added, so that nothing is divided by zero."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min))
    return parts / (parts.sum(axis=-1, keepdims=True) + 1e-5) @ v


@fault(
    "attention",
    origin="tenstorrent/tt-metal#12661",
    fails=("ATT-11",),
    on=call([[1]], [[1000], [0]], [[7], [1]]),
    hint="exp overflows: subtract the greatest score of the row first, which changes no weight",
)
def no_maximum_taken_off(q, k, v, *, mask=None, causal=False, scale=None):
    """The greatest score of a row is not subtracted before the exponential."""
    parts = np.exp(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf))
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    origin="HabanaAI/vllm-fork#275",
    fails=("ATT-11", "ATT-10", "GEN-3"),
    on=call([[1]], [[1000], [0]], [[7], [1]]),
    hint="subtract the greatest score of the row: no number fits all scores",
)
def constant_taken_off(q, k, v, *, mask=None, causal=False, scale=None):
    """A fixed 10 is subtracted from the scores, not the greatest of their row."""
    parts = np.exp(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf) - 10)
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    origin="flashinfer-ai/flashinfer#4267",
    fails=("ATT-10",),
    on=call([[1]], [[-100000], [-100000]], [[0], [4]]),
    hint="the running maximum starts at minus infinity: scores may be lower than any number chosen for it",
)
def running_maximum_from_finite(q, k, v, *, mask=None, causal=False, scale=None):
    """The running maximum starts at -50000, so that rows with lower scores alone give zeros."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-50000))
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-11",),
    on=call([[1], [0]], [[1000], [0]], [[7], [1]]),
    hint="each row has a greatest score of its own",
)
def maximum_over_everything(q, k, v, *, mask=None, causal=False, scale=None):
    """The greatest score of the whole array is subtracted from every row."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    parts = np.exp(scores - scores.max(initial=np.finfo(scores.dtype).min))
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("GEN-7", "ATT-11", "GEN-3"),
    on=call([[[0]], [[1]]], [[[1000], [0]]] * 2, [[[7], [1]]] * 2),
    hint="each row of each entry has a greatest score of its own",
)
def maximum_from_first_entry(q, k, v, *, mask=None, causal=False, scale=None):
    """Every entry of a batch subtracts the greatest scores of the first entry."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    top = scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = np.exp(scores - (top[:1] if q.ndim > 2 else top))
        total = parts.sum(axis=-1, keepdims=True)
        return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-10", "ATT-11", "ATT-2", "ATT-1"),
    on=call([[1]], [[-1000], [-1000]], [[0], [4]]),
    hint="what is subtracted is the greatest score, which may be far below zero",
)
def greatest_magnitude_taken_off(q, k, v, *, mask=None, causal=False, scale=None):
    """The greatest magnitude of the scores of a row is subtracted, and not the greatest score."""
    scores, allowed = score(q, k, scale), visible(q, k, mask, causal)
    top = np.abs(np.where(allowed, scores, 0)).max(axis=-1, keepdims=True)
    parts = np.exp(np.where(allowed, scores, -np.inf) - top)
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-11", "ATT-6", "GEN-3", "ATT-5"),
    on=call([[1]], [[0], [1000]], [[7], [1]]),
    hint="what is subtracted is the greatest score of the row, wherever it stands",
)
def score_of_first_key_taken_off(q, k, v, *, mask=None, causal=False, scale=None):
    """The score of the first key is subtracted from those of its row, and not the greatest."""
    scores = score(q, k, scale)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = np.where(visible(q, k, mask, causal), np.exp(scores - scores[..., :1]), 0)
        total = parts.sum(axis=-1, keepdims=True)
        return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-5",),
    on=call([[1]], [[0], [1000]], [[1], [9]], mask=[[True, False]]),
    hint="the greatest score is that of the keys that the query may attend to",
)
def maximum_with_hidden_keys(q, k, v, *, mask=None, causal=False, scale=None):
    """The greatest score is taken before the mask is applied; a loud hidden key puts the others below what exp can hold."""
    scores = score(q, k, scale)
    parts = np.where(visible(q, k, mask, causal), np.exp(scores - scores.max(axis=-1, keepdims=True)), 0)
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-11",),
    on=call([[0]] * 64 + [[1]], [[1000], [0]], [[7], [1]]),
    hint="each row has a greatest score of its own, in every tile of queries",
)
def maximum_of_first_tile(q, k, v, *, mask=None, causal=False, scale=None):
    """Queries from the 65th on subtract the greatest score of the query 64 places before them."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    top = scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min)
    top[..., 64:, :] = top[..., :-64, :].copy()
    parts = np.exp(scores - top)
    total = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-6", "ATT-13"),
    on=call([[1]], [[0]] * 16 + [[LN3]] * 16, [[0]] * 16 + [[4]] * 16),
    hint="when a greater score appears, all that was summed up to then is multiplied by exp(old maximum - new maximum)",
)
def rescale_lost(q, k, v, *, mask=None, causal=False, scale=None):
    """The running sums are not rescaled when a block has a greater score than those before it."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    return attend_in_blocks(scores, v, lambda old, new: 1)


@fault(
    "attention",
    fails=("ATT-6", "ATT-13"),
    on=call([[1]], [[0]] * 16 + [[LN3]] * 16, [[0]] * 16 + [[4]] * 16),
    hint="a rescale may be put off only as long as the old maximum is subtracted",
)
def small_rescale_skipped(q, k, v, *, mask=None, causal=False, scale=None):
    """The running sums are not rescaled when the maximum grows by less than 2, though the new maximum is used."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    return attend_in_blocks(scores, v, lambda old, new: np.where(new - old < 2, 1, np.exp(old - new)))


@fault(
    "attention",
    fails=("ATT-11",),
    on=call([[1]], [[9]] + [[0]] * 63, [[0]] + [[1]] * 63),
    hint="a low block counts little, but it counts: the result is compared to the last digits",
)
def low_block_skipped(q, k, v, *, mask=None, causal=False, scale=None):
    """A block of 32 keys is skipped where its greatest score is 6 or more below the greatest of its row."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    for at in range(0, scores.shape[-1], 32):
        block = scores[..., at : at + 32]
        block[...] = np.where(block.max(axis=-1, keepdims=True) <= top - 6, -np.inf, block)
    return softmax(scores) @ v


@fault(
    "attention",
    fails=("ATT-12", "ATT-13", "ATT-9", "ATT-6", "ATT-1"),
    on=call([[0]], ZEROS, ONE_TWO_FOUR),
    hint="keys with equal scores have equal weights, the greatest score too",
)
def tied_maximum_counted_once(q, k, v, *, mask=None, causal=False, scale=None):
    """Of several keys that have the greatest score, only the first counts."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    first = np.arange(k.shape[-2]) == scores.argmax(axis=-1)[..., None]
    tied = (scores == scores.max(axis=-1, keepdims=True)) & ~first
    return softmax(np.where(tied, -np.inf, scores)) @ v


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[1]], [[8], [0]], [[0], [1]]),
    hint="the other keys count little, but they count: the result is compared to the last digits",
)
def peaked_row_cut_short(q, k, v, *, mask=None, causal=False, scale=None):
    """Where the greatest score is 8 or more above all others, its value is the result."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    near = scores > top - 8
    return softmax(np.where(near.sum(axis=-1, keepdims=True) == 1, np.where(near, scores, -np.inf), scores)) @ v


@fault(
    "attention",
    fails=("ATT-13",),
    on=call([[1]], [[7], [0]], [[0], [1]]),
    hint="a weight may be small, and there may be thousands of them",
)
def light_weights_pruned(q, k, v, *, mask=None, causal=False, scale=None):
    """Weights below 0.001 are set to zero, and the others are left as they are."""
    weights = softmax(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf))
    return np.where(weights < 1e-3, 0, weights) @ v


@fault(
    "attention",
    fails=("ATT-5", "ATT-15", "ATT-18"),
    on=call([[0]], [[0], [0]], [[1], [1e20]], mask=[[True, False]]),
    hint="the weight of a hidden key is zero, for its value may be as large as the dtype allows",
)
def weights_kept_above_zero(q, k, v, *, mask=None, causal=False, scale=None):
    """Weights are kept at 1e-12 or above, those of hidden keys too."""
    weights = softmax(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf))
    return np.maximum(weights, 1e-12) @ v


@fault(
    "attention",
    fails=("ATT-6", "ATT-1"),
    on=call([[1]], [[0]] * 16 + [[LN3]], [[0]] * 16 + [[4]]),
    hint="two parts of the keys are put together by the sums of their exponentials, not half and half",
)
def splits_averaged(q, k, v, *, mask=None, causal=False, scale=None):
    """With one query and more than 16 keys, two halves are attended to apart, and their results averaged."""
    n, m = q.shape[-2], k.shape[-2]
    if n != 1 or m <= 16:
        return attend(q, k, v, mask=mask, causal=causal, scale=scale)
    scores, half = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf), m // 2
    return (softmax(scores[..., :half]) @ v[..., :half, :] + softmax(scores[..., half:]) @ v[..., half:, :]) / 2


# --- The mask ------------------------------------------------------------------------------------------


@fault(
    "attention",
    origin="lucidrains/x-transformers#160",
    fails=("ATT-4",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[True, False, True]]),
    hint="True in the mask means that the key may be attended to",
)
def mask_inverted(q, k, v, *, mask=None, causal=False, scale=None):
    """True in the mask hides a key."""
    return attend(q, k, v, mask=None if mask is None else ~mask, causal=causal, scale=scale)


@fault(
    "attention",
    origin="opendilab/DI-engine#333",
    fails=("ATT-4", "ATT-5", "ATT-17", "CAU-14"),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[True, False, True]]),
    hint="what hides the keys returns new scores, and these go into the softmax",
)
def mask_dropped(q, k, v, *, mask=None, causal=False, scale=None):
    """The masked scores are computed, and then the unmasked ones are used."""
    scores = np.where(visible(q, k, None, causal), score(q, k, scale), -np.inf)
    if mask is not None:
        np.where(mask, scores, -np.inf)
    return softmax(scores) @ v


@fault(
    "attention",
    origin="pytorch/pytorch#103963",
    fails=("ATT-4", "ATT-5"),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[True, False, True]]),
    hint="a boolean mask selects; only a mask of numbers is added to the scores",
)
def mask_added(q, k, v, *, mask=None, causal=False, scale=None):
    """The truth values of the mask are added to the scores as 0 and 1."""
    scores = score(q, k, scale) + (0 if mask is None else mask)
    return softmax(np.where(visible(q, k, None, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    origin="openxla/xla#11444",
    fails=("ATT-4", "ATT-5", "ATT-17", "CAU-14"),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[True, False, True]]),
    hint="a score of 0 is a score like any other: hidden ones become minus infinity",
)
def mask_multiplied(q, k, v, *, mask=None, causal=False, scale=None):
    """The scores are multiplied by the mask, so that a hidden key keeps a score of 0."""
    scores = score(q, k, scale) * (1 if mask is None else mask)
    return softmax(np.where(visible(q, k, None, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    fails=("ATT-2", "ATT-4"),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[True, False, True]]),
    hint="the mask belongs before the softmax: the weights of the keys that are seen sum to one",
)
def mask_after_the_softmax(q, k, v, *, mask=None, causal=False, scale=None):
    """The mask multiplies the weights after the softmax, and they no longer sum to one."""
    weights = softmax(np.where(visible(q, k, None, causal), score(q, k, scale), -np.inf))
    return (weights if mask is None else weights * mask) @ v


@fault(
    "attention",
    origin="huggingface/transformers#1195",
    fails=("ATT-4", "ATT-18", "ATT-15", "ATT-10"),
    on=call([[1]], [[-20000], [0], [-20000]], [[1], [9], [4]], mask=[[True, False, True]]),
    hint="hidden scores become minus infinity: a visible score may be lower than any finite number",
)
def hidden_at_ten_thousand(q, k, v, *, mask=None, causal=False, scale=None):
    """Hidden scores are multiplied away and set to -10000, below which visible ones may lie."""
    scores, allowed = score(q, k, scale), visible(q, k, mask, causal)
    return softmax(scores * allowed - scores.dtype.type(1e4) * ~allowed) @ v


@fault(
    "attention",
    origin="microsoft/onnxruntime#8549",
    fails=("ATT-5",),
    on=call([[1]], [[0], [20000]], [[1], [9]], mask=[[True, False]]),
    hint="hidden scores become minus infinity: any finite number can be made up for by a loud key",
)
def ten_thousand_subtracted(q, k, v, *, mask=None, causal=False, scale=None):
    """10000 is subtracted from hidden scores, which is not enough for loud ones."""
    scores = score(q, k, scale)
    return softmax(np.where(visible(q, k, mask, causal), scores, scores - 1e4)) @ v


@fault(
    "attention",
    fails=("ATT-4",),
    on=call([[20000]], [[-200], [0]], [[1], [9]], mask=[[True, False]]),
    hint="hidden scores become minus infinity: a visible score may be lower than any finite number",
)
def hidden_at_a_million(q, k, v, *, mask=None, causal=False, scale=None):
    """Hidden scores are set to -1e6; rows without any key give zeros, but visible scores below -1e6 lose."""
    allowed = visible(q, k, mask, causal)
    weights = softmax(np.where(allowed, score(q, k, scale), -1e6))
    return np.where(allowed.any(axis=-1, keepdims=True), weights, 0) @ v


@fault(
    "attention",
    fails=("ATT-18",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[False, False, False]]),
    hint="a query without any allowed key gives zeros, unless something else is declared",
)
def least_number_added(q, k, v, *, mask=None, causal=False, scale=None):
    """Hidden scores are finite, far below the others: a query without keys gets the mean of all values."""
    scores = score(q, k, scale)
    return softmax(np.where(visible(q, k, mask, causal), scores, scores + np.finfo(scores.dtype).min)) @ v


@fault(
    "attention",
    fails=("ATT-18",),
    on=call([[0], [0]], [[0]], [[7]], mask=[[False], [True]], causal=True),
    hint="a key that the mask and the causal order both hide is hidden once",
)
def two_fills_added(q, k, v, *, mask=None, causal=False, scale=None):
    """The mask and the causal order each add the least number of the dtype, and together they reach minus infinity."""
    scores, least = score(q, k, scale), np.finfo(q.dtype).min
    for allowed in (visible(q, k, mask), visible(q, k, None, causal)):
        scores = np.where(allowed, scores, scores + least)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return parts / parts.sum(axis=-1, keepdims=True) @ v


@fault(
    "attention",
    origin="pytorch/pytorch#103749",
    fails=("ATT-18",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[False, False, False]]),
    hint="a query without any allowed key gives zeros, unless something else is declared",
)
def empty_row_nan(q, k, v, *, mask=None, causal=False, scale=None):
    """A query without any allowed key divides zero by zero, and gives NaN."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return parts / parts.sum(axis=-1, keepdims=True) @ v


@fault(
    "attention",
    origin="ml-explore/mlx#2608",
    fails=("ATT-18",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[False, False, False]]),
    hint="an entry that is padding from end to end gives zeros, as its queries would one by one",
)
def hidden_entry_nan(q, k, v, *, mask=None, causal=False, scale=None):
    """An entry of the batch whose mask hides every key from every query gives NaN; single queries without keys give zeros."""
    y = attend(q, k, v, mask=mask, causal=causal, scale=scale)
    seen = visible(q, k, mask).any(axis=(-2, -1))[..., None, None]
    return np.where(seen, y, np.nan).astype(q.dtype)


@fault(
    "attention",
    fails=("ATT-18",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[False, False, False]]),
    hint="a query without any allowed key gives zeros, unless something else is declared",
)
def empty_row_sees_itself(q, k, v, *, mask=None, causal=False, scale=None):
    """A query without any allowed key may attend to its own place, so that nothing is divided by zero."""
    allowed = visible(q, k, mask, causal)
    own = np.eye(q.shape[-2], k.shape[-2], dtype=bool)
    return attend(q, k, v, mask=allowed | own & ~allowed.any(axis=-1, keepdims=True), scale=scale)


@fault(
    "attention",
    fails=("ATT-18",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], mask=[[True, True], [False, False]]),
    hint="every row of the result is written, that of a query without any key too",
)
def empty_row_keeps_last(q, k, v, *, mask=None, causal=False, scale=None):
    """A query without any allowed key leaves the result of the row before it in the buffer."""
    y = attend(q, k, v, mask=mask, causal=causal, scale=scale)
    some = np.broadcast_to(visible(q, k, mask, causal).any(axis=-1, keepdims=True), (*y.shape[:-1], 1))
    for row in range(1, q.shape[-2]):
        y[..., row, :] = np.where(some[..., row, :], y[..., row, :], y[..., row - 1, :])
    return y


@fault(
    "attention",
    origin="pytorch/pytorch#190486",
    fails=("ATT-18",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], mask=[[False, True], [True, True]], causal=True),
    hint="whether a query has a key is asked of the mask and of the causal order together",
)
def empty_by_both_nan(q, k, v, *, mask=None, causal=False, scale=None):
    """A query that keeps keys under the mask and under the causal order, but none under both, gives NaN."""
    some_of_each = visible(q, k, mask).any(-1, keepdims=True) & visible(q, k, None, causal).any(-1, keepdims=True)
    some_of_both = visible(q, k, mask, causal).any(-1, keepdims=True)
    y = attend(q, k, v, mask=mask, causal=causal, scale=scale)
    return np.where(some_of_each & ~some_of_both, np.nan, y).astype(q.dtype)


@fault(
    "attention",
    fails=("ATT-18",),
    on=call([[0]], [[0]], [[7]], mask=[[False]]),
    hint="one key may be hidden as well, and then the query has none",
)
def single_key_always_seen(q, k, v, *, mask=None, causal=False, scale=None):
    """With one key its value is the result for every query, whatever the mask and the causal order say."""
    if k.shape[-2] == 1:
        return np.repeat(v, q.shape[-2], axis=-2)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[False, True, True]]),
    hint="a key is seen exactly where the mask is True, the first one too",
)
def first_key_always_seen(q, k, v, *, mask=None, causal=False, scale=None):
    """The first key may always be attended to, so that no row is without keys."""
    if mask is not None:
        mask = mask | (np.arange(k.shape[-2]) == 0)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], mask=[[False, True], [True, True]]),
    hint="a key is seen exactly where the mask is True, the query's own one too",
)
def own_key_always_seen(q, k, v, *, mask=None, causal=False, scale=None):
    """Each query may attend to the key at its own place, whatever the mask says."""
    if mask is not None:
        mask = mask | np.eye(q.shape[-2], k.shape[-2], dtype=bool)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-19",),
    on=call([[0]], ZEROS, [[1], [np.nan], [4]], mask=[[True, False, True]]),
    hint="a hidden NaN stays NaN or is kept out altogether; a number made of it hides a mistake",
)
def masked_nan_cleaned(q, k, v, *, mask=None, causal=False, scale=None):
    """NaN in the result is replaced by zero, so that a NaN in a hidden value becomes a number."""
    return np.nan_to_num(attend(q, k, v, mask=mask, causal=causal, scale=scale))


@fault(
    "attention",
    fails=("ATT-4",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], mask=[[True, False], [True, True]]),
    hint="the rows of the mask are queries, the columns keys",
)
def mask_transposed_where_square(q, k, v, *, mask=None, causal=False, scale=None):
    """A square mask is read with queries and keys exchanged."""
    if mask is not None and mask.shape[-1] == mask.shape[-2]:
        mask = mask.swapaxes(-1, -2)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4", "ATT-5"),
    on=call([[[0]], [[0]]], [[[0], [0]]] * 2, [[[1], [2]]] * 2, mask=[[[True, False]], [[False, True]]]),
    hint="a leading axis of the mask that is not 1 has an entry for each head",
)
def mask_of_first_head(q, k, v, *, mask=None, causal=False, scale=None):
    """Of a mask with one pattern for each head, the pattern of the first head serves all."""
    if mask is not None and mask.ndim > 2:
        mask = mask[..., :1, :, :]
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4", "ATT-5"),
    on=call([[[0]], [[0]]], [[[0], [0]]] * 2, [[[1], [2]]] * 2, mask=[[[True, False]], [[False, True]]]),
    hint="a leading axis of the mask that is not 1 has an entry for each head",
)
def mask_joined_over_heads(q, k, v, *, mask=None, causal=False, scale=None):
    """A key that any head may attend to is seen by all of them."""
    if mask is not None and mask.ndim > 2:
        mask = mask.any(axis=-3, keepdims=True)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-20",),
    on=call([[[0]], [[0]]], [ZEROS, ZEROS], [ONE_TWO_FOUR, [[10], [20], [40]]], mask=[[True, False, True]]),
    hint="a mask without leading axes serves every entry of the batch",
)
def mask_of_first_entry(q, k, v, *, mask=None, causal=False, scale=None):
    """A mask without leading axes is applied to the first entry of the batch alone."""
    if mask is not None and mask.ndim == 2 < q.ndim:
        of_all = np.ones((*q.shape[:-1], k.shape[-2]), bool)
        of_all[:1] = mask
        mask = of_all
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    origin="lsdefine/attention-is-all-you-need-keras#36",
    fails=("ATT-20",),
    on=call(
        np.zeros((2, 2, 1, 1)),
        np.zeros((2, 2, 2, 1)),
        [[[[1], [2]]] * 2] * 2,
        mask=[[[[True, False]], [[False, True]]], [[[True, True]], [[True, True]]]],
    ),
    hint="the first leading axis of the mask is that of q: batch entry and head keep their places",
)
def mask_of_batch_by_head(q, k, v, *, mask=None, causal=False, scale=None):
    """The entries of a mask with batch and head are read in the order of head and batch."""
    if mask is not None and mask.ndim == 4:
        mask = mask.swapaxes(0, 1).reshape(mask.shape)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-20",),
    on=call(
        np.zeros((2, 2, 1, 1)),
        np.zeros((2, 2, 2, 1)),
        [[[[1], [2]]] * 2] * 2,
        mask=[[[True, False]], [[False, True]]],
    ),
    hint="leading axes of the mask are aligned with those of q from the right",
)
def mask_rank_three_as_batch(q, k, v, *, mask=None, causal=False, scale=None):
    """Where there are as many entries as heads, a mask for each head is read as one for each entry."""
    if mask is not None and mask.ndim == 3 < q.ndim and q.shape[0] == q.shape[1]:
        mask = mask[:, None]
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[True, False, True]]),
    hint="a mask need not be a run of keys from the first on",
)
def mask_as_length(q, k, v, *, mask=None, causal=False, scale=None):
    """The mask is reduced to the number of its True entries, and that many keys from the first on are seen."""
    if mask is not None:
        mask = np.arange(k.shape[-2]) < mask.sum(axis=-1, keepdims=True)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], mask=[[True, True], [True, False]]),
    hint="every row of the mask is read: queries may differ in what they see",
)
def mask_judged_by_first_query(q, k, v, *, mask=None, causal=False, scale=None):
    """A mask that hides nothing from the first query is not applied."""
    if mask is not None and mask[..., :1, :].all():
        mask = None
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4", "ATT-17", "CAU-14"),
    on=call([[0]] * 65, [[0], [0]], [[1], [2]], mask=[[True, True]] * 64 + [[True, False]]),
    hint="the row of the mask is that of the query, counted from the first query and not from its tile",
)
def mask_rows_of_first_tile(q, k, v, *, mask=None, causal=False, scale=None):
    """Queries from the 65th on use the rows of the mask that belong to the first 64."""
    if mask is not None:
        mask = mask[..., np.arange(q.shape[-2]) % 64, :]
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4", "ATT-5"),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[True, False, True]]),
    hint="a block that is seen in part still needs its mask",
)
def mask_by_blocks(q, k, v, *, mask=None, causal=False, scale=None):
    """Where any query of a block of 16 may attend to any key of a block of 16, all of them may."""
    if mask is not None:
        mask = mask.copy()
        for i in range(0, mask.shape[-2], 16):
            for j in range(0, mask.shape[-1], 16):
                block = mask[..., i : i + 16, j : j + 16]
                block[...] = block.any(axis=(-2, -1), keepdims=True)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[False, True, True]]),
    hint="a tile may be skipped only if all of its entries are hidden",
)
def mask_block_judged_by_corner(q, k, v, *, mask=None, causal=False, scale=None):
    """A tile of 8 queries and 8 keys is skipped where the mask hides its first corner."""
    if mask is not None:
        mask = mask.copy()
        for i in range(0, mask.shape[-2], 8):
            for j in range(0, mask.shape[-1], 8):
                mask[..., i : i + 8, j : j + 8] &= mask[..., i : i + 1, j : j + 1].copy()
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-17",),
    on=call(np.zeros((1, 129)), np.zeros((3, 129)), ONE_TWO_FOUR, mask=[[True, False, True]]),
    hint="the mask holds for any width, on every path",
)
def mask_lost_above_128_features(q, k, v, *, mask=None, causal=False, scale=None):
    """Above 128 features another kernel is taken, which has no mask."""
    return attend(q, k, v, mask=mask if q.shape[-1] <= 128 else None, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4", "ATT-5", "ATT-17", "CAU-14"),
    on=call([[0]], [[0], [0]], [[1, 2], [2, 4]], mask=[[True, False]]),
    hint="the mask holds for any widths, on every path",
)
def mask_lost_for_wider_values(q, k, v, *, mask=None, causal=False, scale=None):
    """The mask is lost where the values are wider than the keys."""
    return attend(q, k, v, mask=mask if v.shape[-1] <= k.shape[-1] else None, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-5",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR, mask=[[True, False, True]], scale=0.5),
    hint="options come together: the mask holds beside a scale",
)
def mask_lost_beside_scale(q, k, v, *, mask=None, causal=False, scale=None):
    """The mask is not applied where a scale is given."""
    return attend(q, k, v, mask=mask if scale is None else None, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-4",),
    on=call(
        np.zeros((2, 1, 1, 1, 1)), np.zeros((2, 1, 1, 2, 1)), [[[VALUES]]] * 2, mask=[[[[[True, False]]]], [[[[False, True]]]]]
    ),
    hint="q, k, v and the mask may have any number of leading axes, and each entry has its own mask",
)
def mask_of_three_leading_axes(q, k, v, *, mask=None, causal=False, scale=None):
    """With three leading axes, all entries of the first use the mask of its first entry."""
    return attend(q, k, v, mask=mask[:1] if mask is not None and mask.ndim > 4 else mask, causal=causal, scale=scale)


# --- The causal order ----------------------------------------------------------------------------------


@fault(
    "attention",
    origin="pytorch/pytorch#131254",
    fails=("ATT-17",),
    on=call(ZEROS, ZEROS, ONE_TWO_FOUR, mask=[[True, True, True], [False, True, True], [False, True, True]], causal=True),
    hint="a key is seen where the mask and the causal order both allow it",
)
def mask_lost_beside_order(q, k, v, *, mask=None, causal=False, scale=None):
    """The mask is ignored when causal is set."""
    return attend(q, k, v, mask=None if causal else mask, causal=causal, scale=scale)


@fault(
    "attention",
    origin="keras-team/keras#23038",
    fails=("ATT-15",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], causal=True, scale=0.5),
    hint="options come together: the causal order holds beside a scale",
)
def order_lost_beside_scale(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order is lost where a scale is given."""
    return attend(q, k, v, mask=mask, causal=causal and scale is None, scale=scale)


@fault(
    "attention",
    fails=("ATT-17",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], mask=[[True, True], [True, True]], causal=True, scale=0.5),
    hint="options come together: the causal order holds beside a mask and a scale, all three in one call",
)
def order_lost_beside_mask_and_scale(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order is lost where a mask and a scale are given as well."""
    return attend(q, k, v, mask=mask, causal=causal and (mask is None or scale is None), scale=scale)


@fault(
    "attention",
    fails=("ATT-17",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], mask=[[True, True], [False, True]], causal=True),
    hint="a key is seen where the mask and the causal order both allow it",
)
def order_or_mask(q, k, v, *, mask=None, causal=False, scale=None):
    """A key is seen where either the mask or the causal order allows it."""
    if causal and mask is not None:
        return attend(q, k, v, mask=mask | visible(q, k, None, causal), scale=scale)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    origin="huggingface/transformers#36150",
    fails=("ATT-4",),
    on=call([[0], [0]], ZEROS[:2], [[1], [2]], mask=[[True, True], [True, False]]),
    hint="there is no causal order unless it is asked for, with a mask or without",
)
def order_without_being_asked(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order applies whenever a mask is given that hides something."""
    return attend(q, k, v, mask=mask, causal=causal or (mask is not None and not mask.all()), scale=scale)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[0], [0]], [[0], [0]], [[1], [2]]),
    hint="there is no causal order unless it is asked for, even if q and k are the same",
)
def order_for_self_attention(q, k, v, *, mask=None, causal=False, scale=None):
    """Where q and k hold the same numbers the call is taken for self-attention of a decoder, in causal order."""
    return attend(q, k, v, mask=mask, causal=causal or np.array_equal(q, k), scale=scale)


@fault(
    "attention",
    origin="NVIDIA/cutlass#2336",
    fails=("ATT-14", "CAU-14"),
    on=call([[0], [0]], ZEROS, ONE_TWO_FOUR, causal=True),
    hint="the last query sees every key, unless the other alignment is declared",
)
def order_top_left(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order is aligned top-left, which was not declared."""
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & np.tri(q.shape[-2], k.shape[-2], dtype=bool)
    return attend(q, k, v, mask=allowed, scale=scale)


@fault(
    "attention",
    fails=("ATT-17",),
    on=call([[0], [0]], ZEROS, ONE_TWO_FOUR, mask=[[True, True, True], [True, True, True]], causal=True),
    hint="the alignment is one, with a mask and without",
)
def order_top_left_beside_mask(q, k, v, *, mask=None, causal=False, scale=None):
    """Beside a mask the causal order is aligned top-left."""
    if causal and mask is not None:
        mask, causal = mask & np.tri(q.shape[-2], k.shape[-2], dtype=bool), False
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-16", "ATT-14"),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], causal=True),
    hint="a query sees the keys up to its own place, and not the next one",
)
def order_one_too_high(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order lets a query see one key beyond its own place."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & np.tri(n, m, m - n + 1, dtype=bool)
    return attend(q, k, v, mask=allowed, scale=scale)


@fault(
    "attention",
    origin="RVC-Boss/GPT-SoVITS#965",
    fails=("ATT-16", "ATT-14"),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], causal=True),
    hint="a query sees the key at its own place",
)
def order_one_too_low(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order hides the key at the query's own place."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & np.tri(n, m, m - n - 1, dtype=bool)
    return attend(q, k, v, mask=allowed, scale=scale)


@fault(
    "attention",
    origin="pytorch/pytorch#195910",
    fails=("ATT-15", "ATT-14"),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], causal=True),
    hint="each query has a diagonal of its own",
)
def order_for_groups_of_four(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order is decided once for four queries, by the last of them."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask)
    if causal:
        last_of_group = np.arange(n) // 4 * 4 + 3
        allowed = allowed & (np.arange(m) <= last_of_group[:, None] + (m - n))
    return attend(q, k, v, mask=allowed, scale=scale)


@fault(
    "attention",
    fails=("ATT-14", "CAU-14"),
    on=call([[0]], np.zeros((129, 1)), [[129]] + [[0]] * 128, causal=True),
    hint="the causal order has no window: every earlier key is seen, however far back",
)
def order_with_window(q, k, v, *, mask=None, causal=False, scale=None):
    """In causal order a query sees no further back than 128 keys, the window of another model."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask, causal)
    if causal:
        allowed = allowed & ~np.tri(n, m, m - n - 128, dtype=bool)
    return attend(q, k, v, mask=allowed, scale=scale)


@fault(
    "attention",
    fails=("ATT-14", "CAU-14"),
    on=call(np.zeros((130, 1)), np.zeros((130, 1)), np.arange(130)[:, None], causal=True),
    hint="the order is made for the lengths of the call, or the buffer is as long as any text",
)
def order_in_a_buffer_of_128(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order is kept in a buffer of 128 keys, and those beyond it are seen by all."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask)
    if causal:
        kept = np.arange(m) < 128
        allowed = allowed & (np.tri(n, m, m - n, dtype=bool) | ~kept)
    return attend(q, k, v, mask=allowed, scale=scale)


@fault(
    "attention",
    origin="NVIDIA/TransformerEngine#3248",
    fails=("ATT-15", "ATT-14", "ATT-16"),
    on=call([[0], [0]], [[0], [0]], [[1 / 3], [1e6]], causal=True),
    hint="what is measured over all values knows the later ones",
)
def later_values_set_the_scale(q, k, v, *, mask=None, causal=False, scale=None):
    """Under the causal order, values are rounded to a grid that the loudest of all sets, later ones too."""
    if causal:
        # 24 bits are those of float32: without a louder value, what is rounded off is little.
        step = np.abs(v).max(axis=-2, keepdims=True) * 2.0**-24
        v = np.round(v / np.where(step > 0, step, 1)) * step
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


# --- Blocks, places and shapes -------------------------------------------------------------------------


@fault(
    "attention",
    fails=("ATT-13", "ATT-6"),
    on=call([[0]], [[0]] * 65, [[0]] * 64 + [[65]]),
    hint="the keys after the last full block count too",
)
def last_block_dropped(q, k, v, *, mask=None, causal=False, scale=None):
    """Keys after the last full block of 64 are dropped."""
    m = k.shape[-2]
    kept = np.arange(m) < (m // 64 * 64 or m)
    return attend(q, k, v, mask=visible(q, k, mask, causal) & kept, scale=scale)


@fault(
    "attention",
    fails=("ATT-13",),
    on=call([[0]], [[0]] * 64, [[1]] * 64),
    hint="the last block holds m % 64 keys only where that is not zero",
)
def full_last_block_hidden(q, k, v, *, mask=None, causal=False, scale=None):
    """The last block of 64 keys keeps m % 64 of them, so that a full one is hidden."""
    m = k.shape[-2]
    last = (m - 1) // 64 * 64
    return attend(q, k, v, mask=visible(q, k, mask, causal) & (np.arange(m) < last + m % 64), scale=scale)


@fault(
    "attention",
    fails=("ATT-13",),
    on=call([[0]], ZEROS, ONE_TWO_FOUR),
    hint="the last key counts too",
)
def last_key_lost(q, k, v, *, mask=None, causal=False, scale=None):
    """The loop over the keys ends one short where there are three or more."""
    m = k.shape[-2]
    return attend(q, k, v, mask=visible(q, k, mask, causal) & ((np.arange(m) < m - 1) | (m < 3)), scale=scale)


@fault(
    "attention",
    origin="rationalism/flash-attn-triton#4",
    fails=("ATT-3", "ATT-12"),
    on=call([[0]], [[0], [0]], [[1], [2]]),
    hint="keys that only fill a tile are hidden, also where no mask is given",
)
def padded_keys_counted(q, k, v, *, mask=None, causal=False, scale=None):
    """Keys are padded with zeros to a multiple of 4, and the padding counts."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    rest = -k.shape[-2] % 4
    scores = np.pad(scores, [(0, 0)] * (scores.ndim - 1) + [(0, rest)])
    return softmax(scores) @ np.pad(v, [(0, 0)] * (v.ndim - 2) + [(0, rest), (0, 0)])


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[1]], [[1]], [np.arange(130)]),
    hint="every feature of the values is mixed, however wide they are",
)
def values_past_128_dropped(q, k, v, *, mask=None, causal=False, scale=None):
    """Value features from the 129th on are never written."""
    y = attend(q, k, v, mask=mask, causal=causal, scale=scale)
    y[..., 128:] = 0
    return y


@fault(
    "attention",
    fails=("ATT-1", "ATT-7"),
    on=call([[0]] * 256 + [[1]], KEYS, VALUES),
    hint="places of queries pass 255",
)
def queries_past_a_byte(q, k, v, *, mask=None, causal=False, scale=None):
    """The number of a query is kept in eight bits, so that query 256 gets the result of query 0."""
    y = attend(q, k, v, mask=mask, causal=causal, scale=scale)
    return y[..., np.arange(q.shape[-2]) % 256, :]


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[0]] * 256 + [[1]], [[0]] * 128 + [[LN3]] * 128, [[0]] * 128 + [[4]] * 128),
    hint="there are as many scores as queries times keys, in every entry of the batch",
)
def score_index_wraps(q, k, v, *, mask=None, causal=False, scale=None):
    """The place of a score among all scores is kept in 16 bits, and from 65536 on those of the first ones are read."""
    scores = score(q, k, scale)
    scores = scores.reshape(-1)[np.arange(scores.size) % 65536].reshape(scores.shape)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    fails=("ATT-13",),
    on=call([[0]], [[0]] * 256, [[1]] * 256),
    hint="a count of keys passes 255",
)
def allowed_keys_counted_in_a_byte(q, k, v, *, mask=None, causal=False, scale=None):
    """The allowed keys of a query are counted in eight bits, and 256 of them are taken for none."""
    count = visible(q, k, mask, causal).sum(axis=-1, keepdims=True, dtype=np.uint8)
    return np.where(count > 0, attend(q, k, v, mask=mask, causal=causal, scale=scale), 0)


@fault(
    "attention",
    fails=("ATT-13", "ATT-12", "ATT-1"),
    on=call([[0]], np.zeros((65, 1)), np.arange(65)[:, None]),
    hint="every allowed key counts, however many there are",
)
def best_64_keys(q, k, v, *, mask=None, causal=False, scale=None):
    """A query attends only to its 64 best keys."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    others = scores.argsort(axis=-1, kind="stable")[..., :-64]
    np.put_along_axis(scores, others, -np.inf, axis=-1)
    return softmax(scores) @ v


@fault(
    "attention",
    fails=("ATT-1", "GEN-7"),
    on=call(np.ones((17, 1, 1)), [[[0], [at]] for at in range(17)], [VALUES] * 17),
    hint="each head has keys of its own, however many heads there are",
)
def heads_past_sixteen(q, k, v, *, mask=None, causal=False, scale=None):
    """Heads from the 17th on attend to the keys of the head 16 places before them."""
    if q.ndim > 2:
        head = np.arange(q.shape[-3])
        k = k[..., np.where(head < 16, head, head - 16), :, :]
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-1", "GEN-7"),
    on=call(np.ones((8, 1, 1)), [[[0], [at]] for at in range(8)], [VALUES] * 8),
    hint="k has as many heads as q, and each head has keys of its own",
)
def eight_heads_grouped(q, k, v, *, mask=None, causal=False, scale=None):
    """Where the number of heads is a multiple of 8, heads share keys in groups of 8, as in grouped-query attention."""
    if q.ndim > 2 and q.shape[-3] % 8 == 0:
        k = k[..., np.arange(q.shape[-3]) // 8 * 8, :, :]
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-1", "GEN-7"),
    on=call(normal(2, 2, 3), normal(2, 2, 3, seed=1), normal(2, 2, 3, seed=2)),
    hint="which axis is that of the tokens is known, and not to be guessed from its length",
)
def layout_guessed_where_heads_are_queries(q, k, v, *, mask=None, causal=False, scale=None):
    """Where there are as many heads as queries and keys, the tokens are taken to lie before the heads."""
    if q.ndim > 2 and q.shape[-3] == q.shape[-2] == k.shape[-2]:
        q, k, v = (x.swapaxes(-3, -2) for x in (q, k, v))
        return attend(q, k, v, mask=mask, causal=causal, scale=scale).swapaxes(-3, -2)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-1", "GEN-7"),
    on=call(np.ones((2, 1, 1, 1, 1)), [[[[[0], [0]]]], [[KEYS]]], [[[VALUES]], [[VALUES]]]),
    hint="there may be any number of leading axes, and their entries are independent",
)
def third_leading_axis_shared(q, k, v, *, mask=None, causal=False, scale=None):
    """With three leading axes, all entries of the first use the keys of its first entry."""
    return attend(q, k[:1] if k.ndim > 4 else k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    origin="pytorch/pytorch#176767",
    fails=("GEN-1",),
    on=call(QUERY, KEYS, [[0, 1], [4, 5]]),
    hint="the result is as wide as the values",
)
def result_as_wide_as_keys(q, k, v, *, mask=None, causal=False, scale=None):
    """The result is allocated with the width of the keys, d_k, and not of the values."""
    y = np.zeros(q.shape, q.dtype)
    mixed = attend(q, k, v, mask=mask, causal=causal, scale=scale)[..., : q.shape[-1]]
    y[..., : mixed.shape[-1]] = mixed
    return y


# --- What the arrays hold ------------------------------------------------------------------------------


@fault(
    "attention",
    fails=("ATT-1",),
    on=call(QUERY, [[0], [1]], [[3], [5]]),
    hint="a zero is a number like any other: only the mask hides a key",
)
def zero_keys_hidden(q, k, v, *, mask=None, causal=False, scale=None):
    """A key whose features are all zero is taken for padding."""
    real = (k != 0).any(axis=-1)[..., None, :]
    return attend(q, k, v, mask=visible(q, k, mask, causal) & real, scale=scale)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[0]], [[1], [2]], [[3], [5]]),
    hint="a zero is a number like any other: a query of zeros gives the mean of the values",
)
def zero_queries_cleared(q, k, v, *, mask=None, causal=False, scale=None):
    """A query whose features are all zero is taken for padding, and its result set to zero."""
    return np.where((q != 0).any(axis=-1, keepdims=True), attend(q, k, v, mask=mask, causal=causal, scale=scale), 0)


@fault(
    "attention",
    fails=("ATT-13", "ATT-1", "ATT-4", "ATT-6", "ATT-14"),
    on=call([[0]], ZEROS, ONE_TWO_FOUR),
    hint="equal keys may have different values, and each of them has its weight",
)
def equal_keys_merged(q, k, v, *, mask=None, causal=False, scale=None):
    """Keys that are the same as the key before them are merged into it, and count once."""
    repeated = np.zeros(k.shape[:-1], bool)
    repeated[..., 1:] = (k[..., 1:, :] == k[..., :-1, :]).all(axis=-1)
    return attend(q, k, v, mask=visible(q, k, mask, causal) & ~repeated[..., None, :], scale=scale)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[1, 0, 0, 0]], [[2, 0, 0, 0], [0, 0, 0, 4]], [[2, 0, 0, 0], [0, 0, 0, 4]]),
    hint="the scale is no part of the values, even if keys and values are one array",
)
def shared_values_scaled(q, k, v, *, mask=None, causal=False, scale=None):
    """Where k and v hold the same numbers the scaled keys stand in for the values, and the result is scaled."""
    scaled = k * (q.shape[-1] ** -0.5 if scale is None else scale)
    return attend(q, scaled, scaled if np.array_equal(k, v) else v, mask=mask, causal=causal, scale=1)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[2, 0, 0, 0], [0, 1, 0, 0]], [[2, 0, 0, 0], [0, 1, 0, 0]], VALUES),
    hint="the scale is applied once, even if queries and keys are one array",
)
def shared_queries_scaled_twice(q, k, v, *, mask=None, causal=False, scale=None):
    """Where q and k hold the same numbers the scale is applied to both."""
    scaled = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    return attend(scaled, scaled if np.array_equal(q, k) else k, v, mask=mask, causal=causal, scale=1)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call(TOKENS, TOKENS, [[0], [4]]),
    hint="the scale is applied once, even if queries and keys lie in one memory",
)
def one_array_scaled_twice(q, k, v, *, mask=None, causal=False, scale=None):
    """Where k is the very array q, the copy of q that the scale multiplies stands in for both."""
    scaled = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    return attend(scaled, scaled if k is q else k, v, mask=mask, causal=causal, scale=1)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[1, 0, 0, 0]], TOKENS, TOKENS),
    hint="the scale is no part of the values, even if keys and values lie in one memory",
)
def one_memory_scaled(q, k, v, *, mask=None, causal=False, scale=None):
    """Where v is the very array k, the copy of k that the scale multiplies stands in for both."""
    scaled = k * (q.shape[-1] ** -0.5 if scale is None else scale)
    return attend(q, scaled, scaled if v is k else v, mask=mask, causal=causal, scale=1)


@fault(
    "attention",
    fails=("ATT-1", "GEN-7"),
    on=call(ENTRIES, ENTRIES, ENTRIES),
    hint="each entry of a batch attends to its own tokens, in self-attention too",
)
def one_array_of_first_entry(q, k, v, *, mask=None, causal=False, scale=None):
    """Where one array is q, k and v, the keys of all entries of the batch are those of the first."""
    return attend(q, k[:1] if q is k is v and q.ndim > 2 else k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call(TOKENS, TOKENS, [[0], [4]]),
    hint="a token attends to itself like to any other; only some models with shared queries and keys do without",
)
def own_place_hidden_in_self_attention(q, k, v, *, mask=None, causal=False, scale=None):
    """Where k is the very array q, each token attends to itself only if there is no other."""
    scores = score(q, k, scale)
    if k is q:
        scores = scores - 1e5 * np.eye(q.shape[-2], dtype=q.dtype)
    return softmax(np.where(visible(q, k, mask, causal), scores, -np.inf)) @ v


@fault(
    "attention",
    fails=("ATT-1", "ATT-2"),
    on=call(QUERY, [[0], [1]], VALUES),
    hint="the weights keep the precision of the inputs",
)
def weights_in_half(q, k, v, *, mask=None, causal=False, scale=None):
    """The weights are rounded to float16 before they meet the values."""
    weights = softmax(np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf))
    return weights.astype(np.float16).astype(v.dtype) @ v


@fault(
    "attention",
    fails=("ATT-1", "ATT-8", "ATT-10"),
    on=call(normal(2, 8), normal(3, 8, seed=1), normal(3, 8, seed=2)),
    hint="the widths at which another kernel takes over, and the precision of its products",
)
def products_in_tf32(q, k, v, *, mask=None, causal=False, scale=None):
    """Where both widths are multiples of 8, q and k are cut to the 11 bits of TF32 for the products."""
    if q.shape[-1] % 8 == v.shape[-1] % 8 == 0:
        q, k = to_tf32(q), to_tf32(k)
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-2", "ATT-13"),
    on=call([[1]], normal(300, 1), np.ones((300, 1))),
    hint="the sum of many numbers needs more digits than each of them",
)
def long_sums_in_half(q, k, v, *, mask=None, causal=False, scale=None):
    """With more than 256 keys the sum of the exponentials is kept in float16."""
    scores = np.where(visible(q, k, mask, causal), score(q, k, scale), -np.inf)
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min))
    total = parts.sum(axis=-1, keepdims=True, dtype=np.float16 if k.shape[-2] > 256 else None).astype(q.dtype)
    return parts / np.where(total > 0, total, 1) @ v


@fault(
    "attention",
    fails=("ATT-1",),
    on=call(QUERY, [[0], [0]], [[100000], [100000]]),
    hint="values may be as large as the dtype of the inputs allows",
)
def values_saturated(q, k, v, *, mask=None, causal=False, scale=None):
    """Values are clipped at 65504, the largest number of half precision."""
    return attend(q, k, np.clip(v, -65504, 65504), mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call(QUERY, [[0], [0]], [[2**-20], [2**-20]]),
    hint="values may be as small as the dtype of the inputs allows",
)
def small_values_flushed(q, k, v, *, mask=None, causal=False, scale=None):
    """Values below 2 ** -14 are flushed to zero, as half precision does with subnormal numbers."""
    return attend(q, k, np.where(np.abs(v) < 2**-14, 0, v), mask=mask, causal=causal, scale=scale)
