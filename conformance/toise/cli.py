"""The command `toise`.  What a subcommand does not need is not imported."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.console import Console

    from toise.faults import Fault
    from toise.faults.matrix import Matrix
    from toise.isolation import Isolation
    from toise.report import Report
    from toise.targets import Target
    from toise.workers import Job

RANDOM = "random"
# The file to which a supervised command writes its exit status.
JUDGED = "TOISE_JUDGED"


class Names(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Names joined by commas."""

    name = "a,b"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """Split at the commas."""
        return tuple(name for name in value.split(",") if name) if isinstance(value, str) else value


class Seed(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A whole number, or the word random."""

    name = "N|random"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or one that nobody chose."""
        if isinstance(value, int):
            return value
        if value == RANDOM:
            return secrets.randbelow(2**31)
        if not value.isdecimal():
            self.fail(f"{value!r} is neither a whole number nor the word random", param, ctx)
        return int(value)


class Amount(click.FloatRange):
    """A number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no number: it stands in no range, and is below no bound."""
        number = super().convert(value, param, ctx)
        return number if number == number else self.fail(f"{value!r} is no number", param, ctx)  # noqa: PLR0124 - NaN is not


class WithProgram(click.Command):
    """A subcommand that takes a program and its arguments after `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows `--` as it is."""
        at = args.index("--") if "--" in args else len(args)
        ctx.params["program"] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show where the program stands."""
        pieces = [*self.collect_usage_pieces(ctx), "[-- PROGRAM [ARG]...]"]
        formatter.write_usage(ctx.command_path, " ".join(pieces))


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import toise_spec

        from toise import __version__

        click.echo(f"toise {__version__}, specification {toise_spec.VERSION}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the versions and stop."
)
def toise() -> None:
    """Check an implementation of the transformer against a numbered specification."""


def _judging(command: Callable[..., Any]) -> Callable[..., Any]:
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
                type=click.IntRange(min=0),
                default=0,
                help="Judge in this many processes at once.",
            ),
        )
    ):
        command = part(command)
    return command


@toise.command(cls=WithProgram)
@_judging
@click.option("--isolate", is_flag=True, help="Run TARGET in a process of its own: what kills that costs one row.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Amount(min=0, min_open=True, max=1e6),
    help="For one answer of that process; 30 if it is not given.",
)
@click.option(
    "--memory",
    metavar="GB",
    type=Amount(min=0, min_open=True, max=1e6),
    help="The most data of that process; on Linux, if it is not given, three quarters of the machine's memory, shared by the "
    "workers.",
)
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
@click.option("--json", "json_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write the report.")
@click.option(
    "--junitxml", "junit_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML."
)
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
    many elements are excused. What your own selection excludes does not count. Of several targets the worst counts,
    in the order 130, 1, 2, 0; one that is NOT AVAILABLE does not.
    """
    from toise.junit import to_junit
    from toise.report import to_json
    from toise.terminal import print_briefly, print_overview, print_report

    if json_file and json_file == junit_file:
        raise click.UsageError("--json and --junitxml name the same file")
    files = [(path, render) for path, render in ((json_file, to_json), (junit_file, to_junit)) if path]
    for path, _ in files:
        _writable(path)
    console = _console()
    with _found(targets, options) as found:
        several = len(found.targets) + len(found.unavailable) > 1
        reports: list[Report] = []
        for reports, report in _judge(found, options):
            for path, render in files:
                path.write_text(render(reports, found.unavailable), encoding="utf-8")
            if report:
                (print_briefly if several else print_report)(report, console)
    if several:
        print_overview(reports, found.unavailable, console)
    context.exit(_worst(reports))


def _worst(reports: list[Report]) -> int:
    """Return the exit status of several targets: one that failed weighs more than one that provides nothing."""
    return min((report.exit_code for report in reports), key=(130, 1, 2, 0).index)


@toise.command(cls=WithProgram)
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

    console, wrong = _console(), False
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


@toise.command()
@_judging
@click.pass_context
def precision(context: click.Context, /, targets: tuple[str, ...], **options: Any) -> None:
    """Tell how precise TARGET is: for each operation and dtype the strictest class in which nothing that was tried fails.

    Beside it stands how much of the declared class the largest error took. The requirements are judged as by
    `check`, and the exit status is that of `check`.
    """
    from toise.operations import OPERATIONS
    from toise.terminal import print_precision

    # What takes no floating-point numbers has no precision.
    options["operations"] = options["operations"] or tuple(name for name, each in OPERATIONS.items() if not each.dtype)
    console = _console()
    options = {"select": "", "require_class": None, "strict": False, **options}
    with _found(targets, options) as found:
        reports: list[Report] = []
        for reports, report in _judge(found, options):  # noqa: B007 - the last of them decide
            if report:
                print_precision(report, console)
    for target, reason in found.unavailable.items():
        console.print(f"NOT AVAILABLE  {target}: {reason}", soft_wrap=True, markup=False)
    context.exit(_worst(reports))


@dataclass(frozen=True)
class Found:
    """The targets of one command, and the reasons of those that cannot be had here."""

    targets: list[tuple[Job, Target]]
    unavailable: dict[str, str]


@contextlib.contextmanager
def _found(targets: tuple[str, ...], options: dict[str, Any]) -> Iterator[Found]:
    """Find all targets before the first is judged, and close them at the end.

    Raises TargetError for one that cannot be used, and if there is none that can be had.
    """
    from toise.errors import TargetError, Unavailable
    from toise.workers import Job

    told = {name: options[name] for name in ("device", "require_class", "budget", "seed", "workers")}
    found = Found([], {})
    with contextlib.ExitStack() as stack:
        for name, isolation in _isolations(targets, options):
            job = Job(target=name, isolation=isolation, **told)
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


def _judge(found: Found, options: dict[str, Any]) -> Iterator[tuple[list[Report], Report | None]]:
    """Yield the reports of all targets, those that are not judged yet without rows and not complete, and that which is new.

    There is none at first.  The last is one that was interrupted, if one was.
    """
    from toise.run import assemble, plan
    from toise.selection import selection

    wanted = selection(options["select"]) if options["select"] else lambda _: True
    settings = {name: options[name] for name in ("budget", "seed", "strict", "require_class")}
    plans = [
        plan(target, operations=options["operations"], dtypes=options["dtypes"], select=wanted) for _, target in found.targets
    ]
    reports = [assemble(target, (), (), settings, complete=False) for _, target in found.targets]
    yield reports, None
    for at, ((job, target), (units, excluded)) in enumerate(zip(found.targets, plans, strict=True)):
        rows = _rows(job, target, units)
        reports[at] = assemble(target, rows, excluded, settings, complete=len(rows) == len(units))
        yield reports, reports[at]
        if not reports[at].complete:
            return


def _isolations(targets: tuple[str, ...], options: dict[str, Any]) -> Iterator[tuple[str, Isolation | None]]:
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


def _rows(job: Job, target: Any, units: list[Any]) -> list[Any]:
    """Judge the units with a progress bar; after Ctrl-C, return what was judged until then."""
    from toise.run import failing, with_likenesses
    from toise.workers import judge_here, judge_in_parallel, likenesses

    found = {}
    judging: Any = judge_in_parallel(job, target, units) if job.workers else judge_here(job, target, units)
    with _progress(job.target, len(units)) as step, _interruptible() as interrupted:
        for unit, row in judging:
            found[unit] = row
            step(unit.requirement)
            if interrupted():
                break
    judging.close()
    rows = [found[unit] for unit in units if unit in found]
    return with_likenesses(rows, likenesses(job, target, failing(rows))) if len(rows) == len(units) else rows


@contextlib.contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on a terminal; give a function that moves it on, and says what was done last."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal, redirect_stdout=False) as progress:
        task = progress.add_task(what, total=total)
        yield lambda last: progress.update(task, advance=1, description=f"{what} {last}")


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """End the block at Ctrl-C; give a function that tells whether it came.

    Python drops an exception that is raised in a callback, and KeyboardInterrupt with it: then the
    function still tells.
    """
    came = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, note)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)


