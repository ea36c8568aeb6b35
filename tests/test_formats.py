"""The forms of a report for CI: Markdown, workflow commands, SARIF and a badge, made of the report alone.

`schemas/sarif-2.1.0.json` is the JSON schema of SARIF 2.1.0 by OASIS, as SchemaStore (Apache License 2.0) has it under the
name sarif-2.1.0-rtm.5.json; the copy is that of the npm package @microsoft/jest-sarif 1.0.0-beta.0 (MIT), unchanged.
"""

import dataclasses
import html.parser
import json
import re
from pathlib import Path

import jsonschema
import pytest
import toise
from markdown_it import MarkdownIt
from toise.formats import markdown, render
from toise.report import Document, Known

KEY = ("LN-5", "layer_norm", "float32", "cpu")
FORMS = ("markdown", "github", "sarif", "badge")
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
HOSTILE = (
    "<script>alert(1)</script> | </pre> </details> `x` ```\n```\n## @everyone ::error::x %0A [a](javascript:b) ![i](http://c) "
    "https://d *e* _f_ $g$ \r\n::set-output name=h::i\n\x1b[2J\u202e\ud800 ##[error]j 'k' \"l\""
)


@pytest.fixture(scope="module")
def report():
    """Return a report in which some rows hold and some are broken."""
    return toise.verify("examples/annotated_layer_norm.py", budget="smoke", operations=["layer_norm"])


@pytest.fixture(scope="module")
def passed(report):
    """Return a report in which every row holds, in full, and nothing is left out."""
    rows = (dataclasses.replace(row, outcome="PASS", reason="", counterexample=None) for row in report.results)
    return dataclasses.replace(report, results=tuple(rows))


def with_row(report, key=KEY, **fields):
    """Return the report with other fields in one row."""
    rows = (dataclasses.replace(row, **fields) if row.key == key else row for row in report.results)
    return dataclasses.replace(report, results=tuple(rows))


def with_settings(report, **settings):
    """Return the report with other settings."""
    return dataclasses.replace(report, settings={**report.settings, **settings})


def known(**fields):
    """Return what a baseline says of a row."""
    said = {
        "owner": "@ann",
        "reason": "rounding",
        "link": "https://example.org/1",
        "expires": "2027-01-31",
        "condition": "d == 1",
    }
    said = {**said, "recipe": {"operation": "layer_norm", "version": 1}, "kind": "value", "state": "fails", "expired": False}
    return Known(**{**said, **fields})


def hostile(report):
    """Return the report with somebody's worst text wherever text can stand."""
    row = next(row for row in report.results if row.counterexample)
    shown = dataclasses.replace(
        row.counterexample,
        message=HOSTILE,
        text=HOSTILE,
        hint=HOSTILE,
        again=HOSTILE,
        got=[[1], ["x", 10**30]],
        options={"o": HOSTILE},
    )
    says = known(owner=HOSTILE, reason=HOSTILE, link=HOSTILE, condition=HOSTILE)
    bad = with_row(report, row.key, sentence=HOSTILE, test=HOSTILE, reason=HOSTILE, counterexample=shown, known=(says,))
    bad = with_row(bad, outcome="XFAIL", sentence=HOSTILE, reason=HOSTILE, known=(says,))
    bad = with_row(bad, ("LN-7", *KEY[1:]), outcome="NOT PROVIDED", reason=HOSTILE)
    declarations = {**bad.declarations, "name": HOSTILE, "notes": [HOSTILE]}
    return dataclasses.replace(bad, target=HOSTILE + ".py", declarations=declarations)


def page(report, **unavailable):
    """Return the Markdown of one report, as a page of HTML."""
    return to_html(render("markdown", Document((report,), unavailable)))


def to_html(text):
    """Render Markdown as GitHub does: CommonMark with HTML and tables."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def commands(*reports, **unavailable):
    """Return each workflow command as the runner reads it: kind, properties, message."""
    found = []
    for line in render("github", Document(reports, unavailable)).splitlines():
        kind, given, message = re.fullmatch(r"::(error|warning|notice) ([^:]*)::(.*)", line).groups()
        properties = dict(part.split("=", 1) for part in given.split(","))
        found.append((kind, {name: decoded(value) for name, value in properties.items()}, decoded(message)))
    return found


def decoded(text):
    """Undo the escaping of a workflow command."""
    for code, char in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def sarif(*reports, **unavailable):
    """Return the SARIF log, which fits the schema."""
    log = json.loads(render("sarif", Document(reports, unavailable)))
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    return log


def badge(*reports, **unavailable):
    """Return what the badge says, and its colour."""
    body = json.loads(render("badge", Document(reports, unavailable)))
    return body["message"], body["color"]


class Elements(html.parser.HTMLParser):
    """The elements of a page, whether each is closed in its order, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.links, self.wrong = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note what begins."""
        self.names.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        self.wrong += [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("br", "hr", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Note what ends out of its order."""
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


