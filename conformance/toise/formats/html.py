"""The report as one HTML page that opens from disk: no request, nothing to install, and all of it there without JavaScript.

A report may come from anybody.  What stands in it is escaped where an element is made, and the page's policy runs only the
style and the script that stand beside this file.
"""

from __future__ import annotations

import base64
import hashlib
import math
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from toise import overview, pages
from toise.formats.markup import Html, boxed, element, escaped
from toise.formats.plot import plot
from toise.formats.rows import TOLD, counted, cut
from toise.report import ABSENT, BROKEN, OUTCOMES
from toise.terminal import NUMBERS_SHOWN, STATES, array_text, heading, verdict_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from toise.report import Counterexample, Document, Known, Report, Row

TONES = {
    **dict.fromkeys(BROKEN, "broken"),
    **dict.fromkeys(ABSENT, "absent"),
    "XPASS": "warn",
    "WARN": "warn",
    "XFAIL": "known",
    "NOT RUN": "unrun",
    "PASS": "pass",
}
OVERVIEW = (
    "PASS 30/31: 30 of 31 hold, and the others are NOT PROVIDED; FAIL 2/31: 2 of 31 fail; -: NOT PROVIDED; *: some hold in part."
)


class Place(NamedTuple):
    """A column of a table, or a strip of the plot."""

    dtype: str
    device: str


