"""The readable reference: the numbers of the specification's pages, dtypes, refusals, and agreement with 60 digits."""

import math

import mpmath
import numpy as np
import pytest
import toise_reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toise import bounds
from toise.inputs import Case, attention_inputs, token_rows
from toise.operations import OPERATIONS, allowed_keys
from toise_reference import attention, layer_norm
from within import STRICT32, STRICT64, UNDECLARED, bound, built, ratio

DTYPES = {"float64": STRICT64, "float32": STRICT32}
LN3 = math.log(3)
T, N = True, False
DIGITS = mpmath.MPContext()
DIGITS.dps = 60


def column(*numbers):
    """Return rows of one feature each."""
    return [[number] for number in numbers]


# --- The numbers of the pages -------------------------------------------------------------------------

ATTENTION = {
    "ATT-1 the formula": (([[1]], column(0, LN3), column(0, 4)), {}, [[3]]),
    "ATT-2 equal values": (([[1]], column(0, 1, 5), [[2, -1]] * 3), {}, [[2, -1]]),
    "ATT-3 two equal scores": (([[0]], column(1, 2), column(1, 2)), {}, [[1.5]]),
    "ATT-4 a mask": (([[0]], column(1, 2, 3), column(1, 2, 4)), {"mask": [[T, N, T]]}, [[2.5]]),
    "ATT-5 low scores": (([[1]], column(-20000, 0, -20000), column(1, 9, 4)), {"mask": [[T, N, T]]}, [[2.5]]),
    "ATT-6 the other order": (([[1]], column(LN3, 0), column(4, 0)), {}, [[3]]),
    "ATT-7 two queries": (([[0], [1]], column(0, LN3), column(0, 4)), {}, [[2], [3]]),
    "ATT-8 padded with zeros": (([[2, 0, 0, 0]], [[0, 0, 0, 0], [LN3, 0, 0, 0]], column(0, 4)), {}, [[3]]),
    "ATT-9 scale 2": (([[1]], column(0, LN3), column(0, 4)), {"scale": 2}, [[3.6]]),
    "ATT-9 scale 0": (([[1]], column(0, LN3), column(0, 4)), {"scale": 0}, [[2]]),
    "ATT-9 scale -1": (([[1]], column(0, LN3), column(0, 4)), {"scale": -1}, [[1]]),
    "ATT-10 shifted keys": (([[1]], column(-100000, -100000), column(0, 4)), {}, [[2]]),
    "ATT-11 a large score": (([[1]], column(1000, 0), column(7, 1)), {}, [[7]]),
    "ATT-12 repeated keys": (([[1]], column(0, 0, LN3, LN3), column(0, 0, 4, 4)), {}, [[3]]),
    "ATT-13 every key": (([[1]], column(0, 0, 0, 0, 0), np.eye(5)), {}, [[0.2] * 5]),
    "ATT-14 causal, n < m": ((column(0, 0), column(0, 0, 0), column(1, 2, 4)), {"causal": True}, [[1.5], [7 / 3]]),
    "ATT-15 the future": ((column(0, 0, 0, 0), column(0, 0, 0, 0), column(1, 2, 4, 1e30)), {"causal": True}, None),
    "ATT-16 the first query": ((column(0, 0, 0), column(5, 0, 7), column(1, 2, 4)), {"causal": True}, [[1], [1.5], [7 / 3]]),
    "ATT-17 mask and causal": (
        (column(0, 0, 0), column(0, 0, 0), column(1, 2, 4)),
        {"causal": True, "mask": [[T, T, T], [N, T, T], [N, T, T]]},
        [[1], [2], [3]],
    ),
    "ATT-18 a query without keys": (([[0]], column(1, 2, 3), column(1, 2, 4)), {"mask": [[N, N, N]]}, [[0]]),
    "ATT-20 a mask for every entry": (
        ([[[0]]] * 2, [column(0, 0, 0)] * 2, [column(1, 2, 4), column(10, 20, 40)]),
        {"mask": [[T, N, T]]},
        [[[2.5]], [[25]]],
    ),
    "GEN-1 d_v is not d_k": ((np.zeros((2, 4)), np.zeros((3, 4)), np.ones((3, 5))), {}, np.ones((2, 5))),
    "n = m = 1": (([[3, 4]], [[5, 6]], [[7, 8, 9]]), {}, [[7, 8, 9]]),
}
ROOT = math.sqrt(1.25)
LAYER_NORM = {
    "LN-1 the formula": (([[1, 3]], [2, 4], [1, 1]), {"eps": 3}, [[0, 3]]),
    "LN-2 divided by d": (([[1, -1]], [1, 1], [0, 0]), {"eps": 0.5}, [[1.5**-0.5, -(1.5**-0.5)]]),
    "LN-2 the source's formula": (([[1, 0, 0, 0]], [1] * 4, [0] * 4), {"eps": 0}, [[3**0.5, *[-(3**-0.5)] * 3]]),
    "LN-3 inside the root": (([[1, -1]], [1, 1], [0, 0]), {"eps": 3}, [[0.5, -0.5]]),
    "LN-4 a constant row": (([[14, 14]], [1, 1], [0.5, -2]), {"eps": 1e-6}, [[0.5, -2]]),
    "LN-4 one feature": (([[5]], [1], [7]), {}, [[7]]),
    "LN-5 a shifted row": (([[101, 103]], [1, 1], [0, 0]), {"eps": 3}, [[-0.5, 0.5]]),
    "LN-6 a scaled row": (([[10, 30]], [1, 1], [0, 0]), {"eps": 300}, [[-0.5, 0.5]]),
    "LN-7 two rows": (([[1, 3], [5, 7]], [1, 1], [0, 0]), {"eps": 4}, [[-(5**-0.5), 5**-0.5]] * 2),
    "LN-9 permuted": (([[3, 1]], [4, 2], [0, 1]), {"eps": 3}, [[2, 0]]),
    "LN-10 the default": (([[1, -1]], [1, 1], [0, 0]), {}, [[1.00001**-0.5, -(1.00001**-0.5)]]),
    "LN-11 a large mean": (
        ([[10000, 10001, 10002, 10003]], [1] * 4, [0] * 4),
        {"eps": 0},
        [[-1.5 / ROOT, -0.5 / ROOT, 0.5 / ROOT, 1.5 / ROOT]],
    ),
    "LN-12 without eps": (([[0.001, 0.003]], [1, 1], [0, 0]), {"eps": 0}, [[-1, 1]]),
    "GEN-6 rows of a transposed view": ((np.array([[1, 0], [2, 3]]).T, [1, 1], [0, 0]), {"eps": 0}, [[-1, 1], [-1, 1]]),
    "GEN-7 a batch": (([[[1, -1]], [[5, 3]]], [1, 1], [0, 0]), {"eps": 0}, [[[1, -1]], [[1, -1]]]),
}


