"""GEN · What implementations of any operation get wrong.  Read with spec/toise_spec/general.md.

Each mistake is made in one operation, where it is most plausible.  What stands around it is the reference's own.
"""

import math
from typing import Any

import numpy as np
import toise_reference as right
from toise_reference.attention import softmax
from toise_reference.log_softmax import log_softmax

from toise.faults import call, fault, normal

EYE = np.eye(2)


def cut_bits(x, bits, rounding):
    """Return float32 numbers without their last bits."""
    kept = (np.asarray(x, np.float32).view(np.uint32) + rounding) & (0xFFFFFFFF << bits & 0xFFFFFFFF)
    return kept.view(np.float32).astype(x.dtype)


def to_bfloat16(x):
    """Return float32 numbers with the 8 significant bits of bfloat16."""
    return cut_bits(x, 16, 0x8000)


def to_tf32(x):
    """Return float32 numbers with the 11 significant bits of TF32."""
    return cut_bits(x, 13, 0x1000)


def reread(x, steps):
    """Read the memory of x with other steps, counted in elements, from its first element on."""
    memory = x
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    first = (x.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // x.itemsize
    places = first + sum(step * at for step, at in zip(steps, np.indices(x.shape), strict=True))
    return memory.reshape(-1).take(places, mode="clip")


def steps_of(x):
    """Return how many elements lie between neighbours along each axis."""
    return [step // x.itemsize for step in x.strides]


def steps_in_order(shape):
    """Return the same for an array that lies row after row."""
    return np.empty(shape, np.int8).strides


# --- Shape and dtype ----------------------------------------------------------------------------------


@fault(
    "attention",
    origin="pytorch/pytorch#176767",
    fails=("GEN-1",),
    on=call([[1, 0]], [[1, 0]], [[1, 2, 3]]),
    hint="the last axis of the result is that of v",
)
def features_of_q(q, k, v, **options):
    """The result has as many features as q in place of v."""
    y = right.attention(q, k, v, **options)
    result = np.zeros(q.shape, q.dtype)
    width = min(q.shape[-1], v.shape[-1])
    result[..., :width] = y[..., :width]
    return result


@fault(
    "sequence_log_prob",
    fails=("GEN-1",),
    on=call([[[0, 1], [1, 0]]], [[0, 1]]),
    hint="an axis of length 1 is an axis too",
)
def batch_of_one_squeezed(logits, tokens):
    """A leading axis of length 1 is lost."""
    y = right.sequence_log_prob(logits, tokens)
    return y[0] if y.shape[:1] == (1,) else y


@fault(
    "feed_forward",
    fails=("GEN-1", "FFN-1"),
    on=call([1, 2], EYE, [0, 0], EYE, [0, 0]),
    hint="an array of one axis is a row, and gives a row",
)
def single_axis_gets_a_batch(x, w1, b1, w2, b2):
    """A single row comes back with a leading axis."""
    return right.feed_forward(np.atleast_2d(x), w1, b1, w2, b2)


@fault(
    "multi_head_attention",
    fails=("GEN-1", "MHA-1", "GEN-7"),
    on=call(np.ones((2, 1, 1, 2)), np.ones((2, 1, 1, 2)), normal(2, 1, 1, 2), [EYE], [EYE], [EYE], EYE),
    hint="the leading axes of the result are those of q",
)
def leading_axes_flattened(q, *others, **options):
    """Leading axes are flattened into one and not restored."""
    y = right.multi_head_attention(q, *others, **options)
    return y.reshape(math.prod(y.shape[:-2]), *y.shape[-2:]) if y.ndim > 3 else y


@fault(
    "layer_norm",
    fails=("GEN-7",),
    on=call([[1, 3], [1, 3]], [1, 1], [0, 0]),
    hint="rows that are equal are rows all the same, which broadcasting hides",
)
def one_row_for_all(x, gamma, beta, *, eps=1e-5):
    """Where all rows are equal, one of them is returned for all."""
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) > 1 and (rows == rows[0]).all():
        return right.layer_norm(rows[0], gamma, beta, eps=eps)
    return right.layer_norm(x, gamma, beta, eps=eps)


@fault(
    "mlm_loss",
    fails=("GEN-1",),
    on=call([[0, 1]], [0], [True]),
    hint="the loss is one number, without any axis",
)
def loss_with_an_axis(logits, labels, selected):
    """The loss keeps an axis of length 1."""
    return np.array([right.mlm_loss(logits, labels, selected)])


@fault(
    "mlm_loss",
    fails=("GEN-1",),
    on=call([[0, 1]], [0], [True]),
    hint="what `.item()` and `float()` make of an array",
)
def python_number_returned(logits, labels, selected):
    """The loss is a Python number."""
    return float(right.mlm_loss(logits, labels, selected))


@fault(
    "causal_mask",
    fails=("GEN-1",),
    on=call(2),
    hint="the mask has two axes; whoever needs more of them adds them",
)
def mask_with_leading_axes(n, m=None):
    """The mask comes with two leading axes of length 1."""
    return right.causal_mask(n, m)[None, None]


@fault(
    "feed_forward",
    fails=("FFN-1",),
    on=call([[1, 2], [3, 4]], EYE, [0, 0], EYE, [0, 0]),
    hint="a transposed result has the right shape where it is square",
)
def square_result_transposed(x, w1, b1, w2, b2):
    """Where there are as many rows as features, the result is transposed."""
    y = right.feed_forward(x, w1, b1, w2, b2)
    return y.swapaxes(-1, -2).copy() if y.shape[-2:-1] == y.shape[-1:] else y


@fault(
    "attention",
    fails=("GEN-2",),
    on=call([[1, 0]], [[1, 0]], [[1, 2]]),
    hint="np.sqrt of an integer is an np.float64, and NumPy promotes float32 arrays to it; math.sqrt is not",
)
def root_as_numpy_scalar(q, k, v, *, mask=None, causal=False, scale=None):
    """The root of d_k is an np.float64, which promotes the scores."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = np.ones((n, m), bool) if mask is None else mask
    if causal:
        allowed = allowed & np.tri(n, m, m - n, dtype=bool)
    scores = q @ k.swapaxes(-1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    return softmax(np.where(allowed, scores, -np.inf)) @ v


@fault(
    "multi_head_attention",
    fails=("GEN-2",),
    on=call([[1, 0]], [[1, 0]], [[1, 2]], [EYE], [EYE], [EYE], EYE),
    hint="np.empty without a dtype is float64",
)
def buffer_without_dtype(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Heads are collected in a buffer that was made without a dtype."""
    d_v = w_v.shape[-1]
    heads = np.empty((*q.shape[:-1], len(w_q) * d_v))
    for i in range(len(w_q)):
        heads[..., i * d_v : (i + 1) * d_v] = right.attention(q @ w_q[i], k @ w_k[i], v @ w_v[i], **options)
    return heads @ w_o


@fault(
    "sequence_log_prob",
    fails=("GEN-2",),
    on=call([[0, 1], [1, 0]], [0, 1]),
    hint="the dtype of the sum that is returned",
)
def summed_in_float64(logits, tokens):
    """The sum is taken in float64 and not cast back."""
    steps = np.take_along_axis(log_softmax(logits[..., :-1, :]), tokens[..., 1:, None], axis=-1)
    return steps.sum(axis=(-2, -1), dtype=np.float64)


@fault(
    "residual",
    fails=("GEN-2",),
    on=call([[1, 2]], [[3, 4]]),
    hint="the dtype of what is returned",
)
def result_in_half(x, sublayer):
    """The sum is returned in float16."""
    return (x + sublayer(x)).astype(np.float16)


@fault(
    "residual",
    fails=("GEN-2",),
    on=call([[1, 2]], [[3, 4]]),
    hint="the byte order of the result: that of the machine, not that of a file",
)
def byte_order_of_a_file(x, sublayer):
    """The result has the byte order of the network."""
    y = x + sublayer(x)
    return y.astype(y.dtype.newbyteorder(">"))


@fault(
    "feed_forward",
    fails=("GEN-2",),
    on=call(np.zeros((0, 2)), EYE, [0, 0], EYE, [0, 0]),
    hint="the dtype of an empty result",
)
def empty_result_in_float64(x, w1, b1, w2, b2):
    """An empty result is made without a dtype."""
    return right.feed_forward(x, w1, b1, w2, b2) if x.size else np.zeros(x.shape)


# --- Finite and valid inputs --------------------------------------------------------------------------


@fault(
    "mlm_loss",
    fails=("GEN-3",),
    on=call([[0, 1], [200, 201]], [0, 1], [True, True]),
    hint="of which logits the greatest is taken off: those of the same row",
)
def maximum_of_the_batch(logits, labels, selected):
    """Logits are shifted by the greatest of the whole batch."""
    shifted = logits - logits.max()
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(log_p, labels[..., None], -1)[selected].mean()


@fault(
    "residual",
    fails=("GEN-3",),
    on=call([[2.0**20, 0]], [[1, 1]]),
    hint="a large number is a valid one",
)
def large_numbers_refused(x, sublayer):
    """Numbers above a million are refused."""
    if np.abs(x).max(initial=0) > 1e6:
        raise ValueError("the activations diverge")
    return x + sublayer(x)


@fault(
    "feed_forward",
    fails=("GEN-3",),
    on=call([[0, 0]], EYE, [1, 2], EYE, [0, 0]),
    hint="an input of zeros, by whose greatest magnitude nothing can be divided",
)
def zero_input_divided(x, w1, b1, w2, b2):
    """The input is divided by its greatest magnitude, also where that is zero."""
    size = np.exp2(np.ceil(np.log2(np.abs(x).max(initial=0))))
    hidden = np.maximum((x / size) @ w1 * size + b1, 0)
    return hidden @ w2 + b2


@fault(
    "feed_forward",
    fails=("GEN-3",),
    on=call([[2.0**40]], [[2.0**40]], [0], [[2.0**-40]], [0]),
    hint="a square may overflow where the number itself does not",
)
def relu_by_square_root(x, w1, b1, w2, b2):
    """ReLU is computed from the root of a square, which overflows."""
    hidden = x @ w1 + b1
    return (hidden + np.sqrt(hidden**2)) / 2 @ w2 + b2


@fault(
    "sequence_log_prob",
    fails=("AR-7", "GEN-3"),
    on=call([[0, 1000], [0, 0]], [0, 1]),
    hint="an exponential that is too small for the dtype is zero, and no error",
)
def underflow_raises(logits, tokens):
    """An exponential that underflows raises an exception."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    with np.errstate(under="raise"):
        parts = np.exp(shifted)
    steps = np.take_along_axis(shifted[..., :-1, :], tokens[..., 1:, None], axis=-1)
    return (steps - np.log(parts.sum(axis=-1, keepdims=True))[..., :-1, :]).sum(axis=(-2, -1))


@fault(
    "attention",
    fails=("GEN-1", "ATT-1"),
    on=call(np.ones((1, 9)), np.ones((1, 9)), [[1, 2]]),
    hint="a call outside what the kernel does: padded, or refused with NotImplementedError",
)
def features_of_tiles_only(q, k, v, **options):
    """Features that are no multiple of 8 above 8 are refused."""
    if q.shape[-1] > 8 and q.shape[-1] % 8:
        raise ValueError("the head dimension must be a multiple of 8")
    return right.attention(q, k, v, **options)


@fault(
    "feed_forward",
    fails=("GEN-1",),
    on=call([[1]], np.ones((1, 129)), np.zeros(129), np.ones((129, 1)), [0]),
    hint="a call outside what the kernel does: computed in parts, or refused with NotImplementedError",
)
def wide_layers_refused(x, w1, b1, w2, b2):
    """More than 128 hidden units are refused."""
    if w1.shape[-1] > 128:
        raise ValueError("too many hidden units for one block")
    return right.feed_forward(x, w1, b1, w2, b2)


@fault(
    "causal_mask",
    fails=("GEN-1",),
    on=call(65),
    hint="a length that was enough for the first model",
)
def long_sequences_refused(n, m=None):
    """More than 64 keys are refused."""
    if (n if m is None else m) > 64:
        raise ValueError("longer than the context")
    return right.causal_mask(n, m)


# --- Writing into inputs ------------------------------------------------------------------------------


@fault(
    "attention",
    fails=("GEN-4",),
    on=call([[1, 0], [0, 1]], [[1, 0], [0, 1]], [[1, 2], [3, 4]], mask=np.ones((2, 2)), causal=True),
    hint="`mask &= order` writes into the caller's mask; `mask & order` does not",
)
def mask_written_into(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal order is written into the caller's mask."""
    if causal and mask is not None:
        n, m = q.shape[-2], k.shape[-2]
        mask &= np.tri(n, m, m - n, dtype=bool)
    return right.attention(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("GEN-4",),
    on=call(normal(4, 3), normal(4, 3), normal(4, 3)),
    hint="what is multiplied and divided again is not what it was",
)
def scaled_and_restored(q, k, v, *, mask=None, causal=False, scale=None):
    """Q is scaled in place and divided back, which leaves rounding."""
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    q *= factor
    y = right.attention(q, k, v, mask=mask, causal=causal, scale=1.0)
    q /= factor
    return y


@fault(
    "mlm_loss",
    fails=("GEN-4",),
    on=call([[0, 1], [1, 0]], [0, 1], [True, False]),
    hint="labels are marked in a copy",
)
def labels_marked(logits, labels, selected):
    """Labels that are not selected are overwritten by -100."""
    labels[~selected] = -100
    asked = labels != -100
    return -np.take_along_axis(log_softmax(logits)[asked], labels[asked][:, None], -1).mean()


@fault(
    "sequence_log_prob",
    fails=("GEN-4",),
    on=call([[0, 1], [1, 0]], [0, 1]),
    hint="`logits -= top` writes into the caller's logits",
)
def logits_shifted_in_place(logits, tokens):
    """The greatest logit of each row is taken off in place."""
    logits -= logits.max(axis=-1, keepdims=True)
    return right.sequence_log_prob(logits, tokens)


@fault(
    "sequence_log_prob",
    fails=("AR-11",),
    on=call([[0, -np.inf], [1, 0]], [0, 0]),
    hint="a logit of minus infinity is a valid one, and the array is the caller's",
)
def impossible_tokens_overwritten(logits, tokens):
    """Logits of minus infinity are made finite in place."""
    impossible = np.isneginf(logits)
    if impossible.any():
        logits[impossible] = np.finfo(logits.dtype).min
    return right.sequence_log_prob(logits, tokens)


@fault(
    "multi_head_attention",
    fails=("GEN-4", "GEN-6"),
    on=call([[1, 0]], [[1, 0], [0, 1]], [[1, 2], [3, 5]], [EYE], [EYE], [EYE], EYE),
    hint="weights belong to the caller, and are used again; scale a copy, or the scores",
)
def scale_folded_into_weights(q, k, v, w_q, w_k, w_v, w_o, **options):
    """The scale is multiplied into the caller's w_q."""
    w_q *= w_q.shape[-1] ** -0.5
    heads = [right.attention(q @ w_q[i], k @ w_k[i], v @ w_v[i], scale=1.0, **options) for i in range(len(w_q))]
    return np.concatenate(heads, axis=-1) @ w_o


@fault(
    "feed_forward",
    fails=("GEN-4", "GEN-6"),
    on=call([[1, 2], [3, 4]], EYE[:, :1], [1], EYE[:1], [0, 0]),
    hint="memory that is large enough is not free because of that",
)
def product_written_into_x(x, w1, b1, w2, b2):
    """Where hidden units fit into x, they are written there."""
    hidden = np.maximum(x @ w1 + b1, 0)
    if hidden.shape[-1] <= x.shape[-1]:
        place = x[..., : hidden.shape[-1]]
        place[...] = hidden
        hidden = place
    return hidden @ w2 + b2


@fault(
    "residual",
    fails=("GEN-4",),
    on=call([[1, 2]], [[3, 4]]),
    hint="`x += y` writes into the caller's x",
)
def sum_written_into_x(x, sublayer):
    """The sum is written into x, of which a copy is returned."""
    x += sublayer(x)
    return x.copy()


@fault(
    "layer_norm",
    fails=("GEN-4",),
    on=call(normal(9, 512), np.ones(512), np.zeros(512)),
    hint="the path that saves memory where the input is large",
)
def large_input_in_place(x, gamma, beta, *, eps=1e-5):
    """Inputs of more than 4096 numbers are centred in place."""
    if x.size <= 4096:
        return right.layer_norm(x, gamma, beta, eps=eps)
    x -= x.mean(axis=-1, keepdims=True)
    return gamma * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) + beta


