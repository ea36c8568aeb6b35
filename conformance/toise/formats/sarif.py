"""The report as SARIF 2.1.0, which code scanning reads: a run for each target, a result for each row that is not well."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from toise.errors import visible
from toise.formats.rows import cut, doubts, line_of, path_of, told
from toise.report import BROKEN
from toise.terminal import failure_text, known_text

if TYPE_CHECKING:
    from toise.report import Document, Report, Row

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# The longest message, in characters.
MESSAGE = 8000


def render(document: Document) -> str:
    """Return the log; targets that cannot be had are among its properties."""
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [_run(report) for report in document.reports],
        "properties": {"unavailable": {visible(name): visible(why) for name, why in document.unavailable.items()}},
    }
    return json.dumps(log, indent=1, allow_nan=False) + "\n"


def _run(report: Report) -> dict[str, Any]:
    rows = told(report)
    rules = {row.requirement: row for row in rows}
    at = {requirement: index for index, requirement in enumerate(rules)}
    driver = {
        "name": "toise",
        "version": visible(report.environment["toise"]),
        "rules": [_rule(row) for row in rules.values()],
        "properties": {"specification": visible(report.environment["specification"])},
    }
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": _name(report)},
        "invocations": [_invocation(report)],
        "columnKind": "unicodeCodePoints",
        "results": [_result(report, row, at[row.requirement]) for row in rows],
    }


def _name(report: Report) -> str:
    """Return what tells runs apart: code scanning takes only one of each name."""
    parts = ("toise", report.target, report.declarations["device"], report.shard.replace("/", "-of-"))
    return "".join(f"{quote(visible(part), safe='')}/" for part in parts if part)


def _invocation(report: Report) -> dict[str, Any]:
    """Return how the run ended; what keeps it from being a verdict is a notification."""
    level = "error" if report.exit_code else "note"
    return {
        "executionSuccessful": report.complete,
        "exitCode": report.exit_code,
        "toolExecutionNotifications": [{"level": level, "message": _message(doubt)} for doubt in doubts(report)],
    }


def _rule(row: Row) -> dict[str, Any]:
    explained = f"{row.level} of the specification of the transformer. `toise explain {row.requirement}` shows it."
    return {
        "id": row.requirement,
        "shortDescription": _message(row.sentence),
        "fullDescription": _message(row.sentence),
        "help": _message(f"{row.sentence}\n{explained}"),
        "defaultConfiguration": {"level": "error" if row.level == "MUST" else "warning"},
        "properties": {"level": row.level, "test": visible(row.test)},
    }


def _result(report: Report, row: Row, rule: int) -> dict[str, Any]:
    found = {
        "ruleId": row.requirement,
        "ruleIndex": rule,
        "level": _level(row),
        "message": _message(failure_text(row, report.environment["specification"])),
        "locations": [_location(report, row)],
        # One line may break a requirement at several dtypes, and each may be repaired alone.
        "partialFingerprints": {"toiseRow/v1": quote("/".join((visible(report.target), *map(visible, row.key))))},
        "properties": {"outcome": row.outcome, "operation": row.operation, "dtype": row.dtype, "device": row.device},
    }
    return {**found, "suppressions": _suppressions(row)} if row.outcome == "XFAIL" else found


def _level(row: Row) -> str:
    if row.outcome in BROKEN:
        return "error"
    return "error" if row.outcome == "XFAIL" and row.level == "MUST" else "warning"


def _suppressions(row: Row) -> list[dict[str, str]]:
    """Return what the baseline says, which keeps a known failure out of the way."""
    said = [known_text(known) for known in row.known] or [row.reason]
    return [{"kind": "external", "status": "accepted", "justification": visible(text)} for text in said]


def _location(report: Report, row: Row) -> dict[str, Any]:
    """Return where the operation stands; of a target that is no file its name, since code scanning refuses what has no place."""
    line = line_of(report, row)
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(report)}}
    if line:
        place["region"] = {"startLine": line}
    return {"physicalLocation": place, "logicalLocations": [{"name": visible(row.operation), "kind": "function"}]}


def _uri(report: Report) -> str:
    """Return the file, or the name, as a URI."""
    if not report.target.endswith(".py"):
        return quote(visible(report.target), safe="")
    path = visible(path_of(report))
    return PurePosixPath(path).as_uri() if path.startswith("/") else quote(path)


def _message(text: str) -> dict[str, str]:
    """Return a text of which no part is a link: in SARIF `[text](address)` would be one."""
    return {"text": cut(visible(text), MESSAGE).replace("](", "] (")}
