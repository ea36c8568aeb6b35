"""The bounds: a step and a matrix product stay within the radius, small faults leave it, and precision is data.

sound   single steps and matrix products; `test_soundness.py` has whole operations
tight   planted faults, each computed in float64, so that the fault alone is what leaves the radius
rules   overflow, underflow, empty rows, and what a radius can never be
"""

import dataclasses
import math
import operator

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from soundness.attention import scale_of, whole_rows
from soundness.campaign import ORGANISATIONS, result
from soundness.machine import Machine
from soundness.sums import ORDERS, truncating
from toise import bounds
from toise.bounds import Bounded, Format, Precision
from toise.bounds import attention as attention_bound
from toise.bounds.formats import ACCUMULATE32, FLOAT32
from toise.inputs import Attention, Case, TokenRows, attention_inputs, token_rows
from toise.inputs.magnitudes import fitted, storage_of
from toise.operations import OPERATIONS, allowed_keys
from within import FUSED16, STRICT32, STRICT64, UNDECLARED, bound, built, kept, ratio

PRECISION = {"float32": STRICT32, "bfloat16": FUSED16}
SEARCH = settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


LAYOUT = {"mask": ("none", "some", "tail", "one", "empty"), "causal": (False, True)}
DRAWN = {
    "attention": attention_inputs(**LAYOUT, scale=(None, 0.5, 0.0, -1.0, 0.3), exponent=(0, 1, -1, 2, -8, 4, 8, -30)).general,
    "layer_norm": token_rows(exponent=(0, 1, -4, 9, -9, 12, -30, 30)).general,
}


# --- Sound --------------------------------------------------------------------------------------------


@st.composite
def sums_of_products(draw):
    """Draw two float32 matrices of any finite numbers, subnormal ones and the greatest among them."""
    i, c, j = (draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 3)))
    numbers = st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-4, 4).map(float))
    return draw(arrays.arrays(np.float32, (i, c), elements=numbers)), draw(arrays.arrays(np.float32, (c, j), elements=numbers))


UNDERFLOW = np.full((1, 1), 2.0**-75 * (1 + 2.0**-23), np.float32)  # its square lies between two subnormal numbers


@SEARCH
@example((UNDERFLOW, UNDERFLOW), "one by one")
@given(sums_of_products(), st.sampled_from(["one by one", "backwards", "in pairs", "in lanes", "fused"]))
def test_a_matrix_product_stays_within_its_radius_in_any_order(matrices, order):
    """The rule that everything rests on, for numbers of any size."""
    with np.errstate(all="ignore"):
        got = ORDERS[order](Machine("float32", "STRICT"), *matrices)
        a, b = (bounds.bounded.given(matrix, STRICT32) for matrix in matrices)
        assert ratio(got.astype(np.float64), a @ b) <= 1


@SEARCH
@given(sums_of_products(), st.sampled_from([operator.add, operator.mul]))
def test_one_step_stays_within_its_radius(matrices, step):
    """A sum and a product, each rounded once, for numbers of any size."""
    a, b = (matrix.flat[0] for matrix in matrices)
    with np.errstate(all="ignore"):
        required = step(*(bounds.bounded.given(np.array([number]), STRICT32) for number in (a, b)))
        assert ratio(np.array([step(a, b)], np.float64), required) <= 1


@SEARCH
@given(st.data(), st.sampled_from([operator.add, operator.mul, operator.matmul]))
def test_errors_of_the_operands_are_inherited(data, step):
    """Wherever in their radii the operands lie, the result lies in its own."""
    values = arrays.arrays(np.float64, (3, 3), elements=st.integers(-8, 8).map(float))
    shares = arrays.arrays(np.float64, (3, 3), elements=st.sampled_from([-1.0, -0.5, 0.0, 1.0]))
    a, b = (Bounded(data.draw(values), np.abs(data.draw(values)), STRICT32) for _ in range(2))
    moved = step(*(operand.value + data.draw(shares) * operand.radius for operand in (a, b)))

    assert ratio(moved, step(a, b)) <= 1


