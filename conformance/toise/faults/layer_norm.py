"""LN · What implementations of layer_norm get wrong.  Read with spec/toise_spec/layer_norm.md."""

import numpy as np

from toise.faults import call, fault, normal


def to_bfloat16(x):
    """Return float32 numbers with the 8 significant bits of bfloat16."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x8000) & 0xFFFF0000).view(np.float32).astype(x.dtype)


# --- Eps ----------------------------------------------------------------------------------------------


@fault(
    "layer_norm",
    origin="hyunwoongko/transformer#7",
    fails=("LN-3",),
    on=call([[1, -1]], [1, 1], [0, 0], eps=0.5),
    hint="eps is added to the variance, inside the root: sqrt(variance + eps)",
)
def eps_outside_root(x, gamma, beta, *, eps=1e-5):
    """Eps is added to the standard deviation, outside the root."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / (np.sqrt(variance) + eps) + beta


@fault(
    "layer_norm",
    origin="harvardnlp/annotated-transformer#119",
    fails=("LN-13", "LN-2", "LN-3", "LN-1", "LN-12"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=0.5),
    hint="torch's std divides by d - 1, and eps belongs inside the root",
)
def annotated_transformer(x, gamma, beta, *, eps=1e-5):
    """The standard deviation divides by d - 1, and eps is added to it outside the root."""
    mean, deviation = x.mean(axis=-1, keepdims=True), x.std(axis=-1, keepdims=True, ddof=1)
    return gamma * (x - mean) / (deviation + eps) + beta


@fault(
    "layer_norm",
    origin="VeriSilicon/TIM-VX#589",
    fails=("LN-4", "LN-3"),
    on=call([[14, 14]], [1, 1], [0.5, -2]),
    hint="what reaches the root of the eps that the caller gave",
)
def eps_lost(x, gamma, beta, *, eps=1e-5):
    """Eps is lost on the way, and a constant row is 0/0."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + int(eps)) + beta


@fault(
    "layer_norm",
    fails=("LN-10", "LN-3"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=3),
    hint="whether the option eps is used at all",
)
def eps_ignored(x, gamma, beta, *, eps=1e-5):
    """The option eps is accepted, and 1e-5 is used."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


@fault(
    "layer_norm",
    fails=("LN-12",),
    on=call([[0.001, 0.003]], [1, 1], [0, 0], eps=0),
    hint="`eps or 1e-5` takes 0 for nothing; ask whether it is None",
)
def zero_eps_taken_for_default(x, gamma, beta, *, eps=1e-5):
    """An eps of zero is taken for one that was not given."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + (eps or 1e-5)) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[0.001, 0.003]], [1, 1], [0, 0], eps=1e-6),
    hint="a library's least eps, such as cuDNN's, is not what the caller asked for",
)
def eps_raised_to_1e_5(x, gamma, beta, *, eps=1e-5):
    """An eps below 1e-5 is raised to it."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + max(eps, 1e-5)) + beta


@fault(
    "layer_norm",
    fails=("LN-3", "LN-13"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=3),
    hint="eps is added to every variance, and is no lower limit of it",
)
def eps_as_floor(x, gamma, beta, *, eps=1e-5):
    """The variance is at least eps, in place of being increased by it."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(np.maximum(variance, eps)) + beta


@fault(
    "layer_norm",
    fails=("LN-3", "LN-6"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=0.5),
    hint="eps is a variance already, and not a standard deviation",
)
def eps_squared(x, gamma, beta, *, eps=1e-5):
    """The square of eps is added to the variance."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps**2) + beta


