"""The pytest plugin: the suite under pytest gives the verdicts of the command, and costs nothing elsewhere."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toise.engine import properties
from toise.reading import read_report
from toise.report import Document

ROWS = [operation for prop in properties() for operation in prop.operations]
OWN = ROWS.count("layer_norm")
RIGHT = """
    import numpy as np

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta
"""


def pytest_run(folder, *arguments):
    """Run pytest in a folder of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def suite(folder, path, *arguments):
    """Run the suite at its smallest."""
    return pytest_run(folder, "--pyargs", "toise.suite", "--toise-backend", path, "--toise-budget", "smoke", "-q", *arguments)


def test_a_right_backend_passes(tmp_path, backend_file):
    """What it lacks is skipped, with the reason."""
    done = suite(tmp_path, backend_file(RIGHT), "-rs")

    assert done.returncode == 0, done.stdout
    assert f"{OWN} passed, {len(ROWS) - OWN} skipped" in done.stdout
    assert "NOT PROVIDED: no operation attention" in done.stdout


def test_a_wrong_backend_fails_with_the_sentence_of_the_specification(tmp_path, backend_file):
    """The failure is the command's text, without a traceback of ours."""
    done = suite(tmp_path, backend_file(RIGHT.replace("+ eps", "+ eps / 2")), "-k", "eps_is_added")

    assert done.returncode == 1
    assert "`eps` is added to the variance" in done.stdout
    assert "Traceback" not in done.stdout
    assert "engine.py" not in done.stdout


def test_a_class_can_be_required(tmp_path, backend_file):
    """The same as `toise check --require-class`; an unknown class is a usage error."""
    declared = '    __toise__ = {"arrays": "torch", "dtypes": ["bfloat16"], "layer_norm": {"precision": {"bfloat16": "EAGER"}}}\n'
    rounded = (
        "import torch\n"
        + declared.strip()
        + """
def layer_norm(x, gamma, beta, *, eps=1e-5):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], None, None, eps) * gamma + beta
"""
    )
    path = backend_file(rounded)
    done = [
        suite(tmp_path, path, "-k", "LN-1 or is_the_formula", *required) for required in ((), ("--toise-require-class", "FUSED"))
    ]

    assert [each.returncode for each in done] == [0, 1], done[1].stdout
    assert "layer_norm bfloat16: declared EAGER, held to FUSED, as required" in done[1].stdout
    assert suite(tmp_path, path, "--toise-require-class", "FUZED").returncode == 4


