"""What a verdict says about precision: the class it was held to, the strictest one that would pass, what is excused."""

from __future__ import annotations

import dataclasses
import functools
import json
import re

import numpy as np
import pytest
import toise
import torch
from rich.console import Console
from toise import bounds, engine
from toise.backend import Backend
from toise.bounds import CLASSES, LOOSER, PRECISIONS
from toise.declarations import parse
from toise.engine import EXCUSED, requirement
from toise.errors import TargetError
from toise.inputs import Case, Recipe, token_rows
from toise.operations import OPERATIONS
from toise.report import EXCLUDED, Counterexample, Report, Row
from toise.run import settings_of
from toise.targets import load
from toise.terminal import failure_text, heading, print_precision, print_report
from toise.verdict import assert_close, assert_finite, assert_formula, assert_that

NARROW = ("bfloat16", "float16")


def stepwise(x, gamma, beta, *, eps=1e-5):
    """Layer normalisation, rounded after every operation, every addition too, to the dtype of x."""
    centred = x - added(x) / x.shape[-1]
    return gamma * (centred / torch.sqrt(added(centred * centred) / x.shape[-1] + eps)) + beta


def added(x):
    """Return the sum of each row, added up one by one."""
    return functools.reduce(torch.add, x.split(1, dim=-1))


def fused(x, gamma, beta, *, eps=1e-5):
    """Layer normalisation in float32, rounded once."""
    return torch.nn.functional.layer_norm(x.float(), x.shape[-1:], gamma.float(), beta.float(), eps).to(x.dtype)


def target(function, kind=None, dtype="bfloat16", **declared):
    """Return a backend of torch's arrays that has layer_norm alone, and declares a class."""
    precision = {"precision": {dtype: kind}} if kind else {}
    return {"layer_norm": function, "__toise__": {"arrays": "torch", "dtypes": [dtype], "layer_norm": {**precision, **declared}}}


def judged(function, kind=None, *, dtype="bfloat16", required=None, **declared):
    """Judge layer_norm alone at its smallest."""
    return toise.verify(
        target(function, kind, dtype, **declared), operations=["layer_norm"], budget="smoke", require_class=required
    )


def kept(report):
    """Return the rows that were judged."""
    return [row for row in report.results if not row.excluded]


def loosest(report):
    """Return the loosest of the classes that its rows would have passed."""
    return max((row.strictest for row in kept(report) if row.outcome == "PASS"), key=CLASSES.index)


def judge(test, backend, operation="layer_norm", recipes=None):
    """Judge one property that is not in the suite."""
    return engine.judge(requirement("LN-1", rows=recipes or token_rows())(test).property, backend, operation, budget="smoke")


# --- The strictest class ------------------------------------------------------------------------------


def test_what_rounds_every_step_is_reported_as_stepwise():
    """It passes as it declares, and nothing that is stricter."""
    report = judged(stepwise, "STEPWISE")

    assert report.passed
    assert {row.precision for row in kept(report)} == {"STEPWISE"}
    assert loosest(report) == "STEPWISE"


@pytest.mark.parametrize("dtype", NARROW)
def test_what_rounds_once_is_reported_as_fused_whatever_it_declares(dtype):
    """Every row would have passed in the strictest class of the dtype."""
    report = judged(fused, "STEPWISE", dtype=dtype)

    assert {row.strictest for row in kept(report) if row.outcome == "PASS"} == {"FUSED"}


@pytest.mark.parametrize("kind", ["EAGER", "STEPWISE"])
def test_the_strictest_class_is_what_the_backend_passes_when_it_is_held_to_it(kind):
    """Row by row, the report under --require-class agrees: a PASS there is a PASS that was foretold."""
    foretold = {row.requirement: row.strictest for row in kept(judged(stepwise, "STEPWISE"))}
    stricter = CLASSES[CLASSES.index(kind) - 1] if kind == "STEPWISE" else "FUSED"
    report = judged(stepwise, "STEPWISE", required=stricter)

    passed = {row.requirement for row in kept(report) if row.outcome == "PASS"}
    assert passed == {id for id, strictest in foretold.items() if CLASSES.index(strictest) <= CLASSES.index(stricter)}
    assert passed < foretold.keys()


