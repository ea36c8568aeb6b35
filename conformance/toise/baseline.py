"""Baselines: the failures that are known, each with the recipe that shows it.

A known failure is tried again on its recipe alone, and neither searched nor shrunk: the verdict takes milliseconds and is
the same every time.  Where the entry has a condition, such as "n > m", the requirement is searched outside of it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import toise_spec

from toise import engine
from toise.conditions import Condition
from toise.errors import TargetError, ToiseError, line
from toise.inputs import recipe_from_json
from toise.reading import read_json
from toise.report import BROKEN, Known
from toise.verdict import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from toise.backend import Backend
    from toise.engine import Property, Trial
    from toise.inputs import Recipe
    from toise.report import Counterexample, Report, Row

FORMAT, FORMAT_VERSION = "toise-baseline", 1
AGAIN = "make it again with `toise baseline update`"


@dataclass(frozen=True)
class Entry:
    """One known failure: where, how its recipe fails, who looks after it, why it is put up with, and until when."""

    requirement: str
    operation: str
    dtype: str
    device: str
    recipe: dict[str, Any]
    kind: str
    condition: str = ""
    owner: str = ""
    reason: str = ""
    link: str = ""
    expires: str = ""

    @functools.cached_property
    def input(self) -> Recipe:
        """The recipe, made of its fields."""
        return recipe_from_json(self.recipe)

    @functools.cached_property
    def where(self) -> Condition | None:
        """The condition outside of which the requirement is still searched; None where it is not."""
        return Condition.of(self.condition, type(self.input)) if self.condition else None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The row that it is about."""
        return self.requirement, self.operation, self.dtype, self.device


@dataclass(frozen=True)
class Baseline:
    """The known failures of one or more files, and the day on which they are asked about."""

    entries: tuple[Entry, ...] = ()
    today: str = field(default_factory=lambda: dt.datetime.now(dt.UTC).date().isoformat())

    def of(self, requirement: str, operation: str, dtype: str, device: str) -> list[Entry]:
        """Return what is known of one row."""
        return [entry for entry in self.entries if entry.key == (requirement, operation, dtype, device)]

    def expired(self, entry: Entry) -> bool:
        """Tell whether the last day on which it is put up with is over."""
        return bool(entry.expires) and entry.expires < self.today

    def as_text(self) -> str:
        """Return the file, which fits `baseline.schema.json`: what an entry does not say is left out."""
        entries = [{name: value for name, value in asdict(entry).items() if value} for entry in self.entries]
        body = {"format": FORMAT, "version": FORMAT_VERSION, "specification": toise_spec.VERSION, "entries": entries}
        return json.dumps(body, indent=1, allow_nan=False) + "\n"


def read_baseline(paths: Iterable[Path]) -> Baseline:
    """Return the entries of several files together.  Raises TargetError, with one line, for one that cannot be used."""
    return Baseline(tuple(entry for path in paths for entry in _entries(path)))


def _entries(path: Path) -> list[Entry]:
    body = read_json(path, FORMAT, FORMAT_VERSION, AGAIN)
    found = [Entry(**fields) for fields in body["entries"]]
    for entry in found:
        require_usable(path, entry.requirement, entry.operation)
        try:
            require_buildable(entry.input, entry.operation)
            if entry.expires:
                dt.date.fromisoformat(entry.expires)
            if entry.where and not entry.where.holds(entry.input):
                raise ValueError(f"its own recipe does not meet {entry.condition!r}")
        except ValueError as error:
            raise TargetError(f"{path}: {entry.requirement} {entry.operation}: {line(str(error))}; {AGAIN}") from None
    return found


def require_usable(path: Path, requirement: str, operation: str) -> None:
    """Raise TargetError for what the specification does not have."""
    ids = {prop.id: prop for prop in engine.properties()}
    if requirement not in ids:
        raise TargetError(f"{path}: specification {toise_spec.VERSION} has no requirement {requirement!r}")
    if operation not in ids[requirement].operations:
        raise TargetError(
            f"{path}: {requirement} says nothing of {operation!r}; it is about {', '.join(ids[requirement].operations)}"
        )


def require_buildable(recipe: Recipe, operation: str) -> None:
    """Raise ValueError for a recipe of another operation, or one that names a kind of input that there is not."""
    if recipe.operation != operation:
        raise ValueError(f"the recipe is one of {recipe.operation}")
    try:
        recipe.build(lambda array: array)
    except (ValueError, TypeError, KeyError, IndexError, ZeroDivisionError, OverflowError, MemoryError) as error:
        raise ValueError(f"{recipe} cannot be built: {line(str(error))}") from None


@dataclass(frozen=True)
class Replay:
    """What became of an entry when its recipe was tried again."""

    entry: Entry
    trial: Trial

    @property
    def state(self) -> str:
        """As `toise.report.Known` has it."""
        if self.trial.failures:
            (violation,) = self.trial.failures.values()
            return "fails" if violation.kind == self.entry.kind else "differs"
        return "holds" if self.trial.counts["relevant"] else "untried"


