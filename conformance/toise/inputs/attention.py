"""Inputs of attention: queries, keys, values and masks of the kinds that tell a wrong attention from a right one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.inputs import bits
from toise.inputs.recipes import Case, Recipe, Recipes, explore, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray
# What a recipe holds that names no numbers.
LITERAL = (1.0, 0.0, 2.0)


@dataclass(frozen=True)
class Attention(Recipe):
    """Inputs of `attention`: q [*lead, n, d_k], k [*lead, m, d_k], v [*lead, m, d_v].

    content   of q and k: "ties" makes all keys equal, "peaked" one weight dominant, "cancel" scores near
              zero from large products, "large" scores of many hundreds, "low" scores near -25000, "padded" some rows zero,
              "sparse" all features but one of each row
    values    of v: "indicator" makes column c the indicator of one key, so that the result is its weight;
              "spread" puts columns of 2^40 and of 2^-40 beside those of 1
    mask      "some" keys at random, "one" key for each query, no key of the "tail", none of the "head", all keys for
              every second query and one for the others ("open"), all keys in every second entry and some in the others
              ("entries"), "empty" rows too, or a "blank" entry: no key for any query
    shape     of the mask: "plain" [n, m], "ones" with leading axes of 1, "full" with all of them, "last" with the last
              of them alone, "first" with the first, and 1 for each of the others
    given     "apart": three arrays; "self": one array is q, k and v, so that m is n and d_v is d_k; "memory": one is k and v;
              "pair": one is q and k
    """

    n: int = 1
    m: int = 2
    d_k: int = 1
    d_v: int = 1
    values: str = "ramp"
    mask: str = "none"
    shape: str = "plain"
    given: str = "apart"
    causal: bool = False
    scale: float | None = None

    operation = "attention"
    far = ("large", "low")
    sizes = ("n", "m", "d_k", "d_v")
    inner = 2
    options = ("mask", "causal", "scale")
    tied = (("m", "n"), ("d_v", "d_k"))

    def numbers(self) -> int:
        queries, keys, values = self.n * self.d_k, self.m * self.d_k, self.m * self.d_v
        apart = queries + keys + values
        given = {"self": queries, "memory": queries + keys, "pair": queries + values, "apart": apart}
        return prod(self.lead) * given[self.given]

    def build(self, rounded: Callable[[Array], Array]) -> Case:
        if self.given not in GIVEN:
            raise unknown("given", self.given, GIVEN)
        if self.given == "self" and (self.m, self.d_v) != (self.n, self.d_k):
            return replace(self, m=self.n, d_v=self.d_k).build(rounded)
        if self.given == "pair" and self.m != self.n:
            return replace(self, m=self.n).build(rounded)
        q, k = self._queries_and_keys((*self.lead, self.n, self.d_k), (*self.lead, self.m, self.d_k))
        arrays = {"q": rounded(q * 2.0**self.exponent)}
        arrays["k"] = arrays["q"] if self.given in ("self", "pair") else rounded(k * 2.0**self.exponent)
        if self.given in ("apart", "pair"):
            start = q.size + k.size * (self.given == "apart")
            arrays["v"] = rounded(self._values((*self.lead, self.m, self.d_v), start))
        else:
            arrays["v"] = arrays["k"]
        options: dict[str, Any] = {}
        if self.mask != "none":
            options["mask"] = self._mask()
        if self.causal:
            options["causal"] = True
        if self.scale is not None:
            options["scale"] = self.scale
        return Case(self.operation, arrays, options, self.seed, len(self.lead))

    def _queries_and_keys(self, q: tuple[int, ...], k: tuple[int, ...]) -> tuple[Array, Array]:
        if self.content == "literal":
            return self.listed(q, LITERAL), self.listed(k, LITERAL, prod(q))
        if self.content == "ramp":
            return bits.ramp(q, 3), bits.ramp(k, 5)
        if self.content == "integers":
            return bits.integers(self.seed, 1, q, -3, 3), bits.integers(self.seed, 2, k, -3, 3)
        return self._made_of(bits.normal(self.seed, 1, q), bits.normal(self.seed, 2, k))

    def _made_of(self, queries: Array, keys: Array) -> tuple[Array, Array]:
        if self.content == "normal":
            return queries, keys
        if self.content == "ties":
            return queries, np.broadcast_to(keys[..., :1, :], keys.shape).copy()
        if self.content == "peaked":
            return 4 * queries, 2 * keys
        if self.content == "padded":
            blank = (np.arange(max(self.n, self.m)) % 3 == self.seed % 3)[:, None]
            return np.where(blank[: self.n], 0.0, queries), np.where(blank[: self.m], 0.0, keys)
        if self.content == "sparse":
            # A product alone is rounded less than a sum of many: what else rounds shows in wide rows too.
            n, m = ((np.arange(rows)[:, None] + self.seed) % self.d_k == np.arange(self.d_k) for rows in (self.n, self.m))
            return np.where(n, queries, 0.0), np.where(m, keys, 0.0)
        if self.content == "large":
            return 32 * queries, 32 * keys
        if self.content == "cancel":
            pair = np.arange(self.d_k) // 2 * 2
            sign = np.where(np.arange(self.d_k) % 2, -1.0, 1.0) if self.d_k > 1 else 2.0**-3
            return 8 * queries[..., pair], 8 * keys[..., pair] * sign
        if self.content == "low":
            # All features of q are positive and all of k negative: each score is near -25600.
            size = 160 / self.d_k**0.25
            return size * (1 + 0.01 * queries), -size * (1 + 0.01 * keys)
        raise unknown("content", self.content, ("literal", *CHOICES["content"]))

    def _values(self, shape: tuple[int, ...], start: int) -> Array:
        if self.content == "literal":
            return self.listed(shape, LITERAL, start)
        if self.values == "ramp":
            return bits.ramp(shape, 4)
        if self.values == "normal":
            return bits.normal(self.seed, 3, shape)
        if self.values == "offset":
            return 100 + bits.normal(self.seed, 3, shape)
        if self.values == "spread":
            return bits.normal(self.seed, 3, shape) * 2.0 ** (40 * ((np.arange(self.d_v) + self.seed) % 3 - 1))
        if self.values == "indicator":
            watched = bits.watched(self.seed, 4, self.m, self.d_v)
            return np.broadcast_to((np.arange(self.m)[:, None] == watched).astype(float), shape).copy()
        raise unknown("values", self.values, CHOICES["values"])

    def _mask(self) -> Array:
        first = tuple(1 if axis else length for axis, length in enumerate(self.lead))
        ones = (1,) * len(self.lead)
        lead = {"plain": (), "ones": ones, "full": self.lead, "last": self.lead[-1:], "first": first}[self.shape]
        shape = (*lead, self.n, self.m)
        chosen = bits.integers(self.seed, 5, shape[:-1], 0, self.m - 1)[..., None] == np.arange(self.m)
        if self.mask == "one":
            return chosen
        if self.mask == "tail":
            return np.broadcast_to(np.arange(self.m) < max(1, self.m - 1 - self.seed % 3), shape).copy()
        if self.mask == "head":
            return np.broadcast_to(np.arange(self.m) >= min(self.m - 1, 1 + self.seed % 3), shape).copy()
        if self.mask == "open":
            return chosen | (np.arange(self.n) % 2 == 0)[:, None]
        some = chosen | (bits.uniform(self.seed, 6, shape) < 0.6)
        if self.mask == "some":
            return some
        if self.mask == "entries":
            return some | (np.arange(prod(lead)) % 2 == self.seed % 2).reshape(*lead, 1, 1)
        if self.mask == "empty":
            return some & (np.arange(self.n) % 3 != self.seed % min(3, self.n))[:, None]
        if self.mask == "blank":
            entries = prod(lead)
            return some & (np.arange(entries) != self.seed % entries).reshape(*lead, 1, 1)
        raise unknown("mask", self.mask, ("none", *MASKS, *EMPTY))


MASKS = ("some", "tail", "head", "one", "open", "entries")
EMPTY = ("empty", "blank")
GIVEN = ("apart", "self", "memory", "pair")
# Smallest first.  n and m differ both ways, d_v and d_k differ, lengths stand at and beside block edges.
# Arrays may be one array, and axes may be as long as each other.
FIXED = (
    Attention(n=1, m=2, d_k=1, d_v=1, literal=(1.0, 1.0, 0.0, 1.0, 0.0), mask="one"),
    Attention(n=2, m=3, d_k=2, d_v=1, literal=(1.0, 0.0, 2.0), mask="some"),
    Attention(lead=(2,), n=3, m=2, d_k=3, d_v=2, content="ramp", mask="some", shape="full", scale=0.5),
    Attention(lead=(3,), n=3, m=3, d_k=3, d_v=3, content="normal", seed=14, mask="open", shape="full", given="self"),
    Attention(lead=(2, 1, 3), n=3, m=4, d_k=2, d_v=2, content="padded", seed=15, mask="some", shape="full", given="memory"),
    Attention(n=5, m=5, d_k=4, d_v=3, content="normal", values="spread", seed=16, mask="head", given="pair"),
    Attention(n=4, m=4, d_k=2, d_v=4, content="ties", values="indicator", mask="tail", seed=1),
    Attention(lead=(2, 3), n=5, m=7, d_k=4, d_v=3, content="normal", values="normal", seed=2, mask="some", shape="full"),
    Attention(lead=(1, 2), n=1, m=33, d_k=8, d_v=8, content="normal", values="indicator", seed=3, mask="tail", shape="ones"),
    Attention(n=7, m=5, d_k=6, d_v=5, content="cancel", values="indicator", seed=4, mask="one", scale=2.0),
    Attention(lead=(2, 2), n=17, m=17, d_k=16, d_v=16, content="peaked", values="indicator", seed=5, mask="some"),
    Attention(lead=(1, 1), n=9, m=31, d_k=5, d_v=9, content="large", values="indicator", seed=6, mask="some", shape="ones"),
    Attention(lead=(2,), n=8, m=8, d_k=3, d_v=2, content="low", values="normal", seed=7, mask="some"),
    Attention(lead=(1, 1), n=2, m=1030, d_k=8, d_v=16, content="normal", values="indicator", seed=10, mask="some"),
    Attention(lead=(3, 4), n=5, m=6, d_k=128, d_v=128, content="normal", values="normal", seed=12, mask="some", shape="full"),
    Attention(lead=(1, 1), n=130, m=3, d_k=1, d_v=7, content="integers", values="normal", seed=11, mask="one", scale=-1.0),
    Attention(lead=(1, 1), n=65, m=129, d_k=64, d_v=16, content="normal", values="indicator", seed=8, mask="some", shape="full"),
    Attention(lead=(1, 1), n=128, m=128, d_k=64, d_v=64, content="normal", values="offset", seed=9, mask="tail"),
)
# The call that almost every kernel implements: two leading axes, 64 features, 64 rows.
USUAL = Attention(lead=(1, 2), n=64, m=64, d_k=64, d_v=64, content="normal", values="normal")
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33)
CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("ramp", "integers", "normal", "ties", "peaked", "cancel", "padded", "large", "low"),
    "values": ("ramp", "normal", "indicator", "offset", "spread"),
    "n": SIZES,
    "m": (2, *SIZES, 64, 65),
    "d_k": (1, 2, 3, 4, 5, 8, 16, 17, 64, 80, 128),
    "d_v": (1, 2, 3, 4, 5, 8, 16, 17, 64, 80),
    "lead": ((), (1,), (2,), (1, 2), (2, 3), (2, 1), (5,), (2, 1, 2)),
    "exponent": (0, 1, -1, 2, -2, -8),
    "seed": tuple(range(100)),
    "mask": ("none",),
    "shape": ("plain", "ones", "full", "first", "last"),
    "given": ("apart", "apart", "apart", *GIVEN),
    "causal": (False,),
    "scale": (None,),
}
TINY: dict[str, tuple[Any, ...]] = {"n": (1, 2), "m": (2, 1, 3), "d_k": (1, 2), "d_v": (1,), "lead": ((),), "shape": ("plain",)}
UNMASKED: dict[str, tuple[Any, ...]] = {"mask": ("none",), "causal": (False,), "scale": (None,)}


def attention_inputs(**given: tuple[Any, ...]) -> Recipes:
    """Inputs of `attention`; each argument restricts a field of `Attention` to a choice: `mask=("some",)`.

    Without one there is no mask, no causal order and no explicit scale.
    """
    return explore(Attention, FIXED, CHOICES, TINY, {**UNMASKED, **given}, numbers=13)
