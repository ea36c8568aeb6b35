"""What is written is true: every block of Python on a page, and every example in a docstring, runs or is held to the code."""

import ast
import contextlib
import doctest
import importlib
import inspect
import io
import json
import re
import textwrap
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import toise
import toise_reference
import toise_spec
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser
from toise import report, targets
from toise.operations import OPERATIONS

ROOT = Path(__file__).parent.parent
# The pages of the site, in each language.
LANGUAGES = [f"docs/{words.parent.name}/**/*.md" for words in ROOT.glob("docs/*/words.toml")]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (*LANGUAGES, "spec/toise_spec/*.md", "README.md", "CONTRIBUTING.md")
    for path in ROOT.glob(pattern)
)
# From where modules are imported, and where they lie.
SOURCES = {"spec": "toise_spec/**/*.py", "reference": "toise_reference/**/*.py", "conformance": "toise/**/*.py", "docs": "*.py"}

# --- The blocks of a page -----------------------------------------------------------------------------

PYTHON = {"python", "py", "python3", "py3", "pycon", "python-repl", "pyodide", "ipython", "ipython3"}
_OPENING = re.compile(r"""^(?P<before>[ \t>]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>(?:[^`"']|"[^"]*"|'[^']*')*)$""")
_LANGUAGE = re.compile(r"^\{?\s*\.?(?P<language>[\w#.+-]+)")
_EXECUTED = re.compile(r"""^(?:python|py|pycon)\s(?:.*\s)?exec=(["'])(?!(?:|no|off|false|0)\1)\w+\1""", re.IGNORECASE)
_SPLICE = re.compile(r'--8<-- "[^"]+"')


@dataclass(frozen=True)
class Block:
    """One block of code of a page: where it begins, what is behind its fence, and its text."""

    line: int
    info: str
    source: str
    closed: bool

    @property
    def python(self):
        """Whether it is Python, by whatever name."""
        found = _LANGUAGE.match(self.info)
        return found is not None and found["language"].lower() in PYTHON


def blocks(text):
    """Return the blocks of a page: also those in lists and admonitions, and none that stands in another."""
    found, lines = [], text.splitlines()
    at = 0
    while at < len(lines):
        opening = _OPENING.match(lines[at])
        if opening is None:
            at += 1
            continue
        end = next((n for n in range(at + 1, len(lines)) if lines[n].strip(" \t>") == opening["fence"]), len(lines))
        source = textwrap.dedent("\n".join(line.removeprefix(opening["before"]) for line in lines[at + 1 : end]))
        found.append(Block(at + 1, opening["info"].strip(), source, end < len(lines)))
        at = end + 1
    return found


def complaints(page, text):
    """Return what is wrong with the Python of a page, each with the file and the line."""
    told = []
    for block in blocks(text):
        if not block.closed:
            told.append((block.line, "is not closed"))
        elif block.python:
            told.append((block.line, wrong_with(page, block, text)))
    return [f"{page}:{line}: the block {wrong}" for line, wrong in told if wrong]


def wrong_with(page, block, text):
    """Return what is wrong with a block of Python: a page has its own rule for what may stand there."""
    if page.startswith("docs/"):
        return not_built(block)
    if page.startswith("spec/"):
        return not_as_specified(block.source)
    if page == "README.md":
        return not_tested(block, text)
    return not_a_skeleton(block.source)


def not_built(block):
    """A page of the site executes it, or splices it in."""
    lines = block.source.split("\n")
    if _EXECUTED.match(block.info) or all(_SPLICE.fullmatch(line.strip()) for line in lines):
        return ""
    return "is neither executed, by exec=, nor nothing but splices"


def not_tested(block, text):
    """Sybil finds it, and `test_readme.py` runs what Sybil finds."""
    found = {1 + text.count("\n", 0, region.start) for region in PythonCodeBlockParser()(Document(text, "README.md"))}
    return "" if block.line in found else "is none that tests/test_readme.py runs"


