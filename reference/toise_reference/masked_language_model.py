"""MLM · The masked language model: hide some tokens, and ask for them.  Read with spec/toise_spec/masked_language_model.md."""

import numpy as np

from toise_reference.domain import checked
from toise_reference.log_softmax import log_softmax


@checked
def mlm_corrupt(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """Select tokens at random; hide 80 % of them, replace 10 %, and leave 10 % as they are.

        selected_i = u_i < rate and token_i is not special          (MLM-4, MLM-5)
        corrupted_i = mask_id, a random token, or token_i           (MLM-10)

    tokens       [...]  int64  ids from 0 to vocab_size - 1
    mask_id      whole         the id that hides a token
    vocab_size   whole         how many ids there are
    special_ids  ids           what is never selected
    rate         probability   of each other token to be selected
    seed         whole         of this call's own generator
    ->           two arrays [...]: corrupted, int64, and selected, bool

    Raises ValueError or TypeError where the arguments do not fit together.

    Devlin et al., "BERT", 2019 (arXiv:1810.04805), section 3.1.
    """
    draw = np.random.default_rng(seed)
    special = np.isin(tokens, special_ids)                          # [...]
    u = draw.random(tokens.shape)                                   # [...]  uniform from 0 to 1
    selected = (u < rate) & ~special                                # [...]  MLM-4: never a special token
    action = draw.random(tokens.shape)                              # [...]  uniform from 0 to 1
    random = draw.integers(vocab_size, size=tokens.shape)           # [...]  MLM-11: each id alike
    changed = np.where(action < 0.8, mask_id, np.where(action < 0.9, random, tokens))   # [...]
    return np.where(selected, changed, tokens), selected            # [...], [...]  MLM-3: the others stay


@checked
def mlm_loss(logits, labels, selected):
    """Average how improbable the true tokens were found, over all selected positions of the batch.

        loss = -1/|S| sum_(i in S) log_softmax(logits_i)[label_i]   (MLM-18)

    logits    [..., n, vocab]       the model's answer to the corrupted tokens
    labels    [..., n]       int64  the tokens before they were corrupted
    selected  [..., n]       bool   True = is asked for
    ->        []                    nats, 0 or more; NaN where nothing is selected

    Raises ValueError or TypeError where the arguments do not fit together.

    Devlin et al., "BERT", 2019 (arXiv:1810.04805), section 3.1.
    """
    log_p = log_softmax(logits)                                     # [..., n, vocab]
    of_label = np.take_along_axis(log_p, labels[..., None], -1)     # [..., n, 1]
    return -of_label[selected].mean()                               # []  MLM-20: one mean for the whole batch
