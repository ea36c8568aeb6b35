"""FFN · What feed_forward must do: one test for each numbered requirement.  Read with spec/toise_spec/feed_forward.md."""

import numpy as np

from toise.engine import requirement
from toise.inputs import WHOLE_NUMBERS, FeedForward, feed_forward_inputs
from toise.inputs.feed_forward import LARGE
from toise.inputs.magnitudes import held_times
from toise.verdict import Irrelevant, NotApplicable, assert_close, assert_formula, assert_same

SEVERAL_POSITIONS = ((2,), (3,), (5,), (2, 3), (1, 2), (17,))


@requirement("FFN-1", net=feed_forward_inputs().beside(*LARGE, after=10))
def test_the_result_is_the_formula(backend, net):
    """relu(x w1 + b1) w2 + b2."""
    assert_formula(backend.feed_forward(net.x, net.w1, net.b1, net.w2, net.b2))


@requirement(
    "FFN-2",
    net=feed_forward_inputs(
        content=("literal", "ramp", "integers", "normal", "outlier"), b1=("zeros",), d_ff=(2, 3, 4, 5, 8, 9, 16, 33, 64)
    ),
)
def test_a_hidden_unit_that_is_off_contributes_nothing(backend, net):
    """Loud rows of w2 for the units that are off leave the result of the last position as it was.

    Units near zero, whose sign rounding may decide, keep their rows; b1 is zero, since its place is another requirement's affair.
    """
    x = net.x[last_position(net)]
    far = np.abs(x) @ np.abs(net.w1) / 16
    off = (x @ net.w1 < -far).reshape(-1, 1)
    if not off.any():
        raise Irrelevant
    y = backend.feed_forward(x, net.w1, net.b1, net.w2, net.b2)
    loud = backend.feed_forward(x, net.w1, net.b1, np.where(off, 2.0**14, net.w2), net.b2)

    assert_same(loud, y)


@requirement("FFN-3", net=feed_forward_inputs())
def test_hidden_units_have_no_scale(backend, net):
    """w1 and b1 times a, and w2 times 1/a: the hidden units are a times as large, and the result is what it was.

    a is a power of two, so that the products are exact: a large one finds a ceiling, and a small one a bend near zero.
    """
    w1, b1, w2 = (held_times(backend, 2.0**-6, held_times(backend, 2.0**6, array)) for array in (net.w1, net.b1, net.w2))
    y = backend.feed_forward(net.x, w1, b1, w2, net.b2)
    for a in (2.0**6, 2.0**-6):
        assert_same(backend.feed_forward(net.x, a * w1, a * b1, w2 / a, net.b2), y)


@requirement("FFN-4", net=feed_forward_inputs())
def test_nothing_follows_the_second_layer(backend, net):
    """w2 and b2 times a give a times the result; a is negative, so that an activation after the layer shows."""
    a = -(2.0**6)
    w2, b2 = (held_times(backend, a, array) for array in (net.w2, net.b2))
    y = backend.feed_forward(net.x, net.w1, net.b1, w2, b2)
    scaled = backend.feed_forward(net.x, net.w1, net.b1, a * w2, a * b2)

    assert_close(scaled.got, a * y.got, scaled.radius + abs(a) * y.radius)


@requirement("FFN-5", net=feed_forward_inputs(content=WHOLE_NUMBERS, b1=("zeros",), b2=("zeros",)))
def test_b1_is_added_before_the_relu(backend, net):
    """Where the first feature is c in every position, the first layer gains c times the first row of w1, as it does from a bias.

    c is a power of two, so that c times the row is exact, and as large as x.  The first position has no other feature:
    without it that position is zero, and the bias is all it has.
    """
    c = power_of_two(net.x)
    first = np.arange(net.x.shape[-1]) == 0
    x = net.x.copy()
    x[(0,) * (x.ndim - 1)] = 0
    y = backend.feed_forward(np.where(first, c, x), net.w1, net.b1, net.w2, net.b2)
    biased = backend.feed_forward(np.where(first, 0.0, x), net.w1, c * net.w1[0], net.w2, net.b2)

    assert_same(biased, y)


@requirement("FFN-6", net=feed_forward_inputs(b2=("zeros",)))
def test_b2_is_added_to_the_result(backend, net):
    """With b2 = c the result is c more than with b2 = 0; the c are powers of two of either sign, as large as the result."""
    y = backend.feed_forward(net.x, net.w1, net.b1, net.w2, net.b2)
    c = backend.rounded(power_of_two(y.value) * np.resize([2.0, -2.0, 1.0, -4.0, 0.5], net.b2.shape))
    shifted = backend.feed_forward(net.x, net.w1, net.b1, net.w2, c)

    assert_close(shifted.got, y.got + c, shifted.radius + y.radius)


