"""Known failures: tried again on their recipe alone, never searched, and never in the way of a new one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from toise import run
from toise.baseline import Baseline, Entry, read_baseline, updated
from toise.conditions import Condition
from toise.errors import TargetError
from toise.inputs import USUAL
from toise.report import Report
from toise.targets import load

LN_1 = run.Unit("LN-1", "layer_norm", "float32")
TODAY = "2026-11-23"


def right(x, gamma, beta, *, eps=1e-5):
    """Return what the formula says."""
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta


def wrong_where(condition):
    """Return a layer_norm that is too large by 1 for rows of some lengths."""

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return right(x, gamma, beta, eps=eps) + np.float32(condition(x.shape[-1]))

    return {"layer_norm": layer_norm}


WRONG_AT_2 = wrong_where(lambda d: d == 2)
WRONG_AT_2_AND_WIDE = wrong_where(lambda d: d == 2 or d > 100)
NAN_AT_2 = {
    "layer_norm": lambda x, gamma, beta, *, eps=1e-5: right(x, gamma, beta, eps=eps) * (np.nan if x.shape[-1] == 2 else 1)
}
RIGHT = {"layer_norm": right}


def judge(functions, *entries, today=TODAY, unit=LN_1):
    """Judge one row with these known failures."""
    rules = run.Rules(baseline=Baseline(entries, today))
    return run.judge_unit(unit, load(functions), {}, rules)


def entry(**said):
    """Return the entry of a backend that is wrong for rows of two."""
    recipe = {"operation": "layer_norm", "version": 1, "literal": [1.0, -2.0]}
    return Entry("LN-1", "layer_norm", "float32", "cpu", recipe=recipe, kind="value", **said)


def report_of(functions, *entries, ids=("LN-1", "LN-4", "LN-5")):
    """Return the report of a run with these known failures."""
    target = load(functions)
    rules = run.Rules("smoke", 0, Baseline(entries, TODAY))
    units, excluded = run.plan(target, operations=["layer_norm"], select=lambda prop: prop.id in ids)
    rows = [run.judge_unit(unit, target, {}, rules) for unit in units]
    return run.assemble(target, rows, excluded, run.settings_of(budget="smoke", dtypes=["float32"]))


def test_a_known_failure_is_replayed_and_not_searched():
    """One example is run, and the row says so."""
    row = judge(WRONG_AT_2, entry(owner="ada", reason="a kernel for pairs", link="https://example.org/7"))

    assert (row.outcome, row.reason) == ("XFAIL", "known failure: wrong value; not searched further")
    assert row.examples["run"] == 1
    assert row.counterexample.recipe == entry().recipe
    assert [(known.owner, known.reason, known.state) for known in row.known] == [("ada", "a kernel for pairs", "fails")]


def test_a_run_whose_failures_are_all_known_passes():
    """They are not failures until something else is."""
    first = report_of(WRONG_AT_2, ids=("LN-1", "LN-2", "LN-3"))
    known = updated(Baseline(), first, {}).baseline.entries
    report = report_of(WRONG_AT_2, *known, ids=("LN-1", "LN-2", "LN-3", "GEN-1"))

    assert first.exit_code == 1
    assert {row.outcome for row in report.results if not row.excluded} == {"XFAIL", "PASS"}
    assert (report.passed, report.exit_code) == (True, 0)


def test_nothing_but_known_failures_is_no_success():
    """At least one MUST has to pass."""
    report = report_of(WRONG_AT_2, entry(), ids=("LN-1",))

    assert (report.passed, report.exit_code) == (False, 1)


def test_a_second_bug_behind_a_known_failure_with_a_condition_is_found():
    """The requirement is searched where the condition does not hold."""
    known = entry(condition="d < 50")

    assert judge(WRONG_AT_2, known).outcome == "XFAIL"
    found = judge(WRONG_AT_2_AND_WIDE, known)
    assert found.outcome == "FAIL"
    assert found.counterexample.recipe["d"] > 100
    assert judge(WRONG_AT_2_AND_WIDE, entry()).outcome == "XFAIL", "without a condition nothing else is searched"


def test_a_condition_says_how_much_was_searched_elsewhere():
    """The examples that it covers are counted apart."""
    row = judge(WRONG_AT_2, entry(condition="d == 2"))

    assert row.reason.startswith("known failure where d == 2: wrong value; elsewhere PASS on ")
    assert row.examples["known"] > 0
    assert row.examples["relevant"] > 5


def test_two_known_failures_of_one_row_are_both_kept():
    """Each has its condition; a third bug would be found outside of both."""
    wide = dataclasses.replace(
        entry(condition="d > 100"), recipe={"operation": "layer_norm", "version": 1, "d": 128, "content": "normal"}
    )
    row = judge(WRONG_AT_2_AND_WIDE, entry(condition="d == 2"), wide)

    assert row.outcome == "XFAIL"
    assert [known.state for known in row.known] == ["fails", "fails"]
    assert judge(wrong_where(lambda d: d == 2 or d > 60), entry(condition="d == 2"), wide).outcome == "FAIL"


def test_a_recipe_that_holds_is_searched_before_it_counts_as_gone():
    """XPASS only where nothing fails; a failure that has moved is a failure."""
    gone = judge(RIGHT, entry())

    assert (gone.outcome, gone.known[0].state) == ("XPASS", "holds")
    assert gone.examples["run"] > 5
    moved = judge(wrong_where(lambda d: d > 100), entry())
    assert (moved.outcome, moved.known[0].state) == ("FAIL", "holds")


def test_a_failure_of_another_kind_is_a_new_one():
    """A wrong value is known; NaN is not."""
    row = judge(NAN_AT_2, entry())

    assert (row.outcome, row.known[0].state) == ("FAIL", "differs")
    assert row.reason == "not finite; the known failure was: wrong value"


def test_an_expired_entry_is_a_failure_again():
    """On the day after the last one."""
    known = entry(expires="2026-11-22")

    assert judge(WRONG_AT_2, known, today="2026-11-22").outcome == "XFAIL"
    row = judge(WRONG_AT_2, known, today="2026-11-23")
    assert (row.outcome, row.reason) == ("FAIL", "wrong value; the known failure expired on 2026-11-22")
    assert row.known[0].expired


def test_an_entry_about_another_place_changes_nothing():
    """Another device, another dtype."""
    row = judge(WRONG_AT_2, dataclasses.replace(entry(), device="cuda"), dataclasses.replace(entry(), dtype="bfloat16"))

    assert row == judge(WRONG_AT_2)


def test_an_entry_that_cannot_be_tried_is_kept_as_it_is():
    """The backend refuses such rows now: the rest is judged as usual."""

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        if x.shape[-1] == 2:
            raise NotImplementedError("no pairs")
        return right(x, gamma, beta, eps=eps)

    row = judge({"layer_norm": layer_norm}, entry())

    assert row.outcome == "PASS"
    assert row.known[0].state in ("untried", "holds")


@pytest.mark.parametrize("strict", [False, True])
def test_xpass_fails_the_run_unless_it_is_allowed(strict):
    """So that a baseline only ever shrinks knowingly."""
    report = report_of(RIGHT, entry())

    assert report.counts["XPASS"] == 1
    assert report.exit_code == 1
    allowed = dataclasses.replace(report, settings={**report.settings, "allow_xpass": True, "strict": strict})
    assert allowed.exit_code == 0


def test_an_update_adds_what_fails_and_takes_out_what_holds():
    """With what is said of the new ones; what is known is left as it was written."""
    kept = entry(owner="ada", reason="a kernel for pairs")
    gone = dataclasses.replace(entry(), requirement="LN-5")
    report = report_of(WRONG_AT_2, kept, gone)
    change = updated(Baseline((kept, gone)), report, {"owner": "emmy"})

    assert {row.requirement: row.outcome for row in report.results if row.known} == {"LN-1": "XFAIL", "LN-5": "XPASS"}
    assert kept in change.baseline.entries
    assert change.removed == (gone,)
    assert [(new.requirement, new.owner) for new in change.added] == [("LN-4", "emmy")]


def test_an_update_keeps_what_people_wrote_when_the_recipe_changes():
    """Owner, reason, link and expiry are theirs."""
    old = dataclasses.replace(entry(owner="ada", link="https://example.org/7"), recipe={**entry().recipe, "literal": [2.0, 1.0]})
    fresh = report_of(WRONG_AT_2, ids=("LN-1",))
    (new,) = updated(Baseline((old,)), fresh, {"reason": "since 1.2"}).baseline.entries

    assert (new.owner, new.link, new.reason) == ("ada", "https://example.org/7", "since 1.2")
    assert new.recipe == fresh.results[0].counterexample.recipe != old.recipe


def test_an_update_takes_out_nothing_that_was_not_tried():
    """A run without the baseline did not try its recipe: that it passed proves little."""
    change = updated(Baseline((entry(),)), report_of(RIGHT), {})

    assert change.baseline.entries == (entry(),)
    assert change.left == ("not taken out: LN-1 layer_norm float32: its recipe was not tried: check with --baseline",)


def test_an_update_keeps_a_condition_that_covers_the_new_recipe():
    """Half of it is mended: the smallest input is another, and the hole stays as small as it was."""
    known = entry(condition="d < 10", owner="ada", expires="2027-01-01")
    report = report_of(wrong_where(lambda d: d == 3), known, ids=("LN-1",))
    (new,) = updated(Baseline((known,)), report, {}).baseline.entries

    assert (new.condition, new.owner, new.expires) == ("d < 10", "ada", "2027-01-01")
    assert new.recipe["d"] == 3


def test_an_update_says_when_a_condition_loses_its_point():
    """A second entry without one covers everything."""
    known = entry(condition="d < 50")
    change = updated(Baseline((known,)), report_of(WRONG_AT_2_AND_WIDE, known, ids=("LN-1",)), {})

    assert change.left == ("LN-1 layer_norm float32: the new entry has no condition, so that nothing of it is searched any more",)


def test_a_known_failure_that_stands_is_not_hidden_by_one_that_is_gone():
    """XFAIL, and it says so; an update takes out the one."""
    gone = dataclasses.replace(entry(), recipe={**entry().recipe, "d": 3, "literal": [1.0, 2.0, 3.0]})
    for known in ((entry(), gone), (entry(condition="d == 2"), dataclasses.replace(gone, condition="d == 3"))):
        report = report_of(WRONG_AT_2, *known, ids=("LN-1",))
        (row,) = [row for row in report.results if row.known]

        assert row.outcome == "XFAIL"
        assert row.reason.endswith("a known failure is gone: `toise baseline update`")
        assert updated(Baseline(known), report, {}).baseline.entries == known[:1]


def test_of_two_files_the_more_patient_one_counts():
    """Upstream's entry is over, mine is not; or only mine has the kind that it is now."""
    over, mine = entry(expires="2026-01-01"), entry(expires="2099-01-01")

    assert judge(WRONG_AT_2, over, mine).outcome == "XFAIL"
    assert judge(WRONG_AT_2, over).outcome == "FAIL"
    assert judge(NAN_AT_2, entry(), dataclasses.replace(entry(), kind="non-finite")).outcome == "XFAIL"


