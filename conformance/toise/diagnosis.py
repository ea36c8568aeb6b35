"""What a failing backend behaves like: a fault of the catalogue, if its results are that fault's and no other's.

A fault takes part if one call with finite numbers shows it in what it returns.  On the calls of all of these, the backend's
result must be the fault's wherever the two differ, to a hundredth of that, and the required one wherever they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toise.backend import Backend
from toise.declarations import CHOICES
from toise.faults import catalogue
from toise.operations import OPERATIONS
from toise.targets import load
from toise.verdict import DEADLY, Irrelevant, NotProvided, Violation

if TYPE_CHECKING:
    from toise.faults import Fault
    from toise.inputs import Case
    from toise.verdict import Answer

Array = np.ndarray
# A fault explains a result that is a hundred times nearer to the fault's than the fault's is to the required one.
NEAR = 0.01


def likeness(backend: Backend, operation: str) -> str:
    """Return the slug of the one fault that the backend behaves like; empty if there is none, or more than one."""
    own = [fault for fault in catalogue().values() if fault.operation == operation]
    faults = [fault for fault in own if _by_value(fault, backend)]
    answers: dict[str, Answer] = {}
    refused: list[Case] = []
    for fault in faults:
        case = _rounded(fault.on[0], backend)
        try:
            answers[fault.slug] = backend.run(case)
        except (NotProvided, Irrelevant):
            continue
        except Violation as violation:
            if violation.kind in DEADLY:
                return ""  # a catalogue of processes that die is not kept
            refused.append(case)
    alike = [fault for fault in faults if fault.slug in answers and _separated(fault, backend, answers[fault.slug])]
    alike = [fault for fault in alike if all(_explains(fault, backend, answer) for answer in answers.values())]
    alike = [fault for fault in alike if all(_result(fault, backend.dtype, case) is None for case in refused)]
    return alike[0].slug if len(alike) == 1 else ""


def _by_value(fault: Fault, backend: Backend) -> bool:
    """Tell whether one call with finite numbers, and not a malformed one, shows the fault in what it returns."""
    if fault.stateful or len(fault.on) > 1 or fault.operation == "mlm_corrupt":
        return False
    (case,) = fault.on
    try:
        OPERATIONS[fault.operation].value(case, backend.declared(fault.operation))
    except (TypeError, ValueError):
        return False
    return all(np.isfinite(array).all() for array in case.arrays.values())


def _rounded(case: Case, backend: Backend) -> Case:
    """Return a call with its numbers rounded to the backend's dtype, each array one of its own."""
    return case.replace(
        **{name: backend.rounded(array) if array.dtype == float else array for name, array in case.arrays.items()}
    )


def _separated(fault: Fault, backend: Backend, answer: Answer) -> bool:
    """Tell whether the backend goes wrong on a call as the fault does."""
    value, radius = _required(backend, answer.case)
    right = _same(answer.got, value) | (np.abs(answer.got - value) <= radius)
    return not right.all() and _explains(fault, backend, answer)


def _explains(fault: Fault, backend: Backend, answer: Answer) -> bool:
    """Tell whether a result is the fault's, as nearly as can be told from where the fault is right."""
    value, radius = _required(backend, answer.case)
    wrong = _result(fault, backend.dtype, answer.case)
    if wrong is None:
        return False
    apart = np.abs(wrong - value)
    near = np.abs(answer.got - wrong) <= radius + NEAR * np.where(np.isfinite(apart), apart, 0)
    return bool((near | _same(answer.got, wrong) | np.isinf(radius)).all())


def _required(backend: Backend, case: Case) -> tuple[Array, Array]:
    """Return the value and the radius of a call; what no formula defines has one value where no other choice is declared."""
    required, declared = backend.required(case), backend.declared(case.operation)
    if all(declared.choices[key] == values[0] for key, values in CHOICES[case.operation].items()):
        return required.value, np.where(OPERATIONS[case.operation].excused(case, declared), 0, required.radius)
    return required.value, required.radius


def _result(fault: Fault, dtype: str, case: Case) -> Array | None:
    """Return what the fault gives, in float64 for a backend in float64 and else in float32; None where it gives nothing."""
    wrong = Backend(load(fault.target()), "float64" if dtype == "float64" else OPERATIONS[fault.operation].dtype or "float32")
    try:
        return wrong.run(case).got
    except (NotProvided, Violation):
        return None


def _same(a: Array, b: Array) -> Array:
    return (a == b) | (np.isnan(a) & np.isnan(b))
