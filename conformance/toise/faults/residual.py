"""RES · What implementations of residual get wrong.  Read with spec/toise_spec/residual.md."""

import numpy as np

from toise.faults import call, fault, normal
from toise.faults.feed_forward import before, normalised
from toise.faults.multi_head_attention import kept

MISTAKES = "https://ttsugriy.github.io/llm-first-principles/stages/stage-06/common-mistakes"


# --- What is added to what ----------------------------------------------------------------------------


@fault(
    "residual",
    origin=MISTAKES,
    fails=("RES-2", "RES-1"),
    on=call([[1, 2]], [[10, 20]]),
    hint="the input is added to what the sublayer gives",
)
def no_connection(x, sublayer):
    """`x` is not added."""
    return sublayer(x)


@fault(
    "residual",
    origin="Howuhh/faster-trajectory-transformer#3",
    fails=("RES-2", "RES-4"),
    on=call([[1, 3]], [[1, 1]]),
    hint="what goes around the sublayer is x itself; a normalisation belongs to the sublayer",
)
def from_the_normalised(x, sublayer):
    """Both the sublayer and the connection get the normalised rows."""
    x = normalised(x)
    return x + sublayer(x)


@fault(
    "residual",
    origin="keras-team/keras-io#2144",
    fails=("RES-3", "RES-1"),
    on=call([[1, -2]], [[2, -4]]),
    hint="what comes through the sublayer is added as it is",
)
def output_normalised(x, sublayer):
    """The output is normalised before it is added."""
    return x + normalised(sublayer(x))


@fault(
    "residual",
    fails=("RES-6", "RES-2"),
    on=call([[1, 3]], [[1, 1]]),
    hint="a normalisation after the sum is another operation",
)
def sum_normalised(x, sublayer):
    """The sum is normalised."""
    return normalised(x + sublayer(x))


@fault(
    "residual",
    fails=("RES-6", "RES-1", "RES-2", "RES-3"),
    on=call([[1, -2]], [[2, -4]]),
    hint="nothing follows the sum, and it is of either sign",
)
def relu_after_the_sum(x, sublayer):
    """A ReLU follows the sum."""
    return np.maximum(x + sublayer(x), 0)


@fault(
    "residual",
    fails=("RES-4", "RES-1"),
    on=call([[1, 3]], [[1, 1]]),
    hint="the sublayer is given x itself; a normalisation before it belongs to the sublayer",
)
def sublayer_given_normalised(x, sublayer):
    """The sublayer is given normalised rows, and x itself is added."""
    return x + sublayer(normalised(x))


@fault(
    "residual",
    fails=("RES-5", "RES-3"),
    on=call([[1, -2]], [[2, -4]]),
    hint="the second term is what the sublayer gives for x",
)
def added_to_itself(x, sublayer):
    """`x` is added to itself, and the sublayer is never called."""
    return x + x


@fault(
    "residual",
    fails=("RES-3", "RES-1"),
    on=call([[1, -2]], [[2, -4]]),
    hint="the output is added whole",
)
def output_halved(x, sublayer):
    """The output is halved before it is added."""
    return x + sublayer(x) / 2


@fault(
    "residual",
    fails=("RES-1", "RES-2", "RES-3"),
    on=call([[1, -2]], [[2, -4]]),
    hint="the sum is the result, whatever its variance",
)
def root_of_half(x, sublayer):
    """The sum is multiplied by sqrt(1/2), to keep its variance."""
    return (x + sublayer(x)) * 0.5**0.5


@fault(
    "residual",
    fails=("RES-7", "RES-2"),
    on=call([[1], [2]], [[10], [20]]),
    hint="each position keeps its own past",
)
def positions_averaged(x, sublayer):
    """The mean over the positions is added in place of x."""
    mean = x.mean(axis=-2, keepdims=True) if x.ndim > 1 and x.size else x
    return mean + sublayer(x)


@fault(
    "residual",
    fails=("GEN-7", "RES-1"),
    on=call([[[1]], [[2]]], [[[10]], [[20]]]),
    hint="each entry of the batch has an output of its own",
)
def output_of_the_first_entry(x, sublayer):
    """The output of the batch's first entry is added to every entry."""
    output = sublayer(x)
    return x + (output[:1] if x.ndim > 2 else output)