def test_a_known_failure_that_is_not_repeatable_is_a_failure():
    """By chance it failed once, and passed when it was called again."""
    calls = []

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        calls.append(x.shape)
        return right(x, gamma, beta, eps=eps) + np.float32(x.shape[-1] == 2 and len(calls) == 1)

    row = judge({"layer_norm": layer_norm, "__toise__": {"layer_norm": {"domain": {"d": [2, 3, 4, 5, 8, 16, 64]}}}}, entry())

    assert (row.outcome, row.reason) == ("FAIL", "not repeatable")


def test_twenty_runs_give_twenty_equal_rows():
    """Known failures are never flaky."""
    known = updated(Baseline(), report_of(WRONG_AT_2), {}).baseline.entries

    assert len({json.dumps(report_of(WRONG_AT_2, *known).without_times().as_json()) for _ in range(20)}) == 1


def test_an_entry_about_no_row_is_told(toise, backend_file, tmp_path):
    """A device that nobody has, for example."""
    (tmp_path / "b.json").write_text(Baseline((dataclasses.replace(entry(), device="cpoo"),)).as_text(), encoding="utf-8")
    done = toise("check", "reference", "-k", "LN-1", "--budget", "smoke", "--baseline", "b.json")

    assert "the baseline has LN-1 layer_norm float32 cpoo, and this run has no such row" in done.stderr


