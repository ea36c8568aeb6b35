"""MLX's arrays."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.arrays.numpy_arrays import ThroughNumpy
from toise.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toise.arrays import Array


class MlxArrays(ThroughNumpy):
    """MLX's arrays on its default device; an array that is written into copies what others share with it."""

    name = "mlx"
    mutable = True
    ids = "int64"

    def __init__(self, device: str | None = None) -> None:
        try:
            self._mx: Any = importlib.import_module("mlx.core")
        except ImportError:
            raise TargetError("the target computes on MLX arrays, and mlx is not installed: pip install 'toise[mlx]'") from None
        self.device = self._mx.default_device().type.name
        if device not in (None, self.device):
            raise TargetError(
                f"mlx computes on its default device, {self.device}, not on {device!r}; "
                "a backend sets it with mlx.core.set_default_device"
            )

    @property
    def packages(self) -> dict[str, str]:
        return {"mlx": metadata.version("mlx")}

    def send(self, array: Array) -> Any:
        if str(array.dtype) == "bfloat16":  # what NumPy has no name for travels as its bits
            return self._mx.view(self._mx.array(array.view(np.uint16)), self._mx.bfloat16)
        return self._mx.array(array, dtype=getattr(self._mx, "bool_" if array.dtype == bool else str(array.dtype)))

    def fetch(self, array: Any) -> Array:
        if self.dtype(array) == "bfloat16":
            bits = np.array(self._mx.view(array, self._mx.uint16))
            return bits.view(importlib.import_module("ml_dtypes").bfloat16)
        return np.array(array)

    def settle(self, result: Any) -> None:
        self._mx.eval(result)

    def is_array(self, thing: object) -> bool:
        return isinstance(thing, self._mx.array)

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("mlx.core.").replace("bool_", "bool")

    def refill(self, array: Any, held: Array) -> None:
        array[...] = self.send(held)

    def share_memory(self, a: Any, b: Any) -> bool:
        return a is b

    def layouts(self, values: Array, dtype: str) -> Iterator[tuple[str, Any]]:
        array, mx = self.make(values, dtype), self._mx
        if array.ndim >= 2:
            yield "transposed", mx.contiguous(array.swapaxes(-1, -2)).swapaxes(-1, -2)
        wide = mx.full((*array.shape[:-1], 2 * array.shape[-1] + 1), 3).astype(array.dtype)  # full has no bool
        wide[..., 1::2] = array
        yield "every second element of a larger array", wide[..., 1::2]
        if array.ndim and array.shape[0] > 1 and bool((array == array[:1]).all()):
            yield "expanded with a step of zero", mx.broadcast_to(array[:1], array.shape)
