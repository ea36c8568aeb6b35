"""Markup: elements whose content and attributes are escaped where they are made."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from toise.errors import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

# Elements that have no end tag.
VOID = ("meta", "link", "input")


class Html(str):
    """Text that is markup already; every other text is escaped."""

    __slots__ = ()


def element(name: str, /, *inside: object, **attributes: object) -> Html:
    """Return an element; `None` and `False` are no attributes, and a name may end in an underscore."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value not in (None, False)}
    words = [name, *(key if value is True else f'{key}="{escaped(value)}"' for key, value in given.items())]
    start = f"<{' '.join(words)}>"
    return Html(start if name in VOID else f"{start}{''.join(map(escaped, inside))}</{name}>")


def escaped(thing: object) -> str:
    """Return somebody's text as markup that shows it; what cannot be seen, or turns text around, is shown as Python writes it."""
    if isinstance(thing, Html):
        return thing
    return html.escape(visible(thing), quote=True)


def joined(parts: Iterable[object], between: str = " · ") -> Html:
    """Return the parts with something between them."""
    return Html(escaped(between).join(map(escaped, parts)))


def boxed(table: Html, name: str) -> Html:
    """Return a table in a box of its own that scrolls, with the keyboard too, so that the page need not."""
    return element("div", table, class_="box", role="region", tabindex="0", aria_label=f"Table: {name}")
