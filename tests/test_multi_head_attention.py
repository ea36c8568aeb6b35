"""Multi-head attention: its reference, its bound, its inputs, and the mistakes that its requirements name."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import toise
import toise.inputs.multi_head_attention as inputs
import torch
from misbehaviours import judged
from recipes_of import digest, drawn
from soundness.attention import greatest
from soundness.campaign import result
from soundness.machine import Machine
from soundness.multi_head_attention import in_turn, made
from toise.backends import torch_adapter
from toise.bounds import Bounded
from toise.engine import properties
from toise.errors import Unsupported
from toise.inputs import RECIPE_VERSION, Case, MultiHeadAttention, multi_head_attention_inputs
from toise.operations import OPERATIONS, allowed_keys
from toise_reference import multi_head_attention
from within import EAGER16, FUSED16, STRICT32, STRICT64, UNDECLARED, bound, built, kept, ratio, rounded

OPERATION = "multi_head_attention"
F32 = np.float32
LN3 = math.log(3)
T, N = True, False
EAGER = Machine("bfloat16", "EAGER")


def same(a):
    """Leave an array as it is."""
    return a


def column(*numbers):
    """Return tokens of one feature."""
    return [[number] for number in numbers]


# --- The numbers of the page --------------------------------------------------------------------------

ONE = [[[1]]]
PICK = [[[1], [0]], [[0], [1]]]  # two heads: the first sees feature 0 alone, the second feature 1
FIRST, TENFOLD = [[[1], [0]]] * 2, [[[1], [0]], [[10], [0]]]  # both see feature 0; the second makes ten times as much of it
HALVES = [np.eye(4)[:, :2], np.eye(4)[:, 2:]]
UNIT = np.eye(4)[0]
FOUR = np.outer(UNIT, UNIT)  # a weight of 1, with zeros after it
TWO_BY_TWO = ([[0, 0], [1, 1]], [[0, 0], [LN3, LN3]], [[0, 0], [4, 4]], PICK, PICK, PICK, np.eye(2))


def tenfold(q, k, v):
    """Return a call with one head on the numbers given, and one that makes ten times as much of the values."""
    tokens = ([[number, 0] for number in numbers] for numbers in (q, k, v))
    return (*tokens, FIRST, FIRST, TENFOLD, np.eye(2))


BY_HAND = {
    "MHA-1": (([[1, 1]], [[0, 0], [LN3, 0]], [[0, 2], [4, 6]], PICK, PICK, PICK, np.eye(2)), {}, [[3, 4]]),
    "MHA-2": ((*[[[1, 2, 3, 4]] * 2] * 3, HALVES, HALVES, HALVES, np.eye(4)), {}, [[1, 2, 3, 4]] * 2),
    "MHA-3": ((*[[[1]]] * 3, ONE * 2, ONE * 2, [[[1]], [[10]]], column(1, 1)), {}, [[11]]),
    "MHA-3 two of the first": ((*[[[1]]] * 3, ONE * 2, ONE * 2, [[[1]], [[1]]], column(1, 1)), {}, [[2]]),
    "MHA-3 two of the second": ((*[[[1]]] * 3, ONE * 2, ONE * 2, [[[10]], [[10]]], column(1, 1)), {}, [[20]]),
    "MHA-4": ((*[[[1, 0]]] * 3, FIRST, FIRST, [[[1], [0]], [[2], [0]]], [[1, 0], [0, 3]]), {}, [[1, 6]]),
    "MHA-4 moved": ((*[[[1, 0]]] * 3, FIRST, FIRST, [[[1], [0]], [[2], [0]]], [[0, 2], [6, 0]]), {}, [[12, 2]]),
    "MHA-5": (([[1]], column(0, LN3), column(0, 4), ONE, ONE, [[[2]]], [[0.5]]), {}, [[3]]),
    "MHA-6": ((*[[[1]]] * 3, ONE * 2, ONE * 2, [[[1]], [[2]]], column(1, 10)), {}, [[21]]),
    "MHA-6 exchanged": ((*[[[1]]] * 3, ONE * 2, ONE * 2, [[[2]], [[1]]], column(10, 1)), {}, [[21]]),
    "MHA-7": ((*[[[1]]] * 3, ONE * 2, ONE * 2, [[[1]], [[2]]], column(1, 0)), {}, [[1]]),
    "MHA-8": (([[1]], column(0, LN3), column(0, 4), ONE, ONE, ONE, [[1]]), {}, [[3]]),
    "MHA-8 wider": (
        ([[1, 0, 0, 0]], np.outer([0, LN3], UNIT), np.outer([0, 4], UNIT), *([c * FOUR] for c in (2, 1, 1)), [UNIT] * 4),
        {},
        [[3, 0, 0, 0]],
    ),
    "MHA-8 more heads": (
        ([[1, 0, 0, 0]], np.outer([0, LN3], UNIT), np.outer([0, 4], UNIT), *[[FOUR[:, :1]] * 4] * 3, [UNIT / 4] * 4),
        {},
        [[3, 0, 0, 0]],
    ),
    "MHA-9": (([[1]], column(0, LN3), column(0, 4), ONE, ONE, [[[1, 0]]], column(1, 1)), {}, [[3]]),
    "MHA-10": (([[1]], column(0, LN3), column(2, 2), ONE, ONE, ONE, [[1]]), {}, [[2]]),
    "MHA-10 two queries": ((column(0, LN3), column(1, 1), column(0, 4), ONE, ONE, ONE, [[1]]), {}, column(2, 2)),
    "MHA-11": (TWO_BY_TWO, {}, [[2, 2], [3, 3]]),
    "MHA-12": ((TWO_BY_TWO[0], *(part[::-1] for part in TWO_BY_TWO[1:3]), *TWO_BY_TWO[3:]), {}, [[2, 2], [3, 3]]),
    "MHA-13": (tenfold([0], [1, 2, 3], [1, 2, 4]), {"mask": [[T, N, T]]}, [[2.5, 25]]),
    "MHA-14": (tenfold([0, 0], [0, 0, 0], [1, 2, 4]), {"causal": True}, [[1.5, 15], [7 / 3, 70 / 3]]),
    "MHA-15": (
        tenfold([0, 0, 0], [0, 0, 0], [1, 2, 4]),
        {"causal": True, "mask": [[T, T, T], [N, T, T], [N, T, T]]},
        [[1, 10], [2, 20], [3, 30]],
    ),
    "MHA-16": (tenfold([1], [-20000, 0, -20000], [1, 9, 4]), {"mask": [[T, N, T]]}, [[2.5, 25]]),
    "MHA-17": (tenfold([0] * 4, [0] * 4, [1, 2, 4, 9]), {"causal": True}, [[1, 10], [1.5, 15], [7 / 3, 70 / 3], [4, 40]]),
    "MHA-18": (tenfold([0], [1, 2, 3], [1, 2, 4]), {"mask": [[N, N, N]]}, [[0, 0]]),
}


def call_of(data, options, dtype):
    """Return the call of a table's row, the data rounded to the dtype."""
    arrays = zip(OPERATIONS[OPERATION].data, data, strict=True)
    return Case(
        OPERATION,
        {name: np.asarray(part, dtype).astype(np.float64) for name, part in arrays},
        {name: np.array(value) if name == "mask" else value for name, value in options.items()},
    )


