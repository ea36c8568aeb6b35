"""Inputs of multi-head attention: tokens, and weights in which an exchange of heads or of features shows."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.inputs import bits
from toise.inputs.attention import GIVEN, Attention
from toise.inputs.recipes import Case, Recipe, Recipes, explore, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray


@dataclass(frozen=True)
class MultiHeadAttention(Recipe):
    """Inputs of `multi_head_attention`: q [*lead, n, d_model], k and v [*lead, m, d_model], and four weights.

    content, exponent, literal, values, mask, shape, given and causal make q, k, v and the mask, as in `Attention`.

    widths    "tied": d_model is h d_k and d_v is d_k, as most implementations need it; "free": as the fields say
    weights   "pick": each column takes one feature, head after head, as if the features were split; "ramp": small
              whole numbers, halved until the projections are of the size of the tokens; "normal": so scaled too;
              "pruned": the same, with zeros for the first head's w_v and the second one's w_q
    """

    n: int = 1
    m: int = 2
    d_model: int = 2
    h: int = 2
    d_k: int = 1
    d_v: int = 1
    widths: str = "tied"
    values: str = "ramp"
    weights: str = "pick"
    mask: str = "none"
    shape: str = "plain"
    given: str = "apart"
    causal: bool = False

    operation = "multi_head_attention"
    far = ("large", "low")
    sizes = ("n", "m", "d_model", "h", "d_k", "d_v")
    inner = 2
    options = ("mask", "causal")
    tied = (("m", "n"), ("d_v", "d_k"))

    def numbers(self) -> int:
        arrays = {"self": self.n, "memory": self.n + self.m, "pair": 2 * self.n, "apart": self.n + 2 * self.m}
        return prod(self.lead) * arrays[self.given] * self._widths()[0]

    def build(self, rounded: Callable[[Array], Array]) -> Case:
        d_model, d_k, d_v = self._widths()
        tokens = Attention(
            lead=self.lead,
            content=self.content,
            exponent=self.exponent,
            seed=self.seed,
            literal=self.literal,
            n=self.n,
            m=self.m,
            d_k=d_model,
            d_v=d_model,
            values=self.values,
            mask=self.mask,
            shape=self.shape,
            given=self.given,
            causal=self.causal,
        ).build(rounded)
        heads = {"w_q": (self.h, d_model, d_k), "w_k": (self.h, d_model, d_k), "w_v": (self.h, d_model, d_v)}
        weights = {name: self._weights(at, shape) for at, (name, shape) in enumerate(heads.items())}
        weights["w_o"] = self._weights(3, (1, self.h * d_v, d_model))[0]
        arrays = {**tokens.arrays, **{name: rounded(array) for name, array in weights.items()}}
        return Case(self.operation, arrays, tokens.options, self.seed, len(self.lead))

    def _widths(self) -> tuple[int, int, int]:
        """Return d_model, d_k and d_v."""
        if self.widths == "tied":
            return self.h * self.d_k, self.d_k, self.d_k
        if self.widths == "free":
            return self.d_model, self.d_k, self.d_v
        raise unknown("widths", self.widths, sorted(set(CHOICES["widths"])))

    def _weights(self, at: int, shape: tuple[int, int, int]) -> Array:
        """Return one matrix for each head: `at` tells w_q, w_k, w_v and w_o apart."""
        _, rows, columns = shape
        head, row, column = np.indices(shape)
        if self.weights == "pick":
            # w_o puts each feature of the heads where it came from.
            taken = row % columns == column if at == 3 else (head * columns + column) % rows == row
            return taken * 1.0
        if self.weights == "ramp":
            numbers = np.array([1.0, -1.0, 2.0, -3.0, -2.0, 0.0, 3.0])
            numbers = numbers[(2 * head + 3 * row + 5 * column + at) % 7]
            return numbers * np.where(head // 7 % 2, 0.25, 1.0) * 2.0 ** -((rows.bit_length() - 1) // 2)
        if self.weights in ("normal", "pruned"):
            pruned = self.weights == "pruned" and at in (0, 2)
            # Scores of a spread near 2: equal weights would hide what makes them, and one weight alone all the others.
            spread = 1.5 if at in (0, 1) else 1.0
            return spread * bits.normal(self.seed, 11 + at, shape) / rows**0.5 * ~(pruned & (head == 1 - at // 2))
        raise unknown("weights", self.weights, CHOICES["weights"])


# Smallest first.  About half have the widths that most implementations need; in the others d_v, d_k and d_model / h
# differ.  Even and odd numbers of heads, n and m that differ both ways.  Arrays that are one array, and axes as long as
# each other.
FIXED = (
    MultiHeadAttention(n=1, m=2, d_model=1, widths="free", weights="ramp", literal=(1.0, 1.0, 0.0, 2.0, -1.0), mask="some"),
    MultiHeadAttention(n=1, m=2, literal=(1.0, 0.0, 0.0, 1.0, 2.0, -1.0, 1.0, -2.0, 3.0, 2.0), mask="one"),
    MultiHeadAttention(n=2, m=3, d_k=2, weights="ramp", literal=(1.0, 0.0, 2.0, -1.0, 0.5), mask="some"),
    MultiHeadAttention(
        lead=(2,), n=3, m=2, d_model=3, h=3, d_v=2, widths="free", content="ramp", weights="ramp", mask="some", shape="full"
    ),
    MultiHeadAttention(lead=(2,), n=3, m=4, h=3, d_k=2, content="integers", weights="ramp", seed=1, mask="tail"),
    MultiHeadAttention(
        lead=(2, 1, 2), n=2, m=2, h=4, content="normal", values="normal", weights="normal", seed=15, mask="one", given="pair"
    ),
    MultiHeadAttention(
        n=4, m=4, d_model=5, d_k=3, d_v=4, widths="free", content="normal", values="normal", weights="normal", seed=2, mask="one"
    ),
    MultiHeadAttention(lead=(3,), n=3, m=5, d_k=3, content="padded", weights="normal", seed=13, mask="some", given="memory"),
    MultiHeadAttention(
        lead=(3,), n=3, m=3, h=3, d_k=3, content="normal", weights="normal", seed=12, mask="some", shape="full", given="self"
    ),
    MultiHeadAttention(lead=(3,), n=4, m=4, h=2, d_k=4, content="normal", values="indicator", seed=3, mask="some", shape="full"),
    MultiHeadAttention(
        lead=(2, 2),
        n=2,
        m=5,
        d_model=6,
        h=1,
        d_k=4,
        d_v=3,
        widths="free",
        content="normal",
        values="normal",
        weights="normal",
        seed=4,
        mask="some",
        shape="ones",
    ),
    MultiHeadAttention(n=7, m=5, h=1, d_k=5, content="peaked", values="normal", weights="normal", seed=5, mask="tail"),
    MultiHeadAttention(
        lead=(1,),
        n=5,
        m=7,
        d_model=7,
        h=5,
        d_k=1,
        d_v=3,
        widths="free",
        content="ties",
        values="normal",
        weights="normal",
        seed=6,
        mask="one",
        shape="full",
    ),
    MultiHeadAttention(n=5, m=6, h=2, d_k=3, content="low", values="normal", seed=14, mask="some"),
    MultiHeadAttention(
        lead=(2,), n=5, m=9, h=4, d_k=4, content="normal", values="offset", weights="normal", seed=7, mask="some", shape="ones"
    ),
    MultiHeadAttention(
        lead=(2,), n=17, m=9, h=3, d_k=5, content="normal", values="normal", weights="normal", seed=8, mask="some", shape="full"
    ),
    MultiHeadAttention(n=8, m=17, h=8, d_k=8, content="normal", values="normal", weights="normal", seed=9, mask="tail"),
    MultiHeadAttention(
        n=9,
        m=33,
        d_model=16,
        h=3,
        d_k=16,
        d_v=8,
        widths="free",
        content="normal",
        values="normal",
        weights="normal",
        seed=10,
        mask="some",
    ),
    # The widths of a real head; and longer than a block of queries and of keys.
    MultiHeadAttention(lead=(5,), n=2, m=3, d_k=64, content="normal", values="normal", seed=16, mask="entries", shape="full"),
    MultiHeadAttention(n=65, m=130, h=2, d_k=4, content="normal", values="indicator", weights="normal", seed=11, mask="tail"),
)


def large(seed: int, **fields: Any) -> MultiHeadAttention:
    """Return a recipe of free widths with normal numbers, of which only those sizes are large that are given."""
    small = {"lead": (2, 2), "n": 2, "m": 3, "d_model": 2, "d_k": 3, "d_v": 2, "widths": "free"}
    normal = {"content": "normal", "values": "normal", "weights": "normal"}
    return MultiHeadAttention(**{**small, **normal, "seed": seed, **fields})


# One size alone is large, beyond a block, a byte, or a list of sizes: heads, features, queries, keys, entries; and numbers.
# Their products pass 2^15 and 2^16.  With one key the scores have no say, and with few features in a sum the rounding has little.
LARGE = (
    MultiHeadAttention(n=1, m=3, literal=(2.0, 1.0, 1.0, 3.0, -1.0, 2.0, 3.0, 1.0, 0.5, 4.0, 2.0, 1.0, -3.0, 1.0), exponent=10),
    MultiHeadAttention(n=2, m=3, h=3, content="normal", values="spread", seed=19),
    MultiHeadAttention(n=2, m=3, h=4, d_k=2, content="normal", values="normal", weights="pruned", seed=39),
    large(20, h=9, d_k=17, d_v=17),
    large(127, d_model=129, content="sparse", given="self"),
    large(31, lead=(2, 1, 3), n=577, h=1),
    large(33, lead=(), n=130, m=131, h=8, d_k=2, d_v=64),
    large(22, h=24),
    large(23, h=65, d_k=2, d_v=1),
    large(34, d_k=64),
    large(25, d_k=128, weights="pick", exponent=-1),
    large(35, m=1, d_k=128, d_v=128),
    large(26, d_k=257, d_v=129),
    large(36, d_k=257, weights="pick", exponent=-1),
    large(38, m=1, d_k=257),
    large(27, d_v=519),
    large(62, n=4, d_model=64, content="sparse", given="self"),
    large(29, d_model=519),
    large(30, lead=(13, 41), n=1),
    large(32, n=3, m=519),
    MultiHeadAttention(lead=(2,), n=33, m=49, d_k=64, content="normal", values="normal", weights="normal", seed=10),
)
# The same, with few calls, for the requirements on the mask and on the causal order.
LARGE_FEW: tuple[dict[str, Any], ...] = (
    {"h": 24},
    {"d_k": 64},
    {"d_k": 128, "weights": "pick", "exponent": -1},
    {"d_k": 257},
    {"d_model": 129},
    {"lead": (7, 5)},
    {"lead": (), "n": 195, "m": 196, "h": 1},
    {"n": 3, "m": 300},
)
USUAL = MultiHeadAttention(lead=(2,), n=64, m=64, h=8, d_k=8, content="normal", values="normal", weights="normal")
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17)
CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("ramp", "integers", "normal", "ties", "peaked", "padded", "sparse", "large", "low"),
    "values": ("ramp", "normal", "indicator", "offset"),
    "weights": ("ramp", "pick", "normal"),
    "widths": ("tied", "free"),
    "n": SIZES,
    "m": (2, *SIZES, 33),
    "d_model": (1, 2, 3, 4, 5, 7, 8, 12, 17, 33),
    "h": (2, 1, 3, 4, 5, 8, 9),
    "d_k": (1, 2, 3, 4, 5, 8, 16, 17),
    "d_v": (1, 2, 3, 4, 5, 8, 16, 17),
    "lead": ((), (1,), (2,), (3,), (5,), (2, 3), (2, 1, 2)),
    "exponent": (0, 1, -1, -2),
    "seed": tuple(range(100)),
    "mask": ("none",),
    "shape": ("plain", "ones", "full"),
    "given": ("apart", "apart", "apart", *GIVEN),
    "causal": (False,),
}
TINY: dict[str, tuple[Any, ...]] = {
    "n": (1, 2),
    "m": (2, 1, 3),
    "d_model": (1,),
    "h": (2, 1),
    "d_k": (1,),
    "d_v": (1,),
    "lead": ((),),
    "weights": ("pick", "ramp"),
    "shape": ("plain",),
}
UNMASKED: dict[str, tuple[Any, ...]] = {"mask": ("none",), "causal": (False,)}


def multi_head_attention_inputs(**given: tuple[Any, ...]) -> Recipes:
    """Inputs of `multi_head_attention`; each argument restricts a field of `MultiHeadAttention` to a choice.

    Without one there is no mask and no causal order.
    """
    return explore(MultiHeadAttention, FIXED, CHOICES, TINY, {**UNMASKED, **given}, numbers=16)
