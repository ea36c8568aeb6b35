"""Where the time of a verdict goes: `python benchmarks/breakdown.py [TARGET [DTYPE]]`.

Each moment belongs to the innermost of these: the backend's own code, the reference and the bound, making inputs, Hypothesis,
and the rest (the property tests, comparing, the report).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from toise import engine, run
from toise.backend import Backend
from toise.engine import Trial
from toise.operations import Operation
from toise.quiet import quiet
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = ("backend", "bound", "inputs", "Hypothesis", "rest")
# The most milliseconds of an example that are neither the backend's nor the bound's, and the most times those two.
LIMITS = (1.5, 1.5)


class Clock:
    """Time spent in each part, exclusively: entering a part stops the clock of the one around it."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.around = ["rest"]
        self.since = time.perf_counter()

    def _turn(self) -> None:
        now = time.perf_counter()
        self.spent[self.around[-1]] += now - self.since
        self.since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with its time counted as that part's."""

        @functools.wraps(function)
        def call(*data: Any, **options: Any) -> Any:
            self._turn()
            self.around.append(part)
            try:
                return function(*data, **options)
            finally:
                self._turn()
                self.around.pop()

        return call


@contextlib.contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Count the time of the suite's own parts while the block runs."""
    methods = (
        (Operation, "required", "bound"),
        (Backend, "build", "inputs"),
        (Backend, "natives", "inputs"),
        (Trial, "explore", "Hypothesis"),
        (Trial, "fails", "rest"),
    )
    before = [(kind, name, getattr(kind, name)) for kind, name, _ in methods]
    try:
        for kind, name, part in methods:
            setattr(kind, name, clock.timed(part, getattr(kind, name)))
        yield
    finally:
        for kind, name, method in before:
            setattr(kind, name, method)


def breakdown(target: str, dtype: str) -> tuple[Counter[str], int]:
    """Judge a target at one dtype; return the seconds of each part, and how many examples there were."""
    clock = Clock()
    loaded = load(target)
    operations = {name: clock.timed("backend", function) for name, function in loaded.operations.items()}
    loaded = dataclasses.replace(loaded, operations=operations)
    units, _ = run.plan(loaded, dtypes=[dtype])
    backends: dict[str, Backend] = {}
    engine.properties()
    with watched(clock), quiet():
        clock.since = time.perf_counter()
        rows = [run.judge_unit(unit, loaded, backends, run.Rules()) for unit in units]
        clock.timed("rest", lambda: None)()
    return clock.spent, sum(row.examples["run"] for row in rows)


def main(target: str = "torch", dtype: str = "float32") -> None:
    """Print the parts of one run, an example's share of them, and the two figures that are limited."""
    spent, examples = breakdown(target, dtype)
    total = sum(spent.values())
    print(f"{target} {dtype}: {examples} examples in {total:.2f} s, {examples / total:.0f} a second")
    for part in PARTS:
        print(f"{part:<12}{spent[part]:>8.2f} s {spent[part] / total:>6.0%} {1000 * spent[part] / examples:>8.3f} ms an example")
    needed = spent["backend"] + spent["bound"]
    print(f"all but backend and bound: {1000 * (total - needed) / examples:.2f} ms an example (limit {LIMITS[0]})")
    print(f"the whole is {total / needed:.2f} times backend and bound (limit {LIMITS[1]})")


if __name__ == "__main__":
    main(*sys.argv[1:])
