"""Correct organisations of layer normalisation.  Read with spec/toise_spec/layer_norm.md.

An organisation takes a machine, x, gamma, beta and eps.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from soundness import sums
from soundness.machine import Machine, Organisation
from soundness.sums import ORDERS, by_library

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.inputs import Case

    from soundness.sums import Order

    Statistics = Callable[[Machine, np.ndarray], tuple[np.ndarray, np.ndarray]]

Array = np.ndarray


# --- Mean and variance --------------------------------------------------------------------------------


def two_passes(m: Machine, x: Array, *, order: Order = by_library) -> tuple[Array, Array]:
    """Take the mean, then the mean of the squared distances from it."""
    n = m.number(x.shape[-1])
    mean = sums.total(m, x, order) / n
    d = x - mean
    return mean, sums.total(m, d * d, order) / n


def fused_squares(m: Machine, x: Array) -> tuple[Array, Array]:
    """Square and add with one rounding."""
    n = m.number(x.shape[-1])
    mean = sums.total(m, x) / n
    d = x - mean
    return mean, sums.fused(m, d[..., None, :], d[..., :, None])[..., 0] / n


def reciprocal_count(m: Machine, x: Array) -> tuple[Array, Array]:
    """Multiply by 1/n instead of dividing by n."""
    over = m.number(1) / m.number(x.shape[-1])
    mean = sums.total(m, x) * over
    d = x - mean
    return mean, sums.total(m, d * d) * over


def corrected(m: Machine, x: Array) -> tuple[Array, Array]:
    """Take the square of the mean distance from the mean square: what the first mean missed."""
    n = m.number(x.shape[-1])
    mean = sums.total(m, x) / n
    d = x - mean
    missed = sums.total(m, d) / n
    return mean, np.maximum(sums.total(m, d * d) / n - missed * missed, m.number(0))


def updated(m: Machine, x: Array, *, step: int = 1, reciprocal: bool = False) -> tuple[Array, Array]:
    """Update mean and sum of squares with each element (Welford)."""
    mean = squares = np.zeros_like(x[..., :1])
    for count, at in enumerate(range(x.shape[-1])[::step], start=1):
        element = x[..., at, None]
        d = element - mean
        mean = mean + (d * m.number(1 / count) if reciprocal else d / m.number(count))
        squares = squares + d * (element - mean)
    return mean, squares / m.number(x.shape[-1])


def merged(m: Machine, x: Array) -> tuple[Array, Array]:
    """Merge the statistics of neighbours, then of neighbours of those (Chan, Golub & LeVeque)."""
    mean, squares, count = x, np.zeros_like(x), np.ones(x.shape[-1])
    while mean.shape[-1] > 1:
        even = mean.shape[-1] // 2 * 2
        left, right = slice(0, even, 2), slice(1, even, 2)
        both = count[left] + count[right]
        d = mean[..., right] - mean[..., left]
        new_mean = mean[..., left] + d * m.rounded(count[right] / both)
        new_squares = squares[..., left] + squares[..., right] + d * d * m.rounded(count[left] * count[right] / both)
        mean = np.concatenate([new_mean, mean[..., even:]], axis=-1)
        squares = np.concatenate([new_squares, squares[..., even:]], axis=-1)
        count = np.concatenate([both, count[even:]])
    return mean, squares / m.number(x.shape[-1])


def lanes_merged(m: Machine, x: Array, *, width: int = 8) -> tuple[Array, Array]:
    """Let each of eight threads update statistics of its own, and merge those."""
    parts = [updated(m, x[..., lane::width]) for lane in range(min(width, x.shape[-1]))]
    counts = [float(x[..., lane::width].shape[-1]) for lane in range(len(parts))]
    mean, squares, so_far = parts[0][0], parts[0][1] * m.number(counts[0]), counts[0]
    for (other, variance), count in zip(parts[1:], counts[1:], strict=True):
        d, both = other - mean, so_far + count
        mean = mean + d * m.number(count / both)
        squares = squares + variance * m.number(count) + d * d * m.number(so_far * count / both)
        so_far = both
    return mean, squares / m.number(x.shape[-1])


# --- 1/sqrt -------------------------------------------------------------------------------------------


def one_over_root(m: Machine, z: Array) -> Array:
    """Round the root, then the quotient."""
    return m.number(1) / np.sqrt(z)


def reciprocal_root(m: Machine, z: Array, *, side: float = 0.0) -> Array:
    """Round once, or err by 2 ulp."""
    return m.rounded(z.astype(m.wide) ** -0.5 * (1 + m.wide.type(3 * side * m.unit)))


ABOVE, BELOW = (functools.partial(reciprocal_root, side=side) for side in (1.0, -1.0))


# --- Whole --------------------------------------------------------------------------------------------


def normalised_rows(
    m: Machine,
    x: Array,
    gamma: Array,
    beta: Array,
    eps: float,
    *,
    statistics: Statistics = two_passes,
    affine: str = "plain",
    root: Callable[[Machine, Array], Array] = one_over_root,
) -> Array:
    """Normalise each row in one kernel; the affine map comes after it, or is folded in, or the mean is multiplied apart."""
    mean, variance = statistics(m, x)
    r = root(m, variance + m.number(eps))
    if affine == "plain":
        return (x - mean) * r * gamma + beta
    if affine == "fused":
        return m.fma((x - mean) * r, gamma, beta)
    if affine == "divided":
        return (x - mean) / np.sqrt(variance + m.number(eps)) * gamma + beta
    if affine == "gamma first":
        return (x - mean) * (gamma * r) + beta
    if affine == "apart":
        return (x * r - mean * r) * gamma + beta
    if affine == "apart, fused":
        return m.fma(m.fma(x, r, -mean * r), gamma, beta)
    slope = gamma * r
    if affine == "folded":
        return x * slope + (beta - mean * slope)
    return m.fma(x, slope, m.fma(-mean, slope, beta))


def kernel_by_kernel(
    m: Machine, x: Array, gamma: Array, beta: Array, eps: float, *, root: str = "rsqrt", order: Order = by_library
) -> Array:
    """Give every operation a kernel of its own, and write out every intermediate."""
    keep, n = m.stored, m.number(x.shape[-1])
    mean = keep(sums.total(m, x, order) / n)
    d = keep(x - mean)
    variance = keep(sums.total(m, keep(d * d), order) / n)
    total = keep(variance + m.number(eps))
    if root == "rsqrt":
        normalised = keep(d * keep(reciprocal_root(m, total)))
    elif root == "divided":
        normalised = keep(d / keep(np.sqrt(total)))
    else:
        normalised = keep(d * keep(m.number(1) / keep(np.sqrt(total))))
    return keep(normalised * gamma) + beta


def narrow_before_gamma(m: Machine, x: Array, gamma: Array, beta: Array, eps: float, *, product: bool = True) -> Array:
    """Normalise in one kernel, write the row out in the dtype, and apply gamma and beta in others."""
    mean, variance = two_passes(m, x)
    normalised = m.narrow((x - mean) * reciprocal_root(m, variance + m.number(eps)))
    scaled = normalised * gamma
    return (m.narrow(scaled) if product else scaled) + beta


def torch_functional(m: Machine, case: Case) -> Array:
    """Call torch's own kernel."""
    import torch

    x, gamma, beta = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values())
    return torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta, case.options.get("eps", 1e-5)).double().numpy()


