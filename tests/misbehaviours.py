"""Backends that misbehave: each wraps a correct one, and does one thing wrong.

A misbehaviour takes a correct function and the array library it computes with, and returns the function
to judge.  What is common to NumPy and torch is written once; `LIBRARIES` holds what is not.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis.errors
import numpy as np
import pytest
import toise_reference
import torch
from toise import run
from toise.quiet import quiet
from toise.targets import load

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterable

    from toise import Report

Function = Any
Wrapper = Any

torch.set_num_threads(1)  # the arrays are small, and the tests run side by side


@dataclass(frozen=True)
class Library:
    """An array library, a correct implementation in it, and the few names that NumPy and torch do not share."""

    name: str
    module: types.ModuleType
    attention: Function
    layer_norm: Function
    cast: Callable[[Any, str], Any]
    copy: Callable[[Any], Any]
    address: Callable[[Any], int]
    as_if_contiguous: Callable[[Any], Any]


def torch_attention(q, k, v, *, mask=None, causal=False, scale=None):
    """Call torch's attention with bottom-right alignment."""
    if causal:
        lower = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2])
        mask = lower if mask is None else lower & mask
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def torch_layer_norm(x, gamma, beta, *, eps=1e-5):
    """Call torch's layer normalisation over the last axis."""
    return torch.nn.functional.layer_norm(x, (x.shape[-1],), gamma, beta, eps)


def numpy_as_if_contiguous(x):
    """Read the memory that an array lies in from its start, row by row."""
    memory = x
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    steps = np.empty(x.shape, np.bool_).strides
    return (
        np.lib.stride_tricks.as_strided(memory, x.shape, tuple(step * x.itemsize for step in steps))
        if memory.size >= x.size
        else x
    )


def torch_as_if_contiguous(x):
    """Read the memory that a tensor lies in from its offset, row by row."""
    steps = torch.empty(x.shape).stride()
    fits = x.storage_offset() + x.numel() <= x.untyped_storage().nbytes() // x.element_size()
    return torch.as_strided(x, x.shape, steps, x.storage_offset()) if fits else x


LIBRARIES = {
    "numpy": Library(
        name="numpy",
        module=np,
        attention=toise_reference.attention,
        layer_norm=toise_reference.layer_norm,
        cast=lambda x, dtype: x.astype(dtype),
        copy=np.copy,
        address=lambda x: x.__array_interface__["data"][0],
        as_if_contiguous=numpy_as_if_contiguous,
    ),
    "torch": Library(
        name="torch",
        module=torch,
        attention=torch_attention,
        layer_norm=torch_layer_norm,
        cast=lambda x, dtype: x.to(getattr(torch, dtype)),
        copy=torch.clone,
        address=torch.Tensor.data_ptr,
        as_if_contiguous=torch_as_if_contiguous,
    ),
}


def backend(misbehaviour: Wrapper | None, library: str, operation: str, **declared: Any) -> dict[str, Any]:
    """Return a target with that operation alone, correct if `misbehaviour` is None."""
    correct = getattr(LIBRARIES[library], operation)
    function = misbehaviour(correct, LIBRARIES[library]) if misbehaviour else correct
    return {"__toise__": {"arrays": library, operation: declared}, operation: function}


def judged(target: object, requirements: Iterable[str], *, budget: str = "smoke", seed: int = 0, **options: Any) -> Report:
    """Judge a target on some requirements alone, as a run with a selection does."""
    chosen = set(requirements)
    loaded = load(target)
    units, _ = run.plan(loaded, select=lambda prop: prop.id in chosen, **options)
    units = [unit for unit in units if unit.operation in loaded.operations]
    assert {unit.requirement for unit in units} == chosen, "the suite has no such requirement, or not for this operation"

    backends: dict[str, Any] = {}
    with quiet():
        rows = [run.judge_unit(unit, loaded, backends, run.Rules(budget, seed)) for unit in units]
    return run.assemble(loaded, rows, (), run.settings_of(budget=budget, seed=seed))


def failed(report: Report) -> set[str]:
    """Return the requirements that are broken, the recommendations left out."""
    return {row.requirement for row in report.results if row.outcome in ("FAIL", "CRASH")}


def not_passed(report: Report) -> set[str]:
    """Return the requirements that are not passed, with their outcome where it is no FAIL."""
    return {
        row.requirement if row.outcome == "FAIL" else f"{row.requirement} {row.outcome}"
        for row in report.results
        if row.outcome != "PASS"
    }


