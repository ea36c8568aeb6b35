"""Whatever a backend does, it gets an outcome of its own: the mistake is named, and what it does not touch passes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import toise
import toise_reference
import torch
from misbehaviours import (
    RAISED,
    a_list,
    a_number,
    a_view,
    backend,
    broadcastable,
    cached_by_address,
    cached_by_shape,
    drops,
    element,
    empty_rows_mean,
    empty_rows_nan,
    empty_rows_raise,
    entries_exchanged,
    exits,
    float16,
    float64,
    in_place,
    integers,
    judged,
    last_bits_vary,
    mean_of_the_values,
    nan_everywhere,
    nothing,
    one_buffer,
    raising,
    sometimes_wrong,
    spoiled,
    squeezed,
    strides_ignored,
    the_previous_result,
    top_left,
    transposed,
    with_one_axis_more,
    writes_into,
    writes_into_the_mask,
    zeros,
)
from toise.verdict import KINDS, Irrelevant, NotProvided, Violation

PASS = ("PASS", "")
# The requirement that is the operation's formula.
FORMULA = {"attention": "ATT-1", "layer_norm": "LN-1"}
BOTH = ("attention", "layer_norm")


def fail(kind):
    """Return the outcome of a broken MUST."""
    return "FAIL", KINDS[kind]


def warn(kind):
    """Return the outcome of a broken SHOULD."""
    return "WARN", KINDS[kind]


def rows(report):
    """Return each requirement's outcome with its reason, as far as the run was to judge it."""
    return {row.requirement: (row.outcome, row.reason) for row in report.results if not row.excluded}


def assert_rows(report, expected):
    """Compare the outcomes, and show those that differ, with the counterexample's own words."""
    got = rows(report)
    wrong = [id for id in expected if got.get(id) != expected[id]]
    shown = {row.requirement: row.counterexample.message for row in report.results if row.counterexample}
    assert not wrong, "\n" + "\n".join(f"{id}: got {got.get(id)}, expected {expected[id]}; {shown.get(id, '')}" for id in wrong)


