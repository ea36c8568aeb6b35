"""The plot of a report: the largest error of each row in radii, one strip for each operation and dtype."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toise.formats.markup import Html, boxed, element
from toise.formats.rows import counted, cut
from toise.report import BROKEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from toise.report import Report, Row

# The plot, in pixels and in powers of ten of a radius.
LEFT, WIDTH, STRIP, TOP = 200, 500, 26, 26
LEAST, MOST = -4, 1


class Mark(NamedTuple):
    """A row in the plot: its name, and its largest error in radii."""

    name: str
    ratio: float
    broken: bool


def plot(report: Report) -> Html:
    """Return a strip for each operation and dtype, a mark for each row that compared numbers, and the same in words."""
    strips = {name: marks for name, marks in _strips(report).items() if marks}
    if not strips:
        return Html()
    height = TOP + STRIP * len(strips) + 8
    rows = [_strip(TOP + STRIP * at, name, marks) for at, (name, marks) in enumerate(strips.items())]
    said = f"The largest error of each row in radii, on a logarithmic scale, for {counted(len(strips), 'operation and dtype')}."
    drawing = element(
        "svg",
        element("title", f"{said} The table below has it in words."),
        *_axis(height),
        *rows,
        role="img",
        viewBox=f"0 0 {LEFT + WIDTH + 40} {height}",
        width=LEFT + WIDTH + 40,
        height=height,
    )
    table = boxed(_in_words(strips), "errors in radii")
    return Html(
        element("p", _said(report, strips), class_="legend")
        + element("div", drawing, class_="box drawing", role="region", tabindex="0", aria_label="Plot: errors in radii")
        + element("details", element("summary", "The plot in words"), table)
    )


def _strips(report: Report) -> dict[str, list[Mark]]:
    several = len({row.device for row in report.results}) > 1
    found: dict[str, list[Mark]] = {}
    for row in report.results:
        name = f"{row.operation} {row.dtype}" + (f" {row.device}" if several else "")
        ratio = _ratio(row)
        marks = found.setdefault(name, [])
        if math.isfinite(ratio) and ratio > 0:
            marks.append(Mark(f"{row.requirement} {row.dtype}", ratio, row.outcome in BROKEN))
    return found


def _ratio(row: Row) -> float:
    """Return the largest error in radii; zero for a row that has none to draw."""
    if row.outcome == "PASS":
        return row.accuracy
    if row.outcome in BROKEN and row.counterexample and row.counterexample.error_in_radii is not None:
        return float(row.counterexample.error_in_radii)
    return 0.0


def _said(report: Report, strips: Mapping[str, list[Mark]]) -> str:
    """Explain the plot, and say what it does not show as it is."""
    marks = [mark for every in strips.values() for mark in every]
    far, near = sum(mark.ratio > 10**MOST for mark in marks), sum(mark.ratio < 10**LEAST for mark in marks)
    broken = sum(row.outcome in BROKEN for row in report.results) - sum(mark.broken for mark in marks)
    words = ["A dot is a row that passes, a cross one that does not; point at it for its name"]
    words += [f"{counted(far, 'mark')} at the right edge: the error is larger than 10 radii"] if far else []
    words += [f"{counted(near, 'mark')} at the left edge: the error is smaller than 0.0001 radii"] if near else []
    words += [f"{counted(broken, 'broken row')} without a number not drawn"] if broken else []
    return "; ".join(words) + "."


def _across(ratio: float) -> float:
    """Return where an error stands."""
    power = min(max(math.log10(ratio), LEAST), MOST)
    return LEFT + WIDTH * (power - LEAST) / (MOST - LEAST)


def _axis(height: int) -> Iterator[Html]:
    edge = _across(1)
    yield element(
        "rect", class_="beyond", x=f"{edge:.1f}", y=TOP - 6, width=f"{_across(10) - edge + 12:.1f}", height=height - TOP
    )
    for power in range(LEAST, MOST + 1):
        x = f"{_across(10.0**power):.1f}"
        name = "1 radius" if power == 0 else f"{10.0**power:g}" if power != LEAST else "0.0001"
        yield element("line", class_="radius" if power == 0 else "tick", x1=x, x2=x, y1=TOP - 6, y2=height - 6)
        yield element("text", name, class_="radius" if power == 0 else "tick", x=x, y=TOP - 12, text_anchor="middle")


def _strip(top: int, name: str, marks: list[Mark]) -> Html:
    middle = top + STRIP // 2
    drawn = [_mark(mark, middle + (at % 3 - 1) * 5) for at, mark in enumerate(sorted(marks, key=lambda mark: mark.ratio))]
    base = element("line", class_="tick", x1=LEFT, x2=LEFT + WIDTH, y1=top + STRIP, y2=top + STRIP)
    return element("g", base, element("text", cut(name, 28), x=LEFT - 12, y=middle + 4, text_anchor="end"), *drawn)


def _mark(mark: Mark, y: int) -> Html:
    x, title = _across(mark.ratio), element("title", f"{mark.name}: {mark.ratio:.3g}")
    if not mark.broken:
        return element("circle", title, class_="dot", cx=f"{x:.1f}", cy=y, r="4")
    return element("path", title, class_="cross", d=f"M{x - 4:.1f} {y - 4}l8 8m0-8l-8 8")


def _in_words(strips: Mapping[str, list[Mark]]) -> Html:
    titles = ("operation and dtype", "rows", "median", "largest that passes", "where", "beyond the radius")
    lines = []
    for name, marks in strips.items():
        passed = [mark for mark in marks if not mark.broken]
        most = max(passed, key=lambda mark: mark.ratio, default=None)
        median = f"{float(np.median([mark.ratio for mark in passed])):.2g}" if passed else "-"
        cells = (len(marks), median, f"{most.ratio:.2g}" if most else "-", most.name if most else "-", len(marks) - len(passed))
        lines.append(element("tr", element("th", name, scope="row"), *(element("td", cell) for cell in cells)))
    head = element("thead", element("tr", *(element("th", title, scope="col") for title in titles)))
    return element("table", head, element("tbody", *lines))
