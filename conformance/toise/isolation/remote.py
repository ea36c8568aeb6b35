"""A target whose operations run in a process of their own, behind the protocol."""

from __future__ import annotations

import inspect
import itertools
import sys
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from toise.arrays.numpy_arrays import require_exact
from toise.declarations import parse
from toise.errors import Ended, OwnError, TargetError, Unsupported, line
from toise.isolation.child import Child, Limits
from toise.isolation.wire import VERSION, Message, ProtocolError, Tensor, numbers_of, result_names, shown, tensor_of
from toise.operations import OPERATIONS
from toise.targets import Target
from toise.verdict import NotProvided

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from toise.declarations import Declarations

Array = np.ndarray
# What a death of the process counts towards the calls that are not made: one in vain is quick, a wait is not.
COSTS = {"crash": 1, "protocol": 1, "memory": 1, "timeout": 4}
PATIENCE = 24
# The most characters of a text in which a program describes itself.
NOTE = 1000
# The requirements that cannot be judged over a pipe, and what cannot be seen there.
UNSEEN = {
    "GEN-4": "whether inputs were written into",
    "GEN-6": "how arrays lie in memory",
    "GEN-10": "whether the result shares memory with an input",
    "RES-2": "the calls of a sublayer",
    "RES-3": "the calls of a sublayer",
    "RES-4": "the calls of a sublayer",
    "RES-5": "the calls of a sublayer",
    "RES-8": "the calls of a sublayer",
    "CAU-13": "whether two masks share memory",
    "MLM-15": "whether the tokens were written into",
    "MLM-16": "the generators of the other process",
    "MLM-17": "whether the result shares memory with the tokens",
}
# What is judged over a pipe as far as it can be seen there.
SEEN_IN_PART = {"GEN-5": "whether an earlier result changes", "MLM-13": "how the tokens lie in memory"}
# The command that answers for a Python backend.
SERVE = (sys.executable, "-m", "toise.isolation.serve")


class WireArrays:
    """Arrays as they travel: bytes, in no memory that the other side can see."""

    local = False
    mutable = True
    ids = "int64"
    packages: ClassVar[Mapping[str, str]] = {}  # a program says itself what it runs on

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, device

    def make(self, values: Array, dtype: str) -> Tensor:
        return tensor_of(values, dtype)

    def make_all(self, given: Sequence[tuple[Array, str]]) -> list[Tensor]:
        tensors = [self.make(*each) for each in given]
        for tensor, (values, dtype) in zip(tensors, given, strict=True):
            require_exact(self.numbers(tensor), values, dtype)
        return tensors

    def settle(self, result: Any) -> None:
        """What travelled is done."""

    def numbers(self, array: Tensor) -> Array:
        return numbers_of(array)

    def rounded(self, values: Array, dtype: str) -> Array:
        return numbers_of(tensor_of(values, dtype))

    def is_array(self, thing: object) -> bool:
        return isinstance(thing, Tensor)

    def dtype(self, array: Tensor) -> str:
        return array.dtype

    def bits(self, array: Tensor) -> bytes:
        return bytes(array.data)

    def lent_bits(self, array: Tensor) -> memoryview:
        return memoryview(array.data)

    def from_bits(self, bits: bytes | memoryview, shape: tuple[int, ...], dtype: str, into: Any = None) -> Tensor:
        if into is None:
            return Tensor(dtype, shape, bits)
        into.data = bits
        return into

    def overwrite(self, array: Tensor, values: Array) -> None:
        array.data = tensor_of(values, array.dtype).data

    def share_memory(self, a: Tensor, b: Tensor) -> bool:  # noqa: ARG002
        raise NotProvided("memory cannot be seen over a pipe")

    def layouts(self, values: Array, dtype: str) -> Iterator[tuple[str, Tensor]]:  # noqa: ARG002 - there is one layout
        return iter(())