# name: the misbehaviour, the operations that it is tried on, what breaks, and what it does not touch.
MISBEHAVIOURS = {
    "squeezed": (squeezed, BOTH, {"GEN-1": fail("shape"), "FORMULA": fail("shape")}, ("GEN-4", "GEN-10")),
    "with one axis more": (with_one_axis_more, BOTH, {"GEN-1": fail("shape"), "FORMULA": fail("shape")}, ("GEN-4", "GEN-10")),
    "transposed": (transposed, BOTH, {"GEN-1": fail("shape"), "FORMULA": fail("shape")}, ("GEN-4", "GEN-10")),
    "broadcastable": (broadcastable, BOTH, {"GEN-1": fail("shape"), "FORMULA": fail("shape")}, ("GEN-4", "GEN-10")),
    "float64": (float64, BOTH, {"GEN-2": fail("dtype")}, ("GEN-1", "GEN-3", "GEN-5", "FORMULA")),
    "float16": (float16, BOTH, {"GEN-2": fail("dtype"), "FORMULA": fail("value")}, ("GEN-1", "GEN-3", "GEN-4", "GEN-11")),
    "integers": (integers, BOTH, {"GEN-2": fail("dtype"), "FORMULA": fail("dtype")}, ("GEN-4", "GEN-10")),
    "nothing": (nothing, BOTH, {"GEN-1": fail("type"), "FORMULA": fail("type"), "GEN-11": warn("type")}, ()),
    "a list": (a_list, BOTH, {"GEN-1": fail("type"), "FORMULA": fail("type"), "GEN-11": warn("type")}, ()),
    "a number": (a_number, BOTH, {"GEN-1": fail("type"), "FORMULA": fail("type"), "GEN-11": warn("type")}, ()),
    "NaN in one element": (
        element(math.nan),
        BOTH,
        {"GEN-3": fail("non-finite"), "FORMULA": fail("non-finite")},
        ("GEN-1", "GEN-2", "GEN-4", "GEN-10", "GEN-11"),
    ),
    "NaN everywhere": (
        nan_everywhere,
        BOTH,
        {"GEN-3": fail("non-finite"), "FORMULA": fail("non-finite")},
        ("GEN-1", "GEN-2", "GEN-4", "GEN-10", "GEN-11"),
    ),
    "infinity in one element": (
        element(math.inf),
        BOTH,
        {"GEN-3": fail("non-finite"), "FORMULA": fail("non-finite")},
        ("GEN-1", "GEN-2", "GEN-4", "GEN-10", "GEN-11"),
    ),
    "zeros": (zeros, BOTH, {"FORMULA": fail("value")}, ("GEN-1", "GEN-2", "GEN-3", "GEN-4", "GEN-10", "GEN-11")),
    "entries exchanged": (
        entries_exchanged,
        BOTH,
        {"GEN-7": fail("value"), "FORMULA": fail("value")},
        ("GEN-1", "GEN-2", "GEN-3", "GEN-4", "GEN-5", "GEN-11"),
    ),
    "writes into the first input": (
        writes_into(0),
        BOTH,
        {"GEN-4": fail("mutated")},
        ("GEN-1", "GEN-2", "GEN-3", "GEN-5", "GEN-10", "FORMULA"),
    ),
    "writes into the second input": (writes_into(1), BOTH, {"GEN-4": fail("mutated")}, ("GEN-1", "GEN-5", "FORMULA")),
    "writes into the third input": (writes_into(2), BOTH, {"GEN-4": fail("mutated")}, ("GEN-1", "GEN-5", "FORMULA")),
    "works in place": (
        in_place,
        BOTH,
        {"GEN-4": fail("mutated"), "GEN-10": warn("shared")},
        ("GEN-1", "GEN-2", "GEN-3", "FORMULA"),
    ),
    "cached by shape": (cached_by_shape, BOTH, {"GEN-5": fail("state")}, ("GEN-1", "GEN-2", "GEN-4", "GEN-10", "GEN-11")),
    "cached by address": (cached_by_address, BOTH, {"GEN-5": fail("state")}, ("GEN-1", "GEN-2", "GEN-4", "GEN-10")),
    "one buffer for all results": (one_buffer, BOTH, {"GEN-5": fail("state")}, ("GEN-1", "GEN-2", "GEN-4", "GEN-10", "FORMULA")),
    "strides ignored": (
        strides_ignored,
        BOTH,
        {"GEN-6": fail("layout")},
        ("GEN-1", "GEN-2", "GEN-3", "GEN-4", "GEN-5", "GEN-7", "GEN-11", "FORMULA"),
    ),
    "exits": (
        exits,
        BOTH,
        {"GEN-1": ("CRASH", KINDS["exit"]), "FORMULA": ("CRASH", KINDS["exit"]), "GEN-11": ("CRASH", KINDS["exit"])},
        (),
    ),
    "drops eps": (
        drops("eps"),
        ("layer_norm",),
        {"LN-3": fail("value"), "LN-10": fail("value")},
        ("GEN-1", "LN-5", "LN-8", "LN-9"),
    ),
    "drops scale": (drops("scale"), ("attention",), {"ATT-9": fail("value")}, ("GEN-1", "ATT-1", "ATT-4", "ATT-8", "ATT-14")),
    "drops mask": (
        drops("mask"),
        ("attention",),
        {"ATT-4": fail("value"), "ATT-5": fail("value"), "ATT-17": fail("value")},
        ("GEN-1", "ATT-1", "ATT-2", "ATT-8", "ATT-14"),
    ),
    "drops causal": (
        drops("causal"),
        ("attention",),
        {"ATT-14": fail("value"), "ATT-15": fail("value"), "ATT-16": fail("value"), "ATT-17": fail("value")},
        ("GEN-1", "ATT-1", "ATT-4", "ATT-9"),
    ),
    "top-left": (top_left, ("attention",), {"ATT-14": fail("value")}, ("GEN-1", "ATT-1", "ATT-4", "ATT-15", "ATT-16")),
    "empty rows NaN": (empty_rows_nan, ("attention",), {"ATT-18": fail("value")}, ("GEN-3", "ATT-1", "ATT-4", "ATT-17")),
    "empty rows mean": (empty_rows_mean, ("attention",), {"ATT-18": fail("value")}, ("GEN-3", "ATT-1", "ATT-4", "ATT-17")),
    "mean of the values": (
        mean_of_the_values,
        ("attention",),
        {
            "ATT-1": fail("value"),
            "ATT-4": fail("value"),
            "ATT-11": fail("value"),
            "ATT-13": fail("value"),
            "ATT-14": fail("value"),
        },
        ("GEN-1", "GEN-2", "GEN-3", "GEN-5", "GEN-11", "ATT-2"),
    ),
    "last bits vary": (last_bits_vary, BOTH, {"GEN-11": warn("bits")}, ("GEN-1", "GEN-2", "GEN-3", "GEN-4", "GEN-5", "FORMULA")),
    "sometimes wrong": (sometimes_wrong, BOTH, {"FORMULA": fail("unrepeatable")}, ("GEN-1", "GEN-2", "GEN-3", "GEN-4")),
    **{
        f"raises {name}": (
            raising(make),
            BOTH,
            {"FORMULA": fail("raised"), "GEN-9": warn("raised"), "GEN-11": warn("raised")},
            (),
        )
        for name, make in RAISED.items()
        if name != "MemoryError"
    },
    "runs out of memory": (
        raising(RAISED["MemoryError"]),
        BOTH,
        dict.fromkeys(("FORMULA", "GEN-9", "GEN-11"), ("CRASH", KINDS["memory"])),
        (),
    ),
}
TRIED = [(name, operation) for name, (_, operations, _, _) in MISBEHAVIOURS.items() for operation in operations]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "operation"), TRIED, ids=lambda part: part.replace(" ", "_"))
def test_a_misbehaviour_has_its_own_outcome(name, operation, library):
    """The requirement that it breaks says how, and requirements that it does not touch pass."""
    misbehaviour, _, broken, untouched = MISBEHAVIOURS[name]
    expected = {**broken, **dict.fromkeys(untouched, PASS)}
    expected = {FORMULA[operation] if id == "FORMULA" else id: outcome for id, outcome in expected.items()}
    report = judged(backend(misbehaviour, library, operation), expected)

    assert_rows(report, expected)
    assert report.passed == all(outcome in ("PASS", "WARN") for outcome, _ in expected.values())


