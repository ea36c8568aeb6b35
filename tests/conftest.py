"""What several test modules share."""

import os
import subprocess
import sys
import textwrap

import pytest


def pytest_addoption(parser):
    """Let `nox -s faults` try another seed."""
    parser.addoption("--fault-seed", type=int, default=0, help="of what is explored on the catalogue of faults")


@pytest.fixture
def fault_seed(request):
    """Return the seed with which faults are judged."""
    return request.config.getoption("--fault-seed")


@pytest.fixture
def backend_file(tmp_path):
    """Return a function that writes a backend's text to a file and returns its path."""

    def write(text, name="my_backend.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def toise(tmp_path):
    """Return a function that runs the command in an empty folder, as a user would."""

    def run(*arguments):
        command = [sys.executable, "-m", "toise", *map(str, arguments)]
        narrow = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # as where no terminal is
        return subprocess.run(
            command, env=narrow, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    return run
