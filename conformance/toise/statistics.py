"""Exact tests of frequencies: how often something may happen by chance, and where chance ends.

**The rule.** Let X count the successes of N trials, whose probabilities have the mean p.  For every k

    P(X >= k) <= exp(-N KL(k/N, p))   where k/N > p,       P(X <= k) <= exp(-N KL(k/N, p))   where k/N < p,

with KL(a, p) = a log(a/p) + (1 - a) log((1 - a)/(1 - p)) (Chernoff 1952; Hoeffding 1963, theorem 1).  No limit
theorem and no table is involved: these are bounds for any N, however small.  A count is accepted while

    N KL(k/N, p) <= log(2 / ALARM),

so that a correct implementation is refused with a probability of at most ALARM, for each count that is compared.

**When it holds.** The proof needs E exp(tX) <= (1 - p + p e^t)^N for all t, and nothing else.  That is so for

- independent trials, also with different probabilities (the geometric mean of 1 - p_i + p_i e^t is not above the arithmetic);
- draws without replacement (Hoeffding 1963, theorem 4), such as the number of tokens of one position that
  become [MASK] when it is known how many do in all; and more generally
- negatively associated trials (Joag-Dev & Proschan 1983), among them all increasing functions of disjoint parts of
  a random permutation, such as "both tokens of this pair are selected", when it is known how many are in the row,
  and "this urn is hit" for independent balls (Dubhashi & Ranjan 1998), such as which ids come up in a call.

So each count is judged **given** what other requirements judge: positions given the number selected in each row,
actions given how many of each there are.  One mistake then breaks the requirement that names it, and not all of them.

**The whole run.** The false-alarm probability of a run is at most ALARM times the number of counts that it compares
(a union bound: nothing is assumed about how they depend on each other).  `tests/test_mlm_corrupt.py`
counts them and holds the product below 1e-9.  The seeds of the calls are fixed, so that an implementation which
passed once passes always.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING

import numpy as np

from toise.verdict import Violation, note_checked

if TYPE_CHECKING:
    import numpy.typing as npt

Array = np.ndarray
ALARM = 1e-14
LIMIT = math.log(2 / ALARM)


def surprise(counts: Array, trials: Array, probability: Array) -> Array:
    """Return N KL(k/N, p) in units of what is accepted: more than 1 is not chance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = counts / trials
        up = np.where(counts > 0, counts * np.log(share / probability), 0.0)
        down = np.where(counts < trials, (trials - counts) * np.log((1 - share) / (1 - probability)), 0.0)
        return np.where(trials > 0, np.maximum(up + down, 0) / LIMIT, 0.0)


def band(trials: int, probability: float) -> tuple[int, int]:
    """Return the least and the greatest count that are accepted."""

    def refused(count: int) -> int:
        return int(surprise(np.array(count), np.array(trials), np.array(probability)) > 1)

    centre = min(trials, max(0, round(trials * probability)))
    least = bisect.bisect_left(range(centre), 0, key=lambda count: -refused(count))
    most = bisect.bisect_left(range(centre, trials + 1), 1, key=refused) - 1
    return least, centre + most


def assert_frequent(counts: npt.ArrayLike, trials: npt.ArrayLike, probability: npt.ArrayLike, what: str) -> None:
    """Hold each count to the band around trials * probability.  `what` names it, with {0}, {1} ... for its place."""
    counts, trials, probability = np.broadcast_arrays(
        np.asarray(counts, float), np.asarray(trials, float), np.asarray(probability, float)
    )
    beyond = surprise(counts, trials, probability)
    note_checked(int((trials > 0).sum()), 0, float(np.sqrt(beyond.max(initial=0))))
    if (beyond > 1).any():
        at = tuple(int(index) for index in np.unravel_index(np.argmax(beyond), beyond.shape))
        n, p = int(trials[at]), float(probability[at])
        least, most = band(n, p)
        raise Violation(
            "frequency",
            f"{what.format(*at)}: {int(counts[at])} of {n} ({counts[at] / n:.4g}); "
            f"required {p:.4g}, which is {least} to {most} of {n}",
            got=counts,
            required=trials * probability,
            at=at,
            ratio=float(np.sqrt(beyond[at])),
        )


def hypergeometric_cdf(most: Array, drawn: int, marked: int, total: int) -> Array:
    """Return the probability of `most` marked ones or fewer among so many drawn, of a total of which so many are marked."""
    counts = np.arange(max(0, drawn + marked - total), min(drawn, marked) + 1)
    ways = np.array([_log_choose(marked, k) + _log_choose(total - marked, drawn - k) for k in counts.tolist()])
    # Divided by their own sum, the ways are right to the last digits: what lgamma errs by at 1e5 cancels.
    chances = np.cumsum(np.exp(ways - ways.max()))
    chances /= chances[-1]
    return np.where(most < counts[0], 0.0, np.minimum(chances, 1.0)[np.clip(most - counts[0], 0, len(counts) - 1)])


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
