"""Adapters to implementations that come with Toise, and those that other packages bring along.

An adapter is imported when it is named, and not before: what it needs may not be installed.
"""

from __future__ import annotations

import functools
import importlib
import shutil
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from toise.errors import TargetError, Unavailable, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The entry points by which a package brings its own backends.
GROUP = "toise.backends"
# How a reason begins where a library is there and cannot be imported.
UNIMPORTABLE = "cannot be imported"


def cuda() -> str:
    """Say that there is no CUDA device, if there is none."""
    torch = importlib.import_module("torch")
    return "" if torch.cuda.is_available() else "needs a CUDA device"


def compiler() -> str:
    """Say that torch has no C++ compiler to compile with, if there is none."""
    found = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    return "" if found else "needs a C++ compiler, such as g++"


@dataclass(frozen=True)
class Adapter:
    """A backend that has a name, and what it needs."""

    thing: str
    """A module of this package, or module:object."""
    tells: str
    """What is called, in a few words."""
    extra: str = ""
    """What of Toise to install for it."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """The oldest version of each package that it works with."""
    needs: Callable[[], str] | None = None
    """Says what else it needs and is not here, such as a device."""

    def missing(self) -> str:
        """Say why it cannot be used here; empty if nothing speaks against it.

        The library is not imported for that, but where `needs` asks it.
        """
        install = f"pip install 'toise[{self.extra}]'"
        for package, least in self.packages.items():
            version = installed(package)
            if version is None:
                return f"not installed: {install}"
            if _parts(version) < _parts(least):
                return f"too old: {package} {version}; required: {least} or later: {install}"
        try:
            return self.needs() if self.needs else ""
        except Exception as error:  # noqa: BLE001 - a library that is broken may raise anything
            return f"{UNIMPORTABLE}: {type(error).__name__}: {text_of(error)}"

    def versions(self) -> str:
        """Return the versions of its packages, as a list stands behind a word."""
        return "".join(f", {package} {installed(package)}" for package in self.packages)

    def load(self) -> Any:
        """Import it."""
        module, _, attribute = self.thing.partition(":")
        thing: Any = importlib.import_module(f"{__name__}.{module}")
        return getattr(thing, attribute) if attribute else thing


def installed(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _parts(version: str) -> tuple[int, ...]:
    """Return the numbers of a release: those of 2.13.0+cpu are 2, 13 and 0, and of a version that is no number none."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).release
    except InvalidVersion:
        return ()


@functools.cache
def brought_along() -> dict[str, list[metadata.EntryPoint]]:
    """Return the backends that installed packages bring, by name, without those that have the name of an adapter."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for entry in metadata.entry_points(group=GROUP):
        others = found.setdefault(entry.name, [])
        if entry.name not in ADAPTERS and entry.value not in [other.value for other in others]:
            others.append(entry)
    return {name: entries for name, entries in found.items() if entries}


def one_of(entries: list[metadata.EntryPoint]) -> metadata.EntryPoint:
    """Return the only one of a name.  Raises TargetError if there are several."""
    if len(entries) > 1:
        values = " and ".join(entry.value for entry in entries)
        raise TargetError(f"is brought along by {len(entries)} packages, as {values}; uninstall one of them")
    return entries[0]


def is_known(target: str) -> bool:
    """Tell whether a target is the name of a backend."""
    return target in ADAPTERS or target in brought_along()


def require(target: str) -> None:
    """Raise Unavailable for a backend that needs what is not here."""
    if reason := ADAPTERS[target].missing() if target in ADAPTERS else "":
        raise Unavailable(target, reason)


_torch = functools.partial(Adapter, extra="torch", packages={"torch": "2.5"})
_jax = functools.partial(Adapter, extra="jax", packages={"jax": "0.10"})
_flax = functools.partial(Adapter, extra="flax", packages={"jax": "0.10", "flax": "0.12"})
_equinox = functools.partial(Adapter, extra="equinox", packages={"jax": "0.10", "equinox": "0.13"})
_keras = functools.partial(Adapter, extra="keras", packages={"jax": "0.10", "keras": "3.15"})
_onnx = functools.partial(Adapter, extra="onnx", packages={"onnx": "1.22"})
_onnxruntime = functools.partial(Adapter, extra="onnxruntime", packages={"onnx": "1.22", "onnxruntime": "1.23"})
_mlx = functools.partial(Adapter, extra="mlx", packages={"mlx": "0.32"})
_transformers = functools.partial(Adapter, extra="transformers", packages={"torch": "2.5", "transformers": "5.23"})
ADAPTERS: dict[str, Adapter] = {
    "reference": Adapter("reference", "the readable reference, in NumPy"),
    "torch": _torch("torch_adapter", "torch.nn.functional, with torch's defaults"),
    "torch-tf32": _torch("torch_adapter:tf32", "torch.nn.functional, where matrix products may be in TF32"),
    "torch-deterministic": _torch(
        "torch_adapter:deterministic", "torch.nn.functional, deterministic, and no sums in a narrow dtype"
    ),
    "torch-nn": _torch("torch_nn:fast", "modules of torch.nn, with their fast path"),
    "torch-nn-slow": _torch("torch_nn:slow", "modules of torch.nn, without their fast path"),
    "torch-sdpa-math": _torch("torch_sdpa:math", "scaled_dot_product_attention, by SDPBackend.MATH"),
    "torch-sdpa-flash": _torch("torch_sdpa:flash", "scaled_dot_product_attention, by SDPBackend.FLASH_ATTENTION"),
    "torch-sdpa-efficient": _torch(
        "torch_sdpa:efficient", "scaled_dot_product_attention, by SDPBackend.EFFICIENT_ATTENTION", needs=cuda
    ),
    "torch-sdpa-cudnn": _torch("torch_sdpa:cudnn", "scaled_dot_product_attention, by SDPBackend.CUDNN_ATTENTION", needs=cuda),
    "torch-compile": _torch("torch_compile", "functions of torch.nn.functional, through torch.compile", needs=compiler),
    "torch-flex": _torch("torch_flex", "flex_attention, through torch.compile", needs=compiler),
    "jax": _jax("jax_adapter", "jax.nn and jax.numpy"),
    "flax": _flax("flax_adapter", "modules of flax.nnx"),
    "equinox": _equinox("equinox_adapter", "modules of equinox.nn"),
    "keras": _keras("keras_adapter", "layers of Keras on the JAX backend"),
    "onnx-reference": _onnx("onnx_adapter:reference", "models of ONNX operators, run by onnx.reference"),
    "onnxruntime": _onnxruntime("onnx_adapter:runtime", "models of ONNX operators, run by ONNX Runtime"),
    "mlx": _mlx("mlx_adapter", "mlx.core.fast and mlx.nn"),
    "transformers": _transformers("transformers_adapter:sdpa", "attention functions, data collator and losses of Transformers"),
    "transformers-eager": _transformers("transformers_adapter:eager", "those of Transformers, with eager attention"),
}
