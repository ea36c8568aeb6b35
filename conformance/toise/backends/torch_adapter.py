"""PyTorch's own functions, as they are: no argument is repaired on the way.

Where it has none, for `residual`, `causal_mask` and `mlm_corrupt`, they are put together from its parts.
What they may round depends on the device, and on the flags of torch as they are when this is asked.
`tf32` and `deterministic` are the same functions, called with other flags, which are put back after each call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name that the field uses

from toise.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

OPERATIONS = (
    "attention",
    "multi_head_attention",
    "feed_forward",
    "layer_norm",
    "residual",
    "causal_mask",
    "mlm_corrupt",
    "mlm_loss",
    "sequence_log_prob",
)
NARROW = ("bfloat16", "float16")
PRODUCTS = ("attention", "multi_head_attention", "feed_forward")
"""The operations with matrix products."""
CUDA: Any = torch.backends.cuda
MATMUL: Any = CUDA.matmul
SUMS = ("allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction")
SPLIT = ("", *(("_split_k",) if hasattr(MATMUL, f"{SUMS[0]}_split_k") else ()))


@dataclass(frozen=True)
class Flags:
    """What torch allows matrix products on CUDA to do, for the whole process."""

    tf32: bool = False
    """TF32 in float32, off by default: https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices"""
    narrow_sums: bool = True
    """Partial sums in bfloat16 or float16, as `split-k`; on by default, as the same page says of reduced precision reduction."""
    narrow_math: bool = False
    """Attention by separate products in the dtype instead of in float32, off by default."""

    @classmethod
    def now(cls) -> Flags:
        """Read them."""
        return cls(
            tf32=MATMUL.fp32_precision == "tf32" if hasattr(MATMUL, "fp32_precision") else MATMUL.allow_tf32,
            narrow_sums=any(getattr(MATMUL, name) for name in SUMS),
            narrow_math=CUDA.fp16_bf16_reduction_math_sdp_allowed(),
        )


def declarations(device: str | None, flags: Flags) -> dict[str, Any]:
    """Return what torch promises on a device while it has these flags."""
    kind = (device or "cpu").partition(":")[0]
    told: dict[str, Any] = {
        "name": "torch.nn.functional",
        "version": torch.__version__,
        "arrays": "torch",
        # MPS has no float64: https://docs.pytorch.org/docs/stable/notes/mps.html
        "dtypes": ["float32", *(["float64"] if kind != "mps" else []), *NARROW],
        # The documentation of scaled_dot_product_attention: is_causal builds tril(ones(L, S)), diagonal 0.
        "attention": {"causal_alignment": "top-left", "precision": _narrow("FUSED")},
        "multi_head_attention": {"causal_alignment": "top-left", "precision": _narrow("EAGER")},
        "feed_forward": {"precision": _narrow("EAGER")},
        "layer_norm": {"precision": _narrow("FUSED")},
        # log_softmax and nll_loss are two kernels.  On a CPU the second keeps partial sums in the dtype, which shows in
        # thousands of rows (seen in 2.13.0).
        "mlm_loss": {"precision": _narrow("STEPWISE" if kind == "cpu" else "EAGER")},
        # On a CPU log_softmax rounds the sum of the exponentials to the dtype before the logarithm (seen in 2.13.0).
        "sequence_log_prob": {"precision": _narrow("EAGER")},
    }
    if kind == "cuda":
        for name in PRODUCTS:
            if flags.tf32:
                told[name]["precision"]["float32"] = "TF32"
            # Attention adds up in float32, in one kernel or, unless narrow_math is on, in float32 copies of q, k and v.
            if flags.narrow_sums and (name != "attention" or flags.narrow_math):
                told[name]["traits"] = ["split-k"]
        if flags.narrow_math:
            told["attention"]["precision"].update(_narrow("EAGER"))
            for name in PRODUCTS[:2]:  # `math` multiplies q and k by the root of the scale each
                told[name]["traits"] = [*told[name].get("traits", []), "stored-prescale"]
    return told


def _narrow(kind: str) -> dict[str, str]:
    return dict.fromkeys(NARROW, kind)


def declared(device: str | None) -> dict[str, Any]:
    """Return what torch promises on a device, with its flags as they are."""
    return declarations(device, Flags.now())


__toise__ = declared


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
    if causal and scale is not None and scale <= 0 and q.ndim == 4 and q.device.type == "cpu":
        # The kernel for four axes masks before it scales: -inf times 0, or times a negative number, ends in NaN (seen in 2.13.0).
        raise Unsupported("on a CPU, scaled_dot_product_attention with is_causal gives NaN for a scale of 0 or less")
    return dot_product_attention(q, k, v, mask=mask, causal=causal, scale=scale)


def dot_product_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, mask: torch.Tensor | None, causal: bool, scale: float | None
) -> torch.Tensor:
    """Call `scaled_dot_product_attention`, whichever kernel answers."""
    if mask is not None and causal:
        raise Unsupported("scaled_dot_product_attention takes attn_mask or is_causal, not both")
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
    hidden, padding = hidden_and_padding(q, k, h, mask, causal=causal)
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


def hidden_and_padding(
    q: torch.Tensor, k: torch.Tensor, h: int, mask: torch.Tensor | None, *, causal: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the two masks that torch's multi-head attention takes: `attn_mask` and `key_padding_mask`, True for hidden."""
    hidden = padding = None
    if mask is not None and causal:
        if (mask != mask[..., :1, :]).any():
            raise Unsupported("beside a causal attn_mask, torch takes one key_padding_mask for all queries")
        padding = ~mask[..., 0, :].expand(*q.shape[:-2], -1)
    elif mask is not None:
        hidden = ~mask if mask.ndim == 2 else ~mask.expand(len(q), -1, -1).repeat_interleave(h, dim=0)
    if causal:
        hidden = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(diagonal=1)
    return hidden, padding


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


