r"""The error analysis of a sequence's log-probability.  Read with spec/toise_spec/autoregressive.md.

The terms are the log-probabilities y_t = s_t - lse_t of single tokens, with the radii of `log_softmax`, and their sum
in any order errs by gamma_n sum |y_t| more.

The logits that were picked and the log-sum-exps may instead be added up apart, each sum stored, and one taken from
the other: their terms are larger than their differences, by no more than |s_t| + |lse_t| <= 2 |s_t| + |y_t|.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toise.bounds.bounded import U64, Bounded, given, sum_error, unless_overflow
from toise.bounds.log_softmax import log_softmax

if TYPE_CHECKING:
    from toise.bounds.formats import Precision

Array = np.ndarray


def sequence_log_prob(logits: Array, tokens: Array, precision: Precision) -> Bounded:
    """Bound the sum over t of log_softmax(logits_t)[token t + 1].

    logits  [..., n, vocab]   exact in the storage format; -inf is a probability of zero
    tokens  [..., n]          whole numbers
    ->      [...]             value and radius
    """
    p = precision
    rows = given(logits[..., :-1, :], p)
    following = tokens[..., 1:, None]
    picked = rows.map(lambda a: np.take_along_axis(a, following, -1)[..., 0])
    steps = log_softmax(rows).map(lambda a: np.take_along_axis(a, following, -1)[..., 0]).stored()

    count = steps.value.shape[-1]
    size = (2 * picked.size + steps.size).sum(-1)
    u = p.step_and_store + U64
    radius = steps.radius.sum(-1) + (sum_error(count, p) + u) * size + count * p.accumulate.tiny
    return steps.new(steps.value.sum(-1), unless_overflow(size, p, radius, written=True)).stored().output()
