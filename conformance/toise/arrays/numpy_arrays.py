"""NumPy's arrays, and the way through them to those of other libraries."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from toise.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Array = np.ndarray


def require_exact(held: Array, values: Array, dtype: str) -> None:
    """Raise ValueError if an array of that dtype does not hold these very values."""
    if not ((held == values).all() or np.array_equal(held, values, equal_nan=True)):  # most arrays have no NaN
        raise ValueError(f"numbers that {dtype} does not have")


class NumpyArrays:
    """NumPy's arrays; bfloat16 needs the package ml_dtypes."""

    name = "numpy"
    device = "cpu"
    local = mutable = True
    ids = "int64"
    packages: ClassVar[Mapping[str, str]] = {}

    def make(self, values: Array, dtype: str) -> Array:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=self._dtype(dtype), order="C")

    def make_all(self, given: Sequence[tuple[Array, str]]) -> list[Array]:
        arrays = [self.make(*each) for each in given]
        for array, (values, dtype) in zip(arrays, given, strict=True):
            require_exact(array, values, dtype)
        return arrays

    def settle(self, result: Any) -> None:
        """A call is done when it returns."""

    def numbers(self, array: Array) -> Array:
        plain = np.array(array, subok=False)
        return plain.astype(bool if plain.dtype == bool else np.float64)

    def rounded(self, values: Array, dtype: str) -> Array:
        return self.numbers(self.make(values, dtype))

    def is_array(self, thing: object) -> bool:
        return isinstance(thing, (np.ndarray, np.generic))

    def dtype(self, array: Array) -> str:
        return str(array.dtype)

    def bits(self, array: Array) -> bytes:
        return np.array(array, subok=False).tobytes()

    def lent_bits(self, array: Array) -> memoryview:
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

    def from_bits(self, bits: bytes | memoryview, shape: tuple[int, ...], dtype: str, into: Any = None) -> Array:
        held = np.frombuffer(bits, self._dtype(dtype)).reshape(shape)
        if into is None:
            return held.copy()
        into[...] = held
        return into

    def overwrite(self, array: Array, values: Array) -> None:
        array[...] = values

    def share_memory(self, a: Array, b: Array) -> bool:
        return np.shares_memory(a, b) if a.size and b.size else False

    def layouts(self, values: Array, dtype: str) -> Iterator[tuple[str, Array]]:
        array = self.make(values, dtype)
        if array.ndim >= 2:
            yield "transposed", np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1] + 1), 3, dtype=array.dtype)
        wide[..., 1::2] = array
        yield "every second element of a larger array", wide[..., 1::2]
        yield "reversed", np.ascontiguousarray(np.flip(array)).view()[(slice(None, None, -1),) * array.ndim]
        if array.ndim and array.shape[0] > 1 and (array == array[:1]).all():
            yield "expanded with a step of zero", np.broadcast_to(array[:1], array.shape)
        array.flags.writeable = False
        yield "read-only", array

    @staticmethod
    def _dtype(name: str) -> Any:
        if name != "bfloat16":
            return np.dtype(name)
        try:
            return importlib.import_module("ml_dtypes").bfloat16
        except ImportError:
            raise TargetError("bfloat16 in NumPy needs ml_dtypes: pip install 'toise[bfloat16]'") from None


class ThroughNumpy:
    """Arrays of another library, that are made from NumPy's and read as NumPy's."""

    name: str
    local = True
    host = NumpyArrays()

    def send(self, array: Array) -> Any:
        """Return a fresh array of the library that holds what a NumPy array holds."""
        raise NotImplementedError

    def fetch(self, array: Any) -> Array:
        """Return a NumPy array that holds what an array of the library holds."""
        raise NotImplementedError

    def make(self, values: Array, dtype: str) -> Any:
        return self.send(self.host.make(values, dtype))

    def make_all(self, given: Sequence[tuple[Array, str]]) -> list[Any]:
        return [self.send(array) for array in self.host.make_all(given)]

    def numbers(self, array: Any) -> Array:
        return self.host.numbers(self.fetch(array))

    def rounded(self, values: Array, dtype: str) -> Array:
        return self.host.rounded(values, dtype)

    def bits(self, array: Any) -> bytes:
        return self.host.bits(self.fetch(array))

    def lent_bits(self, array: Any) -> memoryview:
        return self.host.lent_bits(self.fetch(array))

    def from_bits(self, bits: bytes | memoryview, shape: tuple[int, ...], dtype: str, into: Any = None) -> Any:
        array = self.host.from_bits(bits, shape, dtype)
        if into is None:
            return self.send(array)
        self.refill(into, array)
        return into

    def overwrite(self, array: Any, values: Array) -> None:
        self.refill(array, self.host.make(values, self.dtype(array)))

    def refill(self, array: Any, held: Array) -> None:
        """Put what a NumPy array holds into an array of the library.  Raises ValueError where that cannot be."""
        raise NotImplementedError

    def dtype(self, array: Any) -> str:
        return str(array.dtype)
