"""The readable reference as a backend: the laws judge it like any other."""

import toise_reference
import toise_spec
from toise_reference import (
    attention,
    causal_mask,
    feed_forward,
    layer_norm,
    mlm_corrupt,
    mlm_loss,
    multi_head_attention,
    residual,
    sequence_log_prob,
)

__all__ = [
    "attention",
    "causal_mask",
    "feed_forward",
    "layer_norm",
    "mlm_corrupt",
    "mlm_loss",
    "multi_head_attention",
    "residual",
    "sequence_log_prob",
]

__toise__ = {
    "name": toise_reference.__name__,
    "version": toise_spec.VERSION,
    "arrays": "numpy",
    "dtypes": ["float32", "float64"],
}
