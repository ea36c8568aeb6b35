"""Where a requirement or a fault is explained: a page of the published site, or, where none is published, a file."""

from __future__ import annotations

import functools
import inspect
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import toise_spec

if TYPE_CHECKING:
    from toise.faults import Fault
    from toise.report import Row


@functools.cache
def site() -> str:
    """Return the address that the installed package names as its Documentation, ending in a slash; empty if it names none."""
    try:
        addresses = metadata.metadata("toise").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:  # run from a tree that is not installed
        return ""
    named = dict(each.split(", ", 1) for each in addresses)
    return f"{named['Documentation'].rstrip('/')}/" if "Documentation" in named else ""


def page(id: str) -> str:
    """Return where a requirement is explained, the same on every machine: an address, or a path in the repository.

    Raises SpecError if the specification has none of that id.
    """
    slug = toise_spec.requirement(id).slug
    return f"{site()}spec/{slug}.html#{id}" if site() else f"spec/toise_spec/{slug}.md#{id}"


def of(row: Row) -> list[str]:
    """Return where the requirement of a row is explained; nothing if the row is of another specification and that one is gone."""
    if row.requirement not in toise_spec.requirements():
        return []
    return [page(row.requirement) if site() else f"{page(row.requirement)} (toise explain {row.requirement})"]


def address(id: str) -> str:
    """Return where a requirement is explained, as an address that can be opened here."""
    if site():
        return page(id)
    return f"{Path(toise_spec.__file__).with_name(f'{toise_spec.requirement(id).slug}.md').as_uri()}#{id}"


def fault_address(fault: Fault) -> str:
    """Return where a fault is shown, as an address that can be opened here: in the museum, or its line in the catalogue."""
    if site():
        concept, _, name = fault.slug.partition(".")
        return f"{site()}museum/{concept}.html#{name}"
    path = inspect.getsourcefile(fault.function)
    return f"{Path(path).as_uri()}#L{inspect.getsourcelines(fault.function)[1]}" if path else fault.slug