def test_xdist_and_a_hostile_configuration_change_nothing(tmp_path, backend_file):
    """-n 2 and filterwarnings = error."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = "-n 2"\nfilterwarnings = ["error"]\n', encoding="utf-8"
    )
    done = suite(tmp_path, backend_file(RIGHT), "-k", "LN or layer_norm")

    assert done.returncode == 0, done.stdout
    assert f"{OWN} passed" in done.stdout
    assert f"{OWN} PASS" in done.stdout


def untimed(path):
    """Return the text of a report without its times."""
    (report,) = read_report(path).reports
    return Document((report.without_times(),)).as_text()


WRONG = RIGHT.replace("+ eps", "+ eps / 2")


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_the_report_is_the_one_that_the_command_writes(toise, tmp_path, backend_file, workers):
    """Byte for byte but for times, likenesses among it, whatever the number of workers."""
    backend_file(WRONG)
    toise("check", "my_backend.py", "--budget", "smoke", "--json", "command.json")
    suite(tmp_path, "my_backend.py", "--toise-json", "pytest.json", *workers)

    assert untimed(tmp_path / "pytest.json") == untimed(tmp_path / "command.json")


def test_what_pytest_leaves_out_is_excluded(tmp_path, backend_file):
    """A selection is no doubt about the backend."""
    suite(tmp_path, backend_file(RIGHT), "-k", "eps_is_added", "--toise-json", "r.json")
    (report,) = read_report(tmp_path / "r.json").reports

    assert (report.passed, report.excluded) == (True, len(ROWS) - 1)
    assert report.settings["select"] == "eps_is_added"


def test_a_run_that_stops_early_is_incomplete(tmp_path, backend_file):
    """After -x there is no verdict."""
    suite(tmp_path, backend_file(WRONG), "-x", "--toise-json", "r.json")
    (report,) = read_report(tmp_path / "r.json").reports

    assert (report.complete, report.exit_code) == (False, 130)
    assert report.counts["FAIL"] == 1


def test_a_worker_that_dies_costs_the_row_that_it_was_on(tmp_path, backend_file):
    """CRASH; another worker judges the rest."""
    dies = backend_file(RIGHT.replace("    return", "    import os; x.shape[-1] == 4097 and os.abort()\n        return", 1))
    suite(tmp_path, dies, "-n", "2", "-k", "layer_norm and formula", "--toise-json", "r.json")
    rows = {row.requirement: row for row in read_report(tmp_path / "r.json").reports[0].results if not row.excluded}

    assert rows["LN-1"].outcome == "CRASH"
    assert "crashed" in rows["LN-1"].reason
    assert rows["LN-12"].outcome == "PASS"


def test_workers_on_another_machine_give_the_same_report(toise, tmp_path, backend_file):
    """Over a socket, in a folder of their own, with two of them; the command stands in docs/en/test/ci.md."""
    path = backend_file(WRONG)
    far = tmp_path / "far"
    far.mkdir()
    servers, machines = [], []
    try:
        for _ in range(2):
            port = free_port()
            command = [sys.executable, "-m", "execnet.script.socketserver", f"127.0.0.1:{port}"]
            servers.append(subprocess.Popen(command, cwd=far, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            machines += ["--tx", f"socket=127.0.0.1:{port}"]
            wait_for(port)
        done = pytest_run(
            tmp_path,
            *("-q", "-d", *machines, "--pyargs", "toise.suite", "-k", "layer_norm"),
            *(f"--toise-backend={path}", "--toise-json=far.json", "--toise-budget=smoke"),
        )
    finally:
        for server in servers:
            server.kill()
            server.wait()
    suite(tmp_path, path, "-k", "layer_norm", "--toise-json", "near.json")

    assert done.returncode == 1, done.stdout + done.stderr
    assert untimed(tmp_path / "far.json") == untimed(tmp_path / "near.json")


def test_a_failure_of_ours_is_no_crash_of_the_backend(tmp_path, backend_file):
    """A fixture that raises at the end leaves the verdicts as they are, and the report INCOMPLETE."""
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(autouse=True)\ndef late():\n    yield\n    raise RuntimeError('ours')\n",
        encoding="utf-8",
    )
    suite(tmp_path, backend_file(RIGHT), "-k", "eps_is_added", "-p", "conftest", "--toise-json", "r.json")
    (report,) = read_report(tmp_path / "r.json").reports

    assert report.counts["CRASH"] == 0
    assert not report.complete


def test_known_failures_and_cases_count_under_pytest_too(toise, tmp_path, backend_file):
    """The report is that of the command, and a known failure is xfailed."""
    backend_file(WRONG)
    toise("check", "my_backend.py", "--budget", "smoke", "--json", "first.json")
    toise("baseline", "update", "first.json")
    toise("replay", "first.json:LN-3", "--save", "corpus")
    toise(
        "check",
        "my_backend.py",
        "--budget",
        "smoke",
        *("--baseline", "toise-baseline.json", "--corpus", "corpus"),
        "--json",
        "command.json",
    )
    known = ("--toise-baseline", "toise-baseline.json", "--toise-corpus", "corpus")
    done = suite(tmp_path, "my_backend.py", *known, "--toise-json", "pytest.json")

    assert done.returncode == 0, done.stdout
    assert "xfailed" in done.stdout
    assert untimed(tmp_path / "pytest.json") == untimed(tmp_path / "command.json")


def test_collecting_writes_no_report(tmp_path, backend_file):
    """A good one stays."""
    (tmp_path / "r.json").write_text("earlier", encoding="utf-8")
    suite(tmp_path, backend_file(RIGHT), "--collect-only", "--toise-json", "r.json")

    assert (tmp_path / "r.json").read_text(encoding="utf-8") == "earlier"


def free_port():
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def wait_for(port):
    """Wait until somebody listens; a connection that says nothing would end the server, so that only the table is read."""
    wanted = f":{port:04X} 00000000:0000 0A"
    for _ in range(600):
        if wanted in Path("/proc/net/tcp").read_text(encoding="ascii"):
            return
        time.sleep(0.05)
    pytest.fail("the server does not listen")


def test_a_run_in_which_nothing_is_judged_is_not_green(tmp_path, backend_file):
    """All skipped is exit 1 here, where pytest alone would say 0."""
    done = suite(tmp_path, backend_file("def layer_norm(x, gamma, beta, **options):\n    raise NotImplementedError"))

    assert f"{len(ROWS)} skipped" in done.stdout
    assert done.returncode == 1


def test_without_a_backend_it_is_a_usage_error(tmp_path):
    """The same with and without xdist."""
    for arguments in ((), ("-n", "2")):
        done = pytest_run(tmp_path, "--pyargs", "toise.suite", *arguments)

        assert done.returncode == 4
        assert "--toise-backend" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_backend_that_cannot_be_used_is_a_usage_error(tmp_path):
    """One line, as the command says it."""
    done = pytest_run(tmp_path, "--pyargs", "toise.suite", "--toise-backend", "nope.py")

    assert done.returncode == 4
    assert "nope.py: no such file" in done.stderr


def test_other_runs_import_nothing_heavy(tmp_path, monkeypatch):
    """A test run without the suite loads neither NumPy nor torch nor Hypothesis through the plugin; others may, and are away."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_other():\n    assert not {'numpy', 'torch', 'toise.engine', 'rich'} & set(sys.modules)\n",
        encoding="utf-8",
    )
    done = pytest_run(tmp_path, "-p", "toise.plugin", "-q")

    assert done.returncode == 0, done.stdout
