r"""The error analysis of log-probabilities.  Read with spec/toise_spec/autoregressive.md.

For one row of logits s_k with the radii r_k, let top be the greatest of them, V their number,

    p_k = exp(s_k - top) / S,      S = sum_k exp(s_k - top),      lse = top + log S,      y_k = s_k - lse.

u is the unit of one step, or of two where a step is followed by a store; u' = min(u, 2^-24), for what is done
inside a kernel alone.  The shift is by the greatest logit, or by
the greatest so far; an error in it changes nothing, since it cancels exactly.
A logit of -inf has p = 0, exactly and in every computation, and takes no part in what follows.

**The normaliser.**  Term k of the sum is computed as exp(s_k - top + e_k), where the error e_k is at most

    slip_k = r_k + u (3 (top - s_k) + ulps) + 2 u' (|s_k| + |top|)

(the shift, the product with log2 e, exp2; the last term where logit and top are multiplied apart), so that log S
moves by at most log sum_k p_k exp(slip_k): upwards that is what it says, and downwards
-log sum_k p_k exp(-slip_k) is not larger (Jensen).

**Its sum.**  All terms are positive, so a sum in any order is right up to a factor between (1 - a)^V and
(1 + a)^V, a being the unit of one addition: its logarithm errs by at most -V log(1 - a).
A running normaliser may instead be rescaled after each block of 16 terms or more, R <= (V - 1)/16 times, or merged with
the block as a log-sum-exp; with the trait `many-rescales` at every term, R = V - 1:

- rescaled, by the exponential of a difference: a term is multiplied once for each greater block that follows, by a
  product that errs by (ulps + 2 + 2 |top|) u' (the last where the difference is contracted with log2 e), and in
  sum_k p_k (how many are greater) no order of the blocks gives more than R/2 for terms of their size, since p falls as
  that number rises (Chebyshev), and R for any;
- merged, L' = L + log1p(exp(s_k - L)): a merge errs by at most u' (|L'| + 1.2 ulps + 0.3), of which
  the share exp(L' - lse) is left at the end, and exp(-x) (|lse| + x) <= |lse| + 0.4.

Both are within R u' (2 max(|lse|, |top|) + 1.5 ulps + 2): a running normaliser is held in float32 or wider.

**The last steps.**  S may be stored (u); its logarithm errs by (ulps + 2) u log S, by base 2 too, and, where it
is a fast one, by ulps u' beside S = 1.  Then either (s - top) - log S, which rounds relative to s - top and y,
both at most |y|, or s - lse, relative to lse and y, or the like in base 2, relative to s, top and y once more.  Where parts
of the vocabulary are stored as log-sum-exps L_i before they are combined, part i is left with the share
w_i = exp(L_i - lse) of its error, and sum_i w_i |L_i| <= |lse| + sum_i w_i log(1 / w_i) <= |lse| + log V:

    u (2 |lse| + 2 |y| + log V) + u' (|s| + |top| + 3 |y|).

Each of these steps may act on what the steps before have moved: a factor of (1 + u)^5 on all.

**Not covered**: the logarithm of a finished softmax, log(p).  It has no value where p underflows, below
-87 nats in float32.  (Above that it lies within the radius, as measured; nothing here proves it.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from toise.bounds.bounded import BLOCK, REACH, U64
from toise.bounds.formats import FLOAT32

if TYPE_CHECKING:
    from toise.bounds.bounded import Bounded


def log_softmax(logits: Bounded) -> Bounded:
    """Bound logits - log sum exp(logits) over the last axis; the result is neither stored nor rounded to a dtype.

    logits  [..., vocab]   -inf is a probability of zero; a row of nothing else has no value
    ->      [..., vocab]   value and radius; where the value is -inf, no radius holds it: it is infinite
    """
    p, s, vocab = logits.precision, logits.value, logits.value.shape[-1]
    u = p.step_and_store + U64
    inside = min(u, FLOAT32.u + U64)
    possible = s > -np.inf
    top = s.max(-1, keepdims=True)
    shifted = s - top
    terms = np.exp(shifted)
    normaliser = terms.sum(-1, keepdims=True)
    y = shifted - np.log(normaliser)

    reach = np.where(possible, np.abs(s) + np.abs(top), 0)
    gap = np.where(possible, -shifted, 0)
    slip = np.where(possible, logits.radius + u * (3 * gap + p.ulps) + 2 * inside * reach, 0)
    rescales = vocab - 1 if "many-rescales" in p.traits else (vocab - 1) // BLOCK
    limit = min(REACH, math.log(p.tensor.huge) - 1)
    too_large = normaliser > min(p.accumulate.huge, p.tensor.huge)  # S may be stored
    lost = too_large | (np.isinf(slip) | (reach * inside * max(1, rescales) > limit)).any(-1, keepdims=True)
    up = np.exp(shifted + slip)  # formed so that 0 * inf cannot arise
    slipped = np.where(slip < 1, terms * np.expm1(np.minimum(slip, 1)), up - terms) / normaliser
    drift = np.log1p(slipped.sum(-1, keepdims=True))

    lse = np.abs(top + np.log(normaliser))
    add = -vocab * math.log1p(-(p.accumulate.u + U64))
    running = rescales * inside * (2 * np.maximum(lse, np.abs(top)) + 1.5 * p.ulps + 2)
    logarithm = u + (p.ulps + 2) * u * np.log(normaliser) + p.ulps * inside
    magnitude = np.where(possible, np.abs(y), 0)
    last = u * (2 * lse + 2 * magnitude + math.log(vocab)) + inside * (reach + 3 * magnitude)
    flushed = (vocab + 2) * max(p.step.tiny, p.tensor.tiny, p.accumulate.tiny)
    radius = (1 + u) ** 5 * (logits.radius + drift + add + running + logarithm + last) + flushed
    overflow = magnitude + radius > min(p.step.huge, p.tensor.huge)
    return logits.new(y, np.where(lost | overflow | ~possible, np.inf, radius))
