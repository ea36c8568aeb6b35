"""Inputs of the autoregressive factorisation: logits and tokens that tell a wrong log-probability from a right one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.inputs import bits
from toise.inputs.recipes import Case, Recipe, Recipes, explore, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray
SPREAD = {"normal": 1.0, "wide": 8.0, "large": 1024.0}
# Of all the streams, the one whose first sequences are the plainest: 0 1, 0 1 1, 0 1 2.
TOKENS = 14


@dataclass(frozen=True)
class SequenceLogProb(Recipe):
    """Inputs of `sequence_log_prob`: logits [*lead, n, vocab], tokens [*lead, n].

    content     of the logits: "ties" makes all of a row equal, "peaked" the following token likely, "offset" adds 1000,
                "large" puts tokens hundreds of nats apart, and "far" each 512 below the one before it, from one on
    tokens      "any", the "edges" of the vocabulary and of blocks of it, or the "same" throughout
    impossible  tokens with logits of -inf: "some" that the sequence does not have, all such "others", or its "last"
                token, in every second sequence
    """

    n: int = 2
    vocab: int = 2
    tokens: str = "any"
    impossible: str = "none"

    operation = "sequence_log_prob"
    far = ("large", "far")
    sizes = ("n", "vocab")
    inner = 2
    options = ()

    def numbers(self) -> int:
        return prod(self.lead) * self.n * self.vocab

    def build(self, rounded: Callable[[Array], Array]) -> Case:
        tokens = self._tokens((*self.lead, self.n))
        following = np.roll(tokens, -1, axis=-1)[..., None] == np.arange(self.vocab)  # [..., n, vocab]
        logits = rounded(self._logits(following) * 2.0**self.exponent)
        arrays = {"logits": np.where(self._ruled_out(tokens), -np.inf, logits), "tokens": tokens}
        return Case(self.operation, arrays, {}, self.seed, len(self.lead))

    def _tokens(self, shape: tuple[int, ...]) -> Array:
        if self.tokens == "any":
            return bits.integers(self.seed, TOKENS, shape, 0, self.vocab - 1).astype(np.int64)
        if self.tokens == "edges":
            edges = [token for edge in bits.BLOCK_EDGES for token in (edge - 1, edge) if token < self.vocab]
            watched = np.array([0, self.vocab - 1, *edges])
            return watched[bits.integers(self.seed, TOKENS, shape, 0, len(watched) - 1).astype(int)]
        if self.tokens == "same":
            return np.full(shape, self.seed % self.vocab)
        raise unknown("tokens", self.tokens, CHOICES["tokens"])

    def _logits(self, following: Array) -> Array:
        shape = following.shape
        if self.content == "literal":
            return self.listed(shape, (1.0, 0.0, 2.0))
        if self.content == "ramp":
            return bits.ramp(shape, 3)
        if self.content == "integers":
            return bits.integers(self.seed, 1, shape, -8, 8)
        if self.content == "far":
            greatest = bits.integers(self.seed, 1, (*shape[:-1], 1), 0, self.vocab - 1)
            return 0.0 - 512.0 * ((np.arange(self.vocab) - greatest) % self.vocab)
        noise = bits.normal(self.seed, 1, shape)
        if self.content in SPREAD:
            return SPREAD[self.content] * noise
        if self.content == "ties":
            return np.broadcast_to(noise[..., :1], shape).copy()
        if self.content == "peaked":
            return noise + 12.0 * following
        if self.content == "offset":
            return noise + 1000.0
        raise unknown("content", self.content, ("literal", *CHOICES["content"]))

    def _ruled_out(self, tokens: Array) -> Array:
        vocabulary = np.arange(self.vocab)
        if self.impossible == "none":
            return np.zeros((*tokens.shape, self.vocab), bool)
        if self.impossible == "last":
            second = np.arange(prod(self.lead)).reshape(*self.lead, 1, 1) % 2 == 0
            return np.broadcast_to(second & (tokens[..., -1:, None] == vocabulary), (*tokens.shape, self.vocab))
        absent = (tokens[..., :, None] != vocabulary).all(-2, keepdims=True)  # [..., 1, vocab]
        if self.impossible == "others":
            return np.broadcast_to(absent, (*tokens.shape, self.vocab))
        if self.impossible == "some":
            return absent & (bits.uniform(self.seed, 2, (*tokens.shape, self.vocab)) < 0.6)
        raise unknown("impossible", self.impossible, ("none", "some", "others", "last"))


# Smallest first.  n and vocab differ both ways, one token, one word in the vocabulary, block edges and a step past them.
FIXED = (
    SequenceLogProb(n=2, vocab=2, literal=(0.0, 1.0)),
    SequenceLogProb(n=3, vocab=2, literal=(1.0, 0.0, 2.0, 0.0, 0.0, 1.0), seed=1),
    SequenceLogProb(n=2, vocab=2, content="far", seed=2),
    SequenceLogProb(lead=(2,), n=2, vocab=3, content="ramp", seed=2),
    SequenceLogProb(lead=(2, 3), n=5, vocab=4, content="integers", seed=3),
    SequenceLogProb(lead=(2, 1, 3), n=3, vocab=3, content="ramp", seed=16),
    SequenceLogProb(lead=(3,), n=4, vocab=7, content="normal", seed=4),
    SequenceLogProb(lead=(2,), n=3, vocab=1, content="integers", seed=15),
    SequenceLogProb(n=7, vocab=5, content="wide", tokens="edges", seed=5),
    SequenceLogProb(lead=(2,), n=6, vocab=16, content="peaked", seed=6),
    SequenceLogProb(lead=(1, 2), n=3, vocab=33, content="far", seed=7),
    SequenceLogProb(lead=(5,), n=3, vocab=8, content="ties", tokens="same", seed=8),
    SequenceLogProb(lead=(2,), n=9, vocab=17, content="large", seed=9),
    SequenceLogProb(lead=(2,), n=4, vocab=65, content="offset", seed=10),
    SequenceLogProb(lead=(1,), n=33, vocab=31, content="normal", seed=11),
    SequenceLogProb(lead=(2,), n=16, vocab=129, content="peaked", tokens="edges", seed=12),
    SequenceLogProb(n=130, vocab=3, content="wide", seed=13),
    SequenceLogProb(lead=(2,), n=9, vocab=1030, content="peaked", tokens="edges", seed=14),
)
# What the formula alone is tried on: many sequences, long ones, and a large vocabulary.
BATCH = SequenceLogProb(lead=(70,), n=2, vocab=2, content="normal", seed=17)
BLOCKS = SequenceLogProb(n=512, vocab=2, content="normal", seed=18)
LONG = SequenceLogProb(n=515, vocab=131, content="normal", seed=19)
VOCABULARY = SequenceLogProb(n=2, vocab=40003, content="normal", seed=20)
# The greatest logit may stand far from the first ones.
FAR = SequenceLogProb(lead=(2,), n=4, vocab=65, content="far", seed=21)
# A batch of texts, as for training.
USUAL = SequenceLogProb(lead=(2,), n=16, vocab=64, content="normal")
CHOICES: dict[str, tuple[Any, ...]] = {
    "content": ("ramp", "integers", "normal", "wide", "ties", "peaked", "offset", "large", "far"),
    "n": (2, 3, 4, 1, 5, 7, 8, 16, 17, 33),
    "vocab": (2, 3, 4, 5, 7, 8, 16, 17, 1, 31, 33, 64, 65, 127, 128),
    "lead": ((1,), (2,), (), (3,), (1, 2), (2, 3), (5,), (2, 1, 3), (9,)),
    "exponent": (0, 1, -1, 2, -2, -8),
    "seed": tuple(range(100)),
    "tokens": ("any", "edges", "same"),
    "impossible": ("none",),
}
TINY: dict[str, tuple[Any, ...]] = {"n": (2, 3, 1), "vocab": (2, 3), "lead": ((),), "seed": (0, 1), "tokens": ("any",)}


def sequence_log_prob_inputs(**given: tuple[Any, ...]) -> Recipes:
    """Logits and tokens; each argument restricts a field of `SequenceLogProb` to a choice: `content=("far",)`.

    Without `impossible` every logit is finite.
    """
    return explore(SequenceLogProb, FIXED, CHOICES, TINY, given, numbers=9)
