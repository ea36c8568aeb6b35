"""The report on a terminal: a table of outcomes, then each failure with the spec's sentence and the smallest input."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import toise_spec
from rich.table import Table
from rich.text import Text

from toise.bounds import PRECISIONS

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
# Between two columns, and the least that a title is worth printing in.
GAP, LEAST_TITLE = 2, 12
PRECISION_LEGEND = "would pass: the strictest class in which all rows that pass would have passed; uses: by the largest error"


def print_report(report: Report, console: Console) -> None:
    """Print what was declared, the table, each failure, the reasons of what was not judged, and the verdict."""
    for line in heading(report):
        console.print(Text(line), soft_wrap=True)
    rows = [row for row in report.results if not row.excluded and row.operation in report.declarations["operations"]]
    for columns, together in _tables(rows).items():
        for side_by_side in _that_fit(together, columns, console.width):
            console.print(_table(together, side_by_side, console.width))
    if legend := _legend(rows):
        console.print(Text(legend), soft_wrap=True)
    for row in _told(report):
        console.print(Text(failure_text(row), style=""), soft_wrap=True)
        console.print()
    for line in _reasons(report):
        console.print(Text(line), soft_wrap=True)
    console.print(_verdict(report))


def print_precision(report: Report, console: Console) -> None:
    """Print for each operation and dtype how much of what its precision class allows was used, and the strictest class."""
    for line in heading(report):
        console.print(Text(line), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("operation", "dtype", "class", "would pass", "uses", "excused", "traits", "failures"):
        table.add_column(title, no_wrap=True)
    judged: dict[tuple[str, str], list[Row]] = {}
    for row in report.results:
        if not row.excluded and row.outcome not in ("NOT PROVIDED", "NOT APPLICABLE"):
            judged.setdefault((row.operation, row.dtype), []).append(row)
    for (operation, dtype), rows in judged.items():
        traits = report.declarations["operations"][operation].get("traits", ())
        table.add_row(operation, dtype, rows[0].precision, *_used(rows), ", ".join(traits), _failures(rows))
    if judged:
        console.print(table)
        console.print(Text(PRECISION_LEGEND), soft_wrap=True)
    for line in _reasons(report):
        console.print(Text(line), soft_wrap=True)
    console.print(_verdict(report))


def _used(rows: list[Row]) -> tuple[str, str, str]:
    """Return the strictest class that all passing rows would have passed, the share of the radius used, and what was excused."""
    passed = [row for row in rows if row.outcome == "PASS"]
    if not passed:
        return "", "", ""
    hardest = max(passed, key=lambda row: row.accuracy)
    classes = list(PRECISIONS.get(hardest.dtype, [hardest.precision]))
    strictest = max((row.strictest for row in passed), key=classes.index)
    counts = {name: sum(row.elements.get(name, 0) for row in rows) for name in ("defined", "overflow")}
    excused = _percent(counts["overflow"] / max(counts["defined"], 1))
    used = f"{hardest.accuracy:.0%} of its radius ({hardest.requirement})" if hardest.accuracy else "nothing"
    return strictest, used, excused or "-"


def _failures(rows: list[Row]) -> str:
    counts = {outcome: sum(row.outcome == outcome for row in rows) for outcome in ("FAIL", "CRASH", "NOT RUN")}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "-"


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
    settings = [f"{name} {report.settings[name]}" for name in ("budget", "seed")]
    if required := report.settings.get("require_class"):
        settings.append(f"required class {required}")
    lines = [
        " · ".join(part for part in (report.target, named, f"{declared['arrays']} arrays on {declared['device']}") if part),
        " · ".join((f"specification {where['specification']}", f"toise {where['toise']}", *settings)),
    ]
    judged = {(row.operation, row.dtype): row.precision for row in report.results if not row.excluded}
    for name, choices in declared["operations"].items():
        if name not in (operation for operation, _ in judged):
            continue
        words = [f"{key} {value}" for key, value in choices.items() if isinstance(value, str) and value]
        words += [f"precision {dtype} {kind}" for dtype, kind in choices["precision"].items()]
        words += [f"trait {trait}" for trait in choices.get("traits", ())]
        if words:
            lines.append(f"declared for {name}: {', '.join(words)}")
    for (name, dtype), held in judged.items():
        kind = declared["operations"].get(name, {"precision": {}})["precision"].get(dtype, held)
        if kind != held:
            lines.append(f"{name} {dtype}: declared {kind}, held to {held}, as required")
    return [*lines, *(f"note: {note}" for note in declared["notes"])]


# A dtype, and the class that it was held to.
Column = tuple[str, str]


def _tables(rows: list[Row]) -> dict[tuple[Column, ...], list[Row]]:
    """Return the rows in tables: operations that are judged at the same dtypes, held to the same classes, stand in one."""
    columns: dict[str, dict[Column, None]] = {}
    for row in rows:
        columns.setdefault(row.operation, {})[row.dtype, row.precision] = None
    tables: dict[tuple[Column, ...], list[Row]] = {}
    for row in rows:
        tables.setdefault(tuple(columns[row.operation]), []).append(row)
    return tables


def _that_fit(rows: list[Row], columns: tuple[Column, ...], width: int) -> list[list[Column]]:
    """Return the columns in groups that stand side by side: an outcome is never cut."""
    groups: list[list[Column]] = []
    for column in columns:
        if groups and _taken(rows, [*groups[-1], column]) <= width:
            groups[-1].append(column)
        else:
            groups.append([column])
    return groups


def _table(rows: list[Row], columns: list[Column], width: int) -> Table:
    cells = {(row.requirement, row.operation, row.dtype): row for row in rows}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "operation", *(f"{dtype}\n{kind}" for dtype, kind in columns)):
        table.add_column(title, no_wrap=True)
    # The last column takes what the others leave.
    room = width - _taken(rows, columns) - GAP
    if room >= LEAST_TITLE:
        table.add_column("what is tested", no_wrap=True, overflow="ellipsis", max_width=room)
    for id, operation in dict.fromkeys((row.requirement, row.operation) for row in rows):
        line = [cells.get((id, operation, dtype)) for dtype, _ in columns]
        if first := next((row for row in line if row), None):
            title = first.test + ("" if first.level == "MUST" else f" ({first.level})")
            table.add_row(id, operation, *(_cell(row) for row in line), *([title] if room >= LEAST_TITLE else []))
    return table


def _taken(rows: list[Row], columns: list[Column]) -> int:
    """Return how wide the ids, the operations and the outcomes are, with the gaps between them."""
    texts = [["id", *(row.requirement for row in rows)], ["operation", *(row.operation for row in rows)]]
    texts += [[dtype, kind, *(_cell(row).plain for row in rows if row.dtype == dtype)] for dtype, kind in columns]
    return sum(max(map(len, column)) + GAP for column in texts) - GAP


def _cell(row: Row | None) -> Text:
    """Return the outcome, how much of what it may the largest error took, and the strictest class that would have passed."""
    if row is None:
        return Text("")
    if row.outcome != "PASS":
        return Text(row.outcome, style=COLOURS[row.outcome])
    # A star leads to the lines below the table that say why it was tried in part.
    words = ["PASS*" if row.reason else "PASS", f"{row.accuracy:.2g}" if row.accuracy else ""]
    words += [f">{row.strictest}" if row.strictest != row.precision else "", _percent(row.excused)]
    return Text(" ".join(word for word in words if word), style=COLOURS[row.outcome])


def _percent(share: float) -> str:
    """Return a share that is not zero, in percent."""
    return "" if not share else "<1%" if share < 0.01 else f"{share:.0%}"


def _legend(rows: list[Row]) -> str:
    """Explain what stands in the cells, on one line."""
    passed = [row for row in rows if row.outcome == "PASS"]
    words = []
    if any(row.accuracy for row in passed):
        words.append("0.5: the largest error took half of what the class allows")
    if any(row.strictest != row.precision for row in passed):
        words.append(">CLASS: the strictest class that it would have passed")
    if any(row.excused for row in passed):
        words.append("5%: of the elements are excused, as a correct computation may overflow there")
    if any(row.reason for row in passed):
        words.append("*: in part, see below")
    return "; ".join(words)


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
