"""What the cells of the pages under *why* share: right implementations beside their radii, and pictures and tables of them."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
import re
import statistics
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import toise_spec
from cells import AFTER, BEFORE, FAINT, QUIET, image, link, target
from kept import conformance, judged
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from toise import bounds, faults
from toise.declarations import CHOICES, parse
from toise.operations import sublayer_through
from words import say

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from soundness import campaign, cases  # noqa: E402 - it stands beside the speed and the power
from soundness.machine import MACHINES  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from soundness.machine import Machine
    from toise.inputs import Case, Recipe

Array = np.ndarray
LEAST, MOST = 1e-4, 1e9  # what is drawn of a ratio, on a logarithmic scale
COLUMN, ROW = 8, 12  # pixels, where faults meet requirements
DECLARED, UNDECLARED = "#d9641a", "#7d97a5"  # to be told apart on white and on black
MACHINE = {str(machine): machine for machine in MACHINES}


# --- Right implementations, and a fault, in units of the radius -------------------------------------------


@dataclass(frozen=True)
class InRadii:
    """The largest error of each implementation of an operation, in radii, by dtype and class.

    right   of each right implementation
    fault   of the fault, which computes in float64 and rounds its result once
    """

    right: Mapping[str, Mapping[str, float]]
    fault: Mapping[str, float]

    @property
    def worst(self) -> float:
        """The largest error of all right implementations."""
        return max(ratio for each in self.right.values() for ratio in each.values())


def in_radii(operation: str, slug: str, every: int = 24) -> InRadii:
    """Hold the right implementations and a fault to their radii, on one in `every` of the suite's own inputs."""
    recipes = cases.suite_recipes(operation)[::every]
    right = {name: {each: worst(operation, each, machine, recipes) for each in organised(operation, machine)}
             for name, machine in MACHINE.items()}  # fmt: skip
    wrong = faults.catalogue()[slug].implementation()
    return InRadii(right, {name: max(mistake(wrong, machine, recipe) for recipe in recipes) for name, machine in MACHINE.items()})


def organised(operation: str, machine: Machine) -> list[str]:
    """Return the names of the right implementations that need no library beside NumPy."""
    table = campaign.CONCEPTS[operation].ORGANISATIONS
    return [name for name, each in table.items() if each.on(machine) and not each.slow and not name.startswith("torch")]


def worst(operation: str, name: str, machine: Machine, recipes: Sequence[Recipe]) -> float:
    """Return the largest error of a right implementation, in radii."""
    organisation = campaign.CONCEPTS[operation].ORGANISATIONS[name]
    found = [0.0]
    for recipe in recipes:
        case, required = _required(recipe, machine)
        if organisation.takes(case):
            found.append(_most(campaign.ratios(campaign.result(organisation, machine, case), required)))
    return max(found)


def mistake(wrong: Any, machine: Machine, recipe: Recipe) -> float:
    """Return the largest error of a fault, in radii."""
    case, required = _required(recipe, machine)
    data = {name: array.copy() for name, array in case.arrays.items()}
    if "sublayer" in data:
        data["sublayer"] = sublayer_through(data["x"], data["sublayer"])
    with np.errstate(all="ignore"):
        try:
            got = machine.output(wrong(*data.values(), **case.options))
        except (ValueError, IndexError):
            return math.inf
    return _most(campaign.ratios(got, required)) if got.shape == required.value.shape else math.inf


def errors(case: Case, machine: Machine) -> tuple[float, float]:
    """Return the largest error of all right implementations on one input, and the largest radius."""
    required = campaign.bounded(case, machine)
    table = campaign.CONCEPTS[case.operation].ORGANISATIONS
    held = np.isfinite(required.radius)
    found = 0.0
    for name in organised(case.operation, machine):
        if table[name].takes(case) and not table[name].heavy:
            error = np.abs(campaign.result(table[name], machine, case) - required.value)
            found = max(found, float(error[held].max(initial=0.0)))
    return found, float(required.radius[held].max(initial=0.0))


@functools.cache
def _required(recipe: Recipe, machine: Machine) -> tuple[Case, bounds.Bounded]:
    case = cases.built(recipe, machine.dtype)
    return case, campaign.bounded(case, machine)


