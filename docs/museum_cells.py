"""What the museum of bugs shows: each fault of the catalogue beside the right lines, and what reveals it."""

from __future__ import annotations

import json
import re
from collections import Counter
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import toise_spec
from beside import beside, closest, helper_lines, helpers_in, text_of_fault
from cells import link, title
from kept import judged, revealed
from toise import engine
from toise.faults import CLASSIC, CONCEPTS, catalogue
from toise.faults.matrix import SURVIVORS
from words import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from toise.faults import Fault

# So many faults of a concept stand in its "Break it": enough to choose from, few enough to look through.
CHOICE = 10
# What break.js says, in the language of the page.
SPOKEN = ("and_wrong", "choose", "predict", "judge", "again", "guessed", "missed", "wrong_guess", "all")


def rooms() -> str:
    """Return the pages of the museum as a table, with how many faults each holds."""
    lines = [f"| {say('museum.room')} | {say('museum.faults')} | {say('museum.reported')} |", "|---|--:|--:|"]
    for concept in CONCEPTS:
        found = of_concept(concept)
        reported = sum(fault.origin != CLASSIC for fault in found)
        lines.append(f"| [{title(concept)}](/museum/{concept}.md) | {len(found)} | {reported} |")
    return "\n".join(lines)


def most_reported() -> str:
    """Return the reports that most faults are from: what went wrong, and where."""
    origins = Counter(fault.origin for fault in catalogue().values() if fault.origin != CLASSIC)
    parts = []
    for origin, count in origins.most_common():
        if count > 1:
            found = [fault for fault in catalogue().values() if fault.origin == origin]
            parts.append(f"- {_source(origin)}: {', '.join(f'{shelf(fault)} ({title(fault.concept)})' for fault in found)}")
    return "\n".join(parts)


def room(concept: str) -> str:
    """Return every fault of a concept, by the requirement that it is about; those that were reported in public come first."""
    by_requirement: dict[str, list[Fault]] = {}
    for fault in sorted(of_concept(concept), key=lambda fault: fault.origin == CLASSIC):
        by_requirement.setdefault(fault.fails[0], []).append(fault)
    order = {id: at for at, id in enumerate(toise_spec.requirements())}
    parts = [_helpers(concept)]
    for id in sorted(by_requirement, key=lambda id: (toise_spec.requirement(id).slug != concept, order[id])):
        parts += [
            f"## {id}: {title_of(id)} {{ #{id} }}",
            f"{link(id)} {toise_spec.requirement(id).sentence}",
            *map(exhibit, by_requirement[id]),
        ]
    return "\n\n".join(parts)


def exhibit(fault: Fault) -> str:
    """Return one fault: what is wrong, where it was reported, the wrong lines beside the right ones, and what reveals it."""
    name = fault.slug.partition(".")[2]
    shown, broken = revealed()[fault.slug], judged()[fault.slug]["broken"]
    both = beside(fault)
    told = [
        f"### {name.replace('_', ' ').capitalize()} {{ #{name} }}",
        f"{sentence(fault)} {_reported(fault.origin)}",
        '<div class="beside" data-search-exclude markdown>',
        f'<div markdown>\n\n<p class="wrong">{say("museum.wrong")}</p>\n\n{_code(both.wrong, both.wrong_marked)}\n\n</div>',
        f'<div markdown>\n\n<p class="right">{say("museum.right")}</p>\n\n{_code(both.right, both.right_marked)}\n\n</div>',
        "</div>",
        f"{say('museum.hint', hint=_plain(fault.hint))}",
    ]
    if "text" in shown:
        others = [id for id in broken if id != shown["requirement"]]
        told.append(_caught(shown["requirement"], others))
        told.append(_folded(say("museum.input", id=shown["requirement"]), shown["text"]))
    else:
        told.append(say("museum.survives", reason=SURVIVORS[fault.slug]))
    return "\n\n".join(told)


def break_it(concept: str) -> str:
    """Return the faults of a concept that a reader may choose from: each with its code, and, folded, its row of the matrix."""
    words = {name: say(f"museum.{name}") for name in SPOKEN}
    data = " ".join(f'data-{name.replace("_", "-")}="{escape(text)}"' for name, text in words.items())
    listed = escape(json.dumps(foreseen(concept), ensure_ascii=False))
    parts = [f'<div class="break-it" {data} data-requirements="{listed}" markdown>']
    parts += [_breakable(fault) for fault in choice(concept)]
    parts += ["</div>", say("museum.more", count=len(of_concept(concept)), concept=concept)]
    return "\n\n".join(parts)


def foreseen(concept: str) -> dict[str, str]:
    """Return what a reader may foresee: the requirements of a concept, and those of all operations that a chosen fault breaks."""
    broken = {id for fault in choice(concept) for id in judged()[fault.slug]["broken"]}
    items = [each for each in toise_spec.requirements().values() if each.slug in (concept, "general")]
    return {item.id: title_of(item.id) for item in items if item.slug == concept or item.id in broken}


