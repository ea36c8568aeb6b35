"""Report files: whole at every moment, the same for the same run, and never believed unseen."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from io import StringIO
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console
from toise import files, verify
from toise.errors import TargetError
from toise.formats import render
from toise.reading import read_report
from toise.report import Document
from toise.terminal import array_text, print_report

WRONG = """
    import numpy as np

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps / 2) + beta
"""
SMOKE = ("--budget", "smoke", "--operations", "layer_norm")
KILLS = 50
RANDOM = random.Random(0)  # noqa: S311 - of instants and places


@pytest.fixture(scope="module")
def document():
    """A report with rows of several outcomes."""
    wrong = {"layer_norm": lambda x, gamma, beta, *, eps=1e-5: beta + gamma * (x - x.mean(-1, keepdims=True))}
    return Document((verify(wrong, operations=["layer_norm"], budget="smoke"),), {"jax": "not installed"})


@pytest.fixture
def refused(tmp_path):
    """Return a function that gives the one line with which a text is refused."""

    def read(text):
        path = tmp_path / "r.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(TargetError) as raised:
            read_report(path)
        assert "\n" not in str(raised.value)
        assert str(raised.value).startswith(f"{path}: ")
        return str(raised.value)

    return read


def test_a_report_reads_back_as_it_was_written(document, tmp_path):
    """To the last digit, NaN and infinity among them."""
    path = tmp_path / "r.json"
    path.write_text(document.as_text(), encoding="utf-8")

    assert read_report(path).as_text() == document.as_text()
    assert read_report(path) == document


def test_a_report_that_is_cut_anywhere_is_refused(document, refused):
    """At fifty places."""
    text = document.as_text().rstrip()

    for at in RANDOM.sample(range(len(text)), KILLS):
        assert "is no toise-report, or only a part of one" in refused(text[:at])


FORGERIES = {
    "passed": (lambda report: report.update(passed=True), "passed is True, and its rows give False"),
    "exit code": (lambda report: report.update(exit_code=0), "exit_code is 0, and its rows give 1"),
    "counts": (lambda report: report["counts"].update(FAIL=0), "counts is "),
    "excluded": (lambda report: report.update(excluded=0), "excluded is 0"),
    "a failure called PASS": (lambda report: failing(report).update(outcome="PASS"), "its rows give"),
    "a row taken out": (lambda report: report["results"].remove(failing(report)), "its rows give"),
    "a row twice": (lambda report: report["results"].append(report["results"][0]), "its rows give"),
    "another row": (lambda report: report["results"][1].update(report["results"][0]), "two rows are GEN-1 layer_norm"),
    "complete": (lambda report: report.update(complete=False), "exit_code is 1, and its rows give 130"),
    "an unknown outcome": (lambda report: failing(report).update(outcome="FINE"), "is not one of"),
    "a note": (lambda report: report.update(note="trust me"), "'note' was unexpected"),
    "no settings": (lambda report: report.pop("settings"), "'settings' is a required property"),
    "words for a number": (lambda report: failing(report).update(accuracy="small"), "is not valid under any"),
}


def failing(report):
    """Return the first row that fails."""
    return next(row for row in report["results"] if row["outcome"] == "FAIL")


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_report_that_was_changed_is_refused(document, refused, forgery):
    """What follows from the rows is computed again."""
    change, said = FORGERIES[forgery]
    body = json.loads(document.as_text())
    change(body["reports"][0])

    assert said in refused(json.dumps(body))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no toise-report"),
        ("null", "is no toise-report"),
        ("[]", "is no toise-report"),
        ("[" * 100_000, "nested too deeply"),
        ('{"format": "toise-report", "format": "x"}', "a name twice"),
        ('{"format": "toise-report", "version": NaN}', "NaN is not JSON"),
        (
            '{"format": "toise-report", "version": 0}',
            "is of version 0 of toise-report, and this Toise reads version 1; make it again",
        ),
        ('{"format": "toise-report", "version": "1"}', 'is of version "1"'),
        ('{"format": "toise-report", "version": 1, "reports": [], "unavailable": {}}', "holds no report"),
        ('{"format": "toise-baseline", "version": 1}', "is no toise-report"),
    ],
)
def test_what_is_no_report_is_one_line(refused, text, said):
    """It says what it is instead."""
    assert said in refused(text)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    """A gzip file, for example."""
    (tmp_path / "r.json").write_bytes(b"\x1f\x8b\x08\x00")

    with pytest.raises(TargetError, match="it is not UTF-8 text"):
        read_report(tmp_path / "r.json")


@pytest.mark.parametrize("command", ["report", "merge", "replay"])
def test_a_command_refuses_what_is_no_report_with_exit_2(toise, tmp_path, command):
    """No traceback, nothing on standard output."""
    (tmp_path / "r.json").write_text('{"format": "toise-report", "version": 0}', encoding="utf-8")
    done = toise(command, "r.json")

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_a_report_is_shown_as_it_was_first(toise, backend_file):
    """`toise report` prints what `toise check` printed."""
    checked = toise("check", backend_file(WRONG), *SMOKE, "--json", "r.json")
    shown = toise("report", "r.json")

    assert shown.stdout == checked.stdout
    assert (checked.returncode, shown.returncode) == (1, 0)


def test_a_dash_is_standard_output(toise, backend_file):
    """The report alone; what a person reads goes to the other stream."""
    done = toise("check", backend_file(WRONG), *SMOKE, "--json", "-")

    assert json.loads(done.stdout)["reports"][0]["exit_code"] == done.returncode == 1
    assert "NOT PASSED" in done.stderr


def test_equal_runs_give_equal_bytes(toise, backend_file, tmp_path):
    """Twice, and in two processes; without the flag there are times."""
    path = backend_file(WRONG)
    runs = {"once": (), "again": (), "parallel": ("-n", "2")}
    for name, arguments in runs.items():
        toise("check", path, *SMOKE, "--no-times", *arguments, "--json", f"{name}.json")
    texts = {(tmp_path / f"{name}.json").read_bytes() for name in runs}
    toise("check", path, *SMOKE, "--json", "timed.json")
    timed = read_report(tmp_path / "timed.json").reports[0]

    assert len(texts) == 1
    assert timed.started
    assert all(row.seconds is not None for row in timed.results if row.examples)


def test_a_run_that_is_killed_at_any_moment_leaves_a_report_that_says_so(backend_file, tmp_path):
    """At fifty random instants: no file yet, or one that is readable, INCOMPLETE, and not green; with what was judged."""
    path = backend_file(WRONG)
    command = [sys.executable, "-m", "toise", "check", str(path), *SMOKE, "--json", "r.json"]
    start = time.monotonic()
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    whole = time.monotonic() - start
    (tmp_path / "r.json").unlink()
    seen = {"none": 0, "incomplete": 0, "complete": 0}
    for _ in range(KILLS):
        running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(RANDOM.uniform(0, whole))
        kill_all(running)
        if not (tmp_path / "r.json").exists():
            seen["none"] += 1
            continue
        (report,) = read_report(tmp_path / "r.json").reports
        seen["complete" if report.complete else "incomplete"] += 1
        assert report.exit_code == (1 if report.complete else 130)
        assert not report.passed
        (tmp_path / "r.json").unlink()
    assert seen["incomplete"] >= KILLS / 10, seen


def kill_all(process):
    """Kill the command and the process that it supervises, as a machine that is switched off does."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout.split()  # noqa: S607
    for pid in (process.pid, *map(int, children)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def test_rows_are_written_while_the_run_goes_on(backend_file, tmp_path):
    """A run that is killed late leaves what it found until then."""
    slow = backend_file(
        WRONG.replace("import numpy as np", "import time\n    import numpy as np").replace(
            "        return", "        time.sleep(0.02)\n        return"
        )
    )
    command = [sys.executable, "-m", "toise", "check", str(slow), *SMOKE, "--json", "r.json"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path, rows = tmp_path / "r.json", []
    while not rows and running.poll() is None:
        time.sleep(0.1)
        rows = [row for row in read_report(path).reports[0].results if not row.excluded] if path.exists() else []
    still_running = running.poll() is None
    kill_all(running)

    assert still_running
    assert rows


@pytest.mark.parametrize("text", ["import os\nos._exit(0)\n", "syntax(\n", "import time\ntime.sleep(60)\n"])
def test_a_target_that_cannot_be_loaded_leaves_no_green_report(toise, backend_file, tmp_path, text):
    """Neither one that ends the process, nor one that is no Python, nor one that hangs until the job is killed."""
    path = backend_file(WRONG.replace("eps / 2", "eps"))
    assert toise("check", path, *SMOKE, "--json", "r.json").returncode == 0
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "toise", "check", str(path), *SMOKE, "--json", "r.json"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(10)
    kill_all(running)

    assert running.returncode != 0
    assert not (tmp_path / "r.json").exists()


def test_what_a_backend_prints_is_not_in_the_report(toise, backend_file):
    """With a dash the report alone is on standard output, whatever the target prints there, in workers too."""
    path = backend_file(
        WRONG.replace("        return", "        print('hello'); __import__('os').write(1, b'hello')\n        return")
    )
    for workers in ("0", "2"):
        done = toise("check", path, *SMOKE, "-n", workers, "--json", "-")

        assert json.loads(done.stdout)["format"] == "toise-report"
        assert "hello" in done.stderr


def test_a_stream_gets_the_last_text_alone(toise, backend_file):
    """A pipe with several documents is none."""
    done = toise("check", backend_file(WRONG), *SMOKE, "--json", "/dev/stdout")

    assert done.stdout.count('"format": "toise-report"') == 1


def test_two_runs_that_write_one_file_leave_it_whole(tmp_path):
    """The last one wins."""
    path = tmp_path / "r.json"
    script = "import pathlib, sys, toise.files as f\nfor _ in range(300): f.write(pathlib.Path(sys.argv[1]), sys.argv[2])"
    texts = {letter * 100_000 for letter in "ab"}
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), text]) for text in texts]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text(encoding="utf-8"))

    assert all(writer.returncode == 0 for writer in writers)
    assert seen == texts
    assert list(tmp_path.iterdir()) == [path]


