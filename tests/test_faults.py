"""The catalogue of faults: none is equivalent to the reference, each says what it is, and the gate counts what is so."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import toise_reference
import toise_spec
from toise import engine
from toise.backend import Backend
from toise.errors import Unsupported
from toise.faults import CLASSIC, CONCEPTS, catalogue
from toise.faults.matrix import SURVIVORS, judge_fault
from toise.operations import OPERATIONS, sublayer_through
from toise.quiet import quiet
from toise.targets import load

SLUGS = list(catalogue())
RANDOM = [slug for slug in SLUGS if catalogue()[slug].operation == "mlm_corrupt"]
DRAWS = 4000
RIGHT_MOMENTS = {}


def right(operation):
    """Return a right implementation."""
    return getattr(toise_reference, operation)


def judge_of(operation):
    """Return a backend that holds results to the reference, in float32."""
    return Backend(load({operation: right(operation)}), OPERATIONS[operation].dtype or "float32")


def made(backend, case, **others):
    """Return fresh arrays for a call: the data in their order, and the options; some arrays may be given instead."""
    natives = {**backend.natives(case), **others}
    given = {**case.options, **natives}
    if "sublayer" in given:
        given["sublayer"] = sublayer_through(given["x"], given["sublayer"])
    names = OPERATIONS[case.operation].data
    return [given[name] for name in names], {name: value for name, value in given.items() if name not in names}


def outcome(function, backend, case):
    """Make a call and say what is wrong with what it did, in one word; empty where nothing is."""
    data, options = made(backend, case)
    given = [part for part in (*data, *options.values()) if isinstance(part, np.ndarray)]
    before = [np.copy(part) for part in given]
    try:
        right(case.operation)(*made(backend, case)[0], **options)
        malformed = False
    except (TypeError, ValueError):
        malformed = True
    try:
        got = function(*data, **options)
    except Unsupported:
        return ""
    except Exception:  # noqa: BLE001 - whatever a wrong implementation raises
        return "" if malformed else "raises"
    if malformed:
        return "accepts"
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, given, strict=True)):
        return "writes into its inputs"
    if not isinstance(got, (np.ndarray, np.generic)):
        return "returns no array"
    if any(np.shares_memory(got, part) for part in given):
        return "returns its input"
    dtype = OPERATIONS[case.operation].dtype or data[0].dtype
    if got.shape != backend.shape(case) or got.dtype != dtype:
        return "returns another shape or dtype"
    return "" if right_numbers(got.astype(float), backend, case) else "returns other numbers"


def right_numbers(got, backend, case):
    """Tell whether a right implementation that declares nothing may return these numbers."""
    data = {name: np.nan_to_num(array, nan=0, posinf=np.inf, neginf=-np.inf) for name, array in case.arrays.items()}
    clean = case.replace(**{name: array for name, array in data.items() if np.isnan(case.arrays[name]).any()})
    required, operation = backend.required(clean), OPERATIONS[case.operation]
    same = (got == required.value) | (np.isnan(required.value) & np.isnan(got))
    near = same | (np.isfinite(required.value) & (np.abs(got - required.value) <= required.radius))
    if any(np.isnan(array).any() for array in case.arrays.values()):
        return (near | ~np.isfinite(got)).all()  # NaN spreads, or is not looked at: it never becomes another number
    # What no formula defines has no radius, and one value all the same where nothing is declared.
    undefined = operation.excused(case, backend.declared(case.operation))
    return np.where(undefined, same, near).all()


def separated(fault):
    """Say what shows, on the calls that the fault names, that it is no right implementation; empty where nothing does."""
    backend, function = judge_of(fault.operation), fault.implementation()
    with quiet():
        if wrong := played(function, backend, fault):
            return wrong
        if fault.operation == "residual" and (wrong := through_other_sublayers(function, backend, fault)):
            return wrong
        return laid_out(function, backend, fault) or overwritten(function, backend, fault)


def played(function, backend, fault):
    """Make the calls in their order, the last one twice; no result may change once it is returned."""
    for case in fault.on:
        if wrong := outcome(function, backend, case):
            return wrong
    returned = []
    for case in (*fault.on, fault.on[-1]):
        data, options = made(backend, case)
        got = function(*data, **options)
        if any(not np.array_equal(np.asarray(kept), copy, equal_nan=True) for kept, copy in returned):
            return "changes an earlier result"
        if any(np.shares_memory(got, kept) for kept, _ in returned):
            return "returns one memory twice"
        returned.append((got, np.copy(got)))
    return "" if np.array_equal(returned[-1][1], returned[-2][1], equal_nan=True) else "is not repeatable"


def through_other_sublayers(function, backend, fault):
    """Give a residual connection sublayers that count their calls, hand x back, or return an array that lies otherwise."""
    (x, sublayer), _ = made(backend, fault.on[-1])
    output, calls = sublayer(x), []
    function(x, lambda a: calls.append(a) or sublayer(a))
    if len(calls) != 1:
        return "calls the sublayer otherwise than once"
    if calls[0].dtype != x.dtype:
        return "gives the sublayer another dtype"
    returned = {
        "x itself": (lambda a: a, x),
        "a view of x": (lambda a: a[...], x),
        "an array in another order": (lambda a: np.asfortranarray(output), output),
    }
    for name, (given, sum_of) in returned.items():
        before = x.copy()
        if not np.array_equal(function(x, given), before + sum_of) or not np.array_equal(x, before):
            return f"is wrong where the sublayer returns {name}"
    return ""


def laid_out(function, backend, fault):
    """Make the last call with each array in each layout."""
    case = fault.on[-1]
    for name in (*case.arrays, *(["mask"] if "mask" in case.options else [])):
        for layout, array in backend.layouts(case, name):
            data, options = made(backend, case, **{name: array})
            try:
                got = function(*data, **options)
            except Exception:  # noqa: BLE001 - whatever a wrong implementation raises
                return f"raises where {name} is {layout}"
            if not right_numbers(got.astype(float), backend, case):
                return f"is wrong where {name} is {layout}"
    return ""


def overwritten(function, backend, fault):
    """Make the calls in the memory of the first, one after the other."""
    arrays, _ = made(backend, fault.on[0])
    for case in fault.on:
        data, options = made(backend, case)
        if any(np.shape(a) != np.shape(b) for a, b in zip(arrays, data, strict=True)):
            return ""
        for place, values in zip(arrays, data, strict=True):
            if isinstance(place, np.ndarray):
                place[...] = values
        if not right_numbers(function(*arrays, **options).astype(float), backend, case):
            return "remembers memory"
    return ""


# --- Faults of a random operation -------------------------------------------------------------------------


def draws(function, case):
    """Return what many seeds give: the corrupted tokens, and what was selected.

    Every other seed is one more than the one before it, and each fourth has one more high bit than the one before.
    """
    options = {**case.options}
    start = options.pop("seed")
    seeds = [start + at + (1 << (16 + at // 4 % 15)) * (at % 4 == 3) - (at % 4 == 3) for at in range(DRAWS)]
    pairs = [function(case.tokens.astype(np.int64), **options, seed=seed) for seed in seeds]
    return np.stack([np.asarray(pair[0]) for pair in pairs]), np.stack([np.asarray(pair[1]) for pair in pairs])


def statistics(corrupted, selected, case):
    """Return one row of numbers for each draw; equal distributions have equal means."""
    flat = case.tokens.reshape(-1)
    after, chosen = corrupted.reshape(DRAWS, -1), selected.reshape(DRAWS, -1)
    hidden, kept = chosen & (after == case.options["mask_id"]), chosen & (after == flat)
    other = chosen & ~hidden & ~kept
    total = chosen.sum(axis=1, keepdims=True)
    bins = after * 32 // case.options["vocab_size"]
    drawn = np.stack([(other & (bins == at)).sum(1) for at in range(32)], axis=1)
    places = np.random.default_rng(0).integers(flat.size, size=(2, 200))
    places = places[:, places[0] != places[1]]
    places = np.concatenate([places, [np.arange(flat.size - 1), np.arange(1, flat.size)]], axis=1)
    one, two = places
    pairs = [found[:, one] & found[:, two] for found in (chosen, hidden, other)]
    same = (after[:, one] == after[:, two]) & other[:, one] & other[:, two]
    alike = [same, same.sum(1, keepdims=True), (same.sum(1, keepdims=True) > 0)]
    alike += [found.sum(1, keepdims=True) for found in (hidden, kept, other)]
    if selected.ndim > 1:
        rows = selected.reshape(DRAWS, -1, selected.shape[-1]).sum(-1)
        alike += [rows**2, rows[:, :-1] * rows[:, 1:]]
    return np.concatenate(
        [np.asarray(part, float) for part in (chosen, hidden, kept, other, total, total**2, drawn, *pairs, *alike)]
        + [between_calls(chosen, hidden, selected)],
        axis=1,
    )


def between_calls(chosen, hidden, selected):
    """Return how alike neighbouring calls are: at the same places, and a row of one at another row of the next."""
    after, masked = np.roll(chosen, -1, axis=0), np.roll(hidden, -1, axis=0)
    both = [chosen & after, chosen & masked, hidden & after]
    parts = [*both, *(found.sum(1, keepdims=True) for found in both), (chosen == after).all(1, keepdims=True)]
    if selected.ndim > 1:
        rows = selected.reshape(len(selected), -1, selected.shape[-1])
        there = np.roll(rows, -1, axis=0)
        parts.append((rows == there).all(-1))
        parts += [(rows[:, a] & there[:, b]).sum(1, keepdims=True) for a in range(rows.shape[1]) for b in range(rows.shape[1])]
    return np.concatenate([np.asarray(part, float) for part in parts], axis=1)


def after_the_earlier_calls(fault):
    """Return the implementation once it has made all calls but the last."""
    function = fault.implementation()
    for case in fault.on[:-1]:
        function(case.tokens.copy(), **case.options)
    return function


def told_apart(fault):
    """Say what shows that a random fault is none: a call that no right one gives, or a frequency 7 deviations away."""
    case, function = fault.on[-1], after_the_earlier_calls(fault)
    return wrong_call(function, case) or another_frequency(function, case) or touched(function, case)


def wrong_call(function, case):
    """Say what is wrong with one call, whatever was drawn."""
    tokens, options = case.tokens, case.options
    before = tokens.copy()
    try:
        first, again = (function(tokens, **options) for _ in range(2))
    except Exception:  # noqa: BLE001 - whatever a wrong implementation raises
        return "raises"
    if not np.array_equal(tokens, before):
        return "writes into its inputs"
    if not (isinstance(first, tuple) and len(first) == 2):
        return "returns no pair"
    corrupted, selected = first
    if (corrupted.dtype, selected.dtype) != (np.int64, bool) or {corrupted.shape, selected.shape} != {tokens.shape}:
        return "returns another shape or dtype"
    if not all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)):
        return "is not repeatable"
    if np.shares_memory(corrupted, tokens):
        return "returns its input"
    for layout, array in judge_of("mlm_corrupt").layouts(case, "tokens"):
        if not all(np.array_equal(a, b) for a, b in zip(function(array, **options), first, strict=True)):
            return f"is wrong where tokens are {layout}"
    return ""


def moments(function, case):
    """Return the mean and the variance of each number over many draws."""
    found = statistics(*draws(function, case), case)
    return found.mean(axis=0), found.var(axis=0)


def right_moments(case):
    """Return those of the reference, computed once for each call."""
    if case.digest not in RIGHT_MOMENTS:
        RIGHT_MOMENTS[case.digest] = moments(right("mlm_corrupt"), case)
    return RIGHT_MOMENTS[case.digest]


def another_frequency(function, case):
    """Say which frequency is not that of the reference."""
    tokens, options = case.tokens, case.options
    selected = function(tokens, **{**options, "seed": 0})[1].reshape(-1, tokens.shape[-1])
    if len(selected) > 1 and selected[0].size > 100 and (selected[0] == selected[1]).all():
        return "gives two long rows the same pattern"
    (mean, variance), (right_mean, right_variance) = moments(function, case), right_moments(case)
    spread, apart = np.sqrt((variance + right_variance) / DRAWS), np.abs(mean - right_mean)
    return "another frequency" if (apart > 7 * np.maximum(spread, 1e-9)).any() else ""


def touched(function, case):
    """Say whether a call changes a generator that all share, Python's or NumPy's, or hangs on it."""
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the very thing that is looked at
    state, python_state = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    one = function(case.tokens, **case.options)
    moved = not np.array_equal(state, np.random.get_state()[1]) or random.getstate() != python_state  # noqa: NPY002
    np.random.seed(6)  # noqa: NPY002
    other = function(case.tokens, **case.options)
    hangs = not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    return "touches a shared generator" if moved or hangs else ""


@pytest.mark.parametrize("slug", SLUGS)
def test_no_fault_is_equivalent_to_the_reference(slug):
    """The calls that it names show what is wrong with it; the reference makes them without anything to show."""
    fault = catalogue()[slug]

    if slug in RANDOM:
        assert told_apart(fault)
    else:
        assert separated(fault)
        with quiet():
            assert [outcome(right(fault.operation), judge_of(fault.operation), case) for case in fault.on] == [""] * len(fault.on)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_fault_says_what_it_is(slug):
    """One sentence, a public report or the words for a classic mistake, requirements of its operation, and a hint."""
    fault = catalogue()[slug]
    tried = {prop.id for prop in engine.properties() if fault.operation in prop.inputs}

    assert re.fullmatch(r"[A-Z0-9`|].*\.", fault.sentence), "one sentence, on one line"
    assert fault.origin == CLASSIC or re.fullmatch(r"[\w.-]+/[\w.-]+#\d+|https://\S+", fault.origin)
    assert fault.fails
    assert set(fault.fails) <= tried
    assert fault.hint
    assert not fault.hint.endswith(".")


@pytest.mark.parametrize("slug", SLUGS)
def test_a_fault_breaks_every_requirement_that_it_declares(slug, fault_seed):
    """A slice of the kill matrix; `nox -s faults` judges the whole of it.  A known survivor breaks none."""
    declared = () if slug in SURVIVORS else catalogue()[slug].fails

    broken = judge_fault(slug, seed=fault_seed, only=catalogue()[slug].fails).broken

    assert broken == tuple(prop.id for prop in engine.properties() if prop.id in declared)


def test_every_concept_has_faults():
    """The eight, and what every operation is held to."""
    assert {fault.concept for fault in catalogue().values()} == set(CONCEPTS)
    assert {slug for slug in CONCEPTS if slug != "general"} == {page.slug for page in toise_spec.requirements().values()} - {
        "general"
    }
