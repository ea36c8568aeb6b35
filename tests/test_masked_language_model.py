"""The masked language model: its reference, its bound, its inputs, and the mistakes of the loss that it names.

A mistake is a few lines; the table says which requirements it fails, and no others.  `test_mlm_corrupt.py` has those of
corruption, and what corruption is judged by.
"""

import functools
import math

import numpy as np
import pytest
import toise
from misbehaviours import judged, not_passed
from mpmath import mp
from recipes_of import digest, drawn, identity
from toise import bounds
from toise.bounds.formats import PRECISIONS
from toise.inputs import MlmCorrupt, MlmLoss, masked_language_model, mlm_corrupt_inputs, mlm_loss_inputs
from toise_reference import mlm_corrupt, mlm_loss
from within import STRICT32, STRICT64, bound, built, ratio, rounded

GIVEN = {"mask_id": 3, "vocab_size": 24, "special_ids": (0, 1, 2, 3)}
LOSS = [f"MLM-{number}" for number in range(18, 29)]


# --- The reference ------------------------------------------------------------------------------------


def test_a_corruption_is_a_pair_of_new_arrays():
    """int64 and bool, of the shape of the tokens; the tokens stay."""
    tokens = np.arange(60).reshape(3, 4, 5) % 24
    before = tokens.copy()
    corrupted, selected = mlm_corrupt(tokens, **GIVEN, seed=7, rate=0.5)

    assert (corrupted.dtype, selected.dtype) == (np.int64, bool)
    assert corrupted.shape == selected.shape == tokens.shape
    assert np.array_equal(tokens, before)
    assert not np.shares_memory(corrupted, tokens)
    assert np.array_equal(corrupted[~selected], tokens[~selected])
    assert not selected[np.isin(tokens, GIVEN["special_ids"])].any()


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3), (7,), (1, 1)])
def test_a_corruption_has_any_shape(shape):
    """Empty ones too."""
    corrupted, selected = mlm_corrupt(np.full(shape, 5), **GIVEN, seed=0)

    assert corrupted.shape == selected.shape == shape


def test_rates_of_zero_and_one_leave_nothing_to_chance():
    """And neither do special ids: with none of them, everything can be selected."""
    tokens = np.arange(48).reshape(4, 12) % 24

    assert not mlm_corrupt(tokens, **GIVEN, seed=1, rate=0)[1].any()
    assert np.array_equal(mlm_corrupt(tokens, **GIVEN, seed=1, rate=1)[1], tokens > 3)
    assert mlm_corrupt(tokens, **{**GIVEN, "special_ids": ()}, seed=1, rate=np.float32(1))[1].all()


def test_the_loss_by_hand():
    """Probabilities of 3/4 and 1/2, in nats, and nothing else."""
    logits, labels = np.array([[math.log(3), 0.0], [0.0, 0.0]]), np.array([0, 1])

    assert math.isclose(mlm_loss(logits, labels, np.array([True, True])), (math.log(4 / 3) + math.log(2)) / 2)
    assert math.isclose(mlm_loss(logits, labels, np.array([True, False])), math.log(4 / 3))
    assert math.isclose(mlm_loss(np.zeros((2, 3, 7)), np.zeros((2, 3), int), np.ones((2, 3), bool)), math.log(7))
    assert mlm_loss(np.array([[0.0, 1e4]]), np.array([0]), np.array([True])) == 1e4
    assert mlm_loss(np.array([[5.0]]), np.array([0]), np.array([True])) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_loss_has_the_dtype_of_the_logits_and_no_axis(dtype):
    """Whatever NumPy would promote a count of selected positions to."""
    loss = mlm_loss(np.zeros((2, 3, 5), dtype), np.zeros((2, 3), int), np.ones((2, 3), bool))

    assert (loss.dtype, loss.shape) == (dtype, ())


def test_nothing_selected_is_a_mean_of_nothing():
    """NaN, as NumPy says with a warning."""
    with pytest.warns(RuntimeWarning):
        assert math.isnan(mlm_loss(np.zeros((2, 3)), np.zeros(2, int), np.zeros(2, bool)))


def loss_of(**changes):
    """Return a call of the loss with some of its arguments exchanged."""
    data = {"logits": np.zeros((2, 3, 5)), "labels": np.zeros((2, 3), int), "selected": np.ones((2, 3), bool), **changes}
    return lambda: mlm_loss(*data.values())


