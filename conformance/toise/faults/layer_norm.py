"""LN · What implementations of layer_norm get wrong.  Read with spec/toise_spec/layer_norm.md."""

import numpy as np

from toise.faults import call, fault


@fault(
    "layer_norm",
    origin="hyunwoongko/transformer#7",
    fails=("LN-3",),
    on=call([[1, -1]], [1, 1], [0, 0], eps=0.5),
    hint="eps is added to the variance, inside the root: sqrt(variance + eps)",
)
def eps_outside_root(x, gamma, beta, *, eps=1e-5):
    """Eps is added to the standard deviation, outside the root."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / (np.sqrt(variance) + eps) + beta
