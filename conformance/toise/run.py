"""A run: which requirements are judged for a target, and the report of it."""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toise import baseline, engine
from toise.arrays import DTYPES
from toise.backend import Backend
from toise.baseline import Baseline, Entry
from toise.bounds import LOOSER, TRAITS
from toise.cases import Case
from toise.errors import TargetError, ToiseError, line, text_of
from toise.files import digest_of
from toise.operations import OPERATIONS
from toise.quiet import quiet
from toise.report import BROKEN, EXCLUDED, Report, Row, environment
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from toise.engine import Property
    from toise.inputs import Recipe
    from toise.targets import Target


@dataclass(frozen=True)
class Unit:
    """One row to come: a requirement, an operation, a dtype."""

    requirement: str
    operation: str
    dtype: str

    @classmethod
    def of(cls, row: Row) -> Unit:
        """Return which row to come it was."""
        return cls(row.requirement, row.operation, row.dtype)


def verify(
    target: object,
    *,
    operations: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    device: str | None = None,
    budget: str = "standard",
    seed: int = 0,
    declare: Mapping[str, Any] | None = None,
    strict: bool = False,
    require_class: str | None = None,
) -> Report:
    """Judge a target against the specification, and return the report.

    target         a module, an object, a mapping of callables, a path, or a string: file.py, module, module:object,
                   or a name that `toise backends` lists, such as torch
    operations     the operations to judge; None means all
    dtypes         "float64", "float32", "float16", "bfloat16"; None means those that the target declares, float32 if none
    device         for example "cuda"; None means the one that the target declares
    budget         "smoke" (a fixed list of inputs), "standard" or "thorough" (how many more are explored)
    seed           of the exploration; the same seed gives the same report
    declare        what the target declares, as `__toise__` would
    strict         a WARN keeps the report from passing
    require_class  "STRICT", "FUSED", "TF32", "EAGER" or "STEPWISE": no class that is looser counts, whatever is declared

    Raises TargetError where the target or an argument cannot be used, and ToiseError where the suite contradicts itself.
    """
    loaded = load(target, device=device, declare=declare, require_class=require_class)
    units, excluded = plan(loaded, operations=operations, dtypes=dtypes)
    _known("budget", budget, engine.BUDGETS)
    chosen = {"operations": list(operations or ()), "dtypes": list(dtypes_of(loaded, dtypes))}
    settings = settings_of(budget=budget, seed=seed, strict=strict, require_class=require_class, **chosen)
    started = now()
    backends: dict[str, Backend] = {}

    def judge_all() -> list[Row]:
        with quiet():
            rows = [judge_unit(unit, loaded, backends, Rules(budget, seed)) for unit in units]
            return diagnosed(rows, loaded, backends)

    rows = engine.outside_other_tests(judge_all)
    return assemble(loaded, rows, excluded, settings, started=started)


def plan(
    target: Target,
    *,
    operations: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    select: Callable[[Property], bool] = lambda prop: True,
) -> tuple[list[Unit], list[Unit]]:
    """Return the rows to judge, and those that the selection leaves out.

    Raises TargetError for an unknown operation or dtype, and if nothing is left to judge.
    """
    for name, given in (("operations", operations), ("dtypes", dtypes)):
        if isinstance(given, str):
            raise TargetError(f"{name} is {given!r}; required: a list, such as [{given!r}]")
    for operation in operations or ():
        _known("operation", operation, OPERATIONS)
    kept, excluded = units_of(dtypes_of(target, dtypes), operations, select)
    if not kept:
        raise TargetError(f"the selection leaves none of the {len(engine.properties())} requirements; `toise list` shows them")
    return kept, excluded


def units_of(
    dtypes: Sequence[str], operations: Sequence[str] | None, select: Callable[[Property], bool]
) -> tuple[list[Unit], list[Unit]]:
    """Return the rows to judge at these dtypes, in their order, and those that the selection leaves out."""
    kept: list[Unit] = []
    excluded: list[Unit] = []
    for prop in engine.properties():
        for operation in prop.operations:
            wanted = select(prop) and (not operations or operation in operations)
            # What takes no floating-point numbers is judged once, whatever dtypes are chosen.
            fixed = OPERATIONS[operation].dtype
            (kept if wanted else excluded).extend(Unit(prop.id, operation, dtype) for dtype in ((fixed,) if fixed else dtypes))
    return kept, excluded