def case_of(operation, data, options, dtype):
    """Return the call of a table's row, the data rounded to the dtype."""
    arrays = {
        name: np.asarray(part, dtype).astype(np.float64) for name, part in zip(OPERATIONS[operation].data, data, strict=True)
    }
    return Case(operation, arrays, {name: np.array(value) if name == "mask" else value for name, value in options.items()})


def call(case, dtype):
    """Call the reference."""
    return getattr(toise_reference, case.operation)(*(array.astype(dtype) for array in case.arrays.values()), **case.options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("operation", "row"), [*(("attention", row) for row in ATTENTION), *(("layer_norm", row) for row in LAYER_NORM)]
)
def test_the_numbers_on_the_pages_are_what_the_reference_gives(operation, row, dtype):
    """Worked out by hand; the radius leaves room for rounding, that of ln 3 and 0.001 to the dtype included."""
    data, options, by_hand = {"attention": ATTENTION, "layer_norm": LAYER_NORM}[operation][row]
    case = case_of(operation, data, options, dtype)
    got, required = call(case, dtype), bound(case, DTYPES[dtype])
    if by_hand is None:
        by_hand, got, required = [[1.0]], got[:1], bounds.Bounded(required.value[:1], required.radius[:1], DTYPES[dtype])

    assert got.dtype == dtype
    assert np.isfinite(required.radius).all()
    assert ratio(got, bounds.Bounded(np.array(by_hand, np.float64), required.radius, DTYPES[dtype])) <= 1
    assert ratio(required.value, bounds.Bounded(np.array(by_hand, np.float64), required.radius, DTYPES[dtype])) <= 1


