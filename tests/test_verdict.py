"""Every assertion of a property test is fed a wrong answer, and must see it.  Read with conformance/toise/verdict.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from toise.backend import Answer
from toise.errors import ToiseError
from toise.inputs import Case
from toise.operations import Required
from toise.verdict import (
    EXAMPLE,
    KINDS,
    Example,
    Violation,
    assert_close,
    assert_finite,
    assert_formula,
    assert_same,
    assert_that,
)

CASE = Case("layer_norm", {}, {})
NAN, INF = math.nan, math.inf


def answer(got, value=0.0, radius=0.0):
    """Return an answer as `Backend.read` would, with a value and a radius for every element."""
    got = np.asarray(got, np.float64)
    required = Required(np.broadcast_to(np.float64(value), got.shape), np.broadcast_to(np.float64(radius), got.shape))
    return Answer(CASE, got, got, "float64", lambda: required)


def close(got, required, radius, **options):
    """Compare lists of numbers."""
    assert_close(np.asarray(got, np.float64), np.asarray(required, np.float64), np.asarray(radius, np.float64), **options)


@pytest.fixture
def example():
    """The counts of the example that is running."""
    running = Example()
    token = EXAMPLE.set(running)
    yield running
    EXAMPLE.reset(token)


@pytest.mark.parametrize(
    ("got", "required", "radius"),
    [
        ([1.0], [1.0], 0.0),
        ([1.25], [1.0], 0.25),
        ([0.75], [1.0], 0.25),
        ([-0.0], [0.0], 0.0),
        ([0.0], [-0.0], 0.0),
        ([[1.0, 2.0]], [[1.5, 2.0]], [[0.5, 0.0]]),
        (np.zeros((2, 0)), np.zeros((2, 0)), 0.0),
        (1.0, 1.0, 0.0),
    ],
    ids=repr,
)
def test_numbers_within_their_radius_pass(got, required, radius):
    """The edge of the radius belongs to it, and -0.0 equals 0.0."""
    close(got, required, radius)


@pytest.mark.parametrize("number", [0.0, 1e300, NAN, INF, -INF])
@pytest.mark.parametrize("required", [0.0, NAN, INF])
def test_an_infinite_radius_excuses_any_number(number, required):
    """Nothing is held to a value that a correct computation may miss by any distance."""
    close([number], [required], INF)


@pytest.mark.parametrize(
    ("got", "required", "radius", "message"),
    [
        ([np.nextafter(1.25, 2)], [1.0], 0.25, "result[0] is 1.25; required 1 within 0.25"),
        ([np.nextafter(0.75, 0)], [1.0], 0.25, "result[0] is 0.75; required 1 within 0.25"),
        ([1.0 + 2**-52], [1.0], 0.0, "result[0] is 1; required 1 within 0"),
        ([[1.0, 3.0]], [[1.0, 2.0]], 0.5, "result[0, 1] is 3; required 2 within 0.5"),
        ([5e-324], [0.0], 0.0, "result[0] is 4.94065646e-324; required 0 within 0"),
        (3.0, 2.0, 0.5, "result is 3; required 2 within 0.5"),
    ],
)
def test_a_number_just_outside_its_radius_fails(got, required, radius, message):
    """By one unit in the last place, too."""
    with pytest.raises(Violation) as caught:
        close(got, required, radius)

    assert (caught.value.kind, caught.value.message, str(caught.value)) == ("value", message, message)


@pytest.mark.parametrize("number", [NAN, INF, -INF])
@pytest.mark.parametrize("radius", [0.0, 1e300])
def test_what_is_not_finite_fails_where_the_radius_is_finite(number, radius):
    """`not (error > radius)` would let NaN pass."""
    with pytest.raises(Violation, match=f"is {number}; required 1 within") as caught:
        close([1.0, number], [1.0, 1.0], radius)

    assert caught.value.kind == "non-finite"
    assert caught.value.at == (1,)
    assert caught.value.ratio == INF


def test_nan_is_shown_before_a_number_that_misses_by_more():
    """What is not finite is the plainer mistake."""
    with pytest.raises(Violation) as caught:
        close([1e9, NAN, 5.0], [0.0, 0.0, 0.0], 1.0)

    assert str(caught.value) == "result[1] is nan; required 0 within 1"


def test_the_element_shown_is_the_one_that_misses_by_most_radii():
    """A large error within a large radius is no failure, and a small one beside a small radius is."""
    with pytest.raises(Violation) as caught:
        close([100.0, 1.0, 2.0], [0.0, 0.0, 0.0], [200.0, 0.01, 1.0])

    assert str(caught.value) == "result[1] is 1; required 0 within 0.01"
    assert caught.value.ratio == 100


def test_an_excused_element_does_not_excuse_its_neighbour():
    """Each element is judged by itself."""
    with pytest.raises(Violation) as caught:
        close([NAN, 2.0], [0.0, 0.0], [INF, 1.0])

    assert str(caught.value) == "result[1] is 2; required 0 within 1"


def test_a_kind_that_was_given_is_kept_for_nan():
    """A result that became NaN after another call depends on earlier calls, first of all."""
    with pytest.raises(Violation) as caught:
        close([NAN], [0.0], 1.0, kind="state", what="result, after another call, ")

    assert (caught.value.kind, caught.value.message) == ("state", "result, after another call, [0] is nan; required 0 within 1")


@pytest.mark.parametrize(("got", "required"), [([1.0], [[1.0]]), ([1.0, 1.0], [1.0]), (1.0, [1.0])])
def test_shapes_that_only_broadcast_are_toises_own_mistake(got, required):
    """The shape of a result is judged before its numbers, so other shapes come from a property test."""
    with pytest.raises(ToiseError, match="compared shapes"):
        close(got, required, 1.0)


@pytest.mark.parametrize(("required", "radius"), [(0.0, NAN), (NAN, 1.0), (INF, 1.0), (-INF, 0.0), (NAN, NAN)])
def test_what_is_required_without_a_finite_number_is_excused_and_not_counted(example, required, radius):
    """Nothing is compared there, so an example with nothing else in it is not relevant: that is never a PASS."""
    close([1.0], [required], radius)

    assert (example.checked, example.excused, example.ratio) == (0, 1, 0.0)


def test_what_was_compared_is_counted(example):
    """The counts tell a requirement that held from one that was never tried."""
    close([1.0, NAN, 2.5], [1.0, 0.0, 2.0], [0.0, INF, 1.0])

    assert (example.checked, example.excused, example.ratio) == (2, 1, 0.5)


def test_a_comparison_that_fails_is_counted_too(example):
    """A failing example was relevant."""
    with pytest.raises(Violation):
        close([3.0], [1.0], 0.5)

    assert (example.checked, example.ratio) == (1, 4.0)


def test_nothing_is_counted_where_everything_is_excused(example):
    """An example that is excused throughout says nothing about the requirement."""
    close([1.0, 2.0], [0.0, 0.0], INF)

    assert (example.checked, example.excused, example.ratio) == (0, 2, 0.0)


def test_a_violation_remembers_the_last_call(example):
    """A law changes the inputs of a recipe, and the failure shows those that were passed."""
    example.calls.append(CASE)
    with pytest.raises(Violation) as caught:
        close([3.0], [1.0], 0.5)

    assert caught.value.calls == (CASE,)


def test_the_formula_is_the_reference_within_the_radius():
    """The value and the radius are those that belong to the call."""
    assert_formula(answer([1.5, 2.0], value=1.75, radius=0.25))

    with pytest.raises(Violation) as caught:
        assert_formula(answer([1.5, 2.5], value=1.75, radius=0.25))

    assert str(caught.value) == "result[1] is 2.5; required 1.75 within 0.25"


def test_two_calls_may_each_miss_by_their_own_radius():
    """|y1 - y2| <= r1 + r2."""
    assert_same(answer([1.75], radius=0.25), answer([1.0], radius=0.5))

    with pytest.raises(Violation) as caught:
        assert_same(answer([np.nextafter(1.75, 2)], radius=0.25), answer([1.0], radius=0.5))

    assert str(caught.value) == "result[0] is 1.75; the other call gave 1 within 0.75"


@pytest.mark.parametrize("number", [NAN, INF])
def test_a_second_call_that_is_not_finite_fails(number):
    """The first one was finite, and the second must repeat it."""
    with pytest.raises(Violation) as caught:
        assert_same(answer([number], radius=1.0), answer([1.0], radius=1.0))

    assert caught.value.kind == "non-finite"


@pytest.mark.parametrize("number", [NAN, INF])
def test_a_first_call_that_is_not_finite_has_to_be_repeated(number):
    """A number in one call and NaN in the other are not the same; that neither should be NaN, other requirements say."""
    assert_same(answer([number], radius=1.0), answer([number], radius=1.0))
    with pytest.raises(Violation) as caught:
        assert_same(answer([5.0], radius=1.0), answer([number], radius=1.0))

    assert caught.value.kind == "non-finite"


def test_a_law_is_not_asked_where_either_radius_is_infinite():
    """What may overflow in one of the calls need not repeat in the other."""
    assert_same(answer([5.0], radius=1.0), answer([1.0], radius=INF))
    assert_same(answer([5.0], radius=INF), answer([1.0], radius=1.0))


def test_a_part_of_the_first_answer_can_be_picked():
    """`at` picks the elements, and puts them in order."""
    assert_same(answer([3.0, 2.0, 1.0]), answer([1.0, 2.0, 3.0]), at=np.s_[::-1])

    with pytest.raises(Violation) as caught:
        assert_same(answer([1.0, 2.0, 3.0]), answer([1.0, 2.0, 3.0]), at=np.s_[::-1], what="reversed, the result ")

    assert str(caught.value) == "reversed, the result [0] is 1; the other call gave 3 within 0"


def test_any_finite_number_is_finite():
    """A wrong number is for the formula to find."""
    assert_finite(answer([1e30, -5.0], value=0.0, radius=0.5))


@pytest.mark.parametrize("number", [NAN, INF, -INF])
def test_what_is_not_finite_is_found(number):
    """The message says what belongs there."""
    with pytest.raises(Violation) as caught:
        assert_finite(answer([[0.0, number]], value=0.25, radius=1e30))

    assert (caught.value.kind, str(caught.value)) == ("non-finite", f"result[0, 1] is {number}; required a finite number, 0.25")


def test_what_may_overflow_need_not_be_finite(example):
    """The radius is infinite there, and nothing is counted."""
    assert_finite(answer([NAN, INF], radius=INF))

    assert example.checked == 0


def test_a_fact_that_does_not_hold_is_a_violation(example):
    """The message is the one that was given, and one comparison is counted either way."""
    assert_that(holds=True, kind="shape", message="never shown")
    with pytest.raises(Violation) as caught:
        assert_that(holds=False, kind="dtype", message="dtype float64; required float32", got="float64", required="float32")

    assert str(caught.value) == "dtype float64; required float32"
    assert (caught.value.kind, caught.value.got, caught.value.required) == ("dtype", "float64", "float32")
    assert example.checked == 2


def test_every_kind_of_violation_has_its_own_words():
    """Two kinds with one name could not be told apart in a table."""
    assert len(set(KINDS.values())) == len(KINDS)
