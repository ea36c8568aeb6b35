"""The examples do what they say, and any part of an implementation can be judged by itself."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import toise
import toise_reference
from toise.backends import compiler
from toise.operations import OPERATIONS

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name", ["plain_numpy.py", "plain_torch.py"])
def test_all_eight_concepts_written_plainly_pass(name):
    """Every operation is there, and nothing is failed; only SHOULDs may be missed."""
    report = toise.verify(EXAMPLES / name, budget="smoke")

    assert report.counts["FAIL"] + report.counts["CRASH"] + report.counts["NOT RUN"] + report.counts["NOT PROVIDED"] == 0
    assert {row.operation for row in report.results if row.outcome == "PASS"} == set(OPERATIONS)
    assert {row.requirement for row in report.results if row.outcome == "WARN"} <= {"GEN-9"}
    assert report.exit_code == 0


@pytest.mark.parametrize("name", ["first/my_torch.py", "torch_modules.py"])
def test_functions_and_modules_of_torch_pass(name):
    """A module has fixed widths: what it does not do is counted, and nothing else is left out."""
    report = toise.verify(EXAMPLES / name, operations=["layer_norm", "feed_forward", "multi_head_attention"], budget="smoke")

    assert report.exit_code == 0
    assert report.counts["FAIL"] + report.counts["WARN"] + report.counts["NOT RUN"] == 0


@pytest.mark.skipif(bool(compiler()), reason="needs a C++ compiler")
def test_what_torch_compiles_passes(toise):
    """In its domain; each shape is a program, so that two requirements are enough here."""
    done = toise("check", EXAMPLES / "torch_compiled.py", "--budget", "smoke", "-k", "LN-2 or LN-3")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "d = 2 or 3 or 16 or 64" in done.stdout


@pytest.mark.skipif(not find_spec("jax"), reason="needs jax: pip install 'toise[jax]'")
def test_all_eight_concepts_written_in_jax_pass(toise):
    """One requirement of each operation, of those that need few programs."""
    ids = "LN-10 or ATT-16 or MHA-5 or FFN-5 or RES-2 or CAU-6 or MLM-2 or MLM-28 or AR-9"
    done = toise("check", EXAMPLES / "plain_jax.py", "--budget", "smoke", "-k", ids)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED  9 PASS" in done.stdout


@pytest.mark.skipif(not find_spec("jax"), reason="needs jax: pip install 'toise[jax]'")
def test_the_shortest_backend_in_jax_passes(toise):
    """On what the page runs."""
    assert toise("check", EXAMPLES / "first" / "my_jax.py", "--budget", "smoke", "-k", "LN-2").returncode == 0


def test_the_mistake_of_the_tutorial_fails_what_is_about_the_variance():
    """At the default budget, which is what the page runs, and nothing else fails."""
    report = toise.verify(EXAMPLES / "first" / "my_layer_norm.py")

    failed = {id for id, verdict in report.requirements.items() if verdict.outcome == "FAIL"}
    assert failed == {"GEN-3", "LN-1", "LN-2", "LN-3", "LN-4", "LN-12", "LN-13"}


def test_three_lines_pass_and_what_they_lack_is_not_provided():
    """One operation without options."""
    report = toise.verify(EXAMPLES / "three_lines.py", budget="smoke")

    assert report.exit_code == 0
    assert {row.operation for row in report.results if row.outcome == "PASS"} == {"attention"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_backend_with_one_operation_is_judged_on_that_one(operation):
    """And the report says, row by row, what was not provided."""
    report = toise.verify({operation: getattr(toise_reference, operation)}, budget="smoke")

    assert report.exit_code == 0
    for row in report.results:
        own = row.operation == operation
        assert row.outcome == ("PASS" if own else "NOT PROVIDED"), row
        assert row.reason == ("" if own else f"no operation {row.operation}"), row
