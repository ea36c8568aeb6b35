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


def multiplied_after(scores, allowed):
    """Return the weights of all keys, with the hidden ones put to zero and the others left as they are."""
    return softmax(scores) * allowed


def filled_with(number):
    """Return weights in which a hidden key has that number for a score."""
    return lambda scores, allowed: softmax(np.where(allowed, scores, np.float32(number)))


def unshifted(scores, allowed):
    """Return exp(scores), normalised, without the row's greatest score taken off first."""
    weights = np.where(allowed, np.exp(scores), 0)
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def without_the_last_key(scores, allowed):
    """Return weights in which the last of several keys is lost, as by a loop that ends too soon."""
    last = np.arange(scores.shape[-1]) == scores.shape[-1] - 1
    return masked_softmax(scores, allowed & ~(last & (scores.shape[-1] > 2)))


def scale_without_mask(q, k, v, *, mask=None, causal=False, scale=None):
    """Take the mask for given with the default scale alone."""
    return toise_reference.attention(q, k, v, mask=mask if scale is None else None, causal=causal, scale=scale)


def scale_without_order(q, k, v, *, mask=None, causal=False, scale=None):
    """Lose the causal order on the path that an explicit scale takes, as in keras-team/keras#23038."""
    return toise_reference.attention(q, k, v, mask=mask, causal=causal and scale is None, scale=scale)


def order_without_scale(q, k, v, *, mask=None, causal=False, scale=None):
    """Lose the scale on the path that the causal order takes."""
    return toise_reference.attention(q, k, v, mask=mask, causal=causal, scale=None if causal else scale)


def low_scores_clipped(scores, allowed):
    """Return weights that take any score below -10000 for the mark of a hidden key, and all of them for one another."""
    return softmax(np.maximum(np.where(allowed, scores, -np.inf), np.float32(-1e4)))


# name: the attention, the requirement that names the mistake, and one that holds all the same.
ATTENTION = {
    "no scale": (attention_with(scores=lambda q, k, scale: scaled(q, k, 1.0 if scale is None else scale)), "ATT-8", "ATT-9"),
    "scale by d_k": (
        attention_with(scores=lambda q, k, scale: scaled(q, k, 1 / q.shape[-1] if scale is None else scale)),
        "ATT-8",
        "ATT-9",
    ),
    "scale by the width of all heads": (
        attention_with(scores=lambda q, k, scale: scaled(q, k, (8 * q.shape[-1]) ** -0.5 if scale is None else scale)),
        "ATT-1",
        "ATT-9",
    ),
    "scale of zero is no scale": (attention_with(scores=lambda q, k, scale: scaled(q, k, scale or None)), "ATT-9", "ATT-8"),
    "softmax over the queries": (
        attention_with(weights=lambda scores, allowed: softmax(np.where(allowed, scores, -np.inf), axis=-2)),
        "ATT-7",
        "GEN-7",
    ),
    "mask inverted": (
        attention_with(weights=lambda scores, allowed: masked_softmax(scores, allowed if allowed.all() else ~allowed)),
        "ATT-4",
        "ATT-1",
    ),
    "mask after the softmax": (attention_with(weights=multiplied_after), "ATT-4", "ATT-1"),
    "hidden keys at -1e4": (attention_with(weights=filled_with(-1e4)), "ATT-4", "ATT-1"),
    "hidden keys at zero": (attention_with(weights=filled_with(0)), "ATT-5", "ATT-1"),
    "causal order top-left": (attention_with(order=lambda n, m: np.tri(n, m, dtype=bool)), "ATT-14", "ATT-15"),
    "causal order one too high": (attention_with(order=lambda n, m: np.tri(n, m, m - n + 1, dtype=bool)), "ATT-16", "ATT-4"),
    "causal order one too low": (attention_with(order=lambda n, m: np.tri(n, m, m - n - 1, dtype=bool)), "ATT-16", "ATT-4"),
    "no maximum taken off": (attention_with(weights=unshifted), "ATT-11", "ATT-13"),
    "last key lost": (attention_with(weights=without_the_last_key), "ATT-13", "ATT-7"),
    "mask lost beside a scale": (scale_without_mask, "ATT-5", "ATT-4"),
    "causal order lost beside a scale": (scale_without_order, "ATT-15", "ATT-14"),
    "scale lost beside the causal order": (order_without_scale, "ATT-9", "ATT-14"),
    "low scores clipped": (attention_with(weights=low_scores_clipped), "ATT-4", "ATT-13"),
}


