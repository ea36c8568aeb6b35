r"""The error analysis of the masked language model's loss.  Read with spec/toise_spec/masked_language_model.md.

With S for the selected positions and N for their number, in the whole batch,

    loss = 1/N sum_(i in S) a_i,      a_i = -log_softmax(logits_i)[label_i] >= 0.

Positions that are not selected take no part: the rows of S alone are bounded, and adding zeros for the others,
which is how some compute the sum, rounds nothing.

**The terms.** a_i errs as `log_softmax` says, r_i, and may be stored before they are added (`stored`).

**Their mean.** All terms are 0 or more, so that every error of adding and dividing is relative to the sum of their
sizes, A = 1/N sum_i (a_i + r_i), and the terms' own errors enter as their mean.  The sum in any order errs by gamma_N;
then, with u for one step, or for a step and a store where the two have different formats, there is at most one of

- the sum stored, u, and divided by N, u, which may itself be rounded, u (257 is no bfloat16 number);
- the sum, or each term, multiplied by 1/N: u for N, u for 1/N and u for the product, and u for the sum stored;
- the means of rows put together: a row's sum stored and divided, its mean multiplied by its count, their sum stored, and N
  rounded, u each; a row's count, if it is rounded, divides and multiplies alike.

(1 + u)^5 covers all of them; the quotient that remains is the last step (`stored`, `output`).
A running mean is not covered: its error is relative to the greatest value that the mean passes through, not to A.

**Where nothing is selected** there is no value; what the result must be is declared, and not judged by a radius.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from toise.bounds.bounded import U64, Bounded, given, sum_error, unless_overflow
from toise.bounds.log_softmax import log_softmax

if TYPE_CHECKING:
    from toise.bounds.formats import Precision

Array = np.ndarray


def mlm_loss(logits: Array, labels: Array, selected: Array, precision: Precision) -> Bounded:
    """Bound -1/N sum of log_softmax(logits)[label] over the selected positions.

    logits    [..., n, vocab]   exact in the storage format; -inf is a probability of zero
    labels    [..., n]          int64
    selected  [..., n]          bool
    ->        []                value and radius; infinite radius where nothing is selected, or a label has no probability
    """
    if not selected.any():
        return Bounded(np.array(np.nan), np.array(np.inf), precision)
    log_p = log_softmax(given(logits[selected], precision))  # [N, vocab]
    wanted = labels[selected][:, None]
    of_label = log_p.map(lambda a: np.take_along_axis(a, wanted, axis=-1)[:, 0])  # [N]
    return _mean(of_label.new(-of_label.value, of_label.radius).stored()).stored().output()


def _mean(terms: Bounded) -> Bounded:
    """Bound the mean of terms that are 0 or more."""
    p, count = terms.precision, terms.value.size
    size, inherited = terms.size.mean(), terms.radius.mean()
    rel = math.expm1(math.log1p(sum_error(count, p)) + 5 * math.log1p(p.step_and_store + U64))
    flushed = p.accumulate.tiny + 5 * max(p.step.tiny, p.tensor.tiny)
    radius = unless_overflow(count * size, p, inherited + rel * size + flushed, written=True)
    return terms.new(terms.value.mean(), radius)
