"""The suite's side of the pipe: what becomes of a call, and of the calls after it."""

import json
import sys

import numpy as np
import pytest
from toise.errors import Ended, OwnError, TargetError, ending
from toise.isolation import Isolation, remote
from toise.isolation.child import Child, Limits
from toise.isolation.remote import PATIENCE, Remote, connect
from toise.isolation.wire import Decoder, Message, ProtocolError, Tensor, encode, tensor_of
from toise.processes import named
from toise.report import environment

STARTED = {"message": "started", "protocol": 1, "operations": {"layer_norm": ["eps"]}}


class Answering:
    """In the place of a child: it answers from a list, or does what stands there."""

    def __init__(self, answers):
        self.answers, self.alive = answers, True

    def ask(self, message, _):
        """Return the next answer, with the id and the operation of the question."""
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            self.alive = False
            raise answer
        about = {name: message.body[name] for name in ("id", "operation") if name in message.body}
        tensors = {"result": tensor_of(np.ones((1, 2)), "float32")} if answer.get("message") == "result" else {}
        return Message({**about, **answer}, tensors)

    def close(self):
        """End."""
        self.alive = False

    stop = close


@pytest.fixture
def answered(monkeypatch):
    """Return a function that makes a Remote whose processes, all of them together, give these answers."""

    def make(*answers):
        rest, started = list(answers), []
        monkeypatch.setattr(remote, "Child", lambda command, limits: started.append(1) or Answering(rest))
        one = Remote(("program",), None, Limits())
        one.started = started
        return one

    return make


def call(one):
    """Ask for layer_norm; return the kind of what ended it, or "result"."""
    try:
        one.call("layer_norm", [tensor_of(np.ones(2), "float32")] * 3, {})
    except Ended as ended:
        return f"{ended.kind}: {ended.text}"
    return "result"


CRASH, RAISED, RESULT = Ended("crash", "died"), {"message": "error", "kind": "raised", "text": "no"}, {"message": "result"}


def test_a_program_that_does_not_start_again_has_died(answered):
    """It says so in an error of its own, which is no answer to the call."""
    one = answered(STARTED, CRASH, {"message": "error", "id": 0, "kind": "raised", "text": "the device is in use"})
    one.start()

    assert call(one) == "crash: died"
    assert call(one) == "crash: could not be started again: the device is in use"


def test_an_error_after_which_the_process_is_of_no_use_is_a_crash(answered):
    """And the next call has a new process."""
    one = answered(STARTED, {**RAISED, "text": "CUDA error", "fatal": True}, STARTED, RESULT)
    one.start()

    assert call(one) == "crash: raised CUDA error, and is of no use after that"
    assert call(one) == "result"
    assert len(one.started) == 2


def test_a_process_without_memory_is_ended(answered):
    """What it holds may be that of the calls before: the next one begins anew."""
    one = answered(STARTED, {"message": "error", "kind": "memory", "text": "MemoryError"}, STARTED, RESULT)
    one.start()

    assert call(one) == "memory: MemoryError"
    assert call(one) == "result"
    assert len(one.started) == 2


def test_what_dies_in_every_call_is_called_once_more_for_each_requirement(answered):
    """So that no requirement has the outcome of another."""
    one = answered(*[STARTED, CRASH] * PATIENCE, STARTED, CRASH, STARTED, RESULT)
    for _ in range(PATIENCE):
        assert call(one) == "crash: died"
    assert "in vain" in call(one)
    one.begin()
    assert call(one) == "crash: died"
    assert "in vain" in call(one)
    one.begin()
    assert call(one) == "result"
    assert len(one.started) == PATIENCE + 2


def test_an_answer_of_any_kind_is_not_in_vain(answered):
    """A program that now dies and now raises is called as long as there is something to ask."""
    one = answered(STARTED, *[CRASH, STARTED, RAISED] * PATIENCE, RESULT)
    for _ in range(PATIENCE):
        assert call(one).startswith("crash")
        assert call(one).startswith("raised")

    assert call(one) == "result"


def test_a_mistake_between_the_two_is_never_the_backends(answered):
    """What cannot be asked for is Toise's own affair, and no verdict."""
    target = connect("program", ("program",), limits=Limits(), again=("", "")) if answered(STARTED) else None
    with pytest.raises(OwnError, match="layer_norm could not be asked for"):
        target.operations["layer_norm"](tensor_of(np.ones(2), "float32"), object(), object())


