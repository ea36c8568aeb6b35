"""The report as a page: what it says, that nothing in a report can make it do anything, and that people can use it."""

import dataclasses
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import browser
import pytest
import toise
from toise.formats import html
from toise.report import BROKEN, OUTCOMES, Document, Known, Report

EXAMPLE = Path(__file__).parents[1] / "examples" / "annotated_layer_norm.py"
PHONE = 390
EVIL = (
    "<script>window.hurt = 1</script>",
    '"><img src=x onerror="window.hurt = 1">',
    "' onmouseover='window.hurt = 1",
    "</pre></style></title><svg onload=window.hurt=1>",
    "]]><!--",
    "\u202egnp.exe\x00\x1b[2J\ud800",
)


@pytest.fixture(scope="module")
def report():
    """Return a report in which something fails, and much does not."""
    return toise.verify(str(EXAMPLE), operations=["layer_norm"], budget="smoke")


@pytest.fixture(scope="module")
def mixed(report):
    """Return a report with every outcome there is."""
    rows = [row for row in report.results if not row.excluded]
    failing = next(row for row in rows if row.outcome == "FAIL")
    for at, outcome in enumerate(OUTCOMES):
        shown = failing.counterexample if outcome in (*BROKEN, "XFAIL", "WARN") else None
        known = (KNOWN,) if outcome in ("XFAIL", "XPASS") else ()
        rows[at] = dataclasses.replace(rows[at], outcome=outcome, reason="a reason", counterexample=shown, known=known)
    return dataclasses.replace(report, results=tuple(rows))


KNOWN = Known(
    owner="the kernel team",
    reason="it divides by d - 1",
    link="https://example.org/issues/12",
    expires="2026-12-31",
    condition="d == 2",
    recipe={},
    kind="value",
    state="holds",
    expired=True,
)


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """Return one browser for all tests."""
    program = browser.find()
    if program is None:
        pytest.skip(f"no Chromium here: none of {', '.join(browser.NAMES)}")
    window = browser.Browser(program, tmp_path_factory.mktemp("browser"))
    yield window
    window.close()


@pytest.fixture
def show(window, tmp_path):
    """Return a function that shows a document in the browser."""

    def open_page(*reports, unavailable=(), **how):
        path = tmp_path / "report.html"
        path.write_text(html.render(Document(reports, dict(unavailable))), encoding="utf-8")
        window.open(path, **how)
        return window

    return open_page


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.found, self.words = [], []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        """Keep an element."""
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        """Keep a text."""
        self.words.append(data)


def visible_rows(window):
    """Return the ids of the requirements whose rows are shown."""
    return window.run("[...document.querySelectorAll('.operation tbody tr')].filter((r) => r.checkVisibility())"
                      ".map((row) => row.querySelector('th').firstChild.data)")  # fmt: skip


def count(window):
    """Return what the page says of the number of rows."""
    return window.run("document.getElementById('count').textContent")


def replaced(thing, evil):
    """Return the same plain JSON values with each text, but those of a fixed choice, followed by something hostile."""
    if isinstance(thing, dict):
        return {name: part if name in FIXED else replaced(part, evil) for name, part in thing.items()}
    if isinstance(thing, list):
        return [replaced(part, evil) for part in thing]
    return f"{thing}{evil}" if isinstance(thing, str) else thing


FIXED = ("outcome", "level", "state", "accuracy", "error_in_radii", "counts", "shard", "precision", "strictest")


def hostile(report, evil):
    """Return a report which says something hostile wherever it says anything."""
    return Report.from_json(replaced(report.as_json(), evil))


# --- What it says --------------------------------------------------------------------------------------


def test_it_says_what_the_report_says(mixed):
    """The verdict, the counts, each row, and each failure with its input."""
    text = Elements(html.render(Document((mixed,)))).text

    failing = next(row for row in mixed.results if row.outcome == "FAIL")
    shown = failing.counterexample
    assert "NOT PASSED" in text
    assert " · ".join(f"{n} {outcome}" for outcome, n in mixed.counts.items() if n) in text
    assert all(row.test in text for row in mixed.results)
    assert all(said in text for said in (failing.sentence.replace("`", " "), shown.message, shown.text, shown.again, shown.like))
    assert all(said in text for said in (KNOWN.owner, KNOWN.reason, KNOWN.link, KNOWN.expires, KNOWN.condition, "EXPIRED"))


