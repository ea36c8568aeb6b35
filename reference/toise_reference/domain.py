"""What the arguments of a reference function must be: its docstring says so, and `checked` holds callers to it.

A line `k  [..., m, d_k]  keys` of a docstring declares an array, `number` a real number, `probability` one
from 0 to 1, `whole` a whole number that is 0 or more, `ids` a sequence of such numbers, `flag` a boolean and
`function` a function from arrays to arrays of the same shape and dtype.  Arrays hold floating-point numbers,
all of one dtype, unless a word after the shape says otherwise: `tokens  [..., n]  int64  one sequence`.
The check stands here, once, so that the text of a function stays its formula.
"""

import functools
import inspect
import math
import numbers
import re

import numpy as np

_LINE = re.compile(r"^(\w+) +(\[[^\]]*\]|number|probability|whole|ids|flag|function)(?: +(int64|bool))?(?: |$)", re.MULTILINE)


def checked(function):
    """Make `function` raise TypeError or ValueError for arguments that its docstring rules out."""
    signature = inspect.signature(function)
    lines = _LINE.findall(inspect.getdoc(function))
    declared = {name: kind for name, kind, _ in lines}
    discrete = {name: dtype for name, _, dtype in lines if dtype}

    @functools.wraps(function)
    def call(*args, **options):
        bound = signature.bind(*args, **options)
        given = {name: value for name, value in bound.arguments.items() if value is not signature.parameters[name].default}
        arrays = {name: value for name, value in given.items() if declared[name].startswith("[")}
        _check_dtypes(arrays, discrete)
        sizes = _check_shapes(arrays, {name: declared[name].strip("[]").split(", ") for name in arrays})
        for name in given.keys() - arrays.keys():
            bound.arguments[name] = _KINDS[declared[name]](name, given[name])
        _check_tokens(
            {name: array for name, array in arrays.items() if discrete.get(name) == "int64"},
            sizes.get("vocab", bound.arguments.get("vocab_size")),
        )
        return function(*bound.args, **bound.kwargs)

    return call


def _flag(name, value):
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; required: True or False")
    return bool(value)


def _number(name, value):
    """Return a Python float: a NumPy scalar would promote float32 arrays to its own dtype."""
    if not isinstance(value, (numbers.Real, np.ndarray)) or np.ndim(value) > 0 or np.asarray(value).dtype == bool:
        raise TypeError(f"{name} is {value!r}; required: a number")
    number = float(value)
    if not math.isfinite(number) or (name == "eps" and number < 0):
        raise ValueError(f"{name} is {number}; required: a finite number{', 0 or more' if name == 'eps' else ''}")
    return number


def _probability(name, value):
    number = _number(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} is {number}; required: a probability, from 0 to 1")
    return number


def _whole(name, value):
    """Return a Python int: a NumPy integer of few bits would wrap around in what is computed from it."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; required: a whole number")
    if value < 0:
        raise ValueError(f"{name} is {value}; required: 0 or more")
    return int(value)


def _ids(name, value):
    """Return an array, which has its dtype also where there are no ids."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        raise TypeError(f"{name} is {value!r}; required: a sequence of whole numbers")
    return np.array([_whole(f"{name}[{at}]", id) for at, id in enumerate(value)], np.int64)


def _function(name, value):
    """Return a function that gives what `value` gives, held to the shape and the dtype of what it is given."""
    if not callable(value):
        raise TypeError(f"{name} is {value!r}; required: a function")

    def held(array):
        result = value(array)
        if not isinstance(result, np.ndarray):
            raise TypeError(f"{name} gave a {type(result).__name__}; required: a NumPy array")
        if result.dtype != array.dtype:
            raise TypeError(f"{name} gave dtype {result.dtype}; required: {array.dtype}, as it was given")
        if result.shape != array.shape:
            raise ValueError(f"{name} gave shape {result.shape}; required: {array.shape}, as it was given")
        return result

    return held


_KINDS = {"flag": _flag, "number": _number, "probability": _probability, "whole": _whole, "ids": _ids, "function": _function}


def _check_dtypes(arrays, discrete):
    dtypes = {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} is a {type(array).__name__}; required: a NumPy array")
        if name not in discrete:
            dtypes[name] = array.dtype
        elif array.dtype != discrete[name]:
            raise TypeError(f"{name} has dtype {array.dtype}; required: {discrete[name]}")
    if len(set(dtypes.values())) > 1 or not all(np.issubdtype(dtype, np.floating) for dtype in dtypes.values()):
        got = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"got {got}; required: one floating-point dtype for all")


def _check_shapes(arrays, axes):
    """Return the length of each named axis, one for all arrays; the leading axes `...` are equal, and those of a mask may be 1.

    The length of an axis such as `h*d_v` is the product of two that stand before it.
    """
    sizes, lead = {}, None
    for name, array in arrays.items():
        named = [axis for axis in axes[name] if axis != "..."]
        leading = array.shape[: array.ndim - len(named)]
        if array.ndim < len(named) or (leading and "..." not in axes[name]):
            raise ValueError(f"{name} has shape {array.shape}; required: [{', '.join(axes[name])}]")
        for axis, size in zip(named, array.shape[array.ndim - len(named) :], strict=True):
            if "*" in axis:
                sizes[axis] = math.prod(sizes[factor] for factor in axis.split("*"))
            if sizes.setdefault(axis, size) != size:
                raise ValueError(f"{name} has shape {array.shape}; required: {axis} = {sizes[axis]} in [{', '.join(axes[name])}]")
            if size == 0 and axis not in ("n", "m"):
                raise ValueError(f"{name} has shape {array.shape}; required: {axis} of 1 or more")
        if "..." not in axes[name]:
            continue
        lead = leading if lead is None else lead
        fits = leading == lead if name != "mask" else _serves(leading, lead)
        if not fits:
            raise ValueError(f"{name} has leading axes {leading}; required: {lead}{' or 1' if name == 'mask' else ''}")
    return sizes


def _check_tokens(arrays, vocab):
    for name, array in arrays.items():
        if array.size and not 0 <= array.min() <= array.max() < vocab:
            raise ValueError(f"{name} holds tokens from {array.min()} to {array.max()}; required: from 0 to {vocab - 1}")


def _serves(leading, lead):
    return len(leading) <= len(lead) and all(
        size in (1, full) for size, full in zip(leading, lead[len(lead) - len(leading) :], strict=True)
    )