def reference(case, dtype=np.float64):
    """Call the reference."""
    return multi_head_attention(*(array.astype(dtype) for array in case.arrays.values()), **case.options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", BY_HAND)
def test_the_numbers_on_the_page_are_what_the_reference_gives(row, dtype):
    """Worked out by hand; the radius leaves room for rounding, that of ln 3 to the dtype included."""
    data, options, by_hand = BY_HAND[row]
    case = call_of(data, options, dtype)
    got, required = reference(case, dtype), bound(case, {"float64": STRICT64, "float32": STRICT32}[dtype])

    assert got.dtype == dtype
    for value in (got, required.value):
        assert ratio(value, Bounded(np.array(by_hand, np.float64), required.radius, STRICT64)) <= 1


# --- The reference ------------------------------------------------------------------------------------


def data_of(lead=(), n=3, m=4, d_model=5, h=3, d_k=2, d_v=4, dtype=np.float64):
    """Return data of the right shapes, by name."""
    noise = np.random.default_rng(0)
    shapes = {
        "q": (*lead, n, d_model),
        "k": (*lead, m, d_model),
        "v": (*lead, m, d_model),
        "w_q": (h, d_model, d_k),
        "w_k": (h, d_model, d_k),
        "w_v": (h, d_model, d_v),
        "w_o": (h * d_v, d_model),
    }
    return {name: noise.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("options", [{}, {"mask": np.tri(3, 4, dtype=bool)}, {"causal": True}, {"causal": np.True_}], ids=str)
def test_a_result_has_the_dtype_of_its_inputs_and_leaves_them_as_they_were(options, dtype):
    """And has memory of its own."""
    data = data_of(dtype=dtype)
    before = {name: array.copy() for name, array in data.items()}
    result = multi_head_attention(**data, **options)

    assert result.dtype == dtype
    assert all(np.array_equal(array, before[name]) for name, array in data.items())
    assert not any(np.shares_memory(result, array) for array in data.values())


@pytest.mark.parametrize(("lead", "n"), [((), 0), ((0,), 2), ((2, 0), 3), ((0,), 0)])
def test_no_rows_give_an_empty_result(lead, n):
    """Of the shape that the operation defines."""
    assert multi_head_attention(**data_of(lead, n)).shape == (*lead, n, 5)
    assert multi_head_attention(**data_of(lead, n), causal=True, mask=np.ones((n, 4), bool)).shape == (*lead, n, 5)


def test_a_query_without_any_key_gives_zeros_and_leaves_the_others_alone():
    """In every head, hidden by the mask or by a causal order with more queries than keys."""
    data = data_of(n=5)
    mask = np.arange(5)[:, None] > np.zeros(4)
    plain = multi_head_attention(**data)

    assert (multi_head_attention(**data, mask=mask)[0] == 0).all()
    assert np.array_equal(multi_head_attention(**data, mask=mask)[1:], plain[1:])
    assert (multi_head_attention(**data, causal=True)[0] == 0).all()


REFUSED = {
    "k of another width than q": ({"k": np.ones((4, 6))}, ValueError, r"^k has shape \(4, 6\); required: d_model = 5 in"),
    "v of other rows than k": ({"v": np.ones((3, 5))}, ValueError, r"^v has shape \(3, 5\); required: m = 4 in"),
    "w_k of another number of heads": (
        {"w_k": np.ones((2, 5, 2))},
        ValueError,
        r"^w_k has shape \(2, 5, 2\); required: h = 3 in \[h, d_model, d_k\]$",
    ),
    "w_k of another d_k": ({"w_k": np.ones((3, 5, 4))}, ValueError, r"^w_k has shape \(3, 5, 4\); required: d_k = 2 in"),
    "w_o of other rows than the heads side by side": (
        {"w_o": np.ones((11, 5))},
        ValueError,
        r"^w_o has shape \(11, 5\); required: h\*d_v = 12 in \[h\*d_v, d_model\]$",
    ),
    "w_o of other columns than d_model": ({"w_o": np.ones((12, 4))}, ValueError, r"required: d_model = 5 in"),
    "weights with a leading axis": ({"w_q": np.ones((2, 3, 5, 2))}, ValueError, r"required: \[h, d_model, d_k\]$"),
    "no heads": (
        {name: np.ones((0, 5, 2)) for name in ("w_q", "w_k", "w_v")},
        ValueError,
        r"^w_q has shape \(0, 5, 2\); required: h of 1 or more$",
    ),
    "a mask with an axis for the heads": (
        {"mask": np.ones((3, 3, 4), bool)},
        ValueError,
        r"^mask has leading axes \(3,\); required: \(\) or 1$",
    ),
    "a mask of numbers": ({"mask": np.ones((3, 4))}, TypeError, r"^mask has dtype float64; required: bool"),
    "causal as a number": ({"causal": 1}, TypeError, r"^causal is 1; required: True or False$"),
    "weights of another dtype": ({"w_o": np.ones((12, 5), F32)}, TypeError, r"required: one floating-point dtype for all$"),
    "a scale": ({"scale": 1.0}, TypeError, "unexpected keyword argument 'scale'"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_malformed_call_is_refused(mistake):
    """With the argument's name, what it is and what is required of it."""
    changes, error, message = REFUSED[mistake]

    with pytest.raises(error, match=message):
        multi_head_attention(**{**data_of(), **changes})


DIGITS = mpmath.MPContext()
DIGITS.dps = 60


def exact(case):
    """Compute it with 60 digits, element by element."""
    q, k, v, w_q, w_k, w_v, w_o = (
        np.array([DIGITS.mpf(float(number)) for number in array.flat], object).reshape(array.shape)
        for array in case.arrays.values()
    )
    allowed = allowed_keys(case, UNDECLARED[OPERATION])
    result = np.empty(q.shape, object)
    for row in np.ndindex(q.shape[:-1]):
        features = []
        for i in range(len(w_q)):
            sees = np.flatnonzero(allowed[row])
            query, keys, values = q[row] @ w_q[i], k[row[:-1]][sees] @ w_k[i], v[row[:-1]][sees] @ w_v[i]
            scores = [DIGITS.fdot(query, key) / DIGITS.sqrt(len(query)) for key in keys]
            parts = [DIGITS.exp(score - max(scores)) for score in scores]
            total = DIGITS.fsum(parts) or 1
            features += [DIGITS.fdot(parts, values[:, c]) / total for c in range(w_v.shape[-1])]
        result[row] = [DIGITS.fdot(features, w_o[:, c]) for c in range(w_o.shape[-1])]
    return result


def test_the_reference_and_the_bounds_agree_with_sixty_digits():
    """Two computations in float64, and a third that rounds nowhere."""
    recipes = multi_head_attention_inputs(mask=("none", "some", "empty"), causal=(False, True)).fixed
    small = [recipe for recipe in recipes if recipe.elements() <= 600]
    assert len(small) >= 10
    for recipe in small:
        case = built(recipe, "float64")
        right, strict = exact(case), bound(case, STRICT64)
        for whose, value in (("the reference", reference(case)), ("the bounds", strict.value)):
            error = np.array(np.abs(value - right), float)
            assert (error <= strict.radius).all(), f"{whose} on {recipe}"


# --- The bound ----------------------------------------------------------------------------------------


def eager(case, **parts):
    """Run an organisation that writes out every array in bfloat16."""
    return result(made(**parts), EAGER, case)


def test_partial_sums_that_are_written_out_need_the_radius_that_allows_it():
    """One head gives 256 and 31 give 1: added to 256 in bfloat16, each 1 is lost, and 31 of 287 are missing.

    With the heads side by side no correct computation loses them, and nothing less than (h - 1) units would allow it.
    """
    heads = np.array([256.0] + [1.0] * 31)
    case = call_of((*[np.ones((1, 1))] * 3, *[np.ones((32, 1, 1))] * 2, heads[:, None, None], np.ones((32, 1))), {}, np.float64)
    got = eager(case, added=in_turn)

    assert got == 256
    assert 0.6 < ratio(got, bound(case, EAGER16)) <= 1
    assert ratio(got, bound(case, FUSED16)) > 1


def test_a_scale_before_the_projection_needs_the_radius_that_allows_it():
    """Where the projection cancels, the rounding of the scaled q is large beside what is left of it.

    q w_q is 2^-7; with q scaled by 1 / sqrt(2) and written out it is 0.0039 for 0.0055, and the score 0.25 for 0.35.
    """
    case = call_of(
        (
            [[1 + 2.0**-7, 1]],
            [[32, 0], [0, 0]],
            [[1, 0], [0, 0]],
            [[[1, 1], [-1, -1]]],
            [[[1, 1], [0, 0]]],
            [[[1], [0]]],
            [[1, 0]],
        ),
        {},
        np.float64,
    )
    late, early = eager(case), eager(case, scaled="q")

    assert abs(early - late).max() > 0.02
    for got in (late, early, eager(case, scaled="w_q"), eager(case, scaled="queries")):
        assert ratio(got, bound(case, EAGER16)) <= 1


def test_projections_that_are_written_out_need_the_radius_that_allows_it():
    """The two products of a score cancel, save for what the rounding of the queries and of the keys leaves of them."""
    token = [4, 2.0**-6 * (1 - 2.0**-8)]  # one column of the projections rounds down to 4, the other up to 4 + 2^-5
    columns = np.array([[1, 1, 0, 0], [1, 1 + 2.0**-7, 0, 0]])
    w_q, w_k = columns * [1, -1, 1, 1], columns
    case = call_of(([token], [token, [0, 0]], [[1, 0], [0, 0]], [w_q], [w_k], [[[1], [0]]], [[1, 0]]), {}, np.float64)
    got = eager(case)

    assert abs(got - bound(case, EAGER16).value).max() > 0.03
    assert ratio(got, bound(case, EAGER16)) <= 1


@pytest.mark.parametrize(("precision", "units"), [(FUSED16, 2), (EAGER16, 7)])
def test_one_token_is_held_to_one_unit_for_each_array_that_is_written_out(precision, units):
    """FUSED: the weights and the result.

    EAGER: the projected value, the sum of the weights, the head before its division and after it, and its product with w_o.
    """
    case = call_of((*[np.ones((1, 1))] * 3, *[np.ones((1, 1, 1))] * 3, np.ones((1, 1))), {}, np.float64)
    radius = bound(case, precision).radius

    assert (units * 2.0**-8 < radius).all()
    assert (radius < (units + 0.1) * 2.0**-8).all()


# --- The bound: small faults --------------------------------------------------------------------------


def planted(case, *, scale=None, allowed=None, operand=same, scores=same, heads=same):
    """Compute it in float64, save for the fault that the options plant."""
    q, k, v, w_q, w_k, w_v, w_o = (operand(array) for array in case.arrays.values())
    allowed = allowed_keys(case, UNDECLARED[OPERATION]) if allowed is None else allowed
    found = []
    for i in range(len(w_q)):
        s = scores((w_q.shape[-1] ** -0.5 if scale is None else scale) * (q @ w_q[i]) @ (k @ w_k[i]).swapaxes(-1, -2))
        s = np.where(allowed, s, -np.inf)
        parts = np.exp(s - s.max(-1, keepdims=True))
        found.append(parts @ (v @ w_v[i]) / parts.sum(-1, keepdims=True))
    return np.concatenate(heads(found), axis=-1) @ w_o


def without_the_last(heads):
    """Leave out the last head."""
    return [*heads[:-1], 0 * heads[-1]]


def without_key(key):
    """Return the fault that drops one key."""
    return lambda case: planted(case, allowed=np.arange(case.k.shape[-2]) != key)


SPLIT = MultiHeadAttention(n=9, m=33, h=3, d_k=4, content="normal", values="normal", seed=1)
MIXED = MultiHeadAttention(n=5, m=9, h=4, d_k=4, content="normal", values="normal", weights="normal", seed=2)
EIGHT = MultiHeadAttention(n=5, m=9, h=8, d_k=4, content="normal", values="normal", seed=4)
FAULTS = {
    "the scale is off by 1e-3": (MIXED, STRICT32, lambda case: planted(case, scale=0.5 * (1 + 1e-3))),
    "the scale is 1/sqrt(d_k + 1)": (SPLIT, FUSED16, lambda case: planted(case, scale=5**-0.5)),
    "the last of 33 keys is dropped": (SPLIT, STRICT32, without_key(32)),
    "the last of 33 keys is dropped, in bfloat16": (SPLIT, EAGER16, without_key(32)),
    "the last of eight heads is dropped, in bfloat16": (EIGHT, EAGER16, lambda case: planted(case, heads=without_the_last)),
    "two of four heads are exchanged, in bfloat16": (
        MIXED,
        EAGER16,
        lambda case: planted(case, heads=lambda heads: [heads[1], heads[0], *heads[2:]]),
    ),
    "operands are cut to TF32": (MIXED, STRICT32, lambda case: planted(case, operand=kept(11))),
    "scores are rounded to bfloat16": (MIXED, STRICT32, lambda case: planted(case, scores=kept(8))),
    "heads are rounded to bfloat16": (MIXED, STRICT32, lambda case: planted(case, heads=lambda heads: list(map(kept(8), heads)))),
}
DTYPE = {STRICT32: "float32", FUSED16: "bfloat16", EAGER16: "bfloat16"}


@pytest.mark.parametrize("recipe", [SPLIT, MIXED, EIGHT], ids=str)
def test_the_code_that_the_faults_are_planted_in_is_right(recipe):
    """Without a fault it stays within the float64 radius, so that the fault is what leaves a wider one."""
    case = built(recipe, "float32")

    assert ratio(planted(case), bound(case, STRICT64)) <= 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_small_fault_leaves_the_radius(fault):
    """The radius is small enough to see it: the fault is all that differs from float64."""
    recipe, precision, wrong = FAULTS[fault]
    case = built(recipe, DTYPE[precision])

    assert ratio(wrong(case), bound(case, precision)) > 1


# --- The inputs ---------------------------------------------------------------------------------------

# ruff: noqa: E501 - a recipe prints on one line
# What the fixed recipes leave out: with these, every kind is among the golden ones.
MORE = (
    MultiHeadAttention(lead=(2,), n=3, m=5, h=3, d_k=2, content="large", seed=12, mask="empty", shape="full", causal=True),
    MultiHeadAttention(lead=(2, 1), n=2, m=3, d_model=9, h=4, d_k=2, d_v=5, widths="free", content="ramp", exponent=-2),
    MultiHeadAttention(n=2, m=3, d_model=3, h=9, d_k=2, widths="free", content="sparse", weights="ramp", seed=13),
)
GOLDEN = {
    "multi_head_attention(literal=(1.0, 1.0, 0.0, 2.0, -1.0), d_model=1, widths='free', weights='ramp', mask='some')": "018dc86615aedd0f",
    "multi_head_attention(literal=(1.0, 0.0, 0.0, 1.0, 2.0, -1.0, 1.0, -2.0, 3.0, 2.0), mask='one')": "79fe8c56f989c76b",
    "multi_head_attention(literal=(1.0, 0.0, 2.0, -1.0, 0.5), n=2, m=3, d_k=2, weights='ramp', mask='some')": "92f689c2eebb1165",
    "multi_head_attention(lead=(2,), content='ramp', n=3, d_model=3, h=3, d_v=2, widths='free', weights='ramp', mask='some', shape='full')": "1075fb919b0fb5e4",
    "multi_head_attention(lead=(2,), content='integers', seed=1, n=3, m=4, h=3, d_k=2, weights='ramp', mask='tail')": "e8851d5134d40bd3",
    "multi_head_attention(content='normal', seed=2, n=4, m=4, d_model=5, d_k=3, d_v=4, widths='free', values='normal', weights='normal', mask='one')": "a95afcf51d18aac1",
    "multi_head_attention(lead=(3,), content='normal', seed=3, n=4, m=4, d_k=4, values='indicator', mask='some', shape='full')": "330b91f93ee1fee8",
    "multi_head_attention(lead=(2, 2), content='normal', seed=4, n=2, m=5, d_model=6, h=1, d_k=4, d_v=3, widths='free', values='normal', weights='normal', mask='some', shape='ones')": "f46ee0374c1c118f",
    "multi_head_attention(content='peaked', seed=5, n=7, m=5, h=1, d_k=5, values='normal', weights='normal', mask='tail')": "14335be4667cc919",
    "multi_head_attention(lead=(1,), content='ties', seed=6, n=5, m=7, d_model=7, h=5, d_v=3, widths='free', values='normal', weights='normal', mask='one', shape='full')": "f319a0f59b01f972",
    "multi_head_attention(content='low', seed=14, n=5, m=6, d_k=3, values='normal', mask='some')": "f240d1f77c477e67",
    "multi_head_attention(lead=(2,), content='normal', seed=7, n=5, m=9, h=4, d_k=4, values='offset', weights='normal', mask='some', shape='ones')": "0ba4f11f12f407b1",
    "multi_head_attention(lead=(2,), content='normal', seed=8, n=17, m=9, h=3, d_k=5, values='normal', weights='normal', mask='some', shape='full')": "f162d8a8295a301d",
    "multi_head_attention(content='normal', seed=9, n=8, m=17, h=8, d_k=8, values='normal', weights='normal', mask='tail')": "720a954cccb2bb4a",
    "multi_head_attention(content='normal', seed=10, n=9, m=33, d_model=16, h=3, d_k=16, d_v=8, widths='free', values='normal', weights='normal', mask='some')": "89ab3719796a4ca2",
    "multi_head_attention(lead=(2,), content='large', seed=12, n=3, m=5, h=3, d_k=2, mask='empty', shape='full', causal=True)": "61d3be52db09e16c",
    "multi_head_attention(lead=(2, 1), content='ramp', exponent=-2, n=2, m=3, d_model=9, h=4, d_k=2, d_v=5, widths='free')": "c3a6693fd440e075",
    "multi_head_attention(content='normal', seed=11, n=65, m=130, d_k=4, values='indicator', weights='normal', mask='tail')": "1804d6a21d9a1699",
    "multi_head_attention(lead=(2, 1, 2), content='normal', seed=15, n=2, h=4, values='normal', weights='normal', mask='one', given='pair')": "e510741261e9b528",
    "multi_head_attention(lead=(3,), content='padded', seed=13, n=3, m=5, d_k=3, weights='normal', mask='some', given='memory')": "a9d9670552636c56",
    "multi_head_attention(lead=(3,), content='normal', seed=12, n=3, m=3, h=3, d_k=3, weights='normal', mask='some', shape='full', given='self')": "5690c5f58a3e579a",
    "multi_head_attention(lead=(5,), content='normal', seed=16, n=2, m=3, d_k=64, values='normal', mask='entries', shape='full')": "499c078b33ebc28d",
    "multi_head_attention(exponent=10, literal=(2.0, 1.0, 1.0, 3.0, -1.0, 2.0, 3.0, 1.0, 0.5, 4.0, 2.0, 1.0, -3.0, 1.0), m=3)": "d5b130520a7ac6ff",
    "multi_head_attention(content='normal', seed=19, n=2, m=3, h=3, values='spread')": "733813beb0148322",
    "multi_head_attention(lead=(2, 2), content='normal', seed=20, n=2, m=3, h=9, d_k=17, d_v=17, widths='free', values='normal', weights='normal')": "272d799a1d93765b",
    "multi_head_attention(lead=(2, 2), content='normal', seed=22, n=2, m=3, h=24, d_k=3, d_v=2, widths='free', values='normal', weights='normal')": "1e98fa51da4f96cc",
    "multi_head_attention(lead=(2, 2), content='normal', seed=23, n=2, m=3, h=65, d_k=2, widths='free', values='normal', weights='normal')": "a0c1e6be68a4936f",
    "multi_head_attention(lead=(2, 2), content='normal', seed=34, n=2, m=3, d_k=64, d_v=2, widths='free', values='normal', weights='normal')": "a42dc60ce2c75124",
    "multi_head_attention(lead=(2, 2), content='normal', exponent=-1, seed=25, n=2, m=3, d_k=128, d_v=2, widths='free', values='normal')": "f5d76ff9afb60f64",
    "multi_head_attention(lead=(2, 2), content='normal', seed=35, n=2, m=1, d_k=128, d_v=128, widths='free', values='normal', weights='normal')": "672461e816800ebb",
    "multi_head_attention(lead=(2, 2), content='normal', seed=26, n=2, m=3, d_k=257, d_v=129, widths='free', values='normal', weights='normal')": "41ea1073b4763030",
    "multi_head_attention(lead=(2, 2), content='normal', exponent=-1, seed=36, n=2, m=3, d_k=257, d_v=2, widths='free', values='normal')": "35065977e79d94ac",
    "multi_head_attention(lead=(2, 2), content='normal', seed=38, n=2, m=1, d_k=257, d_v=2, widths='free', values='normal', weights='normal')": "49e5ecd1b77edf5b",
    "multi_head_attention(lead=(2, 2), content='normal', seed=27, n=2, m=3, d_k=3, d_v=519, widths='free', values='normal', weights='normal')": "0d6069dbd7e3228f",
    "multi_head_attention(lead=(2, 2), content='sparse', seed=62, n=4, m=3, d_model=64, d_k=3, d_v=2, widths='free', values='normal', weights='normal', given='self')": "79c1b6b4cd1916d5",
    "multi_head_attention(lead=(2, 2), content='sparse', seed=127, n=2, m=3, d_model=129, d_k=3, d_v=2, widths='free', values='normal', weights='normal', given='self')": "18d91fef1cb9a172",
    "multi_head_attention(lead=(2, 2), content='normal', seed=29, n=2, m=3, d_model=519, d_k=3, d_v=2, widths='free', values='normal', weights='normal')": "1cb8bbaafa48ec75",
    "multi_head_attention(lead=(13, 41), content='normal', seed=30, m=3, d_k=3, d_v=2, widths='free', values='normal', weights='normal')": "b5e95a32a2356c0c",
    "multi_head_attention(lead=(2, 1, 3), content='normal', seed=31, n=577, m=3, h=1, d_k=3, d_v=2, widths='free', values='normal', weights='normal')": "914899b9c18d7e54",
    "multi_head_attention(lead=(2, 2), content='normal', seed=32, n=3, m=519, d_k=3, d_v=2, widths='free', values='normal', weights='normal')": "4cad7ff3b5218f5c",
    "multi_head_attention(content='normal', seed=33, n=130, m=131, h=8, d_k=2, d_v=64, widths='free', values='normal', weights='normal')": "1ca1e4b8cc3fdb35",
    "multi_head_attention(content='normal', seed=39, n=2, m=3, h=4, d_k=2, values='normal', weights='pruned')": "df5c1268ff543355",
    "multi_head_attention(lead=(2,), content='normal', seed=10, n=33, m=49, d_k=64, values='normal', weights='normal')": "5501ce40102f4056",
    "multi_head_attention(content='sparse', seed=13, n=2, m=3, d_model=3, h=9, d_k=2, widths='free', weights='ramp')": "4ed199ed9c9ce83a",
}


def test_the_arrays_of_a_recipe_are_those_of_its_version():
    """Another digest means other inputs under an old name: RECIPE_VERSION takes the next number, and all digests are new."""
    assert RECIPE_VERSION == 1
    assert {str(recipe): digest(recipe) for recipe in (*inputs.FIXED, *inputs.LARGE, *MORE)} == GOLDEN


def test_every_kind_has_a_golden_digest():
    """A new kind of content, values, weights, widths or mask needs a recipe in MORE and a digest."""
    golden = (*inputs.FIXED, *inputs.LARGE, *MORE)
    kinds = {name: {c for c in choices if isinstance(c, str)} for name, choices in inputs.CHOICES.items()}
    kinds["mask"] |= {"some", "tail", "one", "empty"}
    kinds["content"].add("literal")

    assert {name: wanted - {getattr(recipe, name) for recipe in golden} for name, wanted in kinds.items() if wanted} == {
        name: set() for name in ("content", "values", "weights", "widths", "mask", "shape", "given")
    }


def test_an_unknown_kind_is_refused():
    """And the message says what there is."""
    for name in ("content", "values", "weights", "widths", "mask"):
        with pytest.raises(ValueError, match=r"^unknown .*'colourful'; required: "):
            MultiHeadAttention(**{"content": "ramp", name: "colourful"}).build(same)
    with pytest.raises(ValueError, match="has no field colour; it has content, "):
        multi_head_attention_inputs(colour=("red",))


def test_the_smallest_comes_first_and_none_is_large():
    """A report shows the first failure that it finds, and a bound takes a few milliseconds at most."""
    sizes = [recipe.elements() for recipe in inputs.FIXED]

    assert sizes[0] == min(sizes)
    assert max(sizes) < 100_000


def test_every_number_is_exact_in_the_dtype():
    """The backend is given what the suite judges it by."""
    for dtype in ("float32", "bfloat16"):
        for recipe in (*inputs.FIXED, *drawn(multi_head_attention_inputs().general, 30)):
            for name, array in built(recipe, dtype).arrays.items():
                assert np.array_equal(rounded(array, dtype), array), f"{name} of {recipe}"


def usual(recipe):
    """Tell whether most implementations take it: h d_k = d_model, d_v = d_k, and one leading axis at most."""
    case = recipe.build(same)
    h, d_model, d_k = case.w_q.shape
    return h * d_k == d_model and case.w_v.shape[-1] == d_k and len(recipe.lead) <= 1


def test_about_half_of_the_inputs_are_what_most_implementations_need():
    """And the others are not, so that neither kind of code is judged on little."""
    for recipes in (inputs.FIXED, drawn(multi_head_attention_inputs().general, 200)):
        share = np.mean([usual(recipe) for recipe in recipes])
        assert 0.35 < share < 0.7, share


def test_tied_weights_that_pick_split_the_features():
    """The columns of all heads side by side are the identity, and so is w_o."""
    case = MultiHeadAttention(h=3, d_k=2, content="ramp", weights="pick").build(same)

    for name in ("w_q", "w_k", "w_v"):
        assert np.array_equal(np.concatenate(case.arrays[name], axis=-1), np.eye(6))
    assert np.array_equal(case.w_o, np.eye(6))


@pytest.mark.parametrize("weights", ["ramp", "normal"])
def test_no_two_heads_have_the_same_projections(weights):
    """An exchange of heads, or a projection that they share, shows."""
    for recipe in drawn(multi_head_attention_inputs(weights=(weights,)).general, 200):
        case = recipe.build(same)
        for name in ("w_q", "w_k", "w_v"):
            assert len({matrix.tobytes() for matrix in case.arrays[name]}) == recipe.h, f"{name} of {recipe}"


def test_the_scores_of_normal_tokens_vary_in_every_head():
    """Neither are all weights equal, which would hide the scores, nor is one of them nearly 1, which would hide the others."""
    for seed in range(20):
        case = MultiHeadAttention(n=32, m=32, h=4, d_k=8, content="normal", weights="normal", seed=seed).build(same)
        spread = ((case.q @ case.w_q) @ (case.k @ case.w_k).swapaxes(-1, -2) / math.sqrt(8)).std(axis=(-1, -2))
        assert (spread > 1).all()
        assert (spread < 5).all()


def test_a_tiny_recipe_has_few_numbers_and_simple_ones():
    """A person checks it in the head: the tokens are at most 16 numbers, whole or halves, and the weights simple."""
    for recipe in drawn(multi_head_attention_inputs().tiny, 200):
        case = recipe.build(same)
        assert len(recipe.literal) == recipe.numbers() <= 16
        assert np.concatenate([case.arrays[name].ravel() for name in "qkv"]).tolist() == list(recipe.literal)
        assert all(np.abs(case.arrays[name]).max() <= 3 for name in ("w_q", "w_k", "w_v", "w_o"))


# --- The mistakes -------------------------------------------------------------------------------------


def softmax(scores):
    """Return exp(scores), normalised; a row that is all -inf gives zeros."""
    weights = np.exp(scores - greatest(scores))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def own(x, w):
    """Project for each head: [..., n, d_model] and [h, d_model, d] give [..., h, n, d]."""
    return x[..., None, :, :] @ w


def in_order(heads):
    """Lay the heads side by side: [..., h, n, d_v] gives [..., n, h d_v]."""
    *lead, h, n, d_v = heads.shape
    return heads.swapaxes(-3, -2).reshape(*lead, n, h * d_v)


def for_all(mask, h, lead):
    """Give the mask an axis for the heads."""
    return mask[..., None, :, :]


def after(q, k, v):
    """Take the values from v."""
    return v


def with_parts(
    *,
    project=own,
    scale=lambda h, d_model, d_k: d_k**-0.5,
    masks=for_all,
    order=lambda n, m, h: np.tri(n, m, m - n, dtype=bool),
    weights=lambda scores, allowed: softmax(np.where(allowed, scores, -np.inf)),
    values=after,
    merge=in_order,
    finish=np.matmul,
):
    """Return a multi-head attention of several parts, one of which is wrong."""

    def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
        n, m, h = q.shape[-2], k.shape[-2], len(w_q)
        allowed = np.ones((1, n, m), bool) if mask is None else masks(mask, h, q.shape[:-2])
        if causal:
            allowed = allowed & order(n, m, h)
        scores = project(q, w_q) @ project(k, w_k).swapaxes(-1, -2) * scale(*w_q.shape)
        heads = weights(scores, allowed) @ project(values(q, k, v), w_v)
        return finish(merge(heads), w_o).astype(q.dtype)

    return multi_head_attention


def merged_without_transposing(heads):
    """Reshape [h, n, d_v] to [n, h d_v] as it lies in memory."""
    *lead, h, n, d_v = heads.shape
    return heads.reshape(*lead, n, h * d_v)


def squeezed(*data, **options):
    """Take every axis of length 1 for that of a single head."""
    result = multi_head_attention(*data, **options)
    return result.squeeze() if len(data[3]) == 1 else result


def square(w_o):
    """Tell whether a matrix and its transpose have one shape."""
    return len(set(w_o.shape)) == 1


# What the catalogue of faults does not have: the function, and the requirement that names the mistake.
MISTAKES = {
    "heads in reverse": (with_parts(merge=lambda heads: in_order(heads[..., ::-1, :, :])), 2),
    # jsbaan/transformer-from-scratch#6, jadore801120/attention-is-all-you-need-pytorch#7, hackiey/QAnet-pytorch#2
    "merged without transposing": (with_parts(merge=merged_without_transposing), 11),
    # Classic mistakes with w_o.
    "w_o transposed": (with_parts(finish=lambda x, w: x @ (w.T if square(w) else w)), 4),
    "w_o twice": (with_parts(finish=lambda x, w: x @ w @ w if square(w) else x @ w), 4),
    "an axis of length 1 lost with one head": (squeezed, 5),
    # lucidrains/vit-pytorch#65, juho-lee/set_transformer#18
    "scale by d_model": (with_parts(scale=lambda h, d_model, d_k: d_model**-0.5), 8),
    "scale by h d_k": (with_parts(scale=lambda h, d_model, d_k: (h * d_k) ** -0.5), 8),
    # Xilinx/brevitas#1591, of attention
    "NaN cleaned": (with_parts(finish=lambda x, w: np.nan_to_num(x @ w)), 19),
}


def broken(function, budget="smoke"):
    """Return the requirements of the page that a function fails, in their order."""
    ids = [prop.id for prop in properties() if prop.requirement.slug == OPERATION]
    report = judged({OPERATION: function}, ids, budget=budget)
    return [id for id in ids if report.requirements[id].outcome == "FAIL"]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_classic_mistake_is_named(name):
    """The requirement that is about it fails."""
    function, named = MISTAKES[name]

    assert f"MHA-{named}" in broken(function)


# --- Correct code -------------------------------------------------------------------------------------


def head_by_head(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Add what each head gives through its own rows of w_o, with q scaled before it is projected."""
    n, m, (h, _, d_k) = q.shape[-2], k.shape[-2], w_q.shape
    allowed = np.ones((n, m), bool) if mask is None else mask
    if causal:
        allowed = allowed & np.tri(n, m, m - n, dtype=bool)
    total = np.zeros_like(q)
    for i, rows in enumerate(np.split(w_o, h)):
        scores = (q * d_k**-0.5) @ w_q[i] @ (k @ w_k[i]).swapaxes(-1, -2)
        total += softmax(np.where(allowed, scores, -np.inf)) @ (v @ w_v[i]) @ rows
    return total


def split_by_reshaping(x, w):
    """Project for all heads at once, reshape [n, h d] to [n, h, d], and exchange the two axes."""
    h, d_model, d = w.shape
    rows = x @ w.transpose(1, 0, 2).reshape(d_model, h * d)
    return rows.reshape(*x.shape[:-1], h, d).swapaxes(-3, -2)


def in_torch(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Write it operation by operation in torch, so that every array is stored in the dtype."""
    d_k = w_q.shape[-1]
    queries, keys, values = ((x[..., None, :, :] @ w) for x, w in ((q, w_q), (k, w_k), (v, w_v)))
    scores = queries @ keys.transpose(-1, -2) * d_k**-0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[..., None, :, :], -math.inf)
    if causal:
        lower = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2])
        scores = scores.masked_fill(~lower, -math.inf)
    heads = torch.softmax(scores, dim=-1) @ values
    return heads.transpose(-3, -2).flatten(-2) @ w_o


NUMPY = {"array by array": with_parts(), "head by head": head_by_head, "reshaped": with_parts(project=split_by_reshaping)}


@pytest.mark.parametrize("name", NUMPY)
def test_correct_numpy_passes(name):
    """With nothing declared, in both dtypes; the table above is about the part that is wrong."""
    report = toise.verify({OPERATION: NUMPY[name]}, operations=[OPERATION], dtypes=["float32", "float64"], budget="smoke")

    assert report.passed
    assert {row.outcome for row in report.results if not row.excluded and row.operation == OPERATION} == {"PASS"}


def test_correct_torch_passes_in_bfloat16_operation_by_operation():
    """Where every array is stored, the class is EAGER, and a query without keys gives NaN."""
    declared = {"empty_row": "nan", "precision": {"bfloat16": "EAGER"}}
    target = {"__toise__": {"arrays": "torch", OPERATION: declared}, OPERATION: in_torch}
    report = toise.verify(target, operations=[OPERATION], dtypes=["bfloat16", "float32"], budget="smoke")

    failed = [(row.requirement, row.counterexample.message) for row in report.results if row.counterexample]
    assert failed == []
    assert report.passed


def torch_data(**sizes):
    """Return data as tensors."""
    return [torch.from_numpy(array) for array in data_of(**sizes).values()]


TIED = {"d_model": 6, "h": 3, "d_k": 2, "d_v": 2}


@pytest.mark.parametrize(
    ("sizes", "options", "reason"),
    [
        ({}, {}, "needs d_v = d_k and h d_k = d_model"),
        ({**TIED, "lead": (2, 2)}, {}, "takes one leading axis at most"),
        (TIED, {"mask": np.tri(3, 4, dtype=bool), "causal": True}, "takes one key_padding_mask for all queries"),
    ],
)
def test_the_adapter_refuses_what_torch_does_not_take(sizes, options, reason):
    """With the reason; such calls are counted, and neither passed nor failed."""
    options = {name: torch.from_numpy(value) if name == "mask" else value for name, value in options.items()}
    with pytest.raises(Unsupported, match=reason):
        torch_adapter.multi_head_attention(*torch_data(**sizes), **options)


def test_the_adapter_hands_on_a_padding_mask_beside_the_causal_order():
    """One that is the same for all queries; torch combines the two itself, with the diagonal of the first query."""
    data = data_of((2,), **TIED)
    mask = np.broadcast_to(np.array([[[T, T, T, N]], [[T, N, T, T]]]), (2, 3, 4))
    got = torch_adapter.multi_head_attention(*torch_data(lead=(2,), **TIED), mask=torch.from_numpy(mask.copy()), causal=True)

    assert np.allclose(got.numpy(), multi_head_attention(**data, mask=mask & np.tri(3, 4, dtype=bool)), rtol=0, atol=1e-14)
