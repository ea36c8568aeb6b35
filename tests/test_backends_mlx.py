"""What the adapter to MLX declares is what MLX does, and its arrays are read and written as they should be."""

import numpy as np
import pytest
import toise
from toise import Unsupported
from toise.targets import load

mx = pytest.importorskip("mlx.core", reason="mlx is not installed")

if mx.default_device() != mx.cpu:
    pytest.skip("the declarations were seen on a CPU", allow_module_level=True)

from toise.arrays.mlx_arrays import MlxArrays  # noqa: E402 - it needs mlx
from toise.backends import mlx_adapter as adapter  # noqa: E402 - it needs mlx

VALUES = mx.array([[1.0], [2.0], [4.0]])
DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "bool")


def held(array):
    """Return what an array of MLX holds."""
    return np.array(array.astype(mx.float32))


def of(shape, dtype):
    """Return values that a dtype holds."""
    values = np.arange(np.prod(shape)).reshape(shape) - 2.0
    return values > 0 if dtype == "bool" else values.astype(np.int64) if dtype == "int64" else values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (0, 3), (2, 3, 4)])
def test_an_array_holds_what_it_was_made_of(shape, dtype):
    """In each dtype, bfloat16 by its bits, and in each layout."""
    arrays, values = MlxArrays(), of(shape, dtype)
    made = arrays.make(values, dtype)

    assert (tuple(made.shape), arrays.dtype(made)) == (shape, dtype)
    np.testing.assert_array_equal(arrays.numbers(made), values)
    assert arrays.bits(arrays.from_bits(arrays.bits(made), shape, dtype)) == arrays.bits(made)
    for name, other in arrays.layouts(values, dtype) if shape else ():
        assert arrays.dtype(other) == dtype, name
        np.testing.assert_array_equal(arrays.numbers(other), values, err_msg=name)


def test_the_layouts_are_not_contiguous():
    """A view keeps the steps of the array that it was cut from."""
    steps = {name: memoryview(array).strides for name, array in MlxArrays().layouts(of((2, 3), "float32"), "float32")}

    assert steps == {"transposed": (4, 8), "every second element of a larger array": (28, 8)}


def test_what_is_written_into_an_array_reaches_no_other():
    """Neither a view of it, nor what was computed of it before and is not evaluated yet."""
    arrays = MlxArrays()
    a = arrays.make(np.ones(3), "float32")
    view, doubled = a[:2], a + a

    arrays.overwrite(a, np.zeros(3))

    assert held(a).tolist() == [0, 0, 0]
    assert held(view).tolist() == [1, 1]
    assert held(doubled).tolist() == [2, 2, 2]
    assert arrays.share_memory(a, a)
    assert not arrays.share_memory(a, view)


def test_a_call_is_done_when_it_is_settled():
    """What MLX puts off fails there, and not where the result is read."""
    arrays = MlxArrays()
    late = mx.linalg.inv(mx.zeros((2, 2)), stream=mx.cpu)

    with pytest.raises(RuntimeError):
        arrays.settle(late)


def test_the_causal_order_is_aligned_with_the_last_key():
    """As its documentation says; a query before the first key has none, and the mean of all values."""
    result = adapter.attention(mx.zeros((5, 4)), mx.zeros((3, 4)), VALUES, causal=True)

    np.testing.assert_allclose(held(result)[:, 0], [7 / 3, 7 / 3, 1, 1.5, 7 / 3], rtol=1e-6)


def test_a_query_without_keys_has_a_mean_in_attention_and_nan_in_heads():
    """A hidden score is replaced in the one, and -inf is added to it in the other."""
    none = mx.zeros((2, 3), dtype=mx.bool_)
    tokens, weight = mx.ones((3, 2)), mx.ones((1, 2, 2))

    assert held(adapter.attention(mx.zeros((2, 4)), mx.zeros((3, 4)), VALUES, mask=none)) == pytest.approx(7 / 3)
    heads = adapter.multi_head_attention(tokens[:2], tokens, tokens, weight, weight, weight, weight[0], mask=none)
    assert np.isnan(held(heads)).all()


def test_layer_norm_writes_the_normalised_row_out():
    """Hence the trait: rounded once, it would be -1.2734, -0.4238 and 1.6953."""
    x = mx.array([[0.0, 2.0, 7.0]], dtype=mx.bfloat16)
    gamma, beta = mx.full((3,), 1.25, dtype=mx.bfloat16), mx.zeros((3,), dtype=mx.bfloat16)

    assert held(adapter.layer_norm(x, gamma, beta)) == pytest.approx(np.array([[-1.265625, -0.42578125, 1.703125]]), abs=1e-9)


def test_sums_of_narrow_numbers_are_float32():
    """So EAGER is enough for the losses, though the documentation of cross_entropy speaks of the dtype."""
    assert held(mx.ones((1000,), dtype=mx.bfloat16).sum()) == 1000
    assert held(mx.logsumexp(mx.zeros((1000,), dtype=mx.bfloat16))) == pytest.approx(np.log(1000), rel=2**-8)


def test_what_it_cannot_do_is_told():
    """Two masks at once, a square mask for another shape, a vocabulary of one token."""
    q, k = mx.zeros((2, 2)), mx.zeros((3, 2))
    weight = mx.ones((1, 2, 2))

    with pytest.raises(Unsupported, match="not both"):
        adapter.attention(q, k, k, mask=mx.ones((2, 3), dtype=mx.bool_), causal=True)
    with pytest.raises(Unsupported, match="square masks"):
        adapter.multi_head_attention(q, k, k, weight, weight, weight, weight[0], causal=True)
    with pytest.raises(Unsupported, match="single number"):
        adapter.sequence_log_prob(mx.zeros((2, 1)), mx.zeros((2,), dtype=mx.int64))


def test_float64_is_declared_on_a_cpu():
    """No other device has it."""
    assert "float64" in load("mlx").declarations.dtypes


def test_it_is_judged():
    """One operation with floats, and the one without."""
    report = toise.verify("mlx", operations=["layer_norm", "causal_mask"], dtypes=["bfloat16"], budget="smoke")

    assert report.passed
