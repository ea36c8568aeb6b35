"""FFN · What implementations of feed_forward get wrong.  Read with spec/toise_spec/feed_forward.md."""

import math

import numpy as np
from toise_reference import feed_forward as right

from toise.faults import call, fault, normal
from toise.faults.multi_head_attention import kept

# The network of the page: x has one feature, and there are two units.
W1, B1, W2, B2 = [[1, -1]], [0, 1], [[3], [5]], [1]


def relu(z):
    """Return the numbers above zero, and zero for the others."""
    return np.maximum(z, 0)


def normalised(x):
    """Return rows of mean 0 and variance 1."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)


def before(x, tile):
    """Tell which positions lie before the end of the last whole tile of them; all do where there is no whole one."""
    positions = math.prod(x.shape[:-1])
    whole = positions // tile * tile if positions > tile else positions
    return (np.arange(positions) < whole).reshape(*x.shape[:-1], 1)


def sized(*lead, d_model=2, d_ff=3):
    """Return a call of these sizes, with normal numbers."""
    shapes = ((*lead, d_model), (d_model, d_ff), (d_ff,), (d_ff, d_model), (d_model,))
    return call(*(normal(*shape, seed=seed) for seed, shape in enumerate(shapes)))


# --- The activation -----------------------------------------------------------------------------------


@fault(
    "feed_forward",
    origin="spring-media/TransformerTTS#102",
    fails=("FFN-2", "FFN-1"),
    on=sized(1),
    hint="the ReLU stands between the two layers, and nothing follows the second",
)
def activation_at_the_end(x, w1, b1, w2, b2):
    """There is no activation between the layers, and the normalised result goes through a ReLU."""
    return relu(normalised((x @ w1 + b1) @ w2 + b2))


@fault(
    "feed_forward",
    fails=("FFN-2", "FFN-1"),
    on=call([[2]], W1, B1, W2, B2),
    hint="there is a ReLU between the two layers",
)
def no_activation(x, w1, b1, w2, b2):
    """There is no activation between the layers."""
    return (x @ w1 + b1) @ w2 + b2


@fault(
    "feed_forward",
    origin="huggingface/candle#900",
    fails=("FFN-3", "FFN-2"),
    on=call([[2]], W1, B1, W2, B2),
    hint="the activation is ReLU: max(0, z)",
)
def gelu_of_tanh(x, w1, b1, w2, b2):
    """The activation is a GELU, approximated by tanh."""
    z = x @ w1 + b1
    return (0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))) @ w2 + b2


@fault(
    "feed_forward",
    origin="tensorflow/tfjs#8224",
    fails=("FFN-3", "FFN-2", "FFN-1"),
    on=call([[2]], W1, B1, W2, B2),
    hint="the activation is ReLU: max(0, z), which grows with z",
)
def gelu_without_its_factor(x, w1, b1, w2, b2):
    """The activation is the gate of a GELU, approximated by tanh, without the factor z."""
    z = x @ w1 + b1
    return (0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-2", "FFN-1"),
    on=call([[2]], W1, B1, W2, B2),
    hint="a unit that is off is exactly 0",
)
def leaky_relu(x, w1, b1, w2, b2):
    """The activation is a leaky ReLU, of slope 0.01."""
    z = x @ w1 + b1
    return np.where(z > 0, z, 0.01 * z) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-4", "FFN-6"),
    on=call([[2]], W1, B1, [[-3], [-5]], [-1]),
    hint="nothing follows the second layer, and results are of either sign",
)
def relu_after_the_second_layer(x, w1, b1, w2, b2):
    """A ReLU follows the second layer too."""
    return relu(relu(x @ w1 + b1) @ w2 + b2)


@fault(
    "feed_forward",
    fails=("FFN-3", "FFN-1"),
    on=call([[2.0**-11]], [[1]], [0], [[1]], [0]),
    hint="a unit is off where it is negative, however small it is",
)
def small_units_dropped(x, w1, b1, w2, b2):
    """Hidden units below 0.001 are taken for off."""
    hidden = relu(x @ w1 + b1)
    return np.where(hidden < 0.001, 0, hidden) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-3", "FFN-1"),
    on=call([[8]], W1, B1, W2, B2),
    hint="a unit that is on has no ceiling",
)
def relu_clipped_at_six(x, w1, b1, w2, b2):
    """The activation is a ReLU clipped at 6."""
    return np.clip(x @ w1 + b1, 0, 6) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-3", "FFN-1"),
    on=call([[2]], W1, B1, W2, B2),
    hint="the activation is ReLU: a unit that is on is z itself",
)
def relu_squared(x, w1, b1, w2, b2):
    """The activation is the square of a ReLU."""
    return relu(x @ w1 + b1) ** 2 @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-3",),
    on=call([[2.0**10]], [[2.0**10]], [0], [[2.0**-10]], [0]),
    hint="hidden units have no range but that of the dtype",
)
def units_clipped_at_65504(x, w1, b1, w2, b2):
    """The hidden units are clipped to 65504, the largest number of float16."""
    return np.clip(x @ w1 + b1, 0, 65504) @ w2 + b2


# --- What surrounds it --------------------------------------------------------------------------------


@fault(
    "feed_forward",
    fails=("FFN-4", "FFN-1"),
    on=call([[2]], W1, B1, W2, B2),
    hint="the residual connection is no part of the network",
)
def residual_inside(x, w1, b1, w2, b2):
    """The input is added to the result."""
    return x + relu(x @ w1 + b1) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-5", "FFN-1"),
    on=sized(1),
    hint="the normalisation is no part of the network",
)
def normalised_first(x, w1, b1, w2, b2):
    """The rows are normalised before the first layer."""
    return relu(normalised(x) @ w1 + b1) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-5", "FFN-6"),
    on=call([[0]], W1, [2, -2], W2, B2),
    hint="a position of zeros gives relu(b1) w2 + b2",
)
def padding_skipped(x, w1, b1, w2, b2):
    """A position of zeros is taken for padding and gives zeros."""
    return np.where((x == 0).all(axis=-1, keepdims=True), 0, relu(x @ w1 + b1) @ w2 + b2)


@fault(
    "feed_forward",
    fails=("FFN-5", "FFN-1"),
    on=call([[0, 1]], [[1], [1]], [0], [[1, 1]], [0, 0]),
    hint="a feature may be 0 as any other number",
)
def padding_by_the_first_feature(x, w1, b1, w2, b2):
    """A position whose first feature is 0 is taken for padding and gives zeros."""
    return np.where(x[..., :1] == 0, 0, relu(x @ w1 + b1) @ w2 + b2)


# --- The biases ---------------------------------------------------------------------------------------


@fault(
    "feed_forward",
    fails=("FFN-5", "FFN-1"),
    on=call([[0]], W1, [2, -2], W2, B2),
    hint="b1 is added to x w1, before the ReLU",
)
def b1_forgotten(x, w1, b1, w2, b2):
    """`b1` is not added."""
    return relu(x @ w1) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-5", "FFN-1"),
    on=call([[0]], W1, [2, -2], W2, B2),
    hint="b1 is added to x w1, before the ReLU",
)
def b1_after_the_relu(x, w1, b1, w2, b2):
    """`b1` is added after the ReLU."""
    return (relu(x @ w1) + b1) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-8", "FFN-1", "FFN-5", "FFN-9", "GEN-7"),
    on=call([[2], [0]], W1, B1, W2, B2),
    hint="b1 has a number for each unit, and goes along the last axis, also where there are as many positions",
)
def b1_down_the_positions(x, w1, b1, w2, b2):
    """`b1` is added down the positions where there are as many as units."""
    down = x.ndim > 1 and x.shape[-2] == len(b1)
    return relu(x @ w1 + (b1[:, None] if down else b1)) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-6", "FFN-5", "FFN-1"),
    on=call([[0]], W1, [2, -2], W2, [0]),
    hint="b1 is added whatever b2 is",
)
def b1_forgotten_where_b2_is_zero(x, w1, b1, w2, b2):
    """Where b2 is zero the layers are taken to have no biases."""
    return right(x, w1, b1, w2, b2) if b2.any() else relu(x @ w1) @ w2


@fault(
    "feed_forward",
    fails=("FFN-6", "FFN-1"),
    on=call([[2]], W1, B1, W2, B2),
    hint="b2 is added to the second product",
)
def b2_forgotten(x, w1, b1, w2, b2):
    """`b2` is not added."""
    return relu(x @ w1 + b1) @ w2


@fault(
    "feed_forward",
    fails=("FFN-6", "FFN-1"),
    on=call([[2]], W1, B1, W2, B2),
    hint="b2 is added once: by one worker, or after their sums are added up",
)
def b2_by_both_workers(x, w1, b1, w2, b2):
    """Two workers share the units, and each adds b2."""
    hidden, half = relu(x @ w1 + b1), len(b1) // 2
    return (hidden[..., :half] @ w2[:half] + b2) + (hidden[..., half:] @ w2[half:] + b2)


@fault(
    "feed_forward",
    fails=("FFN-1", "FFN-8"),
    on=sized(17),
    hint="every position gets b2, also those behind the last whole block",
)
def b2_not_in_tail_rows(x, w1, b1, w2, b2):
    """Beyond 16 positions, those behind the last whole block of 16 get no b2."""
    return relu(x @ w1 + b1) @ w2 + np.where(before(x, 16), b2, 0)


@fault(
    "feed_forward",
    fails=("FFN-6", "FFN-1"),
    on=sized(1, d_model=2, d_ff=2),
    hint="b1 belongs to the first layer and b2 to the second, also where they are as long",
)
def biases_exchanged_where_square(x, w1, b1, w2, b2):
    """Where d_ff = d_model the two biases are exchanged."""
    if len(b1) == len(b2):
        b1, b2 = b2, b1
    return right(x, w1, b1, w2, b2)


# --- Weights and units --------------------------------------------------------------------------------


@fault(
    "feed_forward",
    fails=("FFN-10", "FFN-1"),
    on=call([[1, 0]], [[1, -1], [2, 1]], [0, 0], [[1, 2], [-1, 0]], [0, 0]),
    hint="x stands on the left: x w1, and no transpose",
)
def square_weights_transposed(x, w1, b1, w2, b2):
    """Square weights are applied transposed, as a layer that has a row for each output stores them."""
    if w1.shape == w2.shape:
        w1, w2 = w1.T, w2.T
    return right(x, w1, b1, w2, b2)


@fault(
    "feed_forward",
    fails=("FFN-11", "FFN-9"),
    on=sized(1, d_ff=17),
    hint="the units behind the last whole block count too",
)
def whole_blocks_of_units(x, w1, b1, w2, b2):
    """Beyond 16 units only whole blocks of 16 are computed."""
    computed = np.arange(len(b1)) < max(min(len(b1), 16), len(b1) // 16 * 16)
    return np.where(computed, relu(x @ w1 + b1), 0) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-11", "FFN-9"),
    on=sized(1, d_model=1, d_ff=5),
    hint="d_ff is any number, and 4 d_model is only usual",
)
def units_beyond_four_times_lost(x, w1, b1, w2, b2):
    """Only the first 4 d_model units are computed."""
    computed = np.arange(len(b1)) < 4 * x.shape[-1]
    return np.where(computed, relu(x @ w1 + b1), 0) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-11",),
    on=sized(1, d_model=1, d_ff=1030),
    hint="where shares are rounded, one ends where the next begins",
)
def middle_unit_lost(x, w1, b1, w2, b2):
    """Beyond 1024 units, which eight workers share, the units between two of their rounded shares are lost."""
    hidden, units = relu(x @ w1 + b1), len(b1)
    if units > 1024:
        starts = [round(worker * units / 8) for worker in range(8)]
        shares = [np.s_[start : start + units // 8] for start in starts]
        return sum(hidden[..., share] @ w2[share] for share in shares) + b2
    return hidden @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-11",),
    on=call([[1]], np.ones((1, 1001)), np.zeros(1001), np.ones((1001, 1)), [0]),
    hint="every unit counts, also one in the middle",
)
def one_unit_of_many_lost(x, w1, b1, w2, b2):
    """Beyond 1000 units, the one in the middle of the second half is lost."""
    hidden, units = relu(x @ w1 + b1), len(b1)
    if units > 1000:
        hidden[..., units * 3 // 4] = 0
    return hidden @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-11", "FFN-1"),
    on=sized(1, d_ff=200),
    hint="every unit that is on counts, however many there are",
)
def loudest_64_units_kept(x, w1, b1, w2, b2):
    """Beyond 64 units, only the 64 loudest of a position count."""
    hidden = relu(x @ w1 + b1)
    others = hidden.argsort(axis=-1, kind="stable")[..., :-64]
    np.put_along_axis(hidden, others, 0, axis=-1)
    return hidden @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-11",),
    on=sized(1, d_model=1, d_ff=513),
    hint="what the blocks of units give is added up",
)
def sum_restarted_after_512_units(x, w1, b1, w2, b2):
    """Beyond 512 units the second product starts anew with each block of 512, and only the last is kept."""
    hidden, start = relu(x @ w1 + b1), (len(b1) - 1) // 512 * 512
    return hidden[..., start:] @ w2[start:] + b2


@fault(
    "feed_forward",
    fails=("FFN-1",),
    on=sized(1, d_model=129),
    hint="a pre-activation is a sum over all d_model features",
)
def features_beyond_128_lost(x, w1, b1, w2, b2):
    """Only the first 128 features of x are read."""
    return right(x, np.where(np.arange(len(w1))[:, None] < 128, w1, 0), b1, w2, b2)


@fault(
    "feed_forward",
    fails=("FFN-1",),
    on=sized(1, d_model=129),
    hint="the result has d_model features, and each is a sum over the units",
)
def results_beyond_128_lost(x, w1, b1, w2, b2):
    """Only the first 128 features of the result are computed, and the others are b2."""
    return right(x, w1, b1, np.where(np.arange(len(b2)) < 128, w2, 0), b2)


@fault(
    "feed_forward",
    fails=("FFN-1",),
    on=sized(1, d_model=33, d_ff=1000),
    hint="an offset needs more bits than 16 where there are more numbers",
)
def offsets_in_sixteen_bits(x, w1, b1, w2, b2):
    """Offsets into w2 have 16 bits, and beyond 32768 numbers they wrap around."""
    offset = np.arange(w2.size) % 2**15
    return right(x, w1, b1, w2.ravel()[offset].reshape(w2.shape), b2)


# --- The positions ------------------------------------------------------------------------------------


@fault(
    "feed_forward",
    fails=("FFN-7", "FFN-1"),
    on=call([[2], [0]], W1, B1, W2, B2),
    hint="each position has hidden units of its own",
)
def positions_averaged(x, w1, b1, w2, b2):
    """The hidden units are averaged over the positions."""
    hidden = relu(x @ w1 + b1)
    if x.ndim > 1 and x.size:
        hidden = np.broadcast_to(hidden.mean(axis=-2, keepdims=True), hidden.shape)
    return hidden @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-7", "FFN-8"),
    on=call([[2], [0]], W1, B1, W2, B2),
    hint="each position is looked at by itself: a convolution has a kernel of one position",
)
def neighbour_added(x, w1, b1, w2, b2):
    """Each position is given the one before it too, as by a convolution."""
    both = x.copy()
    if x.ndim > 1:
        both[..., 1:, :] += x[..., :-1, :]
    return right(both, w1, b1, w2, b2)


@fault(
    "feed_forward",
    fails=("FFN-7", "FFN-1"),
    on=call([[-1], [1]], [[1]], [0], [[1]], [0]),
    hint="whether a unit is off is asked of each position",
)
def units_judged_by_the_first_position(x, w1, b1, w2, b2):
    """A unit that is off for the first position is skipped for all."""
    hidden = relu(x @ w1 + b1)
    on = (hidden.reshape(-1, len(b1))[:1] > 0).all(axis=0)
    return np.where(on, hidden, 0) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-7", "FFN-1"),
    on=call([[2.0**20], [1]], [[1]], [0], [[1]], [0]),
    hint="what a position is rounded to must not depend on the others",
)
def bits_of_the_loudest_position(x, w1, b1, w2, b2):
    """The hidden units are rounded to 16 bits of the largest of all positions."""
    hidden = relu(x @ w1 + b1)
    step = hidden.max(initial=0) / 2**16
    return (np.round(hidden / step) * step if step else hidden) @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-1",),
    on=sized(257, d_model=1, d_ff=1),
    hint="the positions behind the last whole block have results too",
)
def rows_beyond_256_lost(x, w1, b1, w2, b2):
    """Beyond 256 positions only whole blocks of 256 are computed, and the rows after them stay zero."""
    return np.where(before(x, 256), right(x, w1, b1, w2, b2), 0)


@fault(
    "feed_forward",
    fails=("FFN-11",),
    on=sized(130, d_model=1, d_ff=256),
    hint="an offset needs more bits than 16 where there are more numbers",
)
def hidden_offsets_in_sixteen_bits(x, w1, b1, w2, b2):
    """Offsets into the hidden units of all positions have 16 bits, and beyond 32768 numbers they wrap around."""
    hidden = relu(x @ w1 + b1)
    offset = np.arange(hidden.size) % 2**15
    return hidden.ravel()[offset].reshape(hidden.shape) @ w2 + b2


# --- Precision, memory and shape ----------------------------------------------------------------------


@fault(
    "feed_forward",
    fails=("FFN-1", "FFN-3"),
    on=sized(1),
    hint="what is kept between the layers has the precision of the result",
)
def hidden_in_half_precision(x, w1, b1, w2, b2):
    """The hidden units are stored in float16."""
    with np.errstate(over="ignore"):
        hidden = relu(x @ w1 + b1).astype(np.float16).astype(x.dtype)
    return hidden @ w2 + b2


@fault(
    "feed_forward",
    fails=("FFN-1",),
    on=sized(1, d_ff=129),
    hint="what the blocks of units give has the precision of the result",
)
def partial_sums_in_half(x, w1, b1, w2, b2):
    """Beyond 128 units, what each block of 128 gives is stored in float16."""
    hidden, units = relu(x @ w1 + b1), len(b1)
    if units <= 128:
        return hidden @ w2 + b2
    blocks = [np.s_[start : start + 128] for start in range(0, units, 128)]
    with np.errstate(over="ignore", invalid="ignore"):
        return sum((hidden[..., block] @ w2[block]).astype(np.float16).astype(x.dtype) for block in blocks) + b2


@fault(
    "feed_forward",
    fails=("FFN-1",),
    on=sized(1, d_ff=64),
    hint="float32 data are multiplied in float32, at every width",
)
def reduced_precision_at_64(x, w1, b1, w2, b2):
    """Where d_ff is a multiple of 64, x and w1 are cut to 11 bits, as TF32 has."""
    if len(b1) % 64 == 0:
        x, w1 = kept(x, 11), kept(w1, 11)
    return right(x, w1, b1, w2, b2)


@fault(
    "feed_forward",
    fails=("GEN-5",),
    on=(call([[2]], W1, B1, W2, B2), call([[2]], [[2, -2]], B1, W2, B2)),
    hint="weights may change in their place, as by a step of training",
    stateful=True,
)
def weights_packed_once():
    """The weights are packed once for each memory that w1 lies in, and kept."""
    packed = {}

    def feed_forward(x, w1, b1, w2, b2):
        memory = (w1.ctypes.data, w1.shape)
        if memory not in packed:
            packed[memory] = w1, w1.copy(), w2.copy()  # what is kept is not freed, and no other array lies there
        _, w1, w2 = packed[memory]
        return right(x, w1, b1, w2, b2)

    return feed_forward


@fault(
    "feed_forward",
    fails=("GEN-2",),
    on=call([[2]], W1, B1, W2, B2),
    hint="np.zeros makes float64 unless it is given a dtype",
)
def promoted_by_the_zeros(x, w1, b1, w2, b2):
    """The ReLU compares with an array of zeros in float64, and float32 becomes float64."""
    return np.maximum(x @ w1 + b1, np.zeros(b1.shape)) @ w2 + b2


@fault(
    "feed_forward",
    fails=("GEN-4", "GEN-10"),
    on=call([[2]], W1, B1, W2, B2),
    hint="x belongs to the caller, and the result has memory of its own",
)
def result_written_over_x(x, w1, b1, w2, b2):
    """The result is written into the memory of x."""
    return np.add(relu(x @ w1 + b1) @ w2, b2, out=x)


@fault(
    "feed_forward",
    fails=("GEN-1", "FFN-1"),
    on=call([2], W1, B1, W2, B2),
    hint="the result has as many axes as x",
)
def one_axis_made_two(x, w1, b1, w2, b2):
    """A position without leading axes gets one."""
    return right(np.atleast_2d(x), w1, b1, w2, b2)
