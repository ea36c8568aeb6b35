"""What a correct backend rounds, for a dtype and a precision class: the organisations are written once, in terms of this."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from toise.bounds import CLASSES, PRECISIONS
from toise.declarations import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from toise.bounds import Precision
    from toise.inputs import Case

Array = np.ndarray
# What a backend declares that declares nothing.
UNDECLARED = parse({}).operations
NUMPY = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
# float32 has 23 bits after the point, TF32 has 10: a tensor core may cut the others off.
CUT = np.uint32(0xFFFFFFFF << 13 & 0xFFFFFFFF)


@dataclass(frozen=True)
class Machine:
    """A backend's arithmetic: the format of its steps, and the roundings that its class adds to them.

    STRICT and STEPWISE compute every step in the dtype; all others in float32.  TF32 cuts the operands of
    matrix products.  EAGER writes arrays out in the dtype between kernels, and FUSED nothing but the result; both may
    round attention weights.
    """

    dtype: str
    kind: str

    @functools.cached_property
    def precision(self) -> Precision:
        """The class as the bounds have it."""
        return PRECISIONS[self.dtype][self.kind]

    @functools.cached_property
    def step(self) -> np.dtype[Any]:
        """The format in which steps are computed."""
        return NUMPY[self.dtype if self.kind in ("STRICT", "STEPWISE") else "float32"]

    @functools.cached_property
    def wide(self) -> np.dtype[Any]:
        """A format in which a product of two numbers of a step is exact, or very nearly so."""
        return np.dtype(np.longdouble if self.dtype == "float64" else np.float64)

    @property
    def unit(self) -> float:
        """The error of one step."""
        return self.precision.step.u

    @property
    def truncates(self) -> bool:
        """Whether long sums may be cut instead of rounded, as tensor cores do."""
        return self.kind in ("TF32", "FUSED", "EAGER")

    def loaded(self, array: Array) -> Array:
        """Read inputs, which are exact in the dtype."""
        return array.astype(self.step)

    def rounded(self, array: Array) -> Array:
        """Round what was computed in a wider format to the format of a step."""
        return np.asarray(array).astype(self.step)

    def number(self, x: float) -> Any:
        """Round a constant to the format of a step."""
        return self.step.type(x)

    def narrow(self, array: Array) -> Array:
        """Round to the dtype, and go on in the format of a step."""
        return array.astype(NUMPY[self.dtype]).astype(self.step)

    def stored(self, array: Array) -> Array:
        """Write out between two kernels."""
        return self.narrow(array) if self.kind == "EAGER" else array

    def weights(self, array: Array) -> Array:
        """Round attention weights, where the class lets a kernel do so."""
        return self.narrow(array) if self.kind in ("FUSED", "EAGER") else array

    def operand(self, array: Array) -> Array:
        """Hand a matrix to a product."""
        if self.kind != "TF32":
            return array
        return (np.ascontiguousarray(array, np.float32).view(np.uint32) & CUT).view(np.float32)

    def output(self, array: Array) -> Array:
        """Round the result to the dtype."""
        return np.asarray(array).astype(NUMPY[self.dtype]).astype(np.float64)

    def fma(self, a: Array, b: Array, c: Array) -> Array:
        """Return a b + c with one rounding."""
        return self.rounded(np.asarray(a).astype(self.wide) * np.asarray(b).astype(self.wide) + np.asarray(c).astype(self.wide))

    def towards_zero(self, exact: Array) -> Array:
        """Cut to the format of a step."""
        nearest = self.rounded(exact)
        return np.where(np.abs(nearest) > np.abs(exact), np.nextafter(nearest, self.number(0)), nearest)

    def __str__(self) -> str:
        return f"{self.dtype} {self.kind}"


MACHINES = tuple(Machine(dtype, kind) for dtype, kinds in PRECISIONS.items() for kind in kinds)


@dataclass(frozen=True)
class Organisation:
    """A correct implementation, what it takes for granted, and where it belongs.

    run      takes a machine and the inputs of a call, and returns float64 numbers of the dtype
    classes  in which a backend may be organised so; wider ones are judged on wider machines
    dtypes   that it can compute in
    traits   what a backend has to declare beside its class
    heavy    it is left out where inputs are large
    slow     it takes part on every eighth input
    takes    the calls that it implements
    """

    run: Callable[[Machine, Case], Array]
    classes: tuple[str, ...] = CLASSES
    dtypes: tuple[str, ...] = tuple(PRECISIONS)
    traits: tuple[str, ...] = ()
    heavy: bool = False
    slow: bool = False
    takes: Callable[[Case], bool] = lambda case: True

    def on(self, machine: Machine) -> bool:
        """Tell whether a backend with this arithmetic may be organised so."""
        return machine.kind in self.classes and machine.dtype in self.dtypes


@contextlib.contextmanager
def flushing() -> Iterator[bool]:
    """Let the processor flush every subnormal number to zero, if it can; False where it can't."""
    import torch

    able = torch.set_flush_denormal(True)
    try:
        yield able
    finally:
        torch.set_flush_denormal(False)
