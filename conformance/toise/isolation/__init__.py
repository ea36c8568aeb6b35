"""Backends in a process of their own: what kills that process costs one row, and not the run.

`wire` puts messages into bytes, `serve` answers for a Python backend, `keeper` starts a program and ends all
that it leaves behind, `child` talks with it, and `remote` makes a target of it.  The protocol is a page of the
specification, `protocol.md`: a program in any language may answer in the place of `serve`.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toise.errors import TargetError

if TYPE_CHECKING:
    from toise.targets import Target

# The share of the machine's memory that the programs of one run may take together, where nobody says how much.
SHARE = 0.75


@dataclass(frozen=True)
class Isolation:
    """How a target is judged in a process of its own.

    program   the program and its arguments, or none for a Python backend
    timeout   seconds for one answer
    memory    gigabytes of data, None for a share of what the machine has
    """

    program: tuple[str, ...] = ()
    timeout: float = 30.0
    memory: float | None = None

    def load(self, name: str, *, device: str | None, require_class: str | None, workers: int = 0) -> Target:
        """Start the target; memory that nobody named is shared by so many workers.  Raises TargetError if it does not start."""
        require_posix()
        from toise.isolation.child import Limits
        from toise.isolation.remote import SERVE, connect

        memory = max(1, int(self.memory * 1e9)) if self.memory is not None else int(SHARE * machine_memory() / max(1, workers))
        return connect(
            name,
            self.program or (*SERVE, name),
            device=device,
            require_class=require_class,
            limits=Limits(seconds=self.timeout, memory=memory),
            again=self._again(name, device),
        )

    def _again(self, name: str, device: str | None) -> tuple[str, str]:
        """Return what stands first and last in the command that judges it once more."""
        flags = f" --timeout {self.timeout:g}" if self.timeout != Isolation.timeout else ""
        flags += f" --memory {self.memory:g}" if self.memory is not None else ""
        flags += f" --device {shlex.quote(device)}" if device is not None else ""
        if self.program:
            return "", f"{flags} -- {shlex.join(self.program)}".strip()
        return shlex.quote(name), f"--isolate{flags}"


def require_posix() -> None:
    """Raise TargetError on a system without the pipes and signals that a process of its own is held by."""
    if os.name != "posix":
        raise TargetError("a process of its own needs a POSIX system, such as Linux or macOS")


def machine_memory() -> int:
    """Return the bytes of memory that this process can hope for; 0 where it cannot be told."""
    if sys.platform != "linux":
        return 0
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            whole = min(whole, int(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such group, or no limit: "max"
            continue
    return whole
