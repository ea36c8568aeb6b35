"""The race: every fault of the catalogue under the suite and under the checks of today: `python power.py -n 2`.

Each check judges a fresh implementation of each fault, and the right implementations of correct.py for false alarms.
The checks are in rivals.py, with the rules that they follow and where these are published.
Toise rejects a fault if it breaks any requirement at the standard budget, and a right implementation if any MUST fails.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import random
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TOISE, ANY = "Toise", "any of the others"
LATE = "late"  # what the catalogue calls the faults that were written after the suite's inputs had been chosen


@dataclass
class Verdicts:
    """What each check said about one implementation of one operation, and how long it took.

    name     the slug of a fault, or the name of a right implementation
    group    the concept of a fault, or the operation of a right implementation
    """

    name: str
    group: str
    seed: int
    fault: bool
    rejects: dict[str, bool] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


# --- In the processes that judge --------------------------------------------------------------------------


def prepare() -> None:
    """One thread for each process: what is timed is its work, not the wait for the others."""
    import torch

    torch.set_num_threads(1)


def judge(given: tuple[str, str, int, bool]) -> Verdicts:
    """Judge a fault, or one operation of a right implementation, by every check."""
    name, operation, seed, suite = given
    return judge_right(name, operation, seed, suite=suite) if operation else judge_fault(name, seed)


def judge_fault(slug: str, seed: int) -> Verdicts:
    """Judge one fault: by the suite up to the first requirement that it breaks."""
    from toise import faults
    from toise.faults.matrix import trials
    from toise.quiet import quiet

    fault = faults.catalogue()[slug]
    found = Verdicts(slug, fault.concept, seed, fault=True)
    by_rivals(found, fault.target, fault.operation)
    start = time.process_time()
    with quiet():
        found.rejects[TOISE] = any(trial.failures for trial in trials(slug, seed=seed))
    found.seconds[TOISE] = time.process_time() - start
    return found


def judge_right(name: str, operation: str, seed: int, *, suite: bool) -> Verdicts:
    """Judge one operation of a right implementation."""
    import toise
    from correct import CORRECT
    from toise.report import BROKEN

    found = Verdicts(name, operation, seed, fault=False)
    by_rivals(found, lambda: CORRECT[name], operation)
    if suite:
        start = time.process_time()
        report = toise.verify(CORRECT[name], operations=[operation], dtypes=["float32"], seed=seed)
        found.rejects[TOISE] = any(row.outcome in BROKEN for row in report.results)
        found.seconds[TOISE] = time.process_time() - start
    return found


def by_rivals(found: Verdicts, target: Callable[[], object], operation: str) -> None:
    """Add the verdict of every other check; each gets an implementation without a past."""
    from rivals import RIVALS, candidate, rejects

    for name, check in RIVALS.items():
        one = candidate(target(), operation)
        start = time.process_time()
        found.rejects[name] = rejects(check, one, found.seed)
        found.seconds[name] = time.process_time() - start
    found.rejects[ANY] = any(found.rejects.values())


def race(tasks: list[tuple[str, str, int, bool]], workers: int) -> list[Verdicts]:
    """Judge everything, in so many processes, with a bar that goes away."""
    from rich.console import Console
    from rich.progress import track

    # Before NumPy is loaded there.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=prepare) as pool:
        verdicts = pool.map(judge, tasks, chunksize=1)
        return list(track(verdicts, "judging", len(tasks), console=Console(stderr=True), transient=True))


# --- The figures ------------------------------------------------------------------------------------------


@dataclass
class Race:
    """All verdicts, and the figures that follow from them."""

    verdicts: list[Verdicts]

    @property
    def checks(self) -> list[str]:
        """The checks, as columns: Toise, the others, any of these."""
        names = [name for name in self.faults()[0].rejects if name not in (TOISE, ANY)]
        return [TOISE, *names, ANY]

    def faults(self, group: str | None = None) -> list[Verdicts]:
        """Return the verdicts on faults: of one concept, of the late ones, or of all."""
        from toise.faults import is_late

        found = [each for each in self.verdicts if each.fault]
        return [each for each in found if group in (None, each.group) or (group == LATE and is_late(each.name))]

    def right(self) -> list[Verdicts]:
        """Return the verdicts on right implementations."""
        return [each for each in self.verdicts if not each.fault]

    def concepts(self) -> list[str]:
        """Return the concepts, in the order of the catalogue."""
        return list(dict.fromkeys(each.group for each in self.faults()))

    def killed(self, check: str, group: str | None = None) -> tuple[int, int]:
        """Return how many faults a check rejects, and of how many: of one concept, of the late ones, or of all."""
        chosen = self.faults(group)
        return sum(each.rejects[check] for each in chosen), len(chosen)

    def alarms(self, check: str) -> tuple[int, int]:
        """Return how many verdicts on right implementations are false alarms, and of how many."""
        said = [each.rejects[check] for each in self.right() if check in each.rejects]
        return sum(said), len(said)

    def median(self, check: str, *, fault: bool) -> float:
        """Return the median seconds of a verdict."""
        times = [each.seconds[check] for each in self.verdicts if each.fault is fault and check in each.seconds]
        return statistics.median(times) if times else 0.0

    def only(self, check: str) -> list[str]:
        """Return the faults that no other check rejects; for "any of the others" those that Toise does not reject."""
        others = [TOISE] if check == ANY else [name for name in self.checks if name not in (check, ANY)]
        return [each.name for each in self.faults() if each.rejects[check] and not any(each.rejects[name] for name in others)]

    def survivors(self) -> list[str]:
        """Return the faults that nothing rejects."""
        return [each.name for each in self.faults() if not each.rejects[ANY] and not each.rejects[TOISE]]

    def false_alarms(self) -> list[tuple[str, str, str, list[int]]]:
        """Return check, implementation, operation and seeds of every false alarm."""
        found: dict[tuple[str, str, str], list[int]] = {}
        for each in self.right():
            for check in self.checks:
                if check != ANY and each.rejects.get(check):
                    found.setdefault((check, each.name, each.group), []).append(each.seed)
        return [(*key, seeds) for key, seeds in found.items()]

    def rows(self) -> list[list[str]]:
        """Return the table of the faults that are rejected: by concept, in all, and the late ones among them."""
        rows = []
        for group in (*self.concepts(), None, LATE):
            counts = [self.killed(check, group) for check in self.checks]
            rows.append([(group or "all").replace("_", " "), str(counts[0][1]), *map(_share, counts)])
        return rows

    def more(self) -> list[list[str]]:
        """Return the rows below it: false alarms and times."""
        alarms = [self.alarms(check) for check in self.checks]
        times = {
            "seconds, a fault": [self.median(check, fault=True) for check in self.checks],
            "seconds, a right one": [self.median(check, fault=False) for check in self.checks],
        }
        return [
            ["false alarms", "", *(f"{a} of {b}" for a, b in alarms)],
            *(
                [name, "", *("" if check == ANY else f"{t:.2g}" for check, t in zip(self.checks, row, strict=True))]
                for name, row in times.items()
            ),
        ]


# --- What is shown ----------------------------------------------------------------------------------------


def show(found: Race) -> None:
    """Print the tables."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for at, column in enumerate(["", "faults", *found.checks]):
        table.add_column(column, justify="right" if at else "left", no_wrap=not at, overflow="fold")
    rows = found.rows()
    *concepts, whole, late = rows
    for row in concepts:
        table.add_row(*row)
    table.add_section()
    table.add_row(*whole, style="bold")
    table.add_row(*late)
    for row in found.more():
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    for line in remarks(found):
        console.print(line, highlight=False, markup=False)


