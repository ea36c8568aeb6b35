"""MLM · What mlm_corrupt and mlm_loss must do: one test a requirement.  Read with spec/toise_spec/masked_language_model.md."""

import functools
import itertools
import math
import random
import sys
from dataclasses import dataclass

import numpy as np

from toise.engine import requirement
from toise.inputs import EXACT, mlm_corrupt_draws, mlm_corrupt_inputs, mlm_loss_inputs
from toise.operations import OPERATIONS
from toise.statistics import assert_frequent, hypergeometric_cdf
from toise.verdict import (
    Irrelevant,
    NotApplicable,
    Violation,
    assert_close,
    assert_finite,
    assert_formula,
    assert_same,
    assert_that,
    note_checked,
)

SEEDS = 2**31
# A statistical requirement makes so many calls of each recipe that about TOKENS tokens are drawn, but at most CALLS.
TOKENS, CALLS = 1 << 17, 64
MODERATE = ("literal", "ramp", "integers", "normal", "equal", "sure")
SMALL = (0, 1, -1, -4)


@requirement("MLM-1", call=mlm_corrupt_inputs())
def test_both_results_have_the_shape_of_the_tokens(backend, call):
    """And `corrupted` is int64, and `selected` is bool."""
    backend.mlm_corrupt(call.tokens, **call.options)  # another shape or dtype is a violation in every test that reads a result

    note_checked(1)


@requirement("MLM-2", call=mlm_corrupt_inputs(lead=((2,), (3,), (2, 3), (1,), (5,))))
def test_no_tokens_give_no_tokens(backend, call):
    """No rows, or rows of no tokens."""
    for tokens in (call.tokens[:0], call.tokens[..., :0]):
        backend.mlm_corrupt(tokens, **call.options)

        note_checked(1)


@requirement("MLM-3", call=mlm_corrupt_inputs())
def test_a_token_that_is_not_selected_stays(backend, call):
    """Every replacement is recorded in `selected`."""
    drawn = draws(backend, call, calls=8)

    changed = (drawn.corrupted != drawn.tokens) & ~drawn.selected
    assert_nowhere(changed, drawn, "was changed, and is not selected")


@requirement(
    "MLM-4", call=mlm_corrupt_inputs(content=("literal", "any", "framed", "special"), specials=("low", "high", "spread"))
)
def test_a_special_token_is_never_selected(backend, call):
    """Wherever it stands, and whichever of the special ids it is; so it is never changed either."""
    drawn = draws(backend, call, calls=8)

    assert_nowhere(drawn.selected & ~drawn.ordinary, drawn, "is special, and was selected")


@requirement("MLM-5", call=mlm_corrupt_draws())
def test_fifteen_of_a_hundred_tokens_are_selected(backend, call):
    """Each token that is not special is selected with probability 0.15, if no rate is given."""
    assert_rate(call, draws(backend, call))


@requirement("MLM-6", call=mlm_corrupt_draws(rate=(0.0, 0.5, 1.0, 0.3, 0.05)))
def test_an_explicit_rate_replaces_the_default(backend, call):
    """Also 0, at which nothing is selected, and 1, at which all is; with `fixed-count`, one of each row at 0."""
    assert_rate(call, draws(backend, call))


@requirement("MLM-7", call=mlm_corrupt_draws())
def test_the_number_selected_in_a_row_is_as_declared(backend, call):
    """independent: it varies as a binomial number does.  fixed-count, rounded-count: it is exactly that.

    With independent draws it is judged given how many are selected in all, so that the rate has no part in it.
    """
    drawn = draws(backend, call)
    if drawn.selection == "independent":
        assert_rows_vary(drawn)
        return
    least, most, up = drawn.row_counts(rate_of(call))
    wrong = (drawn.counts < least) | (drawn.counts > most)
    if wrong.any():
        at = tuple(int(index) for index in np.argwhere(wrong)[0])
        required = least[at[1]] if least[at[1]] == most[at[1]] else f"{least[at[1]]} or {most[at[1]]}"
        raise Violation(
            "frequency",
            f"{drawn.counts[at]} tokens of row {at[1]} are selected; required, by {drawn.selection}: {required}",
            got=drawn.counts[at[0]],
            required=most,
        )
    note_checked(wrong.size)
    if drawn.selection == "rounded-count":
        open_ = most > least
        assert_frequent(
            (drawn.counts == most)[:, open_].sum(), len(drawn.counts) * open_.sum(), mean(up[open_]), "rows rounded up"
        )


