"""How far a result is from its value in radii: what the tests of the bounds and of the reference ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from soundness.campaign import ratios
from soundness.cases import built
from soundness.machine import UNDECLARED
from toise.arrays import NumpyArrays
from toise.bounds import PRECISIONS
from toise.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.bounds import Bounded, Precision
    from toise.inputs import Case

__all__ = [  # some from where the correct organisations are
    "EAGER16", "FUSED16", "STEPWISE16", "STRICT32", "STRICT64", "UNDECLARED", "bound", "built", "kept", "ratio", "rounded",
]  # fmt: skip
STRICT64 = PRECISIONS["float64"]["STRICT"]
STRICT32 = PRECISIONS["float32"]["STRICT"]
FUSED16, EAGER16, STEPWISE16 = (PRECISIONS["bfloat16"][name] for name in ("FUSED", "EAGER", "STEPWISE"))


def ratio(got: np.ndarray, bounded: Bounded) -> float:
    """Return the greatest |got - value| / radius; infinity for what is not finite and should be, 0 where all is excused."""
    return float(ratios(np.asarray(got), bounded).max(initial=0.0))


def bound(case: Case, precision: Precision) -> Bounded:
    """Bound the result of a call for a backend that declares nothing."""
    with np.errstate(all="ignore"):
        return OPERATIONS[case.operation].bound(case, UNDECLARED[case.operation], precision)


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """Round to a dtype, and return float64."""
    return NumpyArrays().rounded(np.asarray(array), dtype)


def kept(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a rounding to that many significant bits."""

    def cut(a: np.ndarray) -> np.ndarray:
        fraction, exponent = np.frexp(a)
        return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits)

    return cut
