"""FFN · Feed-forward: each position by itself.  Read with spec/toise_spec/feed_forward.md."""

import numpy as np

from toise_reference.domain import checked


@checked
def feed_forward(x, w1, b1, w2, b2):
    """Widen each position to `d_ff` hidden units, drop the negative ones, and come back.

        y = ReLU(x w1 + b1) w2 + b2                     (FFN-1)

    x   [..., d_model]    one row of features for each position
    w1  [d_model, d_ff]   weights of the first layer
    b1  [d_ff]            its bias
    w2  [d_ff, d_model]   weights of the second layer
    b2  [d_model]         its bias
    ->  [..., d_model]

    Raises ValueError or TypeError where the arguments do not fit together.

    Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762), section 3.3.
    """
    hidden = np.maximum(x @ w1 + b1, 0)                 # [..., d_ff]  FFN-2: an off unit is exactly 0
    return hidden @ w2 + b2                             # [..., d_model]
