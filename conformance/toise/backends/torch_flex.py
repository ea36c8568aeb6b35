"""`torch.nn.attention.flex_attention` through `torch.compile`, with the mask and the causal order as functions of the indices.

It is compiled for each width, each scale, each mask, and each axis of length 1, so that its domain is a few lengths.
Calls with a mask, calls with the causal order alone and calls without either are three functions, as one model makes one of
them: where one function makes all, torch 2.13.0 may raise a TypeError of its own
(https://github.com/pytorch/pytorch/pull/184793).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn.attention.flex_attention import and_masks, create_block_mask, flex_attention

from toise.backends import torch_adapter
from toise.backends.torch_compile import compiled

if TYPE_CHECKING:
    import torch


def __toise__(device: str | None) -> dict[str, Any]:  # noqa: N807 - the name that is asked for
    """Return what is declared of attention, and the domain."""
    told = torch_adapter.declared(device)
    domain = {"rank": [4], "d_k": [4, 16], "d_v": [4], "n": [2, 3, 17], "m": [2, 3, 4, 6, 17, 34]}
    return {
        "name": "flex_attention",
        "version": told["version"],
        "arrays": told["arrays"],
        "dtypes": ["float32"],
        "attention": {**told["attention"], "domain": domain},
    }


@compiled
def _plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None) -> Any:
    return flex_attention(q, k, v, scale=scale)


@compiled
def _ordered(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None, block_mask: Any) -> Any:
    return flex_attention(q, k, v, scale=scale, block_mask=block_mask)


@compiled
def _masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None, block_mask: Any) -> Any:
    return flex_attention(q, k, v, scale=scale, block_mask=block_mask)


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
    if causal:  # diagonal 0, as its documentation has it
        hides.append(lambda b, h, i, j: i >= j)
    if not hides:
        return _plain(q, k, v, scale)
    if q.ndim != 4:
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")  # flex_attention's own words
    entries, heads = q.shape[:2] if mask is not None else (None, None)
    n, m = q.shape[-2], k.shape[-2]
    block_mask = create_block_mask(and_masks(*hides), entries, heads, n, m, device=str(q.device))
    return (_ordered if mask is None else _masked)(q, k, v, scale, block_mask)
