"""Right implementations in the idioms of the catalogue of faults, so that beside a wrong line the right one can be shown.

Each module is the counterpart of the one of its name in `toise.faults`, and uses the same helpers.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Twin:
    """A right implementation of one operation, written as faults are.

    stateful   `function` makes the implementation, as it does for faults that keep something from call to call
    """

    operation: str
    stateful: bool
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """Concept and name, as faults have them."""
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__name__}"

    def target(self) -> dict[str, Any]:
        """Return it as a backend that provides the one operation."""
        return {"__toise__": {"arrays": "numpy"}, self.operation: self.function() if self.stateful else self.function}


def twin(operation: str, *, stateful: bool = False) -> Callable[[Callable[..., Any]], Twin]:
    """Make a twin of a function; its docstring says how it is written."""

    def mark(function: Callable[..., Any]) -> Twin:
        return Twin(operation, stateful, function)

    return mark


@functools.cache
def twins() -> dict[str, Twin]:
    """Return every twin by its name, in the order of the concepts and of the text."""
    from toise.faults import CONCEPTS

    modules = [importlib.import_module(f"twins.{concept}") for concept in CONCEPTS]
    return {each.name: each for module in modules for each in vars(module).values() if isinstance(each, Twin)}
