r"""The error analysis of the feed-forward network.  Read with spec/toise_spec/feed_forward.md.

gamma_n is the error of a sum of n terms in any order, and |x| |w| the matrix product of the magnitudes.

**A layer**, x w + b, can be computed in two ways, and the radius is the larger of the two.

- The bias comes last: the product errs by gamma_n |x| |w|, it may be written out, and the addition rounds once.
- The bias comes first, as the number that the sum starts from (`acc = b; acc += x * w`), or anywhere within: it is
  one more term, as if x had one more feature of 1 and w one more row, b.  The sum errs by gamma_(n+1) (|x| |w| + |b|),
  which is (gamma_(n+1) - gamma_n) |x| |w| + gamma_(n+1) |b| more than the product alone.  Where b is far larger than
  the products this grows with n, and the other does not.

**ReLU** rounds nothing, and is monotone with a slope of at most 1: an error of at most r moves max(z, 0)

    by at most r                where z > 0
    by at most max(z + r, 0)    where z <= 0

so that a hidden unit that is off by more than its own radius is exactly 0: its radius is 0, and what its row of
w2 holds is multiplied by nothing.

**Writing out.**  Rounding to a format and ReLU can be exchanged, relu(fl(z)) = fl(relu(z)), since fl keeps the sign:
whether z, relu(z) or both are written out, it is one rounding.  The last rounding is that of the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toise.bounds.bounded import Bounded, given, product_error, unless_overflow

if TYPE_CHECKING:
    from toise.bounds.formats import Precision

Array = np.ndarray


def feed_forward(x: Array, w1: Array, b1: Array, w2: Array, b2: Array, precision: Precision) -> Bounded:
    """Bound ReLU(x w1 + b1) w2 + b2.

    x   [..., d_model]    exact in the storage format
    w1  [d_model, d_ff]
    b1  [d_ff]
    w2  [d_ff, d_model]
    b2  [d_model]
    ->  [..., d_model]    value and radius
    """
    rows, first, second = given(np.atleast_2d(x), precision), given(w1, precision), given(w2, precision)
    hidden = _relu(_layer(rows, first, given(b1, precision)).stored())
    return _layer(hidden, second, given(b2, precision)).output().map(lambda a: a.reshape(x.shape))


def _layer(x: Bounded, w: Bounded, b: Bounded) -> Bounded:
    """Bound x w + b, the bias last or one more term of the sum; the result is not yet written out."""
    p, terms = x.precision, x.value.shape[-1]
    product, size = x @ w, x.size @ w.size
    last = product.stored() + b
    n, one_more = (product_error(count, p) for count in (terms, terms + 1))
    within = product.radius + (one_more - n) * size + one_more * b.size + b.radius + p.accumulate.tiny
    return last.new(last.value, np.maximum(last.radius, unless_overflow(size + b.size, p, within)))


def _relu(z: Bounded) -> Bounded:
    """Bound max(z, 0)."""
    return z.new(np.maximum(z.value, 0), np.maximum(np.minimum(z.value, 0) + z.radius, 0))
