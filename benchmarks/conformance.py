"""Judge every backend that has a name and can be had here: `python benchmarks/conformance.py -n 2`.

What is broken is held to the findings: each FAIL, WARN or NOT RUN is explained by an entry of `docs/findings/`, and, where
no budget and no dtype is named, each entry is still seen.  Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toise.backends import ADAPTERS
from toise.overview import lines
from toise.report import ABSENT, Row

DOCS = Path(__file__).parent.parent / "docs"
# What compiles a program for each shape is judged by the fixed list alone: half a minute to a quarter of an hour each.
SMOKE = ("jax", "flax", "equinox", "keras", "torch-compile", "torch-flex")
WELL = ("PASS", *ABSENT)
# What makes a row one of a finding's: the requirement and the operation at a dtype, and what became of it.
Place = tuple[str, str, str, str, str]


def main() -> int:
    """Judge, write, and compare with the findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="NAME", help="those to judge; all that can be had if none is named")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="", help="those that each declares if none is named")
    parser.add_argument("--budget", default="", choices=("smoke", "standard", "thorough"), help="smoke or standard if not given")
    parser.add_argument("-n", dest="workers", default="2")
    parser.add_argument("--json", type=Path, help="where to write the results, such as docs/results/conformance_cpu.json")
    told = parser.parse_args()
    if unknown := set(told.targets) - ADAPTERS.keys():
        parser.error(f"no backend {', '.join(sorted(unknown))}; `toise backends` lists them")
    judged: dict[str, Any] = {}
    unavailable: dict[str, str] = {}
    results: dict[str, Any] = {"seed": 0, "device": told.device, "unavailable": {}, "backends": {}}
    if told.json and told.json.exists() and told.targets:  # those that are not named are kept as they are
        results |= json.loads(told.json.read_text(encoding="utf-8"))
    for name in told.targets or ADAPTERS:
        if reason := ADAPTERS[name].missing():
            unavailable[name] = reason
            print(f"{name}: NOT AVAILABLE: {reason}", flush=True)
        else:
            judged[name] = _judged(name, told)
            print(f"{name}: {judged[name]['verdict']}, {judged[name]['seconds']} s", flush=True)
        if told.json:
            results["unavailable"] = {**results["unavailable"], **unavailable}
            both = {**results["backends"], **judged}
            results["backends"] = {each: both[each] for each in ADAPTERS if each in both}
            told.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    complaints = list(unexplained(judged, whole=not told.budget and not told.dtype and told.device == "cpu"))
    print("\n".join(complaints) or f"{len(judged)} backends were judged, and the findings explain all that is broken")
    return 1 if complaints else 0


def _judged(name: str, told: argparse.Namespace) -> dict[str, Any]:
    """Run `toise check` on one backend, in a process of its own, and keep what a reader wants to know of the report."""
    budget = told.budget or ("smoke" if name in SMOKE else "standard")
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "report.json"
        command = [sys.executable, "-m", "toise", "check", name, "-n", told.workers, "--budget", budget, "--json", str(path)]
        command += ["--device", told.device] if told.device != "cpu" else []
        command += ["--dtype", told.dtype] if told.dtype else []
        start = time.monotonic()
        # What one process of JAX has compiled, the others take.
        shared = {"JAX_COMPILATION_CACHE_DIR": f"{room}/jax", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **shared})
        if done.returncode not in (0, 1) or not path.exists():
            raise SystemExit(f"{name}: exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr}")
        (report,) = json.loads(path.read_text(encoding="utf-8"))["reports"]
    rows = [Row.from_json(row) for row in report["results"]]
    return {
        "name": report["declarations"]["name"],
        "version": report["declarations"]["version"],
        "budget": budget,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "environment": report["environment"],
        "verdict": "PASSED" if report["passed"] else "NOT PASSED",
        "seconds": round(time.monotonic() - start),
        "declared": report["declarations"]["operations"],
        "lines": [
            {**asdict(line), "cells": {concept: asdict(cell) for concept, cell in line.cells.items()}} for line in lines(rows)
        ],
        "broken": [_broken(row) for row in rows if row.outcome not in WELL],
    }


def _broken(row: Row) -> dict[str, Any]:
    shown = row.counterexample
    return {
        "requirement": row.requirement,
        "operation": row.operation,
        "dtype": row.dtype,
        "outcome": row.outcome,
        "reason": row.reason,
        "recipe": shown.text if shown else "",
        "because": shown.message if shown else "",
    }


def findings() -> list[dict[str, Any]]:
    """Return every entry of `docs/findings/`."""
    return [
        entry
        for path in sorted((DOCS / "findings").glob("*.toml"))
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["finding"]
    ]


def places(entry: dict[str, Any]) -> set[Place]:
    """Return each row of the verdicts that a finding explains."""
    return {
        (target, rows["operation"], requirement, dtype, rows["outcome"])
        for rows in entry["rows"]
        for target in rows["targets"]
        for requirement in rows["requirements"]
        for dtype in rows["dtypes"]
    }


def unexplained(judged: dict[str, Any], *, whole: bool) -> list[str]:
    """Say what is broken and not explained, and, where all was tried, what is explained and not broken."""
    explained = {place for entry in findings() for place in places(entry)}
    seen = {
        (target, row["operation"], row["requirement"], row["dtype"], row["outcome"])
        for target, backend in judged.items()
        for row in backend["broken"]
    }
    gone = {place for place in explained - seen if whole and place[0] in judged}
    return [
        *(f"no finding explains {' '.join(place)}" for place in sorted(seen - explained)),
        *(f"no longer seen, and still among the findings: {' '.join(place)}" for place in sorted(gone)),
    ]


if __name__ == "__main__":
    sys.exit(main())