def test_a_recipe_that_the_requirement_never_tries_is_no_fault_of_the_suite(toise, tmp_path):
    """LN-3 needs an eps: exit 2, with the recipe."""
    recipe = {"operation": "layer_norm", "version": 1, "d": 0, "content": "normal"}
    (tmp_path / "b.json").write_text(
        Baseline((dataclasses.replace(entry(), requirement="LN-3", recipe=recipe),)).as_text(), encoding="utf-8"
    )
    done = toise("check", "reference", "-k", "LN-3", "--budget", "smoke", "--baseline", "b.json")

    assert done.returncode == 2
    assert "the baseline has layer_norm(content='normal', d=0), on which LN-3 cannot be tried" in done.stderr


def test_an_update_beside_a_condition_adds_a_second_entry():
    """The one with the condition still stands."""
    known = entry(condition="d < 50")
    report = report_of(WRONG_AT_2_AND_WIDE, known, ids=("LN-1",))
    change = updated(Baseline((known,)), report, {})

    assert change.baseline.entries == (known, *change.added)
    assert change.added[0].recipe["d"] > 100


def test_an_update_keeps_what_was_not_judged():
    """A run of some requirements says nothing of the others."""
    other = dataclasses.replace(entry(), requirement="LN-2")

    assert other in updated(Baseline((other,)), report_of(RIGHT, ids=("LN-1",)), {}).baseline.entries


