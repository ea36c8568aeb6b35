"""Every way to give a backend, and every way to get it wrong: one line that says what was got and what is required."""

from __future__ import annotations

import functools
import itertools
import sys
import textwrap
import types

import numpy as np
import pytest
import toise
import toise_reference
import torch
from misbehaviours import judged
from toise.errors import TargetError
from toise.operations import OPERATIONS
from toise.targets import load

KNOWN = ", ".join(OPERATIONS)

NUMBER = itertools.count()
CORRECT = """
    import toise_reference

    __toise__ = {"name": "mine"}

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return toise_reference.layer_norm(x, gamma, beta, eps=eps)
"""
TORCH_ONLY = """
    import torch

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return torch.nn.functional.layer_norm(x, (x.shape[-1],), gamma, beta, eps)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, and leave the paths and the modules as they were."""
    path, modules = list(sys.path), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("toise_target_", "mine_")):
            del sys.modules[name]


@pytest.fixture
def module(folder):
    """Return a function that writes a module that can be imported from here, and returns its name."""

    def write(text):
        name = f"mine_{next(NUMBER)}"
        (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        return name

    return write


def refused(target, **options):
    """Return the one line that refuses a target."""
    with pytest.raises(TargetError) as caught:
        load(target, **options)

    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1, message
    return message


def judges(target):
    """Tell that a target is found, and that what was found is judged."""
    report = judged(target, ["LN-1", "GEN-2"])
    return report.passed and report.exit_code == 0


class Layer:
    """A backend that is made without arguments."""

    __toise__ = types.MappingProxyType({"name": "a layer"})

    def layer_norm(self, x, gamma, beta, *, eps=1e-5):
        """Call the reference."""
        return toise_reference.layer_norm(x, gamma, beta, eps=eps)


def test_a_file_is_found_by_its_path(module, folder):
    """Relative or absolute, in this folder or another one."""
    name = module(CORRECT)
    (folder / "deeper").mkdir()
    (folder / "deeper" / "file.py").write_text(textwrap.dedent(CORRECT))

    for path in (f"{name}.py", f"./{name}.py", str(folder / f"{name}.py"), "deeper/file.py"):
        loaded = load(path)
        assert (loaded.name, list(loaded.operations), loaded.declarations.name) == (path, ["layer_norm"], "mine")
    assert judges(f"{name}.py")


def test_a_file_may_import_its_neighbours(module, folder):
    """Its folder is put last, so that no neighbour shadows a library."""
    (folder / "mine_neighbour.py").write_text("from toise_reference import layer_norm\n")
    (folder / "other").mkdir()
    (folder / "other" / "mine_second_neighbour.py").write_text("from toise_reference import layer_norm\n")
    (folder / "other" / "file.py").write_text("from mine_second_neighbour import layer_norm\n")

    assert judges("other/file.py")
    assert sys.path[-1] == str(folder / "other")


def test_two_files_of_one_name_are_two_targets(folder):
    """Their modules do not replace each other."""
    for place, eps in (("one", 0.0), ("two", 1.0)):
        (folder / place).mkdir()
        (folder / place / "backend.py").write_text(f"def layer_norm(x, gamma, beta): return {eps}\n")

    one, two = load("one/backend.py"), load("two/backend.py")
    assert (one.operations["layer_norm"](0, 0, 0), two.operations["layer_norm"](0, 0, 0)) == (0.0, 1.0)


def test_a_file_that_changed_is_read_again(module, folder):
    """For a loop that edits and checks."""
    (folder / "backend.py").write_text("def layer_norm(x, gamma, beta): return 1\n")
    assert load("backend.py").operations["layer_norm"](0, 0, 0) == 1

    (folder / "backend.py").write_text("def layer_norm(x, gamma, beta): return 'twice'\n")
    assert load("backend.py").operations["layer_norm"](0, 0, 0) == "twice"


def test_a_module_in_the_current_folder_is_found_by_its_name(module):
    """As `python -m` does."""
    name = module(CORRECT)

    assert load(name).declarations.name == "mine"
    assert judges(name)


def test_an_object_in_a_module_is_found_behind_a_colon(module):
    """An instance, a class, which is made without arguments, or an attribute of either."""
    name = module(
        """
        import types
        import toise_reference

        class Layer:
            def layer_norm(self, x, gamma, beta, *, eps=1e-5):
                return toise_reference.layer_norm(x, gamma, beta, eps=eps)

        class Kernels:
            fast = Layer()

        layer = Layer()
        table = {"layer_norm": toise_reference.layer_norm, "__toise__": {"name": "table"}}
        """
    )

    for target in (f"{name}:layer", f"{name}:Layer", f"{name}:Kernels.fast", f"{name}:table", f"module:{name}:layer"):
        assert list(load(target).operations) == ["layer_norm"], target
        assert judges(target), target
    assert load(f"{name}:table").declarations.name == "table"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Layer(), "Layer"),
        (Layer, "Layer"),
        (toise_reference, "toise_reference"),
        ({"layer_norm": toise_reference.layer_norm}, "mapping"),
        (types.MappingProxyType({"layer_norm": toise_reference.layer_norm, "__toise__": {}}), "mapping"),
        (types.SimpleNamespace(layer_norm=toise_reference.layer_norm), "SimpleNamespace"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_an_object_is_a_target(target, name):
    """A module, a class, an instance, or a mapping of callables."""
    assert load(target).name == name
    assert judges(target)


def test_any_callable_is_an_operation():
    """A method, a partial, an instance with __call__."""

    class Compiled:
        def __call__(self, x, gamma, beta, *, eps=1e-5):
            return toise_reference.layer_norm(x, gamma, beta, eps=eps)

    for function in (Compiled(), Layer().layer_norm, functools.partial(toise_reference.layer_norm)):
        assert judges({"layer_norm": function})


def test_the_built_in_names():
    """Both provide all operations, and say what they are."""
    for name, arrays in (("reference", "numpy"), ("torch", "torch")):
        loaded = load(name)
        assert (loaded.name, set(loaded.operations), loaded.arrays.name) == (name, set(OPERATIONS), arrays)
        assert loaded.declarations.dtypes


def test_a_prefix_or_a_path_forces_the_other_reading(folder):
    """`torch` is the adapter, `module:torch` is the package, and `./torch.py` is a file."""
    (folder / "torch.py").write_text(textwrap.dedent(CORRECT))

    assert load("torch").declarations.name == "torch.nn.functional"
    assert load("module:torch").operations["layer_norm"] is torch.layer_norm
    assert load("torch.py").declarations.name == "mine"
    assert load("./torch.py").declarations.name == "mine"


def test_torch_is_inferred_where_the_module_imports_it_and_not_numpy(module):
    """The report says that it was inferred, and from what."""
    name = module(TORCH_ONLY)
    loaded = load(name)

    assert loaded.arrays.name == "torch"
    assert loaded.notes == ("arrays: torch, because the functions' module imports torch and not numpy",)
    assert judges(name)


@pytest.mark.parametrize(
    ("text", "arrays"),
    [
        ("import torch.nn.functional as F", "torch"),
        ("import torch as t", "torch"),
        ("import torch\nimport numpy as np", "numpy"),
        ("import numpy as np", "numpy"),
        ("import math", "numpy"),
        ("import torch\n__toise__ = {'arrays': 'numpy'}", "numpy"),
        ("import torch\nimport numpy as np\n__toise__ = {'arrays': 'torch'}", "torch"),
    ],
)
def test_the_arrays_are_declared_or_inferred_from_the_imports(module, text, arrays):
    """A declaration decides; NumPy is the default."""
    name = module(f"{text}\ndef layer_norm(x, gamma, beta): ...\n")

    assert load(name).arrays.name == arrays


def test_where_torch_cannot_be_inferred_the_failure_says_what_to_declare(module):
    """`from torch import ...` leaves no module behind, and the function meets NumPy arrays."""
    name = module(
        """
        from torch import layer_norm as torch_layer_norm

        def layer_norm(x, gamma, beta, *, eps=1e-5):
            return torch_layer_norm(x, (x.shape[-1],), gamma, beta, eps)
        """
    )
    report = judged(name, ["LN-1"])

    assert "declare __toise__ = {'arrays': 'torch'}" in report.requirements["LN-1"].counterexample.message


def test_the_device_is_the_one_asked_for_then_the_one_declared():
    """The CPU, if neither says anything."""
    target = {"layer_norm": torch.layer_norm, "__toise__": {"arrays": "torch", "device": "cpu:0"}}

    assert load(target).arrays.device == "cpu:0"
    assert load(target, device="cpu").arrays.device == "cpu"
    assert load("torch").arrays.device == "cpu"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere.py", "nowhere.py: no such file"),
        ("folder/nowhere.py", "folder/nowhere.py: no such file"),
        ("nowhere", "nowhere cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("mine_package.nowhere", "mine_package.nowhere cannot be imported: ModuleNotFoundError: No module named 'mine_package'"),
        ("toise_reference:nothing", "has no attribute 'nothing'"),
        ("toise_reference:attention.nothing", "has no attribute 'nothing'"),
        (
            "my backend",
            "'my backend' is neither a file.py, a module, module:object, nor a backend that has a name; `toise backends` lists",
        ),
        ("", "'' is neither a file.py, a module, module:object, nor a backend that has a name"),
        ("--help", "'--help' is neither"),
        ("two\nlines", "neither"),
        ("math", f"math provides none of the operations {KNOWN}; define a function of one of those names"),
        ("toise_reference:attention", "toise_reference:attention provides none of the operations"),
        ({}, "mapping provides none of the operations"),
        ({"__toise__": {}}, "mapping provides none of the operations"),
        (None, "NoneType provides none of the operations"),
        (5, "int provides none of the operations"),
        (types.SimpleNamespace(), "SimpleNamespace provides none of the operations"),
        ({"attention": 5}, "mapping: attention is a int; required: a function"),
        ({"layer_norm": "softmax"}, "mapping: layer_norm is a str; required: a function"),
        ({"atention": len}, f"the mapping has an unknown key 'atention'; known: __toise__, {KNOWN}"),
        ({5: len}, f"the mapping has an unknown key 5; known: __toise__, {KNOWN}"),
    ],
    ids=repr,
)
def test_what_is_no_target_is_refused(target, words):
    """The line names the target, and what would be one."""
    assert words in refused(target)