# --- Every form ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_the_same_for_the_same_report(report, form):
    """Neither the time nor the order of a set has a part in it."""
    document = Document((report, hostile(report)), {"torch": "not installed"})

    assert render(form, document) == render(form, document)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_says_that_a_report_is_incomplete(passed, form):
    """A run that was cut short never looks like one that passed."""
    text = render(form, Document((dataclasses.replace(passed, complete=False),)))

    assert "incomplete" in text.lower()


@pytest.mark.parametrize("form", FORMS)
def test_a_form_says_that_a_report_is_a_shard(passed, form):
    """A part of the rows is no verdict."""
    text = render(form, Document((with_settings(passed, shard="2/5"),)))

    assert "shard 2/5" in text.lower()


@pytest.mark.parametrize("form", FORMS)
def test_a_form_says_which_target_cannot_be_had(passed, form):
    """What is not judged is not passed over."""
    text = render(form, Document((passed,), {"torch": "not installed"}))

    assert re.search("(not available|unavailable)", text.lower())


@pytest.mark.parametrize("form", FORMS)
def test_a_form_takes_any_text(report, form):
    """What is seen can be written to a file, and nothing in it moves a cursor or turns text around."""
    text = render(form, Document((hostile(report),), {HOSTILE: HOSTILE}))

    assert all(char.isprintable() or char == "\n" for char in text.encode().decode())


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_made_of_no_report(form):
    """Where no target can be had there is still something to say."""
    assert render(form, Document((), {"torch": "not installed"}))


# --- Markdown ------------------------------------------------------------------------------------------


def test_markdown_has_the_verdict_in_words_with_its_counts(report):
    """The first thing that is read, for each target."""
    text = page(report)

    assert f"<h3>{report.target}: NOT PASSED</h3>\n<p>7 FAIL · 17 PASS · 180 excluded by the selection</p>" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda passed: dataclasses.replace(passed, complete=False), "INCOMPLETE: the run ended before all was judged"),
        (lambda passed: with_settings(passed, shard="2/5"), "SHARD 2/5: a part of the rows"),
        (lambda passed: dataclasses.replace(passed, results=()), "nothing was judged"),
    ],
)
def test_markdown_says_aloud_what_is_no_verdict(passed, change, said):
    """In a line of its own, and not in a cell of a table alone."""
    assert f"<blockquote>\n<p><strong>{said}" in page(change(passed))


def test_markdown_has_the_matrix_of_all_targets(report, passed):
    """Concept by target, dtype and device."""
    text = to_html(render("markdown", Document((report, dataclasses.replace(passed, target="b.py")))))

    cells = [re.sub("<[^>]*>", "", line) for line in text.splitlines() if "<td>" in line]
    assert cells[:4] == [report.target, "float32", "cpu", "NOT PASSED"]
    assert "FAIL 7/24" in cells
    assert "PASSED" in cells


def test_markdown_has_each_failure_in_full(report):
    """It opens at a click, and shows the smallest input as it is."""
    text = page(report)

    assert text.count("<pre>\nFAIL ") == text.count("<summary><strong>FAIL</strong> ") == 7
    assert "x         [[ 1. -1.]]" in text
    assert "<code>eps</code> is added to the variance" in text


def test_markdown_tells_what_is_broken_first(report):
    """A crash comes before a wrong value, and that before what is known."""
    mixed = with_row(with_row(report, outcome="XFAIL"), ("LN-10", *KEY[1:]), outcome="CRASH")

    told = re.findall("<summary><strong>(.*?)</strong>", page(mixed))
    assert told == ["CRASH", *["FAIL"] * 7, "XFAIL"]


def test_markdown_tells_what_fails_the_run_before_what_does_not(passed):
    """A known failure that is gone may be allowed; that something was not run never is."""
    mixed = with_row(with_row(passed, outcome="XPASS"), ("LN-10", *KEY[1:]), outcome="NOT RUN")

    assert re.findall("<summary><strong>(.*?)</strong>", page(with_settings(mixed, allow_xpass=True))) == ["NOT RUN", "XPASS"]