@requirement("FFN-7", net=feed_forward_inputs(lead=SEVERAL_POSITIONS))
def test_a_position_depends_on_itself_alone(backend, net):
    """The last position gives what it gave when all others are exchanged for loud ones."""
    last = last_position(several(net))
    loud = net.loud(1, net.x.shape)
    loud[last] = net.x[last]
    y = backend.feed_forward(net.x, net.w1, net.b1, net.w2, net.b2)
    among = backend.feed_forward(loud, net.w1, net.b1, net.w2, net.b2)

    assert_close(among.got[last], y.got[last], among.radius[last] + y.radius[last], what="last position, among others, ")


@requirement("FFN-8", net=feed_forward_inputs(lead=SEVERAL_POSITIONS, b1=("ramp", "normal"), b2=("ramp", "normal")))
def test_permuting_the_positions_permutes_the_result(backend, net):
    """No position has weights or biases of its own; there are as many positions as units in some of the examples."""
    order = net.permutation(several(net).x.shape[-2])
    y = backend.feed_forward(net.x, net.w1, net.b1, net.w2, net.b2)
    permuted = backend.feed_forward(net.x[..., order, :], net.w1, net.b1, net.w2, net.b2)

    assert_same(permuted, y, at=np.s_[..., order, :])


@requirement("FFN-9", net=feed_forward_inputs(content=WHOLE_NUMBERS, b1=("zeros", "ramp"), d_ff=(2, 3, 5, 8, 17, 33, 65, 129)))
def test_permuting_the_hidden_units_changes_nothing(backend, net):
    """The columns of w1, b1 and the rows of w2 in another order: the units add up to what they did."""
    order = net.permutation(net.b1.shape[-1])
    y = backend.feed_forward(net.x, net.w1, net.b1, net.w2, net.b2)
    permuted = backend.feed_forward(net.x, net.w1[:, order], net.b1[order], net.w2[order], net.b2)

    assert_same(permuted, y)


@requirement("FFN-10", net=feed_forward_inputs(content=WHOLE_NUMBERS, b1=("zeros", "ramp"), d_model=(2, 3, 4, 5, 8, 16, 17)))
def test_permuting_the_features_permutes_the_result(backend, net):
    """The features of x with the rows of w1, and those of the result with the columns of w2 and b2.

    d_ff = d_model here, where nothing but the numbers tells a matrix from its transpose.
    """
    x, w1, b1, w2, b2 = squared(net).arrays.values()
    order = net.permutation(x.shape[-1])
    y = backend.feed_forward(x, w1, b1, w2, b2)
    permuted = backend.feed_forward(x[..., order], w1[order], b1, w2[:, order], b2[order])

    assert_same(permuted, y, at=np.s_[..., order])


@requirement(
    "FFN-11",
    net=feed_forward_inputs(
        content=("integers",),
        second=("indicator",),
        d_ff=(33, 65, 129, 257, 513, 1030),
        d_model=(2, 3, 4, 5, 8, 16),
        b1=("zeros", "ramp"),
    ).beside(FeedForward(lead=(130,), d_model=3, d_ff=513, content="integers", second="indicator", b1="ramp", seed=40), after=12),
)
def test_every_hidden_unit_counts(backend, net):
    """A unit gives among many what it gives among few; each column of w2 picks one, so that the result is that unit.

    The first and the last unit are among them, and both sides of block edges: a block that is dropped shows.  Then x is
    zero, so that b1 alone turns all units on: they give what both halves of them give, and one that is lost anywhere shows.
    """
    picked = net.w2.argmax(axis=0)
    few = backend.feed_forward(net.x, net.w1[:, picked], net.b1[picked], np.eye(len(picked)), net.b2)
    many = backend.feed_forward(net.x, net.w1, net.b1, net.w2, net.b2)

    assert_same(many, few)

    units = np.arange(len(net.b1))
    zeros = {"x": np.zeros_like(net.x), "b2": np.zeros_like(net.b2)}
    on = net.replace(**zeros, b1=1.0 + units % 4, w2=np.full_like(net.w2, 2.0**-8))
    if len(units) > 1:
        parts = [backend.run(on.replace(w1=on.w1[:, half], b1=on.b1[half], w2=on.w2[half])) for half in halves(units)]
        total, radius = sum(part.got for part in parts), sum(part.radius for part in parts)
        y = backend.run(on)
        assert_close(y.got, total, y.radius + radius, what="with all units on, the result ")


def halves(units):
    """Return every second unit, and the others."""
    return units[::2], units[1::2]


def several(net):
    """Return the inputs, if there is more than one position in them."""
    if net.x.ndim < 2 or net.x.shape[-2] < 2:
        raise NotApplicable("a position without others")
    return net


def last_position(net):
    """Return the index of the last position, which keeps all axes."""
    return np.s_[(slice(-1, None),) * (net.x.ndim - 1)]


def power_of_two(numbers):
    """Return the power of two next to the largest of the numbers; 1 where all are zero."""
    largest = np.abs(numbers).max(initial=0.0)
    return 2.0 ** np.round(np.log2(largest)) if largest else 1.0


def squared(net):
    """Return the same inputs with as many hidden units as features: units are left out, or repeated."""
    at = np.arange(net.x.shape[-1]) % net.b1.shape[-1]
    return net.replace(w1=net.w1[:, at], b1=net.b1[at], w2=net.w2[at])
