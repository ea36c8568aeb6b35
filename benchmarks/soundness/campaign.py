"""Checks: every organisation on every input, in every class that it belongs to."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from toise.operations import OPERATIONS

from soundness import (
    attention,
    autoregressive,
    feed_forward,
    layer_norm,
    masked_language_model,
    multi_head_attention,
    residual,
    with_jax,
)
from soundness.cases import cases
from soundness.machine import UNDECLARED, Machine, Organisation, flushing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from toise.bounds import Bounded
    from toise.inputs import Case

Array = np.ndarray
CONCEPTS = {
    "attention": attention,
    "multi_head_attention": multi_head_attention,
    "feed_forward": feed_forward,
    "layer_norm": layer_norm,
    "residual": residual,
    "mlm_loss": masked_language_model,
    "sequence_log_prob": autoregressive,
}
ORGANISATIONS: dict[str, dict[str, Organisation]] = {
    name: {**concept.ORGANISATIONS, **with_jax.ORGANISATIONS.get(name, {})} for name, concept in CONCEPTS.items()
}
TRAITS: dict[str, dict[str, Organisation]] = {name: concept.TRAITS for name, concept in CONCEPTS.items()}
LARGE = 1 << 14  # numbers in the inputs, from which on sums that Python adds up are left out


@dataclass
class Tally:
    """What the checks of one operation in one class found."""

    checks: int = 0
    alarms: int = 0
    worst: float = 0.0
    by: str = ""
    on: str = ""
    elements: int = 0
    excused: int = 0
    implementations: set[str] = field(default_factory=set)
    every: dict[str, tuple[float, str]] = field(default_factory=dict)


def bounded(case: Case, machine: Machine, traits: Iterable[str] = ()) -> Bounded:
    """Bound the result of a call for a backend that declares a class, and traits, and nothing else."""
    precision = dataclasses.replace(machine.precision, traits=frozenset(traits))
    declared = UNDECLARED[case.operation]
    with np.errstate(all="ignore"):
        required = OPERATIONS[case.operation].bound(case, declared, precision)
        free = OPERATIONS[case.operation].excused(case, declared)
    return required.new(required.value, np.where(free, np.inf, required.radius))


def ratios(got: Array, required: Bounded) -> Array:
    """Return |got - value| / radius for each element: 0 where it is excused, infinity for what is not finite and should be."""
    if got.shape != required.value.shape:
        raise ValueError(f"a result of shape {got.shape} is compared with one of {required.value.shape}")
    with np.errstate(all="ignore"):
        error = np.abs(np.asarray(got, np.float64) - required.value)
        found = np.where(error == 0, 0.0, error / required.radius)
    return np.where(np.isinf(required.radius), 0.0, np.where(np.isnan(found), np.inf, found))


def result(organisation: Organisation, machine: Machine, case: Case, *, flushed: bool = False) -> Array:
    """Run an organisation; overflow is its own affair, and the radius excuses it or does not."""
    with np.errstate(all="ignore"), flushing() if flushed else contextlib.nullcontext():
        return organisation.run(machine, case)


def check(
    case: Case,
    words: str,
    machine: Machine,
    organisations: Mapping[str, Organisation],
    tally: Tally,
    *,
    flushed: bool = False,
) -> None:
    """Hold every organisation to the radius on one input; `flushed`: on a processor that flushes subnormal numbers to zero."""
    large = sum(array.size for array in case.arrays.values()) > LARGE
    required: dict[tuple[str, ...], Bounded] = {}
    for name, organisation in organisations.items():
        if not organisation.on(machine) or (large and organisation.heavy) or not organisation.takes(case):
            continue
        if organisation.traits not in required:
            required[organisation.traits] = bounded(case, machine, organisation.traits)
        bound = required[organisation.traits]
        worst = float(ratios(result(organisation, machine, case, flushed=flushed), bound).max(initial=0.0))
        tally.checks += 1
        tally.alarms += worst > 1
        tally.implementations.add(name)
        tally.elements += bound.radius.size
        tally.excused += int(np.isinf(bound.radius).sum())
        if worst > tally.every.get(name, (-1.0, ""))[0]:
            tally.every[name] = (worst, words)
        if worst > tally.worst:
            tally.worst, tally.by, tally.on = worst, name, words


def campaign(
    operation: str, machine: Machine, checks: int, seed: int, organisations: Mapping[str, Organisation] | None = None
) -> Tally:
    """Check one operation in one class until there are enough checks; every fifth input flushed."""
    tally, table = Tally(), organisations or ORGANISATIONS[operation]
    quick = {name: organisation for name, organisation in table.items() if not organisation.slow}
    for at, (words, case) in enumerate(cases(operation, machine.dtype, seed)):
        flushed = at % 5 == 4
        check(case, words + ", flushed" * flushed, machine, quick if at % 8 else table, tally, flushed=flushed)
        if tally.checks >= checks:
            break
    return tally
