"""A failure as a script of its own: twenty lines at most, that need NumPy and the file of the target alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import toise_spec

from toise.backends import ADAPTERS
from toise.errors import TargetError
from toise.operations import OPERATIONS
from toise.verdict import KINDS

if TYPE_CHECKING:
    from toise.engine import Trial
    from toise.inputs import Case
    from toise.targets import Target
    from toise.verdict import Violation

# For each kind of arrays: what is imported, how an array is made, and how a result is read as float64.
ARRAYS = {
    "numpy": ("", "np.array({numbers}, {dtype})", "np.asarray({result}, np.float64)"),
    "torch": ("import torch", "torch.tensor({numbers}, dtype={dtype}{device})", "{result}.detach().cpu().double().numpy()"),
    "jax": ("import jax.numpy as jnp", "jnp.array({numbers}, dtype={dtype})", "np.asarray({result}, np.float64)"),
    "mlx": (
        "import mlx.core as mx",
        "mx.array({numbers}, dtype={dtype})",
        "np.array({result}.astype(mx.float32)).astype(np.float64)",
    ),
}
# What the call shows by itself: it does not come to its end.
BY_ITSELF = ("raised", "exit", "memory", "crash", "timeout")
MODULES = {"numpy": "np", "torch": "torch", "jax": "jnp", "mlx": "mx"}
BOOLEANS = {"numpy": "np.bool_", "torch": "torch.bool", "jax": "jnp.bool_", "mlx": "mx.bool_"}


def script_of(trial: Trial, target: Target) -> str:
    """Return the text of a script that makes the failing call and shows what is wrong with it.

    Raises TargetError where nothing fails, and for a target that a script cannot import.
    """
    if not trial.failures:
        raise TargetError("nothing fails there: a script shows a failure")
    ((_, violation),) = trial.failures.items()
    if not violation.calls:
        raise TargetError(f"{KINDS[violation.kind]}: there is no one call that a script could make")
    required = trial.prop.requirement
    imported = _imported(target, trial.operation)
    call, check = _checked(trial, violation)
    lines = [
        f'"""{required.id} of specification {toise_spec.VERSION}: {_plain(required.sentence)}"""',
        "import numpy as np",
        *(["import ml_dtypes"] if trial.backend.dtype == "bfloat16" and target.arrays.name == "numpy" else []),
        *filter(None, [ARRAYS[target.arrays.name][0]]),
        *imported,
        *_arguments(call, trial, target),
        *check,
    ]
    return "\n".join(lines) + "\n"


def _imported(target: Target, operation: str) -> list[str]:
    """Return the lines that find the operation."""
    if target.again and not target.again[0]:
        raise TargetError(f"{target.name}: a program is no Python; a script cannot call it")
    path = Path(target.name)
    if path.suffix == ".py":
        return ["from runpy import run_path", "", f'{operation} = run_path({json.dumps(str(path))})["{operation}"]']
    module, _, thing = target.name.partition(":")
    if module in ADAPTERS or not target.named:
        raise TargetError(f"{target.name}: a script needs a file, or a module that can be imported")
    root = thing.partition(".")[0]
    if not thing:
        return [f"from {module} import {operation}"]
    return [f"from {module} import {root}", "", f"{operation} = {thing}.{operation}"]


def _arguments(call: Case, trial: Trial, target: Target) -> list[str]:
    """Return a line for each array and for each option that is an array."""
    return [
        f"{name} = {_made(np.asarray(part), trial, target)}"
        for name, part in {**call.arrays, **call.options}.items()
        if isinstance(part, np.ndarray)
    ]


def _made(array: np.ndarray, trial: Trial, target: Target) -> str:
    """Return the code that makes an array of the target's kind."""
    kind = target.arrays.name
    dtype = f"{MODULES[kind]}.{_name(array, trial)}"
    if array.dtype == bool:
        dtype = BOOLEANS[kind]
    elif dtype == "np.bfloat16":
        dtype = "ml_dtypes.bfloat16"
    device = f', device="{target.arrays.device}"' if target.arrays.device != "cpu" else ""
    made = ARRAYS[kind][1].format(numbers=_numbers(array), dtype=dtype, device=device)
    return made if array.size else f"{made}.reshape({array.shape})"


