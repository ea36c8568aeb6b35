"""What the arguments of a reference function must be: its docstring says so, and `checked` holds callers to it.

A line `k  [..., m, d_k]  keys` of a docstring declares an array, `number` a real number and `flag` a
boolean.  The check stands here, once, so that the text of a function stays its formula.
"""

import functools
import inspect
import math
import numbers
import re

import numpy as np

_LINE = re.compile(r"^(\w+) +(\[[^\]]*\]|number|flag)(?: |$)", re.MULTILINE)


def checked(function):
    """Make `function` raise TypeError or ValueError for arguments that its docstring rules out."""
    signature = inspect.signature(function)
    declared = dict(_LINE.findall(inspect.getdoc(function)))

    @functools.wraps(function)
    def call(*args, **options):
        bound = signature.bind(*args, **options)
        given = {name: value for name, value in bound.arguments.items() if value is not signature.parameters[name].default}
        arrays = {name: value for name, value in given.items() if declared[name].startswith("[")}
        _check_dtypes(arrays)
        _check_shapes(arrays, {name: declared[name].strip("[]").split(", ") for name in arrays})
        for name in given.keys() - arrays.keys():
            bound.arguments[name] = (_flag if declared[name] == "flag" else _number)(name, given[name])
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


def _check_dtypes(arrays):
    dtypes = {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} is a {type(array).__name__}; required: a NumPy array")
        if name == "mask" and array.dtype != bool:
            raise TypeError(f"mask has dtype {array.dtype}; required: bool, True where a query may attend")
        if name != "mask":
            dtypes[name] = array.dtype
    if len(set(dtypes.values())) > 1 or not all(np.issubdtype(dtype, np.floating) for dtype in dtypes.values()):
        got = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"got {got}; required: one floating-point dtype for all")


def _check_shapes(arrays, axes):
    """Give every named axis one length; the leading axes `...` are equal, and those of a mask may be 1."""
    sizes, lead = {}, None
    for name, array in arrays.items():
        named = [axis for axis in axes[name] if axis != "..."]
        leading = array.shape[: array.ndim - len(named)]
        if array.ndim < len(named) or (leading and "..." not in axes[name]):
            raise ValueError(f"{name} has shape {array.shape}; required: [{', '.join(axes[name])}]")
        for axis, size in zip(named, array.shape[array.ndim - len(named) :], strict=True):
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


def _serves(leading, lead):
    return len(leading) <= len(lead) and all(
        size in (1, full) for size, full in zip(leading, lead[len(lead) - len(leading) :], strict=True)
    )
