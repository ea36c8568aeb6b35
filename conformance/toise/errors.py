"""What can go wrong, and whose fault it is."""

from __future__ import annotations

TEXT = 200


class Unsupported(Exception):  # noqa: N818 - the name that backends raise, as NotImplementedError has one
    """Raised by a backend for a call outside the domain that it implements: it is counted, and is no failure."""


class TargetError(Exception):
    """The target or the command cannot be used as given: one line, exit 2."""


class Unavailable(TargetError):  # noqa: N818 - what is found, not what went wrong
    """A backend that has a name cannot be had here: what it needs is missing, too old, or cannot be imported."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


class ToiseError(Exception):
    """Toise itself is wrong: its reference and its bounds disagree, or a property test is broken; exit 3."""


class OwnError(ToiseError):
    """A mistake of Toise's own between a backend and the suite: never the backend's."""


class Ended(Exception):  # noqa: N818 - what a backend in a process of its own did, not what went wrong here
    """A call in another process gave no result.

    kind   "crash", "timeout" or "protocol": the process is gone; "raised", "not provided", "exit", "memory" or "returned":
           the process says so itself
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


def ending(error: BaseException) -> str:
    """Tell what an exception of a backend is: "exit", "memory", or "raised" like any other."""
    if isinstance(error, SystemExit):
        return "exit"
    out_of_memory = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text_of(error)  # as torch says
    return "memory" if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and out_of_memory) else "raised"


def line(text: str, most: int = TEXT) -> str:
    """Return somebody else's text on one line, with an end, and with nothing that a terminal or a file cannot take."""
    return visible(" ".join(text.split())[:most])[:most]


def visible(text: object) -> str:
    """Return somebody's text with what cannot be seen, or turns text around, as Python writes it; lines stay lines."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in str(text))


def text_of(thing: object) -> str:
    """Return the text of an exception, or of a value that somebody else made, on one line of bounded length.

    Making the text runs code of whoever made the thing, which may do anything.
    """
    try:
        text = str(thing) if isinstance(thing, BaseException) else repr(thing)
        return line(text)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a thing whose text cannot be had is still a thing
        return f"<{type(thing).__name__} without a text>"
