"""The README is true: its failure is what the command prints, its Python runs, its counts are counted."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import toise_spec
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_failure_shown_is_the_one_that_the_command_prints():
    """The console block is a command and its whole output."""
    (block,) = re.findall(r"```console\n\$ (.*?)```", README, flags=re.DOTALL)
    command, _, shown = block.partition("\n")
    name, *arguments = shlex.split(command)
    assert name == "toise"

    done = subprocess.run([sys.executable, "-m", "toise", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    printed = "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())

    assert done.returncode == 1
    assert printed == shown


def test_the_python_runs():
    """Every Python block of the README runs, and its assertions hold."""
    document = Sybil(parsers=[PythonCodeBlockParser()], pattern="README.md", path=str(ROOT)).parse(ROOT / "README.md")
    examples = list(document.examples())
    for example in examples:
        example.evaluate()

    assert len(examples) == 2


def test_the_count_of_requirements_is_true():
    """The number in the text is that of the specification."""
    (count,) = re.findall(r"has (\d+) requirements", README)

    assert int(count) == len(toise_spec.requirements())
