r"""The error analysis of attention.  Read with spec/toise_spec/attention.md.

**Scores.** s_j = scale (q . k_j) errs by rho_j: a matrix product, the product with the scale, and the
scale's own rounding, which may come first, on q or as its square root on both q and k.

**Slips.** A computed weight is proportional to exp(s_j + e_j), where the error e_j that key j does not
share with its row is at most

    slip_j = rho_j + u (3 (top - s_j) + ulps) + 2 u' (|s_j| + |top|),      u' = min(u, 2^-24)

(the shift by the row's greatest score, the product with log2 e, exp2; the last term where score and
top are multiplied apart).  An error in `top` is shared by the row, and the normaliser takes it back
(Blanchard, Higham & Higham 2021: the shifted softmax is as accurate as the unshifted one).

**The key rule.** With weights p and out = sum_j p_j v_j, any slips give a new mean out' with exactly

    out' - out = sum_j p_j (exp(e_j) - 1) (v_j - out) / sum_k p_k exp(e_k),

because sum_j p_j (v_j - out) = 0.  Hence |out' - out| is at most

    sum_j p_j (exp(slip_j) - 1) |v_j - out| / sum_k p_k exp(-slip_k),

and, as out' is a mean of allowed values, at most max(high - out, out - low): **the hull**, which
keeps the bound meaningful when scores are so large that the slips say nothing.  Where every slip is
below 1/4 the hull is not looked at: (exp(slip) - 1) / exp(-slip) < 0.37, so that the sum is the smaller.

**Roundings after it.** The normaliser's sum, the division and the weights' own format are relative
errors of each weight, and the sum over keys one more: rel (sum_j p_j |v_j|).
"""

from __future__ import annotations

import math

import numpy as np

from toise.bounds.bounded import REACH, U64, Bounded, given, sum_error, unless_overflow
from toise.bounds.formats import EXACT, FLOAT32, Precision

Array = np.ndarray
# Below this slip the hull cannot be the smaller bound.
NEAR = 0.25
SCRATCH = 1 << 16  # numbers in a temporary: half a megabyte


def attention(q: Array, k: Array, v: Array, allowed: Array, scale: float, precision: Precision) -> Bounded:
    """Bound softmax(scale q k^T) v over the allowed keys; a query without any has the value 0.

    q        [..., n, d_k]   exact in the storage format
    k        [..., m, d_k]
    v        [..., m, d_v]
    allowed  [..., n, m]     True = may attend
    ->       [..., n, d_v]   value and radius
    """
    allowed = np.broadcast_to(allowed, (*q.shape[:-1], k.shape[-2]))
    seen = np.asarray(allowed.any(-2))[..., None]  # a key that no query may attend to has no value
    compared = scores(given(q, precision), given(np.where(seen, k, 0), precision), scale)
    return mix(compared, allowed, given(np.where(seen, v, 0), precision)).stored().output()


def scores(q: Bounded, k: Bounded, scale: float) -> Bounded:
    """Bound scale (q k^T), with the scale applied before or after, whole or as its root on both."""
    p = q.precision
    # Where q is scaled first, what is flushed to zero there is as much as tiny / scale here; for k it is the root.
    if 0 < abs(scale) < 1:
        q = q.new(q.value, q.radius + p.step.tiny / abs(scale))
        k = k.new(k.value, k.radius + p.step.tiny / math.sqrt(abs(scale)))
    # On q alone it may be stored; a root on each, inside a kernel, rounds the constant and the product.
    inside = p.step if p.step.u <= FLOAT32.u else EXACT
    q = q.stored().rounded(inside).rounded(inside)
    k = k.rounded(inside).rounded(inside)
    product = (q @ k.map(lambda a: a.swapaxes(-1, -2))).stored()
    return (product * given(scale, p)).stored()


def mix(scores: Bounded, allowed: Array, v: Bounded) -> Bounded:
    """Bound softmax(scores) v by the key rule, the hull, and the roundings after them."""
    p, keys = scores.precision, allowed.shape[-1]
    u = p.step.u + U64
    s = np.where(allowed, scores.value, -np.inf)
    top = s.max(-1, keepdims=True, initial=-np.finfo(np.float64).max)
    unnormalised = np.exp(s - top)
    normaliser = np.maximum(unnormalised.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
    weights = unnormalised / normaliser

    gap = np.where(allowed, top - s, 0)
    reach = np.where(allowed, np.abs(s) + np.abs(top), 0)
    slip = scores.radius + u * (3 * gap + p.ulps) + 2 * min(u, FLOAT32.u) * reach
    slip = np.where(allowed, np.where(reach * u > REACH, np.inf, slip), 0)
    lost = np.isinf(slip).any(-1, keepdims=True)
    up = np.exp(s - top + slip) / normaliser  # p e^slip, formed so that 0 * inf cannot arise
    down = np.exp(s - top - slip) / normaliser
    least = down.sum(-1, keepdims=True)

    out = weights @ v.value
    slipped = np.where(slip < 1, weights * np.expm1(np.minimum(slip, 1)), up - weights)
    moved = _spread(slipped, v.value, out) / least
    heavy = np.minimum(np.where(np.isnan(up / least), 1, up / least), 1)
    inherited = heavy @ v.radius
    size = heavy @ np.abs(v.value)
    if slip.max(initial=0) > NEAR:
        high, low = _hull(allowed, v.value)
        moved = np.fmin(moved, np.maximum(high - out, out - low))
        size = np.minimum(size, np.maximum(high, -low))
    size = size + inherited

    coarse = max(p.weights, p.tensor, key=lambda format: format.u)
    rel = coarse.u + U64 + 2 * sum_error(keys, p, operand=p.operand.u) + 3 * u
    underflow = 2 * max(coarse.tiny, p.step.tiny) * (allowed @ np.abs(v.value)) + keys * p.accumulate.tiny
    # Normalised last, and block by block, each relative to its own greatest score, the sum may overflow on the way.
    together = allowed @ v.size
    radius = unless_overflow(together, p, moved + inherited + rel * size + underflow)
    empty = ~allowed.any(-1, keepdims=True)
    return v.new(out, np.where(empty, 0, np.where(lost, np.inf, radius)))


def _spread(a: Array, v: Array, out: Array) -> Array:
    """Return sum_j a_ij |v_jc - out_ic|."""

    def spread(rows: slice) -> Array:
        distance = v[..., None, :, :] - out[..., rows, None, :]  # [..., rows, m, d_v]
        np.abs(distance, out=distance)
        return (a[..., rows, None, :] @ distance)[..., 0, :]  # [..., rows, d_v]

    return np.concatenate([spread(rows) for rows in _blocks(a, v)], axis=-2)


def _hull(allowed: Array, v: Array) -> tuple[Array, Array]:
    """Return the greatest and the least allowed value of each column, for each query."""
    value = v[..., None, :, :]  # [..., 1, m, d_v]
    high, low = [], []
    for rows in _blocks(allowed, v):
        may = allowed[..., rows, :, None]  # [..., rows, m, 1]
        high.append(np.where(may, value, -np.inf).max(-2))
        low.append(np.where(may, value, np.inf).min(-2))
    return np.concatenate(high, axis=-2), np.concatenate(low, axis=-2)


def _blocks(queries: Array, v: Array) -> list[slice]:
    """Split the queries, so that a temporary [rows, m, d_v] stays in the cache."""
    rows = max(1, SCRATCH // max(1, v.size))
    return [slice(start, start + rows) for start in range(0, max(1, queries.shape[-2]), rows)]
