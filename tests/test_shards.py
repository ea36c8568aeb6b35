"""Shards: equal parts of one run, and one report of all of them that is equal to that of a run without."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
from toise import run
from toise.errors import TargetError
from toise.report import Document
from toise.shards import merged, part, recorded, seconds_of
from toise.targets import load

# Matrix products of TF32 that nobody declared: that all errors are of that size is seen by all rows together.
WRONG = """
    import numpy as np

    def tf32(a):
        return a if a.dtype != np.float32 else ((a.copy().view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)

    def feed_forward(x, w1, b1, w2, b2):
        return tf32(np.maximum(tf32(x) @ tf32(w1) + b1, 0)) @ tf32(w2) + b2

    def causal_mask(n, m=None):
        return np.tril(np.ones((n, n if m is None else m), bool))
"""
CHOSEN = ("--budget", "smoke", "--dtype", "float32,float64", "-k", "FFN or CAU or GEN-1 or GEN-3")


@pytest.fixture(scope="module")
def units():
    """The rows of a whole run."""
    return run.plan(load("reference"))[0]


@pytest.fixture
def shards():
    """The reports of three shards, without rows that were judged: what they rest on is what counts."""
    target = load("reference")
    planned, excluded = run.plan(target)

    def report(at):
        settings = run.settings_of(dtypes=["float32", "float64"], shard=f"{at}/3")
        rows = [run.unjudged(unit, target, "PASS", "") for unit in part(planned, f"{at}/3")]
        return Document((run.assemble(target, rows, excluded, settings),))

    return {f"{at}.json": report(at) for at in (1, 2, 3)}


@pytest.mark.parametrize("of", [1, 2, 3, 5, 8])
def test_every_row_is_in_one_shard_and_none_takes_much_longer(units, of):
    """By the recorded times; the same parts every time."""
    parts = [part(units, f"{at}/{of}") for at in range(1, of + 1)]
    times = [sum(map(seconds_of, each)) for each in parts]

    assert sorted(itertools.chain(*parts), key=units.index) == units
    assert max(times) - min(times) < 0.2
    assert parts == [part(units, f"{at}/{of}") for at in range(1, of + 1)]


def test_every_row_has_a_recorded_time(units):
    """A requirement that is new gets one with `python benchmarks/seconds.py`."""
    assert {f"{unit.requirement} {unit.operation}" for unit in units} == recorded().keys()


def test_the_shards_of_a_run_merge_to_the_report_of_a_run_without(toise, backend_file, tmp_path):
    """Byte for byte, hints and likenesses among them, in whatever order the files are named."""
    path = backend_file(WRONG)
    toise("check", path, *CHOSEN, "--no-times", "--json", "whole.json")
    for at in (1, 2, 3, 4):
        toise("check", path, *CHOSEN, "--no-times", "--shard", f"{at}/4", "--json", f"{at}.json")
    done = toise("merge", "3.json", "1.json", "4.json", "2.json", "--json", "merged.json")

    assert done.returncode == 1
    assert (tmp_path / "merged.json").read_text(encoding="utf-8") == (tmp_path / "whole.json").read_text(encoding="utf-8")
    assert "are all within the radius of" in done.stdout


def test_a_shard_alone_gives_no_verdict(toise):
    """0 where nothing in it failed, and it says what does."""
    done = toise("check", "reference", "--budget", "smoke", "-k", "CAU", "--shard", "2/2", "--json", "-")
    (report,) = json.loads(done.stdout)["reports"]

    assert done.returncode == 0
    assert report["settings"]["shard"] == "2/2"
    assert done.stderr.splitlines()[-1].startswith("SHARD 2/2 DID NOT FAIL")
    assert "`toise merge` gives the verdict" in done.stderr


def test_a_shard_that_is_empty_does_not_fail(toise):
    """More shards than rows."""
    done = toise("check", "reference", "--budget", "smoke", "-k", "LN-3", "--shard", "2/2")

    assert done.returncode == 0
    assert "SHARD 2/2 DID NOT FAIL" in done.stdout


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_what_is_no_part_is_refused(toise, text):
    """With the usage."""
    assert toise("check", "reference", f"--shard={text}").returncode == 2


def changed(document, **changes):
    """Return the report with other settings, environment, or rows."""
    (report,) = document.reports
    for name, value in changes.items():
        old = getattr(report, name)
        report = dataclasses.replace(report, **{name: {**old, **value} if isinstance(old, dict) else value})
    return Document((report,))


UNFIT = {
    "another seed": ({"settings": {"seed": 1}}, "seed is 1, and 0 in 1.json"),
    "another budget": ({"settings": {"budget": "smoke"}}, "budget is 'smoke', and 'standard' in 1.json"),
    "another version of NumPy": ({"environment": {"numpy": "1.0"}}, "numpy is '1.0'"),
    "another library": ({"environment": {"torch": "2.13"}}, "torch is '2.13', and not there in 1.json"),
    "another target": ({"target": "torch"}, "target is 'torch', and 'reference' in 1.json"),
    "other declarations": ({"declarations": {"device": "cuda"}}, "declarations differ from those in 1.json"),
    "another baseline": ({"settings": {"baseline": "0123"}}, "baseline is '0123', and '' in 1.json"),
    "another corpus": ({"settings": {"corpus": "0123"}}, "corpus is '0123', and '' in 1.json"),
    "another specification": ({"environment": {"specification": "0.9"}}, "is of specification 0.9, and this Toise has"),
    "a part beyond the whole": ({"settings": {"shard": "4/3"}}, "has not the rows of shard 4/3"),
    "of another number": ({"settings": {"shard": "2/4"}}, "shards is '4', and '3' in 1.json"),
    "the same shard": ({"settings": {"shard": "1/3"}}, "is shard 1/3, as 1.json is"),
    "no shard": ({"settings": {"shard": ""}}, "is no report of one shard"),
}


@pytest.mark.parametrize("how", UNFIT)
def test_shards_that_do_not_fit_together_are_refused(shards, how):
    """One line says which, and what is not equal."""
    changes, said = UNFIT[how]

    with pytest.raises(TargetError) as raised:
        merged({**shards, "2.json": changed(shards["2.json"], **changes)})
    assert said in str(raised.value)
    assert str(raised.value).startswith("2.json: ")


def test_a_missing_shard_is_refused(shards):
    """Never green for a part."""
    del shards["2.json"]

    with pytest.raises(TargetError, match="shard 2/3 is missing"):
        merged(shards)


def test_a_row_in_two_shards_is_refused(shards):
    """Reports of two Toises with other recorded times."""
    shards["2.json"] = changed(shards["2.json"], results=shards["1.json"].reports[0].results)

    with pytest.raises(TargetError, match=r"2\.json: has not the rows of shard 2/3"):
        merged(shards)


def test_a_shard_without_some_of_its_rows_is_refused(shards):
    """A file from which failures were taken out is no shard, whatever its counts say."""
    (report,) = shards["2.json"].reports
    shards["2.json"] = changed(shards["2.json"], results=report.results[:-1])

    with pytest.raises(TargetError, match=r"2\.json: has not the rows of shard 2/3 .* or changed"):
        merged(shards)


def test_a_shard_that_is_named_twice_is_refused(toise):
    """One file is one shard."""
    toise("check", "reference", "--budget", "smoke", "-k", "CAU", "--shard", "1/2", "--json", "1.json")
    done = toise("merge", "1.json", "1.json")

    assert (done.returncode, done.stderr) == (2, "toise: 1.json is named twice\n")


@pytest.mark.parametrize("option", [("--shard", "1/2"), ("--baseline", "b.json")])
def test_a_shard_and_a_baseline_are_of_one_target(toise, option):
    """Of several there is no one report to merge, and no one list of failures."""
    done = toise("check", "reference", "torch", *option)

    assert done.returncode == 2
    assert f"{option[0]} is of one target: name one" in done.stderr


def test_an_incomplete_shard_makes_the_whole_incomplete(shards):
    """What is known is shown, and nothing is green."""
    shards["3.json"] = changed(shards["3.json"], complete=False, results=())
    report = merged(shards).reports[0]

    assert (report.complete, report.exit_code) == (False, 130)
    assert len(report.results) > 100


def test_the_rows_of_all_shards_are_in_the_order_of_a_run(shards, units):
    """Whatever the order of the files."""
    report = merged(dict(reversed(shards.items()))).reports[0]

    assert [(row.requirement, row.operation, row.dtype) for row in report.results] == [
        (unit.requirement, unit.operation, unit.dtype) for unit in units
    ]
    assert report.shard == ""