def test_a_failure_has_no_strictest_class():
    """It passes none."""
    report = judged(stepwise)

    assert {row.strictest for row in kept(report) if row.outcome == "FAIL"} == {""}


def test_the_strictest_class_of_a_dtype_costs_nothing(monkeypatch):
    """Held to the strictest class already, no example is run again."""
    monkeypatch.setattr(engine.Trial, "repeated", None)

    assert {row.strictest for row in kept(judged(fused))} == {"FUSED"}


def test_the_largest_error_refutes_a_class_that_is_too_strict(monkeypatch):
    """The recipe with the largest error is tried first, so that one call settles it."""
    counted = []
    attempt = engine.Trial.attempt
    monkeypatch.setattr(engine.Trial, "attempt", lambda trial, recipe: counted.append(trial.backend) or attempt(trial, recipe))
    strict = Backend(load(target(fused)), "bfloat16")

    def off_in_one_place(backend, rows):
        y = backend.layer_norm(rows.x, rows.gamma, rows.beta)
        error = 1.25 * strict.required(y.case).radius * (rows.x.shape[-1] == 65)
        assert_close(y.value + error, y.value, y.radius)

    row = judge(off_in_one_place, Backend(load(target(fused, "EAGER")), "bfloat16"))
    classes = [each.declared("layer_norm").class_of("bfloat16") for each in counted]

    assert (row.outcome, row.strictest) == ("PASS", "EAGER")
    assert classes.count("FUSED") == 1
    assert classes.count("EAGER") > 10


def test_a_verdict_that_rests_on_the_radius_alone_is_tried_again():
    """An error of zero shows nothing where the test asks whether two radii leave room between two values."""

    def apart(backend, rows):
        y = backend.layer_norm(rows.x, rows.gamma, rows.beta)
        assert_that(not (y.radius < 2.0**-7 * np.abs(y.value)).any(), "value", "the radius leaves room")

    constant = token_rows(content=("constant",), beta=("normal",))
    rows = [judge(apart, Backend(load(target(fused, kind)), "bfloat16"), recipes=constant) for kind in ("STEPWISE", "FUSED")]

    assert [row.outcome for row in rows] == ["PASS", "FAIL"]
    assert rows[0].accuracy == 0
    assert rows[0].strictest != "FUSED"


# --- A class that is required -------------------------------------------------------------------------


REQUIRED = [
    ("float32", "TF32", "FUSED", "STRICT"),
    ("float32", "TF32", "TF32", "TF32"),
    ("float32", "TF32", "STEPWISE", "TF32"),
    ("float32", "STRICT", "TF32", "STRICT"),
    ("float64", "STRICT", "FUSED", "STRICT"),
    ("bfloat16", "STEPWISE", "EAGER", "EAGER"),
    ("bfloat16", "STEPWISE", "TF32", "FUSED"),
    ("bfloat16", "STEPWISE", "FUSED", "FUSED"),
    ("bfloat16", "STEPWISE", "STRICT", "FUSED"),
    ("bfloat16", "EAGER", "STEPWISE", "EAGER"),
    ("float16", "EAGER", "STRICT", "FUSED"),
]


@pytest.mark.parametrize(("dtype", "declared", "required", "held"), REQUIRED)
def test_a_looser_class_than_required_is_replaced_by_the_loosest_that_is_not(dtype, declared, required, held):
    """A class that is strict enough stays, and where the dtype has none it is the strictest of the dtype."""
    operation = parse({"layer_norm": {"precision": {dtype: declared}}}).at_most(required).operations["layer_norm"]

    assert operation.class_of(dtype) == held
    assert operation.bounds(dtype) == PRECISIONS[dtype][held]


def test_a_backend_that_needs_a_looser_class_than_required_fails():
    """An ordinary FAIL, with its counterexample; the report still says what was declared."""
    report = judged(stepwise, "STEPWISE", required="EAGER")
    failed = [row for row in kept(report) if row.outcome == "FAIL"]

    assert report.exit_code == 1
    assert {row.precision for row in kept(report)} == {"EAGER"}
    assert all(row.counterexample.kind == "value" for row in failed)
    assert all("require_class='EAGER'" in row.counterexample.again for row in failed)
    assert report.declarations["operations"]["layer_norm"]["precision"] == {"bfloat16": "STEPWISE"}
    assert "layer_norm bfloat16: declared STEPWISE, held to EAGER, as required" in heading(report)
    assert "required class EAGER" in heading(report)[1]


