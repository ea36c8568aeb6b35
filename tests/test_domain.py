"""Most kernels do a part of an operation: what is outside is counted and shown, and neither passed nor failed."""

from __future__ import annotations

import numpy as np
import pytest
import toise
import toise_reference
from misbehaviours import judged
from toise.domain import Domain
from toise.engine import ENOUGH
from toise.inputs import Attention, TokenRows

EVERY = ("GEN-1", "GEN-4", "GEN-5", "GEN-7", "GEN-8", "ATT-1", "ATT-2", "ATT-4", "ATT-5", "ATT-6", "ATT-7", "ATT-8", "ATT-9")
EVERY += ("ATT-11", "ATT-12", "ATT-13", "ATT-14", "ATT-15", "ATT-16", "ATT-17", "ATT-18", "ATT-19", "ATT-20")


OUTSIDE = toise.Unsupported("outside")


def only(implemented, refusal=OUTSIDE, correct=toise_reference.attention):
    """Return an attention that refuses every call for which `implemented(q, k, v, mask, causal)` is False."""

    def attention(q, k, v, *, mask=None, causal=False, scale=None):
        if not implemented(q, k, v, mask, causal):
            raise refusal
        return correct(q, k, v, mask=mask, causal=causal, scale=scale)

    return attention


def four_axes(q, k, v, mask, causal):
    """As flash kernels: batch, heads, rows, features."""
    return q.ndim == 4


def head_64(q, k, v, mask, causal):
    """A head of 64 features for q, k and v."""
    return q.shape[-1] == v.shape[-1] == 64


def flash(q, k, v, mask, causal):
    """All of it: four axes, heads of 64 or 128, values as wide as keys, as many keys as queries."""
    return q.ndim == 4 and q.shape[-1] in (64, 128) and v.shape[-1] == q.shape[-1] and q.shape[-2] == k.shape[-2]


def a_tile(q, k, v, mask, causal):
    """One tile: four axes, heads of 64, lengths in whole blocks of 64."""
    return q.ndim == 4 and q.shape[-1] == v.shape[-1] == 64 and q.shape[-2] in (64, 128) and k.shape[-2] in (64, 128)


# What is implemented, how it is declared, and which requirements cannot be tried within it.
DOMAINS = {
    "four axes": (four_axes, {"rank": [4]}, ()),
    "a head of 64": (head_64, {"d_k": [64], "d_v": [64]}, ("ATT-8",)),
    "flash": (flash, {"rank": [4], "d_k": [64, 128], "d_v": "d_k", "m": "n"}, ("GEN-8", "ATT-7", "ATT-8", "ATT-12")),
}


def counts(report, id):
    """Return what became of the examples of one requirement."""
    (row,) = (row for row in report.results if row.requirement == id and not row.excluded)
    return row.examples


