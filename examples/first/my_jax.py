"""Layer normalisation in JAX, compiled."""

import jax
import jax.numpy as jnp

__toise__ = {"arrays": "jax"}


@jax.jit
def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Gamma * (x - mean) / sqrt(variance + eps) + beta."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    return gamma * centred / jnp.sqrt(variance + eps) + beta
