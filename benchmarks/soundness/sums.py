"""Sums of products, [..., i, c] times [..., c, j], in many orders; and exponentials: what the concepts share."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from soundness.machine import Machine

    Order = Callable[[Machine, np.ndarray, np.ndarray], np.ndarray]

Array = np.ndarray
LOG2E, LN2 = math.log2(math.e), math.log(2)


def by_library(m: Machine, a: Array, b: Array) -> Array:
    """Leave the order to NumPy and BLAS."""
    return a @ b


def _zeros(m: Machine, a: Array, b: Array) -> Array:
    return np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), m.step)


def one_by_one(m: Machine, a: Array, b: Array, *, step: int = 1, start: Array | None = None) -> Array:
    """Add the products one at a time, from the first to the last, or backwards."""
    total = _zeros(m, a, b) if start is None else start
    for c in range(a.shape[-1])[::step]:
        total = total + a[..., :, c, None] * b[..., None, c, :]
    return total


def pairwise(m: Machine, a: Array, b: Array) -> Array:
    """Add neighbours, then neighbours of those: a tree."""
    terms = a[..., :, :, None] * b[..., None, :, :]
    while terms.shape[-2] > 1:
        odd = terms[..., terms.shape[-2] // 2 * 2 :, :]
        terms = np.concatenate([terms[..., :-1:2, :] + terms[..., 1::2, :], odd], axis=-2)
    return terms[..., 0, :] if terms.shape[-2] else _zeros(m, a, b)


def lanes(m: Machine, a: Array, b: Array, *, width: int = 4) -> Array:
    """Keep one sum for each of four lanes, as a vector unit does, and add the lanes at the end."""
    sums = [one_by_one(m, a[..., lane::width], b[..., lane::width, :]) for lane in range(min(width, a.shape[-1]))]
    return functools.reduce(np.add, sums)


def kahan(m: Machine, a: Array, b: Array) -> Array:
    """Carry along what each addition lost."""
    total = lost = _zeros(m, a, b)
    for c in range(a.shape[-1]):
        term = a[..., :, c, None] * b[..., None, c, :] - lost
        new = total + term
        lost = (new - total) - term
        total = new
    return total


def fused(m: Machine, a: Array, b: Array) -> Array:
    """Multiply and add with one rounding for both."""
    total = _zeros(m, a, b)
    for c in range(a.shape[-1]):
        total = m.fma(a[..., :, c, None], b[..., None, c, :], total)
    return total


def truncating(m: Machine, a: Array, b: Array) -> Array:
    """Multiply and add exactly, and cut the sum towards zero, where the class lets an accumulator do so."""
    total = _zeros(m, a, b)
    wide_a, wide_b = a.astype(m.wide), b.astype(m.wide)
    for c in range(a.shape[-1]):
        exact = total + wide_a[..., :, c, None] * wide_b[..., None, c, :]
        total = m.towards_zero(exact) if m.truncates else m.rounded(exact)
    return total


def tensor_core(m: Machine, a: Array, b: Array, *, block: int = 8) -> Array:
    """Align the products of a block, and the sum so far, to the largest exponent; cut each to 24 bits, and add."""
    if not m.truncates:
        return fused(m, a, b)
    total = _zeros(m, a, b).astype(np.float64)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    for c in range(0, a.shape[-1], block):
        some = slice(c, c + block)
        terms = wide_a[..., :, None, some] * wide_b.swapaxes(-1, -2)[..., None, :, some]
        terms = np.concatenate([total[..., None], terms], axis=-1)
        total = _cut(_cut(terms, np.abs(terms).max(-1, keepdims=True)).sum(-1))
    return total.astype(np.float32)


def _cut(x: Array, beside: Array | None = None) -> Array:
    """Cut to multiples of 2^-23 of the power of two below the number, or below another one."""
    grain = np.ldexp(1.0, np.frexp(x if beside is None else beside)[1] - 24)
    return np.trunc(x / grain) * grain


ORDERS: dict[str, Order] = {
    "library": by_library,
    "one by one": one_by_one,
    "backwards": functools.partial(one_by_one, step=-1),
    "in pairs": pairwise,
    "in lanes": lanes,
    "compensated": kahan,
    "fused": fused,
    "truncating": truncating,
    "tensor core": tensor_core,
}


def product(m: Machine, a: Array, b: Array, order: Order = by_library) -> Array:
    """Multiply two matrices."""
    return order(m, m.operand(a), m.operand(b))


def total(m: Machine, x: Array, order: Order = by_library) -> Array:
    """Add up the last axis, and keep it: no matrix product, whose operands might be rounded."""
    rows = order(m, x[..., None, :], np.ones((x.shape[-1], 1), m.step))
    return rows[..., 0]


# --- Exponentials, logarithms -------------------------------------------------------------------------


def exp(m: Machine, x: Array) -> Array:
    """Round the exponential once."""
    return m.rounded(np.exp(x.astype(m.wide)))


def exp_by_library(m: Machine, x: Array) -> Array:
    """Take NumPy's own."""
    return np.exp(x)


def exp2(m: Machine, x: Array) -> Array:
    """Multiply log2 e in, and take base 2, as GPUs do."""
    return np.exp2(x * m.number(LOG2E))


def _wrong(m: Machine, x: Array, side: Array | float) -> Array:
    """Err by 3 units, and by one more for the rounding, which is 2 ulp; save for exp(0) = 1."""
    exact = np.exp(x.astype(m.wide)) * (1 + np.asarray(side, m.wide) * 3 * m.unit)
    return np.where(x == 0, m.number(1), m.rounded(exact))


def exp_above(m: Machine, x: Array) -> Array:
    """Err by 2 ulp upwards."""
    return _wrong(m, x, 1.0)


def exp_below(m: Machine, x: Array) -> Array:
    """Err by 2 ulp downwards."""
    return _wrong(m, x, -1.0)


def exp_either(m: Machine, x: Array) -> Array:
    """Err by 2 ulp, up or down as a bit of the argument says."""
    bits = np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}")
    return _wrong(m, x, np.where((bits >> 3) & 1 == 1, 1.0, -1.0))


def log(m: Machine, x: Array) -> Array:
    """Round the logarithm once."""
    return m.rounded(np.log(x.astype(m.wide)))
