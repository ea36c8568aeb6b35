"""The subcommands that tell what there is: the specification, backends, faults, a skeleton, and what a program says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toise.cli.parameters import Amount, Seed, WithProgram
from toise.cli.screen import interruptible, new_console, progress
from toise.files import require_writable, write

if TYPE_CHECKING:
    from rich.console import Console

    from toise.faults import Fault
    from toise.faults.matrix import Matrix


@click.command("list")
@click.option("-k", "select", metavar="EXPR", default="", help="Only matching requirements.")
def list_requirements(select: str) -> None:
    """List the requirements of the specification."""
    from rich.table import Table

    from toise.engine import properties
    from toise.selection import selection

    wanted = selection(select)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "level", "operations"):
        table.add_column(title, no_wrap=True)
    table.add_column("requirement", overflow="fold")
    for prop in properties():
        if wanted(prop):
            names = prop.operations if len(prop.operations) == 1 else (f"{len(prop.operations)} operations",)
            table.add_row(prop.id, prop.requirement.level, *names, prop.requirement.sentence)
    new_console().print(table)


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def explain(ids: tuple[str, ...]) -> None:
    """Print a requirement: what it asks, why, what is right and wrong, and how it is tested."""
    import re
    import textwrap

    import toise_spec

    from toise import pages
    from toise.engine import properties

    tests = {prop.id: prop for prop in properties()}
    for id in ids:
        item = toise_spec.requirement(id.upper())
        click.echo(f"{item.id} · {item.level} · {item.slug} · since {item.since}\n")
        click.echo(textwrap.fill(item.sentence, 100, initial_indent="  ", subsequent_indent="  ") + "\n")
        for name in ("why", "right", "wrong", "exceptions", "source"):
            plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", getattr(item, name))
            text = textwrap.fill(plain, 100, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13)
            click.echo(text)
        click.echo(f"  {'tested by':<11}{tests[item.id].name}")
        click.echo(f"  {'page':<11}{pages.address(item.id)}\n")


@click.command()
def backends() -> None:
    """List the backends that have a name, and whether each can be had here."""
    from rich.table import Table

    from toise.backends import ADAPTERS, brought_along

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "what it calls", "here"):
        table.add_column(title, no_wrap=title == "name", overflow="fold")
    for name, adapter in ADAPTERS.items():
        table.add_row(name, adapter.tells, adapter.missing() or f"available{adapter.versions()}")
    for name, entries in brought_along().items():
        packages = " and ".join(f"{entry.dist.name} {entry.dist.version}" for entry in entries if entry.dist)
        table.add_row(name, f"brought along by {packages}", "installed" if len(entries) == 1 else "one of them too many")
    new_console().print(table)


@click.command(cls=WithProgram)
@click.option("--device", metavar="D", help="What the program is asked to compute on.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Amount(min=0, min_open=True, max=1e6),
    default=30.0,
    show_default=True,
    help="For an answer.",
)
@click.pass_context
def handshake(context: click.Context, /, program: tuple[str, ...], device: str | None, timeout: float) -> None:
    """Tell whether PROGRAM speaks the protocol: every answer is held to its schema; no number is judged.

    Exit status: 0 it does, 1 it does not, 2 the command cannot be used.
    """
    import shutil

    from rich.text import Text

    from toise.errors import TargetError
    from toise.isolation import require_posix

    if not program:
        raise click.UsageError("name a program after --")
    require_posix()
    if shutil.which(program[0]) is None:
        raise TargetError(f"{program[0]}: no such program")
    from toise.isolation.child import Limits
    from toise.isolation.handshake import Handshake

    console, wrong = new_console(), False
    for step in Handshake(program, Limits(seconds=timeout, start=timeout), device).steps():
        wrong |= bool(step.wrong)
        console.print(
            Text.assemble(
                ("WRONG " if step.wrong else "ok    ", "bold red" if step.wrong else "green"),
                f"{step.name}: {step.wrong or step.told}",
            ),
            soft_wrap=True,
        )
    context.exit(1 if wrong else 0)


@click.command()
@click.argument("slugs", metavar="[SLUG]...", nargs=-1)
@click.option("--run", "judge", is_flag=True, help="Judge them, and print which requirement breaks on which fault.")
@click.option(
    "--seed", type=Seed(), default=0, show_default=True, help="Of the exploration; the same seed gives the same matrix."
)
@click.option(
    "-n", "workers", metavar="WORKERS", type=click.IntRange(min=0), default=0, help="Judge in this many processes at once."
)
@click.option(
    "--json", "json_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write the matrix of a run."
)
@click.pass_context
def faults(
    context: click.Context, /, slugs: tuple[str, ...], judge: bool, seed: int, workers: int, json_file: Path | None
) -> None:
    """List the wrong implementations that the suite is measured by, or judge them: all, or those of SLUG.

    SLUG is a fault (layer_norm.eps_outside_root) or a concept (layer_norm).

    Exit status with --run: 0 if every fault breaks a requirement that it declares, and, where all are judged, every
    requirement is broken by a fault; 1 if not.
    """
    chosen = _faults(slugs)
    console = new_console()
    if not judge:
        if json_file or seed or workers:
            raise click.UsageError("--json, --seed and -n are of a run; add --run")
        _tell(chosen, slugs, console)
        return
    from toise.faults.shown import print_matrix

    if json_file:
        require_writable(json_file)
    matrix = _matrix(chosen, seed, workers)
    complete = len(matrix.faults) == len(chosen)
    if matrix.faults:
        print_matrix(matrix, console, whole=complete and not slugs)
    if json_file:
        write(json_file, matrix.as_json())
    if not complete:
        raise click.Abort
    context.exit(1 if matrix.complaints(whole=not slugs) else 0)


def _tell(chosen: list[Fault], slugs: tuple[str, ...], console: Console) -> None:
    """Print all about the faults that are named, and a line for each other one that was chosen."""
    from toise.faults.shown import print_catalogue, print_fault

    for fault in chosen:
        if fault.slug in slugs:
            print_fault(fault, console)
    if listed := [fault for fault in chosen if fault.slug not in slugs]:
        print_catalogue(listed, console)


def _matrix(chosen: list[Fault], seed: int, workers: int) -> Matrix:
    """Judge the faults with a progress bar; after Ctrl-C, return what was judged until then."""
    from toise.faults.matrix import Matrix, judge_all

    matrix = Matrix(seed)
    judging: Any = judge_all([fault.slug for fault in chosen], seed=seed, workers=workers)
    with progress("faults", len(chosen)) as step, interruptible() as interrupted:
        for judged in judging:
            matrix.faults[judged.slug] = judged
            step(judged.slug)
            if interrupted():
                break
    judging.close()
    return matrix


def _faults(slugs: tuple[str, ...]) -> list[Fault]:
    """Return the faults of these names, or all."""
    import difflib

    from toise.errors import TargetError
    from toise.faults import CONCEPTS, catalogue

    for slug in slugs:
        if slug not in CONCEPTS and slug not in catalogue():
            named = {each.partition(".")[2]: each for each in catalogue()} | {each: each for each in (*catalogue(), *CONCEPTS)}
            near = difflib.get_close_matches(slug, named, 1)
            raise TargetError(
                f"no fault or concept {slug!r}; " + (f"did you mean {named[near[0]]}?" if near else "`toise faults` lists them")
            )
    return [fault for fault in catalogue().values() if not slugs or fault.slug in slugs or fault.concept in slugs]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def init(file: Path) -> None:
    """Write FILE, a commented backend to fill in."""
    from importlib import resources

    from toise.errors import TargetError

    if file.suffix != ".py":
        raise TargetError(f"{file} should end in .py: that is how `toise check` knows a file")
    if file.exists():
        raise TargetError(f"{file} exists already; name a new file")
    skeleton = (resources.files("toise") / "skeleton.py.txt").read_text(encoding="utf-8")
    try:
        file.write_text(skeleton.replace("FILE", str(file)), encoding="utf-8")
    except OSError as error:
        raise TargetError(f"cannot write {file}: {error.strerror}") from None
    click.echo(f"wrote {file}; fill it in, then run: toise check {file}")