# What a misbehaviour breaks of all the requirements, where that is little.
WHOLE = {
    ("attention", "nothing wrong"): (None, {}),
    ("attention", "strides ignored"): (strides_ignored, {"GEN-6": fail("layout")}),
    ("attention", "drops scale"): (drops("scale"), {"ATT-9": fail("value")}),
    ("attention", "drops causal"): (
        drops("causal"),
        dict.fromkeys(("ATT-14", "ATT-15", "ATT-16", "ATT-17", "CAU-14"), fail("value")),
    ),
    ("attention", "top-left"): (top_left, dict.fromkeys(("ATT-14", "ATT-17", "CAU-14"), fail("value"))),
    ("attention", "empty rows NaN"): (empty_rows_nan, {"ATT-18": fail("value")}),
    ("layer_norm", "nothing wrong"): (None, {}),
    ("layer_norm", "float64"): (float64, {"GEN-2": fail("dtype")}),
    ("layer_norm", "one buffer"): (one_buffer, {"GEN-5": fail("state")}),
    ("layer_norm", "strides ignored"): (strides_ignored, {"GEN-6": fail("layout")}),
    ("layer_norm", "last bits vary"): (last_bits_vary, {"GEN-11": warn("bits")}),
}


@pytest.mark.parametrize(("operation", "name"), WHOLE, ids=lambda part: part.replace(" ", "_"))
def test_a_mistake_in_one_place_breaks_nothing_else(operation, name):
    """Every other requirement passes: a list of failures is as long as the list of mistakes."""
    misbehaviour, broken = WHOLE[operation, name]
    report = toise.verify(backend(misbehaviour, "numpy", operation), operations=[operation], budget="smoke")

    assert_rows(report, dict.fromkeys(rows(report), PASS) | broken)