def test_a_class_that_is_strict_enough_is_not_spoken_of():
    """Nothing is replaced, and nothing is said of it."""
    report = judged(fused, "FUSED", required="STEPWISE")

    assert report.passed
    assert not any("as required" in line for line in heading(report))


def test_a_class_that_does_not_exist_is_refused():
    """On one line, with those that do."""
    with pytest.raises(TargetError) as caught:
        judged(fused, required="FUZED")

    assert str(caught.value) == "unknown precision class 'FUZED'; known: STRICT, FUSED, TF32, EAGER, STEPWISE"


# --- Hints --------------------------------------------------------------------------------------------


def hints(report):
    """Return the hint of each failure."""
    return {row.requirement: row.counterexample.hint for row in kept(report) if row.outcome == "FAIL"}


def test_errors_that_are_all_within_a_looser_class_name_it():
    """And what must be true of the code, whose declaration makes it pass."""
    given = set(hints(judged(stepwise)).values())
    begins = "the errors of layer_norm in bfloat16 are all within the radius of "
    (kind,) = {hint.removeprefix(begins).split(":")[0] for hint in given}
    text = json.dumps({"layer_norm": {"precision": {"bfloat16": kind}}})

    assert kind in ("EAGER", "STEPWISE")
    assert given == {f"{begins}{kind}: if {LOOSER[kind]}, declare __toise__ = {text}; if not, look for a mistake of that size"}
    assert judged(stepwise, kind).passed


def test_an_error_that_no_declaration_explains_silences_the_hint():
    """One row is beside all radii, and the others would be within those of another class."""

    def wrong_without_eps(x, gamma, beta, *, eps=1e-5):
        return stepwise(x, gamma, beta, eps=eps) * (1 if eps > 0 else 64)

    report = judged(wrong_without_eps)

    assert any(row.counterexample.within for row in kept(report) if row.outcome == "FAIL")
    assert set(hints(report).values()) == {""}


def test_under_a_required_class_the_hint_does_not_ask_for_what_is_declared():
    """It is declared, and does not count."""
    given = set(hints(judged(stepwise, "STEPWISE", required="FUSED")).values()) - {""}

    assert given
    assert {hint.rpartition("; ")[2] for hint in given} == {"STEPWISE is declared, and FUSED required"}


def test_an_error_within_a_trait_names_the_trait():
    """What the trait means is in the hint, and the declaration makes the row pass."""

    def stores_before_gamma(x, gamma, beta, *, eps=1e-5):
        ones, zeros = torch.ones_like(gamma), torch.zeros_like(beta)
        return (fused(x, ones, zeros, eps=eps) * gamma + beta).to(x.dtype)

    found = hints(judged(stores_before_gamma))["LN-1"]

    assert "are all within the radius of stored-before-gamma: if the normalised row" in found
    assert 'declare __toise__ = {"layer_norm": {"traits": ["stored-before-gamma"]}}' in found
    declared = judged(stores_before_gamma, traits=["stored-before-gamma"])
    assert declared.passed
    assert "trait stored-before-gamma" in heading(declared)[2]


def divides_by_d_minus_1(x, gamma, beta, *, eps=1e-5):
    """A wrong formula, in float32 inside."""
    centred = x.float() - x.float().mean(-1, keepdim=True)
    variance = (centred**2).sum(-1, keepdim=True) / max(x.shape[-1] - 1, 1)
    return (gamma.float() * centred / torch.sqrt(variance + eps) + beta.float()).to(x.dtype)


def test_a_wrong_formula_is_not_called_rounding():
    """Its errors are larger than any class explains, or its radius there would hold anything."""
    found = hints(judged(divides_by_d_minus_1))

    assert set(found) >= {"LN-1", "LN-2", "LN-3"}
    assert set(found.values()) == {""}


