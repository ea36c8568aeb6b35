"""A run: which requirements are judged for a target, and the report of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toise import engine
from toise.arrays import DTYPES
from toise.backend import Backend
from toise.bounds import LOOSER, TRAITS
from toise.errors import TargetError, text_of
from toise.operations import OPERATIONS
from toise.quiet import quiet
from toise.report import BROKEN, EXCLUDED, Report, Row, environment
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from toise.engine import Property
    from toise.targets import Target


@dataclass(frozen=True)
class Unit:
    """One row to come: a requirement, an operation, a dtype."""

    requirement: str
    operation: str
    dtype: str


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
    settings = {"budget": budget, "seed": seed, "strict": strict, "require_class": require_class}
    backends: dict[str, Backend] = {}

    def judge_all() -> list[Row]:
        with quiet():
            rows = [judge_unit(unit, loaded, backends, budget=budget, seed=seed) for unit in units]
            return with_likenesses(rows, {each: likeness_of(*each, loaded, backends) for each in failing(rows)})

    rows = engine.outside_other_tests(judge_all)
    return assemble(loaded, rows, excluded, settings)


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
    chosen = tuple(dtypes) if dtypes else target.declarations.dtypes or ("float32",)
    for dtype in chosen:
        _known("dtype", dtype, DTYPES)
    kept: list[Unit] = []
    excluded: list[Unit] = []
    for prop in engine.properties():
        for operation in prop.operations:
            wanted = select(prop) and (not operations or operation in operations)
            # What takes no floating-point numbers is judged once, whatever dtypes are chosen.
            fixed = OPERATIONS[operation].dtype
            (kept if wanted else excluded).extend(
                Unit(prop.id, operation, dtype) for dtype in ((fixed,) if fixed else dict.fromkeys(chosen))
            )
    if not kept:
        raise TargetError(f"the selection leaves none of the {len(engine.properties())} requirements; `toise list` shows them")
    return kept, excluded


def judge_unit(unit: Unit, target: Target, backends: dict[str, Backend], *, budget: str, seed: int) -> Row:
    """Judge one row; `backends` keeps what the rows of a dtype share."""
    prop = engine.property_of(unit.requirement)
    backend = backends.setdefault(unit.dtype, Backend(target, unit.dtype))
    return engine.judge(prop, backend, unit.operation, budget=budget, seed=seed)


def failing(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return each operation and dtype with a FAIL: what is compared with the catalogue of faults, once all rows are judged."""
    return list(dict.fromkeys((row.operation, row.dtype) for row in rows if row.outcome == "FAIL"))


def likeness_of(operation: str, dtype: str, target: Target, backends: dict[str, Backend]) -> str:
    """Return the slug of the one fault that an operation behaves like; empty if there is none, or more than one."""
    from toise.diagnosis import likeness  # the catalogue is read where something fails

    return likeness(backends.setdefault(dtype, Backend(target, dtype)), operation)


def with_likenesses(rows: Iterable[Row], likenesses: Mapping[tuple[str, str], str]) -> list[Row]:
    """Return the rows, with the fault that the backend behaves like beside each failure."""
    found = []
    for row in rows:
        if row.outcome == "FAIL" and row.counterexample:
            shown = dataclasses.replace(row.counterexample, like=likenesses[row.operation, row.dtype])
            row = dataclasses.replace(row, counterexample=shown)
        found.append(row)
    return found


def assemble(
    target: Target, rows: Iterable[Row], excluded: Iterable[Unit], settings: dict[str, Any], *, complete: bool = True
) -> Report:
    """Put the rows together with all that they rest on; a run that was cut short is not complete."""
    return Report(
        target=target.name,
        declarations=declared(target),
        environment=environment(target),
        settings=settings,
        results=(*_with_hints(target, list(rows)), *(unjudged(unit, target, "NOT RUN", EXCLUDED) for unit in excluded)),
        complete=complete,
    )


def _with_hints(target: Target, rows: list[Row]) -> list[Row]:
    """Say which trait or looser class would hold all errors of an operation and dtype, where there is one."""
    together: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.outcome in BROKEN:
            together.setdefault((row.operation, row.dtype), []).append(row)
    hints = {}
    for (operation, dtype), broken in together.items():
        candidates = [row.counterexample.within if row.counterexample else {} for row in broken]
        common = [
            name
            for name in candidates[0]
            if all(name in others for others in candidates) and any(others[name] for others in candidates)
        ]
        if common:
            hints[operation, dtype] = _hint(target, operation, dtype, common[0])
    return [
        dataclasses.replace(row, counterexample=dataclasses.replace(row.counterexample, hint=hints[row.operation, row.dtype]))
        if row.outcome == "FAIL" and row.counterexample and not row.counterexample.hint and (row.operation, row.dtype) in hints
        else row
        for row in rows
    ]


def _hint(target: Target, operation: str, dtype: str, name: str) -> str:
    """Say what would have to be true of the code for its errors to be rounding."""
    declared = target.declarations.operations[operation]
    words = {**TRAITS, **LOOSER}[name]
    all_of = f"the errors of {operation} in {dtype} are all within the radius of {name}"
    given = declared.precision.get(dtype)
    if given and given != declared.class_of(dtype):
        return f"{all_of} ({words}); {given} is declared, and {declared.required} required"
    key, value = ("traits", [*declared.traits, name]) if name in TRAITS else ("precision", {dtype: name})
    return f"{all_of}: if {words}, declare {engine.declaration(operation, key, value)}; if not, look for a mistake of that size"


def declared(target: Target) -> dict[str, Any]:
    """Return the declarations that the verdicts rest on, defaults included."""
    given = target.declarations
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
            }
            for name in target.operations
        },
    }


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
