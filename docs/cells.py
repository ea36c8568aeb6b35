"""What the cells of the concept pages share: pieces of the specification, and the figures."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import toise_spec
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from toise import engine
from toise.isolation.remote import SEEN_IN_PART, UNSEEN
from toise.operations import OPERATIONS
from toise.terminal import failure_text

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from toise.report import Report

BEFORE, AFTER = "#546e7a", "#c84b00"  # a blue grey and an orange that are dark enough for words, the same on every page
QUIET, FAINT = "#757575", "#cfd8dc"  # what is not spoken of yet, and lines
mpl.rcParams["svg.hashsalt"] = "toise"  # the same figure gives the same bytes


def formulas(slug: str) -> str:
    """Return what the specification reads the source's formula as: all that it displays but the first, the source's own."""
    section = toise_spec.page(slug).split("\n## ")[1]
    _, *ours = re.findall(r"^\$\$\n.+?\n\$\$$", section, re.MULTILINE | re.DOTALL)
    return "\n\n".join(ours)


def must_do(slug: str) -> str:
    """Return the requirements of a page as a list, each with its reason and the name of its test."""
    tests = {prop.id: prop.name for prop in engine.properties()}
    return "\n".join(
        f"- **[{item.id}](/spec/{slug}.md#{item.id})** {item.sentence}<br>\n  *{item.why}*<br>\n  `{tests[item.id]}`"
        for item in toise_spec.requirements().values()
        if item.slug == slug
    )


def verdicts(report: Report, id: str) -> str:
    """Return the requirements of a concept that were judged, by outcome, and what the command prints about the one named."""
    slug = toise_spec.requirement(id).slug
    outcomes: dict[str, list[str]] = {}
    for each, verdict in report.requirements.items():
        if any(OPERATIONS[row.operation].concept == slug and not row.excluded for row in verdict.rows):
            page = toise_spec.requirement(each).slug
            outcomes.setdefault(verdict.outcome, []).append(f"[{each}](/spec/{page}.md#{each})")
    (told,) = (row for row in report.requirements[id].rows if row.counterexample)
    return "\n".join(
        [
            *(f"- **{outcome}**: {', '.join(links)}" for outcome, links in sorted(outcomes.items())),
            f"\nThe smallest input found that breaks {id}:\n\n```text\n{failure_text(told)}\n```",
        ]
    )


def kill_rates() -> str:
    """Return how many faults of each concept were killed in the run that is kept beside the pages, the late ones apart."""
    faults = _matrix()
    lines = ["| concept | faults, not late | killed | late faults | killed, late |", "|---|---|---|---|---|"]
    for concept in (*dict.fromkeys(slug.partition(".")[0] for slug in faults), "all"):
        cells = []
        for late in (False, True):
            found = [each for slug, each in faults.items() if concept in ("all", slug.partition(".")[0]) and each["late"] == late]
            killed = sum(bool(set(each["declared"]) & set(each["broken"])) for each in found)
            cells += [str(len(found)), f"{killed} ({killed / len(found):.1%})" if found else ""]
        lines.append(f"| {concept.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def inputs_to_a_kill() -> str:
    """Return how many inputs each requirement needs until a fault that it breaks is broken."""
    taken: dict[str, list[int]] = {}
    for each in _matrix().values():
        for id, count in each["broken"].items():
            taken.setdefault(id, []).append(count)
    rows = [(id, taken[id]) for id in toise_spec.requirements() if id in taken]
    every = [count for _, counts in rows for count in counts]
    lines = [
        f"A fault is broken after {statistics.median(every):g} inputs at the median, and after {max(every)} at worst.\n",
        "<details markdown><summary>For each requirement</summary>\n",
        "| requirement | faults that it breaks | inputs, median | worst |\n|---|---|---|---|",
        *(
            f"| [{id}](/spec/{toise_spec.requirement(id).slug}.md#{id}) "
            f"| {len(counts)} | {statistics.median(counts):g} | {max(counts)} |"
            for id, counts in rows
        ),
        "\n</details>",
    ]
    return "\n".join(lines)


def _matrix() -> dict[str, Any]:
    """Return the faults of the run that is kept beside the pages."""
    matrix: dict[str, Any] = json.loads((Path(__file__).parent / "results" / "kill_matrix.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = matrix["faults"]
    return found


CRASHES = '''"""A backend that ends its process: it takes an eps of 0 for a pointer to nothing."""

import ctypes

import numpy as np


def layer_norm(x, gamma, beta, *, eps=1e-5):
    if eps == 0:
        ctypes.string_at(0)
    centred = x - x.mean(-1, keepdims=True)
    return gamma * centred / np.sqrt(x.var(-1, keepdims=True) + eps) + beta
'''


def crash(select: str) -> str:
    """Return a backend that crashes, and what the command prints about it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.py").write_text(CRASHES, encoding="utf-8")
        told = printed(f"check kernel.py --isolate -k {shlex.quote(select)}", Path(folder))
    return f"```python\n{CRASHES.strip()}\n```\n\n{told}"


