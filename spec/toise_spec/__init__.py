"""The numbered requirements of the specification, read from the Markdown pages beside this file.

    >>> import toise_spec
    >>> toise_spec.requirement("LN-3").level
    'MUST'

A page that holds requirements writes each one as

    ### LN-3 { #LN-3 }

    **MUST:** One testable sentence.

    - **Why:** ...
    - **Right:** ...
    - **Wrong:** ...
    - **Exceptions:** ...
    - **Source:** ...
    - **Since:** 0.1

and `notation.md` says what MUST, SHOULD and MAY mean.
"""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VERSION", "Requirement", "SpecError", "page", "parse", "requirement", "requirements"]

VERSION = "0.1"
LEVELS = ("MUST", "SHOULD", "MAY")
FIELDS = ("Why", "Right", "Wrong", "Exceptions", "Source", "Since")

_HEADING = re.compile(r"^### (?P<id>\S+) \{ #(?P<anchor>\S+) \}$")
_ID = re.compile(r"[A-Z]{2,4}-[1-9]\d*")
_SENTENCE = re.compile(r"^\*\*(?P<level>[A-Z]+):\*\* (?P<sentence>.+)$")
_FIELD = re.compile(r"^- \*\*(?P<name>[A-Za-z]+):\*\* (?P<text>.+)$")
_WITHDRAWN = re.compile(r"^- `(?P<id>[^`]+)` withdrawn\b", re.MULTILINE)


class SpecError(Exception):
    """A page of the specification, or a question about it, is not as it must be."""


@dataclass(frozen=True)
class Requirement:
    """One numbered requirement: a level, one testable sentence, and what surrounds it, as Markdown.

        >>> item = requirement("LN-3")
        >>> item.slug, item.prefix, item.number
        ('layer_norm', 'LN', 3)

    id          never used again once given
    slug        the page that holds it
    level       "MUST", "SHOULD" or "MAY"
    sentence    what has to hold
    why         what it is good for
    right       an example that keeps it
    wrong       an example that breaks it
    exceptions  where it does not hold
    source      who says so
    since       the version of the specification that brought it
    """

    id: str
    slug: str
    level: str
    sentence: str
    why: str
    right: str
    wrong: str
    exceptions: str
    source: str
    since: str

    @property
    def prefix(self) -> str:
        """The letters that all requirements of the page share."""
        return self.id.split("-")[0]

    @property
    def number(self) -> int:
        """The number after the prefix, never used again once given."""
        return int(self.id.split("-")[1])


def requirement(id: str) -> Requirement:
    """Return the requirement of that id.  Raises SpecError if the specification has none.

    >>> requirement("LN-3").sentence
    '`eps` is added to the variance, inside the square root.'
    """
    known = requirements()
    if id not in known:
        near = difflib.get_close_matches(id.upper(), known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `toise list` shows all of them"
        raise SpecError(f"the specification {VERSION} has no requirement {id!r}{hint}")
    return known[id]


@functools.cache
def requirements() -> Mapping[str, Requirement]:
    """Return every requirement by id, in the order of the pages' names and of the numbers.

    >>> [id for id in requirements() if id.startswith("RES-")][:3]
    ['RES-1', 'RES-2', 'RES-3']
    """
    return parse({name: page(name) for name in _page_names()})


def page(slug: str) -> str:
    """Return the Markdown text of one page, for example "layer_norm" or "notation".  Raises SpecError if there is none.

    >>> page("layer_norm").splitlines()[0]
    '# Layer normalisation'
    """
    if slug not in _page_names():
        raise SpecError(f"the specification has no page {slug!r}; it has {', '.join(_page_names())}")
    return (resources.files(__name__) / f"{slug}.md").read_text(encoding="utf-8")


def _page_names() -> list[str]:
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".md") for name in files if name.endswith(".md"))


def parse(pages: Mapping[str, str]) -> dict[str, Requirement]:
    """Return the requirements that the texts of `pages` (slug -> Markdown) hold.

    Raises SpecError for a malformed requirement, an id that is given twice or that was withdrawn,
    a page that mixes prefixes, and a mention of an id that does not exist.
    """
    found: dict[str, Requirement] = {}
    withdrawn = {match["id"] for text in pages.values() for match in _WITHDRAWN.finditer(text)}
    for slug, text in sorted(pages.items()):
        for item in _requirements_of(slug, text):
            if item.id in found:
                raise SpecError(f"{slug}.md: {item.id} is already given in {found[item.id].slug}.md; an id is used once")
            if item.id in withdrawn:
                raise SpecError(f"{slug}.md: {item.id} was withdrawn, and an id is never used again; take the next number")
            found[item.id] = item
    prefixes = "|".join(sorted({item.prefix for item in found.values()}))
    for slug, text in pages.items():
        for mention in re.findall(rf"\b(?:{prefixes})-\d+\b", text) if prefixes else ():
            if mention not in found and mention not in withdrawn:
                raise SpecError(f"{slug}.md: mentions {mention}, which is not a requirement")
    return found


def _requirements_of(slug: str, text: str) -> list[Requirement]:
    """Read the requirements of one page, in the order of their numbers."""
    found: list[Requirement] = []
    sections = re.split(r"^(?=### )", text, flags=re.MULTILINE)[1:]
    for section in sections:
        heading, *lines = re.split(r"^#{1,2} ", section, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
        match = _HEADING.match(heading)
        if match is None:
            raise SpecError(f"{slug}.md: {heading!r} should read '### LN-3 {{ #LN-3 }}'")
        if not _ID.fullmatch(match["id"]) or match["id"] != match["anchor"]:
            raise SpecError(f"{slug}.md: in {heading!r} the id should look like LN-3, and the anchor should repeat it")
        found.append(_requirement(slug, match["id"], lines))
    prefixes = {item.prefix for item in found}
    if len(prefixes) > 1:
        raise SpecError(f"{slug}.md: one page has one prefix, but this one has {', '.join(sorted(prefixes))}")
    return sorted(found, key=lambda item: item.number)


def _requirement(slug: str, id: str, lines: list[str]) -> Requirement:
    where = f"{slug}.md, {id}"
    paragraphs: list[str] = []
    for line in lines:
        if line.startswith(("**", "- ")):
            paragraphs.append(line.strip())
        elif line.strip() and paragraphs:
            paragraphs[-1] += " " + line.strip()
        elif line.strip():
            raise SpecError(f"{where}: {line.strip()!r} stands before the sentence")
    sentence = _SENTENCE.match(paragraphs[0]) if paragraphs else None
    if sentence is None or sentence["level"] not in LEVELS:
        raise SpecError(f"{where}: should begin with '**MUST:** sentence', the level one of {', '.join(LEVELS)}")
    fields = {}
    for paragraph in paragraphs[1:]:
        field = _FIELD.match(paragraph)
        if field is None or field["name"] not in FIELDS or field["name"] in fields:
            raise SpecError(f"{where}: {paragraph[:40]!r} should be '- **Name:** text', once for each of {', '.join(FIELDS)}")
        fields[field["name"]] = field["text"]
    missing = [name for name in FIELDS if name not in fields]
    if missing:
        raise SpecError(f"{where}: has no {', '.join(missing)}")
    return Requirement(id, slug, sentence["level"], sentence["sentence"], **{name.lower(): text for name, text in fields.items()})