def test_markdown_has_the_known_failures_in_a_table(report):
    """With whoever answers for each, and until when; one whose day is over says so."""
    text = page(with_row(report, outcome="FAIL", known=(known(expired=True),)))

    assert '<td><a href="https://example.org/1">https://example.org/1</a></td>' in text
    assert "<td>2027-01-31 (<strong>EXPIRED</strong>)</td>" in text


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "file:///etc", "https://a b", "//a", "https://\u202ea"]
)
def test_markdown_links_only_to_web_pages(report, link):
    """Every other address is text."""
    text = page(with_row(report, known=(known(link=link),)))

    assert Elements(text).links == []


def test_markdown_keeps_a_link_from_ending_its_cell(report):
    """Whatever stands in an address is a part of the address."""
    text = page(with_row(report, known=(known(link='https://a/|"onclick=x><b>`]('),)))

    assert Elements(text).links == ["https://a/%7C%22onclick=x%3E%3Cb%3E%60%5D%28"]
    assert not Elements(text).wrong


def test_markdown_makes_nothing_of_what_a_report_says(report):
    """Its elements are those of a harmless report, each closed in its order, without a link or a heading more."""
    found = Elements(page(hostile(report), bad=HOSTILE))

    assert not found.wrong
    assert not found.open
    assert found.links == []
    allowed = {*("h2", "h3", "p", "br", "strong", "code", "pre", "details", "summary", "ul", "li", "blockquote")}
    assert set(found.names) - allowed == {"table", "thead", "tbody", "tr", "th", "td"}
    assert (found.names.count("h2"), found.names.count("h3"), found.names.count("table")) == (1, 1, 2)


def test_markdown_calls_nobody(report):
    """An @ in text is followed by what is part of no name; in `<pre>` GitHub looks for none."""
    text = re.sub(r"<pre>.*?</pre>", "", page(hostile(report)), flags=re.DOTALL)

    assert "@\u200beveryone" in text
    assert not re.search("@(?!\u200b)", text)


def test_markdown_is_read_by_mkdocs_as_well(report):
    """Its renderer leaves the failures whole, with their blank lines."""
    library = pytest.importorskip("markdown")

    text = library.markdown(render("markdown", Document((hostile(report),))), extensions=["tables", "fenced_code", "md_in_html"])

    found = Elements(text)
    assert not found.wrong
    assert found.links == []
    assert found.names.count("details") == found.names.count("summary") == 9
    assert found.names.count("pre") == 8


def test_markdown_stays_below_the_limit_of_github(report):
    """The worst failures stay, the rest is counted."""
    rows = tuple(
        dataclasses.replace(row, device=f"cuda:{at}", outcome="CRASH" if at == 299 else row.outcome)
        for at in range(300)
        for row in report.results
        if row.outcome == "FAIL"
    )
    text = render("markdown", Document((dataclasses.replace(report, results=rows),)))

    left = int(re.search(r"\*\*Left out, as the page would be too large: (\d+) failures\.", text)[1])
    assert len(text.encode()) < markdown.LIMIT
    assert text.count("<summary>") == len(rows) - left
    assert text.count("<strong>CRASH</strong>") == 7


# --- Annotations ---------------------------------------------------------------------------------------


def test_github_points_at_the_line_of_the_operation(report):
    """The title is the requirement, the message all that there is to say."""
    kind, properties, message = commands(report)[0]

    assert kind == "error"
    assert properties["file"] == "examples/annotated_layer_norm.py"
    assert properties["line"] == "7"
    assert properties["title"].startswith("FAIL LN-1 · layer_norm: The result is gamma")
    assert "\n  x         [[ 1. -1.]]\n" in message


@pytest.mark.parametrize(("target", "line"), [("torch", 7), ("package.module:name", 7), ("a.py", 0)])
def test_github_points_at_no_file_where_none_is_known(report, target, line):
    """A library is no file of the repository."""
    operations = {"layer_norm": {**report.declarations["operations"]["layer_norm"], "line": line}}
    elsewhere = dataclasses.replace(report, target=target, declarations={**report.declarations, "operations": operations})

    assert all(set(properties) == {"title"} for _, properties, _ in commands(elsewhere))