def spoiled(spoil: Callable[[Any, Library], Any]) -> Wrapper:
    """Make a misbehaviour of a function that spoils a result."""

    def wrap(function: Function, library: Library) -> Function:
        @functools.wraps(function)
        def call(*data: Any, **options: Any) -> Any:
            return spoil(function(*data, **options), library)

        return call

    wrap.__doc__ = spoil.__doc__
    return wrap


# The result has another form.


@spoiled
def squeezed(y, library):
    """Every axis of length 1 is lost."""
    return y.squeeze()


@spoiled
def with_one_axis_more(y, library):
    """An axis of length 1 is left over."""
    return y[None]


@spoiled
def transposed(y, library):
    """The last two axes are exchanged."""
    return y.swapaxes(-1, -2) if y.ndim > 1 else y


@spoiled
def broadcastable(y, library):
    """One feature stands for all of them: a comparison that broadcasts would accept the shape."""
    return y[..., :1]


@spoiled
def float64(y, library):
    """float64 for float32, with the same numbers."""
    return library.cast(y, "float64")


@spoiled
def float16(y, library):
    """float16 for float32."""
    return library.cast(y, "float16")


@spoiled
def integers(y, library):
    """Whole numbers."""
    return library.cast(y, "int64")


@spoiled
def nothing(y, library):
    """`return` was forgotten."""


@spoiled
def a_list(y, library):
    """Python's lists in place of an array."""
    return y.tolist()


@spoiled
def a_number(y, library):
    """One number in place of an array."""
    return float(y.sum())


# The numbers are wrong.


def element(number: float) -> Wrapper:
    """The last element is replaced by a number."""

    @spoiled
    def spoil(y, library):
        y = library.copy(y)
        if 0 not in y.shape:
            y[(-1,) * y.ndim] = number
        return y

    return spoil


@spoiled
def nan_everywhere(y, library):
    """Nothing but NaN."""
    return y * math.nan


@spoiled
def zeros(y, library):
    """Nothing but zeros."""
    return y * 0


@spoiled
def entries_exchanged(y, library):
    """Each entry of the batch gets the result of another one."""
    return library.copy(library.module.flip(y, (0,))) if y.ndim > 2 else y


# Memory.


def writes_into(at: int) -> Wrapper:
    """An input is overwritten after the result was computed."""

    def wrap(function, library):
        @functools.wraps(function)
        def call(*data, **options):
            y = function(*data, **options)
            data[at][...] = 0
            return y

        return call

    return wrap


def the_previous_result(function, library):
    """A call returns the result of the call before it, where the shape fits."""
    last = []

    @functools.wraps(function)
    def call(*data, **options):
        last.append(function(*data, **options))
        return last[-2] if len(last) > 1 and last[-2].shape == last[-1].shape else last[-1]

    return call


def cached(key: Callable[[Any, Library], Any]) -> Wrapper:
    """A result is kept under a key that does not tell contents apart."""

    def wrap(function, library):
        kept = {}

        @functools.wraps(function)
        def call(*data, **options):
            at = (*(key(array, library) for array in data), str(options))
            if at not in kept:
                kept[at] = function(*data, **options)
            return library.copy(kept[at])

        return call

    return wrap


cached_by_shape = cached(lambda array, library: tuple(array.shape))
cached_by_address = cached(lambda array, library: (library.address(array), tuple(array.shape)))


def one_buffer(function, library):
    """All results of one shape are written into one buffer."""
    buffers = {}

    @functools.wraps(function)
    def call(*data, **options):
        y = function(*data, **options)
        buffer = buffers.setdefault(tuple(y.shape), y)
        buffer[...] = y
        return buffer

    return call


def in_place(function, library):
    """The result is written into the first argument, where it fits, and that is returned."""

    @functools.wraps(function)
    def call(*data, **options):
        y = function(*data, **options)
        if y.shape != data[0].shape:
            return y
        data[0][...] = y
        return data[0]

    return call


def writes_into_the_mask(function, library):
    """The causal order is written into the caller's mask."""

    @functools.wraps(function)
    def call(q, k, v, *, mask=None, causal=False, scale=None):
        y = function(q, k, v, mask=mask, causal=causal, scale=scale)
        if mask is not None:
            mask[...] = False
        return y

    return call


def a_view(function, library):
    """Where there is only one value to take a mean of, or one feature, the result is that very memory."""

    @functools.wraps(function)
    def call(*data, **options):
        y, last = function(*data, **options), data[-1]
        single = last.shape[-2 if last.ndim > 1 else -1] == 1
        return library.module.broadcast_to(last, y.shape) if single and not options else y

    return call


