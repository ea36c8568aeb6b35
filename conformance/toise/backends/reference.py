"""The readable reference as a backend: the laws judge it like any other."""

import toise_reference
import toise_spec
from toise_reference import attention, layer_norm

__all__ = ["attention", "layer_norm"]

__toise__ = {
    "name": toise_reference.__name__,
    "version": toise_spec.VERSION,
    "arrays": "numpy",
    "dtypes": ["float32", "float64"],
}
