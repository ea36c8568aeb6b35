"""The operations of the Core profile: their arguments, the shape of their results, and what is required of them.

The value that is required comes from the readable reference, the radius from the bounds.  Each is
computed by its own code, and where they disagree the run stops: one slip can't vouch for itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import toise_reference

from toise import bounds
from toise.errors import ToiseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from toise.bounds import Bounded, Precision
    from toise.declarations import Declaration
    from toise.inputs import Case

Array = np.ndarray
STRICT64 = bounds.PRECISIONS["float64"]["STRICT"]


@dataclass(frozen=True)
class Required:
    """The value that an answer must have, and how far rounding may lead from it."""

    value: Array
    radius: Array


@dataclass(frozen=True)
class Operation:
    """One operation: the names of its data, its options with their defaults, and how it is judged."""

    name: str
    data: tuple[str, ...]
    options: Mapping[str, Any]
    sizes: Callable[[Case], dict[str, int]]
    shape: Callable[[Case], tuple[int, ...]]
    value: Callable[[Case, Declaration], Array]
    bound: Callable[[Case, Declaration, Precision], Bounded]
    excused: Callable[[Case, Declaration], Array | bool]

    def required(self, case: Case, declared: Declaration, precision: Precision) -> Required:
        """Return the value and the radius for one call.  Raises ToiseError if the two computations disagree."""
        with np.errstate(all="ignore"):
            try:
                value = self.value(case, declared)
            except (TypeError, ValueError) as error:
                raise ToiseError(f"the reference rejects inputs that the suite made: {error}") from error
            bounded = self.bound(case, declared, precision)
            # The float64 radius is nowhere less than half a unit in the last place: mostly there is no need of it.
            if not (np.abs(value - bounded.value) <= 2.0**-53 * np.abs(value)).all():
                self._compare(value, self.bound(case, declared, STRICT64))
        return Required(value, np.where(self.excused(case, declared), np.inf, bounded.radius))

    def _compare(self, value: Array, strict: Bounded) -> None:
        """Hold the reference's value to the float64 radius around the bounds' own."""
        agree = np.isinf(strict.radius) | (np.abs(value - strict.value) <= strict.radius)
        if not agree.all():
            at = tuple(int(index) for index in np.argwhere(~agree)[0])
            raise ToiseError(
                f"{self.name}{list(at)}: the reference computes {value[at]!r}, the bounds {strict.value[at]!r}, "
                f"and the float64 radius is {strict.radius[at]!r}"
            )


def allowed_keys(case: Case, declared: Declaration) -> Array:
    """Return which keys each query may attend to, by the mask and by the declared causal alignment."""
    n, m = case.q.shape[-2], case.k.shape[-2]
    allowed = np.broadcast_to(case.options.get("mask", True), (*case.q.shape[:-1], m))
    if case.options.get("causal", False):
        offset = m - n if declared.choices["causal_alignment"] == "bottom-right" else 0
        allowed = allowed & np.tril(np.ones((n, m), bool), k=offset)
    return allowed


def _attention_value(case: Case, declared: Declaration) -> Array:
    options = dict(case.options)
    if options.get("causal") and declared.choices["causal_alignment"] == "top-left":
        options = {**options, "causal": False, "mask": allowed_keys(case, declared)}
    return toise_reference.attention(case.q, case.k, case.v, **options)


def _attention_bound(case: Case, declared: Declaration, precision: Precision) -> Bounded:
    scale = case.options.get("scale", 1 / math.sqrt(case.q.shape[-1]))
    return bounds.attention(case.q, case.k, case.v, allowed_keys(case, declared), scale, precision)


def _empty_rows(case: Case, declared: Declaration) -> Array:
    """What a query without any allowed key gives is ATT-18's affair alone."""
    return np.logical_not(allowed_keys(case, declared).any(-1, keepdims=True))


OPERATIONS: dict[str, Operation] = {
    "attention": Operation(
        name="attention",
        data=("q", "k", "v"),
        options={"mask": None, "causal": False, "scale": None},
        sizes=lambda case: {"n": case.q.shape[-2], "m": case.k.shape[-2], "d_k": case.q.shape[-1], "d_v": case.v.shape[-1]},
        shape=lambda case: (*case.q.shape[:-1], case.v.shape[-1]),
        value=_attention_value,
        bound=_attention_bound,
        excused=_empty_rows,
    ),
    "layer_norm": Operation(
        name="layer_norm",
        data=("x", "gamma", "beta"),
        options={"eps": 1e-5},
        sizes=lambda case: {"d": case.x.shape[-1]},
        shape=lambda case: tuple(case.x.shape),
        value=lambda case, declared: toise_reference.layer_norm(case.x, case.gamma, case.beta, **case.options),
        bound=lambda case, declared, precision: bounds.layer_norm(
            case.x, case.gamma, case.beta, case.options.get("eps", OPERATIONS["layer_norm"].options["eps"]), precision
        ),
        excused=lambda case, declared: False,
    ),
}