def test_a_baseline_reads_back_as_it_was_written(tmp_path):
    """And several files are one."""
    mine, theirs = tmp_path / "mine.json", tmp_path / "theirs.json"
    mine.write_text(Baseline((entry(owner="ada", condition="d == 2", expires="2027-01-01"),)).as_text(), encoding="utf-8")
    theirs.write_text(Baseline((dataclasses.replace(entry(), requirement="LN-5"),)).as_text(), encoding="utf-8")

    assert [known.requirement for known in read_baseline([mine, theirs]).entries] == ["LN-1", "LN-5"]
    assert read_baseline([mine]).entries == (entry(owner="ada", condition="d == 2", expires="2027-01-01"),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"requirement": "LN-99"}, "has no requirement 'LN-99'"),
        ({"operation": "attention"}, "LN-1 says nothing of 'attention'"),
        ({"recipe": {"operation": "layer_norm", "version": 0}}, "of version 0, and this Toise builds version 1"),
        ({"recipe": {"operation": "layer_norm", "version": 1, "d": 1e9}}, "layer_norm(d) is 1000000000.0; required: int"),
        ({"recipe": {"operation": "layer_norm", "version": 1, "d": 10**9}}, "layer_norm(d) is 1000000000; required: from 0 to"),
        ({"recipe": {"operation": "layer_norm", "version": 1, "lead": [True]}}, "required: a list of numbers"),
        ({"recipe": {"operation": "layer_norm", "version": 1, "width": 3}}, "recipes of layer_norm have no 'width'"),
        ({"recipe": {"operation": "layer_norm", "version": 1, "content": "__import__('os')"}}, "cannot be built"),
        ({"condition": "d > "}, "cannot be read"),
        ({"condition": "width > 3"}, "there is no width; there are content,"),
        ({"condition": "d > 100"}, "its own recipe does not meet 'd > 100'"),
        ({"expires": "2026-13-01"}, "month must be in 1..12"),
        ({"kind": "unrepeatable"}, "does not fit the schema"),
        ({"note": "hello"}, "does not fit the schema"),
        ({"dtype": "float33"}, "no dtype 'float33'; there are"),
        ({"condition": "True"}, "it is the same for every recipe"),
        ({"recipe": {"operation": "layer_norm", "version": 1, "lead": [100000], "d": 100000}}, "the product of all lengths is"),
        ({"recipe": {"operation": "layer_norm", "version": 1, "literal": [10**400]}}, "a whole number of 401 digits"),
    ],
)
def test_a_baseline_that_cannot_be_used_is_one_line(tmp_path, changes, said):
    """It says where, what, and that `toise baseline update` makes it again."""
    body = json.loads(Baseline((entry(),)).as_text())
    body["entries"][0] |= changes
    path = tmp_path / "b.json"
    path.write_text(json.dumps(body), encoding="utf-8")

    with pytest.raises(TargetError) as raised:
        read_baseline([path])
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


