"""The cell magics of the notebooks: a cell shows what it prints as its page does (`%%printed_as markdown`)."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import sys
from typing import TYPE_CHECKING

import run_cell

if TYPE_CHECKING:
    from collections.abc import Container

    from IPython.core.interactiveshell import InteractiveShell

_SPANS = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|\[(?P<words>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)"
    r"|\\\((?P<inline>.+?)\\\)|\\\[(?P<display>.+?)\\\]"
    r"|(?P<looks> ?\{:? ?[.#][A-Za-z][^{}\n]*\}|^</?div\b[^>]*>\n|(?<=<details) [^>]*(?=>))"
    r"|(?P<summary><summary>.*?</summary>)",
    re.DOTALL | re.MULTILINE,
)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Make the magics known: `%load_ext magics`."""
    shell.register_magic_function(printed_as, "cell")
    shell.register_magic_function(alone, "cell")


def printed_as(line: str, cell: str) -> None:
    """Run a cell, and show what it prints as `markdown` or as `html`; `alone` after that gives it names of its own.

    Raises ValueError for anything else.
    """
    from IPython import get_ipython
    from IPython.display import HTML, Markdown, display

    form, *alone = line.split()
    if form not in ("markdown", "html") or alone not in ([], ["alone"]):
        raise ValueError(f"%%printed_as {line}: a cell is printed as markdown or as html")
    shell, told = get_ipython(), io.StringIO()
    code = compile(cell, shell.compile.cache(cell), "exec")  # kept, so that a traceback can show the line
    with contextlib.redirect_stdout(told):
        exec(code, {} if alone else shell.user_ns)  # noqa: S102 - the reader's own cell
    if form == "html":
        display(HTML(f'<div style="background: white; color: black">{pictured(told.getvalue())}</div>'))
    else:
        display(Markdown(spoken(told.getvalue())))


def pictured(html: str) -> str:
    """Return HTML of a page for a notebook: drawings are images, which are shown without trust, and links are their words."""

    def image(match: re.Match[str]) -> str:
        said = re.search(r'aria-label="([^"]*)"', match["head"])
        head = re.sub(' style="[^"]*"', "", match["head"])  # a margin would push the drawing out of its image
        drawn = f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif"{head}{match["body"]}'
        data = base64.b64encode(drawn.encode()).decode()
        return f'<img alt="{said[1] if said else ""}" src="data:image/svg+xml;base64,{data}">'

    return re.sub(r"<svg(?P<head>[^>]*)(?P<body>.*?</svg>)", image, re.sub(r"</?a\b[^>]*>", "", html), flags=re.DOTALL)


def alone(line: str, cell: str) -> None:
    """Run a cell with names of its own; an exception ends it, and is printed."""
    printed = sys.stdout
    run_cell.run(cell, lambda text: print(text or "", end="", file=printed))


def spoken(text: str, beside: Container[str] = ()) -> str:
    """Return Markdown of a page for a notebook, far from the site.

    Formulas stand between dollars, links to pages are their words, and what gives looks to the site's elements is left out.

    beside   names of pages whose notebooks lie in the same folder: links lead to those
    """

    def replaced(match: re.Match[str]) -> str:
        if match["code"]:
            return match["code"]
        if latex := match["inline"]:
            return f"${latex.strip()}$"
        if latex := match["display"]:
            return f"$${latex}$$"
        if match["looks"]:
            return ""
        if summary := match["summary"]:
            return re.sub(r"\\([*_])", r"\1", re.sub("`(.+?)`", r"<code>\1</code>", summary))  # where Jupyter reads no Markdown
        if re.match(r"[a-z]+:", match["target"]):
            return match[0]
        page = re.fullmatch(r"(?:/learn/)?(\w+)\.md(?:#.*)?", match["target"])
        return f"[{match['words']}]({page[1]}.ipynb)" if page and page[1] in beside else match["words"]

    return _SPANS.sub(replaced, text)
