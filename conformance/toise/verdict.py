"""The verdict on one example: |got - required| <= radius, element by element, and what to say when it is not so."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.errors import ToiseError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from toise.inputs import Case
    from toise.operations import Required

Array = np.ndarray

# What a broken requirement is called in tables and reports.
KINDS = {
    "value": "wrong value",
    "frequency": "wrong frequency",
    "non-finite": "not finite",
    "shape": "wrong shape",
    "dtype": "wrong dtype",
    "type": "not an array",
    "raised": "raised an exception",
    "exit": "tried to exit",
    "memory": "ran out of memory",
    "crash": "ended the process",
    "timeout": "no answer in time",
    "protocol": "broke the protocol",
    "mutated": "changed its input",
    "state": "depends on earlier calls",
    "layout": "depends on the memory layout",
    "shared": "shares memory with an input",
    "bits": "not the same bits every time",
    "accepted": "accepted a malformed call",
    "unrepeatable": "not repeatable",
}


# What ends a backend, or would have, and the outcome that it is: whatever a property test makes of it.
DEADLY = {"exit": "CRASH", "memory": "CRASH", "crash": "CRASH", "timeout": "TIMEOUT", "protocol": "PROTOCOL ERROR"}


class Violation(AssertionError):  # noqa: N818 - what is found, not what went wrong
    """A requirement that does not hold on an example."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        got: Any = None,
        required: Any = None,
        radius: Any = None,
        at: tuple[int, ...] | None = None,
        ratio: float | None = None,
        calls: Sequence[Case] = (),
    ) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message
        self.got, self.required, self.radius, self.at, self.ratio = got, required, radius, at, ratio
        example = EXAMPLE.get()
        # The call that is judged, the last one unless it is said, and the one that it is held to, if a law compares two.
        self.calls = tuple(calls) or tuple(example.calls[-1:] if example else ())


class NotProvided(Exception):  # noqa: N818 - an outcome, not an error
    """The backend does not implement this call: the operation, the option, the dtype, or this part of the domain."""


class NotApplicable(Exception):  # noqa: N818
    """The notion does not exist for this backend."""


class Irrelevant(Exception):  # noqa: N818
    """The example does not meet the condition of the requirement, and says nothing about it."""


@dataclass
class Example:
    """What was called, what was required and what was compared while one example ran.

    checked    numbers that were compared
    excused    numbers that were not, where either they or their radius are not finite
    ratio      the largest error in units of its radius
    ended      the call that ended the backend, or would have
    """

    calls: list[Case] = field(default_factory=list)
    required: dict[bytes, Required] = field(default_factory=dict)
    checked: int = 0
    excused: int = 0
    ratio: float = 0.0
    ended: Violation | None = None

    def elements(self) -> tuple[int, int]:
        """Return how many elements of results a formula defined, and how many of them may have overflowed."""
        found = self.required.values()
        return sum(each.defined for each in found), sum(each.overflows for each in found)


@dataclass(frozen=True)
class Answer:
    """What came back from one call, in float64, beside what is required of it."""

    case: Case
    got: Array
    native: Any
    dtype: str
    _required: Callable[[], Required]

    @property
    def value(self) -> Array:
        """The readable reference's value."""
        return self._required().value

    @property
    def radius(self) -> Array:
        """How far rounding may lead from the value; infinite where the element is excused."""
        return self._required().radius


EXAMPLE: ContextVar[Example | None] = ContextVar("toise_example", default=None)


def note_checked(checked: int, excused: int = 0, ratio: float = 0.0) -> None:
    """Count what an assertion compared: without any comparison an example is not relevant."""
    example = EXAMPLE.get()
    if example is not None:
        example.checked += checked
        example.excused += excused
        example.ratio = max(example.ratio, ratio)