def corruption_of(tokens=None, **changes):
    """Return a call of the corruption with some of its arguments exchanged."""
    return lambda: mlm_corrupt(np.full((2, 3), 5) if tokens is None else tokens, **{**GIVEN, "seed": 1, **changes})


REFUSED = {
    "labels of another length": (
        loss_of(labels=np.zeros((2, 4), int)),
        ValueError,
        r"^labels has shape \(2, 4\); required: n = 3 in",
    ),
    "labels without the leading axis": (
        loss_of(labels=np.zeros(3, int)),
        ValueError,
        r"^labels has leading axes \(\); required: \(2,\)",
    ),
    "labels as floats": (loss_of(labels=np.zeros((2, 3))), TypeError, r"^labels has dtype float64; required: int64$"),
    "a selection of numbers": (loss_of(selected=np.ones((2, 3), int)), TypeError, r"^selected has dtype int64; required: bool$"),
    "whole logits": (
        loss_of(logits=np.zeros((2, 3, 5), int)),
        TypeError,
        r"^got logits int64; required: one floating-point dtype",
    ),
    "no vocabulary": (
        loss_of(logits=np.zeros((2, 3, 0))),
        ValueError,
        r"^logits has shape \(2, 3, 0\); required: vocab of 1 or more$",
    ),
    "tokens of another dtype": (
        corruption_of(np.full((2, 3), 5, np.int32)),
        TypeError,
        r"^tokens has dtype int32; required: int64$",
    ),
    "tokens as a list": (corruption_of([1, 2]), TypeError, r"^tokens is a list; required: a NumPy array$"),
    "a rate above one": (corruption_of(rate=15), ValueError, r"^rate is 15.0; required: a probability, from 0 to 1$"),
    "a rate below zero": (corruption_of(rate=-0.1), ValueError, r"^rate is -0.1; required: a probability, from 0 to 1$"),
    "a negative seed": (corruption_of(seed=-1), ValueError, r"^seed is -1; required: 0 or more$"),
    "a seed that is no whole number": (corruption_of(seed=1.5), TypeError, r"^seed is 1.5; required: a whole number$"),
    "a mask that is no id": (corruption_of(mask_id="[MASK]"), TypeError, r"^mask_id is '\[MASK\]'; required: a whole number$"),
    "one special id alone": (
        corruption_of(special_ids=3),
        TypeError,
        r"^special_ids is 3; required: a sequence of whole numbers$",
    ),
    "special ids as text": (corruption_of(special_ids="012"), TypeError, r"^special_ids is '012'; required: a sequence of whole"),
    "a special id below zero": (
        corruption_of(special_ids=(0, -100)),
        ValueError,
        r"^special_ids\[1\] is -100; required: 0 or more$",
    ),
    "no seed": (lambda: mlm_corrupt(np.full(3, 5), **GIVEN), TypeError, "missing a required argument: 'seed'"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_malformed_call_is_refused(mistake):
    """With the argument's name, what it is and what is required of it."""
    wrong, error, message = REFUSED[mistake]

    with pytest.raises(error, match=message):
        wrong()


@pytest.mark.parametrize("recipe", [recipe for recipe in masked_language_model.LOSS_FIXED if recipe.elements() <= 1500], ids=str)
def test_the_reference_and_the_bounds_agree_with_sixty_digits(recipe):
    """Two computations in float64, and a third that rounds nowhere."""
    case, strict = built(recipe, "float64"), bound(built(recipe, "float64"), STRICT64)
    with mp.workdps(60):
        terms = []
        for at in np.argwhere(case.selected):
            row = [mp.mpf(float(logit)) for logit in case.logits[tuple(at)]]
            terms.append(mp.log(mp.fsum(mp.exp(logit) for logit in row)) - row[case.labels[tuple(at)]])
        exact = mp.fsum(terms) / len(terms)
        for value in (mlm_loss(*case.arrays.values()), strict.value):
            assert abs(mp.mpf(float(value)) - exact) <= float(strict.radius)


# --- The bound ----------------------------------------------------------------------------------------


def loss64(case, *, selected=None, plus=0.0, base=math.e, labels=None, drop=0):
    """Compute the loss in float64, save for the fault that the options plant."""
    selected = case.selected if selected is None else selected
    logits, labels = case.logits[selected], (case.labels if labels is None else labels)[selected]
    logits = logits[:, : logits.shape[-1] - drop]
    top = logits.max(-1, keepdims=True)
    lse = (top + np.log(np.exp(logits - top).sum(-1, keepdims=True)))[:, 0]
    return np.asarray((lse - np.take_along_axis(logits, labels[:, None], -1)[:, 0]).sum() / (len(labels) + plus) / math.log(base))


WIDE = MlmLoss(lead=(2,), n=5, vocab=1030, content="normal", labels="first", selected="some", seed=9)
ROWS = MlmLoss(lead=(8,), n=65, vocab=31, content="normal", selected="some", seed=10)
FEW = MlmLoss(n=6, vocab=17, content="normal", selected="one", seed=3)
FAULTS = {
    "1e-4 too large": (ROWS, "float32", lambda case: loss64(case) * (1 + 1e-4)),
    "1e-5 added to a denominator of 1": (FEW, "float32", lambda case: loss64(case, plus=1e-5)),
    "one position of 163 more": (ROWS, "float32", lambda case: loss64(case, selected=case.selected | (np.arange(65) == 7))),
    "divided by one position more, of 163": (ROWS, "float32", lambda case: loss64(case, plus=1)),
    "the last two tokens of 1030 left out": (WIDE, "float32", lambda case: loss64(case, drop=2)),
    "the last 64 tokens of 1030 left out, in bfloat16": (WIDE, "bfloat16", lambda case: loss64(case, drop=64)),
    "in bits, in bfloat16": (ROWS, "bfloat16", lambda case: loss64(case, base=2)),
}


@pytest.mark.parametrize("recipe", [WIDE, ROWS, FEW], ids=str)
def test_the_code_that_the_faults_are_planted_in_is_right(recipe):
    """Without a fault it stays within the float64 radius."""
    case = built(recipe, "float32")

    assert ratio(loss64(case), bound(case, STRICT64)) <= 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_small_fault_leaves_the_radius(fault):
    """The radius is small enough to see it: the fault is all that differs from float64."""
    recipe, dtype, wrong = FAULTS[fault]
    case = built(recipe, dtype)

    assert ratio(wrong(case), bound(case, PRECISIONS[dtype]["STRICT" if dtype == "float32" else "FUSED"])) > 1


@pytest.mark.parametrize(
    ("dtype", "name", "units"),
    [("float64", "STRICT", 100), ("float32", "STRICT", 50), ("bfloat16", "FUSED", 1.1), ("bfloat16", "EAGER", 20)],
)
def test_the_radius_is_a_small_multiple_of_the_unit(dtype, name, units):
    """For a few positions of a small vocabulary, and logits near 1."""
    precision = PRECISIONS[dtype][name]
    required = bound(built(MlmLoss(lead=(2,), n=4, vocab=8, content="normal", seed=1), dtype), precision)

    assert required.radius <= units * precision.storage.u * required.value


def test_where_nothing_can_be_said_the_radius_is_infinite():
    """Nothing selected, a label without probability, and a sum that may overflow though its mean does not."""
    none = bound(built(MlmLoss(n=3, vocab=2, content="ramp", selected="none"), "float32"), STRICT32)
    logits = np.array([[0.0, -np.inf], [0.0, 0.0]])
    impossible = bounds.mlm_loss(logits, np.array([1, 0]), np.ones(2, bool), STRICT32)
    with np.errstate(over="ignore"):
        large = bounds.mlm_loss(np.full((4, 2), [0.0, 2.0**127]), np.zeros(4, int), np.ones(4, bool), STRICT32)

    assert np.isposinf([none.radius, impossible.radius, large.radius]).all()
    assert np.isposinf(impossible.value)


def test_what_is_not_selected_is_not_looked_at():
    """Logits and labels there may be anything, also what no loss could be computed of."""
    logits, labels = np.array([[1.0, 2.0], [np.nan, np.inf]]), np.array([0, -100])
    required = bounds.mlm_loss(logits, labels, np.array([True, False]), STRICT32)

    assert math.isclose(required.value, math.log(1 + math.e))
    assert np.isfinite(required.radius)


# --- The inputs ---------------------------------------------------------------------------------------


MORE = (
    MlmCorrupt(lead=(2,), n=5, vocab=9, content="constant", seed=12),
    MlmCorrupt(lead=(3,), n=6, vocab=8, content="special", specials="spread", rate=0.5),
    MlmLoss(lead=(2,), n=3, vocab=4, content="integers", labels="unlikely", selected="none", seed=12),
    masked_language_model.ROWS,
    masked_language_model.OFTEN,
    masked_language_model.ALL,
    masked_language_model.SEEDED,
    masked_language_model.SURE,
    masked_language_model.ENTRIES,
    masked_language_model.LONG,
    masked_language_model.VOCABULARY,
)
GOLDEN = {
    "mlm_corrupt(literal=(0, 5, 7))": "2e435d1bad22cf95",
    "mlm_corrupt(lead=(2,), content='ramp', seed=1, n=4, vocab=6, specials='high')": "379ed0e275f07494",
    "mlm_corrupt(content='any', seed=2, n=33, vocab=7, specials='unlisted')": "542fa08c0382f190",
    "mlm_corrupt(lead=(2, 3), content='words', seed=3, n=8, vocab=5, specials='none')": "ede1bfae0a9357ac",
    "mlm_corrupt(lead=(16,), content='framed', seed=2147483647, n=17, vocab=11, specials='spread')": "8bf72a60e8cecaeb",
    "mlm_corrupt(lead=(4, 16), content='any', seed=5, n=64, vocab=101, specials='high')": "fa89b5f283371640",
    "mlm_corrupt(lead=(256,), content='words', seed=6, n=128, vocab=24)": "214f718f833e32b2",
    "mlm_loss(literal=(0.0, 1.0), n=1)": "fba383609424691e",
    "mlm_loss(literal=(0.0, 1.0, 2.0, 1.0, 0.0, 0.0), vocab=3, selected='one')": "5b944b077af1147d",
    "mlm_loss(lead=(2,), content='ramp', n=3, selected='uneven')": "aee3d11025aa2925",
    "mlm_loss(lead=(3,), content='integers', seed=1, n=4, vocab=5)": "152d625e9d8ca327",
    "mlm_loss(lead=(2, 3), content='normal', seed=2, n=5, vocab=7, selected='uneven')": "bf42b378e0715f85",
    "mlm_loss(content='sure', seed=3, n=6, vocab=17, labels='likely', selected='all')": "09f0bbc1d20fbf58",
    "mlm_loss(lead=(4,), content='large', seed=4, n=3, vocab=33)": "9a908ac9b1980855",
    "mlm_loss(lead=(2,), content='equal', seed=5, n=8, vocab=64, labels='last', selected='uneven')": "9500b7fb081ee6ab",
    "mlm_loss(lead=(5,), content='normal', exponent=-4, seed=6, n=7, vocab=65, labels='first')": "07ff599822c65ca0",
    "mlm_loss(lead=(1,), content='normal', seed=7, n=33, vocab=129, labels='unlikely', selected='all')": "193dfc4a14c177a1",
    "mlm_loss(lead=(3,), content='integers', exponent=3, seed=8, n=16, vocab=100, selected='one')": "08be9777337d5740",
    "mlm_loss(lead=(2,), content='normal', seed=9, n=5, vocab=1030)": "8d3bd062fdd4791a",
    "mlm_loss(lead=(8,), content='normal', seed=10, n=65, vocab=31)": "a70f3521e7221557",
    "mlm_corrupt(lead=(2,), content='constant', seed=12, n=5, vocab=9)": "1cf4462123ee90fb",
    "mlm_corrupt(lead=(3,), content='special', n=6, specials='spread', rate=0.5)": "1ef0ed9e66754c44",
    "mlm_loss(lead=(2,), content='integers', seed=12, n=3, vocab=4, labels='unlikely', selected='none')": "c72682b4174dc47a",
    "mlm_corrupt(lead=(1,), content='constant', seed=4, n=9, vocab=9, specials='zero')": "282fd53f109f8809",
    "mlm_loss(lead=(2, 1, 3), content='integers', seed=15, n=3, vocab=3)": "6d094b8cada69252",
    "mlm_corrupt(lead=(3, 16), content='words', n=523, vocab=24, specials='many')": "c2aa1cbb9073dbee",
    "mlm_corrupt(lead=(32,), content='words', seed=7, n=64, vocab=6, specials='high', rate=0.75)": "75d29c6f8d1d35d2",
    "mlm_corrupt(lead=(16,), content='words', seed=8, n=64, vocab=70000, specials='spread', rate=1.0)": "5ad7814e6ec3e875",
    "mlm_corrupt(lead=(2, 4), content='words', seed=1, n=523, vocab=24, specials='many', rate=0.5)": "ae4f24128ada8368",
    "mlm_loss(content='sure', exponent=-1, seed=11, n=16, vocab=3, labels='likely', selected='all')": "d7c85fe8061bcaa1",
    "mlm_loss(lead=(71,), content='normal', seed=12, n=29, selected='all')": "d643e0b8a6bebdb4",
    "mlm_loss(content='normal', seed=13, n=512, selected='all')": "002c725c5d1e6337",
    "mlm_loss(content='normal', seed=14, vocab=40003, labels='last', selected='all')": "a5b9feb684f1c91e",
}


def golden_recipes():
    """Return the recipes whose arrays are written down."""
    return [*masked_language_model.CORRUPT_FIXED, *masked_language_model.LOSS_FIXED, *MORE]


def test_the_arrays_of_a_recipe_are_those_of_its_version():
    """Another digest means other inputs under an old name."""
    assert {str(recipe): digest(recipe) for recipe in golden_recipes()} == GOLDEN


def test_every_kind_has_a_golden_digest():
    """A new kind of content, special ids, labels or selection needs a recipe in MORE and a digest."""
    for kind, choices in ((MlmCorrupt, masked_language_model.CORRUPT_CHOICES), (MlmLoss, masked_language_model.LOSS_CHOICES)):
        golden = [recipe for recipe in golden_recipes() if isinstance(recipe, kind)]
        for name, options in choices.items():
            missing = {option for option in options if isinstance(option, str)} - {getattr(recipe, name) for recipe in golden}
            assert not missing, f"{kind.__name__}.{name}: {missing}"


@pytest.mark.parametrize(
    "recipe",
    [
        MlmCorrupt(content="colourful"),
        MlmCorrupt(specials="colourful"),
        MlmLoss(content="colourful"),
        MlmLoss(content="ramp", labels="colourful"),
        MlmLoss(content="ramp", selected="colourful"),
    ],
    ids=str,
)
def test_an_unknown_kind_is_refused(recipe):
    """A slip of the pen in a requirement's inputs is an error, and the message says what there is."""
    with pytest.raises(ValueError, match=r"^unknown .*'colourful'; required: "):
        recipe.build(identity)


def test_tokens_are_ids_and_some_of_them_special():
    """int64, from 0 to vocab - 1; words are not special, and a frame is."""
    for recipe in [*masked_language_model.CORRUPT_FIXED, *drawn(mlm_corrupt_inputs().general, 100)]:
        case = recipe.build(identity)
        special = np.isin(case.tokens, np.array(case.special_ids, int))

        assert case.tokens.dtype == np.int64
        assert case.tokens.shape == (*recipe.lead, recipe.n)
        assert ((case.tokens >= 0) & (case.tokens < recipe.vocab)).all()
        assert 0 <= case.mask_id < recipe.vocab
        assert recipe.content not in ("words", "constant", "ramp") or not special.any()
        assert recipe.content != "special" or recipe.specials == "none" or special.all()
        assert recipe.content != "framed" or recipe.specials == "none" or special[..., 0].all()


def test_losses_have_labels_in_range_and_something_selected():
    """In every entry; the likely label is that of the greatest logit, which is exact in the dtype."""
    for recipe in [
        *masked_language_model.LOSS_FIXED,
        *drawn(mlm_loss_inputs().general, 100),
        *drawn(mlm_loss_inputs().tiny, 100),
    ]:
        case = recipe.build(functools.partial(rounded, dtype="bfloat16"))

        assert (case.labels.dtype, case.selected.dtype) == (np.int64, bool)
        assert ((case.labels >= 0) & (case.labels < recipe.vocab)).all()
        assert case.selected.any(-1).all()
        assert np.array_equal(case.logits, rounded(case.logits, "bfloat16"))
        assert recipe.content != "literal" or case.logits.ravel().tolist() == list(np.resize(recipe.literal, case.logits.size))
        label = np.take_along_axis(case.logits, case.labels[..., None], -1)[..., 0]
        assert recipe.labels != "likely" or (label == case.logits.max(-1)).all()


def test_what_is_uneven_is_so():
    """One selected position in each entry, and all of them in the last."""
    selected = MlmLoss(lead=(2, 3), n=5, vocab=2, content="ramp", selected="uneven", seed=4).build(identity).selected

    assert selected.sum(-1).tolist() == [[1, 1, 1], [1, 1, 5]]


# --- The classic mistakes of the loss -------------------------------------------------------------------


def log_softmax(logits):
    """Return the logarithms of the probabilities."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def picked(logits, labels):
    """Return the logarithm of each label's probability."""
    return np.take_along_axis(log_softmax(logits), labels[..., None], -1)[..., 0]


def selection_inverted(logits, labels, selected):
    """Average over what was not selected (649453932/Bert-Chinese-Text-Classification-Pytorch#176)."""
    return -picked(logits, labels)[~selected].mean() if selected.any() else logits.dtype.type(np.nan)


def logarithm_of_a_softmax(logits, labels, selected):
    """Take the logarithm of a finished softmax."""
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p = p / p.sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(p, labels[..., None], -1)[..., 0])[selected].mean()


def maximum_of_minus_64(logits, labels, selected):
    """Take the greatest logit to be -64 or more (PaddlePaddle/Paddle#21165)."""
    top = np.maximum(logits.max(-1, keepdims=True), -64)
    log_p = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    return -np.take_along_axis(log_p, labels[..., None], -1)[..., 0][selected].mean()


def nothing_is_zero(logits, labels, selected):
    """Return 0 where nothing is selected."""
    return mlm_loss(logits, labels, selected) if selected.any() else logits.dtype.type(0)


def nothing_raises(logits, labels, selected):
    """Raise where nothing is selected."""
    if not selected.any():
        raise ValueError("nothing is selected")
    return mlm_loss(logits, labels, selected)


def as_bert_divides(logits, labels, selected):
    """Divide by the number of selected positions and 1e-5, as BERT's own code does."""
    return -(picked(logits, labels) * selected).sum() / logits.dtype.type(np.count_nonzero(selected) + 1e-5)


def each_row_alone(logits, labels, selected):
    """Return one loss for each row."""
    return -(picked(logits, labels) * selected).sum(-1) / np.maximum(selected.sum(-1), 1).astype(logits.dtype)


ALL_GENERAL = {f"GEN-{number}" for number in (1, 2, 3, 4, 5, 6, 9, 10, 11)}
# name: the loss, and the requirements that it fails.
LOSSES = {
    "the selection inverted": (selection_inverted, {"MLM-18", "MLM-19", "MLM-20", "MLM-26", "MLM-27"}),
    "the logarithm of a softmax": (logarithm_of_a_softmax, {"MLM-26"}),
    "a maximum of -64 or more": (maximum_of_minus_64, {"MLM-23", "MLM-26"}),
    "an exception for nothing": (nothing_raises, {"MLM-28"}),
    "each row alone": (each_row_alone, {*LOSS}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_classic_mistake_of_the_loss_is_named(name):
    """It fails the requirement that is about it, and what else follows from it, and nothing more."""
    loss, broken = LOSSES[name]

    assert not_passed(judged({"mlm_loss": loss}, LOSS)) == broken


def test_the_loss_of_berts_own_code_is_no_mean():
    """1e-5 in its denominator is seen where few positions are selected, and makes a zero of nothing."""
    report = judged({"mlm_loss": as_bert_divides}, LOSS)

    assert {"MLM-18", "MLM-24", "MLM-28"} <= not_passed(report)
    assert not {"MLM-19", "MLM-21", "MLM-22", "MLM-23", "MLM-25", "MLM-27"} & not_passed(report)


DECLARED_LOSSES = {"nan": mlm_loss, "zero": nothing_is_zero, "raises": nothing_raises}


@pytest.mark.parametrize("choice", DECLARED_LOSSES)
def test_what_is_declared_for_nothing_selected_is_what_is_required(choice):
    """Each choice passes where it is declared, and fails where another one is; the hint says which would hold."""
    for name, loss in DECLARED_LOSSES.items():
        report = judged({"__toise__": {"mlm_loss": {"nothing_selected": choice}}, "mlm_loss": loss}, ["MLM-18", "MLM-28"])

        assert not_passed(report) == (set() if name == choice else {"MLM-28"})
        assert name == choice or f'"nothing_selected": "{name}"' in report.requirements["MLM-28"].counterexample.hint


def test_anything_goes_where_nothing_selected_is_unspecified():
    """And the report says that it was not judged."""
    report = judged(
        {"__toise__": {"mlm_loss": {"nothing_selected": "unspecified"}}, "mlm_loss": nothing_raises}, ["MLM-18", "MLM-28"]
    )

    assert not_passed(report) == {"MLM-28 NOT APPLICABLE"}


def test_a_correct_loss_passes_all_that_is_asked_of_every_operation_too():
    """In plain NumPy, in float32 and float64."""
    report = toise.verify(
        {"mlm_loss": lambda logits, labels, selected: -picked(logits, labels)[selected].mean()}, operations=["mlm_loss"]
    )

    assert {row.requirement for row in report.results if not row.excluded} == {*LOSS, *ALL_GENERAL}
    assert report.passed
