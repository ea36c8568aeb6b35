"""Several reports in one matrix: what became of each concept, for each backend, dtype and device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import toise_spec

from toise.arrays import DTYPES
from toise.operations import OPERATIONS
from toise.report import ABSENT, OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from toise.report import Row

CONCEPTS = tuple(dict.fromkeys(operation.concept for operation in OPERATIONS.values()))


@dataclass(frozen=True)
class Cell:
    """What became of the requirements of one concept.

    outcome   the worst outcome
    count     how many rows have it
    of        how many rows there are, NOT APPLICABLE apart
    in_part   whether some of those that pass were tried in part
    """

    outcome: str
    count: int
    of: int
    in_part: bool = False

    def __str__(self) -> str:
        star = "*" if self.in_part and self.outcome == "PASS" else ""
        return "-" if self.outcome in ABSENT else f"{self.outcome}{star} {self.count}/{self.of}"


@dataclass(frozen=True)
class Line:
    """The concepts for one dtype on one device."""

    dtype: str
    device: str
    cells: Mapping[str, Cell]


def lines(rows: Iterable[Row]) -> list[Line]:
    """Return a line for each dtype and device of a report; what takes no floating-point numbers counts on each of them."""
    kept = [row for row in rows if not row.excluded]
    places = list(dict.fromkeys((row.dtype, row.device) for row in kept))
    floating = [place for place in places if place[0] in DTYPES] or places[:1]
    return [
        Line(*place, _cells([row for row in kept if (row.dtype, row.device) == place or row.dtype not in DTYPES]))
        for place in floating
    ]


def concepts_of(found: Iterable[Line]) -> list[str]:
    """Return the concepts of these lines in their order; what another version calls otherwise comes last."""
    every = dict.fromkeys(concept for line in found for concept in line.cells)
    return sorted(every, key=lambda name: (*CONCEPTS, name).index(name))


def concept_of(requirement: str, operation: str) -> str:
    """Return the concept that a requirement is about; a general one is about that of the operation.

    A report of another version may speak of what this one does not know: that stands under its operation's name.
    """
    known = toise_spec.requirements()
    slug = known[requirement].slug if requirement in known else ""
    own = OPERATIONS[operation].concept if operation in OPERATIONS else operation
    return slug if slug in CONCEPTS else own


def _cells(rows: list[Row]) -> dict[str, Cell]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(concept_of(row.requirement, row.operation), []).append(row)
    return {concept: _cell(own) for concept, own in found.items()}


def _cell(rows: list[Row]) -> Cell:
    outcomes = [row.outcome for row in rows]
    worst = min(outcomes, key=OUTCOMES.index)
    return Cell(
        worst,
        outcomes.count(worst),
        sum(outcome != "NOT APPLICABLE" for outcome in outcomes),
        any(row.outcome == "PASS" and row.reason for row in rows),
    )
