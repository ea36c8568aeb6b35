"""Correct organisations of attention.  Read with spec/toise_spec/attention.md.

An organisation takes a machine, q, k, v, which keys are allowed, and the scale.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from toise.operations import allowed_keys

from soundness import sums
from soundness.machine import UNDECLARED, Machine, Organisation
from soundness.sums import LOG2E, ORDERS, by_library, product

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.inputs import Case

    from soundness.sums import Order

Array = np.ndarray


def scores(
    m: Machine,
    q: Array,
    k: Array,
    scale: float,
    *,
    scaled: str = "product",
    order: Order = by_library,
    stored: bool = False,
    prescale_stored: bool = False,
) -> Array:
    """Scale the product, or q, or k, or q and k by the root; write out what an eager chain would."""
    keep = m.stored if stored else _unchanged
    before = m.stored if prescale_stored else _unchanged
    keys = k.swapaxes(-1, -2)
    if scaled == "product":
        return keep(keep(product(m, q, keys, order)) * m.number(scale))
    if scaled == "divided":
        return keep(keep(product(m, q, keys, order)) / m.number(1 / scale if scale else np.inf))
    root, sign = math.sqrt(abs(scale)), math.copysign(1, scale)
    on_q, on_k = {"q": (scale, 1.0), "k": (1.0, scale), "root": (sign * root, root)}[scaled]
    scaled_q = q if on_q == 1 else before(q * m.number(on_q))
    scaled_k = keys if on_k == 1 else before(keys * m.number(on_k))
    return keep(product(m, scaled_q, scaled_k, order))


def _unchanged(array: Array) -> Array:
    return array


def masked(m: Machine, s: Array, allowed: Array, how: str = "where") -> Array:
    """Take forbidden keys out: by -inf in their place, -inf added, or the least finite number in their place."""
    if how == "added":
        return s + np.where(allowed, m.number(0), m.number(-np.inf))
    return np.where(allowed, s, m.number(-np.inf if how == "where" else _least(m)))


def _least(m: Machine) -> float:
    """Return the least number of the format of a step."""
    return -float(m.precision.step.huge)


def greatest(s: Array) -> Array:
    """Return the greatest score of each row, 0 where no key is allowed."""
    top = s.max(axis=-1, keepdims=True)
    return np.where(np.isneginf(top), top.dtype.type(0), top)


def whole_rows(
    m: Machine,
    q: Array,
    k: Array,
    v: Array,
    allowed: Array,
    scale: float,
    *,
    order: Order = by_library,
    exp: Callable[[Machine, Array], Array] = sums.exp,
    normalise: str = "late",
    mask: str = "where",
    eager: bool = False,
    **how: Any,
) -> Array:
    """Hold whole rows of scores; divide the weights, or the result, or multiply by the reciprocal.

    eager   the scores, the weights and the result are each written out between two kernels
    """
    s = masked(m, scores(m, q, k, scale, order=order, stored=eager, **how), allowed, mask)
    parts = exp(m, s - greatest(s))
    if normalise == "late":
        total = sums.total(m, parts, order)
        return product(m, m.weights(parts), v, order) / _nonzero(total)
    if normalise == "late, of rounded weights":
        parts = m.weights(parts)
        return product(m, parts, v, order) / _nonzero(sums.total(m, parts, order))
    total = _nonzero(sums.total(m, parts, order))
    weights = parts / total if normalise == "early" else parts * (m.number(1) / total)
    return product(m, m.stored(weights) if eager else m.weights(weights), v, order)


def _nonzero(total: Array) -> Array:
    return np.where(total > 0, total, total.dtype.type(1))


def kernel_by_kernel(m: Machine, q: Array, k: Array, v: Array, allowed: Array, scale: float, *, base_2: bool = False) -> Array:
    """Give every operation a kernel of its own, the shift, the exponential, its sum and the division too."""
    s = masked(m, scores(m, q, k, scale, stored=True), allowed)
    shifted = m.stored(s - greatest(s))
    parts = m.stored(np.exp2(m.stored(shifted * m.number(LOG2E))) if base_2 else sums.exp(m, shifted))
    return product(m, m.stored(parts / _nonzero(m.stored(sums.total(m, parts)))), v)


def by_log_sum_exp(m: Machine, q: Array, k: Array, v: Array, allowed: Array, scale: float, *, eager: bool = False) -> Array:
    """exp(score - log-sum-exp): nothing is divided by the sum of the weights."""
    s = masked(m, scores(m, q, k, scale, stored=eager), allowed)
    lse = greatest(s) + sums.log(m, _nonzero(sums.total(m, sums.exp(m, s - greatest(s)))))
    return product(m, m.weights(sums.exp(m, s - lse)), v)


def by_log_softmax(m: Machine, q: Array, k: Array, v: Array, allowed: Array, scale: float) -> Array:
    """exp(log_softmax(scores)), where the shift comes first: (s - top) - log of the sum."""
    s = masked(m, scores(m, q, k, scale), allowed)
    shifted = s - greatest(s)
    return product(m, m.weights(sums.exp(m, shifted - sums.log(m, _nonzero(sums.total(m, sums.exp(m, shifted)))))), v)


def online(
    m: Machine,
    q: Array,
    k: Array,
    v: Array,
    allowed: Array,
    scale: float,
    *,
    block: int = 16,
    shift: str = "difference",
    order: Order = by_library,
    exp: Callable[[Machine, Array], Array] | None = None,
    padded: bool = False,
    rounded_sum: bool = False,
    backwards: bool = False,
) -> Array:
    """Run through the keys in blocks, and rescale the sums where a greater score appears, as flash kernels do.

    shift        "difference": exp2((s - top) c), with the scale and log2 e in one factor c; "apart": exp2(s c - top c);
                 "contracted": exp2(fma(s, c, -top c)), as a compiler may make it
    exp          in place of base 2, which then has the scale alone for a factor
    padded       the last block is filled up with the least finite score
    rounded_sum  the normaliser is summed from the weights as they meet the values
    """
    sign = m.number(math.copysign(1, scale))
    c = m.number(abs(scale) * (1 if exp else LOG2E))
    power = exp or (lambda m, x: np.exp2(x))
    s = masked(m, product(m, q * sign, k.swapaxes(-1, -2), order), allowed)
    if padded and s.shape[-1] % block:
        more = block - s.shape[-1] % block
        least = m.number(_least(m) if c else -np.inf)  # nothing times 0 is far below the others
        s = np.concatenate([s, np.full((*s.shape[:-1], more), least)], axis=-1)
        v = np.concatenate([v, np.ones((*v.shape[:-2], more, v.shape[-1]), v.dtype)], axis=-2)
    top = np.full((*s.shape[:-1], 1), m.number(-np.inf), m.step)
    total, mixed = np.zeros_like(top), np.zeros((*s.shape[:-1], v.shape[-1]), m.step)
    for start in range(0, s.shape[-1], block)[:: -1 if backwards else 1]:
        at = slice(start, start + block)
        new = np.maximum(top, s[..., at].max(axis=-1, keepdims=True))
        base = np.where(np.isneginf(new), m.number(0), new)

        def moved(x: Array, base: Array = base) -> Array:
            if shift == "difference":
                return (x - base) * c
            return m.fma(x, c, -(base * c)) if shift == "contracted" else x * c - base * c

        # With a factor of 0, -inf times 0 would be NaN: masked keys are selected away.
        parts = np.where(np.isneginf(s[..., at]), m.number(0), power(m, moved(s[..., at])))
        kept = np.where(np.isneginf(top), m.number(0), power(m, moved(top)))
        weights = m.weights(parts)
        total = total * kept + sums.total(m, weights if rounded_sum else parts)
        mixed = mixed * kept + product(m, weights, v[..., at, :], order)
        top = new
    return mixed / _nonzero(total)


def split_keys(
    m: Machine,
    q: Array,
    k: Array,
    v: Array,
    allowed: Array,
    scale: float,
    *,
    parts: int = 3,
    exp: Callable[[Machine, Array], Array] = sums.exp,
    base_2: bool = False,
) -> Array:
    """Give each part of the keys to another worker, and combine the results by their log-sum-exps."""
    results, lses = [], []
    s = masked(m, scores(m, q, k, scale), allowed)
    for at in np.array_split(np.arange(s.shape[-1]), min(parts, s.shape[-1])):
        top = greatest(s[..., at])
        e = exp(m, s[..., at] - top)
        total = sums.total(m, e)
        results.append(product(m, m.weights(e), v[..., at, :]) / _nonzero(total))
        if base_2:
            lses.append(top * m.number(LOG2E) + np.log2(total))
        else:
            lses.append(top + sums.log(m, total))  # -inf for a part without any allowed key
    joined = np.stack(lses)
    best = joined.max(axis=0)
    shifted = joined - np.where(np.isneginf(best), m.number(0), best)
    weights = np.exp2(shifted) if base_2 else exp(m, shifted)
    mixed = total = np.zeros_like(results[0][..., :1])
    for weight, result in zip(weights, results, strict=True):
        mixed, total = mixed + weight * result, total + weight
    return mixed / _nonzero(total)


def product_in_parts(m: Machine, a: Array, b: Array, *, parts: int = 16) -> Array:
    """Add up partial sums that were written out in the dtype, one after the other."""
    pieces = np.array_split(np.arange(a.shape[-1]), min(parts, a.shape[-1]))
    partial = [m.narrow(a[..., at] @ b[..., at, :]) for at in pieces]
    return functools.reduce(lambda so_far, part: m.narrow(so_far + part), partial)


# --- torch --------------------------------------------------------------------------------------------


def _tensors(m: Machine, case: Case) -> tuple[Any, Any]:
    """Return the arrays as tensors, and which keys are allowed."""
    import torch

    tensors = [torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values()]
    return tensors, torch.from_numpy(np.array(allowed_keys(case, UNDECLARED[case.operation])))


def torch_sdpa(m: Machine, case: Case, *, backend: str = "") -> Array:
    """Call torch's own kernel, the one that it picks or the one named."""
    import torch

    (q, k, v), allowed = _tensors(m, case)
    chosen = torch.nn.attention.sdpa_kernel(getattr(torch.nn.attention.SDPBackend, backend)) if backend else None
    with chosen or contextlib.nullcontext():
        result = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=case.options.get("scale"))
    return result.double().numpy()


