"""What a gate in CI costs: `python benchmarks/gating.py`.

- known: a run with fifty known failures beside one of the same backend without failures, and whether twenty runs agree
- workers: `toise check torch` with two processes beside one, and whether their reports are equal

Times are of whole commands, turn by turn; what counts is the ratio of the medians.  Run it where two processors are free.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# All operations of the reference; in the second file six of them add a ramp.
RIGHT = """
from toise_reference import *
"""
WRONG = """
import functools
import numpy as np
import toise_reference

def off(function):
    @functools.wraps(function)
    def wrong(*data, **options):
        result = np.asarray(function(*data, **options))
        return result + np.linspace(0.25, 0.5, result.size, dtype=result.dtype).reshape(result.shape)
    return wrong

for _name in ("attention", "multi_head_attention", "feed_forward", "layer_norm", "mlm_loss", "sequence_log_prob"):
    globals()[_name] = off(getattr(toise_reference, _name))
from toise_reference import causal_mask, mlm_corrupt, residual
"""


def check(folder: Path, *arguments: str) -> tuple[float, bytes]:
    """Run `toise check` and return how long it took, and the report without times."""
    command = [sys.executable, "-m", "toise", "check", *arguments, "--no-times", "--json", "report.json"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    return seconds, (folder / "report.json").read_bytes()


def known(folder: Path, runs: int) -> None:
    """Compare a run of known failures with one without failures, and count how many verdicts there are."""
    (folder / "right.py").write_text(RIGHT, encoding="utf-8")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    searched, _ = check(folder, "wrong.py")
    update = [sys.executable, "-m", "toise", "baseline", "update", "report.json"]
    subprocess.run(update, cwd=folder, check=True, capture_output=True)
    right, wrong, verdicts = [], [], set()
    for _ in range(runs):
        right.append(check(folder, "right.py")[0])
        seconds, report = check(folder, "wrong.py", "--baseline", "toise-baseline.json")
        wrong.append(seconds)
        verdicts.add(report)
    (shown,) = json.loads(report)["reports"]
    one, other = statistics.median(right), statistics.median(wrong)
    print(f"{shown['counts']['XFAIL']} known failures, {shown['counts']['FAIL']} others, {shown['counts']['PASS']} PASS")
    print(f"without failures {one:.2f} s, with known ones {other:.2f} s: {other / one:.2f} x")
    print(f"where nobody knows them {searched:.2f} s")
    print(f"{runs} runs, {len(verdicts)} different reports")


def workers(folder: Path, runs: int) -> None:
    """Compare two processes with one."""
    times: dict[str, list[float]] = {"0": [], "2": []}
    reports = set()
    for _ in range(runs):
        for number, found in times.items():
            seconds, report = check(folder, "torch", "-n", number)
            found.append(seconds)
            reports.add(report)
    one, two = (statistics.median(found) for found in times.values())
    print(f"toise check torch: -n 0 {one:.1f} s, -n 2 {two:.1f} s: {one / two:.2f} x as fast; {len(reports)} different reports")


def main() -> None:
    """Measure both, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["known", "workers"], default=["known", "workers"])
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        if "known" in told.what:
            known(Path(room), 20)
        if "workers" in told.what:
            workers(Path(room), 3)


if __name__ == "__main__":
    main()