ATTENTION = dataclasses.replace(USUAL["attention"], n=3, m=2, d_k=8, causal=True, content="ramp")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("n > m", True),
        ("n > m and not causal", False),
        ("d_k % 16 != 0 or n == m", True),
        ("1 < m < n <= 3", True),
        ("content == 'ramp'", True),
        ("scale == None", True),
        ("scale < 3", False),
        ("n % (m - 2) == 0", False),
        ("n * m - 1 == 5", True),
        ("causal", True),
    ],
)
def test_a_condition_is_a_comparison_of_the_fields_of_a_recipe(text, holds):
    """What cannot be compared does not hold."""
    assert Condition.of(text, type(ATTENTION)).holds(ATTENTION) is holds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "n.real > 1",
        "[n for n in (1,)]",
        "n ** n ** n > 1",
        "content * n == 'x'",
        "'%1000000000d' % n == ''",
        "n if causal else m",
        "lambda: n",
        "n := 3",
        "",
        "n >" * 200,
        "(" * 150 + "n" + ")" * 40,
        "n > m; m",
        "lead == 3",
    ],
)
def test_a_condition_is_never_code(text):
    """It is refused with one line."""
    with pytest.raises(ValueError, match="cannot be read") as raised:
        Condition.of(text, type(ATTENTION))
    assert "\n" not in str(raised.value)


def test_the_command_takes_a_baseline_from_a_report_and_back(toise, backend_file, tmp_path):
    """Check, write down what fails, check again: 0; mend the backend: 1, until it is taken out."""
    text = """
        import numpy as np

        def layer_norm(x, gamma, beta, *, eps=1e-5):
            return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta
    """
    path = backend_file(text.replace("+ eps)", "+ eps / 2)"))
    check = ("check", path, "--budget", "smoke", "-k", "layer_norm")
    again = (*check, "--baseline", "toise-baseline.json")

    assert toise(*check, "--json", "r.json").returncode == 1
    assert "known failures" in toise("baseline", "update", "r.json", "--owner", "ada").stdout
    known = toise(*again)
    assert (known.returncode, "XFAIL" in known.stdout) == (0, True)
    assert "not searched further" in known.stdout
    backend_file(text)
    mended = toise(*again, "--json", "r.json")
    assert (mended.returncode, "XPASS" in mended.stdout) == (1, True)
    assert toise(*again, "--allow-xpass").returncode == 0
    assert toise("baseline", "update", "r.json").returncode == 0
    assert json.loads((tmp_path / "toise-baseline.json").read_text(encoding="utf-8"))["entries"] == []


def test_a_baseline_is_of_one_target(toise, backend_file, tmp_path):
    """Which of several would it be about?"""
    (tmp_path / "b.json").write_text(Baseline((entry(),)).as_text(), encoding="utf-8")
    done = toise("check", "reference", "torch", "--baseline", "b.json", "--budget", "smoke")

    assert done.returncode == 2
    assert "--baseline is of one target" in done.stderr


def test_a_report_of_known_failures_reads_back(tmp_path):
    """Known entries are part of the report."""
    report = report_of(WRONG_AT_2, entry(owner="ada", condition="d == 2"))

    assert Report.from_json(json.loads(json.dumps(report.as_json()))) == report
