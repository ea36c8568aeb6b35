"""Correct organisations of log-softmax and of a sequence's log-probability.  Read with spec/toise_spec/autoregressive.md."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from soundness import sums
from soundness.attention import greatest
from soundness.machine import Machine, Organisation
from soundness.sums import LN2, LOG2E, ORDERS, by_library

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.inputs import Case

    from soundness.sums import Order

    Rows = Callable[[Machine, np.ndarray], np.ndarray]
    Step = Callable[[Machine, np.ndarray], np.ndarray]

Array = np.ndarray


# --- Exponentials and logarithms that err by 2 ulp, these beside 1 as a fast one does -------------------


def log_by_2(m: Machine, x: Array) -> Array:
    """Take base 2, as GPUs do."""
    return np.log2(x) * m.number(LN2)


def log_wrong(m: Machine, x: Array, *, side: float) -> Array:
    """Err by 2 ulp, and beside 1 by as much absolutely."""
    return m.rounded(np.log(x.astype(m.wide)) * (1 + m.wide.type(side * 3 * m.unit)) + m.wide.type(side * 2 * m.unit))


ABOVE: dict[str, Step] = {"exp": sums.exp_above, "log": functools.partial(log_wrong, side=1.0)}
BELOW: dict[str, Step] = {"exp": sums.exp_below, "log": functools.partial(log_wrong, side=-1.0)}


# --- The logarithm of a softmax: each returns [..., vocab] ----------------------------------------------


def shifted(
    m: Machine,
    x: Array,
    *,
    exp: Callable[[Machine, Array], Array] = sums.exp,
    log: Callable[[Machine, Array], Array] = sums.log,
    order: Order = by_library,
    stored: bool = False,
) -> Array:
    """(x - top) - log sum exp(x - top), in one kernel, or each step in one of its own."""
    keep = m.stored if stored else lambda a: a
    moved = keep(x - greatest(x))
    return moved - keep(log(m, keep(sums.total(m, keep(exp(m, moved)), order))))


def log_sum_exp(
    m: Machine,
    x: Array,
    *,
    exp: Callable[[Machine, Array], Array] = sums.exp,
    log: Callable[[Machine, Array], Array] = sums.log,
    order: Order = by_library,
) -> Array:
    """Top + log sum exp(x - top), over the last axis, which is kept."""
    return greatest(x) + log(m, sums.total(m, exp(m, x - greatest(x)), order))


def less_log_sum_exp(m: Machine, x: Array, **how: Any) -> Array:
    """x - logsumexp(x), which is written out."""
    return x - m.stored(log_sum_exp(m, x, **how))


def in_base_2(m: Machine, x: Array, *, contracted: bool = False) -> Array:
    """Everything times log2 e, the shift too, and the result times ln 2; with one rounding for product and shift."""
    factor = m.number(LOG2E)
    power, top = x * factor, greatest(x) * factor
    moved = m.fma(x, factor, -top) if contracted else power - top
    return (power - (top + np.log2(sums.total(m, np.exp2(moved))))) * m.number(LN2)


def online(
    m: Machine, x: Array, *, block: int = 16, exp: Callable[[Machine, Array], Array] = sums.exp, contracted: bool = False
) -> Array:
    """Rescale the normaliser whenever a greater logit comes (Milakov & Gimelshein 2018).

    contracted  in place of `exp`, exp2(fma(a, c, -b c)) for exp(a - b)
    """
    factor = m.number(LOG2E)

    def of_difference(a: Array, b: Array) -> Array:
        return np.exp2(m.fma(a, factor, -(b * factor))) if contracted else exp(m, a - b)

    top, total = np.full_like(x[..., :1], -np.inf), np.zeros_like(x[..., :1])
    for start in range(0, x.shape[-1], block):
        part = x[..., start : start + block]
        new = np.maximum(top, part.max(axis=-1, keepdims=True))
        base = np.where(np.isneginf(new), m.number(0), new)
        total = total * of_difference(top, base) + sums.total(m, of_difference(part, base))
        top = new
    return x - top - sums.log(m, total)


def merged(m: Machine, x: Array) -> Array:
    """Merge one logit after the other into a log-sum-exp, as `np.logaddexp.reduce` does."""
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def in_parts(m: Machine, x: Array, *, parts: int = 3) -> Array:
    """Give each part of the vocabulary to another worker, and combine their log-sum-exps."""
    pieces = np.array_split(np.arange(x.shape[-1]), min(parts, x.shape[-1]))
    each = [m.stored(log_sum_exp(m, x[..., at])) for at in pieces]
    return x - m.stored(log_sum_exp(m, np.concatenate(each, axis=-1)))


INSIDE = ("STRICT", "TF32", "FUSED", "EAGER")
# Each with the classes it belongs to; a running normaliser, and base 2 without a shift beforehand, are for float32 or wider.
ROWS: dict[str, tuple[Rows, tuple[str, ...], tuple[str, ...]]] = {
    "shifted": (shifted, (*INSIDE, "STEPWISE"), ()),
    "shifted, kernel by kernel": (functools.partial(shifted, stored=True), (*INSIDE, "STEPWISE"), ()),
    **{
        f"shifted, sum {name}": (functools.partial(shifted, order=ORDERS[name]), (*INSIDE, "STEPWISE"), ())
        for name in ("one by one", "backwards", "in pairs", "truncating")
    },
    "exp2 and log2": (functools.partial(shifted, exp=sums.exp2, log=log_by_2), (*INSIDE, "STEPWISE"), ()),
    "2 ulp too large": (functools.partial(shifted, **ABOVE), (*INSIDE, "STEPWISE"), ()),
    "2 ulp too small": (functools.partial(shifted, **BELOW), (*INSIDE, "STEPWISE"), ()),
    "less log-sum-exp": (less_log_sum_exp, (*INSIDE, "STEPWISE"), ()),
    "less log-sum-exp, 2 ulp too large": (functools.partial(less_log_sum_exp, **ABOVE), (*INSIDE, "STEPWISE"), ()),
    "less log-sum-exp, 2 ulp too small": (functools.partial(less_log_sum_exp, **BELOW), (*INSIDE, "STEPWISE"), ()),
    "less log-sum-exp, an exponential of 2 ulp": (
        functools.partial(less_log_sum_exp, exp=sums.exp_either),
        (*INSIDE, "STEPWISE"),
        (),
    ),
    "three parts of the vocabulary": (in_parts, (*INSIDE, "STEPWISE"), ()),
    "base 2": (in_base_2, INSIDE, ()),
    "base 2, contracted": (functools.partial(in_base_2, contracted=True), INSIDE, ()),
    "online in blocks of 16": (online, INSIDE, ()),
    "online in blocks of 64, an exponential of 2 ulp": (functools.partial(online, block=64, exp=sums.exp_either), INSIDE, ()),
    "online, one at a time": (functools.partial(online, block=1), INSIDE, ("many-rescales",)),
    "online, one at a time, contracted": (functools.partial(online, block=1, contracted=True), INSIDE, ("many-rescales",)),
    "merged one by one": (merged, INSIDE, ("many-rescales",)),
    "online, one at a time, 2 ulp too large": (
        functools.partial(online, block=1, exp=sums.exp_above),
        INSIDE,
        ("many-rescales",),
    ),
}


# --- Sequences ------------------------------------------------------------------------------------------


def following(scores: Array, tokens: Array) -> Array:
    """Pick the score of the token that follows each row."""
    return np.take_along_axis(scores[..., :-1, :], tokens[..., 1:, None], axis=-1)[..., 0]


def sequence(rows: Rows, order: Order = by_library) -> Callable[[Machine, Case], Array]:
    """Pick each token's log-probability, write these out, and add them up."""

    def run(m: Machine, case: Case) -> Array:
        steps = m.stored(following(rows(m, m.loaded(case.logits)), case.tokens))
        return m.output(sums.total(m, steps, order)[..., 0])

    return run


