"""AR · What sequence_log_prob must do: one test for each numbered requirement.  Read with spec/toise_spec/autoregressive.md."""

import numpy as np

from toise.engine import requirement
from toise.inputs import WHOLE_NUMBERS, sequence_log_prob_inputs
from toise.inputs import autoregressive as inputs
from toise.verdict import assert_close, assert_finite, assert_formula, assert_same, assert_that

TWO_OR_MORE = (2, 3, 4, 5, 7, 8, 16, 17, 33)
UNEVEN = (*WHOLE_NUMBERS, "normal", "wide")
MODERATE = (*UNEVEN, "ties", "peaked")


@requirement(
    "AR-1",
    text=sequence_log_prob_inputs(content=MODERATE, exponent=(0, -1, -2, -8)).beside(
        inputs.BATCH, inputs.BLOCKS, inputs.LONG, inputs.VOCABULARY, after=8
    ),
)
def test_the_result_is_the_sum_of_log_probabilities(backend, text):
    """log P = sum over t of log_softmax(logits_t)[token t + 1]; logits of hundreds are AR-7's affair."""
    assert_formula(backend.sequence_log_prob(text.logits, text.tokens))


@requirement("AR-2", text=sequence_log_prob_inputs(n=TWO_OR_MORE, vocab=TWO_OR_MORE, content=UNEVEN))
def test_a_row_rates_the_token_right_after_it(backend, text):
    """Where one row of the logits is flat, it does not matter which token comes next.

    The other rows are not flat: a token that is rated by one of those does matter.
    """
    t = text.seed % (text.tokens.shape[-1] - 1)
    flat, other = text.logits.copy(), text.tokens.copy()
    flat[..., t, :] = 0
    other[..., t + 1] = (other[..., t + 1] + 1) % text.logits.shape[-1]

    assert_same(backend.sequence_log_prob(flat, other), backend.sequence_log_prob(flat, text.tokens))


@requirement("AR-3", text=sequence_log_prob_inputs(vocab=TWO_OR_MORE, content=UNEVEN))
def test_the_first_token_and_the_last_row_have_no_influence(backend, text):
    """Nothing comes before the first token that could rate it, and nothing after the last one that could be rated."""
    logits, tokens = text.logits.copy(), text.tokens.copy()
    logits[..., -1, :] = -2 * logits[..., -1, ::-1]
    tokens[..., 0] = (tokens[..., 0] + 1) % logits.shape[-1]

    assert_same(backend.sequence_log_prob(logits, tokens), backend.sequence_log_prob(text.logits, text.tokens))


@requirement("AR-4", text=sequence_log_prob_inputs(n=TWO_OR_MORE[1:]).beside(inputs.BLOCKS, inputs.LONG, after=8))
def test_a_sequence_is_a_prefix_and_then_the_rest(backend, text):
    """log P(all | first) = log P(prefix | first) + log P(rest | prefix): the last token of the prefix begins the rest."""
    t = 1 + text.seed % (text.tokens.shape[-1] - 2)
    whole = backend.sequence_log_prob(text.logits, text.tokens)
    prefix = backend.sequence_log_prob(text.logits[..., : t + 1, :], text.tokens[..., : t + 1])
    rest = backend.sequence_log_prob(text.logits[..., t:, :], text.tokens[..., t:])

    radius = whole.radius + prefix.radius + rest.radius + 2.0**-50 * np.abs(whole.value)
    assert_close(whole.got, prefix.got + rest.got, radius)


@requirement("AR-5", text=sequence_log_prob_inputs(n=(2, 3, 4), vocab=(2, 3), lead=((2,), (3,), (1, 2)), content=("ramp",)))
def test_the_probabilities_of_all_continuations_sum_to_one(backend, text):
    """After each first token: of every sequence there is, its logits depending on the tokens so far, as a model's do."""
    *_, n, vocab = text.logits.shape
    tokens = np.indices((vocab,) * n).reshape(n, -1).T  # [vocab ** n, n]: those with the same first token stand together
    so_far = np.cumsum(tokens * vocab ** np.arange(n), axis=-1)  # a number for each prefix
    table = np.round(4 * text.normal(1, (n, vocab**n, vocab))) / 2  # exact in every dtype
    got, value, radius = each(backend, table[np.arange(n), so_far], tokens, text.leading)

    sums = np.exp(got).reshape(vocab, -1).sum(axis=-1)
    moved = (np.exp(value) * np.expm1(radius)).reshape(vocab, -1).sum(axis=-1)
    assert_close(sums, np.ones(vocab), moved + 2.0**-40, what="sum of probabilities after first token ")


@requirement("AR-6", text=sequence_log_prob_inputs(content=WHOLE_NUMBERS, exponent=(0,)))
def test_adding_a_constant_to_a_row_of_logits_changes_nothing(backend, text):
    """log_softmax(logits + c) = log_softmax(logits), with a c of its own for each row.

    Logits and c are whole numbers (or halves), so that their sum is exact in every dtype.
    """
    c = np.round(4 * text.normal(1, (*text.tokens.shape, 1))) + 16.0
    shifted = backend.sequence_log_prob(text.logits + c, text.tokens)

    assert_same(shifted, backend.sequence_log_prob(text.logits, text.tokens))