def torch_eager(m: Machine, case: Case) -> Array:
    """Multiply, mask, softmax, multiply, in the dtype."""
    (q, k, v), allowed = _tensors(m, case)
    s = (q @ k.mT * scale_of(case)).masked_fill(~allowed, -math.inf)
    return (s.softmax(-1) @ v).double().numpy()


# --- All ----------------------------------------------------------------------------------------------


def scale_of(case: Case) -> float:
    """Return the scale of a call."""
    return case.options.get("scale", 1 / math.sqrt(case.q.shape[-1]))


def in_numpy(function: Callable[..., Array], **how: Any) -> Callable[[Machine, Case], Array]:
    """Return an organisation that hands the inputs of a call to a function in NumPy."""

    def run(m: Machine, case: Case) -> Array:
        data = [m.loaded(array) for array in case.arrays.values()]
        return m.output(function(m, *data, allowed_keys(case, UNDECLARED["attention"]), scale_of(case), **how))

    return run


def made(function: Callable[..., Array], classes: tuple[str, ...] = (), **how: Any) -> Organisation:
    """Return an organisation in NumPy; sums that Python adds up are left out where inputs are large."""
    heavy = how.get("order", by_library) is not by_library
    more = {"classes": classes} if classes else {}
    return Organisation(in_numpy(function, **how), heavy=heavy, **more)


