"""Pseudo-random arrays that are the same on every machine and for every version of NumPy.

They are made from the raw 64-bit words of Philox 4x64 (Salmon, Moraes, Dror & Shaw 2011), a counter
based generator with a fixed definition, by exact integer and IEEE operations alone.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


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