ARGUMENTS = {
    "q": np.ones((2, 4)),
    "k": np.ones((3, 4)),
    "v": np.ones((3, 5)),
    "x": np.ones((2, 4)),
    "gamma": np.ones(4),
    "beta": np.zeros(4),
    "tokens": np.arange(6),
}


def not_as_specified(source):
    """A page of the specification has the signature of an operation, calls that run, or a declaration that is accepted."""
    operations = {name: getattr(toise_reference, name) for name in OPERATIONS}
    with contextlib.suppress(SyntaxError):
        made = {}
        exec(compile(f"def {source.strip()}: ...", "page", "exec"), made)  # noqa: S102 - the text of a page
        ((name, function),) = ((name, thing) for name, thing in made.items() if name != "__builtins__")
        if name not in operations:
            return f"has the signature of {name}, which is no operation"
        said, required = inspect.signature(function), inspect.signature(operations[name])
        return "" if said == required else f"says {name}{said}, and the reference has {name}{required}"
    made = {**operations, **ARGUMENTS}
    try:
        exec(compile(source, "page", "exec"), made)  # noqa: S102 - as a reader would
        targets.load(operations, declare=made.get("__toise__"))
    except Exception as error:  # noqa: BLE001 - whatever it is, the page is wrong
        return f"raises {type(error).__name__}: {error}"
    return ""