def outcomes(report):
    """Return the outcome of each requirement that the run was to judge."""
    return {row.requirement: row.outcome for row in report.results if not row.excluded}


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
@pytest.mark.parametrize("name", DOMAINS)
def test_a_correct_kernel_passes_within_its_domain(name, declared):
    """The inputs are moved into the domain, declared or found; what cannot be is NOT PROVIDED."""
    implemented, domain, outside = DOMAINS[name]
    target = {"attention": only(implemented), "__toise__": {"attention": {"domain": domain}} if declared else {}}
    report = judged(target, EVERY)

    assert outcomes(report) == {id: "NOT PROVIDED" if id in outside else "PASS" for id in EVERY}
    assert report.exit_code == 0
    for id in EVERY:
        examples = counts(report, id)
        assert examples["reshaped"] > 0, id
        if id in outside:
            assert examples["relevant"] < ENOUGH <= examples["unsupported"], id
        else:
            assert examples["relevant"] >= ENOUGH, id
            assert examples["unsupported"] == 0, id


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
def test_the_domain_that_was_judged_is_in_every_row(declared):
    """A PASS is a PASS of that much."""
    domain = {"rank": [4], "d_k": [64, 128], "d_v": "d_k", "m": "n"}
    target = {"attention": only(flash), "__toise__": {"attention": {"domain": domain}} if declared else {}}
    report = judged(target, ["ATT-1", "GEN-1"])

    shown = {row.domain for row in report.results}
    assert len(shown) == 1
    assert set(shown.pop().split(", ")) == {"rank 4", "d_k = 64 or 128", "d_v = d_k", "m = n"}


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
@pytest.mark.parametrize("implemented", [flash, a_tile])
def test_a_wrong_kernel_fails_within_its_domain(implemented, declared):
    """A small domain is no place to hide: the default scale, the causal order and a lost key are found there."""

    def wrong(q, k, v, *, mask=None, causal=False, scale=None):
        return toise_reference.attention(q, k, v, mask=mask, causal=False, scale=1.0 if scale is None else scale)

    domain = {
        "rank": [4],
        "d_k": [64],
        "d_v": [64],
        **({"n": [64, 128], "m": [64, 128]} if implemented is a_tile else {"m": "n"}),
    }
    target = {
        "attention": only(implemented, correct=wrong),
        "__toise__": {"attention": {"domain": domain}} if declared else {},
    }
    report = judged(target, ["GEN-1", "GEN-2", "ATT-1", "ATT-9", "ATT-14", "ATT-15"])

    expected = {"GEN-1": "PASS", "GEN-2": "PASS", "ATT-1": "FAIL", "ATT-9": "PASS", "ATT-14": "FAIL", "ATT-15": "FAIL"}
    assert outcomes(report) == expected
    assert report.exit_code == 1


@pytest.mark.parametrize(
    "refusal", [toise.Unsupported("four axes only"), NotImplementedError("four axes only"), toise.Unsupported()]
)
def test_both_exceptions_mean_outside_the_domain(refusal):
    """A backend need not import toise to refuse a call; the reason is the backend's own text."""
    report = judged({"attention": only(lambda *_: False, refusal)}, ["ATT-1"])
    (row,) = report.results

    assert (row.outcome, row.reason) == ("NOT PROVIDED", str(refusal) or "raised Unsupported")


def test_any_other_exception_for_a_valid_call_is_a_failure():
    """A valid input was rejected."""
    report = judged({"attention": only(four_axes, ValueError("four axes only"))}, ["ATT-1"])

    assert outcomes(report) == {"ATT-1": "FAIL"}


def test_without_masks_what_needs_one_is_not_provided():
    """And what is tried with and without one passes in part, with its count."""
    report = judged({"attention": only(lambda q, k, v, mask, causal: mask is None)}, EVERY)

    masks = {"ATT-4", "ATT-5", "ATT-17", "ATT-19", "ATT-20"}
    assert outcomes(report) == {id: "NOT PROVIDED" if id in masks else "PASS" for id in EVERY}
    for id in ("ATT-6", "ATT-7", "ATT-12"):
        examples = counts(report, id)
        assert examples["relevant"] >= ENOUGH, id
        assert examples["unsupported"] == examples["run"] - examples["relevant"] > 0, id
        assert report.requirements[id].rows[0].reason == "in part: outside"


def test_either_mask_or_causal_leaves_only_both_together_out():
    """As torch's scaled_dot_product_attention."""
    report = judged({"attention": only(lambda q, k, v, mask, causal: mask is None or not causal)}, EVERY)

    assert outcomes(report) == {id: "NOT PROVIDED" if id == "ATT-17" else "PASS" for id in EVERY}


def test_a_dtype_that_is_refused_is_not_provided_and_the_other_one_passes():
    """Asked for both, float32 decides the run."""
    target = {"attention": only(lambda q, k, v, mask, causal: q.dtype == np.float32)}
    report = judged(target, ["ATT-1", "GEN-2"], dtypes=["float32", "float64"])

    by_dtype = {(row.requirement, row.dtype): row.outcome for row in report.results}
    assert {outcome for (_, dtype), outcome in by_dtype.items() if dtype == "float32"} == {"PASS"}
    assert {outcome for (_, dtype), outcome in by_dtype.items() if dtype == "float64"} == {"NOT PROVIDED"}
    assert report.exit_code == 0


