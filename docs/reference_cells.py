"""What the cells of the reference share: commands, Python names and schemas, as tables with an anchor for each entry."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import click
from toise import plugin
from toise import report as reports
from toise.cli import toise
from toise.operations import OPERATIONS
from toise.verdict import KINDS
from words import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

WIDE = 100  # a signature that is longer has a line for each parameter
# The classes whose fields the schema of the report describes, each with its definition there.
DESCRIBED = {
    reports.Report: "report",
    reports.Row: "row",
    reports.Counterexample: "counterexample",
    reports.Known: "known",
}
# Those that a reader has in hand and never makes: how they are made is nobody's business.
HANDED = (reports.Row, reports.Counterexample, reports.Known)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the titles are words of the table `reference`."""
    lines = [[say(f"reference.{title}") for title in titles], ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _anchored(text: str, anchor: str) -> str:
    """Return code that is its own address, so that a reader can point to it; a name stays on one line."""
    whole = "" if " " in text else " .whole"
    return f"[`{text}`](#{anchor}){{ #{anchor}{whole} }}"


# --- The command ------------------------------------------------------------------------------------------


@functools.cache
def _commands() -> dict[str, click.Context]:
    """Return every command that does something, by its name after `toise`, in the order of `toise --help`."""
    found: dict[str, click.Context] = {}
    _collect(click.Context(toise, info_name="toise", terminal_width=10 * WIDE, **toise.context_settings), found)
    return found


def _collect(context: click.Context, found: dict[str, click.Context]) -> None:
    command = context.command
    if not isinstance(command, click.Group):
        found[context.command_path.removeprefix("toise ")] = context
        return
    for name in command.commands if context.parent is None else sorted(command.commands):
        _collect(click.Context(command.commands[name], info_name=name, parent=context), found)


def commands() -> str:
    """Return all commands as a table, each with the sentence that `toise --help` has of it."""
    rows = [
        [f"[`toise {name}`](/reference/cli.md#{name.replace(' ', '-')})", _sentence(str(context.command.help))]
        for name, context in _commands().items()
    ]
    return _table(("command", "does"), rows)


def command(name: str) -> str:
    """Return a command: how it is called, what it does, and its options, each with an anchor."""
    context = _commands()[name]
    usage = context.command.get_usage(context).removeprefix("Usage: ")
    rows = [
        _option(name, option, context)
        for option in context.command.get_params(context)
        if isinstance(option, click.Option) and "--help" not in option.opts
    ]
    told = "\n\n".join(_flat(paragraph) for paragraph in str(context.command.help).strip().split("\n\n"))
    table = _table(("option", "takes", "does", "default"), rows) if rows else say("reference.no_options")
    return f"```text\n{usage}\n```\n\n{told}\n\n{table}"


def _option(command: str, option: click.Option, context: click.Context) -> list[str]:
    longest = max(option.opts, key=len)
    anchor = f"{command.replace(' ', '-')}-{longest.lstrip('-')}"
    told = _flat(option.help or "")
    default = option.get_help_extra(context).get("default")
    return [_anchored(", ".join(option.opts), anchor), _taken(option), told, f"`{default}`" if default else ""]


def _taken(option: click.Option) -> str:
    """Return what an option is given: nothing for a flag."""
    if option.is_flag:
        return ""
    kind = option.type
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices)
    told = [f"`{option.metavar or (kind.name if kind.name != 'text' else 'TEXT')}`"]
    for name, limit in (("min", getattr(kind, "min", None)), ("max", getattr(kind, "max", None))):
        if limit is not None:
            told.append(say(f"reference.{name}{'_open' if getattr(kind, f'{name}_open') else ''}", limit=f"{limit:.10g}"))
    return ", ".join(told)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _sentence(text: str) -> str:
    """Return the first sentence of a help text, which may stand on several lines."""
    return re.split(r"(?<=\.)\s", _flat(text), maxsplit=1)[0]


# --- Python -----------------------------------------------------------------------------------------------


def named(*names: str) -> str:
    """Return Python names, such as `toise.verify`, each with an anchor of that name, its signature and its docstring."""
    return "\n\n".join("\n\n".join(_named(name)) for name in names)


