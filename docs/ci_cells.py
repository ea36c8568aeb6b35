"""What the cells of the pages on testing share: a folder in which their commands run one after the other, and tables."""

from __future__ import annotations

import atexit
import difflib
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from cells import link, title
from toise.declarations import CHOICES, TRAITS
from toise.formats import FORMS
from toise.inputs import USUAL
from toise.isolation.remote import SEEN_IN_PART, UNSEEN
from toise.operations import OPERATIONS
from words import say

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent


class Room:
    """An empty folder with files of `examples` in it, as a reader would have it; what one command leaves, the next one finds.

    Commands that are to run in a folder that is there already, such as ROOT, are given that, and no files.
    """

    def __init__(self, *files: str, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="toise-"))
        if folder is None:
            atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
            for file in files or ("ci/my_kernel.py",):
                shutil.copy(ROOT / "examples" / file, self.folder)
        self.lines: list[str] = []

    def run(self, command: str, status: int = 0, last: int | None = None, parts: Sequence[str] = ()) -> str:
        """Return a command and what it prints: all of it, its last lines, or the parts that begin like these.

        The place of the folder, and the one where Toise is installed, are left out: another reader has others.
        Raises RuntimeError, so that the site is not built, where it ends with another exit status than the page says.
        """
        program, *arguments = (sys.executable if part == "python" else part for part in shlex.split(command))
        ours = [sys.executable, "-m", program] if program in ("toise", "pytest") else [program]
        narrow = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        done = subprocess.run(  # noqa: S603 - a command of the page
            [*ours, *arguments],
            cwd=self.folder,
            env=narrow,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != status:
            raise RuntimeError(f"{command} ended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}")
        printed = re.sub(r"file://\S*/(toise_spec|toise)/", r"file:///.../\1/", done.stderr + done.stdout)
        printed = printed.replace(f"{self.folder.resolve()}/", "")
        self.lines = lines = [line.rstrip() for line in printed.splitlines()]
        if last is not None and len(lines) > last:
            lines = ["...", *lines[-last:]]
        if parts:
            lines = [line for part in parts for line in ("...", *self._found(part))]
        return "\n".join(["```console", f"$ {command}", *lines, "```"])

    def run_with(self, package: str, command: str, status: int = 0, last: int | None = None) -> str:
        """Do the same where a package is installed; where it is not, return the command alone, and say so."""
        if importlib.util.find_spec(package):
            return self.run(command, status, last)
        return f"```console\n$ {command}\n```\n\n{say('test.not_run', package=package)}"

    def part(self, first: str, count: int | None = None) -> str:
        """Return a part of what the last command printed: from the line that begins like that, as many, or up to an empty one.

        Raises StopIteration where there is none.
        """
        return "\n".join(["```text", *self._found(first)[:count], "```"])

    def _found(self, first: str) -> list[str]:
        start = next(at for at, line in enumerate(self.lines) if line.startswith(first))
        return list(itertools.takewhile(bool, self.lines[start:]))

    def fields(self, first: str) -> str:
        """Return the fields of a failure as a table, with what each is.  Raises KeyError for one without words."""
        shown = self.part(first).splitlines()[3:-1]
        names = [match[1] for line in shown if (match := re.match(r"  (\w+)(?:, \w+ call)?  ", line))]
        told = "\n".join(f"| `{name}` | {say(f'test.field_{name}')} |" for name in names)
        return f"| {say('test.field')} | {say('test.it_is')} |\n|---|---|\n{told}"

    def edit(self, name: str, before: str, after: str) -> str:
        """Put a text in the place of another in a file, as a person would, and return the lines that changed.

        Raises ValueError where that text is not there.
        """
        path = self.folder / name
        old = path.read_text(encoding="utf-8")
        if before not in old:
            raise ValueError(f"{name} has no {before!r}")
        path.write_text(old.replace(before, after), encoding="utf-8")
        changes = difflib.ndiff(old.splitlines(), old.replace(before, after).splitlines())
        return "\n".join(["```diff", *(f"{line[0]} {line[2:]}".rstrip() for line in changes if line[0] in "+-"), "```"])

    def declare(self, name: str, **declared: object) -> str:
        """Write `__toise__` at the end of a file, in the place of one that was declared before, and return its lines."""
        path = self.folder / name
        body = path.read_text(encoding="utf-8").partition("\n\n__toise__ = ")[0].rstrip("\n")
        text = f"__toise__ = {_python(declared)}"
        path.write_text(f"{body}\n\n\n{text}\n", encoding="utf-8")
        return f'```python title="{name}"\n{text}\n```'

    def change(self, name: str, **fields: str) -> str:
        """Write fields into the first entry of a baseline, as a person would, and return that entry."""
        path = self.folder / name
        body = json.loads(path.read_text(encoding="utf-8"))
        body["entries"][0] |= fields
        path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        return f"```json\n{json.dumps(body['entries'][0], indent=1)}\n```"


def inputs() -> str:
    """Return the inputs and the outputs of the action as a table."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    lines = [say("test.inputs"), "|---|---|---|"]
    for name, told in action["inputs"].items():
        lines.append(f"| `{name}` | {told['description'].strip()} | {told['default'] and '`' + told['default'] + '`'} |")
    lines += ["", say("test.outputs"), "|---|---|"]
    lines += [f"| `{name}` | {told['description'].strip()} |" for name, told in action["outputs"].items()]
    return "\n".join(lines)


def forms() -> str:
    """Return the forms of a report as a table."""
    return "\n".join(
        [f"| `toise report` | {say('test.gives')} |", "|---|---|", *(f"| `--{form}` | {what} |" for form, what in FORMS.items())]
    )


def operations() -> str:
    """Return the operations as a table: how each is called in the skeleton of `toise init`, and where it is specified."""
    skeleton = (ROOT / "conformance" / "toise" / "skeleton.py.txt").read_text(encoding="utf-8")
    calls = dict(re.findall(r"^def ((\w+)\(.*\)):$", skeleton, re.MULTILINE))
    lines = [f"| {say('test.function')} | {say('test.specified')} |", "|---|---|"]
    for call, name in calls.items():
        concept = OPERATIONS[name].concept
        lines.append(f"| `{call}` | [{title(concept)}](/spec/{concept}.md) |")
    return "\n".join(lines)


def axes() -> str:
    """Return the lengths that a domain may name as a table, with the least rank of each operation."""
    lines = [f"| {say('test.operation')} | `rank` | {say('test.axes')} |", "|---|---|---|"]
    for name, usual in USUAL.items():
        rank = say("test.or_more", least=usual.inner) if usual.inner else ""
        lines.append(f"| `{name}` | {rank} | {', '.join(f'`{axis}`' for axis in usual.sizes)} |")
    return "\n".join(lines)


def choices() -> str:
    """Return what may be chosen as a table, the default of each choice first."""
    lines = [f"| {say('test.operation')} | {say('test.choice')} | {say('test.values')} |", "|---|---|---|"]
    for name, keys in CHOICES.items():
        where = f"/spec/{OPERATIONS[name].concept}.md#what-a-backend-may-declare"
        for key, values in keys.items():
            lines.append(f"| [`{name}`]({where}) | `{key}` | {', '.join(f'`{value}`' for value in values)} |")
    return "\n".join(lines)


def traits() -> str:
    """Return the traits of each operation as a table."""
    lines = [f"| {say('test.operation')} | {say('test.traits')} |", "|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{name}` | {', '.join(f'`{trait}`' for trait in known)} |" for name, known in TRAITS.items())]
    )


def unseen() -> str:
    """Return the requirements that cannot be judged over a pipe, and those that are judged in part, as a table."""
    whole: dict[tuple[str, str], list[str]] = {}
    for outcome, reasons in (("NOT PROVIDED", UNSEEN), (say("test.in_part"), SEEN_IN_PART)):
        for id, reason in reasons.items():
            whole.setdefault((reason, outcome), []).append(link(id))
    lines = [say("test.unseen"), "|---|---|---|"]
    return "\n".join([*lines, *(f"| {reason} | {', '.join(ids)} | {outcome} |" for (reason, outcome), ids in whole.items())])


def _python(value: object, depth: int = 0) -> str:
    """Return a mapping as it would be written by hand: an operation on a line of its own."""
    if not isinstance(value, dict) or depth or len(value) < 2:
        return json.dumps(value)
    inner = "".join(f"    {json.dumps(key)}: {_python(each, depth + 1)},\n" for key, each in value.items())
    return f"{{\n{inner}}}"
