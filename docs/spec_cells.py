"""What the site adds to a page of the specification: below each requirement its test, and the faults that it catches."""

from __future__ import annotations

import inspect
import re

import toise_spec
from museum_cells import of_requirement, shelf
from toise import engine
from words import say

_END = re.compile(r"^- \*\*Since:\*\* .+$", re.MULTILINE)
_ID = re.compile(r"^### (?P<id>\S+) \{", re.MULTILINE)


def with_proof(markdown: str) -> str:
    """Return a page of the specification with the test and the faults of each requirement.

    Raises LookupError for one that has no test, or that no fault is known to break.
    """
    return _END.sub(lambda match: f"{match[0]}\n{_proof(_ID.findall(markdown, 0, match.start())[-1])}", markdown)


def _proof(id: str) -> str:
    if toise_spec.requirement(id).level == "MAY":
        return ""  # it is never tested
    tests = {prop.id: prop for prop in engine.properties()}
    if id not in tests:
        raise LookupError(f"{id} has no test in toise.suite")
    faults = of_requirement(id)
    if not faults:
        raise LookupError(f"no fault of the catalogue is known to break {id}; `nox -s faults` records what each breaks")
    source = "\n".join(f"    {line}".rstrip() for line in inspect.getsource(tests[id].test).splitlines())
    listed = ", ".join(map(shelf, faults))
    return "\n".join(
        [
            f"- **{say('spec.faults')}** {listed}",
            "",
            f'??? example "{say("spec.test", name=tests[id].name)}"',
            "    ```python",
            source,
            "    ```",
        ]
    )
