"""What a backend may declare in `__toise__`; whatever means nothing is refused on one line, before anything runs."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import toise
import toise_reference
from toise.bounds import PRECISIONS
from toise.declarations import CHOICES, Declarations, parse
from toise.domain import Domain
from toise.errors import TargetError
from toise.operations import OPERATIONS
from toise.targets import load


def target(declared):
    """Return an object with attention and layer_norm and those declarations."""
    operations = {"attention": toise_reference.attention, "layer_norm": toise_reference.layer_norm}
    return types.SimpleNamespace(**operations, __toise__=declared)


@pytest.mark.parametrize("nothing", [{}, {"attention": {}}, {"layer_norm": {"precision": {}, "domain": {}}}])
def test_what_is_not_declared_is_the_default_of_the_specification(nothing):
    """The first of each list; any dtype, any device, any domain."""
    declared = parse(nothing)

    assert declared == Declarations(operations=declared.operations)
    for operation, choices in CHOICES.items():
        assert declared.operations[operation].choices == {key: values[0] for key, values in choices.items()}
        assert declared.operations[operation].domain == Domain()
        for dtype, classes in PRECISIONS.items():
            assert declared.operations[operation].class_of(dtype) == next(iter(classes))


def test_the_defaults_are_those_that_the_specification_names():
    """A changed order of a list would change what an undeclared backend is held to."""
    assert parse({}).operations["attention"].choices == {
        "causal_alignment": "bottom-right",
        "empty_row": "zeros",
        "masked_nonfinite": "propagates",
    }


def test_everything_that_can_be_declared_is_read():
    """One mapping with every key."""
    declared = parse(
        {
            "name": "mine",
            "version": "1.2",
            "arrays": "torch",
            "device": "cuda:1",
            "dtypes": ["bfloat16", "float32"],
            "attention": {
                "causal_alignment": "top-left",
                "empty_row": "nan",
                "masked_nonfinite": "isolated",
                "precision": {"bfloat16": "FUSED", "float32": "STRICT"},
                "domain": {"rank": [4], "d_k": (64, 128), "d_v": "d_k", "n": [64], "m": "n"},
            },
            "layer_norm": {"domain": {"rank": (2, 3), "d": [768]}},
        }
    )

    attention = declared.operations["attention"]
    assert (declared.name, declared.version, declared.arrays, declared.device) == ("mine", "1.2", "torch", "cuda:1")
    assert declared.dtypes == ("bfloat16", "float32")
    assert attention.choices == {"causal_alignment": "top-left", "empty_row": "nan", "masked_nonfinite": "isolated"}
    assert attention.bounds("bfloat16") == PRECISIONS["bfloat16"]["FUSED"]
    assert attention.domain == Domain(rank=(4,), sizes={"d_k": (64, 128), "d_v": "d_k", "n": (64,), "m": "n"})
    assert declared.operations["layer_norm"].domain == Domain(rank=(2, 3), sizes={"d": (768,)})


class TwoLines:
    """A value whose text has two lines."""

    def __repr__(self):
        return "two\nlines"


# What is declared, what the message says was got, and what it says is required or known.
REFUSED = [
    (5, "int", "mapping"),
    ("torch", "str", "mapping"),
    ([("arrays", "torch")], "list", "mapping"),
    ({"array": "torch"}, "'array'", "arrays"),
    ({"rms_norm": {}}, "'rms_norm'", "layer_norm"),
    ({"causal_alignment": "top-left"}, "'causal_alignment'", "attention"),
    ({5: "torch"}, "5", "arrays"),
    ({"arrays": "cupy"}, "'cupy'", "numpy, torch"),
    ({"arrays": None}, "None", "numpy, torch"),
    ({"arrays": ["numpy"]}, "['numpy']", "numpy, torch"),
    ({"dtypes": "float32"}, "'float32'", "a list"),
    ({"dtypes": {"float32"}}, "{'float32'}", "a list"),
    ({"dtypes": ["float31"]}, "'float31'", "float64, float32, float16, bfloat16"),
    ({"dtypes": [np.float32]}, "float32", "float64, float32, float16, bfloat16"),
    ({"dtypes": [["float32"]]}, "['float32']", "float64, float32, float16, bfloat16"),
    ({"name": 5}, "5", "a string"),
    ({"version": 1.2}, "1.2", "a string"),
    ({"device": 0}, "0", "a string"),
    ({"attention": "top-left"}, "str", "mapping"),
    ({"attention": None}, "None", "mapping"),
    ({"attention": {"causal": "top-left"}}, "'causal'", "causal_alignment"),
    ({"layer_norm": {"empty_row": "nan"}}, "'empty_row'", "precision"),
    ({"attention": {"causal_alignment": "topleft"}}, "'topleft'", "bottom-right, top-left"),
    ({"attention": {"empty_row": 0}}, "0", "zeros, nan, mean, raises, unspecified"),
    ({"attention": {"empty_row": math.nan}}, "nan", "zeros, nan, mean, raises, unspecified"),
    ({"attention": {"masked_nonfinite": True}}, "True", "propagates, isolated"),
    ({"attention": {"precision": "STRICT"}}, "'STRICT'", "mapping"),
    ({"attention": {"precision": {"float8": "FUSED"}}}, "'float8'", "float64, float32, float16, bfloat16"),
    ({"attention": {"precision": {"float16": "STRICT"}}}, "'STRICT'", "FUSED, EAGER, STEPWISE"),
    ({"attention": {"precision": {"float32": "FUSED"}}}, "'FUSED'", "STRICT, TF32"),
    ({"attention": {"precision": {"bfloat16": "STRICT"}}}, "'STRICT'", "FUSED"),
    ({"attention": {"traits": "split-k"}}, "'split-k'", "a list"),
    ({"attention": {"traits": ["fast-exp"]}}, "'fast-exp'", "rounded-normaliser, many-rescales"),
    ({"layer_norm": {"traits": ["split-k"]}}, "'split-k'", "stored-before-gamma"),
    ({"residual": {"traits": []}}, "'traits'", "precision, domain"),
    ({"attention": {"domain": [4]}}, "list", "mapping"),
    ({"attention": {"domain": {"d": [64]}}}, "'d'", "d_k"),
    ({"layer_norm": {"domain": {"d_k": [64]}}}, "'d_k'", "rank, d"),
    ({"attention": {"domain": {"rank": 4}}}, "4", "a list"),
    ({"attention": {"domain": {"rank": "n"}}}, "'n'", "a list"),
    ({"attention": {"domain": {"rank": []}}}, "[]", "whole numbers"),
    ({"attention": {"domain": {"d_k": 64}}}, "64", "a list"),
    ({"attention": {"domain": {"d_k": [64.0]}}}, "64.0", "whole numbers"),
    ({"attention": {"domain": {"d_k": [0]}}}, "0", "above 0"),
    ({"attention": {"domain": {"d_k": [True]}}}, "True", "whole numbers"),
    ({"attention": {"domain": {"d_v": "d_v"}}}, "'d_v'", "n, m, d_k"),
    ({"attention": {"domain": {"d_v": "d"}}}, "'d'", "n, m, d_k"),
]


@pytest.mark.parametrize(("declared", "got", "required"), REFUSED, ids=[repr(declared) for declared, _, _ in REFUSED])
def test_what_means_nothing_is_refused(declared, got, required):
    """One line, with the target, what was got, and what is required."""
    with pytest.raises(TargetError) as caught:
        load(target(declared))

    message = str(caught.value)
    assert message.startswith("SimpleNamespace: ")
    assert "__toise__" in message
    assert got in message
    assert required in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [TwoLines(), np.zeros((2, 2)), "top\nleft"])
@pytest.mark.parametrize("where", [lambda value: {"arrays": value}, lambda value: {"attention": {"empty_row": value}}])
def test_a_value_of_any_type_is_refused_on_one_line(value, where):
    """An array cannot even be compared with a word."""
    with pytest.raises(TargetError) as caught:
        load(target(where(value)))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("domain", [{"rank": [1]}, {"m": "n", "n": "m"}, {"rank": [0]}])
def test_a_domain_that_no_input_can_be_in_is_refused(domain):
    """`attention` takes at least two axes, and an axis follows one that is free."""
    with pytest.raises(TargetError):
        load(target({"attention": {"domain": domain}}))


SNAPSHOTS = [
    (
        {"attention": {"empty_row": "zero"}},
        "SimpleNamespace: __toise__ declares attention.empty_row = 'zero'; required: zeros, nan, mean, raises, unspecified",
    ),
    (
        {"atention": {}},
        (
            "SimpleNamespace: __toise__ has an unknown key: 'atention'; "
            f"known: name, version, arrays, device, dtypes, {', '.join(OPERATIONS)}"
        ),
    ),
    (
        {"attention": {"domain": {"d_k": 64}}},
        "SimpleNamespace: __toise__ declares attention.domain.d_k = 64; required: a list",
    ),
]


@pytest.mark.parametrize(("declared", "message"), SNAPSHOTS)
def test_the_words_of_a_refusal(declared, message):
    """What was written, and what could be."""
    with pytest.raises(TargetError) as caught:
        load(target(declared))

    assert str(caught.value) == message


def test_declare_adds_to_what_the_target_declares():
    """A key that the target has is replaced, and the others stay."""
    loaded = load(target({"name": "mine", "arrays": "numpy"}), declare={"name": "yours", "dtypes": ["float64"]})

    assert (loaded.declarations.name, loaded.declarations.arrays, loaded.declarations.dtypes) == ("yours", "numpy", ("float64",))


def test_declare_adds_to_the_declarations_of_an_operation():
    """One more choice leaves the others as they were declared."""
    loaded = load(
        target({"attention": {"causal_alignment": "top-left", "precision": {"float32": "STRICT"}}}),
        declare={"attention": {"empty_row": "nan"}},
    )

    assert loaded.declarations.operations["attention"].choices == {
        "causal_alignment": "top-left",
        "empty_row": "nan",
        "masked_nonfinite": "propagates",
    }


def test_declare_does_for_a_target_that_declares_nothing():
    """A library's own module need not be edited to be checked."""
    report = toise.verify(
        {"attention": toise_reference.attention},
        declare={"name": "lent", "attention": {"empty_row": "unspecified"}},
        operations=["attention"],
        budget="smoke",
    )

    assert report.passed
    assert report.declarations["name"] == "lent"
    assert report.declarations["operations"]["attention"]["empty_row"] == "unspecified"
    assert report.requirements["ATT-18"].outcome == "NOT APPLICABLE"


