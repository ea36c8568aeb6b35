"""Inputs of a residual connection: rows, and what the sublayer gives for them."""

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
# The outputs that are x times a number.
MULTIPLES = {"zero": 0.0, "double": 2.0, "negative": -1.0}


@dataclass(frozen=True)
class Residual(Recipe):
    """Inputs of `residual`: x of shape [*lead, d], and what the sublayer gives for x, of the same shape.

    content   of x: "outlier" has one feature far larger than the others, "offset" a mean of 100 deviations, and
              "padding" makes every second position zero, in x alone
    output    of the sublayer: "other" is numbers of its own, "near" takes x back but for a little, "tiny" is far
              smaller than x and "loud" far larger; "zero", "double" and "negative" are multiples of x
    """

    lead: tuple[int, ...] = (1,)
    d: int = 2
    output: str = "other"

    operation = "residual"
    far = ("outlier",)
    sizes = ("d",)
    inner = 1
    options = ()

    def numbers(self) -> int:
        return math.prod(self.lead) * self.d * (1 if self.output in MULTIPLES else 2)

    def build(self, rounded: Callable[[Array], Array]) -> Case:
        shape = (*self.lead, self.d)
        x = rounded(self._content(shape, 0) * 2.0**self.exponent)
        # A multiple of x is held as it is: rounded by itself, it might be another multiple.
        output = self._output(x) if self.output in MULTIPLES else rounded(self._output(x))
        return Case(self.operation, {"x": x, "sublayer": output}, {}, self.seed, len(self.lead))

    def _output(self, x: Array) -> Array:
        if self.output in MULTIPLES:
            return MULTIPLES[self.output] * x
        other = self._content(x.shape, 1) * 2.0**self.exponent
        if self.output == "other":
            return other
        if self.output == "near":
            return other * 2.0**-7 - x
        if self.output in ("tiny", "loud"):
            return other * (2.0**-14 if self.output == "tiny" else 2.0**14)
        raise unknown("output", self.output, CHOICES["output"])

    def _content(self, shape: tuple[int, ...], part: int) -> Array:
        """Return the numbers of x, or of the output: the second part of what the content gives."""
        size = math.prod(shape)
        if self.content == "literal":
            return self.listed(shape, (1.0, -2.0, 3.0), part * size)
        if self.content == "ramp":
            return (np.arange(part * size, (part + 1) * size) * 3 % 7 - 3.0).reshape(shape)
        if self.content == "integers":
            return bits.integers(self.seed, 1 + part, shape, -8, 8)
        noise = bits.normal(self.seed, 1 + part, shape)
        if self.content == "padding" and part == 0:
            return np.where(np.arange(math.prod(self.lead)).reshape(*self.lead, 1) % 2, noise, 0.0)
        if self.content in ("normal", "padding"):
            return noise
        if self.content == "offset":
            return noise + 100.0
        if self.content == "outlier":
            return noise + np.where(np.arange(shape[-1]) == self.seed % shape[-1], 2.0**10, 0.0)
        raise unknown("content", self.content, ("literal", *CHOICES["content"]))


# Smallest first.  Outputs of every kind, one axis alone, one feature, odd lengths, more positions than features.
FIXED = (
    Residual(d=2, literal=(1.0, -2.0, 3.0, 0.5)),
    Residual(lead=(2,), d=1, literal=(1.0, -3.0), output="double"),
    Residual(lead=(2,), d=3, content="ramp"),
    Residual(lead=(3,), d=2, content="padding", seed=12),
    Residual(lead=(3,), d=4, content="normal", seed=1, output="zero"),
    Residual(lead=(2, 3), d=5, content="integers", seed=2),
    Residual(lead=(), d=6, content="normal", seed=3),
    Residual(lead=(4,), d=7, content="outlier", seed=4, output="double"),
    Residual(lead=(3,), d=8, content="offset", seed=5, output="negative"),
    Residual(lead=(5,), d=16, content="normal", seed=6, output="near"),
    Residual(lead=(2, 2, 3), d=17, content="normal", seed=7, output="tiny"),
    Residual(lead=(7,), d=33, content="normal", seed=8, output="loud"),
    Residual(lead=(130,), d=3, content="integers", seed=9),
    Residual(lead=(2, 2), d=255, content="normal", seed=10, exponent=6),
    Residual(lead=(9,), d=768, content="normal", seed=11, exponent=-6),
)
# One size alone is large, beyond a block, a byte, or a list of sizes: features, positions, and all numbers together.
LARGE = (
    Residual(d=257, content="normal", seed=13),
    Residual(d=1023, content="normal", seed=14),
    Residual(lead=(577,), d=1, content="normal", seed=15),
    Residual(lead=(2, 130), d=2, content="normal", seed=16),
    Residual(lead=(513,), d=129, content="normal", seed=17),
)
USUAL = Residual(lead=(2, 16), d=64, content="normal")
CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("ramp", "integers", "normal", "padding", "outlier", "offset"),
    "d": (2, 3, 4, 5, 8, 1, 7, 16, 17, 31, 33, 64, 65),
    "lead": ((1,), (2,), (), (3,), (1, 2), (2, 3), (5,), (2, 2, 3), (1, 3, 1, 2), (33,)),
    "exponent": (0, 1, -1, 4, -4, 9, -9),
    "seed": tuple(range(100)),
    "output": ("other", "zero", "double", "negative", "near", "tiny", "loud"),
}
TINY: dict[str, tuple[Any, ...]] = {"d": (1, 2), "lead": ((1,), (2,)), "output": ("other", "zero", "double", "negative")}


def residual_inputs(**given: tuple[Any, ...]) -> Recipes:
    """Inputs of `residual`; each argument restricts a field of `Residual` to a choice: `output=("zero",)`."""
    return explore(Residual, FIXED, CHOICES, TINY, given, numbers=8)