def remarks(found: Race) -> list[str]:
    """Return, in sentences, what the table does not show."""
    alone, missed = found.only(TOISE), found.only(ANY)
    lines = [f"{len(alone)} faults are rejected by Toise alone; {len(missed)} by another check and not by Toise{_named(missed)}."]
    if nothing := found.survivors():
        lines.append(f"{len(nothing)} faults are rejected by nothing{_named(nothing)}.")
    lines += [
        f"False alarm of {check}: {name}, {operation}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}."
        for check, name, operation, seeds in found.false_alarms()
    ]
    return lines


def _share(counts: tuple[int, int]) -> str:
    """Return a share in per cent, rounded to the nearest; all but a few is not 100 %."""
    part, whole = counts
    if not whole:
        return ""
    return f"{100 if part == whole else min(99, round(100 * part / whole))} %"


def _named(slugs: list[str]) -> str:
    return f": {', '.join(f'`{slug}`' for slug in slugs)}" if slugs else ""


def as_markdown(found: Race, about: dict[str, Any]) -> str:
    """Return what `docs/en/why/power.md` includes: the table, what it does not show, and the rules of the checks."""
    from rivals import RIVALS

    names = list(dict.fromkeys(each.name for each in found.right()))
    seeds = len({each.seed for each in found.right()})
    header = ["", "faults", *found.checks]
    lines = [
        f"Seed {about['seed']}; {about['versions']}.",
        "",
        "**Faults that are rejected.**",
        "",
        *(_line(row) for row in (header, ["---", *["--:"] * (len(header) - 1)], *found.rows(), *found.more())),
        "",
        f"The last lines are false alarms on {len(names)} right implementations ({', '.join(f'`{name}`' for name in names)}),",
        f"each operation at {seeds} seed{'s' * (seeds > 1)}, and the median seconds of a verdict:",
        "those that its process, which has one thread, was at work.",
        "",
        *(f"- {line}" for line in remarks(found)),
        "",
        "**The checks.**",
        "They are in `benchmarks/rivals.py`, and compare with the readable reference, in float64 and then rounded to the dtype.",
        "An exception counts as rejecting; a call that an implementation says it does not implement is skipped.",
        "",
    ]
    for name, check in RIVALS.items():
        summary, *rest = inspect.cleandoc(check.__doc__ or "").splitlines()
        lines += [f"- *{name}*: {summary}", *(f"  {line}" for line in rest if line)]
    lines += [
        f"- *{TOISE}*: Every requirement of the operation, at the standard budget, in float32 alone;",
        "  a fault is rejected if any of them is broken, a right implementation if a MUST is.",
        "",
    ]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def versions() -> str:
    """Return what was used, in words."""
    parts = [f"{name} {metadata.version(name)}" for name in ("toise", "numpy", "torch")]
    return f"{', '.join(parts)}, Python {platform.python_version()}"