def test_what_the_selection_left_out_is_counted_alone(report):
    """There are many such rows, and none says anything about the target."""
    page = Elements(html.render(Document((report,))))

    assert f"{report.excluded} excluded by the selection" in page.text
    assert page.text.count("excluded") == 1
    assert sum("data-outcomes" in given for _, given in page.found) == len(report.results) - report.excluded


def test_a_link_of_a_cell_leads_to_what_it_is_about(mixed):
    """Nothing on the page links to what is not there, and no two things have one name."""
    found = Elements(html.render(Document((mixed, mixed)))).found

    ids = [given["id"] for _, given in found if "id" in given]
    assert len(set(ids)) == len(ids)
    assert {given["href"][1:] for _, given in found if given.get("href", "").startswith("#")} <= set(ids)


@pytest.mark.parametrize(
    ("change", "said", "tone"), [({"complete": False}, "INCOMPLETE", "unrun"), ({"shard": "2/5"}, "SHARD 2/5", "pass")]
)
def test_a_part_of_a_report_says_so(report, change, said, tone):
    """In the title, and in the first words; it never says that it passed."""
    settings = {**report.settings, "shard": change.get("shard", "")}
    passing = tuple(row for row in report.results if row.outcome == "PASS")
    part = dataclasses.replace(report, settings=settings, complete=change.get("complete", True), results=passing)

    page = html.render(Document((part,)))

    assert f"<title>{said}" in page
    assert f'<strong class="word">{said}' in page
    assert f'class="verdict {tone}"' in page
    assert "PASSED" not in Elements(page).text


def test_several_targets_stand_in_one_matrix(report, mixed):
    """And what cannot be had says why."""
    other = dataclasses.replace(mixed, target="other.py", complete=False)

    text = Elements(html.render(Document((report, other), {"torch": "not installed"}))).text

    assert "torch: not installed" in text
    assert re.search(r"annotated_layer_norm\.py float32 cpu NOT PASSED FAIL 7/24 other\.py float32 cpu INCOMPLETE PROTOCOL", text)


def test_the_same_report_gives_the_same_bytes(mixed):
    """Also when it was written and read again."""
    read = Report.from_json(json.loads(json.dumps(mixed.as_json())))

    assert html.render(Document((read,))) == html.render(Document((mixed,)))


def test_a_large_report_is_a_page_of_less_than_two_megabytes(report):
    """Seven hundred rows, each of which fails."""
    row = next(row for row in report.results if row.outcome == "FAIL")
    rows = (dataclasses.replace(row, requirement=f"LN-{n}", dtype=d) for n in range(1, 176) for d in ("a", "b", "c", "d"))

    assert len(html.render(Document((dataclasses.replace(report, results=tuple(rows)),)))) < 2_000_000


def test_the_plot_is_there_in_words(report):
    """Each row with an error has a mark with a name; those that are too far say so."""
    page = html.render(Document((report,)))

    text, found = Elements(page).text, Elements(page).found
    marks = [given["class"] for tag, given in found if given.get("class") in ("dot", "cross")]
    assert marks.count("dot") == sum(row.outcome == "PASS" and row.accuracy > 0 for row in report.results)
    assert f"{marks.count('cross')} marks at the right edge" in text
    assert "largest that passes" in text
    assert "LN-1 float32: 2.34e+05" in text


# --- Hostile reports -----------------------------------------------------------------------------------


@pytest.mark.parametrize("evil", EVIL)
def test_what_stands_in_a_report_is_text(mixed, evil):
    """The page has the same elements, and the same names of attributes, as that of an honest report."""
    honest, page = (html.render(Document((each,), {"x": evil})) for each in (hostile(mixed, "!"), hostile(mixed, evil)))

    # What leads out of the page is only there where the address can be one.
    shape, found = (
        [(tag, sorted(given)) for tag, given in Elements(each).found if "rel" not in given] for each in (honest, page)
    )
    assert found == shape
    assert "".join(char if char.isprintable() else repr(char)[1:-1] for char in evil) in "".join(Elements(page).words)
    assert all(char.isprintable() or char == "\n" for char in page)