def not_a_skeleton(source):
    """What is to be filled in is Python, what it imports is there, and what it calls takes the arguments that are named."""
    known = dict(vars(importlib.import_module("toise.faults.layer_norm")))
    try:
        tree = ast.parse(source)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), "page", "exec"), known)  # noqa: S102 - imports alone
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if not any(isinstance(each, ast.Constant) and each.value is ... for each in call.args):
                named = {keyword.arg: None for keyword in call.keywords}
                inspect.signature(known[call.func.id]).bind(*call.args, **named)
    except Exception as error:  # noqa: BLE001 - whatever it is, the page is wrong
        return f"raises {type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_is_executed_or_held_to_the_code(page):
    """Nothing on a page can be wrong without anybody noticing."""
    assert complaints(page, (ROOT / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("folder", ["docs/", "spec/", "README.md", "CONTRIBUTING.md"])
def test_each_kind_of_page_has_python(folder):
    """A parser that finds no block would find none that is wrong."""
    pages = [page for page in PAGES if page.startswith(folder)]

    assert any(block.python for page in pages for block in blocks((ROOT / page).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_page_of_an_operation_has_its_signature(name):
    """A reader of the specification sees how it is called."""
    page = toise_spec.page(OPERATIONS[name].concept)

    assert any(re.fullmatch(rf"{name}\(.*\)", block.source.strip()) for block in blocks(page) if block.python)


@pytest.mark.parametrize(
    ("page", "text", "said"),
    [
        ("docs/en/a.md", "```python\nprint(1)\n```", ":1: the block is neither executed"),
        ("docs/en/a.md", "text\n\n```py\nprint(1)\n```", ":3: the block is neither executed"),
        ("docs/en/a.md", "```python title='a' exec=\"false\"\n1\n```", "neither executed"),
        ("docs/en/a.md", "```python exec=true\n1\n```", "neither executed"),
        ("docs/en/a.md", '```python inexec="true"\n1\n```', "neither executed"),
        ("docs/en/a.md", "```pycon\n>>> 1\n2\n```", "neither executed"),
        ("docs/en/a.md", "``` {.python .numbered}\n1\n```", "neither executed"),
        ("docs/en/a.md", "````Python\n1\n````", "neither executed"),
        ("docs/en/a.md", "~~~ python3\n1\n~~~", "neither executed"),
        ("docs/en/a.md", '??? question "Why?"\n\n    ```python\n    1\n    ```', ":3: the block is neither executed"),
        ("docs/en/a.md", "> ```python\n> 1\n> ```", ":1: the block is neither executed"),
        ("docs/en/a.md", '```python\n--8<-- "a.py"\n1\n```', "neither executed"),
        ("docs/en/a.md", '```python exec="true"\n1', ":1: the block is not closed"),
        ("README.md", "a\n\n```pycon\n>>> 1\n2\n```", "README.md:3: the block is none that tests/test_readme.py runs"),
        ("README.md", "a\n\n```py\n1\n```", "README.md:3: the block is none that tests/test_readme.py runs"),
        ("spec/a.md", "```python\nlayer_norm(x, gamma, beta, *, eps=1e-6)\n```", "and the reference has layer_norm(x"),
        ("spec/a.md", "```python\nlayer_norm(x, gamma, beta, eps=1e-5)\n```", "and the reference has layer_norm(x"),
        ("spec/a.md", "```python\nresidual(x, layer)\n```", "and the reference has residual(x, sublayer)"),
        ("spec/a.md", "```python\nsoft_max(x)\n```", "which is no operation"),
        ("spec/a.md", "```python\ncausal_mask(5)\nattention(q, k, v, dropout=0.1)\n```", "raises TypeError"),
        ("spec/a.md", '```python\n__toise__ = {"attention": {"empty_row": "ones"}}\n```', "raises TargetError"),
        ("CONTRIBUTING.md", "```python\nfrom toise.inputs import rows\n```", "raises ImportError"),
        (
            "CONTRIBUTING.md",
            "1. One.\n\n    ```python\n    @fault('a', reason='b')\n    def f(x): ...\n    ```",
            "raises TypeError",
        ),
        ("CONTRIBUTING.md", "```python\n@default(...)\ndef f(x: ...\n```", "raises SyntaxError"),
    ],
)
def test_a_mistake_in_a_block_is_seen(page, text, said):
    """The rule is seen to fail, for each way in which a page can break it."""
    (complaint,) = complaints(page, text)

    assert complaint.startswith(page)
    assert said in complaint


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("docs/en/a.md", '```python exec="true" source="above"\n1\n```'),
        ("docs/en/a.md", '```python session="a" exec="1"\n1\n```'),
        ("docs/en/a.md", '```pycon exec="true"\n>>> 1\n```'),
        ("docs/en/a.md", '```python\n--8<-- "a.py"\n--8<-- "b.py:part"\n```'),
        ("docs/en/a.md", "```console\n$ python\n```"),
        ("docs/en/a.md", "````markdown\n```python\n1\n```\n````"),
        ("spec/a.md", "```python\ncausal_mask(n, m=None)\n```"),
        ("spec/a.md", '```python\n__toise__ = {"attention": {"empty_row": "nan"}}\n```'),
    ],
)
def test_a_right_block_is_not_accused(page, text):
    """Also where its attributes stand in another order, or a page shows what a page looks like."""
    assert complaints(page, text) == []


# --- Docstrings ---------------------------------------------------------------------------------------


def modules():
    """Return the files whose docstrings have examples, each with the name by which it is imported."""
    found = {}
    for root, pattern in SOURCES.items():
        for path in sorted((ROOT / root).glob(pattern)):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(ROOT / root).with_suffix("").parts
                found[path.relative_to(ROOT).as_posix()] = ".".join(part for part in parts if part != "__init__")
    return found


def unrun(path, text, names):
    """Return what is wrong with the examples in the docstrings of a file, which see the file's own names."""
    told, count = io.StringIO(), 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (said := ast.get_docstring(node, clean=False)):
            name = getattr(node, "name", "the module")
            test = doctest.DocTestParser().get_doctest(said, dict(names), name, path, node.body[0].lineno - 1)
            count += len(test.examples)
            doctest.DocTestRunner(verbose=False).run(test, out=told.write)
    written = len(re.findall(r"^\s*>>> ", text, re.MULTILINE))
    if written != count:
        told.write(f"{path}: {written - count} of {written} examples stand in no docstring, and do not run\n")
    return told.getvalue()


@pytest.mark.parametrize(("path", "module"), modules().items())
def test_every_example_in_a_docstring_runs(path, module, monkeypatch):
    """And gives what stands below it."""
    assert unrun(path, (ROOT / path).read_text(encoding="utf-8"), vars(importlib.import_module(module))) == ""


def test_each_package_has_an_example():
    """At its beginning, where `help` shows it."""
    assert {"toise", "toise_spec", "toise_reference"} <= set(modules().values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('def f():\n    """Add.\n\n    >>> 1 + 1\n    3\n    """', "Got:\n    2"),
        ('class A:\n    """Add.\n\n    >>> one + 1\n    2\n    """', "NameError"),
        ('a = 1\n"""\n>>> a\n1\n"""', "1 of 1 examples stand in no docstring"),
    ],
)
def test_a_mistake_in_a_docstring_is_seen(text, said):
    """A wrong output, a name that is not there, and an example that nothing runs."""
    assert said in unrun("a.py", text, {})


# What `toise` returns and does not export: a reader of a report has them in hand.
RETURNED = (report.Row, report.Verdict, report.Counterexample, report.Known)
PUBLIC = {
    **{f"{home.__name__}.{name}": getattr(home, name) for home in (toise, toise_spec, toise_reference) for name in home.__all__},
    **{f"toise.report.{thing.__name__}": thing for thing in RETURNED},
}


def undocumented(name, thing):
    """Return the names that have no docstring: the thing's own, and those of its public members."""
    found = [] if thing.__doc__ and (not inspect.isclass(thing) or "__doc__" in vars(thing)) else [name]
    for member, value in vars(thing).items() if inspect.isclass(thing) else ():
        documented = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
        if documented and not member.startswith("_") and not value.__doc__:
            found.append(f"{name}.{member}")
    return found


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if not isinstance(thing, str)])
def test_every_public_name_has_a_docstring(name):
    """And so have its properties and methods."""
    assert undocumented(name, PUBLIC[name]) == []


