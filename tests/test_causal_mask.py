"""The causal mask: the reference, the bound, the inputs, what is shown of a mistake, and correct masks of several makes."""

from __future__ import annotations

import functools
import json
import re

import numpy as np
import pytest
import toise
import toise_reference
import toise_spec
import torch
from misbehaviours import failed, judged
from recipes_of import drawn
from toise import bounds
from toise.declarations import parse
from toise.errors import ToiseError
from toise.faults import catalogue
from toise.inputs import RECIPE_VERSION, Case, CausalMask, causal_mask_inputs
from toise.inputs.causal_mask import CHOICES, FIXED, USUAL
from toise.operations import OPERATIONS
from toise_reference import causal_mask

T, F = True, False
ALIGNMENTS = ("bottom-right", "top-left")
LENGTHS = (0, 1, 2, 3, 5, 8, 17)


def formula(n, m):
    """Return the bottom-right mask, as NumPy has it."""
    return np.tri(n, m, m - n, dtype=bool)


def of_lengths(mask):
    """Return a `causal_mask` that is `mask` of both lengths."""

    def causal_mask(n, m=None):
        return mask(n, n if m is None else m)

    return causal_mask


def counted(n, m, alignment):
    """Return which keys a query sees, one question at a time."""
    offset = m - n if alignment == "bottom-right" else 0
    return [[j <= i + offset for j in range(m)] for i in range(n)]


# --- The reference ------------------------------------------------------------------------------------

BY_HAND = {
    (1, None): [[T]],
    (2, None): [[T, F], [T, T]],
    (2, 2): [[T, F], [T, T]],
    (3, None): [[T, F, F], [T, T, F], [T, T, T]],
    (1, 3): [[T, T, T]],
    (1, 4): [[T, T, T, T]],
    (2, 5): [[T, T, T, T, F], [T, T, T, T, T]],
    (3, 2): [[F, F], [T, F], [T, T]],
    (5, 2): [[F, F], [F, F], [F, F], [T, F], [T, T]],
}


@pytest.mark.parametrize(("n", "m"), BY_HAND)
def test_the_masks_worked_out_by_hand(n, m):
    """Boolean, and of the shape [n, m]."""
    mask = causal_mask(n, m)

    assert mask.dtype == bool
    assert mask.tolist() == BY_HAND[n, m]


def test_the_masks_on_the_page_are_those_of_the_reference():
    """Every `causal_mask(...)` that a "Right" line gives in full."""
    found = 0
    for item in toise_spec.requirements().values():
        if item.slug != "causal_mask":
            continue
        for arguments, mask in re.findall(r"`causal_mask\(([^)]*)\)` is (?:`(\[\[.*?\]\])`)", item.right):
            n, m = re.fullmatch(r"(\d+)(?:, m=(\d+))?", arguments).groups()
            rows = [row.split(", ") for row in re.findall(r"\[([TF, ]+)\]", mask)]
            assert causal_mask(int(n), m and int(m)).tolist() == [[entry == "T" for entry in row] for row in rows], item.id
            found += 1

    assert found >= 5


@pytest.mark.parametrize(("n", "m"), [(0, None), (0, 0), (0, 3), (3, 0)])
def test_a_length_of_zero_gives_an_empty_mask(n, m):
    """Of its own shape: 0 is not None."""
    mask = causal_mask(n, m)

    assert mask.shape == (n, n if m is None else m)
    assert mask.dtype == bool


def test_lengths_may_be_numpy_integers_of_few_bits():
    """Nothing wraps around in m - n."""
    assert causal_mask(np.int8(100), np.uint8(200)).tolist() == formula(100, 200).tolist()
    assert causal_mask(np.uint8(200), m=np.uint8(100)).tolist() == formula(200, 100).tolist()


def test_each_call_gives_an_array_of_its_own():
    """Which its caller may write into."""
    first = causal_mask(3)
    first[:] = False

    assert causal_mask(3).any()


