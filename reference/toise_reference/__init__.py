"""The transformer's formulas in textbook NumPy: one module for each concept.

    >>> import numpy as np
    >>> from toise_reference import layer_norm
    >>> layer_norm(np.array([[1.0, -1.0]]), np.ones(2), np.zeros(2), eps=0.5).round(3)
    array([[ 0.816, -0.816]])

Arrays are `[..., rows, features]`; float64 stays float64 and float32 stays float32.
"""

from toise_reference.attention import attention
from toise_reference.autoregressive import sequence_log_prob
from toise_reference.causal_mask import causal_mask
from toise_reference.feed_forward import feed_forward
from toise_reference.layer_norm import layer_norm
from toise_reference.log_softmax import log_softmax
from toise_reference.masked_language_model import mlm_corrupt, mlm_loss
from toise_reference.multi_head_attention import multi_head_attention
from toise_reference.residual import residual

__all__ = [
    "attention",
    "causal_mask",
    "feed_forward",
    "layer_norm",
    "log_softmax",
    "mlm_corrupt",
    "mlm_loss",
    "multi_head_attention",
    "residual",
    "sequence_log_prob",
]
