"""The report as Markdown, for the summary of a CI job.

A report may come from anybody.  What stands in it is written with character references, of which no renderer makes markup,
and what is long stands in `<pre>`, where nothing is a fence.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from toise import overview
from toise.errors import visible
from toise.formats.rows import TOLD, counted, cut, doubts, told
from toise.report import ABSENT
from toise.terminal import STATES, failure_text, heading, verdict_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from toise.report import Document, Known, Report, Row

# GitHub refuses a summary of more than 1 MiB, and this leaves room for what a job writes besides.
LIMIT = 1_000_000
# The longest text on a line, and in a block of its own, in characters.
LINE, BLOCK = 400, 8000
# How many reasons why something was not judged are listed.
REASONS = 40
# What means something in a line of Markdown, to GitHub or to the extensions of MkDocs.
MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&@$!\"'=+^]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# What a link may have besides letters and digits: nothing that ends a cell of a table, or begins a link of its own.
IN_LINKS = ":/?#@$&',;=%~+"
LEGEND = (
    "FAIL 2/31: 2 of 31 rows fail; PASS 30/31: 30 of 31 hold, and the others are NOT PROVIDED; "
    "\\-: NOT PROVIDED, or NOT APPLICABLE; \\*: some hold in part."
)


class Part(NamedTuple):
    """Some lines of the page; where not all fit, those of the least weight stay."""

    weight: int
    text: str


# What always stands there, as far as it fits; what is known; what fails.
FIRST, KNOWN, FAILURE = 0, 1, 2


def render(document: Document) -> str:
    """Return the page: all verdicts first, then the failures of each target, the worst first."""
    parts = [Part(FIRST, "## Toise\n\n"), *_overview(document)]
    for report in document.reports:
        parts += _report(report)
    return _that_fits(parts)


def _that_fits(parts: Sequence[Part]) -> str:
    """Return the parts in their order; what is beyond the limit is left out, and said."""
    kept, room = set(), LIMIT - 200
    for at in sorted(range(len(parts)), key=lambda at: parts[at].weight):
        room -= len(parts[at].text.encode())
        if room < 0:
            break
        kept.add(at)
    left = [part for at, part in enumerate(parts) if at not in kept]
    failures = sum(part.weight >= FAILURE for part in left)
    what = " and ".join(
        counted(count, noun) for count, noun in ((failures, "failure"), (len(left) - failures, "other part")) if count
    )
    note = f"\n**Left out, as the page would be too large: {what}. The report has them.**\n" if left else ""
    return "".join(part.text for at, part in enumerate(parts) if at in kept) + note


# --- All targets ---------------------------------------------------------------------------------------


def _overview(document: Document) -> Iterator[Part]:
    """Return the matrix: concept by target, dtype and device."""
    found = [overview.lines(report.results) for report in document.reports]
    concepts = overview.concepts_of(line for lines in found for line in lines)
    if document.reports:
        yield Part(FIRST, _table_head(("target", "dtype", "device", "verdict", *(name.replace("_", " ") for name in concepts))))
    for report, lines in zip(document.reports, found, strict=True):
        for line in lines or [overview.Line("", "", {})]:
            cells = [_cell(line.cells[concept]) if concept in line.cells else "" for concept in concepts]
            names = [escaped(part) for part in (report.target, line.dtype, line.device)]
            yield Part(FIRST, _table_row((*names, f"**{escaped(verdict_word(report))}**", *cells)))
    yield Part(FIRST, f"\n{LEGEND}\n\n" if document.reports else "No target was judged.\n\n")
    for target, reason in document.unavailable.items():
        yield Part(FIRST, f"- **NOT AVAILABLE** {escaped(target)}: {escaped(reason)}\n")
    yield Part(FIRST, "\n")


def _cell(cell: overview.Cell) -> str:
    text = escaped(str(cell))
    return text if cell.outcome in (*ABSENT, "PASS") else f"**{text}**"


def _table_head(titles: Sequence[str]) -> str:
    return f"{_table_row([escaped(title) for title in titles])}|{'---|' * len(titles)}\n"


def _table_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


# --- One target ----------------------------------------------------------------------------------------


def _report(report: Report) -> Iterator[Part]:
    """Return all that there is to say of one target."""
    yield Part(FIRST, f"### {escaped(report.target)}: {escaped(verdict_word(report))}\n\n{_counts(report)}\n\n")
    for doubt in doubts(report):
        yield Part(FIRST, f"> **{escaped(doubt)}.**\n\n")
    yield Part(FIRST, f"<p>{'<br>'.join(in_html(line) for line in heading(report))}</p>\n\n")
    for at, row in enumerate(told(report)):
        yield Part(FAILURE + at, _failure(row, report.environment["specification"]))
    yield from _known(report)
    if reasons := list(_reasons(report)):
        more = [f"<li>and {counted(len(reasons) - REASONS, 'more reason')}</li>\n"] if len(reasons) > REASONS else []
        listed = "".join([*reasons[:REASONS], *more])
        yield Part(KNOWN, f"<details><summary>Not judged, or in part</summary>\n\n<ul>\n{listed}</ul>\n\n</details>\n\n")


def _counts(report: Report) -> str:
    named = {**report.counts, "excluded by the selection": report.excluded}
    return " · ".join(f"{count} {name}" for name, count in named.items() if count)


def _failure(row: Row, specification: str) -> str:
    """Return a row with its sentence, and below it all that there is to say, which opens at a click."""
    place = f"{row.requirement} · {row.operation} · {row.dtype} {row.precision} on {row.device} · {row.reason}"
    summary = f"<strong>{row.outcome}</strong> {in_html(place)}<br>{in_html(row.sentence)}"
    text = unfenced(cut(visible(failure_text(row, specification)), BLOCK))
    return f"<details><summary>{summary}</summary>\n\n<pre>\n{text}\n</pre>\n\n</details>\n\n"


def _known(report: Report) -> Iterator[Part]:
    """Return the failures that a baseline knows, each on a line of a table."""
    known = [(row, entry) for row in report.results if not row.excluded for entry in row.known]
    if known:
        titles = ("known failure", "operation", "dtype", "now", "owner", "reason", "link", "expires", "where")
        yield Part(KNOWN, f"\n{_table_head(titles)}")
    for row, entry in known:
        yield Part(KNOWN, _known_row(row, entry))
    if known:
        yield Part(KNOWN, "\n")


def _known_row(row: Row, entry: Known) -> str:
    until = entry.expires + (" (**EXPIRED**)" if entry.expired else "")
    texts = (row.requirement, row.operation, row.dtype, f"{row.outcome}: {STATES[entry.state]}", entry.owner, entry.reason)
    return _table_row([*map(escaped, texts), link(entry.link), until, escaped(entry.condition or "everywhere")])


def _reasons(report: Report) -> Iterator[str]:
    """Yield a line for each reason why something was not judged, or only in part."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in report.results:
        if row.reason and row.outcome not in TOLD and not row.excluded:
            found.setdefault((row.outcome, row.reason), []).append(row)
    for (outcome, reason), rows in found.items():
        ids = ", ".join(dict.fromkeys(f"{row.requirement} {row.operation}" for row in rows))
        yield f"<li>{outcome}: {in_html(reason)} ({counted(len(rows), 'row')}: {in_html(cut(ids, 160))})</li>\n"