@fault(
    "layer_norm",
    fails=("GEN-4", "GEN-6"),
    on=call([[1, 3]], [1, 1], [0, 0]),
    hint="a cast to the dtype that an array has already may return the array itself",
)
def alias_centred_in_place(x, gamma, beta, *, eps=1e-5):
    """A cast to float32 that copies nothing is centred in place."""
    wide = x.astype(np.result_type(x.dtype, np.float32), copy=False)
    wide -= wide.mean(axis=-1, keepdims=True)
    y = gamma * wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + eps) + beta
    return y.astype(x.dtype, copy=False)


# --- Earlier calls ------------------------------------------------------------------------------------


@fault(
    "sequence_log_prob",
    stateful=True,
    fails=("GEN-5",),
    on=(call([[0, 1], [1, 0]], [0, 1]), call([[0, 3], [1, 0]], [0, 1])),
    hint="by what a kept result is found again: equal shapes may hold other numbers",
)
def cached_by_shape():
    """A result is kept for each shape."""
    kept: dict[Any, Any] = {}

    def sequence_log_prob(logits, tokens):
        if logits.shape not in kept:
            kept[logits.shape] = right.sequence_log_prob(logits, tokens)
        return kept[logits.shape].copy()

    return sequence_log_prob


@fault(
    "feed_forward",
    stateful=True,
    fails=("GEN-5",),
    on=(call([[1, 3]], EYE, [0, 0], EYE, [0, 0]), call([[3, 1]], EYE, [0, 0], EYE, [0, 0])),
    hint="by what a kept result is found again: different arrays may have one sum",
)
def cached_by_sum():
    """A result is kept for each shape and sum of its inputs."""
    kept: dict[Any, Any] = {}

    def feed_forward(*arrays):
        key = tuple((array.shape, float(array.sum())) for array in arrays)
        if key not in kept:
            kept[key] = right.feed_forward(*arrays)
        return kept[key].copy()

    return feed_forward


