r"""The error analysis of layer normalisation.  Read with spec/toise_spec/layer_norm.md.

Write d_i = x_i - m for the centred row, n for its length, gamma_n for the error of a sum of n terms, u for the unit of
one step, t for that of an array that is written out where that is narrower than a step, else 0.

**The mean** errs by r_m <= (gamma_n + 2 u) mean|x| for any order of summation, 1/n rounded or not, and by 4 u mean|x| more
where it is updated or merged (Welford 1962; Chan, Golub & LeVeque 1983).  It may be written out: t |m|.

**The variance** needs r_m only squared, since for any m' exactly
\(\mathrm{mean}((x - m')^2) = \mathrm{mean}((x - m)^2) + (m' - m)^2\).
What an element does not share with its row, own_i = (u + t) (|d_i| + r_m), enters to first order:
mean(2 (|d_i| + r_m) own_i + own_i^2).  Squares and variance may be written out: 2 t of it.

That is for two passes.  A variance that is updated or merged adds products of two distances from means of parts of the
row, which are right to r_m each, the mean's error in the kernel: it errs to first order in that, by up to
mean(2 (|d_i| + r_m) r_m) more.

**The centred value** may be formed as x r - m r with r = 1/sqrt(variance + eps), and then rounds
relative to x and m, not to their difference: r_m + 2 u (|x| + |m|).  Written out, it is the difference: t |d|.

**The root** has eps as a floor: variance + eps cannot fall below eps (1 - 4 u), however wide the
variance's radius.  Without that floor, small rows would have no bound at all.  A variance that comes out too large makes
it smaller, and the floor says nothing of that.  variance + eps, its root and the root's reciprocal may be written out.

**The affine map** may be folded, x s + (beta - m s) with s = gamma r: it rounds relative to beta once more, s may
overflow or be flushed to zero, and so may its products.

**Overflow.**  The squares are summed, n (variance + m^2); written out, each has the dtype's own range: in float16 the
square of a distance above 255 overflows.

**Trait** `stored-before-gamma`: the normalised row, and its product with gamma, are rounded to the dtype, though nothing
else is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toise.bounds.bounded import U64, Bounded, constant, given, sum_error, unless_overflow

if TYPE_CHECKING:
    from toise.bounds.formats import Precision

Array = np.ndarray


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float, precision: Precision) -> Bounded:
    """Bound gamma * (x - mean) / sqrt(variance + eps) + beta.

    x      [..., d]   exact in the storage format
    gamma  [d]
    beta   [d]
    ->     [..., d]   value and radius
    """
    rows = given(x, precision)
    centred, variance = _centred(rows)
    scale, shift = given(gamma, precision), given(beta, precision)
    root = _reciprocal_root(variance, eps)
    normalised = (centred * root).stored()
    if "stored-before-gamma" in precision.traits:
        product = (normalised.output() * scale).output()
    else:
        product = (normalised * scale).stored()
    y = product + shift
    slope = scale.size * root.size  # the product that is formed first where the affine map is folded
    folded = y.radius + (precision.step.u + U64) * shift.size + precision.step.tiny * (rows.size + centred.size)
    folded = unless_overflow(slope * np.maximum(1, rows.size + centred.size), precision, folded)
    return y.new(y.value, folded).stored().output()


def _centred(x: Bounded) -> tuple[Bounded, Bounded]:
    """Bound x - mean and mean((x - mean)^2)."""
    p, n = x.precision, x.value.shape[-1]
    u, written = p.step.u + U64, p.written
    mean = x.value.mean(-1, keepdims=True)
    magnitude = x.size.mean(-1, keepdims=True)
    r_mean = x.radius.mean(-1, keepdims=True) + (sum_error(n, p) + 6 * u) * magnitude
    r_mean += p.step.tiny + n * p.accumulate.tiny
    r_mean = unless_overflow(n * magnitude, p, r_mean)
    inside = r_mean  # of a kernel's own mean, before it is written out
    r_mean = r_mean + written * (np.abs(mean) + r_mean) + p.tensor.tiny

    d = x.value - mean
    own = x.radius + (u + written) * (np.abs(d) + r_mean)
    first_order = 2 * inside * (np.abs(d) + r_mean) + 2 * (np.abs(d) + r_mean) * own
    spread = r_mean**2 + (first_order + own**2).mean(-1, keepdims=True)
    square = (d**2).mean(-1, keepdims=True)
    r_square = spread + (sum_error(n, p) + 2 * u + 2 * written) * (square + spread) + p.step.tiny + 2 * p.tensor.tiny
    # A mean that is updated or merged starts from zero, so that the elements themselves may be squared.
    squares = n * (square + spread + x.size.max(-1, keepdims=True) ** 2)
    r_square = unless_overflow(squares, p, r_square)
    largest = (np.abs(d) + r_mean).max(-1, keepdims=True) ** 2
    r_square = np.where(largest > p.tensor.huge, np.inf, r_square)
    centred = x.new(d, x.radius + r_mean + 2 * u * (x.size + np.abs(mean) + r_mean))
    return centred.stored(), x.new(square, r_square)


def _reciprocal_root(variance: Bounded, eps: float) -> Bounded:
    """Bound 1 / sqrt(variance + eps), which is at most 1 / sqrt(eps)."""
    p = variance.precision
    u = p.step.u + U64
    total = (variance + constant(eps, p)).stored()
    floor = constant(eps, p)
    tiny = max(p.step.tiny, p.tensor.tiny)
    least = (floor.value - floor.radius) * (1 - 4 * u - 2 * p.tensor.u) - tiny
    lowest = np.maximum(total.value - total.radius, least)
    root = 1 / np.sqrt(total.value)
    # The floor holds for any finite variance; one that overflows may come out as NaN.
    known = (lowest > 0) & np.isfinite(variance.radius)
    above = 1 / np.sqrt(np.where(known, lowest, 1)) - root
    below = root - 1 / np.sqrt(total.size)
    moved = np.where(known, np.maximum(above, below), np.inf)
    return total.new(root, moved + p.ulps * u * (root + moved)).stored().stored()