def added_up_apart(m: Machine, case: Case) -> Array:
    """Add the picked logits and the log-sum-exps up apart, write both sums out, and subtract."""
    x = m.loaded(case.logits)
    picked, lse = following(x, case.tokens), m.stored(log_sum_exp(m, x))[..., :-1, 0]
    return m.output((m.stored(sums.total(m, picked)) - m.stored(sums.total(m, lse)))[..., 0])


def torch_sequence(m: Machine, case: Case, *, how: str, upcast: bool = False) -> Array:
    """Call torch's functions, on the logits as they are, or made float32 first."""
    import torch

    logits = torch.from_numpy(case.logits.copy()).to(getattr(torch, m.dtype))[..., :-1, :]
    tokens = torch.from_numpy(case.tokens.copy())[..., 1:]
    logits = logits.float() if upcast else logits
    if how == "log_softmax":
        steps = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    elif how == "cross_entropy":
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1), reduction="none")
        steps = -loss.reshape(tokens.shape)
    else:
        steps = logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(-1)
    return steps.sum(-1).to(getattr(torch, m.dtype)).double().numpy()


ORGANISATIONS: dict[str, Organisation] = {
    **{name: Organisation(sequence(rows), classes=classes) for name, (rows, classes, traits) in ROWS.items() if not traits},
    "shifted, terms backwards": Organisation(sequence(shifted, ORDERS["backwards"])),
    "shifted, terms in pairs": Organisation(sequence(shifted, ORDERS["in pairs"])),
    "logits and log-sum-exps added up apart": Organisation(added_up_apart, classes=INSIDE),
    **{
        f"torch, {how}": Organisation(functools.partial(torch_sequence, how=how), classes=("STRICT", "EAGER"))
        for how in ("log_softmax", "cross_entropy", "logsumexp")
    },
    **{
        f"torch, {how} in float32": Organisation(
            functools.partial(torch_sequence, how=how, upcast=True), classes=("FUSED", "EAGER"), dtypes=("float16", "bfloat16")
        )
        for how in ("log_softmax", "cross_entropy", "logsumexp")
    },
}
TRAITS: dict[str, Organisation] = {
    name: Organisation(sequence(rows), classes=classes, traits=traits) for name, (rows, classes, traits) in ROWS.items() if traits
}
