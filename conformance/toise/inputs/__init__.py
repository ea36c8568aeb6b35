"""Recipes of inputs, and how the arrays are built from them."""

from toise.inputs import attention, layer_norm
from toise.inputs.attention import Attention, attention_inputs
from toise.inputs.layer_norm import TokenRows, token_rows
from toise.inputs.recipes import RECIPE_VERSION, Case, Recipe, Recipes

# Contents that are whole numbers, or halves, of a few bits: sums and products with powers of two are exact in every dtype.
EXACT = ("literal", "ramp", "integers")
# What the requirements on every operation (GEN) are tried on.
ANY_INPUTS: dict[str, Recipes] = {
    "attention": attention_inputs(),
    "layer_norm": token_rows(),
}
# One usual call of each operation: its class says which sizes there are, and domains are looked for around it.
USUAL: dict[str, Recipe] = {recipe.operation: recipe for recipe in (attention.USUAL, layer_norm.USUAL)}

__all__ = [
    "ANY_INPUTS",
    "EXACT",
    "RECIPE_VERSION",
    "USUAL",
    "Attention",
    "Case",
    "Recipe",
    "Recipes",
    "TokenRows",
    "attention_inputs",
    "token_rows",
]