@fault(
    "attention",
    stateful=True,
    fails=("GEN-5",),
    on=(call([[1]], [[1]], [[2.01]]), call([[1]], [[1]], [[2.04]])),
    hint="by what a kept result is found again: numbers that are near are not the same",
)
def cached_by_rounded_numbers():
    """A result is kept for inputs that agree in one decimal place."""
    kept: dict[Any, Any] = {}

    def attention(q, k, v, *, mask=None, causal=False, scale=None):
        key = (*((a.shape, a.round(1).tobytes()) for a in (q, k, v)), mask if mask is None else mask.tobytes(), causal, scale)
        if key not in kept:
            kept[key] = right.attention(q, k, v, mask=mask, causal=causal, scale=scale)
        return kept[key].copy()

    return attention


@fault(
    "attention",
    stateful=True,
    fails=("GEN-5",),
    on=(call([[1]], [[1]], [[2]]), call([[1]], [[1]], [[3]])),
    hint="by what a kept result is found again: every input belongs to it",
)
def cached_by_queries():
    """A result is kept for each q, whatever k and v are."""
    kept: dict[Any, Any] = {}

    def attention(q, k, v, *, mask=None, causal=False, scale=None):
        key = (q.tobytes(), q.shape, k.shape, v.shape, mask if mask is None else mask.tobytes(), causal, scale)
        if key not in kept:
            kept[key] = right.attention(q, k, v, mask=mask, causal=causal, scale=scale)
        return kept[key].copy()

    return attention


@fault(
    "layer_norm",
    stateful=True,
    fails=("GEN-5",),
    on=(
        call(np.eye(1, 1010, 500), np.ones(1010), np.zeros(1010)),
        call(np.eye(1, 1010, 600), np.ones(1010), np.zeros(1010)),
    ),
    hint="what NumPy prints of an array of more than 1000 numbers: its corners",
)
def cached_by_text():
    """A result is kept for each x as NumPy prints it."""
    kept: dict[Any, Any] = {}

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        key = (x.shape, str(x), gamma.tobytes(), beta.tobytes(), eps)
        if key not in kept:
            kept[key] = right.layer_norm(x, gamma, beta, eps=eps)
        return kept[key].copy()

    return layer_norm


