"""Every requirement and every fault has a place where it is explained, and whoever meets one is told where."""

import re
import subprocess
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import toise
import toise_spec
from toise import pages
from toise.faults import catalogue
from toise.formats import github, html, junit, markdown, sarif
from toise.report import Document
from toise.terminal import failure_text

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "annotated_layer_norm.py"


@pytest.fixture
def published(monkeypatch):
    """Let the installed package name a site."""
    told = Message()
    told["Project-URL"] = "Source, https://example.org/source"
    told["Project-URL"] = "Documentation, https://example.org/toise"
    monkeypatch.setattr(metadata, "metadata", lambda name: told)
    pages.site.cache_clear()
    yield "https://example.org/toise/"
    pages.site.cache_clear()


@pytest.mark.parametrize("id", toise_spec.requirements())
def test_the_file_of_a_requirement_has_its_anchor(id):
    """Where no site is published, the address is that of a file which says it, and the short form a path in the repository."""
    address = urlparse(pages.address(id))
    text = Path(unquote(address.path)).read_text(encoding="utf-8")

    assert address.fragment == id
    assert f"### {id} {{ #{id} }}" in text
    assert (ROOT / pages.page(id).partition("#")[0]).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("slug", catalogue())
def test_the_file_of_a_fault_has_it_at_the_line(slug):
    """The line is where its decorator begins."""
    fault = catalogue()[slug]
    address = urlparse(pages.fault_address(fault))
    lines = Path(unquote(address.path)).read_text(encoding="utf-8").splitlines()[int(address.fragment[1:]) - 1 :]

    assert lines[0] == "@fault("
    assert next(line for line in lines if line.startswith("def ")).startswith(f"def {slug.partition('.')[2]}(")


def test_a_published_site_is_where_all_of_them_lead(published):
    """The address is that of the package's metadata; it has no slash at its end there."""
    assert pages.page("LN-3") == pages.address("LN-3") == f"{published}spec/layer_norm.html#LN-3"
    assert pages.fault_address(catalogue()["layer_norm.eps_lost"]) == f"{published}museum/layer_norm.html#eps_lost"


@pytest.fixture(scope="module")
def report():
    """Return a report in which requirements fail."""
    return toise.verify(str(EXAMPLE), operations=["layer_norm"], budget="smoke")


@pytest.mark.parametrize("form", [html.render, junit.render, markdown.render, sarif.render, github.render])
def test_each_failure_says_where_its_requirement_is_explained(report, form):
    """In every form of the report, for each row that fails."""
    text = form(Document((report,)))
    failing = [row.requirement for row in report.results if row.counterexample]

    assert "LN-3" in failing
    assert [id for id in failing if pages.page(id) not in text] == []


def test_a_row_of_another_specification_has_no_page(report):
    """A requirement that is gone cannot be explained, and that is no error."""
    row = next(row for row in report.results if row.counterexample)
    gone = type(row)(**{**vars(row), "requirement": "LN-999"})

    assert "  page " in failure_text(row)
    assert "  page " not in failure_text(gone)


def test_explain_and_faults_print_an_address():
    """One that can be opened where the command ran."""
    told = [
        subprocess.run([sys.executable, "-m", "toise", *command], capture_output=True, text=True, check=True).stdout
        for command in (["explain", "LN-3"], ["faults", "layer_norm.eps_lost"])
    ]

    assert re.search(rf"^  page +{re.escape(pages.address('LN-3'))}$", told[0], re.MULTILINE)
    assert re.search(rf"^  page +{re.escape(pages.fault_address(catalogue()['layer_norm.eps_lost']))}$", told[1], re.MULTILINE)