HOSTILE = {
    "a class that nobody knows": lambda report: [row.update(precision="LOOSE", strictest="LOOSE") for row in report["results"]],
    "no counts, and a domain": lambda report: [row.update(examples={}, domain="d <= 8") for row in report["results"]],
    "an operation that nobody knows": lambda report: failing(report).update(operation="convolution"),
    "a requirement that nobody knows": lambda report: failing(report).update(requirement="ZZ-9"),
    "text for numbers": lambda report: failing(report)["counterexample"].update(got=["abc", 1], required=[[1], [1, 2]]),
    "a fault that nobody knows": lambda report: failing(report)["counterexample"].update(like="no.such_fault"),
    "half a character": lambda report: report.update(target="\ud800"),
    "codes of a terminal": lambda report: failing(report).update(reason="\x1b]0;pwned\x07 \uffff"),
}


@pytest.mark.parametrize("how", HOSTILE)
@pytest.mark.parametrize("form", ["terminal", "html", "markdown", "junit", "sarif", "github", "badge"])
def test_a_report_that_somebody_wrote_is_shown_in_every_form(document, tmp_path, how, form):
    """What fits the schema may hold anything: nothing raises, and no code reaches the terminal."""
    body = json.loads(document.as_text())
    HOSTILE[how](body["reports"][0])
    path = tmp_path / "r.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    read = read_report(path)
    shown = terminal_text(read) if form == "terminal" else render(form, read)

    assert shown.encode("utf-8")
    assert "\x1b" not in shown
    if form == "junit":
        ET.fromstring(shown)


