"""The notebooks of the concept pages: as the pages are, the same each time, and of use far from the tree."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import magics
import nbformat
import notebooks
import pytest
from mkdocs.config import load_config
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "en"
SECONDS = 300  # for one cell: none takes ten on a quiet machine, but four notebooks may start at once on a slow one
CELL = re.compile(r'^(?P<indent> *)```python (?P<head>exec="true".*?)\n(?P<code>.*?)^(?P=indent)```$', re.MULTILINE | re.DOTALL)


def archive(seed):
    """Return the archive as the site makes it, in a process with a seed for Python's hashes."""
    code = "import sys, pathlib, notebooks; sys.stdout.buffer.write(notebooks.archive(pathlib.Path(sys.argv[1])))"
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "docs")}
    return subprocess.run([sys.executable, "-c", code, str(PAGES)], env=environment, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def packed():
    """Return the archive."""
    return archive("0")


@pytest.fixture(scope="module")
def unpacked(packed, tmp_path_factory):
    """Return a folder with what the archive holds, and nothing else."""
    folder = tmp_path_factory.mktemp("far")
    with zipfile.ZipFile(io.BytesIO(packed)) as found:
        found.extractall(folder)
    (inside,) = folder.iterdir()
    return inside


@pytest.fixture
def alone(unpacked, tmp_path):
    """Return a copy of that folder, to run a notebook in."""
    return shutil.copytree(unpacked, tmp_path / "alone")


@pytest.fixture
def small(tmp_path, alone):
    """Return a function that makes the notebook of a page, and runs it beside the modules of the archive."""

    def run(*fences):
        page = tmp_path / "page.md"
        cells = "\n\n".join(f"```python {head}\n{code}\n```" for head, code in fences)
        page.write_text(f"# A page\n\nIn one sentence.\n\n## Cells\n\n{cells}\n", encoding="utf-8")
        return executed(notebooks.notebook(page), alone, tmp_path)

    return run


def executed(notebook, folder, room):
    """Run a notebook in a folder, as a reader would who has what is installed here, and return its code cells.

    Raises RuntimeError where a cell fails.
    """
    nbformat.write(notebook, folder / "run.ipynb")
    command = [sys.executable, "-m", "jupyter", "execute", f"--timeout={SECONDS}", f"--startup_timeout={SECONDS}"]
    theirs = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TOISE_SITE_LANGUAGE")}
    rooms = {name: str(room) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    done = subprocess.run(
        [*command, f"--output={room / 'done.ipynb'}", "run.ipynb"],
        cwd=folder,
        env=theirs | rooms,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [cell for cell in nbformat.read(room / "done.ipynb", as_version=4).cells if cell.cell_type == "code"]


def page_cells(slug):
    """Return (attributes, code) of the page's cells that are more than a piece of the specification, "answer" if it is folded."""
    text = (PAGES / "learn" / f"{slug}.md").read_text(encoding="utf-8")
    found = []
    for match in CELL.finditer(text):
        code = "\n".join(line.removeprefix(match["indent"]) for line in match["code"].splitlines())
        if match["head"] != 'exec="true"':
            attributes = dict(re.findall(r'(\w+)="(.*?)"', match["head"]))
            found.append((attributes | ({"answer": "true"} if match["indent"] else {}), code))
    return found


def printed(cell):
    """Return what a cell showed, as text."""
    return "".join(
        output.text if output.output_type == "stream" else output.data.get("text/html", output.data.get("text/markdown", ""))
        for output in cell.outputs
    )


# --- All eight ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", notebooks.SLUGS)
def test_a_notebook_runs_far_from_the_tree(alone, tmp_path, slug):
    """In a folder with what the archive holds; what a page prints is shown, and an exception that it shows is the same."""
    _, *cells = executed(nbformat.read(alone / f"{slug}.ipynb", as_version=4), alone, tmp_path)

    for cell, (attributes, code) in zip(cells, page_cells(slug), strict=True):
        told = printed(cell)
        assert all(
            ET.fromstring(base64.b64decode(data)).tag.endswith("svg") for data in re.findall(r"svg\+xml;base64,([^\"]+)", told)
        )
        assert bool(told) == ("print(" in code or "raises" in attributes), code
        if "editable" in attributes:
            ended_by = re.findall(r"^(\w+)(?::|$)", told.rpartition("Traceback (most recent call last):")[2], re.MULTILINE)
            assert ("Traceback" in told) == ("raises" in attributes), told
            assert attributes.get("raises", "") in ["", *ended_by], told


@pytest.mark.parametrize("slug", notebooks.SLUGS)
def test_a_notebook_has_the_cells_of_its_page(unpacked, slug):
    """All of them in their order, word for word, below the one that loads the magics."""
    made = nbformat.read(unpacked / f"{slug}.ipynb", as_version=4)
    first, *cells = [cell.source for cell in made.cells if cell.cell_type == "code"]

    assert first == "%load_ext magics"
    assert [re.sub(r"\A%%.*\n", "", cell) for cell in cells] == [code for _, code in page_cells(slug)]
    assert len(cells) >= 8


@pytest.mark.parametrize("slug", notebooks.SLUGS)
def test_a_notebook_says_what_its_page_says(unpacked, slug):
    """Each line of the page's prose is in it, the links and the formulas aside, and the specification's formulas are."""
    made = nbformat.read(unpacked / f"{slug}.ipynb", as_version=4)
    prose = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    text = CELL.sub("", (PAGES / "learn" / f"{slug}.md").read_text(encoding="utf-8"))

    for line in text.splitlines():
        if not re.search(r"\]\(|\\\(|--8<--|\?\?\?", line):
            assert line.strip() in prose, line
    for title in re.findall(r'^\?\?\? question "(.*)"$', text, re.MULTILINE):
        assert f"**{title}**" in prose
    assert prose.count("$$") >= 2
    assert f"def {slug}" in prose or "def mlm_loss" in prose or "def sequence_log_prob" in prose
    assert "test_the_" in prose


@pytest.mark.parametrize("slug", notebooks.SLUGS)
def test_nothing_of_the_site_is_left_in_a_notebook(unpacked, slug):
    """No mark that only the site's tools understand, and no link that leads nowhere from a folder of notebooks."""
    made = nbformat.read(unpacked / f"{slug}.ipynb", as_version=4)

    for cell in made.cells:
        assert not re.search(r'exec="|--8<--|\?\?\?|!!!|\\\(|\{ ?#|session="', cell.source), cell.source
    for target in re.findall(r"\]\(([^)\s]+)\)", "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")):
        assert target.startswith("https://") or (unpacked / target).is_file(), target


@pytest.mark.parametrize("slug", notebooks.SLUGS)
def test_a_notebook_is_valid_and_stores_no_output(unpacked, slug):
    """Each cell has a name of its own, and what is folded on the page is folded."""
    text = (unpacked / f"{slug}.ipynb").read_text(encoding="utf-8")
    made = nbformat.reads(text, as_version=nbformat.NO_CONVERT)

    nbformat.validate(made)
    assert [cell.id for cell in made.cells] == [f"{slug}-{number:02}" for number in range(len(made.cells))]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in made.cells if cell.cell_type == "code")
    assert json.loads(text)["metadata"]["kernelspec"]["name"] == "python3"
    folded = ["jupyter" in cell.metadata for cell in made.cells if cell.cell_type == "code"]
    assert folded == [
        False,
        *("answer" in attributes or not {"source", "editable"} & attributes.keys() for attributes, _ in page_cells(slug)),
    ]


def test_the_archive_has_the_same_bytes_each_time(packed):
    """In another process, whose sets have another order."""
    assert archive("1") == packed


def test_the_archive_holds_what_the_notebooks_import(unpacked):
    """The words that figures are written with among them, and how to start."""
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*.*") if "__pycache__" not in path.parts}

    assert {"README.md", "cells.py", "magics.py", "en/words.toml"} <= found
    assert "hooks.py" not in found
    assert all(f"`{slug}.ipynb`" in (unpacked / "README.md").read_text(encoding="utf-8") for slug in notebooks.SLUGS)


# --- What a page may have -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    ['exec="true" source="above" result="text"', 'exec="true" session="page"', 'exec="true" html="true" session="page"'],
)
def test_a_cell_that_fails_fails_its_notebook(small, head):
    """What it prints as Markdown or HTML hides nothing."""
    with pytest.raises(RuntimeError, match=": planted"):
        small((head, 'print("something")\nassert False, "planted"'))


