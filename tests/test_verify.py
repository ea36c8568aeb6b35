"""`toise.verify` gives one and the same report wherever it is called, and leaves everything as it was."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
import threading
import warnings

import hypothesis
import numpy as np
import pytest
import toise
import toise_reference
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from misbehaviours import backend, last_bits_vary
from toise import bounds, engine
from toise.backend import Backend
from toise.engine import ENOUGH, requirement
from toise.inputs import attention_inputs, token_rows
from toise.targets import load
from toise.verdict import Irrelevant, assert_close, assert_that

# A backend with failures of several kinds, so that counterexamples, hints and shrinking are compared too.
WRONG = """
    import warnings
    import numpy as np

    __toise__ = {"name": "wrong", "dtypes": ["float32", "float64"]}

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        warnings.warn("deprecated", DeprecationWarning)
        return gamma * (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True, ddof=1) + eps) + beta

    def attention(q, k, v, *, mask=None, causal=False):
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
        if causal:
            scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return (weights / weights.sum(-1, keepdims=True) @ v).astype(q.dtype)
"""
CALL = {"operations": ["layer_norm"], "dtypes": ["float32"], "budget": "standard", "seed": 3}
ALL = {**CALL, "operations": None}
HOSTILE = """
    [tool.pytest.ini_options]
    addopts = "-n 2 -x --strict-markers -p no:cacheprovider"
    filterwarnings = ["error"]
    testpaths = ["nowhere"]
"""
NESTED = """
    import json, pathlib, warnings
    import hypothesis, numpy as np, toise

    hypothesis.settings.register_profile("hostile", max_examples=1, phases=[], deadline=1)
    hypothesis.settings.load_profile("hostile")

    def test_verify_inside_pytest():
        with np.errstate(all="raise"):
            report = toise.verify("wrong.py", **{call!r})
        pathlib.Path("inside.json").write_text(json.dumps(report.without_times().as_json()))
        assert warnings.filters[0][0] == "error"
"""


@pytest.fixture
def wrong(tmp_path, monkeypatch):
    """The path of the wrong backend, in an empty folder that is the current one."""
    (tmp_path / "wrong.py").write_text(textwrap.dedent(WRONG), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return "wrong.py"


@pytest.fixture
def report(wrong):
    """What `verify` finds when it is called here."""
    return toise.verify(wrong, **CALL)


def run_python(*arguments, cwd):
    """Run Python in a folder, without the environment that pytest sets."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV", "HYPOTHESIS"))}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=clean, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_same_json(read, report):
    """Compare what another process wrote with a report made here; show the rows that differ."""
    written = report.without_times().as_json()
    assert [pair for pair in zip(read["results"], written["results"], strict=True) if pair[0] != pair[1]] == []
    assert read == written


def in_thread(call):
    """Return what a call returns in a thread of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_the_report_is_worth_comparing(report):
    """It has passes and failures of several kinds, each with a counterexample."""
    outcomes = {row.outcome for row in report.results}

    assert {"PASS", "FAIL"} <= outcomes
    assert report.exit_code == 1
    assert len({row.counterexample.text for row in report.results if row.counterexample}) > 2


def test_a_second_call_gives_the_same_report(report, wrong):
    """To the last digit of the accuracy."""
    assert toise.verify(wrong, **CALL) == report


def test_a_script_gives_the_same_report(wrong, tmp_path):
    """A plain process, without pytest."""
    script = f"import json, toise; print(json.dumps(toise.verify('wrong.py', **{ALL!r}).without_times().as_json()))"
    printed = run_python("-c", script, cwd=tmp_path)

    assert_same_json(json.loads(printed), toise.verify(wrong, **ALL))


def test_a_test_under_a_hostile_configuration_gives_the_same_report(report, tmp_path):
    """Workers, warnings as errors, floating-point traps and somebody's own profile change nothing."""
    (tmp_path / "pyproject.toml").write_text(textwrap.dedent(HOSTILE))
    (tmp_path / "test_nested.py").write_text(textwrap.dedent(NESTED).replace("{call!r}", repr(CALL)))
    run_python("-m", "pytest", "test_nested.py", cwd=tmp_path)

    assert_same_json(json.loads((tmp_path / "inside.json").read_text()), report)


def test_a_property_test_gives_the_same_report(report, wrong):
    """Inside an `@given`, whose own draws go on undisturbed."""
    drawn, found = [], []

    @settings(max_examples=1, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.integers())
    def outer(number):
        drawn.append(number)
        found.append(toise.verify(wrong, **CALL))
        hypothesis.note("still here")

    outer()

    assert len(drawn) == 1
    assert all(inner == report for inner in found)


def test_a_thread_gives_the_same_report(report, wrong):
    """Not only the main one."""
    assert in_thread(lambda: toise.verify(wrong, **CALL)) == report


