"""The smallest input found that reveals each fault of the catalogue: `python counterexamples.py -n 2 --json FILE`.

Each fault is judged by the first requirement that it declares to break, as `toise check` judges a backend: in
float32, at the standard budget, with seed 0.  The museum of bugs shows what that prints.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from toise import engine
from toise.faults import catalogue
from toise.faults.matrix import backend_of
from toise.files import digest_of
from toise.quiet import quiet
from toise.terminal import failure_text

SEED = 0


def digest(slug: str) -> str:
    """Return what tells whether a fault was edited."""
    return digest_of(inspect.getsource(catalogue()[slug].function))


def revealed(slug: str) -> dict[str, str]:
    """Return the first requirement that a fault breaks, of those that it declares, and what is printed of that, if it does."""
    fault, found = catalogue()[slug], {"source": digest(slug)}
    backend = backend_of(slug, seed=SEED)
    with quiet():
        for id in fault.fails:
            row = engine.judge(engine.property_of(id), backend, fault.operation, seed=SEED)
            if row.counterexample:
                # How to see it again names the object that was judged, which no reader has; the page is one click away.
                told = [line for line in failure_text(row).splitlines() if not line.startswith(("  again ", "  page "))]
                return {**found, "requirement": id, "text": "\n".join(told)}
    return found


def main() -> None:
    """Reveal all faults, in several processes if asked, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", dest="workers", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()

    slugs = list(catalogue())
    found = {}
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for at, (slug, shown) in enumerate(zip(slugs, pool.map(revealed, slugs), strict=True), 1):
            found[slug] = shown
            print(f"\r{at}/{len(slugs)} {slug:<60}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    arguments.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    silent = [slug for slug, shown in found.items() if "text" not in shown]
    print(f"{len(found) - len(silent)} of {len(found)} faults are revealed; not: {', '.join(silent) or 'none'}")


if __name__ == "__main__":
    main()
