"""Inputs of the masked language model: tokens to corrupt, and logits with labels, some of which are selected."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.inputs import bits
from toise.inputs.recipes import Case, Recipe, Recipes, explore, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray


@dataclass(frozen=True)
class MlmCorrupt(Recipe):
    """Inputs of `mlm_corrupt`: tokens [*lead, n], and which of them are special.

    content   of the tokens: "any" ids, "words" that are not special, "framed" words between a special token and padding,
              "constant" one word, "ramp" a word for each position, "special" tokens alone
    specials  which ids are special, `mask_id` among them: "low" the first four, "high" the last two, "spread" the first, a
              middle and the last, "unlisted" the first alone, but not `mask_id`, "none", "zero" the
              first two, of which the first is `mask_id`, "many" every third of the first 60
    seed      of the tokens, and of the call
    literal   the ids, in turn
    """

    n: int = 3
    vocab: int = 8
    specials: str = "low"
    rate: float | None = None

    operation = "mlm_corrupt"
    sizes = ()
    inner = 1
    options = ("rate",)

    def numbers(self) -> int:
        return prod(self.lead) * self.n

    def build(self, rounded: Callable[[Array], Array]) -> Case:  # noqa: ARG002 - whole numbers are not rounded
        special, mask_id = self._special()
        options: dict[str, Any] = {"mask_id": mask_id, "vocab_size": self.vocab, "special_ids": special, "seed": self.seed}
        if self.rate is not None:
            options["rate"] = self.rate
        ordinary = np.ones(self.vocab, bool)
        ordinary[list(special)] = False
        words = np.flatnonzero(ordinary)
        tokens = self._tokens((*self.lead, self.n), words, np.array(special, np.int64))
        return Case(self.operation, {"tokens": tokens}, options, self.seed, len(self.lead))

    def _special(self) -> tuple[tuple[int, ...], int]:
        """Return the special ids, in no simple order, and `mask_id`."""
        last, middle = self.vocab - 1, self.vocab // 2
        if self.specials == "low":
            return (2, 0, 3, 1), 3
        if self.specials == "high":
            return (last - 1, last), last
        if self.specials == "spread":
            return (last, 0, middle), middle
        if self.specials == "unlisted":
            return (0,), middle
        if self.specials == "none":
            return (), last
        if self.specials == "zero":
            return (1, 0), 0
        if self.specials == "many":
            return tuple(range(1, min(self.vocab, 60), 3))[::-1], 1 + min(middle, 30) // 3 * 3
        raise unknown("specials", self.specials, CORRUPT_CHOICES["specials"])

    def _tokens(self, shape: tuple[int, ...], words: Array, special: Array) -> Array:
        if self.content == "literal":
            return self.listed(shape, (0, 5, 7)).astype(np.int64)
        if self.content == "any":
            return bits.integers(self.seed, 1, shape, 0, self.vocab - 1).astype(np.int64)
        if self.content == "constant":
            return np.full(shape, words[self.seed % len(words)])
        if self.content == "ramp":
            return np.broadcast_to(words[np.arange(shape[-1]) % len(words)], shape).copy()
        if self.content == "special":
            return np.resize(special, shape) if len(special) else np.resize(words, shape)
        drawn = words[bits.integers(self.seed, 1, shape, 0, len(words) - 1).astype(np.int64)]
        if self.content == "words":
            return drawn
        if self.content == "framed":
            # A special token, words, and padding of another length in each row; a few rows are all padding.
            length = bits.integers(self.seed, 2, (*shape[:-1], 1), 0, shape[-1])
            place, pad = np.arange(shape[-1]), special if len(special) else words
            return np.where(place < 1, pad[0], np.where(place <= length, drawn, pad[-1]))
        raise unknown("content", self.content, ("literal", *CORRUPT_CHOICES["content"]))


@dataclass(frozen=True)
class MlmLoss(Recipe):
    """Inputs of `mlm_loss`: logits [*lead, n, vocab], labels [*lead, n] and selected [*lead, n].

    content   of the logits: "equal" in each row, "sure" one token in each row at 1, "large" up to 10000
    labels    "any", the "first" or the "last" token throughout, the "likely" or the "unlikely" one of each position
    selected  "some" at random, "all", "one" in each entry, "uneven" all in the last entry and one in each other, "none"
    """

    n: int = 2
    vocab: int = 2
    labels: str = "any"
    selected: str = "some"

    operation = "mlm_loss"
    far = ("large",)
    sizes = ("n", "vocab")
    inner = 2
    options = ()

    def numbers(self) -> int:
        return prod(self.lead) * self.n * self.vocab

    def build(self, rounded: Callable[[Array], Array]) -> Case:
        logits = rounded(self._logits((*self.lead, self.n, self.vocab)) * 2.0**self.exponent)
        arrays = {"logits": logits, "labels": self._labels(logits), "selected": self._selected((*self.lead, self.n))}
        return Case(self.operation, arrays, {}, self.seed, len(self.lead))

    def _logits(self, shape: tuple[int, ...]) -> Array:
        if self.content == "literal":
            return self.listed(shape, (0.0, 1.0, 2.0))
        if self.content == "ramp":
            return (np.arange(prod(shape)) * 5 % 11 % 7 - 3.0).reshape(shape)
        if self.content == "integers":
            return bits.integers(self.seed, 1, shape, -4, 4)
        noise = bits.normal(self.seed, 1, shape)
        if self.content == "normal":
            return 2 * noise
        if self.content == "equal":
            return np.broadcast_to(noise[..., :1], shape).copy()
        if self.content == "sure":
            top = bits.integers(self.seed, 2, shape[:-1], 0, shape[-1] - 1)[..., None] == np.arange(shape[-1])
            return np.where(top, 16.0, 0.0) + noise
        if self.content == "large":
            return 3000 * noise
        raise unknown("content", self.content, ("literal", *LOSS_CHOICES["content"]))

    def _labels(self, logits: Array) -> Array:
        shape = logits.shape[:-1]
        if self.labels == "any":
            return bits.integers(self.seed, 3, shape, 0, self.vocab - 1).astype(np.int64)
        if self.labels in ("first", "last"):
            return np.full(shape, 0 if self.labels == "first" else self.vocab - 1)
        if self.labels in ("likely", "unlikely"):
            return (logits.argmax(-1) if self.labels == "likely" else logits.argmin(-1)).astype(np.int64)
        raise unknown("labels", self.labels, LOSS_CHOICES["labels"])

    def _selected(self, shape: tuple[int, ...]) -> Array:
        """Return which positions are selected: at least one of each entry, save for "none"."""
        one = bits.integers(self.seed, 4, shape[:-1], 0, shape[-1] - 1)[..., None] == np.arange(shape[-1])
        if self.selected == "one":
            return one
        if self.selected == "all":
            return np.ones(shape, bool)
        if self.selected == "none":
            return np.zeros(shape, bool)
        if self.selected == "some":
            return one | (bits.uniform(self.seed, 5, shape) < 0.3)
        if self.selected == "uneven":
            last = (np.arange(prod(shape[:-1])) == prod(shape[:-1]) - 1).reshape(*shape[:-1], 1)
            return one | last
        raise unknown("selected", self.selected, (*LOSS_CHOICES["selected"], "none"))


# Long rows and batches, a large vocabulary and other rates: for the statistical requirements that need them.
ROWS = MlmCorrupt(lead=(3, 16), n=523, vocab=24, specials="many", content="words")
OFTEN = MlmCorrupt(lead=(32,), n=64, vocab=6, specials="high", content="words", rate=0.75, seed=7)
ALL = MlmCorrupt(lead=(16,), n=64, vocab=70000, specials="spread", content="words", rate=1.0, seed=8)
LONE = MlmCorrupt(lead=(64,), n=1, vocab=9, specials="low", content="words", rate=1.0, seed=9)
PAIRS = MlmCorrupt(lead=(4096,), n=2, vocab=9, specials="low", content="words", rate=0.75, seed=11)
RARE = MlmCorrupt(lead=(32,), n=1030, vocab=24, specials="low", content="words", rate=2.0**-10, seed=10)
SEEDED = MlmCorrupt(lead=(2, 4), n=523, vocab=24, specials="many", content="words", rate=0.5, seed=1)
# Smallest first.  No row is halfway between two counts at the usual rate; the vocabularies are small where ids are counted.
CORRUPT_FIXED = (
    MlmCorrupt(n=3, vocab=8, literal=(0, 5, 7)),
    MlmCorrupt(lead=(2,), n=4, vocab=6, specials="high", content="ramp", seed=1),
    MlmCorrupt(lead=(), n=33, vocab=7, specials="unlisted", content="any", seed=2),
    MlmCorrupt(lead=(2, 3), n=8, vocab=5, specials="none", content="words", seed=3),
    MlmCorrupt(lead=(1,), n=9, vocab=9, specials="zero", content="constant", seed=4),
    MlmCorrupt(lead=(16,), n=17, vocab=11, specials="spread", content="framed", seed=2**31 - 1),
    MlmCorrupt(lead=(4, 16), n=64, vocab=101, specials="high", content="any", seed=5),
    MlmCorrupt(lead=(256,), n=128, vocab=24, specials="low", content="words", seed=6),
)
CORRUPT_USUAL = MlmCorrupt(lead=(8,), n=64, vocab=1000, content="words")
CORRUPT_CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("any", "words", "framed", "constant", "ramp", "special"),
    "n": (3, 1, 2, 4, 5, 7, 8, 16, 17, 33, 65, 130),
    "vocab": (8, 6, 7, 11, 101, 1000, 70000),
    "lead": ((), (1,), (2,), (3,), (2, 3), (5,), (2, 1, 3), (17,)),
    "specials": ("low", "high", "spread", "unlisted", "none", "zero", "many"),
    "exponent": (0,),
    "seed": (*range(20), 2**16, 2**31 - 1),
    "rate": (None,),
}

LOSS_FIXED = (
    MlmLoss(n=1, vocab=2, literal=(0.0, 1.0)),
    MlmLoss(n=2, vocab=3, literal=(0.0, 1.0, 2.0, 1.0, 0.0, 0.0), selected="one"),
    MlmLoss(lead=(2,), n=3, vocab=2, content="ramp", selected="uneven"),
    MlmLoss(lead=(3,), n=4, vocab=5, content="integers", selected="some", seed=1),
    MlmLoss(lead=(2, 3), n=5, vocab=7, content="normal", selected="uneven", seed=2),
    MlmLoss(lead=(2, 1, 3), n=3, vocab=3, content="integers", selected="some", seed=15),
    MlmLoss(n=6, vocab=17, content="sure", labels="likely", selected="all", seed=3),
    MlmLoss(lead=(4,), n=3, vocab=33, content="large", selected="some", seed=4),
    MlmLoss(lead=(2,), n=8, vocab=64, content="equal", labels="last", selected="uneven", seed=5),
    MlmLoss(lead=(5,), n=7, vocab=65, content="normal", labels="first", selected="some", exponent=-4, seed=6),
    MlmLoss(lead=(1,), n=33, vocab=129, content="normal", labels="unlikely", selected="all", seed=7),
    MlmLoss(lead=(3,), n=16, vocab=100, content="integers", selected="one", exponent=3, seed=8),
    MlmLoss(lead=(2,), n=5, vocab=1030, content="normal", selected="some", seed=9),
    MlmLoss(lead=(8,), n=65, vocab=31, content="normal", selected="some", seed=10),
)
# What the formula alone is tried on: sure labels, many entries and positions, long rows, a large vocabulary.
SURE = MlmLoss(n=16, vocab=3, content="sure", labels="likely", selected="all", exponent=-1, seed=11)
ENTRIES = MlmLoss(lead=(71,), n=29, vocab=2, content="normal", selected="all", seed=12)
LONG = MlmLoss(n=512, vocab=2, content="normal", selected="all", seed=13)
VOCABULARY = MlmLoss(n=2, vocab=40003, content="normal", labels="last", selected="all", seed=14)
LOSS_USUAL = MlmLoss(lead=(3,), n=64, vocab=64, content="normal")
LOSS_CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("ramp", "integers", "normal", "equal", "sure", "large"),
    "n": (2, 1, 3, 4, 5, 7, 8, 16, 17, 33),
    "vocab": (2, 3, 4, 5, 7, 8, 16, 17, 33, 64, 65, 129, 1),
    "lead": ((), (2,), (1,), (3,), (2, 3), (5,), (2, 1, 3), (9,)),
    "labels": ("any", "first", "last", "likely", "unlikely"),
    "selected": ("some", "all", "one", "uneven"),
    "exponent": (0, 1, -1, 3, -4),
    "seed": tuple(range(100)),
}
LOSS_TINY: dict[str, tuple[Any, ...]] = {"n": (1, 2), "vocab": (2, 3), "lead": ((), (2,))}


def mlm_corrupt_inputs(**given: tuple[Any, ...]) -> Recipes:
    """Inputs of `mlm_corrupt`; each argument restricts a field of `MlmCorrupt` to a choice: `specials=("high",)`."""
    return dataclasses.replace(explore(MlmCorrupt, CORRUPT_FIXED, CORRUPT_CHOICES, {}, given, numbers=0), tiny=None)


def mlm_corrupt_draws(**given: tuple[Any, ...]) -> Recipes:
    """Inputs for a statistical requirement, which is tried on fixed calls alone: what is not explored cannot fail by chance."""
    return dataclasses.replace(mlm_corrupt_inputs(**given), general=None)


def mlm_loss_inputs(**given: tuple[Any, ...]) -> Recipes:
    """Inputs of `mlm_loss`; each argument restricts a field of `MlmLoss` to a choice: `selected=("all",)`.

    Something is selected in every one, unless `selected` says otherwise.
    """
    return explore(MlmLoss, LOSS_FIXED, LOSS_CHOICES, LOSS_TINY, given, numbers=12)
