"""Backends that have a name: what each needs, what other packages bring, and many of them in one command."""

import json
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import toise as package
from toise import backends
from toise.backends import ADAPTERS, Adapter
from toise.errors import TargetError, Unavailable, Unsupported
from toise.overview import Cell, lines
from toise.report import Row
from toise.targets import load

EXAMPLE = Path(__file__).parent.parent / "examples" / "package"
SMOKE = ("--budget", "smoke", "-k", "LN-1 or ATT-1 or CAU-2")


@pytest.fixture
def adapter(monkeypatch):
    """Return a function that puts an adapter into the table, under the name `mine`."""

    def put(thing, **needs):
        monkeypatch.setitem(ADAPTERS, "mine", Adapter(thing, "a test", **needs))
        return "mine"

    return put


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the folder into which the example package is installed."""
    folder = tmp_path_factory.mktemp("installed")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--target")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(folder), str(EXAMPLE)], check=True)
    return folder


def test_a_library_that_is_missing_is_named_with_what_to_install(adapter):
    """Nothing is imported to find that out."""
    with pytest.raises(Unavailable) as caught:
        load(adapter("nowhere", extra="ghost", packages={"no-such-distribution": "1.0"}))

    assert str(caught.value) == "mine: not installed: pip install 'toise[ghost]'"


def test_a_library_that_is_too_old_is_named_with_what_is_required(adapter):
    """The version that is there is told."""
    with pytest.raises(Unavailable) as caught:
        load(adapter("nowhere", extra="numpy", packages={"numpy": "99.1"}))

    message = str(caught.value)
    assert message.startswith("mine: too old: numpy ")
    assert message.endswith("; required: 99.1 or later: pip install 'toise[numpy]'")


@pytest.mark.parametrize("version", ["2.13.0+cpu", "2.5", "2.5.0rc1", "3.0.dev20260101"])
def test_a_version_with_a_suffix_is_read(monkeypatch, version):
    """A release candidate of what is required is taken."""
    monkeypatch.setattr(backends, "installed", lambda package: version)

    assert Adapter("reference", "", packages={"any": "2.5"}).missing() == ""


def test_a_version_that_is_no_number_is_too_old(monkeypatch):
    """Nobody can tell what it is."""
    monkeypatch.setattr(backends, "installed", lambda package: "made at home")

    assert Adapter("reference", "", packages={"any": "2.5"}).missing().startswith("too old: any made at home")


def test_a_library_that_breaks_when_it_is_asked_is_not_available(adapter):
    """As a torch that cannot be imported, asked for a CUDA device."""
    with pytest.raises(Unavailable, match=r"^mine: cannot be imported: ZeroDivisionError"):
        load(adapter("reference", needs=lambda: 1 / 0))


def test_a_library_that_cannot_be_imported_is_named_with_its_error(adapter):
    """Whatever the import raises is the reason."""
    with pytest.raises(Unavailable, match=r"^mine: cannot be imported: ModuleNotFoundError"):
        load(adapter("nowhere"))


def test_what_else_is_needed_is_told(adapter):
    """As a CUDA device, or a compiler."""
    with pytest.raises(Unavailable, match=r"^mine: needs a moon$"):
        load(adapter("reference", needs=lambda: "needs a moon"))


def test_verify_refuses_what_cannot_be_had(adapter):
    """As a TargetError, like any target that cannot be used."""
    with pytest.raises(TargetError, match=r"^mine: needs a moon$"):
        package.verify(adapter("reference", needs=lambda: "needs a moon"))


def test_without_a_cuda_device_its_backends_say_so():
    """The reason is the same in the list and in the refusal."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")

    assert ADAPTERS["torch-sdpa-cudnn"].missing() == "needs a CUDA device"


def test_a_compiler_is_looked_for(monkeypatch):
    """The reason names one."""
    monkeypatch.setattr(backends.shutil, "which", lambda name: None)

    assert backends.compiler() == "needs a C++ compiler, such as g++"