@fault(
    "layer_norm",
    stateful=True,
    fails=("GEN-5",),
    on=(call([[1, 3]], [1, 1], [0, 0], eps=3), call([[3, 1]], [1, 1], [0, 0], eps=3)),
    hint="by what a kept result is found again: a buffer is filled anew",
)
def cached_by_address():
    """A result is kept for each address and shape."""
    kept: dict[Any, Any] = {}

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        key = (*((a.__array_interface__["data"][0], a.shape) for a in (x, gamma, beta)), eps)
        if key not in kept:
            # What is kept is not freed, and no other array lies there.
            kept[key] = right.layer_norm(x, gamma, beta, eps=eps), x, gamma, beta
        return kept[key][0].copy()

    return layer_norm


@fault(
    "residual",
    stateful=True,
    fails=("GEN-5", "RES-1", "RES-2", "RES-3", "RES-5"),
    on=(call([[1, 2]], [[3, 4]]), call([[1, 5]], [[3, 4]])),
    hint="by what a kept result is found again: one number does not stand for an array, nor for a sublayer",
)
def cached_by_first_number():
    """A result is kept for each shape and first number of x."""
    kept: dict[Any, Any] = {}

    def residual(x, sublayer):
        key = (x.shape, *x.reshape(-1)[:1].tolist())
        if key not in kept:
            kept[key] = x + sublayer(x)
        return kept[key].copy()

    return residual


@fault(
    "layer_norm",
    stateful=True,
    fails=("LN-10",),
    on=(call([[1, -1]], [1, 1], [0, 0], eps=0.5), call([[1, -1]], [1, 1], [0, 0], eps=3)),
    hint="by what a kept result is found again: the options belong to it",
)
def cached_without_eps():
    """A result is kept for each x, gamma and beta, whatever eps is."""
    kept: dict[Any, Any] = {}

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        key = tuple((array.shape, array.tobytes()) for array in (x, gamma, beta))
        if key not in kept:
            kept[key] = right.layer_norm(x, gamma, beta, eps=eps)
        return kept[key].copy()

    return layer_norm


@fault(
    "multi_head_attention",
    stateful=True,
    fails=("GEN-5",),
    on=(
        call([[1, 0]], [[1, 0]], [[1, 2]], [EYE], [EYE], [EYE], EYE),
        call([[1, 0]], [[1, 0]], [[5, 7]], [EYE], [EYE], [EYE], EYE),
    ),
    hint="an array that is the one of the last call may hold other numbers",
)
def last_arrays_remembered():
    """The last result is returned again where the arrays are those of the last call."""
    last, kept = (), None

    def multi_head_attention(*arrays, **options):
        nonlocal last, kept
        if options or not last or any(a is not b for a, b in zip(arrays, last, strict=True)):
            last, kept = arrays, right.multi_head_attention(*arrays, **options)
        return kept.copy()

    return multi_head_attention


@fault(
    "feed_forward",
    stateful=True,
    fails=("GEN-5",),
    on=(call([[1, 3]], EYE, [0, 0], EYE, [0, 0]), call([[1, 3]], 2 * EYE, [0, 0], EYE, [0, 0])),
    hint="weights that were updated lie where they lay",
)
def prepacked_weights_by_address():
    """Weights are packed once for each address."""
    packed: dict[Any, Any] = {}

    def pack(w):
        # What is kept is not freed, and no other array lies there.
        return packed.setdefault((w.__array_interface__["data"][0], w.shape), (w.copy(), w))[0]

    def feed_forward(x, w1, b1, w2, b2):
        return right.feed_forward(x, pack(w1), b1, pack(w2), b2)

    return feed_forward


@fault(
    "multi_head_attention",
    stateful=True,
    fails=("GEN-5", "MHA-1", "MHA-4"),
    on=(
        call([[1, 0]], [[1, 0]], [[1, 2]], [EYE], [EYE], [EYE], EYE),
        call([[1, 0]], [[1, 0]], [[1, 2]], [EYE], [EYE], [2 * EYE], EYE),
    ),
    hint="weights of equal shapes are those of another layer",
)
def weights_packed_once():
    """Weights are packed at the first call of each shape."""
    packed: dict[Any, Any] = {}

    def multi_head_attention(q, k, v, *weights, **options):
        copies = packed.setdefault(tuple(w.shape for w in weights), [w.copy() for w in weights])
        return right.multi_head_attention(q, k, v, *copies, **options)

    return multi_head_attention


@fault(
    "attention",
    stateful=True,
    fails=("GEN-5",),
    on=(call([[1]], [[1]], [[2]]), call([[1]], [[1]], [[3]])),
    hint="a result that was returned lies in the memory of the next one",
)
def result_buffer_reused():
    """All results of one shape lie in one buffer."""
    buffers: dict[Any, Any] = {}

    def attention(q, k, v, **options):
        y = right.attention(q, k, v, **options)
        buffer = buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer[...] = y
        return buffer

    return attention


@fault(
    "layer_norm",
    stateful=True,
    fails=("GEN-5",),
    on=(
        call([[1, 3]], [1, 1], [0, 0], eps=3),
        call([[3, 1]], [1, 1], [0, 0], eps=3),
        call([[5, 1]], [1, 1], [0, 0], eps=3),
    ),
    hint="a result that was returned lies in the memory of the one after the next",
)
def buffers_alternate():
    """Results of one shape lie in two buffers by turns."""
    buffers: dict[Any, Any] = {}

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        y = right.layer_norm(x, gamma, beta, eps=eps)
        pair = buffers.setdefault((y.shape, y.dtype), [np.empty_like(y), np.empty_like(y)])
        pair.reverse()
        pair[0][...] = y
        return pair[0]

    return layer_norm


@fault(
    "sequence_log_prob",
    stateful=True,
    fails=("GEN-5",),
    on=(call([[0, 1], [1, 0]], [0, 1]), call([[0, 1], [1, 0]], [0, 1])),
    hint="whether the accumulator is cleared between calls",
)
def sum_not_cleared():
    """The sum starts from what the last call of that shape left."""
    totals: dict[Any, Any] = {}

    def sequence_log_prob(logits, tokens):
        totals[logits.shape] = totals.get(logits.shape, 0) + right.sequence_log_prob(logits, tokens)
        return totals[logits.shape]

    return sequence_log_prob


@fault(
    "layer_norm",
    stateful=True,
    fails=("GEN-5", "LN-1"),
    on=(call([[1, 2, 4]], [1, 1, 1], [0, 0, 0]), call([[1, 3]], [1, 1], [0, 0])),
    hint="what a longer row left in the buffer beyond the end of this one",
)
def stale_padding():
    """A row buffer holds what a longer row left behind, and the mean is taken over it."""
    buffer = np.zeros(8192)

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        d = x.shape[-1]
        padding = buffer[d : d + -d % 8]
        mean = (x.sum(axis=-1, keepdims=True) + float(padding.sum())) / d
        if x.size:
            buffer[:d] = x.reshape(-1, d)[-1]
        return gamma * (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + eps) + beta

    return layer_norm


