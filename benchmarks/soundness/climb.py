"""A search for the worst error / radius: many small problems at once, mutated where they are worst."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from toise.operations import OPERATIONS

from soundness.campaign import ORGANISATIONS, bounded, ratios, result
from soundness.cases import DATA, any_bits, built, drawn
from soundness.machine import NUMPY

if TYPE_CHECKING:
    from soundness.machine import Machine, Organisation

Array = np.ndarray
POPULATION, GENERATIONS, SURVIVORS = 64, 40, 16
# Small problems: a batch of them is one call, its leading axis the population.
SMALL: dict[str, dict[str, tuple[Any, ...]]] = {
    "attention": {"n": (1,), "m": (1, 2, 3, 5, 17), "d_k": (1, 2, 4, 16), "d_v": (1, 2), "mask": ("none",), "causal": (False,)},
    "multi_head_attention": {
        "n": (1,), "m": (1, 2, 3, 5), "d_model": (1, 2, 4), "h": (1, 2, 3), "d_k": (1, 2), "d_v": (1, 2), "mask": ("none",),
        "causal": (False,),
    },
    "feed_forward": {"d_model": (1, 2, 3, 8), "d_ff": (1, 2, 5, 16)},
    "layer_norm": {"d": (2, 3, 4, 5, 8, 17, 33, 64)},
    "residual": {"d": (1, 4)},
    "mlm_loss": {"n": (1, 3), "vocab": (2, 3, 8, 33)},
    "sequence_log_prob": {"n": (2, 3, 5), "vocab": (2, 3, 8, 33), "impossible": ("none",)},
}  # fmt: skip
# A loss is one number for the whole batch: its problems are tried one at a time.
ALONE = ("mlm_loss",)


def climb(
    operation: str, machine: Machine, seed: int, *, seconds: float = math.inf, ascents: int | None = None
) -> dict[str, Any]:
    """Search for that many seconds, or ascents, and return the worst that was found, with its inputs.

    `drawn` is the worst before any ascent: what chance alone finds.
    """
    rng = np.random.default_rng([seed, 1])
    table = {name: one for name, one in ORGANISATIONS[operation].items() if one.on(machine) and not one.slow}
    found: dict[str, Any] = {"operation": operation, "machine": str(machine), "seconds": seconds, "seed": seed}
    found |= {"evaluations": 0, "drawn": 0.0, "worst": 0.0, "by": ""}
    end = time.monotonic() + seconds
    names = list(table)
    for _ in itertools.count() if ascents is None else range(ascents):
        if time.monotonic() > end:
            break
        name = names[rng.integers(len(names))]
        _ascend(operation, machine, name, table[name], rng, end, found)
    return found


def _ascend(
    operation: str,
    machine: Machine,
    name: str,
    organisation: Organisation,
    rng: np.random.Generator,
    end: float,
    found: dict[str, Any],
) -> None:
    """Start from drawn problems of one shape, and improve them against one organisation."""
    alone = operation in ALONE
    lead = () if operation == "layer_norm" and alone else ((2,) if alone else (POPULATION,))
    recipe = drawn(operation, rng, **SMALL[operation], lead=(lead,), exponent=(0, 1, -1))
    case = built(recipe, machine.dtype)
    if not organisation.takes(case):
        return
    moving = [key for key in case.arrays if key in DATA and (alone or key not in OPERATIONS[operation].shared)]
    reach = (0, 1, 4, 12)[rng.integers(4)]
    if rng.random() < 0.5:
        case = case.replace(**{key: any_bits(rng, case.arrays[key].shape, machine.dtype, reach or 4) for key in moving})
    best = np.full(1 if alone else POPULATION, -1.0)
    for generation in range(GENERATIONS):
        if time.monotonic() > end:
            return
        tried = case.replace(**{key: _mutated(case.arrays[key], machine.dtype, rng, alone=alone) for key in moving})
        required = bounded(tried, machine)
        worst = ratios(result(organisation, machine, tried), required)
        score = worst.reshape(len(best), -1).max(-1, initial=0.0)
        found["evaluations"] += len(best)
        if generation == 0:
            found["drawn"] = max(found["drawn"], float(score.max()))
        better = score > best
        if score.max() > found["worst"]:
            at = int(score.argmax())
            inputs = {key: (array if alone or key not in moving else array[at]).tolist() for key, array in tried.arrays.items()}
            found |= {"worst": float(score.max()), "by": name, "inputs": inputs, "options": _plain(tried.options)}
        if alone:
            case, best = (tried, score) if better[0] else (case, best)
            continue
        merged = {key: np.where(_as_rows(better, case.arrays[key]), tried.arrays[key], case.arrays[key]) for key in moving}
        best = np.maximum(best, score)
        # The best take the places of the worst.
        order = np.argsort(-best)
        parents = order[np.arange(POPULATION) % SURVIVORS]
        kept = np.where(np.arange(POPULATION) < SURVIVORS, order[:POPULATION], parents)
        case = case.replace(**{key: array[kept] for key, array in merged.items()})
        best = best[kept]


def _as_rows(flags: Array, array: Array) -> Array:
    return flags.reshape(-1, *[1] * (array.ndim - 1))


def _plain(options: Any) -> dict[str, Any]:
    return {key: np.asarray(value).tolist() for key, value in options.items()}


def _mutated(array: Array, dtype: str, rng: np.random.Generator, *, alone: bool) -> Array:
    """Flip bits, scale by powers of two, copy, exchange or nudge some numbers; one of these for each problem."""
    flat = array.reshape(1 if alone else len(array), -1).copy()
    kind = NUMPY[dtype]
    with np.errstate(all="ignore"):
        for row in flat:
            if row.size:
                _mutate(row, kind, rng)
        rounded = flat.astype(kind).astype(np.float64)
    return np.where(np.isfinite(rounded), rounded, array.reshape(flat.shape)).reshape(array.shape)


def _mutate(row: Array, kind: np.dtype[Any], rng: np.random.Generator) -> None:
    """Change one problem in its place."""
    at, other = rng.integers(row.size, size=2)
    how = rng.integers(7)
    if how == 0:
        bits = row[at : at + 1].astype(kind).view(f"u{kind.itemsize}")
        bits ^= bits.dtype.type(1 << int(rng.integers(8 * kind.itemsize)))
        row[at] = bits.view(kind).astype(np.float64)[0]
    elif how == 1:
        row *= 2.0 ** rng.integers(-2, 3)
    elif how == 2:
        row[at] = row[other]
    elif how == 3:
        row[at], row[other] = row[other], row[at]
    elif how == 4:
        row[at] = np.nextafter(row[at : at + 1].astype(kind), kind.type(rng.choice([-np.inf, np.inf]))).astype(np.float64)[0]
    elif how == 5:
        row[at] = -row[at]
    else:
        row[rng.random(row.size) < 0.3] = row[at]
