"""The subcommands that judge: check and precision."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toise.cli.parameters import Amount, Names, Seed, Shard, WithProgram, Workers
from toise.cli.screen import interruptible, new_console, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from toise.cases import Case
    from toise.files import Kept
    from toise.isolation import Isolation
    from toise.report import Document, Report, Row
    from toise.run import Rules, Unit
    from toise.targets import Target
    from toise.workers import Job

OUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
# What `check` can choose, and the others do not.
NOT_CHOSEN: dict[str, Any] = {
    "select": "",
    "require_class": None,
    "strict": False,
    "baselines": (),
    "allow_xpass": False,
    "corpus": None,
    "shard": "",
    "no_times": False,
}


def judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a subcommand that judges targets what each of them takes."""
    for part in reversed(
        (
            click.argument("targets", metavar="[TARGET]...", nargs=-1),
            click.option("--operations", type=Names(), default=(), help="Judge only these operations."),
            click.option(
                "--dtype", "dtypes", type=Names(), default=(), help="At these dtypes; else those declared, float32 if none."
            ),
            click.option("--device", metavar="D", help="Where the arrays live, for example cuda."),
            click.option(
                "--budget",
                type=click.Choice(["smoke", "standard", "thorough"]),
                default="standard",
                show_default=True,
                help="How much is tried: smoke is a fixed list of inputs, the others explore too.",
            ),
            click.option(
                "--seed",
                type=Seed(),
                default=0,
                show_default=True,
                help="Of the exploration; the same seed gives the same report.",
            ),
            click.option(
                "-n",
                "workers",
                metavar="WORKERS",
                type=Workers(),
                default=0,
                help="Judge in this many processes at once; auto: one for each processor.",
            ),
        )
    ):
        command = part(command)
    return command