def test_two_threads_at_once_give_the_same_report(report, wrong):
    """And the filters are restored when the last of them is done."""
    before = list(warnings.filters)
    found = [None, None]
    barrier = threading.Barrier(2)

    def judge(at):
        barrier.wait()
        found[at] = toise.verify(wrong, **CALL)

    threads = [threading.Thread(target=judge, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [report, report]
    assert list(warnings.filters) == before


def state():
    """Return all that a call could change for its caller."""
    return {
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "traps": np.geterr(),
        "random": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "profile": settings.get_current_profile_name(),
        "settings": repr(settings.default),
        "in a test": hypothesis.currently_in_test_context(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109
        "running": threading.active_count(),
        "hook": sys.excepthook,
        "printing": np.get_printoptions(),
        "recursion": sys.getrecursionlimit(),
    }


@pytest.mark.parametrize("target", ["wrong.py", "torch"])
def test_no_global_state_changes(wrong, target):
    """Generators, filters, traps, threads, profiles, the environment; sys.path gains the target's own folder alone."""
    before, path = state(), list(sys.path)
    toise.verify(target, **(ALL if target == "torch" else CALL))
    after = state()

    assert {name: after[name] for name in before if after[name] != before[name]} == {}
    assert [folder for folder in sys.path if folder not in path] in ([], [os.getcwd()])  # noqa: PTH109
    assert sys.path[: len(path)] == path


def test_no_global_state_changes_when_the_target_cannot_be_used(wrong):
    """Nor when Toise itself fails, or the user interrupts."""

    def interrupts(x, gamma, beta):
        raise KeyboardInterrupt

    before = state()
    with pytest.raises(toise.TargetError):
        toise.verify(wrong, operations=["softmax"])
    with pytest.raises(KeyboardInterrupt):
        toise.verify({"layer_norm": interrupts}, **CALL)

    assert state() == before


def test_a_backend_that_warns_passes_where_warnings_are_errors():
    """Its warnings are no concern of the verdict, and the caller's filters no concern of the backend."""

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        np.float32(1) / np.float32(0)
        return toise_reference.layer_norm(x, gamma, beta, eps=eps)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = toise.verify({"layer_norm": layer_norm}, operations=["layer_norm"], budget="smoke")

    assert report.passed


@pytest.mark.parametrize("target", ["reference", "torch"])
def test_floating_point_traps_of_the_caller_have_no_effect(target):
    """Underflow is an everyday event in a softmax."""
    with np.errstate(all="raise"):
        report = toise.verify(target, **{**CALL, "operations": ["attention"]})

        assert set(np.geterr().values()) == {"raise"}
    assert report.passed


def test_what_a_backend_does_to_the_traps_and_filters_ends_with_the_run():
    """A target that sets them for the whole process is not the caller's."""

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        np.seterr(all="raise", under="ignore")
        warnings.simplefilter("error")
        return toise_reference.layer_norm(x, gamma, beta, eps=eps)

    before = state()
    toise.verify({"layer_norm": layer_norm}, **CALL)

    assert state() == before


def test_another_seed_explores_other_inputs():
    """And the report says which seed it was."""
    seen = {}

    def recording(seed):
        def layer_norm(x, gamma, beta, *, eps=1e-5):
            seen.setdefault(seed, []).append((x.shape, x.tobytes()))
            return toise_reference.layer_norm(x, gamma, beta, eps=eps)

        return toise.verify({"layer_norm": layer_norm}, operations=["layer_norm"], seed=seed)

    reports = [recording(seed) for seed in (0, 1)]

    assert all(report.passed for report in reports)
    assert [report.settings["seed"] for report in reports] == [0, 1]
    assert set(seen[0]) != set(seen[1])


def test_strict_makes_a_warning_fail_the_run():
    """A SHOULD is not a MUST, unless the user says so."""
    target = backend(last_bits_vary, "numpy", "layer_norm")
    reports = [toise.verify(target, strict=strict, **CALL) for strict in (False, True)]

    assert all(report.requirements["GEN-11"].outcome == "WARN" for report in reports)
    assert [(report.passed, report.exit_code) for report in reports] == [(True, 0), (False, 1)]


def planted(test, recipes=None, id="LN-1"):
    """Return a property that is not in the suite."""
    return requirement(id, rows=recipes or token_rows())(test).property


def judge(prop, target="reference", operation="layer_norm"):
    """Judge one property for one backend."""
    return engine.judge(prop, Backend(load(target), "float32"), operation, budget="smoke")


def test_a_property_that_is_never_relevant_is_not_run(monkeypatch):
    """Its condition was never met: that is not a PASS, and the report does not pass."""

    def never(backend, rows):
        raise Irrelevant

    prop = planted(never)
    row = judge(prop)
    assert (row.outcome, row.reason) == ("NOT RUN", f"0 relevant examples of {row.examples['run']}; required: {ENOUGH}")

    good = next(other for other in engine.properties() if other.id == "LN-4")
    monkeypatch.setattr(engine, "properties", lambda: [prop, good])
    report = toise.verify("reference", **CALL)
    assert {row.requirement: row.outcome for row in report.results} == {"LN-1": "NOT RUN", "LN-4": "PASS"}
    assert not report.passed
    assert report.exit_code == 1


def test_a_property_that_compares_nothing_is_not_run():
    """Forgetting the assertion is the commonest way to test nothing."""

    def forgets(backend, rows):
        backend.run(rows)

    assert judge(planted(forgets)).outcome == "NOT RUN"


def test_a_property_whose_every_comparison_is_excused_is_not_run():
    """An infinite radius says nothing."""

    def excuses(backend, rows):
        y = backend.run(rows)
        assert_close(y.got, y.value, np.inf)

    row = judge(planted(excuses))
    assert row.outcome == "NOT RUN"
    assert row.elements["excused"] > row.elements["checked"] == 0


@pytest.mark.parametrize(("relevant", "outcome"), [(ENOUGH - 1, "NOT RUN"), (ENOUGH, "PASS")])
def test_enough_relevant_examples_are_enough(relevant, outcome):
    """And one fewer is not."""
    counted = []

    def counts(backend, rows):
        if len(counted) == relevant:
            raise Irrelevant
        counted.append(rows)
        assert_that(holds=True, kind="value", message="never shown")

    row = judge(planted(counts))
    assert (row.outcome, row.examples["relevant"]) == (outcome, relevant)


def test_one_failure_among_irrelevant_examples_is_a_failure():
    """A single counterexample is enough."""
    tried = []

    def fails_once(backend, rows):
        tried.append(rows)
        assert_that(holds=rows.x.shape[-1] != 65, kind="value", message="65 features")
        raise Irrelevant

    row = judge(planted(fails_once))
    assert (row.outcome, row.counterexample.message) == ("FAIL", "65 features")


@pytest.mark.parametrize("slip", [lambda rows: rows.x[10**6], lambda rows: rows.nothing, lambda rows: 1 // 0])
def test_a_slip_in_a_property_test_is_toises_own_error(slip):
    """It must not pass for a failure of the backend; the error names the requirement and the recipe."""
    with pytest.raises(toise.ToiseError, match=r"^LN-1 on layer_norm\(.*\): the property test raised \w+Error"):
        judge(planted(lambda backend, rows: slip(rows)))


def test_a_bare_assertion_in_a_property_test_is_toises_own_error():
    """Only the assertions of `toise.verdict` speak of the backend."""

    def asserts(backend, rows):
        assert rows.x.size == 0

    with pytest.raises(toise.ToiseError, match="AssertionError"):
        judge(planted(asserts))


def moved(function, relative):
    """Return a function whose values are off by a relative error."""

    def wrong(*arguments, **options):
        result = function(*arguments, **options)
        if isinstance(result, np.ndarray):
            return result * (1 + relative)
        return result.new(result.value * (1 + relative), result.radius)

    return wrong


@pytest.mark.parametrize("operation", ["attention", "layer_norm"])
@pytest.mark.parametrize("module", [bounds, toise_reference], ids=["bounds", "reference"])
@pytest.mark.parametrize("relative", [1e-6, -1e-3])
def test_a_reference_and_bounds_that_disagree_are_toises_own_error(monkeypatch, module, operation, relative):
    """Two computations of everything: a slip in either stops the run, and is never the backend's failure."""
    correct = {operation: getattr(toise_reference, operation)}
    monkeypatch.setattr(module, operation, moved(getattr(module, operation), relative))

    with pytest.raises(toise.ToiseError, match=rf"{operation}\[.*\]: the reference computes .*, the bounds "):
        toise.verify(correct, **{**CALL, "operations": [operation]})


def test_a_reference_that_gives_nan_is_toises_own_error(monkeypatch):
    """NaN excuses nothing."""
    correct = {"layer_norm": toise_reference.layer_norm}
    monkeypatch.setattr(toise_reference, "layer_norm", moved(toise_reference.layer_norm, np.nan))

    with pytest.raises(toise.ToiseError, match="the reference computes"):
        toise.verify(correct, **CALL)


def test_a_reference_that_rejects_an_input_is_toises_own_error(monkeypatch):
    """The suite makes inputs within the specification."""

    def rejects(*arguments, **options):
        raise ValueError("too short")

    correct = {"layer_norm": toise_reference.layer_norm}
    monkeypatch.setattr(toise_reference, "layer_norm", rejects)

    with pytest.raises(toise.ToiseError, match="the reference rejects inputs that the suite made: too short"):
        toise.verify(correct, **CALL)


def test_two_tests_of_one_requirement_are_toises_own_error(monkeypatch):
    """Each requirement has one test that decides it."""
    module = sys.modules.setdefault("planted_suite", type(sys)("planted_suite"))
    monkeypatch.setitem(sys.modules, "planted_suite", module)
    module.one = requirement("LN-1", rows=token_rows())(lambda backend, rows: None)
    module.two = requirement("LN-1", rows=token_rows())(lambda backend, rows: None)
    monkeypatch.setattr(engine, "SUITE", ("planted_suite",))

    with pytest.raises(toise.ToiseError, match="two tests cite LN-1"):
        engine.properties()


def test_a_property_of_another_operation_is_not_provided():
    """With the name of what is missing."""

    def never(backend, rows):
        raise AssertionError

    prop = requirement("ATT-1", rows=attention_inputs())(never).property
    row = judge(prop, {"layer_norm": toise_reference.layer_norm}, "attention")

    assert (row.outcome, row.reason) == ("NOT PROVIDED", "no operation attention")