HINT = 'it would hold if the backend declared __toise__ = {{"attention": {{"{}": "{}"}}}}'
CHOICES = [
    (top_left, "ATT-14", "causal_alignment", "top-left"),
    (top_left, "ATT-17", "causal_alignment", "top-left"),
    (top_left, "CAU-14", "causal_alignment", "top-left"),
    (empty_rows_nan, "ATT-18", "empty_row", "nan"),
    (empty_rows_mean, "ATT-18", "empty_row", "mean"),
    (empty_rows_raise, "ATT-18", "empty_row", "raises"),
]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(("misbehaviour", "id", "key", "value"), CHOICES)
def test_a_failure_that_is_another_choice_names_the_declaration(misbehaviour, id, key, value, library):
    """With that declaration the backend passes, and without it the hint is the text to add."""
    undeclared = judged(backend(misbehaviour, library, "attention"), [id])
    declared = judged(backend(misbehaviour, library, "attention", **{key: value}), [id])

    assert undeclared.requirements[id].counterexample.hint == HINT.format(key, value)
    assert_rows(declared, {id: PASS})


def test_a_mistake_that_is_no_choice_has_no_hint():
    """No declaration would make a dropped causal order right."""
    report = judged(backend(drops("causal"), "numpy", "attention"), ["ATT-14"])

    assert report.requirements["ATT-14"].counterexample.hint == ""


