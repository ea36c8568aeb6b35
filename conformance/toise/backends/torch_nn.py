"""The modules of `torch.nn`, made for each call with the weights that are given, in `eval` mode and without gradients.

`fast` leaves `nn.MultiheadAttention` its fast path, and `slow` switches that off by `torch.backends.mha.set_fastpath_enabled`.
The fast path is taken where q, k and v are one batch of tokens, the number of heads is even and the module has biases,
so that `fast` has biases of zero; every other call goes the way of `slow` there too.

The feed-forward network is that of `nn.TransformerEncoderLayer`.  Its residual connection is left out: the layer's
`forward` wraps it around sublayers of its own, and a user cannot put another one there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from toise.backends import torch_adapter
from toise.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping


class Modules:
    """The operations by modules, with or without the fast path."""

    def __init__(self, *, fast: bool) -> None:
        self.fast = fast

    def __toise__(self, device: str | None) -> dict[str, Any]:
        """Return what torch declares of its functions, which these modules call, and what the fast path does otherwise."""
        told = torch_adapter.declared(device)
        told["name"] = "torch.nn, with its fast path" if self.fast else "torch.nn, without its fast path"
        del told["attention"]
        if self.fast:
            # Zeros on the slow path, NaN on the fast one: which of them is taken depends on whether q, k and v are one
            # tensor (seen in 2.13.0; https://github.com/pytorch/pytorch/pull/190486).
            told["multi_head_attention"]["empty_row"] = "unspecified"
        return told

    @torch.no_grad()
    def multi_head_attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        w_q: Tensor,
        w_k: Tensor,
        w_v: Tensor,
        w_o: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Call `nn.MultiheadAttention`: one matrix for all projections, entries before rows, True for hidden."""
        h, d_model, d_k = w_q.shape
        if w_v.shape[-1] != d_k or h * d_k != d_model:
            raise Unsupported("nn.MultiheadAttention needs d_v = d_k and h d_k = d_model")
        if q.ndim > 3:
            raise Unsupported("nn.MultiheadAttention takes one leading axis at most")
        weights = {
            "in_proj_weight": torch.cat([w.transpose(1, 2).flatten(0, 1) for w in (w_q, w_k, w_v)]),
            "out_proj.weight": w_o.T,
        }
        if self.fast:
            weights |= {"in_proj_bias": w_o.new_zeros(3 * d_model), "out_proj.bias": w_o.new_zeros(d_model)}
        module = nn.MultiheadAttention(d_model, h, bias=self.fast, batch_first=True, device="meta")
        hidden, padding = torch_adapter.hidden_and_padding(q, k, h, mask, causal=causal)
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(self.fast)
        try:
            result, _ = _with(module, weights)(
                q, k, v, key_padding_mask=padding, need_weights=False, attn_mask=hidden, is_causal=causal
            )
        finally:
            torch.backends.mha.set_fastpath_enabled(before)
        return result

    @torch.no_grad()
    def feed_forward(self, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        """Call `linear1`, the activation and `linear2` of `nn.TransformerEncoderLayer`; they take weights as [out, in]."""
        module = nn.TransformerEncoderLayer(w1.shape[0], nhead=1, dim_feedforward=w1.shape[1], device="meta")
        layer = _with(module, {"linear1.weight": w1.T, "linear1.bias": b1, "linear2.weight": w2.T, "linear2.bias": b2})
        return layer.linear2(layer.dropout(layer.activation(layer.linear1(x))))

    @torch.no_grad()
    def layer_norm(self, x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float = 1e-5) -> Tensor:
        """Call `nn.LayerNorm`."""
        return _with(nn.LayerNorm(x.shape[-1], eps=eps, device="meta"), {"weight": gamma, "bias": beta})(x)

    def mlm_loss(self, logits: Tensor, labels: Tensor, selected: Tensor) -> Tensor:
        """Call `nn.CrossEntropyLoss`, with the labels of positions that are not selected put to its `ignore_index`."""
        return nn.CrossEntropyLoss(ignore_index=-100)(logits.flatten(0, -2), labels.masked_fill(~selected, -100).flatten())

    def sequence_log_prob(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Call `nn.LogSoftmax`, pick the tokens that follow, and add up; logits are taken as they are, not made float32 first."""
        steps = nn.LogSoftmax(dim=-1)(logits[..., :-1, :]).gather(-1, tokens[..., 1:, None])
        return steps.sum(dim=(-2, -1))


def _with(module: nn.Module, weights: Mapping[str, Tensor]) -> Any:
    """Return a module that was made without memory, in `eval` mode, holding these weights themselves."""
    module.load_state_dict(weights, strict=False, assign=True)
    return module.eval()


fast = Modules(fast=True)
slow = Modules(fast=False)
