"""Judging rows in this process, or in several at once.

A worker that dies, whatever killed it, costs the row that it was on: that row is CRASH, and a new
worker goes on with the rest.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from toise.backends import UNIMPORTABLE, is_known, require
from toise.errors import TargetError, ToiseError, Unavailable
from toise.isolation import Isolation
from toise.processes import die_with_parent, named
from toise.quiet import quiet
from toise.report import Row
from toise.run import Rules, Unit, judge_unit, likeness_of, unjudged
from toise.shards import seconds_of
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from toise.backend import Backend
    from toise.targets import Target


@dataclass(frozen=True)
class Job:
    """What every worker needs to know."""

    target: str
    device: str | None
    require_class: str | None
    rules: Rules
    workers: int
    isolation: Isolation | None = None

    def load(self) -> Target:
        """Find the target, or start it.  Raises TargetError if there is none."""
        if self.isolation:
            return self._started(self.isolation)
        return load(self.target, device=self.device, require_class=self.require_class)

    def _started(self, isolation: Isolation) -> Target:
        known = not isolation.program and is_known(self.target)
        if known:
            require(self.target)
        try:
            return isolation.load(self.target, device=self.device, require_class=self.require_class, workers=self.workers)
        except TargetError as error:
            reason = str(error).removeprefix(f"{self.target}: {self.target}: ")
            if not (known and reason.startswith(UNIMPORTABLE)):
                raise
            raise Unavailable(self.target, reason) from None

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Job:
        """Read back what `asdict` made of a job."""
        isolation = told["isolation"]
        return cls(
            **{**told, "rules": Rules.from_json(told["rules"]), "isolation": Isolation(**isolation) if isolation else None}
        )


def judge_here(job: Job, target: Target, units: list[Unit]) -> Iterator[tuple[Unit, Row]]:
    """Judge the rows one after the other in this process."""
    backends: dict[str, Backend] = {}
    with quiet():
        for unit in units:
            yield unit, judge_unit(unit, target, backends, job.rules)


def likenesses(job: Job, target: Target, failing: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Find what each operation and dtype that fails behaves like; with workers, one that dies of it says nothing."""
    if not failing:
        return {}
    if not job.workers:
        backends: dict[str, Backend] = {}
        with quiet():
            return {each: likeness_of(*each, target, backends) for each in failing}
    found = {}
    worker = Worker(job)
    try:
        for each in failing:
            told = worker.like(*each)
            if told is None:
                worker = Worker(job)
            found[each] = told or ""
    finally:
        worker.process.terminate()
    return found


def judge_in_parallel(job: Job, target: Target, units: list[Unit]) -> Iterator[tuple[Unit, Row]]:
    """Judge the rows in `job.workers` processes, in whatever order they finish.

    Raises ToiseError if a worker finds the suite at fault.
    """
    target.close()  # each worker has its own
    waiting = Waiting(units)
    busy: dict[Any, tuple[Worker, Unit]] = {}
    try:
        idle = [Worker(job) for _ in range(min(job.workers, len(units)))]
        while waiting or busy:
            while idle and waiting:
                worker = idle.pop()
                unit = waiting.next(worker.place, {place(unit) for _, unit in busy.values()})
                worker.send(unit)
                busy[worker.connection] = (worker, unit)
            for connection in wait(list(busy)):
                worker, unit = busy.pop(connection)
                row = worker.row()
                idle.append(worker if row else Worker(job))
                yield unit, row or unjudged(unit, target, "CRASH", worker.cause())
    finally:
        for worker in (*idle, *(worker for worker, _ in busy.values())):
            worker.process.terminate()


def place(unit: Unit) -> tuple[str, str]:
    """Return the operation and the dtype of a row: what a worker has built and required there, it does not do again."""
    return unit.operation, unit.dtype


class Waiting:
    """The rows that nobody has begun, by place."""

    def __init__(self, units: list[Unit]) -> None:
        self._units: dict[tuple[str, str], list[Unit]] = {}
        for unit in units:
            self._units.setdefault(place(unit), []).append(unit)

    def __bool__(self) -> bool:
        return bool(self._units)

    def next(self, own: tuple[str, str] | None, others: set[tuple[str, str]]) -> Unit:
        """Take a row for a worker: where it was before, else where no other is, and there where most is left."""
        if own not in self._units:
            free = [where for where in self._units if where not in others] or list(self._units)
            own = max(free, key=lambda where: sum(map(seconds_of, self._units[where])))
        left = self._units[own]
        unit = left.pop(0)
        if not left:
            del self._units[own]
        return unit


class Worker:
    """A process that judges one row at a time."""

    def __init__(self, job: Job) -> None:
        self.place: tuple[str, str] | None = None
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_work, args=(there, asdict(job)), daemon=True)
        self.process.start()
        there.close()

    def send(self, unit: Unit) -> None:
        """Give it a row to judge."""
        self.place = place(unit)
        self._ask(asdict(unit))

    def row(self) -> Row | None:
        """Return the row that it judged, or None if it died."""
        message = self._answer()
        return None if message is None else Row.from_json(message)

    def like(self, operation: str, dtype: str) -> str | None:
        """Return what an operation behaves like, or None if the worker died."""
        self._ask({"operation": operation, "dtype": dtype})
        message = self._answer()
        return None if message is None else str(message["like"])

    def _ask(self, question: dict[str, str]) -> None:
        """Ask it something; one that has died says so when it is asked for the answer."""
        with contextlib.suppress(BrokenPipeError):
            self.connection.send_bytes(json.dumps(question).encode())

    def _answer(self) -> dict[str, Any] | None:
        """Return what it answers, or None if it died.  Raises ToiseError, or TargetError, if it met with one."""
        try:
            message: dict[str, Any] = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.process.join()
            return None
        if "unusable" in message:
            raise TargetError(message["unusable"])
        if "broken" in message:
            raise ToiseError(message["broken"])
        return message

    def cause(self) -> str:
        """Say how it died."""
        code = self.process.exitcode or 0
        if code >= 0:
            return f"the process ended with exit code {code}"
        return f"the process was killed by signal {named(-code)}"


def _work(connection: Connection, job: dict[str, Any]) -> None:
    """Judge what comes over the connection until it closes.  The parent alone handles Ctrl-C."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = Job.from_json(job)
    backends: dict[str, Backend] = {}
    try:
        target = told.load()
        with quiet():
            while True:
                asked = json.loads(connection.recv_bytes())
                if "requirement" in asked:
                    answer = asdict(judge_unit(Unit(**asked), target, backends, told.rules))
                else:
                    answer = {"like": likeness_of(asked["operation"], asked["dtype"], target, backends)}
                connection.send_bytes(json.dumps(answer).encode())
    except EOFError:
        return
    except (TargetError, ToiseError) as error:
        what = "unusable" if isinstance(error, TargetError) else "broken"
        connection.send_bytes(json.dumps({what: str(error)}).encode())
