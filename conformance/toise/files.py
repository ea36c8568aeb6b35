"""The files that a command writes: what stands there is always whole, whatever ends the run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar

from toise.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
# Standard output, in the place of a file.
DASH = Path("-")
_output: TextIO | None = None
# Writing takes at most this share of the time, and comes at most once in so many seconds.
SHARE, SECONDS = 0.05, 1.0


def require_writable(path: Path) -> None:
    """Raise TargetError where a file cannot be written; what stands there is left as it is."""
    if path == DASH:
        return
    new = not path.exists()
    try:
        with path.open("a", encoding="utf-8"):
            pass
        if new:
            path.unlink()  # where nothing is judged, there is no report
    except OSError as error:
        raise _cannot(path, error) from None


def lend_standard_output() -> None:
    """Keep standard output for a text, and let whatever else is printed, here or in a target, go to standard error."""
    global _output  # noqa: PLW0603 - there is one standard output
    sys.stdout.flush()
    _output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)


def write(path: Path, text: str) -> None:
    """Put a text in the place of a file at once: a reader finds what was there before, or all of the new one.

    Raises TargetError where that cannot be done, as where the disk is full; then the file is as it was.
    """
    if path == DASH:
        output = _output or sys.stdout
        output.write(text)
        output.flush()
        return
    try:
        if path.exists() and not path.is_file():  # a pipe, or a device
            path.write_text(text, encoding="utf-8")
            return
        behind = path.resolve()  # a link stays one
        part = behind.with_name(f".{behind.name}.{os.getpid()}.part")  # two runs may write one file
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(behind)
        except BaseException:
            with contextlib.suppress(OSError):  # what went wrong first is what is told
                part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _cannot(path, error) from None


class Kept(Generic[T]):
    """Files of one thing that grows, each in a form of its own, that are readable from the first moment on."""

    def __init__(self, forms: Sequence[tuple[Path, Callable[[T], str]]]) -> None:
        self.forms = forms
        self._next = 0.0

    def now(self, thing: T) -> None:
        """Write all files; a stream, a pipe or a device gets the last text alone."""
        for path, form in self.forms:
            if path != DASH and (path.is_file() or not path.exists()):
                write(path, form(thing))

    def remove(self) -> None:
        """Take away what stands there from an earlier run: it says nothing of this one, however that ends."""
        for path, _ in self.forms:
            try:
                if path != DASH and path.is_file():
                    path.resolve().unlink()
            except OSError as error:
                raise _cannot(path, error) from None

    def meanwhile(self, thing: T) -> None:
        """Write all files, with more to come.

        Where that fails, as on a full disk, the earlier files stay; that the last ones cannot be written is told.
        """
        with contextlib.suppress(TargetError):
            self.now(thing)

    def sometimes(self, thing: Callable[[], T]) -> None:
        """Write all files, with more to come, if enough time has passed."""
        start = time.monotonic()
        if not self.forms or start < self._next:
            return
        self.meanwhile(thing())
        end = time.monotonic()
        self._next = end + max(SECONDS, (end - start) / SHARE)

    def last(self, thing: T) -> None:
        """Write all files, and to standard output what belongs there."""
        for path, form in self.forms:
            write(path, form(thing))


def digest_of(thing: Any, size: int = 8) -> str:
    """Return a name for plain data: equal data have equal ones."""
    return hashlib.blake2b(json.dumps(thing, sort_keys=True).encode(), digest_size=size).hexdigest()


def _cannot(path: Path, error: OSError) -> TargetError:
    return TargetError(f"cannot write {path}: {error.strerror or os.strerror(error.errno or 0)}")
