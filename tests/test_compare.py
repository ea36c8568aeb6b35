"""Two reports side by side: what counts as worse, and what cannot be compared is never counted as well."""

import dataclasses

import pytest
import toise
from toise.compare import compare
from toise.report import Document

KEY = ("LN-5", "layer_norm", "float32", "cpu")


@pytest.fixture(scope="module")
def report():
    """Return a report in which some rows hold and some are broken."""
    return toise.verify("examples/annotated_layer_norm.py", budget="smoke", operations=["layer_norm"])


def document(*reports, **unavailable):
    """Return reports as one document."""
    return Document(reports, unavailable)


def with_row(report, key=KEY, **fields):
    """Return the report with other fields in one row."""
    rows = (dataclasses.replace(row, **fields) if row.key == key else row for row in report.results)
    return dataclasses.replace(report, results=tuple(rows))


def without(report, key=KEY):
    """Return the report without a row."""
    return dataclasses.replace(report, results=tuple(row for row in report.results if row.key != key))


def with_settings(report, **settings):
    """Return the report with other settings."""
    return dataclasses.replace(report, settings={**report.settings, **settings})


def with_environment(report, **environment):
    """Return the report of another environment."""
    return dataclasses.replace(report, environment={**report.environment, **environment})


def with_declaration(report, **declared):
    """Return the report with other declarations for layer_norm."""
    operations = {"layer_norm": {**report.declarations["operations"]["layer_norm"], **declared}}
    return dataclasses.replace(report, declarations={**report.declarations, "operations": operations})


def of(old, new, factor=2.0):
    """Compare two reports."""
    return compare(document(old), document(new), factor)


def keys(changes):
    """Return which rows changed."""
    return [change.row.key for change in changes]


def test_equal_reports_are_no_worse(report):
    """The rows that the selection kept are compared, those that fail in both too."""
    found = of(report, report)

    assert found.exit_code == 0
    assert found.compared == sum(not row.excluded for row in report.results)
    assert found.lines() == [f"NO WORSE: {found.compared} compared"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("PASS", "FAIL"),
        ("PASS", "CRASH"),
        ("PASS", "WARN"),
        ("PASS", "NOT RUN"),
        ("PASS", "NOT PROVIDED"),
        ("PASS", "NOT APPLICABLE"),
        ("PASS", "XFAIL"),
        ("XPASS", "FAIL"),
        ("XFAIL", "FAIL"),
        ("FAIL", "CRASH"),
        ("NOT PROVIDED", "FAIL"),
    ],
)
def test_a_worse_outcome_broke(report, before, after):
    """Also what is merely not shown any more, or put up with, broke."""
    found = of(with_row(report, outcome=before), with_row(report, outcome=after, reason="why"))

    assert keys(found.broke) == [KEY]
    assert found.exit_code == 1
    assert f"BROKE LN-5 layer_norm float32 on cpu, {report.target}: {before} → {after}: why" in found.lines()


@pytest.mark.parametrize("before", ["FAIL", "TIMEOUT", "XFAIL", "WARN", "NOT RUN"])
@pytest.mark.parametrize("after", ["PASS", "XPASS"])
def test_what_holds_now_is_fixed(report, before, after):
    """A known failure that is gone is fixed, whether or not the baseline says so yet."""
    found = of(with_row(report, outcome=before), with_row(report, outcome=after))

    assert keys(found.fixed) == [KEY]
    assert found.exit_code == 0


def test_what_holds_only_in_part_now_broke(report):
    """An option that is not provided any more shows in the reason of a PASS alone."""
    found = of(report, with_row(report, reason="in part: no eps"))

    assert keys(found.broke) == [KEY]
    assert "PASS → PASS in part: in part: no eps" in found.lines()[0]


def test_a_failure_that_is_known_now_is_no_worse(report):
    """The baseline took it up; it is neither broken nor fixed."""
    found = of(with_row(report, outcome="FAIL"), with_row(report, outcome="XFAIL"))

    assert keys(found.changed) == [KEY]
    assert found.exit_code == 0


