"""One case again: from a report, from a corpus, or as a report prints it; and as a script of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from toise.cases import Case, read_case, read_corpus
from toise.errors import TargetError
from toise.inputs import USUAL, recipe_from_json, recipe_from_text

WRONG = """
    import numpy as np

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps / 2) + beta
"""
RIGHT = WRONG.replace("eps / 2", "eps")
RECIPE = "layer_norm(literal=(1.0, -1.0), eps=0.5)"

# How an operation can be wrong, and a requirement that says so.
MISTAKES = {
    "value": ("LN-1", WRONG),
    "non-finite": ("GEN-3", WRONG.replace("eps / 2)", "eps - eps)")),
    "shape": ("GEN-1", WRONG.replace("+ beta", "+ beta[None]")),
    "dtype": ("GEN-2", RIGHT.replace("return gamma", "return np.float64(2) / 2 * gamma")),
    "mutated": ("GEN-4", RIGHT.replace("return", "x += 1; return")),
    "raised": ("GEN-3", RIGHT.replace("return", "1 / 0; return")),
}


@pytest.fixture
def reported(toise, backend_file, tmp_path):
    """Return a function that judges a text, and gives the ids that fail."""

    def judge(text, *arguments):
        backend_file(text)
        toise("check", "my_backend.py", "--budget", "smoke", "--operations", "layer_norm", "--json", "r.json", *arguments)
        (report,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["reports"]
        return [row["requirement"] for row in report["results"] if row["outcome"] == "FAIL"]

    return judge


def test_a_case_of_a_report_fails_again_with_the_same_numbers(toise, reported, tmp_path):
    """Exactly one case runs, and shows what the report shows."""
    assert "LN-3" in reported(WRONG)
    done = toise("replay", "r.json:LN-3")
    rows = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["reports"][0]["results"]
    (shown,) = [row["counterexample"] for row in rows if row["requirement"] == "LN-3"]

    assert done.returncode == 1
    assert "FAIL LN-3" in done.stdout
    assert shown["message"] in done.stdout
    assert shown["text"] in done.stdout


def test_a_case_that_holds_now_exits_with_0(toise, reported, backend_file):
    """The file was mended: the report's target is read again."""
    reported(WRONG)
    backend_file(RIGHT)
    done = toise("replay", "r.json:ln-3")

    assert (done.returncode, done.stdout.split()[:2]) == (0, ["HOLDS", "LN-3"])


def test_a_recipe_is_tried_as_a_report_prints_it(toise, backend_file):
    """On a target and a requirement that are named."""
    wrong = toise("replay", RECIPE, backend_file(WRONG), "--requirement", "LN-3")

    assert wrong.returncode == 1
    assert RECIPE in wrong.stdout
    assert toise("replay", RECIPE, "reference", "--requirement", "LN-3").returncode == 0
    assert toise("replay", RECIPE, "reference", "--requirement", "LN-3", "--dtype", "float64").returncode == 0


