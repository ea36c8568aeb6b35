"""What can go wrong, and whose fault it is."""

from __future__ import annotations


class Unsupported(Exception):  # noqa: N818 - the name that backends raise, as NotImplementedError has one
    """Raised by a backend for a call outside the domain that it implements."""


class TargetError(Exception):
    """The target or the command cannot be used as given: one line, exit 2."""


class ToiseError(Exception):
    """Toise itself is wrong: its reference and its bounds disagree, or a property test is broken; exit 3."""
