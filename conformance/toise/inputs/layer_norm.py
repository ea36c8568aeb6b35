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


@dataclass(frozen=True)
class TokenRows(Recipe):
    """Inputs of `layer_norm`: x has shape [*lead, d].

    content "constant" repeats one number, "tiny" has a variance near the default eps, "offset" a mean
    of 1000 deviations, "outlier" one feature far from the others.
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
        noise = bits.normal(self.seed, 1, shape)
        if self.content == "normal":
            return noise
        if self.content == "constant":
            return np.broadcast_to(noise[..., :1], shape).copy()
        if self.content == "tiny":
            return noise * 2.0**-9
        if self.content == "offset":
            return noise + 1000.0
        if self.content == "outlier":
            return noise + np.where(np.arange(shape[-1]) == self.seed % shape[-1], 2.0**10, 0.0)
        raise unknown("content", self.content, ("literal", *CHOICES["content"]))


def _parameter(kind: str, seed: int, stream: int, d: int) -> Array:
    if kind in ("ones", "zeros"):
        return np.full(d, 1.0 if kind == "ones" else 0.0)
    if kind == "powers":
        return 2.0 ** (np.arange(d) % 4) * np.array([1.0, -1.0, 1.0, 1.0, 0.0])[np.arange(d) % 5]
    if kind == "normal":
        return bits.normal(seed, stream, (d,))
    raise ValueError(f"unknown kind {kind!r}; required: ones, zeros, powers or normal")


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
USUAL = TokenRows(lead=(2, 3), d=64, content="normal")
CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("ramp", "integers", "normal", "constant", "tiny", "offset", "outlier"),
    "d": (2, 3, 4, 5, 8, 1, 7, 16, 17, 31, 33, 64, 65, 128),
    "lead": ((1,), (2,), (), (3,), (1, 2), (2, 3), (5,), (2, 2, 3)),
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
