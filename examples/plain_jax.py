"""All eight concepts in plain JAX, each compiled by `jax.jit`, with what they declare."""

import functools

import jax
import jax.numpy as jnp

__toise__ = {
    "arrays": "jax",
    "dtypes": ["float32"],
    # A row of nothing but the least number has equal weights.
    "attention": {"empty_row": "mean"},
    "multi_head_attention": {"empty_row": "mean"},
}


@functools.partial(jax.jit, static_argnames="causal")
def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """softmax(scale * q k^T) v."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    least = jnp.finfo(scores.dtype).min
    if mask is not None:
        scores = jnp.where(mask, scores, least)
    if causal:
        scores = jnp.where(causal_mask(q.shape[-2], k.shape[-2]), scores, least)
    return jax.nn.softmax(scores, axis=-1) @ v


@functools.partial(jax.jit, static_argnames="causal")
def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """All heads at once, on an axis of their own: [..., h, n, d]."""
    q, k, v = (x[..., None, :, :] @ w for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    mask = None if mask is None else mask[..., None, :, :]
    heads = jnp.moveaxis(attention(q, k, v, mask=mask, causal=causal), -3, -2)
    return heads.reshape(*heads.shape[:-2], len(w_o)) @ w_o  # -1 would fail where the batch is empty


@jax.jit
def feed_forward(x, w1, b1, w2, b2):
    """relu(x w1 + b1) w2 + b2."""
    return jax.nn.relu(x @ w1 + b1) @ w2 + b2


@jax.jit
def layer_norm(x, gamma, beta, *, eps=1e-5):
    """gamma * (x - mean) / sqrt(variance + eps) + beta."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    return gamma * centred / jnp.sqrt(variance + eps) + beta


def residual(x, sublayer):
    """x + sublayer(x)."""
    return x + sublayer(x)


def causal_mask(n, m=None):
    """True where query i may attend to key j: j <= i + (m - n)."""
    m = n if m is None else m
    return jnp.tri(n, m, m - n, dtype=bool)


@functools.partial(jax.jit, static_argnames=("mask_id", "vocab_size", "special_ids"))
def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Select tokens at random: 80 % become [MASK], 10 % a random token, 10 % stay."""
    chance, action, pool = jax.random.split(jax.random.key(seed), 3)
    special = jnp.isin(tokens, jnp.array(special_ids, tokens.dtype))
    selected = (jax.random.uniform(chance, tokens.shape) < rate) & ~special
    action = jax.random.uniform(action, tokens.shape)
    random = jax.random.randint(pool, tokens.shape, 0, vocab_size, tokens.dtype)
    corrupted = jnp.where(action < 0.8, mask_id, jnp.where(action < 0.9, random, tokens))
    return jnp.where(selected, corrupted, tokens), selected


@jax.jit
def mlm_loss(logits, labels, selected):
    """-mean of log P(label) over the selected positions, in nats."""
    return -_log_probability(logits, labels).mean(where=selected)


@jax.jit
def sequence_log_prob(logits, tokens):
    """log P(x_2, ..., x_n | x_1): logits[t] predicts tokens[t + 1]."""
    return _log_probability(logits[..., :-1, :], tokens[..., 1:]).sum(axis=-1)


def _log_probability(logits, tokens):
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return jnp.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]