@fault(
    "multi_head_attention",
    stateful=True,
    fails=("GEN-5",),
    on=(
        call([[1, 0]], [[1, 0]], [[1, 2]], [EYE], [EYE], [EYE], EYE),
        call([[1, 0]], [[1, 0]], [[5, 7]], [EYE], [EYE], [EYE], EYE),
    ),
    hint="whether a result is read before it is ready",
)
def previous_result():
    """A call returns the result of the call before of the same shape."""
    last: dict[Any, Any] = {}

    def multi_head_attention(*arrays, **options):
        y = right.multi_head_attention(*arrays, **options)
        before, last[y.shape] = last.get(y.shape, y), y
        return before.copy()

    return multi_head_attention


@fault(
    "mlm_loss",
    stateful=True,
    fails=("GEN-5",),
    on=(*10 * (call([[0, 1]], [0], [True]),), call([[0, 3]], [0], [True])),
    hint="a call in many: is a result ever read before it is ready",
)
def every_eleventh_call():
    """One call in eleven returns the result of the call before."""
    calls, last = 0, None

    def mlm_loss(logits, labels, selected):
        nonlocal calls, last
        calls, before, last = calls + 1, last, right.mlm_loss(logits, labels, selected)
        return last if calls % 11 else before

    return mlm_loss


@fault(
    "residual",
    stateful=True,
    fails=("GEN-5", "RES-1"),
    on=51 * (call([[1, 2]], [[0.0009765625, 2.0**-14]]),),
    hint="what changes after the first calls: a mode, a compiled version, a precision",
)
def wrong_after_50_calls():
    """From the 51st call on half precision is used."""
    calls = 0

    def residual(x, sublayer):
        nonlocal calls
        calls += 1
        y = x + sublayer(x)
        return y if calls <= 50 else y.astype(np.float16).astype(x.dtype)

    return residual


@fault(
    "attention",
    stateful=True,
    fails=("ATT-8", "ATT-1"),
    on=(call([[1]], [[1], [2]], [[1], [2]]), call([[1, 0, 0, 0]], EYE[:, [0, 1, 1, 1]], EYE)),
    hint="what is worked out at the first call and kept: the scale belongs to d_k",
)
def scale_of_first_call():
    """The default scale is that of the first call."""
    kept: list[float] = []

    def attention(q, k, v, *, mask=None, causal=False, scale=None):
        kept.append(q.shape[-1] ** -0.5)
        return right.attention(q, k, v, mask=mask, causal=causal, scale=kept[0] if scale is None else scale)

    return attention


@fault(
    "layer_norm",
    stateful=True,
    fails=("LN-10", "LN-3"),
    on=(call([[1, -1]], [1, 1], [0, 0], eps=0.5), call([[1, -1]], [1, 1], [0, 0], eps=3)),
    hint="what is compiled at the first call and kept: the options belong to each call",
)
def eps_of_first_call():
    """The eps of the first call is kept."""
    kept: list[float] = []

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        kept.append(eps)
        return right.layer_norm(x, gamma, beta, eps=kept[0])

    return layer_norm


@fault(
    "causal_mask",
    stateful=True,
    fails=("CAU-6", "CAU-8", "CAU-10"),
    on=(call(2), call(2, m=3)),
    hint="what is worked out at the first call and kept: the offset belongs to n and m",
)
def offset_kept_for_n():
    """The offset m - n is kept for each n."""
    offsets: dict[int, int] = {}

    def causal_mask(n, m=None):
        m = n if m is None else m
        return np.tri(n, m, offsets.setdefault(n, m - n), dtype=bool)

    return causal_mask