# --- Somebody's text -----------------------------------------------------------------------------------


def escaped(text: object) -> str:
    """Return a text on one line of Markdown, in which nothing is markup but the backticks around code."""
    return _coded(_on_one_line(text), lambda plain: _unmentioned(MARKUP.sub(lambda found: f"&#{ord(found[0])};", plain)))


def in_html(text: object) -> str:
    """Return a text on one line of HTML, in which nothing is markup but the backticks around code."""
    return _coded(_on_one_line(text), lambda plain: _unmentioned(unfenced(plain).replace("@", "&#64;")))


def unfenced(text: str) -> str:
    """Escape a text for HTML, and also what MkDocs takes for a fence, or for attributes, before it knows where HTML is."""
    return re.sub("[`~{}]", lambda found: f"&#{ord(found[0])};", html.escape(text))


def link(address: str) -> str:
    """Return a link to a web page; the text alone of anything else."""
    if not re.fullmatch(r"https?://\S+", address, re.IGNORECASE) or not address.isprintable():
        return escaped(address)
    return f'<a href="{html.escape(quote(address, safe=IN_LINKS))}">{escaped(address)}</a>'


def _on_one_line(text: object) -> str:
    return visible(cut(" ".join(str(text).split()), LINE))


def _coded(text: str, escape: Callable[[str], str]) -> str:
    """Escape a text, and set as code what stands between two backticks, as the sentences of the specification have it."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return escape(text)
    return "".join(f"<code>{escape(piece)}</code>" if at % 2 else escape(piece) for at, piece in enumerate(pieces))


def _unmentioned(text: str) -> str:
    """Keep an @ from calling anybody: what follows it is no name any more."""
    return text.replace("&#64;", "&#64;&#8203;")
