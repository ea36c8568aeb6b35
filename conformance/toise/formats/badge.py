"""The report as an endpoint of shields.io: the verdict on one profile in words, and never a share of anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from toise.formats.rows import counted
from toise.report import BROKEN

if TYPE_CHECKING:
    from toise.report import Document, Report, Row

# The one profile of this specification: all of its requirements.
CORE = "core"
RED, GREY, ORANGE = "red", "lightgrey", "orange"


class Badge(NamedTuple):
    """What a badge says; the worst of several has the lowest rank."""

    rank: int
    message: str
    color: str


def render(document: Document) -> str:
    """Return the badge of the worst report; `isError` keeps whoever embeds it from painting a failure green."""
    badge = min((_badge(report) for report in document.reports), default=Badge(4, "not run", GREY))
    if badge.rank > 4 and document.unavailable:
        missing = f"{counted(len(document.unavailable), 'target')} not available"
        badge = Badge(5, f"{badge.message}, {missing}", "yellowgreen")
    body = {
        "schemaVersion": 1,
        "label": f"toise {CORE}",
        "message": badge.message,
        "color": badge.color,
        "isError": badge.rank < 3,
    }
    return json.dumps(body) + "\n"


def _badge(report: Report) -> Badge:
    failing = _failing(report)
    if not report.complete:
        return Badge(0, _joined("incomplete", failing), RED)
    if report.shard:
        return (
            Badge(1, f"shard {report.shard}, {failing}", RED) if failing else Badge(3, f"shard {report.shard}, no verdict", GREY)
        )
    if failing:
        return Badge(2, failing, RED if _ids(report, BROKEN) else ORANGE)
    if not report.passed:
        return Badge(4, "not run" if report.exit_code == 2 else "no MUST passed", GREY)
    return _passed(report)


def _failing(report: Report) -> str:
    """Say how many requirements keep the report from passing; empty for none."""
    rows = report.failing
    fail = len({row.requirement for row in rows if row.outcome in (*BROKEN, "WARN")})
    unrun = len({row.requirement for row in rows if row.outcome == "NOT RUN"})
    gone = len({row.requirement for row in rows if row.outcome == "XPASS"})
    return _joined(
        f"{counted(fail, 'requirement')} fail{'s' if fail == 1 else ''}" if fail else "",
        f"{counted(unrun, 'requirement')} not run" if unrun else "",
        f"{counted(gone, 'known failure')} gone" if gone else "",
    )


def _passed(report: Report) -> Badge:
    known, warned = len(_ids(report, ("XFAIL",))), len(_ids(report, ("WARN",)))
    part = any(_in_part(row) for row in report.results)
    message = _joined(
        "passed in part" if part else "passed",
        counted(known, "known failure") if known else "",
        f"{counted(warned, 'recommendation')} not met" if warned else "",
    )
    if known or warned:
        return Badge(5, message, "yellowgreen")
    return Badge(6, message, "green") if part else Badge(7, message, "brightgreen")


def _in_part(row: Row) -> bool:
    """Whether a row says that not all was judged: it is absent, left out, narrowed to a domain, or lacks an option."""
    return row.excluded or row.outcome == "NOT PROVIDED" or bool(row.domain) or (row.outcome == "PASS" and bool(row.reason))


def _ids(report: Report, outcomes: tuple[str, ...]) -> set[str]:
    return {row.requirement for row in report.results if row.outcome in outcomes and not row.excluded}


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
