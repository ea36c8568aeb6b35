"""What the museum of bugs shows was seen: the results that it is made of are those that the suite gives today."""

import json
from pathlib import Path

import pytest
from counterexamples import digest, revealed
from museum_cells import choice, foreseen
from toise.faults import catalogue
from toise.faults.matrix import SURVIVORS, judge_fault
from toise.overview import CONCEPTS as OVERVIEW

ROOT = Path(__file__).parent.parent
SHOWN = json.loads((ROOT / "docs" / "results" / "counterexamples.json").read_text(encoding="utf-8"))
MATRIX = json.loads((ROOT / "docs" / "results" / "kill_matrix.json").read_text(encoding="utf-8"))["faults"]


def test_every_fault_is_revealed_and_judged():
    """But for the survivors, which are known: and the requirement that reveals a fault is one that it declares."""
    assert SHOWN.keys() == MATRIX.keys() == catalogue().keys()
    assert {slug for slug, shown in SHOWN.items() if "text" not in shown} == SURVIVORS.keys()
    assert all(shown["requirement"] in catalogue()[slug].fails for slug, shown in SHOWN.items() if "text" in shown)


@pytest.mark.parametrize("slug", catalogue())
def test_what_is_kept_is_of_the_fault_as_it_is_written_today(slug):
    """An edited fault breaks in another way; `python benchmarks/counterexamples.py` and `nox -s faults` tell how."""
    assert SHOWN[slug]["source"] == digest(slug)


@pytest.mark.parametrize("concept", OVERVIEW)
def test_there_is_something_to_foresee(concept):
    """Each mistake that a reader may choose breaks a requirement that stands in the list."""
    chosen = choice(concept)

    assert len(chosen) > 3
    assert all(foreseen(concept).keys() & MATRIX[fault.slug]["broken"].keys() for fault in chosen)


@pytest.mark.parametrize("slug", list(catalogue())[::30])
def test_the_input_shown_is_the_one_that_is_found(slug):
    """The same versions give the same text; `python benchmarks/counterexamples.py` writes it anew."""
    assert revealed(slug) == SHOWN[slug]


@pytest.mark.parametrize("slug", list(catalogue())[7::90])
def test_the_row_of_the_matrix_is_the_one_that_is_found(slug):
    """Which requirements break, and after how many inputs; `nox -s faults` writes it anew."""
    judged = judge_fault(slug)

    assert {id: judged.examples[id] for id in judged.broken} == MATRIX[slug]["broken"]
