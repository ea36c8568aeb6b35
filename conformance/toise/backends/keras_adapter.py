"""Layers, losses and operations of Keras on its JAX backend; a layer is called by `stateless_call` inside `jax.jit`.

Every layer is made with the dtype policy of its inputs, and losses with their own default, float32.
Keras has nothing public for `causal_mask` and `mlm_corrupt`.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from toise.backends.jax_parts import EAGER, compiled, folded, products, spread, wide
from toise.errors import TargetError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable


def imported() -> Any:
    """Import Keras with the JAX backend, which it is told through the environment, and leave that as it was.

    Raises TargetError where it was imported before with another one.
    """
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "jax"
    try:
        keras = importlib.import_module("keras")
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    if keras.backend.backend() != "jax":
        raise TargetError(f"keras is imported already, with the backend {keras.backend.backend()}; required: jax")
    return keras


keras = imported()


def __toise__(device: str | None) -> dict[str, Any]:  # noqa: N807 - the name that is asked for
    """Declare what Keras computes on a device."""
    # dot_product_attention in keras/src/backend/jax/nn.py hands all on to jax.nn.dot_product_attention.
    choices = {"causal_alignment": "top-left", "empty_row": "mean"}
    return {
        "name": "keras",
        "version": f"{keras.__version__} on jax {jax.__version__}",
        "arrays": "jax",
        # BIT64_TO_BIT32_DTYPE in keras/src/backend/common/dtypes.py: on JAX the result type of float64 is float32.
        "dtypes": ["float32", "bfloat16", "float16"],
        "attention": {**choices, "precision": products(device)},
        "multi_head_attention": {**choices, "precision": {**EAGER, **products(device)}},
        "feed_forward": {"precision": {**EAGER, **products(device)}},
        # _layer_normalization in keras/src/ops/nn.py: "Computes in at least float32 precision".
        "layer_norm": {},
        # Loss.__call__ in keras/src/losses/loss.py converts to floatx, float32; apply_mask divides without NaN.
        "mlm_loss": {"loss_dtype": "float32", "nothing_selected": "zero"},
        # In keras/src/backend/jax/nn.py log_softmax is in the dtype, and the one-hot rows that it meets are of float32.
        "sequence_log_prob": {"loss_dtype": "float32", "precision": EAGER},
    }


def _require_one_width(d_k: int, d_v: int) -> None:
    """Refuse values of another width than keys have: the arguments are there, `depth_v` and `value_dim`, and on JAX they fail."""
    if d_v != d_k:
        raise Unsupported(f"on JAX, dot_product_attention cannot reshape values of width {d_v} into queries of width {d_k}")


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
    """Call `keras.ops.dot_product_attention` with one head; leading axes become its batch."""
    _require_one_width(k.shape[-1], v.shape[-1])
    heads = [folded(x, 2)[:, :, None] for x in (q, k, v)]  # batch rows 1 features
    seen = None if mask is None else folded(spread(mask, q), 2)[:, None]  # batch 1 n m
    y = keras.ops.dot_product_attention(*heads, mask=seen, scale=scale, is_causal=causal)
    return y.reshape(*q.shape[:-1], v.shape[-1])


@wide
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
    """Call `keras.layers.MultiHeadAttention` without biases; leading axes become its batch."""
    h, d_model, d_k = w_q.shape
    _require_one_width(w_k.shape[-1], w_v.shape[-1])
    call = _multi_head_attention(h, d_k, w_v.shape[-1], d_model, w_o.shape[-1], str(q.dtype))
    kernels = [w.transpose(1, 0, 2) for w in (w_q, w_k, w_v)]
    return call([*kernels, w_o.reshape(h, -1, w_o.shape[-1])], q, k, v, mask, causal=causal)


@functools.cache
def _multi_head_attention(h: int, d_k: int, d_v: int, d_model: int, d_out: int, dtype: str) -> Callable[..., jax.Array]:
    layer = keras.layers.MultiHeadAttention(h, d_k, value_dim=d_v, output_shape=d_out, use_bias=False, dtype=dtype)
    layer.build((None, None, d_model), (None, None, d_model))

    @functools.partial(jax.jit, static_argnames="causal")
    def call(
        weights: list[jax.Array], q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, *, causal: bool
    ) -> jax.Array:
        seen = None if mask is None else folded(spread(mask, q), 2)  # batch n m
        rows = {name: folded(x, 2) for name, x in (("query", q), ("value", v), ("key", k))}
        y, _ = layer.stateless_call(weights, [], **rows, attention_mask=seen, use_causal_mask=causal)
        return y.reshape(*q.shape[:-1], d_out)

    return call


@wide
def feed_forward(x: jax.Array, w1: jax.Array, b1: jax.Array, w2: jax.Array, b2: jax.Array) -> jax.Array:
    """Call `keras.layers.Dense` with ReLU, and `Dense`."""
    return _dense(*w2.shape, None, str(x.dtype))([w2, b2], _dense(*w1.shape, "relu", str(x.dtype))([w1, b1], x))


@functools.cache
def _dense(width: int, units: int, activation: str | None, dtype: str) -> Callable[..., jax.Array]:
    layer = keras.layers.Dense(units, activation=activation, kernel_initializer="zeros", dtype=dtype)
    layer.build((None, width))
    return jax.jit(lambda weights, x: layer.stateless_call(weights, [], x)[0])


@wide
def layer_norm(x: jax.Array, gamma: jax.Array, beta: jax.Array, *, eps: float = 1e-5) -> jax.Array:
    """Call `keras.layers.LayerNormalization`."""
    return _layer_norm(x.shape[-1], eps, str(x.dtype))([gamma, beta], x)


@functools.cache
def _layer_norm(d: int, eps: float, dtype: str) -> Callable[..., jax.Array]:
    layer = keras.layers.LayerNormalization(epsilon=eps, dtype=dtype)
    layer.build((None, d))
    return jax.jit(lambda weights, x: layer.stateless_call(weights, [], x)[0])


@wide
def residual(x: jax.Array, sublayer: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Call `keras.layers.Add` on the two."""
    return keras.layers.Add(dtype=str(x.dtype))([x, sublayer(x)])


@compiled()
def mlm_loss(logits: jax.Array, labels: jax.Array, selected: jax.Array) -> jax.Array:
    """Call `keras.losses.SparseCategoricalCrossentropy`, with `ignore_class` as the label where nothing is selected."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    return loss(jnp.where(selected, labels, -1), logits)


@compiled()
def sequence_log_prob(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Call `keras.ops.sparse_categorical_crossentropy` on the tokens that follow, and add up."""
    steps = keras.ops.sparse_categorical_crossentropy(tokens[..., 1:], logits[..., :-1, :], from_logits=True)
    return -keras.ops.sum(steps, axis=-1)