@requirement(
    "AR-7",
    text=sequence_log_prob_inputs(content=("far",), exponent=(0, 1, 2), n=TWO_OR_MORE, vocab=TWO_OR_MORE).beside(
        inputs.FAR, after=8
    ),
)
def test_large_logits_and_tiny_probabilities_keep_their_value(backend, text):
    """Logits of thousands give a finite result, and twice the logits give twice the result.

    One token is 512 above the next, so that the sum of exponentials is 1 to the last digit, and log P is linear.
    """
    logits = text.logits + 1024.0  # a multiple of 512 like the logits: the sum is exact in every dtype
    y = backend.sequence_log_prob(logits, text.tokens)
    twice = backend.sequence_log_prob(2 * logits, text.tokens)

    assert_finite(y)
    assert_close(twice.got, 2 * y.got, twice.radius + 2 * y.radius, what="result for twice the logits ", calls=(twice.case,))


@requirement("AR-8", text=sequence_log_prob_inputs(n=(2,), vocab=TWO_OR_MORE, content=UNEVEN))
def test_the_unit_is_the_nat(backend, text):
    """Of two next tokens, the one whose logit is greater by 1 has a log P that is greater by 1."""
    rows, token = text.logits.copy(), text.tokens[..., 1]
    rows[..., 1, :] = rows[..., 0, :]  # which of the rows rates the token is AR-2's affair
    other = np.stack([text.tokens[..., 0], (token + 1) % rows.shape[-1]], axis=-1)
    y = backend.sequence_log_prob(rows, text.tokens)
    y_other = backend.sequence_log_prob(rows, other)

    logits = np.take_along_axis(rows[..., 1, :], np.stack([token, other[..., 1]], axis=-1), axis=-1)
    radius = y.radius + y_other.radius
    assert_close(y_other.got - y.got, logits[..., 1] - logits[..., 0], radius, what="difference of results ")


@requirement("AR-9", text=sequence_log_prob_inputs(n=(1,)))
def test_a_single_token_gives_zero(backend, text):
    """With nothing to score the result is exactly 0: the first token is given, and certain."""
    y = backend.sequence_log_prob(text.logits, text.tokens)

    assert_close(y.got, np.zeros(y.got.shape), 0.0)


@requirement(
    "AR-10",
    text=sequence_log_prob_inputs(impossible=("some", "others"), n=(2, 3, 4, 5), vocab=(5, 8, 17, 33, 65, 128), content=UNEVEN),
)
def test_a_logit_of_minus_infinity_is_a_probability_of_zero(backend, text):
    """-inf gives what any logit gives that is so low that nothing is left of its exponential."""
    low = np.where(np.isneginf(text.logits), -(2.0**15), text.logits)

    assert_same(backend.sequence_log_prob(text.logits, text.tokens), backend.sequence_log_prob(low, text.tokens))


@requirement(
    "AR-11",
    text=sequence_log_prob_inputs(
        impossible=("last",),
        lead=((2,), (), (3,), (2, 3)),
        n=TWO_OR_MORE,
        vocab=TWO_OR_MORE,
        content=("ramp", "integers", "normal"),
    ),
)
def test_a_sequence_with_an_impossible_token_is_impossible(backend, text):
    """One logit of -inf at a token that is scored makes the sum -inf, and leaves the other sequences of the batch alone."""
    y = backend.sequence_log_prob(text.logits, text.tokens)

    impossible = np.isneginf(y.value)
    right = np.where(impossible, np.isneginf(y.got), np.isfinite(y.got))
    message = "result is {}; required: -inf for a sequence with a token of probability zero, and a finite number for any other"
    assert_that(bool(right.all()), "value", message.format(y.got.tolist()), got=y.got, required=y.value)


@requirement("AR-12", text=sequence_log_prob_inputs(vocab=TWO_OR_MORE))
def test_renaming_the_tokens_changes_nothing(backend, text):
    """No token has a special place: columns of the logits permuted, and tokens renamed alike, give the same."""
    order = text.permutation(text.logits.shape[-1])
    renamed = np.argsort(order)[text.tokens]
    y = backend.sequence_log_prob(text.logits, text.tokens)

    assert_same(backend.sequence_log_prob(text.logits[..., order], renamed), y)


def each(backend, logits, tokens, leading):
    """Return result, value and radius of each sequence: in one batch with that many leading axes, or alone if there are none."""
    if leading:
        lead = (len(tokens), *(1,) * (leading - 1))
        answers = [backend.sequence_log_prob(logits.reshape(*lead, *logits.shape[1:]), tokens.reshape(*lead, -1))]
    else:
        answers = [backend.sequence_log_prob(*one) for one in zip(logits, tokens, strict=True)]
    return [np.concatenate([np.ravel(getattr(y, part)) for y in answers]) for part in ("got", "value", "radius")]