@fault(
    "layer_norm",
    fails=("LN-3", "LN-13"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=3),
    hint="eps is added after the sum of squares was divided by d",
)
def eps_in_sum_of_squares(x, gamma, beta, *, eps=1e-5):
    """Eps is added to the sum of squares, before it is divided by d."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = ((centred**2).sum(axis=-1, keepdims=True) + eps) / x.shape[-1]
    return gamma * centred / np.sqrt(variance) + beta


@fault(
    "layer_norm",
    fails=("LN-3", "LN-13"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=3),
    hint="eps is added to every variance, also to one that needs no protection",
)
def eps_only_for_constant_rows(x, gamma, beta, *, eps=1e-5):
    """Eps is added where the variance is zero, and nowhere else."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(np.where(variance == 0, eps, variance)) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[1e-6, -1e-6]], [1, 1], [0, 0], eps=1e-12),
    hint="what eps becomes in a narrow dtype: float16 has nothing below 6e-8",
)
def eps_in_half(x, gamma, beta, *, eps=1e-5):
    """Eps goes through float16, where 1e-12 is zero."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + float(np.float16(eps))) + beta


@fault(
    "layer_norm",
    fails=("LN-10", "LN-1"),
    on=call([[0.001, 0.003]], [1, 1], [0, 0]),
    hint="the default of eps, 1e-5 here, which differs from library to library",
)
def default_eps_1e_6(x, gamma, beta, *, eps=1e-6):
    """The default eps is 1e-6."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-10", "LN-1"),
    on=call([[0.001, 0.003]], [1, 1], [0, 0]),
    hint="the default of eps, 1e-5 here; models of the family of BERT have 1e-12",
)
def default_eps_1e_12(x, gamma, beta, *, eps=1e-12):
    """The default eps is 1e-12."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-10", "LN-1"),
    on=call([[0.1, 0.3]], [1, 1], [0, 0]),
    hint="the default of eps, 1e-5 here; Keras has 1e-3",
)
def default_eps_1e_3(x, gamma, beta, *, eps=1e-3):
    """The default eps is 1e-3."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1", "LN-13"),
    on=call(0.005 * normal(1, 256), np.ones(256), np.zeros(256)),
    hint="the path of the code for widths that are a power of two",
)
def eps_lost_at_powers_of_two(x, gamma, beta, *, eps=1e-5):
    """Where d is a power of two from 256 on, eps is not added."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    added = 0 if x.shape[-1] in (256, 512, 1024) else eps
    return gamma * (x - mean) / np.sqrt(variance + added) + beta


# --- Which numbers are averaged -----------------------------------------------------------------------


@fault(
    "layer_norm",
    origin="https://ttsugriy.github.io/llm-first-principles/stages/stage-06/common-mistakes",
    fails=("LN-7", "LN-1"),
    on=call([[1, 3], [5, 9]], [1, 1], [0, 0]),
    hint="the axis of mean and variance: the last one, that of the features",
)
def statistics_over_batch(x, gamma, beta, *, eps=1e-5):
    """Mean and variance are taken over the first axis."""
    mean, variance = x.mean(axis=0, keepdims=True), x.var(axis=0, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-7", "LN-1"),
    on=call([[[1, 3], [5, 9]]], [1, 1], [0, 0]),
    hint="the axis of mean and variance: the last one, that of the features",
)
def statistics_over_rows(x, gamma, beta, *, eps=1e-5):
    """Mean and variance are taken over the rows."""
    axis = max(x.ndim - 2, 0)
    mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-7", "GEN-7"),
    on=call([[1, 3], [5, 7]], [1, 1], [0, 0], eps=4),
    hint="mean and variance without an axis are those of the whole array",
)
def statistics_over_whole_array(x, gamma, beta, *, eps=1e-5):
    """Mean and variance are taken over the whole array."""
    return gamma * (x - x.mean()) / np.sqrt(x.var() + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-7", "LN-1"),
    on=call([[[1, 3], [5, 7]]], [1, 1], [0, 0], eps=4),
    hint="normalisation of an image takes all axes but the first; that of a token takes the last alone",
)
def statistics_per_entry(x, gamma, beta, *, eps=1e-5):
    """All axes but the first are normalised together."""
    axes = tuple(range(min(1, x.ndim - 1), x.ndim))
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[[[1, 3]], [[5, 9]]]], [1, 1], [0, 0]),
    hint="an array of four axes is no image: the features are its last axis too",
)
def channels_first(x, gamma, beta, *, eps=1e-5):
    """An array of four axes is normalised over its second one."""
    axis = 1 if x.ndim == 4 else -1
    mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-7",),
    on=call([[1, 3], [5, 9]], [1, 1], [0, 0]),
    hint="the axis of the features is the last one, and not the first that is as long as gamma",
)
def axis_found_by_length(x, gamma, beta, *, eps=1e-5):
    """The first axis as long as gamma is the one that is normalised."""
    axis = x.shape.index(len(gamma))
    mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([1, 3], [1, 1], [0, 0]),
    hint="an array of one axis is one row of features",
)
def single_axis_as_column(x, gamma, beta, *, eps=1e-5):
    """Of an array of one axis each number is a row of its own."""
    rows = x[:, None] if x.ndim == 1 else x
    mean, variance = rows.mean(axis=-1, keepdims=True), rows.var(axis=-1, keepdims=True)
    normalised = (rows - mean) / np.sqrt(variance + eps)
    return gamma * normalised.reshape(x.shape) + beta


@fault(
    "layer_norm",
    fails=("LN-7", "LN-1"),
    on=call([[10, 30], [1, 3]], [1, 1], [0, 0]),
    hint="whether the accumulator of a row is cleared before the next one",
)
def mean_carried_over(x, gamma, beta, *, eps=1e-5):
    """A tenth of the mean of the row before is left in the accumulator."""
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = rows.mean(axis=-1, keepdims=True), rows.var(axis=-1, keepdims=True)
    mean[1:] += mean[:-1] / 10
    return (gamma * (rows - mean) / np.sqrt(variance + eps) + beta).reshape(x.shape)


@fault(
    "layer_norm",
    fails=("LN-7", "LN-1"),
    on=call([[1, 3], [10, 30]], [1, 1], [0, 0]),
    hint="the index by which the variance of a row is read",
)
def spread_of_first_row(x, gamma, beta, *, eps=1e-5):
    """All rows are divided by the spread of the first one."""
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = rows.mean(axis=-1, keepdims=True), rows.var(axis=-1, keepdims=True)[:1]
    return (gamma * (rows - mean) / np.sqrt(variance + eps) + beta).reshape(x.shape)


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[1, 3], [1, -5]], [1, 1], [0, 0]),
    hint="by what a row is known to be the one before: all of its numbers",
)
def statistics_reused(x, gamma, beta, *, eps=1e-5):
    """A row that begins with the same number as the one before it takes its mean and variance."""
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = rows.mean(axis=-1, keepdims=True), rows.var(axis=-1, keepdims=True)
    for at in range(1, len(rows)):
        if rows[at, 0] == rows[at - 1, 0]:
            mean[at], variance[at] = mean[at - 1], variance[at - 1]
    return (gamma * (rows - mean) / np.sqrt(variance + eps) + beta).reshape(x.shape)


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call(normal(130, 2), [1, 1], [0, 0]),
    hint="the index by which mean and variance of row 128 are read",
)
def rows_wrap_at_128(x, gamma, beta, *, eps=1e-5):
    """Row 128 and those after it take mean and variance of the first ones."""
    rows = x.reshape(-1, x.shape[-1])
    slot = np.arange(len(rows)) % 128
    mean, variance = rows.mean(axis=-1, keepdims=True)[slot], rows.var(axis=-1, keepdims=True)[slot]
    return (gamma * (rows - mean) / np.sqrt(variance + eps) + beta).reshape(x.shape)


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call(normal(258, 2), [1, 1], [0, 0]),
    hint="the index by which mean and variance of row 256 are read",
)
def rows_wrap_at_256(x, gamma, beta, *, eps=1e-5):
    """Row 256 and those after it take mean and variance of the first ones."""
    rows = x.reshape(-1, x.shape[-1])
    slot = np.arange(len(rows)) % 256
    mean, variance = rows.mean(axis=-1, keepdims=True)[slot], rows.var(axis=-1, keepdims=True)[slot]
    return (gamma * (rows - mean) / np.sqrt(variance + eps) + beta).reshape(x.shape)


@fault(
    "layer_norm",
    fails=("LN-7", "LN-1"),
    on=call([[1, 3], [2, 4], [3, 5], [4, 6], [10, 30]], [1, 1], [0, 0]),
    hint="the rows that are left over when four at a time are done",
)
def last_rows_of_four(x, gamma, beta, *, eps=1e-5):
    """Rows come in fours, and those that are left over take the spread of the row before them."""
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = rows.mean(axis=-1, keepdims=True), rows.var(axis=-1, keepdims=True)
    if done := len(rows) // 4 * 4:
        variance[done:] = variance[done - 1]
    return (gamma * (rows - mean) / np.sqrt(variance + eps) + beta).reshape(x.shape)


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[1, 3], [2, 6], [4, 5]], [1, 1], [0, 0]),
    hint="the last row of an odd number of them",
)
def odd_row_left_out(x, gamma, beta, *, eps=1e-5):
    """Rows come in pairs, and the last of an odd number is only copied."""
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = rows.mean(axis=-1, keepdims=True), rows.var(axis=-1, keepdims=True)
    y = gamma * (rows - mean) / np.sqrt(variance + eps) + beta
    if len(rows) % 2 and len(rows) > 1:
        y[-1] = rows[-1]
    return y.reshape(x.shape)


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call(normal(260, 256), np.ones(256), np.zeros(256)),
    hint="how many bits the offset of a row has: row number times d",
)
def row_offset_in_16_bits(x, gamma, beta, *, eps=1e-5):
    """The offset of a row in memory is kept in 16 bits and wraps around."""
    n, d = x.size // x.shape[-1], x.shape[-1]
    offset = np.arange(n) * d % 2**16
    rows = np.take(x, offset[:, None] + np.arange(d), mode="clip") if n else x.reshape(n, d)
    mean, variance = rows.mean(axis=-1, keepdims=True), rows.var(axis=-1, keepdims=True)
    return (gamma * (rows - mean) / np.sqrt(variance + eps) + beta).reshape(x.shape)


@fault(
    "layer_norm",
    fails=("LN-9", "LN-1"),
    on=call([[0, 0, 0, 0, 0, 0, 0, 1, 1]], np.ones(9), np.zeros(9)),
    hint="the features that are left over when eight at a time are done",
)
def tail_outside_statistics(x, gamma, beta, *, eps=1e-5):
    """Features beyond a multiple of eight are left out of mean and variance."""
    whole = x[..., : x.shape[-1] // 8 * 8 or x.shape[-1]]
    mean, variance = whole.mean(axis=-1, keepdims=True), whole.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-9", "LN-1"),
    on=call([[1, 3, 8]], [1, 1, 1], [0, 0, 0]),
    hint="the last feature of an odd number of them",
)
def last_of_odd_features_skipped(x, gamma, beta, *, eps=1e-5):
    """Where d is odd, the last feature is left out of the mean."""
    mean = x[..., : x.shape[-1] // 2 * 2 or 1].mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-9", "LN-1"),
    on=call(normal(1, 65), np.ones(65), np.zeros(65)),
    hint="a width that is written into the code",
)
def first_64_features(x, gamma, beta, *, eps=1e-5):
    """Mean and variance are those of the first 64 features."""
    mean, variance = x[..., :64].mean(axis=-1, keepdims=True), x[..., :64].var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-9", "LN-1"),
    on=call(np.eye(1, 1030, 1029), np.ones(1030), np.zeros(1030)),
    hint="what becomes of rows that are longer than one block",
)
def first_1024_features(x, gamma, beta, *, eps=1e-5):
    """Mean and variance are those of the first 1024 features."""
    mean, variance = x[..., :1024].mean(axis=-1, keepdims=True), x[..., :1024].var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-5", "LN-1"),
    on=call([[1, 2, 3]], [1, 1, 1], [0, 0, 0]),
    hint="what the zeros that fill a block up become once the mean is taken away",
)
def zeros_of_padding_counted(x, gamma, beta, *, eps=1e-5):
    """Rows are padded to a power of two with zeros, which take part in the variance."""
    d = x.shape[-1]
    padding = 2 ** (d - 1).bit_length() - d
    mean = x.mean(axis=-1, keepdims=True)
    variance = (((x - mean) ** 2).sum(axis=-1, keepdims=True) + padding * mean**2) / d
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-9", "LN-1"),
    on=call(np.arange(384)[None] // 256, np.ones(384), np.zeros(384)),
    hint="the last of an odd number of blocks",
)
def odd_block_dropped(x, gamma, beta, *, eps=1e-5):
    """Blocks of 128 features come in pairs, and the last of an odd number is left out of the mean."""
    blocks, rest = divmod(x.shape[-1], 128)
    done = 128 * (blocks - 1) if blocks > 1 and blocks % 2 and not rest else x.shape[-1]
    mean = x[..., :done].mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1", "LN-5", "LN-13", "LN-4", "LN-12"),
    on=call([[1, 2, 6]], [1, 1, 1], [0, 0, 0]),
    hint="the length by which sums are divided: d, not that of the block that holds the row",
)
def divided_by_padded_length(x, gamma, beta, *, eps=1e-5):
    """The sums are divided by d rounded up to a power of two."""
    padded = 2 ** (x.shape[-1] - 1).bit_length()
    mean = x.sum(axis=-1, keepdims=True) / padded
    variance = ((x - mean) ** 2).sum(axis=-1, keepdims=True) / padded
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


# --- The variance -------------------------------------------------------------------------------------


@fault(
    "layer_norm",
    origin="pytorch/pytorch#51102",
    fails=("LN-11",),
    on=call([[10000, 10001, 10002, 10003]], np.ones(4), np.zeros(4)),
    hint="take the mean away before squaring: E[x^2] and E[x]^2 agree in most of their digits",
)
def variance_in_one_pass(x, gamma, beta, *, eps=1e-5):
    """The variance is E[x^2] - E[x]^2."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = (x**2).mean(axis=-1, keepdims=True) - mean**2
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-11", "LN-5", "LN-1"),
    on=call([[10000, 10001, 10002, 10003]], np.ones(4), np.zeros(4)),
    hint="a limit at zero hides what E[x^2] - E[x]^2 has lost; take the mean away before squaring",
)
def variance_in_one_pass_clamped(x, gamma, beta, *, eps=1e-5):
    """The variance is E[x^2] - E[x]^2, cut off at zero."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = np.maximum((x**2).mean(axis=-1, keepdims=True) - mean**2, 0)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-11", "LN-1"),
    on=call(3000 + normal(1, 512), np.ones(512), np.zeros(512)),
    hint="how the variance of long rows is computed: E[x^2] - E[x]^2 loses its digits",
)
def one_pass_for_long_rows(x, gamma, beta, *, eps=1e-5):
    """Rows of 512 features or more take E[x^2] - E[x]^2 for the variance."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    if x.shape[-1] >= 512:
        variance = np.maximum((x**2).mean(axis=-1, keepdims=True) - mean**2, 0)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-11", "LN-5", "LN-1"),
    on=call(3000 + normal(65, 4), np.ones(4), np.zeros(4)),
    hint="how the variance of many rows is computed: E[x^2] - E[x]^2 loses its digits",
)
def one_pass_for_many_rows(x, gamma, beta, *, eps=1e-5):
    """Of more than 64 rows the variance is E[x^2] - E[x]^2."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    if x.size // x.shape[-1] > 64:
        variance = np.maximum((x**2).mean(axis=-1, keepdims=True) - mean**2, 0)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    origin="allenai/allennlp#953",
    fails=("LN-2", "LN-13", "LN-1", "LN-12", "LN-4"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=0.5),
    hint="the divisor of the sum of squares: d; torch's var has d - 1 unless told otherwise",
)
def variance_over_d_minus_1(x, gamma, beta, *, eps=1e-5):
    """The sum of squares is divided by d - 1."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True, ddof=1)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call(normal(1, 800), np.ones(800), np.zeros(800)),
    hint="the divisor of the sum of squares in long rows: d, not d - 1",
)
def d_minus_1_for_long_rows(x, gamma, beta, *, eps=1e-5):
    """Where d is above 768, the sum of squares is divided by d - 1."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True, ddof=int(x.shape[-1] > 768))
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-5", "LN-1"),
    on=call([[1, 3]], [1, 1], [0, 0]),
    hint="the mean is taken away before squaring too",
)
def mean_of_squares(x, gamma, beta, *, eps=1e-5):
    """The mean of the squares stands for the variance."""
    mean, variance = x.mean(axis=-1, keepdims=True), (x**2).mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    origin="keras-team/keras#22393",
    fails=("LN-5", "LN-13", "LN-4", "LN-1", "LN-12"),
    on=call([[1, 3]], [1, 1], [0, 0]),
    hint="the mean is taken away from x too, and not only in the variance",
)
def not_centred(x, gamma, beta, *, eps=1e-5):
    """The mean is taken away in the variance and not from x."""
    return gamma * x / np.sqrt(x.var(axis=-1, keepdims=True) + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-5", "LN-1", "LN-9", "LN-13"),
    on=call(np.arange(513)[None], np.ones(513), np.zeros(513)),
    hint="the mean is taken away from every feature, also in the second block of a long row",
)
def features_from_512_not_centred(x, gamma, beta, *, eps=1e-5):
    """Features from 512 on are divided without the mean being taken away."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    centred = np.where(np.arange(x.shape[-1]) < 512, x - mean, x)
    return gamma * centred / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-5", "LN-4"),
    on=call([[1, 3]], [1, 1], [0, 0]),
    hint="layer normalisation takes the mean away; RMS normalisation does not",
)
def rms_norm(x, gamma, beta, *, eps=1e-5):
    """The mean is not taken away, neither from x nor in the variance."""
    return gamma * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1", "LN-13"),
    on=call([[0, 0, 3]], [1, 1, 1], [0, 0, 0]),
    hint="the spread of a row is the root of the mean of squares, not the mean of magnitudes",
)
def mean_absolute_deviation(x, gamma, beta, *, eps=1e-5):
    """Rows are divided by their mean absolute deviation."""
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.abs(centred).mean(axis=-1, keepdims=True)
    return gamma * centred / np.sqrt(deviation**2 + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-6", "LN-13", "LN-1", "LN-3", "LN-12"),
    on=call([[2, -2]], [1, 1], [0, 0], eps=3),
    hint="the spread is a root: of the variance plus eps",
)
def variance_not_rooted(x, gamma, beta, *, eps=1e-5):
    """Rows are divided by the variance plus eps, without a root."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / (variance + eps) + beta


@fault(
    "layer_norm",
    origin="131250208/TPlinker-joint-extraction#37",
    fails=("LN-6", "LN-13", "LN-1", "LN-3", "LN-12"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=3),
    hint="the exponent of variance plus eps: 1/2, not 2",
)
def variance_plus_eps_squared(x, gamma, beta, *, eps=1e-5):
    """Rows are divided by the square of variance plus eps, where the root belongs."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / (variance + eps) ** 2 + beta