def isolated(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a subcommand what puts a target into a process of its own."""
    for part in reversed(
        (
            click.option("--isolate", is_flag=True, help="Run TARGET in a process of its own: what kills that costs one row."),
            click.option(
                "--timeout",
                metavar="SECONDS",
                type=Amount(min=0, min_open=True, max=1e6),
                help="For one answer of that process; 30 if it is not given.",
            ),
            click.option(
                "--memory",
                metavar="GB",
                type=Amount(min=0, min_open=True, max=1e6),
                help="The most data of that process; on Linux, if it is not given, three quarters of the machine's memory, "
                "shared by the workers.",
            ),
        )
    ):
        command = part(command)
    return command


@click.command(cls=WithProgram)
@judging
@isolated
@click.option(
    "-k", "select", metavar="EXPR", default="", help="Judge only matching requirements: 'LN-3 or (attention and not causal)'."
)
@click.option(
    "--require-class",
    metavar="CLASS",
    help="Hold what is declared looser to this precision class. float32: STRICT or TF32; float16, bfloat16: FUSED, EAGER or "
    "STEPWISE. FUSED holds float32 to STRICT, EAGER to TF32.",
)
@click.option("--strict", is_flag=True, help="A WARN fails the run too.")
@click.option(
    "--baseline",
    "baselines",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Failures that are known, as `toise baseline update` writes them; may be given several times.",
)
@click.option("--allow-xpass", is_flag=True, help="A known failure that is gone does not fail the run.")
@click.option(
    "--corpus",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Cases that are tried first, as `toise replay --save` puts them there.",
)
@click.option(
    "--shard", metavar="K/N", type=Shard(), default="", help="Judge part K of N; `toise merge` puts the reports together."
)
@click.option("--json", "json_file", metavar="FILE", type=OUT, help="Write the report; - is standard output.")
@click.option("--junitxml", "junit_file", metavar="FILE", type=OUT, help="Write JUnit XML; - is standard output.")
@click.option("--no-times", is_flag=True, help="Leave dates and durations out of the files: equal runs give equal bytes.")
@click.pass_context
def check(
    context: click.Context, /, targets: tuple[str, ...], json_file: Path | None, junit_file: Path | None, **options: Any
) -> None:
    """Judge TARGET: a file.py, a module, module:object, or a name that `toise backends` lists, such as torch.

    Several targets make one matrix. PROGRAM is judged as a target that speaks the protocol of the specification on its
    standard streams.

    Exit status: 0 passed, 1 not passed, 2 the command or the target cannot be used, or nothing is provided,
    3 Toise itself failed, 130 interrupted.

    It is 0 if at least one MUST passed, nothing failed, and nothing is NOT RUN for lack of examples or since too
    many elements are excused. What your own selection excludes does not count. A known failure is XFAIL and no failure
    until it expires; one that is gone is XPASS, and fails the run. Of several targets the worst counts, in the order
    130, 1, 2, 0; one that is NOT AVAILABLE does not.
    """
    from toise.files import DASH, Kept, lend_standard_output, require_writable
    from toise.formats import render
    from toise.report import Document
    from toise.terminal import print_briefly, print_overview, print_report

    files = {"json": json_file, "junit": junit_file}
    if json_file and json_file == junit_file:
        raise click.UsageError("--json and --junitxml name the same file")
    forms: dict[str, Callable[[Document], str]] = {"json": Document.as_text, "junit": lambda document: render("junit", document)}
    kept = Kept([(path, forms[form]) for form, path in files.items() if path])
    for path, _ in kept.forms:
        require_writable(path)
    if DASH in files.values():
        lend_standard_output()
    console = new_console(stderr=DASH in files.values())
    several = len(targets) + bool(options["program"]) > 1
    for name, chosen in {"--baseline": options["baselines"], "--shard": options["shard"]}.items():
        if chosen and several:
            raise click.UsageError(f"{name} is of one target: name one")
    with _found(targets, options, kept) as found:
        document = Document(())
        for document, report in _judge(found, options, kept):  # noqa: B007 - the last of them is written
            if report:
                (print_briefly if several else print_report)(report, console)
    if several:
        print_overview(document.reports, found.unavailable, console)
    kept.last(document)
    context.exit(document.exit_code)


@click.command()
@judging
@click.pass_context
def precision(context: click.Context, /, targets: tuple[str, ...], **options: Any) -> None:
    """Tell how precise TARGET is: for each operation and dtype the strictest class in which nothing that was tried fails.

    Beside it stands how much of the declared class the largest error took. The requirements are judged as by
    `check`, and the exit status is that of `check`.
    """
    from toise.files import Kept
    from toise.operations import OPERATIONS
    from toise.report import Document
    from toise.terminal import print_precision

    # What takes no floating-point numbers has no precision.
    options["operations"] = options["operations"] or tuple(name for name, each in OPERATIONS.items() if not each.dtype)
    console = new_console()
    options = {**NOT_CHOSEN, **options}
    with _found(targets, options, Kept[Document](())) as found:
        document = Document(())
        for document, report in _judge(found, options, Kept[Document](())):  # noqa: B007 - the last of them decides
            if report:
                print_precision(report, console)
    for target, reason in found.unavailable.items():
        console.print(f"NOT AVAILABLE  {target}: {reason}", soft_wrap=True, markup=False)
    context.exit(document.exit_code)


@dataclass(frozen=True)
class Found:
    """The targets of one command, and the reasons of those that cannot be had here."""

    targets: list[tuple[Job, Target]]
    unavailable: dict[str, str]
    rules: Rules


@contextlib.contextmanager
def _found(targets: tuple[str, ...], options: dict[str, Any], kept: Kept[Document]) -> Iterator[Found]:
    """Find all targets before the first is judged, and close them at the end.

    The files of an earlier run go first: whatever happens from here on, they say nothing of it.
    Raises TargetError for one that cannot be used, and if there is none that can be had.
    """
    from toise.baseline import read_baseline
    from toise.errors import TargetError, Unavailable
    from toise.run import Rules
    from toise.workers import Job

    told = {name: options[name] for name in ("device", "require_class", "workers")}
    rules = Rules(options["budget"], options["seed"], read_baseline(options["baselines"]), _corpus(options["corpus"]))
    found = Found([], {}, rules)
    kept.remove()
    with contextlib.ExitStack() as stack:
        for name, isolation in isolations(targets, options):
            job = Job(target=name, rules=rules, isolation=isolation, **told)
            try:
                target = job.load()
            except Unavailable as error:
                found.unavailable[name] = error.reason
                continue
            stack.callback(target.close)
            found.targets.append((job, target))
        if not found.targets:
            raise TargetError("; ".join(f"{name}: {reason}" for name, reason in found.unavailable.items()))
        yield found


def _corpus(folder: Path | None) -> tuple[Case, ...]:
    from toise.cases import read_corpus

    return tuple(read_corpus(folder)) if folder else ()


def _judge(found: Found, options: dict[str, Any], kept: Kept[Document]) -> Iterator[tuple[Document, Report | None]]:
    """Yield what is known of all targets, those that are not judged yet without rows and not complete, and the new report.

    There is none at first.  The last is one that was interrupted, if one was.  Meanwhile the files are kept up to date.
    """
    from toise.report import Document
    from toise.run import assemble, dtypes_of, now, plan, settings_of
    from toise.selection import selection
    from toise.shards import part

    wanted = selection(options["select"])
    names = ("budget", "seed", "strict", "require_class", "allow_xpass", "select", "shard")
    chosen = {**{name: options[name] for name in names}, **found.rules.digests, "operations": list(options["operations"])}
    timed = not options["no_times"]
    plans, settings, reports = [], [], []
    for _, target in found.targets:
        units, excluded = plan(target, operations=options["operations"], dtypes=options["dtypes"], select=wanted)
        _tell_of_no_row(found.rules, {*units, *excluded}, target)
        plans.append((part(units, options["shard"]) if options["shard"] else units, excluded))
        settings.append(settings_of(**chosen, dtypes=list(dtypes_of(target, options["dtypes"]))))
        reports.append(assemble(target, (), (), settings[-1], complete=False))
    kept.now(Document(tuple(reports), found.unavailable))
    for at, ((job, target), (units, excluded)) in enumerate(zip(found.targets, plans, strict=True)):
        started = now()

        def so_far(rows: Sequence[Row], *, complete: bool = False) -> Document:
            report = assemble(target, rows, excluded, settings[at], complete=complete, started=started)  # noqa: B023 - called here
            reports[at] = report if timed else report.without_times()  # noqa: B023
            return Document(tuple(reports), found.unavailable)

        rows = _rows(job, target, units, lambda rows: kept.sometimes(lambda: so_far(rows())))
        document = so_far(rows, complete=len(rows) == len(units))
        yield document, reports[at]
        kept.meanwhile(document)
        if not reports[at].complete:
            return


def _tell_of_no_row(rules: Rules, units: set[Unit], target: Target) -> None:
    """Say which known failures are about no row: a typing mistake in a baseline would else go unseen."""
    places = {(unit.requirement, unit.operation, unit.dtype, target.arrays.device) for unit in units}
    for entry in rules.baseline.entries:
        if entry.key not in places:
            click.echo(f"toise: the baseline has {' '.join(entry.key)}, and this run has no such row", err=True)


def isolations(targets: tuple[str, ...], options: dict[str, Any]) -> Iterator[tuple[str, Isolation | None]]:
    """Yield each target's name, and how it is judged in a process of its own, if it is; the program comes last."""
    import dataclasses
    import shlex

    from toise.isolation import Isolation

    program, isolate, timeout, memory = (options.get(name) for name in ("program", "isolate", "timeout", "memory"))
    if not targets and not program:
        raise click.UsageError("name a TARGET" + (", or a program after --" if "program" in options else ""))
    if not isolate and not program and (timeout or memory):
        raise click.UsageError("--timeout and --memory are of a process of its own; add --isolate")
    how = Isolation(timeout=timeout or Isolation.timeout, memory=memory)
    yield from ((target, how if isolate else None) for target in targets)
    if program:
        yield shlex.join(program), dataclasses.replace(how, program=program)


def _rows(job: Job, target: Target, units: list[Unit], so_far: Callable[[Callable[[], list[Row]]], None]) -> list[Row]:
    """Judge the units with a progress bar; after Ctrl-C, return what was judged until then.

    `so_far` is given, again and again, what returns the rows that are judged.
    """
    from toise.run import failing, with_likenesses
    from toise.workers import judge_here, judge_in_parallel, likenesses

    found: dict[Unit, Row] = {}

    def rows_so_far() -> list[Row]:
        return [found[unit] for unit in units if unit in found]

    judging: Any = judge_in_parallel(job, target, units) if job.workers else judge_here(job, target, units)
    with progress(job.target, len(units)) as step, interruptible() as interrupted:
        for unit, row in judging:
            found[unit] = row
            step(unit.requirement)
            so_far(rows_so_far)
            if interrupted():
                break
    judging.close()
    rows = rows_so_far()
    return with_likenesses(rows, likenesses(job, target, failing(rows))) if len(rows) == len(units) else rows