def test_a_dtype_that_is_not_declared_is_not_provided():
    """It is not even called."""
    calls = []

    def attention(q, k, v):
        calls.append(q.dtype)
        return toise_reference.attention(q, k, v)

    report = judged({"attention": attention, "__toise__": {"dtypes": ["float64"]}}, ["ATT-1"], dtypes=["float32"])

    (row,) = report.results
    assert (row.outcome, row.reason, calls) == ("NOT PROVIDED", "no dtype float32", [])
    assert report.exit_code == 2


@pytest.mark.parametrize("refusal", [toise.Unsupported, NotImplementedError])
def test_a_backend_that_refuses_everything_was_not_judged(refusal):
    """Exit 2, as where nothing is provided: never green for nothing."""
    report = toise.verify({"attention": only(lambda *_: False, refusal("outside"))}, budget="smoke")

    assert set(outcomes(report).values()) == {"NOT PROVIDED"}
    assert not report.passed
    assert report.exit_code == 2


def test_fewer_than_enough_examples_never_pass():
    """Four calls are answered, and then no more."""
    answered = []

    def attention(q, k, v):
        if len(answered) == ENOUGH - 1:
            raise toise.Unsupported("tired")
        answered.append(q.shape)
        return toise_reference.attention(q, k, v)

    target = {"attention": attention, "__toise__": {"attention": {"domain": {"rank": [2, 3, 4]}}}}
    report = judged(target, ["ATT-1"])

    (row,) = report.results
    assert (row.outcome, row.reason, row.examples["relevant"]) == ("NOT PROVIDED", "tired", ENOUGH - 1)
    assert not report.passed


@pytest.mark.parametrize("operation", ["attention", "layer_norm"])
def test_a_backend_with_one_operation_is_judged_on_it_alone(operation):
    """The requirements on the other one are NOT PROVIDED, each with the reason."""
    report = toise.verify({operation: getattr(toise_reference, operation)}, budget="smoke")

    for row in report.results:
        provided = row.operation == operation
        assert row.outcome == ("PASS" if provided else "NOT PROVIDED"), row
        assert row.reason == ("" if provided else f"no operation {row.operation}"), row
    assert report.exit_code == 0


def three_lines(queries, keys, values):
    """Attention as in a lecture: no mask, no causal order, no scale, names of its own."""
    scores = queries @ keys.swapaxes(-1, -2) / keys.shape[-1] ** 0.5
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ values


def test_three_lines_of_numpy_pass():
    """What needs an option that the signature lacks is NOT PROVIDED, with the option's name."""
    report = toise.verify({"attention": three_lines}, operations=["attention"], budget="smoke")

    missing = {row.requirement: row.reason for row in report.results if row.outcome == "NOT PROVIDED"}
    assert missing == {
        **dict.fromkeys(("ATT-4", "ATT-5", "ATT-18", "ATT-19", "ATT-20"), "no option mask"),
        **dict.fromkeys(("ATT-14", "ATT-15", "ATT-16", "CAU-14"), "no option causal"),
        "ATT-9": "no option scale",
        "ATT-17": missing["ATT-17"],
    }
    assert missing["ATT-17"] in ("no option mask", "no option causal")
    assert set(outcomes(report).values()) <= {"PASS", "NOT PROVIDED", "WARN"}
    assert report.exit_code == 0


SIGNATURES = [
    lambda q, k, v, *, mask=None, causal=False: toise_reference.attention(q, k, v, mask=mask, causal=causal),
    lambda q, k, v, mask=None, causal=False: toise_reference.attention(q, k, v, mask=mask, causal=causal),
    lambda query, key, value, *, causal=False, mask=None: toise_reference.attention(query, key, value, mask=mask, causal=causal),
    lambda *data, mask=None, causal=False: toise_reference.attention(*data, mask=mask, causal=causal),
]


@pytest.mark.parametrize("attention", SIGNATURES)
def test_parameters_may_have_any_names_and_options_may_be_missing(attention):
    """Data is passed by position, and an option by keyword, only where it differs from its default."""
    report = judged({"attention": attention}, ["ATT-1", "ATT-4", "ATT-9", "ATT-14"])

    assert outcomes(report) == {"ATT-1": "PASS", "ATT-4": "PASS", "ATT-9": "NOT PROVIDED", "ATT-14": "PASS"}
    assert report.exit_code == 0


