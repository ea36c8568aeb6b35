"""The operations of the Core profile: their arguments, the shape of their results, and what is required of them.

The value that is required comes from the readable reference, the radius from the bounds.  Each is
computed by its own code, and where they disagree the run stops: one slip can't vouch for itself.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

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


# A radius of this share of the largest value holds what is wrong in the first digit too.
SAYS_LITTLE = 0.25


@dataclass(frozen=True)
class Required:
    """The value that an answer must have, and how far rounding may lead from it.

    defined    how many elements a formula defines as a finite number, and no declaration sets
    overflows  how many of those are excused: a correct computation may overflow there
    """

    value: Array
    radius: Array
    defined: int = 0
    overflows: int = 0

    def vague(self) -> bool:
        """Tell whether some radius says little: it is more than a quarter of the largest magnitude of the value, or infinite."""
        held = self.radius[np.isfinite(self.radius)]
        return self.overflows > 0 or bool(held.max(initial=0.0) > SAYS_LITTLE * np.abs(self.value).max(initial=0.0))


# An option without a default: it is always passed.
ALWAYS = object()


@dataclass(frozen=True)
class Operation:
    """One operation: the names of its data, its options with their defaults, and how it is judged.

    concept   the slug of the page that specifies it
    shared    the data without leading axes: what all entries of a batch share
    dtype     of the result where no floating-point number goes in, and the operation is judged once
    excused   the elements that no formula defines, as far as they are
    """

    name: str
    concept: str
    data: tuple[str, ...]
    options: Mapping[str, Any]
    sizes: Callable[[Case], dict[str, int]]
    shape: Callable[[Case], tuple[int, ...]]
    value: Callable[[Case, Declaration], Array]
    bound: Callable[[Case, Declaration, Precision], Bounded]
    shared: tuple[str, ...] = ()
    dtype: str = ""
    excused: Callable[[Case, Declaration], Array | bool] = lambda case, declared: False

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
        radius = np.where(self.excused(case, declared), np.inf, bounded.radius)
        defined = np.logical_not(self.excused(case, declared)) & np.isfinite(value)
        return Required(value, radius, int(defined.sum()), int((defined & np.isinf(radius)).sum()))

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


def sublayer_through(x: Any, output: Any) -> Callable[[Any], Any]:
    """Return a sublayer that gives `output` for `x`, exactly, and visibly something else for any other argument.

    It is made of the target's own arrays, and what it returns is fresh: whoever called it may write into that.
    A copy lies in memory in the order of `output`.
    """

    def sublayer(a: Any) -> Any:
        fresh = output + 0
        if output.shape != x.shape:
            return fresh
        change = a - x
        if change.shape != x.shape:
            return fresh + change
        fresh += change
        return fresh

    return sublayer


def _reference_causal(operation: Callable[..., Array], case: Case, declared: Declaration) -> Array:
    """Call a reference that takes `mask` and `causal`, with the declared alignment as a mask."""
    options = dict(case.options)
    if options.get("causal") and declared.choices["causal_alignment"] == "top-left":
        options = {**options, "causal": False, "mask": allowed_keys(case, declared)}
    return operation(*case.arrays.values(), **options)


def _attention_bound(case: Case, declared: Declaration, precision: Precision) -> Bounded:
    scale = case.options.get("scale", 1 / math.sqrt(case.q.shape[-1]))
    return bounds.attention(case.q, case.k, case.v, allowed_keys(case, declared), scale, precision)


def _empty_rows(case: Case, declared: Declaration) -> Array:
    """What a query without any allowed key gives is ATT-18's affair alone."""
    return np.logical_not(allowed_keys(case, declared).any(-1, keepdims=True))


def _lengths(case: Case) -> tuple[int, int]:
    n = case.options["n"]
    return n, case.options.get("m", n)


def _causal_mask_value(case: Case, declared: Declaration) -> Array:
    n, m = _lengths(case)
    if declared.choices["causal_alignment"] == "top-left":
        return toise_reference.causal_mask(max(n, m))[:n, :m].astype(float)
    return toise_reference.causal_mask(n, m).astype(float)


def _loss_precision(declared: Declaration, precision: Precision) -> Precision:
    """Return the precision of a loss that is float32 even where its inputs are narrower, if that is declared."""
    if declared.choices["loss_dtype"] == "input" or precision.storage.u <= bounds.FLOAT32.u:
        return precision
    return dataclasses.replace(precision, storage=bounds.FLOAT32)


def _random(case: Case, *_: object) -> NoReturn:
    raise ToiseError(f"{case.operation} is random: no single value is required of it")


OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            name="attention",
            concept="attention",
            data=("q", "k", "v"),
            options={"mask": None, "causal": False, "scale": None},
            sizes=lambda case: {
                "n": case.q.shape[-2],
                "m": case.k.shape[-2],
                "d_k": case.q.shape[-1],
                "d_v": case.v.shape[-1],
            },
            shape=lambda case: (*case.q.shape[:-1], case.v.shape[-1]),
            value=lambda case, declared: _reference_causal(toise_reference.attention, case, declared),
            bound=_attention_bound,
            excused=_empty_rows,
        ),
        Operation(
            name="multi_head_attention",
            concept="multi_head_attention",
            data=("q", "k", "v", "w_q", "w_k", "w_v", "w_o"),
            shared=("w_q", "w_k", "w_v", "w_o"),
            options={"mask": None, "causal": False},
            sizes=lambda case: {
                "n": case.q.shape[-2],
                "m": case.k.shape[-2],
                "d_model": case.q.shape[-1],
                "h": case.w_q.shape[0],
                "d_k": case.w_q.shape[-1],
                "d_v": case.w_v.shape[-1],
            },
            shape=lambda case: tuple(case.q.shape),
            value=lambda case, declared: _reference_causal(toise_reference.multi_head_attention, case, declared),
            bound=lambda case, declared, precision: bounds.multi_head_attention(
                **case.arrays, allowed=allowed_keys(case, declared), precision=precision
            ),
            excused=_empty_rows,
        ),
        Operation(
            name="feed_forward",
            concept="feed_forward",
            data=("x", "w1", "b1", "w2", "b2"),
            shared=("w1", "b1", "w2", "b2"),
            options={},
            sizes=lambda case: {"d_model": case.x.shape[-1], "d_ff": case.w1.shape[-1]},
            shape=lambda case: tuple(case.x.shape),
            value=lambda case, declared: toise_reference.feed_forward(*case.arrays.values()),
            bound=lambda case, declared, precision: bounds.feed_forward(case.x, case.w1, case.b1, case.w2, case.b2, precision),
        ),
        Operation(
            name="layer_norm",
            concept="layer_norm",
            data=("x", "gamma", "beta"),
            shared=("gamma", "beta"),
            options={"eps": 1e-5},
            sizes=lambda case: {"d": case.x.shape[-1]},
            shape=lambda case: tuple(case.x.shape),
            value=lambda case, declared: toise_reference.layer_norm(*case.arrays.values(), **case.options),
            bound=lambda case, declared, precision: bounds.layer_norm(
                case.x, case.gamma, case.beta, case.options.get("eps", OPERATIONS["layer_norm"].options["eps"]), precision
            ),
        ),
        Operation(
            name="residual",
            concept="residual",
            data=("x", "sublayer"),
            options={},
            sizes=lambda case: {"d": case.x.shape[-1]},
            shape=lambda case: tuple(case.x.shape),
            value=lambda case, declared: toise_reference.residual(case.x, sublayer_through(case.x, case.sublayer)),
            bound=lambda case, declared, precision: bounds.residual(case.x, case.sublayer, precision),
        ),
        Operation(
            name="causal_mask",
            concept="causal_mask",
            data=("n",),
            options={"m": None},
            dtype="bool",
            sizes=lambda case: {},
            shape=_lengths,
            value=_causal_mask_value,
            bound=lambda case, declared, precision: bounds.causal_mask(*_lengths(case), declared.choices["causal_alignment"]),
        ),
        Operation(
            name="mlm_corrupt",
            concept="masked_language_model",
            data=("tokens",),
            options={"mask_id": ALWAYS, "vocab_size": ALWAYS, "special_ids": ALWAYS, "rate": 0.15, "seed": ALWAYS},
            dtype="int64",
            sizes=lambda case: {},
            shape=lambda case: tuple(case.tokens.shape),
            value=_random,
            bound=_random,
        ),
        Operation(
            name="mlm_loss",
            concept="masked_language_model",
            data=("logits", "labels", "selected"),
            options={},
            sizes=lambda case: {"n": case.logits.shape[-2], "vocab": case.logits.shape[-1]},
            shape=lambda case: (),
            value=lambda case, declared: np.asarray(toise_reference.mlm_loss(*case.arrays.values()), float),
            bound=lambda case, declared, precision: bounds.mlm_loss(
                case.logits, case.labels, case.selected, _loss_precision(declared, precision)
            ),
            excused=lambda case, declared: not case.selected.any(),
        ),
        Operation(
            name="sequence_log_prob",
            concept="autoregressive",
            data=("logits", "tokens"),
            options={},
            sizes=lambda case: {"n": case.logits.shape[-2], "vocab": case.logits.shape[-1]},
            shape=lambda case: tuple(case.logits.shape[:-2]),
            value=lambda case, declared: np.asarray(toise_reference.sequence_log_prob(*case.arrays.values()), float),
            bound=lambda case, declared, precision: bounds.sequence_log_prob(
                case.logits, case.tokens, _loss_precision(declared, precision)
            ),
        ),
    )
}