@fault(
    "feed_forward",
    stateful=True,
    fails=("FFN-1", "FFN-8", "GEN-7"),
    on=(call([[1, 2]], EYE, [1, 1], EYE, [0, 0]), call([[1, 2], [3, 4]], EYE, [1, 1], EYE, [0, 0])),
    hint="how much room there is: it was set aside at the first call",
)
def capacity_of_first_call():
    """Rows beyond those of the first call of that width are left out."""
    capacity: dict[int, int] = {}

    def feed_forward(x, w1, b1, w2, b2):
        y = right.feed_forward(x, w1, b1, w2, b2)
        rows = y.reshape(x.size // x.shape[-1], x.shape[-1])
        rows[capacity.setdefault(x.shape[-1], len(rows)) :] = 0
        return rows.reshape(x.shape)

    return feed_forward


# --- Memory layout ------------------------------------------------------------------------------------


@fault(
    "attention",
    origin="pytorch/pytorch#181133",
    fails=("GEN-6",),
    on=call([[1, 2], [3, 4]], [[1, 0], [0, 1]], [[1, 2], [3, 5]]),
    hint="an array that was transposed or cut does not lie row after row",
)
def strides_ignored(q, k, v, **options):
    """The memory of q, k and v is read as if they were contiguous."""
    return right.attention(*(reread(array, steps_in_order(array.shape)) for array in (q, k, v)), **options)


@fault(
    "multi_head_attention",
    fails=("GEN-6",),
    on=call([[1, 0]], [[1, 0], [2, 5]], [[1, 2], [3, 7]], [EYE], [EYE], [EYE], EYE),
    hint="each array has strides of its own",
)
def strides_of_k_for_v(q, k, v, *weights, **options):
    """V is read with the strides of k."""
    return right.multi_head_attention(q, k, reread(v, steps_of(k)), *weights, **options)


@fault(
    "residual",
    fails=("GEN-6",),
    on=call([[1, 2], [3, 5]], [[1, 1], [1, 1]]),
    hint="the step along the last axis, which is not always one element",
)
def unit_stride_assumed(x, sublayer):
    """The last axis is read with a step of one."""
    return reread(x, [*steps_of(x)[:-1], 1]) + sublayer(x)


@fault(
    "feed_forward",
    fails=("GEN-6",),
    on=call([[1, 2], [3, 5]], EYE, [0, 0], EYE, [0, 0]),
    hint='ravel(order="K") and tobytes(order="A") follow the memory, not the axes',
)
def flattened_in_memory_order(x, w1, b1, w2, b2):
    """X is flattened in the order of its memory."""
    return right.feed_forward(x.ravel(order="K").reshape(x.shape), w1, b1, w2, b2)


@fault(
    "feed_forward",
    fails=("GEN-6",),
    on=call([[1, 2], [3, 5]], [[1, 2], [3, 5]], [0, 0], EYE, [0, 0]),
    hint="the order of the memory is not the order of the axes: an array in column order is not transposed",
)
def fortran_weights_transposed(x, w1, b1, w2, b2):
    """Square weights in column order are transposed."""

    def in_rows(w):
        columns = w.flags.f_contiguous and not w.flags.c_contiguous
        return w.T if columns and len(w) == len(w.T) else w

    return right.feed_forward(x, in_rows(w1), b1, in_rows(w2), b2)


@fault(
    "sequence_log_prob",
    fails=("GEN-6",),
    on=call([[0, 1], [3, 0], [0, 0]], [0, 1, 1]),
    hint="a step may be negative",
)
def negative_strides_read_forward(logits, tokens):
    """Tokens with a negative step are read forward."""
    forward = tuple(slice(None, None, -1 if step < 0 else 1) for step in tokens.strides)
    return right.sequence_log_prob(logits, tokens[forward])


@fault(
    "sequence_log_prob",
    fails=("GEN-6",),
    on=call([[0, 1], [3, 0], [0, 0]], [0, 1, 1]),
    hint="a view of another dtype needs numbers that lie side by side",
)
def tokens_viewed_as_32_bits(logits, tokens):
    """Tokens are viewed as numbers of 32 bits, which their layout must allow."""
    return right.sequence_log_prob(logits, tokens.view(np.int32)[..., ::2].astype(np.int64))


@fault(
    "attention",
    fails=("GEN-6",),
    on=call(EYE, EYE, [[1, 2], [3, 5]], mask=[[True, False], [True, False]]),
    hint="a mask that is expanded has a step of zero along its rows",
)
def expanded_mask_ignored(q, k, v, *, mask=None, causal=False, scale=None):
    """A mask expanded along its rows is not applied."""
    if mask is not None and 0 in mask.strides:
        mask = None
    return right.attention(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "residual",
    fails=("GEN-6",),
    on=call([[1, 2], [1, 2]], [[3, 4], [5, 6]]),
    hint="an array that is expanded has a step of zero, and as many rows as its shape says",
)
def expanded_rows_left_out(x, sublayer):
    """Of an array expanded along its first axis one row is processed."""
    y = x + sublayer(x)
    if x.ndim > 1 and x.strides[0] == 0:
        y[1:] = 0
    return y


@fault(
    "mlm_loss",
    fails=("GEN-6",),
    on=call([[0, 1]], [0], [True]),
    hint="an array that is only read need not be writable",
)
def read_only_refused(logits, labels, selected):
    """Arrays that cannot be written into are refused."""
    if not all(array.flags.writeable for array in (logits, labels, selected)):
        raise ValueError("buffer source array is read-only")
    return right.mlm_loss(logits, labels, selected)


# --- The entries of a batch ---------------------------------------------------------------------------


@fault(
    "multi_head_attention",
    fails=("GEN-7",),
    on=call([[[1, 0]], [[0, 1]], [[1, 1]]], [[[1, 0]]] * 3, [[[1, 2]], [[3, 4]], [[5, 6]]], [EYE], [EYE], [EYE], EYE),
    hint="the last entry of an odd number of them",
)
def last_entry_of_odd_batch(q, *others, **options):
    """Entries come in pairs, and the last of an odd number repeats the one before."""
    y = right.multi_head_attention(q, *others, **options)
    if y.ndim > 2 and len(y) % 2 and len(y) > 1:
        y[-1] = y[-2]
    return y


@fault(
    "attention",
    fails=("GEN-7", "ATT-1"),
    on=call(np.ones((2, 2, 1, 1)), np.ones((2, 2, 1, 1)), [[[[1]], [[2]]], [[[3]], [[4]]]]),
    hint="which of two leading axes is which, where they are equally long",
)
def equal_leading_axes_exchanged(q, k, v, **options):
    """Two leading axes of equal length are exchanged."""
    y = right.attention(q, k, v, **options)
    return y.swapaxes(0, 1).copy() if y.ndim > 3 and y.shape[0] == y.shape[1] else y


@fault(
    "sequence_log_prob",
    fails=("GEN-7",),
    on=call(normal(9, 2, 3), np.ones((9, 2))),
    hint="how many entries of a batch there may be",
)
def grid_of_eight_entries(logits, tokens):
    """Entry eight and those after it repeat the first ones."""
    y = np.asarray(right.sequence_log_prob(logits, tokens))
    return y.reshape(-1)[np.arange(y.size) % 8].reshape(y.shape)


@fault(
    "feed_forward",
    fails=("GEN-7",),
    on=call([[[1, 2]]], EYE, [1, 1], EYE, [0, 0]),
    hint="the path for a batch of one",
)
def lone_entry_without_bias(x, w1, b1, w2, b2):
    """A batch of one entry loses the first bias."""
    return right.feed_forward(x, w1, 0 * b1 if x.ndim > 2 and len(x) == 1 else b1, w2, b2)


@fault(
    "sequence_log_prob",
    fails=("AR-1",),
    on=call(2 * [2 * [[[0, 1], [1, 0]]]], [[[0, 1], [0, 0]]] * 2),
    hint="how many leading axes there may be",
)
def second_axis_of_batch_ignored(logits, tokens):
    """With two leading axes, the tokens of the first entry of the second serve all."""
    return right.sequence_log_prob(logits, np.broadcast_to(tokens[:, :1], tokens.shape) if tokens.ndim == 3 else tokens)


@fault(
    "residual",
    fails=("RES-1",),
    on=call(normal(33, 500), normal(33, 500, seed=1)),
    hint="what is left over when whole blocks are done",
)
def tail_of_large_arrays(x, sublayer):
    """Large arrays are added in blocks of 1024, and what is left over is not."""
    whole = x.size // 1024 * 1024 if x.size > 16384 else x.size
    added = np.arange(x.size).reshape(x.shape) < whole
    return x + np.where(added, sublayer(x), 0)


@fault(
    "residual",
    fails=("RES-1", "GEN-7"),
    on=call(normal(258, 2), normal(258, 2, seed=1)),
    hint="the index of a position in the second block of 256",
)
def blocks_of_rows_mixed(x, sublayer):
    """Beyond 256 positions the output of the first block is added again."""
    output = sublayer(x)
    rows = output.reshape(x.size // x.shape[-1], x.shape[-1])
    return x + rows[np.arange(len(rows)) % 256].reshape(x.shape)


@fault(
    "feed_forward",
    fails=("GEN-7", "FFN-7", "FFN-1"),
    on=call([[1, 0.0009765625], [1000, 1]], EYE, [0, 0], EYE, [0, 0]),
    hint="how many numbers share a scale: 16 bits of the largest are few for the others",
)
def one_scale_for_the_batch(x, w1, b1, w2, b2):
    """X is quantised to 16 bits with one scale for the whole batch."""
    step = np.abs(x).max(initial=0) / 32767 or 1
    return right.feed_forward((np.rint(x / step) * step).astype(x.dtype), w1, b1, w2, b2)


# --- Nothing at all -----------------------------------------------------------------------------------


@fault(
    "residual",
    fails=("GEN-8",),
    on=call(np.zeros((0, 2)), np.zeros((0, 2))),
    hint="a batch may be empty",
)
def empty_refused(x, sublayer):
    """An input without rows is refused."""
    if not x.size:
        raise ValueError("x is empty")
    return x + sublayer(x)


@fault(
    "attention",
    fails=("GEN-8",),
    on=call(np.zeros((0, 2)), EYE, EYE),
    hint="the greatest of no numbers is an error",
)
def maximum_of_no_scores(q, k, v, *, mask=None, causal=False, scale=None):
    """The greatest score of the whole array is taken, also where there is none."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = np.ones((n, m), bool) if mask is None else mask
    if causal:
        allowed = allowed & np.tri(n, m, m - n, dtype=bool)
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return softmax(np.where(allowed, scores - scores.max(), -np.inf)) @ v


@fault(
    "multi_head_attention",
    fails=("GEN-8",),
    on=call(np.zeros((0, 1, 2)), np.zeros((0, 1, 2)), np.zeros((0, 1, 2)), [EYE], [EYE], [EYE], EYE),
    hint="a loop over the entries of a batch, where there are none",
)
def stack_of_no_entries(q, k, v, *weights, mask=None, causal=False):
    """Entries are stacked from a list, also where there is none."""
    if q.ndim == 2:
        return right.multi_head_attention(q, k, v, *weights, mask=mask, causal=causal)
    masks = len(q) * [None] if mask is None else np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2]))
    entries = zip(q, k, v, masks, strict=True)
    return np.stack([stack_of_no_entries.function(*entry[:3], *weights, mask=entry[3], causal=causal) for entry in entries])


@fault(
    "feed_forward",
    fails=("GEN-8",),
    on=call(np.zeros((0, 2)), EYE, [0, 0], EYE, [0, 0]),
    hint="a length of -1 cannot be worked out for an array of no numbers",
)
def reshape_of_nothing(x, w1, b1, w2, b2):
    """Entries are flattened with a length that is to be worked out."""
    rows = x.reshape(len(x), -1, x.shape[-1]) if x.ndim > 1 else x
    return right.feed_forward(rows, w1, b1, w2, b2).reshape(x.shape)


@fault(
    "layer_norm",
    fails=("GEN-8",),
    on=call(np.zeros((0, 2)), [1, 1], [0, 0]),
    hint="nothing has a shape too",
)
def empty_loses_axes(x, gamma, beta, *, eps=1e-5):
    """An empty input gives an array of one axis."""
    return right.layer_norm(x, gamma, beta, eps=eps) if x.size else np.empty(0, x.dtype)


# --- Malformed calls ----------------------------------------------------------------------------------


@fault(
    "layer_norm",
    fails=("GEN-9",),
    on=call([[1, 3]], [1, 1, 5], [0, 0, 5]),
    hint="parameters that are too long belong to another layer",
)
def parameters_cut(x, gamma, beta, *, eps=1e-5):
    """Gamma and beta are cut to the length of the rows."""
    d = x.shape[-1]
    return right.layer_norm(x, gamma[:d], beta[:d], eps=eps)


@fault(
    "feed_forward",
    fails=("GEN-9",),
    on=call([[1, 3]], EYE, [0], EYE, [0, 0]),
    hint="np.resize repeats an array until it is long enough",
)
def bias_repeated(x, w1, b1, w2, b2):
    """Biases of another length are repeated or cut to fit."""
    return right.feed_forward(x, w1, np.resize(b1, w1.shape[-1]), w2, np.resize(b2, w2.shape[-1]))


@fault(
    "feed_forward",
    fails=("GEN-9",),
    on=call([[1, 3]], EYE, [0, 0], np.eye(3, 2), [0, 0]),
    hint="a second weight with more rows than there are hidden units belongs to another layer",
)
def surplus_rows_of_w2_cut(x, w1, b1, w2, b2):
    """Rows of w2 beyond the hidden units are ignored."""
    return right.feed_forward(x, w1, b1, w2[: w1.shape[-1]], b2)


@fault(
    "attention",
    origin="pytorch/pytorch#131254",
    fails=("GEN-9",),
    on=call(EYE, EYE, EYE, mask=np.ones((2, 4))),
    hint="a mask that is too large belongs to another call",
)
def mask_cut(q, k, v, *, mask=None, causal=False, scale=None):
    """A mask of another shape is cut to the scores."""
    if mask is not None:
        mask = mask[..., : q.shape[-2], : k.shape[-2]]
    return right.attention(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "multi_head_attention",
    fails=("GEN-9",),
    on=call([[1, 0]], [[1, 0]], [[1, 2]], [EYE, EYE], [EYE], [EYE], EYE),
    hint="zip ends with the shortest; zip(..., strict=True) refuses",
)
def heads_cut(q, k, v, w_q, w_k, w_v, w_o, **options):
    """Heads are zipped, so that those too many in one weight are ignored."""
    heads = [right.attention(q @ a, k @ b, v @ c, **options) for a, b, c in zip(w_q, w_k, w_v, strict=False)]
    return np.concatenate(heads, axis=-1) @ w_o


@fault(
    "mlm_loss",
    fails=("GEN-9",),
    on=call([[0, 1]], [0, 1], [True, True]),
    hint="labels that are too many belong to another batch",
)
def labels_cut(logits, labels, selected):
    """Labels and selection beyond the rows of logits are ignored."""
    n = logits.shape[-2]
    return right.mlm_loss(logits, labels[..., :n], selected[..., :n])


@fault(
    "residual",
    fails=("GEN-9",),
    on=call([[1, 2]], [[3, 4, 5]]),
    hint="what the sublayer gives has the shape of x, or the layer is another one",
)
def sublayer_output_cut(x, sublayer):
    """Rows and features too many of the sublayer are ignored."""
    return x + sublayer(x)[tuple(map(slice, x.shape))]


@fault(
    "sequence_log_prob",
    fails=("GEN-9",),
    on=call([[0, 1], [1, 0]], [0, 1, 1]),
    hint="tokens that are too many belong to another text",
)
def tokens_cut(logits, tokens):
    """Tokens and entries beyond those of the logits are ignored."""
    return right.sequence_log_prob(logits, tokens[tuple(map(slice, logits.shape[:-1]))])


# --- Memory of its own --------------------------------------------------------------------------------


@fault(
    "attention",
    fails=("GEN-10",),
    on=call([[1]], [[1]], [[2]]),
    hint="the short cut for one key: a copy of its value",
)
def only_value_returned(q, k, v, *, mask=None, causal=False, scale=None):
    """With one key the values themselves are returned."""
    if k.shape[-2] == 1 and mask is None and not causal:
        return np.broadcast_to(v, (*q.shape[:-1], v.shape[-1]))
    return right.attention(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "residual",
    fails=("GEN-10",),
    on=call([[1, 2]], [[0, 0]]),
    hint="the short cut for a sublayer that adds nothing: a copy of x",
)
def unchanged_x_returned(x, sublayer):
    """Where the sublayer gives zeros, x itself is returned."""
    output = sublayer(x)
    y = x + output
    return y if output.any() else x


@fault(
    "layer_norm",
    fails=("GEN-10",),
    on=call([[5]], [1], [2]),
    hint="the short cut for one feature: a copy of beta",
)
def beta_returned(x, gamma, beta, *, eps=1e-5):
    """With one feature beta itself is returned."""
    return np.broadcast_to(beta, x.shape) if x.shape[-1] == 1 else right.layer_norm(x, gamma, beta, eps=eps)


@fault(
    "feed_forward",
    fails=("GEN-10",),
    on=call([[1, 2]], EYE, [-9, -9], EYE, [3, 4]),
    hint="the short cut for a row without an active unit: a copy of the bias",
)
def bias_returned(x, w1, b1, w2, b2):
    """Where all hidden units are off, the bias itself is returned."""
    hidden = np.maximum(x @ w1 + b1, 0)
    return hidden @ w2 + b2 if hidden.any() else np.broadcast_to(b2, x.shape)


# --- The same bits ------------------------------------------------------------------------------------


@fault(
    "attention",
    origin="NVIDIA/apex#882",
    fails=("GEN-11", "ATT-1"),
    on=call(normal(8, 4), normal(8, 4), normal(8, 4)),
    hint="dropout belongs to training",
)
def dropout_left_on(q, k, v, *, mask=None, causal=False, scale=None):
    """A tenth of the weights is dropped by the generator that NumPy shares."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = np.ones((n, m), bool) if mask is None else mask
    if causal:
        allowed = allowed & np.tri(n, m, m - n, dtype=bool)
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    weights = softmax(np.where(allowed, scores, -np.inf))
    kept = np.random.random(weights.shape) >= 0.1
    return (weights * kept / 0.9) @ v


@fault(
    "mlm_loss",
    stateful=True,
    fails=("GEN-11",),
    on=call(normal(9, 5), np.ones(9), np.ones(9)),
    hint="the order in which losses are added up, which may change with who is ready first",
)
def order_by_parity():
    """Each second call sums backwards."""
    step = 1

    def mlm_loss(logits, labels, selected):
        nonlocal step
        step = -step
        losses = np.take_along_axis(log_softmax(logits), labels[..., None], -1)[selected]
        return -losses[::step].copy().mean()

    return mlm_loss


@fault(
    "feed_forward",
    fails=("GEN-11",),
    on=call(normal(8, 8), normal(8, 300, seed=1), normal(300, seed=2), normal(300, 8, seed=3), normal(8, seed=4)),
    hint="the order in which hidden units are added up, as by atomic additions",
)
def units_in_random_order(x, w1, b1, w2, b2):
    """Hidden units are summed in random order."""
    order = np.random.permutation(len(w2))
    return right.feed_forward(x, w1[:, order], b1[order], w2[order], b2)


# --- Precision ----------------------------------------------------------------------------------------


@fault(
    "attention",
    origin="ml-explore/mlx#3897",
    fails=("ATT-1",),
    on=call(normal(2, 64), normal(3, 64, seed=1), normal(3, 2)),
    hint="the width at which another kernel takes over, and the precision of its products",
)
def tf32_at_64_features(q, k, v, **options):
    """Where d_k is a multiple of 64, the operands of products are cut to 11 bits."""
    if q.shape[-1] % 64 == 0:
        q, k = to_tf32(q), to_tf32(k)
    return right.attention(q, k, v, **options)


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=call([[1, 0]], [[1, 0]], [[1, 2]], [EYE], [EYE], [EYE / 3], EYE),
    hint="the precision of matrix products: TF32 is to be declared",
)
def products_in_tf32(q, k, v, *weights, **options):
    """The operands of projections are cut to 11 bits."""
    return right.multi_head_attention(*map(to_tf32, (q, k, v, *weights)), **options)


@fault(
    "residual",
    fails=("RES-1",),
    on=call([[1, 2]], [[0.0009765625, 2.0**-14]]),
    hint="the dtype in which the two terms are added",
)
def stream_in_half(x, sublayer):
    """Both terms go through float16."""
    return (x.astype(np.float16) + sublayer(x).astype(np.float16)).astype(x.dtype)


@fault(
    "mlm_loss",
    fails=("MLM-18",),
    on=call(normal(1, 2050), [2049], [True]),
    hint="the dtype of ids: float16 has no odd number above 2048",
)
def labels_in_half(logits, labels, selected):
    """Labels go through float16, which has no odd number above 2048."""
    return right.mlm_loss(logits, labels.astype(np.float16).astype(np.int64), selected)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-5"),
    on=call([[0, 1], [0, 0]], [0, 1]),
    hint="the dtype in which exponentials are added up",
)
def sum_in_bfloat16(logits, tokens):
    """The sum of exponentials is kept in bfloat16."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = to_bfloat16(np.exp(shifted).sum(axis=-1, keepdims=True))
    steps = np.take_along_axis((shifted - np.log(total))[..., :-1, :], tokens[..., 1:, None], axis=-1)
    return steps.sum(axis=(-2, -1))


@fault(
    "layer_norm",
    fails=("LN-8", "LN-1"),
    on=call([[1, 3]], [1.001, 1], [0, 0.001]),
    hint="the dtype in which the parameters are kept",
)
def parameters_in_bfloat16(x, gamma, beta, *, eps=1e-5):
    """Gamma and beta are rounded to bfloat16."""
    return right.layer_norm(x, to_bfloat16(gamma), to_bfloat16(beta), eps=eps)


# --- Nothing was computed -----------------------------------------------------------------------------


@fault(
    "multi_head_attention",
    fails=("MHA-1",),
    on=call([[1, 0]], [[1, 0]], [[1, 2]], [EYE], [EYE], [EYE], EYE),
    hint="whether the result was computed at all",
)
def zeros(q, *others, **options):
    """The result is zeros."""
    return np.zeros_like(q)


@fault(
    "attention",
    fails=("ATT-1",),
    on=call([[1]], [[1], [2]], [[0], [1]]),
    hint="whether the weights depend on q and k",
)
def mean_of_the_values(q, k, v, **options):
    """Every query gets the plain mean of the values."""
    return np.repeat(v.mean(axis=-2, keepdims=True), q.shape[-2], axis=-2)


@fault(
    "feed_forward",
    fails=("FFN-1",),
    on=call([[1, 2]], 2 * EYE, [0, 0], EYE, [0, 0]),
    hint="whether the result was computed at all",
)
def input_returned(x, w1, b1, w2, b2):
    """A copy of the input is returned."""
    return x.copy()


@fault(
    "sequence_log_prob",
    fails=("AR-1",),
    on=call([[0, 1], [1, 0]], [0, 1]),
    hint="whether the logits are used",
)
def uniform_guess(logits, tokens):
    """Every token is given the same probability."""
    n, vocab = logits.shape[-2:]
    return np.full(logits.shape[:-2], (1 - n) * np.log(vocab), logits.dtype)
