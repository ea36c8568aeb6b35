"""The formulas of the page with the derivations, computed as they stand there, to see that they are those of `toise.bounds`.

The page leaves out what is there for underflow, and the 2^-53 of the value beside the radius: so the two agree but for little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from toise import bounds
from toise.bounds import PRECISIONS

if TYPE_CHECKING:
    from toise.bounds import Precision

Array = np.ndarray


@dataclass(frozen=True)
class Letters:
    """What the page's letters stand for in a precision class."""

    u: float  # a step
    c: float  # an addition of a long sum
    o: float  # an operand
    s: float  # the dtype
    tensor: float
    t: float  # an array that is written out, 0 where that is no rounding
    w: float  # attention weights
    ulps: float

    @classmethod
    def of(cls, p: Precision) -> Letters:
        """Read them off a class."""
        weights = max(p.weights.u, p.tensor.u)
        return cls(p.step.u, p.accumulate.u, p.operand.u, p.storage.u, p.tensor.u, p.written, weights, p.ulps)

    @property
    def inside(self) -> float:
        """The unit of what is done inside a kernel alone."""
        return min(self.u, 2.0**-24)

    def gamma(self, n: int) -> float:
        """The error of a sum."""
        return (1 + self.c) ** n - 1

    def product(self, n: int, rho: float = 0.0) -> float:
        """The error of a sum of products."""
        return (1 + rho) * (1 + self.o) ** 2 * (1 + self.c) ** n - 1

    def stored(self, value: Array, radius: Array) -> Array:
        """Write out."""
        return radius + self.t * (np.abs(value) + radius)

    def step(self, value: Array, radius: Array) -> Array:
        """Round once."""
        return radius + self.u * (np.abs(value) + radius)

    def output(self, value: Array, radius: Array) -> Array:
        """Round to the dtype."""
        return radius + self.s * (np.abs(value) + radius)