class Remote:
    """A program that is started when it is needed, and again after it died."""

    def __init__(self, command: Sequence[str], device: str | None, limits: Limits) -> None:
        self.command, self.device, self.limits = tuple(command), device, limits
        self.child: Child | None = None
        self._ids = itertools.count(1)
        self._in_vain: dict[str, int] = {}
        self._last: dict[str, str] = {}

    def start(self) -> Mapping[str, Any]:
        """Start the program and return what it says of itself.  Raises Ended if it dies or answers with nonsense."""
        try:
            self.child = Child(self.command, self.limits)
        except OSError as error:
            raise Ended("crash", f"cannot be started: {error.strerror}") from None
        answer = self.child.ask(Message({"message": "start", "protocol": VERSION, "device": self.device}), self.limits.start)
        try:
            return started(answer)
        except ProtocolError as error:
            self.close()
            raise Ended("protocol", f"broke the protocol: {error}") from None
        except TargetError:
            self.close()
            raise

    def call(self, operation: str, data: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Run an operation there.  Raises Ended for whatever is no result, and Unsupported for what is not provided.

        A process that died in each of its last calls of an operation is not started for it again, until `begin`.
        """
        if self._in_vain.get(operation, 0) >= PATIENCE:
            raise Ended(self._last[operation], f"was not called: the calls of {operation} before were all in vain")
        given = {**dict(zip(OPERATIONS[operation].data, data, strict=True)), **options}
        if callable(given.get("sublayer")):
            raise Unsupported("a sublayer travels as its output: its calls cannot be seen over a pipe")
        in_vain, self._in_vain[operation] = self._in_vain.get(operation, 0), 0
        try:
            return self._ask(question(next(self._ids), operation, given))
        except Ended as ended:
            if ended.kind in COSTS:
                self._in_vain[operation], self._last[operation] = in_vain + COSTS[ended.kind], ended.kind
            raise

    def begin(self) -> None:
        """Allow one more call of each operation: every requirement is tried, whatever became of the others."""
        self._in_vain = {operation: min(spent, PATIENCE - 1) for operation, spent in self._in_vain.items()}

    def _ask(self, message: Message) -> Any:
        """Start the program if it does not run, and make the call."""
        if self.child is None or not self.child.alive:
            try:
                self.start()
            except TargetError as error:
                raise Ended("crash", f"could not be started again: {error}") from None
        child = cast("Child", self.child)
        answer = child.ask(message, self.limits.seconds)
        if answer.body["message"] == "error" and answer.body.get("kind") == "memory":
            self.close()  # what it holds may be that of all the calls before
        if answer.body["message"] == "error" and answer.body.get("fatal") is True:
            self.close()
            raise Ended("crash", f"raised {_text(answer.body, 'text')}, and is of no use after that")
        try:
            return result(answer, message.body)
        except ProtocolError as error:
            self.close()
            raise Ended("protocol", f"broke the protocol: {error}") from None

    def stop(self) -> None:
        """Let the program end."""
        if self.child is not None and self.child.alive:
            self.child.stop()

    def close(self) -> None:
        """End the program at once."""
        if self.child is not None:
            self.child.close()


def question(id: int, operation: str, given: Mapping[str, Any]) -> Message:
    """Return the message that asks for a call."""
    tensors = {name: part for name, part in given.items() if isinstance(part, Tensor)}
    body = {
        "message": "run",
        "id": id,
        "operation": operation,
        "options": {name: _plain(part) for name, part in given.items() if name not in tensors},
        "memory": {name: tensor.number for name, tensor in tensors.items()},
    }
    return Message(body, tensors)


def started(answer: Message) -> Mapping[str, Any]:
    """Read the answer to a start.  Raises ProtocolError if it is none, TargetError if the program says why it cannot start."""
    body = answer.body
    if body["message"] == "error":
        raise TargetError(_text(body, "text"))
    if body["message"] != "started":
        raise ProtocolError(f"the answer to start is a message {shown(body['message'])}; required: started")
    if body.get("protocol") != VERSION:
        raise ProtocolError(f"started says protocol {shown(body.get('protocol'))}; required: {VERSION}")
    if not body.get("operations"):
        raise TargetError(f"provides none of the operations {', '.join(OPERATIONS)}")
    for name, kind in (("operations", dict), ("declarations", dict), ("packages", dict), ("dtypes", list), ("notes", list)):
        if not isinstance(body.get(name, kind()), kind):
            raise ProtocolError(
                f"{name} of started is {shown(body[name])}; required: {'an object' if kind is dict else 'a list'}"
            )
    for name, options in body["operations"].items():
        if name not in OPERATIONS:
            raise ProtocolError(f"started has an unknown operation {shown(name)}; known: {', '.join(OPERATIONS)}")
        if not isinstance(options, list) or not all(
            isinstance(each, str) and each in OPERATIONS[name].options for each in options
        ):
            known = ", ".join(OPERATIONS[name].options) or "none"
            raise ProtocolError(f"options of {name} are {shown(options)}; required: a list of some of: {known}")
    return body


def declarations(told: Mapping[str, Any]) -> Declarations:
    """Read what a program declares, in its answer to a start.  Raises TargetError for what means nothing."""
    given = {**told.get("declarations", {}), **{key: told[key] for key in ("name", "version", "dtypes") if key in told}}
    return parse(given | {key: line(text) for key, text in given.items() if isinstance(text, str)})


def result(answer: Message, asked: Mapping[str, Any]) -> Any:
    """Read the answer to a run.  Raises ProtocolError if it is none, and Ended for an error that the program reports."""
    body = answer.body
    if body["message"] not in ("result", "error"):
        raise ProtocolError(f"the answer to run is a message {shown(body['message'])}; required: result or error")
    for name in ("id", "operation"):
        if body.get(name) != asked[name]:
            raise ProtocolError(f"the answer has {name} {shown(body.get(name))}; required: {asked[name]!r}")
    if body["message"] == "error":
        kind, text = _text(body, "kind"), _text(body, "text")
        if kind == "not provided":
            raise Unsupported(text)
        if kind not in ("raised", "exit", "memory", "returned"):
            raise ProtocolError(f"an error of kind {shown(kind)}; required: raised, not provided, exit, memory or returned")
        raise Ended(kind, text)
    names = result_names(asked["operation"])
    if set(answer.tensors) != set(names):
        got = line(", ".join(answer.tensors))[:60] or "no tensor"
        raise ProtocolError(f"the result has {got}; required: {' and '.join(names)}")
    parts = tuple(answer.tensors[name] for name in names)
    return parts if len(parts) > 1 else parts[0]


def _text(body: Mapping[str, Any], name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str):
        raise ProtocolError(f"{name} of an error is {shown(text)}; required: a string")
    return line(text)


def _said(thing: object) -> str:
    """Return what a program says of itself as it stands in the report."""
    return line(thing, NOTE) if isinstance(thing, str) else shown(thing)


def connect(
    name: str,
    command: Sequence[str],
    *,
    device: str | None = None,
    require_class: str | None = None,
    limits: Limits,
    again: tuple[str, str],
) -> Target:
    """Start a program and make a target of it; `again` stands first and last in the command that judges it.

    Raises TargetError, with one line, if the program does not start or cannot be used.
    """
    remote = Remote(command, device, limits)
    try:
        told = remote.start()
    except (Ended, TargetError) as error:
        text = str(error)
        raise TargetError(text if text.startswith(name) else f"{name}: {text}") from None
    try:
        declared = declarations(told)
        if require_class is not None:
            declared = declared.at_most(require_class)
    except TargetError as error:
        remote.close()
        raise TargetError(f"{name}: {error}") from None
    return Target(
        name,
        {each: _operation(remote, each, options) for each, options in told["operations"].items()},
        declared,
        WireArrays(_said(told.get("arrays", "tensor")), _said(told.get("device", "cpu"))),
        notes=tuple(map(_said, told.get("notes", ()))),
        unseen=UNSEEN,
        seen_in_part=SEEN_IN_PART,
        begin=remote.begin,
        packages={
            **({"language": _said(told["language"])} if "language" in told else {}),
            **{_said(package): _said(version) for package, version in told.get("packages", {}).items()},
        },
        again=again,
        close=remote.stop,
    )


def _operation(remote: Remote, name: str, options: list[str]) -> Callable[..., Any]:
    """Return an operation as a function, with the parameters that it has there."""

    def call(*data: Any, **given: Any) -> Any:
        try:
            return remote.call(name, data, given)
        except (Ended, Unsupported):
            raise
        except Exception as error:
            raise OwnError(f"{name} could not be asked for: {type(error).__name__}: {error}") from error

    data = [inspect.Parameter(each, inspect.Parameter.POSITIONAL_ONLY) for each in OPERATIONS[name].data]
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*data, *(inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY) for option in dict.fromkeys(options))]
    )
    call.__name__ = name
    return call


def _plain(value: Any) -> Any:
    """Return a number, a truth value or a list of numbers as JSON has them."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value
