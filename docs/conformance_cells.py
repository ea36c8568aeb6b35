"""What the cells of the pages on real implementations share: the backends, what became of them, and the findings."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kept
from cells import link, title
from toise.arrays import DTYPES
from toise.backends import ADAPTERS
from toise.overview import CONCEPTS, Cell, concept_of
from words import say

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from conformance import findings, places  # it stands beside the speed and the power

if TYPE_CHECKING:
    from collections.abc import Iterator


def backends() -> str:
    """Return the backends that have a name as a table, with what installs each."""
    lines = [say("results.backends"), "|---|---|---|"]
    for name, adapter in ADAPTERS.items():
        needs = ", ".join(f"{package} {least}" for package, least in adapter.packages.items())
        extra = f"`pip install 'toise[{adapter.extra}]'` ({say('results.or_later', needs=needs)})" if adapter.extra else ""
        lines.append(f"| `{name}` | {adapter.tells} | {extra} |")
    return "\n".join(lines)


def conformance(device: str) -> str:
    """Return the published verdicts on one device: when and with what they were had, the matrix, and what was not there."""
    results = kept.conformance(device)
    first = next(iter(results["backends"].values()))["environment"]
    date = max(each["date"] for each in results["backends"].values())
    told = [
        say("results.made", date=date, device=results["device"], seed=results["seed"], **first),
        "",
        f"{say('results.verdicts')} {' | '.join(map(title, CONCEPTS))} |",
        "|---|---|" + "---|" * len(CONCEPTS),
    ]
    explained = _explained()
    for target, backend in results["backends"].items():
        version = f"{backend['name']} {backend['version']}".strip() + (" (smoke)" if backend["budget"] == "smoke" else "")
        for at, (dtypes, cells) in enumerate(_lines(target, backend, explained)):
            told.append(f"| {f'`{target}`<br>{version}' if at == 0 else ''} | {'<br>'.join(dtypes)} | {' | '.join(cells)} |")
    told += [
        "",
        *(f"- {say('results.absent', target=target, reason=reason)}" for target, reason in results["unavailable"].items()),
    ]
    return "\n".join(told)


def _explained() -> dict[tuple[str, str, str, str], str]:
    """Return the finding that explains an outcome of a concept at a dtype, by target; of several, that with the most rows."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for entry in findings():
        for target, operation, requirement, dtype, outcome in places(entry):
            for each in (dtype,) if dtype in DTYPES else DTYPES:  # what has no floats counts for each dtype
                found.setdefault((target, concept_of(requirement, operation), each, outcome), []).append(entry["slug"])
    return {place: max(slugs, key=slugs.count) for place, slugs in found.items()}


def _lines(target: str, backend: dict[str, Any], explained: dict[Any, str]) -> list[tuple[list[str], list[str]]]:
    """Return the dtypes that have the same outcomes together, and these."""
    found: dict[tuple[str, ...], list[str]] = {}
    for line in backend["lines"]:
        cells = tuple(_cell(line["cells"].get(concept), concept, target, line["dtype"], explained) for concept in CONCEPTS)
        found.setdefault(cells, []).append(line["dtype"])
    return [(dtypes, list(cells)) for cells, dtypes in found.items()]


def _cell(cell: dict[str, Any] | None, concept: str, target: str, dtype: str, explained: dict[Any, str]) -> str:
    """Return an outcome; one that is not well leads to the finding that explains it."""
    text = str(Cell(cell["outcome"], cell["count"], cell["of"])) if cell else "-"
    if text == "-" or text.startswith("PASS"):
        return text.removesuffix(f" {cell['of']}/{cell['of']}") if cell else text  # all of them: no count
    slug = explained.get((target, concept, dtype, cell["outcome"]))
    return f"[{text}](/findings.md#{slug})" if slug else text


def all_findings() -> str:
    """Return every finding, those of a library together."""
    parts = []
    for library, entries in itertools.groupby(findings(), key=lambda entry: entry["library"]):
        parts += [f"## {library}", *("\n".join(_finding(entry)) for entry in entries)]
    return "\n\n".join(parts)


def _finding(entry: dict[str, Any]) -> Iterator[str]:
    yield f"### {entry['title']} {{ #{entry['slug']} }}"
    yield ""
    yield f"**{entry['library']} {entry['version']}.** {entry['why']}"
    yield ""
    yield f"| {say('results.input')} | {' '.join(entry['input'].split())} |"
    yield "|---|---|"
    for name in ("got", "required"):
        yield f"| {say(f'results.{name}')} | {' '.join(entry[name].split())} |"
    for rows in entry["rows"]:
        targets = ", ".join(f"`{target}`" for target in rows["targets"])
        requirements = ", ".join(map(link, rows["requirements"]))
        yield f"| {rows['outcome']} | {requirements} · `{rows['operation']}` · {', '.join(rows['dtypes'])} · {targets} |"
    if entry["declared"]:
        yield f"| {say('results.declared' if entry['rows'] else 'results.no_row')} | {entry['declared']} |"
    known = f"<{entry['upstream']}>" if entry["upstream"] else say("results.no_report")
    yield f"| {say('results.reported')} | {known} |"
    yield f"| {say('results.checked')} | {' '.join(entry['checked'].split())} |"
    yield ""
    yield f'??? example "{say("results.check")}"'
    yield "    ```python"
    yield from (f"    {line}".rstrip() for line in entry["code"].strip().splitlines())
    yield "    ```"