@pytest.mark.parametrize(
    ("outcome", "settings", "kind"),
    [
        ("FAIL", {}, "error"),
        ("CRASH", {}, "error"),
        ("NOT RUN", {}, "error"),
        ("XPASS", {}, "error"),
        ("XPASS", {"allow_xpass": True}, "notice"),
        ("WARN", {}, "warning"),
        ("WARN", {"strict": True}, "error"),
        ("XFAIL", {}, "notice"),
    ],
)
def test_github_shows_as_an_error_what_fails_the_run(passed, outcome, settings, kind):
    """And nothing else."""
    found = commands(with_settings(with_row(passed, outcome=outcome, reason="why"), **settings))

    assert [kind for kind, _, _ in found] == [kind]


def test_github_annotates_a_requirement_once(report):
    """What fails at several dtypes is one annotation, which names them."""
    rows = tuple(dataclasses.replace(row, dtype="float64") for row in report.results)
    found = commands(dataclasses.replace(report, results=report.results + rows))

    assert len(found) == 7
    assert "\nalso FAIL in float64 on cpu\n" in found[0][2]


def test_github_says_how_many_annotations_it_does_not_show(report, passed):
    """GitHub shows ten of a kind: the tenth counts the others, and what is worst is among the nine."""
    failed = dataclasses.replace(report, results=tuple(dataclasses.replace(row, outcome="FAIL") for row in report.results))
    found = commands(with_row(failed, outcome="CRASH"))

    assert len(found) == 10
    assert found[0][1]["title"].startswith("CRASH LN-5")
    assert found[-1][1]["title"] == "toise: 15 more"


def test_github_shows_what_is_worst_of_all_targets_first(report, passed):
    """Of many targets ten annotations of a kind are shown."""
    crashed = dataclasses.replace(with_row(passed, outcome="CRASH", reason="ended"), target="b.py")

    assert commands(report, crashed)[0][1]["title"].startswith("CRASH LN-5")


def test_github_reports_no_verdict_as_an_error(passed):
    """A run that shows no failing row may still not have passed."""
    only_advice = dataclasses.replace(passed, results=tuple(row for row in passed.results if row.level == "SHOULD"))

    assert [(kind, message) for kind, _, message in commands(only_advice)] == [("error", "no MUST passed")]


def test_github_gives_no_command_to_whoever_wrote_the_report(report):
    """Each line is one annotation, whose parts are found again as they were."""
    found = commands(hostile(report), bad=HOSTILE)

    assert len(found) == 9
    assert {name for _, properties, _ in found for name in properties} == {"title", "file", "line"}
    assert any("::error::x %0A [a]" in message and "\n::set-output name=h::i\n" in message for _, _, message in found)
    assert any("::error::x %0A [a]" in properties["title"] for _, properties, _ in found)


# --- SARIF ---------------------------------------------------------------------------------------------


def test_sarif_has_a_result_for_each_broken_row(report):
    """With its rule, its place, and a fingerprint of its own."""
    (run,) = sarif(report)["runs"]

    results, rules = run["results"], run["tool"]["driver"]["rules"]
    assert [result["ruleId"] for result in results] == ["LN-1", "LN-2", "LN-3", "LN-4", "LN-6", "LN-12", "LN-13"]
    assert [rules[result["ruleIndex"]]["id"] for result in results] == [result["ruleId"] for result in results]
    assert {result["level"] for result in results} == {"error"}
    assert len({result["partialFingerprints"]["toiseRow/v1"] for result in results}) == 7
    place = results[0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "examples/annotated_layer_norm.py"}, "region": {"startLine": 7}}


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("torch", "torch"),
        ("package.module:a b", "package.module%3Aa%20b"),
        ("./kernels/a b#.py", "kernels/a%20b%23.py"),
        ("/tmp/a.py", "file:///tmp/a.py"),  # noqa: S108 - a name, not a file
    ],
)
def test_sarif_has_a_place_for_every_result(report, target, uri):
    """Code scanning refuses a result without one: a target that is no file has its name."""
    (run,) = sarif(dataclasses.replace(report, target=target))["runs"]

    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert {place["artifactLocation"]["uri"] for place in places} == {uri}
    assert all(("region" in place) == uri.endswith(".py") for place in places)


@pytest.mark.parametrize(
    ("outcome", "level", "shown"),
    [("FAIL", "MUST", "error"), ("WARN", "SHOULD", "warning"), ("NOT RUN", "MUST", "warning"), ("XPASS", "MUST", "warning")],
)
def test_sarif_has_the_level_of_what_is_not_well(passed, outcome, level, shown):
    """An error is a MUST that is broken."""
    (run,) = sarif(with_row(passed, outcome=outcome, level=level))["runs"]

    (result,) = run["results"]
    assert result["level"] == shown
    assert "suppressions" not in result