@pytest.mark.parametrize("unit", [0.02, 0.08])
def test_a_radius_that_would_hold_a_wrong_formula_is_no_explanation(monkeypatch, unit):
    """A looser class with vast radii holds it, as a declaration of that class shows, and is not offered."""
    usual = PRECISIONS["bfloat16"]["STEPWISE"]
    vast = dataclasses.replace(usual, step=dataclasses.replace(usual.step, u=unit))
    monkeypatch.setitem(PRECISIONS["bfloat16"], "STEPWISE", vast)

    assert judged(divides_by_d_minus_1, "STEPWISE").requirements["LN-3"].outcome == "PASS"
    assert hints(judged(divides_by_d_minus_1))["LN-3"] == ""


# --- Excused elements ---------------------------------------------------------------------------------


class Overflows:
    """Bounds that excuse a share of the elements."""

    def __init__(self, share):
        self.share = share

    def __call__(self, x, *rest):
        """Make the first of ten features excused, or as many as the share says."""
        right = bounds.layer_norm(x, *rest)
        excused = np.arange(x.shape[-1]) < self.share * x.shape[-1]
        return right.new(right.value, np.where(excused, np.inf, right.radius))


TEN = {"d": (10,), "gamma": ("ones",)}


def excusing(monkeypatch, share, test, recipes=None):
    """Judge a property of layer_norm where that share of each row is excused."""
    changed = dataclasses.replace(
        OPERATIONS["layer_norm"],
        bound=lambda case, declared, precision: Overflows(share)(case.x, case.gamma, case.beta, 1e-5, precision),
    )
    monkeypatch.setitem(OPERATIONS, "layer_norm", changed)
    backend = Backend(load({"layer_norm": fused, "__toise__": {"arrays": "torch"}}), "float32")
    return judge(test, backend, recipes=recipes or token_rows(**TEN))


def formula(backend, rows):
    """Hold the result to its value."""
    assert_formula(backend.layer_norm(rows.x, rows.gamma, rows.beta))


def finite(backend, rows):
    """Ask no more than finite numbers."""
    assert_finite(backend.layer_norm(rows.x, rows.gamma, rows.beta))


@pytest.mark.parametrize("test", [formula, finite])
def test_too_many_excused_elements_are_no_pass(monkeypatch, test):
    """The reason has both numbers, and what is allowed."""
    row = excusing(monkeypatch, 0.3, test)
    defined, overflow = row.elements["defined"], row.elements["overflow"]

    assert (row.outcome, row.strictest) == ("NOT RUN", "")
    assert row.reason == (
        f"{overflow} of {defined} elements, 30% of those of an input on average, are excused, "
        "as a correct computation in STRICT may overflow there; at most 20% may be"
    )
    assert row.excused == pytest.approx(0.3)


def test_a_few_excused_elements_are_counted(monkeypatch):
    """As many as are allowed, and not one more."""
    row = excusing(monkeypatch, EXCUSED, formula)

    assert row.outcome == "PASS"
    assert row.excused == EXCUSED


def test_inputs_that_are_aimed_at_overflow_may_be_excused(monkeypatch):
    """There is nothing else to see there."""
    monkeypatch.setattr(Recipe, "aimed_at_overflow", True)
    row = excusing(monkeypatch, 0.5, formula)

    assert (row.outcome, row.elements["defined"], row.elements["overflow"]) == ("PASS", 0, 0)
    assert row.elements["excused"] > 0


@pytest.mark.parametrize("keys", [0, 2])
def test_what_a_declaration_sets_is_not_excused_for_overflow(keys):
    """A query without any key has no formula: its elements are neither defined nor excused."""
    arrays = {name: np.ones((3, 2)) for name in "qkv"}
    case = Case("attention", arrays, {"mask": np.arange(3) < np.full((3, 1), keys)})
    backend = Backend(load("reference"), "float32")
    required = backend.required(case)

    assert (required.defined, required.overflows) == (6 if keys else 0, 0)
    assert np.isinf(required.radius).all() == (not keys)


