"""The pytest plugin: `pytest --pyargs toise.suite --toise-backend my_backend.py`.

Every pytest run loads this module, so that it imports nothing heavy until the suite is collected.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.engine import Property
    from toise.report import Document, Row
    from toise.run import Unit

FIXTURE = "toise_judge"
# Under which a test's report holds its row.
PROPERTY = "toise"
NO_BACKEND = "toise.suite needs a backend: pytest --pyargs toise.suite --toise-backend my_backend.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, the same as those of `toise check`."""
    group = parser.getgroup("toise", "Toise, the conformance suite for transformers")
    group.addoption(
        "--toise-backend", metavar="TARGET", help="file.py, module, module:object, or a name that toise backends lists"
    )
    group.addoption("--toise-dtype", metavar="a,b", default="", help="dtypes to judge at")
    group.addoption("--toise-device", metavar="D", help="for example cuda")
    group.addoption("--toise-budget", choices=("smoke", "standard", "thorough"), default="standard")
    group.addoption("--toise-seed", metavar="N", type=int, default=0, help="of the exploration")
    group.addoption("--toise-strict", action="store_true", help="a WARN fails too")
    group.addoption("--toise-require-class", metavar="CLASS", help="hold to this precision class what is declared looser")
    group.addoption("--toise-baseline", metavar="FILE", action="append", default=[], help="failures that are known")
    group.addoption("--toise-corpus", metavar="FOLDER", help="cases that are tried first")
    group.addoption("--toise-json", metavar="FILE", help="write the report that `toise check --json` writes")


def pytest_configure(config: pytest.Config) -> None:
    """Find the backend before anything is collected, or say that the suite needs one."""
    if config.getoption("--toise-backend"):
        config.pluginmanager.register(Session(config), "toise-session")
    elif any(str(arg).split("::")[0].startswith("toise.suite") for arg in config.args):
        raise pytest.UsageError(NO_BACKEND)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each operation and dtype of a requirement."""
    if FIXTURE not in metafunc.fixturenames:
        return
    session = metafunc.config.pluginmanager.get_plugin("toise-session")
    units = session.units(metafunc.function.property) if session else []
    metafunc.parametrize(FIXTURE, units, ids=[f"{unit.operation}-{unit.dtype}" for unit in units], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to collect the suite without a backend: it would be skipped, and look green."""
    if not config.getoption("--toise-backend") and any(FIXTURE in getattr(item, "fixturenames", ()) for item in items):
        raise pytest.UsageError(NO_BACKEND)


@pytest.fixture
def toise_judge(request: pytest.FixtureRequest) -> Callable[[Property], None]:
    """Judge a requirement on the backend that the command line names."""
    session = request.config.pluginmanager.get_plugin("toise-session")

    def judge(_: Property) -> None:
        __tracebackhide__ = True
        if session is None:
            raise pytest.UsageError(NO_BACKEND)
        session.judge(request.param, request.node)

    return judge


