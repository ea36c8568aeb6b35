"""Starts a program, says how it ended, and ends all that it leaves behind; runs alone, as `python -I -S keeper.py`.

    keeper.py CONTROL MEMORY PROGRAM [ARGUMENT]...

CONTROL is a socket to the process that asked: how the program ended is written there, in one line.  Where the
socket closes, because that process closed it or died, everything is killed.  MEMORY is the most bytes of data of the
program, 0 for any.  The keeper does nothing but wait, so that a program that hangs or holds a lock cannot stop it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
from pathlib import Path

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Start the program and wait, for its end or for that of whoever asked."""
    control, memory, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    # What the program starts, and leaves behind, becomes a child of this process, and can be found.
    _prctl(SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    program = os.fork()
    if not program:
        _become(command, memory, (control, woken, wake))
    # The pipes are the program's alone: they close when it closes them.
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if control in ready:
            _end(program)
            return
        os.read(woken, 4096)
        ended = _reaped(program)
        if ended is not None:
            _end(program)
            with contextlib.suppress(OSError):
                os.write(control, f"{ended}\n".encode())
            return


def _become(command: list[str], memory: int, inherited: tuple[int, ...]) -> None:
    """Turn this process, a fresh child, into the program."""
    try:
        for number in inherited:
            os.close(number)
        # Python ignores some of these, and a worker ignores Ctrl-C: the program is to find them as any other does.
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        keeper = os.getppid()
        os.setsid()
        _prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(127)
        _limit(resource.RLIMIT_CORE, 0)
        if memory:
            _limit(resource.RLIMIT_DATA, memory)
        os.execvp(command[0], command)  # noqa: S606 - the program that the user named
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _limit(what: int, most: int) -> None:
    """Set a limit of this process, no higher than it may be."""
    _, highest = resource.getrlimit(what)
    most = most if highest == resource.RLIM_INFINITY else min(most, highest)
    resource.setrlimit(what, (most, most))


def _reaped(program: int) -> int | None:
    """Bury the dead; return how the program ended, if it did: its exit status, or minus the signal that killed it."""
    ended = None
    with contextlib.suppress(ChildProcessError):
        while True:
            number, status = os.waitpid(-1, os.WNOHANG)
            if not number:
                break
            if number == program:
                ended = os.waitstatus_to_exitcode(status)
    return ended


def _end(program: int) -> None:
    """Kill the program, its group, and whatever of it is left, until nothing is."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in _children():
                with contextlib.suppress(OSError):  # it may be gone, or belong to somebody else
                    os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _children() -> list[int]:
    """Return the processes whose parent is this one; none where there is no /proc."""
    mine, found = str(os.getpid()), []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # PID (NAME) STATE PARENT ...; the name may hold anything, a bracket too.
            after = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if after[1] == mine:
                found.append(int(stat.parent.name))
    return found


def _prctl(option: int, value: int) -> None:
    """Set an attribute of this process, on Linux; this file runs alone, and imports nothing of Toise."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
