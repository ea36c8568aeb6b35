"""The feed-forward network: its reference, its bound, its inputs, and the mistakes that its requirements name."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import toise
import torch
from hypothesis import HealthCheck, settings
from misbehaviours import judged
from recipes_of import digest
from soundness.campaign import result
from soundness.feed_forward import ORGANISATIONS
from soundness.machine import Machine
from toise.backend import Backend
from toise.bounds import PRECISIONS
from toise.engine import properties, property_of
from toise.inputs import Case, FeedForward, feed_forward, feed_forward_inputs
from toise.targets import load
from toise.verdict import Violation
from toise_reference import feed_forward as reference
from within import STRICT32, STRICT64, bound, built, kept, ratio, rounded

BFLOAT16 = ml_dtypes.bfloat16
SEARCH = settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
NAMES = ("x", "w1", "b1", "w2", "b2")


def case_of(x, w1, b1, w2, b2, dtype="float64"):
    """Return a call on these numbers, rounded to a dtype."""
    return Case(
        "feed_forward", {name: rounded(np.array(a, float), dtype) for name, a in zip(NAMES, (x, w1, b1, w2, b2), strict=True)}, {}
    )


# --- The reference ------------------------------------------------------------------------------------

PAGE = {"w1": [[1, -1]], "b1": [0, 1], "w2": [[3], [5]], "b2": [1]}
BY_HAND = {
    "FFN-1 the formula": ({"x": [[2]]}, [[7]]),
    "FFN-2 a loud row of w2": ({"x": [[2]], "w2": [[3], [1000]]}, [[7]]),
    "FFN-3 scaled": ({"x": [[2]], "w1": [[4, -4]], "b1": [0, 4], "w2": [[0.75], [1.25]]}, [[7]]),
    "FFN-4 negated": ({"x": [[2]], "w2": [[-3], [-5]], "b2": [-1]}, [[-7]]),
    "FFN-5 no bias": ({"x": [[2]], "b1": [0, 0]}, [[7]]),
    "FFN-5 a position of zeros": ({"x": [[0]], "b1": [2, -2]}, [[7]]),
    "FFN-6 b2 = 0": ({"x": [[2]], "b2": [0]}, [[6]]),
    "FFN-7 two positions": ({"x": [[2], [0]]}, [[7], [6]]),
    "FFN-7 another first one": ({"x": [[9], [0]]}, [[28], [6]]),
    "FFN-8 exchanged": ({"x": [[0], [2]]}, [[6], [7]]),
    "FFN-9 units exchanged": ({"x": [[2]], "w1": [[-1, 1]], "b1": [1, 0], "w2": [[5], [3]]}, [[7]]),
    "FFN-10 square": (
        {"x": [[1, 0]], "w1": [[1, -1], [2, 1]], "b1": [0, 0], "w2": [[1, 2], [-1, 0]], "b2": [0, 0]},
        [[1, 2]],
    ),
    "FFN-10 features exchanged": (
        {"x": [[0, 1]], "w1": [[2, 1], [1, -1]], "b1": [0, 0], "w2": [[1, 2], [-1, 0]], "b2": [0, 0]},
        [[1, 2]],
    ),
    "FFN-11 1030 units": (
        {"x": [[1]], "w1": np.ones((1, 1030)), "b1": np.zeros(1030), "w2": np.ones((1030, 1)), "b2": [0]},
        [[1030]],
    ),
    "every unit off": ({"x": [[-5]], "b1": [0, -6]}, [[1]]),
    "one axis": ({"x": [2]}, [7]),
    "no positions": ({"x": np.zeros((2, 0, 1))}, np.zeros((2, 0, 1))),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("row", BY_HAND)
def test_the_numbers_on_the_page_are_what_the_reference_gives(row, dtype):
    """They are whole, so that nothing is rounded; and the result has the dtype of the inputs."""
    changes, required = BY_HAND[row]
    data = {**PAGE, **changes}
    got = reference(*(np.array(data[name], dtype) for name in NAMES))

    assert got.dtype == dtype
    assert got.tolist() == np.array(required, float).tolist()


def test_the_wrong_numbers_on_the_page_are_what_the_mistakes_give():
    """Whoever prints a network with the mistake sees the number that the page names."""
    w1, b1, w2, b2 = (np.array(PAGE[name], float) for name in NAMES[1:])
    x, z = np.array([[2.0]]), np.array([[2.0, -1.0]])
    relu = np.maximum(z, 0)
    loud, bias = np.array([[3.0], [1000.0]]), np.array([2.0, -2.0])
    leaky, smooth = np.where(z > 0, z, 0.01 * z), gelu(z)
    two = np.array([[2.0], [0.0]])

    assert z @ w2 + b2 == 2
    assert [float((h @ w).item() + 1) for w in (w2, loud) for h in (leaky, z)] == [6.95, 2, -3, -993]
    assert [round((smooth @ w).item() + 1, 2) for w in (w2, loud)] == [6.07, -151.79]
    assert [(np.clip(z * 4, 0, 6) @ (w2 / 4)).item() + 1, (relu**2 @ w2).item() + 1, ((4 * relu) ** 2 @ w2 / 4).item() + 1] == [
        5.5,
        13,
        49,
    ]
    assert round((gelu(4 * z) @ w2 / 4).item() + 1, 2) == 7.0
    assert [(x + 7).item(), (x - 7).item()] == [9, -5]
    assert [float((0 * bias @ w2 + b2).item()), float((bias @ w2 + b2).item())] == [1, -3]
    assert [(np.maximum(p * w1 + b1, 0).mean(0) @ w2 + b2).item() for p in (two, np.array([[9.0], [0.0]]))] == [6.5, 17]
    assert [(np.maximum(p @ w1 + b1[:, None], 0) @ w2 + b2).ravel().tolist() for p in (two, two[::-1])] == [[7, 9], [1, 10]]
    assert [(np.maximum(x @ w1[:, :1] + b1[:1], 0) @ w2[:1] + b2).item(), (np.maximum(1 - x, 0) * 5 + 1).item()] == [7, 1]
    square, back = np.array([[1.0, -1], [2, 1]]), np.array([[1.0, 2], [-1, 0]])
    wrong = [np.maximum(a @ w.T, 0) @ back for a, w in (([1.0, 0], square), ([0.0, 1], square[::-1]))]
    assert [row.tolist() for row in wrong] == [[-1, 2], [1, 2]]
    assert 1030 // 64 * 64 == 1024


def test_inputs_are_left_as_they_were_and_the_result_has_memory_of_its_own():
    """Also where every unit is off, and the result is b2."""
    data = [np.array(PAGE[name], float) if name != "x" else np.array([[-5.0]]) for name in NAMES]
    before = [array.copy() for array in data]
    result = reference(*data)

    assert all(np.array_equal(array, copy) for array, copy in zip(data, before, strict=True))
    assert not any(np.shares_memory(result, array) for array in data)


REFUSED = {
    "w1 of other rows": (
        {"w1": np.ones((2, 2))},
        ValueError,
        r"^w1 has shape \(2, 2\); required: d_model = 1 in \[d_model, d_ff\]$",
    ),
    "w1 transposed": ({"w1": np.ones((2, 1))}, ValueError, r"^w1 has shape \(2, 1\); required: d_model = 1 in"),
    "b1 of another length": ({"b1": np.ones(1)}, ValueError, r"^b1 has shape \(1,\); required: d_ff = 2 in \[d_ff\]$"),
    "w2 of other rows": (
        {"w2": np.ones((3, 1))},
        ValueError,
        r"^w2 has shape \(3, 1\); required: d_ff = 2 in \[d_ff, d_model\]$",
    ),
    "b2 of another length": ({"b2": np.ones(2)}, ValueError, r"^b2 has shape \(2,\); required: d_model = 1 in \[d_model\]$"),
    "w1 with a leading axis": (
        {"w1": np.ones((1, 1, 2))},
        ValueError,
        r"^w1 has shape \(1, 1, 2\); required: \[d_model, d_ff\]$",
    ),
    "no hidden units": (
        {"w1": np.ones((1, 0)), "b1": np.ones(0), "w2": np.ones((0, 1))},
        ValueError,
        r"^w1 has shape \(1, 0\); required: d_ff of 1 or more$",
    ),
    "x of rank 0": ({"x": np.array(1.0)}, ValueError, r"^x has shape \(\); required: \[\.\.\., d_model\]$"),
    "x as a list": ({"x": [[2.0]]}, TypeError, r"^x is a list; required: a NumPy array$"),
    "mixed dtypes": ({"w2": np.ones((2, 1), np.float32)}, TypeError, r"w2 float32.*required: one floating-point dtype for all$"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_malformed_call_is_refused(mistake):
    """With the argument's name, what it is and what is required of it."""
    changes, error, message = REFUSED[mistake]
    data = {"x": np.ones((1, 1)), **{name: np.array(part, float) for name, part in PAGE.items()}, **changes}

    with pytest.raises(error, match=message):
        reference(*(data[name] for name in NAMES))


