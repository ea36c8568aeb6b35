"""The report on a terminal: a table of outcomes, then each failure with the spec's sentence and the smallest input."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import toise_spec
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from toise.report import Report, Row

COLOURS = {
    "PASS": "green",
    "FAIL": "bold red",
    "CRASH": "bold red",
    "WARN": "yellow",
    "NOT RUN": "bold magenta",
    "NOT PROVIDED": "blue",
    "NOT APPLICABLE": "dim",
}
NUMBERS_SHOWN = 24


def print_report(report: Report, console: Console) -> None:
    """Print what was declared, the table, each failure, the reasons of what was not judged, and the verdict."""
    for line in heading(report):
        console.print(Text(line), soft_wrap=True)
    rows = [row for row in report.results if not row.excluded and row.operation in report.declarations["operations"]]
    for dtypes, together in _by_dtypes(rows).items():
        console.print(_table(together, dtypes, console.width))
    for row in _told(report):
        console.print(Text(failure_text(row), style=""), soft_wrap=True)
        console.print()
    for line in _reasons(report):
        console.print(Text(line), soft_wrap=True)
    console.print(_verdict(report))


def failure_text(row: Row) -> str:
    """Return everything that one failing row has to say, as plain text."""
    place = f"{row.operation} · {row.dtype} {row.precision} on {row.device}"
    lines = [
        f"{row.outcome} {row.requirement} of specification {toise_spec.VERSION} · {place} · {row.reason}",
        f"  {row.sentence}",
    ]
    shown = row.counterexample
    if shown is None:
        return "\n".join(lines)
    pairs: list[tuple[str, Any]] = [("recipe", shown.text), *shown.arrays.items(), *shown.options.items()]
    two = shown.other_call is not None
    pairs += [(f"{name}, {'this' if two else 'last'} call", part) for name, part in shown.call.items()]
    pairs += [(f"{name}, other call", part) for name, part in (shown.other_call or {}).items()]
    pairs.append(("because", shown.message))
    if shown.got is not None and np.ndim(shown.got):
        pairs += [("got", shown.got), ("other gave" if two else "required", shown.required)]
    if shown.error_in_radii is not None:
        unit = "times what chance allows" if shown.kind == "frequency" else "radii"
        pairs.append(("error", f"{float(shown.error_in_radii):.3g} {unit}"))
    if shown.hint:
        pairs.append(("hint", shown.hint))
    pairs.append(("again", shown.again))
    width = max(len(name) for name, _ in pairs)
    for name, part in pairs:
        first, *rest = _shown(part).splitlines() or [""]
        lines += [f"  {name:<{width}}  {first}", *(" " * (width + 4) + line for line in rest)]
    return "\n".join(lines)


def heading(report: Report) -> list[str]:
    """Return what the verdicts rest on: the target, the versions, the settings, the declarations."""
    declared, where = report.declarations, report.environment
    named = " ".join(part for part in (declared["name"], declared["version"]) if part)
    settings = [f"{name} {value}" for name, value in report.settings.items() if name != "strict"]
    lines = [
        " · ".join(part for part in (report.target, named, f"{declared['arrays']} arrays on {declared['device']}") if part),
        " · ".join((f"specification {where['specification']}", f"toise {where['toise']}", *settings)),
    ]
    judged = {row.operation for row in report.results if not row.excluded}
    for name, choices in declared["operations"].items():
        if name not in judged:
            continue
        words = [f"{key} {value}" for key, value in choices.items() if isinstance(value, str) and value]
        words += [f"precision {dtype} {kind}" for dtype, kind in choices["precision"].items()]
        if words:
            lines.append(f"declared for {name}: {', '.join(words)}")
    return [*lines, *(f"note: {note}" for note in declared["notes"])]


def _by_dtypes(rows: list[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Return the rows in tables: operations that are judged at the same dtypes stand in one."""
    dtypes: dict[str, dict[str, None]] = {}
    for row in rows:
        dtypes.setdefault(row.operation, {})[row.dtype] = None
    tables: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        tables.setdefault(tuple(dtypes[row.operation]), []).append(row)
    return tables


