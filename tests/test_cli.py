"""The command: exit statuses, one line for what cannot be used, files that hold all that is printed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import resources
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import toise_spec
from toise.bounds import PRECISIONS

RIGHT = """
    import numpy as np

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta
"""
WRONG = RIGHT.replace("eps)", "eps / 2)")
SMOKE = ("--budget", "smoke", "--operations", "layer_norm")


def one_line(done):
    """Return the one line that a refused command prints."""
    assert done.returncode == 2, done.stderr + done.stdout
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("toise: ")
    return line


def test_a_right_backend_exits_with_0(toise, backend_file):
    """The last line says PASSED."""
    done = toise("check", backend_file(RIGHT), *SMOKE)

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("PASSED")


def test_a_wrong_backend_exits_with_1_and_cites_the_specification(toise, backend_file):
    """Each failure has the id, the sentence, the input, what came back, what was required, and how to see it again."""
    done = toise("check", backend_file(WRONG), *SMOKE, "-k", "LN-3")

    assert done.returncode == 1
    for part in (
        "FAIL LN-3",
        toise_spec.requirement("LN-3").sentence,
        "recipe",
        "x  ",
        "because",
        "required",
        "radii",
        "again     toise check",
    ):
        assert part in done.stdout


def test_the_line_to_run_it_again_fails_again(toise, backend_file):
    """The command after "again" gives the same failure."""
    first = toise("check", backend_file(WRONG), *SMOKE, "-k", "LN-3")
    (again,) = [line.split("toise ", 1)[1] for line in first.stdout.splitlines() if line.strip().startswith("again")]
    second = toise(*again.split())

    assert second.returncode == 1
    assert [line for line in second.stdout.splitlines() if "because" in line] == [
        line for line in first.stdout.splitlines() if "because" in line
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "nope.py"), "nope.py: no such file"),
        (("check", "no_such_module"), "No module named 'no_such_module'"),
        (("check", "json"), "provides none of the operations"),
        (("check", "reference", "--dtype", "float99"), "unknown dtype 'float99'"),
        (("check", "reference", "--operations", "convolution"), "unknown operation 'convolution'"),
        (("check", "reference", "-k", "LN-3 and ("), "cannot be read at 'the end'"),
        (("check", "reference", "-k", "nothing_like_it"), "leaves none of the"),
        (("check", "reference", "--device", "cuda"), "live on the cpu"),
        (("check", "reference", "--require-class", "fused"), "unknown precision class 'fused'; known: STRICT, FUSED, TF32,"),
        (("precision", "nope.py"), "nope.py: no such file"),
        (("precision", "reference", "--dtype", "float99"), "unknown dtype 'float99'"),
        (("check", "reference", "--json", "no/such/folder/r.json"), "cannot write"),
        (("explain", "LN-99"), "no requirement 'LN-99'"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_2(toise, arguments, said):
    """No traceback, nothing on standard output, and the line says what was wrong."""
    assert said in one_line(toise(*arguments))


@pytest.mark.parametrize(
    "arguments", [("check",), ("check", "reference", "--seed", "x"), ("check", "reference", "--budget", "vast"), ("nonsense",)]
)
def test_a_misused_command_shows_its_usage_and_exits_with_2(toise, arguments):
    """click says what is wrong."""
    done = toise(*arguments)

    assert done.returncode == 2
    assert "Usage: " in done.stderr


def test_a_target_that_provides_nothing_that_can_be_judged_exits_with_2(toise, tmp_path):
    """The skeleton of `toise init` raises NotImplementedError everywhere: no verdict is no success."""
    assert toise("init", "mine.py").returncode == 0
    done = toise("check", "mine.py", "--budget", "smoke")

    assert done.returncode == 2
    assert "NOT PASSED" in done.stdout
    assert "PASS " not in done.stdout.replace("NOT PASSED ", "")


def test_init_overwrites_nothing(toise, tmp_path):
    """A file that exists is left as it is."""
    (tmp_path / "mine.py").write_text("precious", encoding="utf-8")

    assert "exists already" in one_line(toise("init", "mine.py"))
    assert (tmp_path / "mine.py").read_text(encoding="utf-8") == "precious"


NARROW = """
    import torch

    __toise__ = {"arrays": "torch", "dtypes": ["bfloat16"], "layer_norm": {"precision": {"bfloat16": "STEPWISE"}}}

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        centred = x - x.sum(-1, keepdim=True) / x.shape[-1]
        variance = (centred * centred).sum(-1, keepdim=True) / x.shape[-1]
        return gamma * (centred / torch.sqrt(variance + eps)) + beta
