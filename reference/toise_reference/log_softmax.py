"""Log-probabilities: what both language-model objectives read off the logits.  Read with spec/toise_spec/autoregressive.md."""

import numpy as np

from toise_reference.domain import checked


@checked
def log_softmax(logits):
    """Turn each row of logits into logarithms of probabilities.

        log p_k = (logit_k - top) - log sum_l exp(logit_l - top)    (AR-1, MLM-18)

    logits  [..., vocab]   any real numbers, -inf for a token of probability zero
    ->      [..., vocab]   nats, 0 or less

    Raises ValueError or TypeError for logits that are no floating-point array with a vocabulary.

    Blanchard, Higham & Higham, "Accurately Computing the Log-Sum-Exp and Softmax Functions", 2021.
    """
    top = logits.max(axis=-1, keepdims=True)                    # [..., 1]  exp cannot overflow
    shifted = logits - top                                      # [..., vocab]
    normaliser = np.exp(shifted).sum(axis=-1, keepdims=True)    # [..., 1]
    return shifted - np.log(normaliser)                         # [..., vocab]
