"""The drawings of the pages: whole, within their frame, readable in light and in dark, and in the words of `words.toml`."""

import re
from html import unescape
from xml.etree import ElementTree as ET

import diagrams
import numpy as np
import pytest
import strips
from cells import AFTER, BEFORE, before_after

ARRAY = np.array([[0.5, -1.25, 0.0], [2.0, 0.25, -3.0]])
SHARES = np.array([[1.0, 0.0], [0.25, 0.75]])
DRAWINGS = {
    **{name: getattr(diagrams, name)() for name in (*diagrams.CONCEPTS[:5], "mask", *diagrams.CONCEPTS[6:], "block")},
    "rows": strips.rows({"x": np.tile(ARRAY, 3), "y": ARRAY}, ["cat", "[MASK]"], 1, "Two arrays."),
    "maps": strips.maps({"head 0": SHARES, "head 1": SHARES}, ["the", "cat"], 1, "Two heads."),
    "bars": strips.bars({"here": SHARES[1], "there": SHARES[0]}, ["the", "[MASK]"], (1, 0), "Two places."),
}
WIDEST = 0.62  # of a letter, in sizes of its font; a monospaced one is 0.6


def drawn(picture):
    """Return the drawing as a tree, and its width and height."""
    (tree,) = ET.fromstring(picture)
    _, _, width, height = map(float, tree.get("viewBox").split())
    return tree, width, height


def reach(part):
    """Return the corners of a part: of a text, as wide as it may be."""
    if part.tag == "text":
        x, y, size = (float(part.get(name)) for name in ("x", "y", "font-size"))
        wide = WIDEST * size * len(part.text or "") * (1 if part.get("font-family") else 0.9)
        left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[part.get("text-anchor")]
        return [(left, y - size / 2), (left + wide, y + size / 2)]
    if part.tag == "rect":
        x, y, width, height = (float(part.get(name)) for name in ("x", "y", "width", "height"))
        return [(x, y), (x + width, y + height)]
    if part.tag == "circle":
        x, y, radius = (float(part.get(name)) for name in ("cx", "cy", "r"))
        return [(x - radius, y - radius), (x + radius, y + radius)]
    return [tuple(map(float, point.split(","))) for point in part.get("points", "").split()]


@pytest.mark.parametrize("name", DRAWINGS)
def test_nothing_is_cut_off(name):
    """A drawing ends at its frame, and so would whatever reaches further."""
    tree, width, height = drawn(DRAWINGS[name])

    beyond = [
        (part.text or part.attrib, corner)
        for part in tree.iter()
        for corner in reach(part)
        if not (-1 <= corner[0] <= width + 1 and -1 <= corner[1] <= height + 1)
    ]
    assert beyond == []


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_telephone_shows_all_of_it(name):
    """No drawing is wider than a telephone shows without making it smaller."""
    _, width, _ = drawn(DRAWINGS[name])

    assert width <= diagrams.WIDTH


@pytest.mark.parametrize("name", DRAWINGS)
def test_colours_are_those_of_light_and_of_dark(name):
    """What is neither of the two colours of the pages is of the colour of the text around it."""
    found = set(re.findall(r'(?:fill|stroke)="(.*?)"', DRAWINGS[name]))

    assert found <= {AFTER, BEFORE, "currentColor", "none"}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_sentence_says_it(name):
    """Who cannot see a drawing is told what it shows, in a sentence."""
    tree, _, _ = drawn(DRAWINGS[name])

    assert re.fullmatch(r"[A-Z].+\.", tree.get("aria-label"))


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_with_links_is_no_image(name):
    """A reader of screens finds no links in an image."""
    tree, _, _ = drawn(DRAWINGS[name])

    assert tree.get("role") == ("img" if tree.find(".//a") is None else "group")


def test_a_block_leads_to_the_concepts():
    """Each stage to the page of its own."""
    tree, _, _ = drawn(DRAWINGS["block"])
    targets = {link.get("href").removesuffix(".md") for link in tree.iter("a")}

    assert "multi_head_attention" in targets
    assert targets < set(diagrams.CONCEPTS)


def test_every_concept_has_an_icon():
    """The reading order shows one beside each page."""
    assert list(diagrams.icons()) == list(diagrams.CONCEPTS)


def test_any_sentence_says_a_figure():
    """With quotes and signs of comparison in it too."""
    sentence = 'A "row" whose eps < 1 & more.'

    assert [unescape(alt) for alt in re.findall(r'alt="(.*?)"', before_after(ARRAY, ARRAY, (0,), sentence))] == [sentence]


def test_shades_have_one_measure():
    """An array of numbers half as large is half as dark beside another one, and its numbers are written out."""
    tree, _, _ = drawn(strips.rows({"x": ARRAY, "2 x": 2 * ARRAY}, ["cat", "mat"], None, "Two arrays."))
    shades = [float(part.get("fill-opacity")) for part in tree.iter("rect")]

    assert np.allclose(2 * np.array(shades[:6]), shades[6:], atol=0.011)
    assert [float(part.text) for part in tree.iter("text") if re.fullmatch(r"-?\d+\.\d\d", part.text)] == [
        *ARRAY.ravel().tolist(),
        *(2 * ARRAY).ravel().tolist(),
    ]


def test_a_weight_of_nothing_has_no_number():
    """A field that is empty is exactly 0, and one that is not has its share."""
    tree, _, _ = drawn(strips.maps({"head": SHARES}, ["the", "cat"], 0, "One head."))

    assert [part.text for part in tree.iter("text") if re.fullmatch(r"[\d.]+", part.text)] == ["1.00", ".25", ".75"]
