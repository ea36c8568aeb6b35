"""What the museum shows of a fault: its lines beside those of the right implementation that is most like it."""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twins import Twin, twins

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.faults import Fault

# Of a line only names, numbers and operators tell how much it differs from another: brackets and commas follow from them.
TOKEN = re.compile(r"\w+|[-+*/@%<>=!~&|]+")
DEFAULT = re.compile(r"(\w+)=([^,)]+)")
# A line more that is marked counts like so many tokens.
LINE = 2


@dataclass(frozen=True)
class Beside:
    """The lines of a fault and those of its twin, and the indices of the lines that differ."""

    wrong: tuple[str, ...]
    right: tuple[str, ...]
    wrong_marked: tuple[int, ...]
    right_marked: tuple[int, ...]


def beside(fault: Fault) -> Beside:
    """Set a fault beside its closest twin.

    Before the fault stand the helpers that it calls and no twin does.  They are not marked: the line that calls them is.
    Where a fault only leaves lines out, those after the gaps are marked.
    """
    twin = closest(fault)
    wrong, right = text_of_fault(fault), text_of_twin(twin)
    wrong_at, right_at, gaps = differing(wrong, right)
    helpers = [line for helper in helpers_of(fault) for line in (*helper_lines(helper), "", "")]
    return Beside(
        wrong=(*helpers, *wrong.lines),
        right=right.lines,
        wrong_marked=tuple(len(helpers) + at for at in wrong_at or gaps),
        right_marked=right_at,
    )


# --- Which twin is the closest --------------------------------------------------------------------------


def closest(fault: Fault) -> Twin:
    """Return the twin of the fault's operation with the least difference; of equal ones the first.

    Raises LookupError if there is none for the operation.
    """
    wrong = text_of_fault(fault)
    candidates = [twin for twin in twins().values() if twin.operation == fault.operation and speaks_of_the_same(twin, fault)]
    if not candidates:
        raise LookupError(f"no twin for {fault.operation}")
    return min(candidates, key=lambda twin: distance(wrong, text_of_twin(twin)))


def speaks_of_the_same(twin: Twin, fault: Fault) -> bool:
    """Tell whether each name that a twin takes from its module means the same in the fault's."""
    return all(fault.function.__globals__.get(name) is thing for name, thing in taken_by(twin.function).items())


def tokens_apart(wrong: Counter[str], right: Counter[str]) -> int:
    """Return how many tokens one has and the other has not, wherever they stand."""
    return (wrong - right).total() + (right - wrong).total()


def distance(wrong: Text, right: Text) -> int:
    """Return how many tokens have to be taken out and put in, and LINE for each line that this takes."""
    wrong_at, right_at, _ = differing(wrong, right)
    before = [token for at in wrong_at for token in TOKEN.findall(wrong.compared[at])]
    after = [token for at in right_at for token in TOKEN.findall(right.compared[at])]
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    same = sum(block.size for block in matcher.get_matching_blocks())
    parameters = tokens_apart(wrong.parameters, right.parameters)
    return parameters + len(before) + len(after) - 2 * same + LINE * (len(wrong_at) + len(right_at))


def differing(wrong: Text, right: Text) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the lines of either side that the other one has not in that order, and those that come after a gap."""
    left, other = list(wrong.compared), list(right.compared)
    matcher = difflib.SequenceMatcher(None, list(wrong.compared.values()), list(right.compared.values()), autojunk=False)
    parts = [part for part in matcher.get_opcodes() if part[0] != "equal"]
    return (
        tuple(at for _, start, stop, _, _ in parts for at in left[start:stop]),
        tuple(at for _, _, _, start, stop in parts for at in other[start:stop]),
        tuple(left[start] for kind, start, _, _, _ in parts if kind == "insert" and start < len(left)),
    )


# --- What is compared -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """The source of a function.

    lines       as they stand, without decorators and docstring
    compared    those that are compared, by their indices, without indentation
    parameters  the tokens of the parameters

    Blank lines and comments are not compared, nor is the frame of what keeps something from call to call: the first line,
    and the last, which returns the implementation.  Of the line that names the operation only the defaults are.
    """

    lines: tuple[str, ...]
    compared: dict[int, str]
    parameters: Counter[str]


def text_of_fault(fault: Fault) -> Text:
    """Return the source of a fault."""
    return text_of(fault.function, fault.operation, stateful=fault.stateful)


@functools.cache
def text_of_twin(twin: Twin) -> Text:
    """Return the source of a twin, which goes by the name of its operation."""
    text = text_of(twin.function, twin.operation, stateful=twin.stateful)
    if twin.stateful:
        return text
    first = text.lines[0].replace(twin.function.__name__, twin.operation, 1)
    return replace(text, lines=(first, *text.lines[1:]))


@functools.cache
def text_of(function: Callable[..., Any], operation: str, *, stateful: bool) -> Text:
    """Return the source of an implementation, or with `stateful` of the function that makes it."""
    lines = lines_of(function, docstring=False)
    first = f"def {operation if stateful else function.__name__}("
    compared = {at: line.strip() for at, line in enumerate(lines) if line.strip() and not line.strip().startswith("#")}
    named, line = next((at, line) for at, line in compared.items() if line.startswith(first))
    compared[named] = "def " + " ".join("=".join(default) for default in DEFAULT.findall(line))
    if stateful:
        compared.pop(0)
        compared.popitem()
    return Text(lines, compared, Counter(TOKEN.findall(line.removeprefix(first))))


def lines_of(function: Callable[..., Any], *, docstring: bool) -> tuple[str, ...]:
    """Return the lines of a function's source, without decorators, and with or without its docstring."""
    source, nodes = parsed(function.__module__)
    node = nodes[function.__name__]
    told = node.body[0]
    left_out = range(0) if docstring else range(told.lineno, (told.end_lineno or 0) + 1)
    return tuple(source[at - 1] for at in range(node.lineno, (node.end_lineno or 0) + 1) if at not in left_out)


@functools.cache
def parsed(module: str) -> tuple[list[str], dict[str, ast.FunctionDef]]:
    """Return the lines of a module, and its functions by their names."""
    source = inspect.getsource(sys.modules[module])
    return source.splitlines(), {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


# --- Helpers --------------------------------------------------------------------------------------------


def helpers_of(fault: Fault) -> list[Callable[..., Any]]:
    """Return the helpers of a fault that no twin uses, each after those that it uses itself."""
    return [helper for helper in helpers_in(fault.function) if helper not in right_helpers()]


def helper_lines(helper: Callable[..., Any]) -> tuple[str, ...]:
    """Return the lines of a helper; its docstring says what it is for."""
    return lines_of(helper, docstring=True)


@functools.cache
def right_helpers() -> frozenset[Callable[..., Any]]:
    """Return the helpers of the faults that twins use too."""
    return frozenset(helper for twin in twins().values() for helper in helpers_in(twin.function))


@functools.cache
def helpers_in(function: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """Return the functions of the faults' modules that a function uses, each after those that it uses itself."""
    own = [
        thing
        for thing in taken_by(function).values()
        if inspect.isfunction(thing) and thing.__module__.startswith("toise.faults.") and thing is not function
    ]
    return tuple(dict.fromkeys(each for one in own for each in (*helpers_in(one), one)))


@functools.cache
def taken_by(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what a function takes from its module, by name."""
    _, nodes = parsed(function.__module__)
    names = [node for part in nodes[function.__name__].body for node in ast.walk(part) if isinstance(node, ast.Name)]
    local = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    used = dict.fromkeys(name.id for name in names if name.id not in local)
    return {name: function.__globals__[name] for name in used if name in function.__globals__}