def test_what_is_provided_now_and_holds_is_new(report):
    """Nothing is said of it by the report before."""
    found = of(with_row(report, outcome="NOT PROVIDED", precision="EAGER"), report)

    assert keys(found.new) == [KEY]
    assert found.exit_code == 0


@pytest.mark.parametrize(
    ("before", "after", "grew"),
    [(0.1, 0.31, True), (0.1, 0.29, False), (0.0, 0.5, True), (0.0, 0.009, False), (0.4, 0.1, False)],
)
def test_an_error_grew_that_is_larger_by_more_than_the_factor(report, before, after, grew):
    """Both hold; below a hundredth of the radius nothing counts as growth."""
    found = of(with_row(report, accuracy=before), with_row(report, accuracy=after), factor=3.0)

    assert keys(found.grew) == [KEY] * grew
    assert found.exit_code == grew


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda report: with_row(report, precision="EAGER", accuracy=0.9), "precision STRICT → EAGER"),
        (lambda report: with_row(report, sentence="Another.", accuracy=0.9), "the sentence changed"),
        (lambda report: with_row(report, level="SHOULD", accuracy=0.9), "MUST → SHOULD"),
        (lambda report: with_row(report, domain="d is even", accuracy=0.9), "domain none → d is even"),
        (
            lambda report: with_row(report, outcome="NOT RUN", reason="excluded by the selection"),
            "excluded by the selection in the new",
        ),
    ],
)
def test_a_row_of_which_something_else_was_asked_is_not_compared(report, change, why):
    """Its error says nothing of the one before; the other rows are compared."""
    found = of(report, change(report))

    assert keys(found.incomparable) == [KEY]
    assert why in found.incomparable[0].why
    assert not found.grew
    assert found.exit_code == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda report: with_settings(report, budget="thorough"), "budget smoke → thorough"),
        (lambda report: with_settings(report, seed=7), "seed 0 → 7"),
        (lambda report: with_environment(report, recipes="9"), "recipes 1 → 9"),
        (lambda report: with_declaration(report, causal_alignment="top-left"), "causal_alignment none → top-left"),
        (lambda report: with_declaration(report, traits=["split-k"]), "traits none → split-k"),
    ],
)
def test_a_comparison_of_nothing_is_no_success(report, change, why):
    """Where all rows have other inputs, or another declaration, nothing is known to be as good as before."""
    found = of(report, change(report))

    assert found.compared == 0
    assert found.exit_code == 1
    assert why in found.incomparable[0].why
    assert found.lines()[-1].startswith("NOTHING COULD BE COMPARED")


def test_another_line_is_no_other_declaration(report):
    """Where an operation stands in its file is no matter."""
    found = of(report, with_declaration(report, line=99))

    assert found.exit_code == 0
    assert not found.incomparable


def test_what_passed_and_fails_now_is_lost_where_it_cannot_be_compared(report):
    """Another sentence explains a failure, and does not excuse it."""
    found = of(report, with_row(report, sentence="Another.", outcome="FAIL"))

    assert keys(found.lost) == [KEY]
    assert found.exit_code == 1
    assert found.lines()[0].startswith("LOST LN-5 layer_norm float32")


def test_a_row_that_passed_and_is_gone_is_lost(report):
    """Without a row there is no proof."""
    found = of(report, without(report))

    assert keys(found.gone) == keys(found.lost) == [KEY]
    assert found.exit_code == 1


def test_a_row_that_failed_and_is_gone_is_not_lost(report):
    """It is said, and is no worse."""
    found = of(with_row(report, outcome="FAIL"), without(report))

    assert keys(found.gone) == [KEY]
    assert found.exit_code == 0


def test_a_row_that_was_not_there_is_new(report):
    """The report before says nothing of it."""
    found = of(without(report), report)

    assert keys(found.new) == [KEY]
    assert found.exit_code == 0