def test_the_ratio_is_above_one_for_what_is_wrong():
    """The yardstick of this file itself: a number outside, NaN, and infinity are seen, and what is excused is not."""
    required = Bounded(np.array([1.0, 2.0]), np.array([0.5, np.inf]), STRICT32)

    assert [ratio(np.array(got), required) for got in ([1.25, 9], [2.0, 2], [np.nan, 2], [np.inf, 2], [1.0, np.nan])] == [
        0.5,
        2,
        np.inf,
        np.inf,
        0,
    ]


# --- Tight --------------------------------------------------------------------------------------------


def attention64(case, *, scale=None, allowed=None, fill=-np.inf, exp=np.exp, operand=None, scores=None, weights=None):
    """Compute attention in float64, save for the fault that the options plant."""
    keep = lambda a: a  # noqa: E731
    operand, scores, weights = operand or keep, scores or keep, weights or keep
    allowed = allowed_keys(case, UNDECLARED["attention"]) if allowed is None else allowed
    s = scores((scale_of(case) if scale is None else scale) * (operand(case.q) @ operand(case.k).swapaxes(-1, -2)))
    s = np.where(allowed, s, fill)
    parts = exp(s - s.max(-1, keepdims=True))
    return weights(parts) @ case.v / parts.sum(-1, keepdims=True)


def layer_norm64(case, *, eps=None, ddof=0, outside=False, last=None):
    """Compute layer_norm in float64, save for the fault that the options plant."""
    eps = case.options.get("eps", 1e-5) if eps is None else eps
    some = case.x[..., :last]
    variance = some.var(-1, keepdims=True, ddof=ddof)
    spread = np.sqrt(variance) + eps if outside else np.sqrt(variance + eps)
    return case.gamma * (case.x - some.mean(-1, keepdims=True)) / spread + case.beta


def exp_of_a_cubic(x):
    """exp by 2^i times a polynomial of degree 3 in the fraction, wrong by up to 1e-4."""
    power = np.maximum(x, -700) * math.log2(math.e)
    whole = np.floor(power)
    f = power - whole
    return np.where(x < -700, 0, np.ldexp(1 + f * (0.695146 + f * (0.227564 + f * 0.077119)), whole.astype(int)))


def exp_wrong_by_a_thousandth(x):
    """exp with a relative error of 1e-3, save for exp(0) = 1."""
    return np.where(x == 0, 1, np.exp(x) * (1 + 1e-3))


def without(key):
    """Return the fault that drops one key."""
    return lambda case: attention64(
        case, allowed=allowed_keys(case, UNDECLARED["attention"]) & (np.arange(case.k.shape[-2]) != key)
    )


def diagonal(offset):
    """Return the fault that lets query i see the keys up to i + offset."""
    return lambda case: attention64(case, allowed=np.tril(np.ones((case.q.shape[-2], case.k.shape[-2]), bool), k=offset))


def one_pass(case):
    """Compute the variance as E[x^2] - E[x]^2 in float32, clamped at zero: nothing is forgotten, and the digits are lost."""
    x = case.x.astype(np.float32)
    mean = x.mean(-1, keepdims=True)
    variance = np.maximum((x * x).mean(-1, keepdims=True) - mean * mean, np.float32(0))
    return ((x - mean) / np.sqrt(variance + np.float32(1e-5)) * case.gamma + case.beta).astype(np.float64)