def strides_ignored(function, library):
    """The memory of every input is read as if the array were contiguous."""

    @functools.wraps(function)
    def call(*data, **options):
        return function(*(library.as_if_contiguous(array) for array in data), **options)

    return call


# Exceptions.


class Hostile(Exception):
    """An exception whose text cannot be had."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Outside(BaseException):
    """An exception that `except Exception` does not catch."""


def raising(make: Callable[[], BaseException]) -> Wrapper:
    """Every call raises."""

    def wrap(function, library):
        @functools.wraps(function)
        def call(*data, **options):
            raise make()

        return call

    return wrap


RAISED = {
    "ValueError": lambda: ValueError("the shapes do not fit"),
    "Hostile": Hostile,
    "Outside": Outside,
    "UnsatisfiedAssumption": hypothesis.errors.UnsatisfiedAssumption,
    "Skipped": lambda: pytest.skip.Exception("not today"),
    "Failed": lambda: pytest.fail.Exception("failed"),
    "StopIteration": StopIteration,
    "GeneratorExit": GeneratorExit,
    "RecursionError": lambda: RecursionError("maximum recursion depth exceeded"),
    "MemoryError": MemoryError,
    "AssertionError": AssertionError,
}


def exits(function, library):
    """Every call ends the process."""

    @functools.wraps(function)
    def call(*data, **options):
        raise SystemExit(3)

    return call


# Options of attention.


def drops(option: str) -> Wrapper:
    """An option is accepted and ignored, as `**options` does silently."""

    def wrap(function, library):
        def call(*data, **options):
            options.pop(option, None)
            return function(*data, **options)

        return call

    return wrap


def top_left(function, library):
    """Query i sees the keys j <= i, also where there are more keys than queries."""

    @functools.wraps(function)
    def call(q, k, v, *, mask=None, causal=False, scale=None):
        if causal:
            seen = library.module.tril(library.module.ones((q.shape[-2], k.shape[-2]), dtype=bool))
            mask = seen if mask is None else seen & mask
        return function(q, k, v, mask=mask, scale=scale)

    return call


def some_key(library, q, k, mask, causal):
    """Tell which queries have a key."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = library.module.ones((n, m), dtype=bool)
    if causal:
        allowed = library.module.tril(allowed, m - n)
    return (allowed if mask is None else allowed & mask).any(-1)


def empty_rows(fill: Callable[[Any], Any]) -> Wrapper:
    """A query without any key gives something else than zeros."""

    def wrap(function, library):
        @functools.wraps(function)
        def call(q, k, v, *, mask=None, causal=False, scale=None):
            y = function(q, k, v, mask=mask, causal=causal, scale=scale)
            return library.module.where(some_key(library, q, k, mask, causal)[..., None], y, fill(v))

        return call

    return wrap


empty_rows_nan = empty_rows(lambda v: v[..., :1, :] * math.nan)
empty_rows_mean = empty_rows(lambda v: v.mean(-2)[..., None, :])


def empty_rows_raise(function, library):
    """A mask that hides every key from a query is refused, as by a wrapper that inspects it first."""

    @functools.wraps(function)
    def call(q, k, v, *, mask=None, causal=False, scale=None):
        if not some_key(library, q, k, mask, causal).all():
            raise ValueError("a query without any key")
        return function(q, k, v, mask=mask, causal=causal, scale=scale)

    return call


def mean_of_the_values(function, library):
    """Every query gets the plain mean of all values."""

    @functools.wraps(function)
    def call(q, k, v, *, mask=None, causal=False, scale=None):
        y = function(q, k, v, mask=mask, causal=causal, scale=scale)
        return y * 0 + v.mean(-2)[..., None, :]

    return call


# Repeatability.


def every(period: int, spoil: Callable[[Any, Library], Any]) -> Wrapper:
    """One call in so many has a spoiled result."""

    def wrap(function, library):
        calls = 0

        @functools.wraps(function)
        def call(*data, **options):
            nonlocal calls
            calls += 1
            y = function(*data, **options)
            return y if calls % period else spoil(y, library)

        return call

    return wrap


def next_number(y, library):
    """Return the next numbers of the dtype, away from zero; zeros stay."""
    return library.module.nextafter(y, y * math.inf) if (y != 0).all() else y


last_bits_vary = every(2, next_number)
sometimes_wrong = every(11, lambda y, library: -3 * y - 1)