def test_a_row_that_an_incomplete_report_does_not_have_is_lost(report):
    """A run that was cut short is no excuse: what ended it may be the backend."""
    found = of(report, dataclasses.replace(without(report), complete=False))

    assert keys(found.incomparable) == keys(found.lost) == [KEY]
    assert "INCOMPLETE" in found.incomparable[0].why
    assert found.exit_code == 1


def test_a_row_that_an_incomplete_report_did_not_have_is_not_new(report):
    """It may have been there, had the run not been cut short."""
    found = of(dataclasses.replace(without(report), complete=False), report)

    assert keys(found.incomparable) == [KEY]
    assert found.exit_code == 0


def test_a_row_of_another_shard_is_not_lost(report):
    """The other shards have it."""
    found = of(report, with_settings(without(report), shard="2/5"))

    assert keys(found.incomparable) == [KEY]
    assert found.exit_code == 0
    assert f"{report.target}: the new report is shard 2/5" in found.lines()


def test_a_dtype_that_was_not_chosen_is_not_lost(report):
    """Whoever asks for less has asked for less."""
    rows = tuple(dataclasses.replace(row, dtype="float64") for row in report.results)
    wide = with_settings(dataclasses.replace(report, results=report.results + rows), dtypes=["float32", "float64"])

    found = of(wide, report)

    assert {change.why for change in found.incomparable} == {"the new report is not about float64"}
    assert found.exit_code == 0


def test_a_dtype_that_is_not_declared_any_more_is_lost(report):
    """The target itself asks for less."""
    rows = tuple(dataclasses.replace(row, dtype="float64") for row in report.results)
    wide = with_settings(dataclasses.replace(report, results=report.results + rows), dtypes=["float32", "float64"])
    declared = {**report.declarations, "dtypes": ["float32", "float64"]}

    found = of(dataclasses.replace(wide, declarations=declared), report)

    assert found.lost
    assert found.exit_code == 1


def test_a_requirement_that_the_specification_has_no_more_is_not_lost(report):
    """Nothing asks for it."""
    found = of(report, with_environment(without(report), specification="0.2"))

    assert found.incomparable[0].why == "specification 0.2 does not have LN-5"
    assert found.exit_code == 0


def test_single_reports_are_compared_whatever_their_names(report):
    """Two files may be two versions of one backend; that they are two is said."""
    found = of(report, dataclasses.replace(report, target="other.py"))

    assert found.exit_code == 0
    assert found.notes == (f"{report.target} is compared with other.py",)


def test_several_reports_are_matched_by_their_targets(report):
    """Each is compared with its own, in whatever order they stand."""
    other = dataclasses.replace(with_row(report, outcome="FAIL"), target="other.py")

    found = compare(document(report, other), document(other, report), 2.0)

    assert found.exit_code == 0
    assert not found.gone


def test_a_target_that_is_gone_loses_what_passed(report):
    """Why it cannot be had is said."""
    other = dataclasses.replace(report, target="other.py")

    found = compare(document(report, other), Document((report,), {"other.py": "not installed"}), 2.0)

    assert found.exit_code == 1
    assert {change.why for change in found.gone} == {"NOT AVAILABLE: not installed"}


def test_other_versions_are_said(report):
    """They may explain what follows."""
    found = of(report, with_environment(report, numpy="9.9"))

    assert found.lines()[0] == f"{report.target}: numpy {report.environment['numpy']} → 9.9"


def test_no_line_has_what_a_terminal_obeys(report):
    """A report may come from anybody."""
    bad = "\x1b[2J\nPASSED \u202e" + "x" * 5000
    found = of(report, dataclasses.replace(with_row(report, outcome="FAIL", reason=bad), target=bad))

    assert all(line.isprintable() and len(line) <= 700 for line in found.lines())
    assert found.lines() == of(report, dataclasses.replace(with_row(report, outcome="FAIL", reason=bad), target=bad)).lines()
