"""The command `toise`.  What a subcommand does not need is not imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from toise.cli import catalogue, judging, reports

if TYPE_CHECKING:
    from types import FrameType

# The file to which a supervised command writes its exit status.
JUDGED = "TOISE_JUDGED"
# The arrays are small, and pools that wait for busy cores are slower; so it is for libraries that are loaded late, too.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")


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


for _command in (
    judging.check,
    judging.precision,
    reports.report,
    reports.replay,
    reports.baseline,
    reports.compare,
    reports.merge,
    catalogue.list_requirements,
    catalogue.explain,
    catalogue.backends,
    catalogue.handshake,
    catalogue.faults,
    catalogue.init,
):
    toise.add_command(_command)


def main() -> NoReturn:
    """Run the command, and turn what goes wrong into one line and an exit status."""
    import toise_spec

    from toise.errors import TargetError, ToiseError

    if sys.argv[1:2] in (["check"], ["precision"], ["replay"]) and JUDGED not in os.environ:
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
        with subprocess.Popen(command, env={**os.environ, **ONE_THREAD, JUDGED: str(told)}, start_new_session=True) as child:  # noqa: S603 - this very command
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
    return _fail(1, f"CRASH: the process ended {how} while a target was loaded or judged; `--isolate` costs one row")


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