@contextlib.contextmanager
def tf32_allowed(*, allowed: bool) -> Iterator[None]:
    """Let matrix products in float32 round their operands to TF32, where the device has that, or keep them from it."""
    name = "fp32_precision" if hasattr(MATMUL, "fp32_precision") else "allow_tf32"  # the new name, since 2.9
    before = getattr(MATMUL, name)
    setattr(MATMUL, name, allowed if name == "allow_tf32" else "tf32" if allowed else "ieee")
    try:
        yield
    finally:
        setattr(MATMUL, name, before)


@contextlib.contextmanager
def deterministically() -> Iterator[None]:
    """Refuse kernels that are not deterministic, TF32, and reductions in a narrow dtype.

    cuBLAS reads the variable when a thread first uses it, and torch refuses its products where it is not set:
    https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html
    """
    variable = "CUBLAS_WORKSPACE_CONFIG"
    workspace, mode = os.environ.get(variable), torch.get_deterministic_debug_mode()
    # In newer versions a flag is two, and is set as a pair.
    sums = {name: tuple(getattr(MATMUL, f"{name}{part}") for part in SPLIT) for name in SUMS}
    try:
        os.environ[variable] = workspace or ":4096:8"
        torch.set_deterministic_debug_mode("error")
        for name in SUMS:
            setattr(MATMUL, name, False)
        with tf32_allowed(allowed=False):
            yield
    finally:
        for name, before in sums.items():
            setattr(MATMUL, name, before if len(before) > 1 else before[0])
        torch.set_deterministic_debug_mode(mode)
        if workspace is None:
            del os.environ[variable]


class Within:
    """The operations of this module, each call inside a context, and what they declare there."""

    def __init__(
        self, context: Callable[[], AbstractContextManager[None]], declared: Callable[[str | None], dict[str, Any]]
    ) -> None:
        self.__toise__ = declared
        for name in OPERATIONS:
            setattr(self, name, _within(context, globals()[name]))


def _within(context: Callable[[], AbstractContextManager[None]], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def operation(*data: Any, **options: Any) -> Any:
        with context():
            return function(*data, **options)

    return operation


def _in_tf32(device: str | None) -> dict[str, Any]:
    """Return the declarations with TF32 for every matrix product in float32, where the device has it."""
    told = declarations(device, dataclasses.replace(Flags.now(), tf32=True))
    return {**told, "name": "torch.nn.functional with TF32"}


def _deterministic(device: str | None) -> dict[str, Any]:
    """Return the declarations without TF32 and reductions in a narrow dtype."""
    told = declarations(device, dataclasses.replace(Flags.now(), tf32=False, narrow_sums=False))
    return {**told, "name": "torch.nn.functional, deterministic"}


tf32 = Within(functools.partial(tf32_allowed, allowed=True), _in_tf32)
deterministic = Within(deterministically, _deterministic)