@fault(
    "layer_norm",
    fails=("LN-6", "LN-13", "LN-1", "LN-3", "LN-12"),
    on=call([[2, -2]], [1, 1], [0, 0], eps=3),
    hint="whether the root or its reciprocal is what rows are multiplied by",
)
def multiplied_by_spread(x, gamma, beta, *, eps=1e-5):
    """Rows are multiplied by the root in place of being divided by it."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) * np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-13", "LN-6", "LN-3", "LN-1"),
    on=call([[1, -1]], [1, 1], [0, 0], eps=3),
    hint="how often rows are normalised: each time eps takes something away",
)
def normalised_twice(x, gamma, beta, *, eps=1e-5):
    """Rows are normalised, and what comes out is normalised again."""
    for _ in range(2):
        mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        x = (x - mean) / np.sqrt(variance + eps)
    return gamma * x + beta


@fault(
    "layer_norm",
    fails=("LN-1", "LN-9"),
    on=call(np.arange(128)[None] // 64 + np.arange(128) % 2, np.ones(128), np.zeros(128)),
    hint="the variance of a row holds how the means of its blocks differ",
)
def blocks_without_their_means(x, gamma, beta, *, eps=1e-5):
    """The variance is the mean of those of blocks of 64, whose means differ."""
    d, mean = x.shape[-1], x.mean(axis=-1, keepdims=True)
    blocks = [x[..., at : at + 64] for at in range(0, d, 64)]
    variance = sum(block.var(axis=-1, keepdims=True) * (block.shape[-1] / d) for block in blocks)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-9", "LN-1"),
    on=call([[1, 3, 8]], [1, 1, 1], [0, 0, 0]),
    hint="means of unequal numbers of features are not averaged with equal weights",
)
def uneven_blocks_weighted_equally(x, gamma, beta, *, eps=1e-5):
    """The means of two halves are averaged, where the second is shorter."""
    half = (x.shape[-1] + 1) // 2
    halves = (x[..., :half], x[..., half:]) if x.shape[-1] > 1 else (x, x)
    mean = sum(part.mean(axis=-1, keepdims=True) for part in halves) / 2
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-2", "LN-9"),
    on=call([[1, 3]], [1, 1], [0, 0]),
    hint="Welford's update multiplies the deviation from the old mean with that from the new one",
)
def welford_with_stale_mean(x, gamma, beta, *, eps=1e-5):
    """The running sum of squares is updated by the old mean twice."""
    mean, total = x[..., :1].copy(), np.zeros_like(x[..., :1])
    for at in range(1, x.shape[-1]):
        deviation = x[..., at : at + 1] - mean
        mean += deviation / (at + 1)
        total += deviation * deviation
    return gamma * (x - mean) / np.sqrt(total / x.shape[-1] + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[1e-5, -1e-5]], [1, 1], [0, 0], eps=1e-12),
    hint="a threshold below which a variance is no longer told from zero",
)
def small_variance_flushed(x, gamma, beta, *, eps=1e-5):
    """A variance below 1e-8 is taken for zero."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(np.where(variance < 1e-8, 0, variance) + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1", "LN-13"),
    on=call([[0.001, 0.003]], [1, 1], [0, 0]),
    hint="a threshold below which a mean is no longer told from zero",
)
def small_mean_ignored(x, gamma, beta, *, eps=1e-5):
    """A mean between -0.01 and 0.01 is taken for zero."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - np.where(np.abs(mean) < 0.01, 0, mean)) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[5, 5], [1, 4]], [1, 1], [0, 0]),
    hint="whether what protects a constant row touches the others",
)
def guard_for_all_rows(x, gamma, beta, *, eps=1e-5):
    """Where one row is constant, no row of the array is divided."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    root = 1 if (variance == 0).any() else np.sqrt(variance + eps)
    return gamma * (x - mean) / root + beta


