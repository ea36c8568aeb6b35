"""Cases: one requirement on one recipe, to be tried again alone, or first in every run.

A case is a file, or a failing row of a report, or a recipe as a report prints it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toise.baseline import require_buildable, require_usable
from toise.errors import TargetError, line
from toise.files import digest_of, write
from toise.inputs import recipe_from_json, recipe_from_text
from toise.reading import read_format, read_json, read_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toise.inputs import Recipe
    from toise.report import Report, Row

FORMAT, FORMAT_VERSION = "toise-case", 1
AGAIN = "make it again with `toise replay REPORT:ID --save FOLDER`"


@dataclass(frozen=True)
class Case:
    """One requirement on one recipe, and where it was found."""

    requirement: str
    operation: str
    recipe: dict[str, Any]
    found: dict[str, str] = field(default_factory=dict)
    """The target, its device, the dtype, what was said, and the version of Toise."""

    @property
    def input(self) -> Recipe:
        """The recipe, made of its fields."""
        return recipe_from_json(self.recipe)

    def as_text(self) -> str:
        """Return the file, which fits `case.schema.json`."""
        return json.dumps({"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}, indent=1, allow_nan=False) + "\n"

    def save(self, folder: Path) -> Path:
        """Write it into a folder, under a name that is made of it, and return where."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TargetError(f"cannot write into {folder}: {error.strerror}") from None
        path = folder / f"{self.requirement.lower()}_{self.operation}_{digest_of(self.recipe, 4)}.json"
        write(path, self.as_text())
        return path


def case_of(row: Row, report: Report) -> Case:
    """Return the case that a row of a report shows.  Raises TargetError if it shows none."""
    if row.counterexample is None:
        raise TargetError(f"{row.requirement} {row.operation} {row.dtype} is {row.outcome}, and has no recipe")
    found = {
        "target": report.target,
        "device": row.device,
        "dtype": row.dtype,
        "because": row.counterexample.message,
        "toise": report.environment["toise"],
    }
    return Case(row.requirement, row.operation, row.counterexample.recipe, found)


def read_case(path: Path) -> Case:
    """Return the case that a file holds.  Raises TargetError, with one line, if it cannot be used."""
    body = read_json(path, FORMAT, FORMAT_VERSION, AGAIN)
    case = Case(**{name: body[name] for name in ("requirement", "operation", "recipe", "found")})
    _require_usable(path, case)
    return case


def read_corpus(folder: Path) -> list[Case]:
    """Return the cases of a folder, by the names of the files.  Raises TargetError if there is none, or one cannot be used."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise TargetError(f"{folder}: no *.json in it; `toise replay REPORT:ID --save {folder}` puts a case there")
    return [read_case(path) for path in paths]


@dataclass(frozen=True)
class Asked:
    """What to try again, and where it was found, as far as that is known."""

    case: Case
    target: str = ""
    device: str = ""
    dtype: str = ""
    budget: str = "standard"
    seed: int = 0
    require_class: str | None = None


def asked_for(text: str, requirement: str, narrowed: dict[str, str], target: str) -> Asked:
    """Return the one case that a person names: REPORT, REPORT:ID, a file with a case, or a recipe as a report prints it.

    `narrowed` has the operation and the dtype, where several rows have the id, and `target` one of the report, or another.
    Raises TargetError if it is not one.
    """
    name, _, id = text.partition(".json:")
    path, id = Path(f"{name}.json" if id else text), (id or requirement).upper()
    if path.suffix == ".json":
        asked = _from_file(path, id, narrowed, target)
        _require_usable(path, asked.case)
        return asked
    try:
        recipe = recipe_from_text(text)
    except ValueError as error:
        raise TargetError(line(str(error))) from None
    if not id:
        raise TargetError(f"which requirement is {recipe} tried on? name it with --requirement")
    case = Case(id, recipe.operation, recipe.as_json())
    _require_usable(recipe, case)
    return Asked(case)


def _require_usable(where: object, case: Case) -> None:
    """Raise TargetError for a case that this specification and these recipes do not have, whoever wrote it."""
    require_usable(where, case.requirement, case.operation)
    try:
        require_buildable(case.input, case.operation)
    except ValueError as error:
        raise TargetError(f"{where}: {line(str(error))}") from None


def _from_file(path: Path, id: str, narrowed: dict[str, str], target: str) -> Asked:
    if read_format(path) == FORMAT:
        case = read_case(path)
        return Asked(case, case.found.get("target", ""), case.found.get("device", ""), case.found.get("dtype", ""))
    document = read_report(path)
    shown = [(row, report) for report in document.reports for row in report.results if row.counterexample]
    wanted = {name: value for name, value in {"requirement": id, **narrowed}.items() if value}
    chosen = [(row, report) for row, report in shown if all(getattr(row, name) == value for name, value in wanted.items())]
    if target in {report.target for report in document.reports}:
        chosen = [(row, report) for row, report in chosen if report.target == target]
    if not chosen:
        raise TargetError(f"{path}: no such failure; {_choices(path, shown)}")
    if len(chosen) > 1:
        raise TargetError(f"{path}: {len(chosen)} failures are meant; {_choices(path, chosen)}")
    ((row, report),) = chosen
    how = {name: report.settings[name] for name in ("budget", "seed", "require_class")}
    return Asked(case_of(row, report), report.target, row.device, row.dtype, **how)


def _choices(path: Path, shown: Sequence[tuple[Row, Report]]) -> str:
    several = len({report.target for _, report in shown}) > 1
    told = [
        f"{path}:{row.requirement}{f' {report.target}' if several else ''} --operation {row.operation} --dtype {row.dtype}"
        for row, report in shown
    ]
    rest = f" and {len(told) - 5} more" if len(told) > 5 else ""
    return f"name one: {', '.join(told[:5])}{rest}" if told else "none of its rows has a recipe"
