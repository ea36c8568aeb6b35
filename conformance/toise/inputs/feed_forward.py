"""Inputs of the feed-forward network: positions, weights and biases of the kinds that tell a wrong one from a right one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.inputs import bits
from toise.inputs.recipes import Case, Recipe, Recipes, explore, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray


@dataclass(frozen=True)
class FeedForward(Recipe):
    """Inputs of `feed_forward`: x [*lead, d_model], w1 [d_model, d_ff], w2 [d_ff, d_model], and a bias for each layer.

    content   of x, w1 and w2: "padding" makes every second position zero, "sparse" all but one feature of each position,
              "off" turns all units of every second position off, "outlier" one feature of x far larger than the others,
              "cancel" hidden units near zero from large products, "bias" ones far below the biases
    second    w2: "indicator" makes each column of it pick one hidden unit, so that the result is that unit
    b1, b2    the biases; with x they are multiplied by 2 ** exponent
    """

    lead: tuple[int, ...] = (1,)
    d_model: int = 1
    d_ff: int = 2
    second: str = "dense"
    b1: str = "zeros"
    b2: str = "zeros"

    operation = "feed_forward"
    far = ("outlier",)
    sizes = ("d_model", "d_ff")
    inner = 1
    options = ()

    def numbers(self) -> int:
        dense = self.d_ff * self.d_model if self.second == "dense" else 0
        return math.prod(self.lead) * self.d_model + self.d_model * self.d_ff + dense

    def build(self, rounded: Callable[[Array], Array]) -> Case:
        x, w1, w2 = self._content((*self.lead, self.d_model), (self.d_model, self.d_ff), (self.d_ff, self.d_model))
        if self.second == "indicator":
            watched = bits.watched(self.seed, 6, self.d_ff, self.d_model)
            w2 = (np.arange(self.d_ff)[:, None] == watched).astype(float)
        elif self.second != "dense":
            raise unknown("second", self.second, CHOICES["second"])
        scale = 2.0**self.exponent
        arrays = {
            "x": x * scale,
            "w1": w1,
            "b1": _bias(self.b1, self.seed, 4, self.d_ff) * scale,
            "w2": w2,
            "b2": _bias(self.b2, self.seed, 5, self.d_model) * scale,
        }
        return Case(self.operation, {name: rounded(array) for name, array in arrays.items()}, {}, self.seed, len(self.lead))

    def _content(self, *shapes: tuple[int, ...]) -> list[Array]:
        """Return x, w1 and w2."""
        if self.content == "literal":
            starts = np.cumsum([0, *map(math.prod, shapes[:-1])])
            return [self.listed(shape, (1.0, -1.0, 2.0), start) for shape, start in zip(shapes, starts, strict=True)]
        if self.content == "ramp":
            return [bits.ramp(shape, step) for shape, step in zip(shapes, (3, 5, 4), strict=True)]
        if self.content == "integers":
            return [bits.integers(self.seed, stream, shape, -3, 3) for stream, shape in enumerate(shapes, 1)]
        return self._made_of(*(bits.normal(self.seed, stream, shape) for stream, shape in enumerate(shapes, 1)))

    def _made_of(self, x: Array, w1: Array, w2: Array) -> list[Array]:
        if self.content == "normal":
            return [x, w1, w2]
        position = np.arange(math.prod(self.lead)).reshape(*self.lead, 1)
        if self.content == "padding":
            # Every second position, the first among them: with one position alone, all of x.
            return [np.where(position % 2, x, 0.0), w1, w2]
        if self.content == "sparse":
            # A product alone is rounded less than a sum of many, and is the first thing that a lost feature takes away.
            return [np.where((position + self.seed) % self.d_model == np.arange(self.d_model), x, 0.0), w1, w2]
        if self.content == "off":
            return [np.where(position % 2, x, np.abs(x)), -np.abs(w1), w2]
        if self.content == "outlier":
            return [x + np.where(np.arange(self.d_model) == self.seed % self.d_model, 2.0**10, 0.0), w1, w2]
        if self.content == "cancel":
            feature = np.arange(self.d_model)
            pair, sign = feature // 2 * 2, np.where(feature % 2, -8.0, 8.0)
            return [8 * x[..., pair], sign[:, None] * w1[pair], w2]
        if self.content == "bias":
            return [x * 2.0**-12, w1 * 2.0**-12, w2 * 2.0**-12]
        raise unknown("content", self.content, ("literal", *CHOICES["content"]))


def _bias(kind: str, seed: int, stream: int, size: int) -> Array:
    if kind == "zeros":
        return np.zeros(size)
    if kind == "ramp":
        return bits.ramp((size,), stream)
    if kind == "normal":
        return bits.normal(seed, stream, (size,))
    raise ValueError(f"unknown kind {kind!r}; required: zeros, ramp or normal")


# Smallest first.  All units off; d_ff above, at and below d_model, as many positions as units, square weights, one axis
# alone, block edges and a step past them.
FIXED = (
    FeedForward(d_model=1, d_ff=2, literal=(1.0, 1.0, -1.0, 1.0, 2.0)),
    FeedForward(d_model=2, d_ff=2, literal=(1.0, 0.0, 1.0, -1.0, 2.0, 1.0, 1.0, 2.0, -1.0, 0.0)),
    FeedForward(d_model=1, d_ff=2, literal=(1.0, -1.0, -2.0, 1.0, 2.0), b2="ramp"),
    FeedForward(lead=(2,), d_model=3, d_ff=2, content="ramp", b1="ramp", b2="ramp"),
    FeedForward(lead=(3,), d_model=2, d_ff=1, content="normal", seed=58, b1="normal", b2="normal"),
    FeedForward(lead=(3,), d_model=2, d_ff=4, content="off", seed=14, b2="normal"),
    FeedForward(lead=(5,), d_model=2, d_ff=5, content="integers", seed=1, b1="ramp", b2="normal"),
    FeedForward(lead=(), d_model=4, d_ff=7, content="normal", seed=2, b1="normal", b2="normal"),
    FeedForward(lead=(2, 3), d_model=5, d_ff=5, content="normal", seed=3, b1="normal", b2="normal"),
    FeedForward(lead=(4,), d_model=4, d_ff=16, content="padding", seed=4, b1="normal", b2="normal"),
    FeedForward(lead=(3,), d_model=6, d_ff=33, content="normal", seed=5, second="indicator", b1="normal"),
    FeedForward(lead=(5,), d_model=8, d_ff=9, content="cancel", seed=6, b1="ramp", b2="normal"),
    FeedForward(lead=(3,), d_model=7, d_ff=31, content="bias", seed=7, b1="normal", b2="normal"),
    FeedForward(lead=(2, 2, 3), d_model=17, d_ff=8, content="outlier", seed=8, b1="normal", b2="normal"),
    FeedForward(lead=(1, 3, 1, 2), d_model=8, d_ff=32, content="sparse", seed=12, second="indicator", b1="normal", b2="normal"),
    FeedForward(lead=(17,), d_model=16, d_ff=64, content="normal", seed=9, b1="normal", b2="normal"),
    FeedForward(lead=(130,), d_model=3, d_ff=4, content="integers", seed=10, b1="ramp", b2="ramp"),
    FeedForward(lead=(2, 2), d_model=64, d_ff=256, content="normal", seed=11, b1="normal", b2="normal"),
    FeedForward(lead=(3,), d_model=16, d_ff=1030, content="normal", seed=12, second="indicator", b1="normal"),
    FeedForward(lead=(9,), d_model=65, d_ff=129, content="normal", seed=13, exponent=-6, b1="normal", b2="normal"),
)


def large(seed: int, **fields: Any) -> FeedForward:
    """Return a recipe with normal numbers, of which only those sizes are large that are given."""
    return FeedForward(**{"d_model": 2, "d_ff": 3, "content": "normal", "b1": "normal", "b2": "normal", "seed": seed, **fields})


# One size alone is large, beyond a block, a byte, or a list of sizes: features, units, positions.  Their products pass
# 2^15 and 2^16.
LARGE = (
    large(20, lead=(7,), d_ff=1030),
    large(21, lead=(3,), d_model=129),
    large(22, lead=(4,), d_model=1025, exponent=17),
    large(23, lead=(577,), d_model=1, exponent=17),
    large(24, lead=(2, 130), d_model=4, content="padding"),
    large(25, lead=(4,), d_model=65, d_ff=1030, exponent=17),
    large(26, lead=(513,), d_ff=129),
    large(27, lead=(128,), d_model=128, d_ff=512, content="sparse", second="indicator", exponent=17),
    large(28, lead=(16,), d_model=64, d_ff=256, content="off", b1="zeros"),
    large(29, lead=(16,), d_model=16, d_ff=32, content="padding"),
    large(517, lead=(3,), d_model=519, content="sparse"),
)
# The call that almost every kernel implements: a batch of texts, and four times as many hidden units as features.
USUAL = FeedForward(lead=(2, 16), d_model=64, d_ff=256, content="normal", b1="normal", b2="normal")
CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("ramp", "integers", "normal", "padding", "sparse", "off", "outlier", "cancel", "bias"),
    "d_model": (2, 3, 1, 4, 5, 8, 7, 16, 17, 33, 64, 65),
    "d_ff": (2, 3, 4, 1, 5, 8, 9, 16, 31, 33, 64, 65, 128),
    "lead": ((1,), (2,), (), (3,), (1, 2), (2, 3), (5,), (2, 2, 3), (33,)),
    "exponent": (0, 1, -1, 4, -4, 9, -9),
    "seed": tuple(range(100)),
    "second": ("dense", "indicator"),
    "b1": ("zeros", "ramp", "normal"),
    "b2": ("zeros", "ramp", "normal"),
}
TINY: dict[str, tuple[Any, ...]] = {
    "d_model": (1, 2),
    "d_ff": (1, 2),
    "lead": ((1,), (2,)),
    "second": ("dense",),
    "b1": ("zeros", "ramp"),
    "b2": ("zeros", "ramp"),
}


def feed_forward_inputs(**given: tuple[Any, ...]) -> Recipes:
    """Inputs of `feed_forward`; each argument restricts a field of `FeedForward` to a choice: `d_ff=(65, 129)`."""
    return explore(FeedForward, FIXED, CHOICES, TINY, given, numbers=12)