def dtypes_of(target: Target, dtypes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the dtypes to judge at: those that were chosen, or declared, or float32.  Raises TargetError for an unknown one."""
    chosen = tuple(dict.fromkeys(dtypes or target.declarations.dtypes or ("float32",)))
    for dtype in chosen:
        _known("dtype", dtype, DTYPES)
    return chosen


def settings_of(**told: Any) -> dict[str, Any]:
    """Return the settings of a report, with what was not told."""
    return {
        "budget": "standard",
        "seed": 0,
        "strict": False,
        "require_class": None,
        "allow_xpass": False,
        "operations": [],
        "dtypes": [],
        "select": "",
        "shard": "",
        "baseline": "",
        "corpus": "",
        **told,
    }


def now() -> str:
    """Return the time, as reports have it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def judge_unit(unit: Unit, target: Target, backends: dict[str, Backend], rules: Rules) -> Row:
    """Judge one row; `backends` keeps what the rows of a dtype share."""
    start = time.perf_counter()
    prop = engine.property_of(unit.requirement)
    backend = backends.setdefault(unit.dtype, Backend(target, unit.dtype))
    first = rules.first(unit)
    effort: dict[str, Any] = {"budget": rules.budget, "seed": rules.seed, "first": first}
    known = rules.baseline.of(prop.id, unit.operation, unit.dtype, backend.arrays.device)
    try:
        if known:
            row = baseline.judge(prop, backend, unit.operation, known, rules.baseline, **effort)
        else:
            row = engine.judge(prop, backend, unit.operation, **effort)
    except ToiseError as error:
        # A case that the requirement never tries is a mistake of the corpus, and not of the suite.
        if blamed := [recipe for recipe in first if str(recipe) in str(error)]:
            raise TargetError(f"the corpus has {blamed[0]}, on which it cannot be tried: {line(str(error))}") from None
        raise
    return dataclasses.replace(row, seconds=round(time.perf_counter() - start, 3))


def failing(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return each operation and dtype with a FAIL: what is compared with the catalogue of faults, once all rows are judged."""
    return list(dict.fromkeys((row.operation, row.dtype) for row in rows if row.outcome == "FAIL"))


def likeness_of(operation: str, dtype: str, target: Target, backends: dict[str, Backend]) -> str:
    """Return the slug of the one fault that an operation behaves like; empty if there is none, or more than one."""
    from toise.diagnosis import likeness  # the catalogue is read where something fails

    return likeness(backends.setdefault(dtype, Backend(target, dtype)), operation)


def diagnosed(rows: Sequence[Row], target: Target, backends: dict[str, Backend]) -> list[Row]:
    """Return the rows with the fault that the backend behaves like, found in this process."""
    return with_likenesses(rows, {each: likeness_of(*each, target, backends) for each in failing(rows)})


def with_likenesses(rows: Iterable[Row], likenesses: Mapping[tuple[str, str], str]) -> list[Row]:
    """Return the rows, with the fault that the backend behaves like beside each failure."""
    found = []
    for row in rows:
        if row.outcome == "FAIL" and row.counterexample:
            shown = dataclasses.replace(row.counterexample, like=likenesses[row.operation, row.dtype])
            row = dataclasses.replace(row, counterexample=shown)
        found.append(row)
    return found


@dataclass(frozen=True)
class Rules:
    """What all rows of a run are judged by: how much is tried, what is known, and what is tried first."""

    budget: str = "standard"
    seed: int = 0
    baseline: Baseline = field(default_factory=Baseline)
    corpus: tuple[Case, ...] = ()

    def first(self, unit: Unit) -> list[Recipe]:
        """Return the recipes of the corpus for a row."""
        return [case.input for case in self.corpus if (case.requirement, case.operation) == (unit.requirement, unit.operation)]

    @property
    def digests(self) -> dict[str, str]:
        """What tells a baseline and a corpus from others in a report; empty where there is none."""
        corpus = digest_of([asdict(case) for case in self.corpus]) if self.corpus else ""
        return {"baseline": self.baseline.digest, "corpus": corpus}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Rules:
        """Read back what `asdict` made of them."""
        known = Baseline(tuple(Entry(**entry) for entry in told["baseline"]["entries"]), told["baseline"]["today"])
        return cls(told["budget"], told["seed"], known, tuple(Case(**case) for case in told["corpus"]))


def assemble(
    target: Target,
    rows: Iterable[Row],
    excluded: Iterable[Unit],
    settings: dict[str, Any],
    *,
    complete: bool = True,
    started: str | None = None,
) -> Report:
    """Put the rows together with all that they rest on; a run that was cut short is not complete."""
    declarations = declared(target)
    found = list(rows) if settings["shard"] else together(rows, declarations, settings["require_class"])
    return Report(
        target=target.name,
        declarations=declarations,
        environment=environment(target),
        settings=settings,
        results=(*found, *(unjudged(unit, target, "NOT RUN", EXCLUDED) for unit in excluded)),
        complete=complete,
        started=started,
    )


def together(rows: Iterable[Row], declarations: Mapping[str, Any], required: str | None) -> list[Row]:
    """Say what only all rows show: which trait or looser class would hold all errors of an operation and dtype."""
    rows = list(rows)
    by_place: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.outcome in BROKEN:
            by_place.setdefault((row.operation, row.dtype), []).append(row)
    hints = {}
    for (operation, dtype), broken in by_place.items():
        candidates = [row.counterexample.within if row.counterexample else {} for row in broken]
        common = [
            name
            for name in candidates[0]
            if name in {**TRAITS, **LOOSER}
            and all(name in others for others in candidates)
            and any(others[name] for others in candidates)
        ]
        if common:
            declared = declarations["operations"][operation]
            hints[operation, dtype] = _hint(declared, required, broken[0], common[0])
    return [
        dataclasses.replace(row, counterexample=dataclasses.replace(row.counterexample, hint=hints[row.operation, row.dtype]))
        if row.outcome == "FAIL" and row.counterexample and not row.counterexample.hint and (row.operation, row.dtype) in hints
        else row
        for row in rows
    ]


def _hint(declared: Mapping[str, Any], required: str | None, row: Row, name: str) -> str:
    """Say what would have to be true of the code for its errors to be rounding."""
    words = {**TRAITS, **LOOSER}[name]
    all_of = f"the errors of {row.operation} in {row.dtype} are all within the radius of {name}"
    given = declared["precision"].get(row.dtype)
    if given and given != row.precision:
        return f"{all_of} ({words}); {given} is declared, and {required} required"
    key, value = ("traits", [*declared["traits"], name]) if name in TRAITS else ("precision", {row.dtype: name})
    said = engine.declaration(row.operation, key, value)
    return f"{all_of}: if {words}, declare {said}; if not, look for a mistake of that size"


def declared(target: Target) -> dict[str, Any]:
    """Return the declarations that the verdicts rest on, defaults included."""
    given, lines = target.declarations, _lines(target)
    return {
        "name": given.name,
        "version": given.version,
        "arrays": target.arrays.name,
        "device": target.arrays.device,
        "dtypes": list(given.dtypes),
        "notes": list(target.notes),
        "operations": {
            name: {
                **given.operations[name].choices,
                "precision": dict(given.operations[name].precision),
                "traits": list(given.operations[name].traits),
                "domain": str(given.operations[name].domain),
                "line": lines.get(name, 0),
            }
            for name in target.operations
        },
    }


def _lines(target: Target) -> dict[str, int]:
    """Return the line of each name in the file that is the target; nothing where it is no file of Python.

    The file is read and not run: what is judged in another process has its lines too.
    """
    path = Path(target.name)
    if not (target.named and path.suffix == ".py" and path.is_file()):
        return {}
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # it was loaded: it has been changed since
        return {}
    found: dict[str, int] = {}
    for node in tree.body:
        names = [node] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else getattr(node, "targets", ())
        found |= {getattr(each, "name", getattr(each, "id", "")): node.lineno for each in names}
    return found


def unjudged(unit: Unit, target: Target, outcome: str, reason: str) -> Row:
    """Return the row of a unit that no property test decided: left out, or lost with its process."""
    prop = engine.property_of(unit.requirement)
    return Row(
        requirement=unit.requirement,
        level=prop.requirement.level,
        sentence=prop.requirement.sentence,
        test=prop.title,
        operation=unit.operation,
        dtype=unit.dtype,
        device=target.arrays.device,
        precision=target.declarations.operations[unit.operation].class_of(unit.dtype),
        outcome=outcome,
        reason=reason,
    )


def _known(what: str, name: str, known: Iterable[str]) -> str:
    if not isinstance(name, str) or name not in known:
        raise TargetError(f"unknown {what} {text_of(name)}; known: {', '.join(known)}")
    return name