INSIDE = ("STRICT", "FUSED", "TF32", "EAGER")  # float32 or wider within a kernel
NARROW = ("FUSED", "EAGER")
ORGANISATIONS: dict[str, Organisation] = {
    "eager": made(whole_rows, eager=True, normalise="early"),
    "eager, scale divided": made(whole_rows, eager=True, normalise="early", scaled="divided"),
    "eager, reciprocal, mask added": made(whole_rows, eager=True, normalise="reciprocal", mask="added"),
    **{f"products {name}": made(whole_rows, order=order) for name, order in ORDERS.items()},
    **{
        f"eager, products {name}": made(whole_rows, eager=True, normalise="early", order=ORDERS[name])
        for name in ("backwards", "truncating", "in pairs")
    },
    "q scaled first": made(whole_rows, scaled="q"),
    "k scaled first": made(whole_rows, scaled="k"),
    "roots of the scale on q and k": made(whole_rows, scaled="root"),
    "weights normalised early": made(whole_rows, normalise="early"),
    "weights times a reciprocal": made(whole_rows, normalise="reciprocal"),
    "masked by the least number": made(whole_rows, mask="least"),
    "NumPy's exponential": made(whole_rows, exp=sums.exp_by_library),
    "base 2": made(whole_rows, exp=sums.exp2),
    "an exponential 2 ulp too large": made(whole_rows, exp=sums.exp_above, normalise="early"),
    "an exponential of 2 ulp, roots, backwards": made(whole_rows, exp=sums.exp_either, scaled="root", order=ORDERS["backwards"]),
    "exp of log-softmax": made(by_log_softmax),
    "flash, blocks of 16": made(online, INSIDE),
    "flash, blocks of 32, backwards": made(online, INSIDE, block=32, backwards=True),
    "flash, blocks of 64, contracted": made(online, INSIDE, block=64, shift="contracted"),
    "flash, blocks of 16, contracted": made(online, INSIDE, shift="contracted"),
    "flash, blocks of 16, apart": made(online, INSIDE, shift="apart"),
    "flash, padded": made(online, INSIDE, padded=True),
    "flash, an exponential of 2 ulp": made(online, INSIDE, exp=sums.exp_either),
    "flash, tensor cores": made(online, ("TF32", "FUSED", "EAGER"), order=ORDERS["tensor core"]),
    "split keys": made(split_keys),
    "split keys, base 2": made(split_keys, INSIDE, base_2=True),
    "split keys in two, an exponential of 2 ulp": made(split_keys, exp=sums.exp_either, parts=2),
    "torch, its choice": Organisation(torch_sdpa, classes=("STRICT", *NARROW)),
    "torch, MATH": Organisation(functools.partial(torch_sdpa, backend="MATH"), classes=("STRICT", *NARROW)),
    "torch, eager": Organisation(torch_eager, classes=("STRICT", "EAGER")),
    "kernel by kernel": made(kernel_by_kernel),
    "kernel by kernel, base 2": made(kernel_by_kernel, base_2=True),
}


