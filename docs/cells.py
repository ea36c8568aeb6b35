"""What the cells of the concept pages share: pieces of the specification, and the figures."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import toise_spec
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from toise import engine
from toise.operations import OPERATIONS
from toise.terminal import failure_text
from words import say

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from toise.report import Report

BEFORE, AFTER = "#546e7a", "#c84b00"  # a blue grey and an orange that are dark enough for words, the same on every page
QUIET, FAINT = "#757575", "#cfd8dc"  # what is not spoken of yet, and lines
mpl.rcParams["svg.hashsalt"] = "toise"  # the same figure gives the same bytes


def target(id: str) -> str:
    """Return the address of a requirement."""
    return f"/spec/{toise_spec.requirement(id).slug}.md#{id}"


def link(id: str) -> str:
    """Return a link to a requirement."""
    return f"[{id}]({target(id)})"


def title(slug: str) -> str:
    """Return the title of a page of the specification."""
    return toise_spec.page(slug).splitlines()[0].removeprefix("# ")


def formulas(slug: str) -> str:
    """Return what the specification reads the source's formula as: all that it displays but the first, the source's own."""
    section = toise_spec.page(slug).split("\n## ")[1]
    _, *ours = re.findall(r"^\$\$\n.+?\n\$\$$", section, re.MULTILINE | re.DOTALL)
    return "\n\n".join(ours)


def must_do(slug: str) -> str:
    """Return the requirements of a page as a list, each with its reason and the name of its test."""
    tests = {prop.id: prop.name for prop in engine.properties()}
    return "\n".join(
        f"- **{link(item.id)}** {item.sentence}<br>\n  *{item.why}*<br>\n  `{tests[item.id]}`"
        for item in toise_spec.requirements().values()
        if item.slug == slug
    )


def verdicts(report: Report, id: str) -> str:
    """Return the requirements of a concept that were judged, by outcome, and what the command prints about the one named."""
    slug = toise_spec.requirement(id).slug
    outcomes: dict[str, list[str]] = {}
    for each, verdict in report.requirements.items():
        if any(OPERATIONS[row.operation].concept == slug and not row.excluded for row in verdict.rows):
            outcomes.setdefault(verdict.outcome, []).append(link(each))
    (told,) = (row for row in report.requirements[id].rows if row.counterexample)
    return "\n".join(
        [
            *(f"- **{outcome}**: {', '.join(links)}" for outcome, links in sorted(outcomes.items())),
            f"\n{say('learn.smallest', id=id)}\n\n```text\n{failure_text(told)}\n```",
        ]
    )


def show(value: np.typing.ArrayLike, form: str = ".4g") -> str:
    """Return numbers as a cell of a table, each in a format."""
    return ", ".join(f"{number:{form}}" for number in np.ravel(value))


def before_after(before: np.ndarray, after: np.ndarray, shown: Container[int], sentence: str) -> str:
    """Return a figure of `[tokens, features]`, a number line for each token, the rows `shown` in colour; `sentence` says it."""
    figure = Figure(figsize=(8, 0.9 + 0.45 * len(before)), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, rows, colour, title in ((left, before, BEFORE, say("learn.before")), (right, after, AFTER, say("learn.after"))):
        for height, row in enumerate(rows):
            axes.axhline(height, color=FAINT, linewidth=1, zorder=0)
            spoken_of = {"color": colour, "alpha": 0.8} if height in shown else {"color": QUIET, "fillstyle": "none"}
            axes.plot(row, [height] * len(row), "o", markersize=7, **spoken_of)
            axes.plot(row.mean(), height, "|", color="black" if height in shown else QUIET, markersize=14)
        axes.set_title(title, loc="left", color=colour, fontweight="bold")
        axes.set_yticks(range(len(rows)), _labels(say("learn.token"), len(rows)))
        axes.invert_yaxis()
        axes.margins(x=0.08, y=0.5 / len(rows))
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.tick_params(left=False)
    return image(figure, sentence)


def grids(
    panels: Mapping[str, tuple[np.ndarray, str]],
    shown: Container[int],
    sentence: str,
    names: tuple[str | Sequence[str], str | Sequence[str]] | None = None,
) -> str:
    """Return a figure of arrays `[queries, keys]` side by side, the rows `shown` in colour; `sentence` says it.

    panels   by title, an array and its colour: numbers are written out and shaded, from the least to the greatest,
             a truth value is a shaded field with a dot in it, and what is False or 0 stays empty
    names    of a row and of a column: a word, which is numbered, or a word for each; a query and a key if not given
    """
    of_rows, of_columns = names or (say("learn.query"), say("learn.key"))
    tallest = max(len(array) for array, _ in panels.values())
    figure = Figure(figsize=(8, 1.2 + 0.5 * tallest), layout="constrained")
    (row_of_axes,) = figure.subplots(1, len(panels), width_ratios=[array.shape[1] for array, _ in panels.values()], squeeze=False)
    for axes, (title, (array, colour)) in zip(row_of_axes, panels.items(), strict=True):
        least, spread = array.min(), np.ptp(array.astype(float))
        for (query, key), value in np.ndenumerate(array):
            text = "" if not value else "●" if array.dtype == bool else f"{value:.2f}"
            shade = 0.7 * (float(value) - float(least)) / spread if query in shown else 0.0
            axes.add_patch(Rectangle((key - 0.5, query - 0.5), 1, 1, facecolor=(colour, shade), edgecolor=FAINT))
            axes.text(key, query, text, ha="center", va="center", fontsize=9, color="black" if query in shown else QUIET)
        axes.set_title(title, loc="left", color=colour, fontweight="bold")
        axes.xaxis.tick_top()
        axes.set_xticks(range(array.shape[1]), _labels(of_columns, array.shape[1]), rotation=90)
        axes.set_yticks(range(len(array)), _labels(of_rows, len(array)))
        axes.set(xlim=(-0.5, array.shape[1] - 0.5), ylim=(tallest - 0.5, -0.5), aspect="equal")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8)
    return image(figure, sentence)


def _labels(names: str | Sequence[str], count: int) -> list[str]:
    return [f"{names} {index}" for index in range(count)] if isinstance(names, str) else list(names)


def texts(rows: Sequence[tuple[str, Sequence[tuple[str, str]]]], sentence: str) -> str:
    """Return a figure of texts below each other, word by word; `sentence` says it.

    rows   a title, and the words, each with what became of it: "plain", "masked", "random" or "kept"
    """
    looks = {
        "plain": {"color": "black", "facecolor": "none", "edgecolor": "none"},
        "masked": {"color": "white", "facecolor": AFTER, "edgecolor": AFTER},
        "random": {"color": "white", "facecolor": BEFORE, "edgecolor": BEFORE},
        "kept": {"color": "black", "facecolor": "none", "edgecolor": AFTER},
    }
    longest = max(len(words) for _, words in rows)
    figure = Figure(figsize=(9, 0.3 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for height, (title, words) in enumerate(rows):
        axes.text(-0.7, height, title, ha="right", va="center", fontsize=9, color=BEFORE, fontweight="bold")
        for place, (word, what) in enumerate(words):
            look = looks[what]
            box = {"boxstyle": "round,pad=0.25", "facecolor": look["facecolor"], "edgecolor": look["edgecolor"]}
            axes.text(place, height, word, ha="center", va="center", fontsize=8, color=look["color"], bbox=box)
    axes.set(xlim=(-2, longest - 0.4), ylim=(len(rows) - 0.5, -0.5))
    axes.axis("off")
    return image(figure, sentence)


def bands(rows: Sequence[tuple[str, Sequence[float], float, float, float]], sentence: str) -> str:
    """Return a figure of measured shares, each beside what is accepted; `sentence` says it.

    rows   what was counted, the shares that were found, the share required, and the least and the greatest accepted
    """
    figure = Figure(figsize=(8, 0.7 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for height, (_, found, required, least, most) in enumerate(rows):
        axes.barh(height, most - least, left=least, height=0.6, color=FAINT)
        axes.plot([required, required], [height - 0.3, height + 0.3], color="black", linewidth=1.5)
        outside = [not least <= share <= most for share in found]
        axes.scatter(found, [height] * len(found), c=[AFTER if out else BEFORE for out in outside], s=30, zorder=3)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(left=False)
    return image(figure, sentence)


def image(figure: Figure, sentence: str) -> str:
    """Return a figure as an element that needs nothing else; `sentence` is read out where it cannot be seen."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True, bbox_inches="tight")
    picture = base64.b64encode(buffer.getvalue()).decode()
    return f'<div class="figure"><img alt="{escape(sentence)}" src="data:image/svg+xml;base64,{picture}"></div>'