def _console() -> Console:
    """Return a console as wide as the terminal, or 120 columns where there is none, as in CI."""
    from rich.console import Console

    class Told(Console):
        def on_broken_pipe(self) -> None:
            """Keep the exit status when whoever read the output has gone, as `head` does."""
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return Told(highlight=False, width=wide)


def _writable(path: Path) -> None:
    from toise.errors import TargetError

    new = not path.exists()
    try:
        with path.open("a", encoding="utf-8"):
            pass
        if new:
            path.unlink()  # where nothing is judged, there is no report
    except OSError as error:
        raise TargetError(f"cannot write {path}: {error.strerror}") from None


@toise.command("list")
@click.option("-k", "select", metavar="EXPR", default="", help="Only matching requirements.")
def list_requirements(select: str) -> None:
    """List the requirements of the specification."""
    from rich.table import Table

    from toise.engine import properties
    from toise.selection import selection

    wanted = selection(select) if select else lambda _: True
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "level", "operations"):
        table.add_column(title, no_wrap=True)
    table.add_column("requirement", overflow="fold")
    for prop in properties():
        if wanted(prop):
            names = prop.operations if len(prop.operations) == 1 else (f"{len(prop.operations)} operations",)
            table.add_row(prop.id, prop.requirement.level, *names, prop.requirement.sentence)
    _console().print(table)


