"""The subcommands on reports: other forms, comparison, shards, baselines, and one case again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toise.cli.judging import OUT, isolated, isolations
from toise.cli.parameters import Amount, Day, WithProgram
from toise.cli.screen import new_console
from toise.formats import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.cases import Asked
    from toise.engine import Trial
    from toise.report import Document
    from toise.targets import Target

FILE = click.Path(path_type=Path, dir_okay=False)
BASELINE = Path("toise-baseline.json")


def _forms(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a subcommand a flag for each form of a report."""
    for form, what in reversed(FORMS.items()):
        command = click.option(f"--{form}", "form", flag_value=form, help=f"{what[0].upper()}{what[1:]}.")(command)
    return command


@click.command()
@click.argument("file", type=FILE)
@_forms
@click.option("-o", "--output", metavar="FILE", type=OUT, default=Path("-"), help="Where to; standard output if not given.")
def report(file: Path, form: str | None, output: Path) -> None:
    """Show a report that `toise check --json` wrote, on the terminal or in another form.

    Exit status: 0, whatever the verdict, or 2 if FILE is no report.
    """
    from toise.files import write
    from toise.formats import render
    from toise.reading import read_report

    document = read_report(file)
    if form:
        write(output, render(form, document))
    elif output != Path("-"):
        raise click.UsageError(f"in which form? choose one of --{', --'.join(FORMS)}")
    else:
        _print(document)


def _print(document: Document) -> None:
    from toise.terminal import print_briefly, print_overview, print_report

    console = new_console()
    several = len(document.reports) + len(document.unavailable) > 1
    for each in document.reports:
        (print_briefly if several else print_report)(each, console)
    if several:
        print_overview(document.reports, document.unavailable, console)


@click.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option(
    "--factor",
    type=Amount(min=1, max=1e9),
    default=2.0,
    show_default=True,
    help="By how much the largest error, in radii, may grow.",
)
@click.pass_context
def compare(context: click.Context, /, old: Path, new: Path, factor: float) -> None:
    """Compare two reports: what broke, what was fixed, whose error grew, and what cannot be compared.

    Exit status: 0 nothing broke, grew or was lost, 1 something did, or nothing could be compared, 2 a file is no report.
    """
    from rich.text import Text

    from toise.compare import compare as compared
    from toise.reading import read_report

    comparison = compared(read_report(old), read_report(new), factor)
    console = new_console()
    for line in comparison.lines():
        console.print(Text(line), soft_wrap=True)
    context.exit(comparison.exit_code)


@click.command()
@click.argument("files", metavar="FILE...", type=FILE, nargs=-1, required=True)
@click.option("--json", "json_file", metavar="FILE", type=OUT, help="Write the report of all; - is standard output.")
@click.pass_context
def merge(context: click.Context, /, files: tuple[Path, ...], json_file: Path | None) -> None:
    """Put the reports of all shards of one run together, and give the verdict.

    Exit status: as that of `toise check`; 2 if the files are not all the shards of one run.
    """
    from toise.errors import TargetError
    from toise.files import DASH, write
    from toise.reading import read_report
    from toise.shards import merged
    from toise.terminal import print_report

    if twice := {str(file) for file in files if files.count(file) > 1}:
        raise TargetError(f"{min(twice)} is named twice")
    document = merged({str(file): read_report(file) for file in files})
    print_report(document.reports[0], new_console(stderr=json_file == DASH))
    if json_file:
        write(json_file, document.as_text())
    context.exit(document.exit_code)


@click.group()
def baseline() -> None:
    """Keep the failures that are known."""


@baseline.command()
@click.argument("report", type=FILE)
@click.option("--baseline", "file", metavar="FILE", type=FILE, default=BASELINE, show_default=True, help="The file to keep.")
@click.option("--owner", default="", help="Who looks after what is new.")
@click.option("--reason", default="", help="Why it is put up with.")
@click.option("--link", default="", help="Where it is discussed.")
@click.option("--expires", metavar="DATE", type=Day(), default="", help="The last day on which it is put up with: 2026-12-31.")
def update(report: Path, file: Path, **told: str) -> None:
    """Write what fails in REPORT into a baseline, and take out what holds now.

    What people wrote in an entry stays; REPORT has to be one that was made with that baseline. A condition, such as "n > m",
    is written by hand: outside of it the requirement is searched.
    """
    from toise.baseline import Baseline, read_baseline, updated
    from toise.errors import TargetError
    from toise.files import write
    from toise.reading import read_report

    document = read_report(report)
    if len(document.reports) != 1:
        raise TargetError(f"{report}: a baseline is of one target, and there are {len(document.reports)}")
    change = updated(read_baseline([file]) if file.exists() else Baseline(), document.reports[0], told)
    write(file, change.baseline.as_text())
    for what, entries in (("added", change.added), ("taken out", change.removed)):
        for entry in entries:
            click.echo(f"{what}: {entry.requirement} {entry.operation} {entry.dtype} on {entry.device}")
    for line in change.left:
        click.echo(line)
    click.echo(f"{file}: {len(change.baseline.entries)} known failures")


