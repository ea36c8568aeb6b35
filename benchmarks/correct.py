"""Complete and right implementations of all operations, and a run of the suite over each: `python correct.py --seeds 20 -n 2`.

They differ as real code does: loops, einsum, blocks, float64 inside, weights side by side, torch's modules, vmap, JAX.
None of them may fail, at any seed; one that does is a false alarm, or no right implementation.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import toise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).parent.parent
HERE = ROOT / "benchmarks" / "implementations"


def _file(path: Path) -> Callable[[], str]:
    return lambda: str(path)


# Each makes a target: what `toise.verify` takes.
CORRECT: dict[str, Callable[[], object]] = {
    "reference": lambda: "reference",
    "torch": lambda: "torch",
    "plain_numpy": _file(ROOT / "examples" / "plain_numpy.py"),
    "plain_torch": _file(ROOT / "examples" / "plain_torch.py"),
    "loops": _file(HERE / "loops.py"),
    "einsums": _file(HERE / "einsums.py"),
    "blocks": _file(HERE / "blocks.py"),
    "rounded_once": _file(HERE / "rounded_once.py"),
    "fused_weights": _file(HERE / "fused_weights.py"),
    "torch_modules": _file(HERE / "torch_modules.py"),
    "torch_vmap": _file(HERE / "torch_vmap.py"),
}
# JAX compiles each operation for each shape, so that a verdict takes minutes: it is judged where it is named.
SLOW: dict[str, Callable[[], object]] = {
    "with_jax": _file(HERE / "with_jax.py"),
}


def target(name: str) -> object:
    """Return the target of an implementation."""
    return {**CORRECT, **SLOW}[name]()


def failures(name: str, seed: int) -> list[str]:
    """Judge an implementation in float32, and return a line for each requirement that it is said to break."""
    report = toise.verify(target(name), dtypes=["float32"], seed=seed)
    broken = [row for row in report.results if row.outcome in ("FAIL", "CRASH", "NOT RUN")]
    lines = [f"{row.requirement} {row.operation} {row.outcome}" for row in broken]
    return lines if lines or report.passed else ["not passed"]


def judge(names: Iterable[str], seeds: Iterable[int], *, workers: int = 1) -> Iterator[tuple[str, int, list[str]]]:
    """Yield the name, the seed and the failures of every implementation at every seed."""
    chosen = list(names)
    pairs = [(name, seed) for seed in seeds for name in chosen]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for (name, seed), found in zip(pairs, pool.map(_judge_one, pairs), strict=True):
            yield name, seed, found


def _judge_one(pair: tuple[str, int]) -> list[str]:
    return failures(*pair)


def main() -> None:
    """Print each failure and, at the end, how many there were; the exit status is 1 if there were any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --seed on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", type=int, default=1, metavar="PROCESSES", help="how many processes judge at once")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*CORRECT, *SLOW], default=list(CORRECT))
    given = parser.parse_args()
    names = [name for name in given.only if name != "with_jax" or _jax_is_there()]
    start, verdicts, failed = time.perf_counter(), 0, 0
    for name, seed, found in judge(names, range(given.seed, given.seed + given.seeds), workers=given.n):
        verdicts, failed = verdicts + 1, failed + bool(found)
        if found:
            print(f"{name:<16} seed {seed:<6} {', '.join(found)}", flush=True)
    print(f"{failed} failures in {verdicts} verdicts: {len(names)} right implementations, {given.seeds} seeds", end="")
    print(f", {time.perf_counter() - start:.0f} s")
    sys.exit(1 if failed or not verdicts else 0)


def _jax_is_there() -> bool:
    there = importlib.util.find_spec("jax") is not None
    if not there:
        print("with_jax: left out, JAX is not installed")
    return there


if __name__ == "__main__":
    main()
