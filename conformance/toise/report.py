"""The report: every row that was judged, what the backend declared, and where it ran.

`report.schema.json` describes the JSON form, version 1; `toise.reading` reads it back.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import toise_spec

from toise.inputs.recipes import RECIPE_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from toise.backend import Backend
    from toise.inputs import Recipe
    from toise.targets import Target
    from toise.verdict import Violation

FORMAT = "toise-report"
FORMAT_VERSION = 1

# From the worst to the best: a requirement's outcome is the worst of its rows.
OUTCOMES = (
    "PROTOCOL ERROR",
    "CRASH",
    "TIMEOUT",
    "FAIL",
    "XPASS",
    "NOT RUN",
    "WARN",
    "XFAIL",
    "PASS",
    "NOT PROVIDED",
    "NOT APPLICABLE",
)
# A requirement is broken.
BROKEN = ("PROTOCOL ERROR", "CRASH", "TIMEOUT", "FAIL")
# The backend has not what would be judged: that says nothing about what it has.
ABSENT = ("NOT PROVIDED", "NOT APPLICABLE")
EXCLUDED = "excluded by the selection"


@dataclass(frozen=True)
class Counterexample:
    """The smallest input found on which a requirement is broken, what came back and what was required."""

    kind: str
    message: str
    recipe: dict[str, Any]
    text: str
    arrays: dict[str, Any]
    options: dict[str, Any]
    call: dict[str, Any]
    other_call: dict[str, Any] | None
    got: Any
    required: Any
    radius: Any
    at: list[int] | None
    error_in_radii: float | None
    hint: str
    within: dict[str, bool]
    again: str
    like: str = ""

    @classmethod
    def of(
        cls, recipe: Recipe, backend: Backend, violation: Violation, *, hint: str, within: dict[str, bool], again: str
    ) -> Counterexample:
        """Describe a violation; `call` and `other_call` hold the arguments that a law changed."""
        case = backend.build(recipe)
        before = {**case.arrays, **case.options}
        calls = []
        for call in violation.calls:
            parts = {**call.arrays, **call.options}
            changed = {name: part for name, part in parts.items() if name not in before or not _equal(part, before[name])}
            calls.append({name: _plain(part) for name, part in changed.items()})
        return cls(
            kind=violation.kind,
            message=violation.message,
            recipe=recipe.as_json(),
            text=str(recipe),
            arrays={name: _plain(array) for name, array in case.arrays.items()},
            options={name: _plain(option) for name, option in case.options.items()},
            call=calls[0] if calls else {},
            other_call=calls[1] if len(calls) > 1 else None,
            got=_plain(violation.got),
            required=_plain(violation.required),
            radius=_plain(violation.radius),
            at=None if violation.at is None else list(violation.at),
            error_in_radii=_plain(violation.ratio),
            hint=hint,
            within=within,
            again=again,
        )


@dataclass(frozen=True)
class Known:
    """What a baseline says of a row, and what became of its recipe when it was tried again.

    state   "fails" as recorded, "differs": fails in another way, "holds" now, or "untried": this backend cannot be asked
    expired whether the day until which it is put up with is over
    """

    owner: str
    reason: str
    link: str
    expires: str
    condition: str
    recipe: dict[str, Any]
    kind: str
    state: str
    expired: bool


@dataclass(frozen=True)
class Row:
    """The verdict on one requirement, for one operation at one dtype on one device."""

    requirement: str
    level: str
    sentence: str
    test: str
    operation: str
    dtype: str
    device: str
    precision: str
    outcome: str
    strictest: str = ""
    reason: str = ""
    domain: str = ""
    examples: dict[str, int] = field(default_factory=dict)
    elements: dict[str, int] = field(default_factory=dict)
    accuracy: float = 0.0
    counterexample: Counterexample | None = None
    known: tuple[Known, ...] = ()
    seconds: float | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells the rows of a report apart."""
        return self.requirement, self.operation, self.dtype, self.device

    @property
    def excluded(self) -> bool:
        """Whether the user's selection left it out."""
        return self.reason == EXCLUDED

    @property
    def excused(self) -> float:
        """The share of the elements of results that is excused, as a correct computation may overflow there."""
        return self.elements.get("overflow", 0) / max(self.elements.get("defined", 0), 1)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Row:
        """Read back what `asdict` and JSON made of a row."""
        shown = fields["counterexample"]
        return cls(
            **{
                **fields,
                "accuracy": float(fields["accuracy"]),
                "counterexample": Counterexample(**shown) if shown else None,
                "known": tuple(Known(**entry) for entry in fields["known"]),
            }
        )


@dataclass(frozen=True)
class Verdict:
    """The worst outcome among the rows of one requirement.

    outcome   the worst of those that the selection kept
    rows      one for each operation, dtype and device
    """

    outcome: str
    rows: tuple[Row, ...]

    @property
    def counterexample(self) -> Counterexample | None:
        """The counterexample of the worst row."""
        return next((row.counterexample for row in self.rows if row.outcome == self.outcome and row.counterexample), None)


