"""The pytest plugin: the suite under pytest gives the verdicts of the command, and costs nothing elsewhere."""

import subprocess
import sys

from toise.engine import properties

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
