"""Everything that is checked before a change lands: `nox` runs all of it, `nox -s NAME` runs one session."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent
SOURCES = ("spec", "reference", "conformance")
PINNED = ("-c", str(ROOT / "constraints.txt"))
LIBRARIES = ("torch", "jax", "flax", "equinox", "keras", "onnx", "onnxruntime", "mlx", "transformers")
OLDEST = ("numpy==2.0.*", "hypothesis==6.131.*", "pytest==8.2.*", "click==8.1.*", "rich==13.7.*")


@nox.session
def tests(session: nox.Session) -> None:
    """Run Toise's own tests; arguments after `--` go to pytest."""
    session.install(*PINNED, ".[test]")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session(name="tests-newest", default=False)
def tests_newest(session: nox.Session) -> None:
    """Run the tests with the newest release of every dependency."""
    session.install(".[test]")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session(name="tests-oldest", default=False)
def tests_oldest(session: nox.Session) -> None:
    """Run the tests with the oldest supported release of every dependency of the package."""
    session.install(".[test]", *OLDEST)
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def backends(session: nox.Session) -> None:
    """Judge the reference and torch in full, the lighter libraries at the smallest budget, and test their adapters."""
    session.install(*PINNED, ".[test,onnxruntime,mlx]")
    judge = ("python", str(ROOT / "benchmarks" / "conformance.py"), "-n", "2")
    session.run(*judge, "reference", "torch")
    session.run(*judge, "onnx-reference", "onnxruntime", "mlx", "--budget", "smoke")
    session.run("pytest", "-n", "2", "tests/test_backends_onnx.py", "tests/test_backends_mlx.py", "tests/test_findings.py")


@nox.session(default=False)
def conformance(session: nox.Session) -> None:
    """Judge every backend that has a name, write the results that the site shows, and hold what is broken to the findings."""
    session.install(*PINNED, f".[test,{','.join(LIBRARIES)}]")
    results = ROOT / "docs" / "results" / "conformance_cpu.json"
    session.run("python", str(ROOT / "benchmarks" / "conformance.py"), "-n", "2", "--json", str(results), *session.posargs)
    session.run("pytest", "-n", "2", *map(str, sorted(ROOT.glob("tests/test_backends*.py"))), "tests/test_findings.py")


@nox.session(default=False)
def soundness(session: nox.Session) -> None:
    """Hold every correct organisation to its radius, and search for the worst; arguments after `--` go to the campaign."""
    session.install(*PINNED, ".[test]")
    results = ROOT / "docs" / "results" / "soundness.md"
    with session.chdir(ROOT / "benchmarks"):
        session.run("python", "-m", "soundness", "--climb", "60", "--tightness", "--markdown", str(results), *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Judge every fault of the catalogue, again with another seed where it should break, and right code with twenty seeds."""
    session.install(*PINNED, ".[test]")
    results = ROOT / "docs" / "results" / "kill_matrix.json"
    session.run("toise", "faults", "--run", "-n", "2", "--seed", "0", "--json", str(results))
    inputs = ROOT / "docs" / "results" / "counterexamples.json"
    session.run("python", str(ROOT / "benchmarks" / "counterexamples.py"), "-n", "2", "--json", str(inputs))
    session.run("pytest", "-n", "2", "tests/test_faults.py", "-k", "breaks_every_requirement", "--fault-seed", "1")
    session.run("python", str(ROOT / "benchmarks" / "correct.py"), "--seeds", "20", "-n", "2")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, layout and spelling."""
    session.install(*PINNED, "ruff", "codespell")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of what is public, strictly."""
    session.install(*PINNED, ".", "mypy")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into `site/`: a page with a mistake in it fails."""
    session.install(*PINNED, ".[docs]")
    session.env["NO_MKDOCS_2_WARNING"] = "1"
    session.run("mkdocs", "build", "--strict")


@nox.session
def pages(session: nox.Session) -> None:
    """Try the site that `nox -s docs` built: its links, and every page in a browser, where there is one."""
    if not (ROOT / "site" / "index.html").exists():
        session.error("there is no site yet: nox -s docs builds it")
    session.install(*PINNED, ".")
    session.env["TOISE_SITE"] = str(ROOT / "site")
    session.run("pytest", "-n", "2", "tests/test_site.py", *session.posargs)


@nox.session(default=False)
def site(session: nox.Session) -> None:
    """Build the site into `site/` with Python for its pages, and try that in a browser: takes npm, the network and Chromium."""
    session.install(*PINNED, ".[docs,torch,jax]")  # so that the guides show what these print
    fetched = ROOT / ".cache" / "vendored"
    session.run("python", str(ROOT / "docs" / "vendor.py"), str(fetched))
    session.env.update(NO_MKDOCS_2_WARNING="1", TOISE_SITE_VENDORED=str(fetched), TOISE_SITE=str(ROOT / "site"))
    session.run("mkdocs", "build", "--strict")
    session.run("pytest", "-n", "2", "tests/test_site.py", "tests/test_in_page.py", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and the source distribution, and use the wheel far from the tree."""
    session.install(*PINNED, "build", "hatchling", "twine")
    build = ("python", "-m", "build", "--no-isolation", "--outdir")
    with tempfile.TemporaryDirectory() as temporary:
        room = Path(temporary)
        session.run(*build, str(room), str(ROOT), silent=True)  # the source distribution, and the wheel from it
        session.run(*build, str(room / "tree"), "--wheel", str(ROOT), silent=True)
        session.run("twine", "check", "--strict", *map(str, room.glob("*.*")))

        (wheel,) = room.glob("*.whl")
        content = _content(wheel)
        if content != _content(next(room.glob("tree/*.whl"))):
            session.error("the source distribution does not build the wheel that the tree builds")
        missing = sorted(_package_files() - content.keys())
        if missing:
            session.error(f"the wheel lacks {', '.join(missing)}")

        session.install(*PINNED, str(wheel))
        with session.chdir(room):
            session.run("toise", "--version")
            session.run("toise", "list")


def _content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _package_files() -> set[str]:
    """Return every file of the three packages, the pages of the specification and the schema among them."""
    return {
        path.relative_to(ROOT / source).as_posix()
        for source in SOURCES
        for path in (ROOT / source).rglob("*.*")
        if path.is_file() and "__pycache__" not in path.parts
    }