def _named(name: str) -> Iterator[str]:
    module, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(module), attribute)
    yield f"### {name} {{ #{name} }}"
    if inspect.isclass(thing):
        yield from _class(name, thing)
    elif callable(thing):
        yield f"```python\n{signature(attribute, thing)}\n```"
        yield told(name, thing)
    else:
        yield f"`{thing!r}`"


def _class(name: str, thing: type) -> Iterator[str]:
    yield (inspect.getdoc(thing) or "").partition("\n\n")[0] if thing in DESCRIBED else told(name, thing)
    rows = [*_fields(name, thing), *_members(name, thing)]
    if rows:
        yield _table(("attribute", "holds", "means"), rows)


def _fields(name: str, thing: type) -> Iterator[list[str]]:
    """Yield the fields of a dataclass that a schema describes: what it says of them is said there, once."""
    if thing not in DESCRIBED:
        return
    described = _schema("report")["$defs"][DESCRIBED[thing]]["properties"]
    for each in dataclasses.fields(thing):
        yield [_anchored(each.name, f"{name}.{each.name}"), f"`{each.type}`", described[each.name]["description"]]


def _members(name: str, thing: type) -> Iterator[list[str]]:
    """Yield the properties and the methods that a class has itself, and that are not private."""
    for member, value in vars(thing).items():
        if member.startswith("_") or (thing in HANDED and not isinstance(value, property)):
            continue
        if isinstance(value, property):
            kind = f"`{inspect.signature(value.fget, eval_str=False).return_annotation}`"
            yield [_anchored(member, f"{name}.{member}"), kind, _flat(inspect.getdoc(value) or "")]
        elif inspect.isfunction(value) or isinstance(value, classmethod):
            shown = signature(member, getattr(thing, member), wide=10 * WIDE, bound=inspect.isfunction(value))
            call, _, kind = shown.partition(" -> ")
            yield [_anchored(call, f"{name}.{member}"), f"`{kind}`", _flat(inspect.getdoc(value) or "")]


