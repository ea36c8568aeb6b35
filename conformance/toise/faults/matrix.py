"""The kill matrix: every fault is judged like any backend, and every requirement shows what it sees.

A fault is killed if a requirement that it declares to break is broken.  The faults' own separating inputs take
no part: what kills is the suite's fixed list and what Hypothesis draws.
"""

from __future__ import annotations

import functools
import json
import random
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from toise import engine
from toise.backend import Backend
from toise.faults import catalogue
from toise.operations import OPERATIONS
from toise.quiet import quiet
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from toise.engine import Trial

DTYPE = "float32"
# The faults that no run kills, each with the reason why: exactly these.
SURVIVORS: dict[str, str] = {
    "causal_mask.places_in_int16": "it shows from 32768 places on, where right code that builds the square needs gigabytes",
}


@dataclass(frozen=True)
class Judged:
    """What the requirements of its operation found about a fault.

    examples   how many inputs each requirement tried, up to the one that broke it
    broken     the requirements that it breaks, in the order of the suite
    seconds    for all requirements, up to the first failure of each
    to_kill    seconds up to the first failure of any; 0 if there is none
    """

    slug: str
    examples: dict[str, int]
    broken: tuple[str, ...]
    seconds: float
    to_kill: float

    @property
    def killed_by(self) -> tuple[str, ...]:
        """The declared requirements that it breaks."""
        return tuple(id for id in self.broken if id in catalogue()[self.slug].fails)


@dataclass
class Matrix:
    """The verdicts of a run."""

    seed: int
    faults: dict[str, Judged] = field(default_factory=dict)

    def survivors(self, *, late: bool | None = None) -> list[str]:
        """Return the faults that break none of the requirements that they declare: all, the late fifth, or the others."""
        return [slug for slug, judged in self._of(late).items() if not judged.killed_by]

    def rate(self, *, late: bool | None = None) -> tuple[int, int]:
        """Return how many faults are killed, and of how many."""
        chosen = self._of(late)
        return len(chosen) - len(self.survivors(late=late)), len(chosen)

    def idle(self) -> list[str]:
        """Return the requirements that break no fault that declares them."""
        killing = {id for judged in self.faults.values() for id in judged.killed_by}
        return [prop.id for prop in engine.properties() if prop.id not in killing]

    def examples_to_kill(self) -> dict[str, list[int]]:
        """Return, for each requirement, how many inputs it took it to break each fault that it breaks."""
        found: dict[str, list[int]] = {}
        for judged in self.faults.values():
            for id in judged.broken:
                found.setdefault(id, []).append(judged.examples[id])
        return {prop.id: sorted(found[prop.id]) for prop in engine.properties() if prop.id in found}

    def complaints(self, *, whole: bool) -> list[str]:
        """Return what keeps the matrix from being as it should, in sentences; of a part of the catalogue less can be said."""
        alive = self.survivors()
        killed = [slug for slug in self.faults if slug not in alive]
        found = [f"{slug} survives, and is no survivor that is known" for slug in alive if slug not in SURVIVORS]
        found += [f"{slug} is killed, and is listed as a survivor" for slug in killed if slug in SURVIVORS]
        if whole and self.idle():
            found.append(f"no fault that declares it breaks {', '.join(self.idle())}")
        return found

    def as_json(self) -> str:
        """Return the matrix as JSON: for each fault how many inputs each requirement took that it breaks, and no seconds.

        The same versions and seed give the same text.
        """
        faults = {
            slug: {
                "late": catalogue()[slug].late,
                "declared": catalogue()[slug].fails,
                "broken": {id: judged.examples[id] for id in judged.broken},
            }
            for slug, judged in self.faults.items()
        }
        return json.dumps({"seed": self.seed, "dtype": DTYPE, "faults": faults}, indent=1) + "\n"

    def _of(self, late: bool | None) -> dict[str, Judged]:
        return {slug: judged for slug, judged in self.faults.items() if late is None or catalogue()[slug].late == late}


def judge_fault(slug: str, *, seed: int = 0, only: Collection[str] | None = None) -> Judged:
    """Try every requirement of its operation on a fault, or `only` some, each up to its first failure, at the standard budget."""
    examples, broken, to_kill = {}, [], 0.0
    start = time.perf_counter()
    with quiet():
        for trial in trials(slug, seed=seed, only=only):
            examples[trial.prop.id] = trial.counts["run"]
            if trial.failures:
                to_kill = to_kill or time.perf_counter() - start
                broken.append(trial.prop.id)
    return Judged(slug, examples, tuple(broken), time.perf_counter() - start, to_kill)


def trials(slug: str, *, seed: int, only: Collection[str] | None = None) -> Iterator[Trial]:
    """Yield what each requirement of its operation, or `only` some, finds about a fault, up to its first failure."""
    operation = catalogue()[slug].operation
    backend = backend_of(slug, seed=seed)
    for prop in engine.properties():
        if operation in prop.inputs and (only is None or prop.id in only):
            yield engine.decide(prop, backend, operation, seed=seed)


def backend_of(slug: str, *, seed: int) -> Backend:
    """Return a fault as the backend that is judged; what it draws from the generators that all share is the same each time."""
    fault = catalogue()[slug]
    random.seed(seed)
    np.random.seed(seed % 2**32)
    return Backend(load(fault.target()), OPERATIONS[fault.operation].dtype or DTYPE)


def judge_all(slugs: Sequence[str], *, seed: int = 0, workers: int = 0) -> Iterator[Judged]:
    """Judge the faults, in `workers` processes at once if there are any; each is yielded when its turn comes."""
    judge = functools.partial(judge_fault, seed=seed)
    if not workers:
        yield from map(judge, slugs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield from pool.map(judge, slugs)
    finally:
        pool.shutdown(cancel_futures=True)
