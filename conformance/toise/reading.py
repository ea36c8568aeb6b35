"""Reading what Toise wrote, or what somebody says that it wrote: files are data, and none of it is believed unseen."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Any

from toise.errors import TargetError, line, visible
from toise.report import FORMAT, FORMAT_VERSION, Document, Report
from toise.schemas import misfit

if TYPE_CHECKING:
    from pathlib import Path


# How deeply lists and objects may stand in each other, and how long a whole number may be: a seed, an id, a count.
DEEPEST, DIGITS = 32, 20


def read_report(path: Path) -> Document:
    """Return what a report file holds.

    Raises TargetError, with one line, for a file that cannot be read, is no report, or one of another version of the
    format, and for one that contradicts itself.
    """
    body = read_json(path, FORMAT, FORMAT_VERSION, "make it again with `toise check TARGET --json FILE`")
    try:
        reports = tuple(Report.from_json(fields) for fields in body["reports"])
    except (TypeError, ValueError, OverflowError) as error:
        raise TargetError(f"{path}: cannot be read as a report: {line(str(error))}") from None
    if not reports:
        raise TargetError(f"{path}: holds no report")
    for report, fields in zip(reports, body["reports"], strict=True):
        _believable(path, report, fields)
    return Document(reports, body["unavailable"])


def _believable(path: Path, report: Report, fields: dict[str, Any]) -> None:
    """Raise TargetError where what follows from the rows is not what the file says."""
    for name, value in report.derived.items():
        said = {outcome: count for outcome, count in fields[name].items() if count} if name == "counts" else fields[name]
        found = {outcome: count for outcome, count in value.items() if count} if name == "counts" else value
        if said != found:
            raise TargetError(f"{path}: {report.target}: {name} is {said}, and its rows give {found}: the file was changed")
    twice = [key for key, count in Counter(row.key for row in report.results).items() if count > 1]
    if twice:
        raise TargetError(f"{path}: {report.target}: two rows are {' '.join(twice[0])}: the file was changed")


def read_format(path: Path) -> str:
    """Return what a file says that it is; empty where it says nothing."""
    body = _loaded(path, "file of Toise")
    return str(body.get("format", "")) if isinstance(body, dict) else ""


def read_json(path: Path, format: str, version: int, again: str) -> dict[str, Any]:
    """Return a JSON object of that format and version which fits its schema.

    `again` says how a file of another version is made anew.  Raises TargetError, with one line, for anything else.
    """
    body = _loaded(path, format)
    if not isinstance(body, dict) or body.get("format") != format:
        raise TargetError(f'{path}: is no {format}: it has no "format": "{format}"')
    if body.get("version") != version:
        told = line(json.dumps(body.get("version")), 40)
        raise TargetError(f"{path}: is of version {told} of {format}, and this Toise reads version {version}; {again}")
    schema = (resources.files("toise") / f"{format.removeprefix('toise-')}.schema.json").read_text(encoding="utf-8")
    if wrong := misfit(body, json.loads(schema)):
        raise TargetError(f"{path}: does not fit the schema of {format}: {wrong}")
    return body


def _loaded(path: Path, format: str) -> Any:
    """Return what a file of JSON holds.  Raises TargetError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TargetError(f"{path}: is no {format}: it is not UTF-8 text") from None
    try:
        return _visible(json.loads(text, parse_constant=_no_number, parse_int=_integer, object_pairs_hook=_no_name_twice))
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else line(str(error))
        raise TargetError(f"{path}: is no {format}, or only a part of one: {what}") from None


def _visible(thing: Any, depth: int = 0) -> Any:
    """Return it with what no terminal and no file can take, in any text, as Python writes it.

    Raises RecursionError for what is nested more deeply than arrays are.
    """
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(thing, str):
        return visible(thing)
    if isinstance(thing, list):
        return [_visible(part, depth + 1) for part in thing]
    if isinstance(thing, dict):
        return {_visible(name): _visible(part, depth + 1) for name, part in thing.items()}
    return thing


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found