def render(document: Document) -> str:
    """Return the page."""
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    title = " · ".join(f"{verdict_word(report)} {report.target}" for report in document.reports) or "no report"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{cut(title, 200)} · Toise"),
        element("style", Html(style)),
    )
    # The filter is for all tables: it stands before the first, and after the verdict of the only target.
    several, filter = len(document.reports) > 1, _filter(document)
    parts = [_report(at, report, Html() if several else filter) for at, report in enumerate(document.reports)]
    body = element(
        "body",
        element("a", "Skip to the verdict", class_="skip", href="#main"),
        element("header", element("h1", element("b", "Toise"), " conformance report")),
        element("main", _overview(document), filter if several else "", *parts, id="main", tabindex="-1"),
        element("script", Html(script)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _asset(name: str) -> str:
    return (resources.files("toise.formats") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return what a browser may do with the page: use the one style and the one script, and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    rules = [
        "default-src 'none'",
        f"style-src 'sha256-{hashes[0]}'",
        f"script-src 'sha256-{hashes[1]}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


# --- The verdict ---------------------------------------------------------------------------------------


def _why(report: Report) -> str:
    """Return what the word alone would leave open."""
    if not report.complete:
        return "The run ended before all was judged: rows are missing, and this is no verdict."
    if report.shard:
        return "A part of the rows, and no verdict on the target: `toise merge` gives it."
    if report.exit_code == 2:
        return "Nothing was judged."
    return "" if report.passed or report.failing else "No MUST passed."


def _tone(report: Report) -> str:
    """Return the colour of the verdict, which its word says too."""
    return "unrun" if not report.complete else "pass" if report.passed else "broken" if report.failing else "absent"


def _counts(report: Report) -> str:
    named = {**report.counts, "excluded by the selection": report.excluded}
    return " · ".join(f"{count} {name}" for name, count in named.items() if count)


def _report(at: int, report: Report, filter: Html) -> Html:
    """Return all that there is to say of one target."""
    told = [(index, row) for index, row in enumerate(report.results) if _is_told(row)]
    told.sort(key=lambda each: OUTCOMES.index(each[1].outcome))  # the worst first
    reasons = _reasons(report)
    contents = [
        ("matrix", "What was judged", _matrix(at, report, list(reasons))),
        ("failures", "What is not well, in full", Html("".join(_failure(f"t{at}-{index}", row) for index, row in told))),
        ("reasons", "Not judged, or in part", _reason_list(at, reasons)),
        ("plot", "How much of the radius was used", plot(report)),
    ]
    there = [(f"t{at}-{slug}", title, content) for slug, title, content in contents if content]
    links = [element("a", title, href=f"#{id}") for id, title, _ in there]
    sections = [
        element("section", element("h3", title, id=id), content, class_=id[len(f"t{at}-") :]) for id, title, content in there
    ]
    return element(
        "section",
        _verdict(at, report, links),
        filter,
        *sections,
        id=f"t{at}",
        class_="target",
        aria_labelledby=f"t{at}-name",
    )


def _verdict(at: int, report: Report, links: list[Html]) -> Html:
    """Return the card that stands first: the word, the counts, what they rest on, and what the target behaves like."""
    first, *rest = heading(report)
    started = [element("p", "started ", element("time", report.started))] if report.started else []
    facts = {**report.environment, **{name: _setting(value) for name, value in report.settings.items() if _setting(value)}}
    table = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in facts.items()]
    return element(
        "div",
        element("h2", report.target, id=f"t{at}-name"),
        element(
            "p", element("strong", verdict_word(report), class_="word"), " ", element("span", _counts(report), class_="counts")
        ),
        *([element("p", _why(report), class_="why")] if _why(report) else []),
        *(_likeness(*each) for each in _likenesses(report).items()),
        element(
            "div", *(element("p", line) for line in (first.removeprefix(f"{report.target} · "), *rest)), *started, class_="basis"
        ),
        element("details", element("summary", "Environment and settings"), boxed(element("table", *table), "environment")),
        *([element("nav", *links, aria_label=f"Parts of {report.target}")] if links else []),
        class_=f"verdict {_tone(report)}",
    )


def _setting(value: object) -> str:
    """Return a setting in words; empty for one that says nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _likenesses(report: Report) -> dict[tuple[str, str], list[str]]:
    """Return the dtypes in which an operation behaves like a fault of the catalogue."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in report.results:
        if row.counterexample and row.counterexample.like:
            found.setdefault((row.operation, row.counterexample.like), {})[row.dtype] = None
    return {pair: list(dtypes) for pair, dtypes in found.items()}


def _likeness(pair: tuple[str, str], dtypes: list[str]) -> Html:
    """Say which fault it behaves like; a report of another version may name one that is not known here."""
    from toise.faults import catalogue  # read where something fails

    operation, slug = pair
    fault = catalogue().get(slug)
    said = f"{operation} in {', '.join(dtypes)} behaves like {slug}"
    known = [element("p", fault.sentence), element("p", element("b", "hint"), " ", fault.hint)] if fault else []
    first = f"{said} ({fault.source})" if fault else said
    return element("div", element("p", element("strong", first)), *known, class_="likeness")


# --- Several targets -----------------------------------------------------------------------------------


def _overview(document: Document) -> Html:
    """Return the matrix of all targets, and the reasons why others cannot be had."""
    apart = [element("p", _badge("NOT AVAILABLE", "absent"), f" {name}: {why}") for name, why in document.unavailable.items()]
    if len(document.reports) < 2:
        return Html("".join(apart))
    found = [overview.lines(report.results) for report in document.reports]
    concepts = overview.concepts_of(line for lines in found for line in lines)
    titles = [element("th", name.replace("_", " "), scope="col") for name in ("target", "dtype", "device", "verdict", *concepts)]
    rows = [
        _overview_row(at, report, line, concepts)
        for at, (report, lines) in enumerate(zip(document.reports, found, strict=True))
        for line in lines or [overview.Line("", "", {})]
    ]
    table = element("table", element("thead", element("tr", *titles)), element("tbody", *rows))
    return element(
        "section",
        element("h2", "All targets", id="overview"),
        boxed(table, "all targets"),
        element("p", OVERVIEW, class_="legend"),
        *apart,
        class_="overview",
    )


def _overview_row(at: int, report: Report, line: overview.Line, concepts: list[str]) -> Html:
    cells = [line.cells.get(concept) for concept in concepts]
    return element(
        "tr",
        element("th", element("a", report.target, href=f"#t{at}"), scope="row"),
        element("td", line.dtype),
        element("td", line.device),
        element("td", _badge(verdict_word(report) if report.results else "NOT JUDGED", _tone(report))),
        *(element("td", _badge(str(cell), TONES[cell.outcome]) if cell else "") for cell in cells),
    )


def _badge(text: object, tone: str) -> Html:
    return element("span", text, class_=f"outcome {tone}")


# --- The matrix ----------------------------------------------------------------------------------------


def _filter(document: Document) -> Html:
    """Return what hides rows; without JavaScript it does nothing, and stays hidden."""
    lines = [line for report in document.reports for rows in _operations(report).values() for line in _lines(rows)]
    counts = {outcome: sum(any(row.outcome == outcome for row in line) for line in lines) for outcome in OUTCOMES}
    buttons = {"Only what is not well": ("PASS", *ABSENT), "Only what is provided": ABSENT, "All": ()}
    boxes = [
        element(
            "label",
            element("input", type="checkbox", name="outcome", value=name, checked=True),
            _badge(name, TONES[name]),
            f" {n}",
        )
        for name, n in counts.items()
        if n
    ]
    return element(
        "div",
        element("label", "Search ids, operations, sentences", for_="search"),
        element("input", id="search", type="search", autocomplete="off", spellcheck="false"),
        element("fieldset", element("legend", "Rows with a cell that is"), *boxes),
        *(element("button", name, type="button", data_without="|".join(without)) for name, without in buttons.items()),
        element("p", f"{len(lines)} of {counted(len(lines), 'row')} shown", id="count", role="status", aria_live="polite"),
        id="filter",
        role="search",
        aria_label="Filter the rows of the tables",
        hidden=True,
    )


def _operations(report: Report) -> dict[str, list[tuple[int, Row]]]:
    """Return the rows that the selection kept, each with its number, by operation; what is not there at all comes last."""
    found: dict[str, list[tuple[int, Row]]] = {}
    for index, row in enumerate(report.results):
        if not row.excluded:
            found.setdefault(row.operation, []).append((index, row))
    return dict(sorted(found.items(), key=lambda pair: all(row.outcome in ABSENT for _, row in pair[1])))


def _lines(rows: list[tuple[int, Row]]) -> list[list[Row]]:
    """Return the rows of one operation by requirement, which are one line of its table."""
    found: dict[str, list[Row]] = {}
    for _, row in rows:
        found.setdefault(row.requirement, []).append(row)
    return list(found.values())


def _matrix(at: int, report: Report, reasons: list[tuple[str, str]]) -> Html:
    """Return a table for each operation, with what its cells mean."""
    operations = _operations(report)
    devices = {row.device for rows in operations.values() for _, row in rows}
    links = {
        index: f"#t{at}-{index}" if _is_told(row) else f"#t{at}-reason-{reasons.index((row.outcome, row.reason))}"
        for rows in operations.values()
        for index, row in rows
        if _is_told(row) or row.reason
    }
    tables = [_operation(name, rows, links, several=len(devices) > 1) for name, rows in operations.items()]
    return Html("".join([element("p", _legend(report), class_="legend"), *tables])) if tables else Html()


def _operation(name: str, rows: list[tuple[int, Row]], links: Mapping[int, str], *, several: bool) -> Html:
    places = list(dict.fromkeys(Place(row.dtype, row.device) for _, row in rows))
    classes = {Place(row.dtype, row.device): row.precision for _, row in rows}
    titles = [
        element("th", place.dtype, element("small", classes[place] + (f" on {place.device}" if several else "")), scope="col")
        for place in places
    ]
    first, last = element("th", "id", scope="col"), element("th", "what is tested", scope="col")
    cells: dict[str, dict[Place, tuple[int, Row]]] = {}
    for index, row in rows:
        cells.setdefault(row.requirement, {})[row.dtype, row.device] = index, row  # type: ignore[index]
    body = [_line(places, line, links) for line in cells.values()]
    domain = next((row.domain for _, row in rows if row.domain), "")
    table = element("table", element("thead", element("tr", first, *titles, last)), element("tbody", *body))
    return element(
        "div",
        element("h4", name),
        *([element("p", f"PASS and FAIL are for {domain} alone.", class_="legend")] if domain else []),
        boxed(table, name),
        class_="operation",
        data_operation=name,
    )


def _line(places: list[Place], line: Mapping[Place, tuple[int, Row]], links: Mapping[int, str]) -> Html:
    _, row = next(iter(line.values()))
    return element(
        "tr",
        element("th", row.requirement, element("small", row.level), scope="row"),
        *(element("td", _cell(*line[place], links) if place in line else "") for place in places),
        element("td", element("b", row.test), element("span", *_sentence(row.sentence)), class_="what"),
        data_outcomes="|".join(dict.fromkeys(each.outcome for _, each in line.values())),
    )


def _sentence(text: str) -> Iterator[object]:
    """Return a sentence of the specification; what stands between backticks there is code."""
    for at, part in enumerate(text.split("`")):
        yield element("code", part) if at % 2 else part


def _cell(index: int, row: Row, links: Mapping[int, str]) -> Html:
    """Return the outcome, how much of what it may the largest error took, and the strictest class that would have passed."""
    star = "*" if row.outcome == "PASS" and row.reason else ""
    word = _badge(f"{row.outcome}{star}", TONES[row.outcome])
    linked = element("a", word, href=links[index]) if index in links else word
    if row.outcome != "PASS":
        return linked
    words = [f"{row.accuracy:.2g}"] if row.accuracy else []
    words += [f">{row.strictest}"] if row.accuracy and row.strictest != row.precision else []
    words += [f"{row.excused:.0%}" if row.excused >= 0.01 else "<1%"] if row.excused else []
    return Html(
        linked + (element("span", " ".join(words), _bar(row.accuracy) if row.accuracy else "", class_="used") if words else "")
    )


def _bar(share: float) -> Html:
    """Return a small bar for the share of the radius that was used."""
    width = min(max(share, 0), 1) * 48 if math.isfinite(share) else 0
    bars = (("track", 48.0), ("fill", width))
    rects = [element("rect", class_=name, width=f"{wide:.1f}", height="4", rx="2") for name, wide in bars]
    return element("svg", *rects, width="48", height="4", aria_hidden="true")


def _legend(report: Report) -> str:
    """Explain what stands in the cells."""
    passed = [row for row in report.results if row.outcome == "PASS"]
    words = []
    if any(row.accuracy for row in passed):
        words.append("0.5, and the bar: the largest error took half of what the class allows")
    if any(row.accuracy and row.strictest != row.precision for row in passed):
        words.append(">CLASS: the strictest class that it would have passed, where a number was compared")
    if any(row.excused for row in passed):
        words.append("5%: of the elements are excused, as a correct computation may overflow there")
    if any(row.reason for row in passed):
        words.append("*: in part")
    return "; ".join([*words, "a word that is underlined leads to the details"]) + "."


# --- Reasons -------------------------------------------------------------------------------------------


def _is_told(row: Row) -> bool:
    """Whether the row is told in full."""
    return not row.excluded and (row.outcome in TOLD or bool(row.known))


def _reasons(report: Report) -> dict[tuple[str, str], list[Row]]:
    """Return the rows that were not judged, or only in part, by outcome and reason."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in report.results:
        if row.reason and not row.excluded and not _is_told(row):
            found.setdefault((row.outcome, row.reason), []).append(row)
    return found


def _reason_list(at: int, reasons: dict[tuple[str, str], list[Row]]) -> Html:
    items = []
    for index, ((outcome, reason), rows) in enumerate(reasons.items()):
        refused, run = (sum(row.examples.get(name, 0) for row in rows) for name in ("unsupported", "run"))
        places = ", ".join(dict.fromkeys(f"{row.requirement} {row.operation}" for row in rows))
        words = _badge(f"{outcome}{'*' if outcome == 'PASS' else ''}", TONES[outcome])
        count = f" ({refused} of {run} examples)" if refused else ""
        lines = element("small", f"{counted(len(rows), 'row')}: {cut(places, 600)}")
        items.append(element("li", words, f" {reason}{count} ", lines, id=f"t{at}-reason-{index}"))
    return element("ul", *items) if items else Html()


# --- Failures ------------------------------------------------------------------------------------------


def _failure(id: str, row: Row) -> Html:
    """Return everything that one row has to say."""
    title = [_badge(row.outcome, TONES[row.outcome]), f" {row.requirement} · {row.operation} · {row.dtype}"]
    place = " · ".join(part for part in (row.level, f"{row.precision} on {row.device}", row.reason) if part)
    return element(
        "article",
        element("h4", *title, id=f"{id}-title"),
        element("p", place, class_="place"),
        element("blockquote", *_sentence(row.sentence)),
        *(element("p", "page: ", _link(where)) for where in pages.of(row)),
        *([_counterexample(row.counterexample)] if row.counterexample else []),
        *(_known(entry) for entry in row.known),
        id=id,
        class_=f"failure {TONES[row.outcome]}",
        aria_labelledby=f"{id}-title",
    )


def _counterexample(found: Counterexample) -> Html:
    two = found.other_call is not None
    pairs: list[tuple[str, Any]] = [("because", found.message), ("recipe", found.text)]
    pairs += [*found.arrays.items(), *found.options.items()]
    pairs += [(f"{name}, {'this' if two else 'last'} call", part) for name, part in found.call.items()]
    pairs += [(f"{name}, other call", part) for name, part in (found.other_call or {}).items()]
    facts = [(name, element("pre", _shown(part))) for name, part in pairs]
    facts += list(_results(found, "other gave" if two else "required"))
    if found.error_in_radii is not None:
        unit = "times what chance allows" if found.kind == "frequency" else "radii"
        facts.append(("error", element("strong", f"{float(found.error_in_radii):.3g} {unit}")))
    facts += [("within", _within(found.within))] if found.within else []
    facts += [(name, element("p", text)) for name, text in (("hint", found.hint), ("like", found.like)) if text]
    facts.append(("again", element("pre", element("code", found.again), class_="again")))
    return _facts(facts)


def _facts(pairs: Iterable[tuple[str, object]]) -> Html:
    return element("dl", *(element("div", element("dt", name), element("dd", part)) for name, part in pairs))


def _within(within: Mapping[str, bool]) -> Html:
    return element("p", ", ".join(within), " would hold the error")


def _results(found: Counterexample, beside: str) -> Iterator[tuple[str, Html]]:
    """Return what came back beside what was required: element by element where they are few."""
    parts = {"got": found.got, beside: found.required, "radius": found.radius}
    given = {name: part for name, part in parts.items() if part is not None}
    if table := _side_by_side(given, found.at):
        yield "result", table
        return
    for name, part in given.items():
        yield name, element("pre", _shown(part))


def _side_by_side(parts: Mapping[str, Any], at: list[int] | None) -> Html:
    """Return a table with a line for each element; empty where the parts do not fit together, or are large."""
    flat = {name: dict(_elements(part)) for name, part in parts.items()}
    indices = list(flat.get("got", ()))
    if not 0 < len(indices) <= NUMBERS_SHOWN or any(list(part) != indices for part in flat.values()):
        return Html()
    titles = element("tr", *(element("th", name, scope="col") for name in ("at", *flat)))
    lines = [
        element(
            "tr",
            element("th", str(list(index)) if index else "-", scope="row"),
            *(element("td", _number(part[index], 3 if name == "radius" else 9)) for name, part in flat.items()),
            class_="here" if at is not None and list(index) == at else None,
        )
        for index in indices
    ]
    return boxed(element("table", element("thead", titles), element("tbody", *lines), class_="numbers"), "result")


def _elements(part: Any, index: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Return each element of nested lists with its index, and no more of them than are shown."""
    if not isinstance(part, list):
        yield index, part
        return
    for at, item in enumerate(part[: NUMBERS_SHOWN + 1]):
        yield from _elements(item, (*index, at))


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else cut(str(value), 200)


def _shown(part: Any) -> str:
    """Return an array, a number or a text for a person; a large one is cut, and what is no array is shown as it is."""
    return cut(array_text(part))


def _known(entry: Known) -> Html:
    """Return what the baseline says of the row."""
    state = STATES.get(entry.state, entry.state)
    until = f"until {entry.expires}{', which is over' if entry.expired else ''}" if entry.expires else "no end"
    facts: list[tuple[str, object]] = [
        ("known", element("strong", f"{state}{' · EXPIRED' if entry.expired else ''}")),
        ("owner", entry.owner),
        ("reason", element("p", entry.reason)),
        ("link", _link(entry.link)),
        ("expires", until),
        ("condition", entry.condition or "for all recipes"),
        ("recorded as", entry.kind),
    ]
    return element("div", _facts((name, part) for name, part in facts if part), class_="known-entry")


def _link(address: str) -> Html:
    """Return a link to a web page; the text alone of anything else."""
    if address.startswith(("https://", "http://")) and address.isprintable():
        return element("a", address, href=address, rel="noreferrer noopener")
    return Html(escaped(address))
