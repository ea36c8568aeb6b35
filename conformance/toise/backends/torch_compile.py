"""`torch.compile` of `torch.nn.functional.layer_norm`, in full graphs with dynamic shapes: what Inductor makes of it.

A graph is compiled for each rank, layout, dtype and eps, and for each axis of length 0 or 1: half a second to a second and
a half of processor time each.  So the domain is one rank and a few lengths, and `layer_norm` is the operation, which
Inductor writes a kernel of its own for; the smoke budget takes minutes of processor time.
Where torch gives up compiling it would run the function as it is, and nothing of Inductor would be judged: here that is
an error.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import tempfile
from typing import TYPE_CHECKING, Any

import torch
import torch._dynamo.config
import torch._inductor.config
import torch.fx.experimental._config

from toise.backends import torch_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 10_000
"""Graphs of one function: far more than there are, so that torch does not stop compiling."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"


def declared(device: str | None) -> dict[str, Any]:
    """Return what torch declares of its functions, and the domain."""
    told = torch_adapter.declared(device)
    shared = {key: told[key] for key in ("version", "arrays", "layer_norm")}
    shared["layer_norm"]["domain"] = {"rank": [2], "d": [2, 3, 4, 16, 17, 64]}
    return {"name": "torch.compile", "dtypes": ["float32", "bfloat16"], **shared}


__toise__ = declared


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Let torch compile as often as it must, in this process, and nothing fall back; its cache is where the user put it."""
    dynamo: Any = torch._dynamo.config  # noqa: SLF001 - the public way to these options
    inductor: Any = torch._inductor.config  # noqa: SLF001
    shapes: Any = torch.fx.experimental._config  # noqa: SLF001
    limits = {"recompile_limit": LIMIT, "accumulated_recompile_limit": LIMIT, "fail_on_recompile_limit_hit": True}
    mine = CACHE not in os.environ
    if mine:
        os.environ[CACHE] = _folder()
    try:
        # Axes that happen to be as long as each other are no reason to compile once more.
        with dynamo.patch(limits), inductor.patch(compile_threads=1), shapes.patch(use_duck_shape=False):
            yield
    finally:
        if mine:
            del os.environ[CACHE]


@functools.cache
def _folder() -> str:
    """Return a folder that is gone when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="toise-inductor-")
    atexit.register(folder.cleanup)
    return folder.name


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as `torch.compile` makes it, in one graph or not at all."""
    graph: Any = torch.compile(function, fullgraph=True, dynamic=True)

    @functools.wraps(function)
    def operation(*data: Any, **options: Any) -> Any:
        with compiling():
            return graph(*data, **options)

    return operation


layer_norm = compiled(torch_adapter.layer_norm)
