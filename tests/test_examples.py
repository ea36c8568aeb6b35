"""The examples do what they say, and any part of an implementation can be judged by itself."""

from pathlib import Path

import pytest
import toise
import toise_reference
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
