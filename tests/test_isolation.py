"""A backend in a process of its own: whatever it does is one outcome, in bounded time and memory, and the run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
import uuid
from pathlib import Path

import numpy as np
import programs
import pytest
from toise.errors import Ended, TargetError
from toise.isolation import Isolation, child, remote
from toise.isolation.child import Child, Limits
from toise.isolation.wire import Message, tensor_of
from toise.report import Row
from toise.run import Rules, assemble, plan, settings_of
from toise.selection import selection
from toise.workers import Job, judge_here

# One requirement that sees the call of 33 queries, one that does not, and one of another operation.
TRIED = "CAU-1 or CAU-3 or LN-2"
SETTINGS = settings_of(budget="smoke")
START = Message({"message": "start", "protocol": 1, "device": None})
GONE = 5.0  # seconds in which whatever a backend left behind has to be gone


def judged(name, *program, select=TRIED, timeout=30.0, memory=1.0):
    """Judge a target in a process of its own, from this one, with the smallest budget; return the report."""
    isolation = Isolation(tuple(program), timeout, memory)
    target = isolation.load(str(name), device=None, require_class=None)
    try:
        units, excluded = plan(target, select=selection(select))
        rows = [row for _, row in judge_here(Job(str(name), None, None, Rules("smoke"), 0, isolation), target, units)]
        return assemble(target, rows, excluded, SETTINGS)
    finally:
        target.close()


def outcomes(report):
    """Return the outcome of each row that was judged, by requirement; of dtypes the first."""
    return {row.requirement: row.outcome for row in reversed(report.results) if not row.excluded}


@pytest.fixture
def left(monkeypatch):
    """Return a function that tells which processes are left of all that this test started, once they had time to end."""
    mark = f"TOISE_TEST={uuid.uuid4()}"
    monkeypatch.setenv(*mark.split("="))

    def living():
        found = []
        for each in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark.encode() in each.read_bytes().split(b"\0"):
                    found.append((each.parent / "cmdline").read_bytes())
            except OSError:
                continue
        return found

    def wait(patience=GONE):
        end = time.monotonic() + patience
        while (found := living()) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    wait.now = living
    return wait


@pytest.fixture
def impatient(monkeypatch):
    """Wait a short while only for a program that closed its output to end."""
    monkeypatch.setattr(child, "GRACE", 0.5)


# --- A Python backend ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", programs.KILLING)
def test_what_a_backend_does_to_its_process_costs_one_row(backend_file, left, kind):
    """The row has the outcome and says what happened, on the smallest input; the others pass; no process is left."""
    wrong, outcome, words = programs.KILLING[kind]
    report = judged(backend_file(programs.backend(wrong)), timeout=1 if outcome == "TIMEOUT" else 30)
    shown = report.requirements["CAU-1"].counterexample

    assert outcomes(report) == {"CAU-1": outcome, "CAU-3": "PASS", "LN-2": "PASS"}
    assert words in shown.message
    assert shown.text == "causal_mask(n=33)"
    assert report.exit_code == 1
    assert left() == []


@pytest.mark.parametrize("kind", programs.HARMLESS)
def test_what_harms_nobody_passes(backend_file, left, kind):
    """Whatever is printed, started or left behind: the answer counts, and no process is left."""
    report = judged(backend_file(programs.backend(programs.HARMLESS[kind])))

    assert outcomes(report) == dict.fromkeys(("CAU-1", "CAU-3", "LN-2"), "PASS")
    assert report.exit_code == 0
    assert left() == []


def test_an_input_is_made_smaller_through_the_crash(backend_file):
    """What Hypothesis finds kills the process too, and the smallest of it is shown."""
    text = programs.backend("pass").replace("return gamma", "x.shape[-1] > 16 and os.abort()\n    return gamma")
    report = judged(backend_file(text), select="LN-2 or LN-3 or CAU-1")
    shown = report.requirements["LN-3"].counterexample

    assert outcomes(report) == {"LN-2": "PASS", "LN-3": "CRASH", "CAU-1": "PASS"}
    assert shown.arrays["x"] == [[-3, 0, 3, -1, 2, -2, 1, -3, 0, 3, -1, 2, -2, 1, -3, 0, 3]]
    assert shown.again.endswith("--budget smoke --seed 0 --isolate --memory 1")


def test_a_backend_that_kills_what_keeps_it_has_crashed(backend_file):
    """Its keeper takes it along, and a new one serves the next call."""
    report = judged(backend_file(programs.backend("os.kill(os.getppid(), signal.SIGKILL); time.sleep(1000)")))

    assert outcomes(report) == {"CAU-1": "CRASH", "CAU-3": "PASS", "LN-2": "PASS"}
    assert "killed by signal 9 (SIGKILL)" in report.requirements["CAU-1"].counterexample.message


@pytest.mark.parametrize(("wrong", "outcome", "starts"), [("os._exit(3)", "CRASH", 60), ("time.sleep(1000)", "TIMEOUT", 24)])
def test_an_operation_that_never_answers_is_given_up(backend_file, monkeypatch, wrong, outcome, starts):
    """After so many calls in vain each row has one more, and the outcome of that: the process is started a few times."""
    begun = []
    start = remote.Remote.start
    monkeypatch.setattr(remote.Remote, "start", lambda self: begun.append(1) or start(self))
    text = programs.backend(wrong).replace("n == 33", "True")
    report = judged(backend_file(text), select="(causal_mask and CAU) or LN-2", timeout=0.5)
    rows = [row for row in report.results if row.operation == "causal_mask" and not row.excluded]

    assert {row.outcome for row in rows} == {outcome, "NOT PROVIDED"}
    assert [row.requirement for row in rows if row.outcome == "NOT PROVIDED"] == ["CAU-13"]
    assert "in vain" not in rows[-2].counterexample.message
    assert outcomes(report)["LN-2"] == "PASS"
    assert len(begun) <= starts


# --- A program ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", programs.MALFORMED)
def test_an_answer_that_is_no_message_costs_one_row(tmp_path, left, impatient, kind):
    """PROTOCOL ERROR, and what was wrong; the program is ended, and another one serves the next call."""
    wrong, words = programs.MALFORMED[kind]
    report = judged("a program", *programs.program(tmp_path, wrong))
    shown = report.requirements["CAU-1"].counterexample

    assert outcomes(report) == {"CAU-1": "PROTOCOL ERROR", "CAU-3": "PASS", "LN-2": "PASS"}
    assert shown.message.startswith("broke the protocol: ")
    assert words in shown.message
    assert shown.text == "causal_mask(n=33)"
    assert left() == []


@pytest.mark.parametrize("kind", programs.ENDING)
def test_what_a_program_does_instead_of_answering_costs_one_row(tmp_path, left, kind):
    """The row has the outcome and says what happened; the others pass."""
    wrong, outcome, words = programs.ENDING[kind]
    report = judged("a program", *programs.program(tmp_path, wrong), timeout=1 if outcome == "TIMEOUT" else 30)

    assert outcomes(report) == {"CAU-1": outcome, "CAU-3": "PASS", "LN-2": "PASS"}
    assert words in report.requirements["CAU-1"].counterexample.message
    assert left() == []


def test_a_program_that_answers_twice_is_found_at_its_next_call(tmp_path):
    """However late the second answer comes, it is not taken for one to the next question."""
    late = "right(stream, body, tensors); time.sleep(0.05); right(stream, body, tensors)"
    report = judged("a program", *programs.program(tmp_path, late))

    assert "PROTOCOL ERROR" in outcomes(report).values()
    assert set(outcomes(report).values()) <= {"PASS", "PROTOCOL ERROR"}


def test_an_answer_may_not_come_before_the_end_of_the_question(tmp_path):
    """A program that reads part of a large question and answers is ended."""
    early = "sys.stdin.buffer.read1(100); right(sys.stdout.buffer, program.STARTED, {}); time.sleep(1000)"
    running = Child(programs.program(tmp_path, before=early), Limits())
    with pytest.raises(Ended, match="broke the protocol: an answer before the end of the question"):
        running.ask(Message(START.body, {"x": tensor_of(np.ones(2**21), "float64")}), 30)

    assert not running.alive


@pytest.mark.parametrize("kind", programs.UNUSABLE)
def test_a_program_that_does_not_start_cannot_be_used(tmp_path, left, kind):
    """One line says why, and no process is left."""
    before, words = programs.UNUSABLE[kind]
    command = programs.program(tmp_path, before=before)
    with pytest.raises(TargetError) as raised:
        remote.connect("a program", command, limits=Limits(start=0.7 if kind == "silence" else 30), again=("", ""))

    assert words in str(raised.value)
    assert str(raised.value).isprintable()
    assert left() == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["./nowhere"], "./nowhere cannot be started: No such file or directory"),
        ([__file__], "cannot be started: Permission denied"),
        ([sys.executable, "-c", "raise SystemExit(4)"], "the process ended with exit status 4"),
    ],
)
def test_the_command_says_in_one_line_that_a_program_cannot_be_used(toise, command, words):
    """With exit status 2, and nothing on standard output."""
    done = toise("check", "--", *command)

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("toise: ")
    assert words in line


# --- Time and memory ----------------------------------------------------------------------------------


CLAIM = {"toise": json.dumps({"message": "started", "protocol": 1, "operations": {"causal_mask": []}})}
FLOODS = {
    "stdout": "while True: os.write(1, b'z' * 10**6)",
    "stderr": "while True: os.write(2, b'z' * 10**6)",
    "stderr, with a closed stdout": "os.close(1)\nwhile True: os.write(2, b'z' * 10**6)",
    "a header that is no JSON": "os.write(1, (2**20).to_bytes(8, 'little') + b'[' * 2**20); time.sleep(1000)",
    "more than a header": "os.write(1, (2**20).to_bytes(8, 'little'))\nwhile True: os.write(1, b' ' * 10**6)",
    "a tensor as large as may be that never comes": "text = json.dumps({'__metadata__': "
    f"{CLAIM}, 'result': {{'dtype': 'U8', 'shape': [2**30], 'data_offsets': [0, 2**30]}}}}).encode()\n"
    "os.write(1, len(text).to_bytes(8, 'little') + text); time.sleep(1000)",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_what_floods_is_not_kept(impatient, kind):
    """The suite's own process needs little memory, whatever a program writes, or says that it will, in two seconds."""
    running = Child((sys.executable, "-c", f"import json, os, time\n{FLOODS[kind]}"), Limits())
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(Ended):
            running.ask(START, 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert time.monotonic() - began < 20
    assert peak < 16 * 2**20


# --- The command --------------------------------------------------------------------------------------


def reported(toise, tmp_path, *arguments):
    """Run the command with the smallest budget; return its exit status, and what the JSON report says of each row."""
    file = tmp_path / "report.json"
    done = toise("check", *arguments, "--json", file, "--budget", "smoke")
    assert done.stderr == ""
    (report,) = json.loads(file.read_text(encoding="utf-8"))["reports"]
    return done.returncode, [Row.from_json(row) for row in report["results"] if row["reason"] != "excluded by the selection"]


def verdicts(rows, *, seen=True):
    """Return what a row says, by what it is about; without what nobody sees over a pipe, if that is asked for."""
    return {
        (row.requirement, row.operation, row.dtype): (row.outcome, row.examples, row.elements, row.accuracy, row.strictest)
        if seen or row.requirement not in remote.SEEN_IN_PART
        else row.outcome
        for row in rows
        if seen or row.requirement not in remote.UNSEEN
    }


def test_workers_judge_as_one_process_does(toise, tmp_path, backend_file):
    """With -n 2 the rows of an isolated run are the same, crashes, hangs and all."""
    text = programs.backend("os.abort() if m == 33 else time.sleep(1000)")
    arguments = (backend_file(text), "--isolate", "--timeout", "1", "-k", "CAU-1 or CAU-3 or CAU-6 or LN-1 or LN-2")
    (status, alone), (parallel_status, together) = (reported(toise, tmp_path, *arguments, *n) for n in ((), ("-n", "2")))

    assert status == parallel_status == 1
    assert [row.outcome for row in alone] == ["PASS", "PASS", "CRASH", "PASS", "TIMEOUT"]
    assert together == alone


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_ended(tmp_path, backend_file, left, number, workers):
    """While a backend hangs, holding the GIL, with a copy in a session of its own: a few seconds later all are gone."""
    hangs = "os.fork() or (os.setsid(), time.sleep(1000)); open('hangs', 'w').close(); sum(range(10**11))"
    path = backend_file(programs.backend(hangs))
    command = [sys.executable, "-m", "toise", "check", path, "--isolate", "-k", "CAU-1", *workers]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        end = time.monotonic() + 60
        while not (tmp_path / "hangs").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert len(left.now()) >= 5  # the command, what judges, a keeper, the backend, its copy
        os.kill(running.pid, number)
        running.wait(60)

    assert left() == []


# --- The same verdicts --------------------------------------------------------------------------------

WRONG = {
    "sample variance": """
        import numpy as np

        def layer_norm(x, gamma, beta, *, eps=1e-5):
            return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + eps) + beta
        """,
    "top-left": """
        import numpy as np

        def causal_mask(n, m=None):
            return np.tri(n, n if m is None else m, dtype=bool)
        """,
}
COMPARED = {
    "examples/plain_numpy.py": (str(programs.EXAMPLES / "plain_numpy.py"),),
    "torch": ("torch", "--dtype", "float32,bfloat16", "-k", "ATT-1 or ATT-9 or (GEN-5 and attention) or MLM-13 or AR-1"),
    "sample variance": ("layer_norm",),
    "top-left": ("causal_mask",),
}


@pytest.mark.parametrize("name", COMPARED)
def test_the_verdicts_are_those_of_one_process(toise, tmp_path, backend_file, name):
    """Outcome, examples and accuracy of each row, but for what cannot be seen over a pipe, and is listed."""
    target, *rest = COMPARED[name]
    if name in WRONG:
        target, rest = backend_file(WRONG[name]), ["--operations", target]
    (status, here), (isolated_status, isolated) = (reported(toise, tmp_path, target, *rest, *how) for how in ((), ("--isolate",)))
    unseen = {row.requirement for row in isolated if row.outcome == "NOT PROVIDED" and "over a pipe" in row.reason}
    in_part = {row.requirement for row in isolated if row.outcome == "PASS" and "over a pipe" in row.reason}

    assert status == isolated_status == (1 if name in WRONG else 0)
    assert verdicts(isolated, seen=False) == verdicts(here, seen=False)
    assert unseen <= set(remote.UNSEEN)
    assert in_part <= set(remote.SEEN_IN_PART)
    if name in WRONG:
        assert "FAIL" in {row.outcome for row in isolated}
        shown = {row.requirement: row.counterexample for row in here if row.counterexample}
        for row in isolated:
            if row.counterexample:
                assert row.counterexample.recipe == shown[row.requirement].recipe
                assert row.counterexample.message == shown[row.requirement].message


def test_what_cannot_be_seen_is_not_provided(toise, tmp_path):
    """Each requirement that the protocol lists, for a backend that has every operation, and no other."""
    select = " or ".join(remote.UNSEEN)
    status, rows = reported(toise, tmp_path, programs.EXAMPLES / "plain_numpy.py", "--isolate", "-k", select)

    assert status == 2  # nothing was judged
    assert {row.requirement for row in rows} == set(remote.UNSEEN)
    assert {row.outcome for row in rows} == {"NOT PROVIDED"}
