"""Sixteen attacks on the error analysis, each a correct implementation and the inputs that it finds hard.

Within the radius, excused by an infinite one, or held by a trait that has to be declared and is refused without it.
What is unstable, and no correct implementation, is refused, with the reason.
"""

import functools
import math

import numpy as np
import pytest
from soundness import attention, autoregressive, feed_forward, layer_norm, sums
from soundness.campaign import bounded, ratios, result
from soundness.machine import Machine, Organisation, flushing
from toise.inputs import Case, SequenceLogProb
from within import built, rounded, worst

STRICT32, STRICT64 = Machine("float32", "STRICT"), Machine("float64", "STRICT")
FUSED16, EAGER16 = Machine("bfloat16", "FUSED"), Machine("bfloat16", "EAGER")
HALF_EAGER = Machine("float16", "EAGER")
RNG = functools.partial(np.random.default_rng, 0)


def of_attention(q, k, v, dtype="float32", **options):
    """Return a call on these numbers, rounded to a dtype."""
    return Case("attention", {name: rounded(np.array(a, float), dtype) for name, a in (("q", q), ("k", k), ("v", v))}, options)


def of_layer_norm(x, gamma=1.0, beta=0.0, dtype="float32", **options):
    """Return a call on these numbers, with one gamma and one beta for all features or a list of them."""
    x = np.array(x, float)
    arrays = {"x": x, "gamma": np.broadcast_to(gamma, x.shape[-1:]), "beta": np.broadcast_to(beta, x.shape[-1:])}
    return Case("layer_norm", {name: rounded(np.array(a, float), dtype) for name, a in arrays.items()}, options)


def in_attention(function=attention.whole_rows, **how):
    """Return an organisation of attention."""
    return Organisation(attention.in_numpy(function, **how))


def in_layer_norm(**how):
    """Return an organisation of layer_norm."""
    return Organisation(layer_norm.in_numpy(layer_norm.normalised_rows, **how))


def cancelling(dtype):
    """Return many problems of two features whose products cancel but for rounding, and the scale 1/2."""
    rng = RNG()
    a, b, c = (rounded(rng.uniform(1, 2, 4000), dtype) for _ in range(3))
    q = np.stack([a, b], -1)[:, None, :] * 64
    k = np.stack([np.stack([c, -rounded(a * c / b, dtype)], -1), np.zeros((4000, 2))], -2) * 64
    return of_attention(q, k, np.broadcast_to([[1.0], [0.0]], (4000, 2, 1)), dtype, scale=0.5)


# --- Excused: the computation may overflow, where the result does not ---------------------------------

EXCUSED = {
    "1 the values' sum overflows before it is divided": (
        of_attention([[0.0]], [[0.0]] * 4, [[2e38]] * 4),
        in_attention(),
        STRICT32,
    ),
    "1 the values' sum overflows before it is divided, in bfloat16": (
        of_attention([[0.0]], [[0.0]] * 4, [[2e38]] * 4, "bfloat16"),
        in_attention(),
        FUSED16,
    ),
    "2 the squares' sum overflows, their mean does not": (
        of_layer_norm([3e18 * RNG().standard_normal(1024)]),
        in_layer_norm(),
        STRICT32,
    ),
    "15 a contracted shift far from zero overflows": (
        of_attention([[1e5]], [[-1e5], [-1.001e5], [-0.999e5]], [[1.0], [2.0], [3.0]], scale=1.0),
        in_attention(attention.online, shift="contracted", block=1),
        STRICT32,
    ),
    "16 a folded slope overflows": (
        of_layer_norm([[1e-3, 2e-3, 1e-3]], [1e38, 1e38, 2e38]),
        in_layer_norm(affine="folded"),
        STRICT32,
    ),
    "16 a score times log2 e overflows": (
        of_attention([[1.7e19]], [[1.7e19], [1e19]], [[1.0], [2.0]], scale=1.0),
        in_attention(attention.split_keys, base_2=True),
        STRICT32,
    ),
}


@pytest.mark.parametrize("attack", EXCUSED)
def test_what_may_overflow_on_the_way_is_excused(attack):
    """The implementation gives infinity, NaN or nonsense, and no element is held to anything."""
    case, organisation, machine = EXCUSED[attack]
    required = bounded(case, machine)
    got = result(organisation, machine, case)

    assert np.isfinite(required.value).all()
    assert (np.isfinite(got) | np.isposinf(required.radius)).all()
    assert not (np.abs(got - required.value) <= 0.1 * np.abs(required.value)).all()
    assert np.isposinf(required.radius).any()


