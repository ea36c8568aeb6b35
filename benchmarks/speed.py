"""How long a verdict takes, and where the time goes: `python benchmarks/speed.py`.

Each case runs in a process of its own, several times; imports and the verdict are timed apart.
Whole commands are timed from start to end, with the memory that all their processes hold together.
Some faults of the catalogue are judged one after the other: how long to the first failure, and to the last requirement.
`breakdown.py` says which part of the time is whose.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import breakdown
import toise
from toise.faults import catalogue
from toise.faults.matrix import judge_fault

EXAMPLES = Path(__file__).parent.parent / "examples"
RUNS = 5
ONE_FAULT_OF = 20

# What is judged, and the most seconds that the verdict may take.
CASES = {
    "a wrong layer_norm": ((str(EXAMPLES / "annotated_layer_norm.py"), "layer_norm", "float32"), 2),
    "a wrong attention": (("toise_wrong_attention.py", "attention", "float32"), 2),
    "a right layer_norm": (("reference", "layer_norm", "float32"), 8),
    "a right attention": (("reference", "attention", "float32"), 8),
    "torch's layer_norm": (("torch", "layer_norm", "float32"), 8),
    "torch's attention": (("torch", "attention", "float32"), 8),
}
# Whole commands, and the most seconds and GiB that they may take.
COMMANDS = {
    "check torch": (120, 1.5),
    "check torch -n 2": (60, 1.5),
    "check torch -n 2 --budget smoke": (15, 1.5),
    "check reference": (60, 1.5),
}
WRONG_ATTENTION = """
from toise_reference import attention as right

def attention(q, k, v, *, mask=None, causal=False, scale=None):
    return right(q, k, v, mask=mask, causal=causal, scale=1.0 if scale is None else scale)
"""
TIMED = """
import json, sys, time
start = time.perf_counter()
import toise
import toise.run, toise.engine
toise.engine.properties()
from toise.targets import load
load(sys.argv[1])
imported = time.perf_counter()
report = toise.verify(sys.argv[1], operations=[sys.argv[2]], dtypes=[sys.argv[3]])
print(json.dumps([imported - start, time.perf_counter() - imported, report.passed]))
"""


def main() -> None:
    """Print a line for each case: seconds for the imports and for the verdict, median and worst."""
    wrong = Path(__file__).parent / "toise_wrong_attention.py"
    wrong.write_text(WRONG_ATTENTION, encoding="utf-8")
    print(f"{'':<22}{'imports':>9}{'verdict':>9}{'worst':>9}{'limit':>9}   passed")
    try:
        for name, ((target, operation, dtype), limit) in CASES.items():
            path = str(wrong) if target == wrong.name else target
            runs = [_timed(path, operation, dtype) for _ in range(RUNS)]
            imports, verdicts, passed = zip(*runs, strict=True)
            figures = (statistics.median(imports), statistics.median(verdicts), max(verdicts))
            print(f"{name:<22}{''.join(f'{figure:>9.2f}' for figure in figures)}{limit:>9}   {passed[0]}", flush=True)
    finally:
        wrong.unlink()
    print(f"\n{'':<34}{'seconds':>9}{'limit':>9}{'GiB':>9}{'limit':>9}   exit")
    taken = {}
    for command, (limit, memory) in COMMANDS.items():
        seconds, held, status = _command(command.split())
        taken[command] = seconds
        print(f"{command:<34}{seconds:>9.1f}{limit:>9}{held:>9.2f}{memory:>9}   {status}", flush=True)
    print(f"two processes are {taken['check torch'] / taken['check torch -n 2']:.2f} times as fast as one")
    _faults()
    for target in ("torch", "reference"):
        print()
        breakdown.main(target)


def _faults() -> None:
    """Judge one fault in so many; print how long the first failure takes, and a whole verdict with its smallest inputs."""
    to_kill, verdicts = [], []
    for fault in list(catalogue().values())[::ONE_FAULT_OF]:
        to_kill.append(judge_fault(fault.slug).to_kill)
        start = time.perf_counter()
        toise.verify(fault.target(), operations=[fault.operation], dtypes=["float32"])
        verdicts.append((time.perf_counter() - start, fault.slug))
    worst, slowest = max(verdicts)
    print(
        f"{len(verdicts)} faults, seconds to the first failure: median {statistics.median(to_kill):.2f}, worst {max(to_kill):.2f}"
    )
    median = statistics.median(seconds for seconds, _ in verdicts)
    print(f"seconds to a verdict: median {median:.2f} (limit 2), worst {worst:.2f} (limit 10, {slowest})")


def _command(arguments: list[str]) -> tuple[float, float, int]:
    """Return the seconds that a command takes, the most GiB that it and its children hold at once, and its status."""
    start, held = time.perf_counter(), 0.0
    running = subprocess.Popen(
        [sys.executable, "-m", "toise", *arguments],
        stdout=subprocess.DEVNULL,
    )
    while running.poll() is None:
        held = max(held, _memory(running.pid))
        time.sleep(0.1)
    return time.perf_counter() - start, held, running.returncode


def _memory(root: int) -> float:
    """Return the GiB that a process and all below it hold."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,rss="], capture_output=True, text=True, check=False).stdout
    processes = [tuple(map(int, line.split())) for line in listed.splitlines()]
    family, size = {root}, 0
    while len(family) > size:
        size = len(family)
        family |= {pid for pid, parent, _ in processes if parent in family}
    return sum(rss for pid, _, rss in processes if pid in family) / 2**20


def _timed(*arguments: str) -> tuple[float, float, bool]:
    done = subprocess.run([sys.executable, "-c", TIMED, *arguments], capture_output=True, text=True, check=True)
    imports, verdict, passed = json.loads(done.stdout)
    return imports, verdict, passed


if __name__ == "__main__":
    main()
