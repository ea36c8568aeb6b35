"""How processes end: none is left behind, and each says what killed it."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def named(number: int) -> str:
    """Return a signal as it stands in a message: "11 (SIGSEGV)"; not every one has a name."""
    names = {each.value: f"{number} ({each.name})" for each in signal.Signals}
    return names.get(number, str(number))


def die_with_parent() -> None:
    """Have the system kill this process when the one that started it ends, however that ends; Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