def declared(function: Callable[..., Array], *traits: str, classes: tuple[str, ...] = INSIDE, **how: Any) -> Organisation:
    """Return an organisation that has to declare traits."""
    return Organisation(in_numpy(function, **how), classes=classes, traits=traits, heavy="order" in how)


TRAITS: dict[str, Organisation] = {
    "flash, one key at a time": declared(online, "many-rescales", block=1),
    "flash, one key at a time, contracted": declared(online, "many-rescales", block=1, shift="contracted"),
    "flash, one key at a time, an exponential of 2 ulp": declared(online, "many-rescales", block=1, exp=sums.exp_above),
    "flash, two keys at a time, backwards": declared(online, "many-rescales", block=2, backwards=True),
    "a normaliser of rounded weights": declared(
        whole_rows, "rounded-normaliser", classes=NARROW, normalise="late, of rounded weights"
    ),
    "flash, a normaliser of rounded weights": declared(online, "rounded-normaliser", classes=NARROW, rounded_sum=True),
    "q scaled first, written out": declared(
        whole_rows, "stored-prescale", classes=("EAGER",), eager=True, normalise="early", scaled="q", prescale_stored=True
    ),
    "roots on q and k, written out": declared(
        whole_rows, "stored-prescale", classes=("EAGER",), eager=True, normalise="early", scaled="root", prescale_stored=True
    ),
    "exp(score - log-sum-exp)": declared(by_log_sum_exp, "lse-weights"),
    "exp(score - log-sum-exp), eager": declared(by_log_sum_exp, "lse-weights", classes=("EAGER",), eager=True),
    "partial sums in the dtype": declared(whole_rows, "split-k", classes=NARROW, order=product_in_parts, normalise="early"),
    "eager, partial sums in the dtype": declared(
        whole_rows, "split-k", classes=("EAGER",), order=product_in_parts, eager=True, normalise="early"
    ),
}