def judge(prop: Property, backend: Backend, operation: str, known: Sequence[Entry], baseline: Baseline, **effort: Any) -> Row:
    """Decide a requirement of which failures are known.

    XFAIL  a known failure is as recorded, and there is no other, as far as it was searched
    XPASS  the recipe of an entry holds now, and a search finds no failure
    else as usual: what fails in another way, or elsewhere, or what is known and expired, is a failure

    `effort` is what `engine.judge` takes.
    """
    replays = [_replay(prop, backend, entry) for entry in known]
    told = tuple(_known(replay, baseline) for replay in replays)
    row = _row(prop, backend, operation, replays, effort)
    over = [replay.entry for replay in replays if replay.state == "fails" and baseline.expired(replay.entry)]
    if row.outcome == "XFAIL" and over:
        outcome = engine.broken_outcome(prop, over[0].kind)
        reason = f"{KINDS[over[0].kind]}; the known failure expired on {over[0].expires}"
        row = dataclasses.replace(row, outcome=outcome, reason=reason)
    return dataclasses.replace(row, known=told)


def _replay(prop: Property, backend: Backend, entry: Entry) -> Replay:
    trial = engine.replay(prop, backend, entry.operation, entry.input)
    if trial.broken:
        raise ToiseError(f"{trial.broken}; the recipe is that of a baseline")
    return Replay(entry, trial)


def _row(prop: Property, backend: Backend, operation: str, replays: Sequence[Replay], effort: dict[str, Any]) -> Row:
    """Return the row, as if nothing expired."""
    if others := [replay for replay in replays if replay.state == "differs"]:
        row = engine.row_of(others[0].trial, **effort)
        return dataclasses.replace(row, reason=f"{row.reason}; the known failure was: {KINDS[others[0].entry.kind]}")
    standing = [replay for replay in replays if replay.state == "fails"]
    if everywhere := [replay for replay in standing if not replay.entry.where]:
        row = engine.row_of(everywhere[0].trial, **effort)
        return dataclasses.replace(row, outcome="XFAIL", reason=f"known failure: {row.reason}; not searched further")
    conditions = [replay.entry.where for replay in standing if replay.entry.where]
    row = engine.judge(
        prop, backend, operation, known=lambda recipe: any(condition.holds(recipe) for condition in conditions), **effort
    )
    if row.outcome in (*BROKEN, "WARN"):
        return row
    if any(replay.state == "holds" for replay in replays) and row.outcome == "PASS":
        return dataclasses.replace(row, outcome="XPASS", reason="a known failure is gone: take it out of the baseline")
    if not standing:
        return row
    shown = engine.row_of(standing[0].trial, **effort)
    elsewhere = f"elsewhere {row.outcome}" + (f": {row.reason}" if row.reason else f" on {row.examples['relevant']} examples")
    where = " or ".join(condition.text for condition in conditions)
    reason = f"known failure where {where}: {shown.reason}; {elsewhere}"
    return dataclasses.replace(row, outcome="XFAIL", reason=reason, strictest="", counterexample=shown.counterexample)


def _known(replay: Replay, baseline: Baseline) -> Known:
    entry = replay.entry
    return Known(
        owner=entry.owner,
        reason=entry.reason,
        link=entry.link,
        expires=entry.expires,
        condition=entry.condition,
        recipe=entry.recipe,
        kind=entry.kind,
        state=replay.state,
        expired=baseline.expired(entry),
    )


@dataclass(frozen=True)
class Update:
    """What a report makes of a baseline."""

    baseline: Baseline
    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    left: tuple[str, ...]
    """What fails and cannot be known, each with the reason."""


def updated(baseline: Baseline, report: Report, told: dict[str, str]) -> Update:
    """Add what fails in a report, take out what holds now, and keep the rest; `told` is said of what is new.

    An entry whose failure has another recipe now keeps what people wrote in it.  What was not judged is kept as it is.
    """
    added: list[Entry] = []
    removed: list[Entry] = []
    left: list[str] = []
    for row in report.results:
        own = [entry for entry in baseline.entries if entry.key == row.key]
        if row.outcome in ("PASS", "XPASS"):
            removed += _held(own, row)
        elif row in report.failing:
            shown = row.counterexample
            if shown is None or shown.kind == "unrepeatable":
                left.append(
                    f"{row.outcome} {row.requirement} {row.operation} {row.dtype}: {row.reason}: no recipe that always fails"
                )
                continue
            before = [entry for entry in own if entry.recipe == shown.recipe] or [entry for entry in own if not entry.condition]
            removed += before + [entry for entry in _held(own, row) if entry not in before]
            added.append(_entry(row, shown, before, told))
    order = {prop.id: at for at, prop in enumerate(engine.properties())}
    kept = [entry for entry in baseline.entries if entry not in removed]
    entries = sorted((*kept, *added), key=lambda entry: (order[entry.requirement], *entry.key))
    return Update(
        dataclasses.replace(baseline, entries=tuple(entries)),
        tuple(entry for entry in added if entry not in baseline.entries),
        tuple(entry for entry in removed if entry.key not in {new.key for new in added}),
        tuple(left),
    )


def _held(own: Sequence[Entry], row: Row) -> list[Entry]:
    """Return the entries of a row that hold now: as their recipes said, or all if it passed without them being asked."""
    if not row.known:
        return list(own) if row.outcome == "PASS" else []
    recipes = [known.recipe for known in row.known if known.state == "holds"]
    return [entry for entry in own if entry.recipe in recipes]


def _entry(row: Row, shown: Counterexample, before: Sequence[Entry], told: dict[str, str]) -> Entry:
    """Return the entry of a failing row; what people wrote in the one before it stays."""
    said = {name: value for name, value in told.items() if value}
    new = Entry(*row.key, recipe=shown.recipe, kind=shown.kind, **said)
    if not before:
        return new
    return dataclasses.replace(before[0], recipe=shown.recipe, kind=shown.kind, **said)