@fault(
    "residual",
    fails=("GEN-7",),
    on=call(normal(17, 1, 2), normal(17, 1, 2, seed=1)),
    hint="try a batch of more than sixteen entries: x is added in all of them",
)
def entries_from_sixteen_without_x(x, sublayer):
    """Entries of the batch from the seventeenth on get the output alone."""
    around = x.copy()
    if x.ndim > 2:
        around[16:] = 0
    return around + sublayer(x)


@fault(
    "residual",
    fails=("RES-1", "GEN-7"),
    on=call([[[0], [0]], [[0], [0]]], [[[1], [2]], [[3], [4]]]),
    hint="which axis is the batch is known, and not to be guessed from its length",
)
def axes_exchanged_where_equal(x, sublayer):
    """Where the last two leading axes are equal, the output is added with them exchanged."""
    output = sublayer(x)
    if x.ndim > 2 and x.shape[-2] == x.shape[-3]:
        output = output.swapaxes(-2, -3)
    return x + output


@fault(
    "residual",
    origin="strutive07/transformer-tensorflow2.0#14",
    fails=("GEN-5",),
    on=(call([[1]], [[10]]), call([[2]], [[10]])),
    hint="x is what this connection was given, not what the one before was",
    stateful=True,
)
def previous_input_added():
    """Every second connection adds the input of the one before, as where a block keeps its own input."""
    inputs: list[np.ndarray] = []

    def residual(x, sublayer):
        previous = inputs.pop() if inputs else None
        if previous is None or previous.shape != x.shape:
            inputs.append(x.copy())
            return x + sublayer(x)
        return previous + sublayer(x)

    return residual


@fault(
    "residual",
    fails=("GEN-5", "RES-1", "RES-5", "RES-2", "RES-3"),
    on=(call([[1, 2]], [[10, 20]]), call([[1, 2]], [[3, 4]])),
    hint="two layers may be given the same x: the sublayer of each is called",
    stateful=True,
)
def output_kept_for_x():
    """The output is kept for each x, whatever the sublayer is."""
    kept: dict[tuple[tuple[int, ...], bytes], np.ndarray] = {}

    def residual(x, sublayer):
        key = (x.shape, x.tobytes())
        if key not in kept:
            kept[key] = sublayer(x).copy()
        return x + kept[key]

    return residual


@fault(
    "residual",
    fails=("RES-7",),
    on=call([[1, 2]], [[1, 2]]),
    hint="a sublayer that gives back its argument has an output, and 2x is the result",
)
def equal_output_not_added(x, sublayer):
    """A sublayer that gives back what it was given is taken for none, and x is the result."""
    output = sublayer(x)
    return x.copy() if np.array_equal(output, x) else x + output


@fault(
    "residual",
    fails=("RES-1",),
    on=call([[0, 0], [1, 2]], [[5, 6], [7, 8]]),
    hint="a position of zeros gets an output as any other",
)
def padding_left_at_zero(x, sublayer):
    """A position of zeros is taken for padding and stays zero."""
    return np.where((x == 0).all(axis=-1, keepdims=True), 0, x + sublayer(x))


# --- How the sublayer is called -----------------------------------------------------------------------


@fault(
    "residual",
    fails=("RES-4",),
    on=call([[[1, 2]], [[3, 4]]], [[[10, 20]], [[30, 40]]]),
    hint="the sublayer is given the shape of x: an attention must know which positions are one sequence",
)
def sublayer_given_two_axes(x, sublayer):
    """The sublayer is given x with all leading axes flattened into one."""
    return x + sublayer(x.reshape(-1, x.shape[-1])).reshape(x.shape)


@fault(
    "residual",
    fails=("RES-4", "RES-5"),
    on=call([[1], [2]], [[10], [20]]),
    hint="the sublayer is given all positions in one call",
)
def sublayer_given_rows(x, sublayer):
    """The sublayer is given one position at a time."""
    y = x.copy()
    for position in np.ndindex(x.shape[:-1]):
        y[position] += sublayer(x[position])
    return y


