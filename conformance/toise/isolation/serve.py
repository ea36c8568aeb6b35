"""Answers for a Python backend: `python -m toise.isolation.serve TARGET` speaks the protocol on its standard streams."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import platform
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from toise.errors import Ended, TargetError, Unsupported, ending, text_of
from toise.isolation.wire import (
    DTYPES,
    MAX_AXES,
    VERSION,
    Decoder,
    Message,
    ProtocolError,
    Tensor,
    encode,
    result_names,
)
from toise.operations import OPERATIONS, sublayer_through
from toise.quiet import quiet
from toise.targets import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.arrays import ArrayType
    from toise.targets import Target


class Channel:
    """The standard streams as they were: what the backend prints goes to standard error, and what it reads is nothing."""

    def __init__(self) -> None:
        self._in, self._out, self._pid = os.dup(0), os.dup(1), os.getpid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def receive(self) -> Message | None:
        """Return the next message, or None at the end of the input.  Raises ProtocolError for what is none."""
        decoder = Decoder()
        while True:
            message = decoder.message()
            if message is not None:
                return message
            data = os.read(self._in, min(decoder.missing, 2**20))
            if not data:
                if decoder.begun:
                    raise ProtocolError(f"the input ended after {decoder.begun}")
                return None
            decoder.feed(data)

    def send(self, body: dict[str, Any], tensors: dict[str, Tensor] | None = None) -> None:
        """Answer, unless this is a copy of the process that a backend left behind."""
        if os.getpid() != self._pid:
            os._exit(0)
        for part in encode(Message(body, tensors or {})):
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(self._out, rest) :]


class Server:
    """A target, and the arrays of the call before."""

    def __init__(self, target: Target) -> None:
        self.target, self.arrays = target, target.arrays
        self._kept: dict[int, Any] = {}

    def started(self) -> dict[str, Any]:
        """Return what the target is and has."""
        given = dict(self.target.given)
        declared: dict[str, Any] = {key: given.pop(key) for key in ("name", "version", "dtypes") if key in given}
        return {
            "message": "started",
            "protocol": VERSION,
            **declared,
            "language": f"Python {platform.python_version()}",
            "arrays": self.arrays.name,
            "device": self.arrays.device,
            "operations": {name: self._options(name) for name in self.target.operations},
            "declarations": {name: part for name, part in given.items() if name in OPERATIONS},
            "packages": dict(self.arrays.packages),
            "notes": list(self.target.notes),
        }

    def _options(self, operation: str) -> list[str]:
        return [option for option in OPERATIONS[operation].options if self.target.accepts(operation, option)]

    def answer(self, message: Message) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Run an operation, and return the body and the tensors of the answer.  Raises ProtocolError for what is no call."""
        body = message.body
        about = {"id": body.get("id"), "operation": body.get("operation")}
        operation = OPERATIONS.get(str(about["operation"]))
        if operation is None or operation.name not in self.target.operations:
            return {"message": "error", **about, "kind": "not provided", "text": f"no operation {about['operation']}"}, {}
        data, options = self._arguments(message)
        try:
            tensors = self._results(operation.name, self._call(self.target.operations[operation.name], data, options))
        except Ended as ended:
            fatal = self._spoiled()  # a device tells late: it may be the result that cannot be read
            return {"message": "error", **about, "kind": ended.kind, "text": ended.text, "fatal": fatal}, {}
        return {"message": "result", **about}, tensors

    def _arguments(self, message: Message) -> tuple[list[Any], dict[str, Any]]:
        """Return the data and the options of a call as the target takes them."""
        body = message.body
        operation, options, numbers = OPERATIONS[body["operation"]], body.get("options", {}), body.get("memory", {})
        if not isinstance(options, dict) or not isinstance(numbers, dict):
            raise ProtocolError("options or memory is no object")
        kept: dict[int, Any] = {}
        given: dict[str, Any] = dict(options)
        for name, tensor in message.tensors.items():
            number = numbers.get(name, -tensor.number)
            if number not in kept:
                kept[number] = self._array(self._kept.get(number), tensor)
            given[name] = kept[number]
        self._kept = kept
        missing = [name for name in operation.data if name not in given]
        unknown = [name for name in given if name not in operation.data and name not in operation.options]
        if missing or unknown:
            raise ProtocolError(f"{operation.name} without {', '.join(missing)}" if missing else f"no option {unknown[0]!r:.40}")
        if operation.name == "residual":
            given["sublayer"] = sublayer_through(given["x"], given["sublayer"])
        return [given.pop(name) for name in operation.data], given

    def _array(self, kept: Any, tensor: Tensor) -> Any:
        """Return an array of the target's kind: the one of the call before with new contents, if it is that one again."""
        bits = tensor.data
        if kept is not None and tuple(kept.shape) == tensor.shape and self.arrays.dtype(kept) == tensor.dtype:
            with contextlib.suppress(ValueError, RuntimeError):  # the target made it read-only
                return self.arrays.from_bits(bits, tensor.shape, tensor.dtype, kept)
        return self.arrays.from_bits(bits, tensor.shape, tensor.dtype)

    def _call(self, function: Callable[..., Any], data: list[Any], options: dict[str, Any]) -> Any:
        """Run the target's own code, which may do anything.  Raises Ended if it gives no result."""
        try:
            result = function(*data, **options)
            self.arrays.settle(result)
        except (Unsupported, NotImplementedError) as error:
            raise Ended("not provided", text_of(error) or f"raised {type(error).__name__}") from None
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the target's
            raise Ended(ending(error), f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")) from None
        return result

    def _results(self, operation: str, result: Any) -> dict[str, Tensor]:
        """Return what came back as tensors.  Raises Ended if that is no array."""
        names = result_names(operation)
        parts = (result,) if len(names) == 1 else result
        if not isinstance(parts, (tuple, list)) or len(parts) != len(names) or not all(map(self.arrays.is_array, parts)):
            kind = type(result)
            raise Ended(
                "returned", "None" if result is None else f"a {kind.__module__}.{kind.__qualname__}".replace("a builtins.", "a ")
            )
        try:
            return {name: _sent(self.arrays, part) for name, part in zip(names, parts, strict=True)}
        except Ended:
            raise
        except BaseException as error:  # noqa: BLE001 - reading a strange array may do anything
            raise Ended("returned", f"an array that cannot be read ({text_of(error)})") from None

    def _spoiled(self) -> bool:
        """Tell whether the device is of no more use: after a sticky error it refuses every call."""
        if self.arrays.device == "cpu":
            return False
        try:
            return not (self.arrays.numbers(self.arrays.make(np.ones(2), "float32")) == 1).all()
        except Exception:  # noqa: BLE001 - whatever a broken device raises
            return True


def _sent(arrays: ArrayType, array: Any) -> Tensor:
    dtype = arrays.dtype(array)
    if dtype not in DTYPES:
        raise Ended("returned", f"an array of dtype {dtype}")
    if len(array.shape) > MAX_AXES:
        raise Ended("returned", f"an array of {len(array.shape)} axes")
    if dtype == "int32" == arrays.ids:  # ids travel as int64
        wide = arrays.numbers(array).astype(np.int64)
        return Tensor("int64", wide.shape, wide.reshape(-1).view(np.uint8).data)
    return Tensor(dtype, tuple(array.shape), arrays.lent_bits(array))


def main() -> NoReturn:
    """Answer until the input ends."""
    channel = Channel()
    faulthandler.enable()
    try:
        _serve(channel, sys.argv[1])
    except ProtocolError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(2)
    os._exit(0)  # at once, whatever threads the backend has left


def _serve(channel: Channel, name: str) -> None:
    """Answer a start, and then each run; the target is loaded first, so that `quiet` knows the thread pools that it brings."""
    server = _start(channel, name)
    if server is None:
        return
    with quiet():
        while (message := _next(channel)) is not None:
            if message.body["message"] != "run":
                raise ProtocolError(f"a message {message.body['message']!r:.40} at this place")
            channel.send(*server.answer(message))


def _start(channel: Channel, name: str) -> Server | None:
    """Find the target and say what it has, or why it cannot be used."""
    message = _next(channel)
    if message is None:
        return None
    if message.body["message"] != "start":
        raise ProtocolError(f"a message {message.body['message']!r:.40} at this place")
    if message.body.get("protocol") != VERSION:
        raise ProtocolError(f"version {message.body.get('protocol')!r:.40} of the protocol; this is version {VERSION}")
    try:
        server = Server(load(name, device=message.body.get("device")))
    except TargetError as error:
        channel.send({"message": "error", "id": 0, "kind": "raised", "text": str(error)})
        return None
    channel.send(server.started())
    return server


def _next(channel: Channel) -> Message | None:
    """Return the next message, or None where there is none, or it is a stop."""
    message = channel.receive()
    return None if message is None or message.body["message"] == "stop" else message


if __name__ == "__main__":
    main()
