"""The results that are kept beside the pages: what a run found on each fault, and on each backend."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from toise.faults import catalogue

RESULTS = Path(__file__).parent / "results"


@functools.cache
def judged() -> dict[str, Any]:
    """Return what the kill matrix says of each fault.  Raises LookupError if it is not one of today's catalogue."""
    return _of_today(_read("kill_matrix")["faults"])


@functools.cache
def revealed() -> dict[str, Any]:
    """Return the smallest input found for each fault.  Raises LookupError if they are not those of today's catalogue."""
    return _of_today(_read("counterexamples"))


def conformance(device: str) -> dict[str, Any]:
    """Return the verdicts on the backends that have a name, on one device."""
    return _read(f"conformance_{device}")


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _of_today(found: dict[str, Any]) -> dict[str, Any]:
    if lacking := sorted(catalogue().keys() ^ found.keys()):
        raise LookupError(f"the catalogue and the results differ in {', '.join(lacking)}; run: nox -s faults")
    return found
