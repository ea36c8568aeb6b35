"""Toise: check an implementation of the transformer against a numbered specification.

    >>> import toise
    >>> report = toise.verify("reference", operations=["causal_mask"], budget="smoke")
    >>> report.passed, report.requirements["CAU-1"].outcome
    (True, 'PASS')

"reference" is a target that comes with Toise; a file is named by its path, such as "my_attention.py".
Names are imported when they are first used, so that `import toise` alone costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toise.errors import TargetError, ToiseError, Unsupported
    from toise.report import Report
    from toise.run import verify

__all__ = ["Report", "TargetError", "ToiseError", "Unsupported", "__version__", "verify"]

__version__ = "0.1.0"

_HOME = {
    "Report": "toise.report",
    "TargetError": "toise.errors",
    "ToiseError": "toise.errors",
    "Unsupported": "toise.errors",
    "verify": "toise.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'toise' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