def main() -> None:
    """Run the race, print it, and write what is asked for."""
    given = _arguments()
    from correct import CORRECT
    from toise import faults
    from toise.operations import OPERATIONS

    slugs = [slug for slug, fault in faults.catalogue().items() if not given.concepts or fault.concept in given.concepts]
    if given.faults < len(slugs):
        drawn = set(random.Random(given.seed).sample(slugs, given.faults))  # noqa: S311 - nothing is kept secret
        slugs = [slug for slug in slugs if slug in drawn]
    tasks: list[tuple[str, str, int, bool]] = [(slug, "", given.seed, True) for slug in slugs]
    for seed in range(given.seed, given.seed + given.alarm_seeds):
        # The suite is tried on them at one seed here; `correct.py --seeds 20` tries more.
        tasks += [(name, operation, seed, seed == given.seed) for name in CORRECT for operation in OPERATIONS]
    start = time.perf_counter()
    found = Race(race(tasks, given.n))
    took = time.perf_counter() - start
    show(found)
    print(f"{len(slugs)} faults, {len(found.right())} verdicts on right implementations, {took:.0f} s")
    about = {"seed": given.seed, "workers": given.n, "versions": versions(), "seconds": round(took)}
    if given.json:
        whole = {**about, "verdicts": [asdict(each) for each in found.verdicts]}
        Path(given.json).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if given.markdown:
        Path(given.markdown).write_text(as_markdown(found, about), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", type=int, default=1, metavar="PROCESSES")
    parser.add_argument(
        "--alarm-seeds", type=int, default=3, metavar="SEEDS", help="for the right implementations, from --seed on"
    )
    parser.add_argument("--concepts", nargs="+", help="only faults of these concepts")
    parser.add_argument("--faults", type=int, default=sys.maxsize, help="at most so many, drawn at random")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
