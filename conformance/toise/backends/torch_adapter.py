"""PyTorch's own functions, as they are: no argument is repaired on the way."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that the field uses

from toise.errors import Unsupported

__toise__ = {
    "name": "torch.nn.functional",
    "version": torch.__version__,
    "arrays": "torch",
    "dtypes": ["float32", "float64", "bfloat16"],
    "attention": {
        # The documentation of scaled_dot_product_attention: is_causal builds tril(ones(L, S)), diagonal 0.
        "causal_alignment": "top-left",
        "precision": {"bfloat16": "FUSED"},
    },
    "layer_norm": {"precision": {"bfloat16": "FUSED"}},
}


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """Call `scaled_dot_product_attention`, inside the domain where it has an answer."""
    if mask is not None and causal:
        raise Unsupported("scaled_dot_product_attention takes attn_mask or is_causal, not both")
    if causal and scale is not None and scale <= 0 and q.device.type == "cpu":
        # It masks before it scales: -inf times 0, or times a negative number, ends in NaN (seen in 2.13.0).
        raise Unsupported("on a CPU, scaled_dot_product_attention with is_causal gives NaN for a scale of 0 or less")
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)


def layer_norm(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, *, eps: float = 1e-5) -> torch.Tensor:
    """Call `layer_norm` over the last axis."""
    return F.layer_norm(x, (x.shape[-1],), gamma, beta, eps)
