"""What the adapter to Transformers declares is what Transformers does."""

import numpy as np
import pytest
import toise
from toise import Unsupported

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from toise.backends.transformers_adapter import eager, sdpa  # noqa: E402 - it needs both

BOTH = pytest.mark.parametrize("backend", [sdpa, eager], ids=["sdpa", "eager"])
VALUES = torch.tensor([[1.0], [2.0], [4.0]])
TOKENS = torch.arange(8).repeat(50, 8)


def corrupted(seed=7, tokens=TOKENS):
    """Return what the collator makes of tokens, of which 0 and 1 are special."""
    return sdpa.mlm_corrupt(tokens, mask_id=2, vocab_size=8, special_ids=(0, 1), rate=0.5, seed=seed)


@BOTH
@pytest.mark.parametrize(("n", "required"), [(1, [7 / 3]), (2, [1.5, 7 / 3]), (3, [1, 1.5, 7 / 3])])
def test_the_causal_order_is_aligned_with_the_last_key(backend, n, required):
    """The queries come after the keys that are kept, whether a mask is made or is_causal will do."""
    result = backend.attention(torch.zeros(n, 4), torch.zeros(3, 4), VALUES, causal=True)

    np.testing.assert_allclose(result[:, 0], required, rtol=1e-6)


@BOTH
def test_a_mask_serves_the_queries_that_it_is_made_for(backend):
    """With the causal order and without it, also where there are more queries than keys."""
    mask = torch.tensor([[True, True, True], [False, True, True], [False, True, True], [True, False, True]])

    plain = backend.attention(torch.zeros(4, 4), torch.zeros(3, 4), VALUES, mask=mask)
    both = backend.attention(torch.zeros(3, 4), torch.zeros(3, 4), VALUES, mask=mask[:3], causal=True)

    np.testing.assert_allclose(plain[:, 0], [7 / 3, 3, 3, 2.5], rtol=1e-6)
    np.testing.assert_allclose(both[:, 0], [1, 2, 3], rtol=1e-6)


def test_a_query_without_keys_has_zeros_or_nothing_is_promised():
    """eager adds the least number of the dtype: the weights are equal, those of the scores, or NaN."""
    none = torch.zeros(1, 3, dtype=torch.bool)

    def result(backend, dtype):
        q, k = torch.ones(1, 1, dtype=dtype), torch.tensor([[0], [0], [100]], dtype=dtype)
        return backend.attention(q, k, VALUES.to(dtype), mask=none).item()

    assert result(sdpa, torch.float32) == 0
    assert result(eager, torch.float32) == pytest.approx(7 / 3)
    assert result(eager, torch.float16) == 4
    assert np.isnan(result(eager, torch.float64))


def test_the_losses_are_float32():
    """Of narrower logits, and of wider ones too."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        logits, tokens = torch.zeros(3, 2, dtype=dtype), torch.tensor([0, 1, 1])

        loss = sdpa.mlm_loss(logits, tokens, torch.tensor([True, False, True]))
        scored = sdpa.sequence_log_prob(logits, tokens)

        assert loss.dtype == scored.dtype == torch.float32
        assert loss.item() == pytest.approx(np.log(2))
        assert scored.item() == pytest.approx(-2 * np.log(2))


def test_a_loss_of_nothing_is_nan():
    """The mean of no position."""
    assert sdpa.mlm_loss(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([False])).isnan()


def test_the_collator_keeps_special_tokens_and_draws_by_its_seed():
    """From a generator of its own, over the whole vocabulary."""
    state = torch.random.get_rng_state()

    (shown, selected), (again, _), (other, _) = corrupted(), corrupted(), corrupted(seed=8)

    assert not selected[TOKENS < 2].any()
    assert (shown == TOKENS)[~selected].all()
    assert (shown[selected] < 2).any()
    assert (shown == again).all()
    assert (shown != other).any()
    assert (torch.random.get_rng_state() == state).all()


def test_what_it_cannot_do_is_told():
    """Heads whose values are of another width, or wider than the model; a scale that torch has no answer for."""
    x, narrow, wide = torch.zeros(2, 2), torch.zeros(1, 2, 1), torch.zeros(2, 2, 2)

    with pytest.raises(Unsupported, match="d_v = d_k"):
        sdpa.multi_head_attention(x, x, x, narrow, narrow, torch.zeros(1, 2, 2), x)
    with pytest.raises(Unsupported, match="divides d_model"):
        sdpa.multi_head_attention(x, x, x, wide, wide, wide, torch.zeros(4, 2))
    with pytest.raises(Unsupported, match="scale of 0 or less"):
        sdpa.attention(x, x, x, causal=True, scale=0.0)


def test_it_is_judged():
    """The operation without floats."""
    assert toise.verify("transformers", operations=["causal_mask"], budget="smoke").passed
