"""Record how long each row takes, by which shards are balanced: `python benchmarks/seconds.py` writes `toise/seconds.json`.

Run it where the machine is idle; only the proportions count.  What has changed is not urgent: a shard takes longer then.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import toise

SECONDS = Path(toise.__file__).parent / "seconds.json"
# Right, and of two kinds: the suite's share of the time is the same, and the backend's is not.
TARGETS = ("reference", "torch")


def main() -> None:
    """Judge the targets at float32, and write the mean of each row."""
    found: dict[str, list[float]] = {}
    for target in TARGETS:
        for row in toise.verify(target, dtypes=["float32"]).results:
            if row.seconds is not None:
                found.setdefault(f"{row.requirement} {row.operation}", []).append(row.seconds)
    seconds = {name: round(statistics.mean(times), 3) for name, times in found.items()}
    SECONDS.write_text(json.dumps(seconds, indent=1) + "\n", encoding="utf-8")
    print(f"{SECONDS}: {len(seconds)} rows, {sum(seconds.values()):.1f} s, the longest {max(seconds.values()):.1f} s")


if __name__ == "__main__":
    main()