LONG = Attention(n=2, m=1030, d_k=8, d_v=16, content="normal", values="indicator", seed=10)
WIDE = Attention(n=9, m=129, d_k=64, d_v=16, content="normal", values="indicator", seed=8)
PEAKED = Attention(n=17, m=17, d_k=16, d_v=16, content="peaked", values="indicator", seed=5)
NEAR_100 = Attention(n=9, m=5, d_k=16, d_v=3, content="peaked", values="offset", seed=5)
LOW = Attention(n=8, m=8, d_k=3, d_v=2, content="low", values="normal", seed=7, mask="some")
DECODING = Attention(n=5, m=8, d_k=4, d_v=8, content="normal", values="indicator", seed=1, causal=True)
TINY = TokenRows(lead=(5,), d=65, content="tiny", seed=6)
OFFSET = TokenRows(lead=(3,), d=64, content="offset", seed=5)
OFFSET_64 = TokenRows(lead=(17,), d=64, content="offset", seed=5)
LONG_ROW = TokenRows(lead=(3,), d=768, content="normal", seed=9)
FAULTS = {
    "the scale is off by 1e-4": (WIDE, "float32", lambda case: attention64(case, scale=scale_of(case) * (1 + 1e-4))),
    "the scale is 1/sqrt(d + 1)": (WIDE, "bfloat16", lambda case: attention64(case, scale=65**-0.5)),
    "the last key of 1030 is dropped": (LONG, "float32", without(1029)),
    "the last key of 1030 is dropped, in bfloat16": (LONG, "bfloat16", without(1029)),
    "a key at a block edge is dropped": (LONG, "bfloat16", without(1023)),
    "exp is wrong by 1e-3": (WIDE, "float32", lambda case: attention64(case, exp=exp_wrong_by_a_thousandth)),
    "exp is wrong by 1e-3, the values near 100": (
        NEAR_100,
        "float32",
        lambda case: attention64(case, exp=exp_wrong_by_a_thousandth),
    ),
    "exp is a polynomial of degree 3": (PEAKED, "float32", lambda case: attention64(case, exp=exp_of_a_cubic)),
    "q and k are cut to TF32": (WIDE, "float32", lambda case: attention64(case, operand=kept(11))),
    "scores are rounded to float16": (WIDE, "float32", lambda case: attention64(case, scores=kept(11))),
    "weights are rounded to bfloat16, in float32": (WIDE, "float32", lambda case: attention64(case, weights=kept(8))),
    "scores are rounded to bfloat16": (PEAKED, "bfloat16", lambda case: attention64(case, scores=kept(8))),
    "masked scores are -1e4": (LOW, "bfloat16", lambda case: attention64(case, fill=-1e4)),
    "a causal query misses its last key": (DECODING, "bfloat16", diagonal(2)),
    "a causal query sees one key too many": (DECODING, "bfloat16", diagonal(4)),
    "causal queries are aligned top-left": (DECODING, "bfloat16", diagonal(0)),
    "eps is 1e-6 for 1e-5": (TINY, "float32", lambda case: layer_norm64(case, eps=1e-6)),
    "eps is 1e-6 for 1e-5, in bfloat16": (TINY, "bfloat16", lambda case: layer_norm64(case, eps=1e-6)),
    "eps is off by 1 in 500": (TINY, "float32", lambda case: layer_norm64(case, eps=1.002e-5)),
    "eps is outside the root": (TINY, "bfloat16", lambda case: layer_norm64(case, outside=True)),
    "the variance divides by d - 1, of 768": (LONG_ROW, "float32", lambda case: layer_norm64(case, ddof=1)),
    "the variance divides by d - 1, of 64, beside a large mean": (OFFSET_64, "float32", lambda case: layer_norm64(case, ddof=1)),
    "the last feature of 65 is left out of the mean": (TINY, "bfloat16", lambda case: layer_norm64(case, last=64)),
    "the variance is E[x^2] - E[x]^2": (OFFSET, "float32", one_pass),
}


@pytest.mark.parametrize("recipe", [LONG, WIDE, PEAKED, NEAR_100, LOW, DECODING, TINY, OFFSET, OFFSET_64, LONG_ROW], ids=str)
def test_the_code_that_the_faults_are_planted_in_is_right(recipe):
    """Without a fault it stays within the float64 radius, so that the fault is what leaves a wider one."""
    case = built(recipe, "float32")
    right = {"attention": attention64, "layer_norm": layer_norm64}[case.operation]

    assert ratio(right(case), bound(case, STRICT64)) <= 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_small_fault_leaves_the_radius(fault):
    """The radius is small enough to see it: the fault is all that differs from float64."""
    recipe, dtype, wrong = FAULTS[fault]
    case = built(recipe, dtype)

    assert ratio(wrong(case), bound(case, PRECISION[dtype])) > 1


# --- Rules --------------------------------------------------------------------------------------------


def attention_case(q, k, v, **options):
    """Return a call of attention on these numbers."""
    return Case("attention", {"q": np.array(q, float), "k": np.array(k, float), "v": np.array(v, float)}, options)


