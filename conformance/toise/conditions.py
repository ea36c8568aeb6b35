"""Conditions on recipes, such as "n > m and causal": read as data, and never run as code."""

from __future__ import annotations

import ast
import dataclasses
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from toise.inputs import Recipe

LONGEST = 200
COMPARED: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
COMPUTED: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


@dataclass(frozen=True)
class Condition:
    """For which recipes of an operation a failure is known: comparisons of their fields, joined by and, or, not.

    Numbers may be added, subtracted, multiplied, divided with // and %: "d_k % 16 != 0", "content == 'large'".
    """

    text: str
    _tree: ast.expr

    @classmethod
    def of(cls, text: str, kind: type[Recipe]) -> Condition:
        """Read a condition on recipes of that kind.  Raises ValueError, with one line, if it cannot be read."""
        names = {each.name: "str" not in str(each.type) for each in dataclasses.fields(kind) if "tuple" not in str(each.type)}
        try:
            if len(text) > LONGEST:
                raise ValueError(f"it is longer than {LONGEST} characters")
            tree = ast.parse(text.strip(), mode="eval").body
            _require_readable(tree, names)
            if not any(isinstance(node, ast.Name) for node in ast.walk(tree)):
                raise ValueError("it is the same for every recipe")
        except SyntaxError as error:
            raise ValueError(
                f"the condition {text!r} cannot be read: {error.msg}; write for example 'n > m and causal'"
            ) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"the condition {text[:LONGEST]!r} cannot be read: {error}") from None
        return cls(text, tree)

    def holds(self, recipe: Recipe) -> bool:
        """Tell whether a recipe meets it; one whose fields cannot be compared so, such as None < 3, does not."""
        try:
            return bool(_value(self._tree, recipe))
        except (TypeError, ZeroDivisionError):
            return False


def _require_readable(node: ast.expr, names: Mapping[str, bool]) -> None:
    """Raise ValueError for what is neither a comparison, nor a number or a text, nor a field.

    `names` says of each field whether it is a number: texts are compared, and nothing is computed with them.
    """
    match node:
        case ast.Name(id=name):
            if name not in names:
                raise ValueError(f"there is no {name}; there are {', '.join(names)}")
        case ast.Constant(value=int() | float() | str() | None):
            return
        case ast.BoolOp(values=parts):
            _all_readable(parts, names)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=part):
            _require_readable(part, names)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARED for op in ops):
            _all_readable([left, *others], names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTED:
            _all_readable([left, right], names)
            if any(_is_text(part, names) for part in ast.walk(node)):
                raise ValueError(f"{ast.unparse(node)} computes with a text")
        case _:
            raise ValueError(f"{ast.unparse(node)} is no comparison, and, or, not, number, text or field")


def _is_text(node: ast.AST, names: Mapping[str, bool]) -> bool:
    return (isinstance(node, ast.Name) and not names[node.id]) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _all_readable(nodes: list[ast.expr], names: Mapping[str, bool]) -> None:
    for node in nodes:
        _require_readable(node, names)


def _value(node: ast.expr, recipe: Recipe) -> Any:
    match node:
        case ast.Name(id=name):
            return getattr(recipe, name)
        case ast.Constant(value=value):
            return value
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, recipe) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, recipe) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return not _value(part, recipe)
        case ast.UnaryOp(operand=part):
            return -_value(part, recipe)
        case ast.BinOp(left=left, op=op, right=right):
            return COMPUTED[type(op)](_value(left, recipe), _value(right, recipe))
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(part, recipe) for part in (left, *others)]
            return all(COMPARED[type(op)](a, b) for op, a, b in zip(ops, values, values[1:], strict=False))
    raise AssertionError(ast.dump(node))  # what else there is was refused when it was read