@pytest.mark.parametrize("evil", EVIL)
def test_a_hostile_report_runs_nothing(mixed, show, evil):
    """Not in a browser either, and it asks for nothing."""
    bad = hostile(mixed, evil)
    page = show(bad, dataclasses.replace(bad, complete=False), unavailable={evil: evil}.items())

    assert page.troubles() == []
    assert page.run("window.hurt") is None
    assert [address[:7] for address in page.requests()] == ["file://"]


@pytest.mark.parametrize(
    "link", ["javascript:hurt()", "data:text/html,hurt", "file:///etc/passwd", "https://a\u202eb", " https://a"]
)
def test_only_a_web_address_is_a_link(mixed, link):
    """Another is shown as text."""
    known = (dataclasses.replace(KNOWN, link=link),)
    rows = tuple(dataclasses.replace(row, known=known) for row in mixed.results)

    found = Elements(html.render(Document((dataclasses.replace(mixed, results=rows),))))

    hrefs = {given["href"] for tag, given in found.found if tag == "a" and not given["href"].startswith("#")}
    assert hrefs == set()
    assert "".join(char if char.isprintable() else repr(char)[1:-1] for char in link.strip()) in found.text


@pytest.mark.parametrize("part", [["abc"], [10**40, 1], [[1], [[2]]], "x" * 10**5, [[[]]], {}, None, [["nan", "inf"]]])
def test_an_array_of_a_report_may_be_anything(mixed, part):
    """It is shown as it is, and cut where it is long."""
    row = next(row for row in mixed.results if row.outcome == "FAIL")
    shown = dataclasses.replace(row.counterexample, arrays={"x": part}, got=part, required=part, radius=part)
    rows = (dataclasses.replace(row, counterexample=shown),)

    assert len(html.render(Document((dataclasses.replace(mixed, results=rows),)))) < 100_000


def test_what_is_slipped_in_does_not_run(mixed, show, tmp_path, window):
    """The policy holds where escaping would not: a script, a handler, a style, an image and a page of somebody else."""
    page = html.render(Document((mixed,)))
    evil = '<script>hurt = 1</script><p onclick="hurt = 1" id="evil" style="color: red">x</p>'
    evil += '<img src="http://127.0.0.1:9/x.png"><iframe src="http://127.0.0.1:9/"></iframe><base href="http://127.0.0.1:9/">'
    path = tmp_path / "evil.html"
    path.write_text(page.replace("<h1>", f"{evil}<h1>"), encoding="utf-8")

    window.open(path)

    window.run("document.getElementById('evil').click()")
    assert window.run("window.hurt") is None
    assert window.run("getComputedStyle(document.getElementById('evil')).color") != "rgb(255, 0, 0)"
    refused = " ".join(map(str, window.troubles()))
    assert all(rule in refused for rule in ("script-src", "style-src", "img-src", "default-src", "base-uri"))


# --- In a browser --------------------------------------------------------------------------------------


def test_it_opens_without_an_error_or_a_request(mixed, show):
    """From disk, with nothing else."""
    page = show(mixed, mixed)

    assert page.troubles() == []
    assert [address[:7] for address in page.requests()] == ["file://"]


def test_typing_hides_rows(mixed, show):
    """Words of the id, of the operation and of the sentence, all of which have to be there."""
    page = show(mixed)
    every = visible_rows(page)

    page.run("document.getElementById('search').focus()")
    page.write("Layer_Norm LN-1")

    assert visible_rows(page) == [id for id in every if id.startswith("LN-1")]
    assert count(page) == f"{len(visible_rows(page))} of {len(every)} rows shown"
    page.write("nothing")
    assert visible_rows(page) == []
    assert page.run("document.querySelectorAll('.operation:not([hidden])').length") == 0