def test_a_backend_that_dies_is_replayed_in_a_process_of_its_own(toise, backend_file):
    """CRASH, with the recipe."""
    dies = backend_file(RIGHT.replace("return", "import os; os.abort(); return"))
    done = toise("replay", RECIPE, dies, "--requirement", "LN-3", "--isolate")

    assert done.returncode == 1
    assert "CRASH LN-3" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing", "reference", "--requirement", "LN-1"), "is no recipe"),
        (("layer_norm(d=2)", "reference"), "name it with --requirement"),
        (("layer_norm(d=2)", "reference", "--requirement", "ATT-1"), "ATT-1 says nothing of 'layer_norm'"),
        (("layer_norm(d=2)", "reference", "--requirement", "LN-77"), "no requirement 'LN-77'"),
        (("layer_norm(d=__import__('os'))", "reference", "--requirement", "LN-1"), "is no recipe"),
        (("layer_norm(d=-1)", "reference", "--requirement", "LN-1"), "required: from 0 to"),
        (("layer_norm(content='loud')", "reference", "--requirement", "LN-1"), "cannot be built"),
        (("missing.json:LN-1",), "cannot read missing.json"),
        (("r.json",), "failures are meant; name one: r.json:"),
        (("r.json:LN-5",), "no such failure"),
        (("r.json:LN-3", "--script", "no_such.py"), "no_such.py: no such file"),
    ],
)
def test_what_is_no_case_is_one_line_and_exit_2(toise, reported, arguments, said):
    """And nothing is tried."""
    reported(WRONG)
    done = toise("replay", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_recipe_that_no_requirement_tries_is_not_tried(toise):
    """Neither 0 nor 1: it says why."""
    done = toise("replay", "layer_norm(d=2)", "reference", "--requirement", "LN-3", "--dtype", "bfloat16")

    assert done.returncode == 2
    assert "NOT TRIED" in done.stdout
    assert "no dtype bfloat16" in done.stdout


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_script_shows_the_failure_with_numpy_and_the_file_alone(toise, reported, tmp_path, kind):
    """At most twenty lines; it fails where Toise is not there, and passes on right code, except what can only be shown."""
    id, text = MISTAKES[kind]
    assert id in reported(text)
    script = toise("replay", f"r.json:{id}", "--script").stdout
    (tmp_path / "shows.py").write_text(script, encoding="utf-8")
    run = [sys.executable, "-I", "-c", f"import sys; sys.modules['toise'] = None; exec(open({'shows.py'!r}).read())"]

    assert len(script.splitlines()) <= 20
    assert id in script.splitlines()[0]
    assert subprocess.run(run, cwd=tmp_path, capture_output=True, check=False).returncode == 1
    (tmp_path / "my_backend.py").write_text(RIGHT.replace("\n    ", "\n"), encoding="utf-8")
    mended = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert mended.returncode == 0, mended.stderr


def test_a_script_of_many_arrays_has_twenty_lines_at_most(toise, backend_file, tmp_path):
    """Multi-head attention takes the most, here on torch tensors with a mask."""
    path = backend_file("""
        import torch
        __toise__ = {"arrays": "torch"}
        def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
            return torch.zeros(q.shape)
    """)
    recipe = "multi_head_attention(n=2, m=3, d_model=2, h=1, d_k=2, d_v=1, mask='some', content='ramp')"
    script = toise("replay", recipe, path, "--requirement", "MHA-1", "--script").stdout
    (tmp_path / "shows.py").write_text(script, encoding="utf-8")
    shown = subprocess.run([sys.executable, "shows.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert len(script.splitlines()) <= 20
    assert shown.returncode == 1
    assert "AssertionError: value" in shown.stderr


def test_a_program_has_no_script(toise, tmp_path):
    """One line says why."""
    done = toise("replay", RECIPE, "--requirement", "LN-3", "--script", "--", sys.executable, "-c", "pass")

    assert done.returncode == 2


def test_a_corpus_is_tried_first(toise, reported, tmp_path):
    """A saved case is the first input of its requirement, at every dtype."""
    rare = RIGHT.replace("+ beta", "+ beta + (x.shape[-1] == 77)")
    assert reported(rare) == []
    case = Case("LN-1", "layer_norm", {"operation": "layer_norm", "version": 1, "d": 77, "content": "normal"})
    path = case.save(tmp_path / "corpus")

    assert read_case(path) == case
    assert reported(rare, "--corpus", "corpus") == ["LN-1"]
    assert reported(RIGHT, "--corpus", "corpus") == []


def test_a_failure_is_saved_as_a_case(toise, reported, tmp_path):
    """It says where it was found, and is replayed on any target."""
    reported(WRONG)
    done = toise("replay", "r.json:LN-3", "--save", "corpus")
    (case,) = read_corpus(tmp_path / "corpus")

    assert done.returncode == 1
    assert (case.requirement, case.found["target"]) == ("LN-3", "my_backend.py")
    assert toise("replay", next((tmp_path / "corpus").iterdir()), "reference").returncode == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no toise-case, or only a part of one"),
        ("{}", 'it has no "format": "toise-case"'),
        ('{"format": "toise-case", "version": 2}', "of version 2 of toise-case, and this Toise reads version 1"),
        ('{"format": "toise-case", "version": 1}', "does not fit the schema"),
    ],
)
def test_a_corpus_with_what_is_no_case_is_refused(toise, tmp_path, text, said):
    """Nothing is judged by a part of it."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.json").write_text(text, encoding="utf-8")
    done = toise("check", "reference", "--corpus", "corpus", "--budget", "smoke")

    assert done.returncode == 2
    assert said in done.stderr


def test_an_empty_corpus_is_refused(tmp_path):
    """A folder without a case is a mistake in its name."""
    with pytest.raises(TargetError, match=r"no \*\.json in it"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("operation", USUAL)
def test_a_recipe_reads_back_as_it_is_printed_and_written(operation):
    """For each operation."""
    recipe = USUAL[operation]

    assert recipe_from_text(str(recipe)) == recipe
    assert recipe_from_json(json.loads(json.dumps(recipe.as_json()))) == recipe