def test_sarif_suppresses_a_known_failure(passed):
    """With what the baseline says of it."""
    (run,) = sarif(with_row(passed, outcome="XFAIL", known=(known(),)))["runs"]

    (result,) = run["results"]
    assert result["suppressions"][0]["kind"] == "external"
    assert "rounding" in result["suppressions"][0]["justification"]


@pytest.mark.parametrize("complete", [True, False])
def test_sarif_says_whether_the_run_came_to_its_end(report, complete):
    """An execution that was cut short was not successful; one that found failures was."""
    (run,) = sarif(dataclasses.replace(report, complete=complete))["runs"]

    assert run["invocations"][0]["executionSuccessful"] is complete
    assert run["invocations"][0]["exitCode"] == (1 if complete else 130)


def test_sarif_tells_its_runs_apart(report, passed):
    """Code scanning takes one run of a name."""
    runs = sarif(report, dataclasses.replace(passed, target="torch"), with_settings(report, shard="1/2"))["runs"]

    assert len({run["automationDetails"]["id"] for run in runs}) == 3


def test_sarif_makes_no_link_of_what_a_report_says(report):
    """In a message of SARIF `[a](b)` would be one."""
    log = sarif(hostile(report), bad=HOSTILE)

    assert "](" not in json.dumps([result["message"] for result in log["runs"][0]["results"]])


# --- The badge -----------------------------------------------------------------------------------------


def test_a_badge_fits_what_shields_asks_for(report):
    """Nothing else may stand in it."""
    body = json.loads(render("badge", Document((report,))))

    assert body == {
        "schemaVersion": 1,
        "label": "toise core",
        "message": "7 requirements fail",
        "color": "red",
        "isError": True,
    }


@pytest.mark.parametrize(
    ("change", "message", "color"),
    [
        (lambda passed: passed, "passed", "brightgreen"),
        (lambda passed: with_row(passed, outcome="NOT PROVIDED"), "passed in part", "green"),
        (lambda passed: with_row(passed, outcome="NOT RUN", reason="excluded by the selection"), "passed in part", "green"),
        (lambda passed: with_row(passed, reason="in part: no eps"), "passed in part", "green"),
        (lambda passed: with_row(passed, domain="d is even"), "passed in part", "green"),
        (lambda passed: with_row(passed, outcome="XFAIL"), "passed, 1 known failure", "yellowgreen"),
        (lambda passed: with_row(passed, outcome="WARN"), "passed, 1 recommendation not met", "yellowgreen"),
        (lambda passed: with_row(passed, outcome="FAIL"), "1 requirement fails", "red"),
        (lambda passed: with_row(passed, outcome="NOT RUN"), "1 requirement not run", "orange"),
        (lambda passed: with_row(passed, outcome="XPASS"), "1 known failure gone", "orange"),
        (lambda passed: with_settings(with_row(passed, outcome="WARN"), strict=True), "1 requirement fails", "orange"),
        (lambda passed: dataclasses.replace(passed, results=()), "not run", "lightgrey"),
        (lambda passed: dataclasses.replace(passed, complete=False), "incomplete", "red"),
        (lambda passed: with_settings(passed, shard="2/5"), "shard 2/5, no verdict", "lightgrey"),
        (lambda passed: with_settings(with_row(passed, outcome="FAIL"), shard="2/5"), "shard 2/5, 1 requirement fails", "red"),
    ],
)
def test_a_badge_says_the_verdict_in_words(passed, change, message, color):
    """Never as a share of anything."""
    assert badge(change(passed)) == (message, color)


def test_a_badge_counts_a_requirement_once(passed):
    """However many dtypes it fails at."""
    rows = tuple(dataclasses.replace(row, dtype="float64") for row in passed.results)
    both = dataclasses.replace(passed, results=passed.results + rows)

    assert (
        badge(with_row(with_row(both, outcome="FAIL"), (*KEY[:2], "float64", "cpu"), outcome="FAIL"))[0] == "1 requirement fails"
    )


def test_a_badge_is_that_of_the_worst_report(report, passed):
    """Whatever comes first."""
    assert badge(passed, report) == badge(report, passed) == badge(report)
    assert badge(report, dataclasses.replace(passed, complete=False)) == ("incomplete", "red")


def test_a_badge_is_not_bright_where_a_target_cannot_be_had(passed):
    """What was not judged has not passed."""
    assert badge(passed, torch="not installed") == ("passed, 1 target not available", "yellowgreen")
    assert badge(torch="not installed") == ("not run", "lightgrey")