def test_every_adapter_is_a_file_and_needs_an_extra_that_exists():
    """And what the extra installs is no older than what the adapter needs."""
    import tomllib

    extras = tomllib.loads((EXAMPLE.parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for name, adapter in ADAPTERS.items():
        module = adapter.thing.partition(":")[0]
        assert (Path(backends.__file__).parent / f"{module}.py").is_file(), name
        for distribution, least in adapter.packages.items():
            listed = [*extras[adapter.extra], *extras["torch"], *extras["jax"], *extras["onnx"]]
            assert any(each.split(";")[0].replace("[cpu]", "").strip() == f"{distribution}>={least}" for each in listed), name


def test_the_list_says_of_each_whether_it_can_be_had(toise):
    """One line for each, and none is left out."""
    done = toise("backends")

    assert done.returncode == 0
    assert all(any(line.split()[:1] == [name] for line in done.stdout.splitlines()) for name in ADAPTERS)
    assert "available, torch" in done.stdout


def test_the_only_target_that_cannot_be_had_is_exit_2(toise):
    """With one line."""
    done = toise("check", "mlxx")

    assert done.returncode == 2
    assert done.stderr.strip().endswith("did you mean mlx?")


@pytest.mark.parametrize("isolated", [False, True])
def test_a_target_that_cannot_be_had_does_not_stop_the_others(toise, tmp_path, isolated):
    """It is NOT AVAILABLE, with the reason, on the terminal and in both reports; the others decide."""
    if load("torch") and not ADAPTERS["torch-sdpa-cudnn"].missing():
        pytest.skip("there is a CUDA device")
    flags = ("--isolate",) if isolated else ()
    files = ("--json", tmp_path / "report.json", "--junitxml", tmp_path / "report.xml")

    done = toise("check", "reference", "torch-sdpa-cudnn", *SMOKE, *flags, *files)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT AVAILABLE  torch-sdpa-cudnn: needs a CUDA device" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["unavailable"] == {"torch-sdpa-cudnn": "needs a CUDA device"}
    assert [each["target"] for each in report["reports"]] == ["reference"]
    suites = {suite.get("name"): suite for suite in ET.parse(tmp_path / "report.xml").getroot()}
    assert suites["torch-sdpa-cudnn"].find("testcase/skipped").get("message") == "NOT AVAILABLE: needs a CUDA device"
    alone = toise("check", "torch-sdpa-cudnn", *SMOKE, *flags)
    assert (alone.returncode, alone.stderr) == (2, "toise: torch-sdpa-cudnn: needs a CUDA device\n")


def test_a_file_that_cannot_be_used_stops_all(toise, backend_file):
    """A mistake of the user's is not green for the sake of the others."""
    done = toise("check", "reference", backend_file("import nothing_of_that_name\n"), *SMOKE)

    assert done.returncode == 2
    assert "nothing_of_that_name" in done.stderr


def test_a_narrow_terminal_has_the_matrix_in_parts():
    """No line is wider than it, and every concept is there."""
    from io import StringIO

    from rich.console import Console
    from toise import verify
    from toise.terminal import OVERVIEW_LEGEND, print_overview

    reports = [verify(target, operations=["causal_mask"], budget="smoke") for target in ("reference", "torch")]
    written = StringIO()
    print_overview(reports, {}, Console(file=written, width=60))
    matrix = written.getvalue().partition(OVERVIEW_LEGEND)[0].splitlines()

    assert max(map(len, matrix)) <= 60
    assert matrix.count("reference") == matrix.count("torch") > 0


def test_several_targets_make_one_matrix(toise, backend_file):
    """A line for each dtype, under the name of its target; the failure of one stands in its own cell."""
    wrong = backend_file(
        """
        import numpy as np
        __toise__ = {"dtypes": ["float32"]}
        def layer_norm(x, gamma, beta, *, eps=1e-5):
            return x
        """
    )

    done = toise("check", "reference", wrong, *SMOKE)

    assert done.returncode == 1
    matrix = done.stdout[done.stdout.index("attention  layer") :]
    assert matrix.splitlines() == [
        "attention  layer     causal",
        "                           norm      mask",
        "reference",
        "  float32  cpu  PASS 1/1   PASS 1/1  PASS 1/1",
        "  float64  cpu  PASS 1/1   PASS 1/1  PASS 1/1",
        str(wrong),
        "  float32  cpu  -          FAIL 1/1  -",
        matrix.splitlines()[-1],
    ]
    assert "FAIL 2/31: 2 of 31 fail" in matrix


def row(requirement="LN-1", outcome="PASS", dtype="float32", operation="layer_norm", **more):
    """Return a row with this outcome."""
    told = {"level": "MUST", "sentence": "", "test": "", "device": "cpu", "precision": "STRICT", **more}
    return Row(requirement=requirement, operation=operation, dtype=dtype, outcome=outcome, **told)


def test_a_cell_has_the_worst_outcome_and_its_count():
    """What is NOT APPLICABLE does not count; what the selection leaves out is not there."""
    rows = [row(), row("LN-2", "FAIL"), row("LN-3", "NOT PROVIDED"), row("GEN-6", "NOT APPLICABLE")]
    rows.append(row("LN-4", "NOT RUN", reason="excluded by the selection"))

    (line,) = lines(rows)

    assert line.cells == {"layer_norm": Cell("FAIL", 1, 3)}
    assert str(line.cells["layer_norm"]) == "FAIL 1/3"


def test_what_is_not_provided_is_no_pass():
    """A dash, whatever else is not applicable."""
    (line,) = lines([row(outcome="NOT PROVIDED"), row("GEN-6", "NOT APPLICABLE")])

    assert str(line.cells["layer_norm"]) == "-"


def test_a_requirement_of_a_concept_counts_there_whatever_operation_it_is_judged_on():
    """CAU-14 is about the causal mask, and is judged on attention; what has no floats counts for each dtype."""
    rows = [
        row("CAU-14", operation="attention"),
        row("ATT-1", "FAIL", operation="attention", dtype="bfloat16"),
        row("CAU-1", operation="causal_mask", dtype="bool"),
    ]

    single, half = lines(rows)

    assert single.cells == {"causal_mask": Cell("PASS", 2, 2)}
    assert half.cells == {"attention": Cell("FAIL", 1, 1), "causal_mask": Cell("PASS", 1, 1)}


def test_a_report_of_truth_values_alone_has_a_line():
    """Of their own dtype."""
    (line,) = lines([row("CAU-1", operation="causal_mask", dtype="bool")])

    assert line.dtype == "bool"


def test_a_package_brings_its_backend(toise, installed, monkeypatch):
    """Once it is installed it has a name, and is judged and listed like any other."""
    monkeypatch.setenv("PYTHONPATH", str(installed))

    listed, judged = toise("backends"), toise("check", "my-kernels", "--budget", "smoke")

    assert any(
        line.split()[0] == "my-kernels" and line.rstrip().endswith("installed") for line in listed.stdout.splitlines() if line
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert judged.stdout.startswith("my-kernels · my_kernels 1.0 · numpy arrays on cpu\n")
    assert " PASS" in judged.stdout


def test_a_package_whose_import_fails_is_not_available(toise, installed, monkeypatch, tmp_path):
    """Exit 2 if it is alone, and the others go on if not."""
    (tmp_path / "my_kernels.py").write_text("raise RuntimeError('no such kernel')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{installed}")

    alone, beside = toise("check", "my-kernels"), toise("check", "my-kernels", "reference", *SMOKE)

    assert (alone.returncode, alone.stderr) == (2, "toise: my-kernels: cannot be imported: RuntimeError: no such kernel\n")
    assert beside.returncode == 0
    assert "NOT AVAILABLE  my-kernels: cannot be imported: RuntimeError: no such kernel" in beside.stdout


def test_declarations_may_depend_on_the_device():
    """`__toise__` is a function of the device that the user names, or of None."""
    asked = []

    def declared(device):
        asked.append(device)
        return {"name": f"on {device}", "dtypes": ["float64"]}

    target = load({"layer_norm": len, "__toise__": declared}, device="cpu")

    assert asked == ["cpu"]
    assert target.declarations.name == "on cpu"
    assert load({"layer_norm": len, "__toise__": declared}).declarations.name == "on None"


def test_declarations_that_raise_are_refused():
    """With one line."""
    with pytest.raises(TargetError, match=r"^mapping: __toise__ cannot be had: ZeroDivisionError: division by zero$"):
        load({"layer_norm": len, "__toise__": lambda device: 1 / 0})


def test_what_holds_in_part_has_a_star():
    """The reason stands in the report of the target alone."""
    (line,) = lines([row(reason="in part: no such option"), row("LN-2")])

    assert str(line.cells["layer_norm"]) == "PASS* 2/2"


@pytest.fixture
def entries(monkeypatch):
    """Return a function that has packages bring these backends, as pairs of a name and a module."""

    def bring(*pairs):
        found = [metadata.EntryPoint(name, value, backends.GROUP) for name, value in pairs]
        monkeypatch.setattr(backends.metadata, "entry_points", lambda group: found)
        backends.brought_along.cache_clear()

    yield bring
    monkeypatch.undo()
    backends.brought_along.cache_clear()


def test_a_name_that_two_packages_bring_is_refused_where_it_is_asked_for(entries):
    """And nowhere else."""
    entries(("twice", "toise_reference"), ("twice", "elsewhere"), ("once", "toise_reference"))

    with pytest.raises(Unavailable, match=r"^twice: is brought along by 2 packages, as toise_reference and elsewhere"):
        load("twice")
    assert load("once").operations
    assert load("reference").operations


def test_a_package_cannot_take_the_name_of_an_adapter(entries):
    """What torch means does not depend on what is installed."""
    entries(("reference", "elsewhere"))

    assert load("reference").declarations.name == "toise_reference"
    assert backends.brought_along() == {}


RIGHT = """
    import toise_reference

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return toise_reference.layer_norm(x, gamma, beta, eps=eps)
"""


def test_a_crash_among_several_targets_leaves_no_green_file(toise, backend_file, tmp_path):
    """What was not judged stands in both files, and not as well."""
    crash = backend_file("import os\n\ndef layer_norm(x, gamma, beta, *, eps=1e-5):\n    os.abort()\n", "crash.py")
    files = ("--json", tmp_path / "report.json", "--junitxml", tmp_path / "report.xml")

    done = toise("check", backend_file(RIGHT), crash, "reference", *SMOKE, *files)

    assert done.returncode == 1
    reports = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["reports"]
    assert [each["complete"] for each in reports] == [True, False, False]
    assert [each["passed"] for each in reports] == [True, False, False]
    suites = list(ET.parse(tmp_path / "report.xml").getroot())
    assert [suite.get("errors") for suite in suites] == ["0", "1", "1"]


def test_of_several_targets_the_worst_counts(toise, backend_file):
    """A failure weighs more than a target that provides nothing."""
    wrong = backend_file("def layer_norm(x, gamma, beta, *, eps=1e-5):\n    return x\n", "wrong.py")
    lacking = backend_file("def feed_forward(x, w1, b1, w2, b2):\n    return x\n", "lacking.py")
    only = ("--budget", "smoke", "-k", "LN-1")

    assert toise("check", lacking, *only).returncode == 2
    assert toise("check", lacking, wrong, *only).returncode == 1
    assert toise("check", lacking, backend_file(RIGHT), *only).returncode == 2


def test_what_is_not_judged_yet_is_told(toise, backend_file):
    """After Ctrl-C, in the matrix: a backend that interrupts the run stands for it."""
    interrupting = backend_file(
        """
        import os, signal, time
        def layer_norm(x, gamma, beta, *, eps=1e-5):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        """
    )

    done = toise("check", interrupting, "reference", *SMOKE)

    assert done.returncode == 130, done.stdout + done.stderr
    assert "reference  NOT JUDGED" in done.stdout


def test_the_two_files_are_not_one(toise, tmp_path):
    """The second would be written over the first."""
    done = toise("check", "reference", "--json", tmp_path / "one", "--junitxml", tmp_path / "one")

    assert done.returncode == 2
    assert "name the same file" in done.stderr


def test_a_package_says_that_it_cannot_be_had_on_a_device(entries, monkeypatch):
    """By what `__toise__` raises."""
    module = types.ModuleType("mine_on_a_moon")

    def declared(device):
        raise Unsupported("needs a moon")

    module.layer_norm, module.__toise__ = len, declared
    monkeypatch.setitem(sys.modules, "mine_on_a_moon", module)
    entries(("moon", "mine_on_a_moon"))

    with pytest.raises(Unavailable, match=r"^moon: needs a moon$"):
        load("moon")
    with pytest.raises(TargetError, match=r"^mine_on_a_moon: needs a moon$"):
        load(module)
