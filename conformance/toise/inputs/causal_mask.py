"""Inputs of the causal mask: two lengths, of the kinds that tell a wrong mask from a right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from toise.inputs.recipes import Case, Recipe, Recipes, explore

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Array = np.ndarray


@dataclass(frozen=True)
class CausalMask(Recipe):
    """Inputs of `causal_mask`: n queries and m keys, or as many as queries where m is None.

    There are no arrays: the two lengths say all.
    """

    n: int = 0
    m: int | None = None

    operation = "causal_mask"
    sizes = ()
    inner = 0
    options = ("m",)

    def numbers(self) -> int:
        return 0

    def elements(self) -> int:
        """Return how many truth values the mask holds: a person checks those."""
        return self.n * (self.n if self.m is None else self.m)

    def build(self, rounded: Callable[[Array], Array]) -> Case:  # noqa: ARG002 - there is no number to round
        lengths = {"n": self.n} if self.m is None else {"n": self.n, "m": self.m}
        return Case(self.operation, {}, lengths, self.seed)

    def in_order(self, order: str) -> CausalMask:
        """Return a recipe of the same two lengths in that order, one apart where they are equal."""
        low, high = sorted((self.n, self.n if self.m is None else self.m))
        high += low == high
        return {"n < m": CausalMask(n=low, m=high), "n > m": CausalMask(n=high, m=low)}[order]


# Small ones first.  Equal lengths, one more and many more of either, one query, one key, block edges and a step past them,
# and past a byte.
FIXED = (
    CausalMask(n=2),
    CausalMask(n=2, m=3),
    CausalMask(n=3, m=2),
    CausalMask(n=3),
    CausalMask(n=2, m=5),
    CausalMask(n=5, m=2),
    CausalMask(n=1),
    CausalMask(n=1, m=2),
    CausalMask(n=1, m=17),
    CausalMask(n=4, m=1),
    CausalMask(n=4, m=4),
    CausalMask(n=2, m=600),
    CausalMask(n=600, m=3),
    CausalMask(n=7, m=8),
    CausalMask(n=8, m=7),
    CausalMask(n=16),
    CausalMask(n=9, m=33),
    CausalMask(n=33, m=31),
    CausalMask(n=65, m=64),
    CausalMask(n=5, m=100),
    CausalMask(n=100),
    CausalMask(n=150, m=200),
    CausalMask(n=260),
)
USUAL = CausalMask(n=64)
SIZES = (2, 3, 1, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 128, 200)
CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("literal",),
    "n": SIZES,
    "m": (None, *SIZES),
}
TINY: dict[str, tuple[Any, ...]] = {"n": (2, 3, 1, 4), "m": (None, 2, 3, 1, 4)}


def causal_mask_inputs(order: str = "", **given: tuple[Any, ...]) -> Recipes:
    """Lengths for `causal_mask`; each argument restricts a field of `CausalMask` to a choice: `m=(None,)`.

    order  "n < m" or "n > m": the two lengths take this order, one apart where they were equal
    """
    recipes = explore(CausalMask, FIXED, CHOICES, TINY, given, numbers=0)
    if not order:
        return recipes

    def put(recipe: Recipe) -> Recipe:
        return cast("CausalMask", recipe).in_order(order)

    general, tiny = (strategy.map(put) if strategy is not None else None for strategy in (recipes.general, recipes.tiny))
    return Recipes(tuple(map(put, recipes.fixed)), general, tiny)
