"""One case again: from a report, from a corpus, or as a report prints it; and as a script of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    program = (sys.executable, Path(__file__).parent.parent / "examples" / "program.py")
    done = toise("replay", RECIPE, "--requirement", "LN-3", "--dtype", "float64", "--", *program)
    script = toise("replay", RECIPE, "--requirement", "LN-3", "--dtype", "float64", "--script", "--", *program)

    assert done.returncode == 0, done.stderr
    assert (script.returncode, len(script.stderr.splitlines())) == (2, 1)
    assert "nothing fails there" in script.stderr


def test_a_program_that_fails_has_no_script(toise, tmp_path):
    """It is no Python."""
    program = tmp_path / "program.py"
    text = (Path(__file__).parent.parent / "examples" / "program.py").read_text(encoding="utf-8")
    assert "+ eps" in text
    program.write_text(text.replace("+ eps", "+ 2 * eps"), encoding="utf-8")
    done = toise("replay", RECIPE, "--requirement", "LN-3", "--dtype", "float64", "--script", "--", sys.executable, program)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "a program is no Python" in done.stderr


def forged(tmp_path, **changes):
    """Write a report whose failing row was changed, with all that follows from it."""
    body = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    row = next(row for row in body["reports"][0]["results"] if row["requirement"] == "LN-3")
    row.update({name: value for name, value in changes.items() if name != "recipe"})
    row["counterexample"]["recipe"].update(changes.get("recipe", {}))
    (tmp_path / "r.json").write_text(json.dumps(body), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"requirement": "ZZ-9"}, "has no requirement 'ZZ-9'"),
        ({"operation": "../../evil"}, "says nothing of '../../evil'"),
        ({"operation": "attention"}, "LN-3 says nothing of 'attention'"),
        ({"recipe": {"version": 9}}, "the recipe is of version 9"),
        ({"recipe": {"d": 10**6}}, "required: from 0 to"),
    ],
)
def test_a_forged_row_is_neither_tried_nor_saved(toise, reported, tmp_path, changes, said):
    """One line, exit 2, and no file anywhere."""
    reported(WRONG)
    forged(tmp_path, **changes)
    done = toise("replay", f"r.json:{changes.get('requirement', 'LN-3')}", "reference", "--save", "corpus")

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said in done.stderr
    assert not (tmp_path / "corpus").exists()


def test_a_report_does_not_decide_what_is_imported(toise, reported, tmp_path):
    """A module that it names is not loaded: the TARGET has to be named."""
    reported(WRONG)
    body = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    body["reports"][0]["target"] = "this"
    (tmp_path / "r.json").write_text(json.dumps(body), encoding="utf-8")
    done = toise("replay", "r.json:LN-3")

    assert (done.returncode, done.stdout) == (2, "")
    assert "name the TARGET" in done.stderr


def test_a_case_that_cannot_be_tried_is_not_saved(toise, tmp_path):
    """A corpus with it would end every run."""
    done = toise("replay", "layer_norm(d=0, content='normal')", "reference", "--requirement", "ln-3", "--save", "corpus")

    assert done.returncode == 2
    assert not (tmp_path / "corpus").exists()


def test_a_corpus_with_a_case_that_cannot_be_tried_is_refused(toise, tmp_path):
    """It says which, and the suite is not to blame."""
    Case("LN-3", "layer_norm", {"operation": "layer_norm", "version": 1, "d": 0, "content": "normal"}).save(tmp_path / "corpus")
    done = toise("check", "reference", "-k", "LN-3", "--budget", "smoke", "--corpus", "corpus")

    assert done.returncode == 2
    assert "the corpus has layer_norm(content='normal', d=0), on which it cannot be tried" in done.stderr


def test_a_replay_is_held_to_the_class_that_the_report_required(toise, backend_file):
    """What fails there under --require-class fails again."""
    path = backend_file("""
        import torch
        __toise__ = {"arrays": "torch", "dtypes": ["bfloat16"], "layer_norm": {"precision": {"bfloat16": "STEPWISE"}}}
        def layer_norm(x, gamma, beta, *, eps=1e-5):
            centred = x - x.mean(-1, keepdim=True)
            return gamma * (centred / (centred * centred).mean(-1, keepdim=True).add(eps).sqrt()) + beta
    """)
    toise("check", path, "--budget", "smoke", "-k", "LN-1", "--require-class", "FUSED", "--json", "r.json")

    assert toise("replay", "r.json:LN-1").returncode == 1


def test_of_several_targets_in_a_report_the_named_one_is_meant(toise, backend_file):
    """Else each choice is shown with its target."""
    paths = [backend_file(WRONG, f"{name}.py").name for name in ("one", "two")]
    toise("check", *paths, "--budget", "smoke", "-k", "LN-3", "--json", "r.json")
    done = toise("replay", "r.json:LN-3")

    assert "r.json:LN-3 one.py --operation layer_norm" in done.stderr
    assert toise("replay", "r.json:LN-3", "two.py").returncode == 1


def test_what_one_call_cannot_show_has_no_script(toise, backend_file, tmp_path):
    """A result that depends on the layout, for example: a script that shows nothing would look like a repair."""
    backend_file("""
        import numpy as np
        def layer_norm(x, gamma, beta, *, eps=1e-5):
            flat = np.ndarray(x.shape, x.dtype, np.ascontiguousarray(x) if x.flags.c_contiguous else np.ascontiguousarray(x.T))
            return gamma * (flat - flat.mean(-1, keepdims=True)) / np.sqrt(flat.var(-1, keepdims=True) + eps) + beta
    """)
    toise("check", "my_backend.py", "--budget", "smoke", "-k", "GEN-6 and layer_norm or GEN-6", "--json", "r.json")
    done = toise("replay", "r.json:GEN-6", "--operation", "layer_norm", "--script")

    assert (done.returncode, done.stdout) == (2, "")
    assert "no one call shows that" in done.stderr


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