def incomplete(said, parameters):
    """Return what the docstring of a reference function lacks."""
    parts = {
        "a formula with its requirement": r"^    +\S.*\([A-Z]+-\d+",
        "the result": r"^-> +\S",
        "what is raised": r"^Raises \w+Error",
        "a source with its year": r"\b(?:19|20)\d\d\b",
        **{parameter: rf"^{parameter} +(?:\[.*\]|number|probability|whole|ids|flag|function) +\S" for parameter in parameters},
    }
    return [part for part, pattern in parts.items() if not re.search(pattern, said, re.MULTILINE)]


@pytest.mark.parametrize("name", toise_reference.__all__)
def test_a_reference_function_says_all_about_itself(name):
    """Its formula, the shape of each argument and of the result, what it raises, and its source."""
    function = getattr(toise_reference, name)

    assert incomplete(inspect.getdoc(function), inspect.signature(function).parameters) == []


def test_what_is_missing_in_a_docstring_is_seen():
    """A function and a method without one, a class that has that of its parent, and a line that was taken out."""

    class Silent(ValueError):
        def method(self):
            return 1

    said = inspect.getdoc(toise_reference.layer_norm)

    assert undocumented("f", lambda: 1) == ["f"]
    assert undocumented("Silent", Silent) == ["Silent", "Silent.method"]
    for line, part in (("eps ", "eps"), ("->", "the result"), ("Raises", "what is raised"), ("Ba,", "a source with its year")):
        without = "\n".join(each for each in said.splitlines() if not each.startswith(line))
        assert incomplete(without, ("x", "gamma", "beta", "eps")) == [part]


# --- Schemas ------------------------------------------------------------------------------------------


def without_words(schema, place=""):
    """Return the places of a schema whose properties are not described."""
    found = []
    for name, part in schema.items():
        if name == "properties":
            found += [f"{place}/{each}" for each, told in part.items() if not told.get("description")]
        for each in part if isinstance(part, list) else [part]:
            if isinstance(each, dict):
                found += without_words(each, f"{place}/{name}")
    return found


@pytest.mark.parametrize("name", ["report", "baseline", "case"])
def test_every_field_of_a_file_is_described(name):
    """In its schema, from which the site and editors take it."""
    schema = json.loads((resources.files("toise") / f"{name}.schema.json").read_text(encoding="utf-8"))

    assert without_words(schema) == []
    del schema["properties"]["format"]["description"]
    assert without_words(schema) == ["/format"]
