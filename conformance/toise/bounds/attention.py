r"""The error analysis of attention.  Read with spec/toise_spec/attention.md.

u is the unit of one step, u' = min(u, 2^-24) that of what is done inside a kernel alone, and t that of an array that
is written out where that is narrower than a step, else 0.

**Scores.** s_j = scale (q . k_j) errs by rho_j: a matrix product, gamma_d |q| |k_j|, the product with the scale, and what is
written out.  The scale may come first, on q, or as its root on q and on k: one more rounding of each.  Where it is
no power of two, q may be written out after it.

**Slips.** A computed weight is proportional to exp(s_j + e_j), where the error e_j that key j does not share with
its row is at most

    slip_j = rho_j + u (7 gap_j + |s_j| + ulps) + t (2 gap_j + 1) + u' (4 |top| + 2 gap_j) + u (ulps + 2),

with gap_j = top - s_j, and |s_j| <= |top| + gap_j.

- The shift by the row's greatest score, the product with log2 e, and log2 e itself: 3 u gap_j.
- The scale's own rounding, of its two roots, or of scale log2 e as one factor, at most 4 u, multiplies all scores alike:
  what it moves in common the normaliser takes back, and 4 u gap_j is left.
- The exponential, ulps; the shifted scores and the exponentials may be written out, and the scale held as a number of
  that format: t (2 gap_j + 1).
- The product with the scale, where it comes last: u |s_j|.
- u' (|s_j| + |top|) where score and top are multiplied by log2 e apart.  An error in `top` itself is shared by the row
  (Blanchard, Higham & Higham 2021: the shifted softmax is as accurate as the unshifted one).
  Where a running sum is rescaled and the difference of two tops is contracted with log2 e, R times, a key meets at most
  R + 2 roundings of such a product, u' (|top| + gap_j) each: R + 2 stands for 4 and for 2 above where it is more.
- The last term, for more than 16 keys, where what came before a greater score is rescaled, by an exponential and a
  product.  Rescaled after each block of b >= 16 of n keys, R = n/b times; it is counted once, since a sum in blocks
  has only b + n/b additions in a row: with rho = ulps + 2 = 6, numerator and normaliser take up to 2 (b + n/b) u for sums,
  2 (n/b) u for products, and 6 (n/b) u for slips whose half spread multiplies sum_j p_j |v_j - out| <= 2 sum_j p_j |v_j|.
  For b = 16 that is (32 + 0.63 n) u, and 2 gamma_n, which is allowed for sums, is more from n = 24 on.
  A log-sum-exp of part of the keys errs by ulps u log(n/2), and its sums save n u: less, for every n.

**The key rule.** With weights p and out = sum_j p_j v_j, any slips give a new mean out' with exactly

    out' - out = sum_j p_j (exp(e_j) - 1) (v_j - out) / sum_k p_k exp(e_k),

because sum_j p_j (v_j - out) = 0.  Hence |out' - out| is at most

    sum_j p_j (exp(slip_j) - 1) |v_j - out| / sum_k p_k exp(-slip_k),

and, as out' is a mean of allowed values, at most max(high - out, out - low): **the hull**, which
keeps the bound meaningful when scores are so large that the slips say nothing.  Where every slip is
below 1/64 the hull is not looked at: there (exp(slip) - 1) / exp(-slip) < 1/60, and the sum, a mean of distances,
is the smaller of the two.

**Roundings after it.** The normaliser's sum, the division and the weights' own format are relative
errors of each weight, and the sum over keys one more: rel (sum_j p_j |v_j|).  The sum of exponentials, and a result that is
divided by it last, may be written out: 2 t more.

**Overflow** of a score, of a difference of two before they are scaled, of the sum of all allowed values (where it is
normalised last), or of an exponential whose argument was contracted, excuses the query's results; so does a score that
overflows at a key that is hidden by adding -inf to it.

**Traits.**  `rounded-normaliser`: the weights' rounding eta_j is in numerator and normaliser, and moves out by
sum_j p_j eta_j (v_j - out), of which only sum_j p_j |v_j| is in rel: |out| more.
`many-rescales`: R = n - 1, and the last term of the slip is counted as often.
`stored-prescale`: q and k are rounded to the dtype once more.
`lse-weights`: exp(s_j - lse) is divided by nothing, so that what a row shares stays: the error of lse, which is
log(sum_j p_j exp(slip_j)) + gamma_n + u (4 |lse| + ulps (1 + log n)).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toise.bounds.bounded import BLOCK, REACH, U64, Bounded, given, product_error, sum_error, unless_overflow
from toise.bounds.formats import FLOAT32, Format, Precision

Array = np.ndarray
# Below this slip exponentials are bounded by a few terms of their series, and the hull cannot be the smaller bound.
NEAR = 2.0**-6
TILE = 1 << 17  # scores that are looked at together: a megabyte
SCRATCH = 1 << 16  # numbers in a temporary that should stay in the cache


def attention(q: Array, k: Array, v: Array, allowed: Array, scale: float, precision: Precision) -> Bounded:
    """Bound softmax(scale q k^T) v over the allowed keys; a query without any has the value 0.

    q        [..., n, d_k]   exact in the storage format
    k        [..., m, d_k]
    v        [..., m, d_v]
    allowed  [..., n, m]     True = may attend
    ->       [..., n, d_v]   value and radius
    """
    allowed = np.broadcast_to(allowed, (*q.shape[:-1], k.shape[-2]))
    keys, values = (given(x, precision) for x in seen(allowed, k, v))
    return attend(given(q, precision), keys, values, allowed, scale).output()


def seen(allowed: Array, *arrays: Array) -> list[Array]:
    """Return keys and values with zeros for NaN and infinity where no query may attend: these have no value."""
    by_any = np.asarray(allowed.any(-2))[..., None]
    return [np.where(by_any | np.isfinite(array), array, 0) for array in arrays]


def attend(q: Bounded, k: Bounded, v: Bounded, allowed: Array, scale: float) -> Bounded:
    """Bound softmax(scale q k^T) v, written out, some queries at a time: each query is a problem of its own."""
    *lead, n, keys = allowed.shape
    if allowed.size <= TILE:
        return mix(scores(q, k, scale), allowed, v, scale).stored()
    value, radius = (np.empty((*lead, n, v.value.shape[-1])) for _ in range(2))
    rows = max(1, TILE // keys)
    for entry in np.ndindex(*lead):
        own_k, own_v = (x.map(lambda a: a[entry]) for x in (k, v))  # noqa: B023 - used at once
        for start in range(0, n, rows):
            tile = (*entry, slice(start, start + rows))
            own_q = q.map(lambda a: a[tile])  # noqa: B023
            part = mix(scores(own_q, own_k, scale), allowed[tile], own_v, scale).stored()
            value[tile], radius[tile] = part.value, part.radius
    return v.new(value, radius)


def scores(q: Bounded, k: Bounded, scale: float) -> Bounded:
    """Bound scale (q k^T), with the scale applied before or after, whole or as its root, save for what `mix` adds."""
    p = q.precision
    stores, prescaled = 0.0 if _power_of_two(scale) else p.written, "stored-prescale" in p.traits
    if prescaled:
        q, k = q.rounded(p.storage), k.rounded(p.storage)
    # Where q is scaled first, what is flushed to zero there is as much as tiny / scale here; for k it is the root.
    tiny = max(p.step.tiny, p.tensor.tiny, p.storage.tiny if prescaled else 0.0)
    size = min(1.0, abs(scale) or 1.0)
    relative = math.expm1(2 * math.log1p(p.step.u + U64) + math.log1p(stores))
    if abs(scale) > 1:
        huge = p.storage.huge if prescaled else min(p.step.huge, p.tensor.huge)
        q = q.new(q.value, np.where(abs(scale) * q.size > huge, np.inf, q.radius))
        k = k.new(k.value, np.where(math.sqrt(abs(scale)) * k.size > huge, np.inf, k.radius))
    transposed = k.map(lambda a: a.swapaxes(-1, -2))
    product = q.times(transposed, relative=relative, flushed=(tiny / size, tiny / math.sqrt(size))).stored()
    # Scaled last, the difference of two products is formed first.
    product = product.new(product.value, unless_overflow(2 * product.size, p, product.radius))
    value, radius = product.value * scale, product.radius * (abs(scale) * (1 + p.step.u)) + p.step.tiny
    if abs(scale) > 1:
        radius = unless_overflow(np.abs(value) + radius, p, radius)
    return product.new(value, radius).stored()


def mix(scores: Bounded, allowed: Array, v: Bounded, scale: float) -> Bounded:
    """Bound softmax(scores) v by the key rule, the hull, and the roundings after them; not yet written out."""
    p, keys, everything = scores.precision, allowed.shape[-1], bool(allowed.all())
    s = scores.value if everything else np.where(allowed, scores.value, -np.inf)
    top = s.max(-1, keepdims=True, initial=-np.finfo(np.float64).max)
    gap = top - s
    weights = np.exp(-gap)
    normaliser = np.maximum(weights.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
    weights /= normaliser
    slip = _slips(scores, gap, top, scale)
    if not everything:
        # Hidden by adding -inf, a score that may overflow to +inf gives NaN.
        slip = np.where(allowed, slip, np.where(np.isinf(scores.radius), np.inf, 0.0))

    out, magnitude = weights @ v.value, np.abs(v.value)
    farthest = slip.max(initial=0.0)
    if farthest <= NEAR:
        slipped = weights * slip
        grows = 1 + farthest  # exp(x) - 1 <= x (1 + x), and exp(x) <= (1 + x)^2, for 0 <= x <= 1
        least = 1 - slipped.sum(-1, keepdims=True)
        moved = spread(slipped, v.value, out, p) * (grows / least)
        most = grows**2 / least
        size = (weights @ magnitude) * most
        inherited = (weights @ v.radius) * most if v.radius.any() else 0.0
    else:
        up = np.exp(slip - gap) / normaliser  # p e^slip, formed so that 0 * inf cannot arise
        slipped = np.where(slip < 1, weights * np.expm1(np.minimum(slip, 1)), up - weights)
        least = (np.exp(-gap - slip) / normaliser).sum(-1, keepdims=True)
        heavy = np.minimum(np.where(np.isnan(up / least), 1, up / least), 1)
        high, low = _hull(allowed, v.value)
        grows = 1.0
        moved = np.fmin(spread(slipped, v.value, out, p) / least, np.maximum(high - out, out - low))
        size = np.minimum(heavy @ magnitude, np.maximum(high, -low))
        inherited = heavy @ v.radius if v.radius.any() else 0.0
    radius = moved + inherited + _roundings(p, keys) * (size + inherited) + keys * p.accumulate.tiny
    if "rounded-normaliser" in p.traits:
        radius += _coarse(p).u * np.abs(out)
    if "lse-weights" in p.traits:
        lse = np.abs(top + np.log(normaliser))
        shared = np.log1p(slipped.sum(-1, keepdims=True)) + sum_error(keys, p)
        shared += (p.step.u + U64) * (4 * lse + p.ulps * (1 + math.log(max(1, keys))))
        radius += np.expm1(grows * shared) * size

    together = magnitude.sum(-2, keepdims=True) if everything else allowed @ magnitude
    radius += 2 * max(_coarse(p).tiny, p.step.tiny) * together
    # Normalised last, and block by block, each relative to its own greatest score, the sum may overflow on the way; where
    # its argument is contracted, an exponential may be above 1.
    if v.radius.any():
        together = together + allowed @ v.radius
    together = together * np.exp(np.minimum(_contracted(p, keys) * np.abs(top), REACH))
    radius = unless_overflow(np.maximum(together, keys), p, radius, written=True)
    lost = np.isinf(slip).any(-1, keepdims=True)
    empty = ~allowed.any(-1, keepdims=True)
    return v.new(out, np.where(empty, 0, np.where(lost, np.inf, radius)))


def _slips(scores: Bounded, gap: Array, top: Array, scale: float) -> Array:
    """Return by how much the logarithm of each weight may err, apart from what the row shares."""
    p, keys = scores.precision, gap.shape[-1]
    u, inside, written = p.step.u + U64, _inside(p), p.written
    rescales, contracted = _rescales(p, keys), _contracted(p, keys)
    # |s| + |top| <= 2 |top| + gap, and the scale's product errs by u |s| <= u (|top| + gap).
    slip = gap * (8 * u + (1 if _power_of_two(scale) else 2) * written + contracted)
    slip += scores.radius
    once = rescales if "many-rescales" in p.traits else int(keys > BLOCK)
    slip += (p.ulps + once * (p.ulps + 2)) * u + written + (max(4 * inside, contracted) + u) * np.abs(top)
    # A contracted exponential must overflow neither itself nor in the format of the weights.
    chain = inside * max(1, rescales) * (REACH / min(REACH, math.log(_coarse(p).huge) - 1))
    if not (chain * (2 * np.abs(top) + gap.max(-1, keepdims=True, initial=0.0)) <= REACH).all():  # NaN is not
        slip[~(chain * (2 * np.abs(top) + gap) <= REACH)] = np.inf
    return slip


def _rescales(p: Precision, keys: int) -> int:
    """Return how often a running sum over the keys may be rescaled."""
    return max(0, keys - 1) if "many-rescales" in p.traits else max(0, keys - 1) // BLOCK


def _contracted(p: Precision, keys: int) -> float:
    """Return the error of contracted exponentials, one after the other, in units of the greatest score."""
    return _inside(p) * (_rescales(p, keys) + 2)


def _inside(p: Precision) -> float:
    """Return the unit of what is done inside a kernel alone, in float32 at least."""
    return min(p.step.u, FLOAT32.u) + U64


def _roundings(p: Precision, keys: int) -> float:
    """Return the relative error of the weights and of the sum over keys, beside the slips."""
    each = [_coarse(p).u + U64, sum_error(keys, p), product_error(keys, p), *3 * [p.step.u + U64], *2 * [p.written]]
    return math.expm1(sum(map(math.log1p, each)))


def _coarse(p: Precision) -> Format:
    """Return the format of the weights when they meet the values."""
    return max(p.weights, p.tensor, key=lambda format: format.u)


def _power_of_two(scale: float) -> bool:
    return math.frexp(abs(scale))[0] == 0.5


def spread(a: Array, v: Array, out: Array, p: Precision) -> Array:
    """Return sum_j a_ij |v_jc - out_ic|, or a little more.

    This is most of the work, so that it is done in float32 where v is exact there.  Then out errs by 2^-24 |out|, and
    the difference, a and their sum by factors of 1 + 2^-24, m + 4 in all.
    """
    m, d = v.shape[-2:]
    narrow = p.storage.u >= FLOAT32.u and np.abs(v).max(initial=0.0) < FLOAT32.huge / 4
    kind: Any = np.float32 if narrow else np.float64
    weights, values, means = (x.astype(kind, copy=False) for x in (a, v, out))
    total = np.zeros(out.shape, kind)
    keys = max(1, min(m, SCRATCH // (4 * d)))
    rows = max(1, SCRATCH // max(1, math.prod(v.shape[:-2]) * keys * d))
    for start in range(0, m, keys):
        some = slice(start, start + keys)
        for first in range(0, out.shape[-2], rows):
            at = slice(first, first + rows)
            distance = values[..., None, some, :] - means[..., at, None, :]  # [..., rows, keys, d_v]
            np.abs(distance, out=distance)
            total[..., at, :] += (weights[..., at, None, some] @ distance)[..., 0, :]
    if not narrow:
        return total
    return total * (1 + (m + 4) * FLOAT32.u) ** 2 + a.sum(-1, keepdims=True) * 2 * FLOAT32.u * np.abs(out)


def _hull(allowed: Array, v: Array) -> tuple[Array, Array]:
    """Return the greatest and the least allowed value of each column, for each query."""
    if allowed.all():
        return v.max(-2, keepdims=True), v.min(-2, keepdims=True)
    value = v[..., None, :, :]  # [..., 1, m, d_v]
    high, low = [], []
    rows = max(1, SCRATCH // max(1, v.size))
    for start in range(0, max(1, allowed.shape[-2]), rows):
        may = allowed[..., start : start + rows, :, None]  # [..., rows, m, 1]
        high.append(np.where(may, value, -np.inf).max(-2))
        low.append(np.where(may, value, np.inf).min(-2))
    return np.concatenate(high, axis=-2), np.concatenate(low, axis=-2)
