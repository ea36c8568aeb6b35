"""Modules of `equinox.nn`, for one sequence or one row each, and `jax.vmap` over all other axes, as their documentation says.

Equinox has no attention without projections that is public, no causal option, and nothing for `residual`, `causal_mask`,
`mlm_corrupt` and the losses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax

from toise.backends.jax_parts import EAGER, compiled, products, spread

if TYPE_CHECKING:
    from collections.abc import Callable


def __toise__(device: str | None) -> dict[str, Any]:  # noqa: N807 - the name that is asked for
    """Declare what Equinox computes on a device."""
    return {
        "name": "equinox.nn",
        "version": eqx.__version__,
        "arrays": "jax",
        "dtypes": ["float32", "float64", "bfloat16", "float16"],
        # dot_product_attention_weights in equinox/nn/_attention.py fills with the least number of the dtype.
        "multi_head_attention": {"empty_row": "mean", "precision": {**EAGER, **products(device)}},
        "feed_forward": {"precision": {**EAGER, **products(device)}},
        # LayerNorm.__call__ in equinox/nn/_normalisation.py computes in float32 at least.
        "layer_norm": {},
    }


def _over(function: Callable[..., jax.Array], axes: int) -> Callable[..., jax.Array]:
    """Map a function over that many leading axes."""
    for _ in range(axes):
        function = jax.vmap(function)
    return function


@compiled()
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
) -> jax.Array:
    """Call `MultiheadAttention`, whose weights hold a row for each output: [h d_k, d_model], and last [d_model, h d_v]."""
    h, d_model, d_k = w_q.shape
    layer = eqx.nn.MultiheadAttention(
        h, d_model, qk_size=d_k, vo_size=w_v.shape[-1], output_size=w_o.shape[-1], dtype=w_q.dtype, key=jax.random.key(0)
    )
    rows = [w.transpose(0, 2, 1).reshape(-1, w.shape[1]) for w in (w_q, w_k, w_v)]
    layer = eqx.tree_at(
        lambda a: (a.query_proj.weight, a.key_proj.weight, a.value_proj.weight, a.output_proj.weight), layer, (*rows, w_o.T)
    )
    seen = () if mask is None else (spread(mask, q),)
    return _over(layer, q.ndim - 2)(q, k, v, *seen)


@compiled()
def feed_forward(x: jax.Array, w1: jax.Array, b1: jax.Array, w2: jax.Array, b2: jax.Array) -> jax.Array:
    """Call `MLP` with one hidden layer, whose activation is ReLU; its weights hold a row for each output."""
    layer = eqx.nn.MLP(w1.shape[0], w2.shape[1], w1.shape[1], depth=1, dtype=x.dtype, key=jax.random.key(0))
    parts = [part for each in layer.layers for part in (each.weight, each.bias)]
    assert len(parts) == 4, "an MLP of depth 1 is two Linear"  # noqa: S101
    layer = eqx.tree_at(lambda a: [part for each in a.layers for part in (each.weight, each.bias)], layer, [w1.T, b1, w2.T, b2])
    return _over(layer, x.ndim - 1)(x)


@compiled("eps")
def layer_norm(x: jax.Array, gamma: jax.Array, beta: jax.Array, *, eps: float = 1e-5) -> jax.Array:
    """Call `LayerNorm` on each row."""
    layer = eqx.nn.LayerNorm(x.shape[-1], eps=eps, dtype=x.dtype)
    return _over(eqx.tree_at(lambda a: (a.weight, a.bias), layer, (gamma, beta)), x.ndim - 1)(x)