# --- Gamma and beta -----------------------------------------------------------------------------------


@fault(
    "layer_norm",
    fails=("LN-8",),
    on=call([[1, 3]], [2, 4], [1, 1], eps=3),
    hint="beta is added last, after gamma",
)
def beta_before_gamma(x, gamma, beta, *, eps=1e-5):
    """Beta is added before gamma multiplies."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * ((x - mean) / np.sqrt(variance + eps) + beta)


@fault(
    "layer_norm",
    fails=("LN-8", "LN-4"),
    on=call([[1, 3]], [2, 4], [1, 1], eps=3),
    hint="what is done with beta",
)
def beta_forgotten(x, gamma, beta, *, eps=1e-5):
    """Beta is not added."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps)


@fault(
    "layer_norm",
    fails=("LN-8",),
    on=call([[1, 3]], [2, 4], [1, 1], eps=3),
    hint="what is done with gamma",
)
def gamma_forgotten(x, gamma, beta, *, eps=1e-5):
    """Gamma is not applied."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-8", "LN-13"),
    on=call([[1, 3]], [1, 1], [0, 0]),
    hint="gamma is the factor itself; some models keep it less 1",
)
def gamma_plus_one(x, gamma, beta, *, eps=1e-5):
    """Rows are multiplied by 1 + gamma."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (1 + gamma) * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-8",),
    on=call([[1, 3]], [-1, 1], [0, 0]),
    hint="gamma may be negative",
)
def gamma_absolute(x, gamma, beta, *, eps=1e-5):
    """Gamma loses its sign."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return np.abs(gamma) * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-8",),
    on=call([[1, 3]], [0, 1], [0, 0]),
    hint="gamma may be zero, which is not the same as absent",
)
def zero_gamma_taken_for_one(x, gamma, beta, *, eps=1e-5):
    """A gamma of zero is taken for one that was not given."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return np.where(gamma == 0, 1, gamma) * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[1, 3]], [1.000009, 1], [0, 0]),
    hint="np.allclose calls numbers equal that differ in their sixth digit",
)
def gamma_near_one_taken_for_one(x, gamma, beta, *, eps=1e-5):
    """A gamma that is near 1 throughout is not applied."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    normalised = (x - mean) / np.sqrt(variance + eps)
    return normalised + beta if np.allclose(gamma, 1) else gamma * normalised + beta


@fault(
    "layer_norm",
    fails=("LN-8",),
    on=call([[1, 3]], [2, 4], [0, 0]),
    hint="gamma multiplies what is normalised, and takes no part in mean and variance",
)
def gamma_before_statistics(x, gamma, beta, *, eps=1e-5):
    """Gamma multiplies x before mean and variance are taken."""
    scaled = gamma * x
    mean, variance = scaled.mean(axis=-1, keepdims=True), scaled.var(axis=-1, keepdims=True)
    return (scaled - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-8",),
    on=call([[1, 3], [5, 9]], [2, 4], [0, 1]),
    hint="the axis along which gamma and beta lie: that of the features, not that of the rows",
)
def gamma_of_the_row(x, gamma, beta, *, eps=1e-5):
    """Where there are as many rows as features, gamma and beta are applied by row."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    if x.ndim > 1 and x.shape[-2] == x.shape[-1]:
        gamma, beta = gamma[:, None], beta[:, None]
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-8", "LN-1"),
    on=call([[[1, 3]], [[5, 9]]], [2, 4], [0, 1]),
    hint="the axis along which gamma and beta lie: that of the features, not that of the batch",
)
def gamma_of_the_entry(x, gamma, beta, *, eps=1e-5):
    """Where there are as many entries as features, gamma and beta are applied by entry."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    if x.ndim > 2 and len(x) == x.shape[-1]:
        by_entry = (-1, *(1,) * (x.ndim - 1))
        gamma, beta = gamma.reshape(by_entry), beta.reshape(by_entry)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-8", "LN-9", "LN-1"),
    on=call(normal(1, 33), np.arange(33), np.arange(33)),
    hint="the index by which gamma and beta of feature 32 are read",
)
def parameters_wrap_at_32(x, gamma, beta, *, eps=1e-5):
    """Gamma and beta begin again after 32 features."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    slot = np.arange(x.shape[-1]) % 32
    return gamma[slot] * (x - mean) / np.sqrt(variance + eps) + beta[slot]


