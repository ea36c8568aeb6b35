"""The files for CI: each fits its schema, does what it says when it is run, and runs nothing that stands in an input.

What GitHub, GitLab and pre-commit do with them is done here as far as it goes offline.  Toise is not installed anew, as
that asks a network; what the step would run is looked at instead.
"""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from toise.cli import toise as command

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["id"]: step for step in ACTION["runs"]["steps"]}
PAGES = {name: (ROOT / "docs" / "en" / "test" / name).read_text(encoding="utf-8") for name in ("ci.md", "baseline.md")}
SMOKE = "--budget smoke --operations layer_norm"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
SCHEMAS = {
    "action.yml": ["check-jsonschema", "--builtin-schema", "vendor.github-actions"],
    "examples/ci/github.yml": ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
    "examples/ci/gitlab.yml": ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci"],
    ".pre-commit-hooks.yaml": ["pre-commit", "validate-manifest"],
    "examples/ci/pre-commit.yaml": ["pre-commit", "validate-config"],
}
# One mistake for each file: a text of it, and what somebody might write in its place.
MISTAKES = {
    "action.yml": ("using: composite", "using: composed"),
    "examples/ci/github.yml": ("runs-on: ubuntu-latest", "run-on: ubuntu-latest"),
    "examples/ci/gitlab.yml": ("when: always", "when: ever"),
    ".pre-commit-hooks.yaml": ("pass_filenames: false", "pass_filenames: never"),
    "examples/ci/pre-commit.yaml": ("rev: v0.1.0", "version: v0.1.0"),
}


def executed(arguments, folder, **env):
    """Return what became of a command in a folder, with the scripts of this environment first on the path."""
    narrow = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        [*map(str, arguments)],
        cwd=folder,
        env={**narrow, "PATH": PATH, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture
def room(tmp_path):
    """Return a folder with the kernel of the page, one that is right, one that is empty, and a baseline without entries."""
    shutil.copy(ROOT / "examples" / "ci" / "my_kernel.py", tmp_path)
    right = (tmp_path / "my_kernel.py").read_text(encoding="utf-8").replace("x[..., : max(x.shape[-1] // 2 * 2, 1)]", "x")
    (tmp_path / "right.py").write_text(right, encoding="utf-8")
    (tmp_path / "empty.py").write_text("", encoding="utf-8")
    empty = {"format": "toise-baseline", "version": 1, "specification": "0.1", "entries": []}
    (tmp_path / "toise-baseline.json").write_text(json.dumps(empty), encoding="utf-8")
    return tmp_path


# --- They fit their schemas ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_fits_its_schema(name):
    """The one that its reader publishes, as it was vendored."""
    done = executed([*SCHEMAS[name], ROOT / name], ROOT)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_mistake_in_a_file_is_refused(name, tmp_path):
    """So that the test above can fail."""
    right, wrong = MISTAKES[name]
    text = (ROOT / name).read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "planted.yaml").write_text(text.replace(right, wrong), encoding="utf-8")

    assert executed([*SCHEMAS[name], tmp_path / "planted.yaml"], tmp_path).returncode == 1


# --- The action, as a runner of GitHub runs it --------------------------------------------------------


@dataclass
class Ran:
    """What a runner keeps of an action: for each step its outcome and its outputs, and what all of them wrote."""

    outcomes: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    log: str = ""
    summary: str = ""

    @property
    def red(self):
        """Whether the action failed."""
        return "failure" in self.outcomes.values()


def filled(text, context):
    """Return a text with its expressions replaced, as GitHub does in a script too."""
    return EXPRESSION.sub(lambda match: context[match[1]], text)


def wanted(step, ran):
    """Tell whether a step is run: without a status function in its condition, only if no step before it failed."""
    terms = [term.strip() for term in step.get("if", "").split("&&") if term.strip()]
    if "always()" not in terms and ran.red:
        return False
    for term in terms:
        if term != "always()":
            name, value = re.fullmatch(r"steps\.(\w+)\.outcome != '(\w+)'", term).groups()
            if ran.outcomes[name] == value:
                return False
    return True


