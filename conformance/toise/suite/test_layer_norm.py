"""LN · What layer_norm must do: one test for each numbered requirement.  Read with spec/toise_spec/layer_norm.md."""

import math

import numpy as np

from toise.engine import requirement
from toise.inputs import WHOLE_NUMBERS, token_rows
from toise.inputs.layer_norm import (
    AXES,
    BLOCKS,
    EPS,
    LARGE,
    MANY,
    NEAR_ONE,
    ODD_BLOCKS,
    OFFSET,
    PADDED,
    PEAK,
    REPEATED,
    ROWS,
    SMALL,
    SMALLER,
    SQUARE,
    WIDTHS,
    WITHOUT_EPS,
)
from toise.inputs.magnitudes import power_of_two_within
from toise.operations import OPERATIONS
from toise.suite.test_feed_forward import last_position
from toise.verdict import Irrelevant, assert_close, assert_formula, assert_same, assert_that


@requirement(
    "LN-1",
    rows=token_rows().beside(
        REPEATED, SQUARE, PADDED, NEAR_ONE, SMALL, SMALLER, LARGE, *AXES, *EPS, OFFSET, PEAK, ROWS, BLOCKS, MANY, *WIDTHS, after=8
    ),
)
def test_the_result_is_the_formula(backend, rows):
    """y = gamma * (x - mean) / sqrt(variance + eps) + beta."""
    assert_formula(backend.layer_norm(rows.x, rows.gamma, rows.beta, **rows.options))


@requirement(
    "LN-2", rows=token_rows(d=(2, 3, 4, 5), eps=(0.0,), gamma=("ones",), beta=("zeros",), content=(*WHOLE_NUMBERS, "normal"))
)
def test_the_variance_divides_by_d(backend, rows):
    """The squares of a normalised row sum to d: divided by d - 1, they sum to d - 1.

    eps is 0, so that its place does not matter, and the rows are short, where the mistake is largest.
    """
    without_constant_rows(rows)
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, eps=0.0)

    squares, radius = sum_of_squares(y)
    assert_close(squares, np.full(squares.shape, float(rows.x.shape[-1])), radius, what="sum of squares of row ")


@requirement("LN-3", rows=token_rows(eps=(0.5, 0.25, 1.0), gamma=("ones",), beta=("zeros",), content=(*WHOLE_NUMBERS, "normal")))
def test_eps_is_added_to_the_variance(backend, rows):
    """A row of variance v leaves with variance v / (v + eps).

    eps is large on purpose: at the usual 1e-5 this mistake hides below rounding.
    """
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, eps=rows.eps)

    v = rows.x.var(axis=-1)
    variance, radius = variance_of(y)
    assert_close(variance, v / (v + rows.eps), radius, what="variance of row ")


@requirement("LN-4", rows=token_rows(content=("constant", "zeros"), d=(2, 3, 1, 7, 64, 255)))
def test_a_constant_row_gives_beta(backend, rows):
    """Where all features are equal there is nothing to scale: the row is beta."""
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, **rows.options)

    assert_close(y.got, np.broadcast_to(rows.beta, y.got.shape), y.radius)


@requirement("LN-5", rows=token_rows(content=WHOLE_NUMBERS, exponent=(0,)))
def test_adding_a_constant_to_a_row_changes_nothing(backend, rows):
    """layer_norm(x + c) = layer_norm(x), with a c of its own for each row.

    x and c are whole numbers (or halves), so that x + c is exact in every dtype.
    """
    c = np.round(4 * rows.normal(1, (*rows.x.shape[:-1], 1))) + 16.0
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, **rows.options)
    shifted = backend.layer_norm(rows.x + c, rows.gamma, rows.beta, **rows.options)

    assert_same(shifted, y)


@requirement("LN-6", rows=token_rows(eps=(0.5, 0.25, 1.0, 2.0**-10)))
def test_scaling_a_row_and_eps_changes_nothing(backend, rows):
    """layer_norm(a x; a^2 eps) = layer_norm(x; eps), for a > 0.

    a is a power of two, so that a x is exact.
    """
    a = 4.0
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, eps=rows.eps)
    scaled = backend.layer_norm(a * rows.x, rows.gamma, rows.beta, eps=a**2 * rows.eps)

    assert_same(scaled, y)


@requirement("LN-7", rows=token_rows(lead=((2,), (5,), (2, 3), (3,), (1, 2), (17,), (2, 1, 2), (130,))).beside(ROWS))
def test_a_row_depends_on_itself_alone(backend, rows):
    """The last row gives alone what it gives after other rows.

    The others are loud: a statistic that mixes rows, or is carried over from the row before, would be theirs.
    """
    last = last_position(rows)
    loud = rows.loud(1, rows.x.shape)
    loud[last] = rows.x[last]
    among = backend.layer_norm(loud, rows.gamma, rows.beta, **rows.options)
    alone = backend.layer_norm(rows.x[last], rows.gamma, rows.beta, **rows.options)

    assert_same(alone, among, at=last, what="last row, alone, ")


@requirement("LN-8", rows=token_rows(gamma=("powers",), beta=("normal",)).beside(SQUARE))
def test_gamma_scales_each_feature_and_beta_is_added_last(backend, rows):
    """layer_norm(x; gamma, beta) = gamma * layer_norm(x; 1, 0) + beta, feature by feature."""
    plain = backend.layer_norm(rows.x, np.ones_like(rows.gamma), np.zeros_like(rows.beta), **rows.options)
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, **rows.options)

    required = rows.gamma * plain.got + rows.beta
    assert_close(y.got, np.where(np.isfinite(y.radius), required, y.value), y.radius + np.abs(rows.gamma) * plain.radius)


