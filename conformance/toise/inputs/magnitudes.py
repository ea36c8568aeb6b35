"""How large and how fine the numbers of a dtype may be: what recipes and laws keep to.

float16 ends at 65504, and below 2^-14 it loses digits.  In the wider dtypes none of this changes an input.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from toise.bounds.formats import PRECISIONS

if TYPE_CHECKING:
    from toise.backend import Backend
    from toise.bounds.formats import Format, Precision

Array = np.ndarray
# What a law may multiply by without looking: two of them, or their sum, are still finite.
HEADROOM = 4.0


def storage_of(dtype: str) -> Format:
    """Return the format of a dtype."""
    return next(iter(PRECISIONS[dtype].values())).storage


def fitted(values: Array, storage: Format) -> Array:
    """Return the numbers times the power of two that is nearest to 1 and leaves room above, and digits below.

    Four times the largest is then finite in the format, and the largest has all its digits: an array keeps the
    proportions of its recipe where it would otherwise be all infinite, all one number, or all zero.
    """
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    highest, lowest = storage.huge / HEADROOM, storage.tiny / storage.u
    if largest > highest:
        return values * power_of_two_within(highest / largest)
    if 0 < largest < lowest:
        return values / power_of_two_within(largest / lowest)
    return values


def held_times(backend: Backend, factor: float, array: Array) -> Array:
    """Return an array of which the dtype holds that multiple too: in float16 brought down, or to fewer digits."""
    return backend.rounded(backend.rounded(factor * array) / factor)


def whole_numbers(dtype: str) -> float:
    """Return the number up to which the dtype holds all whole ones: 2^8 in bfloat16, 2^11 in float16, 2^24 in float32."""
    return 1 / storage_of(dtype).u


def ceiling(precision: Precision) -> float:
    """Return half the greatest number that all intermediates of a class can take: sums of that size don't overflow."""
    return min(precision.tensor.huge, precision.step.huge, precision.accumulate.huge) / 2


def power_of_two_within(limit: float) -> float:
    """Return the greatest power of two that is not above the limit."""
    return math.ldexp(1.0, math.frexp(limit)[1] - 1)


def room(backend: Backend, operation: str, reached: float) -> float:
    """Return the size that the declared class can take, of content that leads to sums of `reached` where its size is 1."""
    return ceiling(backend.declared(operation).bounds(backend.dtype)) / max(reached, 1.0)


def loud_sizes(backend: Backend, operation: str, reached: float) -> tuple[float, ...]:
    """Return a moderate and a large size for what is hidden, as the dtype and the declared class can take it.

    reached  the largest sum that content of size 1 leads to in any intermediate
    """
    largest = power_of_two_within(min(storage_of(backend.dtype).huge, room(backend, operation, reached)))
    return tuple(sorted({min(size, largest) for size in (2.0**8, 2.0**32)}))