def test_what_a_program_says_of_itself_replaces_nothing(answered):
    """Neither the suite's versions, nor a word of the command that repeats a failure."""
    told = {**STARTED, "packages": {"toise": "99", "mine": "1.0\x1b[31m"}, "device": "cuda; rm -rf ~"}
    target = connect("program", ("program",), limits=Limits(), again=("", "")) if answered(told) else None
    versions = environment(target)

    assert versions["toise"] != "99"
    assert versions["mine"] == "1.0\\x1b[31m"
    assert not target.arrays.local


@pytest.mark.parametrize("text", ["no device cuda", "program: no device cuda"])
def test_a_program_that_cannot_be_used_is_named_once(answered, text):
    """In front of what it says."""
    answered({"message": "error", "id": 0, "kind": "raised", "text": text})
    with pytest.raises(TargetError, match=r"^program: no device cuda$"):
        connect("program", ("program",), limits=Limits(), again=("", ""))


class UnableToAllocate(MemoryError):
    """As NumPy's own."""


class OutOfMemoryError(RuntimeError):
    """As torch's own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnableToAllocate(), "memory"),
        (OutOfMemoryError("CUDA out of memory"), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), "memory"),
        (ValueError("can't allocate memory"), "raised"),
        (RuntimeError("shapes differ"), "raised"),
        (SystemExit(1), "exit"),
        (KeyboardInterrupt(), "raised"),
    ],
)
def test_what_an_exception_means_is_told_alike_on_both_sides(error, kind):
    """Subclasses, and torch's ways to say that there is no memory, too."""
    assert ending(error) == kind


@pytest.mark.parametrize(
    "options", [("--timeout", "nan"), ("--timeout", "inf"), ("--memory", "inf"), ("--memory", "0"), ("--timeout", "-1")]
)
def test_limits_are_numbers(toise, options):
    """Exit 2, and the usage."""
    done = toise("check", "reference", "--isolate", *options)

    assert done.returncode == 2
    assert "Invalid value" in done.stderr


def test_the_command_that_repeats_a_failure_has_the_device_that_was_asked_for():
    """Quoted, as everything that comes from outside."""
    assert Isolation()._again("my file.py", "cuda:0") == ("'my file.py'", "--isolate --device cuda:0")  # noqa: SLF001
    assert Isolation(("./run", "a b"), timeout=5.0)._again("", None) == ("", "--timeout 5 -- ./run 'a b'")  # noqa: SLF001


def test_a_signal_without_a_name_is_a_number():
    """A program may end itself by any of them, real-time ones too."""
    assert (named(11), named(40)) == ("11 (SIGSEGV)", "40")


@pytest.mark.parametrize(("how", "status"), [("os._exit(3)", 3), ("os.kill(os.getpid(), 40)", -40)])
def test_how_a_program_ended_is_asked_once(tmp_path, how, status):
    """It is known when the answer comes, and still so when the program is told to stop."""
    text = b"".join(encode(Message(STARTED)))
    path = tmp_path / "program.py"
    path.write_text(f"import os\nos.write(1, {text!r})\n{how}\n", encoding="utf-8")
    child = Child([sys.executable, str(path)], Limits(seconds=10))
    child._hear()  # noqa: SLF001 - as where the end is told beside the answer

    assert child.stop() == status
    assert not child.alive


def test_a_header_is_utf_8_and_begins_with_a_brace():
    """In no other encoding, though a library might guess it, and with no space before it."""
    header = json.dumps({"__metadata__": {"toise": json.dumps({"message": "stop"})}})
    Decoder().feed(len(header).to_bytes(8, "little") + header.encode())
    wide = header.encode("utf-16-le")
    for wrong in (wide, b" " + header.encode(), b""):
        with pytest.raises(ProtocolError, match="header"):
            Decoder().feed(len(wrong).to_bytes(8, "little") + wrong)


def test_a_truth_value_is_0_or_1():
    """255 is True for some readers, and no number that others know."""
    whole = b"".join(encode(Message({"message": "result"}, {"result": Tensor("bool", (3,), b"\x00\x01\xff")})))
    decoder = Decoder()
    decoder.feed(whole)
    with pytest.raises(ProtocolError, match="'result' has truth values of other bytes than 0 and 1"):
        decoder.message()
