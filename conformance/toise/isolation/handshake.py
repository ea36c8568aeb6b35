"""Does a program speak the protocol?  Each answer is held to the schema, and to what was asked; no number is judged."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from toise.arrays import DTYPES
from toise.errors import Ended, TargetError, Unsupported, line
from toise.inputs import USUAL
from toise.isolation.child import Child
from toise.isolation.remote import declarations, question, result, started
from toise.isolation.wire import VERSION, Message, ProtocolError, numbers_of, tensor_of
from toise.operations import OPERATIONS
from toise.schemas import misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from toise.inputs import Case
    from toise.isolation.child import Limits

# A length, and so many bytes that are no header.
NO_MESSAGE = (8).to_bytes(8, "little") + b"no JSON!"


@dataclass(frozen=True)
class Step:
    """One exchange: what was asked, what is wrong with the answer, if anything is, and what it was."""

    name: str
    wrong: str
    told: str


class Handshake:
    """A program, and the exchanges with it; a program that breaks one is started again for the next."""

    def __init__(self, command: Sequence[str], limits: Limits, device: str | None) -> None:
        self.command, self.limits, self.device = tuple(command), limits, device
        self.child = Child(self.command, limits)

    def steps(self) -> Iterator[Step]:
        """Yield every exchange.  Without an answer to the first there are no others."""
        first, told = self._step("start", self._start)
        yield first
        if told is None:
            return
        dtype = next(iter(told.get("dtypes") or ("float32",)))
        for number, name in enumerate(told["operations"], 1):
            case = USUAL[name].build(lambda values: numbers_of(tensor_of(values, dtype)))
            yield self._step(f"run {name}", functools.partial(self._run, name, case, dtype, number))[0]
        yield self._step("bytes that are no message", self._garbage)[0]
        yield self._step("stop", self._stop)[0]

    def _step(self, name: str, exchange: Callable[[], tuple[str, Any]]) -> tuple[Step, Any]:
        """Make an exchange; return what is to be said of it, and what it gave, None if it is wrong."""
        try:
            if not self.child.alive:
                self.child = Child(self.command, self.limits)
                if name != "start":
                    self._start()
            told, found = exchange()
        except (ProtocolError, Ended, TargetError, OSError) as error:
            self.child.close()
            hint = "; does it flush its output?" if isinstance(error, Ended) and error.kind == "timeout" else ""
            return Step(name, f"{error}{hint}", ""), None
        return Step(name, "", told), found

    def _ask(self, message: Message) -> Message:
        """Send a message, and hold the answer to the schema."""
        seconds = self.limits.start if message.body["message"] == "start" else self.limits.seconds
        answer = self.child.ask(message, seconds)
        _validate(answer)
        return answer

    def _start(self) -> tuple[str, Mapping[str, Any]]:
        told = started(self._ask(Message({"message": "start", "protocol": VERSION, "device": self.device})))
        declarations(told)
        about = " ".join(line(str(told[key])) for key in ("name", "version", "language") if key in told)
        operations = "; ".join(f"{name}({', '.join(options)})" for name, options in told["operations"].items())
        return f"{about}: {operations}" if about else operations, told

    def _run(self, name: str, case: Case, dtype: str, number: int) -> tuple[str, Any]:
        """Make a usual call; the result must have the shape and the dtype that the operation defines."""
        held = {each: tensor_of(part, dtype if part.dtype == float else str(part.dtype)) for each, part in case.arrays.items()}
        asked = question(number, name, {**case.options, **held})
        try:
            result(self._ask(asked), asked.body)
            got = result(self._ask(asked), asked.body)  # it answers more than once
        except Unsupported as reason:
            return f"not provided: {reason}", True
        except Ended as ended:
            if ended.kind in ("raised", "exit", "memory", "returned"):
                raise ProtocolError(f"an error of kind {ended.kind!r} for a usual call: {ended.text}") from None
            raise
        parts = got if isinstance(got, tuple) else (got,)
        shape = OPERATIONS[name].shape(case)
        kinds = ("int64", "bool") if name == "mlm_corrupt" else (OPERATIONS[name].dtype or dtype,)
        for part, kind in zip(parts, kinds, strict=True):
            loss = part.dtype == "float32" and kind in DTYPES  # a loss may be in float32, as declared
            if part.shape != shape or (part.dtype != kind and not loss):
                raise ProtocolError(f"the result is {part.dtype} {list(part.shape)}; required: {kind} {list(shape)}")
        return f"{parts[0].dtype} {list(parts[0].shape)}", True

    def _garbage(self) -> tuple[str, Any]:
        """What is no message must end the program, and not with exit status 0."""
        status = self.child.end(NO_MESSAGE)
        if status is None or status <= 0:
            ended = "did not end" if status is None else "was killed" if status < 0 else "ended with exit status 0"
            raise ProtocolError(f"the program {ended}; required: another exit status than 0")
        return f"exit status {status}", True

    def _stop(self) -> tuple[str, Any]:
        status = self.child.stop()
        if status != 0:
            raise ProtocolError(f"{'no end' if status is None else f'exit status {status}'}; required: exit status 0")
        return "exit status 0", True


def _validate(answer: Message) -> None:
    """Hold the header and the body of an answer to the schema.  Raises ProtocolError."""
    kind = str(answer.body["message"])
    if kind not in ("started", "result", "error"):
        raise ProtocolError(f"a message {kind!r:.40}; required: started, result or error")
    for what, thing, name in (("header", answer.header, "header"), ("body", answer.body, kind)):
        problem = misfit(thing, {"$ref": f"#/$defs/{name}", "$defs": _schema()["$defs"]})
        if problem:
            raise ProtocolError(f"{what} of {kind}: {problem}")


@functools.cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((resources.files("toise_spec") / "protocol.schema.json").read_text(encoding="utf-8"))
    return schema
