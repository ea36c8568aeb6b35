"""Recipes: small frozen descriptions of inputs, which shrink well, print on one line and go into JSON.

Arrays are never drawn element by element.  Hypothesis draws a recipe, and the arrays are built from
it, vectorised; the mapping from recipe to arrays has a version and is guarded by golden hashes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from hypothesis import strategies as st

from toise.inputs import bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Array = np.ndarray
# What a person can check in the head, simplest first.
HALVES = (0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 1.5)

RECIPE_VERSION = 1
# Inputs times 2 to this power, or more, are large on purpose.
LARGE_EXPONENT = 4

# Hypothesis mixes into integers the constants that it finds in the source files of the process, so
# that its draws depend on who calls.  No constant lies in this range: the draws depend on the seed alone.
_FAR = 0x5EED << 40


def unknown(field: str, value: str, choices: Iterable[str]) -> ValueError:
    """Return the error for a field that is none of its choices."""
    return ValueError(f"unknown {field} {value!r}; required: {', '.join(choices)}")


def one_of_each(fields: Mapping[str, Sequence[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw one of its options for each field; failures shrink towards the first ones.

    One tuple of whole numbers, since a strategy for each field would take longer than most calls that are judged.
    """
    only = {name: options[0] for name, options in fields.items() if len(options) == 1}
    several = {name: options for name, options in fields.items() if len(options) > 1}
    drawn = st.tuples(*(st.integers(_FAR + 1, _FAR + len(options)) for options in several.values()))
    return drawn.map(
        lambda picks: {**only, **{name: several[name][at - _FAR - 1] for name, at in zip(several, picks, strict=True)}}
    )


@dataclass(frozen=True)
class Recipe:
    """What the recipes of all operations share.

    lead      the leading axes
    content   the kind of numbers in the data
    exponent  the data is multiplied by 2 ** exponent
    seed      of the pseudo-random kinds
    literal   the numbers themselves, in halves, where content is "literal"
    """

    lead: tuple[int, ...] = ()
    content: str = "literal"
    exponent: int = 0
    seed: int = 0
    literal: tuple[float, ...] = ()

    operation: ClassVar[str]
    """The operation whose inputs this describes."""
    sizes: ClassVar[tuple[str, ...]]
    """The fields that hold the length of an axis."""
    inner: ClassVar[int]
    """How many axes the first array has after the leading ones."""
    options: ClassVar[tuple[str, ...]]
    """The fields that become options, which a backend may lack."""
    tied: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Axes that kernels tie together, each with the axis that it follows."""
    far: ClassVar[tuple[str, ...]] = ()
    """Contents with which a sum of products may pass 65504."""

    @property
    def aimed_at_overflow(self) -> bool:
        """Tell whether an infinite radius says nothing of the suite: the inputs are as large as they are to find an overflow.

        On all others a requirement of which many elements are excused was not tried.
        """
        return self.exponent >= LARGE_EXPONENT or self.content in self.far

    @property
    def rank(self) -> int:
        """The number of axes of the first array."""
        return len(self.lead) + self.inner

    def listed(self, shape: tuple[int, ...], default: tuple[float, ...], start: int = 0) -> Array:
        """Return the numbers of `literal`, or the default ones, again and again, from that place on."""
        return np.resize(np.array(self.literal or default), start + math.prod(shape))[start:].reshape(shape)

    def numbers(self) -> int:
        """Return how many numbers of `literal` are used."""
        raise NotImplementedError

    def build(self, rounded: Callable[[Array], Array]) -> Case:
        """Build the arrays, rounded to a dtype by `rounded`, as float64 copies."""
        raise NotImplementedError

    def weight(self) -> tuple[float, ...]:
        """Order recipes by how easily a person checks them: few numbers, plain kinds, small values."""
        numbers = sum(abs(number) for number in self.literal)
        fractions = sum(number != int(number) for number in self.literal)
        return (self.elements(), self.content != "literal", self.seed, abs(self.exponent), fractions, numbers)

    def elements(self) -> int:
        """Return how many numbers the inputs hold."""
        return sum(array.size for array in self.build(lambda a: a).arrays.values())

    def as_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, with the version of the mapping."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}
        plain: dict[str, Any] = json.loads(json.dumps(fields))
        return {"operation": self.operation, "version": RECIPE_VERSION, **plain}

    def __str__(self) -> str:
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default)
        return f"{self.operation}({', '.join(f'{name}={value!r}' for name, value in fields)})"


@dataclass(frozen=True)
class Case:
    """The inputs of one call.

    Arrays of float64 are copies of numbers that the backend's dtype holds exactly; arrays of whole numbers
    (int64) and truth values are given to it as they are.
    """

    operation: str
    arrays: Mapping[str, Array]
    options: Mapping[str, Any]
    seed: int = 0
    leading: int = 0
    """How many leading axes the recipe asked for."""

    def __getattr__(self, name: str) -> Any:
        for group in ("arrays", "options"):
            if name in self.__dict__.get(group, {}):
                return self.__dict__[group][name]
        raise AttributeError(name)

    @functools.cached_property
    def digest(self) -> bytes:
        """Tell calls apart by their operation, data and options."""
        digest = hashlib.blake2b(self.operation.encode(), digest_size=16)
        for name, part in (*self.arrays.items(), *sorted(self.options.items())):
            array = np.asarray(part)
            digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
            digest.update(np.ascontiguousarray(array).data if array.size else b"")
        return digest.digest()

    def replace(self, **changes: Any) -> Case:
        """Return the same inputs, save for some arrays or options; an option of None is left out."""
        arrays = {name: changes.pop(name, array) for name, array in self.arrays.items()}
        options = {name: value for name, value in {**self.options, **changes}.items() if value is not None}
        return dataclasses.replace(self, arrays=arrays, options=options)

    def normal(self, stream: int, shape: tuple[int, ...]) -> Array:
        """Return further numbers of variance 1 that depend on the recipe's seed alone."""
        return bits.normal(self.seed, 100 + stream, shape)

    def loud(self, stream: int, shape: tuple[int, ...]) -> Array:
        """Return whole numbers beside which the data are small, exact in every dtype, that depend on the recipe's seed alone."""
        return np.round(4 * self.normal(stream, shape)) * 64 + 1024

    def permutation(self, size: int) -> Array:
        """Return a permutation that depends on the recipe's seed alone."""
        return bits.permutation(self.seed, 99, size)


