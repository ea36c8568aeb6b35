"""How far a result is from its value in radii: what the tests of the bounds and of the reference ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from soundness.campaign import bounded, ratios, result
from soundness.cases import built
from soundness.machine import UNDECLARED
from toise.arrays.numpy_arrays import NumpyArrays
from toise.bounds import PRECISIONS
from toise.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from soundness.machine import Machine, Organisation
    from toise.bounds import Bounded, Precision
    from toise.inputs import Case

__all__ = [  # some from where the correct organisations are
    "EAGER16", "FUSED16", "STEPWISE16", "STRICT32", "STRICT64", "UNDECLARED", "bound", "built", "in_float64", "kept", "ratio",
    "rounded", "worst",
]  # fmt: skip
STRICT64 = PRECISIONS["float64"]["STRICT"]
STRICT32 = PRECISIONS["float32"]["STRICT"]
FUSED16, EAGER16, STEPWISE16 = (PRECISIONS["bfloat16"][name] for name in ("FUSED", "EAGER", "STEPWISE"))


def ratio(got: np.ndarray, bounded: Bounded) -> float:
    """Return the greatest |got - value| / radius; infinity for what is not finite and should be, 0 where all is excused."""
    return float(ratios(np.asarray(got), bounded).max(initial=0.0))


def worst(organisation: Organisation, machine: Machine, case: Case, *traits: str) -> float:
    """Return the greatest error of a correct organisation in radii, for a backend that declares these traits."""
    return float(ratios(result(organisation, machine, case), bounded(case, machine, traits)).max(initial=0.0))


def in_float64(operation: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """Return the operation on float64 copies of its arrays, with the result rounded once to their dtype."""

    def call(*arrays: np.ndarray, **options: Any) -> np.ndarray:
        copies = [array if array.dtype.kind in "biu" else array.astype(np.float64) for array in arrays]
        return np.asarray(operation(*copies, **options)).astype(arrays[0].dtype)

    return call


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