def stubbed(folder, name, script):
    """Put a script in the place of a command, and return the path on which it comes first.

    It keeps its arguments: those of the last call, one a line, in `NAME.txt`.
    """
    bin = folder / f".{name}"
    bin.mkdir(exist_ok=True)
    (bin / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{folder}/{name}.txt"\n{script}\n', encoding="utf-8")
    (bin / name).chmod(0o755)
    return f"{bin}{os.pathsep}{PATH}"


def act(folder, pip="exit 0", path=PATH, **given):
    """Run the steps of the action with inputs; `python -m pip` of the first one is a stub that keeps its arguments."""
    assert given.keys() <= ACTION["inputs"].keys()
    paths = {"install": stubbed(folder, "python", pip)}
    context = {f"inputs.{name}": given.get(name, told["default"]) for name, told in ACTION["inputs"].items()}
    context["github.action_path"] = str(ROOT)
    ran = Ran()
    for id, step in STEPS.items():
        assert step["shell"] == "bash"
        assert not {"uses", "continue-on-error", "working-directory"} & step.keys()
        context[f"steps.{id}.outputs.exit-status"] = ""
        if not wanted(step, ran):
            ran.outcomes[id] = "skipped"
            continue
        files = {name: folder / f".{name}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("", encoding="utf-8")
        (folder / ".step.sh").write_text(filled(step["run"], context), encoding="utf-8")
        env = {name: filled(value, context) for name, value in step["env"].items()} | {n: str(f) for n, f in files.items()}
        env["PATH"] = paths.get(id, path)
        done = executed(["bash", "--noprofile", "--norc", "-eo", "pipefail", folder / ".step.sh"], folder, **env)
        ran.outcomes[id] = "failure" if done.returncode else "success"
        ran.log += done.stdout
        ran.summary += files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        for line in files["GITHUB_OUTPUT"].read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            context[f"steps.{id}.outputs.{name}"] = value
    ran.outputs = {name: filled(told["value"], context) for name, told in ACTION["outputs"].items()}
    return ran


def lines_of(path):
    """Return the lines of a file."""
    return path.read_text(encoding="utf-8").splitlines()


def annotations(ran, kind="error"):
    """Return the workflow commands of a kind that the action printed."""
    return re.findall(rf"^::{kind} .*$", ran.log, re.MULTILINE)


def test_a_target_that_passes_is_green_and_shown(room):
    """The summary has the verdict, no annotation complains, and the SARIF file is asked for."""
    ran = act(room, target="right.py", arguments=SMOKE, baseline="toise-baseline.json", sarif="toise.sarif", extras="torch")

    assert ran.outcomes == {"install": "success", "judge": "success", "show": "success"}
    assert ran.outputs == {"report": "toise-report.json", "exit-status": "0"}
    assert "**PASSED**" in ran.summary
    assert annotations(ran) == []
    assert json.loads((room / "toise.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"
    assert json.loads((room / "toise-report.json").read_text(encoding="utf-8"))["reports"][0]["passed"]
    assert lines_of(room / "python.txt")[-1] == f"{ROOT}[torch]"


def test_a_target_that_fails_is_red_and_shown_all_the_same(room):
    """Each failure is an annotation at the line of the operation; arguments are read as a shell reads quotes."""
    (room / "kept").mkdir()
    ran = act(room, target="my_kernel.py", arguments=f"{SMOKE} -k 'LN-3 or LN-4'", report="kept/report.json")

    assert ran.outcomes == {"install": "success", "judge": "failure", "show": "success"}
    assert ran.outputs == {"report": "kept/report.json", "exit-status": "1"}
    assert "**NOT PASSED**" in ran.summary
    assert "LN-3" in ran.summary
    (error,) = annotations(ran)
    assert error.startswith("::error file=my_kernel.py,line=6,title=FAIL LN-3")
    assert lines_of(room / "python.txt")[-1] == str(ROOT)


def test_several_targets_are_judged_in_one_run(room):
    """They are separated by spaces, and the worst counts."""
    ran = act(room, target="right.py my_kernel.py", arguments=f"{SMOKE} -k LN-3")

    assert ran.outputs["exit-status"] == "1"
    assert "right.py" in ran.summary
    assert "my&#95;kernel.py" in ran.summary


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"target": "no_such.py"}, "no_such.py: no such file"),
        ({"target": "empty.py"}, "provides none of the operations"),
        ({}, "name a TARGET"),
    ],
)
def test_what_cannot_be_judged_is_red_and_said(room, given, why):
    """Also where the report of an earlier run lies in the way: it is not shown as if it were that of this one."""
    (room / "toise-report.json").write_text("the report of another run", encoding="utf-8")
    ran = act(room, **given)

    assert ran.outcomes == {"install": "success", "judge": "failure", "show": "failure"}
    assert ran.outputs["exit-status"] == "2"
    assert why in ran.log
    assert len(annotations(ran)) == 2
    assert "No verdict: toise ended with exit status 2" in ran.summary
    assert "There is no report to show" in ran.summary


