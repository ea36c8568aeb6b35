"""The site that was built: every page in a browser, wide and on a phone, and every link, requirement and fault in its place.

`TOISE_SITE` names the folder: `nox -s docs` builds the site, and `nox -s pages` runs this on it.
"""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import browser
import pytest
import toise_spec
from toise import engine
from toise.faults import catalogue

SITE = Path(os.environ.get("TOISE_SITE", "no-site")).resolve()
# What a server shows for an address that there is not has its style from the root, which a disk has not.
PAGES = sorted(page for page in SITE.rglob("*.html") if page.name != "404.html") if SITE.is_dir() else []
NAMES = [page.relative_to(SITE).as_posix() for page in PAGES]
PHONE = 390
MAIN = (
    "index.html",
    "learn/attention.html",
    "test/index.html",
    "spec/general.html",
    "museum/layer_norm.html",
    "why/derivations.html",
)

pytestmark = pytest.mark.skipif(not PAGES, reason="TOISE_SITE names no built site: `nox -s docs pages` does")


class Elements(HTMLParser):
    """The ids and the addresses of a page, its pictures, and its text."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.addresses, self.pictures, self.text = set(), [], [], []
        self._quiet = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Keep what a page has and where it leads."""
        given = dict(attrs)
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.addresses += [given[name] for name in ("href", "src") if given.get(name)]
        if tag == "img":
            self.pictures.append(given)
        self._quiet += tag in ("script", "style")

    def handle_endtag(self, tag):
        """Leave a script."""
        self._quiet -= tag in ("script", "style")

    def handle_data(self, data):
        """Keep a text."""
        if not self._quiet:
            self.text.append(data)


@pytest.fixture(scope="session")
def elements():
    """Return what is on every page."""
    return {page: Elements(page) for page in PAGES}


@pytest.fixture(scope="session")
def window(tmp_path_factory):
    """Return one browser for all pages."""
    program = browser.find()
    if program is None:
        pytest.skip(f"no Chromium here: none of {', '.join(browser.NAMES)}")
    window = browser.Browser(program, tmp_path_factory.mktemp("browser"), seconds=60)
    yield window
    window.close()