@dataclass(frozen=True)
class Recipes:
    """What a requirement is tried on: a fixed list, smallest first, and then whatever `general` draws, if anything.

    `tiny` draws inputs that a person can check: among them a failure is looked for again.
    """

    fixed: tuple[Recipe, ...]
    general: st.SearchStrategy[Recipe] | None
    tiny: st.SearchStrategy[Recipe] | None

    def beside(self, *larger: Recipe, after: int | None = None) -> Recipes:
        """Return the same recipes with larger ones, as they are, at the end of the fixed list, or after the first few.

        They are for the one requirement, or the two, that need them: what stands in the list itself is tried for all.
        """
        return dataclasses.replace(self, fixed=(*self.fixed[:after], *larger, *(self.fixed[after:] if after else ())))


def explore(
    kind: type[Recipe],
    fixed: tuple[Recipe, ...],
    choices: Mapping[str, tuple[Any, ...]],
    tiny: Mapping[str, tuple[Any, ...]],
    given: Mapping[str, tuple[Any, ...]],
    numbers: int,
) -> Recipes:
    """Return recipes of that kind, each field one of `choices`, or of `given` where it restricts one.

    The fields of the inputs that a person can check are those of `tiny`, and their `numbers` are halves.
    A requirement that restricts `content` and leaves out "literal" has none of those.
    """
    others = set(given) - set(choices) - {"content"}
    if others:
        raise ValueError(f"{kind.__name__} has no field {', '.join(sorted(others))}; it has {', '.join(choices)}")
    contents = given.get("content", ("literal", *choices["content"]))
    general = {**choices, **given, "content": tuple(c for c in contents if c != "literal")}
    small = {**given, **{name: tuple(o for o in options if o in given.get(name, (o,))) for name, options in tiny.items()}}
    small["content"] = ("literal",)
    literal = "literal" in contents and all(small.values())
    kept = (recipe for recipe in fixed if recipe.content != "literal" or "literal" in contents)
    return Recipes(
        fixed=tuple(_restricted(recipe, at, given) for at, recipe in enumerate(kept)),
        general=one_of_each(general).map(lambda fields: kind(**fields)),
        tiny=_literal(kind, small, numbers) if literal else None,
    )


def _literal(kind: type[Recipe], fields: Mapping[str, tuple[Any, ...]], numbers: int) -> st.SearchStrategy[Recipe]:
    """Draw recipes that name each number."""
    places = {f"literal {at}": HALVES for at in range(numbers)}

    def build(drawn: dict[str, Any]) -> Recipe:
        recipe = kind(**{name: drawn[name] for name in fields})
        return dataclasses.replace(recipe, literal=tuple(drawn[place] for place in places)[: recipe.numbers()])

    return one_of_each({**places, **fields}).map(build)


def _restricted(recipe: Recipe, at: int, given: Mapping[str, tuple[Any, ...]]) -> Recipe:
    """Return the fixed recipe, with each restricted field moved to one of the choices left.

    Options take all their choices in turn, so that a backend without the option is tried too.
    """
    changes: dict[str, Any] = {}
    for name, options in given.items():
        if name in recipe.options or getattr(recipe, name) not in options:
            options = tuple(o for o in options if o != "literal") or options
            changes[name] = options[at % len(options)]
    return dataclasses.replace(recipe, **changes)
