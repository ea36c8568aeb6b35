"""Judging rows in this process, or in several at once.

A worker that dies, whatever killed it, costs the row that it was on: that row is CRASH, and a new
worker goes on with the rest.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import threadpoolctl

from toise import engine
from toise.errors import TargetError, ToiseError
from toise.report import Row
from toise.run import Unit, judge_unit, unjudged
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from toise.backend import Backend
    from toise.targets import Target


@dataclass(frozen=True)
class Job:
    """What every worker needs to know."""

    target: str
    device: str | None
    budget: str
    seed: int
    workers: int


def judge_here(job: Job, target: Target, units: list[Unit]) -> Iterator[tuple[Unit, Row]]:
    """Judge the rows one after the other in this process."""
    backends: dict[str, Backend] = {}
    for unit in units:
        with engine.quiet():
            row = judge_unit(unit, target, backends, budget=job.budget, seed=job.seed)
        yield unit, row


def judge_in_parallel(job: Job, target: Target, units: list[Unit]) -> Iterator[tuple[Unit, Row]]:
    """Judge the rows in `job.workers` processes, in whatever order they finish.

    Raises ToiseError if a worker finds the suite at fault.
    """
    waiting = list(reversed(units))
    busy: dict[Connection, tuple[BaseProcess, Unit]] = {}
    try:
        for _ in range(min(job.workers, len(units))):
            _give(*_start(job), waiting.pop(), busy)
        while busy:
            for connection in wait(list(busy)):
                process, unit = busy.pop(connection)  # type: ignore[index]
                row = _answer(connection, process, unit, target)  # type: ignore[arg-type]
                alive = row is not None
                yield unit, row or unjudged(unit, target, "CRASH", _cause(process))
                if waiting:
                    _give(*((process, connection) if alive else _start(job)), waiting.pop(), busy)  # type: ignore[arg-type]
                elif alive:
                    process.terminate()
    finally:
        for process, _ in busy.values():
            process.terminate()


def _start(job: Job) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, asdict(job)), daemon=True)
    process.start()
    there.close()
    return process, here


def _give(process: BaseProcess, connection: Connection, unit: Unit, busy: dict[Connection, tuple[BaseProcess, Unit]]) -> None:
    connection.send_bytes(json.dumps(asdict(unit)).encode())
    busy[connection] = (process, unit)


def _answer(connection: Connection, process: BaseProcess, unit: Unit, target: Target) -> Row | None:
    """Return the row that a worker sent, or None if it died."""
    try:
        message: dict[str, Any] = json.loads(connection.recv_bytes())
    except (EOFError, OSError):
        process.join()
        return None
    if "broken" in message:
        raise ToiseError(message["broken"])
    return Row.from_json(message)


def _cause(process: BaseProcess) -> str:
    code = process.exitcode or 0
    if code >= 0:
        return f"the process ended with exit code {code}"
    return f"the process was killed by signal {-code} ({signal.Signals(-code).name})"


def _work(connection: Connection, job: dict[str, Any]) -> None:
    """Judge what comes over the connection until it closes.  The parent alone handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = Job(**job)
    backends: dict[str, Backend] = {}
    threadpoolctl.threadpool_limits(max(1, (os.cpu_count() or 1) // told.workers))
    try:
        target = load(told.target, device=told.device)
        while True:
            unit = Unit(**json.loads(connection.recv_bytes()))
            with engine.quiet():
                row = judge_unit(unit, target, backends, budget=told.budget, seed=told.seed)
            connection.send_bytes(json.dumps(asdict(row)).encode())
    except EOFError:
        return
    except (TargetError, ToiseError) as error:
        connection.send_bytes(json.dumps({"broken": str(error)}).encode())
