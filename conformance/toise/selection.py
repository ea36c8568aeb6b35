"""The selection `-k EXPR`: names joined by and, or, not and parentheses, as in pytest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from toise.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from toise.engine import Property

_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")
_ID = re.compile(r"[a-z]+-\d+")


def selection(expression: str) -> Callable[[Property], bool]:
    """Return a test for requirements.  Raises TargetError if the expression cannot be read.

    An id such as LN-3 matches that requirement alone; any other name matches where it occurs in the id,
    the level, the page or the name of the property test.  The empty expression matches all.
    """
    if not expression:
        return lambda _: True
    tokens = _TOKEN.findall(expression)
    test, rest = _either(tokens, expression)
    if rest:
        raise _unreadable(expression, rest[0])
    return test


def _either(tokens: list[str], text: str) -> tuple[Callable[[Property], bool], list[str]]:
    left, tokens = _both(tokens, text)
    while tokens and tokens[0].lower() == "or":
        right, tokens = _both(tokens[1:], text)
        left = _joined(any, left, right)
    return left, tokens


def _both(tokens: list[str], text: str) -> tuple[Callable[[Property], bool], list[str]]:
    left, tokens = _one(tokens, text)
    while tokens and tokens[0].lower() == "and":
        right, tokens = _one(tokens[1:], text)
        left = _joined(all, left, right)
    return left, tokens


def _joined(how: Callable[[Iterable[bool]], bool], *tests: Callable[[Property], bool]) -> Callable[[Property], bool]:
    return lambda prop: how(test(prop) for test in tests)


def _one(tokens: list[str], text: str) -> tuple[Callable[[Property], bool], list[str]]:
    if not tokens or tokens[0].lower() in ("and", "or", ")"):
        raise _unreadable(text, tokens[0] if tokens else "the end")
    first, *rest = tokens
    if first.lower() == "not":
        inner, rest = _one(rest, text)
        return (lambda prop: not inner(prop)), rest
    if first == "(":
        inner, rest = _either(rest, text)
        if not rest or rest[0] != ")":
            raise _unreadable(text, rest[0] if rest else "the end")
        return inner, rest[1:]
    return _named(first.lower()), rest


def _named(name: str) -> Callable[[Property], bool]:
    if _ID.fullmatch(name):
        return lambda prop: prop.id.lower() == name
    return lambda prop: name in f"{prop.id} {prop.requirement.level} {prop.requirement.slug} {prop.name}".lower()


def _unreadable(text: str, at: str) -> TargetError:
    return TargetError(f"-k {text!r} cannot be read at {at!r}; write for example -k 'LN-3 or (attention and not causal)'")
