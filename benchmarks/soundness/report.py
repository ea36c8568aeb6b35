"""The results as a page: `docs/results/soundness.md` is made here, and is included in `docs/en/why/precision.md`."""

from __future__ import annotations

import math
from typing import Any


def as_markdown(found: dict[str, Any]) -> str:
    """Return tables of all that was found."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    parts = [f"Seed {found['seed']}; {versions}.", ""]
    for part, title in (("campaign", "Checks"), ("traits", "Checks of declared traits")):
        if found[part]:
            parts += [f"**{title}.**", "", *_checks(found[part]), ""]
    if found["climb"]:
        names = ("operation", "machine", "seconds", "seed", "evaluations", "worst", "by")
        rows = [tuple(_number(x[name]) if name in ("seconds", "worst") else x[name] for name in names) for x in found["climb"]]
        head = ("operation", "class", "seconds", "seed", "evaluations", "worst error / radius", "by")
        parts += ["**Search for the worst.**", "", *_table(head, rows), ""]
    if found["tightness"]:
        parts += ["**Tightness: radius / error, and the most that it may be, where there is such a limit.**", ""]
        parts += [*_tightness(found["tightness"]), ""]
    return "\n".join(parts)


def _tightness(lines: list[dict[str, Any]]) -> list[str]:
    """Return a row for each kind of input, and a column for each class."""
    machines = list(dict.fromkeys(x["machine"] for x in lines))
    cells = {(x["case"], x["machine"]): _factor(x["ratio"]) + (f" (≤ {x['limit']})" if x["limit"] else "") for x in lines}
    rows = [(case, *(cells[case, machine] for machine in machines)) for case in dict.fromkeys(x["case"] for x in lines)]
    return _table(("inputs", *machines), rows)


def _checks(lines: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            x["operation"],
            x["machine"],
            x["checks"],
            x["implementations"],
            x["alarms"],
            _number(x["worst"]),
            x["by"],
            f"{x['excused']:.1%}",
        )
        for x in lines
    ]
    return _table(
        ("operation", "class", "checks", "implementations", "false alarms", "worst error / radius", "by", "excused"), rows
    )


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def _factor(ratio: float) -> str:
    """Say by how much a radius is wider than the errors."""
    if math.isnan(ratio):
        return "all excused"
    return "no error" if math.isinf(ratio) else f"{ratio:.1f}"


def _number(x: float) -> str:
    return f"{x:.3g}"