def test_a_result_that_is_infinite_by_its_formula_does_not_overflow():
    """The log probability of an impossible token is minus infinity."""
    case = Case("sequence_log_prob", {"logits": np.array([[0.0, -np.inf]] * 2), "tokens": np.array([0, 1])}, {})
    required = Backend(load("reference"), "float32").required(case)

    assert required.value == -np.inf
    assert (required.defined, required.overflows) == (0, 0)


# --- What is printed ----------------------------------------------------------------------------------


def row(**fields):
    """Return a row that passed."""
    usual = {"requirement": "LN-1", "level": "MUST", "sentence": "It is the formula.", "test": "the result is the formula"}
    usual |= {"operation": "layer_norm", "dtype": "bfloat16", "device": "cpu", "precision": "STEPWISE", "outcome": "PASS"}
    return Row(**(usual | {"strictest": "STEPWISE"} | fields))


ROWS = (
    row(accuracy=0.031, strictest="EAGER"),
    row(requirement="LN-2", accuracy=0.5, elements={"defined": 200, "overflow": 24}),
    row(requirement="LN-3", outcome="NOT PROVIDED", strictest="", reason="no option eps"),
    *(row(dtype="float16", requirement=id, outcome="NOT APPLICABLE", strictest="") for id in ("LN-1", "LN-2")),
    *(row(dtype="float32", requirement=id, outcome="NOT PROVIDED", strictest="", precision="STRICT") for id in ("LN-1", "LN-2")),
    *(row(dtype="float64", requirement=id, precision="STRICT", strictest="STRICT", accuracy=0.0012) for id in ("LN-1", "LN-2")),
    row(operation="multi_head_attention", requirement="MHA-10", precision="FUSED", strictest="FUSED", accuracy=1.0),
)


def printed(width, rows=ROWS, show=print_report, declared=(), traits=("split-k",)):
    """Return what is printed of those rows."""
    choices = {"precision": dict(declared), "traits": traits, "domain": ""}
    operations = dict.fromkeys(OPERATIONS, choices)
    declared = {"name": "", "version": "", "arrays": "torch", "device": "cpu", "notes": [], "operations": operations}
    settings = settings_of(budget="smoke")
    report = Report("mine", declared, {"specification": "0.1", "toise": "0.1.0"}, settings, rows)
    console = Console(width=width, file=None, highlight=False)
    with console.capture() as captured:
        show(report, console)
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_outcome_is_ever_cut(width):
    """Columns that do not fit stand in a table of their own; only what is tested may be cut."""
    lines = printed(width)
    cells = " ".join(line for line in lines if line.startswith(("LN-", "MHA-")))

    for whole in ("PASS 0.031 >EAGER", "PASS 0.5 12%", "NOT PROVIDED", "NOT APPLICABLE", "PASS 0.0012", "PASS 1"):
        assert whole in cells
    assert cells.count("NOT APPLICABLE") == 2
    assert all(len(line) <= width for line in lines if line.startswith(("id", "LN-", "MHA-")))


def test_every_column_says_the_class_that_it_was_held_to():
    """Below the dtype; operations that are held to other classes stand in a table of their own."""
    lines = printed(120)
    heads = [lines[at - 1 : at + 1] for at, line in enumerate(lines) if line.startswith("id")]

    assert [head[1].split()[:6] for head in heads] == [
        ["id", "operation", "STEPWISE", "STEPWISE", "STRICT", "STRICT"],
        ["id", "operation", "FUSED", "what", "is", "tested"],
    ]
    assert heads[0][0].split() == ["bfloat16", "float16", "float32", "float64"]


def test_one_line_below_the_tables_explains_the_cells():
    """As far as such a thing stands in one."""
    assert any("the strictest class" in line and "excused" in line and "half" in line for line in printed(120))
    assert not any("excused" in line for line in printed(120, ROWS[-1:]))
    assert not any("half" in line for line in printed(120, (row(outcome="FAIL", reason="wrong value"),)))


def failing(*within, **fields):
    """Return a row whose error is within those classes and traits."""
    empty = dict.fromkeys(field.name for field in dataclasses.fields(Counterexample))
    shown = {"text": "", "message": "", "again": "", "arrays": {}, "options": {}, "call": {}, "within": list(within)}
    return row(outcome="FAIL", strictest="", counterexample=Counterexample(**(empty | shown)), accuracy=70.0, **fields)


