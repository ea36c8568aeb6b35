"""The house rules that a machine can check: one requirement, one test; one concept, one name; dependencies one way."""

import ast
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import toise
import toise.bounds
import toise.suite
import toise_reference
import toise_spec
from toise import engine
from toise.operations import ALWAYS, OPERATIONS

PACKAGES = {package.__name__: Path(package.__file__).parent for package in (toise_spec, toise_reference, toise)}
STANDARD = sys.stdlib_module_names
CONCEPTS = ("toise_reference.{}", "toise.bounds.{}", "toise.inputs.{}", "toise.suite.test_{}", "toise.faults.{}")


def sources(folder):
    """Return every Python file below a folder, with its text."""
    return {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}


def imported(path):
    """Return the full names of what a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def below(names, roots):
    """Return the names that are none of the roots, nor inside one."""
    return {name for name in names if not any(name == root or name.startswith(f"{root}.") for root in roots)}


def suite_modules():
    """Return the text of every module of the suite by its name."""
    return {
        f"toise.suite.{module.name}": Path(toise.suite.__file__).with_name(f"{module.name}.py").read_text(encoding="utf-8")
        for module in pkgutil.iter_modules(toise.suite.__path__)
    }


def citations():
    """Return (requirement, module, function) for every function of the suite whose name begins with `test_`."""
    found = []
    for module, text in suite_modules().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                cited = [
                    call.args[0].value
                    for call in node.decorator_list
                    if isinstance(call, ast.Call) and call.func.id == "requirement"
                ]
                found += [(id, module, node.name) for id in cited or [None]]
    return found


# --- One requirement, one test ------------------------------------------------------------------------


def test_every_requirement_has_exactly_one_property_test():
    """A MAY is never tested, and has none."""
    tested = [item.id for item in toise_spec.requirements().values() if item.level != "MAY"]

    assert Counter(id for id, _, _ in citations()) == Counter(tested)


def test_every_property_test_lives_in_the_module_of_its_page():
    """A requirement of `layer_norm.md` is decided in `test_layer_norm.py`."""
    for id, module, function in citations():
        assert id is not None, f"{function} cites no requirement"
        assert module == f"toise.suite.test_{toise_spec.requirement(id).slug}", f"{function} cites {id}"


def test_property_tests_stand_in_the_order_of_the_numbers():
    """A reader of the page finds the tests where the page has them."""
    for module in suite_modules():
        numbers = [toise_spec.requirement(id).number for id, where, _ in citations() if where == module]

        assert numbers == sorted(numbers), module


def test_no_two_property_tests_of_a_module_have_one_name():
    """The second would silently replace the first."""
    names = Counter((module, name) for _, module, name in citations())

    assert [name for name, count in names.items() if count > 1] == []


def test_the_engine_judges_what_the_files_hold():
    """Every module of the suite, and every test in it."""
    assert sorted(engine.SUITE) == sorted(suite_modules())
    assert sorted(prop.id for prop in engine.properties()) == sorted(id for id, _, _ in citations())


def test_a_requirement_is_tried_on_operations_of_its_own_page():
    """One of `general.md` on any but the random one; the causal order is a concept of several operations."""
    for prop in engine.properties():
        slug = prop.requirement.slug
        own = {name for name, operation in OPERATIONS.items() if operation.concept == slug}
        if slug == "general":
            own = set(OPERATIONS) - {"mlm_corrupt"}
        if slug == "causal_mask":
            own |= {name for name, operation in OPERATIONS.items() if "causal" in operation.options}

        assert prop.operations, prop.id
        assert set(prop.operations) <= own, prop.id


def test_every_operation_is_tried_by_its_own_page():
    """By at least three requirements, and by what every operation must do."""
    for name, operation in OPERATIONS.items():
        pages = [prop.requirement.slug for prop in engine.properties() if name in prop.operations]

        assert pages.count(operation.concept) >= 3, name
        assert "general" in pages or name == "mlm_corrupt", name


def test_every_property_test_states_its_law():
    """In a docstring, which is what `toise explain` and the site show."""
    for module, text in suite_modules().items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                assert ast.get_docstring(node), f"{module}.{node.name}"


def test_every_number_of_a_requirement_that_the_code_mentions_exists():
    """A comment that cites LN-3 leads a reader to LN-3."""
    prefixes = "|".join(sorted({item.prefix for item in toise_spec.requirements().values()}))
    for folder in PACKAGES.values():
        for path, text in sources(folder).items():
            unknown = set(re.findall(rf"\b(?:{prefixes})-\d+\b", text)) - toise_spec.requirements().keys()
            assert not unknown, f"{path.name} mentions {unknown}"


# --- One concept, one name ----------------------------------------------------------------------------


SLUGS = list(dict.fromkeys(operation.concept for operation in OPERATIONS.values()))
# What several concepts share: no operation of its own, and no page.
HELPERS = {"log_softmax"}


@pytest.mark.parametrize("slug", SLUGS)
def test_a_concept_has_one_name_everywhere(slug):
    """Its page, its reference, its bound, its inputs and its tests."""
    assert toise_spec.page(slug)
    for name in CONCEPTS:
        assert importlib.util.find_spec(name.format(slug)), f"there is no {name.format(slug)}"


def test_every_page_with_requirements_is_a_concept_or_general():
    """No concept is specified that nothing judges."""
    assert {item.slug for item in toise_spec.requirements().values()} == {*SLUGS, "general"}


@pytest.mark.parametrize("slug", SLUGS)
def test_the_modules_of_a_concept_point_to_its_page(slug):
    """The first line of each says which page it is read with."""
    for name in ("toise_reference.{}", "toise.bounds.{}", "toise.suite.test_{}", "toise.faults.{}"):
        first = inspect.getdoc(importlib.import_module(name.format(slug))).split("\n\n")[0]

        assert f"Read with spec/toise_spec/{slug}.md." in " ".join(first.split()), name.format(slug)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_one_name_everywhere(name):
    """In the table, in the module of its concept, and among the bounds if it has a required value."""
    module = importlib.import_module(f"toise_reference.{OPERATIONS[name].concept}")

    assert OPERATIONS[name].name == name
    assert getattr(toise_reference, name) is getattr(module, name)
    assert callable(getattr(toise.bounds, name, None)) or name == "mlm_corrupt"


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_reference_has_the_signature_of_the_specification(name):
    """Data by position, options by keyword, the same names and the same defaults."""
    parameters = inspect.signature(getattr(toise_reference, name)).parameters
    options = {option: parameters[option].default for option in OPERATIONS[name].options}

    assert tuple(parameters)[: len(OPERATIONS[name].data)] == OPERATIONS[name].data
    assert set(parameters) == {*OPERATIONS[name].data, *options}
    for option, default in OPERATIONS[name].options.items():
        assert options[option] == (inspect.Parameter.empty if default is ALWAYS else default), option


def test_the_public_names_of_the_reference_are_the_operations():
    """And what several of them share."""
    assert sorted(toise_reference.__all__) == sorted({*OPERATIONS, *HELPERS})


# --- Dependencies one way -----------------------------------------------------------------------------


def test_the_specification_imports_the_standard_library_alone():
    """It is text, and can be read anywhere."""
    for path in sources(PACKAGES["toise_spec"]):
        assert not below(imported(path), {*STANDARD, "toise_spec"}), path.name


def test_the_reference_imports_numpy_alone():
    """Beside the standard library and itself."""
    for path in sources(PACKAGES["toise_reference"]):
        assert not below(imported(path), {*STANDARD, "numpy", "toise_reference"}), path.name


def test_the_bounds_know_neither_the_reference_nor_the_suite():
    """Two computations of everything: what the bounds import is NumPy and themselves."""
    for path in sources(PACKAGES["toise"] / "bounds"):
        assert not below(imported(path), {*STANDARD, "numpy", "toise.bounds"}), path.name


def test_nothing_in_the_reference_knows_that_it_is_used_for_testing():
    """It reads like the formulas, and names neither the suite nor its tools."""
    for path, text in sources(PACKAGES["toise_reference"]).items():
        assert not re.findall(r"\b(?:toise|pytest|hypothesis|conformance|backend)\b", text, re.IGNORECASE), path.name


def test_the_suite_imports_a_library_only_in_its_adapter():
    """Whoever checks NumPy code needs none of them."""
    libraries = {"torch", "jax", "flax", "optax", "equinox", "keras", "onnx", "onnxruntime", "mlx", "transformers"}
    adapters = re.compile(r"(?!reference)\w+_adapter|torch_\w+|jax_parts")
    for path in sources(PACKAGES["toise"]):
        its_own = path.parent.name == "backends" and adapters.fullmatch(path.stem)
        assert its_own or not libraries & imported(path), path.name


@pytest.mark.parametrize("module", ["toise", "toise.plugin", "toise_spec"])
def test_an_import_that_every_run_pays_for_is_cheap(module):
    """Neither NumPy, torch nor Hypothesis is loaded by it, nor what only the command needs."""
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert module in loaded
    assert not {"numpy", "torch", "hypothesis", "rich", "click", "ml_dtypes"} & set(loaded)
