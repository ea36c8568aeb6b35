"""The concept pages as notebooks: a page becomes jupytext's Markdown, and that a notebook, with what it imports beside it."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from magics import spoken
from toise.overview import CONCEPTS as SLUGS
from words import say

HERE = Path(__file__).parent
PAGES = tuple(f"learn/{slug}.md" for slug in SLUGS)  # in the folder of a language
ARCHIVE = "learn/notebooks.zip"  # in the site
FOLDER = "toise-notebooks"  # what the archive unpacks to
SETUP = "```python\n%load_ext magics\n```"
FOLDED = ' jupyter={"source_hidden": true} tags=["hide-input"]'
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

_SPLICE = re.compile(r'^(?P<indent> *)--8<-- "(?P<path>[^"]+)"$', re.MULTILINE)
_FENCE = re.compile(r"(?P<ticks>`{3,})(?P<head>.*)")
_QUESTION = re.compile(r'\?\?\?\+? question "(?P<title>.+)"')
_UNKNOWN = re.compile(r"--8<--|^ *(?:\?\?\?|!!!|===|:::) ?|!\[|^\*\[|\[\^|exec=", re.MULTILINE)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page: its first line without the ticks, and the lines between."""

    head: str
    body: str

    @property
    def said(self) -> dict[str, str]:
        """The attributes in the first line."""
        return dict(_ATTRIBUTE.findall(self.head))

    @property
    def runs(self) -> bool:
        """Whether it is a cell of the notebook: one without source, session and figure prints what the specification has."""
        return "exec" in self.said and self.said.keys() != {"exec"}


@dataclass(frozen=True)
class Question:
    """A question whose answer is folded away: Markdown, and fenced blocks."""

    title: str
    answer: list[str | Fence]


def archive(pages: Path) -> bytes:
    """Return the notebooks of the pages in a folder, and what they need beside them, as a zip of the same bytes each time.

    Raises ValueError if a page has something that no notebook would show.
    """
    made = {f"{slug}.ipynb": notebook(pages / page) for slug, page in zip(SLUGS, PAGES, strict=True)}
    cells = [cell.source for each in made.values() for cell in each.cells if cell.cell_type == "code"]
    beside = _modules("\n".join(["import magics", *(re.sub("^%.*", "", cell) for cell in cells)]))
    files = {name: nbformat.writes(each) + "\n" for name, each in made.items()}
    files |= {path.name: path.read_text(encoding="utf-8") for path in beside}
    files[f"{pages.name}/words.toml"] = (pages / "words.toml").read_text(encoding="utf-8")
    files["README.md"] = say("notebooks.readme", notebooks="\n".join(f"- `{name}`" for name in made))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as found:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}")  # of 1980, whenever it is made
            entry.external_attr = 0o644 << 16
            found.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def offered(html: str, address: str) -> str:
    """Return a page with a link to the archive below its first sentence, which says what the archive is."""
    words = f'<a href="{address}" download>{say("notebooks.link")}</a>: {say("notebooks.needs")}'
    link = f'<p class="notebook">{words}</p>'
    return re.sub(r"</h1>(\s*<p>.*?</p>)?", lambda match: f"{match[0]}\n{link}", html, count=1, flags=re.DOTALL)


def notebook(page: Path) -> nbformat.NotebookNode:
    """Return a page as a notebook without outputs.  Raises ValueError if it has something that no notebook would show."""
    made = jupytext.reads(text(page), fmt="md")
    made.metadata = nbformat.from_dict(KERNEL)
    for number, cell in enumerate(made.cells):
        cell.id = f"{page.stem}-{number:02}"  # the same each time
    return made


def text(page: Path) -> str:
    """Return a page as jupytext's Markdown: cells are fences, and what stands between them is in regions."""
    title, *parts = _parts(_SPLICE.sub(_spliced, page.read_text(encoding="utf-8")).splitlines(), page.name)
    cells = [_region(f"{title}\n\n{say('notebooks.head')}"), SETUP]
    prose: list[str] = []
    for part in parts:
        runs = isinstance(part, Question) or (isinstance(part, Fence) and part.runs)
        if prose and (runs or (isinstance(part, str) and part.startswith("#"))):
            cells.append(_region("\n\n".join(prose)))
            prose = []
        if isinstance(part, Question):
            cells += _asked(part)
        elif isinstance(part, Fence) and part.runs:
            cells.append(_code(part))
        else:
            prose.append(_markdown(part))
    return "\n\n".join([*cells, *([_region("\n\n".join(prose))] if prose else [])]) + "\n"


