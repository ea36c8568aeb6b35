"""The residual connection: its reference, its bound, its inputs, and the mistakes that its requirements name."""

import ml_dtypes
import numpy as np
import pytest
import toise
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from misbehaviours import judged
from recipes_of import digest
from soundness.campaign import result
from soundness.machine import Machine
from soundness.residual import ORGANISATIONS
from toise.bounds import PRECISIONS
from toise.bounds import residual as bound
from toise.engine import properties
from toise.inputs import Residual, residual, residual_inputs
from toise_reference import residual as reference
from within import built, ratio, rounded

SEARCH = settings(max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
CLASSES = [(dtype, name) for dtype, classes in PRECISIONS.items() for name in classes]
KINDS = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


# --- The reference ------------------------------------------------------------------------------------

BY_HAND = {
    "RES-1 an output of its own": ([[1, 2]], lambda a: a * 0 + np.array([[10, 20]], a.dtype), [[11, 22]]),
    "RES-2 zeros": ([[1, 3]], lambda a: 0 * a, [[1, 3]]),
    "RES-3 doubled": ([[1, -2]], lambda a: 2 * a, [[3, -6]]),
    "RES-6 scaled": ([[-1024, -3072]], lambda a: 0 * a - 1024, [[-2048, -4096]]),
    "RES-7 two positions": ([[1], [2]], lambda a: np.array([[10], [20]], a.dtype), [[11], [22]]),
    "RES-7 another first one": ([[7], [2]], lambda a: np.array([[0], [20]], a.dtype), [[7], [22]]),
    "RES-8 the argument itself": ([[1, 2]], lambda a: a, [[2, 4]]),
    "taken back": ([[1, 2]], lambda a: -a, [[0, 0]]),
    "one axis": ([1, 2], lambda a: a + 1, [3, 5]),
    "no rows": (np.zeros((2, 0, 3)), lambda a: a, np.zeros((2, 0, 3))),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("row", BY_HAND)
def test_the_numbers_on_the_page_are_what_the_reference_gives(row, dtype):
    """They are whole, so that nothing is rounded; the result has the dtype of x, and x stays as it was."""
    numbers, sublayer, required = BY_HAND[row]
    x = np.array(numbers, dtype)
    got = reference(x, sublayer)

    assert got.dtype == dtype
    assert got.tolist() == np.array(required, float).tolist()
    assert x.tolist() == np.array(numbers, float).tolist()
    assert not np.shares_memory(got, x)


def test_the_wrong_numbers_on_the_page_are_what_the_mistakes_give():
    """Whoever prints a connection with the mistake sees the number that the page names."""
    pair, doubled = np.array([[1.0, 3.0]]), lambda a: 2 * a

    assert normalised(pair).round(4).tolist() == [[-1, 1]]
    assert (np.array([[1, -2]]) + normalised(np.array([[2.0, -4.0]]))).round(4).tolist() == [[2, -3]]
    assert 1 + doubled(doubled(1)) == 5
    assert normalised(np.array([[2.0, 4.0]])).round(4).tolist() == [[-1, 1]]
    assert normalised(np.array([[-2048.0, -4096.0]])).round(4).tolist() == [[1, -1]]
    assert [np.mean([1, 2]) + 20, np.mean([7, 2]) + 20] == [21.5, 24.5]


def test_the_sublayer_is_given_x_and_called_once():
    """The array itself, whatever the sublayer makes of it."""
    x, given = np.ones((2, 3)), []
    reference(x, lambda a: given.append(a) or a)

    assert len(given) == 1
    assert given[0] is x


REFUSED = {
    "no function": (np.ones((1, 2)), np.ones((1, 2)), TypeError, r"^sublayer is array\(.*\); required: a function$"),
    "another shape": (
        np.ones((1, 2)),
        lambda a: a[..., :1],
        ValueError,
        r"^sublayer gave shape \(1, 1\); required: \(1, 2\), as it was given$",
    ),
    "another rank": (np.ones((1, 2)), lambda a: a[0], ValueError, r"^sublayer gave shape \(2,\); required: \(1, 2\), as it was"),
    "another dtype": (
        np.ones((1, 2), np.float32),
        lambda a: a.astype(float),
        TypeError,
        r"^sublayer gave dtype float64; required: float32, as it was given$",
    ),
    "a number": (np.ones((1, 2)), lambda a: 1.0, TypeError, r"^sublayer gave a float; required: a NumPy array$"),
    "nothing": (np.ones((1, 2)), lambda a: None, TypeError, r"^sublayer gave a NoneType; required: a NumPy array$"),
    "x as a list": ([[1.0]], lambda a: a, TypeError, r"^x is a list; required: a NumPy array$"),
    "x of rank 0": (np.array(1.0), lambda a: a, ValueError, r"^x has shape \(\); required: \[\.\.\., d\]$"),
    "x of no features": (np.ones((2, 0)), lambda a: a, ValueError, r"^x has shape \(2, 0\); required: d of 1 or more$"),
    "x of whole numbers": (np.ones((2, 1), int), lambda a: a, TypeError, r"^got x int64; required: one floating-point dtype"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_malformed_call_is_refused(mistake):
    """With what it is and what is required of it; a sublayer whose output would broadcast is among them."""
    x, sublayer, error, message = REFUSED[mistake]

    with pytest.raises(error, match=message):
        reference(x, sublayer)


# --- The bound ----------------------------------------------------------------------------------------


def in_dtype(case, dtype):
    """Add in the dtype itself, with one rounding."""
    kind = "STEPWISE" if "STEPWISE" in PRECISIONS[dtype] else "STRICT"
    return result(ORGANISATIONS["in order"], Machine(dtype, kind), case)


numbers = arrays(np.float32, 2, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


@SEARCH
@given(numbers, numbers)
def test_an_addition_stays_within_its_radius_for_numbers_of_any_size(x, output):
    """Subnormal numbers, sums that cancel and sums that overflow among them."""
    for dtype, name in CLASSES:
        a, b = (rounded(part.astype(np.float64), dtype) for part in (x, output))
        if not np.isfinite([a, b]).all():
            continue
        with np.errstate(all="ignore"):
            required = bound(a, b, PRECISIONS[dtype][name])
            got = (a.astype(KINDS[dtype]) + b.astype(KINDS[dtype])).astype(np.float64)
        assert ratio(got, required) <= 1, (dtype, name)
        assert (np.isfinite(required.radius) | (np.abs(a + b) > 0.99 * PRECISIONS[dtype][name].storage.huge)).all()


@pytest.mark.parametrize(
    ("dtype", "unit"), [("float64", 2.0**-52), ("float32", 2.0**-24), ("float16", 2.0**-11), ("bfloat16", 2.0**-8)]
)
def test_the_radius_is_one_rounding(dtype, unit):
    """Half a unit in the last place of the sum, and a thousandth more; in float64, that of the value beside it too."""
    case = built(Residual(lead=(9,), d=64, content="normal"), dtype)
    for precision in PRECISIONS[dtype].values():
        required = bound(case.x, case.sublayer, precision)
        assert (required.radius <= 1.001 * unit * np.abs(required.value) + 4 * precision.storage.tiny).all()


def test_the_radius_is_attained():
    """Correct results lie at its very edge: no radius could be smaller by more than a tenth."""
    for dtype in ("float32", "bfloat16"):
        case = built(Residual(lead=(9,), d=64, content="normal"), dtype)
        assert 0.9 < ratio(in_dtype(case, dtype), bound(case.x, case.sublayer, next(iter(PRECISIONS[dtype].values())))) <= 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_second_rounding_leaves_the_radius(dtype):
    """A sum that goes through a format of a bit less, and one that is off by a unit in the last place."""
    case = built(Residual(lead=(9,), d=64, content="normal"), dtype)
    required = bound(case.x, case.sublayer, next(iter(PRECISIONS[dtype].values())))
    fraction, exponent = np.frexp(in_dtype(case, dtype))
    bits = {"float32": 24, "bfloat16": 8}[dtype]
    coarse = np.ldexp(np.round(np.ldexp(fraction, bits - 1)), exponent - bits + 1)

    assert ratio(coarse, required) > 1
    assert ratio(in_dtype(case, dtype) + np.ldexp(1.0, exponent - bits), required) > 1


def test_what_is_subnormal_may_be_flushed_and_what_may_overflow_is_excused():
    """Hardware does the one, and no format can help the other."""
    tiny, huge, strict = np.array([2.0**-130]), np.array([2.0**127]), PRECISIONS["float32"]["STRICT"]

    assert ratio(np.zeros(1), bound(tiny, tiny, strict)) <= 1
    assert np.isposinf(bound(huge, huge, strict).radius).all()
    assert np.isfinite(bound(huge, -huge, strict).radius).all()


# --- The inputs ---------------------------------------------------------------------------------------

GOLDEN = {
    "residual(literal=(1.0, -2.0, 3.0, 0.5))": "1a0801b7552c6612",
    "residual(lead=(2,), literal=(1.0, -3.0), d=1, output='double')": "d1fa9de55d00a17d",
    "residual(lead=(2,), content='ramp', d=3)": "8c807ce6db8abe48",
    "residual(lead=(3,), content='normal', seed=1, d=4, output='zero')": "23bf817c9456e2a1",
    "residual(lead=(2, 3), content='integers', seed=2, d=5)": "4dffe03a309783f6",
    "residual(lead=(), content='normal', seed=3, d=6)": "61d584648baadebd",
    "residual(lead=(4,), content='outlier', seed=4, d=7, output='double')": "267797b80c5ce0dd",
    "residual(lead=(3,), content='offset', seed=5, d=8, output='negative')": "c776b25ce5480ddf",
    "residual(lead=(5,), content='normal', seed=6, d=16, output='near')": "71a589070b8a00b5",
    "residual(lead=(2, 2, 3), content='normal', seed=7, d=17, output='tiny')": "cbc0b12f6f4ad451",
    "residual(lead=(7,), content='normal', seed=8, d=33, output='loud')": "9c473930ce7de097",
    "residual(lead=(130,), content='integers', seed=9, d=3)": "e99cc312707ba6b3",
    "residual(lead=(2, 2), content='normal', exponent=6, seed=10, d=255)": "2cc1b898a3ce9429",
    "residual(lead=(9,), content='normal', exponent=-6, seed=11, d=768)": "5c022253e3d85e8d",
    "residual(lead=(2, 16), content='normal', d=64)": "64ef82ab0eb6cf2e",
    "residual(lead=(3,), content='padding', seed=12)": "083c5f7a33f2ecd1",
    "residual(content='normal', seed=13, d=257)": "fe091ef53ab4d2e6",
    "residual(content='normal', seed=14, d=1023)": "6e57178d417d56eb",
    "residual(lead=(577,), content='normal', seed=15, d=1)": "ff6b07d002969e91",
    "residual(lead=(2, 130), content='normal', seed=16)": "2052f7ac1c44ac82",
    "residual(lead=(513,), content='normal', seed=17, d=129)": "7b593dbadabed53c",
}


def golden_recipes():
    """Return the recipes whose arrays are written down."""
    return [*residual.FIXED, *residual.LARGE, residual.USUAL]


def test_the_arrays_of_a_recipe_are_those_of_its_version():
    """Another digest means other inputs under an old name."""
    assert {str(recipe): digest(recipe) for recipe in golden_recipes()} == GOLDEN


def test_every_kind_has_a_golden_digest():
    """A new kind needs a recipe and a digest."""
    for name in ("content", "output"):
        assert set(residual.CHOICES[name]) <= {getattr(recipe, name) for recipe in golden_recipes()}, name


def test_every_dtype_holds_the_numbers_of_a_recipe_exactly():
    """They are rounded once, when they are made, and multiples of x are exact."""
    for recipe in golden_recipes():
        for dtype in ("float32", "bfloat16"):
            case = built(recipe, dtype)
            for array in case.arrays.values():
                assert np.array_equal(rounded(array, dtype), array)
                assert np.isfinite(array).all()
            if recipe.output in residual.MULTIPLES:
                assert np.array_equal(case.sublayer, residual.MULTIPLES[recipe.output] * case.x)


def test_the_kinds_are_what_they_say():
    """An output of its own, one that nearly takes x back, a small one and a large one."""
    kinds = {kind: Residual(lead=(4,), d=8, content="normal", output=kind).build(np.array) for kind in residual.CHOICES["output"]}
    size = {kind: np.abs(case.sublayer).max() / np.abs(case.x).max() for kind, case in kinds.items()}

    assert 0.3 < size["other"] < 3
    assert size["tiny"] < 2.0**-12
    assert size["loud"] > 2.0**12
    assert np.abs(kinds["near"].x + kinds["near"].sublayer).max() < np.abs(kinds["near"].x).max() / 64


@pytest.mark.parametrize("field", ["content", "output"])
def test_an_unknown_kind_is_refused(field):
    """A slip of the pen in a requirement's inputs is an error, and the message says what there is."""
    with pytest.raises(ValueError, match=r"^unknown .*'colourful'; required: "):
        Residual(**{"content": "ramp", field: "colourful"}).build(np.array)


# --- The mistakes -------------------------------------------------------------------------------------


def normalised(x):
    """Return rows of mean 0 and variance 1."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def written_into_x(x, sublayer):
    """Add the output to the caller's array."""
    x += sublayer(x)
    return x.copy()


# What the catalogue of faults does not have.  Each with what it fails: first the requirement that is about it, then the others.
MISTAKES = {
    "a ReLU after the sum (classic mistake)": (
        lambda x, sublayer: np.maximum(x + sublayer(x), 0),
        ["RES-6", "RES-1", "RES-2", "RES-3"],
    ),
    "the sublayer given float64 (classic mistake)": (
        lambda x, sublayer: (x + sublayer(x.astype(np.float64))).astype(x.dtype),
        ["RES-4"],
    ),
    "the sum clipped to float16's range (classic mistake)": (
        lambda x, sublayer: np.clip(x + sublayer(x), -65504, 65504),
        ["RES-6"],
    ),
    "written into the caller's x (GeeeekExplorer/nano-vllm#170, in another place)": (written_into_x, ["RES-8", "GEN-4"]),
}
EVERY = ["GEN-4", *(prop.id for prop in properties() if prop.operations == ("residual",))]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    """The requirement that is about it fails, with the others that are listed, and no more."""
    wrong, failed = MISTAKES[name]
    report = judged({"residual": wrong}, ["GEN-1", "GEN-2", *EVERY])

    assert [row.requirement for row in report.results if row.outcome == "FAIL"] == sorted(failed, key=EVERY.index)


def test_a_sublayer_that_is_never_called_is_not_said_to_be_given_x():
    """RES-4 has nothing to look at, and says so instead of passing."""
    report = judged({"residual": lambda x, sublayer: x + x}, ["RES-4"])

    assert [row.outcome for row in report.results] == ["NOT RUN"]


# --- Correct connections ------------------------------------------------------------------------------


def torch_add(x, sublayer):
    """Use torch's function, the output first."""
    return torch.add(sublayer(x), x)


def torch_in_place(x, sublayer):
    """Add in place to what came back, unless that is x or a view of it."""
    y = sublayer(x)
    shared = y.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    return y + x if shared else y.add_(x)


def through_a_copy(x, sublayer):
    """Give the sublayer a copy in another memory layout."""
    return x + sublayer(np.asfortranarray(x))


def by_rows(x, sublayer):
    """Loop over the positions, once the sublayer has seen them all."""
    output, y = sublayer(x), np.empty_like(x)
    assert output.shape == x.shape
    for at in np.ndindex(x.shape[:-1]):
        y[at] = output[at] + x[at]
    return y


TORCH = {"arrays": "torch", "dtypes": ["float32", "bfloat16"]}
CORRECT = {
    "torch.add": (torch_add, TORCH),
    "torch, in place where it may": (torch_in_place, TORCH),
    "torch, in bfloat16 steps": (torch_add, {**TORCH, "residual": {"precision": {"bfloat16": "STEPWISE"}}}),
    "a copy in another layout": (through_a_copy, {}),
    "by rows": (by_rows, {}),
}


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_connection_passes_everything(name):
    """MUST and SHOULD, in every dtype that it declares."""
    function, declared = CORRECT[name]
    report = toise.verify({"residual": function}, operations=["residual"], budget="smoke", declare=declared)

    assert [(r.requirement, r.dtype, r.counterexample.message) for r in report.results if r.counterexample] == []
    assert report.passed


def test_the_inputs_of_the_connection_are_those_of_the_suite():
    """`residual_inputs` restricts a field to a choice, and keeps the other fields of the fixed recipes."""
    for recipe in residual_inputs(output=("zero",)).fixed:
        case = recipe.build(np.array)
        assert not case.sublayer.any()
        assert case.x.shape == case.sublayer.shape
