"""Shards: the rows of one run in parts that take equally long, for as many machines, and one report of all parts.

How long a row takes on the reference is recorded in `seconds.json`, so that every machine makes the same parts.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
from importlib import resources
from typing import TYPE_CHECKING

import toise_spec

from toise import engine
from toise.errors import TargetError
from toise.report import Document, Report
from toise.run import Unit, together, units_of
from toise.selection import selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from toise.report import Row


NOT_ONE = "these are not shards of one run"


@functools.cache
def recorded() -> Mapping[str, float]:
    """Return how long the rows of each requirement and operation took, in seconds."""
    found: dict[str, float] = json.loads((resources.files("toise") / "seconds.json").read_text(encoding="utf-8"))
    return found


def seconds_of(unit: Unit) -> float:
    """Return how long a row takes about; one that is not recorded, as long as most."""
    seconds = recorded().get(f"{unit.requirement} {unit.operation}")
    return statistics.median(recorded().values()) if seconds is None else seconds


def part(units: Sequence[Unit], shard: str) -> list[Unit]:
    """Return the rows of one shard, such as "2/5", in their order: the longest first, each to the shard that has least."""
    at, of = map(int, shard.split("/"))
    loads = [0.0] * of
    own = set()
    for unit in sorted(units, key=lambda unit: (-seconds_of(unit), unit.requirement, unit.operation, unit.dtype)):
        least = loads.index(min(loads))
        loads[least] += seconds_of(unit)
        if least == at - 1:
            own.add(unit)
    return [unit for unit in units if unit in own]


def merged(documents: Mapping[str, Document]) -> Document:
    """Return the report of all shards of one run; `documents` has what each file holds.

    It is equal to that of a run without shards, times apart.  Where a shard is INCOMPLETE, it is too.
    Raises TargetError, with one line, for files that are not all the shards of one run.
    """
    for name, document in documents.items():
        if len(document.reports) != 1 or not document.reports[0].shard:
            raise TargetError(f"{name}: is no report of one shard; make one with `toise check TARGET --shard 1/2 --json FILE`")
    reports = {name: document.reports[0] for name, document in documents.items()}
    for name, report in reports.items():
        if report.environment["specification"] != toise_spec.VERSION:
            told = f"specification {report.environment['specification']}"
            raise TargetError(f"{name}: is of {told}, and this Toise has {toise_spec.VERSION}: merge with the Toise that judged")
    first, *others = reports
    for other in others:
        _require_one_run(first, reports[first], other, reports[other])
    _require_all(reports)
    return Document((_one(list(reports.values())),), {})


def _require_one_run(first: str, report: Report, other: str, that: Report) -> None:
    """Raise TargetError where two reports are not of one run: other versions, declarations or settings."""
    here, there = _rests_on(report), _rests_on(that)
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            values = [f"{side[name]!r}" if name in side else "not there" for side in (there, here)]
            told = "differ from those" if name == "declarations" else f"is {values[0]}, and {values[1]}"
            raise TargetError(f"{other}: {name} {told} in {first}: {NOT_ONE}")


def _rests_on(report: Report) -> dict[str, object]:
    settings = {name: value for name, value in report.settings.items() if name != "shard"}
    shards = report.shard.partition("/")[2]
    return {"target": report.target, "shards": shards, **settings, **report.environment, "declarations": report.declarations}


def _require_all(reports: Mapping[str, Report]) -> None:
    """Raise TargetError where a shard is missing or there twice, or has not just the rows that it should have."""
    of = int(next(iter(reports.values())).shard.partition("/")[2])
    places: dict[str, str] = {}
    for name, report in reports.items():
        if report.shard in places:
            raise TargetError(f"{name}: is shard {report.shard}, as {places[report.shard]} is")
        places[report.shard] = name
        _require_own(name, report)
    missing = [f"{at}/{of}" for at in range(1, of + 1) if f"{at}/{of}" not in places]
    if missing or len(places) > of:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise TargetError(f"shard {', '.join(missing[:5])}{more} is missing: a part of a run gives no verdict")


def _require_own(name: str, report: Report) -> None:
    """Raise TargetError where a shard does not hold the rows of its part, and all that the selection left out."""
    settings = report.settings
    kept, excluded = units_of(settings["dtypes"], settings["operations"], selection(settings["select"]))
    own = set(part(kept, report.shard))
    judged = {Unit.of(row) for row in report.results if not row.excluded}
    left_out = {Unit.of(row) for row in report.results if row.excluded}
    fits = (judged == own and left_out == set(excluded)) if report.complete else (judged <= own and left_out <= set(excluded))
    if not fits:
        raise TargetError(
            f"{name}: has not the rows of shard {report.shard} of specification {toise_spec.VERSION}: judged by another Toise, "
            "or changed"
        )


def _one(reports: list[Report]) -> Report:
    """Return one report with the rows of all, in the order of a run without shards."""
    first = reports[0]
    rows = {row.key: row for report in reports for row in report.results}
    results = together(sorted(rows.values(), key=_order(first)), first.declarations, first.settings["require_class"])
    return dataclasses.replace(
        first,
        settings={**first.settings, "shard": ""},
        results=tuple(results),
        complete=all(report.complete for report in reports),
        started=min((report.started for report in reports if report.started), default=None),
    )


def _order(report: Report) -> Callable[[Row], tuple[bool, int, int, int]]:
    """Return what sorts rows as a run has them: what was left out comes last."""
    properties = engine.properties()
    ids = {prop.id: at for at, prop in enumerate(properties)}
    operations = {prop.id: prop.operations for prop in properties}
    dtypes = report.settings["dtypes"]

    def place(row: Row) -> tuple[bool, int, int, int]:
        dtype = dtypes.index(row.dtype) if row.dtype in dtypes else 0
        return row.excluded, ids[row.requirement], operations[row.requirement].index(row.operation), dtype

    return place