def exact(case):
    """Compute the network in fractions, which round nowhere."""
    x, w1, b1, w2, b2 = (
        np.array([Fraction(number) for number in a.ravel()], object).reshape(a.shape) for a in case.arrays.values()
    )
    hidden = x @ w1 + b1
    return np.where(hidden > 0, hidden, Fraction(0)) @ w2 + b2


def test_the_reference_and_the_bounds_agree_with_fractions():
    """Two computations in float64, and a third that rounds nowhere, on every recipe small enough."""
    small = [recipe for recipe in feed_forward_inputs().fixed if recipe.elements() <= 1500]
    assert len(small) >= 10
    for recipe in small:
        case = built(recipe, "float64")
        strict, right = bound(case, STRICT64), exact(case)
        for value in (reference(*case.arrays.values()), strict.value):
            error = np.array([abs(Fraction(a) - b) for a, b in zip(value.ravel(), right.ravel(), strict=True)])
            assert (error <= strict.radius.ravel()).all(), recipe


# --- The bound: sound ---------------------------------------------------------------------------------


def test_a_bias_that_the_sum_starts_from_loses_what_is_far_smaller():
    """Each of 512 products is half a unit of a bias of 1, and is rounded away: a bias that is added last loses nothing."""
    case = case_of(np.ones((1, 512)), np.full((512, 1), 2.0**-24), [1.0], np.eye(1, 512), np.zeros(512))
    strict = Machine("float32", "STRICT")
    first, last = (result(ORGANISATIONS[name], strict, case)[0, 0] for name in ("bias first", "products one by one"))
    required = bound(case, STRICT32)

    assert (first, last) == (1, 1 + 2.0**-15)
    assert 0 < (last - first) / required.radius[0, 0] <= 1