def terminal_text(document):
    """Return what a terminal without colours shows."""
    written = StringIO()
    print_report(document.reports[0], Console(file=written, width=100))
    return written.getvalue()


def test_a_full_disk_leaves_the_earlier_report_and_says_so(backend_file, tmp_path):
    """The file may not grow beyond 20 kB: exit 2, one line, and what stands there is INCOMPLETE."""
    path = backend_file(WRONG)
    command = [sys.executable, "-m", "toise", "check", str(path), *SMOKE, "--json", "r.json"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    (report,) = read_report(tmp_path / "r.json").reports

    assert done.returncode == 2
    assert done.stderr == "toise: cannot write r.json: File too large\n"
    assert "NOT PASSED" in done.stdout, "the verdict is not lost"
    assert not report.complete
    assert not list(tmp_path.glob(".r.json*"))


def test_a_file_is_replaced_at_once(tmp_path):
    """Whoever holds the old one open keeps it whole; no other file is left."""
    path = tmp_path / "r.json"
    files.write(path, "old")
    with path.open(encoding="utf-8") as old:
        files.write(path, "new")
        assert old.read() == "old"

    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_and_a_device_stay_what_they_are(tmp_path):
    """A link leads to the new text, and nothing is put in the place of /dev/null."""
    (tmp_path / "r.json").symlink_to(tmp_path / "elsewhere.json")
    files.write(tmp_path / "r.json", "text")
    files.write(tmp_path / "r.json", "newer")

    assert (tmp_path / "r.json").is_symlink()
    assert (tmp_path / "elsewhere.json").read_text(encoding="utf-8") == "newer"
    files.write(files.Path("/dev/null"), "text")
    assert not files.Path("/dev/null").is_file()


def test_a_large_array_of_many_axes_takes_two_lines():
    """The corners of each of its matrices would fill the screen."""
    array = [[[[0.5] * 9] * 9] * 9] * 9

    assert array_text(array).splitlines() == ["shape (9, 9, 9, 9), in one row", "[0.5 0.5 ... 0.5 0.5]"]
