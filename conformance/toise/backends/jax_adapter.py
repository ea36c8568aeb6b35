"""JAX's own functions, `jax.nn` and `jax.numpy`, each operation compiled by `jax.jit` as its users do.

Where JAX has none, an operation is what its users write in its primitives: the projections of `multi_head_attention`,
`feed_forward`, `residual`, `causal_mask`, `mlm_corrupt`, and the losses around `log_softmax`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from toise.backends.jax_parts import EAGER, compiled, folded, mlm_corrupt, products, spread, wide
from toise.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "attention",
    "causal_mask",
    "feed_forward",
    "layer_norm",
    "mlm_corrupt",
    "mlm_loss",
    "multi_head_attention",
    "residual",
    "sequence_log_prob",
]


def __toise__(device: str | None) -> dict[str, Any]:  # noqa: N807 - the name that is asked for
    """Declare what JAX computes on a device."""
    choices = {
        # _get_causal_mask in jax/_src/nn/functions.py: tril(ones(T, S)).
        "causal_alignment": "top-left",
        # _apply_masks fills with -0.7 times the greatest number of float32: a row of nothing else has equal weights.
        "empty_row": "mean",
    }
    return {
        "name": "jax.nn",
        "version": jax.__version__,
        "arrays": "jax",
        "dtypes": ["float32", "float64", "bfloat16", "float16"],
        # _dot_product_attention_core: scores and softmax in float32, weights in the dtype of k.
        "attention": {**choices, "precision": products(device)},
        "multi_head_attention": {**choices, "precision": {**EAGER, **products(device)}},
        "feed_forward": {"precision": {**EAGER, **products(device)}},
        "layer_norm": {"precision": EAGER},
        "causal_mask": {"causal_alignment": "bottom-right"},
        "mlm_loss": {"precision": EAGER},
        "sequence_log_prob": {"precision": EAGER},
    }


@compiled("causal")
def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    mask: jax.Array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> jax.Array:
    """Call `jax.nn.dot_product_attention` with one head; leading axes become its batch."""
    if v.shape[-1] != k.shape[-1]:
        raise Unsupported(f"value shape should be that of key: but got {v.shape[-1]} features and {k.shape[-1]}")
    queries, keys, values = (folded(x, 2)[:, :, None] for x in (q, k, v))  # B rows 1 features
    seen = None if mask is None else folded(spread(mask, q), 2)[:, None]  # B 1 n m
    y = jax.nn.dot_product_attention(queries, keys, values, mask=seen, scale=scale, is_causal=causal)
    return y.reshape(q.shape)


@compiled("causal")
def multi_head_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    w_q: jax.Array,
    w_k: jax.Array,
    w_v: jax.Array,
    w_o: jax.Array,
    *,
    mask: jax.Array | None = None,
    causal: bool = False,
) -> jax.Array:
    """Call `jax.nn.dot_product_attention` between projections, which JAX leaves to `jnp.einsum` and `@`."""
    if w_v.shape[-1] != w_k.shape[-1]:
        raise Unsupported(f"value shape should be that of key: but got {w_v.shape[-1]} features and {w_k.shape[-1]}")
    projected = (jnp.einsum("...rd,hdk->...rhk", x, w) for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    queries, keys, values = (folded(x, 3) for x in projected)  # B rows h d_k
    seen = None if mask is None else folded(spread(mask, q), 2)[:, None]  # B 1 n m
    y = jax.nn.dot_product_attention(queries, keys, values, mask=seen, is_causal=causal)  # B n h d_k
    return y.reshape(*q.shape[:-1], w_v.shape[0] * w_v.shape[-1]) @ w_o


@compiled()
def feed_forward(x: jax.Array, w1: jax.Array, b1: jax.Array, w2: jax.Array, b2: jax.Array) -> jax.Array:
    """Multiply with `@`, and call `jax.nn.relu`."""
    return jax.nn.relu(x @ w1 + b1) @ w2 + b2


@compiled()
def layer_norm(x: jax.Array, gamma: jax.Array, beta: jax.Array, *, eps: float = 1e-5) -> jax.Array:
    """Call `jax.nn.standardize`, with its default algorithm, which is what its users get; gamma and beta are theirs to add."""
    return jax.nn.standardize(x, epsilon=eps) * gamma + beta


@wide
def residual(x: jax.Array, sublayer: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Add: JAX has no function for the connection, only the sum of two arrays."""
    return x + sublayer(x)


def causal_mask(n: int, *, m: int | None = None) -> jax.Array:
    """Cut a triangle with `jnp.tril`: JAX has no function for the boolean mask of n queries and m keys."""
    m = n if m is None else m
    return jnp.tril(jnp.ones((n, m), bool), m - n)


@compiled()
def mlm_loss(logits: jax.Array, labels: jax.Array, selected: jax.Array) -> jax.Array:
    """Call `jax.nn.log_softmax`, pick the labels, and take the mean of those that are selected."""
    steps = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)[..., 0]
    return -jnp.mean(steps, where=selected)


@compiled()
def sequence_log_prob(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Call `jax.nn.log_softmax`, pick the tokens that follow, and add up."""
    steps = jnp.take_along_axis(jax.nn.log_softmax(logits[..., :-1, :]), tokens[..., 1:, None], axis=-1)
    return steps.sum((-2, -1))
