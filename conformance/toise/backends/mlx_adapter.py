"""MLX's own functions, on its default device: `mlx.core.fast`, and the layers and losses of `mlx.nn`.

MLX has no function for `residual` and `causal_mask`, and no loss that leaves positions out: they are put together from its parts.
"""

from __future__ import annotations

import importlib
import math
from importlib import metadata
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from toise.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

nn: Any = importlib.import_module("mlx.nn")  # it has no types


def __toise__(device: str | None) -> dict[str, Any]:  # noqa: ARG001, N807 - the name that is asked for
    """Declare what was seen on a CPU, with 0.32.4; no other device has float64."""
    eager = {"bfloat16": "EAGER", "float16": "EAGER"}
    return {
        "name": "mlx",
        "version": metadata.version("mlx"),
        "arrays": "mlx",
        "dtypes": ["float32", *(["float64"] if mx.default_device() == mx.cpu else []), "bfloat16", "float16"],
        "attention": {
            # Its documentation: the "causal" mask aligns the last query with the last key.  So is the default here.
            "causal_alignment": "bottom-right",
            # scaled_dot_product_attention in mlx/fast.cpp: a hidden score is replaced by finfo(dtype).min.
            "empty_row": "mean",
            # There, where the device has no kernel: q times the scale, scores, weights and result, one array after the other.
            "precision": eager,
        },
        "multi_head_attention": {
            # The documentation: -inf where a query may not attend.  A row of it alone has the weights 0/0.
            "empty_row": "nan",
            "precision": eager,
        },
        "feed_forward": {"precision": eager},
        # layer_norm in mlx/fast.cpp: float32 as far as the root, then astype(x, out_type), times weight, plus bias.
        "layer_norm": {"traits": ["stored-before-gamma"]},
        # cross_entropy in nn/losses.py: each of its lines is an array in the dtype.  Its documentation says that a CPU
        # reduces in the dtype too, which would be STEPWISE, but logsumexp and sum are seen to add in float32.
        "mlm_loss": {"precision": eager},
        # nn.log_softmax is x - logsumexp(x): arrays that are written out, and so are the terms of the sum.
        "sequence_log_prob": {"precision": eager},
    }


def attention(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    *,
    mask: mx.array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> mx.array:
    """Call `fast.scaled_dot_product_attention`, on arrays [batch, heads, rows, features]; its scale has no default."""
    if mask is not None and causal:
        raise Unsupported('scaled_dot_product_attention takes an array or "causal" for its mask, not both')
    result = mx.fast.scaled_dot_product_attention(
        _folded(q)[:, None],
        _folded(k)[:, None],
        _folded(v)[:, None],
        scale=q.shape[-1] ** -0.5 if scale is None else scale,
        mask="causal" if causal else None if mask is None else _spread(mask, q),
    )
    return result.reshape(*q.shape[:-1], v.shape[-1])


def multi_head_attention(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    w_q: mx.array,
    w_k: mx.array,
    w_v: mx.array,
    w_o: mx.array,
    *,
    mask: mx.array | None = None,
    causal: bool = False,
) -> mx.array:
    """Call `nn.MultiHeadAttention`, with these weights; its mask is added to the scores, and hides with -inf."""
    h, d_model, d_k = w_q.shape
    added = None if mask is None else mx.where(_spread(mask, q), 0.0, -mx.inf).astype(q.dtype)
    if causal:
        if q.shape[-2] != k.shape[-2]:
            raise Unsupported("create_additive_causal_mask of MultiHeadAttention makes square masks")
        order = nn.MultiHeadAttention.create_additive_causal_mask(q.shape[-2], q.dtype)
        added = order if added is None else added + order
    layer = nn.MultiHeadAttention(
        h * d_k,
        h,
        query_input_dims=d_model,
        key_input_dims=d_model,
        value_dims=h * w_v.shape[-1],
        value_output_dims=d_model,
    )
    names = ("query_proj", "key_proj", "value_proj")
    rows = {name: w.swapaxes(1, 2).flatten(0, 1) for name, w in zip(names, (w_q, w_k, w_v), strict=True)}
    layer.load_weights([(f"{name}.weight", w) for name, w in {**rows, "out_proj": w_o.T}.items()])
    return layer(_folded(q), _folded(k), _folded(v), added).reshape(q.shape)


def feed_forward(x: mx.array, w1: mx.array, b1: mx.array, w2: mx.array, b2: mx.array) -> mx.array:
    """Call `nn.Linear`, `nn.relu` and `nn.Linear`; a linear layer keeps its weights as [out, in]."""
    return _linear(w2, b2)(nn.relu(_linear(w1, b1)(x)))


def layer_norm(x: mx.array, gamma: mx.array, beta: mx.array, *, eps: float = 1e-5) -> mx.array:
    """Call `fast.layer_norm`, which is all that `nn.LayerNorm` does; that refuses an eps of 0."""
    return mx.fast.layer_norm(x, gamma, beta, eps)


def residual(x: mx.array, sublayer: Callable[[mx.array], mx.array]) -> mx.array:
    """Add: MLX has no function for the connection, only the sum of two arrays."""
    return x + sublayer(x)


def causal_mask(n: int, *, m: int | None = None) -> mx.array:
    """Cut a triangle with `tril`: what `nn.MultiHeadAttention` makes holds numbers, and is square."""
    m = n if m is None else m
    return mx.tril(mx.ones((n, m), dtype=mx.bool_), k=m - n)


def mlm_loss(logits: mx.array, labels: mx.array, selected: mx.array) -> mx.array:
    """Call `nn.losses.cross_entropy` with the selection as weights, and divide their sum by its number.

    Its own mean would divide by all positions; this is the mean of mlx-lm's training.
    """
    return nn.losses.cross_entropy(logits, labels, weights=selected, reduction="sum") / selected.sum()


def sequence_log_prob(logits: mx.array, tokens: mx.array) -> mx.array:
    """Call `nn.log_softmax`, pick the tokens that follow, and add up."""
    if logits.shape[-1] == 1:
        # It is compiled, and where each row has one number the process ends, or hangs (seen in 0.32.4).
        raise Unsupported("nn.log_softmax ends the process where a row has a single number")
    steps = mx.take_along_axis(nn.log_softmax(logits[..., :-1, :], axis=-1), tokens[..., 1:, None], axis=-1)
    return steps.sum(axis=(-2, -1))


def _folded(array: mx.array) -> mx.array:
    """Fold all axes but the last two into one batch."""
    return array.reshape(math.prod(array.shape[:-2]), *array.shape[-2:])


def _spread(mask: mx.array, q: mx.array) -> mx.array:
    """Give a mask the leading axes of q, and fold them: [batch, 1, n, m]."""
    return _folded(mx.broadcast_to(mask, (*q.shape[:-2], *mask.shape[-2:])))[:, None]


def _linear(weight: mx.array, bias: mx.array) -> Any:
    layer = nn.Linear(*weight.shape)
    layer.load_weights([("weight", weight.T), ("bias", bias)])
    return layer