def _most(ratios: Array) -> float:
    return float(ratios.max(initial=0.0))


# --- Pictures ---------------------------------------------------------------------------------------------


def strip(found: InRadii, sentence: str) -> str:
    """Return a figure of errors in radii, right implementations and the fault, for each dtype and class; `sentence` says it."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(LEAST / 2, 1, color=FAINT, alpha=0.35, linewidth=0)
    axes.axvline(1, color="black", linewidth=1.2)
    for height, (name, each) in enumerate(found.right.items()):
        shift = np.linspace(-0.22, 0.22, len(each)) if len(each) > 1 else np.zeros(1)
        axes.scatter(np.clip(list(each.values()), LEAST, MOST), height + shift, s=22, color=BEFORE, alpha=0.75, linewidth=0)
        axes.scatter(min(max(found.fault[name], LEAST), MOST), height, s=60, color=AFTER, marker="D", zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(LEAST / 2, MOST * 3)
    axes.set_yticks(range(len(found.right)), list(found.right))
    axes.invert_yaxis()
    axes.set_xlabel(say("why.error_in_radii"))
    axes.set_title(say("why.right"), loc="left", color=BEFORE, fontweight="bold", fontsize=10)
    axes.set_title(say("why.fault"), loc="right", color=AFTER, fontweight="bold", fontsize=10)
    _bare(axes)
    return image(figure, sentence)


def growth(
    x: Sequence[float], lines: Mapping[str, tuple[Sequence[float], str]], names: tuple[str, str], sentence: str, base: int = 10
) -> str:
    """Return a figure of sizes that grow with x, both on logarithmic scales; `sentence` says it.

    lines   by title, the sizes, and how they are drawn: "radius", "right", "fault" or "limit"
    names   of what grows, and of the sizes
    """
    looks: dict[str, dict[str, Any]] = {
        "radius": {"color": "black", "linewidth": 2},
        "right": {"color": BEFORE, "marker": "o", "linewidth": 0.8},
        "fault": {"color": AFTER, "marker": "D", "linewidth": 0.8},
        "limit": {"color": QUIET, "linestyle": "--", "linewidth": 1.2},
    }
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    floor = min(min(sizes) for sizes, look in lines.values() if look == "radius") * 1e-4
    for sizes, look in lines.values():
        axes.plot(x, np.maximum(sizes, floor), **looks[look])
    axes.set_xscale("log", base=base)
    axes.set_yscale("log")
    least, most = np.log(axes.get_ylim())
    ends = {title: math.log(max(sizes[-1], floor)) for title, (sizes, _) in lines.items()}
    for title, height in _apart(ends, 0.07 * (most - least)).items():
        _name(axes, title, (x[-1], math.exp(height)), looks[lines[title][1]]["color"])
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    _bare(axes)
    return image(figure, sentence)


def sums(errors: Sequence[float], bound: float, sentence: str) -> str:
    """Return a figure of the errors of one sum in many orders, within its bound on both sides; `sentence` says it."""
    figure = Figure(figsize=(8, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-bound, bound, color=FAINT, alpha=0.5, linewidth=0)
    for edge in (-bound, bound):
        axes.axvline(edge, color="black", linewidth=1.2)
    places, counts = np.unique(errors, return_counts=True)
    for place, count in zip(places, counts, strict=True):
        axes.plot([place] * count, np.arange(count), "o", color=BEFORE, markersize=3.5)
    axes.set_xlim(-1.15 * bound, 1.15 * bound)
    axes.set_yticks([])
    axes.set_xlabel(say("why.error_of_a_sum"))
    _bare(axes)
    axes.spines["left"].set_visible(False)
    return image(figure, sentence)


def chance(trials: Sequence[int], accepted: Sequence[tuple[float, float]], found: Mapping[str, tuple[Sequence[float], str]],
           required: float, sentence: str) -> str:  # fmt: skip
    """Return a figure of the shares that are accepted of so many trials, and of those that were found; `sentence` says it.

    found   by title, the shares, and "right" or "fault"
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(trials, *zip(*accepted, strict=True), color=FAINT, alpha=0.6, linewidth=0)
    axes.axhline(required, color="black", linewidth=1)
    looks = {"right": {"marker": "o", "color": BEFORE}, "fault": {"marker": "D", "color": AFTER}}
    for shares, look in found.values():
        axes.plot(trials, shares, linewidth=0.8, **looks[look])
    least, most = axes.get_ylim()
    for title, height in _apart({title: shares[-1] for title, (shares, _) in found.items()}, 0.08 * (most - least)).items():
        _name(axes, title, (trials[-1], height), looks[found[title][1]]["color"])
    axes.set_xscale("log", base=2)
    axes.set_xlabel(say("why.tokens"))
    axes.set_ylabel(say("why.share"))
    _bare(axes)
    return image(figure, sentence)


