r"""The value of a causal mask, counted out.  Read with spec/toise_spec/causal_mask.md.

A truth value is not rounded, so every radius is 0.  What is left of an error analysis is the second computation of the
value, by comparing places and not by cutting a triangle.

**Bottom-right.** The last query stands at the last key, and so, back from there, each query at a key.  Counted back from
the last, query i has the place n - 1 - i and key j the place m - 1 - j; a query sees the keys that are as far back as it
is, or further: \(m - 1 - j \ge n - 1 - i\).

**Top-left.** The first query stands at the first key; counted from the first, the places are i and j: \(j \le i\).

For n = m the two say the same.
"""

from __future__ import annotations

import numpy as np

from toise.bounds.bounded import Bounded
from toise.bounds.formats import UNROUNDED


def causal_mask(n: int, m: int, alignment: str) -> Bounded:
    """Return which of m keys each of n queries may attend to: 1 for True and 0 for False, without any radius.

    alignment  "bottom-right" or "top-left"
    ->         [n, m]   value and radius
    """
    query, key = np.arange(n)[:, None], np.arange(m)  # [n, 1] and [m]
    seen = m - 1 - key >= n - 1 - query if alignment == "bottom-right" else key <= query
    return Bounded(seen, 0.0, UNROUNDED)
