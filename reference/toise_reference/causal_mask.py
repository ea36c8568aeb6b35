"""CAU · Causal mask: which keys a query may attend to, none of them a later one.  Read with spec/toise_spec/causal_mask.md."""

import numpy as np

from toise_reference.domain import checked


@checked
def causal_mask(n, m=None):
    """Let each query attend to its own key and to all earlier ones.

        mask[i, j] = True where j <= i + (m - n), False elsewhere   (CAU-1, CAU-6, CAU-8)

    n   whole    how many queries
    m   whole    how many keys; as many as queries unless given
    ->  [n, m]   boolean, True = may attend

    Raises TypeError for what is no whole number, and ValueError for one below zero.

    Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762), section 3.2.3.
    """
    if m is None:
        m = n
    everything = np.ones((n, m), bool)                                  # [n, m]
    return np.tril(everything, k=m - n)                                 # [n, m]  CAU-6, CAU-8: aligned bottom-right
