"""Correct organisations of the feed-forward network.  Read with spec/toise_spec/feed_forward.md.

An organisation takes a machine, x, w1, b1, w2 and b2.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from soundness.attention import product_in_parts
from soundness.machine import Machine, Organisation
from soundness.sums import ORDERS, by_library, one_by_one, product

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.inputs import Case

    from soundness.sums import Order

    Layer = Callable[[Machine, np.ndarray, np.ndarray, np.ndarray, Order], np.ndarray]

Array = np.ndarray


def bias_last(m: Machine, x: Array, w: Array, b: Array, order: Order) -> Array:
    """Add the bias to the finished sum."""
    return product(m, x, w, order) + b


def bias_last_written(m: Machine, x: Array, w: Array, b: Array, order: Order) -> Array:
    """Write the product out before the bias is added."""
    return m.stored(product(m, x, w, order)) + b


def bias_first(m: Machine, x: Array, w: Array, b: Array, order: Order) -> Array:
    """Let the sum start from the bias, as a loop over a buffer does."""
    start = np.broadcast_to(b, (*x.shape[:-1], w.shape[-1]))
    return one_by_one(m, m.operand(x), m.operand(w), start=start)


def bias_within(m: Machine, x: Array, w: Array, b: Array, order: Order) -> Array:
    """Take the bias for a product with 1, in the middle of the others."""
    half = x.shape[-1] // 2
    return order(m, np.insert(m.operand(x), half, 1, axis=-1), np.insert(m.operand(w), half, b, axis=0))


def in_blocks(m: Machine, x: Array, w: Array, b: Array, order: Order, *, block: int = 16) -> Array:
    """Add up partial sums, each of a block of rows, the bias after the first."""
    parts = [product(m, x[..., at : at + block], w[at : at + block], order) for at in range(0, x.shape[-1], block)]
    return functools.reduce(np.add, parts[1:], parts[0] + b)


def two_workers(m: Machine, x: Array, w: Array, b: Array, order: Order) -> Array:
    """Let two workers take half of the rows each, in a wider format, and add what they hand over."""
    wide_x, wide_w, half = m.operand(x).astype(m.wide), m.operand(w).astype(m.wide), x.shape[-1] // 2
    return m.rounded(wide_x[..., :half] @ wide_w[:half]) + m.rounded(wide_x[..., half:] @ wide_w[half:]) + b


def network(
    m: Machine, x: Array, w1: Array, b1: Array, w2: Array, b2: Array, *, layer: Layer = bias_last, order: Order = by_library
) -> Array:
    """Compute both layers in the same way, and write out what lies between them."""
    hidden = m.stored(np.maximum(m.stored(layer(m, x, w1, b1, order)), m.number(0)))
    return layer(m, hidden, w2, b2, order)


def one_kernel(m: Machine, x: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> Array:
    """Keep the hidden units inside one kernel, block by block."""
    total = np.broadcast_to(b2, x.shape)
    for at in range(0, w1.shape[-1], 16):
        some = slice(at, at + 16)
        total = total + product(m, np.maximum(product(m, x, w1[:, some]) + b1[some], m.number(0)), w2[some])
    return total


def torch_linear(m: Machine, case: Case) -> Array:
    """Call torch's linear layers."""
    import torch

    x, w1, b1, w2, b2 = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values())
    linear = torch.nn.functional.linear
    return linear(linear(x, w1.T, b1).relu(), w2.T, b2).double().numpy()


def torch_addmm(m: Machine, case: Case) -> Array:
    """Add the bias with the product."""
    import torch

    x, w1, b1, w2, b2 = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values())
    rows = x.reshape(-1, x.shape[-1])
    return torch.addmm(b2, torch.addmm(b1, rows, w1).relu(), w2).reshape(x.shape).double().numpy()


def torch_eager(m: Machine, case: Case) -> Array:
    """Give each operation a kernel of its own."""
    import torch

    x, w1, b1, w2, b2 = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values())
    return (torch.relu(x @ w1 + b1) @ w2 + b2).double().numpy()


def in_numpy(function: Callable[..., Array], **how: Any) -> Callable[[Machine, Case], Array]:
    """Return an organisation that hands the inputs of a call to a function in NumPy, with one leading axis."""

    def run(m: Machine, case: Case) -> Array:
        x, *weights = (m.loaded(array) for array in case.arrays.values())
        return m.output(function(m, x.reshape(-1, x.shape[-1]), *weights, **how)).reshape(x.shape)

    return run


def made(**how: Any) -> Organisation:
    """Return an organisation in NumPy."""
    return Organisation(in_numpy(network, **how), heavy="order" in how)


ORGANISATIONS: dict[str, Organisation] = {
    **{f"products {name}": made(order=order) for name, order in ORDERS.items()},
    "the product written out": made(layer=bias_last_written),
    "the product written out, backwards": made(layer=bias_last_written, order=ORDERS["backwards"]),
    "bias first": Organisation(in_numpy(network, layer=bias_first), heavy=True),
    "bias within": made(layer=bias_within, order=ORDERS["one by one"]),
    "blocks of 16": made(layer=in_blocks),
    "two workers": made(layer=two_workers),
    "one kernel": Organisation(in_numpy(one_kernel)),
    "torch, linear": Organisation(torch_linear, classes=("STRICT", "EAGER")),
    "torch, addmm": Organisation(torch_addmm, classes=("STRICT", "EAGER")),
    "torch, eager": Organisation(torch_eager, classes=("STRICT", "EAGER")),
}
TRAITS: dict[str, Organisation] = {
    "partial sums in the dtype": Organisation(
        in_numpy(network, order=product_in_parts), classes=("FUSED", "EAGER"), traits=("split-k",)
    ),
}
