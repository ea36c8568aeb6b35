"""What a person sees while a command runs: a console, a bar of progress, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.console import Console


def new_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal, or 120 columns where there is none, as in CI."""
    from rich.console import Console

    class Told(Console):
        def on_broken_pipe(self) -> None:
            """Keep the exit status when whoever read the output has gone, as `head` does."""
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return Told(highlight=False, width=wide, stderr=stderr)


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on a terminal; give a function that moves it on, and says what was done last."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal, redirect_stdout=False) as progress:
        task = progress.add_task(what, total=total)
        yield lambda last: progress.update(task, advance=1, description=f"{what} {last}")


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """End the block at Ctrl-C; give a function that tells whether it came.

    Python drops an exception that is raised in a callback, and KeyboardInterrupt with it: then the
    function still tells.
    """
    came = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, note)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)
