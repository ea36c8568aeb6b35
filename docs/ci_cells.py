"""What the cells of the page on CI share: a folder in which its commands run one after the other, and the action's inputs."""

from __future__ import annotations

import atexit
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from toise.formats import FORMS

ROOT = Path(__file__).parent.parent


class Room:
    """An empty folder with `my_kernel.py` in it, as a reader would have it; what one command leaves, the next one finds."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="toise-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        shutil.copy(ROOT / "examples" / "ci" / "my_kernel.py", self.folder)

    def run(self, command: str, status: int = 0, last: int | None = None) -> str:
        """Return a command and what it prints: all of it, or its last lines.

        Raises RuntimeError, so that the site is not built, where it ends with another exit status than the page says.
        """
        program, *arguments = shlex.split(command)
        ours = [sys.executable, "-m", "toise"] if program == "toise" else [program]
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
        lines = [line.rstrip() for line in (done.stderr + done.stdout).splitlines()]
        if last is not None and len(lines) > last:
            lines = ["...", *lines[-last:]]
        return "\n".join(["```console", f"$ {command}", *lines, "```"])

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
    lines = ["| input | what it is | if it is not given |", "|---|---|---|"]
    for name, told in action["inputs"].items():
        lines.append(f"| `{name}` | {told['description'].strip()} | {told['default'] and '`' + told['default'] + '`'} |")
    lines += ["", "| output | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {told['description'].strip()} |" for name, told in action["outputs"].items()]
    return "\n".join(lines)


def forms() -> str:
    """Return the forms of a report as a table."""
    return "\n".join(["| `toise report` | gives |", "|---|---|", *(f"| `--{form}` | {what} |" for form, what in FORMS.items())])
