"""Pseudo-random arrays that are the same on every machine and for every version of NumPy.

They are made from the raw 64-bit words of Philox 4x64 (Salmon, Moraes, Dror & Shaw 2011), a counter
based generator with a fixed definition, by exact integer and IEEE operations alone.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray
# Kernels work through an axis in blocks: a mistake shows beside the edge of one.
BLOCK_EDGES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def words(seed: int, stream: int, shape: tuple[int, ...]) -> Array:
    """Return unsigned 64-bit words; each (seed, stream) is a sequence of its own."""
    count = math.prod(shape)
    return np.random.Philox(key=[seed, stream]).random_raw(count).reshape(shape)


def uniform(seed: int, stream: int, shape: tuple[int, ...]) -> Array:
    """Return numbers in [0, 1), multiples of 2^-53."""
    return (words(seed, stream, shape) >> np.uint64(11)) * 2.0**-53


def normal(seed: int, stream: int, shape: tuple[int, ...]) -> Array:
    """Return numbers of mean 0 and variance 1 in (-3.5, 3.5): sums of four uniform ones, rescaled."""
    return (uniform(seed, stream, (4, *shape)).sum(0) - 2.0) * math.sqrt(3.0)


def integers(seed: int, stream: int, shape: tuple[int, ...], low: int, high: int) -> Array:
    """Return whole numbers from low to high, both included, as float64."""
    return np.floor(uniform(seed, stream, shape) * (high - low + 1)) + low


def permutation(seed: int, stream: int, size: int) -> Array:
    """Return a permutation of range(size), other than the identity when size > 1."""
    order = np.argsort(words(seed, stream, (size,)), kind="stable")
    return np.roll(order, 1) if size > 1 and (order == np.arange(size)).all() else order


def ramp(shape: tuple[int, ...], step: int) -> Array:
    """Return small whole numbers from -2 to 2 in no simple order."""
    return (np.arange(math.prod(shape)) * step % 7 % 5 - 2.0).reshape(shape)


def watched(seed: int, stream: int, size: int, count: int) -> Array:
    """Return that many places of range(size): the last, the first, both sides of block edges, any others; then again."""
    edges = [place for edge in BLOCK_EDGES for place in (edge, edge - 1) if place < size]
    order = dict.fromkeys([size - 1, 0, *reversed(edges), *permutation(seed, stream, size)])
    return np.resize(np.array(list(order)[:count], dtype=int), count)
