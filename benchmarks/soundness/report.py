"""The results as a page: `docs/results/soundness.md` is made here, and is included in `docs/precision.md`."""

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
        rows = [(x["operation"], x["machine"], x["evaluations"], _number(x["worst"]), x["by"]) for x in found["climb"]]
        parts += ["**Search for the worst.**", "", *_table(("operation", "class", "evaluations", "worst", "by"), rows), ""]
    if found["tightness"]:
        rows = [(x["case"], x["machine"], _factor(x["ratio"]), x["limit"] or "") for x in found["tightness"]]
        parts += ["**Tightness.**", "", *_table(("inputs", "class", "radius / error", "limit"), rows), ""]
    return "\n".join(parts)


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
