"""How far a result is from its value in radii: what the tests of the bounds and of the reference ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from toise.arrays import NumpyArrays
from toise.bounds import PRECISIONS
from toise.declarations import parse
from toise.inputs.magnitudes import fitted, storage_of
from toise.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.bounds import Bounded, Precision
    from toise.inputs import Case, Recipe

STRICT64 = PRECISIONS["float64"]["STRICT"]
STRICT32 = PRECISIONS["float32"]["STRICT"]
FUSED16, EAGER16, STEPWISE16 = (PRECISIONS["bfloat16"][name] for name in ("FUSED", "EAGER", "STEPWISE"))
UNDECLARED = parse({}).operations


def ratio(got: np.ndarray, bounded: Bounded) -> float:
    """Return the greatest |got - value| / radius; infinity for what is not finite and should be, 0 where all is excused."""
    assert got.shape == bounded.value.shape, f"a result of shape {got.shape} is compared with one of {bounded.value.shape}"
    held = np.isfinite(bounded.radius)
    error = np.abs(np.asarray(got, np.float64)[held] - bounded.value[held])
    with np.errstate(all="ignore"):
        ratios = np.where(error == 0, 0.0, error / bounded.radius[held])
    return float(np.where(np.isnan(ratios), np.inf, ratios).max(initial=0.0))


def bound(case: Case, precision: Precision) -> Bounded:
    """Bound the result of a call for a backend that declares nothing."""
    with np.errstate(all="ignore"):
        return OPERATIONS[case.operation].bound(case, UNDECLARED[case.operation], precision)


def built(recipe: Recipe, dtype: str) -> Case:
    """Build a recipe's inputs, rounded to a dtype as the suite rounds them."""
    return recipe.build(lambda array: rounded(fitted(array, storage_of(dtype)), dtype))


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """Round to a dtype, and return float64."""
    return NumpyArrays().rounded(np.asarray(array), dtype)


def kept(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a rounding to that many significant bits."""

    def cut(a: np.ndarray) -> np.ndarray:
        fraction, exponent = np.frexp(a)
        return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits)

    return cut