# --- Dtypes -------------------------------------------------------------------------------------------

OPTIONS = {
    "attention": [
        {},
        {"mask": np.array([[True, False, True], [True, True, True]])},
        {"causal": True},
        {"causal": np.True_},
        {"scale": 0.5},
        {"scale": 1},
        {"scale": np.float64(0.5)},
        {"scale": np.float32(0.5)},
        {"scale": np.float64(0.5), "mask": np.ones((2, 3), bool), "causal": True},
    ],
    "layer_norm": [{}, {"eps": 0}, {"eps": 1e-3}, {"eps": np.float64(1e-3)}, {"eps": np.float32(1e-3)}],
}
SHAPES = {"attention": [(2, 4), (3, 4), (3, 5)], "layer_norm": [(2, 4), (4,), (4,)]}


def data_of(operation, dtype=np.float64, seed=0):
    """Return data of the right shapes."""
    noise = np.random.default_rng(seed)
    return [noise.standard_normal(shape).astype(dtype) for shape in SHAPES[operation]]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(
    ("operation", "options"), [(operation, options) for operation, several in OPTIONS.items() for options in several], ids=str
)
def test_a_result_has_the_dtype_of_its_inputs(operation, options, dtype):
    """Also with a NumPy scalar for an option, which would promote float32 arrays."""
    assert getattr(toise_reference, operation)(*data_of(operation, dtype), **options).dtype == dtype


@pytest.mark.parametrize("operation", OPTIONS)
def test_inputs_are_left_as_they_were(operation):
    """And the result has memory of its own."""
    data = data_of(operation)
    before = [array.copy() for array in data]
    for options in OPTIONS[operation]:
        result = getattr(toise_reference, operation)(*data, **options)
        assert not any(np.shares_memory(result, array) for array in data)

    assert all(np.array_equal(array, copy) for array, copy in zip(data, before, strict=True))


# --- Empty things -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lead", "n"), [((), 0), ((0,), 2), ((2, 0), 3), ((0,), 0)])
def test_no_rows_give_an_empty_result(lead, n):
    """Of the shape that the operation defines."""
    q, k, v = np.ones((*lead, n, 4)), np.ones((*lead, 3, 4)), np.ones((*lead, 3, 5))

    assert attention(q, k, v).shape == (*lead, n, 5)
    assert attention(q, k, v, causal=True, mask=np.ones((n, 3), bool)).shape == (*lead, n, 5)
    assert layer_norm(q, np.ones(4), np.zeros(4)).shape == (*lead, n, 4)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_query_without_any_key_gives_zeros_and_leaves_the_others_alone(dtype):
    """Hidden by the mask, by a causal order with more queries than keys, or by both together; and nothing warns."""
    q, k, v = (array.astype(dtype) for array in (np.ones((3, 2)), np.ones((2, 2)), np.array([[1.0, 2.0], [3.0, 6.0]])))

    assert attention(q, k, v, mask=np.array([[N, N], [T, T], [N, T]])).tolist() == [[0, 0], [2, 4], [3, 6]]
    assert attention(q, k, v, causal=True).tolist() == [[0, 0], [1, 2], [2, 4]]
    assert attention(q, k, v, causal=True, mask=np.array([[T, T], [N, T], [T, T]])).tolist() == [[0, 0], [0, 0], [2, 4]]
    assert attention(q, np.ones((0, 2), dtype), np.ones((0, 5), dtype)).tolist() == np.zeros((3, 5)).tolist()


# --- Refusals -----------------------------------------------------------------------------------------


