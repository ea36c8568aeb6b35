"""`toise handshake`: whether a program speaks the protocol, told in lines that its author can use."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent / "examples" / "program.py"
NO_MESSAGE = "bytes that are no message: the program ended with exit status 0; required: another"
# What is put into the place of what stands in the example, and what is then said of it.
WRONG = {
    "options that are no list": ('"layer_norm": ["eps"]', '"layer_norm": "eps"', "start: body of started: operations.layer_norm"),
    "an operation that nobody knows": ('"layer_norm": ["eps"]', '"layernorm": []', "start: "),
    "another answer than asked for": ('"message": "result"', '"message": "started"', "run layer_norm: body of started"),
    "another version": ('"protocol": 1', '"protocol": 2', "start: body of started: protocol: 1 was expected"),
    "a process that ends after its answer": (
        "send(sink, *answer(body, tensors))",
        "send(sink, *answer(body, tensors)) or sys.exit(3)",
        "run layer_norm: the process ended with exit status 3",
    ),
    "an exit status of 0 for what is no message": (
        "    main()\n",
        "    try:\n        main()\n    finally:\n        sys.exit(0)\n",
        NO_MESSAGE,
    ),
}


def shaken(command, *options):
    """Run the command on a program; return the exit status and the lines."""
    done = subprocess.run(
        [sys.executable, "-m", "toise", "handshake", *options, "--", *command], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_the_example_program_speaks_the_protocol():
    """Every exchange is well, one line each."""
    status, lines = shaken([sys.executable, str(PROGRAM)])

    assert status == 0
    assert [line.split(":")[0] for line in lines] == [
        "ok    start",
        "ok    run layer_norm",
        "ok    run causal_mask",
        "ok    bytes that are no message",
        "ok    stop",
    ]


def test_what_serves_a_python_backend_speaks_the_protocol(backend_file):
    """The same exchanges, with a backend whose prints go elsewhere."""
    path = backend_file("print('hello')\ndef layer_norm(x, gamma, beta, *, eps=1e-5):\n    print('hello')\n    return x\n")
    status, lines = shaken([sys.executable, "-m", "toise.isolation.serve", str(path)])

    assert (status, len(lines)) == (0, 4)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_place(name, tmp_path):
    """Exit 1, and a line that names the exchange and the member."""
    before, after, said = WRONG[name]
    text = PROGRAM.read_text(encoding="utf-8")
    assert before in text
    path = tmp_path / "program.py"
    path.write_text(after.join(text.rsplit(before, 1)), encoding="utf-8")
    status, lines = shaken([sys.executable, str(path)])

    assert status == 1
    assert any(line.startswith(f"WRONG {said}") for line in lines), lines


@pytest.mark.parametrize("command", [["cat"], ["true"], [sys.executable, "-c", "print('hello')"]])
def test_a_program_that_speaks_something_else_is_told_so(command):
    """One line, and exit 1."""
    status, lines = shaken(command, "--timeout", "2")

    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith("WRONG start: ")


def test_a_program_that_is_not_there_is_no_program():
    """Exit 2, as for every command that cannot be used."""
    assert shaken(["no-such-program-here"]) == (2, ["toise: no-such-program-here: no such program"])


def test_a_program_that_hangs_is_asked_whether_it_flushes():
    """The usual reason; the start may take no longer than any other answer here."""
    status, lines = shaken([sys.executable, "-c", "import time; time.sleep(60)"], "--timeout", "1")

    assert (status, lines) == (1, ["WRONG start: gave no answer within 1 s; does it flush its output?"])


def test_without_a_program_the_usage_is_shown():
    """Exit 2."""
    status, lines = shaken([])

    assert status == 2
    assert any("name a program after --" in line for line in lines)