def layer_norm_case(x, gamma=1.0, beta=0.0, **options):
    """Return a call of layer_norm on these numbers, with one gamma and one beta for all features."""
    x = np.array(x, float)
    return Case("layer_norm", {"x": x, "gamma": np.full(x.shape[-1], gamma), "beta": np.full(x.shape[-1], beta)}, options)


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize(
    "case",
    [
        attention_case([[0.0]], [[0.0]] * 4, [[2.0**127]] * 4),  # 4 times the value, before it is divided by 4
        attention_case([[2.0**64]], [[2.0**64], [0.0]], [[1.0], [2.0]]),  # the scores
        attention_case([[2.0**64, 2.0**64]], [[2.0**64, -(2.0**64)], [0.0, 0.0]], [[1.0], [2.0]]),  # a score of 0 as inf - inf
        layer_norm_case([np.arange(1024) * 2.0**62]),  # the sum of the squares, though not their mean
        layer_norm_case([[2.0**127, 2.0**127]]),  # the sum of the features, though not their mean
    ],
    ids=["values", "scores", "cancelling scores", "squares", "features"],
)
def test_where_a_correct_computation_may_overflow_the_radius_is_infinite(case, dtype):
    """Such an element is excused, whatever comes back, and the radius is a number all the same."""
    radius = bound(case, PRECISION[dtype]).radius

    assert np.isposinf(radius).all()


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize(
    "case",
    [
        attention_case([[0.0]], [[0.0]] * 4, [[2.0**123]] * 4),
        attention_case([[2.0**14]], [[2.0**14], [0.0]], [[1.0], [2.0]]),
        layer_norm_case([np.arange(1024) * 2.0**40]),
        layer_norm_case([[2.0**60, -(2.0**60)]]),
        layer_norm_case([[10000.0] * 64]),  # the mean's error squared is more than eps, which is the floor all the same
    ],
    ids=["values", "scores", "squares", "features", "a constant row"],
)
def test_where_no_correct_computation_can_overflow_the_radius_is_finite(case, dtype):
    """Large numbers alone are no excuse."""
    assert np.isfinite(bound(case, PRECISION[dtype]).radius).all()


@pytest.mark.parametrize("dtype", PRECISION)
def test_scores_too_large_to_tell_keys_apart_still_keep_the_result_among_the_values(dtype):
    """The hull: where the slips say nothing, the result is some mean of the values, and the radius holds it to that.

    A score of 2^26 is known to 4 in float32, so that either key may win; a tenth is more than all roundings after it.
    """
    case = attention_case([[2.0**13]], [[2.0**13], [2.0**13]], [[1.0], [2.0]])
    required = bound(case, PRECISION[dtype])

    assert [ratio(np.array([[got]]), required) <= 1 for got in (0.9, 1.0, 1.5, 2.0, 2.1)] == [False, True, True, True, False]


@pytest.mark.parametrize("dtype", PRECISION)
def test_equal_values_are_held_to_their_own_rounding_however_large_the_scores(dtype):
    """No error of the scores can lead away from a value that all keys have: the key rule and the hull both say so.

    In float32: two sums of five terms, the weights, three steps, stored and returned, 16 units.  In bfloat16 the
    weights and the result, 2 units, and all the rest is less than one.
    """
    case = built(Attention(n=3, m=5, d_k=8, d_v=1, content="large", seed=1), dtype)
    case = case.replace(v=np.full(case.v.shape, 96.0))
    required = bound(case, PRECISION[dtype])

    units = {"float32": 16, "bfloat16": 2}[dtype]
    assert (required.radius <= (units + 1) * PRECISION[dtype].storage.u * 96).all()


