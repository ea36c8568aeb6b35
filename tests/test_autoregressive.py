"""Autoregressive factorisation: the reference and log_softmax, the bounds, the inputs, the classic mistakes by name, and correct variants.

sound   correct organisations of log_softmax on rows that one of them finds hard; `test_soundness.py` has whole sequences
tight   faults that the radius must see
"""

from __future__ import annotations

import dataclasses
import math

import mpmath
import numpy as np
import pytest
import toise
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from misbehaviours import failed, judged
from recipes_of import digest
from soundness.attention import greatest
from soundness.autoregressive import ROWS, following, torch_sequence
from soundness.machine import Machine
from toise import bounds
from toise.bounds import PRECISIONS
from toise.bounds.bounded import given as exactly
from toise.declarations import parse
from toise.inputs import RECIPE_VERSION, Case, SequenceLogProb, sequence_log_prob_inputs
from toise.inputs.autoregressive import BATCH, BLOCKS, CHOICES, FAR, FIXED, LONG, VOCABULARY
from toise.operations import OPERATIONS
from toise_reference import log_softmax, sequence_log_prob
from within import EAGER16, FUSED16, STRICT32, STRICT64, bound, built, ratio, rounded

F32 = np.float32
INF, LN3 = math.inf, math.log(3)
DIGITS = mpmath.MPContext()
DIGITS.dps = 60
SEARCH = settings(max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


def bound_of_rows(logits, precision):
    """Bound the log-probabilities of all tokens."""
    with np.errstate(all="ignore"):
        return bounds.log_softmax(exactly(logits, precision))


# --- The reference ------------------------------------------------------------------------------------

FLAT_THEN_THREE = [[0, 0], [0, LN3], [0, 0]]
BY_HAND = {
    "AR-1 the formula": ([[0, LN3], [0, LN3], [0, 0]], [0, 1, 0], math.log(3 / 16)),
    "AR-2 a flat row, token 0 after it": (FLAT_THEN_THREE, [0, 0, 1], math.log(3 / 8)),
    "AR-2 a flat row, token 1 after it": (FLAT_THEN_THREE, [0, 1, 1], math.log(3 / 8)),
    "AR-3 one first token": ([[0, LN3], [5, 0]], [0, 1], math.log(3 / 4)),
    "AR-3 another first token": ([[0, LN3], [5, 0]], [1, 1], math.log(3 / 4)),
    "AR-4 a prefix": (FLAT_THEN_THREE[:2], [0, 0], math.log(1 / 2)),
    "AR-4 the rest": (FLAT_THEN_THREE[1:], [0, 1], math.log(3 / 4)),
    "AR-6 shifted logits": ([[1000, 1000 + LN3], [0, 0]], [0, 1], math.log(3 / 4)),
    "AR-7 a tiny probability": ([[0, -2000], [0, 0]], [0, 1], -2000),
    "AR-8 the greater logit": ([[0, 1], [0, 0]], [0, 1], 1 - math.log(1 + math.e)),
    "AR-8 the smaller logit": ([[0, 1], [0, 0]], [0, 0], -math.log(1 + math.e)),
    "AR-9 one token": ([[0, LN3]], [1], 0),
    "AR-10 another token ruled out": ([[0, LN3, -INF], [0, 0, 0]], [0, 1], math.log(3 / 4)),
    "AR-11 the token itself ruled out": ([[0, LN3, -INF], [0, 0, 0]], [0, 2], -INF),
    "AR-12 renamed": ([[LN3, 0], [LN3, 0], [0, 0]], [1, 0, 1], math.log(3 / 16)),
    "a vocabulary of one": ([[7], [8], [9]], [0, 0, 0], 0),
    "two sequences": ([[[0, 0], [1, 2]], [[0, LN3], [3, 4]]], [[0, 0], [0, 1]], [math.log(1 / 2), math.log(3 / 4)]),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", BY_HAND)
def test_the_numbers_on_the_page_are_what_the_reference_gives(row, dtype):
    """Worked out by hand; the radius leaves room for rounding, that of ln 3 to the dtype included."""
    logits, tokens, by_hand = BY_HAND[row]
    logits, tokens = np.array(logits, dtype), np.array(tokens)
    got = sequence_log_prob(logits, tokens)
    case = Case("sequence_log_prob", {"logits": logits.astype(float), "tokens": tokens}, {})
    required = bound(case, PRECISIONS[dtype]["STRICT"])

    assert got.dtype == dtype
    assert np.array_equal(np.isneginf(got), np.isneginf(by_hand))
    assert ratio(got, bounds.Bounded(np.asarray(by_hand, float), required.radius, STRICT64)) <= 1


def test_the_example_of_all_continuations():
    """AR-5: four continuations of token 0, and their probabilities."""
    after = {0: [0, 0], 1: [0, LN3]}
    four = [
        math.exp(sequence_log_prob(np.array([[0, LN3], after[x], [0, 0]]), np.array([0, x, y]))) for x in (0, 1) for y in (0, 1)
    ]

    assert np.allclose(four, [1 / 8, 1 / 8, 3 / 16, 9 / 16], rtol=1e-12, atol=0)
    assert [round(sum(p ** (1 / 2) for p in four), 3), round(sum(math.exp(math.log2(p)) for p in four), 3)] == [1.890, 0.625]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_result_has_the_dtype_of_the_logits(dtype):
    """Also where it is a single number, or nothing is scored."""
    for shape in ((3, 4, 5), (4, 5), (1, 5), (0, 4, 5)):
        logits = np.ones(shape, dtype)
        assert sequence_log_prob(logits, np.zeros(shape[:-1], np.int64)).dtype == dtype
        assert sequence_log_prob(logits, np.zeros(shape[:-1], np.int64)).shape == shape[:-2]
        assert log_softmax(logits).dtype == dtype
        assert log_softmax(logits).shape == shape


def test_log_softmax_by_hand():
    """Probabilities 1/4, 3/4 and 0; far below; far above; one token alone."""
    rows = np.array([[0, LN3, -INF], [0, -2000, -INF], [1e300, 1e300, 0]])
    by_hand = [[math.log(1 / 4), math.log(3 / 4), -INF], [0, -2000, -INF], [-math.log(2), -math.log(2), -1e300]]

    assert np.allclose(log_softmax(rows), by_hand, rtol=1e-14, atol=0)
    assert log_softmax(np.array([5.0])).tolist() == [0]


def test_inputs_are_left_as_they_were():
    """And the result has memory of its own."""
    logits, tokens = np.arange(12.0).reshape(3, 4), np.array([0, 1, 2])
    before = logits.copy(), tokens.copy()
    results = [sequence_log_prob(logits, tokens), log_softmax(logits)]

    assert all(np.array_equal(array, copy) for array, copy in zip((logits, tokens), before, strict=True))
    assert not any(np.shares_memory(result, logits) for result in results)


LOGITS, TOKENS = np.ones((3, 4)), np.zeros(3, np.int64)
REFUSED = {
    "tokens of floats": ((LOGITS, TOKENS.astype(float)), TypeError, r"^tokens has dtype float64; required: int64$"),
    "tokens of 32 bits": ((LOGITS, TOKENS.astype(np.int32)), TypeError, r"^tokens has dtype int32; required: int64$"),
    "tokens as a list": ((LOGITS, [0, 0, 0]), TypeError, r"^tokens is a list; required: a NumPy array$"),
    "logits of whole numbers": (
        (np.ones((3, 4), int), TOKENS),
        TypeError,
        r"^got logits int64; required: one floating-point dtype",
    ),
    "too few tokens": ((LOGITS, TOKENS[:2]), ValueError, r"^tokens has shape \(2,\); required: n = 3 in \[\.\.\., n\]$"),
    "other leading axes": (
        (np.ones((2, 3, 4)), np.zeros((3, 3), np.int64)),
        ValueError,
        r"^tokens has leading axes \(3,\); required: \(2,\)$",
    ),
    "no vocabulary": ((np.ones((3, 0)), TOKENS), ValueError, r"^logits has shape \(3, 0\); required: vocab of 1 or more$"),
    "logits of one axis": ((np.ones(4), TOKENS), ValueError, r"^logits has shape \(4,\); required: \[\.\.\., n, vocab\]$"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_malformed_call_is_refused(mistake):
    """With the argument's name, what it is and what is required of it."""
    data, error, message = REFUSED[mistake]

    with pytest.raises(error, match=message):
        sequence_log_prob(*data)


def exact(case):
    """Compute the log-probability of a sequence without leading axes with 60 digits."""
    total = DIGITS.mpf(0)
    for row, token in zip(case.logits[:-1], case.tokens[1:], strict=True):
        logits = [DIGITS.mpf(float(logit)) for logit in row if logit > -INF]
        top = max(logits)
        total += DIGITS.mpf(float(row[token])) - top - DIGITS.log(DIGITS.fsum(DIGITS.exp(logit - top) for logit in logits))
    return total


@SEARCH
@given(
    sequence_log_prob_inputs(lead=((),), n=(2, 3, 5, 8), vocab=(1, 2, 5, 8, 17), impossible=("none", "some", "others")).general
)
def test_the_reference_and_the_bounds_agree_with_sixty_digits(recipe):
    """Two computations in float64, and a third that rounds nowhere."""
    case = built(recipe, "float64")
    required, by_digits = bound(case, STRICT64), exact(case)
    with np.errstate(all="ignore"):
        reference = sequence_log_prob(case.logits, case.tokens)

    for value in (reference, required.value):
        assert abs(DIGITS.mpf(float(value)) - by_digits) <= float(required.radius)


# --- Sound --------------------------------------------------------------------------------------------


def same(array):
    """Leave an array as it is."""
    return array


def nasty(kind, vocab, seed):
    """Return rows of logits of a kind that some organisation finds hard."""
    noise = np.random.default_rng(seed)
    x, offset = noise.standard_normal((3, vocab)), noise.choice([0, 10, 1000])
    return {
        "wide": 8 * x,
        "thousands": 1000 * x,
        "an offset": x + 1000,
        "a large offset": 3 * x - 1e5,
        "ties": np.full_like(x, 10 * x[0, 0]),
        "one far above": x + 20 * (np.arange(vocab) == seed % vocab),
        "rising": np.sort(x) * noise.choice([1e-3, 0.1, 1, 5]) + offset,
        "falling": -np.sort(x) * noise.choice([1e-3, 0.1, 1, 5]) + offset,
        "some ruled out": np.where((noise.random(x.shape) < 0.4) & (np.arange(vocab) > 0), -np.inf, 4 * x),
        "all but one ruled out": np.where(np.arange(vocab) == seed % vocab, x, -np.inf),
        "tiny": 1e-4 * x,
        "subnormal": x * 2.0**-128,
        "huge": x * 1e30,
        "one at twice the rounding of the sum": np.where(np.arange(vocab) == 0, 12.0, -12 * math.log(2)) + 0 * x,
    }[kind]


NASTY = (
    "wide", "thousands", "an offset", "a large offset", "ties", "one far above", "rising", "falling", "some ruled out",
    "all but one ruled out", "tiny", "subnormal", "huge", "one at twice the rounding of the sum",
)  # fmt: skip


STRICT = Machine("float32", "STRICT")
CLASSES = {"STRICT": STRICT, **{kind: Machine("bfloat16", kind) for kind in ("FUSED", "EAGER", "STEPWISE")}}


def bound_of_result(logits, machine, *traits):
    """Bound the log-probabilities of all tokens, rounded to the dtype; in STRICT they are numbers of the dtype already."""
    required = bound_of_rows(logits, dataclasses.replace(machine.precision, traits=frozenset(traits)))
    return required if machine.kind == "STRICT" else required.stored().output()


def result_of_rows(rows, logits, machine):
    """Return what an organisation makes of all tokens."""
    with np.errstate(all="ignore"):
        return machine.output(rows(machine, machine.loaded(logits)))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("content", NASTY)
def test_correct_organisations_of_log_softmax_stay_within_the_radius(content, kind):
    """No false alarm, whichever way a correct backend computes."""
    machine = CLASSES[kind]
    for seed, vocab in enumerate((1, 2, 3, 8, 17, 64, 129, 513)):
        logits = rounded(nasty(content, vocab, seed), machine.dtype)
        for name, (rows, classes, traits) in ROWS.items():
            if kind in classes:
                required = bound_of_result(logits, machine, *traits)
                assert ratio(result_of_rows(rows, logits, machine), required) <= 1, (name, vocab)


def test_rescaling_at_every_logit_needs_its_declaration():
    """Far from zero, each contracted difference errs by as much as the logit does."""
    logits = rounded(nasty("a large offset", 513, 3), "float32")
    got = result_of_rows(ROWS["online, one at a time, contracted"][0], logits, STRICT)

    assert ratio(got, bound_of_result(logits, STRICT)) > 1
    assert ratio(got, bound_of_result(logits, STRICT, "many-rescales")) <= 1


DRAWN = sequence_log_prob_inputs(
    exponent=(0, 1, -1, 3, -4, -8, -30, 8), impossible=("none", "none", "some", "others", "last")
).general


def declared_float32(precision):
    """Return the class, for a result that is float32."""
    return dataclasses.replace(precision, storage=bounds.FLOAT32)


@pytest.mark.parametrize("how", ["log_softmax", "cross_entropy", "logsumexp"])
def test_torch_stays_within_the_radius_of_a_float32_result(how):
    """On logits of bfloat16 that were made float32, and a result that is left so."""

    @SEARCH
    @given(DRAWN)
    def search(recipe):
        case = built(recipe, "bfloat16")
        assert ratio(torch_sequence(STRICT, case, how=how), bound(case, declared_float32(FUSED16))) <= 1

    search()


def test_torch_in_bfloat16_is_not_fused_on_a_cpu():
    """Which is why the adapter declares EAGER: the sum of the exponentials, 1.0025, is rounded to 1 before the logarithm."""
    case = Case("sequence_log_prob", {"logits": np.array([[9.0, 3.0], [0.0, 0.0]]), "tokens": np.array([0, 0])}, {})
    got = torch_sequence(CLASSES["EAGER"], case, how="log_softmax")

    assert ratio(got, bound(case, FUSED16)) > 10
    assert ratio(got, bound(case, EAGER16)) < 0.5


def test_the_logarithm_of_a_finished_softmax_is_near_above_underflow_and_nothing_below():
    """Not covered, as the derivation says: right by luck where p is a normal number, and -inf where it is none."""
    near, far = np.array([[0.0, -40.0, 3.0]], F32), np.array([[0.0, -200.0, 3.0]], F32)
    for logits in (near, far):
        e = np.exp(logits - greatest(logits))
        with np.errstate(divide="ignore"):
            got = np.log(e / e.sum(axis=-1, keepdims=True))
        assert (ratio(got, bound_of_rows(logits, STRICT32)) <= 1) == (logits is near)


# --- Tight --------------------------------------------------------------------------------------------


def with_normaliser(change):
    """Return log-probabilities with a changed sum of exponentials."""

    def scores(z):
        top = z.max(axis=-1, keepdims=True)
        return z - top - np.log(change(np.exp(z - top)))

    return scores


def total(terms):
    """Add up each row."""
    return terms.sum(axis=-1, keepdims=True)


PEAKED = SequenceLogProb(lead=(2,), n=9, vocab=1030, content="peaked", tokens="edges", seed=14)
NORMAL = SequenceLogProb(lead=(2,), n=3, vocab=65, content="normal", seed=3)
FAULTS = {
    "the last of 1030 tokens is left out of the sum": (PEAKED, "FUSED", with_normaliser(lambda e: total(e[..., :-1]))),
    "all from 1024 on are left out of the sum": (PEAKED, "EAGER", with_normaliser(lambda e: total(e[..., :1024]))),
    "the last of 65 tokens is left out of the sum": (NORMAL, "STRICT", with_normaliser(lambda e: total(e[..., :-1]))),
    "the sum is wrong by 1e-3": (NORMAL, "STRICT", with_normaliser(lambda e: 1.001 * total(e))),
    "the sum is wrong by 1e-3, in bfloat16 with a float32 result": (
        NORMAL,
        "FUSED 32",
        with_normaliser(lambda e: 1.001 * total(e)),
    ),
    "1e-3 is added to the sum": (NORMAL, "STRICT", with_normaliser(lambda e: total(e) + 1e-3)),
    "a temperature of 1.001": (NORMAL, "STRICT", lambda z: with_normaliser(total)(z / 1.001)),
    "a temperature of 1.3": (NORMAL, "EAGER", lambda z: with_normaliser(total)(z / 1.3)),
    "a smoothing of 1e-3": (NORMAL, "STRICT", lambda z: 0.999 * with_normaliser(total)(z) - 0.001 * math.log(65)),
    "log-probabilities are kept in bfloat16": (NORMAL, "STRICT", lambda z: rounded(with_normaliser(total)(z), "bfloat16")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_small_fault_leaves_the_radius(fault):
    """The radius is small enough to see it: the fault is all that differs from float64."""
    recipe, kind, scores = FAULTS[fault]
    precision = declared_float32(FUSED16) if kind == "FUSED 32" else CLASSES[kind].precision
    case = built(recipe, "float32" if kind == "STRICT" else "bfloat16")
    required = bound(case, precision)

    assert ratio(following(with_normaliser(total)(case.logits), case.tokens).sum(-1), required) <= 1e-3
    assert ratio(following(scores(case.logits), case.tokens).sum(-1), required) > 1


# --- The inputs ---------------------------------------------------------------------------------------

# ruff: noqa: E501 - a recipe prints on one line
# With these, every kind of content, tokens and ruled-out logits is among the golden ones.
MORE = (
    SequenceLogProb(lead=(2,), n=4, vocab=5, content="normal", impossible="some", seed=20),
    SequenceLogProb(lead=(3,), n=3, vocab=4, content="integers", impossible="last", seed=21, exponent=-1),
    SequenceLogProb(lead=(2, 1), n=2, vocab=600, content="large", impossible="others", tokens="edges", seed=99),
    BATCH,
    BLOCKS,
    LONG,
    VOCABULARY,
    FAR,
)
GOLDEN = {
    "sequence_log_prob(literal=(0.0, 1.0))": "2826f73d5ee76f18",
    "sequence_log_prob(seed=1, literal=(1.0, 0.0, 2.0, 0.0, 0.0, 1.0), n=3)": "9437405ed62f7767",
    "sequence_log_prob(content='far', seed=2)": "0d7f7a707ba7ed0d",
    "sequence_log_prob(lead=(2,), content='ramp', seed=2, vocab=3)": "9ec869e13e2a51ab",
    "sequence_log_prob(lead=(2, 3), content='integers', seed=3, n=5, vocab=4)": "eef67923c27600be",
    "sequence_log_prob(lead=(3,), content='normal', seed=4, n=4, vocab=7)": "8287109be5d263ec",
    "sequence_log_prob(lead=(2,), content='integers', seed=15, n=3, vocab=1)": "ef0110df6ade588b",
    "sequence_log_prob(content='wide', seed=5, n=7, vocab=5, tokens='edges')": "42e94fd5a6179c73",
    "sequence_log_prob(lead=(2,), content='peaked', seed=6, n=6, vocab=16)": "32cf486ba02234d6",
    "sequence_log_prob(lead=(1, 2), content='far', seed=7, n=3, vocab=33)": "f2df57964a973e35",
    "sequence_log_prob(lead=(5,), content='ties', seed=8, n=3, vocab=8, tokens='same')": "c4329fdf0500155b",
    "sequence_log_prob(lead=(2,), content='large', seed=9, n=9, vocab=17)": "ef09c226b3376259",
    "sequence_log_prob(lead=(2,), content='offset', seed=10, n=4, vocab=65)": "3738765f04bf8293",
    "sequence_log_prob(lead=(1,), content='normal', seed=11, n=33, vocab=31)": "848040ccb927c86f",
    "sequence_log_prob(lead=(2,), content='peaked', seed=12, n=16, vocab=129, tokens='edges')": "8d29f5fe2ef4f56e",
    "sequence_log_prob(content='wide', seed=13, n=130, vocab=3)": "9a4e6220134bab25",
    "sequence_log_prob(lead=(2,), content='peaked', seed=14, n=9, vocab=1030, tokens='edges')": "6e172bf0acdea002",
    "sequence_log_prob(lead=(2,), content='normal', seed=20, n=4, vocab=5, impossible='some')": "4d0c5dbaf7876faf",
    "sequence_log_prob(lead=(3,), content='integers', exponent=-1, seed=21, n=3, vocab=4, impossible='last')": "380ac44a3deb61ab",
    "sequence_log_prob(lead=(2, 1), content='large', seed=99, vocab=600, tokens='edges', impossible='others')": "3ad011abcab26e63",
    "sequence_log_prob(lead=(2, 1, 3), content='ramp', seed=16, n=3, vocab=3)": "020ea5912090b3aa",
    "sequence_log_prob(lead=(70,), content='normal', seed=17)": "eb0ac710e9ce4907",
    "sequence_log_prob(content='normal', seed=18, n=512)": "93ef3a77a18ec2b2",
    "sequence_log_prob(content='normal', seed=19, n=515, vocab=131)": "c39139acd679ecb0",
    "sequence_log_prob(content='normal', seed=20, vocab=40003)": "294b62992e577b9f",
    "sequence_log_prob(lead=(2,), content='far', seed=21, n=4, vocab=65)": "4877375b1dfdb080",
}


def test_the_arrays_of_a_recipe_are_those_of_its_version():
    """Another digest means other inputs under an old name: RECIPE_VERSION takes the next number, and all digests are new."""
    assert RECIPE_VERSION == 1
    assert {str(recipe): digest(recipe) for recipe in (*FIXED, *MORE)} == GOLDEN


def test_every_kind_has_a_golden_digest():
    """A new kind of content, of tokens or of what is ruled out needs a recipe in MORE and a digest."""
    kinds = {**CHOICES, "content": ("literal", *CHOICES["content"]), "impossible": ("none", "some", "others", "last")}
    for name in ("content", "tokens", "impossible"):
        assert {getattr(recipe, name) for recipe in (*FIXED, *MORE)} == set(kinds[name]), name


@pytest.mark.parametrize("name", ["content", "tokens", "impossible"])
def test_an_unknown_kind_is_refused(name):
    """A slip of the pen in a requirement's inputs is an error, and the message says what there is."""
    with pytest.raises(ValueError, match=rf"^unknown {name} 'colourful'; required: "):
        SequenceLogProb(**{"content": "ramp", name: "colourful"}).build(same)


INPUTS = sequence_log_prob_inputs(impossible=("none", "some", "others", "last"), exponent=(0, 1, -1, 2, -2, -8, 12))


@SEARCH
@given(INPUTS.general, st.sampled_from(["float64", "float32", "bfloat16"]))
def test_the_arrays_are_what_the_specification_asks_for(recipe, dtype):
    """Logits exact in the dtype, tokens in range, and something possible in every row that is used."""
    case = built(recipe, dtype)

    assert case.logits.shape == (*recipe.lead, recipe.n, recipe.vocab)
    assert np.array_equal(case.logits, rounded(case.logits, dtype))
    assert (case.logits < np.inf).all()
    assert case.tokens.shape == (*recipe.lead, recipe.n)
    assert case.tokens.dtype == np.int64
    assert ((case.tokens >= 0) & (case.tokens < recipe.vocab)).all()
    if recipe.vocab > 1:
        assert (case.logits > -np.inf).any(-1).all()


def test_what_is_ruled_out_is_what_the_kind_says():
    """Tokens that the sequence does not have, some or all; or the last token, in every second sequence."""
    shape = {"lead": (4,), "n": 5, "vocab": 9, "content": "normal", "seed": 3}
    for kind in ("none", "some", "others"):
        case = SequenceLogProb(**shape, impossible=kind).build(same)
        had = (case.tokens[..., None] == np.arange(9)).any(-2, keepdims=True)
        share = np.isneginf(case.logits)[np.broadcast_to(~had, case.logits.shape)].mean()

        assert not (np.isneginf(case.logits) & had).any()
        assert {"none": share == 0, "some": 0.4 < share < 0.8, "others": share == 1}[kind]

    case = SequenceLogProb(**shape, impossible="last").build(same)
    last = case.tokens[..., -1:, None] == np.arange(9)
    second = np.array([True, False, True, False])[:, None, None]
    assert np.array_equal(np.isneginf(case.logits), np.broadcast_to(last & second, case.logits.shape))
    assert np.isneginf(bound(case, STRICT64).value).tolist() == [True, False, True, False]


# --- The classic mistakes -------------------------------------------------------------------------------


def shifted(logits, tokens):
    """Pair each row with the token after it."""
    return logits[..., :-1, :], tokens[..., 1:]


def log_p(z, axis=-1):
    """Take off the greatest, and then the log-sum-exp."""
    z = z - z.max(axis=axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


def picked(scores, tokens):
    """Pick the score of each token."""
    return np.take_along_axis(scores, tokens[..., None], axis=-1)[..., 0]


def added(steps):
    """Add up each sequence."""
    return steps.sum(axis=-1)


def made_of(*, pairs=shifted, scores=log_p, pick=picked, over=added):
    """Return a sequence_log_prob of four parts, one of which is wrong."""

    def sequence_log_prob(logits, tokens):
        rows, following = pairs(logits, tokens)
        return np.asarray(over(pick(scores(rows), following)), logits.dtype)

    return sequence_log_prob


def softmax(z):
    """Return probabilities."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def without_the_last_word(z):
    """Leave the last column out of the normaliser."""
    top = z.max(axis=-1, keepdims=True)
    return z - top - np.log(np.exp(z - top)[..., : max(1, z.shape[-1] - 1)].sum(axis=-1, keepdims=True))


# name: the implementation, the requirement that names the mistake, and the others that fail too.
MISTAKES = {
    "mean of nothing": (made_of(over=lambda steps: steps.mean(axis=-1)), "AR-9", "AR-1 AR-4 AR-5"),
    "last token left out": (made_of(pairs=lambda z, x: (z[..., :-2, :], x[..., 1:-1])), "AR-4", "AR-1 AR-5 AR-8 AR-11"),
    "first token uniform": (lambda z, x: (made_of()(z, x) - math.log(z.shape[-1])).astype(z.dtype), "AR-9", "AR-1 AR-4 AR-5 AR-7"),
    "sigmoid": (made_of(scores=lambda z: -np.log1p(np.exp(-z))), "AR-6", "GEN-3 AR-1 AR-5 AR-7 AR-8"),
    "last word not in the normaliser": (made_of(scores=without_the_last_word), "AR-12", "GEN-3 AR-1 AR-5 AR-7 AR-11"),
    "1e-9 added to the softmax": (made_of(scores=lambda z: np.log(softmax(z) + z.dtype.type(1e-9))), "AR-7", "AR-1 AR-8 AR-11"),
    "temperature": (made_of(scores=lambda z: log_p(z / z.dtype.type(1.1))), "AR-8", "AR-1"),
    "-inf made a number": (made_of(scores=lambda z: np.nan_to_num(log_p(z))), "AR-11", ""),
    "clipped at -10000": (made_of(scores=lambda z: np.maximum(log_p(z), z.dtype.type(-1e4))), "AR-11", "AR-7"),
    "sum over the batch": (made_of(over=lambda steps: steps.sum()), "GEN-1", "GEN-2 GEN-3 GEN-5 GEN-6 GEN-7 GEN-8 AR-1 AR-2 AR-3 AR-4 AR-5 AR-6 AR-7 AR-8 AR-9 AR-10 AR-11 AR-12"),
    "float64": (lambda z, x: made_of()(z.astype(np.float64), x), "GEN-2", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_classic_mistake_is_named(name):
    """The requirement that is about it fails, and beside it those that follow from it, and no others."""
    function, broken, others = MISTAKES[name]
    report = toise.verify({"sequence_log_prob": function}, operations=["sequence_log_prob"], budget="smoke")

    assert failed(report) == {broken, *others.split()}


# --- Correct variants -----------------------------------------------------------------------------------


def by_loops(logits, tokens):
    """One sequence after the other, and one token after the other."""
    result = np.zeros(tokens.shape[:-1], logits.dtype)
    for at in np.ndindex(tokens.shape[:-1]):
        for row, token in zip(logits[at][:-1], tokens[at][1:], strict=True):
            result[at] += row[token] - np.logaddexp.reduce(row)
    return result


def by_masked_one_hot(logits, tokens):
    """A one-hot row that selects, where it does not multiply."""
    scores, hot = log_p(logits[..., :-1, :]), tokens[..., 1:, None] == np.arange(logits.shape[-1])
    return np.where(hot, scores, 0).sum(axis=(-1, -2)).astype(logits.dtype)


def by_difference_of_sums(logits, tokens):
    """The sum of the logits, less the sum of the log-sum-exps."""
    rows = logits[..., :-1, :]
    return np.asarray(picked(rows, tokens[..., 1:]).sum(axis=-1) - np.logaddexp.reduce(rows, axis=-1).sum(axis=-1), logits.dtype)


def by_cross_entropy(logits, tokens):
    """Less the loss of torch."""
    rows, following = logits[..., :-1, :], tokens[..., 1:]
    loss = torch.nn.functional.cross_entropy(rows.reshape(-1, rows.shape[-1]), following.reshape(-1), reduction="none")
    return -loss.reshape(following.shape).sum(dim=-1)


def by_float32(logits, tokens):
    """As most code has it: float32 first, whatever the model computes in."""
    return by_cross_entropy(logits.float() if logits.dtype == torch.bfloat16 else logits, tokens)


NUMPY = {"arrays": "numpy", "dtypes": ["float32", "float64"]}
EVERY = {"arrays": "torch", "dtypes": ["float32", "float64", "bfloat16"]}
CORRECT = {
    "four parts": (made_of(), NUMPY),
    "loops": (by_loops, NUMPY),
    "a masked one-hot row": (by_masked_one_hot, NUMPY),
    "a difference of sums": (by_difference_of_sums, NUMPY),
    "bfloat16, step by step": (
        made_of(),
        {"arrays": "numpy", "dtypes": ["bfloat16"], "sequence_log_prob": {"precision": {"bfloat16": "STEPWISE"}}},
    ),
    "torch cross_entropy": (by_cross_entropy, {**EVERY, "sequence_log_prob": {"precision": {"bfloat16": "EAGER"}}}),
    "torch in float32": (by_float32, {**EVERY, "sequence_log_prob": {"loss_dtype": "float32"}}),
}


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_variant_passes(name):
    """However it is written, and in every dtype that it declares."""
    function, declared = CORRECT[name]
    report = toise.verify(
        {"sequence_log_prob": function, "__toise__": declared}, operations=["sequence_log_prob"], budget="smoke"
    )

    assert failed(report) == set()
    assert report.passed
    assert {row.dtype for row in report.results if row.outcome == "PASS"} == set(declared["dtypes"])


def test_a_float32_result_is_held_to_float32():
    """A declared loss_dtype of float32 narrows the radius too: a result that was rounded to bfloat16 on the way fails."""
    declared = {**EVERY, "dtypes": ["bfloat16"], "sequence_log_prob": {"loss_dtype": "float32"}}
    rounded_on_the_way = {"sequence_log_prob": lambda z, x: by_float32(z, x).bfloat16().float(), "__toise__": declared}

    assert failed(judged(rounded_on_the_way, ["AR-1", "GEN-1", "GEN-2"])) == {"AR-1"}
    assert failed(judged({"sequence_log_prob": by_float32, "__toise__": EVERY}, ["GEN-1", "GEN-2"])) == {"GEN-2"}


@pytest.mark.parametrize("target", ["reference", "torch"])
def test_the_adapters_that_come_with_toise_pass(target):
    """The reference, and PyTorch's own function."""
    report = toise.verify(target, operations=["sequence_log_prob"], budget="smoke")

    assert failed(report) == set()
    assert report.passed


def test_the_operation_is_judged_as_the_page_says():
    """Its data, its options, its sizes and what can be declared."""
    operation = OPERATIONS["sequence_log_prob"]

    assert (operation.concept, operation.data, dict(operation.options)) == ("autoregressive", ("logits", "tokens"), {})
    assert dict(parse({}).operations["sequence_log_prob"].choices) == {"loss_dtype": "input"}
