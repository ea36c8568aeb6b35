"""Correct organisations of a residual connection.  Read with spec/toise_spec/residual.md.

An organisation takes a machine, x, and what the sublayer gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from soundness.machine import Machine, Organisation

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.inputs import Case

Array = np.ndarray


def in_order(m: Machine, x: Array, output: Array) -> Array:
    """Add the sublayer's output to x."""
    return x + output


def in_place(m: Machine, x: Array, output: Array) -> Array:
    """Add x to the sublayer's output, where that is."""
    total = output.copy()
    total += x
    return total


def by_fma(m: Machine, x: Array, output: Array) -> Array:
    """Multiply by one, and add with one rounding."""
    return m.fma(x, np.ones_like(x), output)


def through_wide(m: Machine, x: Array, output: Array) -> Array:
    """Add in a wider format, and round to that of a step."""
    return m.rounded(x.astype(m.wide) + output.astype(m.wide))


def by_difference(m: Machine, x: Array, output: Array) -> Array:
    """Subtract what is negated."""
    return x - -output


def in_numpy(function: Callable[..., Array]) -> Callable[[Machine, Case], Array]:
    """Return an organisation that hands the inputs of a call to a function in NumPy."""
    return lambda m, case: m.output(function(m, m.loaded(case.x), m.loaded(case.sublayer)))


def torch_add(m: Machine, case: Case) -> Array:
    """Add with torch's operator, in the dtype."""
    import torch

    x, output = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in (case.x, case.sublayer))
    return (x + output).double().numpy()


ORGANISATIONS: dict[str, Organisation] = {
    "in order": Organisation(in_numpy(in_order)),
    "in place": Organisation(in_numpy(in_place)),
    "fused": Organisation(in_numpy(by_fma)),
    "through a wider format": Organisation(in_numpy(through_wide)),
    "by a difference": Organisation(in_numpy(by_difference)),
    "torch": Organisation(torch_add),
}
TRAITS: dict[str, Organisation] = {}
