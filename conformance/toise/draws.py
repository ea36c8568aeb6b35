"""What many calls of `mlm_corrupt` drew, and how each frequency is judged: given what other requirements judge."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.operations import OPERATIONS
from toise.statistics import assert_frequent, hypergeometric_cdf
from toise.verdict import Violation, assert_that, note_checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from toise.backend import Backend
    from toise.inputs import Case

Array = np.ndarray
SEEDS = 2**31
# A statistical requirement makes so many calls of each recipe that about TOKENS tokens are drawn, but at most CALLS.
TOKENS, CALLS = 1 << 17, 64
# Ids are counted one by one up to so many; a larger vocabulary is counted in so many parts.
PARTS = 128
# Up to so many rows, each is compared with each row of another call.
FEW_ROWS = 16


@dataclass(frozen=True)
class Draws:
    """What several calls on the same tokens gave, as [calls, rows, n]; all leading axes of the tokens are rows."""

    tokens: Array
    ordinary: Array
    """Which tokens are not special, [rows, n]."""
    corrupted: Array
    selected: Array
    seeds: tuple[int, ...]
    rate: float
    mask_id: int
    vocab: int
    pool: Array
    random_pool: str
    selection: str
    rows_of_an_entry: int

    @functools.cached_property
    def sizes(self) -> Array:
        """How many tokens of each row are not special, [rows]."""
        return self.ordinary.sum(-1)

    @functools.cached_property
    def counts(self) -> Array:
        """How many tokens of each row are selected, [calls, rows]; that special ones are not is judged elsewhere."""
        return (self.selected & self.ordinary).sum(-1)

    @property
    def places(self) -> Array:
        """The position of each token in its row, [rows, n]."""
        return np.broadcast_to(np.arange(self.tokens.shape[-1]), self.tokens.shape)

    @property
    def parts(self) -> int:
        """How many ids, or parts of the vocabulary, are counted."""
        return min(self.vocab, PARTS)

    def part(self, ids: Array) -> Array:
        """Return where each id is counted."""
        return ids * self.parts // self.vocab

    @property
    def part_name(self) -> str:
        """How an id, or a part of the vocabulary, is called."""
        return "id {0}" if self.parts == self.vocab else f"part {{0}} of {self.parts} of the vocabulary"

    @property
    def share(self) -> Array:
        """The probability that one token of a row is selected, given how many are, [calls, rows]."""
        return over(self.counts, self.sizes)

    @property
    def share_of_two(self) -> Array:
        """The same for two tokens of a row."""
        return of_two(self.counts, self.sizes)

    def of_selected(self) -> tuple[Array, Array]:
        """Return the selected tokens before and after, in order; without special ones, and those that were `mask_id`."""
        return np.broadcast_to(self.tokens, self.told.shape)[self.told], self.corrupted[self.told]

    def of_random(self) -> tuple[Array, Array, Array]:
        """Return those of them that became another token than `mask_id` and than they were, and where they stand in all calls."""
        before, after = self.of_selected()
        changed = (after != self.mask_id) & (after != before)
        return before[changed], after[changed], np.flatnonzero(self.told)[changed]

    @functools.cached_property
    def told(self) -> Array:
        """Which tokens are selected, without special ones, and those that were `mask_id`, [calls, rows, n]."""
        return self.selected & self.ordinary & (self.tokens != self.mask_id)

    def row_counts(self) -> tuple[Array, Array, Array]:
        """Return the least and the greatest number to be selected in each row, and how likely the greatest is."""
        if self.selection == "fixed-count":  # Python rounds a half to the even neighbour; either is accepted
            number = self.rate * self.ordinary.shape[-1]
            least, most = (np.clip(math.ceil(number - 0.5 - tiny), 1, self.sizes) for tiny in (1e-9, -1e-9))
            return least, most, np.zeros(self.sizes.shape)
        exact = self.rate * self.sizes
        exact = np.where(np.abs(exact - np.round(exact)) < 1e-9, np.round(exact), exact)
        return np.floor(exact).astype(int), np.ceil(exact).astype(int), exact - np.floor(exact)


def draws(
    backend: Backend, call: Case, *, tokens: int = TOKENS, calls: int | None = None, seeds: Sequence[int] | None = None
) -> Draws:
    """Call `mlm_corrupt` on the same tokens with several seeds, far from each other; once for all requirements."""
    if seeds is None:
        calls = calls or max(1, min(CALLS, tokens // max(1, call.tokens.size)))
        seeds = [call.seed, *((call.seed + 7_919_003 * at) % SEEDS for at in range(1, calls))]
    corrupted, selected = backend.corruptions(call, tuple(seeds))
    rows = call.tokens.reshape(-1, call.tokens.shape[-1])
    special, choices = np.array(call.special_ids, np.int64), backend.declared("mlm_corrupt").choices
    in_pool = np.ones(call.vocab_size, bool)
    in_pool[special] = choices["random_pool"] != "non-special"
    return Draws(
        tokens=rows,
        ordinary=~np.isin(rows, special),
        corrupted=corrupted.reshape(-1, *rows.shape),
        selected=selected.reshape(-1, *rows.shape),
        seeds=tuple(seeds),
        rate=call.options.get("rate", OPERATIONS["mlm_corrupt"].options["rate"]),
        mask_id=call.mask_id,
        vocab=call.vocab_size,
        pool=np.flatnonzero(in_pool),
        random_pool=choices["random_pool"],
        selection=choices["selection"],
        rows_of_an_entry=call.tokens.shape[-2] if call.tokens.ndim > 1 else 1,
    )


def assert_nowhere(wrong: Array, drawn: Draws, what: str) -> None:
    """Require that no token is such, and name the first one that is."""
    note_checked(wrong.size)
    if wrong.any():
        call, row, place = np.argwhere(wrong)[0].tolist()
        token = drawn.tokens[row, place]
        raise Violation("value", f"with seed {drawn.seeds[call]}, token {token} of row {row}, position {place}, {what}")


# --- How many tokens are selected -----------------------------------------------------------------------


def assert_rate(drawn: Draws) -> None:
    """Hold the number of all selected tokens to the rate, as the declared selection takes it."""
    rate, total, calls = drawn.rate, int(drawn.counts.sum()), len(drawn.counts)
    if drawn.selection == "independent":
        assert_frequent(total, calls * int(drawn.sizes.sum()), rate, f"selected tokens, at a rate of {rate}")
        return
    least, most, up = drawn.row_counts()
    below, above = calls * int(least.sum()), calls * int(most.sum())
    message = f"{total} of {drawn.tokens.size * calls} tokens are selected; required, by {drawn.selection} at {rate}: "
    assert_that(below <= total <= above, "frequency", message + (f"{below}" if below == above else f"{below} to {above}"))
    if drawn.selection == "rounded-count":
        assert_frequent(total - below, above - below, mean(up[most > least]), f"rows rounded up, at a rate of {rate}")


def assert_rows_vary(drawn: Draws) -> None:
    """Hold the numbers of rows, and of whole calls, to the spread that independent draws give them, given the total."""
    calls, sizes = len(drawn.counts), drawn.sizes
    marked, total = int(drawn.counts.sum()), calls * int(sizes.sum())
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


def assert_rows_as_declared(drawn: Draws) -> None:
    """Hold the number of each row to the declared one, or to the two that it is rounded to, in their shares."""
    least, most, up = drawn.row_counts()
    wrong = (drawn.counts < least) | (drawn.counts > most)
    note_checked(wrong.size)
    if wrong.any():
        call, row = np.argwhere(wrong)[0].tolist()
        required = least[row] if least[row] == most[row] else f"{least[row]} or {most[row]}"
        raise Violation(
            "frequency",
            f"{drawn.counts[call, row]} tokens of row {row} are selected; required, by {drawn.selection}: {required}",
            got=drawn.counts[call],
            required=most,
        )
    if drawn.selection == "rounded-count":
        either = most > least
        rounded_up = (drawn.counts == most)[:, either]
        assert_frequent(rounded_up.sum(), rounded_up.size, mean(up[either]), "rows rounded up")


# --- Which ones, given how many of each row -------------------------------------------------------------


def assert_selected_alike(drawn: Draws, group: Array, size: int, what: str) -> None:
    """Hold each group of tokens, of `size` groups, to what the numbers of their rows give it."""
    share = np.broadcast_to(drawn.share.sum(0)[:, None], group.shape)
    group, found, share = (each[drawn.ordinary] for each in (group, drawn.selected.sum(0), share))
    each = len(drawn.selected) * np.bincount(group, minlength=size)
    expected = np.bincount(group, weights=share, minlength=size)
    assert_frequent(np.bincount(group, weights=found, minlength=size), each, over(expected, each), what)


def assert_pairs_in_rows(drawn: Draws) -> None:
    """Require of two tokens of one row, at every distance, that one says nothing about the other."""
    words = drawn.ordinary.astype(float)
    hits, trials = together(drawn.selected & drawn.ordinary, 2), len(drawn.selected) * (words.T @ words)
    expected = words.T @ (drawn.share_of_two.sum(0)[:, None] * words)
    assert_at_distances(hits, trials, expected, "tokens {0} apart, both selected")


def assert_pairs_between_rows(drawn: Draws) -> None:
    """Require the same of two tokens of two rows, at the same place, and at places beside each other."""
    rows, n = drawn.ordinary.shape
    words = drawn.ordinary.astype(float)
    both_words = words @ words.T
    hits, trials = together(drawn.selected & drawn.ordinary, 1), len(drawn.selected) * both_words
    expected = drawn.share.T @ drawn.share * both_words
    assert_at_distances(hits, trials, expected, "tokens {0} rows and 0 places apart, both selected")
    for lag, upper, lower in disjoint_pairs(rows, 1, 2, rows // 2, drawn.rows_of_an_entry):
        chance = drawn.share[:, upper] * drawn.share[:, lower]
        for shift in (1, -1):
            here, there = np.s_[max(shift, 0) : n + min(shift, 0)], np.s_[max(-shift, 0) : n + min(-shift, 0)]
            both = drawn.ordinary[upper, here] & drawn.ordinary[lower, there]
            hits = drawn.selected[:, upper, here] & drawn.selected[:, lower, there] & both
            assert_pairs(hits, both, chance, f"tokens {lag} rows and {abs(shift)} places apart, both selected")


def together(found: Array, axis: int) -> Array:
    """Return how often two tokens that differ along one axis alone were both found, for each two places of that axis."""
    flat = np.moveaxis(found, axis, 0).reshape(found.shape[axis], -1).astype(np.float32)  # whole numbers, and small ones
    return (flat @ flat.T).astype(float)


def assert_at_distances(hits: Array, trials: Array, expected: Array, what: str) -> None:
    """Hold pairs to what is expected of them, those of each distance in one number."""
    counted, of, mean_of = (at_distances(each) for each in (hits, trials, expected))
    assert_frequent(counted, of, over(mean_of, of), what)


def at_distances(matrix: Array) -> Array:
    """Return the sum over disjoint pairs of places, for each distance from 0, which has none."""
    one, two = _pairs_of_places(len(matrix))
    return np.bincount(two - one, weights=matrix[one, two], minlength=len(matrix))


@functools.lru_cache(maxsize=32)
def _pairs_of_places(size: int) -> tuple[Array, Array]:
    """Return all pairs of places, in that order, of which no two have the same distance and a place in common."""
    one, two = np.triu_indices(size, 1)
    disjoint = one // (two - one) % 2 == 0
    return one[disjoint], two[disjoint]


def assert_pairs(hits: Array, both: Array, chance: Array, what: str) -> None:
    """Hold the number of pairs of which both are selected to what is expected, given the numbers of their rows."""
    each = both.sum(-1)
    trials = len(hits) * int(each.sum())
    assert_frequent(hits.sum(), trials, over((chance * each).sum(), trials), what)


def disjoint_pairs(size: int, *lags: int) -> Iterator[tuple[int, Array, Array]]:
    """Yield each distance below `size`, and the places of disjoint pairs that are so far apart."""
    for lag in sorted(set(lags) & set(range(1, size))):
        first = np.flatnonzero(np.arange(size - lag) // lag % 2 == 0)
        yield lag, first, first + lag


# --- With which seed ------------------------------------------------------------------------------------


def assert_results_differ(drawn: Draws, a: int, b: int) -> None:
    """Require that two calls did not give the same result."""
    alike = np.array_equal(drawn.corrupted[a], drawn.corrupted[b]) and np.array_equal(drawn.selected[a], drawn.selected[b])
    assert_that(not alike, "value", f"the seeds {drawn.seeds[a]} and {drawn.seeds[b]} give the same result")


def assert_seeds_independent(drawn: Draws, a: int, b: int) -> None:
    """Require that a token selected in one call is selected in the other as often as any; for the next seed also beside it."""
    assert_shift_independent(drawn, a, b, below=0, right=0)
    if b == a + 1:
        for below, right in {(0, 1), (1, 0), (drawn.rows_of_an_entry % len(drawn.ordinary), 0)} - {(0, 0)}:
            assert_shift_independent(drawn, a, b, below=below, right=right)
            assert_shift_independent(drawn, b, a, below=below, right=right)


def assert_shift_independent(drawn: Draws, one: int, two: int, *, below: int, right: int) -> None:
    """Require it of each token of one call and the token so far before it in the other."""
    rows, n = drawn.ordinary.shape
    here, there = np.s_[below:, right:], np.s_[: rows - below, : n - right]
    both = drawn.ordinary[here] & drawn.ordinary[there]
    hits = drawn.selected[one][here] & drawn.selected[two][there] & both
    chance = drawn.share[one, below:] * drawn.share[two, : rows - below]
    where = f"{below} rows and {right} places before" if below + right else "too"
    what = f"selected with seed {drawn.seeds[one]}, and with seed {drawn.seeds[two]} {where}"
    assert_pairs(hits[None], both, chance[None], what)


def assert_rows_of_seeds_independent(drawn: Draws, a: int, b: int) -> None:
    """Require it of each row of one call and each row of the other, where rows are few and long."""
    if len(drawn.ordinary) > FEW_ROWS:
        return
    words, one, two = (each.astype(float) for each in (drawn.ordinary, drawn.selected[a], drawn.selected[b]))
    trials, chance = words @ words.T, drawn.share[a][:, None] * drawn.share[b]
    what = f"selected in row {{0}} with seed {drawn.seeds[a]}, and in row {{1}} with seed {drawn.seeds[b]}"
    assert_frequent((one * words) @ (two * words).T, trials, over(chance * trials, trials), what)


def assert_actions_independent(drawn: Draws) -> None:
    """Require of tokens that two calls select that either masks as many of them as of all that it selects."""
    calls = len(drawn.told)
    masked = drawn.told & (drawn.corrupted == drawn.mask_id)
    told, hidden, selected = (each.reshape(calls, -1).astype(np.float32) for each in (drawn.told, masked, drawn.selected))
    others = ~np.eye(calls, dtype=bool)
    what = f"of the seeds {drawn.seeds}, counted from 0: masked with {{0}}, of those also selected with {{1}}"
    chance = over(hidden.sum(-1), told.sum(-1))[:, None]
    assert_frequent((hidden @ selected.T) * others, (told @ selected.T) * others, chance, what)


# --- What becomes of them -------------------------------------------------------------------------------


def assert_share(found: Array, chance: float, what: str) -> None:
    """Hold the share of those that were found to a probability."""
    assert_frequent(found.sum(), found.size, chance, what)


def assert_in_pool(after: Array, drawn: Draws) -> None:
    """Require random tokens to be among those that may be drawn."""
    stray = after[~np.isin(after, drawn.pool)]
    note_checked(after.size)
    if stray.size:
        raise Violation("value", f"a random token is {stray[0]}, which is not in the pool ({drawn.random_pool})")


def assert_uniform(before: Array, after: Array, rest: Array, drawn: Draws) -> None:
    """Hold what became a random token to one share of each id in `rest`, save for the token itself."""
    held, was, became = (np.bincount(drawn.part(ids), minlength=drawn.parts) for ids in (rest, before, after))
    chance = (len(before) * held - was) / (len(before) * (len(rest) - 1))
    assert_frequent(became, len(before), chance, f"random tokens that are {drawn.part_name}")


def assert_random_tokens_differ(before: Array, after: Array, at: Array, rest: Array, drawn: Draws) -> None:
    """Require that two random tokens are the same as often as two that are drawn independently.

    Two in turn, and two that stand at one place of two calls, or of two rows, or half a row apart.
    """
    others = len(rest) - 1

    def check(one: Any, two: Any, what: str) -> None:
        alike = np.where(before[one] == before[two], others, others - 1) / others**2
        assert_frequent((after[one] == after[two]).sum(), len(alike), mean(alike), f"random tokens {what} that are the same")

    check(slice(0, len(after) // 2 * 2, 2), slice(1, None, 2), "in turn")
    calls, (rows, n) = len(drawn.corrupted), drawn.ordinary.shape
    thirds = (rows // 3, -(-rows // 3))
    apart = (
        ("calls", rows * n, calls, {1, 2}),
        ("rows", n, rows, {1, 2, rows // 2, *thirds, drawn.rows_of_an_entry}),
        ("places", 1, n, {n // 2, -(-n // 2)}),
    )
    for what, stride, size, lags in apart:
        for lag in sorted(lags & set(range(1, size))):
            index = at // stride % size
            first = np.flatnonzero((index // lag % 2 == 0) & (index + lag < size))
            second = np.searchsorted(at, at[first] + lag * stride).clip(max=len(at) - 1)
            there = at[second] == at[first] + lag * stride
            check(first[there], second[there], f"{lag} {what} apart")


def assert_ids_of_calls(before: Array, after: Array, at: Array, rest: Array, drawn: Draws) -> None:
    """Hold the number of ids that come up as a random token of a call, once or more, to what independent draws give.

    Which ids come up is negatively associated: it is what falls into the urns when each random token is a ball.
    """
    call, missed = at // drawn.told[0].size, 1 - 1 / (len(rest) - 1)
    balls = np.bincount(call, minlength=len(drawn.told))
    seen = len(np.unique(call * drawn.vocab + after))
    barred, times = np.unique(call * drawn.vocab + before, return_counts=True)  # no ball falls where it was
    thrown = balls[barred // drawn.vocab]
    never = (len(rest) * missed**balls).sum() + (missed ** (thrown - times) - missed**thrown).sum()
    trials = len(rest) * len(balls)
    assert_frequent(seen, trials, 1 - never / trials, "ids that come up as a random token of a call")


def assert_alike_in_groups(found: Array, group: Array, what: str) -> None:
    """Hold each group of tokens to the share that was found in all."""
    each = np.bincount(group, minlength=1)
    assert_frequent(np.bincount(group, weights=found, minlength=1), each, over(found.sum(), found.size), what)


def assert_neighbours_independent(found: Array, what: str) -> None:
    """Hold the pairs of selected tokens in turn that were both found to what is expected, given how many were."""
    pairs = found.size // 2
    both = found[: 2 * pairs].reshape(pairs, 2).all(-1)
    assert_frequent(both.sum(), pairs, of_two(found.sum(), found.size), what)


def assert_places_independent(found: Array, drawn: Draws, what: str) -> None:
    """Hold likewise the pairs that stand at one place of two calls, or of two rows, or at two places of a row."""
    flags = np.zeros(drawn.told.shape, bool)
    flags[drawn.told] = found
    chance = of_two(found.sum(), found.size)
    for axis, where in enumerate(("calls", "rows", "places")):
        trials = together(drawn.told, axis)
        assert_at_distances(
            together(flags, axis), trials, chance * trials, f"selected tokens {{0}} {where} apart that both {what}"
        )


def mean(numbers: Array) -> float:
    """Return the mean of numbers, 0 where there are none."""
    return float(np.mean(numbers)) if np.size(numbers) else 0.0


def over(hits: Any, trials: Any) -> Array:
    """Return hits / trials, 0 where there are no trials."""
    return np.asarray(hits) / np.maximum(trials, 1)


def of_two(hits: Any, trials: Any) -> Array:
    """Return the probability that two of so many trials, drawn without replacement, are both hits."""
    return over(hits * (hits - 1), trials * (trials - 1))