def _apart(ends: Mapping[str, float], gap: float) -> dict[str, float]:
    """Return heights for the names of lines, from the lowest to the highest, so far apart that they can be read."""
    heights: dict[str, float] = {}
    for title, end in sorted(ends.items(), key=lambda item: item[1]):
        heights[title] = max(end, max(heights.values(), default=-math.inf) + gap)
    return heights


def _name(axes: Any, title: str, at: tuple[float, float], colour: str) -> None:
    axes.annotate(title, at, (8, 0), textcoords="offset points", color=colour, va="center", fontsize=9, annotation_clip=False)


def _bare(axes: Any) -> None:
    axes.spines[["right", "top"]].set_visible(False)
    axes.tick_params(length=0)


# --- Tables -----------------------------------------------------------------------------------------------


def power_of_two(x: float) -> str:
    """Return a number as a power of two, in a formula; 0 as such."""
    return f"$2^{{{round(math.log2(x))}}}$" if x else "0"


def formats() -> str:
    """Return the formats that the bounds know as a table."""
    known = {"float64": "FLOAT64", "float32": "FLOAT32", "float16": "FLOAT16", "bfloat16": "BFLOAT16",
             "TF32": "TF32", say("why.accumulator"): "ACCUMULATE32"}  # fmt: skip
    lines = [say("why.formats"), "|---|---|---|---|"]
    for name, constant in known.items():
        form = getattr(sys.modules["toise.bounds.formats"], constant)
        lines.append(f"| {name} | {power_of_two(form.u)} | {power_of_two(form.tiny)} | {form.huge:.4g} |")
    return "\n".join(lines)


def derivation(*names: str) -> str:
    """Return modules of `toise.bounds`, folded: what each says of itself, as text, and its code."""
    told = []
    for name in names:
        module = importlib.import_module(f"toise.bounds.{name}")
        words = inspect.getdoc(module) or ""
        code = inspect.getsource(module).partition('"""\n\n')[2].strip()
        title = say("why.derivation", module=f"<code>toise/bounds/{name}.py</code>")
        told.append(
            f'<details class="quote" markdown>\n<summary>{title}</summary>\n\n{words}\n\n```python\n{code}\n```\n\n</details>'
        )
    return "\n\n".join(told)


def classes() -> str:
    """Return what each dtype and class may round where, by the unit of rounding, as a table."""
    fields = ("storage", "tensor", "step", "accumulate", "operand", "weights")
    lines = [f"| {say('why.class')} | {' | '.join(f'`{name}`' for name in fields)} |", "|---|" + "---|" * len(fields)]
    for name, machine in MACHINE.items():
        lines.append(f"| {name} | {' | '.join(power_of_two(getattr(machine.precision, each).u) for each in fields)} |")
    return "\n".join(lines)


# --- Results that are kept beside the pages ---------------------------------------------------------------


def kill_rates() -> str:
    """Return how many faults of each concept are killed, the late ones apart, as a table."""
    by_concept: dict[str, list[Any]] = {}
    for slug, each in judged().items():
        by_concept.setdefault(slug.partition(".")[0].replace("_", " "), []).append(each)
    lines = [say("why.kill_rates"), "|---|---|---|---|---|"]
    for name, faults_of in (*by_concept.items(), (say("why.all"), list(judged().values()))):
        fields = []
        for late in (False, True):
            found = [each for each in faults_of if each["late"] == late]
            killed = sum(bool(set(each["declared"]) & set(each["broken"])) for each in found)
            fields += [str(len(found)), f"{killed} ({killed / len(found):.1%})" if found else ""]
        lines.append(f"| {name} | {' | '.join(fields)} |")
    return "\n".join(lines)