def test_arguments_that_cannot_be_read_are_red_and_said(room):
    """A quote that is never closed."""
    ran = act(room, target="right.py", arguments="-k 'LN-3")

    assert ran.outcomes["judge"] == "failure"
    assert ran.outputs["exit-status"] == ""
    assert "No closing quotation" in ran.log
    assert "No verdict: toise ended with exit status unknown" in ran.summary


def test_a_run_that_is_cut_short_is_no_verdict(room):
    """The target ends the process with status 0, as if all were well."""
    text = (room / "right.py").read_text(encoding="utf-8")
    (room / "ends.py").write_text(text.replace("    blocks", "    __import__('os')._exit(0)\n    blocks"), encoding="utf-8")
    ran = act(room, target="ends.py", arguments=SMOKE)

    assert ran.outcomes == {"install": "success", "judge": "failure", "show": "success"}
    assert "INCOMPLETE" in ran.summary
    assert "INCOMPLETE" in annotations(ran)[0]


@pytest.mark.parametrize("status", [3, 130])
def test_a_failure_of_toise_itself_is_red_and_said(room, status):
    """Also where a report that looks right stands there."""
    path = stubbed(room, "toise", f'[ "$1" = report ] || {{ echo "{{}}" > toise-report.json; exit {status}; }}')
    ran = act(room, path=path, target="right.py")

    assert ran.outcomes["judge"] == "failure"
    assert ran.outputs["exit-status"] == str(status)
    assert annotations(ran) == [f"::error title=toise::No verdict: toise ended with exit status {status}, and its log says why."]
    assert f"No verdict: toise ended with exit status {status}" in ran.summary


def test_a_report_that_went_elsewhere_is_never_green(room):
    """Where the arguments name another file there is nothing to show, though the target passes."""
    ran = act(room, target="right.py", arguments=f"{SMOKE} -k LN-3 --json other.json")

    assert ran.outcomes == {"install": "success", "judge": "success", "show": "failure"}
    assert "There is no report to show" in ran.summary


def test_where_toise_cannot_be_installed_nothing_else_is_run(room):
    """The job is red, and an earlier report is not shown."""
    ran = act(room, pip="exit 1", target="right.py")

    assert ran.outcomes == {"install": "failure", "judge": "skipped", "show": "skipped"}


@pytest.mark.parametrize("name", ACTION["inputs"])
def test_what_stands_in_an_input_is_not_run(room, name):
    """Whatever quotes or substitutions it has."""
    path = stubbed(room, "toise", "exit 0")
    for evil in (
        "x; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        '"; touch pwned; "',
        "x' && touch pwned #",
        "x\ntouch pwned",
    ):
        act(room, path=path, **{"target": "right.py", "sarif": "toise.sarif", name: evil})

        assert not (room / "pwned").exists(), evil


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ({"target": "a.py  torch"}, ["check", "--json", "r.json", "a.py", "torch"]),
        ({"target": "'my kernel.py'"}, ["check", "--json", "r.json", "my kernel.py"]),
        (
            {"target": "a.py", "arguments": "-k 'LN-3 or LN-4' *"},
            ["check", "--json", "r.json", "a.py", "-k", "LN-3 or LN-4", "*"],
        ),
        ({"arguments": "--isolate\n-- ./program $HOME"}, ["check", "--json", "r.json", "--isolate", "--", "./program", "$HOME"]),
        ({"target": "a.py", "baseline": "my known.json"}, ["check", "--json", "r.json", "--baseline", "my known.json", "a.py"]),
        ({"merge": "1.json 2.json", "baseline": "b.json", "target": "a.py"}, ["merge", "--json", "r.json", "1.json", "2.json"]),
    ],
)
def test_words_reach_the_command_as_they_were_quoted(room, given, passed):
    """Words are split at spaces and lines, and nothing is expanded."""
    act(room, path=stubbed(room, "toise", '[ "$1" = report ] || cp toise.txt said.txt'), report="r.json", **given)

    assert lines_of(room / "said.txt") == passed


def test_no_script_has_an_expression_in_it():
    """An input that is put into the text of a script would be run as a part of it."""
    for id, step in STEPS.items():
        assert not EXPRESSION.search(step["run"]), id


