"""Mistakes that change little, in each precision: the requirement that one would expect names them, at the standard budget.

What is wrong computes in float64 and is rounded once, to the dtype of its inputs, so that the mistake alone is the error: where
it is not seen, the radius is wider than the mistake.  The same code without a mistake passes the same requirements.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from misbehaviours import failed, judged
from within import in_float64

FLOAT32 = ("float32",)
WIDE = ("float32", "bfloat16")
ALL = ("float32", "bfloat16", "float16")


def softmax(scores, allowed):
    """Return the weights of the allowed keys; a row without any gives zeros."""
    scores = np.where(allowed, scores, -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def attend(q, k, v, *, mask=None, causal=False, scale=None, default=lambda q: q.shape[-1] ** -0.5, weights=softmax, ahead=0):
    """Attention of parts, each of which a mistake may replace."""
    scores = (q @ k.swapaxes(-1, -2)) * (default(q) if scale is None else scale)
    allowed = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
    if causal:
        n, m = scores.shape[-2:]
        allowed = allowed & np.tri(n, m, m - n + ahead, dtype=bool)
    return weights(scores, allowed) @ v


def after_the_softmax(scores, allowed):
    """Return the weights of all keys, with those of the hidden ones put to zero."""
    return softmax(scores, allowed=True) * allowed


def filled(number, scores, allowed):
    """Return weights where the scores of hidden keys are a finite number."""
    return softmax(np.where(allowed, scores, number), allowed=True)


def added(number, scores, allowed):
    """Return weights where a finite number is added to the scores of hidden keys."""
    return softmax(scores + np.where(allowed, 0, number), allowed=True)


def without(key, scores, allowed):
    """Return the weights without one key of thousands, and with all keys where there are fewer."""
    keys = scores.shape[-1]
    return softmax(scores, allowed & ((keys < 4096) | (np.arange(keys) != key % keys)))


def rescale_lost(scores, allowed, block=16):
    """Return weights by blocks, in which those so far are not rescaled when the third block has a greater score."""
    scores = np.where(allowed, scores, -np.inf)
    weights, top = np.zeros(scores.shape), np.full((*scores.shape[:-1], 1), -np.inf)
    for at in range(0, scores.shape[-1], block):
        part = scores[..., at : at + block]
        new = np.maximum(top, part.max(axis=-1, keepdims=True))
        shift = np.where(np.isfinite(new), new, 0)
        if at != 2 * block:
            weights *= np.exp(np.where(np.isfinite(top), top, -np.inf) - shift)
        weights[..., at : at + block] = np.exp(part - shift)
        top = new
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


# name: what is wrong, the dtypes in which it is one, and the requirements that name it.
ATTENTION = {
    "no scale": ({"default": lambda q: 1.0}, ALL, ("ATT-1", "ATT-8")),
    "scale of d_k + 1": ({"default": lambda q: (q.shape[-1] + 1) ** -0.5}, ALL, ("ATT-1", "ATT-8")),
    "scale of d_model, of 8 heads": ({"default": lambda q: (8 * q.shape[-1]) ** -0.5}, ALL, ("ATT-1",)),
    "the last of 4097 keys lost": ({"weights": partial(without, -1)}, ALL, ("ATT-13",)),
    "a key of 4097 at the edge of a block lost": ({"weights": partial(without, 2048)}, ALL, ("ATT-13",)),
    "causal order one too high": ({"ahead": 1}, ALL, ("ATT-14", "ATT-16")),
    "causal order one too low": ({"ahead": -1}, ALL, ("ATT-14", "ATT-16")),
    "mask after the softmax": ({"weights": after_the_softmax}, ALL, ("ATT-2", "ATT-4")),
    "hidden scores filled with -1e4": ({"weights": partial(filled, -1e4)}, ALL, ("ATT-4",)),
    "-1e4 added to hidden scores": ({"weights": partial(added, -1e4)}, ALL, ("ATT-5",)),
    "hidden scores filled with -1e9": ({"weights": partial(filled, -1e9)}, WIDE, ("ATT-18",)),
    "-1e9 added to hidden scores": ({"weights": partial(added, -1e9)}, WIDE, ("ATT-5",)),
    "a rescale lost": ({"weights": rescale_lost}, ALL, ("ATT-6", "ATT-13")),
}


def normalise(x, gamma, beta, *, eps=1e-5, ddof=0, root=lambda variance, eps: np.sqrt(variance + eps)):
    """Layer normalisation of parts, each of which a mistake may replace."""
    variance = x.var(axis=-1, keepdims=True, ddof=min(ddof, x.shape[-1] - 1))
    return gamma * (x - x.mean(axis=-1, keepdims=True)) / root(variance, eps) + beta


LAYER_NORM = {
    "default eps of 1e-6": (partial(normalise, eps=1e-6), ALL, ("LN-1", "LN-10")),
    "default eps of 1e-12": (partial(normalise, eps=1e-12), ALL, ("LN-1", "LN-10")),
    "eps outside the root": (partial(normalise, root=lambda variance, eps: np.sqrt(variance) + eps), ALL, ("LN-1", "LN-3")),
    "Bessel's correction": (partial(normalise, ddof=1), ALL, ("LN-1", "LN-2")),
}


def loss(logits, labels, selected, *, count=lambda selected: selected.sum(), everywhere=False):
    """The loss of parts, each of which a mistake may replace."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    steps = np.take_along_axis(shifted, labels[..., None], axis=-1)[..., 0] - np.log(np.exp(shifted).sum(axis=-1))
    positions = np.ones_like(selected) if everywhere else selected
    return -np.where(positions, steps, 0).sum() / count(positions)


LOSS = {
    "mean over all positions": (partial(loss, everywhere=True), ALL, ("MLM-18", "MLM-19")),
    "divided by one more": (partial(loss, count=lambda positions: positions.sum() + 1), ALL, ("MLM-18", "MLM-20", "MLM-24")),
}
MISTAKES = {
    **{("attention", name): (partial(attend, **part), *rest) for name, (part, *rest) in ATTENTION.items()},
    **{("layer_norm", name): mistake for name, mistake in LAYER_NORM.items()},
    **{("mlm_loss", name): mistake for name, mistake in LOSS.items()},
}
RIGHT = {"attention": attend, "layer_norm": normalise, "mlm_loss": loss}


def broken(operation, function, dtype, requirements):
    """Return which of the requirements a function breaks in a dtype, held to its strictest class."""
    report = judged({operation: in_float64(function)}, requirements, budget="standard", dtypes=[dtype])
    return failed(report)


@pytest.mark.parametrize(
    ("operation", "name", "dtype"), [(*key, dtype) for key, (_, dtypes, _) in MISTAKES.items() for dtype in dtypes]
)
def test_a_mistake_is_named_in_every_precision(operation, name, dtype):
    """It fails each of the requirements that are about it; no tolerance is so wide that it hides there."""
    function, _, requirements = MISTAKES[operation, name]

    assert broken(operation, function, dtype, requirements) == set(requirements)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("operation", RIGHT)
def test_without_a_mistake_the_same_requirements_hold(operation, dtype):
    """The parts are put together rightly, and the mistakes alone are what fails."""
    requirements = {id for (of, _), (_, _, ids) in MISTAKES.items() if of == operation for id in ids}

    assert broken(operation, RIGHT[operation], dtype, requirements) == set()