@fault(
    "layer_norm",
    fails=("LN-8", "LN-9", "LN-4", "LN-1"),
    on=call([[1, 2, 3, 4, 5]], [2, 2, 2, 2, 2], [1, 1, 1, 1, 1]),
    hint="what is done to the features that are left over when four at a time are done",
)
def tail_without_parameters(x, gamma, beta, *, eps=1e-5):
    """Features beyond a multiple of four miss gamma and beta."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    y = (x - mean) / np.sqrt(variance + eps)
    whole = x.shape[-1] // 4 * 4
    y[..., :whole] = gamma[:whole] * y[..., :whole] + beta[:whole]
    return y


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[1, 3]], [1, 1], [1, 2]),
    hint="the short cut for a gamma of ones: beta is still to be added",
)
def beta_skipped_for_unit_gamma(x, gamma, beta, *, eps=1e-5):
    """Where gamma is 1 throughout, beta is skipped with it."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    normalised = (x - mean) / np.sqrt(variance + eps)
    return normalised if (gamma == 1).all() else gamma * normalised + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call([[1, 3]], [2, 4], [0, 0]),
    hint="the short cut for a beta of zeros: gamma is still to be applied",
)
def gamma_skipped_for_zero_beta(x, gamma, beta, *, eps=1e-5):
    """Where beta is 0 throughout, gamma is skipped with it."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    normalised = (x - mean) / np.sqrt(variance + eps)
    return gamma * normalised + beta if beta.any() else normalised


@fault(
    "layer_norm",
    fails=("LN-4",),
    on=call([[5, 5]], [1, 1], [0.5, -2]),
    hint="the short cut for a constant row: it is beta, and not zero",
)
def constant_row_gives_zeros(x, gamma, beta, *, eps=1e-5):
    """A row of variance zero gives zeros, without beta."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return np.where(variance == 0, 0, gamma * (x - mean) / np.sqrt(variance + eps) + beta)