def layer_norm_with(*, statistics=None, root=lambda variance, eps: np.sqrt(variance + eps), affine=None):
    """Return a layer normalisation of three parts, one of which is wrong."""

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        mean, variance = (statistics or two_passes)(x)
        normalised = (x - mean) / root(variance, eps)
        return (affine(normalised, gamma, beta) if affine else gamma * normalised + beta).astype(x.dtype)

    return layer_norm


def two_passes(x, axis=-1, ddof=0):
    """Return the mean and the variance."""
    return x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True, ddof=min(ddof, x.shape[-1] - 1))


def one_pass(x):
    """Return the mean, and the mean of the squares less the square of the mean."""
    mean = x.mean(axis=-1, keepdims=True)
    return mean, np.maximum((x * x).mean(axis=-1, keepdims=True) - mean * mean, 0)


def over_all_axes(x):
    """Return one mean and one variance for the whole array."""
    axes = tuple(range(x.ndim))
    return two_passes(x, axis=axes) if x.size else (x[..., :1], x[..., :1])


def carried_over(x):
    """Return means in which a tenth of the row before is left, as of an accumulator that is not cleared."""
    mean, variance = two_passes(x)
    if x.ndim > 1:
        mean[..., 1:, :] += mean[..., :-1, :] / 10
    return mean, variance


def without_mean(x):
    """Return what RMS normalisation takes for a mean and a variance."""
    return np.zeros_like(x[..., :1]), (x * x).mean(axis=-1, keepdims=True)


LAYER_NORM = {
    "variance over d - 1": (layer_norm_with(statistics=functools.partial(two_passes, ddof=1)), "LN-2", "LN-5"),
    "eps outside the root": (layer_norm_with(root=lambda variance, eps: np.sqrt(variance) + np.float32(eps)), "LN-3", "LN-2"),
    "eps ignored": (layer_norm_with(root=lambda variance, eps: np.sqrt(variance + 1e-5)), "LN-10", "LN-5"),
    "eps of zero is the default": (
        layer_norm_with(root=lambda variance, eps: np.sqrt(variance + (eps or 1e-5))),
        "LN-12",
        "LN-3",
    ),
    "eps of 1e-6 by default": (
        layer_norm_with(root=lambda variance, eps: np.sqrt(variance + (1e-6 if eps == 1e-5 else eps))),
        "LN-10",
        "LN-3",
    ),
    "one pass": (layer_norm_with(statistics=one_pass), "LN-11", "LN-8"),
    "statistics over all axes": (layer_norm_with(statistics=over_all_axes), "LN-7", "LN-9"),
    "a row carried over": (layer_norm_with(statistics=carried_over), "LN-7", "LN-9"),
    "statistics over the rows": (
        layer_norm_with(statistics=lambda x: two_passes(x, axis=-2) if x.ndim > 1 and x.size else two_passes(x)),
        "LN-7",
        "LN-9",
    ),
    "beta before gamma": (layer_norm_with(affine=lambda normalised, gamma, beta: gamma * (normalised + beta)), "LN-8", "LN-3"),
    "beta forgotten": (layer_norm_with(affine=lambda normalised, gamma, beta: gamma * normalised), "LN-8", "LN-3"),
    "gamma forgotten": (layer_norm_with(affine=lambda normalised, gamma, beta: normalised + beta), "LN-8", "LN-3"),
    "RMS, without the mean": (layer_norm_with(statistics=without_mean), "LN-5", "LN-8"),
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
