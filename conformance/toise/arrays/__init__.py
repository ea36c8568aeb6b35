"""The array types that backends compute on: how the suite makes them, reads them and lays them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from toise.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Array = np.ndarray
DTYPES = ("float64", "float32", "float16", "bfloat16")


class ArrayType(Protocol):
    """One kind of array on one device."""

    name: str
    device: str
    local: bool
    """Whether arrays can be computed with here: those of another process cannot."""
    mutable: bool
    """Whether what an array holds can be changed."""

    @property
    def ids(self) -> str:
        """The dtype of tokens and labels."""

    @property
    def packages(self) -> Mapping[str, str]:
        """What the arrays rest on: the version of their library, and the name of the device."""

    def make(self, values: Array, dtype: str) -> Any:
        """Return a fresh, contiguous array of that dtype ("bool" included), holding `values` rounded to it."""

    def make_all(self, given: Sequence[tuple[Array, str]]) -> list[Any]:
        """Return a fresh array for each of these values and dtypes; they reach the device together.

        Raises ValueError if a dtype cannot hold a number exactly.
        """

    def settle(self, result: Any) -> None:
        """Wait until what a call began is done, so that an error shows at the call that made it, and raise that."""

    def numbers(self, array: Any) -> Array:
        """Return what an array holds: float64 for numbers, bool for truth values."""

    def is_array(self, thing: object) -> bool:
        """Tell whether a backend returned an array of this kind."""

    def dtype(self, array: Any) -> str:
        """Return the name of the dtype, for example "float32"."""

    def bits(self, array: Any) -> bytes:
        """Return the bits that an array holds."""

    def lent_bits(self, array: Any) -> memoryview:
        """Return the bits that an array holds, of its own memory where that can be: they last until it is written into."""

    def from_bits(self, bits: bytes | memoryview, shape: tuple[int, ...], dtype: str, into: Any = None) -> Any:
        """Return a fresh, contiguous array with these bits, or `into`, of that shape and dtype, with them in its memory."""

    def overwrite(self, array: Any, values: Array) -> None:
        """Put other values into the memory of an array."""

    def share_memory(self, a: Any, b: Any) -> bool:
        """Tell whether two arrays overlap in memory."""

    def layouts(self, values: Array, dtype: str) -> Iterator[tuple[str, Any]]:
        """Yield arrays that hold `values` in other memory layouts, each with the layout's name."""

    def rounded(self, values: Array, dtype: str) -> Array:
        """Return `values` as the dtype holds them, in float64."""


def array_type(name: str, device: str | None) -> ArrayType:
    """Return the array type of that name.  Raises TargetError if it cannot be had here."""
    return ARRAY_TYPES[name](device)


def _numpy(device: str | None) -> ArrayType:
    if device not in (None, "cpu"):
        raise TargetError(f"the target computes on NumPy arrays, which live on the cpu, not on {device!r}")
    from toise.arrays.numpy_arrays import NumpyArrays

    return NumpyArrays()


def _torch(device: str | None) -> ArrayType:
    from toise.arrays.torch_arrays import TorchArrays

    return TorchArrays(device or "cpu")


def _jax(device: str | None) -> ArrayType:
    from toise.arrays.jax_arrays import JaxArrays

    return JaxArrays(device)


def _mlx(device: str | None) -> ArrayType:
    from toise.arrays.mlx_arrays import MlxArrays

    return MlxArrays(device)


# Each is imported when a target computes on it.
ARRAY_TYPES: dict[str, Callable[[str | None], ArrayType]] = {"numpy": _numpy, "torch": _torch, "jax": _jax, "mlx": _mlx}
