"""What Toise is told of this package: its functions under the names of the specification, and what they declare."""

import math

import numpy as np

from my_kernels import blockwise_attention

__toise__ = {"name": "my_kernels", "version": "1.0", "arrays": "numpy", "dtypes": ["float32", "float64"]}


def attention(q, k, v, *, mask=None, causal=False, scale=None):
    """Build the causal mask, and call the kernel."""
    if causal:
        n, m = q.shape[-2], k.shape[-2]
        allowed = np.tri(n, m, m - n, dtype=bool)
        mask = allowed if mask is None else mask & allowed
    return blockwise_attention(q, k, v, mask, 1 / math.sqrt(q.shape[-1]) if scale is None else scale)
