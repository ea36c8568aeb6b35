"""AR · Autoregressive factorisation: how probable a text is, token by token.  Read with spec/toise_spec/autoregressive.md."""

import numpy as np

from toise_reference.domain import checked
from toise_reference.log_softmax import log_softmax


@checked
def sequence_log_prob(logits, tokens):
    """Add up, over a sequence, the log-probability of each token given those before it.

        log P(x_2, ..., x_n | x_1) = sum_t log_softmax(logits_t)[x_(t+1)]     for t = 1 ... n - 1     (AR-1)

    logits  [..., n, vocab]   row t rates every token as the one that follows token t; -inf rules it out
    tokens  [..., n]          int64  from 0 to vocab - 1
    ->      [...]             nats, 0 or less

    Raises ValueError or TypeError where the arguments do not fit together.

    Radford et al., "Improving Language Understanding by Generative Pre-Training", 2018, section 3.1.
    """
    predictions = log_softmax(logits[..., :-1, :])                  # [..., n - 1, vocab]  AR-3: nothing follows the last
    following = tokens[..., 1:, None]                               # [..., n - 1, 1]      AR-2: what each row rates
    steps = np.take_along_axis(predictions, following, axis=-1)     # [..., n - 1, 1]
    return steps.sum(axis=(-2, -1))                                 # [...]
