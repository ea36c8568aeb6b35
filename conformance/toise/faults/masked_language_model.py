"""MLM · What implementations of mlm_corrupt and mlm_loss get wrong.  Read with spec/toise_spec/masked_language_model.md."""

import math
import random

import numpy as np

from toise.faults import call, fault, normal

LOW = {"vocab_size": 8, "mask_id": 3, "special_ids": (2, 0, 3, 1), "seed": 0}
WORDS = call([4, 5, 6, 7] * 4, **LOW)
LN3 = math.log(3)
TWO = call([[LN3, 0], [0, 0]], [0, 1], [True, True])
ONE = call([[LN3, 0], [0, 0]], [0, 1], [True, False])
UNEVEN = call([[[LN3, 0], [0, 0]], [[0, 0], [0, 0]]], [[0, 1], [0, 1]], [[True, False], [True, True]])


def ordinary(tokens, special_ids):
    """Return which tokens may be selected."""
    return ~np.isin(tokens, np.array(special_ids, int))


def replaced(draw, tokens, selected, mask_id, vocab_size, *, action=None, drawn=None):
    """Hide 80 % of the selected tokens, replace 10 % and leave 10 %; a fault may bring the numbers that decide it."""
    action = draw.random(tokens.shape) if action is None else action
    drawn = draw.integers(vocab_size, size=tokens.shape) if drawn is None else drawn
    changed = np.where(action < 0.8, mask_id, np.where(action < 0.9, drawn, tokens))
    return np.where(selected, changed, tokens), selected


def corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Corrupt as the reference does."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


def row_by_row(tokens, seeds, given):
    """Corrupt each part of the tokens with a seed of its own."""
    corrupted, selected = tokens.copy(), np.zeros(tokens.shape, bool)
    for at, seed in seeds:
        corrupted[at], selected[at] = corrupt(tokens[at], seed=seed, **given)
    return corrupted, selected