@fault(
    "layer_norm",
    fails=("LN-4",),
    on=call([[0, 0]], [1, 1], [0.5, -2]),
    hint="by what padding is known: a row of zeros is a row like any other, and gives beta",
)
def zero_rows_skipped(x, gamma, beta, *, eps=1e-5):
    """A row of zeros is taken for padding and gives zeros."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    y = gamma * (x - mean) / np.sqrt(variance + eps) + beta
    return np.where(x.any(axis=-1, keepdims=True), y, 0)


@fault(
    "layer_norm",
    fails=("LN-4",),
    on=call([[5]], [1], [2]),
    hint="a single feature is its own mean, and the result is beta",
)
def single_feature_passed_through(x, gamma, beta, *, eps=1e-5):
    """Rows of one feature are returned as they are."""
    if x.shape[-1] == 1:
        return x.copy()
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


# --- Formats ------------------------------------------------------------------------------------------


@fault(
    "layer_norm",
    fails=("LN-11", "LN-1"),
    on=call([[300, 301]], [1, 1], [0, 0]),
    hint="the dtype in which the mean is kept",
)
def mean_in_bfloat16(x, gamma, beta, *, eps=1e-5):
    """The mean is rounded to bfloat16."""
    mean, variance = to_bfloat16(x.mean(axis=-1, keepdims=True)), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-11", "LN-1", "LN-13", "LN-5", "GEN-3"),
    on=call([[2049, 2051]], [1, 1], [0, 0]),
    hint="the dtype in which mean and variance are taken",
)
def statistics_in_half(x, gamma, beta, *, eps=1e-5):
    """Mean and variance are taken in float16."""
    half = x.astype(np.float16)
    mean = half.mean(axis=-1, keepdims=True).astype(x.dtype)
    variance = half.var(axis=-1, keepdims=True).astype(x.dtype)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1", "LN-13", "LN-12", "LN-2"),
    on=call([[1, 2, 4]], [1, 1, 1], [0, 0, 0]),
    hint="the dtype of the squares whose mean is the variance",
)
def squares_in_bfloat16(x, gamma, beta, *, eps=1e-5):
    """The squares of the centred row are rounded to bfloat16."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = to_bfloat16(centred**2).mean(axis=-1, keepdims=True)
    return gamma * centred / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-1", "LN-13"),
    on=call([[1, 2, 4]], [1, 1, 1], [0, 0, 0]),
    hint="the dtype of the row between its normalisation and gamma",
)
def normalised_in_half(x, gamma, beta, *, eps=1e-5):
    """The normalised row is rounded to float16 before gamma."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    normalised = ((x - mean) / np.sqrt(variance + eps)).astype(np.float16)
    return gamma * normalised.astype(x.dtype) + beta


@fault(
    "layer_norm",
    fails=("LN-1", "LN-13"),
    on=call([[1, -1]], [1, 1], [0, 0]),
    hint="how many digits the reciprocal root has",
)
def fast_inverse_root(x, gamma, beta, *, eps=1e-5):
    """The reciprocal root is guessed from the bits, with one step of Newton."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    number = (variance + eps).astype(np.float32)
    guess = (0x5F3759DF - (number.view(np.int32) >> 1)).view(np.float32)
    guess = guess * (1.5 - 0.5 * number * guess * guess)
    return gamma * (x - mean) * guess.astype(x.dtype) + beta


