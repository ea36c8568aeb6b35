"""The specification: its pages hold what they must, and its loader refuses what is malformed."""

import re
from pathlib import Path

import pytest
import toise_spec
from toise.bounds import CLASSES, PRECISIONS
from toise.bounds import TRAITS as ALLOWED
from toise.declarations import TRAITS
from toise.operations import ALWAYS, OPERATIONS
from toise_spec import SpecError, parse

HEADINGS = ["The formula", "The operation", "Degenerate cases", "What a backend may declare", "Requirements"]


def pages():
    """Return the text of every page by its slug."""
    names = [path.stem for path in Path(toise_spec.__file__).parent.glob("*.md")]
    return {name: toise_spec.page(name) for name in names}


def numbers_of(slug):
    """Return the numbers of a page's requirements, in the order of its text."""
    return [int(number) for number in re.findall(r"^### [A-Z]+-(\d+) ", toise_spec.page(slug), re.MULTILINE)]


# --- The pages ----------------------------------------------------------------------------------------


def test_every_page_can_be_read():
    """And has a title."""
    assert {"attention", "changes", "general", "layer_norm", "notation"} <= pages().keys()
    assert all(text.startswith("# ") for text in pages().values())


def test_requirements_come_by_page_and_number():
    """The order in which they are listed everywhere."""
    found = list(toise_spec.requirements().values())

    assert found == sorted(found, key=lambda item: (item.slug, item.number))
    assert [item.id for item in found] == list(toise_spec.requirements())


@pytest.mark.parametrize("slug", sorted({item.slug for item in toise_spec.requirements().values()}))
def test_the_numbers_of_a_page_are_consecutive(slug):
    """From 1, in order, with no gap but for withdrawn ones."""
    numbers = numbers_of(slug)
    (prefix,) = {item.prefix for item in toise_spec.requirements().values() if item.slug == slug}
    withdrawn = [
        int(number) for number in re.findall(rf"^- `{prefix}-(\d+)` withdrawn", toise_spec.page("changes"), re.MULTILINE)
    ]

    assert numbers == sorted(numbers)
    assert sorted(numbers + withdrawn) == list(range(1, len(numbers) + len(withdrawn) + 1))


def test_no_requirement_is_written_where_the_loader_does_not_look():
    """Every anchor of a page is that of a requirement: a heading of another level would lose one."""
    anchors = [anchor for text in pages().values() for anchor in re.findall(r"\{ ?#(\S+?) ?\}", text)]

    assert sorted(anchors) == sorted(toise_spec.requirements())


def test_every_field_holds_what_it_should():
    """A level that is known, a sentence that ends, a version of the specification, and text in all the rest."""
    for item in toise_spec.requirements().values():
        assert item.level in toise_spec.LEVELS, item.id
        assert item.sentence.endswith("."), item.id
        assert re.fullmatch(r"\d+\.\d+", item.since), item.id
        assert all((item.why, item.right, item.wrong, item.exceptions, item.source)), item.id
        assert item.id == f"{item.prefix}-{item.number}"


