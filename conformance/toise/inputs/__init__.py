"""Recipes of inputs, and how the arrays are built from them."""

from collections.abc import Mapping
from typing import Any

from toise.inputs import (
    attention,
    autoregressive,
    causal_mask,
    feed_forward,
    layer_norm,
    masked_language_model,
    multi_head_attention,
    residual,
)
from toise.inputs.attention import Attention, attention_inputs
from toise.inputs.autoregressive import SequenceLogProb, sequence_log_prob_inputs
from toise.inputs.causal_mask import CausalMask, causal_mask_inputs
from toise.inputs.feed_forward import FeedForward, feed_forward_inputs
from toise.inputs.layer_norm import TokenRows, token_rows
from toise.inputs.masked_language_model import MlmCorrupt, MlmLoss, mlm_corrupt_draws, mlm_corrupt_inputs, mlm_loss_inputs
from toise.inputs.multi_head_attention import MultiHeadAttention, multi_head_attention_inputs
from toise.inputs.reading import from_json, from_text
from toise.inputs.recipes import RECIPE_VERSION, Case, Recipe, Recipes
from toise.inputs.residual import Residual, residual_inputs

# Contents that are whole numbers, or halves, of a few bits: sums and products with powers of two are exact in every dtype.
WHOLE_NUMBERS = ("literal", "ramp", "integers")
# One usual call of each operation: its class says which sizes there are, and domains are looked for around it.
USUAL: dict[str, Recipe] = {
    recipe.operation: recipe
    for recipe in (
        attention.USUAL,
        multi_head_attention.USUAL,
        feed_forward.USUAL,
        layer_norm.USUAL,
        residual.USUAL,
        causal_mask.USUAL,
        masked_language_model.CORRUPT_USUAL,
        masked_language_model.LOSS_USUAL,
        autoregressive.USUAL,
    )
}

_KINDS = {operation: type(recipe) for operation, recipe in USUAL.items()}


def recipe_from_json(fields: Mapping[str, Any]) -> Recipe:
    """Return the recipe that `as_json` described.  Raises ValueError, with one line, for what is none of this version."""
    return from_json(fields, _KINDS)


def recipe_from_text(text: str) -> Recipe:
    """Return the recipe that a report prints.  Raises ValueError, with one line, for what is none."""
    return from_text(text, _KINDS)


__all__ = [
    "RECIPE_VERSION",
    "USUAL",
    "WHOLE_NUMBERS",
    "Attention",
    "Case",
    "CausalMask",
    "FeedForward",
    "MlmCorrupt",
    "MlmLoss",
    "MultiHeadAttention",
    "Recipe",
    "Recipes",
    "Residual",
    "SequenceLogProb",
    "TokenRows",
    "attention_inputs",
    "causal_mask_inputs",
    "feed_forward_inputs",
    "mlm_corrupt_draws",
    "mlm_corrupt_inputs",
    "mlm_loss_inputs",
    "multi_head_attention_inputs",
    "recipe_from_json",
    "recipe_from_text",
    "residual_inputs",
    "sequence_log_prob_inputs",
    "token_rows",
]