def assert_close(
    got: Array,
    required: Array,
    radius: Array | float,
    *,
    what: str = "result",
    kind: str = "value",
    calls: Sequence[Case] = (),
) -> None:
    """Hold each element of `got` to its radius around `required`; where either is not finite, it is excused.

    NaN or infinity fails where the radius is finite.  `what` names the quantity in the message; `calls` are the
    call that is judged and, if a law compares two, the other one.
    """
    if got.shape != required.shape:
        raise ToiseError(f"a property test compared shapes {got.shape} and {required.shape}")
    radius = np.broadcast_to(radius, required.shape)
    # A radius that could not be computed promises nothing, and a first call that gave NaN is no yardstick.
    held = np.isfinite(radius) & np.isfinite(required)
    with np.errstate(all="ignore"):
        error = np.where(got == required, 0.0, np.abs(got - required))
        ratio = np.where(error == 0, 0.0, error / np.where(radius > 0, radius, np.finfo(float).tiny))
    ratio = np.where(held, np.where(np.isnan(ratio), np.inf, ratio), 0.0)
    worst = float(ratio.max(initial=0.0))
    note_checked(int(held.sum()), int((~held).sum()), worst)
    if not (error <= radius)[held].all():
        finite = np.isfinite(got)
        at = np.unravel_index(np.argmax(np.where(held, np.where(finite, ratio, np.inf), -1.0)), ratio.shape)
        place = tuple(int(index) for index in at)
        broken = kind if finite[at] or kind != "value" else "non-finite"
        other = "the other call gave" if len(calls) > 1 else "required"
        raise Violation(
            broken,
            f"{what}{list(place) if place else ''} is {got[at]:.9g}; {other} {required[at]:.9g} within {radius[at]:.3g}",
            got=got,
            required=required,
            radius=radius,
            at=place,
            ratio=float(ratio[at]),
            calls=calls,
        )


def assert_formula(answer: Answer, *, what: str = "result", kind: str = "value") -> None:
    """Hold an answer to the readable reference's value."""
    assert_close(answer.got, answer.value, answer.radius, what=what, kind=kind, calls=(answer.case,))


def assert_same(second: Answer, first: Answer, *, at: Any = ..., what: str = "result", kind: str = "value") -> None:
    """Hold two calls that a law makes equal to each other: each may use its own radius.

    `at` picks, and puts in order, the part of the first answer that the second must repeat.  Where the first
    is not finite, though it should be, the second must not be either: that it should be, other requirements say.
    """
    calls = (second.case, first.case)
    broken = np.isfinite(first.radius[at]) & ~np.isfinite(first.got[at])
    if (broken & np.isfinite(second.got)).any():
        place = tuple(int(index) for index in np.argwhere(broken & np.isfinite(second.got))[0])
        raise Violation(
            "non-finite" if kind == "value" else kind,
            f"{what}{list(place)} is {second.got[place]:.9g}, and not finite in a call that should give the same",
            got=second.got,
            required=first.got[at],
            at=place,
            calls=calls,
        )
    assert_close(second.got, first.got[at], first.radius[at] + second.radius, what=what, kind=kind, calls=calls)


def assert_finite(answer: Answer) -> None:
    """Require a finite number wherever the radius is finite."""
    held = np.isfinite(answer.radius)
    bad = held & ~np.isfinite(answer.got)
    note_checked(int(held.sum()), int((~held).sum()))
    if bad.any():
        at = tuple(int(index) for index in np.argwhere(bad)[0])
        raise Violation(
            "non-finite",
            f"result{list(at)} is {answer.got[at]}; required a finite number, {answer.value[at]:.9g}",
            got=answer.got,
            required=answer.value,
            radius=answer.radius,
            at=at,
            calls=(answer.case,),
        )


def assert_that(holds: bool, kind: str, message: str, *, got: Any = None, required: Any = None) -> None:
    """Require a fact that is not a number within a radius: a shape, a dtype, the same bits."""
    note_checked(1)
    if not holds:
        raise Violation(kind, message, got=got, required=required)
