"""RES · What residual must do: one test for each numbered requirement.  Read with spec/toise_spec/residual.md."""

import numpy as np

from toise.engine import requirement
from toise.inputs import residual_inputs
from toise.inputs.magnitudes import power_of_two_within, storage_of
from toise.inputs.residual import LARGE
from toise.operations import sublayer_through
from toise.suite.test_feed_forward import SEVERAL_POSITIONS, last_position, several
from toise.verdict import Irrelevant, assert_close, assert_formula, assert_same, assert_that


@requirement("RES-1", rows=residual_inputs().beside(*LARGE, after=10))
def test_the_result_is_x_and_what_the_sublayer_gives(backend, rows):
    """x + sublayer(x), for an output of numbers of its own, far smaller or larger than x, or such that x cancels."""
    assert_formula(backend.residual(rows.x, rows.sublayer))


@requirement("RES-2", rows=residual_inputs(output=("zero",)))
def test_a_sublayer_that_gives_zeros_leaves_x(backend, rows):
    """x + 0 = x.  The sublayer gives zeros for any argument, so that only what goes around it is looked at."""
    y = backend.read(rows, backend.invoke(rows, {**backend.natives(rows), "sublayer": lambda a: a - a}))

    assert_close(y.got, rows.x, y.radius)


@requirement("RES-3", rows=residual_inputs(output=("double",)))
def test_a_sublayer_that_doubles_gives_three_times_x(backend, rows):
    """x + 2x = 3x."""
    y = backend.read(rows, backend.invoke(rows, {**backend.natives(rows), "sublayer": lambda a: a + a}))

    assert_close(y.got, 3 * rows.x, y.radius)


@requirement("RES-4", rows=residual_inputs())
def test_the_sublayer_is_given_x_itself(backend, rows):
    """The first array that it is called with has the dtype, the shape and the numbers of x.

    That it is called at all is another requirement's affair.
    """
    natives = backend.natives(rows)
    given, sublayer = recorded(backend, natives)
    backend.invoke(rows, {**natives, "sublayer": sublayer})

    if not given:
        raise Irrelevant
    dtype, numbers = given[0]
    what = "the sublayer was given"
    assert_that(dtype == backend.dtype, "dtype", f"{what} dtype {dtype}; required {backend.dtype}", got=dtype)
    shape = numbers.shape
    assert_that(shape == rows.x.shape, "shape", f"{what} shape {shape}; required {rows.x.shape}", got=shape)
    assert_that(np.array_equal(numbers, rows.x), "value", f"{what} other numbers than x", got=numbers, required=rows.x)


@requirement("RES-5", rows=residual_inputs())
def test_the_sublayer_is_called_once(backend, rows):
    """Neither twice nor never."""
    natives = backend.natives(rows)
    given, sublayer = recorded(backend, natives)
    backend.invoke(rows, {**natives, "sublayer": sublayer})

    assert_that(len(given) == 1, "value", f"the sublayer was called {len(given)} times; required: once", got=len(given))


@requirement("RES-6", rows=residual_inputs())
def test_nothing_is_normalised_or_clipped_on_the_way(backend, rows):
    """x and the output times a give a times the result; a is negative and large, and exact as a power of two.

    In float16 a is as large as the numbers and their sum have room for.
    """
    largest = max(np.abs(rows.x).max(initial=1.0), np.abs(rows.sublayer).max(initial=1.0))
    a = -min(2.0**20, power_of_two_within(storage_of(backend.dtype).huge / (2 * largest)))
    y = backend.residual(rows.x, rows.sublayer)
    scaled = backend.residual(a * rows.x, a * rows.sublayer)

    assert_close(scaled.got, a * y.got, scaled.radius + abs(a) * y.radius)


@requirement("RES-7", rows=residual_inputs(lead=SEVERAL_POSITIONS, output=("other", "double", "tiny")))
def test_a_position_depends_on_itself_alone(backend, rows):
    """The last position gives what it gave when x and the output are exchanged for loud ones everywhere else."""
    last = last_position(several(rows))
    x, output = (rows.loud(stream, rows.x.shape) for stream in (1, 2))
    x[last], output[last] = rows.x[last], rows.sublayer[last]
    y = backend.residual(rows.x, rows.sublayer)
    among = backend.residual(x, output)

    assert_close(among.got[last], y.got[last], among.radius[last] + y.radius[last], what="last position, among others, ")


@requirement("RES-8", rows=residual_inputs(output=("zero",)))
def test_a_sublayer_that_returns_its_argument_leaves_x_as_it_was(backend, rows):
    """What came back from the sublayer may be x, or a view of x: adding to it in place writes into the caller's array.

    The result is held to that for a sublayer which returns a copy, and not to the formula.
    """
    twice = rows.replace(sublayer=rows.x)
    copied = backend.read(twice, backend.invoke(twice, {**backend.natives(twice), "sublayer": lambda a: a + 0}))
    for sublayer in (lambda a: a, lambda a: a[...], lambda a: a.reshape(-1).reshape(a.shape)):
        natives = backend.natives(twice)
        before = backend.bits("x", natives["x"])
        y = backend.read(twice, backend.invoke(twice, {**natives, "sublayer": sublayer}))

        same = backend.bits("x", natives["x"]) == before
        assert_that(same, "mutated", "the call wrote into x", got=backend.arrays.numbers(natives["x"]), required=rows.x)
        assert_same(y, copied)


def recorded(backend, natives):
    """Return a list, and a sublayer that adds the dtype and the numbers of each argument to it."""
    given, sublayer = [], sublayer_through(natives["x"], natives["sublayer"])

    def record(a):
        if not backend.arrays.is_array(a):
            raise TypeError(f"the sublayer was given a {type(a).__name__}")
        given.append((backend.arrays.dtype(a), backend.arrays.numbers(a)))
        return sublayer(a)

    return given, record
