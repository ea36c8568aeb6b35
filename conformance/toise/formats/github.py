"""The report as workflow commands: GitHub shows them as annotations, beside the lines of the file where they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from toise.errors import visible
from toise.formats.rows import cut, doubts, failing_outcomes, line_of, path_of, told
from toise.report import OUTCOMES
from toise.terminal import failure_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toise.report import Document, Report, Row

# Of each kind GitHub shows so many for a step, and no more.
SHOWN = 10
# The longest message and title, in characters; GitHub cuts longer ones anywhere.
MESSAGE, TITLE = 8000, 200


class Note(NamedTuple):
    """An annotation, before it is escaped; without a line it belongs to no file."""

    kind: str
    title: str
    message: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        properties = {"file": self.file, "line": str(self.line)} if self.line else {}
        properties["title"] = cut(self.title, TITLE)
        given = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        return f"::{self.kind} {given}::{_data(cut(self.message, MESSAGE))}"


def render(document: Document) -> str:
    """Return one command for each requirement and operation that has something to say, the worst first."""
    kinds: dict[str, list[Note]] = {"error": [], "warning": [], "notice": []}
    for note in _notes(document):
        kinds[note.kind].append(note)
    return "".join(f"{note}\n" for notes in kinds.values() for note in _that_are_shown(notes))


def _that_are_shown(notes: list[Note]) -> list[Note]:
    """Return as many as GitHub shows; the last says how many more there are."""
    if len(notes) <= SHOWN:
        return notes
    kept, kind = notes[: SHOWN - 1], notes[0].kind
    more = f"{len(notes) - len(kept)} more {kind}s are not shown here, as GitHub shows {SHOWN} of a kind; the report has them all"
    return [*kept, Note(kind, f"toise: {len(notes) - len(kept)} more", more)]


def _notes(document: Document) -> Iterator[Note]:
    """Yield what there is to say of all targets: what no row shows comes first."""
    for report in document.reports:
        for doubt in doubts(report):
            yield Note("error" if report.exit_code else "notice", f"toise: {report.target}", doubt)
    groups = [(report, rows) for report in document.reports for rows in _groups(report)]
    for report, rows in sorted(groups, key=lambda group: OUTCOMES.index(group[1][0].outcome)):
        yield _note(report, rows)
    for target, reason in document.unavailable.items():
        yield Note("notice", f"toise: {target}", f"NOT AVAILABLE: {reason}")


def _groups(report: Report) -> list[list[Row]]:
    """Return the rows of each requirement and operation that have something to say, the worst first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in told(report):
        groups.setdefault((row.requirement, row.operation), []).append(row)
    return list(groups.values())


def _note(report: Report, rows: list[Row]) -> Note:
    """Return the annotation of one requirement and operation: the worst row in full, the dtypes of the others."""
    first, *others = rows
    also = [f"also {row.outcome} in {row.dtype} on {row.device}" for row in others]
    title = f"{first.outcome} {first.requirement} · {first.operation}: {first.sentence}"
    place = f"{report.target}, judged by toise {report.environment['toise']}"
    message = "\n".join([failure_text(first, report.environment["specification"]), *also, place])
    return Note(_kind(first, failing_outcomes(report)), title, message, path_of(report), line_of(report, first))


def _kind(row: Row, failing: set[str]) -> str:
    if row.outcome in failing:
        return "error"
    return "warning" if row.outcome == "WARN" else "notice"


def _data(text: str) -> str:
    """Escape a message, as the runner reads it."""
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a property, as the runner reads it."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
