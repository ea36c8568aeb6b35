"""The catalogue and the kill matrix on a terminal."""

from __future__ import annotations

import statistics
import textwrap
from typing import TYPE_CHECKING, Any

from rich.text import Text

from toise import engine, pages
from toise.faults import CONCEPTS, catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from toise.faults import Fault
    from toise.faults.matrix import Judged, Matrix

# What stands in a cell of the matrix: declared or not, broken or not.
CELLS = {(True, True): ("●", "green"), (False, True): ("o", ""), (True, False): ("!", "bold red"), (False, False): ("·", "dim")}
LEGEND = "● broken, as the fault declares; o broken beside that; ! declared, and not broken; · holds"


def print_catalogue(faults: Iterable[Fault], console: Console) -> None:
    """Print a line for each fault, by concept."""
    chosen = list(faults)
    for concept in CONCEPTS:
        here = [fault for fault in chosen if fault.concept == concept]
        if not here:
            continue
        console.print(Text(f"{concept}: {len(here)}", style="bold"))
        for fault in here:
            console.print(Text(f"  {fault.slug.partition('.')[2]:<36} {fault.sentence}"), soft_wrap=True)
    console.print(Text(f"{len(chosen)} faults; `toise faults SLUG` says more of one, `toise faults --run` judges them"))


def print_fault(fault: Fault, console: Console) -> None:
    """Print everything about a fault: what is wrong, where it is from, what it breaks, and calls that show it."""
    pairs = [
        ("origin", fault.source),
        ("breaks", ", ".join(fault.fails)),
        ("hint", fault.hint),
        *([("late", "written after the suite's inputs had been chosen by means of others")] if fault.late else []),
        *((f"call {at}" if len(fault.on) > 1 else "call", _written(case)) for at, case in enumerate(fault.on, 1)),
    ]
    console.print(Text(f"{fault.slug} · {fault.operation}\n\n  {fault.sentence}", style=""), soft_wrap=True)
    for name, part in pairs:
        console.print(Text(textwrap.fill(part, 110, initial_indent=f"  {name:<8}", subsequent_indent=" " * 10)), soft_wrap=True)
    # An address is never broken into lines: it has to stay one that can be followed.
    console.print(Text(f"  page    {pages.fault_address(fault)}\n"), soft_wrap=True)


def _written(case: Any) -> str:
    """Write a call as one line; a large array is its shape."""
    parts = [
        f"{name} = {part.tolist() if part.size <= 24 else f'numbers of shape {part.shape}'}" for name, part in case.arrays.items()
    ]
    parts += [f"{name} = {part.tolist() if hasattr(part, 'tolist') else part}" for name, part in case.options.items()]
    return "; ".join(parts)


def print_matrix(matrix: Matrix, console: Console, *, whole: bool) -> None:
    """Print fault x requirement for each operation, and then what the matrix says of the suite."""
    for operation, judged in _by_operation(matrix).items():
        _print_grid(operation, judged, console)
    console.print(Text(LEGEND))
    console.print()
    _print_power(matrix, console, whole=whole)


def _by_operation(matrix: Matrix) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for slug, judged in matrix.faults.items():
        found.setdefault(catalogue()[slug].operation, []).append(judged)
    return found


def _print_grid(operation: str, judged: list[Judged], console: Console) -> None:
    """Print one grid, with the ids of the requirements down its head."""
    ids = [prop.id for prop in engine.properties() if prop.id in judged[0].examples]
    width = max(len(operation), *(len(each.slug) for each in judged))
    prefixes = [id.partition("-")[0] for id in ids]
    starts = [at for at, prefix in enumerate(prefixes) if at == 0 or prefix != prefixes[at - 1]]
    heads = "".join(f"{prefixes[at]:<{2 * (end - at)}}" for at, end in zip(starts, [*starts[1:], len(ids)], strict=True))
    numbers = [f"{int(id.partition('-')[2]):>2}" for id in ids]
    console.print(Text(f"{operation:<{width}}  {heads.rstrip()}", style="bold"), soft_wrap=True)
    for digit in (0, 1):
        line = " ".join(number[digit] for number in numbers)
        console.print(Text(f"{'':<{width}}  {line}".rstrip(), style="bold"), soft_wrap=True)
    for each in judged:
        fails = catalogue()[each.slug].fails
        cells = [CELLS[id in fails, id in each.broken] for id in ids]
        parts: list[Any] = [f"{each.slug:<{width}}  "]
        for mark, style in cells:
            parts += [(mark, style), " "]
        console.print(Text.assemble(*parts), soft_wrap=True)
    console.print()


def _print_power(matrix: Matrix, console: Console, *, whole: bool) -> None:
    """Print the kill rates, the survivors, how many inputs a kill takes, and how long a verdict."""
    for words, late in (("faults that the inputs were chosen by", False), ("late faults, written after that,", True)):
        killed, total = matrix.rate(late=late)
        if total:
            console.print(Text(f"{killed} of {total} {words} are killed ({killed / total:.1%})"))
    for slug in matrix.survivors():
        console.print(Text(f"survives: {slug}, which should break {', '.join(catalogue()[slug].fails)}", style="red"))
    for complaint in matrix.complaints(whole=whole):
        console.print(Text(complaint, style="bold red"), soft_wrap=True)
    taken = matrix.examples_to_kill()
    slowest = sorted(((max(found), id) for id, found in taken.items()), reverse=True)[:5]
    every = [count for found in taken.values() for count in found]
    if every:
        worst = ", ".join(f"{id} {count}" for count, id in slowest)
        console.print(Text(f"inputs to a kill: median {statistics.median(every):g}, worst {worst}"), soft_wrap=True)
    seconds = [judged.seconds for judged in matrix.faults.values()]
    to_kill = [judged.to_kill for judged in matrix.faults.values() if judged.broken]
    for words, found in (("all requirements of an operation", seconds), ("the first failure", to_kill)):
        if found:
            console.print(Text(f"seconds to {words}: median {statistics.median(found):.2f}, worst {max(found):.2f}"))
