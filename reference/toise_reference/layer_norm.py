"""LN · Layer normalisation: put every token on the same scale.  Read with spec/toise_spec/layer_norm.md."""

import numpy as np

from toise_reference.domain import checked


@checked
def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Centre each row of `x`, divide by its spread, then scale and shift.

        y = gamma * (x - mean) / sqrt(variance + eps) + beta        (LN-1)

    x      [..., d]   one row of d features per token
    gamma  [d]        learned scale
    beta   [d]        learned shift
    eps    number     keeps the root away from zero; 0 is the source's formula
    ->     [..., d]

    Raises ValueError or TypeError where the arguments do not fit together.

    Ba, Kiros & Hinton, "Layer Normalization", 2016 (arXiv:1607.06450), section 3.
    """
    mean = x.mean(axis=-1, keepdims=True)                   # [..., 1]
    centred = x - mean                                      # [..., d]
    variance = (centred**2).mean(axis=-1, keepdims=True)    # [..., 1]  LN-2: divide by d, not d - 1
    normalised = centred / np.sqrt(variance + eps)          # [..., d]  LN-3: eps inside the root
    return gamma * normalised + beta                        # [..., d]
