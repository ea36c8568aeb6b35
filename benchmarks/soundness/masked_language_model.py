"""Correct organisations of the masked language model's loss.  Read with spec/toise_spec/masked_language_model.md."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from soundness import sums
from soundness.autoregressive import ROWS, shifted
from soundness.machine import Machine, Organisation
from soundness.sums import ORDERS, by_library

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.inputs import Case

    from soundness.autoregressive import Rows
    from soundness.sums import Order

    Mean = Callable[[Machine, np.ndarray, Case, Order], np.ndarray]

Array = np.ndarray


def over_count(m: Machine, terms: Array, case: Case, order: Order) -> Array:
    """Divide the sum, which is written out, by the number of terms."""
    return m.stored(sums.total(m, terms, order)) / m.number(len(terms))


def times_reciprocal(m: Machine, terms: Array, case: Case, order: Order) -> Array:
    """Multiply the sum by the reciprocal of the number."""
    return m.stored(sums.total(m, terms, order)) * m.stored(m.number(1) / m.number(len(terms)))


def each_times_reciprocal(m: Machine, terms: Array, case: Case, order: Order) -> Array:
    """Weigh each term before they are added."""
    return sums.total(m, m.stored(terms * m.stored(m.number(1) / m.number(len(terms)))), order)


def with_zeros(m: Machine, terms: Array, case: Case, order: Order) -> Array:
    """Add zeros for the positions that are not selected, as a product with a mask does."""
    spread = np.zeros(case.selected.shape, m.step)
    spread[case.selected] = terms
    return sums.total(m, spread.reshape(-1), order) / m.number(len(terms))


def rows_together(m: Machine, terms: Array, case: Case, order: Order) -> Array:
    """Take a mean in each row, and the mean of these by how many each stands for."""
    counts = case.selected.reshape(-1, case.selected.shape[-1]).sum(-1)
    parts = [part for part in np.split(terms, np.cumsum(counts)[:-1]) if len(part)]
    means = [m.stored(m.stored(sums.total(m, part, order)) / m.number(len(part))) for part in parts]
    weighed = [m.stored(mean * m.number(len(part))) for mean, part in zip(means, parts, strict=True)]
    return m.stored(sums.total(m, np.concatenate(weighed), order)) / m.number(len(terms))


def loss(rows: Rows, mean: Mean = over_count, order: Order = by_library) -> Callable[[Machine, Case], Array]:
    """Take the selected rows' terms, write them out, and average them."""

    def run(m: Machine, case: Case) -> Array:
        if not case.selected.any():
            return np.array(np.nan)
        log_p = rows(m, m.loaded(case.logits[case.selected]))
        terms = m.stored(-np.take_along_axis(log_p, case.labels[case.selected][:, None], -1)[:, 0])
        return m.output(mean(m, terms, case, order)).reshape(())

    return run


def torch_loss(m: Machine, case: Case, *, ignoring: bool = False, upcast: bool = False) -> Array:
    """Call torch's cross-entropy on the selected rows, or on all of them with an index to ignore."""
    import torch

    logits = torch.from_numpy(case.logits.copy()).to(getattr(torch, m.dtype))
    logits = logits.float() if upcast else logits
    labels, selected = (torch.from_numpy(case.arrays[name].copy()) for name in ("labels", "selected"))
    if ignoring:
        logits, labels = logits.flatten(0, -2), labels.masked_fill(~selected, -100).flatten()
    else:
        logits, labels = logits[selected], labels[selected]
    return torch.nn.functional.cross_entropy(logits, labels).to(getattr(torch, m.dtype)).double().numpy()


EAGER, NARROW = ("STRICT", "EAGER"), ("float16", "bfloat16")
ORGANISATIONS: dict[str, Organisation] = {
    **{name: Organisation(loss(rows), classes=classes) for name, (rows, classes, traits) in ROWS.items() if not traits},
    **{
        f"{mean.__name__.replace('_', ' ')}, {name}": Organisation(loss(shifted, mean, ORDERS[name]))
        for mean in (over_count, times_reciprocal, each_times_reciprocal, with_zeros, rows_together)
        for name in ("one by one", "in pairs")
    },
    "torch, selected rows": Organisation(torch_loss, classes=EAGER),
    "torch, an index to ignore": Organisation(functools.partial(torch_loss, ignoring=True), classes=EAGER),
    "torch in float32": Organisation(functools.partial(torch_loss, upcast=True), classes=("FUSED", "EAGER"), dtypes=NARROW),
}
TRAITS: dict[str, Organisation] = {
    name: Organisation(loss(rows), classes=classes, traits=traits) for name, (rows, classes, traits) in ROWS.items() if traits
}
