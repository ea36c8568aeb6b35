"""A program in a process of its own: it is given a message, and answers, dies, hangs or speaks nonsense."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from toise.errors import Ended, line
from toise.isolation.wire import Decoder, Message, ProtocolError, encode
from toise.processes import named

if TYPE_CHECKING:
    from collections.abc import Sequence

KEEPER = Path(__file__).with_name("keeper.py")
CHUNK = 2**20
# What is kept of the last words on the standard error of a program.
TAIL = 4096
# How long the rest of what a program says may take once it has closed its output or ended.
GRACE = 5.0
PIPE_SIZE = 2**20
# The longest that one wait for news may take, whatever the deadline: the system refuses to wait for years.
LONGEST = 3600.0
# How often standard error is read once a program has ended: something else may hold it open, and never stop.
LINGER = 64


@dataclass(frozen=True)
class Limits:
    """Seconds for an answer, seconds for the answer to `start`, and bytes of memory, 0 for any."""

    seconds: float = 30.0
    start: float = 300.0
    memory: int = 0


class Child:
    """One run of a program, from its start to its end."""

    def __init__(self, command: Sequence[str], limits: Limits) -> None:
        self.limits = limits
        self._control, theirs = socket.socketpair()
        keeper = [sys.executable, "-I", "-S", str(KEEPER), str(theirs.fileno()), str(limits.memory), *command]
        pipe = subprocess.PIPE
        try:
            self._keeper = subprocess.Popen(  # noqa: S603 - the program that the user named
                keeper, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=(theirs.fileno(),), start_new_session=True
            )
        except OSError:
            self._control.close()
            raise
        finally:
            theirs.close()
        self._streams = [cast("IO[bytes]", stream) for stream in (self._keeper.stdin, self._keeper.stdout, self._keeper.stderr)]
        self._in, self._out, self._err = (stream.fileno() for stream in self._streams)
        for number in (self._in, self._out, self._err):
            os.set_blocking(number, False)
        with contextlib.suppress(OSError, AttributeError):  # Linux alone has larger pipes, and root alone as large as it likes
            for number in (self._in, self._out):
                fcntl.fcntl(number, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._said = b""
        self._status: int | None = None
        self._selector = selectors.DefaultSelector()
        for number in (self._out, self._err, self._control.fileno()):
            self._selector.register(number, selectors.EVENT_READ)
        self.alive = True

    def ask(self, message: Message, seconds: float) -> Message:
        """Send a message and return the answer.

        Raises Ended, and has ended the program, if it dies, gives no answer in time, or answers with what is no message.
        """
        try:
            return self._exchange(message, time.monotonic() + seconds, seconds)
        except ProtocolError as error:
            self.close()
            raise Ended("protocol", f"broke the protocol: {error}{self._last_words()}") from None
        except BaseException:
            self.close()
            raise

    def _exchange(self, message: Message, deadline: float, seconds: float) -> Message:
        self._settle()
        waiting = deque(memoryview(part) for part in encode(message))
        self._selector.register(self._in, selectors.EVENT_WRITE)
        decoder = Decoder()
        while True:
            left = deadline - time.monotonic()
            if not left > 0:
                raise self._late(seconds, decoder)
            for key, _ in self._selector.select(min(left, LONGEST)):
                if key.fd == self._in:
                    self._write(waiting)
                elif key.fd == self._err:
                    self._listen()
                elif key.fd == self._control.fileno():
                    self._hear()
                    deadline = min(deadline, time.monotonic() + GRACE)
                else:
                    data = os.read(self._out, CHUNK)
                    if not data:
                        raise self._closed(decoder)
                    decoder.feed(data)
            answer = decoder.message()
            if answer is not None:
                if self._in in self._selector.get_map():
                    raise ProtocolError("an answer before the end of the question")
                return answer

    def _settle(self) -> None:
        """See that the program waits, as it should, and has said nothing since its last answer."""
        for key, _ in self._selector.select(0):
            if key.fd == self._err:
                self._listen()
            elif key.fd == self._control.fileno():
                self._hear()
                raise Ended("crash", f"the process {self._how()} after the answer before{self._last_words()}")
            elif data := os.read(self._out, CHUNK):
                raise ProtocolError(f"bytes that nobody asked for: {data[:40]!r}")

    def _write(self, waiting: deque[memoryview]) -> None:
        try:
            while waiting:
                written = os.write(self._in, waiting[0][:CHUNK])
                waiting[0] = waiting[0][written:]
                if not waiting[0]:
                    waiting.popleft()
        except BlockingIOError:
            return
        except BrokenPipeError:
            waiting.clear()  # it reads no more: how it ended, or that it closed its input, shows in what it says
        self._selector.unregister(self._in)

    def _listen(self) -> None:
        """Take what stands on standard error, and keep the end of it."""
        data = os.read(self._err, CHUNK)
        if not data:
            self._selector.unregister(self._err)
        self._said = (self._said + data)[-TAIL:]

    def _hear(self) -> None:
        """Take what the keeper says, once: how the program ended.  A keeper that is killed takes the program with it."""
        if self._status is not None:
            return
        with contextlib.suppress(OSError, ValueError):
            self._status = int(self._control.recv(64) or -signal.SIGKILL)
            self._selector.unregister(self._control.fileno())

    def _late(self, seconds: float, decoder: Decoder) -> Ended:
        """Say that the time is up: for an answer, or for the output of a program that has ended to close."""
        if self._status is not None:
            return Ended("crash", f"the process {self._how()}{self._last_words()}")
        begun = f"no more than {decoder.begun} of an" if decoder.begun else "no"
        return Ended("timeout", f"gave {begun} answer within {seconds:g} s{self._last_words()}")

    def _closed(self, decoder: Decoder) -> Ended | ProtocolError:
        """Say what it means that a program closed its output."""
        self._control.settimeout(GRACE)
        self._hear()
        with contextlib.suppress(BlockingIOError):
            for _ in range(LINGER):
                if self._err in self._selector.get_map():
                    self._listen()
        if self._status is None:
            after = f" after {decoder.begun} of an answer" if decoder.begun else ""
            return ProtocolError(f"closed its standard output{after}")
        return Ended("crash", f"the process {self._how()}{self._last_words()}")

    def _how(self) -> str:
        code = self._status
        if code is None or code >= 0:
            return f"ended with exit status {code}"
        return f"was killed by signal {named(-code)}"

    def _last_words(self) -> str:
        """Return the line of standard error that says most: where Python was, in code of the target's own, or else the last."""
        lines = [each.strip() for each in self._said.decode(errors="replace").splitlines() if each.strip()]
        # A traceback ends with the exception, and what faulthandler writes begins with where it was.
        where = [each for each in lines if each.startswith('File "')] if b"most recent call first" in self._said else []
        own = [each for each in where if "/lib/python" not in each]
        last = (own or where or lines[-1:] or [""])[0]
        return f"; its standard error: {line(last, 160)}" if last else ""

    def stop(self) -> int | None:
        """Tell the program to stop, and wait a little; return its exit status, or None if it did not end by itself."""
        return self.end(b"".join(encode(Message({"message": "stop"}))))

    def end(self, last: bytes) -> int | None:
        """Send a few bytes at which the program should end, as `stop` does."""
        with contextlib.suppress(OSError):
            os.write(self._in, last)
        self._control.settimeout(GRACE)
        self._hear()
        self.close()
        return self._status

    def close(self) -> None:
        """End the program and all that it started."""
        if not self.alive:
            return
        self.alive = False
        self._selector.close()
        self._control.close()
        try:
            self._keeper.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.close()