def _table(rows: list[Row], dtypes: tuple[str, ...], width: int) -> Table:
    cells = {(row.requirement, row.operation, row.dtype): row for row in rows}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "operation", *dtypes):
        table.add_column(title, no_wrap=True)
    # The outcomes are never cut: the last column takes what they leave.
    columns = [[row.requirement for row in rows], ["operation", *(row.operation for row in rows)]]
    columns += [[dtype, *(_cell(row).plain for row in rows if row.dtype == dtype)] for dtype in dtypes]
    taken = sum(2 + max(map(len, column)) for column in columns)
    table.add_column("what is tested", no_wrap=True, overflow="ellipsis", max_width=max(8, width - taken))
    for id, operation in dict.fromkeys((row.requirement, row.operation) for row in rows):
        line = [cells.get((id, operation, dtype)) for dtype in dtypes]
        first = next(row for row in line if row)
        level = "" if first.level == "MUST" else f" ({first.level})"
        table.add_row(id, operation, *(_cell(row) for row in line), first.test + level)
    return table


def _cell(row: Row | None) -> Text:
    """Return the outcome, and how much of what it may the largest error took."""
    if row is None:
        return Text("")
    used = f" {row.accuracy:.2g}" if row.outcome == "PASS" and row.accuracy else ""
    # A star leads to the lines below the table that say why it was tried in part.
    part = "*" if row.outcome == "PASS" and row.reason else ""
    return Text(row.outcome + part + used, style=COLOURS[row.outcome])


def _told(report: Report) -> list[Row]:
    """Return the rows to tell in full: for each requirement and operation the first dtype that fails."""
    found: dict[tuple[str, str], Row] = {}
    for row in report.results:
        if row.outcome in ("FAIL", "CRASH", "WARN"):
            found.setdefault((row.requirement, row.operation), row)
    return list(found.values())


def _reasons(report: Report) -> list[str]:
    """Return one line for each reason why something was not judged, or only in part, with the count of examples."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in report.results:
        if row.reason and not row.excluded and row.outcome not in ("FAIL", "CRASH", "WARN"):
            grouped.setdefault((row.outcome, row.reason), []).append(row)
    lines = _domains(report)
    for (outcome, reason), rows in grouped.items():
        if reason.startswith("no operation"):
            lines.append(f"{outcome}: {reason} ({len(rows)} rows)")
            continue
        refused, run = (sum(row.examples.get(name, 0) for row in rows) for name in ("unsupported", "run"))
        places = ", ".join(
            dict.fromkeys(
                f"{row.requirement} {row.operation}" if row.requirement.startswith("GEN") else row.requirement for row in rows
            )
        )
        count = f" ({refused} of {run} examples)" if refused else ""
        star = "*" if outcome == "PASS" else ""
        lines.append(f"{outcome}{star}: {reason}{count}: {textwrap.shorten(places, 160, placeholder=' ...')}")
    excluded = sum(row.excluded for row in report.results)
    return [*lines, *([f"NOT RUN: {excluded} rows excluded by the selection"] if excluded else [])]


def _domains(report: Report) -> list[str]:
    """Return one line for each operation of which only a part was judged."""
    lines = []
    for operation in report.declarations["operations"]:
        rows = [row for row in report.results if row.operation == operation and row.domain]
        if rows:
            moved, run = (sum(row.examples[name] for row in rows) for name in ("reshaped", "run"))
            lines.append(f"PASS and FAIL of {operation} are for {rows[0].domain} alone; {moved} of {run} inputs were moved there")
    return lines


def _verdict(report: Report) -> Text:
    counts = " · ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count)
    word = "INCOMPLETE" if not report.complete else "PASSED" if report.passed else "NOT PASSED"
    return Text.assemble((word, "bold green" if report.passed else "bold red"), f"  {counts}")


def _shown(part: Any) -> str:
    """Return an array, a number or a text for a person; a large array is cut."""
    if isinstance(part, str):
        return part
    array = np.array(part, dtype=object)
    if array.ndim == 0 or array.dtype != object or not all(isinstance(item, (int, float, bool, str)) for item in array.flat):
        return str(part)
    kinds = {type(item) for item in array.flat}
    numbers = array.astype(bool if kinds == {bool} else np.int64 if kinds == {int} else np.float64)
    text = np.array2string(numbers, threshold=NUMBERS_SHOWN, edgeitems=2, floatmode="maxprec", precision=9)
    return text if array.size <= NUMBERS_SHOWN else f"shape {array.shape}\n{text}"
