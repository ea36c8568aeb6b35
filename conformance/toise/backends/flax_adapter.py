"""Modules of `flax.nnx`, with their defaults, made and called inside one `jax.jit`; the losses are those of `optax`.

Flax has nothing for `residual` and `mlm_corrupt`.
"""

from __future__ import annotations

import importlib
from typing import Any

import flax
import jax
import jax.numpy as jnp
from flax import nnx

from toise.backends.jax_parts import EAGER, compiled, products, spread
from toise.errors import Unsupported

# It has no types.
optax: Any = importlib.import_module("optax")


def __toise__(device: str | None) -> dict[str, Any]:  # noqa: N807 - the name that is asked for
    """Declare what Flax computes on a device."""
    # nnx.dot_product_attention hands all on to jax.nn.dot_product_attention, whose choices these are.
    choices = {"causal_alignment": "top-left", "empty_row": "mean"}
    return {
        "name": "flax.nnx",
        "version": flax.__version__,
        "arrays": "jax",
        "dtypes": ["float32", "float64", "bfloat16", "float16"],
        "attention": {**choices, "precision": products(device)},
        "multi_head_attention": {**choices, "precision": {**EAGER, **products(device)}},
        "feed_forward": {"precision": {**EAGER, **products(device)}},
        # _compute_stats in flax/nnx/nn/normalization.py: "Computes in float32 precision for stability in half precision".
        "layer_norm": {},
        "mlm_loss": {"precision": EAGER},
        "sequence_log_prob": {"precision": EAGER},
    }


@compiled("causal")
def attention(q: jax.Array, k: jax.Array, v: jax.Array, *, mask: jax.Array | None = None, causal: bool = False) -> jax.Array:
    """Call `nnx.dot_product_attention` with one head; the mask is one that can be broadcast, as its documentation asks."""
    if v.shape[-1] != k.shape[-1]:
        raise Unsupported(f"value shape should be that of key: but got {v.shape[-1]} features and {k.shape[-1]}")
    seen = None if mask is None else mask[..., None, :, :]  # ... 1 n m
    q, k, v = (x[..., None, :] for x in (q, k, v))  # ... rows 1 features
    return nnx.dot_product_attention(q, k, v, mask=seen, is_causal=causal)[..., 0, :]


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
    """Call `nnx.MultiHeadAttention` without biases; its kernels are [d_model, h, d_k], and [h, d_v, d_model] on the way out."""
    h, d_model, d_k = w_q.shape
    d_v = w_v.shape[-1]
    if d_v != d_k:
        raise Unsupported("MultiHeadAttention has qkv_features for queries, keys and values alike")
    layer = nnx.MultiHeadAttention(
        num_heads=h,
        in_features=d_model,
        qkv_features=h * d_k,
        out_features=w_o.shape[-1],
        param_dtype=w_q.dtype,
        kernel_init=nnx.initializers.zeros,
        use_bias=False,
        decode=False,
        rngs=nnx.Rngs(0),
    )
    for projection, w in ((layer.query, w_q), (layer.key, w_k), (layer.value, w_v)):
        projection.kernel.set_value(w.transpose(1, 0, 2))
    layer.out.kernel.set_value(w_o.reshape(h, d_v, -1))
    seen = None if mask is None else jnp.repeat(spread(mask, q)[..., None, :, :], h, axis=-3)  # ... h n m
    return layer(q, k, v, mask=seen, is_causal=causal)


@compiled()
def feed_forward(x: jax.Array, w1: jax.Array, b1: jax.Array, w2: jax.Array, b2: jax.Array) -> jax.Array:
    """Call `nnx.Linear`, `nnx.relu` and `nnx.Linear`."""
    return _linear(w2, b2)(nnx.relu(_linear(w1, b1)(x)))


def _linear(w: jax.Array, b: jax.Array) -> nnx.Linear:
    layer: Any = nnx.Linear(*w.shape, param_dtype=w.dtype, kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0))
    layer.kernel.set_value(w)
    layer.bias.set_value(b)
    return layer


@compiled()
def layer_norm(x: jax.Array, gamma: jax.Array, beta: jax.Array, *, eps: float = 1e-5) -> jax.Array:
    """Call `nnx.LayerNorm` over the last axis, with the fast variance that is its default."""
    layer: Any = nnx.LayerNorm(x.shape[-1], epsilon=eps, param_dtype=gamma.dtype, rngs=nnx.Rngs(0))
    layer.scale.set_value(gamma)
    layer.bias.set_value(beta)
    return layer(x)


def causal_mask(n: int, *, m: int | None = None) -> jax.Array:
    """Call `nnx.make_causal_mask` on a row of n tokens."""
    if m not in (None, n):
        raise Unsupported("make_causal_mask is for self-attention: as many keys as queries")
    return nnx.make_causal_mask(jnp.ones(n), dtype=bool)[0]


@compiled()
def mlm_loss(logits: jax.Array, labels: jax.Array, selected: jax.Array) -> jax.Array:
    """Call `optax.softmax_cross_entropy_with_integer_labels`, and take the mean of the positions that are selected."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels), where=selected)


@compiled()
def sequence_log_prob(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Call `optax.softmax_cross_entropy_with_integer_labels` on the tokens that follow, and add up."""
    return -optax.softmax_cross_entropy_with_integer_labels(logits[..., :-1, :], tokens[..., 1:]).sum(-1)
