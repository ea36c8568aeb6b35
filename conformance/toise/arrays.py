"""The array types that backends compute on: how the suite makes them, reads them and lays them out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from toise.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray
DTYPES = ("float64", "float32", "float16", "bfloat16")


class ArrayType(Protocol):
    """One kind of array on one device."""

    name: str
    device: str
    local: bool
    """Whether arrays can be computed with here: those of another process cannot."""

    def make(self, values: Array, dtype: str) -> Any:
        """Return a fresh, contiguous array of that dtype ("bool" included), holding `values` rounded to it."""

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


class NumpyArrays:
    """NumPy's arrays; bfloat16 needs the package ml_dtypes."""

    name = "numpy"
    device = "cpu"
    local = True

    def make(self, values: Array, dtype: str) -> Array:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=self._dtype(dtype), order="C")

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


class TorchArrays:
    """PyTorch's tensors on one device."""

    name = "torch"
    local = True

    def __init__(self, device: str = "cpu") -> None:
        try:
            self._torch: Any = importlib.import_module("torch")
        except ImportError:
            raise TargetError(
                "the target computes on torch tensors, and torch is not installed: pip install 'toise[torch]'"
            ) from None
        self.device = device
        try:
            self._torch.ones(1, device=device).cpu()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise TargetError(f"torch cannot use the device {device!r}: {str(error).splitlines()[0]}") from None

    def make(self, values: Array, dtype: str) -> Any:
        kind = getattr(self._torch, dtype)
        return self._torch.from_numpy(np.array(values, order="C")).to(self.device, kind)

    def numbers(self, array: Any) -> Array:
        host = array.detach().cpu().resolve_conj().resolve_neg()
        kind = host.dtype if host.dtype == self._torch.bool else self._torch.float64
        return np.array(host.to(kind).numpy())

    def rounded(self, values: Array, dtype: str) -> Array:
        return np.array(self._torch.from_numpy(np.array(values)).to(getattr(self._torch, dtype)).double().numpy())

    def is_array(self, thing: object) -> bool:
        return isinstance(thing, self._torch.Tensor)

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")

    def bits(self, array: Any) -> bytes:
        return self.lent_bits(array).tobytes()

    def lent_bits(self, array: Any) -> memoryview:
        host = array.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return memoryview(host.view(self._torch.uint8).numpy())

    def from_bits(self, bits: bytes | memoryview, shape: tuple[int, ...], dtype: str, into: Any = None) -> Any:
        host = self._torch.empty(shape, dtype=getattr(self._torch, dtype))
        host.reshape(-1).view(self._torch.uint8).numpy()[...] = np.frombuffer(bits, np.uint8)
        return host.to(self.device) if into is None else into.copy_(host)

    def overwrite(self, array: Any, values: Array) -> None:
        array.copy_(self.make(values, self.dtype(array)))

    def share_memory(self, a: Any, b: Any) -> bool:
        if a.device != b.device or not a.numel() or not b.numel():
            return False
        return bool(a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr())

    def layouts(self, values: Array, dtype: str) -> Iterator[tuple[str, Any]]:
        array = self.make(values, dtype)
        if array.ndim >= 2:
            yield "transposed", array.transpose(-1, -2).contiguous().transpose(-1, -2)
        wide = array.new_full((*array.shape[:-1], 2 * array.shape[-1] + 1), 3)
        wide[..., 1::2] = array
        yield "every second element of a larger tensor", wide[..., 1::2]
        flat = array.new_full((array.numel() + 3,), 3)
        flat[3:] = array.flatten()
        yield "a view with an offset", flat[3:].view(array.shape)
        if array.ndim and array.shape[0] > 1 and bool((array == array[:1]).all()):
            yield "expanded with a step of zero", array[:1].expand(array.shape)


def array_type(name: str, device: str | None) -> ArrayType:
    """Return the array type of that name.  Raises TargetError if it cannot be had here."""
    if name == "numpy":
        if device not in (None, "cpu"):
            raise TargetError(f"the target computes on NumPy arrays, which live on the cpu, not on {device!r}")
        return NumpyArrays()
    if name == "torch":
        return TorchArrays(device or "cpu")
    raise TargetError(f"__toise__ declares arrays {name!r}; required: numpy or torch")