def test_the_main_pages_are_there():
    """The tests of this module speak of the pages that there are: here it is said which there have to be."""
    assert set(MAIN) <= set(NAMES)
    assert len(NAMES) > 50


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_within_the_site_leads_somewhere(elements, page):
    """The file is there, and so is the anchor; MkDocs sees only the links that Markdown has."""
    lost = []
    for address in elements[page].addresses:
        parts = urlparse(address)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        anchor = unquote(parts.fragment)
        if not target.is_file() or (
            anchor and anchor != "__codelineno" and target in elements and anchor not in elements[target].ids
        ):
            lost.append(address)

    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_picture_has_words(elements, page):
    """What a picture shows is said for those who do not see it."""
    assert [picture.get("src", "")[:60] for picture in elements[page].pictures if not picture.get("alt", "").strip()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_shows_what_it_is_made_from(elements, page):
    """No formula as LaTeX, no attributes of a heading or a link, no fence, and no place on the machine that built it."""
    text = "".join(elements[page].text)

    assert re.findall(r"file:///(?!\.\.\.)\S*", text) == []
    assert [left for left in ("\\(", "\\[", "--8<--", 'exec="', "{ #", "???") if left in text] == []


@pytest.mark.parametrize("id", toise_spec.requirements())
def test_every_requirement_has_its_anchor_and_its_proof(elements, id):
    """On the page of its concept: the name of its test, and mistakes that break it; a MAY is never tested."""
    item = toise_spec.requirement(id)
    page = SITE / "spec" / f"{item.slug}.html"

    assert id in elements[page].ids
    if item.level != "MAY":
        section = page.read_text(encoding="utf-8").partition(f'<h3 id="{id}"')[2].partition("<h3 ")[0]
        assert engine.property_of(id).name in section
        assert "Mistakes that break it:" in section


@pytest.mark.parametrize("slug", catalogue())
def test_every_fault_has_its_place_in_the_museum(elements, slug):
    """In the room of its concept, under its name."""
    concept, _, name = slug.partition(".")

    assert name in elements[SITE / "museum" / f"{concept}.html"].ids


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (PHONE, "dark"), (PHONE, "light"), (1280, "dark")])
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_is_right_in_a_browser(window, page, width, scheme):
    """No error, no request to elsewhere, formulas and pictures drawn, words readable, and nothing beside the screen.

    What is folded is opened before.
    """
    window.open(page, width=width, scheme=scheme)
    window.run("document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
    found = window.run(LOOK)

    assert window.troubles() == []
    assert [address for address in window.requests() if not address.startswith(("file:", "data:", "blob:"))] == []
    assert found["flat"] == []
    assert found["undrawn"] == []
    assert found["width"] <= width
    assert {name: seen for name, seen in window.contrasts().items() if seen[0] < seen[1]} == {}


LOOK = """
(() => {
  const shown = (element) => element.checkVisibility();
  const size = (element) => element.getBoundingClientRect();
  return {
    flat: [...document.querySelectorAll("math")].filter(shown).filter((m) => size(m).width < 2 || size(m).height < 2)
      .map((m) => m.textContent),
    undrawn: [...document.images].filter(shown).filter((i) => !i.complete || !i.naturalWidth || size(i).width < 2)
      .map((i) => i.alt),
    width: document.documentElement.scrollWidth,
  };
})()
"""


@pytest.mark.parametrize("page", ["learn/attention.html", "spec/layer_norm.html"])
def test_formulas_are_drawn(window, page):
    """There are some, and the browser lays them out as formulas: a fraction is higher than its line."""
    window.open(SITE / page)

    heights = window.run("[...document.querySelectorAll('math mfrac')].map((m) => m.getBoundingClientRect().height)")

    assert heights
    assert min(heights) > 16


MARK = "(label) => [label.querySelector('input').value, label.querySelector('.mark').textContent]"
FOLDED = "(fault) => [fault.checkVisibility(), fault.querySelector('.break-answer').open]"


def test_a_mistake_is_chosen_foreseen_and_judged(window):
    """The reader chooses, ticks what will break, and sees which that were, and the input that shows it."""
    window.open(SITE / "learn" / "layer_norm.html")
    room = "document.querySelector('.break-it')"
    options = window.run(f"[...{room}.querySelectorAll('option')].map((o) => o.textContent)")
    at = options.index("Eps is added to the standard deviation, outside the root.")

    window.run(f"{{ const s = {room}.querySelector('select'); s.value = {at}; s.dispatchEvent(new Event('change')); }}")
    window.run(f"{room}.querySelector('input[value=LN-3]').click()")
    window.run(f"{room}.querySelector('.md-button').click()")

    marks = window.run(f"Object.fromEntries([...{room}.querySelectorAll('label:has(.mark)')].map({MARK}))")
    answers = window.run(f"[...{room}.querySelectorAll('.break-answer')].map((a) => [a.checkVisibility(), a.innerText])")
    shown = [text for visible, text in answers if visible]
    assert marks["LN-3"] == "● foreseen"
    assert marks["LN-13"] == "● not foreseen"
    assert marks["LN-8"] == ""
    assert len(shown) == 1
    assert "variance of row [0] is 0.444444471; required 0.666666667" in shown[0]


def test_without_a_script_the_mistakes_are_a_list(window):
    """Each opens, with its answer folded inside."""
    window.open(SITE / "learn" / "layer_norm.html", script=False)
    window.send("Emulation.setScriptExecutionDisabled", value=False)

    folded = window.run(f"[...document.querySelectorAll('.break-fault')].map({FOLDED})")

    assert len(folded) > 3
    assert all(one == [True, False] for one in folded)
