"""FFN · Right ways of writing feed_forward, as the faults of feed_forward are written."""

import numpy as np
from toise.faults.feed_forward import relu
from toise_reference import feed_forward as right

from twins import twin


@twin("feed_forward")
def one_line(x, w1, b1, w2, b2):
    """The formula alone."""
    return relu(x @ w1 + b1) @ w2 + b2


@twin("feed_forward")
def hidden_named(x, w1, b1, w2, b2):
    """The hidden units have a name."""
    hidden = relu(x @ w1 + b1)
    return hidden @ w2 + b2


@twin("feed_forward")
def sum_named(x, w1, b1, w2, b2):
    """What the activation is given has a name."""
    z = x @ w1 + b1
    return relu(z) @ w2 + b2


@twin("feed_forward")
def maximum_of_zero(x, w1, b1, w2, b2):
    """The activation is written out."""
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


@twin("feed_forward")
def halves_added(x, w1, b1, w2, b2):
    """Two workers share the units, and one adds b2."""
    hidden, half = relu(x @ w1 + b1), len(b1) // 2
    return (hidden[..., :half] @ w2[:half]) + (hidden[..., half:] @ w2[half:] + b2)


@twin("feed_forward")
def handed_on(x, w1, b1, w2, b2):
    """All is left to the reference."""
    return right(x, w1, b1, w2, b2)
