"""Two reports side by side: what broke, what was fixed, whose error grew, and what cannot be compared.

A row is compared with the one of the same requirement, operation, dtype and device.  Where what was asked is not the same,
because of the inputs, the sentence or a declaration, two outcomes say nothing of each other: that is said, and never counted
as well.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toise.errors import line
from toise.report import ABSENT, BROKEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from toise.report import Document, Report, Row

HOLDS = ("PASS", "XPASS")
# From the best to the worst: what is judged in part is worse than what is judged, and better than what is not.
RANKS = {
    **dict.fromkeys(HOLDS, 0),
    **dict.fromkeys(ABSENT, 2),
    "XFAIL": 3,
    "WARN": 3,
    "NOT RUN": 4,
    "FAIL": 5,
    **dict.fromkeys((name for name in BROKEN if name != "FAIL"), 6),
}
# An error that stays below this share of its radius has not grown, however small it was.
NEGLIGIBLE = 0.1
# The settings that decide which inputs are tried.
INPUTS = ("budget", "seed")
# What a line may have of one text, and of many places.
TEXT, PLACES = 300, 160


@dataclass(frozen=True)
class Change:
    """What became of a row.

    target   the target, as the later report names it
    old      the row before; None where there was none
    new      the row now; None where there is none
    why      what the two rows do not say themselves
    excused  whether it is not there since somebody left it out, or the specification does not have it any more
    """

    target: str
    old: Row | None
    new: Row | None
    why: str = ""
    excused: bool = False

    @property
    def row(self) -> Row:
        """The row now, or else the one before."""
        return self.new or self.old  # type: ignore[return-value]  # a change has one of them

    @property
    def lost(self) -> bool:
        """Whether it held before and does not now, though nobody left it out."""
        held = self.old is not None and self.old.outcome in HOLDS
        return held and not self.excused and (self.new is None or self.new.outcome not in HOLDS)

    @property
    def outcomes(self) -> str:
        """The outcome before and the one now."""
        return f"{_outcome(self.old)} → {_outcome(self.new)}"


@dataclass(frozen=True)
class Comparison:
    """What two documents say of each other.

    broke         worse than before
    grew          holds in both, with a larger error
    fixed         did not hold, and does now
    changed       otherwise another outcome, that is no worse
    new           judged now, and not before
    gone          judged before, and not there now
    incomparable  there in both, or left out of one, and not to be compared
    compared      how many rows were compared
    notes         what the comparison rests on
    """

    factor: float
    notes: tuple[str, ...] = ()
    broke: tuple[Change, ...] = ()
    grew: tuple[Change, ...] = ()
    fixed: tuple[Change, ...] = ()
    changed: tuple[Change, ...] = ()
    new: tuple[Change, ...] = ()
    gone: tuple[Change, ...] = ()
    incomparable: tuple[Change, ...] = ()
    compared: int = 0

    @property
    def lost(self) -> tuple[Change, ...]:
        """What held before, and is not there now or cannot be compared with what is."""
        return tuple(change for change in (*self.gone, *self.incomparable) if change.lost)

    @property
    def exit_code(self) -> int:
        """0 something was compared, and nothing broke, grew or was lost; 1 otherwise."""
        return 1 if self.broke or self.grew or self.lost or not self.compared else 0

    def lines(self) -> list[str]:
        """Return what was found as lines for a terminal: what counts first, and the verdict last."""
        found = [*self.notes]
        found += [_told("BROKE", change, change.outcomes, _reason(change)) for change in self.broke]
        found += [_told("LOST", change, change.outcomes, change.why) for change in self.lost]
        found += [_told("GREW", change, _errors(change)) for change in self.grew]
        found += [_told("FIXED", change, change.outcomes) for change in self.fixed]
        found += [_told("CHANGED", change, change.outcomes, _reason(change)) for change in self.changed]
        found += [*_together("NEW", self.new), *_together("GONE", self.gone)]
        found += _together("NOT COMPARED", self.incomparable)
        return [line(text, TEXT * 2) for text in [*found, self._verdict()]]

    def _verdict(self) -> str:
        counts = {
            "broke": len(self.broke),
            "lost": len(self.lost),
            f"grew by more than {self.factor:g}": len(self.grew),
            "fixed": len(self.fixed),
            "changed otherwise": len(self.changed),
            "new": len(self.new),
            "gone": len(self.gone),
            "not compared": len(self.incomparable),
        }
        told = " · ".join(f"{count} {name}" for name, count in counts.items() if count)
        word = "NOTHING COULD BE COMPARED" if not self.compared else "WORSE" if self.exit_code else "NO WORSE"
        return f"{word}: {self.compared} compared" + (f" · {told}" if told else "")


def compare(old: Document, new: Document, factor: float) -> Comparison:
    """Return what became of each row; an error has grown where it is more than `factor` times what it was.

    Reports are matched by the name of their target; where each document has one report, those two are.
    """
    notes: list[str] = []
    found: dict[str, list[Change]] = {}
    for before, after in _pairs(old, new):
        if before and after:
            notes += _notes(before, after)
            for kind, change in _changes(before, after, factor):
                found.setdefault(kind, []).append(change)
        elif before:
            why = new.unavailable.get(before.target)
            said = f"NOT AVAILABLE: {why}" if why else "the target is not judged any more"
            found.setdefault("gone", []).extend(Change(before.target, row, None, said) for row in _kept(before))
        elif after:
            found.setdefault("new", []).extend(Change(after.target, None, row, "a new target") for row in _kept(after))
    compared = sum(bool(change.old and change.new) for kind, rows in found.items() if kind != "incomparable" for change in rows)
    found.pop("same", None)
    return Comparison(factor, notes=tuple(notes), compared=compared, **{kind: tuple(rows) for kind, rows in found.items()})


def _pairs(old: Document, new: Document) -> Iterator[tuple[Report | None, Report | None]]:
    """Yield the reports of each target; one target may have several, which are matched in their order."""
    if len(old.reports) == len(new.reports) == 1:
        yield old.reports[0], new.reports[0]
        return
    before, after = _named(old), _named(new)
    for name in dict.fromkeys((*before, *after)):
        yield before.get(name), after.get(name)


def _named(document: Document) -> dict[tuple[str, int], Report]:
    seen: Counter[str] = Counter()
    found = {}
    for report in document.reports:
        found[report.target, seen[report.target]] = report
        seen[report.target] += 1
    return found


def _kept(report: Report) -> list[Row]:
    return [row for row in report.results if not row.excluded]


def _notes(before: Report, after: Report) -> list[str]:
    """Return what is not the same in the two reports, besides their rows."""
    found = [] if before.target == after.target else [f"{before.target} is compared with {after.target}"]
    names = dict.fromkeys((*before.environment, *after.environment))
    pairs = {name: (before.environment.get(name, "none"), after.environment.get(name, "none")) for name in names}
    differ = [f"{name} {one} → {other}" for name, (one, other) in pairs.items() if one != other]
    found += [f"{after.target}: {', '.join(differ)}"] if differ else []
    for which, report in (("old", before), ("new", after)):
        found += [] if report.complete else [f"{after.target}: the {which} report is INCOMPLETE"]
        found += [f"{after.target}: the {which} report is shard {report.shard}"] if report.shard else []
    return found


def _changes(before: Report, after: Report, factor: float) -> Iterator[tuple[str, Change]]:
    """Yield what became of each row that one of the selections kept, as `Comparison` names it, or "same"."""
    olds, news = ({row.key: row for row in report.results} for report in (before, after))
    unlike = _other_inputs(before, after)
    for key in dict.fromkeys((*olds, *news)):
        one, other = olds.get(key), news.get(key)
        if all(row is None or row.excluded for row in (one, other)):
            continue
        if one and other:
            why = _left_out(one, other) or unlike or _unlike(one, other, before, after)
            kind = "incomparable" if why else _kind(one, other, factor)
            yield kind, Change(after.target, one, other, why, excused=one.excluded or other.excluded)
        elif one:
            why, excused = _why_missing(one, "new", after, before)
            yield "incomparable" if why else "gone", Change(after.target, one, None, why, excused=excused)
        elif other:
            why, excused = _why_missing(other, "old", before, after)
            yield "incomparable" if why else "new", Change(after.target, None, other, why, excused=excused)


def _left_out(one: Row, other: Row) -> str:
    if one.excluded:
        return "excluded by the selection in the old report"
    return "excluded by the selection in the new report" if other.excluded else ""


def _other_inputs(before: Report, after: Report) -> str:
    """Say why all rows were tried on other inputs; empty where they were not."""
    pairs = {name: (before.settings[name], after.settings[name]) for name in INPUTS}
    pairs["recipes"] = before.environment["recipes"], after.environment["recipes"]
    return ", ".join(f"{name} {one} → {other}" for name, (one, other) in pairs.items() if one != other)


def _unlike(one: Row, other: Row, before: Report, after: Report) -> str:
    """Say what else was asked of the new row than of the old; empty for nothing."""
    if one.sentence != other.sentence:
        return f"the sentence changed, specification {_versions(before, after)}"
    if one.level != other.level:
        return f"{one.level} → {other.level}, specification {_versions(before, after)}"
    declared, declares = (report.declarations["operations"].get(one.operation) for report in (before, after))
    if declared and declares and (differ := _differences(_choices(declared), _choices(declares))):
        return f"other declarations for {one.operation}: {differ}"
    if one.outcome in ABSENT or other.outcome in ABSENT:
        return ""  # what is not there is held to nothing
    return _differences(
        {"precision": one.precision, "domain": one.domain}, {"precision": other.precision, "domain": other.domain}
    )


def _versions(before: Report, after: Report) -> str:
    return f"{before.environment['specification']} → {after.environment['specification']}"


def _choices(declared: dict[str, Any]) -> dict[str, Any]:
    """Return what a verdict rests on; a row says itself to which class it was held, and where the file has it is no matter."""
    return {name: value for name, value in declared.items() if name not in ("line", "precision")}


def _differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    names = dict.fromkeys((*one, *other))
    return ", ".join(
        f"{name} {_said(one.get(name))} → {_said(other.get(name))}" for name in names if one.get(name) != other.get(name)
    )


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) and value else str(value or "none")


def _why_missing(row: Row, which: str, lacking: Report, having: Report) -> tuple[str, bool]:
    """Say why a report does not have a row, and whether that excuses it; empty where nothing but the target explains it."""
    if not lacking.complete:
        # What was cut short may have broken: that a row held before is not forgotten.
        return f"the {which} report is INCOMPLETE, and does not have it", False
    if lacking.shard:
        return f"the {which} report is shard {lacking.shard}", True
    if _not_asked(row, having, lacking):
        return f"the {which} report is not about {row.dtype}", True
    if _not_there(row, having, lacking):
        return f"specification {lacking.environment['specification']} does not have {row.requirement}", True
    return "", False


def _not_asked(row: Row, having: Report, lacking: Report) -> bool:
    """Whether somebody chose other dtypes; one that a target does not declare any more is a loss."""
    chosen = row.dtype in having.settings["dtypes"] and row.dtype not in lacking.settings["dtypes"]
    dropped = row.dtype in having.declarations["dtypes"] and row.dtype not in lacking.declarations["dtypes"]
    return chosen and not dropped


def _not_there(row: Row, having: Report, lacking: Report) -> bool:
    """Whether the requirement is one of the other specification only."""
    same = having.environment["specification"] == lacking.environment["specification"]
    return not same and all(each.requirement != row.requirement for each in lacking.results)


def _kind(one: Row, other: Row, factor: float) -> str:
    """Return what became of a row whose two outcomes can be compared."""
    if _rank(other) > _rank(one):
        return "broke"
    if other.outcome in HOLDS and one.outcome in ABSENT:
        return "new"
    if other.outcome in HOLDS and one.outcome not in HOLDS:
        return "fixed"
    if one.outcome == other.outcome == "PASS" and other.accuracy > max(factor * one.accuracy, NEGLIGIBLE):
        return "grew"
    return "same" if _outcome(one) == _outcome(other) else "changed"


def _rank(row: Row) -> int:
    return 1 if row.outcome == "PASS" and row.reason else RANKS[row.outcome]


# --- Lines ---------------------------------------------------------------------------------------------


def _outcome(row: Row | None) -> str:
    if row is None:
        return "not there"
    return "PASS in part" if row.outcome == "PASS" and row.reason else row.outcome


def _reason(change: Change) -> str:
    return change.row.reason


def _errors(change: Change) -> str:
    one, other = (row.accuracy if row else 0.0 for row in (change.old, change.new))
    times = f", {other / one:.3g} times as much" if one else ""
    return f"{one:.2g} → {other:.2g} radii{times}"


def _told(word: str, change: Change, what: str, why: str = "") -> str:
    row = change.row
    place = f"{word} {row.requirement} {row.operation} {row.dtype} on {row.device}, {change.target}"
    return line(f"{place}: {what}" + (f": {why}" if why else ""), TEXT)


def _together(word: str, changes: Sequence[Change]) -> Iterable[str]:
    """Return a line for all rows of a target, an operation and a dtype that have the same to say."""
    found: dict[tuple[str, str, str, str], list[Change]] = {}
    for change in changes:
        row = change.row
        found.setdefault((change.target, row.operation, row.dtype, change.why), []).append(change)
    for (target, operation, dtype, why), together in found.items():
        counts = Counter(change.outcomes for change in together)
        told = ", ".join(f"{count} {outcomes}" for outcomes, count in counts.items())
        ids = textwrap.shorten(", ".join(change.row.requirement for change in together), PLACES, placeholder=" ...")
        yield line(f"{word} {operation} {dtype}, {target}: {told}" + (f": {why}" if why else "") + f": {ids}", TEXT)