class Session:
    """The backend of one pytest run, and the rows that were judged."""

    def __init__(self, config: pytest.Config) -> None:
        from toise.baseline import read_baseline
        from toise.cases import read_corpus
        from toise.errors import TargetError
        from toise.files import Kept, require_writable
        from toise.report import Document
        from toise.run import Rules, dtypes_of, now, plan, settings_of
        from toise.targets import load

        option = config.getoption
        self.started, self.strict, required = now(), option("--toise-strict"), option("--toise-require-class")
        budget, seed = option("--toise-budget"), option("--toise-seed")
        self.backends: dict[str, Any] = {}
        self.rows: dict[Unit, Row] = {}
        self.broken = False
        """Whether something failed that is no verdict: then there is none."""
        path = Path(option("--toise-json")) if option("--toise-json") and not hasattr(config, "workerinput") else None
        self.kept = Kept([(path, Document.as_text)] if path else [])
        try:
            if path and not config.option.collectonly:
                require_writable(path)
                self.kept.remove()
            self.target = load(option("--toise-backend"), device=option("--toise-device"), require_class=required)
            dtypes = dtypes_of(self.target, [name for name in option("--toise-dtype").split(",") if name])
            self.planned, _ = plan(self.target, dtypes=dtypes)
            corpus = read_corpus(Path(option("--toise-corpus"))) if option("--toise-corpus") else ()
            self.rules = Rules(budget, seed, read_baseline(map(Path, option("--toise-baseline"))), tuple(corpus))
        except TargetError as error:
            raise pytest.UsageError(str(error)) from None
        self.settings = settings_of(
            budget=budget,
            seed=seed,
            strict=self.strict,
            require_class=required,
            dtypes=list(dtypes),
            select=config.option.keyword,
            **self.rules.digests,
        )

    def units(self, prop: Property) -> list[Unit]:
        """Return the rows of one requirement."""
        return [unit for unit in self.planned if unit.requirement == prop.id]

    def judge(self, unit: Unit, node: pytest.Item) -> None:
        """Judge one row, keep it with the test's report, and give pytest its outcome."""
        __tracebackhide__ = True
        from dataclasses import asdict

        from toise.quiet import quiet
        from toise.report import ABSENT, BROKEN
        from toise.run import judge_unit
        from toise.terminal import failure_text

        with quiet():
            row = judge_unit(unit, self.target, self.backends, self.rules)
        node.user_properties.append((PROPERTY, json.dumps(asdict(row))))
        if row.outcome == "XFAIL":
            pytest.xfail(row.reason)
        if row.outcome in (*BROKEN, "XPASS") or (row.outcome == "WARN" and self.strict):
            pytest.fail(failure_text(row), pytrace=False)
        if row.outcome == "NOT RUN":
            pytest.fail(f"NOT RUN {row.requirement}: {row.reason}", pytrace=False)
        if row.outcome in ABSENT:
            pytest.skip(f"{row.outcome}: {row.reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the rows, those of xdist's workers too; a worker that died says nothing of the row that it was on."""
        from toise.report import Row
        from toise.run import Unit, unjudged

        found = [Row.from_json(json.loads(str(value))) for name, value in report.user_properties if name == PROPERTY]
        if report.when == "call" and found:
            self.rows[Unit.of(found[0])] = found[0]
        elif report.failed and str(report.when) == "???" and (lost := self._unit_of(report.nodeid)):  # as xdist tells of a worker
            self.rows.setdefault(lost, unjudged(lost, self.target, "CRASH", "the worker process crashed on it"))
        elif report.failed:
            self.broken = True
        self.kept.sometimes(lambda: self._document(complete=False))

    def _unit_of(self, node: str) -> Unit | None:
        """Return the row of a test by its node: "...::test_eps_is_added[layer_norm-float32]"."""
        from toise.engine import property_of

        name, _, place = node.rpartition("::")[2].rstrip("]").partition("[")
        return next(
            (u for u in self.planned if f"{u.operation}-{u.dtype}" == place and property_of(u.requirement).name == name), None
        )

    def _document(self, *, complete: bool) -> Document:
        """Return the report: what pytest left out was not selected."""
        from toise.report import Document
        from toise.run import assemble

        rows = [self.rows[unit] for unit in self.planned if unit in self.rows]
        rest = [unit for unit in self.planned if unit not in self.rows] if complete else []
        return Document((assemble(self.target, rows, rest, self.settings, complete=complete, started=self.started),))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what pytest has no word for."""
        from toise.terminal import failure_text, heading

        if not self.rows:
            return
        (report,) = self._document(complete=True).reports
        terminalreporter.section("toise")
        for line in heading(report):
            terminalreporter.write_line(line)
        for row in report.results:
            if row.outcome == "WARN":
                terminalreporter.write_line(failure_text(row))
        terminalreporter.write_line(" · ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Keep a run in which nothing was judged from looking green, and write the report."""
        if self.kept.forms and not session.config.option.collectonly:
            ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not session.shouldfail
            self._write(complete=ended and not self.broken)
        proven = any(row.outcome == "PASS" and row.level == "MUST" for row in self.rows.values())
        on_worker = hasattr(session.config, "workerinput")
        if exitstatus == pytest.ExitCode.OK and not proven and not on_worker and not session.config.option.collectonly:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self, *, complete: bool) -> None:
        """Write the report; what the failures behave like is found here, once for all workers."""
        from toise.errors import TargetError
        from toise.quiet import quiet
        from toise.run import diagnosed

        with quiet():
            rows = list(self.rows.values())
            told = diagnosed(rows, self.target, self.backends) if complete else rows
        self.rows = dict(zip(self.rows, told, strict=True))
        try:
            self.kept.last(self._document(complete=complete))
        except TargetError as error:
            raise pytest.UsageError(str(error)) from None