def precision_of(rows, width=120):
    """Return the cells of each line of the table of precision, by operation and dtype."""
    found = {}
    for line in printed(width, rows, print_precision):
        operation, *cells = re.split(r"\s{2,}", line)
        if len(cells) == 6 and operation != "operation":
            found[operation, cells[0]] = cells[1:]
    return found


def test_the_precision_of_an_operation_is_one_line():
    """The declared class, the strictest that all rows would have passed, the largest error, what is excused, the failures."""
    found = precision_of((*ROWS, failing()))

    assert found == {
        ("layer_norm", "bfloat16"): ["STEPWISE", "none", "50% (LN-2)", "12%", "1"],
        ("layer_norm", "float64"): ["STRICT", "STRICT", "<1% (LN-1)", "-", "-"],
        ("multi_head_attention", "bfloat16"): ["FUSED", "FUSED", "100% (MHA-10)", "-", "-"],
    }  # of float32 and float16 nothing is provided


@pytest.mark.parametrize(
    ("rows", "passes"),
    [
        ((failing("EAGER"),), "EAGER"),
        ((failing("EAGER", "STEPWISE"), failing("STEPWISE")), "STEPWISE"),
        ((failing("split-k", "EAGER", "STEPWISE"),), "EAGER"),
        ((failing("EAGER"), row(strictest="FUSED")), "EAGER"),
        ((failing("EAGER"), failing()), "none"),
        ((failing("EAGER"), failing("split-k")), "none"),
        ((failing("EAGER"), row(outcome="CRASH", strictest="")), "none"),
        ((row(strictest="EAGER"), row(strictest="FUSED")), "EAGER"),
        ((row(strictest="EAGER"), row(outcome="WARN", strictest="")), "EAGER"),
        ((row(outcome="WARN", strictest=""),), "-"),
        ((row(precision="EXACT", strictest="EXACT"),), "EXACT"),
    ],
)
def test_what_fails_passes_in_no_class_that_does_not_hold_its_error(rows, passes):
    """The loosest of what the rows need, and none where one of them has no class."""
    assert precision_of(rows)["layer_norm", "bfloat16"][1] == passes


def writes_out(x, w1, b1, w2, b2):
    """A feed-forward network with an array between two kernels."""
    hidden = torch.relu(x.float() @ w1.float() + b1.float()).to(x.dtype)
    return (hidden.float() @ w2.float() + b2.float()).to(x.dtype)


def test_the_class_foretold_by_failures_is_the_one_that_passes():
    """Declared, it is indeed the strictest in which all rows pass."""
    found = []
    for precision in ({}, {"precision": {"bfloat16": "EAGER"}}):
        declared = {"arrays": "torch", "dtypes": ["bfloat16"], "feed_forward": precision}
        backend = {"feed_forward": writes_out, "__toise__": declared}
        report = toise.verify(backend, operations=["feed_forward"], budget="smoke")
        found.append((report.passed, precision_of(kept(report))["feed_forward", "bfloat16"][:2]))

    assert found == [(False, ["FUSED", "EAGER"]), (True, ["EAGER", "EAGER"])]


def test_where_no_number_was_compared_no_use_is_told():
    """Of shapes and dtypes there is no largest error."""
    assert precision_of((row(), row()))["layer_norm", "bfloat16"][2] == "-"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_of_the_precision_is_ever_cut(width):
    """At 80 columns an operation has its line; at 60 its name stands on a line of its own."""
    lines = printed(width, ROWS, print_precision)
    table = lines[next(at for at, line in enumerate(lines) if "  declared  " in line) : lines.index("layer_norm: traits split-k")]

    assert all(len(line) <= width for line in table)
    for whole in ("bfloat16  STEPWISE  STEPWISE  50% (LN-2)     12%", "bfloat16  FUSED     FUSED     100% (MHA-10)  -"):
        assert any(whole in line for line in table)
    assert ("layer_norm" in table) == ("multi_head_attention" in table) == (width == 60)