def _name(array: np.ndarray, trial: Trial) -> str:
    return trial.backend.dtype if array.dtype == np.float64 else str(array.dtype)


def _checked(trial: Trial, violation: Violation) -> tuple[Case, list[str]]:
    """Return the call to make, and the lines that make it and hold the result to what is required."""
    kind = trial.backend.target.arrays.name
    for call in violation.calls:
        if violation.kind in ("value", "non-finite", "layout", "state") and (required := _refuted(trial, call)) is not None:
            value, radius = required
            return call, [
                f"got = {ARRAYS[kind][2].format(result=_call(call))}",
                f"required = {_floats(value)}",
                f"radius = {_floats(radius)}",
                'print("got", got, "required", required, "within", radius, sep="\\n")',
                f'assert (abs(got - required) <= radius).all(), "{violation.kind}"',
            ]
    call = violation.calls[0]
    told = f"# {KINDS[violation.kind]}: {_plain(violation.message)}"
    if violation.kind == "shape":
        return call, [
            told,
            f"got = {_call(call)}",
            "print(got.shape)",
            f"assert tuple(got.shape) == {np.shape(trial.backend.required(call).value)}",
        ]
    if violation.kind == "dtype":
        return call, [told, f"got = {_call(call)}", "print(got.dtype)", f'assert "{trial.backend.dtype}" in str(got.dtype)']
    if violation.kind == "mutated":
        first = next(iter(call.arrays))
        read = ARRAYS[kind][2]
        return call, [
            told,
            f"before = [{', '.join(f'{read.format(result=name)}.copy()' for name in call.arrays if name != 'sublayer')}]",
            _call(call),
            f"after = [{', '.join(read.format(result=name) for name in call.arrays if name != 'sublayer')}]",
            f'assert all(np.array_equal(a, b) for a, b in zip(before, after)), "{first} or another input was changed"',
        ]
    if violation.kind == "type":
        return call, [told, f"got = {_call(call)}", "print(type(got))", 'assert hasattr(got, "dtype"), "no array"']
    if violation.kind not in BY_ITSELF:
        raise TargetError(f"{KINDS[violation.kind]}: no one call shows that, and a script makes one; leave --script out")
    return call, [told, f"print({_call(call)})"]


def _call(call: Case) -> str:
    """Return the code of the call."""
    given = {**call.arrays, **call.options}
    texts = {name: name if isinstance(part, np.ndarray) else repr(part) for name, part in given.items()}
    positional = OPERATIONS[call.operation].data
    data = [f"lambda rows: {name}" if name == "sublayer" else texts[name] for name in positional if given.get(name) is not None]
    options = [f"{name}={text}" for name, text in texts.items() if name not in positional]
    return f"{call.operation}({', '.join([*data, *options])})"


def _refuted(trial: Trial, call: Case) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the value and the radius of a call whose result is not within them; None if it is."""
    if call.operation == "mlm_corrupt":  # held to no single value
        return None
    answer = trial.backend.run(call)
    value = np.asarray(answer.value, np.float64)
    radius = np.broadcast_to(np.asarray(answer.radius, np.float64), value.shape)
    with np.errstate(all="ignore"):
        within = np.abs(answer.got - value) <= radius
    return None if within.all() or not np.isfinite(value).all() else (value, radius)


def _floats(array: np.ndarray) -> str:
    """Return the code of numbers in float64."""
    return f"np.array({_numbers(array)})" + ("" if array.size else f".reshape({array.shape})")


def _numbers(array: np.ndarray) -> str:
    """Return the code of nested lists, in which the numbers without a literal are calls."""
    return repr(array.tolist()).replace("nan", 'float("nan")').replace("inf", 'float("inf")')


def _plain(text: str) -> str:
    """Return a text that can stand in a comment or a docstring."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())
