"""JAX's arrays."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from toise.arrays.numpy_arrays import ThroughNumpy
from toise.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toise.arrays import Array


class JaxArrays(ThroughNumpy):
    """JAX's arrays on the first device of a platform; what they hold never changes, and they have one layout.

    Arrays of float64 are made whatever `jax_enable_x64` says: a backend that takes them computes under it.
    """

    name = "jax"
    mutable = False

    def __init__(self, device: str | None = None) -> None:
        try:
            self._jax: Any = importlib.import_module("jax")
        except ImportError:
            raise TargetError("the target computes on JAX arrays, and jax is not installed: pip install 'toise[jax]'") from None
        try:
            self._device = self._jax.devices(device)[0]
        except RuntimeError as error:
            raise TargetError(f"jax cannot use the device {device!r}: {str(error).splitlines()[0]}") from None
        self.device = device or str(self._device.platform)

    @property
    def ids(self) -> str:
        """JAX has no int64 unless it is told to."""
        return "int64" if self._jax.config.jax_enable_x64 else "int32"

    @property
    def packages(self) -> dict[str, str]:
        told = {"jax": str(self._jax.__version__)}
        return told if self._device.platform == "cpu" else {**told, "device": str(self._device.device_kind)}

    def send(self, array: Array) -> Any:
        with self._jax.enable_x64(array.dtype == "float64" or self.ids == "int64"):
            return self._jax.device_put(array, self._device, may_alias=False)

    def fetch(self, array: Any) -> Array:
        return self._jax.device_get(array)

    def settle(self, result: Any) -> None:
        self._jax.block_until_ready(result)

    def is_array(self, thing: object) -> bool:
        return isinstance(thing, self._jax.Array)

    def refill(self, array: Any, held: Array) -> None:  # noqa: ARG002
        raise ValueError("a JAX array cannot be written into")

    def share_memory(self, a: Any, b: Any) -> bool:
        return bool(a.size and b.size and a.unsafe_buffer_pointer() == b.unsafe_buffer_pointer())

    def layouts(self, values: Array, dtype: str) -> Iterator[tuple[str, Any]]:  # noqa: ARG002 - there is one layout
        return iter(())