def test_what_a_cell_prints_is_shown_as_its_page_shows_it(small):
    """Text, Markdown whose links are words, and HTML whose links are gone; a cell without a session keeps its names."""
    _, *cells = small(
        ('exec="true" source="above" result="text" session="s"', "x = 1\nprint(x, '[LN-3](/spec/layer_norm.md#LN-3)')"),
        ('exec="true" source="above" session="s"', "print(f'- {x} [LN-3](/spec/layer_norm.md#LN-3)')"),
        ('exec="true" html="true"', "x = 2\nprint(f'<a href=\"y.html\"><b>{x}</b></a>')"),
        ('exec="true" html="true" session="s"', "print(x)"),
    )
    text, markdown, html, after = cells

    assert text.outputs[0].text == "1 [LN-3](/spec/layer_norm.md#LN-3)\n"
    assert markdown.outputs[0].data["text/markdown"] == "- 1 LN-3\n"
    assert "<b>2</b>" in html.outputs[0].data["text/html"]
    assert "href" not in html.outputs[0].data["text/html"]
    assert ">1\n<" in after.outputs[0].data["text/html"]


def test_a_cell_that_readers_may_edit_stands_alone(small):
    """It neither sees nor changes the names of others, and the exception that ends it ends nothing else."""
    _, _, alone, after = small(
        ('exec="true" source="above" session="s"', "x = 1"),
        ('exec="true" editable="true" raises="NameError"', "y = 2\nx = 3\nprint(y)\nz"),
        ('exec="true" source="above" result="text" session="s"', "print(x, 'y' in globals())"),
    )

    assert alone.source.startswith("%%alone\n")
    assert alone.outputs[0].text.startswith("2\n")
    assert "NameError: name 'z' is not defined" in alone.outputs[0].text
    assert after.outputs[0].text == "1 False\n"


