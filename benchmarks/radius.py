"""What a radius costs beside the value: `python benchmarks/radius.py`.

The value is the formula in float64, written for speed; the radius is that of float32 STRICT, whose value is computed again
beside it.  Both run on one thread, in turn, and the ratio is the median of the turns.
"""

from __future__ import annotations

import math
import statistics
import time
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import threadpoolctl
from toise import bounds

if TYPE_CHECKING:
    from collections.abc import Callable

# Shapes of q, k and v, and how many times the value's time the radius may take.
SHAPES = {(8, 128, 64): 15, (64, 512, 64): 8, (1, 4096, 64): 15}
MEBIBYTES = 256
TURNS = 5


def value(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Compute softmax(q k^T / sqrt(d)) v, with no array that is not needed."""
    s = q @ k.swapaxes(-1, -2)
    s *= 1 / math.sqrt(q.shape[-1])
    s -= s.max(-1, keepdims=True)
    np.exp(s, out=s)
    total = s.sum(-1, keepdims=True)
    return s @ v / total


def radius(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> bounds.Bounded:
    """Bound the same call."""
    everything = np.ones((1, 1), bool)
    return bounds.attention(q, k, v, everything, 1 / math.sqrt(q.shape[-1]), bounds.PRECISIONS["float32"]["STRICT"])


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each shape."""
    noise = np.random.default_rng(0)
    print(f"{'(batch, n, d)':<16}{'value ms':>10}{'radius ms':>11}{'ratio':>7}{'limit':>7}{'MiB':>7}{'limit':>7}")
    with threadpoolctl.threadpool_limits(1):
        for shape, limit in SHAPES.items():
            data = [noise.standard_normal(shape).astype(np.float32).astype(np.float64) for _ in range(3)]
            value(*data)
            turns = [(seconds(lambda: value(*data)), seconds(lambda: radius(*data))) for _ in range(TURNS)]  # noqa: B023
            tracemalloc.start()
            radius(*data)
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            times = [1e3 * statistics.median(column) for column in zip(*turns, strict=True)]
            ratio = statistics.median(second / first for first, second in turns)
            print(f"{shape!s:<16}{times[0]:>10.1f}{times[1]:>11.1f}{ratio:>7.1f}{limit:>7}{peak:>7.0f}{MEBIBYTES:>7}", flush=True)


if __name__ == "__main__":
    main()
