"""What the cells of the concept pages share: pieces of the specification, and the figure."""

from __future__ import annotations

import base64
import importlib
import io
import re
from typing import TYPE_CHECKING

import matplotlib as mpl
import toise_spec
from matplotlib.figure import Figure
from toise.terminal import failure_text

if TYPE_CHECKING:
    from collections.abc import Container

    import numpy as np
    from toise.report import Report

BEFORE, AFTER, FAINT = "#546e7a", "#ff6e40", "#cfd8dc"  # the theme's blue grey and deep orange, the same on every page
mpl.rcParams["svg.hashsalt"] = "toise"  # the same figure gives the same bytes


def formulas(slug: str) -> str:
    """Return what the specification reads the source's formula as: all that it displays but the first, the source's own."""
    section = toise_spec.page(slug).split("\n## ")[1]
    _, *ours = re.findall(r"^\$\$\n.+?\n\$\$$", section, re.MULTILINE | re.DOTALL)
    return "\n\n".join(ours)


def must_do(slug: str) -> str:
    """Return the requirements of a page as a list, each with its reason and the name of its test."""
    suite = vars(importlib.import_module(f"toise.suite.test_{slug}"))
    tests = {thing.property.id: name for name, thing in suite.items() if hasattr(thing, "property")}
    return "\n".join(
        f"- **[{item.id}](spec/{slug}.md#{item.id})** {item.sentence}<br>\n  *{item.why}*<br>\n  `{tests[item.id]}`"
        for item in toise_spec.requirements().values()
        if item.slug == slug
    )


def verdicts(report: Report, id: str) -> str:
    """Return the requirements of an operation by outcome, and what the command prints about the one named."""
    slug = toise_spec.requirement(id).slug
    outcomes: dict[str, list[str]] = {}
    for each, verdict in report.requirements.items():
        if any(row.operation == slug for row in verdict.rows):
            page = toise_spec.requirement(each).slug
            outcomes.setdefault(verdict.outcome, []).append(f"[{each}](spec/{page}.md#{each})")
    (told,) = (row for row in report.requirements[id].rows if row.counterexample)
    return "\n".join(
        [
            *(f"- **{outcome}**: {', '.join(links)}" for outcome, links in sorted(outcomes.items())),
            f"\nThe smallest input found that breaks {id}:\n\n```text\n{failure_text(told)}\n```",
        ]
    )


def before_after(before: np.ndarray, after: np.ndarray, shown: Container[int], sentence: str) -> str:
    """Return a figure of `[tokens, features]`, a number line for each token, the rows `shown` in colour; `sentence` says it."""
    figure = Figure(figsize=(8, 0.9 + 0.45 * len(before)), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, rows, colour, title in ((left, before, BEFORE, "before"), (right, after, AFTER, "after")):
        for height, row in enumerate(rows):
            axes.axhline(height, color=FAINT, linewidth=1, zorder=0)
            axes.plot(row, [height] * len(row), "o", color=colour if height in shown else FAINT, alpha=0.8, markersize=7)
            axes.plot(row.mean(), height, "|", color="black" if height in shown else FAINT, markersize=14)
        axes.set_title(title, loc="left", color=colour, fontweight="bold")
        axes.set_yticks(range(len(rows)), [f"token {index}" for index in range(len(rows))])
        axes.invert_yaxis()
        axes.margins(x=0.08, y=0.5 / len(rows))
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.tick_params(left=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    picture = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="figure" alt="{sentence}" src="data:image/svg+xml;base64,{picture}">'
