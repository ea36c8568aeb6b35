"""The classic mistakes, each named by the requirement that is about it, while what it leaves right passes."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import toise
import toise_reference
from misbehaviours import judged

EXAMPLE = Path(__file__).parent.parent / "examples" / "annotated_layer_norm.py"


def scaled(q, k, scale):
    """Return the scores: scale q k^T."""
    return (q @ k.swapaxes(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)


def bottom_right(n, m):
    """Return which keys a query may see in causal order."""
    return np.tri(n, m, m - n, dtype=bool)


def softmax(scores, axis=-1):
    """Return exp(scores), normalised; a row that is all -inf gives zeros."""
    top = scores.max(axis=axis, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=axis, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def masked_softmax(scores, allowed):
    """Return the weights of the allowed keys."""
    return softmax(np.where(allowed, scores, -np.inf))


def attention_with(*, scores=scaled, order=bottom_right, weights=masked_softmax):
    """Return an attention of three parts, one of which is wrong."""

    def attention(q, k, v, *, mask=None, causal=False, scale=None):
        allowed = np.ones((q.shape[-2], k.shape[-2]), bool) if mask is None else mask
        if causal:
            allowed = allowed & order(q.shape[-2], k.shape[-2])
        return (weights(scores(q, k, scale), allowed) @ v).astype(q.dtype)

    return attention


def filled_with(number):
    """Return weights in which a hidden key has that number for a score."""
    return lambda scores, allowed: softmax(np.where(allowed, scores, np.float32(number)))


def order_without_scale(q, k, v, *, mask=None, causal=False, scale=None):
    """Lose the scale on the path that the causal order takes."""
    return toise_reference.attention(q, k, v, mask=mask, causal=causal, scale=None if causal else scale)


# name: the attention, the requirement that names the mistake, and one that holds all the same.
ATTENTION = {
    "hidden keys at -1e4": (attention_with(weights=filled_with(-1e4)), "ATT-4", "ATT-1"),
    "hidden keys at zero": (attention_with(weights=filled_with(0)), "ATT-5", "ATT-1"),
    "scale lost beside the causal order": (order_without_scale, "ATT-9", "ATT-14"),
}


def layer_norm_with(*, statistics=None, root=lambda variance, eps: np.sqrt(variance + eps)):
    """Return a layer normalisation of two parts, one of which is wrong."""

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        mean, variance = (statistics or two_passes)(x)
        normalised = (x - mean) / root(variance, eps)
        return (gamma * normalised + beta).astype(x.dtype)

    return layer_norm


def two_passes(x, ddof=0):
    """Return the mean and the variance."""
    return x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True, ddof=min(ddof, x.shape[-1] - 1))


LAYER_NORM = {
    "variance over d - 1": (layer_norm_with(statistics=functools.partial(two_passes, ddof=1)), "LN-2", "LN-5"),
    "variance not rooted": (layer_norm_with(root=lambda variance, eps: variance + eps), "LN-6", "LN-5"),
}
MISTAKES = {
    **{name: ("attention", *rest) for name, rest in ATTENTION.items()},
    **{name: ("layer_norm", *rest) for name, rest in LAYER_NORM.items()},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_classic_mistake_is_named(name):
    """The requirement that is about it fails, and at least one other says what is right."""
    operation, function, broken, held = MISTAKES[name]
    report = judged({operation: function}, ["GEN-1", "GEN-2", broken, held], budget="standard")
    got = {row.requirement: row.outcome for row in report.results}

    shown = report.requirements[broken].counterexample
    assert got == {"GEN-1": "PASS", "GEN-2": "PASS", broken: "FAIL", held: "PASS"}, shown and shown.message
    assert not report.passed


def test_without_a_mistake_the_same_parts_pass():
    """The tables above are about the part that is wrong, and not about how the parts are put together."""
    report = toise.verify({"attention": attention_with(), "layer_norm": layer_norm_with()}, budget="smoke")

    failed = [
        (row.requirement, row.counterexample.message) for row in report.results if row.counterexample and row.level == "MUST"
    ]
    assert failed == []
    assert report.passed


def small(numbers):
    """Tell that numbers are small whole numbers or halves, and no more than three."""
    return len(numbers) <= 3 and all(2 * number == int(2 * number) and abs(number) <= 3 for number in numbers)


def test_the_formula_of_the_tutorial_is_named_by_its_two_mistakes():
    """examples/annotated_layer_norm.py divides by d - 1 and adds eps outside the root; the rest of it is right."""
    report = toise.verify(str(EXAMPLE), operations=["layer_norm"])
    got = {row.requirement: row.outcome for row in report.results if not row.excluded}

    assert not report.passed
    assert report.exit_code == 1
    assert {"LN-2", "LN-3", "LN-13"} <= {id for id, outcome in got.items() if outcome == "FAIL"}
    assert {id: got[id] for id in ("LN-5", "LN-8", "GEN-1", "GEN-2")} == dict.fromkeys(("LN-5", "LN-8", "GEN-1", "GEN-2"), "PASS")


def test_the_counterexample_of_the_tutorial_can_be_checked_in_the_head():
    """One row of at most three small numbers, and an eps as large as they are."""
    report = judged(str(EXAMPLE), ["LN-2", "LN-3"], budget="standard")
    shown = report.requirements["LN-3"].counterexample

    assert shown.text == "layer_norm(literal=(1.0, -1.0), eps=0.5)"
    assert shown.message == "variance of row [0] is 0.272909878; required 0.666666667 within 2.05e-06"
    (row,) = shown.arrays["x"]
    assert small(row)
    assert shown.options["eps"] >= 0.25