def test_traits_and_what_did_not_run_stand_below():
    """Each on a line of its own."""
    lost = row(outcome="NOT RUN", strictest="", reason="0 relevant examples of 9; required: 3")
    lines = printed(80, (*ROWS, lost, row(outcome="CRASH", strictest="", reason="it ended")), print_precision)

    assert "layer_norm bfloat16: 1 CRASH, 1 NOT RUN" in lines
    assert "layer_norm: traits split-k" in lines
    assert not any(line.startswith("multi_head_attention bfloat16: ") for line in lines)
    assert not any("traits" in line for line in printed(80, ROWS, print_precision, traits=()))


def test_a_stricter_class_is_named_where_a_number_was_compared():
    """A shape would have passed in every class, which says nothing."""
    shape = row(requirement="GEN-1", strictest="FUSED")
    lines = printed(120, (shape, row(accuracy=0.5, strictest="EAGER")))

    assert [line.split()[2:4] for line in lines if line.startswith("GEN-1")] == [["PASS", "the"]]
    assert sum(">EAGER" in line for line in lines) == sum(">CLASS" in line for line in lines) == 1
    assert not any(">CLASS" in line for line in printed(120, (shape,)))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((row(accuracy=0.1, strictest="EAGER"), row(strictest="FUSED")), "all rows"),
        (
            (row(accuracy=0.1, strictest="EAGER"), row(outcome="WARN", strictest="")),
            "all rows that passed",
        ),
        ((row(precision="EAGER", accuracy=0.1, strictest="EAGER"),), ""),
        ((row(accuracy=0.1), row(accuracy=0.1, strictest="EAGER")), ""),
        ((row(accuracy=0.1, strictest="EAGER"), failing()), ""),
        ((row(precision="FUSED", accuracy=0.1, strictest="FUSED"), failing("EAGER", precision="FUSED")), ""),
        ((row(strictest="EAGER"),), ""),
        ((row(precision="EXACT", strictest="EXACT", accuracy=0.1),), ""),
    ],
)
def test_a_class_that_is_looser_than_need_be_is_told_once(rows, said):
    """Not where something fails, nor where no number shows it."""
    lines = printed(120, rows, declared={"bfloat16": "STEPWISE"})
    told = [line.removeprefix("layer_norm bfloat16: ") for line in lines if "would have passed as" in line]

    assert told == [f"declared STEPWISE, {said} would have passed as EAGER"] * bool(said)


def test_a_class_that_is_required_is_not_said_to_be_declared():
    """The one that is declared is looser still."""
    lines = printed(120, (row(precision="EAGER", accuracy=0.1, strictest="FUSED"),), declared={"bfloat16": "STEPWISE"})

    assert "layer_norm bfloat16: held to EAGER, all rows would have passed as FUSED" in lines


@pytest.mark.parametrize("show", [print_report, print_precision])
def test_what_the_selection_excluded_is_counted_apart(show):
    """A requirement that could not be judged is not hidden among those that nobody asked for."""
    excluded = row(outcome="NOT RUN", strictest="", reason=EXCLUDED)
    lost = row(outcome="NOT RUN", strictest="", reason="0 relevant examples of 9; required: 3")

    assert printed(120, (row(), excluded, excluded), show)[-1] == "PASSED  1 PASS · 2 excluded"
    assert printed(120, (row(), excluded, lost), show)[-1] == "NOT PASSED  1 NOT RUN · 1 PASS · 1 excluded"


def test_a_row_survives_json():
    """Workers and pytest-xdist send rows as JSON."""
    (first, *_) = kept(judged(fused, "EAGER"))

    assert Row.from_json(json.loads(json.dumps(dataclasses.asdict(first)))) == first


def test_a_failure_names_the_class_that_it_was_held_to():
    """Not the one that was declared."""
    failed = next(row for row in kept(judged(stepwise, "STEPWISE", required="FUSED")) if row.outcome == "FAIL")

    assert "bfloat16 FUSED on cpu" in failure_text(failed)


def test_a_number_off_by_a_hair_at_zero_radius_is_seen():
    """The helper of this module sees a wrong number."""

    def wrong(backend, rows):
        y = backend.layer_norm(rows.x, rows.gamma, rows.beta)
        assert_close(y.got + 1, y.value, y.radius)

    assert judge(wrong, Backend(load(target(fused)), "bfloat16")).outcome == "FAIL"
