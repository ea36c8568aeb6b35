"""How a backend is found: a file, a module, an object in a module, a mapping of callables, or a name of its own."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toise.arrays import array_type
from toise.backends import ADAPTERS, UNIMPORTABLE, brought_along, is_known, one_of, require
from toise.declarations import parse
from toise.errors import TargetError, Unavailable, Unsupported, text_of
from toise.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from toise.arrays import ArrayType
    from toise.declarations import Declarations


X64 = "JAX computes in float64 where jax_enable_x64 is set, and else gives float32: set JAX_ENABLE_X64=1, or jax.enable_x64(True)"


@dataclass(frozen=True)
class Target:
    """A backend as it was given: its operations, what it declares, and the arrays that it computes on."""

    name: str
    operations: Mapping[str, Callable[..., Any]]
    declarations: Declarations
    arrays: ArrayType
    arrays_declared: bool = True
    named: bool = True
    notes: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    """What it declares, as it was given."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """The requirements that cannot be judged where it runs, each with what cannot be seen."""
    seen_in_part: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    """The versions of what it runs on, where that is another process."""
    again: tuple[str, str] | None = None
    """What stands first and last in the command that judges it, where that is not its name alone."""
    begin: Callable[[], object] = lambda: None
    """Is called before each requirement."""
    close: Callable[[], object] = lambda: None
    """Ends what runs for it in another process."""

    def accepts(self, operation: str, option: str) -> bool:
        """Tell whether the operation has a parameter for that option; one without a signature may have it."""
        parameters = self._parameters[operation]
        if parameters is None:
            return True
        return any(p.kind is p.VAR_KEYWORD or (p.name == option and p.kind is not p.POSITIONAL_ONLY) for p in parameters)

    @functools.cached_property
    def _parameters(self) -> dict[str, list[inspect.Parameter] | None]:
        return {name: _parameters_of(function) for name, function in self.operations.items()}


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def load(
    target: object, *, device: str | None = None, declare: Mapping[str, Any] | None = None, require_class: str | None = None
) -> Target:
    """Find a backend and read what it declares; `declare` adds to it, `device` and `require_class` override it.

    Raises TargetError, with one line, if there is none.
    """
    if isinstance(target, os.PathLike):
        target = os.fspath(target)
    if device is not None and not isinstance(device, str):
        raise TargetError(f"device is {text_of(device)}; required: a string, such as 'cuda'")
    name, thing = (target, _find(target)) if isinstance(target, str) else (_name_of(target), target)
    if inspect.isclass(thing):
        thing = _instance(name, thing)
    read = _reader(thing)
    operations = _operations(name, thing, read)
    told = read("__toise__")
    if callable(told):  # what it declares depends on where it computes
        told = _called(name, lambda: told(device))
    given = _merged(_mapping(f"{name}: __toise__", told), _mapping("declare", declare))
    arrays_declared = "arrays" in given
    notes: tuple[str, ...] = ()
    if not arrays_declared and _uses_only_torch(operations.values()):
        given["arrays"] = "torch"
        notes = ("arrays: torch, because the functions' module imports torch and not numpy",)
    notes += tuple(_misnamed(operations))
    if (
        "float64" in given.get("dtypes", ())
        and given.get("arrays") == "jax"
        and not (isinstance(target, str) and is_known(target))
    ):
        notes += (X64,)
    try:
        declarations = parse(given)
        arrays = array_type(declarations.arrays, device or declarations.device)
    except TargetError as error:
        raise TargetError(f"{name}: {error}") from None
    if require_class is not None:
        declarations = declarations.at_most(require_class)
    return Target(name, operations, declarations, arrays, arrays_declared, isinstance(target, str), notes, given)


def _operations(name: str, thing: object, read: Callable[[str], Any]) -> dict[str, Callable[..., Any]]:
    found = {operation: read(operation) for operation in OPERATIONS}
    operations = {operation: function for operation, function in found.items() if function is not None}
    for operation, function in operations.items():
        if not callable(function):
            raise TargetError(f"{name}: {operation} is a {type(function).__name__}; required: a function")
    if not operations:
        hint = "give {'layer_norm': function}" if inspect.isroutine(thing) else "define a function of one of those names"
        raise TargetError(f"{name} provides none of the operations {', '.join(OPERATIONS)}; {hint}")
    return operations


def _misnamed(operations: Mapping[str, Callable[..., Any]]) -> Iterator[str]:
    """Yield a note for each operation with optional parameters that are never passed."""
    for name, function in operations.items():
        data, known = OPERATIONS[name].data, OPERATIONS[name].options
        parameters = (_parameters_of(function) or [])[len(data) :]
        other = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in known]
        if other:
            called = f"its options are called {', '.join(known)}" if known else "it has no options"
            yield f"{', '.join(other)} of {name} is never passed: {called}"


def _mapping(what: str, given: object) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TargetError(f"{what} is a {type(given).__name__}; required: a mapping")
    return given


def _find(target: str) -> object:
    if is_known(target):
        require(target)
        try:
            return _import(target, ADAPTERS[target].load if target in ADAPTERS else one_of(brought_along()[target]).load)
        except TargetError as error:
            raise Unavailable(target, str(error).removeprefix(f"{target} ")) from None
    if ".py:" in target:
        raise TargetError(f"{target}: an object is taken from a module: write {target.replace('.py:', ':')}")
    if target.endswith(".py") or "/" in target or "\\" in target:
        return _import(target, lambda: _load_file(Path(target)))
    module, _, attribute = target.removeprefix("module:").partition(":")
    near = difflib.get_close_matches(target, [*ADAPTERS, *brought_along()], 1)
    if not all(part.isidentifier() for part in module.split(".")):
        hint = f"did you mean {near[0]}?" if near else "`toise backends` lists the names"
        raise TargetError(f"{target!r} is neither a file.py, a module, module:object, nor a backend that has a name; {hint}")
    try:
        thing = _import(target, lambda: _import_module(module))
    except TargetError as error:
        meant = f"; did you mean {near[0]}?" if near and f"No module named {module!r}" in str(error) else ""
        raise TargetError(f"{error}{meant}") from None
    for part in attribute.split(".") if attribute else ():
        if not hasattr(thing, part):
            raise TargetError(f"{target}: {thing!r:.60} has no attribute {part!r}")
        thing = getattr(thing, part)
    return thing


def _import_module(name: str) -> types.ModuleType:
    # As `python -m` does: a module in the current folder can be named.
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    return importlib.import_module(name)


def _load_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise TargetError(f"{path}: no such file")
    full = path.resolve()
    name = f"toise_target_{hashlib.sha256(str(full).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path}: not a Python file; a program that speaks the protocol stands after --")
    if str(full.parent) not in sys.path:
        sys.path.append(str(full.parent))  # last, so that the file's neighbours shadow nothing
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import(target: str, load: Callable[[], object]) -> object:
    """Run an import, and turn whatever it raises, `exit()` included, into one line."""
    try:
        return load()
    except (TargetError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - a target's own code may raise anything
        where = next(
            (
                f" (line {f.lineno})"
                for f in reversed(traceback.extract_tb(error.__traceback__))
                if Path(f.filename).name == Path(target).name
            ),
            "",
        )
        raise TargetError(f"{target} {UNIMPORTABLE}: {type(error).__name__}: {text_of(error)}{where}") from None


def _called(name: str, function: Callable[[], Any]) -> Any:
    """Ask what a target declares.  Raises Unavailable where one that has a name says that it cannot be had."""
    try:
        return function()
    except KeyboardInterrupt:
        raise
    except Unsupported as error:
        raise (Unavailable(name, text_of(error)) if is_known(name) else TargetError(f"{name}: {text_of(error)}")) from None
    except BaseException as error:  # noqa: BLE001 - a target's own code may raise anything
        raise TargetError(f"{name}: __toise__ cannot be had: {type(error).__name__}: {text_of(error)}") from None


def _instance(name: str, kind: type) -> object:
    try:
        return kind()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a target's own code may raise anything
        raise TargetError(
            f"{name} is a class that cannot be made without arguments ({text_of(error)}); give an instance"
        ) from None


def _merged(given: Mapping[str, Any], declare: Mapping[str, Any]) -> dict[str, Any]:
    """Add declarations to those of the target, inside an operation too."""
    both = {key: {**given[key], **value} for key, value in declare.items() if _mappings(given.get(key), value)}
    return {**given, **declare, **both}


def _mappings(*things: object) -> bool:
    return all(isinstance(thing, Mapping) for thing in things)


def _reader(thing: object) -> Callable[[str], Any]:
    if isinstance(thing, Mapping):
        unknown = [key for key in thing if key != "__toise__" and key not in OPERATIONS]
        if unknown:
            raise TargetError(f"the mapping has an unknown key {unknown[0]!r}; known: __toise__, {', '.join(OPERATIONS)}")
        return thing.get
    return lambda name: _attribute(thing, name)


def _attribute(thing: object, name: str) -> Any:
    """Look an attribute up, which may run code of the target."""
    try:
        return getattr(thing, name, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a target's own code may raise anything
        raise TargetError(f"{_name_of(thing)}: {name} cannot be had: {type(error).__name__}: {text_of(error)}") from None


def _name_of(thing: object) -> str:
    if isinstance(thing, (types.ModuleType, type)):
        return thing.__name__
    return type(thing).__name__ if not isinstance(thing, Mapping) else "mapping"


def _uses_only_torch(functions: Any) -> bool:
    """Tell whether the modules that define the functions import torch but not numpy."""
    imported = set()
    for function in functions:
        namespace = getattr(inspect.unwrap(function), "__globals__", {})
        imported |= {value.__name__.split(".")[0] for value in namespace.values() if isinstance(value, types.ModuleType)}
    return "torch" in imported and "numpy" not in imported