# --- Within -------------------------------------------------------------------------------------------

BIAS = Case(
    "feed_forward",
    {"x": np.ones((1, 512)), "w1": np.full((512, 1), 2.0**-25), "b1": np.ones(1), "w2": np.eye(1, 512), "b2": np.zeros(512)},
    {},
)
OFFSET = of_layer_norm(1000 + RNG().standard_normal((2000, 3)), dtype="float32")
# The error that the attack makes is beyond what a narrower analysis would allow, or is the whole of the result.
WITHIN = {
    "4 the sum starts from the bias": (BIAS, feed_forward.ORGANISATIONS["bias first"], STRICT32),
    "5 the root of the scale on both operands": (cancelling("float32"), in_attention(scaled="root"), STRICT32),
    "8 the mean merged as a tree": (OFFSET, in_layer_norm(statistics=layer_norm.merged), STRICT32),
    "8 the mean updated": (OFFSET, in_layer_norm(statistics=layer_norm.updated), STRICT32),
    "12 the row written out before gamma, between kernels": (
        of_layer_norm(RNG().standard_normal((64, 16)), RNG().standard_normal(16), dtype="bfloat16"),
        layer_norm.ORGANISATIONS["kernel by kernel"],
        EAGER16,
    ),
    "13 the logit less a log-sum-exp that was written out": (
        built(SequenceLogProb(lead=(64,), n=3, vocab=17, content="normal"), "bfloat16"),
        autoregressive.ORGANISATIONS["less log-sum-exp"],
        EAGER16,
    ),
    "13 the same in float16": (
        built(SequenceLogProb(lead=(64,), n=3, vocab=17, content="normal"), "float16"),
        autoregressive.ORGANISATIONS["less log-sum-exp"],
        HALF_EAGER,
    ),
}


@pytest.mark.parametrize("attack", WITHIN)
def test_a_correct_organisation_stays_within_the_radius(attack):
    """Every element is held, errs, and stays within."""
    case, organisation, machine = WITHIN[attack]

    assert np.isfinite(bounded(case, machine).radius).all()
    assert 0.02 < worst(organisation, machine, case) <= 1


def test_3_a_scaled_query_may_be_flushed_to_zero():
    """q = 1.2e-38 is normal, and its half is not: the weights become equal, where one was e^0.6 times the other."""
    case = of_attention([[1.2e-38]], [[1e38], [0.0]], [[1.0], [0.0]], scale=0.5)
    with flushing() as able:
        if not able:
            pytest.skip("this processor has no such mode")
        got = result(in_attention(scaled="q"), STRICT32, case)
    required = bounded(case, STRICT32)

    assert got == 0.5
    assert required.value > 0.64
    assert ratios(got, required).max() <= 1


# --- Declared -----------------------------------------------------------------------------------------


def in_thirds(x):
    """Split numbers into three of bfloat16 whose sum is theirs in float32."""
    parts = []
    for _ in range(3):
        parts.append(rounded(x - sum(parts), "bfloat16"))
    return np.stack(parts, -1)


def halfway(below):
    """Return a case of one weight that bfloat16 rounds up by a whole unit, beside so many that it rounds down by one.

    Its value is 1, and that of all others 0: the sum of the rounded weights errs the other way than the sum of the values.
    """
    up, down = (math.log(0.5 * (1 + 2.0**-8 * (1 + side * 2.0**-9))) for side in (1, -1))
    scores = np.array([0.0, up] + [down] * below)
    return of_attention(np.ones((1, 3)), in_thirds(scores), np.eye(below + 2)[:, 1:2], "bfloat16", scale=1.0)


LARGE_SCORES = {
    size: of_attention(
        np.full((100, 1, 1), size), 1 + RNG().uniform(0, 1e-3, (100, 5, 1)), np.broadcast_to([[1.0]], (100, 5, 1)), scale=1.0
    )
    for size in (100.0, 1000.0)
}


def badly_rounded(count):
    """Return scores above 1000, each a little greater than the last, whose products with log2 e are all rounded down by much."""
    grid = 1000 + np.arange(2**14) * 2.0**-14
    factor = np.float32(math.log2(math.e))
    exact = grid * float(factor)
    lost = exact - exact.astype(np.float32)
    return grid[lost > 0.9 * lost.max()][:count, None]


