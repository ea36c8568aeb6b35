"""The report on a terminal: a table of outcomes, then each failure with the spec's sentence and the smallest input."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import toise_spec
from rich.table import Table
from rich.text import Text

from toise import pages
from toise.bounds import CLASSES
from toise.overview import CONCEPTS, lines
from toise.report import ABSENT, BROKEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from toise.overview import Line
    from toise.report import Known, Report, Row

COLOURS = {
    "PASS": "green",
    "FAIL": "bold red",
    "PROTOCOL ERROR": "bold red",
    "CRASH": "bold red",
    "TIMEOUT": "bold red",
    "WARN": "yellow",
    "XPASS": "bold red",
    "XFAIL": "yellow",
    "NOT RUN": "bold magenta",
    "NOT PROVIDED": "blue",
    "NOT APPLICABLE": "dim",
}
# What became of a known failure.
STATES = {
    "fails": "fails as recorded",
    "differs": "fails in another way than recorded",
    "holds": "holds now",
    "untried": "cannot be tried here",
}
NUMBERS_SHOWN = 24
# Between two columns, and the least that a title is worth printing in.
GAP, LEAST_TITLE = 2, 12
# From the strictest to the widest; integers and booleans are not rounded.
ORDER = ("EXACT", *CLASSES)
OVERVIEW_LEGEND = (
    "PASS 30/31: 30 of 31 hold, and the others are NOT PROVIDED; FAIL 2/31: 2 of 31 fail; -: NOT PROVIDED; "
    "*: some hold in part; one target alone shows all, with the reasons"
)
PRECISION_LEGEND = (
    "passes: the strictest class in which nothing that was tried fails, none where no class is known to hold every failure; "
    "uses: the largest error of what passes, as a share of what the declared class allows"
)


def print_report(report: Report, console: Console) -> None:
    """Print what was declared, the table, each failure, the reasons of what was not judged, and the verdict."""
    for line in heading(report):
        console.print(Text(line), soft_wrap=True)
    rows = [row for row in report.results if not row.excluded and row.operation in report.declarations["operations"]]
    for columns, together in _tables(rows).items():
        for side_by_side in _that_fit(together, columns, console.width):
            console.print(_table(together, side_by_side, console.width))
    for line in (_legend(rows), *_looser(report)):
        if line:
            console.print(Text(line), soft_wrap=True)
    _print_failures(report, console)
    for line in _reasons(report):
        console.print(Text(line), soft_wrap=True)
    console.print(_verdict(report))


def print_briefly(report: Report, console: Console) -> None:
    """Print what was judged, each failure, and the verdict: the table of several targets follows when all are judged."""
    console.print(Text(heading(report)[0]), soft_wrap=True)
    _print_failures(report, console)
    console.print(_verdict(report))
    console.print()


def _print_failures(report: Report, console: Console) -> None:
    likenesses, told = _likenesses(report), _told(report)
    for line in likenesses or [""] * bool(told):
        console.print(Text(line, style="bold"), soft_wrap=True)
    for row in told:
        text = Text(failure_text(row, report.environment["specification"]))
        for where in pages.of(row):
            text.highlight_words([where], f"link {pages.address(row.requirement)}")
        console.print(text, soft_wrap=True)
        console.print()


def print_overview(reports: Sequence[Report], unavailable: Mapping[str, str], console: Console) -> None:
    """Print one matrix of all targets: concept by backend, dtype and device; in parts where the terminal is narrow."""
    shown = [(report, lines(report.results)) for report in reports]
    every = [line for _, found in shown for line in found]
    places = [(line.dtype, line.device) for line in every]
    wide = [max((len(part) for part in column), default=0) for column in zip(*places, strict=True)]
    widths = {
        concept: max(map(len, (*concept.split("_"), *(str(line.cells[concept]) for line in every if concept in line.cells))))
        for concept in CONCEPTS
        if any(concept in line.cells for line in every)
    }
    room = console.width - sum(wide) - GAP * (len(wide) + 1)
    for columns in _parts(widths, room):
        _print_matrix(shown, wide, columns, console)
    console.print(Text(OVERVIEW_LEGEND), soft_wrap=True)
    for target, reason in unavailable.items():
        console.print(Text.assemble(("NOT AVAILABLE  ", COLOURS["NOT PROVIDED"]), f"{target}: {reason}"), soft_wrap=True)


def _parts(widths: Mapping[str, int], room: int) -> list[dict[str, int]]:
    """Return the columns in groups that stand side by side, at least one group and one column in each."""
    groups: list[dict[str, int]] = [{}]
    for concept, width in widths.items():
        if groups[-1] and sum(groups[-1].values()) + GAP * len(groups[-1]) + width > room:
            groups.append({})
        groups[-1][concept] = width
    return groups


def _print_matrix(
    shown: Sequence[tuple[Report, list[Line]]], wide: Sequence[int], columns: Mapping[str, int], console: Console
) -> None:
    titles = {concept: concept.split("_") for concept in columns}
    start = " " * (GAP + sum(wide) + GAP * len(wide))
    for at in range(max(map(len, titles.values()), default=0)):
        words = (f"{(titles[c][at] if at < len(titles[c]) else ''):<{width}}" for c, width in columns.items())
        console.print(Text(start + (" " * GAP).join(words).rstrip(), style="bold"), soft_wrap=True)
    for report, found in shown:
        cut = "" if report.complete else "  INCOMPLETE" if report.results else "  NOT JUDGED"
        console.print(Text.assemble((report.target, "bold"), (cut, "bold red")), soft_wrap=True)
        for line in found:
            told = Text("".join(" " * GAP + f"{part:<{w}}" for part, w in zip((line.dtype, line.device), wide, strict=True)))
            for concept, width in columns.items():
                cell = line.cells.get(concept)
                told.append(" " * GAP)
                told.append(f"{cell or ''!s:<{width}}", style=COLOURS[cell.outcome] if cell else "")
            told.rstrip()
            console.print(told, soft_wrap=True)


def print_precision(report: Report, console: Console) -> None:
    """Print for each operation and dtype the strictest class in which nothing fails, and how much was used of the declared one.

    No cell is cut: where the table is too wide, each operation stands on a line of its own.
    """
    for told in heading(report):
        console.print(Text(told), soft_wrap=True)
    judged = _judged(report)
    cells = [("operation", "dtype", "declared", "passes", "uses", "excused", "FAIL")]
    for (operation, dtype), rows in judged.items():
        failed = sum(row.outcome == "FAIL" for row in rows)
        cells.append((operation, dtype, rows[0].precision, _passes(rows), _used(rows), _excused(rows), str(failed or "-")))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    wide = sum(widths) + GAP * (len(widths) - 1) <= console.width
    before = "operation"
    for line in cells if judged else ():
        operation = line[0]
        if not wide and operation != before:
            console.print(Text(operation), soft_wrap=True)
            before = operation
        padded = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)]
        text = (" " * GAP).join(padded if wide else ["", *padded[1:]])
        console.print(Text(text.rstrip(), style="bold" if line is cells[0] else ""), soft_wrap=True)
    for told in (*_beside(report, judged), *([PRECISION_LEGEND] if judged else ()), *_reasons(report)):
        console.print(Text(told), soft_wrap=True)
    console.print(_verdict(report))


def _judged(report: Report) -> dict[tuple[str, str], list[Row]]:
    """Return the rows that were judged, by operation and dtype."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in report.results:
        if not row.excluded and row.outcome not in ABSENT:
            found.setdefault((row.operation, row.dtype), []).append(row)
    return found