IMPORTS = {
    "a syntax error": ("def layer_norm(x:\n", "SyntaxError: "),
    "a missing import": ("import mine_missing\n", "ModuleNotFoundError: No module named 'mine_missing' (line 1)"),
    "a missing name": ("\nfrom math import nothing\n", "ImportError: cannot import name 'nothing' from 'math'"),
    "an exception": ("\n\nraise ValueError('one\\ntwo')\n", "ValueError: one two (line 3)"),
    "an exception without text": ("raise ValueError\n", "ValueError"),
    "exit": ("import sys\nsys.exit(3)\n", "SystemExit: 3 (line 2)"),
    "quit": ("raise SystemExit\n", "SystemExit"),
    "a base exception": ("class Outside(BaseException): pass\nraise Outside('out')\n", "Outside: out (line 2)"),
    "an exception without a usable text": (
        "class Hostile(Exception):\n    def __str__(self): raise RuntimeError\nraise Hostile\n",
        "Hostile",
    ),
    "skipping": ("import pytest\npytest.skip('not today', allow_module_level=True)\n", "Skipped: not today"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_target_that_cannot_be_imported_is_refused(module, name):
    """As a file and as a module: the error in one line, no traceback, and no exit."""
    text, words = IMPORTS[name]
    imported = module(text)

    message = refused(f"{imported}.py")
    assert message.startswith(f"{imported}.py cannot be imported: ")
    assert words in message
    as_module = refused(imported)
    assert as_module.startswith(f"{imported} cannot be imported: ")
    assert words.split(" (line")[0] in as_module


def test_an_import_that_failed_leaves_no_module_behind(module):
    """The next attempt reads the file again."""
    name = module("raise ValueError\n")
    before = set(sys.modules)
    refused(f"{name}.py")

    assert {left for left in set(sys.modules) - before if left.startswith(("toise_target_", "mine_"))} == set()


def test_a_file_that_is_not_python_is_refused(folder):
    """A path to anything else."""
    (folder / "notes.txt").write_text("attention is all you need\n")
    (folder / "empty").mkdir()

    assert refused("./notes.txt") == "notes.txt: not a Python file; a program that speaks the protocol stands after --"
    assert "no such file" in refused("./empty")


class NeedsArguments:
    """A class that cannot be made by name alone."""

    def __init__(self, heads):
        self.heads = heads


class Exits:
    """A class that ends the process when it is made."""

    def __init__(self):
        raise SystemExit(3)


class TwoLines:
    """A class that complains on two lines."""

    def __init__(self):
        raise ValueError("one\ntwo")


class Property:
    """An object whose operation cannot even be looked at."""

    @property
    def attention(self):
        """Raise in place of returning a function."""
        raise RuntimeError("no device")


@pytest.mark.parametrize("kind", [NeedsArguments, Exits, TwoLines])
def test_a_class_that_cannot_be_made_without_arguments_is_refused(kind):
    """The line says to give an instance."""
    message = refused(kind)

    assert message.startswith(kind.__name__)
    assert "is a class that cannot be made without arguments" in message
    assert "give an instance" in message


def test_an_attribute_that_raises_is_refused():
    """Looking for an operation runs the target's own code."""
    assert "no device" in refused(Property())


@pytest.mark.parametrize(
    ("declared", "options", "words"),
    [
        ({}, {"device": "cuda"}, "the target computes on NumPy arrays, which live on the cpu, not on 'cuda'"),
        ({"device": "cuda"}, {}, "the target computes on NumPy arrays, which live on the cpu, not on 'cuda'"),
        ({"arrays": "torch"}, {"device": "abacus"}, "torch cannot use the device 'abacus'"),
        ({"arrays": "torch", "device": "cuda:99"}, {}, "torch cannot use the device 'cuda:99'"),
        ({"arrays": "torch", "device": ""}, {"device": "cpu:x"}, "torch cannot use the device 'cpu:x'"),
    ],
)
def test_a_device_that_cannot_be_had_is_refused(declared, options, words):
    """Before anything runs."""
    target = {"layer_norm": toise_reference.layer_norm, "__toise__": declared}

    assert words in refused(target, **options)


def test_a_device_without_numbers_is_refused():
    """torch's meta device has shapes alone, and nothing on it can be judged."""
    with pytest.raises(TargetError, match="'meta'"):
        toise.verify("torch", device="meta", operations=["layer_norm"], budget="smoke")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"operations": ["softmax"]}, f"unknown operation 'softmax'; known: {KNOWN}"),
        ({"operations": ["attention", "LayerNorm"]}, "unknown operation 'LayerNorm'"),
        ({"dtypes": ["float8"]}, "unknown dtype 'float8'; known: float64, float32, float16, bfloat16"),
        ({"dtypes": [np.float32]}, "unknown dtype"),
        ({"budget": "huge"}, "unknown budget 'huge'; known: smoke, standard, thorough"),
        ({"operations": "attention"}, "'attention'"),
        ({"dtypes": "float32"}, "'float32'"),
    ],
)
def test_an_argument_of_verify_that_cannot_be_used_is_refused(options, words):
    """One line, before anything runs: what was got, and what is known."""
    calls = []

    def layer_norm(x, gamma, beta):
        calls.append(x)
        return x

    with pytest.raises(TargetError) as caught:
        toise.verify({"layer_norm": layer_norm}, **options)

    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert calls == []
