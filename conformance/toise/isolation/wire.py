"""Messages of the protocol as bytes: each is one safetensors file, a length, a JSON header and raw tensors.

What comes from the other side is data that may say anything: nothing is allocated for a claim, and whatever
is wrong becomes a ProtocolError of one line.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = np.ndarray
VERSION = 1
LENGTH = 8
MAX_HEADER = 2**20
MAX_TENSORS = 64
MAX_AXES = 16
MAX_DATA = 2**30
# The dtypes that safetensors and a backend's arrays have in common, with the bytes of one number.
DTYPES = {
    "float64": ("F64", "<f8"),
    "float32": ("F32", "<f4"),
    "float16": ("F16", "<f2"),
    "bfloat16": ("BF16", "<u2"),
    "int64": ("I64", "<i8"),
    "int32": ("I32", "<i4"),
    "int16": ("I16", "<i2"),
    "int8": ("I8", "<i1"),
    "uint64": ("U64", "<u8"),
    "uint32": ("U32", "<u4"),
    "uint16": ("U16", "<u2"),
    "uint8": ("U8", "<u1"),
    "bool": ("BOOL", "<u1"),
}
_NAMES = {code: name for name, (code, _) in DTYPES.items()}
_numbers = itertools.count(1)


class ProtocolError(Exception):
    """What came from the other side is no message."""


@dataclass(eq=False)
class Tensor:
    """An array as it travels: its dtype, its shape and its bytes.

    number   tells one array in memory from another: the other side may put new contents into the array of that number
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
    number: int = field(default_factory=lambda: next(_numbers))


@dataclass(frozen=True)
class Message:
    """A body, and the tensors that go with it; `header` is the one that came, of a message that came."""

    body: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)


def result_names(operation: str) -> tuple[str, ...]:
    """Return the names of the tensors that a result has."""
    return ("corrupted", "selected") if operation == "mlm_corrupt" else ("result",)


def tensor_of(values: Array, dtype: str) -> Tensor:
    """Return an array's numbers in a dtype, rounded to it."""
    values = np.asarray(values)
    with np.errstate(over="ignore"):
        held = _bfloat16(values) if dtype == "bfloat16" else values.astype(DTYPES[dtype][1])
    return Tensor(dtype, values.shape, held.tobytes())


def numbers_of(tensor: Tensor) -> Array:
    """Return what a tensor holds: float64 for numbers, bool for truth values."""
    held = np.frombuffer(tensor.data, DTYPES[tensor.dtype][1]).reshape(tensor.shape)
    if tensor.dtype == "bool":
        return held.astype(bool)
    if tensor.dtype == "bfloat16":
        return (held.astype("<u4") << 16).view("<f4").astype(np.float64)
    return held.astype(np.float64)


def _bfloat16(values: Array) -> Array:
    """Return the upper halves of float32: rounded to nearest, ties to even, and NaN kept."""
    single = values.astype("<f4")
    bits = single.view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(single), 0x7FC0, rounded).astype("<u2")


def encode(message: Message) -> list[bytes | memoryview]:
    """Return the bytes of a message, in parts."""
    header: dict[str, Any] = {"__metadata__": {"toise": json.dumps(message.body, allow_nan=False)}}
    end = 0
    for name, tensor in message.tensors.items():
        start, end = end, end + len(tensor.data)
        header[name] = {"dtype": DTYPES[tensor.dtype][0], "shape": tensor.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    return [len(text).to_bytes(LENGTH, "little") + text, *(tensor.data for tensor in message.tensors.values() if tensor.data)]


class Decoder:
    """Puts one message together from bytes as they come, and holds no more than came."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._start = 0
        self._header: dict[str, Any] = {}
        self._body: dict[str, Any] = {}
        self._tensors: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
        self._size = LENGTH

    @property
    def missing(self) -> int:
        """How many bytes are missing, as far as is known; below zero if there are too many."""
        return self._size - len(self._held)

    @property
    def begun(self) -> str:
        """How much of the message came, in words; empty if nothing did."""
        return f"{len(self._held)} of {self._size} bytes" if self._held else ""

    def feed(self, data: bytes) -> None:
        """Add bytes.  Raises ProtocolError as soon as they begin no message."""
        self._held += data
        if not self._start and len(self._held) >= LENGTH:
            length = int.from_bytes(self._held[:LENGTH], "little")
            if length > MAX_HEADER:
                shown = bytes(self._held[:40])
                raise ProtocolError(f"a header of {length} bytes; at most {MAX_HEADER}; the bytes begin {shown!r}")
            self._start = self._size = LENGTH + length
        if self._start and not self._body and len(self._held) >= self._start:
            if not self._held.startswith(b"{", LENGTH):
                raise ProtocolError(f"a header that does not begin with {{: {bytes(self._held[LENGTH : LENGTH + 40])!r}")
            self._header = _json(self._held[LENGTH : self._start], "header")
            self._body, self._tensors, size = _read(self._header)
            self._size += size

    def message(self) -> Message | None:
        """Return the message if all of it came.  Raises ProtocolError if more than that came."""
        if not self._body or self.missing > 0:
            return None
        if self.missing < 0:
            raise ProtocolError(f"{-self.missing} bytes after the message: {bytes(self._held[self._size :])[:40]!r}")
        data = memoryview(self._held)[self._start :]
        for name, (dtype, _, begin, end) in self._tensors.items():
            if dtype == "bool" and np.frombuffer(data[begin:end], np.uint8).max(initial=0) > 1:
                raise ProtocolError(f"tensor {name!r:.40} has truth values of other bytes than 0 and 1")
        tensors = {name: Tensor(dtype, shape, data[begin:end]) for name, (dtype, shape, begin, end) in self._tensors.items()}
        return Message(self._body, tensors, self._header)


def _json(text: bytes | bytearray | str, what: str) -> dict[str, Any]:
    """Read a JSON object strictly: no NaN, no name twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name twice in one object")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        read = json.loads(text if isinstance(text, str) else text.decode(), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the {what} cannot be read: {str(error)[:100]}") from None
    if not isinstance(read, dict):
        raise ProtocolError(f"the {what} is a {type(read).__name__}; required: an object")
    return read