@requirement("LN-9", rows=token_rows(gamma=("powers", "normal"), beta=("normal",)).beside(*ODD_BLOCKS))
def test_permuting_the_features_permutes_the_result(backend, rows):
    """No feature has a special place: x, gamma and beta permuted alike give the result permuted alike."""
    order = rows.permutation(rows.x.shape[-1])
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, **rows.options)
    permuted = backend.layer_norm(rows.x[..., order], rows.gamma[order], rows.beta[order], **rows.options)

    assert_same(permuted, y, at=np.s_[..., order])


@requirement(
    "LN-10", rows=token_rows(content=("tiny", "normal"), exponent=(0, -2), eps=(0.25, 0.5, 1.0), d=(2, 3, 4, 5, 8, 16, 33))
)
def test_an_explicit_eps_replaces_the_default(backend, rows):
    """The default is 1e-5, and a larger eps gives smaller numbers: an eps that is ignored gives the same ones."""
    default = backend.layer_norm(rows.x, rows.gamma, rows.beta)
    assert_same(
        backend.layer_norm(rows.x, rows.gamma, rows.beta, eps=float(np.nextafter(1e-5, 1))),
        default,
        what="result with eps = 1e-5 ",
    )

    given = backend.layer_norm(rows.x, rows.gamma, rows.beta, eps=rows.eps)
    apart = np.abs(given.value - default.value) > given.radius + default.radius
    ignored = bool(apart.any()) and np.array_equal(given.got, default.got)
    assert_that(not ignored, "value", f"eps = {rows.eps} gives what the default gives", got=given.got, required=given.value)


@requirement("LN-11", rows=token_rows(content=("integers", "ramp"), exponent=(0,), d=(8, 16, 64, 65, 128, 255, 512, 768)))
def test_a_small_spread_beside_a_large_mean_is_kept(backend, rows):
    """Beside a mean far larger than the deviations the result is what it is beside none.

    The numbers are whole and exact in the dtype; E[x^2] - E[x]^2 would lose their digits.
    """
    large = {"float64": 2.0**40, "float32": 2.0**16, "bfloat16": 2.0**7, "float16": 2.0**10}[backend.dtype]
    # Where squares are summed in float16, the mean must be smaller.
    d, sums = rows.x.shape[-1], backend.declared("layer_norm").bounds(backend.dtype).accumulate
    large = min(large, power_of_two_within(math.sqrt(sums.huge / (8 * d))))
    # Of a long row the mean itself, and with it the radius, would be as far off as the numbers are from each other.
    large = max(16.0, min(large, power_of_two_within(1 / (d * sums.u))))
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, **rows.options)
    if not np.isfinite(y.radius).any():
        raise Irrelevant  # the squares of a long row may overflow beside no mean at all
    shifted = backend.layer_norm(rows.x + large, rows.gamma, rows.beta, **rows.options)

    assert_same(shifted, y)


@requirement(
    "LN-12",
    rows=token_rows(eps=(0.0,), content=(*WHOLE_NUMBERS, "normal", "outlier"), d=(2, 3, 4, 5, 8, 16, 31)).beside(WITHOUT_EPS),
)
def test_without_eps_it_is_the_formula_of_the_source(backend, rows):
    """With eps = 0 the result is (x - mean) / sigma * gamma + beta."""
    without_constant_rows(rows)

    assert_formula(backend.layer_norm(rows.x, rows.gamma, rows.beta, eps=0.0))


@requirement("LN-13", rows=token_rows(gamma=("ones",), beta=("zeros",)).beside(*EPS))
def test_a_normalised_row_has_mean_zero_and_variance_below_one(backend, rows):
    """The features of a normalised row sum to zero, and their squares to d v / (v + eps)."""
    y = backend.layer_norm(rows.x, rows.gamma, rows.beta, **rows.options)

    zero = np.zeros(y.got.shape[:-1])
    assert_close(y.got.sum(axis=-1), zero, radius_of_sum(y.radius) + rounding(y.value), what="sum of row ")
    d, v, eps = rows.x.shape[-1], rows.x.var(axis=-1), rows.options.get("eps", OPERATIONS["layer_norm"].options["eps"])
    squares, radius = sum_of_squares(y)
    v_radius = 8 * d * 2.0**-53 * (rows.x**2).mean(axis=-1) / (v + eps)
    assert_close(squares, d * v / (v + eps), radius + d * v_radius, what="sum of squares of row ")


def without_constant_rows(rows):
    """Leave out inputs that happen to have a constant row: with eps = 0 the specification excludes them."""
    if (rows.x == rows.x[..., :1]).all(axis=-1).any():
        raise Irrelevant


def sum_of_squares(y):
    """Return the sum of squares of each row, and its radius: |(v + e)^2 - v^2| <= 2 |v| r + r^2 for |e| <= r."""
    moved = 2 * np.abs(y.value) * y.radius + y.radius**2
    return (y.got**2).sum(axis=-1), radius_of_sum(moved) + rounding(y.value**2)


def variance_of(y):
    """Return the variance of each row, and its radius: the variance of v + e is that of v, 2 cov(v, e) and var(e)."""
    centred = y.value - y.value.mean(axis=-1, keepdims=True)
    moved = 2 * np.abs(centred) * y.radius + y.radius**2
    return y.got.var(axis=-1), radius_of_sum(moved) / y.got.shape[-1] + rounding(y.value**2)


def radius_of_sum(radius):
    """Add the radii of each row; a row with an element that is excused is excused."""
    return np.where(np.isfinite(radius).all(axis=-1), radius.sum(axis=-1), np.inf)


def rounding(terms):
    """Return what computing a sum of these terms in float64 may itself err by, with a margin for the steps around it."""
    return 4 * (terms.shape[-1] + 8) * 2.0**-53 * (np.abs(terms).sum(axis=-1) + 1)
