"""Every finding is whole, names what exists, and is still true: its code runs, and uses nothing of Toise."""

import ast
import importlib.util
import subprocess
import sys

import pytest
import toise_spec
from toise.arrays import DTYPES
from toise.backends import ADAPTERS
from toise.operations import OPERATIONS
from toise.report import OUTCOMES

from conformance import WELL, findings, places, unexplained

FINDINGS = {entry["slug"]: entry for entry in findings()}
FIELDS = {
    "slug",
    "library",
    "version",
    "title",
    "rows",
    "declared",
    "input",
    "got",
    "required",
    "why",
    "upstream",
    "checked",
    "code",
}


def imported(code):
    """Return the packages that a text imports."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


def test_no_two_findings_have_one_slug():
    """It is their address."""
    assert len(FINDINGS) == len(findings())


def test_no_row_has_two_explanations():
    """Whoever follows a FAIL comes to the one finding that explains it."""
    explained = [place for entry in findings() for place in places(entry)]

    assert len(explained) == len(set(explained))


KNOWN = sorted(place for entry in findings() for place in places(entry) if place[0] == "torch")


def judged(*broken):
    """Return the results of torch alone, with these rows broken."""
    names = ("operation", "requirement", "dtype", "outcome")
    return {"torch": {"broken": [dict(zip(names, place[1:], strict=True)) for place in broken]}}


def test_what_no_finding_explains_is_told():
    """Each row by its place; what is explained is not."""
    strange = ("torch", "residual", "RES-1", "float32", "FAIL")

    assert unexplained(judged(*KNOWN), whole=True) == []
    assert unexplained(judged(*KNOWN, strange), whole=True) == ["no finding explains torch residual RES-1 float32 FAIL"]


def test_a_finding_that_is_no_longer_seen_is_told():
    """Where all was tried: a part of the inputs may miss it."""
    assert unexplained(judged(*KNOWN[1:]), whole=True) == [f"no longer seen, and still among the findings: {' '.join(KNOWN[0])}"]
    assert unexplained(judged(*KNOWN[1:]), whole=False) == []


@pytest.mark.parametrize("slug", FINDINGS)
def test_a_finding_is_whole(slug):
    """Each field is there; it explains a row, or what is declared."""
    entry = FINDINGS[slug]

    assert set(entry) == FIELDS
    assert entry["rows"] or entry["declared"]
    assert all(entry[name] for name in FIELDS - {"rows", "declared", "upstream"})


@pytest.mark.parametrize("slug", FINDINGS)
def test_a_finding_names_what_exists(slug):
    """Targets, operations, requirements, dtypes and outcomes, as `toise check` names them."""
    for target, operation, requirement, dtype, outcome in places(FINDINGS[slug]):
        assert target in ADAPTERS
        assert operation in OPERATIONS
        assert requirement in toise_spec.requirements()
        assert dtype in (*DTYPES, OPERATIONS[operation].dtype)
        assert outcome in set(OUTCOMES) - set(WELL)


@pytest.mark.parametrize("slug", FINDINGS)
def test_a_finding_is_checked_without_toise(slug):
    """Its code asserts something, and imports libraries alone."""
    code = FINDINGS[slug]["code"]

    assert not {"toise", "toise_reference", "toise_spec"} & imported(code)
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize("slug", FINDINGS)
def test_a_finding_is_still_true(slug):
    """Its code runs to the end, in a process of its own."""
    code = FINDINGS[slug]["code"]
    missing = [name for name in sorted(imported(code)) if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
