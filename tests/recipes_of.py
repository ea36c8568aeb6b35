"""Recipes for the tests: those that Hypothesis draws, and what tells their arrays apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings

if TYPE_CHECKING:
    from hypothesis import strategies as st
    from toise.inputs import Recipe


def identity(array: np.ndarray) -> np.ndarray:
    """Round to no dtype at all."""
    return array


def digest(recipe: Recipe) -> str:
    """Hash the arrays and the options that a recipe gives, and what the laws draw from its seed."""
    case = recipe.build(identity)
    found = hashlib.blake2b(digest_size=8)
    further = {"normal": case.normal(1, (3,)), "permutation": case.permutation(9).astype("<i8")}
    for name, part in {**case.arrays, **dict(sorted(case.options.items())), **further}.items():
        array = np.asarray(part)
        array = array.astype("<f8") if array.dtype == np.float64 else array
        found.update(f"{name} {array.shape} {array.dtype.str}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def drawn(strategy: st.SearchStrategy[Recipe], count: int = 60, seed: int = 0) -> list[Recipe]:
    """Return what Hypothesis draws, as the engine lets it draw."""
    found: list[Recipe] = []

    @hypothesis.seed(seed)
    @settings(max_examples=count, database=None, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(recipe: Recipe) -> None:
        found.append(recipe)

    collect()
    return found