def _read(header: dict[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...], int, int]], int]:
    """Return the body, where each tensor lies, and how many bytes they all have."""
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("toise"), str):
        raise ProtocolError("the header has no __metadata__ with a string 'toise'")
    body = _json(metadata["toise"], "body")
    if not isinstance(body.get("message"), str):
        raise ProtocolError(f"the body has no string 'message': {shown(body)}")
    described = {name: told for name, told in header.items() if name != "__metadata__"}
    if len(described) > MAX_TENSORS:
        raise ProtocolError(f"{len(described)} tensors; at most {MAX_TENSORS}")
    tensors = {name: _tensor(name, told) for name, told in described.items()}
    end = 0
    for name, (_, _, start, stop) in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if start != end:
            raise ProtocolError(f"tensor {name!r:.40} begins at byte {start}; required: {end}, where the one before it ends")
        end = stop
    if end > MAX_DATA:
        raise ProtocolError(f"{end} bytes of tensors; at most {MAX_DATA}")
    return body, tensors, end


def _tensor(name: str, told: object) -> tuple[str, tuple[int, ...], int, int]:
    """Return the dtype, the shape and the first and last byte of one tensor."""
    if not isinstance(told, dict):
        raise ProtocolError(f"tensor {name!r:.40} is described by {shown(told)}; required: an object")
    code, shape, offsets = told.get("dtype"), _whole(told.get("shape")), _whole(told.get("data_offsets"))
    if not isinstance(code, str) or code not in _NAMES:
        raise ProtocolError(f"tensor {name!r:.40} has dtype {shown(code)}; required: {', '.join(_NAMES)}")
    if shape is None or len(shape) > MAX_AXES:
        raise ProtocolError(
            f"tensor {name!r:.40} has shape {shown(told.get('shape'))}; required: at most {MAX_AXES} whole numbers"
        )
    if offsets is None or len(offsets) != 2:
        raise ProtocolError(
            f"tensor {name!r:.40} has data_offsets {shown(told.get('data_offsets'))}; required: two whole numbers"
        )
    dtype = _NAMES[code]
    size = math.prod(shape) * np.dtype(DTYPES[dtype][1]).itemsize
    if offsets[1] - offsets[0] != size:
        raise ProtocolError(
            f"tensor {name!r:.40} of shape {shown(shape)} has {offsets[1] - offsets[0]} bytes; required: {shown(size)}"
        )
    return dtype, tuple(shape), offsets[0], offsets[1]


def _whole(thing: object) -> list[int] | None:
    """Return a list of whole numbers, none below 0 and each of 64 bits, or None if it is none."""
    if not isinstance(thing, list) or not all(isinstance(part, int) and 0 <= part < 2**64 for part in thing):
        return None
    return None if any(isinstance(part, bool) for part in thing) else thing


def shown(thing: object) -> str:
    """Return a value that the other side sent as it stands in a message, with an end."""
    try:
        return repr(thing)[:60]
    except RecursionError:  # Python reads what is nested a little deeper than it can write
        return f"a {type(thing).__name__}, nested deeply"
