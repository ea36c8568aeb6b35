"""Recipes that come from a file or from a person, held to what a recipe can be."""

from __future__ import annotations

import ast
import dataclasses
import math
from typing import TYPE_CHECKING, Any

from toise.inputs.recipes import RECIPE_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from toise.inputs.recipes import Recipe

# No length of an axis, and no exponent, is larger in the suite's own recipes.
LONGEST, EXPONENTS, SEEDS = 2**17, 200, 2**31
# The product of all lengths, which no array is larger than; those of the suite's own recipes stay below a tenth of it.
LARGEST = 2**30
# What each kind of field can hold; a whole number is a number too.
HOLDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float | None": (int, float, type(None)),
    "str": (str,),
    "bool": (bool,),
}
EACH = {"tuple[int, ...]": (int,), "tuple[float, ...]": (int, float)}


def from_json(fields: Mapping[str, Any], kinds: Mapping[str, type[Recipe]]) -> Recipe:
    """Return the recipe that `as_json` described; `kinds` has the recipes of each operation.

    Raises ValueError, with one line, for what is no recipe, or one of another version of the mapping to arrays.
    """
    if fields.get("version") != RECIPE_VERSION:
        raise ValueError(f"the recipe is of version {fields.get('version')!r}, and this Toise builds version {RECIPE_VERSION}")
    return _made(fields.get("operation"), {name: fields[name] for name in fields if name not in ("operation", "version")}, kinds)


def from_text(text: str, kinds: Mapping[str, type[Recipe]]) -> Recipe:
    """Return the recipe that a report prints, such as "attention(n=2, m=3)"; the text is read, and never run.

    Raises ValueError, with one line, for what is no recipe.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args):
            raise ValueError
        fields = {each.arg or "": ast.literal_eval(each.value) for each in call.keywords}
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        raise ValueError(f"{text[:80]!r} is no recipe; write it as a report prints it: attention(n=2, m=3)") from None
    return _made(call.func.id, fields, kinds)


def _made(operation: object, fields: Mapping[str, Any], kinds: Mapping[str, type[Recipe]]) -> Recipe:
    if not isinstance(operation, str) or operation not in kinds:
        raise ValueError(f"no operation {operation!r} has recipes; there are {', '.join(kinds)}")
    known = {each.name: each.type for each in dataclasses.fields(kinds[operation])}
    found = {}
    for name, value in fields.items():
        if name not in known:
            raise ValueError(f"recipes of {operation} have no {name!r}; they have {', '.join(known)}")
        found[name] = _held(f"{operation}({name})", value, str(known[name]))
    recipe = kinds[operation](**found)
    for name in recipe.sizes:
        _within(f"{operation}({name})", getattr(recipe, name) or 0, 0, LONGEST)
    for length in recipe.lead:
        _within(f"{operation}(lead)", length, 0, LONGEST)
    lengths = (*recipe.lead, *(getattr(recipe, name) or 1 for name in recipe.sizes))
    _within(f"{operation}: the product of all lengths", math.prod(max(1, length) for length in lengths), 0, LARGEST)
    _within(f"{operation}(exponent)", recipe.exponent, -EXPONENTS, EXPONENTS)
    _within(f"{operation}(seed)", recipe.seed, 0, SEEDS)
    return recipe


def _held(what: str, value: object, kind: str) -> Any:
    """Return the value as the recipe has it."""
    if kind in EACH:
        if not isinstance(value, (list, tuple)) or not all(_is(each, EACH[kind]) for each in value):
            raise ValueError(f"{what} is {value!r}; required: a list of numbers")
        try:
            return tuple(float(each) for each in value) if "float" in kind else tuple(value)
        except OverflowError:
            raise ValueError(f"{what} has a number that is too large") from None
    if not _is(value, HOLDS[kind]):
        raise ValueError(f"{what} is {value!r}; required: {kind}")
    return value


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _within(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{what} is {value}; required: from {least} to {most}")
