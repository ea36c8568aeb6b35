"""Cells that a reader can run and edit in the page: a fence with `exec="true" editable="true"`.

The code of such a cell stands alone: it imports what it uses.  It is run when the site is built, as the page would run it, and
what it prints stands below it, so that it says the same on paper.  The buttons come only with what docs/vendor.py fetched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown_exec import ExecutionError, base_format
from words import say

if TYPE_CHECKING:
    from markdown import Markdown

HERE = Path(__file__).parent
SECONDS = 60  # a cell takes less, or it is none for a page
WORDS = (
    *("run", "stop", "edit", "reset", "code", "keys"),
    *("first", "loading", "running", "done", "failed", "stopped", "cut", "lacking", "broken", "disk"),
)
LOADED = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")


def vendored() -> Path | None:
    """Return the folder that docs/vendor.py filled, if the site is built with one."""
    folder = os.environ.get("TOISE_SITE_VENDORED")
    return Path(folder).resolve() if folder else None


def is_editable(language: str, inputs: dict[str, str], options: dict[str, Any], attrs: dict[str, Any], md: Markdown) -> bool:
    """Tell whether a fence is such a cell, and keep the name of the exception that is to end it."""
    if inputs.get("editable") != "true":
        return False
    options["raises"] = inputs.get("raises", "")
    return True


def cell(source: str, language: str, css_class: str, options: dict[str, Any], md: Markdown, **rest: object) -> str:
    """Return a cell with what it prints.  The build fails where it does not end as the fence says."""
    shown = base_format(
        language="python",
        run=lambda code, **_: printed(code, options["raises"]),
        code=source,
        md=md,
        source="above",
        result="text",
    )
    folder = vendored()
    if folder is None:
        return f'<div class="try">{shown}</div>'
    python = folder / "assets" / "python"
    size = sum((python / name).stat().st_size for name in LOADED)
    words = {key: say(f"run.{key}", megabytes=round(size / 1e6)) for key in WORDS}
    lacking = "" if list(python.glob("numpy-*.whl")) else "numpy"
    return f'<div class="try" data-words="{escape(json.dumps(words))}" data-lacking="{lacking}">{shown}</div>'


def printed(code: str, raises: str) -> str:
    """Return what a cell prints, with the traceback if `raises` names the exception that ends it.

    Raises ExecutionError where another ends it, or none.
    """
    with tempfile.TemporaryDirectory() as room:
        done = subprocess.run(  # noqa: S603 - a cell of the page
            [sys.executable, "-I", "-X", "utf8", HERE / "run_cell.py"],
            input=code,
            capture_output=True,
            encoding="utf-8",
            cwd=room,
            timeout=SECONDS,
            check=False,
        )
    if done.stderr.strip() != raises:
        raise ExecutionError(f"{done.stdout}\n\nended by {done.stderr.strip() or 'nothing'}, not by {raises or 'nothing'}")
    return done.stdout
