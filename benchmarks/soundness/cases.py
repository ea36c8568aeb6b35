"""Inputs for the campaign: those that the suite always tries, recipes drawn far more widely, and any bits of a dtype."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from toise import inputs
from toise.arrays.numpy_arrays import NumpyArrays
from toise.engine import properties
from toise.inputs.magnitudes import fitted, storage_of

from soundness.machine import NUMPY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toise.inputs import Case, Recipe

Array = np.ndarray
# The choices of a suite's recipe, and what the campaign adds to them.
CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "attention": inputs.attention.CHOICES
    | {
        "mask": ("none", "some", "tail", "one", "empty"),
        "causal": (False, True),
        "scale": (None, None, 0.5, 1.0, -1.0, 0.3, 0.0),
        "d_k": (1, 2, 3, 4, 5, 8, 16, 17, 64, 80, 128, 256),
        "exponent": (0, 1, -1, 2, -2, 4, -8, -30),
    },
    "multi_head_attention": inputs.multi_head_attention.CHOICES
    | {"mask": ("none", "some", "tail", "one", "empty"), "causal": (False, True), "exponent": (0, 1, -1, -2, 3, -8, -30)},
    "feed_forward": inputs.feed_forward.CHOICES | {"exponent": (0, 4, -9, 30, -30, -62)},
    "layer_norm": inputs.layer_norm.CHOICES
    | {"d": (*inputs.layer_norm.CHOICES["d"], 255, 256), "exponent": (0, 1, -1, 4, -4, 9, -9, 12, -30, 30)},
    "residual": inputs.residual.CHOICES,
    "mlm_loss": inputs.masked_language_model.LOSS_CHOICES | {"exponent": (0, 1, -1, 3, -4, 8, -20)},
    "sequence_log_prob": inputs.autoregressive.CHOICES
    | {"exponent": (0, 1, -1, 3, -4, -8, -30, 8), "impossible": ("none", "none", "some", "others", "last")},
}
# Long axes, which a suite tries once or twice.
LONG: dict[str, dict[str, tuple[Any, ...]]] = {
    "attention": {"n": (1, 2), "m": (257, 1024, 1030, 4096), "d_k": (4, 16, 64), "d_v": (1, 4), "lead": ((), (1,))},
    "multi_head_attention": {"n": (1, 2), "m": (257, 1030), "h": (2, 8), "d_k": (4, 16), "lead": ((),), "widths": ("tied",)},
    "feed_forward": {"d_model": (256, 1024), "d_ff": (1024, 64), "lead": ((2,),)},
    "layer_norm": {"d": (257, 1024, 3072, 4096), "lead": ((1,), (3,))},
    "residual": {"d": (4096,)},
    "mlm_loss": {"n": (3, 257), "vocab": (1030, 4096), "lead": ((),)},
    "sequence_log_prob": {"n": (3, 17), "vocab": (1030, 4096), "lead": ((),)},
}
KIND = {name: type(recipe) for name, recipe in inputs.USUAL.items()}
DATA = ("q", "k", "v", "x", "gamma", "beta", "w_q", "w_k", "w_v", "w_o", "w1", "b1", "w2", "b2", "sublayer", "logits")


@functools.cache
def suite_recipes(operation: str) -> list[Recipe]:
    """Return every fixed recipe that a requirement tries an operation on, once."""
    found = (prop.inputs[operation].fixed for prop in properties() if operation in prop.inputs)
    return list(dict.fromkeys(recipe for recipes in found for recipe in recipes))


def built(recipe: Recipe, dtype: str) -> Case:
    """Build a recipe's inputs, rounded to a dtype as the suite rounds them."""
    return recipe.build(lambda array: NumpyArrays().rounded(fitted(np.asarray(array), storage_of(dtype)), dtype))


def drawn(operation: str, rng: np.random.Generator, **given: tuple[Any, ...]) -> Recipe:
    """Draw a recipe: each field one of its choices."""
    choices = CHOICES[operation] | given
    fields = {name: options[rng.integers(len(options))] for name, options in choices.items()}
    return KIND[operation](**fields)


def any_bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, reach: int) -> Array:
    """Return finite numbers of a dtype, any pattern of bits; exponents beyond `reach` powers of two are brought back."""
    kind = NUMPY[dtype]
    with np.errstate(invalid="ignore"):
        raw = rng.integers(0, 256, (*shape, kind.itemsize), dtype=np.uint8).view(kind)[..., 0].astype(np.float64)
    fraction, exponent = np.frexp(np.where(np.isfinite(raw), raw, 1.0))
    if not reach:
        return np.ldexp(fraction, exponent)
    reach = min(reach, 15) if dtype == "float16" else reach
    return np.ldexp(fraction, exponent % (2 * reach) - reach).astype(kind).astype(np.float64)


def with_any_bits(case: Case, dtype: str, rng: np.random.Generator, reach: int) -> Case:
    """Replace the numbers of a call by any bits, some of them repeated, equal, zero, least or greatest."""
    changed = {}
    for name, array in case.arrays.items():
        if name in DATA:
            numbers = any_bits(rng, array.shape, dtype, reach)
            if rng.random() < 0.3:  # ties
                numbers = rng.choice(numbers.ravel()[: 1 + rng.integers(4)], numbers.shape) if numbers.size else numbers
            if rng.random() < 0.3:
                numbers = np.where(rng.random(numbers.shape) < 0.3, 0.0, numbers)
            if reach == 0 and rng.random() < 0.3:
                edge = ml_dtypes.finfo(NUMPY[dtype])
                extremes = np.array([edge.max, -edge.max, edge.tiny, edge.smallest_subnormal], float)
                numbers = np.where(rng.random(numbers.shape) < 0.2, rng.choice(extremes, numbers.shape), numbers)
            changed[name] = numbers
    return case.replace(**changed)


def cases(operation: str, dtype: str, seed: int) -> Iterator[tuple[str, Case]]:
    """Yield inputs without end, each with words from which it can be made again: of the suite, drawn, and any bits, in turn."""
    suite = suite_recipes(operation)
    for at in itertools.count():
        rng = np.random.default_rng([seed, at])
        if at % 3 == 0 and at // 3 < len(suite):
            recipe = suite[at // 3 * 61 % len(suite)]
            yield str(recipe), built(recipe, dtype)
        elif at % 3 != 2:
            recipe = drawn(operation, rng, **(LONG[operation] if at % 32 == 1 else {}))
            yield str(recipe), built(recipe, dtype)
        else:
            reach = (0, 1, 4, 12, 30)[at // 3 % 5]
            recipe = dataclasses.replace(drawn(operation, rng), exponent=0)
            words = f"{recipe} with any bits of seed {seed}, {at}" + f" within 2^{reach}" * bool(reach)
            yield words, with_any_bits(built(recipe, dtype), dtype, rng, reach)