SUBNORMAL = 2.0**-130


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize(
    "case",
    [
        attention_case([[1.0]], [[0.0]], [[SUBNORMAL]]),
        attention_case([[1.0]], [[0.0], [1.0]], [[SUBNORMAL], [-3 * SUBNORMAL]]),
        layer_norm_case([[1.0, -1.0]], gamma=SUBNORMAL),
        layer_norm_case([[1.0] + [0.0] * 1024], gamma=8 * SUBNORMAL),  # times 32, which is a normal number
        layer_norm_case([[1.0, 1.0]], beta=SUBNORMAL),
    ],
    ids=["value", "values", "gamma", "gamma of an outlier", "beta"],
)
def test_a_subnormal_input_may_be_flushed_to_zero(case, dtype):
    """Hardware and compilers do so, and a result of zero is then right."""
    required = bound(case, PRECISION[dtype])

    assert (required.value != 0).all()
    assert ratio(np.zeros(required.value.shape), required) <= 1


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize(
    "case",
    [attention_case([[1.0]], [[0.0]], [[2.0**-120]]), layer_norm_case([[0.0, 0.0]], beta=2.0**-100)],
    ids=["attention", "layer_norm"],
)
def test_a_small_normal_input_may_not_be_flushed(case, dtype):
    """Zero for a number that every format holds is a wrong result.

    A row of zeros, whose mean may be flushed, is known to 2^-126 / sqrt(eps), about 2^-118.
    """
    required = bound(case, PRECISION[dtype])

    assert ratio(np.zeros(required.value.shape), required) > 1


@pytest.mark.parametrize("precision", [STRICT64, STRICT32, FUSED16], ids=["float64", "float32", "bfloat16"])
def test_a_query_without_any_key_has_the_value_zero_and_no_radius_but_for_flushing(precision):
    """Nothing is rounded there but a zero, when it is stored and when it is returned; what the row must be, ATT-18 says."""
    case = attention_case([[1.0], [2.0]], [[1.0], [3.0]], [[1.0], [2.0]], mask=np.array([[False, False], [True, True]]))
    required = bound(case, precision)

    assert required.value[0] == 0
    assert (
        required.radius[0] <= precision.tensor.tiny + precision.storage.tiny * (1 + precision.storage.u) + precision.tensor.tiny
    )
    assert required.radius[1] > precision.storage.u