@dataclass(frozen=True)
class Report:
    """All that a run found out about one target; `str` of it says what failed, or that nothing did."""

    target: str
    declarations: dict[str, Any]
    environment: dict[str, str]
    settings: dict[str, Any]
    results: tuple[Row, ...]
    complete: bool = True
    started: str | None = field(default=None, compare=False)

    @property
    def requirements(self) -> dict[str, Verdict]:
        """The verdict on each requirement, by id."""
        found: dict[str, list[Row]] = {}
        for row in self.results:
            found.setdefault(row.requirement, []).append(row)
        return {id: Verdict(_worst(rows), tuple(rows)) for id, rows in found.items()}

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each outcome, those apart that the selection left out."""
        return {outcome: sum(row.outcome == outcome and not row.excluded for row in self.results) for outcome in OUTCOMES}

    @property
    def excluded(self) -> int:
        """How many rows the selection left out: that is no doubt about the target."""
        return sum(row.excluded for row in self.results)

    @property
    def shard(self) -> str:
        """Which part of the rows it holds, such as "2/5"; empty for all of them."""
        return str(self.settings["shard"])

    def __str__(self) -> str:
        """Say what failed, or that nothing did, in a few lines."""
        told = (*BROKEN, "XPASS", "NOT RUN", "WARN", "XFAIL")
        rows = [row for row in self.results if row.outcome in told and not row.excluded]
        lines = [f"{row.outcome} {row.requirement} · {row.operation} · {row.dtype} · {row.reason}" for row in rows]
        return "\n".join([f"{self.target}: {'passed' if self.passed else 'not passed'}", *lines])

    @property
    def failing(self) -> list[Row]:
        """The rows that keep it from passing."""
        strict, xpass = self.settings["strict"], self.settings["allow_xpass"]
        failing = (*BROKEN, "NOT RUN", *(("WARN",) if strict else ()), *(() if xpass else ("XPASS",)))
        return [row for row in self.results if row.outcome in failing and not row.excluded]

    @property
    def passed(self) -> bool:
        """At least one MUST passed, none failed or was left without examples, and nothing was cut short."""
        proofs = ("PASS", "XPASS") if self.settings["allow_xpass"] else ("PASS",)
        proven = any(row.outcome in proofs and row.level == "MUST" for row in self.results)
        return self.complete and proven and not self.failing

    @property
    def exit_code(self) -> int:
        """0 passed, 1 judged otherwise, 2 nothing was judged, 130 interrupted; for a shard 0 if nothing in it failed."""
        if not self.complete:
            return 130
        if self.shard:
            return 1 if self.failing else 0
        judged = any(row.outcome not in ABSENT and not row.excluded for row in self.results)
        return 0 if self.passed else 1 if judged else 2

    def without_times(self) -> Report:
        """Return the same report without dates and durations: equal runs give equal ones."""
        rows = tuple(dataclasses.replace(row, seconds=None) for row in self.results)
        return dataclasses.replace(self, results=rows, started=None)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, numbers that JSON lacks as the strings "nan", "inf" and "-inf"."""
        return {**self.derived, **_plain(asdict(self))}

    @property
    def derived(self) -> dict[str, Any]:
        """What stands in the JSON form for those who read it there, and follows from the rest."""
        return {"passed": self.passed, "exit_code": self.exit_code, "counts": self.counts, "excluded": self.excluded}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Report:
        """Read back what `as_json` made of a report."""
        kept = {each.name: fields[each.name] for each in dataclasses.fields(cls)}
        return cls(**{**kept, "results": tuple(Row.from_json(row) for row in fields["results"])})


@dataclass(frozen=True)
class Document:
    """What one command found out: a report for each target, and the reasons why others cannot be had.

    Every other form of a verdict, on a terminal, in JUnit XML or in HTML, is made from this one.
    """

    reports: tuple[Report, ...]
    unavailable: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """Return the exit status of all targets: one that failed weighs more than one that provides nothing."""
        return min((report.exit_code for report in self.reports), key=(130, 1, 2, 0).index)

    def as_text(self) -> str:
        """Return the JSON form, which fits `report.schema.json`."""
        body = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "unavailable": dict(self.unavailable),
            "reports": [report.as_json() for report in self.reports],
        }
        return json.dumps(body, indent=1, allow_nan=False) + "\n"


def _worst(rows: list[Row]) -> str:
    """Return the worst outcome of the rows that the selection kept, if it kept any."""
    kept = [row for row in rows if not row.excluded] or rows
    return min((row.outcome for row in kept), key=OUTCOMES.index)


def environment(target: Target) -> dict[str, str]:
    """Return the versions and the machine that a verdict rests on."""
    return {
        **target.packages,  # what a program says of itself comes first: of the suite it says nothing
        **target.arrays.packages,
        **{name: _version(name) for name in ("toise", "numpy", "hypothesis")},
        "specification": toise_spec.VERSION,
        "recipes": str(RECIPE_VERSION),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "byteorder": sys.byteorder,
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _equal(a: Any, b: Any) -> bool:
    return bool(
        np.shape(a) == np.shape(b) and np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype != bool)
    )


def _plain(thing: Any) -> Any:
    """Return plain JSON values: arrays as nested lists, tuples as lists, NaN and infinities as strings."""
    if isinstance(thing, (np.ndarray, np.generic)):
        return _plain(thing.tolist())
    if isinstance(thing, dict):
        return {str(name): _plain(part) for name, part in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [_plain(part) for part in thing]
    if isinstance(thing, float) and not np.isfinite(thing):
        return "nan" if np.isnan(thing) else "inf" if thing > 0 else "-inf"
    return thing
