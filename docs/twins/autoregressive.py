"""AR · Right ways of writing sequence_log_prob, as the faults of autoregressive are written."""

# ruff: noqa: RET504 - a result has a name here where faults go on to change it

import numpy as np
from toise.faults.autoregressive import INF, log_p, log_p_in_blocks, picked, steps_of

from twins import twin


@twin("sequence_log_prob")
def one_line(logits, tokens):
    """The steps are added up."""
    return steps_of(logits, tokens).sum(axis=-1)


@twin("sequence_log_prob")
def steps_named(logits, tokens):
    """The steps have a name."""
    steps = steps_of(logits, tokens)
    return steps.sum(axis=-1)


@twin("sequence_log_prob")
def result_named(logits, tokens):
    """The result has a name."""
    result = steps_of(logits, tokens).sum(axis=-1)
    return result


@twin("sequence_log_prob")
def shift_written_out(logits, tokens):
    """Each row rates the next token."""
    return picked(log_p(logits[..., :-1, :]), tokens[..., 1:]).sum(axis=-1)


@twin("sequence_log_prob")
def following_named(logits, tokens):
    """The tokens that follow have a name."""
    following = tokens[..., 1:]
    return picked(log_p(logits[..., :-1, :]), following).sum(axis=-1)


@twin("sequence_log_prob")
def scores_named(logits, tokens):
    """The log-probabilities have a name."""
    scores = log_p(logits[..., :-1, :])
    return picked(scores, tokens[..., 1:]).sum(axis=-1)


@twin("sequence_log_prob")
def normaliser_written_out(logits, tokens):
    """The greatest logit is taken off, and the normaliser is written out."""
    rows = logits[..., :-1, :]
    rows = rows - rows.max(axis=-1, keepdims=True)
    return (picked(rows, tokens[..., 1:]) - np.log(np.exp(rows).sum(axis=-1))).sum(axis=-1)


@twin("sequence_log_prob")
def in_blocks(logits, tokens):
    """The vocabulary is taken in by blocks, and the sum so far is rescaled when a greater logit comes."""
    scores = log_p_in_blocks(logits[..., :-1, :], 128, lambda top, new: np.exp(top - new))
    return picked(scores, tokens[..., 1:]).sum(axis=-1)


@twin("sequence_log_prob")
def blocks_written_out(logits, tokens):
    """The same in blocks of four, written out; a block may be all -inf."""
    rows = logits[..., :-1, :]
    top, total = np.full_like(rows[..., :1], -INF), np.zeros_like(rows[..., :1])
    for start in range(0, rows.shape[-1], 4):
        block = rows[..., start : start + 4]
        new = np.maximum(top, block.max(axis=-1, keepdims=True))
        finite = np.where(np.isneginf(new), 0, new)
        total = total * np.exp(top - finite) + np.exp(block - finite).sum(axis=-1, keepdims=True)
        top = new
    return picked(rows - top - np.log(total), tokens[..., 1:]).sum(axis=-1)
