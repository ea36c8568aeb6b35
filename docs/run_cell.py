"""Run a cell that readers may edit: the same code does it in the page, with Pyodide, and where the site is built."""

from __future__ import annotations

import contextlib
import io
import linecache
import sys
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = "example.py"  # what a traceback calls the cell
INSIDE = ("<listcomp>", "<setcomp>", "<dictcomp>")  # lines of their own in a traceback of Python 3.11 alone
LIMIT = 20_000  # characters that are shown
PAUSE = 0.1  # seconds between two messages to the page


def run(code: str, send: Callable[[str | None], object]) -> str | None:
    """Run the code from nothing, `send` what it prints, and return the name of the exception that ended it, if one did.

    Where more than LIMIT characters are printed, None is sent in place of the rest.
    """
    linecache.cache[FILE] = (len(code), None, code.splitlines(keepends=True), FILE)
    if "hypothesis" in code:
        _same_for_everybody()
    output, ended_by = _Output(send), None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            exec(compile(code, FILE, "exec"), {"__name__": "__main__"})  # noqa: S102 - what the reader asked for
        except BaseException as error:  # noqa: BLE001 - `raise SystemExit` ends the cell, not the page
            ended_by = type(error).__name__
            output.write(_told(error))
    output.send_all()
    return ended_by


class _Output(io.TextIOBase):
    """A stream that sends what is written to it, now and then, up to LIMIT."""

    def __init__(self, send: Callable[[str | None], object]) -> None:
        self._send, self._waiting, self._room, self._sent = send, "", LIMIT, 0.0

    def write(self, text: str) -> int:
        if self._room >= 0:
            self._waiting += text[: self._room]
            self._room -= len(text)
            if time.monotonic() > self._sent + PAUSE or self._room < 0:
                self.send_all()
            if self._room < 0:
                self._send(None)
        return len(text)

    def send_all(self) -> None:
        """Send what still waits."""
        if self._waiting:
            self._send(self._waiting)
        self._waiting, self._sent = "", time.monotonic()


def _same_for_everybody() -> None:
    """Have Hypothesis try the same inputs each time, and never complain that a browser is slow."""
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "cell", derandomize=True, database=None, deadline=None, print_blob=False, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("cell")


def _told(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error)
    _keep_the_cell(told)
    return "".join(told.format())


def _keep_the_cell(told: traceback.TracebackException) -> None:
    """Leave of a traceback the lines of the cell, without the marks below them, which each Python makes in its own way.

    A frame that stands at a `def` is one of Hypothesis, which calls the test in the test's name.
    """
    told.stack = traceback.StackSummary.from_list(
        (line.filename, line.lineno or 0, line.name, line.line)
        for line in told.stack
        if line.filename == FILE and line.name not in INSIDE and not (line.line or "").startswith("def ")
    )
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None:
            _keep_the_cell(other)


if __name__ == "__main__":
    sys.exit(run(sys.stdin.read(), lambda text: print(text or "", end="", file=sys.__stdout__)))