def log_softmax(logits):
    """Return the log-probabilities of each row."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def of_label(scores, labels):
    """Return the score of each label in its row."""
    return np.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]


def losses(logits, labels):
    """Return the loss of each position."""
    return -of_label(log_softmax(logits), labels)


# --- What is special -------------------------------------------------------------------------------------


@fault(
    "mlm_corrupt",
    origin="huggingface/transformers#11155",
    fails=("MLM-4",),
    on=call([1, 4, 5, 2, 0, 0, 0, 0], **LOW),
    hint="padding and all other special tokens are never selected",
)
def special_tokens_selected(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Special tokens are selected like all others."""
    draw = np.random.default_rng(seed)
    selected = draw.random(tokens.shape) < rate
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    origin="huggingface/transformers#1395",
    fails=("MLM-4",),
    on=call([1, 4, 5, 2, 0, 0, 0, 0], **LOW),
    hint="all of special_ids are spared, and not only padding",
)
def first_special_id_spared(tokens, *, special_ids, **given):
    """Only the first of the special ids is spared."""
    return corrupt(tokens, special_ids=special_ids[:1], **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-4",),
    on=call([1, 4, 5, 2, 0, 0, 0, 0], **LOW),
    hint="special_ids come in any order: a search that halves its range needs them sorted",
)
def special_ids_taken_as_sorted(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The special ids are searched as if they were sorted."""
    draw, ids = np.random.default_rng(seed), np.array((*special_ids, -1), int)
    special = ids[np.searchsorted(ids[:-1], tokens)] == tokens
    return replaced(draw, tokens, ~special & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-8", "MLM-5", "MLM-6"),
    on=call([0, 4, 5, 6] * 4, vocab_size=8, mask_id=3, special_ids=(0, 6), seed=0),
    hint="special ids may stand anywhere in the vocabulary, and there are words between them",
)
def special_below_the_largest(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Every id up to the largest special one is taken for special."""
    draw = np.random.default_rng(seed)
    words = tokens > max(special_ids, default=-1)
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-8",),
    on=call([4, 5, 67, 68, 64, 7] * 4, **{**LOW, "vocab_size": 80}),
    hint="compare whole ids: id 67 is not id 3",
)
def special_bits_of_one_word(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Special ids are kept as the bits of one word of 64, so that ids 64 apart are alike."""
    draw, word = np.random.default_rng(seed), sum(1 << (id % 64) for id in {*special_ids})
    special = (np.uint64(word) >> (tokens % 64).astype(np.uint64)) & np.uint64(1)
    selected = (special == 0) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-8",),
    on=call([0, 4, 5, 0] * 4, vocab_size=6, mask_id=5, special_ids=(), seed=0),
    hint="an empty sequence of special ids says that no token is special",
)
def no_special_ids_as_default(tokens, *, special_ids, **given):
    """No special ids are taken for none given, and the id 0 is spared."""
    return corrupt(tokens, special_ids=special_ids or (0,), **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-8",),
    on=call([0, 4, 5, 0] * 4, vocab_size=8, mask_id=7, special_ids=(6, 7), seed=0),
    hint="special_ids says what is special, and 0 is an id like any other",
)
def padding_id_zero(tokens, *, special_ids, **given):
    """The id 0 is taken for padding, whatever is special."""
    return corrupt(tokens, special_ids=(*special_ids, 0), **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-8",),
    on=call([3, 4, 5, 3] * 4, vocab_size=7, mask_id=3, special_ids=(0,), seed=0),
    hint="a token that is mask_id is special only if special_ids says so",
)
def mask_id_spared(tokens, *, mask_id, special_ids, **given):
    """A token that is [MASK] already is never selected, also where it is not special."""
    return corrupt(tokens, mask_id=mask_id, special_ids=(*special_ids, mask_id), **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-4", "MLM-8"),
    on=call([[1, 4, 5, 6, 2, 0], [1, 4, 2, 0, 0, 0], [4, 5, 6, 7, 4, 5]], **LOW),
    hint="every row has special tokens at places of its own",
)
def special_places_of_the_first_row(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What is special in the first row is taken for special in all rows."""
    draw = np.random.default_rng(seed)
    first = tokens[(0,) * (tokens.ndim - 1)] if tokens.size else tokens
    return replaced(draw, tokens, ordinary(first, special_ids) & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-4", "MLM-8", "MLM-6"),
    on=call([1, 4, 5, 2, 0, 0, 0, 0], **LOW),
    hint="a special token is spared at its own place: try one that is followed by a word",
)
def special_places_one_late(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Which places are special is found one place late."""
    draw, words = np.random.default_rng(seed), np.ones(tokens.shape, bool)
    words[..., 1:] = ordinary(tokens, special_ids)[..., :-1]
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-4",),
    on=(call([0, 0, 4, 5, 6, 7], **LOW), call([4, 5, 6, 7, 0, 0], **LOW)),
    hint="which places are special follows from the tokens of each call, and not from their shape",
    stateful=True,
)
def special_places_of_the_first_call():
    """Which places are special is kept from the first call with tokens of that shape."""
    kept = {}

    def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
        draw = np.random.default_rng(seed)
        words = kept.setdefault(tokens.shape, ordinary(tokens, special_ids))
        return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)

    return mlm_corrupt


@fault(
    "mlm_corrupt",
    fails=("MLM-5",),
    on=call([[3, 4, 5, 6] * 2, [4, 4, 5, 6] * 2], vocab_size=7, mask_id=3, special_ids=(0,), seed=0),
    hint="a [MASK] that was there before says nothing about the other tokens of its row",
)
def masked_rows_skipped(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A row that has a [MASK] in it already is left as it is."""
    draw = np.random.default_rng(seed)
    words = ordinary(tokens, special_ids) & ~(tokens == mask_id).any(axis=-1, keepdims=True)
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-10",),
    on=call([4, 5, 6, 7] * 4, vocab_size=9, mask_id=0, special_ids=(0, 1), seed=0),
    hint="0 is an id; whether something is given is not asked by its truth value",
)
def mask_id_zero_as_none(tokens, *, mask_id, vocab_size, **given):
    """A mask id of 0 is taken for not given, and the last id is used."""
    return corrupt(tokens, mask_id=mask_id or vocab_size - 1, vocab_size=vocab_size, **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-5",),
    on=call([[5, 5, 5, 5], [4, 5, 6, 7]], **LOW),
    hint="special_ids says what is padding: a repeated word is none",
)
def uniform_rows_spared(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A row of one token repeated is taken for padding."""
    draw = np.random.default_rng(seed)
    uniform = (tokens.shape[-1] > 1) & (tokens == tokens[..., :1]).all(axis=-1, keepdims=True)
    words = ordinary(tokens, special_ids) & ~uniform
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-8", "MLM-5", "MLM-6", "MLM-7"),
    on=call([4, 4, 5, 6] * 4, **LOW),
    hint="a word that stands twice in a row is a word both times",
)
def repeated_token_spared(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A token that equals the one before it is never selected."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    words[..., 1:] &= tokens[..., 1:] != tokens[..., :-1]
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([[4]] * 24, **LOW),
    hint="try rows of one token: it may be selected like any other",
)
def lone_token_spared(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A row of one token is left as it is."""
    draw = np.random.default_rng(seed)
    words = ordinary(tokens, special_ids) & (tokens.shape[-1] > 1)
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


# --- How many are selected -------------------------------------------------------------------------------


@fault(
    "mlm_corrupt",
    origin="huggingface/sentence-transformers#1113",
    fails=("MLM-5", "MLM-6"),
    on=WORDS,
    hint="a rate of 0.15 is 15 of 100 tokens",
)
def rate_in_percent(tokens, *, rate=0.15, **given):
    """The rate is taken for a number of percent, so that all tokens are selected."""
    return corrupt(tokens, rate=min(1.0, 100 * rate), **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=1.0),
    hint="try another rate than 0.15: is the option passed on",
)
def rate_ignored(tokens, *, rate=0.15, **given):
    """The rate is accepted, and 0.15 is used."""
    return corrupt(tokens, **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=0.0),
    hint="0 is a rate; whether it is given is not asked by its truth value",
)
def rate_zero_as_none(tokens, *, rate=None, **given):
    """A rate of 0 is taken for not given."""
    return corrupt(tokens, rate=rate or 0.15, **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=1),
    hint="a rate of 1 selects every token, also if it is passed as a whole number",
)
def whole_rate_as_number(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A rate that is a whole number is taken for the number of tokens of each row."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    u = np.where(words, draw.random(tokens.shape), 2.0)
    place = u.argsort(axis=-1).argsort(axis=-1)
    selected = words & (place < rate if isinstance(rate, int) else u < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([4, 5, 6, 7] * 8, **LOW, rate=0.004),
    hint="try a rate of less than one percent, or one with a half: a rate is no whole number of percent",
)
def rate_in_whole_percent(tokens, *, rate=0.15, **given):
    """The rate is rounded to whole percent."""
    return corrupt(tokens, rate=round(100 * rate) / 100, **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=1.0),
    hint="try a high rate: all from 0 to 1 are allowed",
)
def rate_at_most_half(tokens, *, rate=0.15, **given):
    """A rate above a half is taken for a half."""
    return corrupt(tokens, rate=min(rate, 0.5), **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-5", "MLM-6"),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=0.0),
    hint="of the numbers 0 to 99, those below 15 are 15 of 100",
)
def percent_with_its_end(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A whole number from 0 to 99 is compared by `<=`, so that 16 of 100 tokens are selected."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.integers(100, size=tokens.shape) <= 100 * rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([4, 5, 6, 7] * 8, **LOW, rate=0.001),
    hint="try a small rate: a random number needs more digits than the rate has",
)
def byte_for_a_number(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A random byte is compared with the rate, which so comes in steps of 1/256."""
    draw = np.random.default_rng(seed)
    u = draw.integers(256, size=tokens.shape, dtype=np.uint8) / 256
    return replaced(draw, tokens, ordinary(tokens, special_ids) & (u < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-5",),
    on=call([0, 4, 5, 6, 7, 0, 0, 0] * 2, **LOW),
    hint="15 % are those of the tokens that are not special",
)
def share_of_the_whole_row(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """15 % of the whole row are taken, special tokens included, from those that are not special."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    rates = rate * tokens.shape[-1] / np.maximum(words.sum(axis=-1, keepdims=True), 1)
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rates), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    origin="facebookresearch/fairseq#752",
    fails=("MLM-5", "MLM-7"),
    on=call([4, 5, 6, 7] * 8, **LOW),
    hint="a position that is drawn twice is selected once: draw without replacement, or each token on its own",
)
def drawn_with_replacement(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Positions are drawn one by one with replacement, so that some are drawn twice."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    selected = np.zeros(tokens.shape, bool)
    for row in np.ndindex(tokens.shape[:-1]):
        places = np.flatnonzero(words[row])
        if len(places):
            selected[row][draw.choice(places, int(rate * len(places) + draw.random()))] = True
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-7", "MLM-6", "MLM-5"),
    on=WORDS,
    hint="a fixed number of each row is declared: see selection",
)
def fixed_number_of_a_row(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A fixed number of each row is selected, and nothing is declared."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    u = np.where(words, draw.random(tokens.shape), 2.0)
    place = u.argsort(axis=-1).argsort(axis=-1)
    selected = words & (place < max(1, round(rate * tokens.shape[-1])))
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-7",),
    on=call([[4, 5, 6, 7] * 5] * 2, **LOW),
    hint="each token is selected on its own: the number of a batch varies from call to call",
)
def share_of_the_batch(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Exactly 15 % of all tokens of the batch are selected."""
    draw, selected = np.random.default_rng(seed), np.zeros(tokens.size, bool)
    places = draw.permutation(np.flatnonzero(ordinary(tokens, special_ids)))
    selected[places[: round(rate * len(places))]] = True
    return replaced(draw, tokens, selected.reshape(tokens.shape), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-7", "MLM-5", "MLM-6"),
    on=call([4, 5, 6, 7], **LOW),
    hint="in some rows nothing is selected: how many there are of them follows from the rate",
)
def one_at_least(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A row in which nothing was selected gets one token selected."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    u = np.where(words, draw.random(tokens.shape), 2.0)
    selected = u < rate
    least = words & (u == u.min(axis=-1, keepdims=True, initial=2.0))
    selected |= least & ~selected.any(axis=-1, keepdims=True)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([4, 5], **LOW, rate=0.5),
    hint="in some short rows all words are selected: how many there are of them follows from the rate",
)
def full_rows_redrawn(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A row whose words are all selected is drawn again, once."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    selected = words & (draw.random(tokens.shape) < rate)
    full = (selected == words).all(axis=-1, keepdims=True)
    selected = np.where(full, words & (draw.random(tokens.shape) < rate), selected)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-6",),
    on=call([4, 5, 6, 7] * 20, **LOW, rate=1.0),
    hint="try long rows at a high rate: no number of predictions is too many",
)
def at_most_76(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """No more than 76 tokens of a row are selected."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected & (np.cumsum(selected, axis=-1) <= 76), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-7",),
    on=call([4, 5, 6, 7, 4], **LOW, rate=0.6),
    hint="try a high rate: the number of each row varies at every rate",
)
def high_rate_by_number(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Above a rate of a half a fixed number of each row is selected."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    u = np.where(words, draw.random(tokens.shape), 2.0)
    place, number = u.argsort(axis=-1).argsort(axis=-1), np.round(rate * words.sum(axis=-1, keepdims=True))
    selected = words & (place < number if rate > 0.5 else u < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


# --- Which ones, and whether one says something about another --------------------------------------------


@fault(
    "mlm_corrupt",
    fails=("MLM-9",),
    on=call([[4, 5, 6, 7]] * 4, **LOW),
    hint="every row has draws of its own: draw numbers of the shape of all tokens",
)
def pattern_of_the_batch(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """One pattern is drawn, for all rows."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape[-1]) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-9",),
    on=call([[[4, 5, 6]]] * 4, **LOW),
    hint="try three axes: every row of all entries has draws of its own",
)
def pattern_of_an_entry(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Draws are made for the last two axes, and shared along those before them."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape[-2:]) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-9",),
    on=call([[4]] * 48, **LOW, rate=0.05),
    hint="look for rows far from each other that are alike: every worker needs a seed of its own",
)
def workers_of_one_seed(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Of 48 rows or more, three workers take a third each, and all begin with the same seed."""
    draw, rows = np.random.default_rng(seed), math.prod(tokens.shape[:-1])
    workers = 3 if rows >= 48 else 1
    u = np.tile(draw.random((-(-rows // workers), tokens.shape[-1])), (workers, 1))[:rows].reshape(tokens.shape)
    return replaced(draw, tokens, ordinary(tokens, special_ids) & (u < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-9", "MLM-7"),
    on=WORDS,
    hint="a selected token says nothing about its neighbours: spans are another objective",
)
def pairs_of_neighbours(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Neighbours are selected in pairs."""
    draw = np.random.default_rng(seed)
    starts = draw.random(tokens.shape) < 1 - math.sqrt(1 - rate)
    selected = ordinary(tokens, special_ids) & (starts | np.roll(starts, 1, axis=-1))
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-9", "MLM-7"),
    on=WORDS,
    hint="a random start is one random number for a row: each token needs its own",
)
def evenly_spaced(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The selected tokens of a row stand at even distances from a random start."""
    draw = np.random.default_rng(seed)
    u = (np.arange(tokens.shape[-1]) * rate + draw.random((*tokens.shape[:-1], 1))) % 1
    return replaced(draw, tokens, ordinary(tokens, special_ids) & (u < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-9", "MLM-7"),
    on=call([4, 5] * 128, **LOW),
    hint="try rows of more than 64 tokens, and look at tokens 64 places apart",
)
def pattern_of_64_positions(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Numbers are drawn for 64 positions and repeated along longer rows."""
    draw, n = np.random.default_rng(seed), tokens.shape[-1]
    u = draw.random((*tokens.shape[:-1], 64))[..., np.arange(n) % 64]
    return replaced(draw, tokens, ordinary(tokens, special_ids) & (u < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-7",),
    on=WORDS,
    hint="positions are selected, and not ids: of two equal tokens one may be selected without the other",
)
def ids_instead_of_positions(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Ids are drawn, and all tokens with such an id are selected."""
    draw = np.random.default_rng(seed)
    chosen = draw.random(vocab_size) < rate
    return replaced(draw, tokens, ordinary(tokens, special_ids) & chosen[tokens], mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-9",),
    on=call([4, 5], **LOW),
    hint="look at tokens half a row apart: antithetic numbers are not independent",
)
def mirrored_halves(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The second half of a row is drawn with one minus the numbers of the first."""
    draw, half = np.random.default_rng(seed), tokens.shape[-1] // 2
    u = draw.random(tokens.shape)
    u[..., tokens.shape[-1] - half :] = 1 - u[..., :half]
    return replaced(draw, tokens, ordinary(tokens, special_ids) & (u < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-8", "MLM-6"),
    on=WORDS,
    hint="the end of a range is usually left out: positions go up to n - 1",
)
def last_position_lost(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Positions are drawn from 0 to n - 2."""
    draw, place = np.random.default_rng(seed), np.arange(tokens.shape[-1])
    words = ordinary(tokens, special_ids) & (place < tokens.shape[-1] - 1)
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-8",),
    on=call([4, 5] * 65, **LOW),
    hint="try rows of more than 128 tokens",
)
def positions_from_128_lost(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Positions from 128 on are never selected."""
    draw = np.random.default_rng(seed)
    words = ordinary(tokens, special_ids) & (np.arange(tokens.shape[-1]) < 128)
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-8", "MLM-6"),
    on=call([4, 5, 6] * 3, **LOW),
    hint="try rows whose length is no multiple of eight, and look at their last positions",
)
def vector_tail_lost(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """In rows of more than eight, the positions that do not fill a vector of eight are never selected."""
    draw, n = np.random.default_rng(seed), tokens.shape[-1]
    words = ordinary(tokens, special_ids) & (np.arange(n) < (n // 8 * 8 if n > 8 else n))
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@fault(
    "mlm_corrupt",
    fails=("MLM-7",),
    on=call([[4, 5, 6]] * 6, **LOW),
    hint="try a number of rows that is no multiple of four",
)
def rows_in_fours(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Rows that do not fill a group of four are left as they are, if there are more than four."""
    draw, rows = np.random.default_rng(seed), math.prod(tokens.shape[:-1])
    row = np.arange(rows).reshape(*tokens.shape[:-1], 1)
    words = ordinary(tokens, special_ids) & (row < (rows // 4 * 4 if rows > 4 else rows))
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


# --- What becomes of them --------------------------------------------------------------------------------


@fault(
    "mlm_corrupt",
    fails=("MLM-10",),
    on=WORDS,
    hint="10 of 100 selected tokens become a random one, and 10 stay",
)
def always_masked(tokens, *, mask_id, special_ids, vocab_size, rate=0.15, seed):
    """Every selected token is masked."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return np.where(selected, mask_id, tokens), selected


@fault(
    "mlm_corrupt",
    origin="codertimo/BERT-pytorch#29",
    fails=("MLM-10",),
    on=WORDS,
    hint="no positive number is below 80 % of itself: compare it with 80 % of the rate",
)
def never_masked(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """`p < p * 0.8` never holds, and every selected token stays."""
    draw = np.random.default_rng(seed)
    p = draw.random(tokens.shape)
    selected = ordinary(tokens, special_ids) & (p < rate)
    drawn = draw.integers(vocab_size, size=tokens.shape)
    changed = np.where(p < p * 0.8, mask_id, np.where(p < p * 0.9, drawn, tokens))
    return np.where(selected, changed, tokens), selected


@fault(
    "mlm_corrupt",
    fails=("MLM-10",),
    on=WORDS,
    hint="a number that selected a token is below the rate: what becomes of it needs another one",
)
def selecting_number_again(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The number that selected a token decides what becomes of it, too."""
    draw = np.random.default_rng(seed)
    u = draw.random(tokens.shape)
    return replaced(draw, tokens, ordinary(tokens, special_ids) & (u < rate), mask_id, vocab_size, action=u)


@fault(
    "mlm_corrupt",
    fails=("MLM-10",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=0.5),
    hint="try another rate: of the selected tokens 80 % are masked, however many there are",
)
def shares_of_the_default_rate(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What becomes of a token is decided at 80 and 90 % of 0.15, whatever the rate is."""
    draw = np.random.default_rng(seed)
    u = draw.random(tokens.shape)
    return replaced(draw, tokens, ordinary(tokens, special_ids) & (u < rate), mask_id, vocab_size, action=u / 0.15)


@fault(
    "mlm_corrupt",
    origin="huggingface/transformers#21803",
    fails=("MLM-10",),
    on=call([4, 5, 6, 7] * 8, **LOW),
    hint="10 of 100 are half of the 20 that are not masked",
)
def tenth_of_the_rest(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A tenth of what is not masked is replaced, and not half of it."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    action = np.where(draw.random(tokens.shape) < 0.8, 0.0, np.where(draw.random(tokens.shape) < 0.1, 0.8, 0.9))
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=action)


@fault(
    "mlm_corrupt",
    fails=("MLM-10",),
    on=call([4, 5, 6, 7] * 8, **LOW, rate=1.0),
    hint="the end of a range is usually left out: ten cases are drawn from range(10)",
)
def ninth_parts(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """One of nine cases, not of ten, is drawn: the tenth, in which a token stays, never comes."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=draw.integers(9, size=tokens.shape) / 10)


@fault(
    "mlm_corrupt",
    fails=("MLM-12",),
    on=call([4, 5, 6, 7], **LOW, rate=1.0),
    hint="each selected token has a draw of its own for what becomes of it",
)
def action_of_a_row(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What becomes of the selected tokens is decided once for each row."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=draw.random((*tokens.shape[:-1], 1)))


@fault(
    "mlm_corrupt",
    fails=("MLM-12", "MLM-10"),
    on=call([4, 5, 6, 7] * 5, **LOW, rate=1.0),
    hint="what becomes of a token is drawn, and does not follow from its place among the selected ones",
)
def actions_in_order(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The first 80 % of the selected tokens of a row are masked, the next 10 % replaced, and the last stay."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    before, count = np.cumsum(selected, axis=-1) - 1, selected.sum(axis=-1, keepdims=True)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=before / np.maximum(count, 1))


@fault(
    "mlm_corrupt",
    fails=("MLM-12",),
    on=WORDS,
    hint="try other seeds: what becomes of a token at one place changes with the seed, as the selection does",
)
def actions_of_a_fixed_seed(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What becomes of a token is drawn with a seed of its own, which is always the same."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=np.random.default_rng(0).random(tokens.shape))


@fault(
    "mlm_corrupt",
    fails=("MLM-14",),
    on=call([4, 5, 6, 7] * 16, **LOW, rate=0.5),
    hint="compare what is masked with what the next seed selects: one generator serves the whole call",
)
def actions_of_the_next_seed(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What becomes of a token is drawn with the next seed, with which the next call selects."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=np.random.default_rng(seed + 1).random(tokens.shape))


@fault(
    "mlm_corrupt",
    fails=("MLM-10",),
    on=call([4, 5, 6, 7] * 8, **LOW),
    hint="what stays as it was is selected too, and asked for",
)
def changes_alone_recorded(tokens, **given):
    """What was changed is recorded as selected, so that what stays is not."""
    corrupted, _ = corrupt(tokens, **given)
    return corrupted, corrupted != tokens


@fault(
    "mlm_corrupt",
    fails=("MLM-3",),
    on=call([4, 5, 6, 7] * 8, **LOW),
    hint="only selected tokens are changed: draw what is replaced among those",
)
def unrecorded_replacements(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are put in by a draw over the whole row, and are not recorded as selected."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    selected = words & (draw.random(tokens.shape) < rate)
    masked = selected & (draw.random(tokens.shape) < 0.8)
    at_random = words & ~masked & (draw.random(tokens.shape) < 0.1 * rate)
    drawn = draw.integers(vocab_size, size=tokens.shape)
    return np.where(masked, mask_id, np.where(at_random, drawn, tokens)), selected


# --- Random tokens ---------------------------------------------------------------------------------------


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=1.0),
    hint="the end of a range is usually left out: draw from 0 to vocab_size - 1, with both",
)
def last_id_never_drawn(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are drawn from 0 to `vocab_size` - 2."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(vocab_size - 1, size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([0] * 32, vocab_size=2, mask_id=1, special_ids=(), seed=0, rate=1.0),
    hint="vocab_size is no id: some generators have the end of a range, and others leave it out",
)
def one_id_too_many(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are drawn from 0 to `vocab_size`."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(vocab_size + 1, size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4, 5, 6, 7] * 8, **LOW, rate=1.0),
    hint="the id 0 is one of the vocabulary, and is drawn like any other",
)
def zero_never_drawn(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are drawn from 1 on."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(min(1, vocab_size - 1), vocab_size, size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4, 5, 6, 7] * 8, **LOW, rate=1.0),
    hint="a rounded number has half a step at either end: use integers, or the number times vocab_size cut off",
)
def random_id_rounded(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A random token is a random number times the last id, rounded, so that the first and the last id come up half as often."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = np.rint(draw.random(tokens.shape) * (vocab_size - 1)).astype(np.int64)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=1.0),
    hint="what random tokens are drawn from is declared: see random_pool",
)
def specials_never_drawn(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are never special, and nothing is declared."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.choice(np.setdiff1d(np.arange(vocab_size), special_ids), tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-10",),
    on=call([0] * 32, vocab_size=4, mask_id=3, special_ids=(), seed=0, rate=1.0),
    hint="try a vocabulary of a few ids: the pool of random tokens has the original in it",
)
def original_never_drawn(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A random token is never the one that stood there."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(vocab_size - 1, size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn + (drawn >= tokens))


@fault(
    "mlm_corrupt",
    fails=("MLM-10",),
    on=call([0, 1, 2] * 8, vocab_size=4, mask_id=3, special_ids=(), seed=0, rate=1.0),
    hint="try a vocabulary of a few ids: the pool of random tokens has [MASK] in it",
)
def mask_never_drawn(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A random token is never [MASK]."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(vocab_size - 1, size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn + (drawn >= mask_id))


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call(np.arange(4, 64), **{**LOW, "vocab_size": 30000}, rate=1.0),
    hint="try a large vocabulary: each id of it is as likely as any other",
)
def ids_below_1000(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are drawn from the first 1000 ids of a larger vocabulary."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(min(vocab_size, 1000), size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call(np.arange(4, 64), **{**LOW, "vocab_size": 30000}, rate=1.0),
    hint="try a vocabulary that is large beside the generator's numbers, and count the low ids",
)
def fifteen_bits_modulo(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A random token is a number of fifteen bits modulo the vocabulary, so that low ids come up more often."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(1 << 15, size=tokens.shape) % vocab_size
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4, 5] * 8, **LOW, rate=1.0),
    hint="vocab_size says how many ids there are, and not the tokens of a batch",
)
def pool_of_the_largest_id(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are drawn from 0 to the largest id of the tokens."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(tokens.max(initial=0) + 1, size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4, 4, 4, 5] * 4, **LOW, rate=1.0),
    hint="each id of the vocabulary is as likely as any other, however often it stands in the text",
)
def pool_of_the_text(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are drawn from the tokens of the batch."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.choice(tokens.ravel(), tokens.shape) if tokens.size else tokens
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4] * 24, **LOW, rate=1.0),
    hint="each replaced token has a draw of its own, also where the same token is replaced twice",
)
def replacement_of_an_id(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """All replaced tokens of one id are replaced by the same random token."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(vocab_size, size=vocab_size)[tokens]
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4] * 24, **LOW, rate=1.0),
    hint="each replaced token of a row has a draw of its own",
)
def random_token_of_a_row(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """One random token is drawn for each row."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(vocab_size, size=(*tokens.shape[:-1], 1))
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([[4]] * 24, **LOW, rate=1.0),
    hint="compare random tokens at one place of two rows: each has a draw of its own",
)
def random_tokens_of_a_column(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are drawn for one row, and are the same in all rows."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(vocab_size, size=tokens.shape[-1])
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4, 5, 6, 7], **LOW, rate=1.0),
    hint="compare random tokens at one place with two seeds: they are drawn with the seed of the call",
)
def random_tokens_of_a_fixed_seed(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens are drawn with a seed of their own, which is always the same."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = np.random.default_rng(0).integers(vocab_size, size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4] * 100, vocab_size=16, mask_id=3, special_ids=(0,), seed=0, rate=1.0),
    hint="two random tokens of a call are the same now and then: draw them with replacement",
)
def random_tokens_all_different(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Random tokens of a call are drawn without replacement, as long as there are enough ids."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    action, drawn = draw.random(tokens.shape), tokens.copy()
    there = selected & (action >= 0.8) & (action < 0.9)
    count = int(there.sum())
    drawn[there] = draw.choice(vocab_size, count, replace=count > vocab_size)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=action, drawn=drawn)


@fault(
    "mlm_corrupt",
    fails=("MLM-11",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=1.0),
    hint="one random number answers one question: what is drawn needs another than whether to draw",
)
def random_token_of_the_action(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The number that decides what becomes of a token is scaled to be the random token, too."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    action = draw.random(tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=action, drawn=(action * vocab_size).astype(np.int64))


# --- Arrays ----------------------------------------------------------------------------------------------


@fault(
    "mlm_corrupt",
    fails=("MLM-1",),
    on=WORDS,
    hint="selected is an array of bool: as an index, 0 and 1 pick two rows again and again",
)
def selection_of_numbers(tokens, **given):
    """`selected` is 0 and 1 in int64."""
    corrupted, selected = corrupt(tokens, **given)
    return corrupted, selected.astype(np.int64)


@fault(
    "mlm_corrupt",
    fails=("MLM-1",),
    on=call([[4, 5, 6, 7]], **LOW),
    hint="a batch of one row stays a batch",
)
def ones_squeezed(tokens, **given):
    """Axes of length one are removed."""
    corrupted, selected = corrupt(tokens, **given)
    return np.squeeze(corrupted), np.squeeze(selected)


@fault(
    "mlm_corrupt",
    fails=("MLM-2",),
    on=call(np.zeros((0, 4)), **LOW),
    hint="no tokens have no largest one",
)
def largest_of_no_tokens(tokens, *, vocab_size, **given):
    """The largest id is looked for first, and of no tokens there is none."""
    if tokens.max() >= vocab_size:
        raise ValueError("a token is not in the vocabulary")
    return corrupt(tokens, vocab_size=vocab_size, **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-3",),
    on=call([35000, 36000, 37000, 7] * 4, **{**LOW, "vocab_size": 40000}, rate=1.0),
    hint="try a vocabulary of more than 32768 ids",
)
def tokens_of_sixteen_bits(tokens, **given):
    """Tokens are held in int16, so that ids above 32767 come out negative."""
    return corrupt(tokens.astype(np.int16).astype(np.int64), **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-15",),
    on=call([4, 5, 6, 7] * 4, **LOW, rate=1.0),
    hint="the tokens are the labels, and the caller still needs them: write into a copy",
)
def written_into_the_tokens(tokens, **given):
    """The tokens themselves are overwritten."""
    corrupted, selected = corrupt(tokens, **given)
    tokens[...] = corrupted
    return corrupted, selected


@fault(
    "mlm_corrupt",
    fails=("MLM-17",),
    on=call([0, 1, 2, 0], **LOW),
    hint="the result is a copy, also where nothing is selected",
)
def tokens_returned(tokens, **given):
    """Where nothing is selected the tokens themselves are returned."""
    corrupted, selected = corrupt(tokens, **given)
    return (corrupted if selected.any() else tokens), selected


@fault(
    "mlm_corrupt",
    fails=("MLM-13",),
    on=call([[4, 5, 6, 7]] * 4, **LOW, rate=0.5),
    hint="try tokens that lie in memory in another order: transposed, reversed or with a step",
)
def tokens_in_order_of_memory(tokens, **given):
    """The tokens are read in the order of their memory."""
    return corrupt(tokens.ravel(order="K").reshape(tokens.shape), **given)


# --- The seed --------------------------------------------------------------------------------------------


@fault(
    "mlm_corrupt",
    fails=("MLM-13",),
    on=call([4, 5, 6, 7] * 16, **LOW),
    hint="0 is a seed; whether it is given is not asked by its truth value",
)
def seed_zero_as_none(tokens, *, seed, **given):
    """A seed of 0 is taken for not given."""
    return corrupt(tokens, seed=seed or None, **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-13",),
    on=call([4, 5, 6, 7] * 16, **LOW),
    hint="each call makes a generator of its own, with its seed",
    stateful=True,
)
def generator_kept():
    """One generator is made with the first seed, and goes on in the next call."""
    kept = []

    def mlm_corrupt(tokens, *, seed, **given):
        if not kept:
            kept.append(np.random.default_rng(seed))
        return corrupt(tokens, seed=kept[0], **given)

    return mlm_corrupt


@fault(
    "mlm_corrupt",
    fails=("MLM-13",),
    on=call([4, 5, 6, 7] * 16, **LOW),
    hint="make the same call twice in a row: each makes a generator of its own",
    stateful=True,
)
def seed_kept_going():
    """A call with the seed of the call before it goes on where that one ended."""
    kept = {}

    def mlm_corrupt(tokens, *, seed, **given):
        if seed not in kept:
            kept.clear()
            kept[seed] = np.random.default_rng(seed)
        return corrupt(tokens, seed=kept[seed], **given)

    return mlm_corrupt


@fault(
    "mlm_corrupt",
    fails=("MLM-14",),
    on=call([4, 5, 6, 7] * 16, **{**LOW, "seed": 1 << 30}),
    hint="try large seeds beside each other: float32 holds whole numbers up to 2**24 alone",
)
def seed_of_float32(tokens, *, seed, **given):
    """The seed passes through float32, so that large seeds near each other are one."""
    return corrupt(tokens, seed=int(np.float32(seed)), **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-14",),
    on=(call([4, 5, 6, 7] * 32, **{**LOW, "seed": 5 + (1 << 16)}), call([4, 5, 6, 7] * 32, **{**LOW, "seed": 5})),
    hint="try two seeds that differ in a high bit alone: all 31 bits count",
)
def seed_of_sixteen_bits(tokens, *, seed, **given):
    """The seed is cut to sixteen bits."""
    return corrupt(tokens, seed=seed & 0xFFFF, **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-14",),
    on=(call([4, 5, 6, 7] * 32, **{**LOW, "seed": 5 + (1 << 30)}), call([4, 5, 6, 7] * 32, **{**LOW, "seed": 5})),
    hint="try two seeds that differ in the highest bit alone: all 31 bits count",
)
def seed_of_thirty_bits(tokens, *, seed, **given):
    """The seed is cut to thirty bits."""
    return corrupt(tokens, seed=seed & 0x3FFFFFFF, **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-14",),
    on=tuple(call([[4, 5, 6, 7] * 32] * 2, **{**LOW, "seed": seed}) for seed in (8, 7)),
    hint="compare a row with the row above it for the next seed: one generator serves all rows",
)
def seed_plus_row(tokens, *, seed, **given):
    """Each row has a generator of its own, whose seed is counted on from row to row."""
    return row_by_row(tokens, ((at, seed + row) for row, at in enumerate(np.ndindex(tokens.shape[:-1]))), given)


@fault(
    "mlm_corrupt",
    fails=("MLM-14",),
    on=tuple(call([[[4, 5, 6, 7] * 32]] * 2, **{**LOW, "seed": seed}) for seed in (8, 7)),
    hint="try three axes, and compare an entry with the one before it for the next seed: one generator serves all",
)
def seed_plus_entry(tokens, *, seed, **given):
    """Each entry of the axes before the last two has a generator, whose seed is counted on from entry to entry."""
    return row_by_row(tokens, ((at, seed + entry) for entry, at in enumerate(np.ndindex(tokens.shape[:-2]))), given)


@fault(
    "mlm_corrupt",
    fails=("MLM-9", "MLM-14"),
    on=call([[4, 5, 6, 7] * 32] * 2, **LOW),
    hint="try a seed of 0, and several rows: products of seeds and numbers are often the same",
)
def seed_times_row(tokens, *, seed, **given):
    """Each row has a generator of its own, whose seed is multiplied by the number of the row."""
    return row_by_row(tokens, ((at, seed * (row + 1)) for row, at in enumerate(np.ndindex(tokens.shape[:-1]))), given)


@fault(
    "mlm_corrupt",
    fails=("MLM-16",),
    on=WORDS,
    hint="make a generator of the call's own, np.random.default_rng(seed)",
)
def legacy_generator_seeded(tokens, *, seed, **given):
    """NumPy's legacy generator, which all share, is seeded and drawn from."""
    np.random.seed(seed)
    return corrupt(tokens, seed=np.random.randint(1 << 31), **given)


@fault(
    "mlm_corrupt",
    fails=("MLM-16",),
    on=WORDS,
    hint="make a generator of the call's own, random.Random(seed)",
)
def python_generator_seeded(tokens, *, seed, **given):
    """Python's generator, which all share, is seeded and drawn from."""
    random.seed(seed)
    return corrupt(tokens, seed=random.getrandbits(31), **given)


# --- The loss: what it is a mean of ----------------------------------------------------------------------


@fault(
    "mlm_loss",
    origin="CyberZHG/keras-bert#188",
    fails=("MLM-19", "MLM-18"),
    on=ONE,
    hint="only the selected positions are asked for: losses[selected].mean()",
)
def mean_of_all_positions(logits, labels, selected):
    """The mean is taken over all positions, selected or not."""
    return losses(logits, labels).mean()


@fault(
    "mlm_loss",
    origin="huggingface/tokenizers#1193",
    fails=("MLM-20",),
    on=UNEVEN,
    hint="there is one mean, over all selected positions of the batch, and none for each row",
)
def mean_of_means(logits, labels, selected):
    """Each row has a mean of its own, and the loss is the mean of these."""
    count = selected.sum(axis=-1)
    means = (losses(logits, labels) * selected).sum(axis=-1) / np.maximum(count, 1)
    return means[count > 0].mean().astype(logits.dtype)


@fault(
    "mlm_loss",
    origin="huggingface/transformers#34191",
    fails=("MLM-20", "MLM-18", "MLM-21"),
    on=UNEVEN,
    hint="micro-batches with unequal numbers of questions: add up their sums and their numbers, and divide once",
)
def mean_of_micro_batches(logits, labels, selected):
    """The batch is cut into two micro-batches, and the loss is the mean of their means."""
    found, parts = losses(logits, labels), 2 if selected.ndim > 1 else 1
    micro = zip(np.array_split(found, parts), np.array_split(selected, parts), strict=True)
    return logits.dtype.type(np.mean([part[asked].mean() for part, asked in micro if asked.any()]))


@fault(
    "mlm_loss",
    fails=("MLM-20", "MLM-18", "MLM-21"),
    on=call(np.eye(65, 2), np.zeros(65), np.ones(65)),
    hint="try a number of selected positions that is no multiple of 64: the last tile has fewer of them",
)
def mean_of_tiles(logits, labels, selected):
    """Each tile of 64 selected positions has a mean, and the loss is the mean of these."""
    found = losses(logits, labels)[selected]
    return logits.dtype.type(np.mean([found[at : at + 64].mean() for at in range(0, len(found), 64)]))


@fault(
    "mlm_loss",
    origin="PaddlePaddle/Paddle#76033",
    fails=("MLM-20", "MLM-24"),
    on=ONE,
    hint="divide by the number of selected positions",
)
def divided_by_all_positions(logits, labels, selected):
    """The sum over the selected positions is divided by the number of all."""
    return losses(logits, labels)[selected].sum() / logits.dtype.type(selected.size)


@fault(
    "mlm_loss",
    origin="vid-koci/bert-commonsense#1",
    fails=("MLM-20", "MLM-18"),
    on=TWO,
    hint="the loss is a mean: two equal positions give what one gives",
)
def losses_added_up(logits, labels, selected):
    """The losses are added up, and not divided."""
    return losses(logits, labels)[selected].sum()


@fault(
    "mlm_loss",
    fails=("MLM-28", "MLM-18", "MLM-24", "MLM-20"),
    on=ONE,
    hint="what the loss is where nothing is selected is declared, and elsewhere the number of positions is divided by as it is",
)
def small_number_in_the_denominator(logits, labels, selected):
    """1e-5 is added to the number of positions."""
    return losses(logits, labels)[selected].sum() / logits.dtype.type(selected.sum() + 1e-5)


@fault(
    "mlm_loss",
    fails=("MLM-18",),
    on=call(np.zeros((129, 2)), np.zeros(129), np.ones(129)),
    hint="try more than 127 selected positions",
)
def count_of_eight_bits(logits, labels, selected):
    """The number of selected positions is counted in int8."""
    return losses(logits, labels)[selected].sum() / logits.dtype.type(selected.sum(dtype=np.int8))


@fault(
    "mlm_loss",
    fails=("MLM-18",),
    on=call(np.zeros((2049, 2)), np.zeros(2049), np.ones(2049)),
    hint="try more than 2048 selected positions: float16 holds whole numbers up to that alone",
)
def count_in_float16(logits, labels, selected):
    """The number of selected positions is held in float16."""
    return losses(logits, labels)[selected].sum() / logits.dtype.type(np.float16(selected.sum()))


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-20", "MLM-24"),
    on=(call([[0, 0], [0, 0]], [0, 1], [True, True]), call([[0, 0], [0, 0]], [0, 1], [True, False])),
    hint="how many positions are selected is counted in each call, and does not follow from the shape",
    stateful=True,
)
def count_of_the_first_call():
    """The number of selected positions is kept from the first call with labels of that shape."""
    kept = {}

    def mlm_loss(logits, labels, selected):
        count = kept.setdefault(labels.shape, int(selected.sum()))
        return losses(logits, labels)[selected].sum() / logits.dtype.type(count)

    return mlm_loss


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-20", "MLM-19", "MLM-21"),
    on=TWO,
    hint="what fills a block of eight up is left out of the sum and of the count",
)
def selected_padded_to_eight(logits, labels, selected):
    """The selected positions are filled up to a multiple of eight with the first position of the batch."""
    places = np.flatnonzero(selected)
    places = np.pad(places, (0, -len(places) % 8))
    return losses(logits, labels).ravel()[places].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18",),
    on=call(normal(8, 5), [0, 1, 2, 3, 4, 0, 1, 2], np.ones(8)),
    hint="losses are added up in the precision of the logits, or in a wider one",
)
def losses_added_in_half(logits, labels, selected):
    """The losses are added up in float16."""
    found = losses(logits, labels)[selected]
    return logits.dtype.type(found.astype(np.float16).sum()) / logits.dtype.type(found.size)


@fault(
    "mlm_loss",
    fails=("MLM-28",),
    on=call([[LN3, 0], [0, 0]], [0, 1], [False, False]),
    hint="what the loss is where nothing is selected is declared: see nothing_selected",
)
def nothing_selected_as_zero(logits, labels, selected):
    """Where nothing is selected the loss is 0, and nothing is declared."""
    return losses(logits, labels)[selected].mean() if selected.any() else logits.dtype.type(0)


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-24"),
    on=TWO,
    hint="look for a factor: the number of positions, a scale for the gradient, a weight of the loss",
)
def half_a_percent_more(logits, labels, selected):
    """The loss is multiplied by 1.005."""
    return losses(logits, labels)[selected].mean() * logits.dtype.type(1.005)


# --- The loss: which positions are asked for, and by which label -----------------------------------------


@fault(
    "mlm_loss",
    origin="649453932/Bert-Chinese-Text-Classification-Pytorch#176",
    fails=("MLM-19", "MLM-18", "MLM-28", "MLM-20"),
    on=ONE,
    hint="True means that a position is asked for, and not that it is ignored",
)
def selection_inverted(logits, labels, selected):
    """The loss is that of the positions that are not selected."""
    return losses(logits, labels)[~selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-19", "MLM-20", "MLM-21", "MLM-28"),
    on=TWO,
    hint="an index of bool picks the positions that are True; of whole numbers it picks the rows 0 and 1",
)
def selection_as_indices(logits, labels, selected):
    """`selected` is taken for row numbers, 0 and 1."""
    rows = selected.ravel().astype(np.int64)
    return losses(logits, labels).ravel()[rows].mean()


@fault(
    "mlm_loss",
    origin="mosaicml/examples#457",
    fails=("MLM-22",),
    on=TWO,
    hint="0 is a label like any other: selected says what is asked for",
)
def label_zero_ignored(logits, labels, selected):
    """The label 0 is taken for "not selected"."""
    return losses(logits, labels)[selected & (labels > 0)].mean()


@fault(
    "mlm_loss",
    origin="EricFillion/happy-transformer#128",
    fails=("MLM-19", "MLM-18"),
    on=ONE,
    hint="a label that marks what to ignore must be the one that the loss ignores",
)
def minus_one_as_label(logits, labels, selected):
    """What is not selected gets the label -1, which here means the last token and not "ignore"."""
    return losses(logits, np.where(selected, labels, -1)).mean()


@fault(
    "mlm_loss",
    fails=("MLM-19", "MLM-18"),
    on=call([[LN3, 0], [0, 0]], [0, 1], [False, True]),
    hint="selected positions may stand anywhere in a row",
)
def selection_as_length(logits, labels, selected):
    """The number of selected positions is taken for a length, and so many from the start of each row are asked for."""
    first = np.arange(selected.shape[-1]) < selected.sum(axis=-1, keepdims=True)
    return losses(logits, labels)[first].mean()


@fault(
    "mlm_loss",
    fails=("MLM-19", "MLM-18", "MLM-20", "MLM-21"),
    on=UNEVEN,
    hint="every row has a selection of its own",
)
def selection_of_the_first_row(logits, labels, selected):
    """The selection of the first row serves all rows."""
    first = selected[(0,) * (selected.ndim - 1)] if selected.size else selected
    return losses(logits, labels)[np.broadcast_to(first, selected.shape)].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-20"),
    on=TWO,
    hint="a row may have several selected positions: argmax finds one of them",
)
def first_selected_of_a_row(logits, labels, selected):
    """Only the first selected position of each row is asked for."""
    return losses(logits, labels)[selected & (np.cumsum(selected, axis=-1) == 1)].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18",),
    on=call([[0, 0]] * 256 + [[60, 0]], np.ones(257), np.ones(257)),
    hint="try more than 256 selected positions",
)
def first_256_selected(logits, labels, selected):
    """Only the first 256 selected positions are asked for."""
    return losses(logits, labels)[selected][:256].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18",),
    on=call(np.eye(128, 2), np.ones(128), np.ones(128)),
    hint="try n = 128: what is left for the last block may be nothing",
)
def last_of_128_lost(logits, labels, selected):
    """The last position is lost where a row has a multiple of 128."""
    n = selected.shape[-1]
    kept = np.arange(n) < (n - 1 if n % 128 == 0 else n)
    return losses(logits, labels)[selected & kept].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-20"),
    on=call([[[0.0, 0.0]]] * 8 + [[[1.0, 0.0]]], np.zeros((9, 1)), np.ones((9, 1))),
    hint="try a batch of more than eight entries",
)
def entries_from_eight_lost(logits, labels, selected):
    """Entries of the batch from the ninth on are lost."""
    if selected.ndim > 1:
        logits, labels, selected = logits[:8], labels[:8], selected[:8]
    return losses(logits, labels)[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-21"),
    on=TWO,
    hint="a masked language model answers for the position itself: nothing is shifted",
)
def next_label(logits, labels, selected):
    """Each position is scored by the label of the next one."""
    return losses(logits, np.roll(labels, -1, axis=-1))[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-21", "MLM-18"),
    on=call([[[1, 0], [2, 0]], [[3, 0], [4, 0]]], [[0, 1], [0, 1]], np.ones((2, 2))),
    hint="logits, labels and selected are flattened along the same axes",
)
def labels_along_the_batch(logits, labels, selected):
    """The labels are flattened along the batch, and the logits along the row."""
    return losses(logits, labels.T.reshape(labels.shape))[selected].mean()


@fault(
    "mlm_loss",
    fails=("GEN-6",),
    on=call([[[1, 0], [2, 0]], [[3, 0], [4, 0]]], [[0, 1], [0, 1]], np.ones((2, 2))),
    hint="try labels that lie in memory in another order than they are read",
)
def labels_in_order_of_memory(logits, labels, selected):
    """The labels are read in the order of their memory."""
    return losses(logits, labels.ravel(order="K").reshape(labels.shape))[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-21"),
    on=call([[0, 1], [3, 0]], [0, 0], [True, True]),
    hint="which axis is the vocabulary cannot be told from the sizes: it is the last",
)
def square_logits_transposed(logits, labels, selected):
    """Where there are as many positions as tokens in the vocabulary, the logits are transposed."""
    if logits.shape[-2] == logits.shape[-1]:
        logits = logits.swapaxes(-1, -2)
    return losses(logits, labels)[selected].mean()


@fault(
    "mlm_loss",
    fails=("GEN-9",),
    on=call([[LN3, 0], [0, 0]], [0, 1, 0, 1], [True, True, True, True]),
    hint="labels and selected have one entry for each row of logits, or the call is refused",
)
def surplus_labels_dropped(logits, labels, selected):
    """Labels and selections beyond the number of rows are dropped, and not refused."""
    n = logits.shape[-2]
    return losses(logits, labels[..., :n])[selected[..., :n]].mean()


@fault(
    "mlm_loss",
    fails=("GEN-5", "MLM-18"),
    on=(ONE, call([[LN3, 0], [0, 0]], [0, 1], [False, True])),
    hint="what is selected is an argument of each call",
    stateful=True,
)
def selection_of_the_first_call():
    """Which positions are selected is kept from the first call with labels of that shape."""
    kept = {}

    def mlm_loss(logits, labels, selected):
        places = kept.setdefault(labels.shape, np.nonzero(selected))
        return losses(logits, labels)[places].mean()

    return mlm_loss


@fault(
    "mlm_loss",
    fails=("GEN-4",),
    on=TWO,
    hint="logits -= ... writes into the caller's array",
)
def logits_overwritten(logits, labels, selected):
    """The greatest logit is taken off in place."""
    logits -= logits.max(axis=-1, keepdims=True)
    return losses(logits, labels)[selected].mean()


# --- The loss: the logarithm of a probability ------------------------------------------------------------


@fault(
    "mlm_loss",
    fails=("MLM-24", "MLM-18"),
    on=TWO,
    hint="the loss is in nats: the logarithm is the natural one",
)
def loss_in_bits(logits, labels, selected):
    """Logarithms are taken to the base of 2."""
    return losses(logits, labels)[selected].mean() / logits.dtype.type(math.log(2))


@fault(
    "mlm_loss",
    fails=("MLM-25", "MLM-18"),
    on=TWO,
    hint="the loss is minus the mean of the logarithms: 0 or more",
)
def sign_lost(logits, labels, selected):
    """The mean of the logarithms is returned."""
    return -losses(logits, labels)[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-25", "MLM-24"),
    on=TWO,
    hint="nll_loss takes logarithms of probabilities: give it log_softmax, and not softmax",
)
def probabilities_as_logarithms(logits, labels, selected):
    """The probabilities are taken for their logarithms."""
    return -np.exp(-losses(logits, labels))[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18", "MLM-23", "MLM-24"),
    on=call([[1, 2]], [0], [True]),
    hint="try a vocabulary of two: its logits are two numbers, and only their difference counts",
)
def two_tokens_by_sigmoid(logits, labels, selected):
    """A vocabulary of two is taken for a yes and a no, and the label's logit goes through a sigmoid."""
    if logits.shape[-1] == 2:
        return np.logaddexp(0, -of_label(logits, labels))[selected].mean()
    return losses(logits, labels)[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-26",),
    on=call([[1000, 0]], [1], [True]),
    hint="a tiny probability underflows before its logarithm is taken: subtract the log-sum-exp from the logit",
)
def softmax_then_logarithm(logits, labels, selected):
    """The logarithm of a finished softmax is taken."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return -np.log(of_label(e / e.sum(axis=-1, keepdims=True), labels))[selected].mean()


@fault(
    "mlm_loss",
    origin="PaddlePaddle/Paddle#21165",
    fails=("MLM-23", "MLM-26"),
    on=call([[LN3 - 1000, -1000]], [0], [True]),
    hint="all logits of a position may be far below zero: take off the greatest, whatever it is",
)
def greatest_of_minus_64(logits, labels, selected):
    """The greatest logit is taken to be -64 or more."""
    shifted = logits - np.maximum(logits.max(axis=-1, keepdims=True), -64)
    return (np.log(np.exp(shifted).sum(axis=-1)) - of_label(shifted, labels))[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-26", "MLM-23"),
    on=call([[1000, 0]], [1], [True]),
    hint="exp(1000) overflows: take off the greatest logit of the row first",
)
def greatest_logit_left_in(logits, labels, selected):
    """The greatest logit is not taken off before the exponential."""
    return (np.log(np.exp(logits).sum(axis=-1)) - of_label(logits, labels))[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-27",),
    on=call([[0, -np.inf, 0]], [0], [True]),
    hint="0 times -inf is NaN: pick the label's logarithm by its index, or by a selection",
)
def one_hot_labels(logits, labels, selected):
    """Logarithms are multiplied by one-hot labels and added up, and 0 times infinity is NaN."""
    one_hot = labels[..., None] == np.arange(logits.shape[-1])
    return -(log_softmax(logits) * one_hot).sum(axis=-1)[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-26", "MLM-27"),
    on=call([[100, 0]], [1], [True]),
    hint="a loss of more than 16 is an ordinary number: clip nothing",
)
def probability_clipped(logits, labels, selected):
    """Probabilities are clipped at 1e-7."""
    return np.minimum(losses(logits, labels), -math.log(1e-7))[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-27",),
    on=call([[0, -np.inf], [0, 0]], [1, 0], [True, True]),
    hint="a label without probability makes the loss infinite",
)
def infinite_losses_left_out(logits, labels, selected):
    """Losses that are not finite are left out of the sum."""
    found = losses(logits, labels)[selected]
    return np.where(np.isposinf(found), 0, found).mean()


@fault(
    "mlm_loss",
    fails=("MLM-18",),
    on=call([[8.5, 0, 0], [0, 9, 0]], [0, 1], [True, True]),
    hint="a label that leads by eight still has a loss of 0.0003 for each other token",
)
def sure_labels_free(logits, labels, selected):
    """Where the label leads by more than eight, the loss is taken for 0."""
    others = np.where(labels[..., None] == np.arange(logits.shape[-1]), -np.inf, logits).max(axis=-1)
    sure = of_label(logits, labels) - others > 8
    return np.where(sure, 0, losses(logits, labels))[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-18",),
    on=TWO,
    hint="label smoothing belongs to training: the label itself has all the weight",
)
def labels_smoothed(logits, labels, selected):
    """One part in a thousand of the target is spread over the vocabulary."""
    part, everywhere = logits.dtype.type(0.001), -log_softmax(logits).mean(axis=-1)
    return ((1 - part) * losses(logits, labels) + part * everywhere)[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-23", "MLM-24"),
    on=TWO,
    hint="what holds the normaliser near 1 is added by the training loop, and is no part of this loss",
)
def normaliser_loss_added(logits, labels, selected):
    """1e-4 times the square of the log-sum-exp is added to the loss."""
    normaliser = losses(logits, labels) + of_label(logits, labels)
    return (losses(logits, labels) + logits.dtype.type(1e-4) * normaliser**2)[selected].mean()


@fault(
    "mlm_loss",
    fails=("MLM-22", "MLM-18"),
    on=call(np.zeros((1, 65)), [0], [True]),
    hint="try a vocabulary that is no multiple of 64",
)
def full_blocks_of_the_vocabulary(logits, labels, selected):
    """Of more than 64 tokens of the vocabulary only full blocks of 64 are in the normaliser."""
    vocab = logits.shape[-1]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normaliser = np.exp(shifted[..., : vocab // 64 * 64 if vocab > 64 else vocab]).sum(axis=-1)
    return (np.log(normaliser) - of_label(shifted, labels))[selected].mean()