def test_declare_is_checked_like_the_targets_own():
    """An unknown key or value is refused there, too."""
    with pytest.raises(TargetError, match="'empty_rows'"):
        load(target({}), declare={"attention": {"empty_rows": "nan"}})


@pytest.mark.parametrize("declare", ["torch", ["arrays"], 5])
def test_declare_is_a_mapping(declare):
    """Anything else is refused, like a `__toise__` that is none."""
    with pytest.raises(TargetError, match=type(declare).__name__):
        load(target({}), declare=declare)


def test_the_declarations_of_a_target_are_left_as_they_were():
    """A run with `declare` does not change the module for the next one."""
    given = {"attention": {"empty_row": "nan"}}
    load(target(given), declare={"arrays": "torch", "attention": {"causal_alignment": "top-left"}})

    assert given == {"attention": {"empty_row": "nan"}}


def test_a_report_carries_the_declarations_with_their_defaults():
    """A verdict rests on them, declared or not."""
    report = toise.verify(target({"attention": {"empty_row": "nan"}}), operations=["layer_norm"], budget="smoke")

    assert report.declarations["operations"] == {
        "attention": {
            "causal_alignment": "bottom-right",
            "empty_row": "nan",
            "masked_nonfinite": "propagates",
            "precision": {},
            "traits": [],
            "domain": "",
            "line": 0,
        },
        "layer_norm": {"precision": {}, "traits": [], "domain": "", "line": 0},
    }


DTYPES = [
    (None, [], ["float32"]),
    (None, ["float64", "bfloat16"], ["float64", "bfloat16"]),
    (["float64"], ["float32"], ["float64"]),
]


@pytest.mark.parametrize(("asked", "declared", "judged"), DTYPES)
def test_the_dtypes_judged_are_those_asked_for_or_declared_or_float32(asked, declared, judged):
    """The rows of the report say which; what takes no floating-point numbers is judged once, whatever is asked for."""
    report = toise.verify(target({"dtypes": declared}), dtypes=asked, operations=["layer_norm"], budget="smoke")

    assert list(dict.fromkeys(row.dtype for row in report.results if not row.excluded)) == judged
    assert {row.dtype for row in report.results if row.operation == "causal_mask"} == {"bool"}
