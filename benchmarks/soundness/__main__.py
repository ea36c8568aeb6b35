"""`python -m soundness`: the campaign, the search and the tightness; the exit status is 1 where a radius was left."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from toise.bounds import CLASSES, PRECISIONS

from soundness.campaign import CONCEPTS, ORGANISATIONS, TRAITS, Tally, campaign
from soundness.climb import climb
from soundness.machine import MACHINES
from soundness.report import as_markdown
from soundness.tightness import CASES, LIMITS, tightness

# Where nothing else is asked for: sums of many kinds meet in these, and they are where radii were left before.
CHECKS = {"attention": 2000, "multi_head_attention": 2000, "layer_norm": 2000}
OTHERS = 500


def main() -> None:
    """Run what is asked for, print it line by line, and write the report."""
    given = _arguments()
    found: dict[str, Any] = {
        "seed": given.seed,
        "versions": _versions(),
        "campaign": [],
        "traits": [],
        "climb": [],
        "tightness": [],
    }
    machines = [m for m in MACHINES if m.dtype in given.dtypes and m.kind in given.classes]
    for operation in given.operations:
        checks = given.checks or CHECKS.get(operation, OTHERS)
        for machine in machines:
            for part, table in (("campaign", ORGANISATIONS), ("traits", TRAITS)):
                some = {name: organisation for name, organisation in table[operation].items() if organisation.on(machine)}
                if not some:
                    continue
                tally = campaign(operation, machine, checks if part == "campaign" else checks // 4, given.seed, some)
                found[part].append(_line(operation, str(machine), tally))
                _say(found[part][-1])
        if given.climb:
            each = given.climb / len(machines)
            found["climb"] += [_said(climb(operation, machine, given.seed, seconds=each)) for machine in machines]
    if given.tightness:
        found["tightness"] = [
            {"case": name, "machine": str(machine), "ratio": tightness(name, machine), "limit": LIMITS.get((name, str(machine)))}
            for name in CASES
            for machine in machines
        ]
        for line in found["tightness"]:
            print(f"{line['case']:<28}{line['machine']:<20}{line['ratio']:>10.1f}{line['limit'] or '':>8}", flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if given.markdown:
        Path(given.markdown).write_text(as_markdown(found), encoding="utf-8")
    sys.exit(_left(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soundness", description=__doc__)
    listed = {"operations": tuple(CONCEPTS), "dtypes": tuple(PRECISIONS), "classes": CLASSES}
    for name, choices in listed.items():
        parser.add_argument(f"--{name}", nargs="+", choices=choices, default=choices, metavar=name[:-1].upper())
    parser.add_argument("--checks", type=int, help="calls compared, for each operation, dtype and class (2000 or 500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--climb", type=float, default=0, metavar="SECONDS", help="search for the worst, for each operation")
    parser.add_argument("--tightness", action="store_true", help="compare the radius with the worst error of all")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    return parser.parse_args()


def _versions() -> dict[str, str]:
    """Return what took part; jax is an extra."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("numpy", "ml_dtypes", "torch", "jax"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _line(operation: str, machine: str, tally: Tally) -> dict[str, Any]:
    return {
        "operation": operation,
        "machine": machine,
        "checks": tally.checks,
        "implementations": len(tally.implementations),
        "alarms": tally.alarms,
        "worst": tally.worst,
        "by": tally.by,
        "on": tally.on,
        "excused": tally.excused / max(1, tally.elements),
        "above": {name: [worst, on] for name, (worst, on) in tally.every.items() if worst > 1},
    }


def _said(line: dict[str, Any]) -> dict[str, Any]:
    words = f"{line['evaluations']:>8} evaluations, worst {line['worst']:.3g} by {line['by']}"
    print(f"{line['operation']:<22}{line['machine']:<20}{words}", flush=True)
    if line["worst"] > 1:
        print(f"    {line['inputs']} {line['options']}", flush=True)
    return line


def _say(line: dict[str, Any]) -> None:
    print(
        f"{line['operation']:<22}{line['machine']:<20}{line['checks']:>6} checks of {line['implementations']:>2}"
        f"{line['alarms']:>6} alarms, worst {line['worst']:<8.3g} by {line['by']}, {line['excused']:.1%} excused",
        flush=True,
    )
    for name, (worst, on) in line["above"].items():
        print(f"    {worst:<9.3g}{name}: {on}", flush=True)


def _left(found: dict[str, Any]) -> int:
    """Return 1 where a radius was left, or is wider than it may be."""
    alarms = any(line["worst"] > 1 for part in ("campaign", "traits", "climb") for line in found[part])
    wide = any(line["limit"] and line["ratio"] > line["limit"] for line in found["tightness"])
    return int(alarms or wide)


if __name__ == "__main__":
    main()