@pytest.mark.parametrize("slug", sorted({operation.concept for operation in OPERATIONS.values()}))
def test_a_concept_page_has_the_headings_of_all_concept_pages(slug):
    """In one order, so that a reader finds each thing in its place."""
    assert re.findall(r"^## (.+)$", toise_spec.page(slug), re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_concept_page_gives_the_signature_of_its_operations(name):
    """The call as it is written, with the defaults of its options."""
    operation = OPERATIONS[name]
    options = [option if default is ALWAYS else f"{option}={default!r}" for option, default in operation.options.items()]
    signature = f"{name}({', '.join((*operation.data, *(['*'] if options else []), *options))})"

    assert signature.replace("1e-05", "1e-5").replace("n, *, m=None", "n, m=None") in toise_spec.page(operation.concept)


@pytest.mark.parametrize("slug", sorted({operation.concept for operation in OPERATIONS.values()}))
def test_a_concept_page_says_what_an_empty_call_gives(slug):
    """Among its degenerate cases, most of which are a requirement of every operation."""
    assert "GEN-8" in toise_spec.page(slug).split("## Degenerate cases")[1].split("\n## ")[0]


def table(page, heading):
    """Return the rows of the table under a heading: its first cell's code, and the other cells."""
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", page.split(f"## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in rows}


def test_the_classes_and_traits_of_the_page_are_those_of_the_code():
    """In the order from the strictest to the widest, with the dtypes and the operations that have them."""
    page = toise_spec.page("general")
    classes, traits = table(page, "Precision classes"), table(page, "Traits")

    assert tuple(classes) == CLASSES
    for kind, (dtypes, *_) in classes.items():
        assert set(dtypes.split(", ")) == {dtype for dtype, kinds in PRECISIONS.items() if kind in kinds}
    assert set(traits) == set(ALLOWED)
    for trait, (operations, _) in traits.items():
        spelled = operations.replace("those two", ", ".join(f"`{name}`" for name in ("attention", "multi_head_attention")))
        assert re.findall(r"`(\w+)`", spelled) == [name for name in TRAITS if trait in TRAITS[name]]


def test_every_link_between_pages_leads_somewhere():
    """To a page that is there, and to an anchor or a heading on it."""
    for slug, text in pages().items():
        for target, anchor in re.findall(r"\]\((\w+)\.md(?:#([^)]+))?\)", text):
            assert target in pages(), f"{slug}.md links to {target}.md"
            headings = [
                re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
                for title in re.findall(r"^#+ (.+)$", pages()[target], re.MULTILINE)
            ]
            known = (*toise_spec.requirements(), *headings)
            assert not anchor or anchor in known, f"{slug}.md links to {target}.md#{anchor}"
            assert anchor not in toise_spec.requirements() or toise_spec.requirement(anchor).slug == target, (
                f"{slug}.md links to {anchor} on {target}.md"
            )


def test_a_link_reads_as_the_requirement_that_it_leads_to():
    """[LN-3](layer_norm.md#LN-3), and not another number."""
    for slug, text in pages().items():
        for shown, target in re.findall(r"\[([A-Z]+-\d+)\]\(\w+\.md#([^)]+)\)", text):
            assert shown == target, f"{slug}.md"


def test_the_changes_name_the_current_version():
    """As the current one, and with a section of its own that counts the requirements it brought."""
    text = toise_spec.page("changes")
    section = re.split(r"^## ", text, flags=re.MULTILINE)

    assert f"The current version is **{toise_spec.VERSION}**." in text
    for version in {item.since for item in toise_spec.requirements().values()} | {toise_spec.VERSION}:
        (brought,) = (part for part in section if part.startswith(f"{version}\n"))
        for slug in sorted({item.slug for item in toise_spec.requirements().values()}):
            ids = [item.id for item in toise_spec.requirements().values() if item.since == version and item.slug == slug]
            assert not ids or f"({slug}.md): {ids[0]} to {ids[-1]}" in brought


# --- The loader ---------------------------------------------------------------------------------------


def entry(id="LN-1", *, heading="### {id} {{ #{id} }}", level="MUST", **fields):
    """Return the text of a requirement; a field of None is left out."""
    given = {"Why": "a", "Right": "b", "Wrong": "c", "Exceptions": "d", "Source": "e", "Since": "0.1", **fields}
    lines = [f"- **{name}:** {text}" for name, text in given.items() if text is not None]
    return "\n".join([heading.format(id=id), "", f"**{level}:** It holds.", "", *lines, "", ""])


def test_a_well_formed_page_is_read():
    """What surrounds the requirements is left alone, and a field may go on in the next line."""
    text = (
        "# Title\n\n## Requirements\n\n"
        + entry(Why="One line\n  and the next.")
        + entry("LN-2", level="SHOULD")
        + "## After\n\n- **Why:** text.\n"
    )
    first, second = parse({"layer_norm": text}).values()

    assert first == toise_spec.Requirement(
        "LN-1", "layer_norm", "MUST", "It holds.", "One line and the next.", "b", "c", "d", "e", "0.1"
    )
    assert (second.id, second.level, second.since) == ("LN-2", "SHOULD", "0.1")


def test_requirements_are_sorted_by_number_and_not_as_text():
    """LN-10 comes after LN-2."""
    assert list(parse({"a": entry("LN-10") + entry("LN-2")})) == ["LN-2", "LN-10"]


def test_a_withdrawn_id_may_be_mentioned():
    """Old pages and changes speak of it."""
    pages = {"layer_norm": entry(Why="it replaces LN-7"), "changes": "- `LN-7` withdrawn in 0.2, replaced by `LN-1`: why\n"}

    assert list(parse(pages)) == ["LN-1"]


REFUSED = {
    "an id given twice on one page": ({"a": entry() + entry()}, r"^a\.md: LN-1 is already given in a\.md; an id is used once$"),
    "an id given on two pages": ({"a": entry(), "b": entry()}, r"^b\.md: LN-1 is already given in a\.md; an id is used once$"),
    "a withdrawn id used again": (
        {"a": entry(), "changes": "- `LN-1` withdrawn in 0.2\n"},
        r"^a\.md: LN-1 was withdrawn, and an id is never used again; take the next number$",
    ),
    "a mention of an unknown id": ({"a": entry(Why="as in LN-99")}, r"^a\.md: mentions LN-99, which is not a requirement$"),
    "a mention on a page without requirements": (
        {"a": entry(), "notation": "See LN-40."},
        r"^notation\.md: mentions LN-40, which is",
    ),
    "a heading without an anchor": ({"a": entry(heading="### {id}")}, r"^a\.md: '### LN-1' should read '### LN-3 \{ #LN-3 \}'$"),
    "a heading with a title": ({"a": entry(heading="### {id} The formula {{ #{id} }}")}, r"should read '### LN-3 \{ #LN-3 \}'$"),
    "an anchor that differs": (
        {"a": entry(heading="### {id} {{ #LN-2 }}")},
        r"in '### LN-1 \{ #LN-2 \}' the id should look like LN-3, and the anchor should repeat it$",
    ),
    "an id in lower case": ({"a": entry("ln-1")}, "the id should look like LN-3"),
    "an id with a leading zero": ({"a": entry("LN-01")}, "the id should look like LN-3"),
    "an id of zero": ({"a": entry("LN-0")}, "the id should look like LN-3"),
    "a missing field": ({"a": entry(Wrong=None)}, r"^a\.md, LN-1: has no Wrong$"),
    "two missing fields": ({"a": entry(Why=None, Since=None)}, r"^a\.md, LN-1: has no Why, Since$"),
    "an unknown field": (
        {"a": entry(Because="f")},
        r"^a\.md, LN-1: '- \*\*Because:\*\* f' should be '- \*\*Name:\*\* text', once for each of Why, ",
    ),
    "a doubled field": (
        {"a": entry(Since="0.1\n- **Why:** again")},
        r"^a\.md, LN-1: '- \*\*Why:\*\* again' should be .* once for each of",
    ),
    "an empty field": ({"a": entry(Why="")}, r"^a\.md, LN-1: '- \*\*Why:\*\*' should be"),
    "an unknown level": (
        {"a": entry(level="OUGHT")},
        r"^a\.md, LN-1: should begin with '\*\*MUST:\*\* sentence', the level one of MUST, SHOULD, MAY$",
    ),
    "a level in lower case": ({"a": entry(level="must")}, "should begin with"),
    "no sentence": ({"a": "### LN-1 { #LN-1 }\n"}, "should begin with"),
    "text before the sentence": (
        {"a": entry().replace("**MUST", "Some words.\n\n**MUST")},
        "'Some words.' stands before the sentence$",
    ),
    "two prefixes on one page": ({"a": entry() + entry("ATT-1")}, r"^a\.md: one page has one prefix, but this one has ATT, LN$"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_the_loader_refuses(mistake):
    """And says on which page, what is wrong, and what it should be."""
    texts, message = REFUSED[mistake]

    with pytest.raises(SpecError, match=message):
        parse(texts)


@pytest.mark.parametrize("prefix", ["LN", "GEN", "MHA", "RES"])
def test_a_mention_is_checked_whatever_its_prefix(prefix):
    """A prefix that a new page brings needs no line of code."""
    with pytest.raises(SpecError, match=rf"^b\.md: mentions {prefix}-99, which is not a requirement$"):
        parse({"a": entry(f"{prefix}-1"), "b": f"See {prefix}-99."})


def test_what_only_looks_like_a_number_of_a_requirement_is_let_be():
    """Names of formats and papers have letters and numbers too."""
    assert parse({"a": entry(Why="RFC-2119, IEEE-754, UTF-8, BLN-7 and LN-1a")})


@pytest.mark.parametrize(
    ("id", "hint"),
    [
        ("LN-99", r"did you mean LN-9\b"),
        ("ln-3", r"did you mean LN-3\b"),
        ("ATT_4", r"did you mean .*ATT-4\b"),
        ("convolution", "`toise list` shows all of them"),
    ],
)
def test_an_unknown_id_gets_a_suggestion(id, hint):
    """The nearest ones, or where to find all."""
    with pytest.raises(SpecError, match=rf"^the specification {toise_spec.VERSION} has no requirement '{id}'; .*{hint}"):
        toise_spec.requirement(id)


def test_an_unknown_page_gets_a_list():
    """Of the pages that there are."""
    with pytest.raises(SpecError, match="no page 'layernorm'; it has attention, "):
        toise_spec.page("layernorm")