"""


@pytest.mark.parametrize("processes", [(), ("-n", "2")])
def test_a_class_that_is_required_is_held_to_in_every_process(toise, backend_file, processes):
    """What is declared looser fails, and the line to run it again requires the class too."""
    path = backend_file(NARROW)
    held = toise("check", path, *SMOKE, "-k", "LN-1", "--require-class", "FUSED", *processes)
    (again,) = [line.split("toise ", 1)[1] for line in held.stdout.splitlines() if line.strip().startswith("again")]

    assert toise("check", path, *SMOKE, "-k", "LN-1").returncode == 0
    assert held.returncode == 1
    assert "layer_norm bfloat16: declared STEPWISE, held to FUSED, as required" in held.stdout
    assert "--require-class FUSED" in again
    assert toise(*again.split()).returncode == 1


def test_the_help_names_the_classes_of_each_dtype(toise):
    """A class that a dtype lacks is no mistake: the option holds for all dtypes at once."""
    told = " ".join(toise("check", "--help").stdout.split())

    for dtype, (*classes, last) in PRECISIONS.items():
        if classes:
            assert re.search(rf"{dtype}[^:]*: {', '.join(classes)} or {last}", told)


def test_precision_is_one_line_for_each_operation_and_dtype(toise, backend_file):
    """Its exit status is that of check: a failure is counted in the line."""
    told = toise("precision", backend_file(NARROW), *SMOKE)
    wrong = toise("precision", backend_file(WRONG), *SMOKE, "--dtype", "float32,float64")

    (line,) = [line.split() for line in told.stdout.splitlines() if line.startswith("layer_norm ")]
    assert told.returncode == 0
    assert line[:3] == ["layer_norm", "bfloat16", "STEPWISE"]
    assert line[3] in ("EAGER", "STEPWISE")
    assert line[4].endswith("%")
    assert line[-1] == "-"
    assert wrong.returncode == 1
    assert [line.split()[:3] for line in wrong.stdout.splitlines() if line.startswith("layer_norm ")] == [
        ["layer_norm", "float32", "STRICT"],
        ["layer_norm", "float64", "STRICT"],
    ]
    assert all(int(line.split()[-1]) for line in wrong.stdout.splitlines() if line.startswith("layer_norm "))


def test_a_target_that_ends_the_process_is_a_crash_of_precision_too(toise, backend_file):
    """`os._exit(0)` is no verdict."""
    done = toise("precision", backend_file("import os\n\nos._exit(0)\n"))

    assert done.returncode == 1
    assert "CRASH" in done.stderr


def test_several_targets_are_judged_in_turn_and_the_worst_decides(toise, backend_file):
    """Both reports are printed."""
    done = toise("check", backend_file(RIGHT), backend_file(WRONG, "wrong.py"), *SMOKE)

    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines() if "PASSED" in line] == ["PASSED", "NOT"]


def test_strict_makes_a_warning_fail(toise, backend_file):
    """A malformed call that is accepted is a WARN: exit 0, and 1 under --strict."""
    lenient = backend_file(
        """
        import numpy as np
        from toise_reference import layer_norm as right

        def layer_norm(x, gamma, beta, *, eps=1e-5):
            if gamma.ndim != 1 or beta.shape != gamma.shape or x.shape[-1] != len(gamma):
                return x
            return right(x, gamma, beta, eps=eps)
        """,
        "lenient.py",
    )

    assert toise("check", backend_file(RIGHT), *SMOKE, "--strict").returncode == 0
    assert toise("check", lenient, *SMOKE).returncode == 0
    assert toise("check", lenient, *SMOKE, "--strict").returncode == 1


def test_the_report_fits_its_schema_and_holds_all_that_is_printed(toise, backend_file, tmp_path):
    """Every line of the table, every number of a failure."""
    done = toise("check", backend_file(WRONG), *SMOKE, "--json", "r.json")
    written = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    schema = json.loads((resources.files("toise") / "report.schema.json").read_text(encoding="utf-8"))

    jsonschema.validate(written, schema)
    (report,) = written["reports"]
    assert report["exit_code"] == done.returncode == 1
    rows = {(row["requirement"], row["operation"]): row for row in report["results"]}
    for line in done.stdout.splitlines():
        if line.startswith(("GEN-", "ATT-", "LN-")):
            row = rows[tuple(line.split()[:2])]
            assert row["outcome"] in line
            assert row["test"] in line
    failure = rows["LN-3", "layer_norm"]["counterexample"]
    for part in ("text", "message", "again"):
        assert failure[part] in done.stdout


def test_where_nothing_is_judged_there_is_no_report(toise, tmp_path):
    """Neither an empty file, which no reader takes, nor that of an earlier run, which may be green."""
    (tmp_path / "old.json").write_text("earlier", encoding="utf-8")
    done = toise("check", "no_such_module_here", "--json", "old.json", "--junitxml", "new.xml")

    assert done.returncode == 2
    assert not (tmp_path / "old.json").exists()
    assert not (tmp_path / "new.xml").exists()


def test_the_junit_file_counts_what_the_report_counts(toise, backend_file, tmp_path):
    """Failures are failures, what was not judged is skipped, with its reason."""
    toise("check", backend_file(WRONG), *SMOKE, "--junitxml", "r.xml", "--json", "r.json")
    (suite,) = ET.parse(tmp_path / "r.xml").getroot()
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["reports"][0]

    assert int(suite.get("failures")) == report["counts"]["FAIL"] == len(suite.findall("testcase/failure"))
    assert int(suite.get("tests")) == len(report["results"])
    assert all(skipped.get("message") for skipped in suite.findall("testcase/skipped"))


def test_several_processes_give_the_report_of_one(toise, backend_file, tmp_path):
    """-n 2 changes the order of the work, and nothing in the report."""
    path = backend_file(WRONG)
    toise("check", path, *SMOKE, "--no-times", "--json", "one.json")
    toise("check", path, *SMOKE, "--no-times", "-n", "2", "--json", "two.json")

    assert (tmp_path / "one.json").read_text(encoding="utf-8") == (tmp_path / "two.json").read_text(encoding="utf-8")


def test_a_process_that_dies_costs_one_row(toise, backend_file, tmp_path):
    """A backend that kills its process on float32 rows of length 4097 is CRASH there, and judged elsewhere."""
    deadly = backend_file(
        RIGHT.replace(
            "        return", "        if x.shape[-1] == 4097:\n            os.kill(os.getpid(), signal.SIGSEGV)\n        return"
        ).replace("import numpy as np", "import os\n    import signal\n    import numpy as np")
    )
    done = toise("check", deadly, *SMOKE, "-n", "2", "-k", "LN-1 or LN-4 or LN-11", "--json", "r.json")
    rows = {
        row["requirement"]: row
        for row in json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["reports"][0]["results"]
        if row["examples"] or row["outcome"] == "CRASH"
    }

    assert done.returncode == 1
    assert rows["LN-1"]["outcome"] == "CRASH"
    assert "SIGSEGV" in rows["LN-1"]["reason"]
    assert rows["LN-11"]["outcome"] == "PASS"


def test_an_interrupted_run_is_incomplete(backend_file, tmp_path):
    """Ctrl-C once the backend has been called: exit 130, and a report that says so."""
    called = tmp_path / "called"
    slow = backend_file(
        RIGHT.replace(
            "        return", f"        open({str(called)!r}, 'w').close()\n        time.sleep(0.05)\n        return"
        ).replace("import numpy as np", "import time\n    import numpy as np")
    )
    command = [sys.executable, "-m", "toise", "check", str(slow), "--json", "r.json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not called.exists() and process.poll() is None:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    printed, _ = process.communicate()
    (report,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["reports"]

    assert process.returncode == 130
    assert "INCOMPLETE" in printed
    assert not report["complete"]
    assert not report["passed"]


def test_nothing_is_left_behind_where_it_runs(toise, backend_file, tmp_path):
    """No `.hypothesis`, no cache: only what was asked for."""
    toise("check", backend_file(RIGHT), *SMOKE)

    assert sorted(path.name for path in tmp_path.iterdir()) in (["__pycache__", "my_backend.py"], ["my_backend.py"])


def test_a_random_seed_is_printed(toise, backend_file):
    """So that the run can be made again."""
    done = toise("check", backend_file(RIGHT), *SMOKE, "--seed", "random", "-k", "LN-4")

    (seed,) = [part for line in done.stdout.splitlines() for part in line.split(" · ") if part.startswith("seed ")]
    assert int(seed.removeprefix("seed ")) >= 0


def test_list_and_explain_show_the_specification(toise):
    """Every id is listed, and an explanation holds the sentence."""
    listed = toise("list").stdout

    assert all(id in listed for id in toise_spec.requirements())
    assert all(word in listed for word in toise_spec.requirement("LN-3").sentence.split())
    assert toise_spec.requirement("LN-3").sentence in toise("explain", "ln-3").stdout


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("LN-1", {"LN-1"}),
        ("LN-1 or att-3", {"LN-1", "ATT-3"}),
        ("eps and not constant", {"LN-3", "LN-10", "LN-12", "LN-6"}),
        ("should and general", {"GEN-9", "GEN-10", "GEN-11"}),
        ("(LN-1 or LN-2) and not LN-2", {"LN-1"}),
    ],
)
def test_a_selection_matches_ids_exactly_and_names_in_part(expression, ids):
    """LN-1 is not LN-10."""
    from toise.engine import properties
    from toise.selection import selection

    assert {prop.id for prop in properties() if selection(expression)(prop)} == ids