@fault(
    "residual",
    fails=("RES-4", "RES-5", "RES-1"),
    on=call(normal(65, 2), normal(65, 2, seed=1)),
    hint="the sublayer is given all positions in one call, however many there are",
)
def sublayer_given_blocks_of_64(x, sublayer):
    """Above 64 positions the sublayer is called for each block of 64."""
    n = x.shape[-2] if x.ndim > 1 else 1
    if n <= 64:
        return x + sublayer(x)
    return x + np.concatenate([sublayer(x[..., at : at + 64, :]) for at in range(0, n, 64)], axis=-2)


@fault(
    "residual",
    fails=("RES-4", "RES-1"),
    on=call([[0, 0], [1, 2]], [[5, 6], [7, 8]]),
    hint="a position of zeros is one of the positions that the sublayer is given",
)
def sublayer_given_no_padding(x, sublayer):
    """Positions of zeros are taken out before the sublayer is called, and put back."""
    words = (x != 0).any(axis=-1)
    if words.all():
        return x + sublayer(x)
    y = x.copy()
    y[words] += sublayer(x[words])
    return y


@fault(
    "residual",
    fails=("RES-4",),
    on=call([[1, 2]], [[10, 20]]),
    hint="the sublayer is given x in the dtype that it has",
)
def sublayer_given_float64(x, sublayer):
    """The sublayer is given x in float64."""
    return x + sublayer(x.astype(np.float64)).astype(x.dtype)


@fault(
    "residual",
    fails=("RES-1", "RES-5"),
    on=call([[1, 2]], [[10, 20]]),
    hint="the sublayer takes its argument by position",
)
def sublayer_given_by_name(x, sublayer):
    """The sublayer is given its argument by the name x."""
    return x + sublayer(x=x)


@fault(
    "residual",
    fails=("RES-5",),
    on=call([[1, 2]], [[10, 20]]),
    hint="the output has the shape of x, so that nothing has to be called for it",
)
def called_for_its_shape(x, sublayer):
    """The sublayer is called once for the shape of its output, and again for the numbers."""
    y = np.empty_like(sublayer(x))
    y[...] = x + sublayer(x)
    return y


@fault(
    "residual",
    fails=("RES-5", "RES-3"),
    on=call([[1]], [[2]]),
    hint="the sublayer is called once",
)
def applied_twice(x, sublayer):
    """The sublayer is applied to its own output too."""
    return x + sublayer(sublayer(x))


@fault(
    "residual",
    fails=("RES-5", "RES-3"),
    on=call([[1]], [[2]]),
    hint="one connection goes around one call of the sublayer",
)
def applied_to_the_sum(x, sublayer):
    """The sublayer's output is added, and the sublayer of that sum too."""
    y = x + sublayer(x)
    return y + sublayer(y)


# --- Memory -------------------------------------------------------------------------------------------


@fault(
    "residual",
    fails=("RES-8",),
    on=call([[1, 2]], [[1, 2]]),
    hint="what comes back from the sublayer may be x itself: add into an array of its own",
)
def added_in_place(x, sublayer):
    """`x` is added in place to whatever array came back from the sublayer."""
    y = sublayer(x)
    y += x
    return y


@fault(
    "residual",
    origin="GeeeekExplorer/nano-vllm#170",
    fails=("RES-8",),
    on=call([[1, 2]], [[1, 2]]),
    hint="what comes back from the sublayer may be a view of x: add into an array of its own",
)
def added_in_place_to_a_view(x, sublayer):
    """`x` is added in place to what came back, unless that is the very array x; a view of x is written through."""
    y = sublayer(x)
    if y is x:
        y = x.copy()
    y += x
    return y


@fault(
    "residual",
    fails=("GEN-4", "RES-8", "GEN-10", "GEN-6"),
    on=call([[1, 2]], [[10, 20]]),
    hint="x belongs to the caller: add into an array of its own",
)
def written_into_x(x, sublayer):
    """The output is added in place to the caller's x."""
    x += sublayer(x)
    return x


