"""What the cells of the pages on real implementations share: the backends, what became of them, and the findings."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import toise_spec
from toise.arrays import DTYPES
from toise.backends import ADAPTERS
from toise.overview import CONCEPTS, Cell, concept_of

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from conformance import findings, places  # noqa: E402 - it stands beside the speed and the power

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLES = {concept: concept.replace("_", " ") for concept in CONCEPTS}


def backends() -> str:
    """Return the backends that have a name as a table, with what installs each."""
    lines = ["| backend | what it calls | needs |", "|---|---|---|"]
    for name, adapter in ADAPTERS.items():
        needs = ", ".join(f"{package} {least}" for package, least in adapter.packages.items())
        extra = f"`pip install 'toise[{adapter.extra}]'` ({needs} or later)" if adapter.extra else ""
        lines.append(f"| `{name}` | {adapter.tells} | {extra} |")
    return "\n".join(lines)


def conformance(device: str) -> str:
    """Return the published verdicts on one device: when and with what they were had, the matrix, and what was not there."""
    results = json.loads((HERE / "results" / f"conformance_{device}.json").read_text(encoding="utf-8"))
    first = next(iter(results["backends"].values()))["environment"]
    date = max(each["date"] for each in results["backends"].values())
    made = (
        f"{date}, on {results['device']}, seed {results['seed']}. "
        f"Toise {first['toise']}, specification {first['specification']}, Python {first['python']} on {first['platform']}, "
        f"NumPy {first['numpy']}, Hypothesis {first['hypothesis']}."
    )
    told = [
        made,
        "",
        "| backend | dtypes | " + " | ".join(TITLES.values()) + " |",
        "|---|---|" + "---|" * len(TITLES),
    ]
    explained = _explained()
    for target, backend in results["backends"].items():
        version = f"{backend['name']} {backend['version']}".strip() + (" (smoke)" if backend["budget"] == "smoke" else "")
        for at, (dtypes, cells) in enumerate(_lines(target, backend, explained)):
            told.append(f"| {f'`{target}`<br>{version}' if at == 0 else ''} | {'<br>'.join(dtypes)} | {' | '.join(cells)} |")
    told += ["", *(f"- `{target}` is not here: {reason}." for target, reason in results["unavailable"].items())]
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
    yield f"| input | {' '.join(entry['input'].split())} |"
    yield "|---|---|"
    for name in ("got", "required"):
        yield f"| {name} | {' '.join(entry[name].split())} |"
    for rows in entry["rows"]:
        targets = ", ".join(f"`{target}`" for target in rows["targets"])
        requirements = ", ".join(_linked(id) for id in rows["requirements"])
        yield f"| {rows['outcome']} | {requirements} · `{rows['operation']}` · {', '.join(rows['dtypes'])} · {targets} |"
    if entry["declared"]:
        yield f"| {'declared' if entry['rows'] else 'no row shows it'} | {entry['declared']} |"
    known = f"<{entry['upstream']}>" if entry["upstream"] else "no report is known"
    yield f"| reported | {known} |"
    yield f"| checked | {' '.join(entry['checked'].split())} |"
    yield ""
    yield '??? example "The check, as it runs in the tests"'
    yield "    ```python"
    yield from (f"    {line}".rstrip() for line in entry["code"].strip().splitlines())
    yield "    ```"


def _linked(id: str) -> str:
    return f"[{id}](/spec/{toise_spec.requirement(id).slug}.md#{id})"