def inputs_to_a_kill() -> str:
    """Return how many inputs each requirement needs until a fault that it breaks is broken."""
    taken: dict[str, list[int]] = {}
    for each in judged().values():
        for id, count in each["broken"].items():
            taken.setdefault(id, []).append(count)
    rows = [(id, taken[id]) for id in toise_spec.requirements() if id in taken]
    every = [count for _, counts in rows for count in counts]
    lines = [
        f"{say('why.inputs_to_a_kill', median=f'{statistics.median(every):g}', most=max(every))}\n",
        f"<details markdown><summary>{say('why.each_requirement')}</summary>\n",
        f"{say('why.inputs_of_each')}\n|---|---|---|---|",
        *(f"| {link(id)} | {len(counts)} | {statistics.median(counts):g} | {max(counts)} |" for id, counts in rows),
        "\n</details>",
    ]
    return "\n".join(lines)


def tables(name: str) -> dict[str, list[dict[str, str]]]:
    """Return the tables of a page of results, by the bold line above each, as rows by the heads of their columns."""
    found: dict[str, list[dict[str, str]]] = {}
    title, head = "", []
    for line in (HERE / "results" / name).read_text(encoding="utf-8").splitlines():
        if marked := re.fullmatch(r"\*\*(.+?)\*\*", line):
            title, head = marked[1], []
        elif line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line):
            fields = [field.strip() for field in line.strip("|").split("|")]
            if head:
                found.setdefault(title, []).append(dict(zip(head, fields, strict=True)))
            else:
                head = fields
    return found


def race(sentence: str) -> str:
    """Return a figure of the share of all faults that each check sees, and its false alarms; `sentence` says it."""
    rows = {row[""]: row for row in tables("power.md")["Faults that are rejected."]}
    checks = [name for name in rows["all"] if name not in ("", "faults")][::-1]
    figure = Figure(figsize=(7, 0.5 * len(checks) + 0.9), layout="constrained")
    axes = figure.subplots()
    for height, check in enumerate(checks):
        share = int(rows["all"][check].rstrip(" %"))
        axes.barh(height, share, height=0.64, color=AFTER if check == "Toise" else BEFORE)
        axes.text(share - 1.5, height, f"{share} %", ha="right", va="center", color="white", fontweight="bold")
        axes.text(104, height, rows["false alarms"][check], va="center", fontsize=9)
    axes.text(104, len(checks) - 0.3, say("why.false_alarms"), fontsize=9, va="center")
    axes.set_yticks(range(len(checks)), checks)
    axes.set(xlim=(0, 122), ylim=(-0.6, len(checks)))
    axes.set_xticks(range(0, 101, 25), [f"{x} %" for x in range(0, 101, 25)])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image(figure, sentence)


def soundness(sentence: str) -> str:
    """Return a figure of the largest errors in radii, by operation and class, of checks and search; `sentence` says it.

    Numbers are cut after two digits, so that what is not yet 1 does not look like it.
    """
    parts = {"Checks": BEFORE, "Search for the worst": AFTER}
    found = {title: worst_of(title) for title in parts}
    operations = list(next(iter(found.values())))
    figure = Figure(figsize=(9, 5), layout="constrained")
    for at, (axes, (title, colour)) in enumerate(zip(figure.subplots(1, 2, sharey=True), parts.items(), strict=True)):
        for column, operation in enumerate(operations):
            for row, ratio in enumerate(found[title][operation].values()):
                look = {"facecolor": (colour, 0.75 * ratio), "edgecolor": FAINT}
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **look))
                text = "1" if ratio == 1 else f"{math.floor(100 * ratio) / 100:.2f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=8)
        classes = list(found[title][operations[0]])
        axes.set_title(say(f"why.soundness_{at}"), loc="left", color=colour, fontweight="bold", fontsize=10)
        axes.set_xticks(range(len(operations)), operations, rotation=40, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlim=(-0.5, len(operations) - 0.5), ylim=(len(classes) - 0.5, -0.5))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8)
    return image(figure, sentence)


