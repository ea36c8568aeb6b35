"""The catalogue of faults: wrong implementations, each named and with its origin, that the suite must tell from right ones.

A fault is a few readable lines beside the reference, with one thing wrong.  The kill matrix (`toise.faults.matrix`)
judges each like any backend; `toise.diagnosis` compares what a failing backend returns with what they return.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.errors import ToiseError
from toise.inputs import Case
from toise.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Array = np.ndarray
CONCEPTS = (
    "attention",
    "multi_head_attention",
    "feed_forward",
    "layer_norm",
    "residual",
    "causal_mask",
    "masked_language_model",
    "autoregressive",
    "general",
)
CLASSIC = "classic or constructed"
# Arrays of another kind than the backend's dtype.
WHOLE = ("tokens", "labels")
TRUTH = ("selected", "mask")
# Of so many faults one is late: it was written after the inputs of the suite had been chosen by means of the others.
ONE_LATE_OF = 5


@dataclass(frozen=True)
class Call:
    """The data and the options of a call, not yet those of an operation."""

    data: tuple[Any, ...]
    options: Mapping[str, Any]


def call(*data: Any, **options: Any) -> Call:
    """Write a call down as one would make it; lists become arrays."""
    return Call(data, options)


def normal(*shape: int, seed: int = 0) -> Array:
    """Return normal numbers, always the same."""
    return np.random.default_rng(seed).standard_normal(shape)


@dataclass(frozen=True)
class Fault:
    """A wrong implementation of one operation.

    slug       concept.name
    sentence   what is wrong with it
    origin     the public report, as owner/repository#number or a link, or "classic or constructed"
    fails      the requirements that it breaks, each if it is judged alone; in a run of all, one of them at least
    on         calls that, made one after the other, separate it from every right implementation
    hint       what a learner should look at
    stateful   `function` makes the implementation anew, so that no run sees what another left behind
    """

    slug: str
    operation: str
    sentence: str
    origin: str
    fails: tuple[str, ...]
    on: tuple[Case, ...]
    hint: str
    stateful: bool
    function: Callable[..., Any]

    @property
    def concept(self) -> str:
        """The slug of the page that the fault is about."""
        return self.slug.partition(".")[0]

    @property
    def late(self) -> bool:
        """Whether it belongs to the fifth that was written after the inputs were chosen."""
        return is_late(self.slug)

    @property
    def source(self) -> str:
        """Where it is from, in words."""
        return self.origin if self.origin == CLASSIC else f"reported in {self.origin}"

    def implementation(self) -> Callable[..., Any]:
        """Return the wrong implementation, without a past."""
        made: Callable[..., Any] = self.function() if self.stateful else self.function
        return made

    def target(self) -> dict[str, Any]:
        """Return it as a backend that provides the one operation."""
        return {"__toise__": {"arrays": "numpy"}, self.operation: self.implementation()}


def is_late(slug: str) -> bool:
    """Tell whether a fault of that name belongs to the late fifth: by its name alone, which nobody chose for that."""
    return hashlib.sha256(slug.encode()).digest()[0] % ONE_LATE_OF == 0


def fault(
    operation: str,
    *,
    fails: tuple[str, ...],
    on: Call | tuple[Call, ...],
    hint: str,
    origin: str = CLASSIC,
    stateful: bool = False,
) -> Callable[[Callable[..., Any]], Fault]:
    """Make a fault of a function; its docstring is the sentence, its name and its module's are the slug.

    With `stateful` the function takes no arguments and returns the implementation.
    """

    def mark(function: Callable[..., Any]) -> Fault:
        calls = (on,) if isinstance(on, Call) else on
        return Fault(
            slug=f"{function.__module__.rpartition('.')[2]}.{function.__name__}",
            operation=operation,
            sentence=inspect.cleandoc(function.__doc__ or ""),
            origin=origin,
            fails=fails,
            on=tuple(_case(operation, each) for each in calls),
            hint=hint,
            stateful=stateful,
            function=function,
        )

    return mark


def _case(operation: str, written: Call) -> Case:
    """Return the call of an operation, with arrays where lists were written."""
    names = OPERATIONS[operation].data
    if len(names) != len(written.data):
        raise ToiseError(f"{operation} takes {', '.join(names)}; got {len(written.data)} of them")
    given = {**dict(zip(names, written.data, strict=True)), **written.options}
    # What was written once is one array: so a call is written in which q is k.
    made = {id(given[name]): _array(name, given[name]) for name in names if not isinstance(given[name], int)}
    arrays = {name: made[id(given[name])] for name in names if id(given[name]) in made}
    options = {name: _array(name, value) if name == "mask" else value for name, value in given.items() if name not in arrays}
    return Case(operation, arrays, options)


def _array(name: str, numbers: Any) -> Array:
    """Return an array of the kind that the operation takes; its numbers are those that float32 has."""
    if name in WHOLE or name in TRUTH:
        return np.asarray(numbers, "int64" if name in WHOLE else bool)
    return np.asarray(numbers, "f4").astype(float)


@functools.cache
def catalogue() -> dict[str, Fault]:
    """Return every fault by its slug, in the order of the concepts and of the text."""
    found: dict[str, Fault] = {}
    for concept in CONCEPTS:
        for thing in vars(importlib.import_module(f"toise.faults.{concept}")).values():
            if isinstance(thing, Fault) and thing.concept == concept:
                found[thing.slug] = thing
    return found