def _passes(rows: list[Row]) -> str:
    """Return the strictest class in which no row fails: that of what passes, and one that holds each error of what fails."""
    kinds = {row.strictest for row in rows if row.outcome == "PASS"}
    for row in rows:
        if row.outcome in BROKEN:
            holding = [name for name in row.counterexample.within if name in ORDER] if row.counterexample else []
            kinds.add(min(holding, key=ORDER.index, default="none"))
    return "none" if "none" in kinds else max(kinds, key=ORDER.index, default="-")


def _used(rows: list[Row]) -> str:
    """Return how much of its radius the largest error took, among the rows that pass, and where."""
    hardest = max((row for row in rows if row.outcome == "PASS"), key=lambda row: row.accuracy, default=None)
    return f"{_percent(hardest.accuracy)} ({hardest.requirement})" if hardest and hardest.accuracy else "-"


def _excused(rows: list[Row]) -> str:
    defined, overflow = (sum(row.elements.get(name, 0) for row in rows) for name in ("defined", "overflow"))
    return _percent(overflow / max(defined, 1)) or "-"


def _beside(report: Report, judged: dict[tuple[str, str], list[Row]]) -> list[str]:
    """Return a line for each thing that is too rare for a column: what did not run to its end, and declared traits."""
    lines = []
    for (operation, dtype), rows in judged.items():
        counts = {outcome: sum(row.outcome == outcome for row in rows) for outcome in (*BROKEN, "NOT RUN") if outcome != "FAIL"}
        if any(counts.values()):
            told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
            lines.append(f"{operation} {dtype}: {told}")
    declared = {operation: report.declarations["operations"][operation]["traits"] for operation, _ in judged}
    return [*lines, *(f"{operation}: traits {', '.join(traits)}" for operation, traits in declared.items() if traits)]


