"""The catalogue of faults: none is equivalent to the reference, each says what it is, and the gate counts what is so."""

from __future__ import annotations

import re

import numpy as np
import pytest
import toise_reference
import toise_spec
from toise import engine
from toise.backend import Backend
from toise.errors import Unsupported
from toise.faults import CLASSIC, CONCEPTS, catalogue
from toise.faults.matrix import judge_fault
from toise.operations import OPERATIONS, sublayer_through
from toise.targets import load

SLUGS = list(catalogue())
RANDOM = [slug for slug in SLUGS if catalogue()[slug].operation == "mlm_corrupt"]
DRAWS = 4000


def right(operation):
    """Return a right implementation."""
    return getattr(toise_reference, operation)


def judge_of(operation):
    """Return a backend that holds results to the reference, in float32."""
    return Backend(load({operation: right(operation)}), OPERATIONS[operation].dtype or "float32")


def made(backend, case):
    """Return fresh arrays for a call: the data in their order, and the options."""
    natives = backend.natives(case)
    given = {**case.options, **natives}
    if "sublayer" in given:
        given["sublayer"] = sublayer_through(given["x"], given["sublayer"])
    names = OPERATIONS[case.operation].data
    return [given[name] for name in names], {name: value for name, value in given.items() if name not in names}


def outcome(function, backend, case):
    """Make a call and say what is wrong with what it did, in one word; empty where nothing is."""
    data, options = made(backend, case)
    before = [np.copy(part) if isinstance(part, np.ndarray) else part for part in data]
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
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, data, strict=True) if isinstance(b, np.ndarray)):
        return "writes into its inputs"
    if not isinstance(got, (np.ndarray, np.generic)):
        return "returns no array"
    if any(isinstance(part, np.ndarray) and np.shares_memory(got, part) for part in data):
        return "returns its input"
    required = backend.required(case)
    dtype = OPERATIONS[case.operation].dtype or data[0].dtype
    if got.shape != required.value.shape or got.dtype != dtype:
        return "returns another shape or dtype"
    with np.errstate(all="ignore"):
        near = np.abs(got.astype(float) - required.value) <= required.radius
    same = near | (np.isnan(required.value) & np.isnan(got.astype(float)))
    return "" if same.all() else "returns other numbers"


def separated(fault):
    """Say what shows, on the calls that the fault names, that it is no right implementation; empty where nothing does."""
    backend, function = judge_of(fault.operation), fault.implementation()
    with np.errstate(all="ignore"):
        return played(function, backend, fault) or laid_out(function, backend, fault) or overwritten(function, backend, fault)


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
        returned.append((got, np.copy(got)))
    return "" if np.array_equal(returned[-1][1], returned[-2][1], equal_nan=True) else "is not repeatable"


def laid_out(function, backend, fault):
    """Make the last call with each array in each layout."""
    case = fault.on[-1]
    _, options = made(backend, case)
    required = backend.required(case)
    for at, name in enumerate(OPERATIONS[fault.operation].data):
        if name in case.arrays and name != "sublayer":
            for layout, array in backend.layouts(case, name):
                data = list(made(backend, case)[0])
                data[at] = array
                try:
                    got = function(*data, **options)
                except Exception:  # noqa: BLE001 - whatever a wrong implementation raises
                    return f"raises on {layout}"
                if not (np.abs(got - required.value) <= required.radius).all():
                    return f"reads {layout} wrongly"
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
        got, required = function(*arrays, **options), backend.required(case)
        if not (np.abs(got - required.value) <= required.radius).all():
            return "remembers memory"
    return ""


# --- Faults of a random operation -------------------------------------------------------------------------


def draws(function, case):
    """Return what many seeds give: the corrupted tokens, and what was selected."""
    options = {**case.options}
    start = options.pop("seed")
    pairs = [function(case.tokens.astype(np.int64), **options, seed=start + at) for at in range(DRAWS)]
    return np.stack([np.asarray(pair[0]) for pair in pairs]), np.stack([np.asarray(pair[1]) for pair in pairs])


def statistics(corrupted, selected, case):
    """Return one row of numbers for each draw; equal distributions have equal means."""
    tokens, mask_id, vocab = case.tokens, case.options["mask_id"], case.options["vocab_size"]
    chosen = selected.reshape(DRAWS, -1).astype(float)
    hidden = ((corrupted == mask_id) & selected).reshape(DRAWS, -1)
    kept = ((corrupted == tokens) & selected).reshape(DRAWS, -1)
    other = chosen.astype(bool) & ~hidden & ~kept
    total = chosen.sum(axis=1, keepdims=True)
    drawn = np.stack([((corrupted == id) & selected).reshape(DRAWS, -1).sum(1) for id in range(min(vocab, 64))], axis=1)
    pairs = [chosen[:, :-1] * chosen[:, 1:], hidden[:, :-1] * hidden[:, 1:], other[:, :-1] * other[:, 1:]]
    same = (np.diff(corrupted.reshape(DRAWS, -1), axis=1) == 0) & other[:, :-1] & other[:, 1:]
    lagged = np.abs(np.diff(chosen, axis=0, prepend=chosen[:1])).sum(1, keepdims=True)
    parts = [chosen, hidden, kept, other, total, total**2, drawn, *pairs, same, lagged]
    if selected.ndim > 1:
        rows = selected.reshape(DRAWS, -1, selected.shape[-1]).sum(-1)
        parts.append(rows**2)
        parts.append(rows[:, :-1] * rows[:, 1:])
    return np.concatenate([np.asarray(part, float) for part in parts], axis=1)


def told_apart(fault):
    """Say what shows that a random fault is none: a call that no right one gives, or a frequency 9 deviations away."""
    case, function = fault.on[-1], fault.implementation()
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
    a, b = (statistics(*draws(each, case), case) for each in (function, right("mlm_corrupt")))
    spread = np.sqrt((a.var(axis=0) + b.var(axis=0)) / DRAWS)
    apart = np.abs(a.mean(axis=0) - b.mean(axis=0))
    return "another frequency" if (apart > 9 * np.maximum(spread, 1e-9)).any() else touched(function, case)


def touched(function, case):
    """Say whether a call changes the generator that all of NumPy shares, or hangs on it."""
    np.random.seed(5)  # noqa: NPY002 - the very thing that is looked at
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one = function(case.tokens, **case.options)
    moved = not np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(6)  # noqa: NPY002
    other = function(case.tokens, **case.options)
    hangs = not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    return "touches the shared generator" if moved or hangs else ""


@pytest.mark.parametrize("slug", SLUGS)
def test_no_fault_is_equivalent_to_the_reference(slug):
    """The calls that it names show what is wrong with it; the reference makes them without anything to show."""
    fault = catalogue()[slug]

    if slug in RANDOM:
        assert told_apart(fault)
    else:
        assert separated(fault)
        backend = judge_of(fault.operation)
        for case in fault.on:
            assert outcome(right(fault.operation), backend, case) == ""


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
def test_a_fault_breaks_every_requirement_that_it_declares(slug):
    """A slice of the kill matrix; `nox -s faults` judges the whole of it."""
    fault = catalogue()[slug]

    assert judge_fault(slug, only=fault.fails).broken == tuple(prop.id for prop in engine.properties() if prop.id in fault.fails)


def test_every_concept_has_faults():
    """The eight, and what every operation is held to."""
    assert {fault.concept for fault in catalogue().values()} == set(CONCEPTS)
    assert {slug for slug in CONCEPTS if slug != "general"} == {page.slug for page in toise_spec.requirements().values()} - {
        "general"
    }
