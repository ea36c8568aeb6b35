"""PyTorch's own functions, as they are: no argument is repaired on the way.

Where it has none, for `residual`, `causal_mask` and `mlm_corrupt`, they are put together from its parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - the name that the field uses

from toise.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__toise__ = {
    "name": "torch.nn.functional",
    "version": torch.__version__,
    "arrays": "torch",
    "dtypes": ["float32", "float64", "bfloat16", "float16"],
    "attention": {
        # The documentation of scaled_dot_product_attention: is_causal builds tril(ones(L, S)), diagonal 0.
        "causal_alignment": "top-left",
        "precision": {"bfloat16": "FUSED", "float16": "FUSED"},
    },
    "multi_head_attention": {"causal_alignment": "top-left", "precision": {"bfloat16": "EAGER", "float16": "EAGER"}},
    "feed_forward": {"precision": {"bfloat16": "EAGER", "float16": "EAGER"}},
    "layer_norm": {"precision": {"bfloat16": "FUSED", "float16": "FUSED"}},
    # On a CPU cross_entropy adds the losses up in bfloat16 (seen in 2.13.0).
    "mlm_loss": {"precision": {"bfloat16": "STEPWISE", "float16": "STEPWISE"}},
    # On a CPU log_softmax rounds the sum of the exponentials to bfloat16 before the logarithm (seen in 2.13.0).
    "sequence_log_prob": {"precision": {"bfloat16": "EAGER", "float16": "EAGER"}},
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


def multi_head_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    w_q: torch.Tensor,
    w_k: torch.Tensor,
    w_v: torch.Tensor,
    w_o: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """Call `multi_head_attention_forward`: one matrix for all projections, rows before entries, True for hidden."""
    h, d_model, d_k = w_q.shape
    if w_v.shape[-1] != d_k or h * d_k != d_model:
        raise Unsupported("multi_head_attention_forward needs d_v = d_k and h d_k = d_model")
    if q.ndim > 3:
        raise Unsupported("multi_head_attention_forward takes one leading axis at most")
    hidden = padding = None
    if mask is not None and causal:
        if (mask != mask[..., :1, :]).any():
            raise Unsupported(
                "beside a causal attn_mask, multi_head_attention_forward takes one key_padding_mask for all queries"
            )
        padding = ~mask[..., 0, :].expand(*q.shape[:-2], -1)
    elif mask is not None:
        hidden = ~mask if mask.ndim == 2 else ~mask.expand(len(q), -1, -1).repeat_interleave(h, dim=0)
    if causal:
        hidden = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(diagonal=1)
    rows = [x if x.ndim == 2 else x.transpose(0, 1) for x in (q, k, v)]
    result, _ = F.multi_head_attention_forward(
        query=rows[0],
        key=rows[1],
        value=rows[2],
        embed_dim_to_check=d_model,
        num_heads=h,
        in_proj_weight=torch.cat([w.transpose(1, 2).flatten(0, 1) for w in (w_q, w_k, w_v)]),
        in_proj_bias=None,
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=w_o.T,
        out_proj_bias=None,
        training=False,
        key_padding_mask=padding,
        need_weights=False,
        attn_mask=hidden,
        is_causal=causal,
    )
    return result if q.ndim == 2 else result.transpose(0, 1)


def feed_forward(x: torch.Tensor, w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor) -> torch.Tensor:
    """Call `linear`, `relu` and `linear`; linear takes its weights as [out, in]."""
    return F.linear(F.relu(F.linear(x, w1.T, b1)), w2.T, b2)


def layer_norm(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, *, eps: float = 1e-5) -> torch.Tensor:
    """Call `layer_norm` over the last axis."""
    return F.layer_norm(x, (x.shape[-1],), gamma, beta, eps)


def residual(x: torch.Tensor, sublayer: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Add: torch has no function for the connection, only the sum of two tensors."""
    return x + sublayer(x)


def causal_mask(n: int, *, m: int | None = None) -> torch.Tensor:
    """Cut a triangle with `tril`: torch has no function for the boolean mask of n queries and m keys.

    `nn.Transformer.generate_square_subsequent_mask` gives numbers, and square ones alone, and
    `nn.attention.bias.causal_lower_right` an object that only torch's own attention can read.
    """
    m = n if m is None else m
    return torch.ones(n, m, dtype=torch.bool).tril(diagonal=m - n)


def mlm_corrupt(
    tokens: torch.Tensor,
    *,
    mask_id: int,
    vocab_size: int,
    special_ids: Sequence[int],
    rate: float = 0.15,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw with `bernoulli` from a matrix of probabilities, in the manner of transformers' DataCollatorForLanguageModeling.

    torch has no function for it; what is its own here are the draws.
    """
    draw = torch.Generator(tokens.device).manual_seed(seed)

    def chance(probability: float) -> torch.Tensor:
        return torch.full(tokens.shape, float(probability), device=tokens.device)

    special = torch.isin(tokens, torch.tensor(special_ids, dtype=tokens.dtype, device=tokens.device))
    selected = torch.bernoulli(chance(rate).masked_fill(special, 0.0), generator=draw).bool()
    masked = torch.bernoulli(chance(0.8), generator=draw).bool() & selected
    replaced = torch.bernoulli(chance(0.5), generator=draw).bool() & selected & ~masked  # half of the fifth that is left
    random = torch.randint(vocab_size, tokens.shape, generator=draw, device=tokens.device)
    return torch.where(replaced, random, tokens.masked_fill(masked, mask_id)), selected


def mlm_loss(logits: torch.Tensor, labels: torch.Tensor, selected: torch.Tensor) -> torch.Tensor:
    """Call `cross_entropy`, with the labels of positions that are not selected put to its `ignore_index` of -100."""
    return F.cross_entropy(logits.flatten(0, -2), labels.masked_fill(~selected, -100).flatten())


def sequence_log_prob(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Call `log_softmax`, pick the tokens that follow, and add up; logits are taken as they are, not made float32 first."""
    steps = F.log_softmax(logits[..., :-1, :], dim=-1).gather(-1, tokens[..., 1:, None])
    return steps.sum(dim=(-2, -1))