@fault(
    "layer_norm",
    fails=("LN-1",),
    on=call(np.eye(1, 100), np.ones(100), np.zeros(100)),
    hint="how large a normalised feature may become: up to the root of d - 1",
)
def normalised_clipped_at_8(x, gamma, beta, *, eps=1e-5):
    """Normalised features are clipped at 8."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * ((x - mean) / np.sqrt(variance + eps)).clip(-8, 8) + beta


@fault(
    "layer_norm",
    fails=("LN-11",),
    on=call([[65536, 65539]], [1, 1], [0, 0]),
    hint="numbers beyond what float16 holds are ordinary in float32",
)
def large_numbers_clipped(x, gamma, beta, *, eps=1e-5):
    """Numbers beyond 65504 are clipped before anything else."""
    x = x.clip(-65504, 65504)
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault(
    "layer_norm",
    fails=("LN-11", "LN-1"),
    on=call([[20000, 20001]], [1, 1], [0, 0]),
    hint="what becomes of eps where a row is scaled down before its squares are taken",
)
def large_rows_prescaled(x, gamma, beta, *, eps=1e-5):
    """Rows with numbers above 10000 are divided by the greatest of them, and eps is not."""
    greatest = np.abs(x).max(axis=-1, keepdims=True)
    x = x / np.where(greatest > 10000, greatest, 1).astype(x.dtype)
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta
