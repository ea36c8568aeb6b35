"""Complete and right implementations of all operations, and a run of the suite over each: `python correct.py --seeds 20 -n 2`.

They differ as real code does: loops, einsum, blocks, float64 inside, weights side by side, torch's modules, vmap.
None of them may fail, at any seed; one that does is a false alarm, or no right implementation.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import toise
from toise import engine
from toise.backend import Backend
from toise.quiet import quiet
from toise.report import BROKEN
from toise.run import plan
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent


# Name and target, as `toise check` takes it.
CORRECT = {
    "reference": "reference",
    "torch": "torch",
    **{name: str(ROOT / "examples" / f"{name}.py") for name in ("plain_numpy", "plain_torch")},
    **{path.stem: str(path) for path in sorted((ROOT / "benchmarks" / "implementations").glob("*.py"))},
}


def failures(name: str, seed: int, *, whole: bool) -> list[str]:
    """Judge an implementation in float32, and return a line for each requirement that it is said to break.

    The fixed list of inputs is the same with every seed: only a `whole` run tries it, the others what Hypothesis draws.
    """
    if not whole:
        return explored(name, seed)
    report = toise.verify(CORRECT[name], dtypes=["float32"], seed=seed)
    broken = [row for row in report.results if row.outcome in (*BROKEN, "NOT RUN")]
    lines = [f"{row.requirement} {row.operation} {row.outcome}" for row in broken]
    return lines if lines or report.passed else ["not passed"]


def explored(name: str, seed: int) -> list[str]:
    """Try each requirement on what Hypothesis draws with a seed, at the standard budget."""
    target = load(CORRECT[name])
    found, backends = [], {dtype: Backend(target, dtype) for dtype in ("float32", "int64", "bool")}
    with quiet():
        for unit in plan(target, dtypes=["float32"])[0]:
            prop = engine.property_of(unit.requirement)
            trial = engine.Trial(prop, backends[unit.dtype], unit.operation)
            if (strategy := prop.inputs[unit.operation].general) is not None:
                trial.explore(strategy, engine.BUDGETS["standard"], seed, shrink=False)
            if trial.broken:
                raise trial.broken
            if trial.failures and prop.requirement.level == "MUST":
                found.append(f"{unit.requirement} {unit.operation} on {next(iter(trial.failures))}")
    return found


def judge(names: Iterable[str], seeds: Iterable[int], *, workers: int = 1) -> Iterator[tuple[str, int, list[str]]]:
    """Yield the name, the seed and the failures of every implementation at every seed."""
    chosen = list(names)
    first, *others = seeds
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        begun = [(name, first, pool.submit(failures, name, first, whole=True)) for name in chosen]
        begun += [(name, seed, pool.submit(failures, name, seed, whole=False)) for seed in others for name in chosen]
        for name, seed, verdict in begun:
            yield name, seed, verdict.result()


def main() -> None:
    """Print each failure and, at the end, how many there were; the exit status is 1 if there were any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", type=int, default=1, metavar="PROCESSES", help="how many processes judge at once")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(CORRECT), default=list(CORRECT))
    given = parser.parse_args()
    start, verdicts, failed = time.perf_counter(), 0, 0
    for name, seed, found in judge(given.only, range(given.seed, given.seed + given.seeds), workers=given.n):
        verdicts, failed = verdicts + 1, failed + bool(found)
        if found:
            print(f"{name:<16} seed {seed:<6} {', '.join(found)}", flush=True)
    print(f"{failed} failures in {verdicts} verdicts: {len(given.only)} right implementations, {given.seeds} seeds", end="")
    print(f", {time.perf_counter() - start:.0f} s")
    sys.exit(1 if failed or not verdicts else 0)


if __name__ == "__main__":
    main()
