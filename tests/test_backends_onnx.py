"""The adapters to ONNX operators: what they declare is what the two implementations do, and what they cannot do they say."""

import math

import numpy as np
import pytest
import toise
from toise import Unsupported
from toise.backends import ADAPTERS
from toise.targets import load

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 in NumPy needs ml_dtypes")
onnx = pytest.importorskip("onnx", minversion="1.19", reason="the adapters need onnx")
pytest.importorskip("onnxruntime", minversion="1.23", reason="one of the adapters needs onnxruntime")

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
BOTH = pytest.mark.parametrize("name", ["onnx-reference", "onnxruntime"])
ONES, ZEROS = np.ones(2), np.zeros(2)
ROW_WITHOUT_KEYS = {"zeros": 0, "nan": math.nan, "mean": 7 / 3}


def operation(name, which):
    """Return an operation of an adapter."""
    return load(name).operations[which]


def declared(name, which):
    """Return what an adapter declares of an operation."""
    return load(name).declarations.operations[which]


def column(*numbers, dtype=np.float32):
    """Return an array of one column."""
    return np.array(numbers, dtype)[:, None]


@BOTH
def test_both_are_known_by_name_and_tell_their_version(name):
    """And they take four dtypes, though not for each operation."""
    target = load(name)

    assert target.declarations.version.count(".") >= 2
    assert set(target.declarations.dtypes) == set(DTYPES)
    assert "mlm_corrupt" not in target.operations


@BOTH
def test_causal_attention_is_aligned_as_declared(name):
    """Two queries of three equal keys: the last sees two of them, and not all."""
    got = operation(name, "attention")(column(0, 0), column(0, 0, 0), column(1, 2, 4), causal=True)

    assert declared(name, "attention").choices["causal_alignment"] == "top-left"
    np.testing.assert_allclose(got, column(1, 1.5), rtol=1e-6)


@BOTH
def test_a_row_without_keys_gives_what_is_declared(name):
    """It differs from version to version."""
    mask = np.array([[False, False, False], [True, False, False]])
    with np.errstate(invalid="ignore"):
        got = operation(name, "attention")(column(0, 0), column(0, 0, 0), column(1, 2, 4), mask=mask)

    np.testing.assert_allclose(got, column(ROW_WITHOUT_KEYS[declared(name, "attention").choices["empty_row"]], 1), rtol=1e-6)


def test_the_operator_promises_what_the_adapters_declare():
    """The words are those of the doc of Attention, of which older versions are silent."""
    if tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23):
        pytest.skip(f"onnx {onnx.__version__} says it in other words")
    old, new = (onnx.defs.get_schema("Attention", version).doc for version in (23, 24))

    assert "iff `j <= i + past_sequence_length`" in old
    assert "`offset = 0` when neither is provided" in new
    assert "produces a zero output row" in old
    assert "produces a zero output row" in new


def test_the_runtime_rounds_scores_in_float16():
    """2049 is no float16: a score of 2048 beside it weighs the same."""
    k = np.array([[2048, 1], [2048, 0]], np.float16)
    got = operation("onnxruntime", "attention")(np.ones((1, 2), np.float16), k, column(0, 1, dtype=np.float16), scale=1.0)

    assert declared("onnxruntime", "attention").class_of("float16") == "EAGER"
    assert got == 0.5


def test_the_runtime_rounds_log_probabilities_in_float16():
    """The losses are 255.4375, 0 and 0: the first becomes 255.5, which moves the mean by more than its own rounding would."""
    logits = np.array([[0.5625, 256], [0, 256], [0, 256]], np.float16)
    got = operation("onnxruntime", "mlm_loss")(logits, np.array([0, 1, 1]), np.ones(3, bool))

    assert declared("onnxruntime", "mlm_loss").class_of("float16") == "EAGER"
    assert np.float16(255.4375 / 3) == 85.125
    assert got == 85.1875


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_reference_evaluator_computes_each_step_in_the_dtype(dtype):
    """1 and the number after it have the mean 1 then, so that the first is 0 once it is normalised, and not -1."""
    reference, one = load("onnx-reference"), DTYPES[dtype](1)
    x, ones = np.array([[one, np.nextafter(one, 2 * one)]]), ONES.astype(DTYPES[dtype])
    got = reference.operations["layer_norm"](x, ones, 0 * ones, eps=0.0)

    assert {reference.declarations.operations[each].class_of(dtype) for each in ("layer_norm", "attention")} == {"STEPWISE"}
    assert got[0, 0] == 0


@BOTH
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_attention_takes_two_to_four_axes(name, lead):
    """Three axes are a batch with one head, whose masks differ from entry to entry."""
    q, k = np.zeros((*lead, 1, 1), np.float32), np.zeros((*lead, 2, 1), np.float32)
    v = np.broadcast_to(column(1, 3), k.shape)
    mask = np.ones((*lead, 1, 2), bool)
    mask.reshape(-1)[1] = False
    got = operation(name, "attention")(q, k, v, mask=mask)

    assert got.shape == q.shape
    np.testing.assert_allclose(got.reshape(-1), [1, *[2] * (got.size - 1)], rtol=1e-6)


@BOTH
def test_heads_are_taken_from_one_matrix_in_order(name):
    """Head 0 doubles what it is given, and head 1 negates it; w_o tells them apart."""
    x, w_q = np.array([[1, 2]], np.float32), np.zeros((2, 2, 1), np.float32)
    w_v = np.array([[[2], [0]], [[0], [-1]]], np.float32)
    got = operation(name, "multi_head_attention")(x, x, x, w_q, w_q, w_v, np.array([[1, 0], [0, 10]], np.float32))

    np.testing.assert_allclose(got, [[2, -20]], rtol=1e-6)


