"""The kill matrix: what it counts, what it complains of, and the command that prints it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from test_cli import one_line
from toise.engine import properties
from toise.faults import catalogue, matrix
from toise.faults.matrix import Judged, Matrix, judge_all, judge_fault

EPS = "layer_norm.eps_outside_root"
LATE = next(slug for slug, fault in catalogue().items() if fault.late)


def judged(slug, *broken):
    """Return what a run would say of a fault that breaks these."""
    return Judged(slug, dict.fromkeys((*broken, "GEN-1"), 3), broken, 1.0, 0.5)


def of(*found, seed=0):
    """Return a matrix of these."""
    return Matrix(seed, {each.slug: each for each in found})


def test_a_fault_that_breaks_nothing_that_it_declares_survives():
    """What it breaks beside that is no kill."""
    assert of(judged(EPS, "LN-3")).survivors() == []
    assert of(judged(EPS, "LN-1")).survivors() == [EPS]
    assert of(judged(EPS)).rate() == (0, 1)


def test_late_faults_are_counted_apart():
    """Their rate is the honest figure."""
    both = of(judged(EPS, "LN-3"), judged(LATE))

    assert both.rate(late=False) == (1, 1)
    assert both.rate(late=True) == (0, 1)


def test_survivors_are_exactly_those_that_are_listed(monkeypatch):
    """One more is wrong, and one less is too."""
    assert of(judged(EPS)).complaints(whole=False) == [f"{EPS} survives, and is no survivor that is known"]
    monkeypatch.setattr(matrix, "SURVIVORS", {EPS: "a reason"})
    assert of(judged(EPS)).complaints(whole=False) == []
    assert of(judged(EPS, "LN-3")).complaints(whole=False) == [f"{EPS} is killed, and is listed as a survivor"]


def test_every_requirement_must_break_some_fault():
    """In a run of the whole catalogue; a part of it says nothing."""
    complaint = of(judged(EPS, "LN-3")).complaints(whole=True)[-1]

    assert complaint.startswith("no fault that declares it breaks GEN-1, GEN-2")
    assert "LN-2," in complaint
    assert "LN-3" not in complaint
    assert of(judged(EPS, "LN-3")).complaints(whole=False) == []


def test_every_known_survivor_is_a_fault_and_has_a_reason():
    """The list of survivors names faults of the catalogue."""
    assert set(matrix.SURVIVORS) <= set(catalogue())
    assert all(matrix.SURVIVORS.values())


def test_the_matrix_that_is_published_is_that_of_the_catalogue():
    """The same faults, late or not, with the same declarations."""
    published = json.loads((Path(__file__).parent.parent / "docs" / "results" / "kill_matrix.json").read_text(encoding="utf-8"))
    told = {slug: (each["late"], tuple(each["declared"])) for slug, each in published["faults"].items()}

    assert told == {slug: (fault.late, fault.fails) for slug, fault in catalogue().items()}


def test_a_fault_is_tried_on_every_requirement_of_its_operation():
    """Each up to its first failure; what breaks is counted with the inputs that it took."""
    found = judge_fault(EPS)

    assert list(found.examples) == [prop.id for prop in properties() if "layer_norm" in prop.operations]
    assert found.examples["LN-3"] < 5 < found.examples["LN-7"]
    assert set(found.killed_by) == {"LN-3"}
    assert 0 < found.to_kill < found.seconds


def test_the_matrix_does_not_depend_on_how_many_processes_judge():
    """Same versions, same seed, same matrix, and in the order that was asked for."""
    slugs = [slug for slug, fault in catalogue().items() if fault.operation == "residual"][:4]
    here, there = (Matrix(3, {each.slug: each for each in judge_all(slugs, seed=3, workers=workers)}) for workers in (0, 2))

    assert list(there.faults) == slugs
    assert here.as_json() == there.as_json()


@pytest.mark.parametrize("slug", ["feed_forward.weights_packed_once", "general.cached_by_address", "general.dropout_left_on"])
def test_neither_addresses_nor_shared_generators_change_the_matrix(slug):
    """What an allocator does, and what was drawn before, has no influence on what breaks a fault, and when."""
    first = judge_fault(slug)
    np.random.random(7)  # noqa: NPY002 - the one that all share
    random.random()  # noqa: S311 - the one that all share
    scattered = [np.ones(size) for size in range(1, 3000, 7)]
    second = judge_fault(slug)

    assert scattered
    assert (first.broken, first.examples) == (second.broken, second.examples)


# --- The command ------------------------------------------------------------------------------------------


def test_the_command_lists_the_catalogue(toise):
    """Each fault by concept, with its sentence, and how many there are."""
    done = toise("faults")

    assert done.returncode == 0
    assert all(fault.sentence in done.stdout for fault in catalogue().values())
    assert f"{len(catalogue())} faults" in done.stdout


def test_the_command_tells_all_of_one_fault(toise):
    """Where it is from, what it breaks, the call that shows it, and what to look at."""
    done = toise("faults", EPS)
    fault = catalogue()[EPS]

    for part in (fault.sentence, fault.source, fault.hint, "LN-3", "x = [[1.0, -1.0]]", "eps = 0.5"):
        assert part in done.stdout


def test_the_command_judges_a_fault(toise, tmp_path):
    """The grid, the rate, the exit status, and the same as JSON."""
    file = tmp_path / "matrix.json"
    done = toise("faults", "--run", EPS, "--json", str(file))

    assert done.returncode == 0, done.stderr
    assert "1 of 1 faults" in done.stdout
    found = judge_fault(EPS)
    assert json.loads(file.read_text())["faults"][EPS]["broken"] == {id: found.examples[id] for id in found.broken}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(("layer_norm.eps_outside_rot",), "did you mean layer_norm.eps_outside_root?"), (("zzz",), "`toise faults` lists them")],
)
def test_an_unknown_fault_is_refused_with_what_is_near(toise, arguments, hint):
    """One line, exit status 2."""
    assert hint in one_line(toise("faults", *arguments))


def test_a_file_for_a_matrix_needs_a_run(toise):
    """Nothing is judged, so there is nothing to write."""
    done = toise("faults", "--json", "x.json")

    assert done.returncode == 2
    assert "add --run" in done.stderr