def attention(q: Array, k: Array, v: Array, scale: float, x: Letters) -> Array:
    """Slips, the key rule and the hull, with every key allowed."""
    m = len(k)
    exact = math.frexp(scale)[0] == 0.5
    rho = (1 + x.u) ** 2 * (1 + (0 if exact else x.t)) - 1
    product = q @ k.T
    radius = x.stored(product, x.product(q.shape[-1], rho) * (np.abs(q) @ np.abs(k).T))
    s = scale * product
    radius = x.stored(s, abs(scale) * (1 + x.u) * radius)

    top = s.max(-1, keepdims=True)
    gap = top - s
    c = ((m - 1) // 16 + 2) * x.inside
    kappa = int(m > 16)
    slip = radius + (8 * x.u + (1 if exact else 2) * x.t + c) * gap
    slip += (x.u + max(4 * x.inside, c)) * np.abs(top) + (x.ulps + kappa * (x.ulps + 2)) * x.u + x.t
    p = np.exp(-gap) / np.exp(-gap).sum(-1, keepdims=True)
    o = p @ v
    distance = np.abs(v[None] - o[:, None])  # [queries, keys, features]
    least = (p * np.exp(-slip)).sum(-1, keepdims=True)
    moved = ((p * np.expm1(slip))[:, :, None] * distance).sum(1) / least
    moved = np.minimum(moved, np.maximum(v.max(0) - o, o - v.min(0)))
    rel = (1 + x.w) * (1 + x.gamma(m)) * (1 + x.product(m)) * (1 + x.u) ** 3 * (1 + x.t) ** 2 - 1
    size = np.minimum(np.minimum(1, p * np.exp(slip) / least) @ np.abs(v), np.abs(v).max(0))
    return x.output(o, x.stored(o, moved + rel * size))


def feed_forward(a: Array, w1: Array, b1: Array, w2: Array, b2: Array, x: Letters) -> Array:
    """Two layers, each the worse of two ways, and a ReLU between them."""

    def layer(value: Array, radius: Array, w: Array, b: Array) -> tuple[Array, Array]:
        n, size = value.shape[-1], (np.abs(value) + radius) @ np.abs(w)
        product = radius @ np.abs(w) + x.product(n) * size
        last = x.step(value @ w + b, x.stored(value @ w, product))
        within = product + (x.product(n + 1) - x.product(n)) * size + x.product(n + 1) * np.abs(b)
        return value @ w + b, np.maximum(last, within)

    z, radius = layer(a, np.zeros_like(a), w1, b1)
    radius = x.stored(z, radius)
    y, radius = layer(np.maximum(z, 0), np.maximum(np.minimum(z, 0) + radius, 0), w2, b2)
    return x.output(y, radius)


def layer_norm(a: Array, gamma: Array, beta: Array, eps: float, x: Letters) -> Array:
    """Mean, variance, centred value, root, and what is multiplied and added."""
    n, mean = a.shape[-1], a.mean(-1, keepdims=True)
    kernel = (x.gamma(n) + 6 * x.u) * np.abs(a).mean(-1, keepdims=True)
    r_mean = x.stored(mean, kernel)
    d = a - mean
    own = (x.u + x.t) * (np.abs(d) + r_mean)
    spread = r_mean**2 + (2 * (np.abs(d) + r_mean) * (kernel + own) + own**2).mean(-1, keepdims=True)
    square = (d**2).mean(-1, keepdims=True)
    r_square = spread + (x.gamma(n) + 2 * x.u + 2 * x.t) * (square + spread)
    r_d = x.stored(d, r_mean + 2 * x.u * (np.abs(a) + np.abs(mean) + r_mean))

    z = square + eps
    r_z = x.stored(z, x.step(z, r_square))
    least = np.maximum(z - r_z, eps * (1 - 4 * x.u - 2 * x.tensor))
    root = 1 / np.sqrt(z)
    moved = np.maximum(1 / np.sqrt(least) - root, root - 1 / np.sqrt(z + r_z))
    r_root = x.stored(root, x.stored(root, moved + x.ulps * x.u * (root + moved)))

    normalised = d * root
    radius = x.stored(normalised, x.step(normalised, r_d * (root + r_root) + np.abs(d) * r_root))
    product = normalised * gamma
    radius = x.stored(product, x.step(product, radius * np.abs(gamma)))
    y = product + beta
    return x.output(y, x.stored(y, x.step(y, radius) + x.u * np.abs(beta)))


def residual(a: Array, output: Array, x: Letters) -> Array:
    """One addition."""
    total = a + output
    radius = x.step(total, np.zeros_like(total))
    return radius if x.s == x.u else x.output(total, radius)


def log_softmax(s: Array, x: Letters) -> tuple[Array, Array]:
    """Return log-probabilities and their radii, before they are stored."""
    u, vocab, top = x.u + x.t, s.shape[-1], s.max(-1, keepdims=True)
    inside = min(u, 2.0**-24)
    total = np.exp(s - top).sum(-1, keepdims=True)
    lse, p, y = top + np.log(total), np.exp(s - top) / total, s - top - np.log(total)
    reach = np.abs(s) + np.abs(top)
    slip = u * (3 * (top - s) + x.ulps) + 2 * inside * reach
    drift = np.log((p * np.exp(slip)).sum(-1, keepdims=True))
    running = (vocab - 1) // 16 * inside * (2 * np.maximum(np.abs(lse), np.abs(top)) + 1.5 * x.ulps + 2)
    logarithm = u + (x.ulps + 2) * u * np.log(total) + x.ulps * inside
    last = u * (2 * np.abs(lse) + 2 * np.abs(y) + math.log(vocab)) + inside * (reach + 3 * np.abs(y))
    return y, (1 + u) ** 5 * (drift - vocab * math.log1p(-x.c) + running + logarithm + last)


def mlm_loss(logits: Array, labels: Array, x: Letters) -> Array:
    """A mean of terms that are not negative."""
    y, radius = (np.take_along_axis(each, labels[:, None], -1)[:, 0] for each in log_softmax(logits, x))
    radius = x.stored(y, radius)
    mean = -y.mean()
    whole = radius.mean() + ((1 + x.gamma(len(y))) * (1 + x.u + x.t) ** 5 - 1) * (np.abs(y) + radius).mean()
    return x.output(mean, x.stored(mean, whole))


def sequence_log_prob(logits: Array, tokens: Array, x: Letters) -> Array:
    """A sum of log-probabilities."""
    picked = [np.take_along_axis(each[:-1], tokens[1:, None], -1)[:, 0] for each in (logits, *log_softmax(logits, x))]
    s, y, radius = picked
    radius = x.stored(y, radius)
    size = (2 * np.abs(s) + np.abs(y) + radius).sum()
    whole = radius.sum() + (x.gamma(len(y)) + x.u + x.t) * size
    return x.output(y.sum(), x.stored(y.sum(), whole))


def compared() -> dict[str, tuple[float, float]]:
    """Return by how much each formula of the page differs from the code's radius, at most, over all classes: a share of it.

    Beside it stands the share of the elements that were compared, in the class that has the fewest of them.
    A radius below 1e-8 of the largest value is left out: there the terms for underflow and the value's own rounding count.
    The inputs have few enough digits for every dtype.  Raises ValueError for an operation of which a class compares nothing.
    """
    draw = np.random.default_rng(0)

    def numbers(*shape: int) -> Array:
        return draw.integers(-16, 17, shape) / 8

    q, k, v, row, out = numbers(3, 6), numbers(40, 6), numbers(40, 4), numbers(5, 12), numbers(5, 12)
    w1, b1, w2, b2, gamma, beta = numbers(12, 9), numbers(9), numbers(9, 12), numbers(12), numbers(12), numbers(12)
    logits, tokens = numbers(7, 40), draw.integers(0, 40, 7)
    found: dict[str, tuple[float, float]] = {}
    for p in (p for kinds in PRECISIONS.values() for p in kinds.values()):
        x = Letters.of(p)
        allowed, every = np.ones((3, 40), bool), np.ones(7, bool)
        pairs = {
            "attention": (attention(q, k, v, 0.3, x), bounds.attention(q, k, v, allowed, 0.3, p)),
            "feed_forward": (feed_forward(row, w1, b1, w2, b2, x), bounds.feed_forward(row, w1, b1, w2, b2, p)),
            "layer_norm": (layer_norm(row, gamma, beta, 0.5, x), bounds.layer_norm(row, gamma, beta, 0.5, p)),
            "residual": (residual(row, out, x), bounds.residual(row, out, p)),
            "mlm_loss": (mlm_loss(logits, tokens, x), bounds.mlm_loss(logits, tokens, every, p)),
            "sequence_log_prob": (sequence_log_prob(logits, tokens, x), bounds.sequence_log_prob(logits, tokens, p)),
        }
        if p.storage.u == 2.0**-53:  # the value's own rounding is as large as what is bounded there
            continue
        for name, (ours, theirs) in pairs.items():
            held = theirs.radius > 1e-8 * np.abs(theirs.value).max()
            if not held.any():
                raise ValueError(f"nothing of {name} is compared in {p}")
            share = np.abs(ours - theirs.radius)[held] / theirs.radius[held]
            most, least = found.get(name, (0.0, 1.0))
            found[name] = max(most, float(share.max())), min(least, float(held.mean()))
    return found
