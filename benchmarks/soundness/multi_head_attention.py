"""Correct organisations of multi-head attention.  Read with spec/toise_spec/multi_head_attention.md.

An organisation takes a machine, q, k, v, the four weights, and which keys are allowed.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from toise.operations import allowed_keys

from soundness import attention, sums
from soundness.machine import UNDECLARED, Machine, Organisation
from soundness.sums import ORDERS, by_library, product

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.inputs import Case

    from soundness.sums import Order

Array = np.ndarray


def in_turn(m: Machine, outputs: list[Array]) -> Array:
    """Add what the heads give one after the other."""
    return functools.reduce(lambda total, output: m.stored(total + output), outputs)


def from_the_last(m: Machine, outputs: list[Array]) -> Array:
    """Add what the heads give, from the last to the first."""
    return in_turn(m, outputs[::-1])


def in_pairs(m: Machine, outputs: list[Array]) -> Array:
    """Add what the heads give in pairs, then pairs of pairs."""
    while len(outputs) > 1:
        odd = outputs[-1:] if len(outputs) % 2 else []
        outputs = [m.stored(a + b) for a, b in zip(outputs[:-1:2], outputs[1::2], strict=True)] + odd
    return outputs[0]


def _all_together(
    m: Machine, q: Array, k: Array, v: Array, weights: tuple[Array, Array, Array], order: Order
) -> list[list[Array]]:
    """Multiply all tokens by all projections in one product, and cut out what is needed."""
    h, d_model, d_k = weights[0].shape
    every = np.concatenate([w.transpose(1, 0, 2).reshape(d_model, -1) for w in weights], axis=-1)
    rows = product(m, np.concatenate([q, k, v], axis=-2), every, order)
    n, keys = q.shape[-2], k.shape[-2]
    places = ((slice(n), 0), (slice(n, n + keys), h * d_k), (slice(n + keys, None), 2 * h * d_k))
    return [
        [rows[..., at, start + i * width : start + (i + 1) * width] for i in range(h)]
        for (at, start), width in zip(places, (d_k, d_k, weights[2].shape[-1]), strict=True)
    ]


def organised(
    m: Machine,
    q: Array,
    k: Array,
    v: Array,
    w_q: Array,
    w_k: Array,
    w_v: Array,
    w_o: Array,
    allowed: Array,
    *,
    order: Order = by_library,
    together: bool = False,
    scaled: str = "scores",
    attend: Callable[..., Array] | None = None,
    added: Callable[[Machine, list[Array]], Array] | None = None,
) -> Array:
    """Project, attend head by head, and project back; what is handed from kernel to kernel is written out.

    together  one product for the projections of all heads and tokens, or one for each
    scaled    where the scale is multiplied in: the scores, the queries in the projection's kernel, q, or w_q
    attend    the attention of one head; None for an eager chain
    added     w_o head by head, and how these are added; None for the heads side by side
    """
    h, scale = len(w_q), 1 / math.sqrt(w_q.shape[-1])
    if scaled == "q":
        q, scale = m.stored(q * m.number(scale)), 1.0
    elif scaled == "w_q":
        w_q, scale = m.stored(w_q * m.number(scale)), 1.0
    if together:
        projected = _all_together(m, q, k, v, (w_q, w_k, w_v), order)
    else:
        projected = [[product(m, x, w[i], order) for i in range(h)] for x, w in ((q, w_q), (k, w_k), (v, w_v))]
    if scaled == "queries":
        projected[0] = [query * m.number(scale) for query in projected[0]]
        scale = 1.0
    queries, keys, values = ([m.stored(part) for part in parts] for parts in projected)
    attend = attend or functools.partial(attention.whole_rows, eager=True, normalise="early", order=order)
    heads = [m.stored(attend(m, queries[i], keys[i], values[i], allowed, scale)) for i in range(h)]
    if added is None:
        return product(m, np.concatenate(heads, axis=-1), w_o, order)
    return added(m, [m.stored(product(m, head, block, order)) for head, block in zip(heads, np.split(w_o, h), strict=True)])


def by_einsum(m: Machine, q: Array, k: Array, v: Array, w_q: Array, w_k: Array, w_v: Array, w_o: Array, allowed: Array) -> Array:
    """Write each product as one einsum over all heads."""
    h, _, d_v = w_v.shape
    data = [m.operand(array).astype(m.wide) for array in (q, k, v, w_q, w_k, w_v)]
    queries, keys, values = (
        m.stored(m.rounded(np.einsum("...nc,hcd->...hnd", x, w))) for x, w in zip(data[:3], data[3:], strict=True)
    )
    heads = m.stored(
        attention.whole_rows(
            m, queries, keys, values, allowed[..., None, :, :], 1 / math.sqrt(w_q.shape[-1]), eager=True, normalise="early"
        )
    )
    blocks = w_o.reshape(h, d_v, -1)
    return m.rounded(np.einsum("...hnd,hdc->...nc", m.operand(heads).astype(m.wide), m.operand(blocks).astype(m.wide)))


def torch_forward(m: Machine, case: Case, *, weights: bool) -> Array:
    """Call torch's own function, with the path that returns the weights or the one that does not."""
    import torch

    q, k, v, w_q, w_k, w_v, w_o = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values())
    h, lead = len(w_q), q.shape[:-2]
    hidden = ~torch.from_numpy(np.array(allowed_keys(case, UNDECLARED["multi_head_attention"])))
    with torch.no_grad():
        result, _ = torch.nn.functional.multi_head_attention_forward(
            *(x.flatten(0, -3).transpose(0, 1) if lead else x[:, None] for x in (q, k, v)),
            q.shape[-1],
            h,
            torch.cat([w.transpose(1, 2).flatten(0, 1) for w in (w_q, w_k, w_v)]),
            *(None, None, None, False, 0.0),
            w_o.T,
            None,
            training=False,
            need_weights=weights,
            attn_mask=hidden.reshape(-1, *hidden.shape[-2:]).repeat_interleave(h, dim=0),
        )
    return result.transpose(0, 1).reshape(q.shape).double().numpy()


