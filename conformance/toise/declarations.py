"""What a backend may declare in `__toise__`, as data: its arrays, its domain, and its semantic choices.

An unknown key or value is an error.  A choice that is not declared is the specification's default,
the first of each list.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toise.arrays import ARRAY_TYPES, DTYPES
from toise.bounds import CLASSES, PRECISIONS, UNROUNDED
from toise.domain import Domain
from toise.errors import TargetError, text_of
from toise.inputs import USUAL

if TYPE_CHECKING:
    from toise.bounds import Precision

_ATTENTION: dict[str, tuple[str, ...]] = {
    "causal_alignment": ("bottom-right", "top-left"),
    "empty_row": ("zeros", "nan", "mean", "raises", "unspecified"),
    "masked_nonfinite": ("propagates", "isolated"),
}
_LOSS_DTYPE: dict[str, tuple[str, ...]] = {"loss_dtype": ("input", "float32")}
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "attention": _ATTENTION,
    "multi_head_attention": _ATTENTION,
    "feed_forward": {},
    "layer_norm": {},
    "residual": {},
    "causal_mask": {"causal_alignment": _ATTENTION["causal_alignment"]},
    "mlm_corrupt": {
        "selection": ("independent", "fixed-count", "rounded-count"),
        "random_pool": ("vocabulary", "non-special"),
    },
    "mlm_loss": {**_LOSS_DTYPE, "nothing_selected": ("nan", "zero", "raises", "unspecified")},
    "sequence_log_prob": _LOSS_DTYPE,
}
_ATTENTION_TRAITS = ("rounded-normaliser", "many-rescales", "stored-prescale", "lse-weights", "split-k")
# What may be declared beside a precision class, of `bounds.TRAITS`.
TRAITS: dict[str, tuple[str, ...]] = {
    "attention": _ATTENTION_TRAITS,
    "multi_head_attention": _ATTENTION_TRAITS,
    "feed_forward": ("split-k",),
    "layer_norm": ("stored-before-gamma",),
    "mlm_loss": ("many-rescales",),
    "sequence_log_prob": ("many-rescales",),
}
# Declared values that let a call raise.
MAY_RAISE = ("raises", "unspecified")
GLOBAL = ("name", "version", "arrays", "device", "dtypes")


@dataclass(frozen=True)
class Declaration:
    """What a backend declares of one operation."""

    choices: Mapping[str, str]
    precision: Mapping[str, str]
    domain: Domain
    traits: tuple[str, ...] = ()
    required: str = ""
    """A precision class that the user requires: no class that is looser counts, whatever is declared."""

    def class_of(self, dtype: str) -> str:
        """Return the precision class that a dtype is held to: the declared one, or the strictest there is; EXACT for no float."""
        if dtype not in PRECISIONS:
            return "EXACT"
        classes = tuple(PRECISIONS[dtype])
        declared = self.precision.get(dtype, classes[0])
        widest = min(CLASSES.index(kind) for kind in (declared, self.required or declared))
        return [kind for kind in classes if CLASSES.index(kind) <= widest or kind == classes[0]][-1]

    def bounds(self, dtype: str) -> Precision:
        """Return the precision that results of a dtype are held to."""
        if dtype not in PRECISIONS:
            return UNROUNDED
        return dataclasses.replace(PRECISIONS[dtype][self.class_of(dtype)], traits=frozenset(self.traits))

    def held_to(self, dtype: str, kind: str) -> Declaration:
        """Return the same declaration with another precision class for a dtype, whatever the user requires."""
        return dataclasses.replace(self, precision={**self.precision, dtype: kind}, required="")


@dataclass(frozen=True)
class Declarations:
    """All that a backend declares."""

    operations: Mapping[str, Declaration]
    arrays: str = "numpy"
    device: str | None = None
    dtypes: tuple[str, ...] = ()
    name: str = ""
    version: str = ""

    def at_most(self, kind: str) -> Declarations:
        """Return the same declarations, held to no class that is looser.  Raises TargetError for a class that does not exist."""
        if kind not in CLASSES:
            raise TargetError(f"unknown precision class {text_of(kind)}; known: {', '.join(CLASSES)}")
        return dataclasses.replace(
            self, operations={name: dataclasses.replace(each, required=kind) for name, each in self.operations.items()}
        )


def parse(given: object, operations: Sequence[str] = tuple(CHOICES)) -> Declarations:
    """Read a `__toise__` mapping.  Raises TargetError for a key or a value that means nothing."""
    if not isinstance(given, Mapping):
        raise TargetError(f"__toise__ is a {type(given).__name__}; required: a mapping such as {{'arrays': 'torch'}}")
    for key in given:
        if key not in GLOBAL and key not in operations:
            raise _unknown("key", key, (*GLOBAL, *operations))
    arrays = _one_of("arrays", given.get("arrays", "numpy"), tuple(ARRAY_TYPES))
    dtypes = _list("dtypes", given.get("dtypes", ()))
    for dtype in dtypes:
        _one_of("dtypes", dtype, DTYPES)
    texts = {key: given.get(key, "") for key in ("name", "version", "device")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise TargetError(f"__toise__[{key!r}] is {text_of(text)}; required: a string")
    return Declarations(
        operations={name: _operation(name, given.get(name, {})) for name in operations},
        arrays=arrays,
        device=texts["device"] or None,
        dtypes=tuple(dtypes),
        name=texts["name"],
        version=texts["version"],
    )


def _operation(name: str, given: object) -> Declaration:
    if not isinstance(given, Mapping):
        raise TargetError(f"__toise__[{name!r}] is a {type(given).__name__}; required: a mapping")
    choices = CHOICES[name]
    known = (*choices, "precision", *(("traits",) if name in TRAITS else ()), "domain")
    for key in given:
        if key not in known:
            raise _unknown(f"key of {name!r}", key, known)
    precision = given.get("precision", {})
    if not isinstance(precision, Mapping):
        raise TargetError(f"__toise__[{name!r}]['precision'] is {text_of(precision)}; required: a mapping from dtype to class")
    for dtype, kind in precision.items():
        _one_of(f"{name}.precision", dtype, tuple(PRECISIONS))
        _one_of(f"{name}.precision.{dtype}", kind, tuple(PRECISIONS[dtype]))
    return Declaration(
        choices={key: _one_of(f"{name}.{key}", given.get(key, values[0]), values) for key, values in choices.items()},
        precision=dict(precision),
        domain=_domain(name, given.get("domain", {})),
        traits=tuple(
            _one_of(f"{name}.traits", trait, TRAITS[name]) for trait in _list(f"{name}.traits", given.get("traits", ()))
        ),
    )


def _domain(name: str, given: object) -> Domain:
    if not isinstance(given, Mapping):
        raise TargetError(
            f"__toise__[{name!r}]['domain'] is a {type(given).__name__}; required: a mapping such as {{'rank': [4]}}"
        )
    if not given:
        return Domain()
    sizes: dict[str, tuple[int, ...] | str] = {}
    axes = USUAL[name].sizes
    known = ("rank", *axes) if USUAL[name].inner else axes
    for key, rule in given.items():
        where = f"{name}.domain.{key}"
        if key not in known:
            raise _unknown(f"key of {name!r} domain", key, known)
        if isinstance(rule, str) and key in axes:
            sizes[key] = _one_of(where, rule, tuple(other for other in axes if other != key))
            continue
        lengths = _list(where, rule)
        if not lengths or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in lengths):
            raise TargetError(f"__toise__ declares {where} = {text_of(rule)}; required: a list of whole numbers above 0")
        sizes[key] = tuple(lengths)
    rank = sizes.pop("rank", ())
    least = USUAL[name].inner
    if isinstance(rank, str) or any(number < least for number in rank):
        raise TargetError(f"__toise__ declares {name}.domain.rank = {text_of(rank)}; required: whole numbers of {least} or more")
    for key, rule in sizes.items():
        if isinstance(rule, str) and isinstance(sizes.get(rule), str):
            raise TargetError(f"__toise__ declares {name}.domain.{key} = {rule!r}; required: an axis that follows no other")
    return Domain(rank=rank, sizes=sizes)


def _one_of(where: str, value: object, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise TargetError(f"__toise__ declares {where} = {text_of(value)}; required: {', '.join(allowed)}")
    return value


def _list(where: str, value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise TargetError(f"__toise__ declares {where} = {text_of(value)}; required: a list")
    return list(value)


def _unknown(what: str, key: object, allowed: tuple[str, ...]) -> TargetError:
    return TargetError(f"__toise__ has an unknown {what}: {text_of(key)}; known: {', '.join(allowed) or 'none'}")
