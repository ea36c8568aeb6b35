"""A page with a mistake in it does not build: each is planted into a copy of the site that is otherwise empty."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from small_site import ROOT, lay_out
from toise.faults import catalogue

SOURCES = ("spec", "reference", "conformance")
REQUIREMENT = """
### LN-14 { #LN-14 }

**MUST:** Negating a row negates its normalised values.

- **Why:** One.
- **Right:** Two.
- **Wrong:** Three.
- **Exceptions:** None.
- **Source:** Four.
- **Since:** 0.1
"""


def on_the_page(text):
    """Return what writes a text on the first page of the site."""

    def plant(room):
        (room / "docs" / "en" / "index.md").write_text(f"# Title\n\n{text}\n", encoding="utf-8")

    return plant


def cell(code, attributes=""):
    """Return what writes a cell on the first page of the site."""
    return on_the_page(f'```python exec="true"{attributes}\n{code}\n```')


def requirement_without_a_test(room):
    """Add a requirement to the specification, and nothing else."""
    with (room / "spec" / "toise_spec" / "layer_norm.md").open("a", encoding="utf-8") as page:
        page.write(REQUIREMENT)


def requirement_without_a_fault(room):
    """Let no fault break a requirement."""
    path = room / "docs" / "results" / "kill_matrix.json"
    matrix = json.loads(path.read_text(encoding="utf-8"))
    for judged in matrix["faults"].values():
        judged["broken"].pop("LN-3", None)
    path.write_text(json.dumps(matrix), encoding="utf-8")


def fault_without_an_input(room):
    """Let the kept results know nothing of a fault."""
    path = room / "docs" / "results" / "counterexamples.json"
    shown = json.loads(path.read_text(encoding="utf-8"))
    del shown["layer_norm.eps_lost"]
    path.write_text(json.dumps(shown), encoding="utf-8")
    shutil.copy(ROOT / "docs" / "en" / "museum" / "layer_norm.md", room / "docs" / "en" / "museum")


def page_outside_the_order(room):
    """Add a page that the navigation does not have."""
    (room / "docs" / "en" / "lost.md").write_text("# Lost\n", encoding="utf-8")


MISTAKES = {
    "a cell that fails": (cell("raise ValueError('a cell that fails')"), "a cell that fails"),
    "a wrong output": (cell("from toise_reference import causal_mask\nassert causal_mask(2).sum() == 4"), "AssertionError"),
    "an example to edit that fails": (cell("{}[2]", ' editable="true"'), "KeyError: 2"),
    "a word that is missing": (cell("from words import say\nsay('test.nowhere')"), "KeyError: 'nowhere'"),
    "a dead link": (on_the_page("[bad](nowhere.md)"), "nowhere.md"),
    "a dead link of a cell": (cell("print('[bad](/nowhere.md)')"), "nowhere.md"),
    "a dead anchor": (on_the_page("[bad](/spec/layer_norm.md#LN-999)"), "LN-999"),
    "a dead anchor of a cell": (cell("print('[bad](/spec/layer_norm.md#LN-998)')"), "LN-998"),
    "code that is not there": (on_the_page('```python\n--8<-- "reference/nowhere.py"\n```'), "nowhere.py"),
    "a formula that is none": (on_the_page(r"$\nosuchcommand$"), "nosuchcommand"),
    "a picture from elsewhere": (
        on_the_page('<img src="https://example.org/picture.png" alt="not ours">'),
        "https://example.org/",
    ),
    "a page outside the order": (page_outside_the_order, "lost.md"),
    "a requirement without a test": (requirement_without_a_test, "LN-14 has no test"),
    "a requirement without a fault": (requirement_without_a_fault, "no fault of the catalogue is known to break LN-3"),
    "a fault without an input": (fault_without_an_input, "layer_norm.eps_lost"),
}


@pytest.fixture
def build(tmp_path):
    """Return a function that builds a site of bare titles with something planted, and gives the status and what was printed."""

    def run(plant):
        room = tmp_path / "room"
        room.mkdir()
        lay_out(room)
        for slug in catalogue():  # the pages of the specification lead there
            concept, _, name = slug.partition(".")
            with (room / "docs" / "en" / "museum" / f"{concept}.md").open("a", encoding="utf-8") as page:
                page.write(f'<a id="{name}"></a>\n')
        plant(room)
        paths = os.pathsep.join(str(room / source) for source in SOURCES)
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict"],
            cwd=room,
            env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_page_without_a_mistake_builds(build):
    """Otherwise the others would fail for another reason than theirs."""
    status, told = build(on_the_page("[good](/spec/layer_norm.md#LN-3) and $x^2$"))

    assert status == 0, told


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_page_with_a_mistake_does_not_build(build, mistake):
    """And what is printed says what is wrong."""
    plant, complaint = MISTAKES[mistake]

    status, told = build(plant)

    assert status == 1
    assert complaint in told