REFUSED = {
    "n below zero": ((-1,), ValueError, r"^n is -1; required: 0 or more$"),
    "m below zero": ((2, -1), ValueError, r"^m is -1; required: 0 or more$"),
    "a fraction": ((2.5,), TypeError, r"^n is 2\.5; required: a whole number$"),
    "a whole number as a float": ((2.0,), TypeError, r"^n is 2\.0; required: a whole number$"),
    "a truth value": ((2, True), TypeError, r"^m is True; required: a whole number$"),
    "a truth value of NumPy": ((np.True_,), TypeError, r"^n is np\.True_; required: a whole number$"),
    "a text": (("3",), TypeError, r"^n is '3'; required: a whole number$"),
    "an array": ((np.array([3]),), TypeError, r"^n is array\(\[3\]\); required: a whole number$"),
    "no n": ((None,), TypeError, r"^n is None; required: a whole number$"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_is_no_length_is_refused(mistake):
    """With the argument's name, what it is and what is required of it."""
    arguments, error, message = REFUSED[mistake]

    with pytest.raises(error, match=message):
        causal_mask(*arguments)


# --- The bound ----------------------------------------------------------------------------------------


def required(n, m, alignment="bottom-right"):
    """Return the value and the radius that an answer is held to."""
    lengths = {"n": n} if m is None else {"n": n, "m": m}
    declared = parse({"causal_mask": {"causal_alignment": alignment}}).operations["causal_mask"]
    return OPERATIONS["causal_mask"].required(Case("causal_mask", {}, lengths), declared, bounds.UNROUNDED)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_the_reference_and_the_bound_are_what_counting_gives(alignment):
    """Three ways to make a mask: by a triangle, by comparing places, and by one question after the other."""
    for n in LENGTHS:
        for m in (None, *LENGTHS):
            by_hand = np.array(counted(n, n if m is None else m, alignment), float).reshape(n, n if m is None else m)
            bounded = bounds.causal_mask(n, n if m is None else m, alignment)
            assert np.array_equal(bounded.value, by_hand)
            assert np.array_equal(required(n, m, alignment).value, by_hand)


def test_a_truth_value_has_no_radius():
    """A mask that is right is equal, and one entry that is wrong is outside."""
    for alignment in ALIGNMENTS:
        assert (required(5, 8, alignment).radius == 0).all()
        assert bounds.causal_mask(5, 8, alignment).value.dtype == np.float64


def test_where_the_two_computations_differ_the_run_stops(monkeypatch):
    """A slip in one of them is not taken for the backend's."""
    monkeypatch.setattr(toise_reference, "causal_mask", lambda n, m: np.tri(n, m, dtype=bool))

    with pytest.raises(ToiseError, match=r"^causal_mask\[0, 1\]: the reference computes .*0\.0.*, the bounds .*1\.0"):
        required(2, 3)


# --- The inputs ---------------------------------------------------------------------------------------


GOLDEN = {
    "causal_mask(n=2)": "56f7d17f9c8c685b",
    "causal_mask(n=2, m=3)": "c713f0cfb53b9dbd",
    "causal_mask(n=3, m=2)": "08fb39e34ae97841",
    "causal_mask(n=3)": "c237e91e70974161",
    "causal_mask(n=2, m=5)": "13560cc1a6061b51",
    "causal_mask(n=5, m=2)": "d39bf27c0b95b920",
    "causal_mask(n=1)": "60c33e153eeb6e51",
    "causal_mask(n=1, m=2)": "4422dd17d161df82",
    "causal_mask(n=1, m=17)": "44d00fa1b586f99a",
    "causal_mask(n=4, m=1)": "9e85a37ac5d8e01e",
    "causal_mask(n=4, m=4)": "90e8346ef3562eec",
    "causal_mask(n=2, m=600)": "58c75781cd81f4a6",
    "causal_mask(n=600, m=3)": "6e097119d7204183",
    "causal_mask(n=7, m=8)": "85081b3d69ad660f",
    "causal_mask(n=8, m=7)": "cd319fd004f054ba",
    "causal_mask(n=16)": "d8cccd36e0fdc7c6",
    "causal_mask(n=9, m=33)": "bd2d6151bd01cd93",
    "causal_mask(n=33, m=31)": "d31eb032823622c6",
    "causal_mask(n=65, m=64)": "f161ff3bfa3395f8",
    "causal_mask(n=5, m=100)": "20ed0cb721894318",
    "causal_mask(n=100)": "a7ba395d5ce8184f",
    "causal_mask(n=150, m=200)": "7bd1f6299e447d0a",
    "causal_mask(n=260)": "46d8b8d070622dd5",
    "causal_mask(n=64)": "6ace2266569f54d5",
}


def test_the_inputs_of_a_recipe_are_those_of_its_version():
    """Lengths and nothing else; another digest means other inputs under an old name."""
    assert RECIPE_VERSION == 1
    assert {str(recipe): recipe.build(np.array).digest.hex()[:16] for recipe in (*FIXED, USUAL)} == GOLDEN
    for recipe in FIXED:
        case = recipe.build(np.array)
        assert not case.arrays
        assert case.options == {"n": recipe.n} | ({} if recipe.m is None else {"m": recipe.m})


def test_the_fixed_lengths_differ_both_ways_and_stand_beside_block_edges():
    """Enough of each for a requirement that asks for one of them alone."""
    pairs = {(recipe.n, recipe.n if recipe.m is None else recipe.m) for recipe in FIXED}

    assert {np.sign(m - n) for n, m in pairs} == {-1, 0, 1}
    assert {(1, 2), (2, 3), (3, 2), (7, 8), (8, 7), (65, 64)} <= pairs
    assert sum(recipe.m is None for recipe in FIXED) >= 5
    assert max(n * m for n, m in pairs) <= 70_000


def test_recipes_print_as_the_code_that_makes_them_and_go_into_json():
    """Only what differs from the defaults."""
    for recipe in (*FIXED, *drawn(causal_mask_inputs().general), *drawn(causal_mask_inputs().tiny)):
        plain = json.loads(json.dumps(recipe.as_json()))
        assert eval(str(recipe), {"causal_mask": CausalMask}) == recipe  # noqa: S307 - the text is our own
        assert (plain.pop("operation"), plain.pop("version")) == ("causal_mask", RECIPE_VERSION)
        assert CausalMask(**plain) == recipe


def test_a_smaller_mask_weighs_less():
    """Among failures the report shows the one with the fewest entries."""
    order = [CausalMask(n=1), CausalMask(n=1, m=2), CausalMask(n=2), CausalMask(n=3, m=2), CausalMask(n=2, m=5), CausalMask(n=4)]

    assert sorted(order[3:] + order[:3], key=CausalMask.weight) == order
    assert (USUAL.rank, USUAL.numbers(), USUAL.elements()) == (0, 0, 64 * 64)


@pytest.mark.parametrize("order", ["n < m", "n > m"])
def test_lengths_are_put_in_order(order):
    """All of them, the fixed ones too; equal ones are one apart."""
    recipes = causal_mask_inputs(order)
    for recipe in (*recipes.fixed, *drawn(recipes.general), *drawn(recipes.tiny)):
        assert (recipe.n < recipe.m) == (order == "n < m")
        assert recipe.n != recipe.m


def test_a_restricted_length_is_one_of_the_choices_left():
    """And an unrestricted one is one of the module's."""
    recipes = causal_mask_inputs(n=(1, 6), m=(None, 9))
    for recipe in (*recipes.fixed, *drawn(recipes.general)):
        assert recipe.n in (1, 6)
        assert recipe.m in (None, 9)
    for recipe in drawn(causal_mask_inputs().general):
        assert recipe.n in CHOICES["n"]
        assert recipe.m in CHOICES["m"]


# --- The classic mistakes -----------------------------------------------------------------------------


def m_or_n(n, m=None):
    """Take a length of 0 for one that is not given."""
    return formula(n, m or n)


FORMULA = {"CAU-1", "CAU-3", "CAU-4", "CAU-6", "CAU-7", "CAU-8", "CAU-9"}
# name: the mask, and all the requirements that it breaks.
MISTAKES = {
    "whole numbers": (of_lengths(lambda n, m: formula(n, m).astype(np.uint8)), {"CAU-2"}),
    "opposite polarity": (of_lengths(lambda n, m: ~formula(n, m)), FORMULA),
    "top-left where n > m": (of_lengths(lambda n, m: np.tri(n, m, max(m - n, 0), dtype=bool)), {"CAU-8", "CAU-10"}),
    "m or n": (m_or_n, {"CAU-12"}),
}


def wrong(name):
    """Return a mask with a mistake: one of those above, or one of the catalogue."""
    return MISTAKES[name][0] if name in MISTAKES else catalogue()[f"causal_mask.{name}"].implementation()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_classic_mistake_breaks_what_is_about_it(name):
    """And nothing else."""
    mask, broken = MISTAKES[name]
    report = toise.verify({"causal_mask": mask}, operations=["causal_mask"])

    assert failed(report) == broken
    assert not report.passed


@pytest.mark.parametrize(
    ("name", "id", "recipe", "message"),
    [
        ("opposite polarity", "CAU-1", "causal_mask(n=2)", "mask[0, 0] is False; required True"),
        (
            "opposite polarity",
            "CAU-3",
            "causal_mask(n=3)",
            "False for the last query and the first key, True for the first query and the last key; required True and False",
        ),
        ("own_key_hidden", "CAU-4", "causal_mask(n=2)", "diagonal[0] is False; required True"),
        ("zeros_and_ones", "CAU-2", "causal_mask(n=2)", "dtype float32; required bool"),
        ("top_left", "CAU-6", "causal_mask(n=2, m=3)", "mask[0, 1] is False; required True"),
        ("top_left_for_one_query", "CAU-7", "causal_mask(n=1, m=2)", "mask[0, 1] is False; required True"),
        ("top-left where n > m", "CAU-8", "causal_mask(n=3, m=2)", "mask[0, 0] is True; required False"),
        (
            "groups_of_four",
            "CAU-9",
            "causal_mask(n=2)",
            "row 1 allows 2 keys, 2 of them among the 2 of the row above; required those 2 and one more",
        ),
        (
            "top_left",
            "CAU-10",
            "causal_mask(n=2, m=3)",
            "as a corner of the longer mask, entry [0, 1] is False; required True",
        ),
        (
            "places_in_bfloat16",
            "CAU-11",
            "causal_mask(n=258)",
            "mask[256, 257] is True, and mask[255, 256] False; required the same",
        ),
        ("m or n", "CAU-12", "causal_mask(n=2, m=0)", "shape (2, 2); required (2, 0)"),
        (
            "one_for_all",
            "CAU-13",
            "causal_mask(n=2)",
            "after a caller wrote into another one, an earlier mask[0, 0] is False; required True",
        ),
        ("m_ignored", "GEN-1", "causal_mask(n=2, m=3)", "shape (2, 2); required (2, 3)"),
    ],
)
def test_the_counterexample_can_be_checked_in_the_head(name, id, recipe, message):
    """Two lengths, and the entry that is wrong."""
    shown = judged({"causal_mask": wrong(name)}, [id], budget="standard").requirements[id].counterexample

    assert (shown.text, shown.message) == (recipe, message)


def test_an_undeclared_alignment_is_told_what_to_declare():
    """It is a choice, and holds as one; declared, the other mask is as wrong as this one was."""
    top_left = wrong("top_left")
    declared = {"causal_mask": {"causal_alignment": "top-left"}}
    shown = judged({"causal_mask": top_left}, ["CAU-6"], budget="standard").requirements["CAU-6"].counterexample

    assert shown.hint == 'it would hold if the backend declared __toise__ = {"causal_mask": {"causal_alignment": "top-left"}}'
    assert toise.verify({"causal_mask": top_left, "__toise__": declared}, operations=["causal_mask"]).passed
    other = toise.verify({"causal_mask": of_lengths(formula), "__toise__": declared}, operations=["causal_mask"])
    assert failed(other) == {"CAU-6", "CAU-7", "CAU-8", "CAU-10"}


def test_a_mask_that_is_shared_is_given_back_as_it_was():
    """The requirement that writes into masks spoils no other, and no later run."""
    mask = of_lengths(functools.cache(formula))
    for _ in range(2):
        assert failed(toise.verify({"causal_mask": mask}, operations=["causal_mask"])) == {"CAU-13"}

    assert mask(2).tolist() == BY_HAND[2, None]


# --- Correct masks ------------------------------------------------------------------------------------


def read_only(n, m, masks={}):  # noqa: B006 - kept on purpose: nobody can write into it
    """Hand out one mask for all callers, which none of them can change."""
    if (n, m) not in masks:
        masks[n, m] = formula(n, m)
        masks[n, m].flags.writeable = False
    return masks[n, m]


NUMPY = {
    "a triangle": of_lengths(lambda n, m: np.tril(np.ones((n, m), bool), m - n)),
    "the opposite of the other triangle": of_lengths(lambda n, m: ~np.triu(np.ones((n, m), bool), m - n + 1)),
    "places compared": of_lengths(lambda n, m: np.arange(m) <= np.arange(n)[:, None] + (m - n)),
    "places from the end": of_lengths(lambda n, m: np.arange(m)[::-1] >= np.arange(n)[::-1, None]),
    "a corner of the square": of_lengths(lambda n, m: formula(max(n, m), max(n, m))[max(n, m) - n :, max(n, m) - m :]),
    "the square beside what is kept": of_lengths(
        lambda n, m: np.hstack([np.ones((n, m - n), bool), formula(n, n)]) if n <= m else formula(n, m)
    ),
    "one question at a time": of_lengths(lambda n, m: np.array(counted(n, m, "bottom-right"), bool).reshape(n, m)),
    "in Fortran's order": of_lengths(lambda n, m: np.asfortranarray(formula(n, m))),
    "kept, but for reading alone": of_lengths(read_only),
}
TORCH = {
    "tril": of_lengths(lambda n, m: torch.ones(n, m, dtype=torch.bool).tril(m - n)),
    "triu, negated": of_lengths(lambda n, m: ~torch.ones(n, m, dtype=torch.bool).triu(m - n + 1)),
    "places compared": of_lengths(lambda n, m: torch.arange(m)[None] <= torch.arange(m - n, m)[:, None]),
    "numbers turned into truth values": of_lengths(lambda n, m: torch.tril(torch.ones(n, m), diagonal=m - n) == 1),
    "-inf turned into truth values": of_lengths(lambda n, m: torch.full((n, m), -torch.inf).triu(m - n + 1) == 0),
}


@pytest.mark.parametrize(
    ("arrays", "name"), [*(("numpy", name) for name in NUMPY), *(("torch", name) for name in TORCH)], ids=str
)
def test_a_correct_mask_passes_everything(arrays, name):
    """However it is made; no warning either."""
    mask = {"numpy": NUMPY, "torch": TORCH}[arrays][name]
    for seed in range(2):
        report = toise.verify({"causal_mask": mask, "__toise__": {"arrays": arrays}}, operations=["causal_mask"], seed=seed)
        assert {row.outcome for row in report.results if not row.excluded} == {"PASS"}


def test_a_mask_for_squares_alone_is_judged_on_squares():
    """What needs m is not provided, and is no failure."""
    report = toise.verify({"causal_mask": lambda n: formula(n, n)}, operations=["causal_mask"])
    outcomes = {id: verdict.outcome for id, verdict in report.requirements.items() if id.startswith("CAU")}

    assert report.passed
    assert {id for id, outcome in outcomes.items() if outcome == "PASS"} == {
        "CAU-1", "CAU-2", "CAU-3", "CAU-4", "CAU-9", "CAU-11", "CAU-13"
    }  # fmt: skip
    assert {outcomes[f"CAU-{number}"] for number in (5, 6, 7, 8, 10, 12)} == {"NOT PROVIDED"}


def test_the_mask_is_judged_once_whatever_dtypes_are_chosen():
    """No floating-point number goes in or comes out."""
    report = toise.verify({"causal_mask": of_lengths(formula)}, operations=["causal_mask"], dtypes=["float64", "float32"])

    assert {row.dtype for row in report.results if row.operation == "causal_mask"} == {"bool"}
    assert [row.requirement for row in report.results if row.requirement == "CAU-1"] == ["CAU-1"]


# --- Every causal=True --------------------------------------------------------------------------------


def attention_with(order, empty=None):
    """Return an attention whose causal=True has that order, and whose queries without keys give that number."""

    def attention(q, k, v, *, mask=None, causal=False, scale=None):
        n, m = q.shape[-2], k.shape[-2]
        allowed = np.ones((n, m), bool) if mask is None else mask
        allowed = np.broadcast_to(allowed & order(n, m) if causal else allowed, (*q.shape[:-1], m))
        result = toise_reference.attention(q, k, v, mask=np.ascontiguousarray(allowed), scale=scale)
        if empty is not None:
            result[~allowed.any(-1)] = empty
        return result

    return attention


CAUSAL = ["ATT-14", "ATT-15", "ATT-16", "ATT-17", "ATT-18", "CAU-14"]
ORDERS = {
    "right": (attention_with(formula), set()),
    "top-left": (attention_with(lambda n, m: np.tri(n, m, dtype=bool)), {"ATT-14", "ATT-17", "CAU-14"}),
    "future seen": (
        attention_with(lambda n, m: np.tri(n, m, m - n + 1, dtype=bool)),
        {"ATT-14", "ATT-15", "ATT-16", "ATT-17", "CAU-14"},
    ),
    "own key hidden": (
        attention_with(lambda n, m: np.tri(n, m, m - n - 1, dtype=bool)),
        {"ATT-14", "ATT-16", "ATT-17", "CAU-14"},
    ),
    "no order": (attention_with(lambda n, m: np.ones((n, m), bool)), {"ATT-14", "ATT-15", "ATT-16", "ATT-17", "CAU-14"}),
    "NaN without keys": (attention_with(formula, empty=np.nan), {"ATT-18"}),
    "ones without keys": (attention_with(formula, empty=1.0), {"ATT-18"}),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_causal_failure_is_not_taken_for_one_of_an_empty_row(name):
    """A wrong order breaks what is about the order, a wrong answer for a query without keys what is about that."""
    attention, broken = ORDERS[name]

    assert failed(judged({"attention": attention}, CAUSAL, budget="standard")) == broken


def test_causal_is_held_to_the_mask_in_the_alignment_that_is_declared():
    """For the attention, whatever the mask's own operation declares."""
    declared = {"attention": {"causal_alignment": "top-left"}}
    attention, mask = ORDERS["top-left"][0], of_lengths(formula)

    report = judged({"attention": attention, "causal_mask": mask, "__toise__": declared}, ["CAU-14", "CAU-6"], budget="standard")
    assert {row.outcome for row in report.results} == {"PASS"}


def test_without_a_mask_there_is_nothing_to_hold_causal_to():
    """An attention that knows the order alone is not asked."""

    def attention(q, k, v, *, causal=False):
        return toise_reference.attention(q, k, v, causal=causal)

    (row,) = judged({"attention": attention}, ["CAU-14"]).results
    assert (row.outcome, row.reason) == ("NOT PROVIDED", "no option mask")