# --- The workflow for GitHub --------------------------------------------------------------------------


def test_the_workflow_of_the_page_judges_in_shards_and_gives_one_verdict(room):
    """Three jobs judge a third each, the last one puts them together; all are red, and the alerts are written."""
    jobs = yaml.safe_load((ROOT / "examples" / "ci" / "github.yml").read_text(encoding="utf-8"))["jobs"]
    kept = set()
    for shard in map(str, jobs["judge"]["strategy"]["matrix"]["shard"]):
        (given,) = [step["with"] for step in jobs["judge"]["steps"] if step["uses"].startswith("OWNER/toise@")]
        given = {name: filled(value, {"matrix.shard": shard}) for name, value in given.items()}
        given["arguments"] = given["arguments"].replace("-n auto", SMOKE)
        ran = act(room, **given)
        assert ran.red
        assert f"SHARD {shard}/3" in ran.summary
        kept |= {filled(path, {"matrix.shard": shard}) for path in uploaded(jobs["judge"])}
    (given,) = [step["with"] for step in jobs["verdict"]["steps"] if step["uses"].startswith("OWNER/toise@")]
    assert (jobs["verdict"]["needs"], jobs["verdict"]["if"]) == ("judge", "${{ !cancelled() }}")
    ran = act(room, **given)

    assert kept == set(given["merge"].split())
    assert ran.outcomes == {"install": "success", "judge": "failure", "show": "success"}
    assert ran.outputs["exit-status"] == "1"
    assert "**NOT PASSED**" in ran.summary
    assert len(annotations(ran)) == 7
    for path in uploaded(jobs["verdict"]):
        assert (room / path).exists(), path


def uploaded(job):
    """Return the files that a job keeps, whatever its verdict."""
    steps = [step for step in job["steps"] if "upload" in step["uses"]]
    assert {step["if"] for step in steps} == {"always()"}
    return [step["with"].get("path") or step["with"]["sarif_file"] for step in steps]


# --- The jobs for GitLab ------------------------------------------------------------------------------


GITLAB = yaml.safe_load((ROOT / "examples" / "ci" / "gitlab.yml").read_text(encoding="utf-8"))


