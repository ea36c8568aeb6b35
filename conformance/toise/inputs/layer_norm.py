"""Inputs of layer normalisation: rows of features, of the kinds that tell a wrong layer_norm from a right one."""

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


def _padded(noise: Array, seed: int) -> Array:
    """Return the same rows, but one in three is zero."""
    rows = np.arange(math.prod(noise.shape[:-1])).reshape(*noise.shape[:-1], 1)
    return np.where(rows % 3 == seed % 3, 0.0, noise)


# What a kind of content makes of normal numbers.
NOISE: dict[str, Callable[[Array, int], Array]] = {
    "normal": lambda noise, _: noise,
    "constant": lambda noise, _: np.broadcast_to(noise[..., :1], noise.shape).copy(),
    "zeros": lambda noise, _: np.zeros_like(noise),
    "padded": _padded,
    "tiny": lambda noise, _: noise * 2.0**-9,
    "offset": lambda noise, _: noise + 1000.0,
    "outlier": lambda noise, seed: noise + np.where(np.arange(noise.shape[-1]) == seed % noise.shape[-1], 2.0**10, 0.0),
}


@dataclass(frozen=True)
class TokenRows(Recipe):
    """Inputs of `layer_norm`: x has shape [*lead, d].

    content "constant" repeats one number, "zeros" is that where the number is 0, "padded" makes some rows zero,
    "tiny" has a variance near the default eps, "offset" a mean of 1000 deviations, "outlier" one feature far
    from the others.
    """

    lead: tuple[int, ...] = (1,)
    d: int = 2
    gamma: str = "ones"
    beta: str = "zeros"
    eps: float | None = None

    operation = "layer_norm"
    far = ("outlier", "offset")
    sizes = ("d",)
    inner = 1
    options = ("eps",)

    def numbers(self) -> int:
        return math.prod(self.lead) * self.d

    def build(self, rounded: Callable[[Array], Array]) -> Case:
        x = self._content((*self.lead, self.d)) * 2.0**self.exponent
        arrays = {
            "x": x,
            "gamma": _parameter(self.gamma, self.seed, 2, self.d),
            "beta": _parameter(self.beta, self.seed, 3, self.d),
        }
        options = {} if self.eps is None else {"eps": self.eps}
        return Case(self.operation, {name: rounded(array) for name, array in arrays.items()}, options, self.seed, len(self.lead))

    def _content(self, shape: tuple[int, ...]) -> Array:
        if self.content == "literal":
            return self.listed(shape, (1.0, -1.0))
        if self.content == "ramp":
            return (np.arange(np.prod(shape, dtype=int)) * 3 % 7 - 3.0).reshape(shape)
        if self.content == "integers":
            return bits.integers(self.seed, 1, shape, -8, 8)
        if self.content in NOISE:
            return NOISE[self.content](bits.normal(self.seed, 1, shape), self.seed)
        raise unknown("content", self.content, ("literal", *CHOICES["content"]))


def _parameter(kind: str, seed: int, stream: int, d: int) -> Array:
    if kind in ("ones", "zeros"):
        return np.full(d, 1.0 if kind == "ones" else 0.0)
    if kind == "powers":
        return 2.0 ** (np.arange(d) % 4) * np.array([1.0, -1.0, 1.0, 1.0, 0.0])[np.arange(d) % 5]
    if kind == "normal":
        return bits.normal(seed, stream, (d,))
    if kind == "near":
        return 1 + 2.0**-17 * bits.normal(seed, stream, (d,))
    raise ValueError(f"unknown kind {kind!r}; required: ones, zeros, powers, normal or near")


def _of_width(d: int) -> TokenRows:
    return TokenRows(d=d, content="normal", seed=d % 100, gamma="normal", beta="normal")