@BOTH
@pytest.mark.parametrize("x", [[[1.0, 2.0]], [[[1.0, 2.0]]]])
def test_feed_forward_is_the_same_by_gemm_and_by_matmul(name, x):
    """Gemm takes two axes, MatMul any number."""
    x, w1 = np.array(x, np.float32), np.array([[1, -1], [1, -1]], np.float32)
    got = operation(name, "feed_forward")(x, w1, np.ones(2, np.float32), w1, np.ones(2, np.float32))

    np.testing.assert_allclose(got.reshape(-1), [5, -3], rtol=1e-6)


@BOTH
def test_the_causal_mask_is_one_of_trilu(name):
    """Trilu takes booleans, and a diagonal for lengths that differ."""
    got = operation(name, "causal_mask")(2, m=3)

    assert got.dtype == bool
    np.testing.assert_array_equal(got, [[True, True, False], [True, True, True]])


@BOTH
def test_losses_are_those_of_uniform_logits(name):
    """A position that is not selected has no weight in the mean."""
    logits, tokens = np.zeros((3, 4), np.float32), np.array([0, 1, 2])

    assert operation(name, "mlm_loss")(logits, tokens, np.array([True, False, True])) == pytest.approx(math.log(4))
    assert operation(name, "sequence_log_prob")(logits, tokens) == pytest.approx(-2 * math.log(4))


@pytest.mark.parametrize(("turned", "required"), [(np.transpose, [[-1, 1], [-1, 1]]), (np.fliplr, [[1, -1], [1, -1]])])
def test_bfloat16_goes_into_the_runtime_and_comes_out_of_it_in_any_layout(turned, required):
    """The runtime gives NumPy no array of it, so its bits are handed over."""
    x, ones = turned(np.array([[1, 3], [5, 9]], DTYPES["bfloat16"])), ONES.astype(DTYPES["bfloat16"])
    got = operation("onnxruntime", "layer_norm")(x, ones, 0 * ones)

    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got.astype(np.float64), required)


@BOTH
def test_a_number_that_no_attribute_holds_is_said_to_be_so(name):
    """Attributes are in float32, which matters for doubles alone; there is no root of a negative scale."""
    layer_norm, attention = operation(name, "layer_norm"), operation(name, "attention")
    x = np.array([[1.0, -1.0]])

    np.testing.assert_allclose(layer_norm(x, ONES, ZEROS, eps=3.0), x / 2, rtol=1e-15)
    with pytest.raises(Unsupported, match="epsilon is an attribute, which ONNX holds in float32: 1e-05 would be"):
        layer_norm(x, ONES, ZEROS)
    with pytest.raises(Unsupported, match=r"scale is an attribute, which ONNX holds in float32: 0\.1 would be"):
        attention(x, x, x, scale=0.1)
    with pytest.raises(Unsupported, match=r"multiplies Q and K by sqrt\(scale\)"):
        attention(x, x, x, scale=-1.0)


@BOTH
def test_more_axes_than_attention_takes_are_said_to_be_so(name):
    """Nothing is folded into the batch."""
    x, w = np.ones((1, 1, 1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)

    with pytest.raises(Unsupported, match="3 or 4 axes"):
        operation(name, "attention")(x, x, x)
    with pytest.raises(Unsupported, match="one leading axis at most"):
        operation(name, "multi_head_attention")(x[0], x[0], x[0], w, w, w, w[0])


@pytest.mark.parametrize(("which", "node"), [("feed_forward", "Gemm"), ("residual", "Add")])
def test_a_dtype_that_the_runtime_lacks_is_said_in_its_own_words(which, node):
    """It has LayerNormalization in bfloat16, and little else."""
    x = np.ones((2, 2), DTYPES["bfloat16"])
    given = {"feed_forward": (x, x, x[0], x, x[0]), "residual": (x, lambda x: x)}[which]

    with pytest.raises(Unsupported, match=rf"NOT_IMPLEMENTED : Could not find an implementation for {node}"):
        operation("onnxruntime", which)(*given)


def test_a_dtype_that_the_runtime_lacks_is_not_provided():
    """It is declared for the whole backend, and lacking for an operation."""
    report = toise.verify("onnxruntime", operations=["residual"], dtypes=["bfloat16"], budget="smoke")

    assert report.requirements["RES-1"].outcome == "NOT PROVIDED"


def test_what_else_the_runtime_refuses_stays_an_error_and_prints_nothing(capfd):
    """A scale of 0 has an answer, which the reference evaluator gives."""
    q, k = column(1), column(0, 1)

    assert operation("onnx-reference", "attention")(q, k, k, scale=0.0) == 0.5
    with pytest.raises(Exception, match="scale must be greater than 0") as caught:
        operation("onnxruntime", "attention")(q, k, k, scale=0.0)
    assert not isinstance(caught.value, Unsupported)
    assert capfd.readouterr() == ("", "")


@BOTH
def test_one_model_serves_all_lengths(name):
    """It is made for the operation, its options, the dtype and the number of axes."""
    adapter = ADAPTERS[name].load()
    adapter.residual(np.ones((1, 2), np.float32), np.square)
    before = adapter.ready.cache_info().misses
    for n in (3, 4, 5):
        adapter.residual(np.ones((n, 2), np.float32), np.square)

    assert adapter.ready.cache_info().misses == before


@BOTH
@pytest.mark.parametrize("which", ["causal_mask", "residual"])
def test_what_has_no_finding_passes(name, which):
    """The smallest verdict of operations that are cheap to judge."""
    assert toise.verify(name, operations=[which], dtypes=["float32"], budget="smoke").passed