def failure_text(row: Row, specification: str = toise_spec.VERSION) -> str:
    """Return everything that one failing row has to say, as plain text; the report says which specification it was held to."""
    place = f"{row.operation} · {row.dtype} {row.precision} on {row.device}"
    lines = [
        f"{row.outcome} {row.requirement} of specification {specification} · {place} · {row.reason}",
        f"  {row.sentence}",
    ]
    shown = row.counterexample
    if shown is None:
        lines += [f"  known  {known_text(known)}" for known in row.known]
        return "\n".join([*lines, *(f"  page   {where}" for where in pages.of(row))])
    pairs: list[tuple[str, Any]] = [("recipe", shown.text), *shown.arrays.items(), *shown.options.items()]
    two = shown.other_call is not None
    pairs += [(f"{name}, {'this' if two else 'last'} call", part) for name, part in shown.call.items()]
    pairs += [(f"{name}, other call", part) for name, part in (shown.other_call or {}).items()]
    pairs.append(("because", shown.message))
    if isinstance(shown.got, list):
        pairs.append(("got", shown.got))
        if shown.required is not None:  # where NaN is required, there are no numbers to show
            pairs.append(("other gave" if two else "required", shown.required))
    if shown.error_in_radii is not None:
        unit = "times what chance allows" if shown.kind == "frequency" else "radii"
        pairs.append(("error", f"{float(shown.error_in_radii):.3g} {unit}"))
    if shown.hint:
        pairs.append(("hint", shown.hint))
    pairs.append(("again", shown.again))
    pairs += [("page", where) for where in pages.of(row)]
    pairs += [("known", known_text(known)) for known in row.known]
    width = max(len(name) for name, _ in pairs)
    for name, part in pairs:
        first, *rest = array_text(part).splitlines() or [""]
        lines += [f"  {name:<{width}}  {first}", *(" " * (width + 4) + line for line in rest)]
    return "\n".join(lines)


def known_text(known: Known) -> str:
    """Return what a baseline says of a failure, on one line."""
    until = f"{'expired on' if known.expired else 'until'} {known.expires}" if known.expires else ""
    where = f"where {known.condition}" if known.condition else ""
    said = ", ".join(part for part in (known.reason.rstrip("."), known.owner, known.link, until, where) if part)
    return f"{STATES[known.state]}{': ' if said else ''}{said}"


def heading(report: Report) -> list[str]:
    """Return what the verdicts rest on: the target, the versions, the settings, the declarations."""
    declared, where = report.declarations, report.environment
    named = " ".join(part for part in (declared["name"], declared["version"]) if part)
    settings = [f"{name} {report.settings[name]}" for name in ("budget", "seed")]
    if required := report.settings.get("require_class"):
        settings.append(f"required class {required}")
    if report.shard:
        settings.append(f"shard {report.shard}")
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
    words += [f">{row.strictest}" if _stricter(row) else "", _percent(row.excused)]
    return Text(" ".join(word for word in words if word), style=COLOURS[row.outcome])


def _stricter(row: Row) -> bool:
    """Whether a number was compared with a radius, and a stricter class would have held it too."""
    return bool(row.accuracy) and row.strictest != row.precision


def _percent(share: float) -> str:
    """Return a share that is not zero, in percent."""
    return "" if not share else "<1%" if share < 0.01 else f"{share:.0%}"


def _legend(rows: list[Row]) -> str:
    """Explain what stands in the cells, on one line."""
    passed = [row for row in rows if row.outcome == "PASS"]
    words = []
    if any(row.accuracy for row in passed):
        words.append("0.5: the largest error took half of what the class allows")
    if any(_stricter(row) for row in passed):
        words.append(">CLASS: the strictest class that it would have passed, where a number was compared")
    if any(row.excused for row in passed):
        words.append("5%: of the elements are excused, as a correct computation may overflow there")
    if any(row.reason for row in passed):
        words.append("*: in part, see below")
    return "; ".join(words)