def torch_module(m: Machine, case: Case) -> Array:
    """Call torch's module, on rows in another memory layout."""
    import torch

    x, gamma, beta = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values())
    module = torch.nn.LayerNorm(x.shape[-1], eps=case.options.get("eps", 1e-5), dtype=x.dtype)
    with torch.no_grad():
        module.weight.copy_(gamma)
        module.bias.copy_(beta)
        wider = torch.stack([x, x], dim=-1)
        return module(wider[..., 0]).double().numpy()


def torch_eager(m: Machine, case: Case) -> Array:
    """Write the formula with torch's operators: each is a kernel."""
    import torch

    x, gamma, beta = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values())
    d = x - x.mean(-1, keepdim=True)
    variance = (d * d).mean(-1, keepdim=True)
    return (d / torch.sqrt(variance + case.options.get("eps", 1e-5)) * gamma + beta).double().numpy()


def in_numpy(function: Callable[..., Array], **how: Any) -> Callable[[Machine, Case], Array]:
    """Return an organisation that hands the inputs of a call to a function in NumPy."""

    def run(m: Machine, case: Case) -> Array:
        data = [m.loaded(array) for array in case.arrays.values()]
        return m.output(function(m, *data, case.options.get("eps", 1e-5), **how))

    return run


def made(function: Callable[..., Array], *, heavy: bool = False, **how: Any) -> Organisation:
    """Return an organisation in NumPy."""
    return Organisation(in_numpy(function, **how), heavy=heavy)


def _rows(**how: Any) -> Organisation:
    return made(normalised_rows, **how)


ORGANISATIONS: dict[str, Organisation] = {
    **{
        f"two passes, sums {name}": _rows(statistics=functools.partial(two_passes, order=order)) for name, order in ORDERS.items()
    },
    "squares fused": _rows(statistics=fused_squares),
    "times 1/n": _rows(statistics=reciprocal_count),
    "mean corrected": _rows(statistics=corrected),
    "Welford": _rows(statistics=updated),
    "Welford backwards": _rows(statistics=functools.partial(updated, step=-1)),
    "Welford, reciprocals": _rows(statistics=functools.partial(updated, reciprocal=True), affine="apart"),
    "Chan": _rows(statistics=merged),
    "eight lanes of Welford, merged": _rows(statistics=lanes_merged),
    "gamma fused": _rows(affine="fused", root=reciprocal_root),
    "divided by the root": _rows(affine="divided"),
    "gamma times the root first": _rows(affine="gamma first"),
    "x r - m r": _rows(affine="apart", root=reciprocal_root),
    "x r - m r, fused": _rows(affine="apart, fused"),
    "folded": _rows(affine="folded"),
    "folded, fused": _rows(affine="folded, fused"),
    "a root 2 ulp too large": _rows(root=ABOVE),
    "a root 2 ulp too small, folded, Chan": _rows(root=BELOW, affine="folded", statistics=merged),
    "a root 2 ulp too large, apart, Welford": _rows(root=ABOVE, affine="apart", statistics=updated),
    "kernel by kernel": made(kernel_by_kernel),
    "kernel by kernel, divided": made(kernel_by_kernel, root="divided"),
    "kernel by kernel, one over the root, backwards": made(kernel_by_kernel, root="reciprocal", order=ORDERS["backwards"]),
    "torch": Organisation(torch_functional, classes=("STRICT", "FUSED", "EAGER")),
    "torch, a module": Organisation(torch_module, classes=("STRICT", "FUSED", "EAGER")),
    "torch, eager": Organisation(torch_eager, classes=("STRICT", "EAGER")),
}
TRAITS: dict[str, Organisation] = {
    "the row written out before gamma": Organisation(
        in_numpy(narrow_before_gamma, product=False), classes=("FUSED", "EAGER"), traits=("stored-before-gamma",)
    ),
    "the row and its product with gamma written out": Organisation(
        in_numpy(narrow_before_gamma), classes=("FUSED", "EAGER"), traits=("stored-before-gamma",)
    ),
}
