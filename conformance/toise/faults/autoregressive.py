"""AR · What implementations of sequence_log_prob get wrong.  Read with spec/toise_spec/autoregressive.md."""

import numpy as np

from toise.faults import call, fault, normal

INF = np.inf
THREE = call([[0, 1], [2, 0], [0, 0]], [0, 1, 0])


def log_p(z):
    """Return the log-probabilities of each row."""
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def softmax(z):
    """Return the probabilities of each row."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def picked(scores, tokens):
    """Return the score of each token in its row."""
    return np.take_along_axis(scores, tokens[..., None], axis=-1)[..., 0]


def steps_of(logits, tokens):
    """Return the log-probability of each token but the first."""
    return picked(log_p(logits[..., :-1, :]), tokens[..., 1:])


def log_p_in_blocks(z, size, rescale):
    """Return log-probabilities by a running sum over blocks; `rescale` says by what it is multiplied at each."""
    top, total = np.full_like(z[..., :1], -INF), np.zeros_like(z[..., :1])
    for start in range(0, z.shape[-1], size):
        block = z[..., start : start + size]
        new = np.maximum(top, block.max(axis=-1, keepdims=True))
        finite = np.where(np.isneginf(new), 0, new)  # a block may be all -inf
        total = total * rescale(top, finite) + np.exp(block - finite).sum(axis=-1, keepdims=True)
        top = new
    return z - top - np.log(total)


# --- Which row rates which token, and what is added up ---------------------------------------------------


@fault(
    "sequence_log_prob",
    origin="Project-MONAI/GenerativeModels#314",
    fails=("AR-2", "AR-9"),
    on=THREE,
    hint="row t rates token t + 1: logits[..., :-1, :] against tokens[..., 1:]",
)
def no_shift(logits, tokens):
    """Each row rates the token that it was computed from."""
    return picked(log_p(logits), tokens).sum(axis=-1)


@fault(
    "sequence_log_prob",
    origin="huggingface/transformers#47394",
    fails=("AR-2", "AR-4"),
    on=THREE,
    hint="logits and tokens are shifted against each other once, by the caller or by the loss",
)
def shifted_twice(logits, tokens):
    """Each row rates the token two places on."""
    return picked(log_p(logits[..., :-2, :]), tokens[..., 2:]).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-2", "AR-3"),
    on=THREE,
    hint="the last row of the logits and the first token are dropped, and not the first row and the last token",
)
def shifted_backwards(logits, tokens):
    """Each row rates the token before it."""
    return picked(log_p(logits[..., 1:, :]), tokens[..., :-1]).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-3", "AR-9"),
    on=THREE,
    hint="the first token has no row before it: slice the tokens, and do not roll them",
)
def rolled(logits, tokens):
    """The tokens are rolled, so that the last row rates the first token."""
    return picked(log_p(logits), np.roll(tokens, -1, axis=-1)).sum(axis=-1)


@fault(
    "sequence_log_prob",
    origin="huggingface/transformers#47394",
    fails=("GEN-7", "AR-3"),
    on=call([[[0, 1], [1, 0]], [[0, 2], [0, 0]]], [[0, 1], [0, 1]]),
    hint="the shift is made along each sequence, before the batch is flattened",
)
def flattened_before_the_shift(logits, tokens):
    """The batch is flattened before the shift, so that a sequence goes over into the next."""
    following = np.roll(tokens.ravel(), -1).reshape(tokens.shape)
    steps = picked(log_p(logits), following)
    if steps.size:
        steps.reshape(-1)[-1] = 0
    return steps.sum(axis=-1)


@fault(
    "sequence_log_prob",
    origin="jingyaogong/minimind#298",
    fails=("AR-4", "AR-1"),
    on=THREE,
    hint="a log-probability is a sum over the tokens; a mean is a score of another kind",
)
def mean_over_positions(logits, tokens):
    """The result is divided by the number of scored tokens."""
    steps = steps_of(logits, tokens)
    return steps.sum(axis=-1) / logits.dtype.type(max(1, steps.shape[-1]))


@fault(
    "sequence_log_prob",
    fails=("AR-9",),
    on=call([[0, 1]], [1]),
    hint="a sequence of one token has nothing to score: the sum has no terms",
)
def lone_token_scored(logits, tokens):
    """A sequence of one token is rated by its own row."""
    if tokens.shape[-1] == 1:
        return picked(log_p(logits), tokens).sum(axis=-1)
    return steps_of(logits, tokens).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-4", "AR-5", "AR-8", "AR-11"),
    on=THREE,
    hint="the last token is scored by the row before it: only the last row of the logits is dropped",
)
def last_token_unscored(logits, tokens):
    """The last token is not scored."""
    return steps_of(logits, tokens)[..., :-1].sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-4"),
    on=call(np.zeros((64, 2)), np.zeros(64)),
    hint="try n = 64 and n = 128: what is left for the last block may be nothing",
)
def last_of_64_missing(logits, tokens):
    """The last token is not scored where a sequence has a multiple of 64."""
    steps = steps_of(logits, tokens)
    if tokens.shape[-1] % 64 == 0:
        steps = steps[..., :-1]
    return steps.sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-4", "AR-1"),
    on=call(np.zeros((65, 2)), np.zeros(65)),
    hint="try n = 65: the first token of a further window is scored by the last row of the one before",
)
def window_edges_unscored(logits, tokens):
    """The first token of each further window of 64 is not scored."""
    steps = steps_of(logits, tokens)
    at_the_edge = np.arange(1, tokens.shape[-1]) % 64 == 0
    return np.where(at_the_edge, 0, steps).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-4"),
    on=call(np.zeros((258, 2)), np.zeros(258)),
    hint="try a sequence of more than 256 tokens",
)
def steps_from_256_lost(logits, tokens):
    """Of a sequence only the first 256 steps are added up."""
    return steps_of(logits, tokens)[..., :256].sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-4", "AR-1"),
    on=call(np.zeros((130, 2)), np.zeros(130)),
    hint="try a sequence of more than 129 tokens",
)
def last_128_steps_alone(logits, tokens):
    """Only the last 128 steps of a sequence are added up."""
    return steps_of(logits, tokens)[..., -128:].sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "GEN-7"),
    on=call([[[0, 1], [0, 0]], [[0, 2], [0, 0]]], [[0, 1], [0, 0]]),
    hint="which axis is the batch cannot be told from the sizes",
)
def batch_transposed_when_square(logits, tokens):
    """Where there are as many sequences as tokens in each, the tokens are transposed."""
    if tokens.ndim == 2 and tokens.shape[0] == tokens.shape[1]:
        tokens = tokens.T
    return steps_of(logits, tokens).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("GEN-1",),
    on=call([[[0, 1], [0, 0]]], [[0, 1]]),
    hint="a batch of one sequence has one result, in an array of shape [1]",
)
def single_batch_squeezed(logits, tokens):
    """A leading axis of one is removed."""
    return np.squeeze(steps_of(logits, tokens).sum(axis=-1))


@fault(
    "sequence_log_prob",
    fails=("GEN-1", "GEN-7", "GEN-8", "AR-1", "AR-4"),
    on=call(np.zeros((2, 2, 2)), np.zeros((2, 2))),
    hint="with two tokens there is one step, whose axis is the one to add along",
)
def steps_squeezed(logits, tokens):
    """Axes of length one are removed before the last axis is added up."""
    steps = np.squeeze(steps_of(logits, tokens))
    return steps.sum(axis=-1) if steps.ndim else steps.copy()


@fault(
    "sequence_log_prob",
    fails=("GEN-1",),
    on=call(np.zeros((2, 1, 3, 2, 2)), np.zeros((2, 1, 3, 2))),
    hint="the result has all leading axes of the tokens, however many there are",
)
def three_leading_axes_folded(logits, tokens):
    """Of three leading axes the last two are folded into one."""
    result = steps_of(logits, tokens).sum(axis=-1)
    return result.reshape(len(result), -1) if result.ndim == 3 else result


@fault(
    "sequence_log_prob",
    fails=("AR-1", "GEN-7"),
    on=call(np.zeros((9, 2, 2)), np.zeros((9, 2))),
    hint="try a batch of more than eight sequences",
)
def sequences_from_eight_lost(logits, tokens):
    """Sequences of a batch from the ninth on are not scored."""
    result = steps_of(logits, tokens).sum(axis=-1)
    if result.ndim:
        result[8:] = 0
    return result


@fault(
    "sequence_log_prob",
    fails=("GEN-5",),
    on=(call([[0, 1], [0, 0]], [0, 1]), call([[2, 0], [0, 0]], [0, 1])),
    hint="a result that was returned lies in the memory of the next one of its shape",
    stateful=True,
)
def result_memory_reused():
    """Results of one shape share their memory, so that a call overwrites the result before it."""
    kept = {}

    def sequence_log_prob(logits, tokens):
        steps = steps_of(logits, tokens)
        result = kept.setdefault((steps.shape[:-1], steps.dtype), np.empty(steps.shape[:-1], steps.dtype))
        return steps.sum(axis=-1, out=result)

    return sequence_log_prob


@fault(
    "sequence_log_prob",
    fails=("AR-4", "AR-9", "AR-1"),
    on=(THREE, call([[0, 1], [2, 0]], [0, 1])),
    hint="try a short sequence after a long one: only the steps of this call are added up",
    stateful=True,
)
def steps_of_a_longer_call():
    """Steps are kept in memory that only grows, and what a longer sequence left there is added up too."""
    kept = {}

    def sequence_log_prob(logits, tokens):
        steps = steps_of(logits, tokens)
        *lead, count = steps.shape
        memory = kept.get((*lead, steps.dtype))
        if memory is None or memory.shape[-1] < count:
            memory = kept[(*lead, steps.dtype)] = np.empty_like(steps)
        memory[..., :count] = steps
        return memory.sum(axis=-1)

    return sequence_log_prob


@fault(
    "sequence_log_prob",
    fails=("AR-1",),
    on=call(normal(9, 7), [0, 1, 2, 3, 4, 5, 6, 0, 1]),
    hint="log-probabilities are added up in the precision of the logits, or in a wider one",
)
def steps_added_in_half(logits, tokens):
    """Log-probabilities are added up in float16."""
    return steps_of(logits, tokens).astype(np.float16).sum(axis=-1).astype(logits.dtype)


# --- Which tokens are scored, and where they are looked up -----------------------------------------------


@fault(
    "sequence_log_prob",
    origin="huggingface/transformers#23530",
    fails=("AR-12", "AR-1"),
    on=THREE,
    hint="every token is a token of the text, whatever its number; nothing is padding here",
)
def token_zero_as_padding(logits, tokens):
    """Token 0 is taken for padding, and is not scored."""
    return np.where(tokens[..., 1:] == 0, 0, steps_of(logits, tokens)).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-12", "AR-1"),
    on=call([[0, 1], [2, 0], [0, 0]], [0, 1, 1]),
    hint="every token is a token of the text, whatever its number; no token ends it",
)
def end_mark_stops(logits, tokens):
    """The last token of the vocabulary is taken for the end of the text, and nothing after it is scored."""
    ended = np.cumsum(tokens == logits.shape[-1] - 1, axis=-1)[..., :-1] > 0
    return np.where(ended, 0, steps_of(logits, tokens)).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-5"),
    on=call([[0, 1], [2, 0], [0, 0]], [0, 1, 1]),
    hint="a repeated token is a token, and is scored like any other",
)
def repeats_merged(logits, tokens):
    """A token that repeats the one before it is not scored."""
    return np.where(tokens[..., 1:] == tokens[..., :-1], 0, steps_of(logits, tokens)).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1",),
    on=call(normal(2, 129), [0, 128]),
    hint="try tokens beside the edge of a block of the vocabulary: 127, 128 and 129",
)
def token_at_the_edge_of_a_tile(logits, tokens):
    """A token whose number is a multiple of 128 is looked up one place too low."""
    following = tokens[..., 1:]
    on_the_edge = (following % 128 == 0) & (following > 0)
    return picked(log_p(logits[..., :-1, :]), following - on_the_edge).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-4"),
    on=call(normal(33, 1030), np.full(33, 1029)),
    hint="the index into flattened logits goes up to n times the vocabulary",
)
def index_of_sixteen_bits(logits, tokens):
    """The index into the flattened logits of a sequence is held in int16."""
    *lead, n, vocab = logits[..., :-1, :].shape
    index = (np.arange(n) * vocab + tokens[..., 1:]).astype(np.int16)
    scores = log_p(logits[..., :-1, :]).reshape(*lead, n * vocab)
    return np.take_along_axis(scores, index.astype(np.int64), axis=-1).sum(axis=-1)


# --- The logarithm of a probability ----------------------------------------------------------------------


@fault(
    "sequence_log_prob",
    fails=("AR-6", "AR-5"),
    on=THREE,
    hint="a logit is no log-probability: the log-sum-exp of its row is to be subtracted",
)
def raw_logits(logits, tokens):
    """The logits themselves are added up, without a normaliser."""
    return picked(logits[..., :-1, :], tokens[..., 1:]).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-3", "AR-6", "AR-5"),
    on=THREE,
    hint="a logit and its normaliser are of one row: both are shifted, or neither",
)
def normaliser_one_row_late(logits, tokens):
    """The normaliser is that of the next row."""
    after = logits[..., 1:, :]
    top = after.max(axis=-1, keepdims=True)
    normaliser = (top + np.log(np.exp(after - top).sum(axis=-1, keepdims=True)))[..., 0]
    return (picked(logits[..., :-1, :], tokens[..., 1:]) - normaliser).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-5", "AR-1"),
    on=call([[0, 1], [2, 0], [0, 0]], [0, 1, 1]),
    hint="the softmax is taken along the vocabulary, the last axis of the logits",
)
def softmax_over_positions(logits, tokens):
    """The softmax is taken over the positions, and not over the vocabulary."""
    rows = logits[..., :-1, :]
    if rows.size:
        rows = log_p(rows.swapaxes(-1, -2)).swapaxes(-1, -2)
    return picked(rows, tokens[..., 1:]).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-5"),
    on=THREE,
    hint="what pads the vocabulary has a probability of zero: a logit of -inf, and not of 0",
)
def padded_vocabulary(logits, tokens):
    """The vocabulary is padded with zeros to a multiple of eight, and these count in the normaliser."""
    padding = np.zeros((*logits.shape[:-1], -logits.shape[-1] % 8), logits.dtype)
    return steps_of(np.concatenate([logits, padding], axis=-1), tokens).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-5", "AR-12", "GEN-3"),
    on=THREE,
    hint="the end of a range is usually left out: all tokens of the vocabulary are in the normaliser",
)
def last_word_not_in_the_normaliser(logits, tokens):
    """The last token of the vocabulary is left out of the normaliser."""
    rows = logits[..., :-1, :]
    rows = rows - rows.max(axis=-1, keepdims=True)
    return (picked(rows, tokens[..., 1:]) - np.log(np.exp(rows[..., :-1]).sum(axis=-1))).sum(axis=-1)


@fault(
    "sequence_log_prob",
    origin="deeplearning4j/deeplearning4j#785",
    fails=("AR-7",),
    on=call([[0, -2000], [0, 0]], [0, 1]),
    hint="a tiny probability underflows before its logarithm is taken: subtract the log-sum-exp from the logit",
)
def logarithm_of_a_softmax(logits, tokens):
    """The logarithm of a finished softmax is taken."""
    return picked(np.log(softmax(logits[..., :-1, :])), tokens[..., 1:]).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-7", "AR-11"),
    on=call([[0, -2000], [0, 0]], [0, 1]),
    hint="a log-probability of -2000 is an ordinary number, and that of an impossible token is -inf: add nothing",
)
def small_number_in_the_logarithm(logits, tokens):
    """1e-9 is added to each probability before the logarithm."""
    return np.log(picked(softmax(logits[..., :-1, :]), tokens[..., 1:]) + logits.dtype.type(1e-9)).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-7", "AR-4"),
    on=call(np.full((5, 2), [0.0, 60.0]), np.zeros(5)),
    hint="a product of many probabilities underflows: add their logarithms up",
)
def product_of_probabilities(logits, tokens):
    """Probabilities are multiplied, and the logarithm is taken of the product."""
    return np.log(picked(softmax(logits[..., :-1, :]), tokens[..., 1:]).prod(axis=-1))


@fault(
    "sequence_log_prob",
    fails=("AR-7", "AR-11"),
    on=call([[0, -2000], [0, 0]], [0, 1]),
    hint="a log-probability of -2000 is an ordinary number, and that of an impossible token is -inf",
)
def steps_clamped_at_minus_100(logits, tokens):
    """A log-probability below -100 is taken for -100."""
    return np.maximum(steps_of(logits, tokens), -100).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-7", "GEN-3"),
    on=call([[0, 1000], [0, 0]], [0, 1]),
    hint="exp(1000) overflows: take off the greatest logit of the row first",
)
def exponentials_unshifted(logits, tokens):
    """The greatest logit is not taken off before the exponential."""
    rows = logits[..., :-1, :]
    return (picked(rows, tokens[..., 1:]) - np.log(np.exp(rows).sum(axis=-1))).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("GEN-3", "AR-7"),
    on=call(200.0 * (np.arange(33) == 32) + np.zeros((2, 1)), [0, 32]),
    hint="the greatest logit may stand in the last block of the vocabulary",
)
def greatest_of_the_first_block(logits, tokens):
    """The greatest logit is looked for among the first 32 tokens of the vocabulary."""
    rows = logits[..., :-1, :]
    top = rows[..., :32].max(axis=-1, keepdims=True)
    rows = rows - np.where(np.isneginf(top), 0, top)
    return (picked(rows, tokens[..., 1:]) - np.log(np.exp(rows).sum(axis=-1))).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("GEN-3",),
    on=call([[1000, 0], [0, 0], [0, 0]], [0, 0, 0]),
    hint="try rows of very different size: each has a greatest logit of its own",
)
def greatest_of_the_batch(logits, tokens):
    """The greatest logit of the whole batch is taken off, and not that of each row."""
    rows = logits[..., :-1, :]
    rows = rows - rows.max(initial=-INF)
    return (picked(rows, tokens[..., 1:]) - np.log(np.exp(rows).sum(axis=-1))).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("GEN-3",),
    on=call([[-1000, -1001], [0, 0]], [0, 1]),
    hint="all logits of a row may be negative: a maximum begins at -inf",
)
def greatest_from_zero(logits, tokens):
    """The search for the greatest logit begins at 0 and not at minus infinity."""
    rows = logits[..., :-1, :]
    rows = rows - rows.max(axis=-1, keepdims=True, initial=0)
    return (picked(rows, tokens[..., 1:]) - np.log(np.exp(rows).sum(axis=-1))).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1",),
    on=call(np.zeros((2, 2050)), [0, 0]),
    hint="try a vocabulary of more than 2048 tokens",
)
def words_from_2048_lost(logits, tokens):
    """Tokens of the vocabulary from 2048 on are left out of the normaliser."""
    rows = logits[..., :-1, :]
    rows = rows - rows.max(axis=-1, keepdims=True)
    return (picked(rows, tokens[..., 1:]) - np.log(np.exp(rows[..., :2048]).sum(axis=-1))).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1",),
    on=call(1.0 * (np.arange(129) == 128) + np.zeros((2, 1)), [0, 0]),
    hint="a running sum of exponentials belongs to the greatest logit so far: when that grows, the sum is rescaled",
)
def rescale_lost(logits, tokens):
    """In blocks of 128, the sum so far is not rescaled when a greater logit comes."""
    scores = log_p_in_blocks(logits[..., :-1, :], 128, lambda top, new: 1)
    return picked(scores, tokens[..., 1:]).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1",),
    on=call(0.5 * (np.arange(17) == 16) + np.zeros((2, 1)), [0, 0]),
    hint="a running sum may be rescaled later, but then the greatest logit that it belongs to stays as it was too",
)
def small_rescale_skipped(logits, tokens):
    """In blocks of 16, the sum so far is rescaled only where the greatest logit has grown by more than one."""
    scores = log_p_in_blocks(logits[..., :-1, :], 16, lambda top, new: np.where(new - top > 1, np.exp(top - new), 1))
    return picked(scores, tokens[..., 1:]).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-8", "AR-5"),
    on=THREE,
    hint="the result is in nats: the logarithm is the natural one",
)
def bits(logits, tokens):
    """Logarithms are taken to the base of 2."""
    return steps_of(logits, tokens).sum(axis=-1) / logits.dtype.type(np.log(2))


@fault(
    "sequence_log_prob",
    fails=("AR-8", "AR-11"),
    on=THREE,
    hint="a log-probability is 0 or less; a loss is minus that",
)
def negated(logits, tokens):
    """The result is minus the log-probability, a loss."""
    return -steps_of(logits, tokens).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-8", "AR-5"),
    on=THREE,
    hint="label smoothing belongs to training: the token itself has all the weight",
)
def smoothed(logits, tokens):
    """A tenth of the weight goes to all tokens alike."""
    scores = log_p(logits[..., :-1, :])
    tenth = logits.dtype.type(0.1)
    return ((1 - tenth) * picked(scores, tokens[..., 1:]) + tenth * scores.mean(axis=-1)).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1", "AR-8"),
    on=THREE,
    hint="look for a factor on the logits: a temperature of 1 is none at all",
)
def temperature(logits, tokens):
    """Logits are divided by 1.001."""
    return steps_of(logits / logits.dtype.type(1.001), tokens).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-1",),
    on=call(normal(9, 7), [0, 1, 2, 3, 4, 5, 6, 0, 1]),
    hint="logits keep all digits of their dtype; look for a switch that allows TF32",
)
def logits_of_ten_bits(logits, tokens):
    """Logits keep ten bits of their fraction, as in TF32."""
    fraction, exponent = np.frexp(logits)
    return steps_of(np.ldexp(np.round(2048 * fraction) / 2048, exponent), tokens).sum(axis=-1)


# --- Logits of minus infinity ----------------------------------------------------------------------------


@fault(
    "sequence_log_prob",
    origin="google-deepmind/optax#896",
    fails=("AR-10", "AR-11"),
    on=call([[0, 1, -INF], [0, 0, 0]], [0, 1]),
    hint="0 times -inf is NaN: pick the token's log-probability by its index, or by a selection",
)
def one_hot_product(logits, tokens):
    """Log-probabilities are multiplied by a one-hot row and added up, and 0 times infinity is NaN."""
    one_hot = tokens[..., 1:, None] == np.arange(logits.shape[-1])
    return (log_p(logits[..., :-1, :]) * one_hot).sum(axis=(-2, -1))


@fault(
    "sequence_log_prob",
    origin="Dao-AILab/flash-attention#1930",
    fails=("AR-10",),
    on=call([[-INF, -INF, -INF, -INF, 0, 1], [0, 0, 0, 0, 0, 0]], [4, 4]),
    hint="-inf less -inf is NaN: a block of the vocabulary that is all -inf adds nothing to the sum",
)
def block_of_minus_infinity(logits, tokens):
    """A block of four logits of minus infinity makes the running normaliser NaN."""
    rows = logits[..., :-1, :]
    top, total = np.full_like(rows[..., :1], -INF), np.zeros_like(rows[..., :1])
    for start in range(0, rows.shape[-1], 4):
        block = rows[..., start : start + 4]
        new = np.maximum(top, block.max(axis=-1, keepdims=True))
        total = total * np.exp(top - new) + np.exp(block - new).sum(axis=-1, keepdims=True)
        top = new
    return picked(rows - top - np.log(total), tokens[..., 1:]).sum(axis=-1)


@fault(
    "sequence_log_prob",
    origin="karpathy/minGPT#10",
    fails=("AR-10", "AR-11"),
    on=call([[0, 1, -INF], [0, 0, 0]], [0, 1]),
    hint="a logit of almost 0 is as probable as any other; what is ruled out has a logit of -inf",
)
def impossible_filled_with_zero(logits, tokens):
    """A logit of minus infinity is replaced by 1e-10."""
    return steps_of(np.where(np.isneginf(logits), logits.dtype.type(1e-10), logits), tokens).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-11",),
    on=call([[0, 1, -INF], [0, 0, 0]], [0, 2]),
    hint="a text with an impossible token is impossible: its log-probability is -inf",
)
def infinite_steps_left_out(logits, tokens):
    """Log-probabilities of minus infinity are left out of the sum."""
    steps = steps_of(logits, tokens)
    return np.where(np.isneginf(steps), 0, steps).sum(axis=-1)


@fault(
    "sequence_log_prob",
    fails=("AR-11",),
    on=call([[[0, -INF], [0, 0]], [[0, 1], [0, 0]]], [[0, 1], [0, 1]]),
    hint="an impossible text says nothing about the others of its batch",
)
def impossible_text_spoils_the_batch(logits, tokens):
    """One impossible text makes the whole batch impossible."""
    result = steps_of(logits, tokens).sum(axis=-1)
    return np.full_like(result, -INF) if np.isneginf(result).any() else result


@fault(
    "sequence_log_prob",
    fails=("AR-10", "AR-11"),
    on=call([[0, 1], [-INF, 0]], [0, 1]),
    hint="what is multiplied by zero is not left out: 0 times infinity is NaN",
)
def last_row_times_zero(logits, tokens):
    """The last row rates token 0, and is multiplied by zero."""
    following = np.concatenate([tokens[..., 1:], np.zeros_like(tokens[..., :1])], axis=-1)
    counts = np.arange(tokens.shape[-1]) < tokens.shape[-1] - 1
    return (picked(log_p(logits), following) * counts.astype(logits.dtype)).sum(axis=-1)