def at(operation, options=(), **changes):
    """Return a call with some of its arguments exchanged."""
    data = dict(zip(OPERATIONS[operation].data, data_of(operation), strict=True))
    data.update({name: value for name, value in changes.items() if name in data})
    return lambda: getattr(toise_reference, operation)(*data.values(), **dict(options))


REFUSED = {
    "q and k with different numbers of features": (
        at("attention", k=np.ones((3, 5))),
        ValueError,
        r"^k has shape \(3, 5\); required: d_k = 4 in \[\.\.\., m, d_k\]$",
    ),
    "k and v with different numbers of rows": (
        at("attention", v=np.ones((2, 5))),
        ValueError,
        r"^v has shape \(2, 5\); required: m = 3 in",
    ),
    "leading axes that differ": (
        at("attention", k=np.ones((2, 3, 4))),
        ValueError,
        r"^k has leading axes \(2,\); required: \(\)$",
    ),
    "leading axes that broadcast": (
        at("attention", q=np.ones((2, 2, 4)), k=np.ones((1, 3, 4)), v=np.ones((2, 3, 5))),
        ValueError,
        r"^k has leading axes \(1,\); required: \(2,\)$",
    ),
    "q of rank 1": (at("attention", q=np.ones(4)), ValueError, r"^q has shape \(4,\); required: \[\.\.\., n, d_k\]$"),
    "no features": (
        at("attention", q=np.ones((2, 0)), k=np.ones((3, 0))),
        ValueError,
        r"^q has shape \(2, 0\); required: d_k of 1 or more$",
    ),
    "no columns of v": (at("attention", v=np.ones((3, 0))), ValueError, r"^v has shape \(3, 0\); required: d_v of 1 or more$"),
    "q as a list": (at("attention", q=[[1.0, 2.0, 3.0, 4.0]]), TypeError, r"^q is a list; required: a NumPy array$"),
    "mixed dtypes": (
        at("attention", k=np.ones((3, 4), np.float32)),
        TypeError,
        r"^got q float64, k float32, v float64; required: one floating-point dtype for all$",
    ),
    "whole numbers": (
        at("attention", q=np.ones((2, 4), int), k=np.ones((3, 4), int), v=np.ones((3, 5), int)),
        TypeError,
        r"^got q int64, k int64, v int64; required: one floating",
    ),
    "a mask of other axes": (
        at("attention", {"mask": np.ones((3, 2), bool)}),
        ValueError,
        r"^mask has shape \(3, 2\); required: n = 2 in \[\.\.\., n, m\]$",
    ),
    "a mask of size 1": (
        at("attention", {"mask": np.ones((1, 3), bool)}),
        ValueError,
        r"^mask has shape \(1, 3\); required: n = 2 in",
    ),
    "a mask of rank 1": (
        at("attention", {"mask": np.ones(3, bool)}),
        ValueError,
        r"^mask has shape \(3,\); required: \[\.\.\., n, m\]$",
    ),
    "a mask with more leading axes than q": (
        at("attention", {"mask": np.ones((2, 2, 3), bool)}),
        ValueError,
        r"^mask has leading axes \(2,\); required: \(\) or 1$",
    ),
    "a mask with another leading axis": (
        at("attention", {"mask": np.ones((3, 2, 3), bool)}, q=np.ones((2, 2, 4)), k=np.ones((2, 3, 4)), v=np.ones((2, 3, 5))),
        ValueError,
        r"^mask has leading axes \(3,\); required: \(2,\) or 1$",
    ),
    "a mask of numbers": (
        at("attention", {"mask": np.ones((2, 3))}),
        TypeError,
        r"^mask has dtype float64; required: bool$",
    ),
    "a mask as a list": (at("attention", {"mask": [[True] * 3] * 2}), TypeError, r"^mask is a list; required: a NumPy array$"),
    "an infinite scale": (at("attention", {"scale": math.inf}), ValueError, r"^scale is inf; required: a finite number$"),
    "a scale of NaN": (at("attention", {"scale": math.nan}), ValueError, r"^scale is nan; required: a finite number$"),
    "a scale that is no number": (at("attention", {"scale": "0.5"}), TypeError, r"^scale is '0.5'; required: a number$"),
    "a scale that is a truth value": (at("attention", {"scale": True}), TypeError, r"^scale is True; required: a number$"),
    "a scale that is an array": (
        at("attention", {"scale": np.ones(3)}),
        TypeError,
        r"^scale is array\(.*\); required: a number$",
    ),
    "causal as a text": (at("attention", {"causal": "no"}), TypeError, r"^causal is 'no'; required: True or False$"),
    "causal as a number": (at("attention", {"causal": 1}), TypeError, r"^causal is 1; required: True or False$"),
    "causal as nothing": (at("attention", {"causal": None}), TypeError, r"^causal is None; required: True or False$"),
    "no data for v": (at("attention", v=None), TypeError, r"^v is a NoneType; required: a NumPy array$"),
    "an eps that is no number": (at("layer_norm", {"eps": "small"}), TypeError, r"^eps is 'small'; required: a number$"),
    "no eps at all": (at("layer_norm", {"eps": None}), TypeError, r"^eps is None; required: a number$"),
    "an unknown option": (at("attention", {"dropout": 0.1}), TypeError, "unexpected keyword argument 'dropout'"),
    "an option by position": (lambda: attention(*data_of("attention"), None), TypeError, "too many positional arguments"),
    "a missing argument": (lambda: attention(*data_of("attention")[:2]), TypeError, "missing a required argument: 'v'"),
    "gamma of another length": (
        at("layer_norm", gamma=np.ones(5)),
        ValueError,
        r"^gamma has shape \(5,\); required: d = 4 in \[d\]$",
    ),
    "gamma of length 1": (at("layer_norm", gamma=np.ones(1)), ValueError, r"^gamma has shape \(1,\); required: d = 4 in \[d\]$"),
    "beta of another length": (
        at("layer_norm", beta=np.ones(3)),
        ValueError,
        r"^beta has shape \(3,\); required: d = 4 in \[d\]$",
    ),
    "gamma of rank 2": (at("layer_norm", gamma=np.ones((2, 4))), ValueError, r"^gamma has shape \(2, 4\); required: \[d\]$"),
    "x of no features": (
        at("layer_norm", x=np.ones((2, 0)), gamma=np.ones(0), beta=np.ones(0)),
        ValueError,
        r"^x has shape \(2, 0\); required: d of 1 or more$",
    ),
    "x of rank 0": (at("layer_norm", x=np.array(1.0)), ValueError, r"^x has shape \(\); required: \[\.\.\., d\]$"),
    "x as a list": (at("layer_norm", x=[[1.0, 2.0, 3.0, 4.0]]), TypeError, r"^x is a list; required: a NumPy array$"),
    "gamma of another dtype": (
        at("layer_norm", gamma=np.ones(4, np.float32)),
        TypeError,
        r"^got x float64, gamma float32, beta float64; required",
    ),
    "an eps below zero": (at("layer_norm", {"eps": -1e-5}), ValueError, r"^eps is -1e-05; required: a finite number, 0 or more$"),
    "an infinite eps": (at("layer_norm", {"eps": math.inf}), ValueError, r"^eps is inf; required: a finite number, 0 or more$"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_malformed_call_is_refused(mistake):
    """With the argument's name, what it is and what is required of it."""
    wrong, error, message = REFUSED[mistake]

    with pytest.raises(error, match=message):
        wrong()


# --- Sixty digits -------------------------------------------------------------------------------------


def exact_attention(case):
    """Compute attention with 60 digits."""
    q, k, v = (exact_numbers(array) for array in case.arrays.values())
    allowed = allowed_keys(case, UNDECLARED["attention"])
    d_k = q.shape[-1]
    scale = DIGITS.mpf(case.options["scale"]) if "scale" in case.options else 1 / DIGITS.sqrt(d_k)
    result = np.empty((*q.shape[:-1], v.shape[-1]), object)
    for row in np.ndindex(q.shape[:-1]):
        keys = np.flatnonzero(allowed[row])
        scores = [scale * DIGITS.fdot(q[row], k[(*row[:-1], j)]) for j in keys]
        parts = [DIGITS.exp(score - max(scores)) for score in scores]
        for c in range(v.shape[-1]):
            result[(*row, c)] = DIGITS.fdot(parts, [v[(*row[:-1], j, c)] for j in keys]) / (DIGITS.fsum(parts) or 1)
    return result


def exact_layer_norm(case):
    """Compute layer_norm with 60 digits."""
    x, gamma, beta = (exact_numbers(array) for array in case.arrays.values())
    d, eps = x.shape[-1], DIGITS.mpf(case.options.get("eps", 1e-5))
    result = np.empty(x.shape, object)
    for row in np.ndindex(x.shape[:-1]):
        mean = DIGITS.fsum(x[row]) / d
        root = DIGITS.sqrt(DIGITS.fsum((number - mean) ** 2 for number in x[row]) / d + eps)
        result[row] = [gamma[c] * (x[row][c] - mean) / root + beta[c] for c in range(d)]
    return result


def exact_numbers(array):
    """Turn float64 into numbers of 60 digits, exactly."""
    return np.array([DIGITS.mpf(float(number)) for number in array.flat], object).reshape(array.shape)


EXACT = {"attention": exact_attention, "layer_norm": exact_layer_norm}
SMALL = 1500
RECIPES = {
    "attention": attention_inputs(
        mask=("none", "some", "tail", "one", "empty"),
        causal=(False, True),
        scale=(None, 0.5, 0.0, -1.0, 0.3),
        exponent=(0, 1, -1, 4, -30),
    ),
    "layer_norm": token_rows(
        eps=(None, 0.0, 0.5, 1e-5, 1e-12),
        content=("literal", "ramp", "integers", "normal", "tiny", "offset", "outlier"),
        exponent=(0, 4, -9),
    ),
}


def assert_all_agree(recipe):
    """Hold the reference and the bounds' own value to the float64 radius around the exact value."""
    case = built(recipe, "float64")
    if recipe.operation == "layer_norm" and case.options.get("eps") == 0 and (case.x == case.x[..., :1]).all(-1).any():
        return  # a constant row without eps is excluded
    exact, strict = EXACT[recipe.operation](case), bound(case, STRICT64)
    reference = call(case, np.float64)
    for place in np.ndindex(exact.shape):
        radius = strict.radius[place]
        for whose, value in (("the reference", reference[place]), ("the bounds", strict.value[place])):
            assert math.isinf(radius) or abs(DIGITS.mpf(float(value)) - exact[place]) <= radius, f"{whose} on {recipe} at {place}"


@pytest.mark.parametrize("operation", EXACT)
def test_the_reference_and_the_bounds_agree_with_sixty_digits_on_fixed_recipes(operation):
    """Two computations in float64, and a third that rounds nowhere."""
    small = [recipe for recipe in RECIPES[operation].fixed if recipe.elements() <= SMALL]
    assert len(small) >= 10
    for recipe in small:
        assert_all_agree(recipe)


@pytest.mark.parametrize("operation", EXACT)
def test_the_reference_and_the_bounds_agree_with_sixty_digits_on_drawn_recipes(operation):
    """Masks, orders, scales and eps = 0 in any combination."""
    strategy = st.one_of(RECIPES[operation].general.filter(lambda recipe: recipe.elements() <= SMALL), RECIPES[operation].tiny)

    @settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def search(recipe):
        assert_all_agree(recipe)

    search()


def test_sixty_digits_notice_a_radius():
    """The exact value is no copy of a float64 one: it lies between two of them."""
    case = case_of("layer_norm", ([[1.0, 2.0, 4.0]], [1.0] * 3, [0.0] * 3), {"eps": 0.0}, "float64")
    exact = exact_layer_norm(case)[0, 0]

    assert exact != DIGITS.mpf(float(call(case, np.float64)[0, 0]))
    assert DIGITS.nstr(exact, 20) == DIGITS.nstr(-4 / DIGITS.sqrt(14), 20)
    assert STRICT64.step is bounds.formats.FLOAT64