@requirement("MLM-8", call=mlm_corrupt_draws())
def test_every_token_is_as_likely_to_be_selected_as_any_other(backend, call):
    """Wherever it stands, the first and the last place included, and whichever id it is; given the number of each row."""
    drawn = draws(backend, call)
    calls, share, ordinary = len(drawn.selected), drawn.share.sum(0)[:, None], drawn.ordinary

    each = calls * ordinary.sum(0)
    found = (drawn.selected & ordinary).sum((0, 1))
    assert_frequent(found, each, over((share * ordinary).sum(0), each), "selected at position {0}")
    ids = drawn.tokens[ordinary]
    each = calls * np.bincount(ids, minlength=drawn.vocab)
    expected = np.bincount(ids, weights=np.broadcast_to(share, ordinary.shape)[ordinary], minlength=drawn.vocab)
    found = np.bincount(ids, weights=drawn.selected.sum(0)[ordinary], minlength=drawn.vocab)
    assert_frequent(found, each, over(expected, each), "selected of id {0}")


@requirement("MLM-9", call=mlm_corrupt_draws(n=(4, 8, 17, 33, 64, 128), lead=((2,), (2, 3), (16,), (4, 16), (256,))))
def test_what_is_selected_says_nothing_about_other_tokens(backend, call):
    """Two tokens of a row, or of two rows of a batch, are both selected as often as independent ones.

    Neighbours and distant ones; the same place of two rows, and a place beside it; given the number of each row.
    """
    drawn = draws(backend, call)
    rows, n = drawn.ordinary.shape
    for lag in sorted({1, 2, 3, n // 2} & set(range(1, n))):
        first = np.flatnonzero(np.arange(n - lag) // lag % 2 == 0)  # disjoint pairs
        both = drawn.ordinary[:, first] & drawn.ordinary[:, first + lag]
        hits = drawn.selected[..., first] & drawn.selected[..., first + lag] & both
        assert_pairs(hits, both, drawn.share_of_two, f"tokens {lag} apart, both selected")
    for lag in sorted({1, 2, rows // 2, drawn.rows_of_an_entry} & set(range(1, rows))):
        first = np.flatnonzero(np.arange(rows - lag) // lag % 2 == 0)
        for shift in (0, 1, -1):
            here, there = np.s_[max(shift, 0) : n + min(shift, 0)], np.s_[max(-shift, 0) : n + min(-shift, 0)]
            both = drawn.ordinary[first, here] & drawn.ordinary[first + lag, there]
            hits = drawn.selected[:, first, here] & drawn.selected[:, first + lag, there] & both
            chance = drawn.share[:, first] * drawn.share[:, first + lag]
            assert_pairs(hits, both, chance, f"tokens {lag} rows and {abs(shift)} places apart, both selected")


@requirement("MLM-10", call=mlm_corrupt_draws())
def test_eighty_are_masked_ten_are_random_and_ten_stay(backend, call):
    """Of the selected tokens; a random token may be the mask, or the token itself, and the shares take account of that.

    Tokens that were the mask already tell nothing, and are left out.
    """
    drawn = draws(backend, call, tokens=2 * TOKENS)
    before, after = drawn.of_selected()

    pool = len(drawn.pool)
    masked = 0.8 + 0.1 * (drawn.mask_id in drawn.pool) / pool
    same = 0.1 + 0.1 / pool
    for found, chance, what in (
        (after == drawn.mask_id, masked, "selected tokens that became the mask"),
        (after == before, same, "selected tokens that stayed as they were"),
        ((after != drawn.mask_id) & (after != before), 1 - masked - same, "selected tokens that became another one"),
    ):
        assert_frequent(found.sum(), found.size, max(0.0, chance), what)


@requirement("MLM-11", call=mlm_corrupt_draws())
def test_random_tokens_are_uniform_over_the_pool(backend, call):
    """All ids of the vocabulary, the first and the last included, or all that are not special; each drawn on its own.

    What became another token than itself and than the mask is uniform over the rest of the pool.
    """
    drawn = draws(backend, call, tokens=2 * TOKENS)
    before, after = drawn.of_selected()
    changed = (after != drawn.mask_id) & (after != before)
    before, after = before[changed], after[changed]

    stray = ~np.isin(after, drawn.pool)
    message = f"a random token is {after[stray][0]}, which is not in the pool ({drawn.random_pool})" if stray.any() else ""
    assert_that(not stray.any(), "value", message)
    rest = np.setdiff1d(drawn.pool, [drawn.mask_id])
    if not len(after) or len(rest) < 2:
        raise Irrelevant
    others = len(rest) - 1
    each = np.isin(np.arange(drawn.vocab), rest) * (len(before) - np.bincount(before, minlength=drawn.vocab))
    assert_frequent(np.bincount(after, minlength=drawn.vocab), each, 1 / others, "random tokens that are {0}")
    one, two = slice(0, len(after) // 2 * 2, 2), slice(1, None, 2)
    alike = np.where(before[one] == before[two], others, others - 1) / others**2
    assert_frequent((after[one] == after[two]).sum(), len(alike), mean(alike), "neighbouring random tokens that are the same")


@requirement("MLM-12", call=mlm_corrupt_draws())
def test_what_becomes_of_a_token_depends_on_nothing(backend, call):
    """Neither on the token, nor on its place, nor on what becomes of its neighbours; given how many there are of each kind."""
    drawn = draws(backend, call)
    before, after = drawn.of_selected()
    place, row = drawn.place_of_selected()
    for found, what in ((after == drawn.mask_id, "became the mask"), (after == before, "stayed")):
        total, hits = found.size, int(found.sum())
        for group, of in ((place, "at position {0}"), (before, "with id {0}")):
            each = np.bincount(group, minlength=1)
            assert_frequent(
                np.bincount(group, weights=found, minlength=1), each, over(hits, total), f"selected tokens {of} that {what}"
            )
        both = over(hits * (hits - 1), total * (total - 1))
        pairs = found[: total // 2 * 2].reshape(-1, 2).all(-1)
        assert_frequent(pairs.sum(), len(pairs), both, f"neighbouring selected tokens that both {what}")
        aligned = aligned_pairs(place, row)
        assert_frequent(
            (found[aligned[0]] & found[aligned[1]]).sum(), len(aligned[0]), both, f"tokens below each other that both {what}"
        )


@requirement(
    "MLM-13", call=mlm_corrupt_inputs(seed=(*range(10), SEEDS - 1), content=("literal", "any", "words", "framed", "ramp"))
)
def test_the_same_arguments_give_the_same_result(backend, call):
    """Whatever was called in between, and however the tokens lie in memory; a seed of 0 is a seed too."""
    tokens = np.tile(call.tokens, 1 + 256 // call.tokens.size)  # a few tokens may well be drawn alike twice
    for seed in (call.seed, 0, SEEDS - 1):
        options = {**call.options, "seed": seed}
        first = backend.mlm_corrupt(tokens, **options)
        backend.mlm_corrupt(tokens[..., ::-1].copy(), **{**options, "seed": SEEDS - 2})
        assert_same_corruption(backend.mlm_corrupt(tokens, **options), first, "state", f"with seed {seed}, made again, the call")
    for layout, native in backend.layouts(call.replace(tokens=tokens), "tokens"):
        try:
            again = backend.corruption(call.replace(tokens=tokens, seed=seed), {"tokens": native})
        except Violation as broken:
            raise Violation("layout", f"with tokens {layout}: {broken.message}") from None
        assert_same_corruption(again, first, "layout", f"with tokens {layout}, the call")


@requirement("MLM-14", call=mlm_corrupt_draws(content=("words", "any"), n=(64, 33, 128), lead=((64,), (128,), (8, 16))))
def test_different_seeds_draw_independently(backend, call):
    """Two seeds give two results, and a token that one selects is selected by the other as often as any.

    Seeds beside each other, and seeds that differ in high bits or in low bits of large numbers; the same place, the place
    beside it, and the row below, as where each row counts its seed on.  Two results of 2000 tokens are equal by chance
    less than once in 10^200.
    """
    first = call.seed % 1000
    seeds = [first, first + 1, first + 2, first + 2**16, first + 2**24, first + 2**24 + 1, SEEDS - 2, SEEDS - 1]
    drawn = draws(backend, call, seeds=seeds)
    rows, n = drawn.ordinary.shape
    for a, b in itertools.combinations(range(len(seeds)), 2):
        alike = np.array_equal(drawn.corrupted[a], drawn.corrupted[b]) and np.array_equal(drawn.selected[a], drawn.selected[b])
        assert_that(not alike, "value", f"the seeds {seeds[a]} and {seeds[b]} give the same result")
        for below, right in ((0, 0), (0, 1), (1, 0)) if b == a + 1 else ((0, 0),):
            here, there = np.s_[below:, right:], np.s_[: rows - below, : n - right]
            both = drawn.ordinary[here] & drawn.ordinary[there]
            for one, two in ((a, b), (b, a)) if below + right else ((a, b),):
                hits = drawn.selected[one][here] & drawn.selected[two][there] & both
                chance = drawn.share[one, below:] * drawn.share[two, : rows - below]
                where = f"{below} rows and {right} places before" if below + right else "too"
                what = f"selected with seed {seeds[one]}, and with seed {seeds[two]} {where}"
                assert_pairs(hits[None], both, chance[None], what)


@requirement("MLM-15", call=mlm_corrupt_inputs())
def test_the_tokens_are_left_as_they_were(backend, call):
    """The caller still needs them: they are the labels."""
    natives = backend.natives(call)
    before, failed = backend.arrays.bits(natives["tokens"]), None
    try:
        backend.corruption(call, natives)
    except Violation as violation:
        failed = violation

    same = backend.arrays.bits(natives["tokens"]) == before
    assert_that(same, "mutated", "the call wrote into tokens", got=backend.arrays.numbers(natives["tokens"]))
    if failed:
        raise failed


@requirement("MLM-16", call=mlm_corrupt_inputs(content=("literal", "any", "words")))
def test_no_global_generator_is_touched(backend, call):
    """Python's, NumPy's legacy one and torch's default one are in the state that they were in."""
    before = {name: read() for name, (read, _) in generators(backend).items()}
    backend.mlm_corrupt(call.tokens, **call.options)

    for name, (read, restore) in generators(backend).items():
        same = name not in before or plain(read()) == plain(before[name])
        if not same:
            restore(before[name])
        assert_that(same, "state", f"the call changed the state of {name}")


@requirement("MLM-17", call=mlm_corrupt_inputs(content=("special", "words", "framed")))
def test_the_corrupted_tokens_have_memory_of_their_own(backend, call):
    """Where nothing was selected, returning the tokens themselves is tempting."""
    natives = backend.natives(call)
    drawn = backend.corruption(call, natives)

    shared = backend.arrays.share_memory(drawn.natives[0], natives["tokens"])
    assert_that(not shared, "shared", "corrupted shares memory with tokens")


@requirement("MLM-18", asked=mlm_loss_inputs(content=MODERATE, exponent=SMALL))
def test_the_loss_is_the_formula(backend, asked):
    """-mean over the selected positions of log_softmax(logits)[label]."""
    assert_formula(backend.mlm_loss(asked.logits, asked.labels, asked.selected))


@requirement(
    "MLM-19",
    asked=mlm_loss_inputs(content=MODERATE, exponent=SMALL, selected=("some", "one", "uneven"), n=(2, 3, 4, 5, 8, 16, 33)),
)
def test_a_position_that_is_not_selected_has_no_influence(backend, asked):
    """Its logits, of any finite size, and its label can be anything."""
    unasked = ~asked.selected
    if not unasked.any():
        raise Irrelevant
    loss = backend.run(asked)
    labels = np.where(unasked, asked.logits.shape[-1] - 1 - asked.labels, asked.labels)
    assert_same(backend.run(asked.replace(labels=labels)), loss, what="with other labels elsewhere, the result ")
    for size in (2.0**8, -(2.0**40), 2.0**100):
        noise = size * np.where(np.arange(asked.logits.size) % 2, 1.0, -0.5).reshape(asked.logits.shape)
        loud = asked.replace(logits=np.where(unasked[..., None], noise, asked.logits))
        assert_same(backend.run(loud), loss, what=f"with logits of {abs(size):.0e} elsewhere, the result ")


@requirement(
    "MLM-20",
    asked=mlm_loss_inputs(content=MODERATE, exponent=SMALL, selected=("uneven", "some", "all"), n=(2, 3, 4, 5, 8, 16, 33)),
)
def test_all_selected_positions_weigh_the_same(backend, asked):
    """The loss times the number of positions is the sum of that for any two parts: no row has a mean of its own.

    Rows with many selected positions and rows with one, split unevenly.
    """
    rank = np.cumsum(asked.selected).reshape(asked.selected.shape)
    one, two = asked.selected & (rank % 3 == 1), asked.selected & (rank % 3 != 1)
    if not two.any():
        raise Irrelevant
    whole, parts = backend.run(asked), [(backend.run(asked.replace(selected=part)), int(part.sum())) for part in (one, two)]

    count = int(asked.selected.sum())
    together = sum(part.got * positions for part, positions in parts) / count
    radius = sum(part.radius * positions for part, positions in parts) / count
    usable = np.isfinite(together)
    assert_close(
        whole.got, np.where(usable, together, whole.value), whole.radius + radius, what="loss, put together from two parts, "
    )


@requirement(
    "MLM-21",
    asked=mlm_loss_inputs(
        content=MODERATE, exponent=SMALL, n=(2, 3, 4, 5, 8, 16, 33), labels=("any", "likely"), lead=((2,), (3,), (2, 3), (), (5,))
    ),
)
def test_a_position_is_scored_by_its_own_label(backend, asked):
    """Positions, and entries of the batch, permuted with their labels and with what is selected, give the same loss."""
    at = [asked.permutation(size) for size in asked.labels.shape]
    permuted = {name: array[np.ix_(*at)] for name, array in asked.arrays.items()}

    assert_same(backend.run(asked.replace(**permuted)), backend.run(asked))


@requirement("MLM-22", asked=mlm_loss_inputs(content=MODERATE, exponent=SMALL, vocab=(2, 3, 4, 5, 8, 17, 33, 65, 129, 1030)))
def test_no_token_of_the_vocabulary_has_a_special_place(backend, asked):
    """Logits permuted, and labels renamed alike, give the same loss; all labels may be the first token, or the last."""
    order = asked.permutation(asked.logits.shape[-1])
    renamed = asked.replace(logits=asked.logits[..., order], labels=np.argsort(order)[asked.labels])

    assert_same(backend.run(renamed), backend.run(asked))


@requirement("MLM-23", asked=mlm_loss_inputs(content=EXACT, exponent=(0,)))
def test_a_constant_added_to_the_logits_changes_nothing(backend, asked):
    """Each position has a constant of its own; logits and constants are whole numbers (or halves), so that the sums are exact."""
    large = 2.0**6 if backend.dtype == "bfloat16" else 2.0**16
    loss = backend.run(asked)
    constants = np.round(4 * asked.normal(1, (*asked.labels.shape, 1)))
    for shift in (constants, large + constants, -large + constants):
        assert_same(backend.run(asked.replace(logits=asked.logits + shift)), loss)


@requirement("MLM-24", asked=mlm_loss_inputs(content=("equal",), exponent=(0, 3, -4), selected=("one",), lead=((), (1,))))
def test_equal_logits_give_the_logarithm_of_the_vocabulary(backend, asked):
    """In nats: every token has the probability 1 / vocab, whatever the label; one position is asked for."""
    loss = backend.run(asked)

    assert_close(loss.got, np.array(math.log(asked.logits.shape[-1])), loss.radius, what="loss for equal logits ")


@requirement("MLM-25", asked=mlm_loss_inputs())
def test_the_loss_is_never_negative(backend, asked):
    """A probability is at most 1, and its logarithm at most 0; what is no number at all is judged elsewhere."""
    loss = backend.run(asked)

    assert_close(loss.got, np.maximum(loss.got, 0), loss.radius)


@requirement("MLM-26", asked=mlm_loss_inputs(content=("large",), exponent=(0, 1, 4, 12), labels=("unlikely", "any", "likely")))
def test_logits_of_any_finite_size_are_handled(backend, asked):
    """The loss is finite for logits of thousands, and the formula, where it is the formula for logits 4096 times smaller.

    exp of the logit itself would overflow at 89 in float32, and the logarithm of a finished softmax would be -inf.
    """
    loss, small = backend.run(asked), backend.run(asked.replace(logits=asked.logits / 4096))
    assert_finite(loss)
    if np.abs(small.got - small.value) <= small.radius:
        assert_formula(loss)


@requirement("MLM-27", asked=mlm_loss_inputs(content=MODERATE, exponent=SMALL, vocab=(2, 3, 4, 5, 8, 17, 33)))
def test_a_logit_of_minus_infinity_is_a_probability_of_zero(backend, asked):
    """At another token than the label it does what a logit does that is 1000 below; at the label the loss is infinite."""
    vocab = asked.logits.shape[-1]
    other = asked.selected[..., None] & (np.arange(vocab) == ((asked.labels + 1) % vocab)[..., None])
    without, unlikely = (asked.replace(logits=np.where(other, low, asked.logits)) for low in (-np.inf, -1024.0))
    assert_same(backend.run(without), backend.run(unlikely), what="loss with -inf at another token ")

    last = asked.selected & (np.cumsum(asked.selected).reshape(asked.selected.shape) == asked.selected.sum())
    impossible = np.where(last[..., None] & (np.arange(vocab) == asked.labels[..., None]), -np.inf, asked.logits)
    got = backend.run(asked.replace(logits=impossible)).got
    message = f"loss with -inf at a label is {got:.9g}; required inf"
    assert_that(bool(np.isposinf(got)), "value", message, got=got, required=np.array(np.inf))


@requirement("MLM-28", asked=mlm_loss_inputs(selected=("none",)))
def test_with_nothing_selected_the_loss_is_what_is_declared(backend, asked):
    """nan, zero, or an exception; also where there are no positions at all."""
    choice = backend.declared("mlm_loss").choices["nothing_selected"]
    if choice == "unspecified":
        raise NotApplicable("nothing_selected is declared unspecified")
    for what, call in (("nothing selected", asked), ("no positions", without_positions(asked))):
        if choice == "raises":
            assert_that(was_rejected(backend, call), "accepted", f"{what} was accepted; required, as declared: an exception")
            continue
        got = backend.run(call).got
        right = bool(np.isnan(got)) if choice == "nan" else bool(got == 0)
        assert_that(right, "value", f"loss with {what} is {got:.9g}; required, as declared: {choice}", got=got)


# --- Draws ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draws:
    """What several calls on the same tokens gave, as [calls, rows, n]; all leading axes of the tokens are rows."""

    tokens: np.ndarray
    ordinary: np.ndarray
    """Which tokens are not special, [rows, n]."""
    corrupted: np.ndarray
    selected: np.ndarray
    seeds: list[int]
    mask_id: int
    vocab: int
    pool: np.ndarray
    random_pool: str
    selection: str
    rows_of_an_entry: int

    @functools.cached_property
    def counts(self):
        """How many tokens of each row are selected, [calls, rows]; that special ones are not is judged elsewhere."""
        return (self.selected & self.ordinary).sum(-1)

    @property
    def share(self):
        """The probability that one token of a row is selected, given how many are, [calls, rows]."""
        return over(self.counts, self.ordinary.sum(-1))

    @property
    def share_of_two(self):
        """The same for two tokens of a row."""
        of = self.ordinary.sum(-1)
        return over(self.counts * (self.counts - 1), of * (of - 1))

    def of_selected(self):
        """Return the selected tokens before and after, in order; without special ones, and those that are the mask."""
        told = self._told()
        return np.broadcast_to(self.tokens, told.shape)[told], self.corrupted[told]

    def place_of_selected(self):
        """Return the position and the row of each, rows counted through all calls."""
        call, row, place = np.nonzero(self._told())
        return place, call * self.ordinary.shape[0] + row

    def _told(self):
        return self.selected & self.ordinary & (self.tokens != self.mask_id)

    def row_counts(self, rate):
        """Return the least and the greatest number to be selected in each row, and how likely the greatest is."""
        of, n = self.ordinary.sum(-1), self.ordinary.shape[-1]
        if self.selection == "fixed-count":  # Python rounds a half to the even neighbour; either is accepted
            least, most = (np.clip(math.ceil(rate * n - 0.5 - tiny), 1, of) for tiny in (1e-9, -1e-9))
            return np.minimum(least, of), np.minimum(most, of), np.zeros(of.shape)
        exact = np.where(np.abs(rate * of - np.round(rate * of)) < 1e-9, np.round(rate * of), rate * of)
        return np.floor(exact).astype(int), np.ceil(exact).astype(int), exact - np.floor(exact)


def draws(backend, call, *, tokens=TOKENS, calls=None, seeds=None):
    """Call `mlm_corrupt` on the same tokens with several seeds, far from each other."""
    if seeds is None:
        calls = calls or max(1, min(CALLS, tokens // max(1, call.tokens.size)))
        seeds = [call.seed, *((call.seed + 7_919_003 * at) % SEEDS for at in range(1, calls))]
    results = [backend.mlm_corrupt(call.tokens, **{**call.options, "seed": seed}) for seed in seeds]
    rows = call.tokens.reshape(-1, call.tokens.shape[-1])
    special, choices = np.array(call.special_ids, np.int64), backend.declared("mlm_corrupt").choices
    ids = np.arange(call.vocab_size)
    return Draws(
        tokens=rows,
        ordinary=~np.isin(rows, special),
        corrupted=np.stack([result.corrupted.reshape(rows.shape) for result in results]),
        selected=np.stack([result.selected.reshape(rows.shape) for result in results]),
        seeds=list(seeds),
        mask_id=call.mask_id,
        vocab=call.vocab_size,
        pool=np.setdiff1d(ids, special) if choices["random_pool"] == "non-special" else ids,
        random_pool=choices["random_pool"],
        selection=choices["selection"],
        rows_of_an_entry=call.tokens.shape[-2] if call.tokens.ndim > 1 else 1,
    )


def rate_of(call):
    """Return the rate of a call, which is the default unless it is given."""
    return call.options.get("rate", OPERATIONS["mlm_corrupt"].options["rate"])


def assert_rate(call, drawn):
    """Hold the number of all selected tokens to the rate, as the declared selection takes it."""
    rate, total, calls = rate_of(call), int(drawn.counts.sum()), len(drawn.counts)
    if drawn.selection == "independent":
        assert_frequent(total, calls * int(drawn.ordinary.sum()), rate, f"selected tokens, at a rate of {rate}")
        return
    least, most, up = drawn.row_counts(rate)
    below, above = calls * int(least.sum()), calls * int(most.sum())
    message = f"{total} of {drawn.tokens.size * calls} tokens are selected; required, by {drawn.selection} at {rate}: "
    assert_that(below <= total <= above, "frequency", message + (f"{below}" if below == above else f"{below} to {above}"))
    if drawn.selection == "rounded-count":
        assert_frequent(total - below, above - below, mean(up[most > least]), f"rows rounded up, at a rate of {rate}")


def assert_rows_vary(drawn):
    """Hold the numbers of rows, and of whole calls, to the spread that independent draws give them, given the total."""
    calls, marked, total = len(drawn.counts), int(drawn.counts.sum()), len(drawn.counts) * int(drawn.ordinary.sum())
    sizes = drawn.ordinary.sum(-1)
    assert_frequent(drawn.counts.sum(0), calls * sizes, over(marked, total), "selected in row {0} of the batch")
    for size in np.unique(sizes[sizes > 0]):
        counts, most = drawn.counts[:, sizes == size], np.arange(size)
        found = (counts[..., None] <= most).sum((0, 1))
        chance = hypergeometric_cdf(most, int(size), marked, total)
        assert_frequent(found, counts.size, chance, f"rows of {size} tokens with {{0}} selected, or fewer")
    if calls == CALLS:
        most = marked // calls + np.array([-1, 0])
        found = (drawn.counts.sum(-1)[:, None] <= most).sum(0)
        chance = hypergeometric_cdf(most, int(sizes.sum()), marked, total)
        assert_frequent(found, calls, chance, f"calls with {most[0]} or {most[1]} selected, or fewer")


def assert_pairs(hits, both, chance, what):
    """Hold the number of pairs of which both are selected to what is expected, given the numbers of their rows."""
    each = both.sum(-1)
    trials = len(hits) * int(each.sum())
    assert_frequent(hits.sum(), trials, over((chance * each).sum(), trials), what)


def assert_nowhere(wrong, drawn, what):
    """Require that no token is such, and name the first one that is."""
    at = tuple(int(index) for index in np.argwhere(wrong)[0]) if wrong.any() else (0, 0, 0)
    told = (
        f"with seed {drawn.seeds[at[0]]}, token {drawn.tokens[at[1:]]} of row {at[1]}, position {at[2]}, {what}"
        if wrong.any()
        else ""
    )
    assert_that(not wrong.any(), "value", told)


def assert_same_corruption(second, first, kind, what):
    """Require the same results to the last token."""
    same = np.array_equal(second.corrupted, first.corrupted) and np.array_equal(second.selected, first.selected)
    assert_that(same, kind, f"{what} gave another result", got=second.corrupted, required=first.corrupted)


def aligned_pairs(place, row):
    """Return disjoint pairs of selected tokens that stand at one position of two rows, one below the other."""
    order = np.lexsort((row, place))
    one, two = order[:-1], order[1:]
    fits = (place[one] == place[two]) & (row[one] + 1 == row[two]) & (row[one] % 2 == 0)
    return one[fits], two[fits]


def generators(backend):
    """Return the global generators: how the state of each is read, and restored."""
    found = {
        "Python's random": (random.getstate, random.setstate),
        "numpy.random": (np.random.get_state, np.random.set_state),  # the legacy one is what is watched
    }
    torch, device = sys.modules.get("torch"), backend.arrays.device
    if torch is not None:
        found["torch's default generator"] = (torch.get_rng_state, torch.set_rng_state)
    if torch is not None and device != "cpu":
        own = torch.get_device_module(device)
        found[f"torch's generator of {device}"] = (
            lambda: own.get_rng_state(device),
            lambda state: own.set_rng_state(state, device),
        )
    return found


def plain(state):
    """Return a state as numbers in lists, which can be compared."""
    return [plain(part) for part in state] if isinstance(state, tuple) else getattr(state, "tolist", lambda: state)()


def without_positions(asked):
    """Return the same call with n = 0."""
    return asked.replace(logits=asked.logits[..., :0, :], labels=asked.labels[..., :0], selected=asked.selected[..., :0])


def was_rejected(backend, call):
    """Tell whether the call raised."""
    try:
        backend.invoke(call, backend.natives(call))
    except Irrelevant:
        return True
    except Violation as violation:
        return violation.kind == "raised"
    return False


def mean(numbers):
    """Return the mean of numbers, 0 where there are none."""
    return float(np.mean(numbers)) if np.size(numbers) else 0.0


def over(hits, trials):
    """Return hits / trials, 0 where there are no trials."""
    return np.asarray(hits) / np.maximum(trials, 1)