@toise.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def explain(ids: tuple[str, ...]) -> None:
    """Print a requirement: what it asks, why, what is right and wrong, and how it is tested."""
    import re
    import textwrap

    import toise_spec

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
        click.echo(f"  {'tested by':<11}{tests[item.id].name}\n")


@toise.command()
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
    _console().print(table)


@toise.command()
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
    console = _console()
    if not judge:
        if json_file or seed or workers:
            raise click.UsageError("--json, --seed and -n are of a run; add --run")
        _tell(chosen, slugs, console)
        return
    from toise.faults.shown import print_matrix

    if json_file:
        _writable(json_file)
    matrix = _matrix(chosen, seed, workers)
    complete = len(matrix.faults) == len(chosen)
    if matrix.faults:
        print_matrix(matrix, console, whole=complete and not slugs)
    if json_file:
        json_file.write_text(matrix.as_json(), encoding="utf-8")
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
    with _progress("faults", len(chosen)) as step, _interruptible() as interrupted:
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


@toise.command()
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


def main() -> NoReturn:
    """Run the command, and turn what goes wrong into one line and an exit status."""
    import toise_spec

    from toise.errors import TargetError, ToiseError

    if sys.argv[1:2] in (["check"], ["precision"]) and JUDGED not in os.environ:
        sys.exit(_supervised())
    told = os.environ.pop(JUDGED, "")  # a command that a target runs is supervised on its own
    if told:
        from toise.processes import die_with_parent

        die_with_parent()
    _keep_hypothesis_tidy()
    try:
        code = toise.main(prog_name="toise", standalone_mode=False) or 0
    except (TargetError, toise_spec.SpecError) as error:
        code = _fail(2, str(error))
    except click.UsageError as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        code = _fail(130, "interrupted")
    except ToiseError as error:
        code = _fail(3, f"Toise itself failed, and gives no verdict: {error}")
    except Exception as error:  # noqa: BLE001 - never a traceback of ours
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f" at {Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""
        code = _fail(3, f"Toise itself failed, and gives no verdict: {type(error).__name__}: {error}{where}")
    if told:
        sys.stdout.flush()
        Path(told).write_text(str(code), encoding="utf-8")
    sys.exit(code)


def _supervised() -> int:
    """Run the command in a process of its own: a target that ends it must not look like a verdict.

    The child writes its exit status to a file as its last act; `os._exit(0)` in a target does not.
    """
    with tempfile.TemporaryDirectory(prefix="toise-") as room:
        told = Path(room) / "status"
        command = [sys.executable, "-m", "toise", *sys.argv[1:]]
        # A group of its own: Ctrl-C reaches the child once, from here.
        with subprocess.Popen(command, env={**os.environ, JUDGED: str(told)}, start_new_session=True) as child:  # noqa: S603 - this very command
            passed_on = []

            def pass_on(number: int, _: FrameType | None) -> None:
                passed_on.append(number)
                child.send_signal(number)

            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, pass_on)
            child.wait()
        if told.exists():
            return int(told.read_text(encoding="utf-8"))
    code = child.returncode
    if -code in passed_on:
        return _fail(130, "interrupted")
    from toise.processes import named

    how = f"with exit status {code}" if code >= 0 else f"by signal {named(-code)}"
    return _fail(1, f"CRASH: the process ended {how} while a target was loaded or judged; `-n 1` shows on which requirement")


def _fail(code: int, text: str) -> int:
    click.echo(f"toise: {text}", err=True)
    return code


def _keep_hypothesis_tidy() -> None:
    """Keep Hypothesis from leaving a `.hypothesis` folder where the command is run."""
    import atexit
    import shutil

    if "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ:
        folder = tempfile.mkdtemp(prefix="toise-")
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