def printed(arguments: str, folder: Path = Path(__file__).parent.parent) -> str:
    """Return a command and what it prints, in a folder, whose own place is left out."""
    command = [sys.executable if part == "python" else part for part in shlex.split(arguments)]
    done = subprocess.run(  # noqa: S603 - the command that a page shows
        [sys.executable, "-m", "toise", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    lines = [line.rstrip() for line in (done.stdout + done.stderr).replace(f"{folder.resolve()}/", "").splitlines()]
    return "\n".join(["```console", f"$ toise {arguments}", *lines, "```"])


def unseen() -> str:
    """Return the requirements that cannot be judged over a pipe, and those that are judged in part, as a table."""
    kinds = (("NOT PROVIDED", UNSEEN), ("in part", SEEN_IN_PART))
    whole: dict[tuple[str, str], list[str]] = {}
    for outcome, reasons in kinds:
        for id, reason in reasons.items():
            whole.setdefault((reason, outcome), []).append(f"[{id}](/spec/{toise_spec.requirement(id).slug}.md#{id})")
    lines = ["| what nobody sees over a pipe | requirements | outcome |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {reason} | {', '.join(ids)} | {outcome} |" for (reason, outcome), ids in whole.items())])


def show(value: np.typing.ArrayLike, form: str = ".4g") -> str:
    """Return numbers as a cell of a table, each in a format."""
    return ", ".join(f"{number:{form}}" for number in np.ravel(value))


def before_after(before: np.ndarray, after: np.ndarray, shown: Container[int], sentence: str) -> str:
    """Return a figure of `[tokens, features]`, a number line for each token, the rows `shown` in colour; `sentence` says it."""
    figure = Figure(figsize=(8, 0.9 + 0.45 * len(before)), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, rows, colour, title in ((left, before, BEFORE, "before"), (right, after, AFTER, "after")):
        for height, row in enumerate(rows):
            axes.axhline(height, color=FAINT, linewidth=1, zorder=0)
            spoken_of = {"color": colour, "alpha": 0.8} if height in shown else {"color": QUIET, "fillstyle": "none"}
            axes.plot(row, [height] * len(row), "o", markersize=7, **spoken_of)
            axes.plot(row.mean(), height, "|", color="black" if height in shown else QUIET, markersize=14)
        axes.set_title(title, loc="left", color=colour, fontweight="bold")
        axes.set_yticks(range(len(rows)), [f"token {index}" for index in range(len(rows))])
        axes.invert_yaxis()
        axes.margins(x=0.08, y=0.5 / len(rows))
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.tick_params(left=False)
    return _image(figure, sentence)


def grids(
    panels: Mapping[str, tuple[np.ndarray, str]],
    shown: Container[int],
    sentence: str,
    names: tuple[str | Sequence[str], str | Sequence[str]] = ("query", "key"),
) -> str:
    """Return a figure of arrays `[queries, keys]` side by side, the rows `shown` in colour; `sentence` says it.

    panels   by title, an array and its colour: numbers are written out and shaded, from the least to the greatest,
             a truth value is a shaded field with a dot in it, and what is False or 0 stays empty
    names    of a row and of a column: a word, which is numbered, or a word for each
    """
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
        axes.set_xticks(range(array.shape[1]), _labels(names[1], array.shape[1]), rotation=90)
        axes.set_yticks(range(len(array)), _labels(names[0], len(array)))
        axes.set(xlim=(-0.5, array.shape[1] - 0.5), ylim=(tallest - 0.5, -0.5), aspect="equal")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8)
    return _image(figure, sentence)


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
    return _image(figure, sentence)


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
    return _image(figure, sentence)


def _image(figure: Figure, sentence: str) -> str:
    """Return a figure as an element that needs nothing else; `sentence` is read out where it cannot be seen."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True, bbox_inches="tight")
    picture = base64.b64encode(buffer.getvalue()).decode()
    return f'<div class="figure"><img alt="{sentence}" src="data:image/svg+xml;base64,{picture}"></div>'
