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
from toise.arrays import DTYPES
from toise.conditions import Condition
from toise.errors import TargetError, line
from toise.files import digest_of
from toise.inputs import recipe_from_json
from toise.operations import OPERATIONS
from toise.reading import read_json
from toise.report import BROKEN, Known
from toise.verdict import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
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

    @property
    def digest(self) -> str:
        """What tells its entries from others in a report; empty where there is none."""
        return digest_of([asdict(entry) for entry in self.entries]) if self.entries else ""

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
            dtypes = (OPERATIONS[entry.operation].dtype,) if OPERATIONS[entry.operation].dtype else DTYPES
            if entry.dtype not in dtypes:
                raise ValueError(f"no dtype {entry.dtype!r}; there are {', '.join(map(str, dtypes))}")
            require_buildable(entry.input, entry.operation)
            if entry.expires:
                dt.date.fromisoformat(entry.expires)
            if entry.where and not entry.where.holds(entry.input):
                raise ValueError(f"its own recipe does not meet {entry.condition!r}")
        except ValueError as error:
            raise TargetError(f"{path}: {entry.requirement} {entry.operation}: {line(str(error))}; {AGAIN}") from None
    return found


def require_usable(where: object, requirement: str, operation: str) -> None:
    """Raise TargetError for what the specification does not have."""
    ids = {prop.id: prop for prop in engine.properties()}
    if requirement not in ids:
        raise TargetError(f"{where}: specification {toise_spec.VERSION} has no requirement {requirement!r}")
    if operation not in ids[requirement].operations:
        raise TargetError(
            f"{where}: {requirement} says nothing of {operation!r}; it is about {', '.join(ids[requirement].operations)}"
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
    """What became of an entry when its recipe was tried again: the trial, and the state, as `toise.report.Known` has it."""

    entry: Entry
    trial: Trial
    state: str


def judge(
    prop: Property,
    backend: Backend,
    operation: str,
    known: Sequence[Entry],
    baseline: Baseline,
    *,
    budget: str,
    seed: int,
    first: Sequence[Recipe] = (),
) -> Row:
    """Decide a requirement of which failures are known.

    XFAIL  a known failure is as recorded, and there is no other, as far as it was searched
    XPASS  the recipe of an entry holds now, no other known failure stands, and a search finds none
    else as usual: what fails in another way, or elsewhere, or what is known and expired, is a failure

    Raises TargetError where the requirement cannot be tried on the recipe of an entry.
    """
    trials = {str(entry.input): _tried(prop, backend, entry) for entry in known}
    replays = [Replay(entry, trials[str(entry.input)], _state(entry, trials[str(entry.input)])) for entry in known]
    told = tuple(_known(replay, baseline) for replay in replays)

    def judged(**limits: Any) -> Row:
        return engine.judge(prop, backend, operation, budget=budget, seed=seed, first=first, **limits)

    def shown(replay: Replay) -> Row:
        return engine.row_of(replay.trial, budget=budget, seed=seed)

    row = _row(replays, judged, shown)
    if row.outcome == "XFAIL" and (over := _over(replays, baseline)):
        outcome = engine.broken_outcome(prop, over[0].kind)
        reason = f"{KINDS[over[0].kind]}; the known failure expired on {over[0].expires}"
        row = dataclasses.replace(row, outcome=outcome, reason=reason)
    return dataclasses.replace(row, known=told)


def _tried(prop: Property, backend: Backend, entry: Entry) -> Trial:
    trial = engine.replay(prop, backend, entry.operation, entry.input)
    if trial.broken:
        raise TargetError(f"the baseline has {entry.input}, on which {prop.id} cannot be tried: {line(str(trial.broken))}")
    return trial


def _state(entry: Entry, trial: Trial) -> str:
    if trial.failures:
        (violation,) = trial.failures.values()
        return "fails" if violation.kind == entry.kind else "differs"
    return "holds" if trial.counts["relevant"] else "untried"


def _over(replays: Sequence[Replay], baseline: Baseline) -> list[Entry]:
    """Return the entries whose failure nobody puts up with any more: another file may have a later day for the same recipe."""
    standing = [replay.entry for replay in replays if replay.state == "fails"]
    kept = [entry.recipe for entry in standing if not baseline.expired(entry)]
    return [entry for entry in standing if entry.recipe not in kept]


def _row(replays: Sequence[Replay], judged: Callable[..., Row], shown: Callable[[Replay], Row]) -> Row:
    """Return the row, as if nothing expired."""
    standing = [replay for replay in replays if replay.state == "fails"]
    known = [replay.entry.recipe for replay in standing]
    if others := [replay for replay in replays if replay.state == "differs" and replay.entry.recipe not in known]:
        row = shown(others[0])
        return dataclasses.replace(row, reason=f"{row.reason}; the known failure was: {KINDS[others[0].entry.kind]}")
    gone = sum(replay.state == "holds" for replay in replays)
    if not standing:
        row = judged()
        if row.outcome != "PASS" or not gone:
            return row
        return dataclasses.replace(row, outcome="XPASS", reason=f"{_counted(gone)} gone: `toise baseline update`")
    one = next((replay for replay in standing if not replay.entry.where), standing[0])
    told = shown(one)
    if told.counterexample and told.counterexample.kind == "unrepeatable":
        return told
    also = f"; {_counted(gone)} gone: `toise baseline update`" if gone else ""
    if not one.entry.where:
        return dataclasses.replace(told, outcome="XFAIL", reason=f"known failure: {told.reason}; not searched further{also}")
    conditions = [replay.entry.where for replay in standing if replay.entry.where]
    row = judged(known=lambda recipe: any(condition.holds(recipe) for condition in conditions))
    if row.outcome in (*BROKEN, "WARN"):
        return row
    elsewhere = f"elsewhere {row.outcome}" + (f": {row.reason}" if row.reason else f" on {row.examples['relevant']} examples")
    where = " or ".join(condition.text for condition in conditions)
    reason = f"known failure where {where}: {told.reason}; {elsewhere}{also}"
    return dataclasses.replace(row, outcome="XFAIL", reason=reason, strictest="", counterexample=told.counterexample)


def _counted(count: int) -> str:
    return "a known failure is" if count == 1 else f"{count} known failures are"


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
    """What a person should know: what fails and cannot be known, and what is not taken out, each with the reason."""


def updated(baseline: Baseline, report: Report, told: dict[str, str]) -> Update:
    """Add what fails in a report, take out what holds now, and keep the rest; `told` is said of what is new.

    An entry whose failure has another recipe now keeps what people wrote in it.  What was not judged is kept as it is.
    """
    added: list[Entry] = []
    removed: list[Entry] = []
    left: list[str] = []
    failing = {row.key for row in report.failing}
    for row in report.results:
        own = [entry for entry in baseline.entries if entry.key == row.key]
        what = f"{row.requirement} {row.operation} {row.dtype}"
        if row.outcome == "PASS" and own and not row.known:
            left.append(f"not taken out: {what}: its recipe was not tried: check with --baseline")
        elif row.outcome in ("PASS", "XPASS", "XFAIL"):
            removed += _held(own, row)
        elif row.key in failing:
            shown = row.counterexample
            if shown is None or (wrong := _unusable(row, shown)):
                left.append(f"not written: {row.outcome} {what}: {row.reason if shown is None else wrong}")
                continue
            before = _same(own, shown.recipe)
            removed += before + [entry for entry in _held(own, row) if entry not in before]
            added.append(_entry(row, shown, before, told))
            if not added[-1].condition and any(entry.condition for entry in own if entry not in removed):
                left.append(f"{what}: the new entry has no condition, so that nothing of it is searched any more")
    order = {prop.id: at for at, prop in enumerate(engine.properties())}
    kept = [entry for entry in baseline.entries if entry not in removed]
    entries = sorted((*kept, *added), key=lambda entry: (order[entry.requirement], *entry.key))
    return Update(
        dataclasses.replace(baseline, entries=tuple(entries)),
        tuple(entry for entry in added if entry not in baseline.entries),
        tuple(entry for entry in removed if entry.key not in {new.key for new in added}),
        tuple(left),
    )


def _same(own: Sequence[Entry], recipe: dict[str, Any]) -> list[Entry]:
    """Return the entries that a failing recipe is about: its own, else those that cover it, else those that cover all."""
    made = recipe_from_json(recipe)
    covering = [entry for entry in own if entry.where and entry.where.holds(made)]
    return [entry for entry in own if entry.recipe == recipe] or covering or [entry for entry in own if not entry.condition]


def _unusable(row: Row, shown: Counterexample) -> str:
    """Say why a failure cannot be known; empty where it can."""
    if shown.kind not in KINDS or shown.kind == "unrepeatable":
        return f"{KINDS.get(shown.kind, shown.kind)}: no input that always fails"
    try:
        require_usable("the report", row.requirement, row.operation)
        require_buildable(recipe_from_json(shown.recipe), row.operation)
    except (TargetError, ValueError) as error:
        return line(str(error))
    return ""


def _held(own: Sequence[Entry], row: Row) -> list[Entry]:
    """Return the entries of a row whose recipes hold now."""
    recipes = [known.recipe for known in row.known if known.state == "holds"]
    return [entry for entry in own if entry.recipe in recipes]


def _entry(row: Row, shown: Counterexample, before: Sequence[Entry], told: dict[str, str]) -> Entry:
    """Return the entry of a failing row; what people wrote in the one before it stays."""
    new = Entry(*row.key, recipe=shown.recipe, kind=shown.kind)
    said = {name: value for name, value in told.items() if value}
    return dataclasses.replace(before[0] if before else new, recipe=new.recipe, kind=new.kind, **said)
