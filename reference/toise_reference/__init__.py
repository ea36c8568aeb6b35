"""The transformer's formulas in textbook NumPy: one module for each concept.

    >>> import numpy as np
    >>> from toise_reference import layer_norm
    >>> layer_norm(np.array([[1.0, -1.0]]), np.ones(2), np.zeros(2), eps=0.5).round(3)
    array([[ 0.816, -0.816]])

Arrays are `[..., rows, features]`; float64 stays float64 and float32 stays float32.
"""

from toise_reference.attention import attention
from toise_reference.layer_norm import layer_norm

__all__ = ["attention", "layer_norm"]