@fault(
    "residual",
    fails=("GEN-10",),
    on=call([[1, 2]], [[0, 0]]),
    hint="the result has memory of its own, also where there is nothing to add",
)
def x_returned_for_zeros(x, sublayer):
    """Where the output is zero, x itself is returned."""
    output = sublayer(x)
    return x + output if output.any() else x


@fault(
    "residual",
    fails=("GEN-5",),
    on=(call([[1]], [[10]]), call([[2]], [[10]])),
    hint="each result has memory of its own",
    stateful=True,
)
def one_buffer_for_all_results():
    """Results of one shape are written into one array, call after call."""
    buffers: dict[tuple[tuple[int, ...], np.dtype], np.ndarray] = {}

    def residual(x, sublayer):
        buffer = buffers.setdefault((x.shape, x.dtype), np.empty_like(x))
        return np.add(x, sublayer(x), out=buffer)

    return residual


@fault(
    "residual",
    fails=("GEN-6",),
    on=call([[1, 2], [3, 4]], [[10, 20], [30, 40]]),
    hint="an array is read by its strides, and not as it lies in memory",
)
def output_strides_ignored(x, sublayer):
    """The numbers of the output are read in the order in which they lie in memory."""
    return x + sublayer(x).ravel(order="K").reshape(x.shape)


# --- Precision, range and size ------------------------------------------------------------------------


@fault(
    "residual",
    fails=("RES-1", "RES-2"),
    on=call([[1]], [[2.0**-10]]),
    hint="what goes from block to block has the precision of the data",
)
def stream_in_bfloat16(x, sublayer):
    """The sum is rounded to the 8 bits that bfloat16 has."""
    return kept(x + sublayer(x), 8)


@fault(
    "residual",
    fails=("RES-6", "RES-1"),
    on=call([[2.0**17]], [[1]]),
    hint="the sum has no range but that of the dtype",
)
def clipped_at_65504(x, sublayer):
    """The sum is clipped to 65504 either way, the range of float16."""
    return np.clip(x + sublayer(x), -65504, 65504)


@fault(
    "residual",
    fails=("RES-1",),
    on=call(normal(1, 257), normal(1, 257, seed=1)),
    hint="the features behind the last whole vector count too",
)
def tail_of_wide_rows_not_added(x, sublayer):
    """Beyond 256 features, those behind the last whole vector of 4 get no output."""
    d = x.shape[-1]
    whole = d // 4 * 4 if d > 256 else d
    return x + np.where(np.arange(d) < whole, sublayer(x), 0)


@fault(
    "residual",
    fails=("RES-1",),
    on=call(normal(257, 1), normal(257, 1, seed=1)),
    hint="the positions behind the last whole block count too",
)
def rows_beyond_256_not_added(x, sublayer):
    """Beyond 256 positions, those behind the last whole block of 256 get no output."""
    return x + np.where(before(x, 256), sublayer(x), 0)


@fault(
    "residual",
    fails=("RES-1",),
    on=call(normal(130, 256), normal(130, 256, seed=1)),
    hint="an offset needs more bits than 16 where there are more numbers",
)
def offsets_in_sixteen_bits(x, sublayer):
    """Offsets into the output have 16 bits, and beyond 32768 numbers they wrap around."""
    output = sublayer(x)
    offset = np.arange(output.size) % 2**15
    return x + output.ravel()[offset].reshape(x.shape)


@fault(
    "residual",
    fails=("GEN-9",),
    on=call([[1, 2]], [[10, 20, 30]]),
    hint="an output of another shape is refused",
)
def output_cut_to_x(x, sublayer):
    """An output with more rows or features than x is cut to the shape of x without a word."""
    return x + sublayer(x)[tuple(slice(length) for length in x.shape)]


@fault(
    "residual",
    fails=("GEN-2",),
    on=call([[1, 2]], [[10, 20]]),
    hint="a NumPy float64 takes float32 arrays along, a Python number does not",
)
def promoted_by_a_weight(x, sublayer):
    """The output is multiplied by a weight of 1 in float64, and float32 becomes float64."""
    return x + np.float64(1) * sublayer(x)
