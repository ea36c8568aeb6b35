"""What a gate in CI costs: `python benchmarks/gating.py`, with `--markdown docs/results/gating.md` to keep it.

- known: a run with fifty known failures beside one of the same backend without failures, and whether twenty runs agree
- workers: `toise check torch` with two processes beside one, and whether their reports are equal

Times are of whole commands, turn by turn; what counts is the ratio of the medians.  Run it where two processors are free.
Exit status 1 where known failures cost more than a tenth, two processes are less than 1.6 times as fast, or reports differ.
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
from typing import NamedTuple

# All operations of the reference; in the second file seven of them add a ramp.
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

for _name in ("attention", "multi_head_attention", "feed_forward", "layer_norm", "mlm_loss", "residual", "sequence_log_prob"):
    globals()[_name] = off(getattr(toise_reference, _name))
from toise_reference import causal_mask, mlm_corrupt
"""


# How much longer a run with so many known failures may take, and how much faster two processes have to be.
KNOWN, MOST, LEAST = 50, 1.1, 1.6


class Measured(NamedTuple):
    """What was measured, what was found, and whether it is as it should be."""

    what: str
    told: str
    well: bool


def check(folder: Path, *arguments: str) -> tuple[float, bytes]:
    """Run `toise check` and return how long it took, and the report without times."""
    command = [sys.executable, "-m", "toise", "check", *arguments, "--no-times", "--json", "report.json"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    return seconds, (folder / "report.json").read_bytes()


def known(folder: Path, runs: int) -> Measured:
    """Compare a run of known failures with one without failures, and count how many verdicts there are."""
    (folder / "right.py").write_text(RIGHT, encoding="utf-8")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    check(folder, "wrong.py")
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
    counts = shown["counts"]
    what = f"{counts['XFAIL']} known failures, {counts['FAIL']} others, beside the same backend without failures"
    told = f"{other / one:.2f} times as long ({one:.1f} s without, {other:.1f} s with); {len(verdicts)} verdict in {runs} runs"
    return Measured(what, told, other / one <= MOST and len(verdicts) == 1 and counts["XFAIL"] >= KNOWN and not counts["FAIL"])


def workers(folder: Path, runs: int) -> Measured:
    """Compare two processes with one."""
    times: dict[str, list[float]] = {"0": [], "2": []}
    reports = set()
    for _ in range(runs):
        for number, found in times.items():
            seconds, report = check(folder, "torch", "-n", number)
            found.append(seconds)
            reports.add(report)
    one, two = (statistics.median(found) for found in times.values())
    what = "`toise check torch -n 2` beside `-n 0`, at four dtypes"
    told = f"{one / two:.2f} times as fast ({one:.0f} s alone, {two:.0f} s with two); {len(reports)} verdict in {2 * runs} runs"
    return Measured(what, told, one / two >= LEAST and len(reports) == 1)


def main() -> int:
    """Measure both, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["known", "workers"])
    parser.add_argument("--markdown", type=Path, help="where to write a table")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        each = {"known": lambda: known(Path(room), 20), "workers": lambda: workers(Path(room), 3)}
        measured = [each[name]() for name in each if told.only in (None, name)]
    for one in measured:
        print(f"{'ok   ' if one.well else 'WRONG'} {one.what}: {one.told}")
    if told.markdown:
        lines = ["| measured | found |", "|---|---|", *(f"| {one.what} | {one.told} |" for one in measured)]
        told.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if all(one.well for one in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