def numbers(shape):
    """Draw arrays of any finite float32 numbers, of small whole numbers, or of both."""
    return arrays.arrays(
        np.float64,
        shape,
        elements=st.one_of(st.integers(-3, 3).map(float), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    )


@st.composite
def calls(draw):
    """Draw calls of either operation on numbers of any size."""
    if draw(st.booleans()):
        d = draw(st.integers(1, 4))
        x, gamma, beta = draw(numbers((2, d))), draw(numbers((d,))), draw(numbers((d,)))
        return Case("layer_norm", {"x": x, "gamma": gamma, "beta": beta}, {"eps": draw(st.sampled_from([0.0, 1e-12, 1e-5, 1.0]))})
    n, m, d_k, d_v = (draw(st.integers(1, 3)) for _ in range(4))
    mask = draw(arrays.arrays(bool, (n, m)))
    scale = draw(st.sampled_from([0.0, 0.5, 1.0, -1.0, 1e30]))
    return Case(
        "attention",
        {"q": draw(numbers((n, d_k))), "k": draw(numbers((m, d_k))), "v": draw(numbers((m, d_v)))},
        {"mask": mask, "scale": scale},
    )


def assert_is_a_radius(required):
    """Require a number, 0 or more, and a finite value beside a finite radius."""
    assert not np.isnan(required.radius).any()
    assert (required.radius >= 0).all()
    assert np.isfinite(required.value[np.isfinite(required.radius)]).all()


@SEARCH
@given(calls(), st.sampled_from([STRICT64, STRICT32, FUSED16]))
def test_a_radius_is_never_nan_nor_negative(case, precision):
    """On finite numbers of any size; and where it is finite, the value beside it is finite too."""
    assert_is_a_radius(bound(case, precision))


@SEARCH
@given(st.one_of(*DRAWN.values()), st.sampled_from(["float64", "float32", "bfloat16"]))
def test_a_radius_is_never_nan_nor_negative_on_drawn_recipes(recipe, dtype):
    """On the inputs that the suite draws."""
    assert_is_a_radius(bound(built(recipe, dtype), {"float64": STRICT64, **PRECISION}[dtype]))


@SEARCH
@given(st.one_of(*DRAWN.values()))
def test_a_finer_precision_has_a_smaller_radius(recipe):
    """On the same numbers: float64 within float32 within bfloat16."""
    case = built(recipe, "bfloat16")
    fine, single, coarse = (bound(case, precision).radius for precision in (STRICT64, STRICT32, FUSED16))

    assert (fine <= single).all()
    assert (single <= coarse).all()


@SEARCH
@given(attention_inputs(**LAYOUT, lead=((2,), (3,)), shape=("plain",)).general)
def test_the_entries_of_a_batch_are_bounded_one_by_one(recipe):
    """An entry's value and radius are what they are alone, but for the rounding of the float64 sums themselves."""
    case = built(recipe, "float32")
    batch = bound(case, STRICT32)
    first = bound(case.replace(**{name: array[0] for name, array in case.arrays.items()}), STRICT32)
    alone = bound(case.replace(**{name: array[0] for name, array in case.arrays.items()}), STRICT64)

    assert (np.abs(batch.value[0] - first.value) <= 2 * alone.radius).all()
    assert (np.isfinite(batch.radius[0]) == np.isfinite(first.radius)).all()


# --- Precision is data --------------------------------------------------------------------------------

FLOAT16 = Format(u=2.0**-11, tiny=2.0**-25, huge=65504.0)
FUSED_FLOAT16 = Precision(storage=FLOAT16, tensor=FLOAT32, step=FLOAT32, accumulate=ACCUMULATE32, weights=FLOAT16)
TENSOR_CORES = dataclasses.replace(STRICT32, accumulate=ACCUMULATE32)
MODERATE = {
    "attention": attention_inputs(**LAYOUT, content=("ramp", "integers", "normal", "ties", "peaked")),
    "layer_norm": token_rows(content=("ramp", "integers", "normal", "constant", "tiny", "offset")),
}


@pytest.mark.parametrize(("operation", "kernel"), [("attention", "torch, its choice"), ("layer_norm", "torch")])
def test_a_new_precision_is_data(operation, kernel):
    """torch's float16 kernels hold a Format and a Precision that are written here, and float32's refuses them.

    It is the data that decides.
    """
    float16, float32 = [], []
    for recipe in MODERATE[operation].fixed:
        case = recipe.build(lambda array: fitted(array, storage_of("float16")).astype(np.float16).astype(np.float64))
        got = result(ORGANISATIONS[operation][kernel], Machine("float16", "FUSED"), case)
        for ratios, precision in ((float16, FUSED_FLOAT16), (float32, STRICT32)):
            ratios.append(ratio(got, OPERATIONS[operation].required(case, UNDECLARED[operation], precision)))

    assert 0 < max(float16) <= 1
    assert max(float32) > 1


def test_sums_that_truncate_need_the_precision_that_allows_it():
    """Tensor cores cut their sums towards zero: 2^-23 for an addition, and STRICT allows half of that.

    1023 products just below one unit in the last place of the sum, 2^-23, are cut away one after the other.
    """
    k = np.array([np.zeros(1024), np.full(1024, 0.99 * 2.0**-23)])
    k[1, 0] = 1
    case = attention_case(np.ones((1, 1024)), k.astype(np.float32), [[0.0], [1.0]], scale=1.0)
    data = (array.astype(np.float32) for array in case.arrays.values())
    # Of this class it is the accumulator alone that takes part: the greatest weight, 1, is not rounded.
    got = whole_rows(Machine("bfloat16", "FUSED"), *data, np.ones((1, 2), bool), 1.0, order=truncating)

    assert ratio(got, bound(case, TENSOR_CORES)) <= 1
    assert ratio(got, bound(case, STRICT32)) > 1


def test_a_block_that_overflows_before_the_greatest_score_is_excused():
    """The first 512 values sum to infinity, though the last key has nearly all the weight: torch's kernel gives infinity."""
    q, k, v = torch.ones(1, 1, 1, 8), torch.zeros(1, 1, 513, 8), torch.full((1, 1, 513, 8), 1e36)
    k[..., -1, :], v[..., -1, :] = 4, 1
    got = torch.nn.functional.scaled_dot_product_attention(q, k, v).double().numpy()
    allowed = np.ones((1, 513), bool)
    data = (array.double().numpy() for array in (q, k, v))

    assert np.isinf(got).all()
    assert np.isinf(attention_bound(*data, allowed, 8**-0.5, STRICT32).radius).all()
