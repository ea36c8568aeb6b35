r"""The error analysis of multi-head attention.  Read with spec/toise_spec/multi_head_attention.md.

gamma_n is the error of a sum of n terms in any order, and |x| |w| the matrix product of the magnitudes.

**Projections.**  Each element of q w_q[i] is a sum of d_model products, whether the heads have a matrix each, one
for all of them side by side, or one with those of k and v: it errs by gamma_(d_model) |q| |w_q|, and may be written
out.  Each head is then attention (attention.py) on inputs that carry these radii.

**The scale** may be multiplied in before the projection, into q or into w_q: each product then has one factor that
was rounded, for the scale itself, for the product with it, and where it is written out.  On q or on w_q, these are
relative errors of the products q_c w_c alike, so that q carries them for both.  A scale that is a power of two
rounds nothing, but may take a number below the smallest normal one, where it is flushed to zero.

**The last product** can be computed in two ways, and the radius is the larger of the two.

- The heads side by side, times w_o: one sum of h d_v products.  Head by head in float32, it is the same sum in
  another order.
- Head by head, each o_i = head_i w_o[i] written out in a narrower format, and so is each partial sum of the h - 1
  additions.  A partial sum adds some of the o_i, and no such sum is larger than M = max(P, N), with P the sum of the
  positive ones and N of the negative ones.  If all partial sums so far err by at most E, one more addition with a
  rounding of u' makes that E + u' (M + E); by induction, over a chain or a tree of h - 1 additions,

      E <= ((1 + u')^(h - 1) - 1) M,

  since (1 + u')^a - 1 + (1 + u')^b - 1 <= (1 + u')^(a + b) - 1 where two branches meet.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from toise.bounds.attention import attend, seen
from toise.bounds.bounded import U64, Bounded, given, unless_overflow

if TYPE_CHECKING:
    from toise.bounds.formats import Precision

Array = np.ndarray


def multi_head_attention(
    q: Array, k: Array, v: Array, w_q: Array, w_k: Array, w_v: Array, w_o: Array, allowed: Array, precision: Precision
) -> Bounded:
    """Bound concat(head_0, ..., head_(h-1)) w_o; a query without any allowed key has heads of the value 0.

    q        [..., n, d_model]   exact in the storage format
    k        [..., m, d_model]
    v        [..., m, d_model]
    w_q      [h, d_model, d_k]
    w_k      [h, d_model, d_k]
    w_v      [h, d_model, d_v]
    w_o      [h*d_v, d_model]
    allowed  [..., n, m]         True = may attend
    ->       [..., n, d_model]   value and radius
    """
    allowed = np.broadcast_to(allowed, (*q.shape[:-1], k.shape[-2]))
    k, v = seen(allowed, k, v)
    scale = 1 / math.sqrt(w_q.shape[-1])
    queries = _projected(*_scaled_first(given(q, precision), given(w_q, precision), scale))
    keys, values = (_projected(given(x, precision), given(w, precision)) for x, w in ((k, w_k), (v, w_v)))
    by_head = np.broadcast_to(allowed[..., None, :, :], (*queries.value.shape[:-1], k.shape[-2]))
    heads = attend(queries, keys, values, by_head, scale)  # [..., h, n, d_v]
    return _combined(heads, given(w_o, precision)).output()


def _scaled_first(q: Bounded, w_q: Bounded, scale: float) -> tuple[Bounded, Bounded]:
    """Allow q, or w_q in its place, to be multiplied by the scale before the projection."""
    p = q.precision
    tiny = max(p.step.tiny, p.tensor.tiny)
    q, w_q = (x.new(x.value, x.radius + tiny / scale) for x in (q, w_q))
    if math.frexp(scale)[0] == 0.5:
        return q, w_q
    return q.stored().rounded(p.step), w_q


def _projected(x: Bounded, w: Bounded) -> Bounded:
    """Bound x w[i] for each head i: [..., n, d_model] and [h, d_model, d] give [..., h, n, d]."""
    return (x.map(lambda a: a[..., None, :, :]) @ w).stored()


def _combined(heads: Bounded, w_o: Bounded) -> Bounded:
    """Bound the heads, [..., h, n, d_v], side by side and times w_o, at once or head by head; not yet written out."""
    p, (h, n, d_v) = heads.precision, heads.value.shape[-3:]
    concatenated = heads.map(lambda a: a.swapaxes(-3, -2).reshape(*a.shape[:-3], n, h * d_v))
    at_once = concatenated @ w_o
    if p.tensor.u <= p.accumulate.u:
        return at_once
    each = (heads @ w_o.map(lambda a: a.reshape(h, d_v, a.shape[-1]))).stored()  # [..., h, n, d_model]
    most = np.maximum(*(np.maximum(sign * each.value + each.radius, 0).sum(-3) for sign in (1, -1)))
    additions = math.expm1((h - 1) * (math.log1p(p.tensor.u) + math.log1p(p.step.u + U64)))
    flushed = (h - 1) * (p.tensor.tiny + p.step.tiny)
    radius = each.radius.sum(-3) + additions * most + flushed
    return at_once.new(at_once.value, np.maximum(at_once.radius, unless_overflow(most, p, radius, written=True)))