def torch_by_hand(m: Machine, case: Case) -> Array:
    """Project with torch's operators, call its attention for all heads, and project back."""
    import torch

    q, k, v, w_q, w_k, w_v, w_o = (torch.from_numpy(array.copy()).to(getattr(torch, m.dtype)) for array in case.arrays.values())
    allowed = torch.from_numpy(np.array(allowed_keys(case, UNDECLARED["multi_head_attention"])))
    queries, keys, values = (x[..., None, :, :] @ w for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    heads = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed[..., None, :, :])
    return (heads.transpose(-3, -2).flatten(-2) @ w_o).double().numpy()


def tied(case: Case) -> bool:
    """Tell whether torch's function takes such widths."""
    h, d_model, d_k = case.w_q.shape
    return h * d_k == d_model and case.w_v.shape[-1] == d_k


def in_numpy(function: Callable[..., Array], **how: Any) -> Callable[[Machine, Case], Array]:
    """Return an organisation that hands the inputs of a call to a function in NumPy."""

    def run(m: Machine, case: Case) -> Array:
        data = [m.loaded(array) for array in case.arrays.values()]
        return m.output(function(m, *data, allowed_keys(case, UNDECLARED["multi_head_attention"]), **how))

    return run


def made(*, classes: tuple[str, ...] = (), traits: tuple[str, ...] = (), **how: Any) -> Organisation:
    """Return an organisation in NumPy."""
    more = {"classes": classes} if classes else {}
    return Organisation(in_numpy(organised, **how), heavy="order" in how, traits=traits, **more)


INSIDE, EAGER = attention.INSIDE, ("STRICT", "EAGER")
ORGANISATIONS: dict[str, Organisation] = {
    "by library": made(),
    **{f"products {name}": made(order=order) for name, order in ORDERS.items() if name != "library"},
    "all projections together": made(together=True),
    "einsum": Organisation(in_numpy(by_einsum)),
    "queries scaled in their projection": made(scaled="queries", order=ORDERS["in pairs"]),
    "q scaled before its projection, backwards": made(scaled="q", order=ORDERS["backwards"]),
    "q scaled before its projection, head by head": made(scaled="q", added=in_pairs, together=True),
    "w_q scaled": made(scaled="w_q", order=ORDERS["in lanes"]),
    "head by head, in turn": made(added=in_turn),
    "head by head, in turn from the last": made(added=from_the_last),
    "head by head, in turn, fused": made(added=in_turn, order=ORDERS["fused"]),
    "head by head, in pairs": made(added=in_pairs, together=True),
    "flash": made(attend=attention.online, classes=INSIDE),
    "flash, contracted, head by head": made(
        attend=functools.partial(attention.online, shift="contracted"), added=in_turn, classes=INSIDE
    ),
    "split keys, queries scaled": made(attend=attention.split_keys, scaled="queries"),
    "an exponential of 2 ulp, roots on both": made(
        attend=functools.partial(attention.whole_rows, exp=sums.exp_either, scaled="root", normalise="early")
    ),
    "kernel by kernel": made(attend=attention.kernel_by_kernel),
    "torch, by hand": Organisation(torch_by_hand, classes=EAGER),
    "torch, without weights": Organisation(functools.partial(torch_forward, weights=False), classes=EAGER, takes=tied),
    "torch, with weights": Organisation(functools.partial(torch_forward, weights=True), classes=EAGER, takes=tied),
}
TRAITS: dict[str, Organisation] = {
    "flash, one key at a time": made(
        attend=functools.partial(attention.online, block=1), classes=INSIDE, traits=("many-rescales",)
    ),
    "exp(score - log-sum-exp)": made(attend=attention.by_log_sum_exp, classes=INSIDE, traits=("lse-weights",)),
    "flash, a normaliser of rounded weights": made(
        attend=functools.partial(attention.online, rounded_sum=True), classes=("FUSED", "EAGER"), traits=("rounded-normaliser",)
    ),
    "queries scaled, written out": made(
        attend=functools.partial(attention.whole_rows, eager=True, normalise="early", scaled="q", prescale_stored=True),
        classes=("EAGER",),
        traits=("stored-prescale",),
    ),
    "partial sums in the dtype": made(order=attention.product_in_parts, classes=("FUSED", "EAGER"), traits=("split-k",)),
}