def test_where_a_correct_computation_may_overflow_the_radius_is_infinite():
    """In the hidden units, in the result, and where only the order of the sum decides."""
    big = 2.0**100
    for case in (
        case_of([[big]], [[big]], [0], [[1]], [0]),
        case_of([[big]], [[1]], [0], [[big]], [0]),
        case_of([[big, big]], [[big], [-big]], [0], [[1, 1]], [0, 0]),
        case_of([[1.5 * 2.0**127]], [[1]], [1.5 * 2.0**127], [[1]], [0]),
    ):
        assert np.isposinf(bound(case, STRICT32).radius).all()
    assert np.isfinite(bound(case_of([[2.0**60]], [[2.0**60]], [2.0**120], [[1]], [2.0**120]), STRICT32).radius).all()


# --- The bound: tight ---------------------------------------------------------------------------------


def test_a_unit_that_is_off_adds_nothing_to_the_radius():
    """Its radius is 0, so that a row of w2 as large as you like leaves the radius as it was."""
    quiet, loud = (bound(case_of([[2, 3]], [[1, -1], [1, -2]], [0, 1], [[3, 1], [w, w]], [1, 0]), STRICT32) for w in (5, 2.0**60))

    assert (quiet.radius == loud.radius).all()


def test_near_zero_a_unit_may_be_either_on_or_off():
    """Where rounding decides the sign the radius is what the unit could hold, and no more."""
    case = case_of([[1.0, 1.0]], [[1.0], [-1.0]], [0.0], [[1.0, 0.0]], [0.0, 0.0])
    radius = bound(case, STRICT32).radius[0, 0]

    assert 0 < radius <= 16 * 2.0**-24


