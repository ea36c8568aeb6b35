"""What a process of its own costs: `python benchmarks/isolation.py`, with `--markdown docs/results/isolation.md` to keep it.

The same backend is called in this process and in one of its own, in turn, as the suite calls it: on one thread,
arrays are made, the operation is called, the result is read.
Large arrays are timed from the call to the result, fresh ones each time.
A restart is the first call after the one that ended the process.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from toise.errors import Ended
from toise.isolation import Isolation
from toise.quiet import quiet
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.targets import Target

SMALL, LARGE, DEATHS = 500, 7, 5
MOST_MILLISECONDS, LEAST_SPEED = 2, 500
SIZES = (64, 256)

# `feed_forward` returns its x, and `causal_mask` ends the process.
BACKENDS = {
    "numpy": """
import os
import numpy as np

def layer_norm(x, gamma, beta, *, eps=1e-5):
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta

def feed_forward(x, w1, b1, w2, b2):
    return x.copy()

def causal_mask(n, m=None):
    os.abort()
""",
    "torch": """
import os
import torch

def layer_norm(x, gamma, beta, *, eps=1e-5):
    return torch.nn.functional.layer_norm(x, gamma.shape, gamma, beta, eps)

def feed_forward(x, w1, b1, w2, b2):
    return x.clone()

def causal_mask(n, m=None):
    os.abort()
""",
}


@dataclass(frozen=True)
class Figure:
    """What was measured of each backend, and what it is held to.

    limit   in words, or empty
    """

    what: str
    unit: str
    found: list[float]
    limit: str = ""
    held: bool = True


def main() -> None:
    """Print a line for each figure; the exit status is 1 if a limit is not held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = [measure(name, Path(folder) / f"{name}_backend.py") for name in BACKENDS]
    figures = table(taken)
    print(f"{'':<58}{''.join(f'{name:>9}' for name in BACKENDS)}{'limit':>16}")
    for each in figures:
        found = "".join(f"{number:>9.3g}" for number in each.found)
        print(f"{f'{each.what}, {each.unit}':<58}{found}{each.limit:>16}{'' if each.held else '   not held'}")
    if given.markdown:
        Path(given.markdown).write_text(as_markdown(figures), encoding="utf-8")
    sys.exit(not all(each.held for each in figures))


def measure(name: str, path: Path) -> dict[str, float]:
    """Measure one backend; return each figure by its name."""
    path.write_text(BACKENDS[name], encoding="utf-8")
    here = load(str(path))
    start = time.perf_counter()
    process = Isolation().load(str(path), device=None, require_class=None)
    found = {"start": time.perf_counter() - start}
    try:
        with quiet():
            pairs = [(timed(lambda: small(here)), timed(lambda: small(process))) for _ in range(SMALL)]
        found["here"], found["apart"] = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
        found["added"] = 1e3 * statistics.median(apart - here for here, apart in pairs)
        for size in SIZES:
            _, *times = [large(process, size * 2**20) for _ in range(LARGE + 1)]
            found[f"{size} MiB"] = 2 * size * 2**20 / 1e6 / statistics.median(times)
        found["restart"] = statistics.median(restart(process) for _ in range(DEATHS))
    finally:
        process.close()
    return found


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def small(target: Target) -> np.ndarray:
    """Normalise two rows of three features, as the suite would."""
    values = (np.arange(6.0).reshape(2, 3), np.ones(3), np.zeros(3))
    x, gamma, beta = (target.arrays.make(each, "float32") for each in values)
    return target.arrays.numbers(target.operations["layer_norm"](x, gamma, beta, eps=0.5))


def large(target: Target, size: int) -> float:
    """Return the seconds in which so many bytes travel there and back."""
    values = (np.ones((size // 4096, 1024)), *(np.ones((1, 1)),) * 4)
    arrays = [target.arrays.make(each, "float32") for each in values]
    return timed(lambda: target.operations["feed_forward"](*arrays))


def restart(target: Target) -> float:
    """End the process; return the seconds of the call that comes next."""
    try:
        target.operations["causal_mask"](2)
    except Ended as ended:
        if ended.kind != "crash":
            raise
    return timed(lambda: small(target))


def table(taken: list[dict[str, float]]) -> list[Figure]:
    """Return the figures of all backends, each with its limit."""

    def of(name: str) -> list[float]:
        return [found[name] for found in taken]

    added = of("added")
    return [
        Figure("layer_norm of two rows, in this process", "ms a call", of("here")),
        Figure("the same in a process of its own", "ms a call", of("apart")),
        Figure(
            "what the pipe adds", "ms a call", added, f"at most {MOST_MILLISECONDS}", all(ms <= MOST_MILLISECONDS for ms in added)
        ),
        *(
            Figure(
                f"float32 arrays of {size} MiB, there and back",
                "MB/s",
                of(f"{size} MiB"),
                f"at least {LEAST_SPEED}",
                all(speed >= LEAST_SPEED for speed in of(f"{size} MiB")),
            )
            for size in SIZES
        ),
        Figure("the start of the process", "s", of("start")),
        Figure("the first call after a death, with a new process", "s", of("restart")),
    ]


def _short(number: float) -> str:
    return f"{number:.2g}" if number < 100 else f"{number:.0f}"


def as_markdown(figures: list[Figure]) -> str:
    """Return what `docs/en/test/isolation.md` includes."""
    names = " | ".join(f"a backend on {name}" for name in BACKENDS)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("toise", *BACKENDS))
    lines = [
        f"| | {names} | limit |",
        f"|---|{'--:|' * (len(BACKENDS) + 1)}",
        *(f"| {each.what}, {each.unit} | {' | '.join(map(_short, each.found))} | {each.limit} |" for each in figures),
        "",
        f"{versions}, Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores.",
        f"Medians of {SMALL} small calls, {LARGE} large ones and {DEATHS} deaths.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
