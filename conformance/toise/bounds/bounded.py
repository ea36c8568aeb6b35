"""Bounded arrays: a float64 value, and a radius that no correct computation in a precision leaves.

Every rule is first-order safe: it bounds the error of any order of summation (Higham, "Accuracy and
Stability of Numerical Algorithms", 2nd ed., section 3.1: a sum of n terms errs by at most
gamma_n = (1 + u)^n - 1 of the sum of magnitudes).  The operands of a product and the additions round in formats
of their own, as in tensor cores (Blanchard, Higham, Lopez, Mary & Pranesh, "Mixed precision block fused
multiply-add", SIAM J. Sci. Comput. 2020).  `u` always includes 2^-53, so that the radius
covers the rounding of the float64 value beside it too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from toise.bounds.formats import EXACT

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.bounds.formats import Format, Precision

Array = np.ndarray
U64 = 2.0**-53
# A compiler may contract the shift of an exponential into exp2(fma(s, c, -fl(top c))), whose argument errs by
# 2^-24 |top c|; past this many units the exponential itself overflows.
REACH = 80.0
# Terms between two rescales of a running sum of exponentials, at least, where no trait is declared.
BLOCK = 16
# A matrix product of which partial sums are written out and added in the dtype, and their greatest number.
SPLIT_K, PARTS = "split-k", 16


class Bounded:
    """An array of values, each known to lie within its radius; + - * @ round as one elementary step."""

    def __init__(self, value: Array, radius: Array | float, precision: Precision) -> None:
        self.value = np.asarray(value, np.float64)
        known = np.asarray(radius)
        if np.isnan(known.sum()):  # a radius that could not be computed (inf - inf, 0 * inf) promises nothing
            known = np.where(np.isnan(known), np.inf, known)
        self.radius = known if known.shape == self.value.shape else np.broadcast_to(known, self.value.shape)
        self.precision = precision

    @property
    def size(self) -> Array:
        """The largest magnitude that each element can have."""
        return np.abs(self.value) + self.radius

    def new(self, value: Array, radius: Array | float) -> Bounded:
        """Return another array of the same precision."""
        return Bounded(value, radius, self.precision)

    def map(self, move: Callable[[Array], Array]) -> Bounded:
        """Rearrange the elements: the values and the radii alike."""
        return self.new(move(self.value), move(self.radius))

    def rounded(self, to: Format) -> Bounded:
        """Allow one rounding to `to`; what may overflow there has an infinite radius."""
        if to is EXACT:
            return self
        radius = self.radius + (to.u + U64) * self.size + to.tiny
        return self.new(self.value, np.where(np.abs(self.value) + radius > to.huge, np.inf, radius))

    def stored(self) -> Bounded:
        """Allow the array to be written out between two kernels; a number of the step's own format finds nothing to round."""
        return self if self.precision.tensor is self.precision.step else self.rounded(self.precision.tensor)

    def output(self) -> Bounded:
        """Round to the dtype of the result."""
        return self.rounded(self.precision.storage)

    def __add__(self, other: Bounded) -> Bounded:
        return self.new(self.value + other.value, self.radius + other.radius).rounded(self.precision.step)

    def __mul__(self, other: Bounded) -> Bounded:
        radius = self.radius * other.size + np.abs(self.value) * other.radius
        return self.new(self.value * other.value, radius).rounded(self.precision.step)

    def __matmul__(self, other: Bounded) -> Bounded:
        return self.times(other)

    def times(self, other: Bounded, *, relative: float = 0.0, flushed: tuple[float, float] = (0.0, 0.0)) -> Bounded:
        """Sum products in any order: inherited errors, gamma of the magnitudes, and what may be flushed.

        relative  an error that each product has before it is added: of operands that were scaled or stored
        flushed   what may be flushed to zero in an element of each operand, beside its radius
        """
        p, terms = self.precision, self.value.shape[-1]
        size = self.size @ other.size
        radius = size * product_error(terms, p, relative)
        radius += terms * p.accumulate.tiny
        huge = p.accumulate.huge
        if SPLIT_K in p.traits:
            radius, huge = radius + PARTS * p.storage.tiny, p.storage.huge
        of_self, of_other = (lost + p.operand.tiny for lost in flushed)
        if of_self:
            radius = radius + of_self * other.size.sum(-2, keepdims=True)
        if of_other:
            radius = radius + of_other * self.size.sum(-1, keepdims=True)
        if self.radius.any():
            radius = radius + self.radius @ other.size
        if other.radius.any():
            radius = radius + np.abs(self.value) @ other.radius
        if not size.max(initial=0.0) <= huge:  # NaN is not
            radius = np.where(size > huge, np.inf, radius)
        return self.new(self.value @ other.value, radius)


def given(x: Array | float, precision: Precision) -> Bounded:
    """Take an input: exact, save that a subnormal may be flushed to zero."""
    x = np.asarray(x, np.float64)
    return Bounded(x, np.where(np.abs(x) < precision.step.tiny, np.abs(x), 0.0), precision)


def constant(c: float, precision: Precision) -> Bounded:
    """Take a number that the code itself holds, such as eps: it may be rounded once, where it has more digits than fit."""
    radius = max(0.0 if _fits(c, form) else form.u * abs(c) + form.tiny for form in (precision.step, precision.tensor))
    return Bounded(np.asarray(c, np.float64), radius, precision)


def _fits(c: float, form: Format) -> bool:
    """Tell whether a format of floating-point numbers has this one, with all its digits."""
    if form is EXACT or c == 0:
        return True
    return abs(c) >= form.tiny / form.u and math.ldexp(math.frexp(c)[0], round(-math.log2(form.u))).is_integer()


def sum_error(terms: int, p: Precision) -> float:
    """gamma_n for that many terms."""
    return math.expm1(terms * math.log1p(p.accumulate.u + U64))


def product_error(terms: int, p: Precision, relative: float = 0.0) -> float:
    """gamma_n for that many products, whose operands may be rounded, and whose partial sums, if it is declared, stored."""
    before = math.log1p(relative) + 2 * math.log1p(p.operand.u)
    parts = min(terms, PARTS) * math.log1p(p.storage.u) if SPLIT_K in p.traits else 0.0
    return math.expm1(before + terms * math.log1p(p.accumulate.u + U64) + parts)


def unless_overflow(size: Array, p: Precision, radius: Array | float, *, written: bool = False) -> Array:
    """Hold a sum to no bound where its partial sums overflow in some order, or where it is written out and too large for that."""
    huge = min(p.accumulate.huge, p.tensor.huge) if written else p.accumulate.huge
    if np.max(size, initial=0.0) <= huge:
        return np.asarray(radius)
    return np.where(size > huge, np.inf, radius)