def worst_of(title: str) -> dict[str, dict[str, float]]:
    """Return the largest error in radii by operation and class, of one of the campaign's tables."""
    found: dict[str, dict[str, float]] = {}
    for row in tables("soundness.md")[f"{title}."]:
        found.setdefault(row["operation"], {})[row["class"]] = float(row["worst error / radius"])
    return found


def kills(concept: str) -> str:
    """Return a figure of which requirements, in rows, each fault of a concept breaks, in columns, with links to both.

    A fault stands under the first requirement that it names: that is the one that says most about it.
    """
    found = {slug: each for slug, each in judged().items() if slug.partition(".")[0] == concept}
    ids = [id for id in toise_spec.requirements() if any(id in each["broken"] for each in found.values())]
    ids.sort(key=lambda id: toise_spec.requirement(id).slug != concept)  # those of every operation come last
    rows = {id: ROW * (at + 0.5) for at, id in enumerate(ids)}
    foot = ROW * (len(ids) + 0.5)
    under = {slug: [rows[id] for id in each["declared"] if id in each["broken"]] or [foot] for slug, each in found.items()}
    columns = {slug: COLUMN * (at + 0.5) for at, slug in enumerate(sorted(found, key=lambda slug: under[slug][0]))}

    def dots(*, declared: bool) -> str:
        return "".join(
            f"M{x} {rows[id]}h0"
            for slug, x in columns.items()
            for id in found[slug]["broken"]
            if (id in found[slug]["declared"]) == declared
        )

    width, height = COLUMN * len(columns), ROW * (len(ids) + 1)
    lines = "".join(f"M0 {y}h{width}" for y in rows.values())
    late = "".join(f"M{x} {foot}h0" for slug, x in columns.items() if found[slug]["late"])
    paths = (
        (lines, "currentColor", 0.15),
        (dots(declared=False), UNDECLARED, 4),
        (dots(declared=True), DECLARED, 7),
        (late, "currentColor", 3),
    )
    sentence = escape(say("why.kills", faults=len(columns), concept=concept.replace("_", " "), requirements=len(ids)))
    names = "".join(f'<a href="{target(id)}"><text x="52" y="{y + 3.5}">{id}</text></a>' for id, y in rows.items())
    faults_of = "".join(_column(slug, x, height) for slug, x in columns.items())
    drawn = "".join(f'<path d="{path}" stroke="{colour}" stroke-width="{size}"/>' for path, colour, size in paths)
    return (
        f'<div class="kills"><svg width="58" height="{height}" viewBox="0 0 58 {height}" '
        f'font-size="10" text-anchor="end" fill="currentColor">'
        f'{names}<text x="52" y="{foot + 3.5}">{say("why.late")}</text></svg>'
        f'<div tabindex="0" role="group" aria-label="{sentence}">'
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{sentence}" '
        f'stroke-linecap="round" fill="none">{drawn}{faults_of}</svg></div></div>'
    )


def _column(slug: str, x: float, height: float) -> str:
    """Return what leads from a column to its fault: it shows the fault's name, and is no stop of the tabulator."""
    concept, _, name = slug.partition(".")
    return (
        f'<a href="/museum/{concept}.md#{name}" tabindex="-1"><title>{escape(name)}</title>'
        f'<rect x="{x - COLUMN / 2}" width="{COLUMN}" height="{height}" fill="transparent"/></a>'
    )


# --- Conventions ------------------------------------------------------------------------------------------


def declared_by(choice: str, *operations: str) -> str:
    """Return the values of a choice, the default first, with the judged libraries that are held to each, as a table."""
    results = conformance("cpu")["backends"]
    heads = [f"`{operation}`" for operation in operations]
    lines = [f"| {say('why.declared')} | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for at, value in enumerate(CHOICES[operations[0]][choice]):
        held = [
            ", ".join(
                name
                for name, backend in results.items()
                if backend["declared"].get(operation, {}).get(choice) == value and name != "reference"
            )
            for operation in operations
        ]
        lines.append(f"| `{value}`{say('why.default') * (at == 0)} | {' | '.join(held)} |")
    return "\n".join(lines)


def declaration(operation: str, choice: str, value: str) -> str:
    """Return the line that declares a choice, as code.  Raises TargetError if there is no such choice."""
    told = {operation: {choice: value}}
    parse(told)
    return f"```text\n__toise__ = {json.dumps(told)}\n```"
