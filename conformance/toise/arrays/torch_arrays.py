"""PyTorch's tensors."""

from __future__ import annotations

import importlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.arrays.numpy_arrays import require_exact
from toise.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Array = np.ndarray
# Where an array begins in the buffer that carries it to the device: a multiple of the size of every number, in bytes.
ALIGNED = 16


class TorchArrays:
    """PyTorch's tensors on one device."""

    name = "torch"
    local = mutable = True
    ids = "int64"

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

    @property
    def packages(self) -> dict[str, str]:
        told = {"torch": str(self._torch.__version__)}
        if self.device.startswith("cuda"):
            told |= {"CUDA": str(self._torch.version.cuda), "device": self._torch.cuda.get_device_name(self.device)}
        return told

    def make(self, values: Array, dtype: str) -> Any:
        return self._held(values, dtype).to(self.device)

    def make_all(self, given: Sequence[tuple[Array, str]]) -> list[Any]:
        hosts = [self._held(*each) for each in given]
        for host, (values, dtype) in zip(hosts, given, strict=True):
            require_exact(host.double().numpy(), values, dtype)
        return hosts if self.device == "cpu" else self.moved(hosts)

    def moved(self, hosts: Sequence[Any]) -> list[Any]:
        """Pack tensors into one buffer, move that to the device, and copy each out of it there."""
        begins = [0, *itertools.accumulate(-(-host.nbytes // ALIGNED) * ALIGNED for host in hosts)]
        packed = self._torch.empty(begins[-1], dtype=self._torch.uint8)

        def places(buffer: Any) -> Iterator[Any]:
            for host, begin in zip(hosts, begins, strict=False):
                yield buffer[begin : begin + host.nbytes].view(host.dtype).view(host.shape)

        for host, place in zip(hosts, places(packed), strict=True):
            place.copy_(host)
        return [place.clone() for place in places(packed.to(self.device))]

    def _held(self, values: Array, dtype: str) -> Any:
        """Return a fresh tensor on this side, of that dtype already: a device may not have the dtype of `values`."""
        return self._torch.from_numpy(np.array(values, order="C")).to(getattr(self._torch, dtype))

    def settle(self, result: Any) -> None:  # noqa: ARG002 - the device is one
        if self.device != "cpu":
            number = [self.device] if ":" in self.device else []  # mps has one, and takes none
            self._torch.get_device_module(self.device).synchronize(*number)

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