def test_an_option_that_cannot_be_passed_by_name_is_not_there():
    """A positional-only parameter takes no keyword."""

    def attention(q, k, v, mask=None, /, *, causal=False):
        return toise_reference.attention(q, k, v, mask=mask, causal=causal)

    report = judged({"attention": attention}, ["ATT-1", "ATT-4", "ATT-14"])

    assert outcomes(report) == {"ATT-1": "PASS", "ATT-4": "NOT PROVIDED", "ATT-14": "PASS"}


def test_an_option_that_equals_its_default_is_not_passed():
    """A backend without `eps` whose own is 1e-5 is judged with the default, and NOT PROVIDED for others."""

    def layer_norm(x, gamma, beta):
        return toise_reference.layer_norm(x, gamma, beta)

    report = judged({"layer_norm": layer_norm}, ["LN-1", "LN-3", "GEN-2"])

    assert outcomes(report) == {"LN-1": "PASS", "LN-3": "NOT PROVIDED", "GEN-2": "PASS"}
    assert report.requirements["LN-1"].rows[0].reason == "in part: no option eps"


def test_a_callable_without_a_signature_is_tried_with_every_option():
    """A compiled function may take it; where it does not, its TypeError says so."""

    class Compiled:
        """A callable that hides its parameters."""

        __signature__ = "none"

        def __call__(self, *data, **options):
            return toise_reference.attention(*data, **options)

    report = judged({"attention": Compiled()}, ["ATT-1", "ATT-9"])

    assert outcomes(report) == {"ATT-1": "PASS", "ATT-9": "PASS"}


FITTED = [
    (Domain(), Attention(lead=(2,), n=3), Attention(lead=(2,), n=3)),
    (Domain(rank=(4,)), Attention(lead=()), Attention(lead=(1, 1))),
    (Domain(rank=(4,)), Attention(lead=(5,)), Attention(lead=(1, 5))),
    (Domain(rank=(2,)), Attention(lead=(2, 3)), Attention(lead=())),
    (Domain(rank=(3,)), Attention(lead=(2, 3)), Attention(lead=(6,))),
    (Domain(rank=(2, 4)), Attention(lead=(2, 3)), Attention(lead=(2, 3))),
    (Domain(sizes={"d_k": (64,)}), Attention(d_k=3), Attention(d_k=64)),
    (Domain(sizes={"d_k": (64, 128)}), Attention(d_k=100), Attention(d_k=128)),
    (Domain(sizes={"d_k": (64, 128)}), Attention(d_k=96), Attention(d_k=64)),
    (Domain(sizes={"m": "n"}), Attention(n=3, m=7), Attention(n=3, m=3)),
    (Domain(sizes={"d_v": "d_k", "d_k": (64,)}), Attention(d_k=3, d_v=5), Attention(d_k=64, d_v=64)),
    (Domain(sizes={"d": (768,)}), TokenRows(d=3), TokenRows(d=768)),
    (Domain(rank=(2,)), TokenRows(lead=(2, 3)), TokenRows(lead=(6,))),
]


@pytest.mark.parametrize(("domain", "recipe", "fitted"), FITTED, ids=str)
def test_a_recipe_is_moved_to_the_nearest_one_of_the_domain(domain, recipe, fitted):
    """Leading axes are reshaped, lengths changed; what is inside stays as it is."""
    assert domain.fit(recipe) == fitted
    assert domain.fit(fitted) == fitted


@pytest.mark.parametrize(("operation", "rank"), [("attention", 2), ("layer_norm", 1)])
def test_without_leading_axes_what_is_about_entries_is_not_applicable(operation, rank):
    """A backend for single inputs is right, and has no batch whose entries could mix."""
    declare = {operation: {"domain": {"rank": [rank]}}}
    report = toise.verify(
        {operation: getattr(toise_reference, operation)}, operations=[operation], declare=declare, budget="smoke"
    )
    found = {row.requirement: row.outcome for row in report.results if not row.excluded}

    assert report.passed
    assert found["GEN-7"] == "NOT APPLICABLE"
    assert "FAIL" not in found.values()
