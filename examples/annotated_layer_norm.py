"""Layer normalisation as a well-known tutorial writes it: read `toise check examples/annotated_layer_norm.py`.

The standard deviation divides by d - 1, and eps is added to it, outside the root.
"""


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """gamma * (x - mean) / (std + eps) + beta."""
    mean = x.mean(axis=-1, keepdims=True)
    std = x.std(axis=-1, keepdims=True, ddof=1)
    return gamma * (x - mean) / (std + eps) + beta
