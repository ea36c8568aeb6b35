"""`torch.nn.attention.flex_attention`, with the mask and the causal order as functions of the indices.

As torch's own warning says, it is made to be compiled: `compiled` is.  It is compiled for each width, each scale, each mask,
and each axis of length 1, so that its domain is a few lengths.  `eager` calls it as it is: it computes the full matrix of
scores, operation by operation, in every dtype, and is what the compiler starts from.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch.nn.attention.flex_attention import and_masks, create_block_mask, flex_attention

from toise.backends import torch_adapter
from toise.backends.torch_compile import compiled as through_inductor

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


def _declared_eager(device: str | None) -> dict[str, Any]:
    """Return what is declared of attention, called as it is."""
    told = torch_adapter.declared(device)
    # Its documentation has the causal order as q_idx >= kv_idx, diagonal 0.  `math_attention`, in
    # torch/_higher_order_ops/flex_attention.py, has float32 scores at least, and multiplies weights and v in the dtype.
    attention = {**told["attention"], "traits": told["feed_forward"].get("traits", [])}
    return {**_shared(told), "name": "flex_attention, not compiled", "dtypes": told["dtypes"], "attention": attention}


def _declared_compiled(device: str | None) -> dict[str, Any]:
    """Return what is declared of attention through Inductor."""
    told = torch_adapter.declared(device)
    domain = {"rank": [4], "d_k": [4, 16], "d_v": [4], "n": [2, 3, 17], "m": [2, 3, 4, 6, 17, 34]}
    return {
        **_shared(told),
        "name": "flex_attention, compiled",
        "dtypes": ["float32"],
        "attention": {**told["attention"], "domain": domain},
    }


def _shared(told: dict[str, Any]) -> dict[str, Any]:
    return {key: told[key] for key in ("version", "arrays")}


def _by(flex: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    def attention(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        mask: torch.Tensor | None = None,
        causal: bool = False,
        scale: float | None = None,
    ) -> torch.Tensor:
        """Call `flex_attention` with a block mask, if there is anything to hide."""
        hides: list[Any] = []
        if mask is not None:
            allowed = mask.expand(*q.shape[:-1], k.shape[-2])
            hides.append(lambda b, h, i, j: allowed[b, h, i, j])
        if causal:
            hides.append(lambda b, h, i, j: i >= j)
        if not hides:
            return flex(q, k, v, scale=scale)
        if q.ndim != 4:
            raise NotImplementedError("NYI: query, key, and value must be 4D tensors")  # flex_attention's own words
        entries, heads = q.shape[:2] if mask is not None else (None, None)
        n, m = q.shape[-2], k.shape[-2]
        block_mask = create_block_mask(and_masks(*hides), entries, heads, n, m, device=str(q.device))
        return flex(q, k, v, block_mask=block_mask, scale=scale)

    return attention


eager = SimpleNamespace(__toise__=_declared_eager, attention=_by(flex_attention))
compiled = SimpleNamespace(__toise__=_declared_compiled, attention=_by(through_inductor(flex_attention)))
