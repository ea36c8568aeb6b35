"""Which rows the forms for CI tell, the worst first, and where they stand in a file; and how long a text may be."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from toise.report import BROKEN, OUTCOMES

if TYPE_CHECKING:
    from toise.report import Report, Row

# The longest text that is shown whole, where nobody says otherwise.
LETTERS_SHOWN = 4000
TOLD = (*BROKEN, "XPASS", "NOT RUN", "WARN", "XFAIL")


def told(report: Report) -> list[Row]:
    """Return the rows that have something to say, those first that keep the report from passing."""
    failing = failing_outcomes(report)
    rows = [row for row in report.results if row.outcome in TOLD and not row.excluded]
    return sorted(rows, key=lambda row: (row.outcome not in failing, OUTCOMES.index(row.outcome)))


def failing_outcomes(report: Report) -> set[str]:
    """Return the outcomes that keep the report from passing."""
    return {row.outcome for row in report.failing}


def doubts(report: Report) -> list[str]:
    """Say what keeps the report from being a verdict, though no row may show it."""
    found = []
    if not report.complete:
        found.append("INCOMPLETE: the run ended before all was judged; rows are missing, and this is no verdict")
    if report.shard:
        found.append(f"SHARD {report.shard}: a part of the rows, and no verdict on the target")
    if report.exit_code == 2:
        found.append("nothing was judged")
    elif report.exit_code == 1 and not report.failing:
        found.append("no MUST passed")
    return found


def line_of(report: Report, row: Row) -> int:
    """Return the line of the operation in the target's file; 0 where the target is no file, or it cannot be told."""
    declared = report.declarations["operations"].get(row.operation)
    return int(declared["line"]) if declared and report.target.endswith(".py") else 0


def path_of(report: Report) -> str:
    """Return the target's file as a repository has it, with slashes and without a dot at its start."""
    return PurePosixPath(report.target.replace("\\", "/")).as_posix()


def cut(text: str, most: int = LETTERS_SHOWN) -> str:
    """Return the start of a long text, and say so."""
    return text if len(text) <= most else f"{text[:most]} ... ({len(text)} characters)"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