LATE = (np.arange(96)[:, None] >= 48) * 1.0
ROWS = of_layer_norm(RNG().standard_normal((200, 16)), RNG().standard_normal(16), dtype="bfloat16")
TRAITS = {
    "6 roots on q and k, written out": (
        "stored-prescale",
        cancelling("bfloat16"),
        attention.TRAITS["roots on q and k, written out"],
        EAGER16,
    ),
    "6 the same in float16": (
        "stored-prescale",
        cancelling("float16"),
        attention.TRAITS["roots on q and k, written out"],
        HALF_EAGER,
    ),
    "7 the sum of rounded weights": (
        "rounded-normaliser",
        halfway(90),
        attention.TRAITS["a normaliser of rounded weights"],
        FUSED16,
    ),
    "9 rescaled for every key, contracted": (
        "many-rescales",
        of_attention([[1.0]], badly_rounded(96), LATE, scale=1.0),
        attention.TRAITS["flash, one key at a time, contracted"],
        STRICT32,
    ),
    "10 rescaled for every key, by a biased exponential": (
        "many-rescales",
        of_attention([[1.0]], np.linspace(0, 1, 96)[:, None], LATE, scale=1.0),
        attention.TRAITS["flash, one key at a time, an exponential of 2 ulp"],
        STRICT32,
    ),
    "11 weights from a log-sum-exp of 100": (
        "lse-weights",
        LARGE_SCORES[100.0],
        attention.TRAITS["exp(score - log-sum-exp)"],
        STRICT32,
    ),
    "11 weights from a log-sum-exp of 1000": (
        "lse-weights",
        LARGE_SCORES[1000.0],
        attention.TRAITS["exp(score - log-sum-exp)"],
        STRICT32,
    ),
    "12 the row written out before gamma, in one kernel": (
        "stored-before-gamma",
        ROWS,
        layer_norm.TRAITS["the row and its product with gamma written out"],
        FUSED16,
    ),
}
# The trait holds it, and the radius without it does so too.
SPARE = ("10 rescaled for every key, by a biased exponential",)


@pytest.mark.parametrize("attack", TRAITS)
def test_a_trait_has_to_be_declared_and_then_holds(attack):
    """Refused without it, and right with it."""
    trait, case, organisation, machine = TRAITS[attack]

    assert organisation.traits == (trait,)
    assert (worst(organisation, machine, case) > 1) == (attack not in SPARE)
    assert worst(organisation, machine, case, trait) <= 1


# --- Refused ------------------------------------------------------------------------------------------


def shifted_by_the_first(m, x):
    """Take the mean of the distances from the first element: unstable where that is far from the others."""
    n, first = m.number(x.shape[-1]), x[..., :1]
    moved = x - first
    mean = sums.total(m, moved, sums.one_by_one) / n
    return first + mean, sums.total(m, (moved - mean) ** 2) / n


def one_pass(m, x):
    """Take E[x^2] - E[x]^2: unstable where the mean is large beside the deviation."""
    n = m.number(x.shape[-1])
    mean = sums.total(m, x) / n
    return mean, np.maximum(sums.total(m, x * x) / n - mean * mean, m.number(0))


def log_of_softmax(m, x):
    """Take the logarithm of a finished softmax: what underflows has none."""
    parts = sums.exp(m, x - attention.greatest(x))
    return sums.log(m, m.stored(parts / sums.total(m, parts)))


REFUSED = {
    "13 the logarithm of a finished softmax": (
        Case("sequence_log_prob", {"logits": np.array([[0.0, -200.0, 3.0]] * 2), "tokens": np.array([0, 1])}, {}),
        Organisation(autoregressive.sequence(log_of_softmax)),
        EAGER16,
    ),
    "14 the mean shifted by the first element, an outlier": (
        of_layer_norm(np.insert(RNG().standard_normal((100, 32)), 0, 1e4, axis=-1)),
        in_layer_norm(statistics=shifted_by_the_first),
        STRICT32,
    ),
    "the variance in one pass": (OFFSET, in_layer_norm(statistics=one_pass), STRICT32),
}


@pytest.mark.parametrize("attack", REFUSED)
def test_an_unstable_implementation_is_refused(attack):
    """It loses digits that a stable one keeps, and no trait allows it: in float64 the same formula is right."""
    case, organisation, machine = REFUSED[attack]
    wide = Case(case.operation, case.arrays, case.options)

    assert worst(organisation, machine, case) > 1
    assert np.abs(result(organisation, STRICT64, wide) - bounded(wide, STRICT64).value).max() < 1e-6