def _spliced(match: re.Match[str]) -> str:
    """Return the file that a page splices in, as the site does."""
    return textwrap.indent((HERE.parent / match["path"]).read_text(encoding="utf-8").rstrip("\n"), match["indent"])


def _parts(lines: list[str], name: str) -> list[str | Fence | Question]:
    """Return what a page, or an answer, is made of, in its order."""
    parts: list[str | Fence | Question] = []
    prose: list[str] = []
    place = 0
    while place < len(lines):
        fence, question = _FENCE.fullmatch(lines[place]), _QUESTION.fullmatch(lines[place])
        if not fence and not question:
            prose.append(lines[place])
            place += 1
            continue
        parts += _prose(prose, name)
        prose = []
        end = place + 1
        if fence:
            end = lines.index(fence["ticks"], end)
            parts.append(Fence(fence["head"].strip(), "\n".join(lines[place + 1 : end])))
            place = end + 1
        else:
            while end < len(lines) and (not lines[end] or lines[end].startswith("    ")):
                end += 1
            answer = textwrap.dedent("\n".join(lines[place + 1 : end])).splitlines()
            parts.append(Question(question["title"], _parts(answer, name)))
            place = end
    return parts + _prose(prose, name)


def _prose(lines: list[str], name: str) -> list[str]:
    """Return Markdown as texts, one for each heading.  Raises ValueError for what no notebook would show."""
    prose = "\n".join(lines).strip()
    if unknown := _UNKNOWN.search(re.sub(r"`[^`\n]+`", "", prose)):
        raise ValueError(f"{name}: notebooks.py has no form for {unknown[0]!r}")
    return [spoken(piece.strip(), SLUGS) for piece in re.split(r"\n(?=#{2,} )", prose) if piece]


def _markdown(part: str | Fence) -> str:
    """Return prose, a block that is not run, or what a cell prints once and for all."""
    if isinstance(part, str):
        return part
    if "exec" not in part.said:
        return f"```{part.head}\n{part.body}\n```"
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(part.body, {})  # noqa: S102 - as the site does
    return spoken(told.getvalue(), SLUGS).strip()


def _region(markdown: str) -> str:
    """Return Markdown as one cell."""
    return f"<!-- #region -->\n{markdown}\n<!-- #endregion -->"


def _asked(question: Question) -> list[str]:
    """Return a question as cells: itself, then its answer, folded."""
    cells = [_region(f"**{question.title}**\n\n{say('notebooks.think')}")]
    for part in question.answer:
        if isinstance(part, Fence) and part.runs:
            cells.append(_code(part, folded=True))
        else:
            cells.append(_region(f"<details>\n<summary>{say('notebooks.answer')}</summary>\n\n{_markdown(part)}\n\n</details>"))
    return cells


def _code(fence: Fence, *, folded: bool = False) -> str:
    """Return a cell: its code is folded where the page does not show it, and what it prints is shown as on the page."""
    prints = any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(ast.parse(fence.body)))
    magic = ""
    if "editable" in fence.said:
        magic = "%%alone\n"
    elif prints and "result" not in fence.said:
        magic = f"%%printed_as {'html' if 'html' in fence.said else 'markdown'}{'' if 'session' in fence.said else ' alone'}\n"
    shown = not folded and not fence.said.keys().isdisjoint({"source", "editable"})
    return f"```python{'' if shown else FOLDED}\n{magic}{fence.body}\n```"


def _modules(code: str) -> list[Path]:
    """Return the modules beside this one that Python code imports, and those that they import."""
    found: dict[str, Path] = {}
    waiting = [code]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                path = HERE / f"{name}.py"
                if name not in found and path.is_file():
                    found[name] = path
                    waiting.append(path.read_text(encoding="utf-8"))
    return list(found.values())