def test_the_jobs_for_gitlab_judge_in_shards_and_give_one_verdict(room):
    """The lines of a script run in one shell, which ends at the first that fails; the artifacts are there all the same."""
    total = GITLAB["judge"]["parallel"]
    (line,) = GITLAB["judge"]["script"]
    assert "my_kernel.py" in line
    for index in range(1, total + 1):
        node = {"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(total)}
        done = sourced([line.replace("my_kernel.py", f"my_kernel.py {SMOKE}")], room, **node)
        (path,) = GITLAB["judge"]["artifacts"]["paths"]
        assert done.returncode == 1
        assert (room / path.replace("$CI_NODE_INDEX", str(index))).exists(), done.stdout
    done = sourced(GITLAB["verdict"]["script"], room)

    assert done.returncode == 1, done.stdout
    for path in [*GITLAB["verdict"]["artifacts"]["paths"], GITLAB["verdict"]["artifacts"]["reports"]["junit"]]:
        assert (room / path).exists(), path


@pytest.mark.parametrize("status", [0, 1, 2, 3, 130])
def test_the_last_job_for_gitlab_ends_as_the_merge_does(room, status):
    """Whatever is made of the report after it; a command stands in the place of Toise."""
    path = stubbed(room, "toise", f'[ "$1" = report ] || exit {status}')

    assert sourced(GITLAB["verdict"]["script"], room, PATH=path).returncode == status


@pytest.mark.parametrize("job", ["judge", "verdict"])
def test_the_jobs_for_gitlab_keep_what_they_wrote_whatever_the_verdict(job):
    """And the last one waits for the others, also if they failed."""
    assert GITLAB[job]["artifacts"]["when"] == "always"
    assert GITLAB["verdict"]["needs"] == ["judge"]
    assert GITLAB["verdict"]["when"] == "always"


def test_a_lost_shard_is_no_verdict_on_gitlab(room):
    """The last job ends with 2, and nothing is shown for a verdict."""
    done = sourced(GITLAB["verdict"]["script"], room)

    assert done.returncode == 2, done.stdout
    assert not (room / "toise-junit.xml").exists()


def sourced(lines, folder, **env):
    """Run the lines of a script as GitLab's runner does."""
    return executed(["bash", "-eo", "pipefail", "-c", "\n".join(lines)], folder, **env)


# --- The hook of pre-commit ---------------------------------------------------------------------------


def test_the_hook_judges_the_target_when_its_file_is_part_of_the_commit(room):
    """With pre-commit itself; the environment that it would make is the one of these tests."""
    (manifest,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    ((given,),) = [
        each["hooks"] for each in yaml.safe_load((ROOT / "examples/ci/pre-commit.yaml").read_text(encoding="utf-8"))["repos"]
    ]
    assert manifest["language"] == "python"
    assert given["id"] == manifest["id"]
    hook = {**manifest, **given, "language": "system", "args": [*given["args"], "--operations", "layer_norm"]}
    del hook["additional_dependencies"]
    config = {"repos": [{"repo": "local", "hooks": [hook]}]}
    (room / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    home = {"PRE_COMMIT_HOME": str(room / ".home"), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    assert executed(["git", "init", "-q"], room, **home).returncode == 0
    assert executed(["git", "add", "my_kernel.py", "right.py"], room, **home).returncode == 0

    def hooked(*files):
        return executed(["pre-commit", "run", "--files", *files], room, **home)

    failed = hooked("my_kernel.py", "right.py")
    assert failed.returncode == 1, failed.stdout
    assert "NOT PASSED  7 FAIL" in failed.stdout
    assert "budget smoke" in failed.stdout
    assert "right.py" not in failed.stdout
    assert "Skipped" in hooked("right.py").stdout

    (room / "my_kernel.py").write_text((room / "right.py").read_text(encoding="utf-8"), encoding="utf-8")
    executed(["git", "add", "my_kernel.py"], room, **home)
    passed = hooked("my_kernel.py")
    assert passed.returncode == 0, passed.stdout
    assert "Passed" in passed.stdout


# --- The pages ----------------------------------------------------------------------------------------


SAID = {
    "ci.md": (
        "7 known failures",
        "wrote corpus/",
        "import numpy",
        "NO WORSE",
        "a part of a run gives no verdict",
        '"schemaVersion": 1',
        "only a part of one",
        "this Toise reads version 1",
        "the file was changed",
    ),
    "baseline.md": (
        "7 known failures",
        "not searched further",
        "NOT PASSED  7 XPASS",
        "taken out: LN-1",
        "elsewhere PASS",
        "expired on 2026-01-31",
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_the_page_end_as_it_says(monkeypatch, name):
    """Each is run by a cell, which fails if the exit status is another one; what the text tells of them is looked for."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    told = io.StringIO()
    names = {}
    for cell in re.findall(r'^```python exec="true".*?\n(.*?)^```$', PAGES[name], re.MULTILINE | re.DOTALL):
        with contextlib.redirect_stdout(told):
            exec(cell, names)  # noqa: S102 - as the site does
    output = told.getvalue()

    for text in SAID[name]:
        assert text in output, text


@pytest.mark.parametrize("name", PAGES)
def test_no_command_and_no_output_of_the_page_is_typed_by_hand(name):
    """What stands in a fence is a file of the tree, or a cell; tests/test_plugin.py does what the one for pytest says."""
    for fence in re.findall(r"^```(.*?)\n(.*?)^```$", PAGES[name], re.MULTILINE | re.DOTALL):
        head, body = fence
        assert 'exec="true"' in head or re.fullmatch(r'--8<-- "[\w./-]+"\n', body) or body.startswith("pytest -d --tx ssh="), body


def test_every_command_and_flag_that_the_text_mentions_exists():
    """In the prose of the pages, and in the descriptions of the action."""
    text = "".join(PAGES.values()) + (ROOT / "action.yml").read_text(encoding="utf-8")
    flags = {name for each in command.commands.values() for name in options(each)} | {"--tx"}  # that is of pytest-xdist
    for code in re.findall(r"`(toise [^`\n]+)`", text):
        _, name, *rest = shlex.split(code)
        assert name in command.commands, code
        assert {part for part in rest if part.startswith("--")} <= options(command.commands[name]), code
    for code in re.findall(r"`(--[a-z-]+)[^`\n]*`", text):
        assert code in flags, code


def options(each):
    """Return the options of a command, and those of its own commands."""
    own = {name for parameter in each.params for name in parameter.opts if name.startswith("--")}
    return own.union(*(options(inner) for inner in getattr(each, "commands", {}).values()))