def _breakable(fault: Fault) -> str:
    name, broken = fault.slug.partition(".")[2], list(judged()[fault.slug]["broken"])
    return "\n\n".join(
        [
            f'<details class="break-fault" id="break-{name}" data-broken="{" ".join(broken)}" markdown>',
            f"<summary>{_as_html(fault.sentence)}</summary>",
            _code(text_of_fault(fault).lines, ()),
            '<details class="break-answer" markdown>',
            f"<summary>{say('museum.which')}</summary>",
            matrix_row(fault),
            f"```text\n{revealed()[fault.slug]['text']}\n```",
            say("museum.place", shelf=shelf(fault)),
            "</details>",
            "</details>",
        ]
    )


def matrix_row(fault: Fault) -> str:
    """Return what became of each requirement of the fault's operation: those that are broken, then the others."""
    broken = list(judged()[fault.slug]["broken"])
    held = [prop.id for prop in engine.properties() if fault.operation in prop.inputs and prop.id not in broken]
    return "\n\n".join(
        [
            f"**{say('museum.broken', count=len(broken))}** {' '.join(f'{link(id)}{{ .broken }}' for id in broken)}",
            f"{say('museum.held', count=len(held))} {' '.join(f'{link(id)}{{ .held }}' for id in held)}",
        ]
    )


def choice(concept: str) -> list[Fault]:
    """Return faults that break different requirements, those that were reported in public first, and the most telling of them."""
    found = [fault for fault in of_concept(concept) if "text" in revealed()[fault.slug]]
    found.sort(key=lambda fault: (fault.origin == CLASSIC, fault.stateful, len(text_of_fault(fault).lines)))
    chosen: dict[str, Fault] = {}
    for fault in found:
        chosen.setdefault(fault.fails[0], fault)
    return list(chosen.values())[:CHOICE]


def of_requirement(id: str) -> list[Fault]:
    """Return the faults that a requirement breaks and that declare it."""
    return [fault for slug, fault in catalogue().items() if id in fault.fails and id in judged()[slug]["broken"]]


def of_concept(concept: str) -> list[Fault]:
    """Return the faults of a concept, in the order of the catalogue."""
    return [fault for fault in catalogue().values() if fault.concept == concept]


def title_of(id: str) -> str:
    """Return a requirement in few words: the name of its test."""
    return engine.property_of(id).title


def sentence(fault: Fault) -> str:
    """Return what is wrong, and whether it was written after the inputs were chosen."""
    return f"{_plain(fault.sentence)}{' ' + say('museum.late') if fault.late else ''}"


def _plain(text: str) -> str:
    """Return a text of the catalogue as Markdown: what stands between backticks is code, and the rest is as it is."""
    parts = text.split("`")
    parts[::2] = [escape(part, quote=False).replace("*", r"\*").replace("_", r"\_") for part in parts[::2]]
    return "`".join(parts)


def shelf(fault: Fault) -> str:
    """Return a link to a fault's place in the museum."""
    concept, _, name = fault.slug.partition(".")
    return f"[{name.replace('_', ' ')}](/museum/{concept}.md#{name})"


def _reported(origin: str) -> str:
    return "" if origin == CLASSIC else say("museum.at", link=_source(origin))


def _source(origin: str) -> str:
    """Return a link to a report."""
    if origin.startswith("https://"):
        return f"[{urlsplit(origin).netloc}]({origin})"
    repository, number = origin.split("#")
    return f"[{origin}](https://github.com/{repository}/issues/{number})"


def _caught(id: str, others: Iterable[str]) -> str:
    listed = ", ".join(map(link, others))
    return say("museum.caught", link=link(id)) + (f" {say('museum.also', links=listed)}" if listed else "")


def _as_html(text: str) -> str:
    """Return a text of the catalogue as HTML: what stands between backticks is code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))


def _code(lines: Iterable[str], marked: Iterable[int]) -> str:
    numbers = " ".join(str(at + 1) for at in marked)
    attribute = f' hl_lines="{numbers}"' if numbers else ""
    return "\n".join([f"```python{attribute}", *lines, "```"])


def _helpers(concept: str) -> str:
    """Return, folded, the functions that the right lines of a room call, which are right too; nothing if there are none."""
    found = [helper for fault in of_concept(concept) for helper in helpers_in(closest(fault).function)]
    lines = [line for helper in dict.fromkeys(found) for line in (*helper_lines(helper), "", "")]
    return _folded(say("museum.helpers"), "\n".join(lines).strip(), "python") if lines else ""


def _folded(summary: str, text: str, language: str = "text") -> str:
    indented = "\n".join(f"    {line}".rstrip() for line in [f"```{language}", *text.splitlines(), "```"])
    return f'??? example "{summary}"\n\n{indented}'