def bound_in(case, dtype, precision):
    """Bound a call in a named precision class."""
    return bound(case, PRECISIONS[dtype][precision])


def gelu(z):
    """Return z times the share of the normal distribution below z."""
    return z * (1 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2))) / 2


def gelu_of_tanh(z):
    """Return the usual approximation of that."""
    return z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2


def in_float64(case, *, act=lambda z: np.maximum(z, 0), keep=lambda a: a, hidden=lambda h: h, units=None):
    """Compute the network in float64, save for the fault that the options plant."""
    x, w1, b1, w2, b2 = (keep(array) if name[0] in "xw" else array for name, array in case.arrays.items())
    return hidden(act(x @ w1 + b1))[..., :units] @ w2[:units] + b2


WIDE = FeedForward(lead=(3,), d_model=16, d_ff=1030, content="normal", seed=12, second="indicator", b1="normal")
DENSE = FeedForward(lead=(9,), d_model=65, d_ff=129, content="normal", seed=13, b1="normal", b2="normal")
FAULTS = {
    "x and the weights are cut to TF32": (DENSE, "float32", "STRICT", {"keep": kept(11)}),
    "hidden units are rounded to float16": (DENSE, "float32", "STRICT", {"hidden": kept(11)}),
    "a leaky slope of 1e-5": (WIDE, "float32", "STRICT", {"act": lambda z: np.where(z > 0, z, 1e-5 * z)}),
    "a leaky slope of 1e-5, in bfloat16": (WIDE, "bfloat16", "EAGER", {"act": lambda z: np.where(z > 0, z, 1e-5 * z)}),
    "GELU": (WIDE, "bfloat16", "EAGER", {"act": gelu}),
    "GELU by tanh": (WIDE, "bfloat16", "STEPWISE", {"act": gelu_of_tanh}),
    "the last of 1030 units is dropped": (WIDE, "bfloat16", "EAGER", {"units": 1029}),
    "hidden units are rounded to 4 bits, as in float8": (WIDE, "bfloat16", "EAGER", {"hidden": kept(4)}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_small_fault_leaves_the_radius(fault):
    """The radius is small enough to see it: the fault is all that differs from float64."""
    recipe, dtype, precision, planted = FAULTS[fault]
    case = built(recipe, dtype)

    assert ratio(in_float64(case), bound(case, STRICT64)) <= 1
    assert ratio(in_float64(case, **planted), bound_in(case, dtype, precision)) > 1


# --- The inputs ---------------------------------------------------------------------------------------

# ruff: noqa: E501 - a recipe prints on one line
# What the fixed recipes leave out: with these, every kind is among the golden ones.
MORE = (FeedForward(lead=(2, 1), d_model=3, d_ff=40, content="ramp", second="indicator", exponent=-8, seed=99, b2="ramp"),)
GOLDEN = {
    "feed_forward(literal=(1.0, 1.0, -1.0, 1.0, 2.0))": "d379671e0660f3dd",
    "feed_forward(literal=(1.0, 0.0, 1.0, -1.0, 2.0, 1.0, 1.0, 2.0, -1.0, 0.0), d_model=2)": "09afc764d26dc4c2",
    "feed_forward(lead=(2,), content='ramp', d_model=3, b1='ramp', b2='ramp')": "3c6dc83f8b0aaac0",
    "feed_forward(lead=(5,), content='integers', seed=1, d_model=2, d_ff=5, b1='ramp', b2='normal')": "171a74bc5dd29567",
    "feed_forward(lead=(), content='normal', seed=2, d_model=4, d_ff=7, b1='normal', b2='normal')": "7d33ce3c1352ddbb",
    "feed_forward(lead=(2, 3), content='normal', seed=3, d_model=5, d_ff=5, b1='normal', b2='normal')": "a0d2bad7b535afd9",
    "feed_forward(lead=(4,), content='padding', seed=4, d_model=4, d_ff=16, b1='normal', b2='normal')": "4d8c2241e41710d8",
    "feed_forward(lead=(3,), content='normal', seed=5, d_model=6, d_ff=33, second='indicator', b1='normal')": "ef8ecbf5d7fdc346",
    "feed_forward(lead=(5,), content='cancel', seed=6, d_model=8, d_ff=9, b1='ramp', b2='normal')": "8867d13be15a80b5",
    "feed_forward(lead=(3,), content='bias', seed=7, d_model=7, d_ff=31, b1='normal', b2='normal')": "05326f5533694f5e",
    "feed_forward(lead=(2, 2, 3), content='outlier', seed=8, d_model=17, d_ff=8, b1='normal', b2='normal')": "9619d30aef879a6b",
    "feed_forward(lead=(17,), content='normal', seed=9, d_model=16, d_ff=64, b1='normal', b2='normal')": "695702987a2b093f",
    "feed_forward(lead=(130,), content='integers', seed=10, d_model=3, d_ff=4, b1='ramp', b2='ramp')": "841729846ca62644",
    "feed_forward(lead=(2, 2), content='normal', seed=11, d_model=64, d_ff=256, b1='normal', b2='normal')": "68da718be79a8f9b",
    "feed_forward(lead=(3,), content='normal', seed=12, d_model=16, d_ff=1030, second='indicator', b1='normal')": "d681dfdb416eabe0",
    "feed_forward(lead=(9,), content='normal', exponent=-6, seed=13, d_model=65, d_ff=129, b1='normal', b2='normal')": "3269e523b6c3972b",
    "feed_forward(lead=(2, 16), content='normal', d_model=64, d_ff=256, b1='normal', b2='normal')": "8c5f5f7dd4469407",
    "feed_forward(literal=(1.0, -1.0, -2.0, 1.0, 2.0), b2='ramp')": "44594cfd3464995e",
    "feed_forward(lead=(1, 3, 1, 2), content='sparse', seed=12, d_model=8, d_ff=32, second='indicator', b1='normal', b2='normal')": "31cc4090b7163a04",
    "feed_forward(lead=(7,), content='normal', seed=20, d_model=2, d_ff=1030, b1='normal', b2='normal')": "8d8e2fbb52c47ce8",
    "feed_forward(lead=(3,), content='normal', seed=21, d_model=129, d_ff=3, b1='normal', b2='normal')": "ed8b63c4a771235c",
    "feed_forward(lead=(513,), content='normal', seed=26, d_model=2, d_ff=129, b1='normal', b2='normal')": "58e6c1c646a16eaa",
    "feed_forward(lead=(2, 1), content='ramp', exponent=-8, seed=99, d_model=3, d_ff=40, second='indicator', b2='ramp')": "1ee07ea40f16034b",
    "feed_forward(lead=(3,), content='normal', seed=58, d_model=2, d_ff=1, b1='normal', b2='normal')": "c7d5f1ee1272ede7",
    "feed_forward(lead=(3,), content='off', seed=14, d_model=2, d_ff=4, b2='normal')": "c566124b2eb57109",
    "feed_forward(lead=(4,), content='normal', exponent=17, seed=22, d_model=1025, d_ff=3, b1='normal', b2='normal')": "569388d0954df3c2",
    "feed_forward(lead=(577,), content='normal', exponent=17, seed=23, d_ff=3, b1='normal', b2='normal')": "9814ca7325b2da96",
    "feed_forward(lead=(2, 130), content='padding', seed=24, d_model=4, d_ff=3, b1='normal', b2='normal')": "00a92bf739a1c8c3",
    "feed_forward(lead=(4,), content='normal', exponent=17, seed=25, d_model=65, d_ff=1030, b1='normal', b2='normal')": "0943f2ea31d910a2",
    "feed_forward(lead=(128,), content='sparse', exponent=17, seed=27, d_model=128, d_ff=512, second='indicator', b1='normal', b2='normal')": "bc6da40c7d31c1b0",
    "feed_forward(lead=(16,), content='off', seed=28, d_model=64, d_ff=256, b2='normal')": "30ed52d2f9ace195",
    "feed_forward(lead=(16,), content='padding', seed=29, d_model=16, d_ff=32, b1='normal', b2='normal')": "0ab7a01f3e1cc2a0",
    "feed_forward(lead=(3,), content='sparse', seed=517, d_model=519, d_ff=3, b1='normal', b2='normal')": "7851f2122c337676",
}


def golden_recipes():
    """Return the recipes whose arrays are written down."""
    return [*feed_forward.FIXED, *feed_forward.LARGE, feed_forward.USUAL, *MORE]


def test_the_arrays_of_a_recipe_are_those_of_its_version():
    """Another digest means other inputs under an old name."""
    assert {str(recipe): digest(recipe) for recipe in golden_recipes()} == GOLDEN


def test_every_kind_has_a_golden_digest():
    """A new kind needs a recipe in MORE and a digest."""
    for name, choices in feed_forward.CHOICES.items():
        kinds = {choice for choice in choices if isinstance(choice, str)}
        assert kinds <= {getattr(recipe, name) for recipe in golden_recipes()}, name


def test_every_dtype_holds_the_numbers_of_a_recipe_exactly():
    """They are rounded once, when they are made."""
    for recipe in golden_recipes():
        for dtype in ("float32", "bfloat16"):
            for array in built(recipe, dtype).arrays.values():
                assert np.array_equal(rounded(array, dtype), array)
                assert np.isfinite(array).all()


def test_the_kinds_are_what_they_say():
    """Zero positions, one loud feature, units that cancel, columns that pick a unit."""
    padding = FeedForward(lead=(4,), d_model=3, d_ff=5, content="padding").build(np.array)
    outlier = FeedForward(lead=(4,), d_model=3, d_ff=5, content="outlier").build(np.array)
    cancel = FeedForward(lead=(4,), d_model=4, d_ff=5, content="cancel").build(np.array)
    wide = FeedForward(lead=(2,), d_model=8, d_ff=130, content="normal", second="indicator").build(np.array)

    assert (padding.x == 0).all(-1).tolist() == [True, False, True, False]
    assert (np.abs(outlier.x).max(-1) > 1000).all()
    assert np.abs(cancel.x @ cancel.w1).max() < 1e-12 < np.abs(cancel.x).max() * np.abs(cancel.w1).max()
    assert wide.w2.sum(0).tolist() == [1] * 8
    assert {129, 0, 128, 127, 64, 63} <= set(wide.w2.argmax(0).tolist())


@pytest.mark.parametrize("field", ["content", "second", "b1", "b2"])
def test_an_unknown_kind_is_refused(field):
    """A slip of the pen in a requirement's inputs is an error, and the message says what there is."""
    with pytest.raises(ValueError, match=r"^unknown .*'colourful'; required: "):
        FeedForward(**{"content": "ramp", field: "colourful"}).build(np.array)


# --- The mistakes -------------------------------------------------------------------------------------


def relu(z):
    """Return the numbers above zero, and zero for the others."""
    return np.maximum(z, 0)


def made(*, before=lambda x: x, act=relu, after=lambda y, x: y, weights=lambda w: w):
    """Return a network of several parts, one of which is wrong."""

    def network(x, w1, b1, w2, b2):
        return after(act(before(x) @ weights(w1) + b1) @ weights(w2) + b2, x).astype(x.dtype)

    return network


def b1_down_the_positions(x, w1, b1, w2, b2):
    """Add one number of b1 to each position, where there are as many positions as units."""
    down = x.ndim > 1 and x.shape[-2] == len(b1)
    return relu(x @ w1 + (b1[:, None] if down else b1)) @ w2 + b2


# What the catalogue of faults does not have.  Each with what it fails: first the requirement that is about it, then the others.
MISTAKES = {
    "a ReLU clipped at 6 (classic mistake)": (made(act=lambda z: np.clip(z, 0, 6)), ["FFN-3", "FFN-1"]),
    "b1 down the positions (classic mistake)": (b1_down_the_positions, ["FFN-8", "FFN-1", "FFN-5", "FFN-9", "FFN-11"]),
}
EVERY = [prop.id for prop in properties() if prop.operations == ("feed_forward",)]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    """The requirement that is about it fails, with the others that are listed, and no more."""
    wrong, failed = MISTAKES[name]
    report = judged({"feed_forward": wrong}, ["GEN-1", "GEN-2", *EVERY])

    assert [row.requirement for row in report.results if row.outcome == "FAIL"] == sorted(failed, key=EVERY.index)


def test_a_leak_that_rounding_would_hide_is_heard():
    """FFN-2 makes the rows of the units that are off loud; the formula alone has nothing to say on these numbers."""
    backend = Backend(load({"feed_forward": made(act=lambda z: np.where(z > 0, z, z * np.float32(2.0**-23)))}), "float32")
    case = built(feed_forward.FIXED[0], "float32")

    property_of("FFN-1").test(backend, case)
    with pytest.raises(Violation, match=r"^result\[0, 0\] is "):
        property_of("FFN-2").test(backend, case)


# --- Correct networks ---------------------------------------------------------------------------------


def flattened(x, w1, b1, w2, b2):
    """Take all positions for rows of one matrix, and the biases for products with 1."""
    rows = np.concatenate([x.reshape(-1, x.shape[-1]), np.ones((x.size // x.shape[-1], 1), x.dtype)], axis=-1)
    hidden = relu(rows @ np.vstack([w1, b1]))
    return (hidden @ w2 + b2).reshape(x.shape)


def one_position_at_a_time(x, w1, b1, w2, b2):
    """Loop over the positions, and over the units."""
    y = np.empty_like(x)
    for at in np.ndindex(x.shape[:-1]):
        row = b2.copy()
        for column, bias, back in zip(w1.T, b1, w2, strict=True):
            row += relu(x[at] @ column + bias) * back
        y[at] = row
    return y


def torch_addmm(x, w1, b1, w2, b2):
    """Let one kernel of torch multiply and add the bias, all positions as rows of one matrix."""
    hidden = torch.relu(torch.addmm(b1, x.reshape(-1, x.shape[-1]), w1))
    return torch.addmm(b2, hidden, w2).reshape(x.shape)


def torch_in_float32(x, w1, b1, w2, b2):
    """Compute in float32, and return the dtype of x."""
    wide = [a.float() for a in (x, w1, b1, w2, b2)]
    return (torch.relu(wide[0] @ wide[1] + wide[2]) @ wide[3] + wide[4]).to(x.dtype)


NARROW = {"arrays": "torch", "dtypes": ["float32", "bfloat16"]}
CORRECT = {
    "NumPy": ({"feed_forward": made()}, {}),
    "flattened": ({"feed_forward": flattened}, {}),
    "one position at a time": ({"feed_forward": one_position_at_a_time}, {}),
    "torch.addmm, EAGER": ({"feed_forward": torch_addmm}, {**NARROW, "feed_forward": {"precision": {"bfloat16": "EAGER"}}}),
    "torch in float32, FUSED": ({"feed_forward": torch_in_float32}, NARROW | {"dtypes": ["bfloat16"]}),
}


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_network_passes_everything(name):
    """MUST and SHOULD, in every dtype that it declares."""
    functions, declared = CORRECT[name]
    report = toise.verify(functions, operations=["feed_forward"], budget="smoke", declare=declared)

    assert [(r.requirement, r.dtype, r.counterexample.message) for r in report.results if r.counterexample] == []
    assert report.passed