def test_the_outcomes_hide_rows(mixed, show):
    """One by one, and with a button for what is not well."""
    page = show(mixed)
    outcomes = {row.requirement: row.outcome for row in mixed.results}

    page.run("document.querySelector('input[value=PASS]').click()")
    assert visible_rows(page) == [id for id, outcome in outcomes.items() if outcome != "PASS"]
    page.run("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Only what is not well').click()")
    assert visible_rows(page) == [id for id, outcome in outcomes.items() if outcome in html.TOLD]
    page.run("[...document.querySelectorAll('button')].find((one) => one.textContent === 'All').click()")
    assert count(page) == f"{len(outcomes)} of {len(outcomes)} rows shown"


def test_it_is_used_with_the_keyboard_alone(mixed, show):
    """Tab reaches the filter and the link of a failure, what is reached is seen, and Enter goes there."""
    page = show(mixed)
    reached = []
    for _ in range(60):
        page.press("Tab")
        reached.append(page.run("(document.activeElement.id || document.activeElement.getAttribute('href') || '')"))
        style = "getComputedStyle(document.activeElement)"
        assert page.run(f"{style}.outlineStyle") == "solid"
        assert page.run(f"{style}.outlineWidth") == "3px"
        if re.fullmatch(r"#t0-\d+", reached[-1]):
            break

    assert reached[0] == "#main"
    assert "search" in reached
    assert page.run("document.querySelector(document.activeElement.getAttribute('href')).className").startswith("failure")
    page.press("Enter")
    assert page.run("location.hash") == reached[-1]


def test_a_checkbox_is_switched_with_the_keyboard(mixed, show):
    """With the space bar, as everywhere."""
    page = show(mixed)

    page.run("document.querySelector('input[value=PASS]').focus()")
    page.press(" ")

    assert "PASS" not in {row.outcome for row in mixed.results if row.requirement in visible_rows(page)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_is_readable(mixed, show, scheme):
    """In both schemes, each text is at least 4.5 times as light as what is behind it, or as dark; a large one 3 times."""
    page = show(mixed, dataclasses.replace(mixed, complete=False), unavailable={"torch": "not installed"}.items(), scheme=scheme)

    found = page.contrasts()

    assert {name: ratio for name, (ratio, required) in found.items() if ratio < required} == {}
    assert {f"SPAN outcome {tone}" for tone in html.TONES.values()} <= set(found)


def test_both_schemes_are_there(report, show):
    """The page follows what the reader asked for."""
    backgrounds = [show(report, scheme=scheme).run("getComputedStyle(document.documentElement).backgroundColor") for scheme in ("light", "dark")]  # fmt: skip # noqa: E501

    assert len(set(backgrounds)) == 2


@pytest.mark.parametrize("width", [PHONE, 1280])
def test_the_page_does_not_scroll_sideways(mixed, show, width):
    """What is wide scrolls in a box of its own, even with long words."""
    page = show(hostile(mixed, "x" * 300), dataclasses.replace(mixed, target="y" * 300), width=width)

    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("[...document.querySelectorAll('.box')].some((box) => box.scrollWidth > box.clientWidth)")
    # What stays at the left while a table scrolls leaves room for the rest.
    stay = "[...document.querySelectorAll('.operation tbody th, .overview tbody th')]"
    assert page.run(f"Math.max(...{stay}.map((th) => th.offsetWidth / th.closest('.box').clientWidth))") < 0.5


def test_all_of_it_is_there_without_a_script(mixed, show):
    """Only the filter is not, since it would do nothing."""
    page = show(mixed, script=False)

    assert len(visible_rows(page)) == len(mixed.results)
    assert page.run("document.querySelectorAll('article').length") > 5
    assert not page.run("document.getElementById('filter').checkVisibility()")


def test_tables_and_inputs_have_names(mixed, show):
    """A screen reader says what a number belongs to."""
    page = show(mixed, mixed)

    assert page.run("[...document.querySelectorAll('th')].filter((th) => !th.scope).length") == 0
    assert page.run("[...document.querySelectorAll('input')].filter((input) => !input.labels.length).length") == 0
    assert page.run("[...document.querySelectorAll('svg:not([aria-hidden])')].every((svg) => svg.querySelector('title'))")
    levels = page.run("[...document.querySelectorAll('h1,h2,h3,h4')].map((each) => +each.tagName[1])")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