class _Bare(str):
    """An annotation, which Python would show in quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def signature(name: str, function: Callable[..., Any], *, wide: int = WIDE, bound: bool = False) -> str:
    """Return how a function is called, on one line or on one for each parameter; `bound` leaves `self` out."""
    found = inspect.signature(function)
    shown: list[str] = []
    for parameter in list(found.parameters.values())[bound:]:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown and not any(part.startswith("*") for part in shown):
            shown.append("*")
        typed = parameter.annotation is not parameter.empty
        shown.append(str(parameter.replace(annotation=_Bare(parameter.annotation)) if typed else parameter))
    result = "" if found.return_annotation is found.empty else f" -> {found.return_annotation}"
    line = f"{name}({', '.join(shown)}){result}"
    return line if len(line) <= wide else "\n".join([f"{name}(", *(f"    {part}," for part in shown), f"){result}"])


def told(name: str, thing: object) -> str:
    """Return the docstring of a name as Markdown: prose as prose, lists as tables; formulas, shapes and examples as laid out."""
    parts: list[tuple[str, str]] = []
    for paragraph in (inspect.getdoc(thing) or "").split("\n\n"):
        kind = _kind(paragraph)
        if parts and kind == parts[-1][0] == "text":
            parts[-1] = (kind, f"{parts[-1][1]}\n\n{paragraph}")
        else:
            parts.append((kind, paragraph))
    return "\n\n".join(_shown(name, kind, text) for kind, text in parts)


def _kind(paragraph: str) -> str:
    """Tell what a paragraph of a docstring is: prose has no kind."""
    if paragraph.lstrip().startswith(">>>"):
        return "pycon"
    gaps = [len(re.findall(r"(?<=[^\s.]) {2,}(?=\S)", line)) for line in paragraph.splitlines() if not line.startswith(" ")]
    if paragraph.startswith("    ") or max(gaps) > 1:
        return "text"
    return "list" if all(gaps) else ""


def _shown(name: str, kind: str, text: str) -> str:
    """Return a part of a docstring; the entries of a list have anchors."""
    if kind == "list":
        entries = re.findall(r"^(\S+) {2,}(.+(?:\n +.+)*)", text, re.MULTILINE)
        return _table(("name", "means"), [[_anchored(entry, f"{name}.{entry}"), _flat(means)] for entry, means in entries])
    if kind == "pycon":
        text = inspect.cleandoc(text)
    return f"```{kind}\n{text}\n```" if kind else text


def reference(name: str) -> str:
    """Return a function of the readable reference: where it is explained and specified, its signature and its docstring."""
    function = getattr(importlib.import_module("toise_reference"), name)
    links = []
    if name in OPERATIONS:
        concept = OPERATIONS[name].concept
        links = [
            f"[{say('reference.explained')}](/learn/{concept}.md)",
            f"[{say('reference.specified')}](/spec/{concept}.md)",
        ]
    module = inspect.unwrap(function).__module__.replace(".", "/")
    lines = [f"## {name} {{ #{name} }}", f"```python\n{signature(name, function)}\n```", told(name, function)]
    return "\n\n".join([*lines, " · ".join([f"`reference/{module}.py`", *links])])


# --- The plugin of pytest ---------------------------------------------------------------------------------


class _Recorder:
    """What `pytest_addoption` is given: it keeps the options."""

    def __init__(self) -> None:
        self.options: list[tuple[str, dict[str, Any]]] = []

    def getgroup(self, *_: str) -> _Recorder:
        """Return where the options of a group are kept."""
        return self

    def addoption(self, name: str, **told: Any) -> None:
        """Keep an option."""
        self.options.append((name, told))


def pytest_options() -> str:
    """Return the options of the plugin as a table; those that `toise check` has too lead there."""
    recorder: Any = _Recorder()
    plugin.pytest_addoption(recorder)
    of_check = {name: option for option in _commands()["check"].command.params for name in option.opts}
    rows = []
    for name, option in recorder.options:
        taken = ", ".join(f"`{choice}`" for choice in option["choices"]) if "choices" in option else ""
        same = name.replace("--toise-", "--")
        also = f"[`{same}`](/reference/cli.md#check-{same[2:]})" if same in of_check else ""
        default = option.get("default")
        rows.append(
            [
                _anchored(name, name.lstrip("-")),
                taken or (f"`{option['metavar']}`" if "metavar" in option else ""),
                option.get("help") or getattr(of_check.get(same), "help", ""),
                f"`{default}`" if default not in (None, "", []) else "",
                also,
            ]
        )
    return _table(("option", "takes", "does", "default", "of_check"), rows)


# --- The schemas ------------------------------------------------------------------------------------------


@functools.cache
def _schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((resources.files("toise") / f"{name}.schema.json").read_text(encoding="utf-8"))
    return found


def fields(prefix: str, schema: str, *path: str) -> str:
    """Return the fields of a schema, or of the part to which the path leads, as a table; their anchors begin with the prefix."""
    part: Mapping[str, Any] = functools.reduce(lambda at, name: at[name], path, _schema(schema))
    needed = part.get("required", ())
    rows = []
    for name, property in part["properties"].items():
        holds = _type(property)
        rows.append(
            [
                _anchored(name, f"{prefix}-{name}"),
                holds if name in needed or not needed else f"{holds}; {say('reference.optional')}",
                property["description"],
            ]
        )
    return _table(("field", "holds", "means"), rows)


def _type(property: Mapping[str, Any]) -> str:
    """Return what a value may be, in words."""
    if "const" in property:
        return f"`{json.dumps(property['const'])}`"
    if "enum" in property:
        return ", ".join(f"`{json.dumps(value)}`" for value in property["enum"])
    if "anyOf" in property:
        return say("reference.or").join(_type(part) for part in property["anyOf"])
    if "$ref" in property:
        name = property["$ref"].rpartition("/")[2]
        anchors = {"number": "numbers", "outcome": "outcomes", "declarations": "declarations"}
        return f"[{say(f'reference.{name}')}](#{anchors.get(name, name)})"
    kind = property.get("type", "any")
    if kind == "array":
        return say("reference.array", of=_type(property["items"]))
    if kind == "object" and isinstance(property.get("additionalProperties"), dict) and "properties" not in property:
        return say("reference.object_of", of=_type(property["additionalProperties"]))
    return say(f"reference.{kind}")


def outcomes() -> str:
    """Return what may become of a row, from the worst to the best."""
    return ", ".join(f"`{outcome}`" for outcome in reports.OUTCOMES)


def kinds() -> str:
    """Return the ways in which a requirement can be broken, as a table."""
    return _table(("kind", "means"), [[f"`{kind}`", words] for kind, words in KINDS.items()])