@click.command(cls=WithProgram)
@click.argument("case", metavar="CASE")
@click.argument("target", required=False)
@click.option("--requirement", metavar="ID", default="", help="Where CASE is a recipe, or has several: which requirement.")
@click.option("--operation", default="", help="Where several rows have that id: of which operation.")
@click.option("--dtype", default="", help="At which dtype; else at that of the report, or float32.")
@click.option("--device", metavar="D", help="Where the arrays live; else where the report says.")
@isolated
@click.option("--script", is_flag=True, help="Print a script that shows it and needs NumPy and the target's file alone.")
@click.option("--save", "folder", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False), help="Put it in a corpus.")
@click.pass_context
def replay(
    context: click.Context, /, case: str, target: str | None, requirement: str, script: bool, folder: Path | None, **options: Any
) -> None:
    """Try one case again, and nothing else.

    CASE is REPORT.json:ID, REPORT.json where it has one failure, a file of a corpus, or a recipe as a report prints it.
    TARGET is judged, or that of the report, if it is a file of Python or a name that `toise backends` lists.

    Exit status: 0 the requirement holds there, 1 it does not, 2 it cannot be tried.
    """
    from toise.cases import asked_for
    from toise.run import Rules
    from toise.workers import Job

    asked = asked_for(case, requirement, {"operation": options.pop("operation"), "dtype": options["dtype"]}, target or "")
    targets = () if options["program"] else (target or _named(asked.target),)
    ((name, isolation),) = isolations(targets, options)
    device = options["device"] or (asked.device if asked.device not in ("", "cpu") else None)
    loaded = Job(name, device, asked.require_class, Rules(), 0, isolation).load()
    try:
        trial = _tried(asked, loaded, options["dtype"] or asked.dtype)
        if folder:
            click.echo(f"wrote {asked.case.save(folder)}", err=True)
        context.exit(_tell(trial, loaded, asked, script=script))
    finally:
        loaded.close()


def _named(target: str) -> str:
    """Return the target of a report, where that is a file of Python, or a name that Toise knows.

    A report is data: what it names must not decide what is imported.
    """
    from toise.backends import is_known
    from toise.errors import TargetError

    if not target:
        raise click.UsageError("name a TARGET, or a program after --: the case does not say on which it is tried")
    if is_known(target) or Path(target).suffix == ".py":
        return target
    raise TargetError(f"the report names {target}, which is no file of Python: name the TARGET, or the program after --")


def _tried(asked: Asked, target: Target, dtype: str) -> Trial:
    """Try the case on the target.  Raises TargetError where the requirement cannot be tried on such a recipe."""
    from toise import engine
    from toise.backend import Backend
    from toise.errors import TargetError
    from toise.operations import OPERATIONS
    from toise.quiet import quiet
    from toise.run import dtypes_of

    case = asked.case
    (dtype, *_) = dtypes_of(target, [dtype] if dtype and not OPERATIONS[case.operation].dtype else None)
    with quiet():
        backend = Backend(target, OPERATIONS[case.operation].dtype or dtype)
        trial = engine.replay(engine.property_of(case.requirement), backend, case.operation, case.input)
    if trial.broken:
        raise TargetError(f"{case.requirement} cannot be tried on that recipe: {trial.broken}")
    return trial


def _tell(trial: Trial, target: Target, asked: Asked, *, script: bool) -> int:
    """Print what became of the case, or a script that shows it; return the exit status."""
    from toise import engine
    from toise.quiet import quiet
    from toise.script import script_of
    from toise.terminal import failure_text

    if script:
        with quiet():
            click.echo(script_of(trial, target), nl=False)
        return 1
    place = f"{trial.prop.id} · {trial.operation} · {trial.backend.dtype}"
    if trial.failures:
        with quiet():
            click.echo(failure_text(engine.row_of(trial, budget=asked.budget, seed=asked.seed)))
        return 1
    ((recipe, _),) = trial.seen.items() or ((None, False),)
    if trial.counts["relevant"]:
        click.echo(f"HOLDS  {place} · {recipe} · the largest error is {trial.accuracy:.2g} radii")
        return 0
    unseen = trial.backend.target.unseen.get(trial.prop.id, "")
    lacking = trial.backend.lacks(trial.operation) or (unseen and f"over a pipe nobody sees {unseen}")
    reason = next(iter(trial.reasons.values()), lacking or "the requirement says nothing of it")
    click.echo(f"NOT TRIED  {place} · {reason}")
    return 2
