"""Where a backend runs: away from the caller's warning filters, floating-point traps and thread pools."""

from __future__ import annotations

import contextlib
import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np
import threadpoolctl

if TYPE_CHECKING:
    from collections.abc import Iterator

_around_lock = threading.Lock()
_around_depth = 0
_around = contextlib.ExitStack()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the caller's warning filters and floating-point traps away from the backend while it is judged.

    Under `filterwarnings = error` a correct backend would otherwise raise.  BLAS and OpenMP run on one
    thread meanwhile: the arrays are small, and pools that wait for busy cores are five to ten times slower.
    Filters and pools belong to the whole process: the first run in sets them, the last one out restores them.
    """
    global _around_depth  # noqa: PLW0603 - what it counts is global too
    with _around_lock:
        if _around_depth == 0:
            _around.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            _around.enter_context(threadpoolctl.threadpool_limits(1))
        _around_depth += 1
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        with _around_lock:
            _around_depth -= 1
            if _around_depth == 0:
                _around.close()