@pytest.mark.parametrize(
    "mistake",
    [
        "!!! note\n    Nobody sees this.",
        "![a picture](picture.png)",
        '- a list\n\n    ```python exec="true"\n    print()\n    ```',
        '=== "A tab"',
    ],
)
def test_a_page_that_no_notebook_would_show_is_refused(tmp_path, mistake):
    """Else what only the site understands would stand in the notebook as it is."""
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\nIn one sentence.\n\n{mistake}\n", encoding="utf-8")

    with pytest.raises(ValueError, match=r"page\.md: notebooks\.py has no form for"):
        notebooks.notebook(page)


@pytest.mark.parametrize(
    ("page", "alone"),
    [
        (r"the row \(x_i\), and `\(x\)`", r"the row $x_i$, and `\(x\)`"),
        ("\\[\nx\n\\]", "$$\nx\n$$"),
        (
            "[LN-3](/spec/layer_norm.md#LN-3) and [a paper](https://arxiv.org/abs/1607.06450)",
            "LN-3 and [a paper](https://arxiv.org/abs/1607.06450)",
        ),
        ("[order](causal_mask.md#the-formula)", "[order](causal_mask.ipynb)"),
        ("[order](/learn/causal_mask.md), [spec](/spec/causal_mask.md)", "[order](causal_mask.ipynb), spec"),
        ("`x[0](y.md)` and [`code`](y.md)", "`x[0](y.md)` and `code`"),
        ("E[x] and (as here) [1]", "E[x] and (as here) [1]"),
        ("[here](#break-it-and-watch)", "here"),
        ("[LN-3](/spec/layer_norm.md#LN-3){ .broken } and { .held }", "LN-3 and"),
        ('<div class="x" markdown>\n\n<details id="y" markdown>\nz\n</details>\n</div>\n', "\n<details>\nz\n</details>\n"),
        ("<summary>`x` times d\\_k</summary>", "<summary><code>x</code> times d_k</summary>"),
        ("```python\n[a](b.md)\n```\n[a](b.md)", "```python\n[a](b.md)\n```\na"),
    ],
)
def test_links_and_formulas_are_those_of_a_notebook(page, alone):
    """Code is left as it is; a link to a page of the site is its words, unless there is a notebook of it."""
    assert magics.spoken(page, notebooks.SLUGS) == alone


def test_a_drawing_is_an_image_in_a_notebook():
    """Jupyter shows no other drawing in a notebook that it does not trust; what it says is read out as on the page."""
    box = '<div><svg aria-label="Two ways" style="margin:1em"><a href="x"><text y="9">a &lt; b</text></a></svg></div>'
    alt, data = re.fullmatch(r'<div><img alt="(.+)" src="data:image/svg\+xml;base64,(.+)"></div>', magics.pictured(box)).groups()
    drawn = ET.fromstring(base64.b64decode(data))

    assert alt == "Two ways"
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert "style" not in drawn.attrib  # its margin would push the drawing out of the image
    assert [(part.tag.rpartition("}")[2], part.text) for part in drawn] == [("text", "a < b")]


# --- In the site --------------------------------------------------------------------------------------


def test_the_site_has_the_archive_and_its_pages_lead_to_it(tmp_path, monkeypatch):
    """Below the first sentence of a concept page, with what it takes, and on no other page."""
    monkeypatch.setattr(notebooks, "archive", lambda folder: str(folder).encode())
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
    files = Files([])
    config.plugins.on_files(files, config=config)
    html = '<h1 id="x">X</h1>\n<p>In one sentence.</p>\n<p>More.</p>'
    sources = (File(f"learn/{name}.md", str(PAGES), str(tmp_path), use_directory_urls=False) for name in ("residual", "token"))
    pages = [Page(None, source, config) for source in sources]
    concept, other = (config.plugins.on_page_content(html, page=page, config=config, files=files) for page in pages)

    assert files.src_uris["learn/notebooks.zip"].content_bytes == str(PAGES).encode()
    assert re.search(r'sentence\.</p>\n<p class="notebook".*href="notebooks\.zip".*JupyterLab.*</p>\n<p>More', concept)
    assert other == html