def over_the_queries(q, k, v, *, mask=None, causal=False, scale=None):
    """Take the softmax over the wrong axis, without a memory of anything."""
    allowed = np.ones((q.shape[-2], k.shape[-2]), bool) if mask is None else mask
    allowed = allowed & toise_reference.causal_mask(*allowed.shape[-2:]) if causal else allowed
    scores = np.where(allowed, (q @ k.swapaxes(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale), -np.inf)
    parts = np.exp(scores - scores.max(axis=-2, keepdims=True, initial=-1e30)).astype(q.dtype)
    total = parts.sum(axis=-2, keepdims=True)
    return parts / np.where(total > 0, total, 1).astype(q.dtype) @ v


def test_a_choice_that_holds_on_the_smallest_input_alone_is_no_hint():
    """With one query and two keys, top-left hides the key that this softmax should not have given all its weight."""
    report = judged({"attention": over_the_queries}, ["ATT-14"])

    assert report.requirements["ATT-14"].outcome == "FAIL"
    assert report.requirements["ATT-14"].counterexample.hint == ""


def test_a_formula_that_has_no_use_for_an_array_is_no_memory():
    """Of one query this softmax makes a weight of 1 for every key, whatever the query is: values that cancel hide that."""
    report = judged({"attention": over_the_queries}, ["GEN-5"])

    assert_rows(report, {"GEN-5": PASS})


def test_a_backend_of_one_rank_is_told_to_declare_it():
    """It raises wherever there are leading axes, and does all else right; where it says so, it passes."""

    def of_matrices(q, k, v, **options):
        if q.ndim != 2:
            raise ValueError("matrices alone")
        return toise_reference.attention(q, k, v, **options)

    undeclared = judged({"attention": of_matrices}, ["ATT-1"])
    declared = judged({"attention": of_matrices, "__toise__": {"attention": {"domain": {"rank": [2]}}}}, ["ATT-1"])

    hint = undeclared.requirements["ATT-1"].counterexample.hint
    assert hint == 'it would hold if the backend declared __toise__ = {"attention": {"domain": {"rank": [2]}}}'
    assert_rows(declared, {"ATT-1": PASS})


def test_a_promotion_to_float64_names_its_usual_cause():
    """In NumPy alone: np.sqrt(64) is an np.float64 scalar."""
    hints = [
        judged(backend(float64, library, "layer_norm"), ["GEN-2"]).requirements["GEN-2"].counterexample.hint
        for library in ("numpy", "torch")
    ]

    assert "np.sqrt(64)" in hints[0]
    assert hints[1] == ""


MESSAGES = [
    (nothing, "GEN-1", "returned None; required: a numpy array"),
    (a_list, "GEN-1", "returned a list; required: a numpy array"),
    (a_number, "GEN-1", "returned a float; required: a numpy array"),
    (squeezed, "GEN-1", "shape (2,); required (1, 2)"),
    (float64, "GEN-2", "dtype float64; required float32"),
    (integers, "GEN-2", "dtype int64; required float32"),
    (writes_into(1), "GEN-4", "the call wrote into gamma"),
    (in_place, "GEN-10", "the result shares memory with x"),
    (exits, "GEN-1", "tried to end the process (SystemExit: 3); required: a result"),
    (raising(RAISED["ValueError"]), "GEN-1", "raised ValueError: the shapes do not fit; required: a result"),
    (raising(RAISED["Hostile"]), "GEN-1", "raised Hostile: <Hostile without a text>; required: a result"),
    (raising(RAISED["Skipped"]), "GEN-1", "raised Skipped: not today; required: a result"),
    (one_buffer, "GEN-5", "an earlier result changed when the operation was called again"),
    (last_bits_vary, "GEN-11", "two calls with the same arguments differ"),
]


@pytest.mark.parametrize(("misbehaviour", "id", "message"), MESSAGES)
def test_a_counterexample_says_what_came_back_and_what_was_required(misbehaviour, id, message):
    """On one line, in words that a person who did not write Toise understands."""
    report = judged(backend(misbehaviour, "numpy", "layer_norm"), [id])
    shown = report.requirements[id].counterexample.message

    assert shown == message
    assert "\n" not in shown


@pytest.mark.parametrize("misbehaviour", [None, zeros, top_left, empty_rows_nan, raising(RAISED["ValueError"]), cached_by_shape])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_same_backend_gets_the_same_report(misbehaviour, library):
    """Verdicts, counterexamples, counts and accuracies: nothing in a report depends on chance."""
    ids = ("GEN-1", "GEN-5", "ATT-1", "ATT-14", "ATT-18")
    first, second = (judged(backend(misbehaviour, library, "attention"), ids) for _ in range(2))

    assert first == second


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("operation", BOTH)
def test_no_number_makes_toise_fail(number, operation):
    """Whatever the laws do with a result, what is not finite, or overflows when squared, stays the backend's failure."""
    report = toise.verify(backend(element(number), "numpy", operation), operations=[operation], budget="smoke")

    assert_rows(report, {"GEN-1": PASS, "GEN-2": PASS, FORMULA[operation]: fail("value" if number == 3e38 else "non-finite")})
    assert not report.passed


# The calls in which a backend gives NaN, and no others.
WHERE = {
    "with a mask": ("attention", lambda data, options: options.get("mask") is not None),
    "with causal": ("attention", lambda data, options: options.get("causal")),
    "with a scale": ("attention", lambda data, options: options.get("scale") is not None),
    "in a batch": ("attention", lambda data, options: data[0].ndim > 2),
    "with one key": ("attention", lambda data, options: data[1].shape[-2] == 1),
    "with more queries than keys, and causal": (
        "attention",
        lambda data, options: options.get("causal") and data[0].shape[-2] > data[1].shape[-2],
    ),
    "with an eps": ("layer_norm", lambda data, options: "eps" in options),
    "for one feature": ("layer_norm", lambda data, options: data[0].shape[-1] == 1),
    "for long rows": ("layer_norm", lambda data, options: data[0].shape[-1] > 255),
    "for large numbers": ("layer_norm", lambda data, options: np.abs(data[0]).max(initial=0) > 1e4),
    "for equal numbers": ("layer_norm", lambda data, options: (data[0] == data[0][..., :1]).all()),
}


@pytest.mark.parametrize("where", WHERE)
def test_nan_is_a_failure_wherever_it_occurs(where):
    """A law that compares two calls excuses NaN in both of them; then the formula, tried there too, does not."""
    operation, spoilt = WHERE[where]
    right = getattr(toise_reference, operation)

    def sometimes_nan(*data, **options):
        result = right(*data, **options)
        return result * np.float32(math.nan) if spoilt(data, options) else result

    report = toise.verify({operation: sometimes_nan}, operations=[operation], budget="smoke")

    assert "not finite" in {row.reason for row in report.results if row.outcome == "FAIL"}
    assert not report.passed


def test_numbers_that_overflow_when_squared_are_the_backends_failure():
    """A float64 result for float32 can hold numbers whose squares float64 cannot."""
    huge = spoiled(lambda y, library: library.cast(y, "float64") * 0 + 1e300)
    report = judged(backend(huge, "numpy", "layer_norm"), ["LN-2", "LN-3", "LN-13"])

    assert {outcome for outcome, _ in rows(report).values()} == {"FAIL"}


def test_a_stale_result_is_called_a_dependence_on_earlier_calls():
    """The call before it is in the counterexample's own words, although the same call passes when it comes first."""
    report = judged(backend(the_previous_result, "numpy", "layer_norm"), ["GEN-5"])

    assert_rows(report, {"GEN-5": fail("state")})


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("operation", BOTH)
def test_a_constant_result_is_wrong_but_no_memory(operation, library):
    """A function that always returns zeros does not depend on earlier calls."""
    report = judged(backend(zeros, library, operation), ["GEN-5", FORMULA[operation]])

    assert_rows(report, {"GEN-5": PASS, FORMULA[operation]: fail("value")})


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("operation", BOTH)
def test_a_view_in_the_degenerate_case_is_found(operation, library):
    """GEN-10 gives this mistake as its example: one key, or one feature, and the result is the input itself."""
    report = judged(backend(a_view, library, operation), ["GEN-10", FORMULA[operation]], budget="standard")

    assert_rows(report, {"GEN-10": warn("shared"), FORMULA[operation]: PASS})


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_mask_is_an_input_too(library):
    """The next layer uses the same mask."""
    report = judged(backend(writes_into_the_mask, library, "attention"), ["GEN-4", "ATT-4"])

    assert_rows(report, {"GEN-4": fail("mutated"), "ATT-4": PASS})


@pytest.mark.parametrize(
    "laid_out",
    [
        np.asfortranarray,
        lambda y: np.repeat(y, 2, axis=-1)[..., ::2],
        lambda y: np.flip(np.flip(y, -1).copy(), -1),
        lambda y: np.broadcast_to(y, y.shape),
    ],
)
def test_the_memory_layout_of_a_result_is_the_backends_affair(laid_out):
    """Fortran order, a step, a negative step, or read-only: the numbers are what counts."""
    ids = ["GEN-1", "GEN-2", "GEN-5", "GEN-6", "GEN-10", "GEN-11", "LN-1"]
    report = judged(backend(spoiled(lambda y, _: laid_out(y)), "numpy", "layer_norm"), ids)

    assert_rows(report, dict.fromkeys(ids, PASS))


class HostileArray(np.ndarray):
    """An array that cannot be converted."""

    @property
    def astype(self):
        """Raise in place of converting."""
        raise RuntimeError("no")


class EqualToAll(np.ndarray):
    """An array that says to be equal to whatever it is compared with."""

    def __eq__(self, other):
        return np.ones(self.shape, bool)

    __hash__ = None


STRANGE = {
    "masked": ("numpy", lambda y: np.ma.array(y * 0 + 7, mask=True)),
    "matrix": ("numpy", lambda y: np.matrix(y * 0 + 7) if y.ndim == 2 else y * 0 + 7),
    "hostile": ("numpy", lambda y: (y * 0 + 7).view(HostileArray)),
    "equal to all": ("numpy", lambda y: (y * 0 + 7).view(EqualToAll)),
    "byte order": ("numpy", lambda y: y.astype(">f4")),
    "objects": ("numpy", lambda y: y.astype(object)),
    "complex": ("numpy", lambda y: y.astype(complex)),
    "another library": ("numpy", torch.from_numpy),
    "without data": ("torch", lambda y: y.to("meta")),
    "sparse": ("torch", lambda y: y.to_sparse()),
    "nested": ("torch", lambda y: torch.nested.nested_tensor([y])),
    "quantised": ("torch", lambda y: torch.quantize_per_tensor(y, 0.1, 0, torch.qint8)),
    "float8": ("torch", lambda y: y.to(torch.float8_e4m3fn)),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_array_is_the_backends_failure(name):
    """Never a PASS, and never Toise's own error."""
    library, strange = STRANGE[name]
    report = judged(
        backend(spoiled(lambda y, _: strange(y)), library, "layer_norm"), ["GEN-2", "GEN-6", "GEN-11", "LN-1", "LN-2"]
    )

    assert rows(report)["LN-1"][0] == "FAIL"
    assert rows(report)["LN-2"][0] == "FAIL"


@pytest.mark.parametrize("lazy", [lambda y: y.clone().requires_grad_(), torch.nn.Parameter, lambda y: torch._neg_view(-y)])  # noqa: SLF001
def test_a_tensor_of_another_kind_that_holds_the_right_numbers_passes(lazy):
    """A gradient to come, or a sign that is applied when it is read, is torch's affair."""
    target = backend(spoiled(lambda y, _: lazy(y)), "torch", "layer_norm")

    assert_rows(judged(target, ids := ["GEN-1", "GEN-2", "GEN-5", "GEN-6", "GEN-11", "LN-1"]), dict.fromkeys(ids, PASS))


class ExitsWhenShown(Exception):
    """An exception whose text ends the process."""

    def __str__(self):
        raise SystemExit(4)


class UnsupportedThatExits(toise.Unsupported):
    """The same, for a call outside the domain."""

    __str__ = ExitsWhenShown.__str__


@pytest.mark.parametrize(("kind", "outcome"), [(ExitsWhenShown, "FAIL"), (UnsupportedThatExits, "NOT PROVIDED")])
def test_not_even_the_text_of_an_exception_escapes(kind, outcome):
    """Whatever a target does becomes a verdict."""
    report = judged(backend(raising(kind), "numpy", "layer_norm"), ["LN-1"])

    assert rows(report)["LN-1"][0] == outcome


@pytest.mark.parametrize(
    "make", [Irrelevant, lambda: NotProvided("no"), lambda: Violation("shape", "no"), lambda: toise.ToiseError("x")]
)
def test_toises_own_exceptions_raised_by_a_backend_are_failures(make):
    """Only Unsupported and NotImplementedError mean that a call is outside the domain."""
    assert_rows(judged(backend(raising(make), "numpy", "layer_norm"), ["LN-1"]), {"LN-1": fail("raised")})


def test_an_interrupt_is_the_users():
    """Ctrl-C stops the run, whoever's code is running."""
    with pytest.raises(KeyboardInterrupt):
        judged(backend(raising(KeyboardInterrupt), "numpy", "layer_norm"), ["LN-1"])


# --- Excluded inputs, and inputs that a backend locks ----------------------------------------------------


def refuses_constant_rows(x, gamma, beta, *, eps=1e-5):
    """Raise where the specification has no number: 0/0."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    if eps == 0 and (variance == 0).any():
        raise ZeroDivisionError
    return gamma * centred / np.sqrt(variance + eps) + beta


@pytest.mark.parametrize("seed", range(4))
def test_an_excluded_input_is_never_tried(seed):
    """A constant row with eps = 0, also where random rows happen to be constant."""
    assert toise.verify({"layer_norm": refuses_constant_rows}, operations=["layer_norm"], seed=seed).exit_code == 0


def test_an_input_that_is_made_read_only_is_the_backends_failure():
    """And no crash of the suite, which writes into it."""

    def locks(x, gamma, beta, *, eps=1e-5):
        x.flags.writeable = False
        return refuses_constant_rows(x, gamma, beta, eps=eps)

    report = toise.verify({"layer_norm": locks}, operations=["layer_norm"], budget="smoke")

    assert {row.requirement: row.reason for row in report.results if row.outcome == "FAIL"} == {"GEN-5": "changed its input"}


@pytest.mark.parametrize("seed", range(2))
def test_a_wide_precision_class_leaves_enough_to_judge(seed):
    """Declared STEPWISE, torch's attention is tried on scores that the class does not excuse."""

    def attention(q, k, v, *, mask=None, scale=None):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)

    declared = {"arrays": "torch", "dtypes": ["bfloat16"], "attention": {"precision": {"bfloat16": "STEPWISE"}}}
    report = toise.verify({"attention": attention}, operations=["attention"], declare=declared, seed=seed)

    assert [row.requirement for row in report.results if row.outcome == "NOT RUN" and not row.excluded] == []
    assert report.exit_code == 0