def _looser(report: Report) -> list[str]:
    """Say of which operation and dtype the class is looser than need be; where no number was compared, nothing shows that."""
    lines = []
    for (operation, dtype), rows in _judged(report).items():
        held, kind = rows[0].precision, _passes(rows)
        if held in ORDER and kind in ORDER[: ORDER.index(held)] and any(row.accuracy for row in rows):
            declared = report.declarations["operations"][operation]["precision"].get(dtype, held)
            what = "all rows" if all(row.outcome == "PASS" for row in rows) else "all rows that passed"
            said = "declared" if declared == held else "held to"
            lines.append(f"{operation} {dtype}: {said} {held}, {what} would have passed as {kind}")
    return lines


def _told(report: Report) -> list[Row]:
    """Return the rows to tell in full: for each requirement and operation the first dtype that fails."""
    found: dict[tuple[str, str], Row] = {}
    for row in report.results:
        if row.outcome in (*BROKEN, "XPASS", "WARN"):
            found.setdefault((row.requirement, row.operation), row)
    return list(found.values())


def _likenesses(report: Report) -> list[str]:
    """Say which fault of the catalogue an operation behaves like, and what to look at."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in report.results:
        if row.counterexample and row.counterexample.like:
            dtypes = found.setdefault((row.operation, row.counterexample.like), [])
            dtypes += [row.dtype] if row.dtype not in dtypes else []
    if not found:
        return []
    from toise.faults import catalogue  # read where something fails

    lines = []
    for (operation, slug), dtypes in found.items():
        if slug not in catalogue():  # the report is of another version
            lines += [f"{operation} in {', '.join(dtypes)} behaves like {slug}", ""]
            continue
        fault = catalogue()[slug]
        lines += [f"{operation} in {', '.join(dtypes)} behaves like {slug} ({fault.source})"]
        lines += [f"  {fault.sentence}", f"  hint      {fault.hint}", ""]
    return lines


def _reasons(report: Report) -> list[str]:
    """Return one line for each reason why something was not judged, or only in part, with the count of examples."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in report.results:
        if row.reason and not row.excluded and row.outcome not in (*BROKEN, "XPASS", "WARN"):
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
    return lines


def _domains(report: Report) -> list[str]:
    """Return one line for each operation of which only a part was judged."""
    lines = []
    for operation in report.declarations["operations"]:
        rows = [row for row in report.results if row.operation == operation and row.domain]
        if rows:
            moved, run = (sum(row.examples.get(name, 0) for row in rows) for name in ("reshaped", "run"))
            lines.append(f"PASS and FAIL of {operation} are for {rows[0].domain} alone; {moved} of {run} inputs were moved there")
    return lines


def _verdict(report: Report) -> Text:
    # What the selection left out is no doubt about the target: it is counted apart from what should have run.
    numbers = {**report.counts, "excluded": report.excluded}
    counts = " · ".join(f"{count} {name}" for name, count in numbers.items() if count)
    word = verdict_word(report)
    # What is not passed though nothing is broken has nothing to show for it.
    judged = any(row.outcome not in ABSENT and not row.excluded for row in report.results)
    why = "  no MUST passed" if report.complete and judged and not report.passed and not report.failing else ""
    why = "  `toise merge` gives the verdict" if report.shard else why
    return Text.assemble((word, "bold red" if report.exit_code else "bold green"), f"  {counts}{why}")


def verdict_word(report: Report) -> str:
    """Return the verdict in a word or two; a shard alone gives none."""
    if not report.complete:
        return "INCOMPLETE"
    if report.shard:
        return f"SHARD {report.shard} {'FAILED' if report.failing else 'DID NOT FAIL'}"
    return "PASSED" if report.passed else "NOT PASSED"


def array_text(part: Any) -> str:
    """Return an array, a number or a text for a person; a large array is cut."""
    if isinstance(part, str):
        return part
    array = np.array(part, dtype=object)
    if array.ndim == 0 or array.dtype != object or not all(isinstance(item, (int, float, bool, str)) for item in array.flat):
        return str(part)
    kinds = {type(item) for item in array.flat}
    try:
        numbers = array.astype(bool if kinds == {bool} else np.int64 if kinds == {int} else np.float64)
    except (ValueError, OverflowError, RuntimeError):  # a report that somebody wrote may hold anything
        return str(part)
    large = array.size > NUMBERS_SHOWN
    if large and array.ndim > 2:  # its corners alone would fill the screen
        numbers = numbers.ravel()
    text = np.array2string(numbers, threshold=NUMBERS_SHOWN, edgeitems=2, floatmode="maxprec", precision=9)
    return f"shape {array.shape}{', in one row' if numbers.ndim != array.ndim else ''}\n{text}" if large else text