# Smallest first.  Odd and even lengths, one feature, block edges and a step past them, a long row.
FIXED = (
    TokenRows(d=2, literal=(1.0, -1.0), eps=0.5),
    TokenRows(d=3, literal=(0.0, 0.0, 3.0), eps=0.25),
    TokenRows(lead=(2,), d=3, content="ramp", eps=0.5),
    TokenRows(lead=(3,), d=4, content="tiny"),
    TokenRows(lead=(2, 3), d=5, content="integers", seed=1, gamma="powers", beta="normal"),
    TokenRows(lead=(4,), d=8, content="normal", seed=2, gamma="normal", beta="normal", eps=1e-12),
    TokenRows(lead=(3,), d=7, content="outlier", seed=3, gamma="normal"),
    TokenRows(lead=(), d=6, content="normal", seed=4, beta="normal"),
    TokenRows(lead=(2, 2, 3), d=64, content="offset", seed=5, gamma="normal"),
    TokenRows(lead=(5,), d=65, content="tiny", seed=6, gamma="normal", beta="normal"),
    TokenRows(lead=(17,), d=128, content="normal", seed=7, gamma="normal", beta="normal"),
    TokenRows(lead=(2, 2), d=255, content="normal", seed=8, exponent=6, eps=0.5),
    TokenRows(lead=(3,), d=768, content="normal", seed=9, exponent=-6, gamma="normal", beta="normal"),
    TokenRows(lead=(130,), d=3, content="integers", seed=10, gamma="powers"),
    TokenRows(lead=(1,), d=4097, content="normal", seed=11),
)
# What the formula alone is tried on: widths between the powers of two, and rows far longer or more than those above; the
# statistics of rows that begin alike, of rows of zeros, of as many rows as features, and of numbers whose squares are far from 1.
ODD_BLOCKS = tuple(map(_of_width, (384, 640, 192, 96, 48, 24, 1536)))
WIDTHS = (*ODD_BLOCKS, *map(_of_width, (769, 1000, 513, 257, 2048, 100, 12, 9, 6)))
REPEATED = TokenRows(lead=(2,), d=3, literal=(1.0, 3.0, 0.0, 1.0, -2.0, 2.0), eps=0.5)
SQUARE = TokenRows(lead=(3, 3), d=3, content="normal", seed=12, gamma="powers", beta="normal")
PADDED = TokenRows(lead=(5,), d=6, content="padded", seed=13, gamma="normal", beta="normal")
SMALL = TokenRows(lead=(2,), d=3, content="tiny", exponent=-9, seed=14, gamma="normal", eps=1e-12)
SMALLER = TokenRows(lead=(2,), d=4, content="tiny", exponent=-14, seed=15, eps=1e-12)
WITHOUT_EPS = TokenRows(lead=(2,), d=4, content="tiny", exponent=-14, seed=15, eps=0.0)
LARGE = TokenRows(lead=(2,), d=16, content="normal", exponent=30, seed=16, beta="normal")
EPS = tuple(TokenRows(lead=(2,), d=d, content="tiny", seed=17) for d in (256, 512, 1024, 2000, 300, 1280))
OFFSET = TokenRows(lead=(2,), d=512, content="offset", seed=20, gamma="normal")
PEAK = TokenRows(lead=(1,), d=1030, content="outlier", seed=21, beta="normal")
NEAR_ONE = TokenRows(lead=(3,), d=4, content="normal", seed=18, gamma="near")
BLOCKS = TokenRows(lead=(64,), d=64, content="normal", seed=22, gamma="normal", beta="normal")
ROWS = TokenRows(lead=(1030,), d=3, content="normal", seed=23, gamma="powers", beta="normal")
AXES = (
    TokenRows(lead=(2, 3, 2), d=4, content="normal", seed=24, gamma="normal", beta="normal"),
    TokenRows(lead=(2, 1, 3, 2), d=4, content="normal", seed=24, gamma="normal", beta="normal"),
)
MANY = TokenRows(lead=(260,), d=256, content="normal", seed=25, gamma="normal", beta="normal")
USUAL = TokenRows(lead=(2, 3), d=64, content="normal")
CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("ramp", "integers", "normal", "constant", "zeros", "padded", "tiny", "offset", "outlier"),
    "d": (2, 3, 4, 5, 8, 1, 7, 16, 17, 31, 33, 64, 65, 128, 6, 10, 12, 32, 100, 129, 192, 256, 300),
    "lead": ((1,), (2,), (), (3,), (1, 2), (2, 3), (5,), (2, 2, 3), (4,), (2, 2), (3, 3), (17,)),
    "exponent": (0, 1, -1, 4, -4, 9, -9),
    "seed": tuple(range(100)),
    "gamma": ("ones", "powers", "normal"),
    "beta": ("zeros", "normal"),
    "eps": (None, 0.5, 0.25, 1.0, 2.0**-10, 1e-5, 1e-12),
}
TINY: dict[str, tuple[Any, ...]] = {
    "d": (2, 3, 1),
    "lead": ((1,),),
    "eps": (0.5, 0.25, 1.0, None),
    "gamma": ("ones",),
    "beta": ("zeros",),
}


def token_rows(**given: tuple[Any, ...]) -> Recipes:
    """Rows for `layer_norm`; each argument restricts a field of `TokenRows` to a choice: `eps=(0.5, 1.0)`."""
    return explore(TokenRows, FIXED, CHOICES, TINY, given, numbers=3)
