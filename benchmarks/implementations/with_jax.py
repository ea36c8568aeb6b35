"""JAX, operation by operation, on NumPy arrays that come in and go out."""
# ruff: noqa: ANN001, ANN201, ANN202

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - JAX's own signature


def _numpy(result):
    return np.array(result)


def _attention(q, k, v, mask, causal, scale):
    scores = jnp.matmul(q, jnp.swapaxes(k, -1, -2), precision="highest") * scale
    allowed = jnp.ones(scores.shape[-2:], bool) if mask is None else jnp.asarray(mask)
    if causal:
        allowed = allowed & jnp.asarray(causal_mask(*scores.shape[-2:]))
    weights = jax.nn.softmax(scores, axis=-1, where=jnp.broadcast_to(allowed, scores.shape))
    return jnp.matmul(jnp.nan_to_num(weights), v, precision="highest")


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """jax.nn.softmax, with forbidden keys left out of it."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return _numpy(_attention(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), mask, causal, scale))


def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """All heads at once."""
    if not len(w_q) == len(w_k) == len(w_v):
        raise ValueError("the weights have different numbers of heads")
    q, k, v = (jnp.einsum("...id,hdk->...hik", x, w, precision="highest") for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    heads = _attention(q, k, v, None if mask is None else mask[..., None, :, :], causal, w_q.shape[-1] ** -0.5)
    rows = jnp.swapaxes(heads, -2, -3)
    return _numpy(jnp.matmul(rows.reshape(*rows.shape[:-2], rows.shape[-2] * rows.shape[-1]), w_o, precision="highest"))


def feed_forward(x, w1, b1, w2, b2):
    """jax.nn.relu between two products."""
    if b1.shape != w1.shape[1:] or b2.shape != w2.shape[1:]:
        raise ValueError("the weights do not fit together")
    return _numpy(jnp.matmul(jax.nn.relu(jnp.matmul(x, w1, precision="highest") + b1), w2, precision="highest") + b2)


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """jax.nn.standardize, then scale and shift."""
    if gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError("gamma and beta need one number for each feature")
    x = jnp.asarray(x)
    centred = x - x.mean(axis=-1, keepdims=True)
    return _numpy(centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + eps) * gamma + beta)


def residual(x, sublayer):
    """x + sublayer(x)."""
    output = sublayer(x)
    if output.shape != x.shape:
        raise ValueError("a sublayer keeps the shape")
    return _numpy(jnp.add(x, output))


def causal_mask(n, m=None):
    """jnp.tril."""
    m = n if m is None else m
    return _numpy(jnp.tril(jnp.ones((n, m), bool), k=m - n))


def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """A key for each kind of draw."""
    of_selection, of_fate, of_random = jax.random.split(jax.random.key(seed), 3)
    special = jnp.isin(tokens, jnp.asarray(list(special_ids), jnp.int64))
    selected = jax.random.bernoulli(of_selection, rate, tokens.shape) & ~special
    fate = jax.random.uniform(of_fate, tokens.shape)
    random = jax.random.randint(of_random, tokens.shape, 0, vocab_size)
    would_be = jnp.where(fate < 0.8, mask_id, jnp.where(fate < 0.9, random, tokens))
    return _numpy(jnp.where(selected, would_be, tokens)).astype(np.int64), _numpy(selected)


def mlm_loss(logits, labels, selected):
    """Picked from log_softmax, and averaged."""
    if labels.shape != logits.shape[:-1] or selected.shape != logits.shape[:-1]:
        raise ValueError("one label and one truth value for each row of logits")
    return _numpy(-_log_p(logits[selected], labels[selected]).mean())


def sequence_log_prob(logits, tokens):
    """Picked from log_softmax, and summed."""
    if tokens.shape != logits.shape[:-1]:
        raise ValueError("one token for each row of logits")
    return _numpy(_log_p(logits[..., :-1, :], tokens[..., 1:]).sum(axis=-1))


def _log_p(logits, labels):
    return jnp.take_along_axis(jax.nn.log_softmax(jnp.asarray(logits), axis=-1), jnp.asarray(labels)[..., None], axis=-1)[..., 0]
