"""How far rounding may lead a correct implementation: a value and a radius for every element.

`formats.py` says what a format and a precision class are (data), `bounded.py` holds the rules for
sums, products and matrix products, and each concept has a module with its own derivation.  Nothing
here reads `toise_reference`: the value beside the radius is a second, independent computation.
"""

from toise.bounds.attention import attention
from toise.bounds.autoregressive import sequence_log_prob
from toise.bounds.bounded import Bounded
from toise.bounds.causal_mask import causal_mask
from toise.bounds.feed_forward import feed_forward
from toise.bounds.formats import CLASSES, FLOAT32, LOOSER, PRECISIONS, TRAITS, UNROUNDED, Format, Precision
from toise.bounds.layer_norm import layer_norm
from toise.bounds.log_softmax import log_softmax
from toise.bounds.masked_language_model import mlm_loss
from toise.bounds.multi_head_attention import multi_head_attention
from toise.bounds.residual import residual

__all__ = [
    "CLASSES",
    "FLOAT32",
    "LOOSER",
    "PRECISIONS",
    "TRAITS",
    "UNROUNDED",
    "Bounded",
    "Format",
    "Precision",
    "attention",
    "causal_mask",
    "feed_forward",
    "layer_norm",
    "log_softmax",
    "mlm_loss",
    "multi_head_attention",
    "residual",
    "sequence_log_prob",
]
