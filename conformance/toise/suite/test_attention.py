"""ATT · What attention must do: one test for each numbered requirement.  Read with spec/toise_spec/attention.md."""

import dataclasses

import numpy as np

from toise.engine import requirement
from toise.inputs import WHOLE_NUMBERS, Attention, attention_inputs
from toise.inputs.magnitudes import held_times, loud_sizes, power_of_two_within, room, whole_numbers
from toise.operations import allowed_keys
from toise.verdict import Irrelevant, NotApplicable, assert_close, assert_formula, assert_same, assert_that, note_checked

MODERATE = ("literal", "ramp", "integers", "normal", "ties", "peaked", "cancel", "padded")
MASKED = ("some", "tail", "head", "one")
FEW = attention_inputs(
    content=("normal", "ties"),
    exponent=(0, -2),
    values=("indicator",),
    m=(3, 17, 257, 64, 33, 256, 129, 65, 1030),
    n=(1, 2, 5),
    d_k=(3, 8, 64),
    d_v=(4, 8, 16, 64),
    given=("apart",),
)
# One call with thousands of keys, and one of a single query: enough to see each of them, and too many to explore.
LONG = Attention(lead=(1, 1), n=2, m=4097, d_k=8, d_v=16, content="normal", values="indicator", seed=13)
STEP = Attention(lead=(1, 2), n=1, m=2050, d_k=8, d_v=16, content="normal", values="indicator", seed=17)
# More of one kind than a block, a byte or a list of sizes holds: features, queries, heads and entries, tokens.
WIDE = Attention(n=2, m=3, d_k=520, d_v=519, content="normal", values="normal", seed=18)
ROWS = Attention(n=1030, m=3, d_k=2, d_v=2, content="normal", values="normal", seed=19)
HEADS = Attention(lead=(9, 72), n=2, m=3, d_k=2, d_v=1, content="normal", values="normal", seed=20)
TOKENS = Attention(n=270, m=300, d_k=3, d_v=4, content="normal", values="indicator", seed=21)
# One key that no query may attend to.
SINGLE = Attention(n=2, m=1, d_k=2, d_v=2, content="normal", values="normal", seed=24, mask="blank")
# Each score is near -6.5e6, or -1e8: lower than the numbers that stand in for minus infinity.
LOW = Attention(lead=(2,), n=4, m=5, d_k=2, d_v=2, content="low", exponent=4, values="normal", seed=22)
LOWER = dataclasses.replace(LOW, exponent=6, seed=23)
# So many of the fixed recipes are small, and come first.
SMALL = 11


def changed(recipes, **fields):
    """Return the recipes with other fields."""
    return [dataclasses.replace(recipe, **fields) for recipe in recipes]


@requirement("ATT-1", qkv=attention_inputs(content=(*MODERATE, "low")).beside(WIDE, ROWS, HEADS, TOKENS, after=SMALL))
def test_the_result_is_the_formula(backend, qkv):
    """softmax(q k^T / sqrt(d_k)) v, without a mask and with the default scale."""
    assert_formula(backend.attention(qkv.q, qkv.k, qkv.v))


@requirement("ATT-2", qkv=attention_inputs(mask=("none", *MASKED), values=("ramp", "normal", "offset")))
def test_the_weights_of_a_query_sum_to_one(backend, qkv):
    """Where all value rows are one row, that row is the result, whatever the weights."""
    row = qkv.v[..., :1, :]
    y = backend.attention(qkv.q, qkv.k, np.broadcast_to(row, qkv.v.shape), **qkv.options)

    assert_close(y.got, np.broadcast_to(row, y.got.shape), y.radius)


@requirement("ATT-3", qkv=attention_inputs(values=("normal", "offset", "ramp"), mask=("none", *MASKED)))
def test_the_result_lies_among_the_allowed_values(backend, qkv):
    """A mean with weights from 0 to 1 lies between the least and the greatest of what it averages."""
    y = backend.attention(qkv.q, qkv.k, qkv.v, **qkv.options)

    may = np.broadcast_to(qkv.options.get("mask", True), (*qkv.q.shape[:-1], qkv.k.shape[-2]))[..., None]
    values = qkv.v[..., None, :, :]
    lowest, highest = np.where(may, values, np.inf).min(axis=-2), np.where(may, values, -np.inf).max(axis=-2)
    assert_close(y.got, np.clip(np.where(np.isnan(y.got), lowest, y.got), lowest, highest), y.radius)


@requirement(
    "ATT-4",
    qkv=attention_inputs(mask=(*MASKED, "open", "entries")).beside(
        *changed((LOW, LOWER, TOKENS, HEADS, WIDE, ROWS), mask="some", shape="full"), after=SMALL
    ),
)
def test_a_query_attends_where_the_mask_is_true(backend, qkv):
    """The masked formula; scores as low as -1e8 are far below any number that stands in for minus infinity."""
    assert_formula(backend.attention(qkv.q, qkv.k, qkv.v, **qkv.options))


@requirement(
    "ATT-5",
    qkv=attention_inputs(
        mask=MASKED, scale=(None, None, 0.5), content=(*MODERATE, "low"), m=(2, 3, 4, 5, 7, 8, 16, 17, 33, 65, 129)
    ),
)
def test_a_masked_key_never_influences_the_result(backend, qkv):
    """Masked keys and values of any finite content leave the result as it was.

    The new keys score far above all others for queries of either sign, and their values are loud: a mask
    that adds -10000 or -1e9 to the scores, or multiplies the weights, lets them through.
    """
    unseen = hidden_keys(qkv)
    y = backend.attention(qkv.q, qkv.k, qkv.v, **qkv.options)
    for size in loud_sizes(backend, qkv.operation, np.abs(qkv.q).sum(axis=-1).max(initial=0.0)):
        loud = qkv.replace(k=np.where(unseen, loud_keys(qkv, size), qkv.k), v=np.where(unseen, 2.0**14, qkv.v))
        assert_same(backend.run(loud), y)


@requirement("ATT-6", qkv=attention_inputs(mask=("none", *MASKED), m=(3, 4, 5, 2, 8, 17, 33, 65, 129)))
def test_permuting_the_keys_changes_nothing(backend, qkv):
    """Keys have no order of their own: permuted with their values and mask columns, they give the same result."""
    order = qkv.permutation(qkv.k.shape[-2])
    y = backend.attention(qkv.q, qkv.k, qkv.v, **qkv.options)
    permuted = qkv.replace(k=qkv.k[..., order, :], v=qkv.v[..., order, :], mask=masked(qkv, np.s_[..., order]))

    assert_same(backend.run(permuted), y)


@requirement(
    "ATT-7",
    qkv=attention_inputs(mask=("none", *MASKED, "open"), n=(2, 3, 4, 5, 8, 17, 33, 65)).beside(ROWS, after=SMALL),
)
def test_each_query_has_its_own_result(backend, qkv):
    """Permuted queries give the result permuted alike, and a query alone gives what it gives among others.

    A softmax over the queries would pass the first and fail the second.
    """
    order = qkv.permutation(qkv.q.shape[-2])
    y = backend.attention(qkv.q, qkv.k, qkv.v, **qkv.options)
    permuted = backend.run(qkv.replace(q=qkv.q[..., order, :], mask=masked(qkv, np.s_[..., order, :])))
    assert_same(permuted, y, at=np.s_[..., order, :])

    alone = backend.run(qkv.replace(q=qkv.q[..., -1:, :], mask=masked(qkv, np.s_[..., -1:, :])))
    assert_same(alone, y, at=np.s_[..., -1:, :], what="last query, alone, ")


@requirement(
    "ATT-8",
    qkv=attention_inputs(content=(*MODERATE, "large"), d_k=(1, 2, 3, 4, 5, 8, 16), values=("ramp", "normal", "indicator")),
)
def test_the_default_scale_is_one_over_the_root_of_d_k(backend, qkv):
    """With q doubled, and q and k padded with zeros to 4 d_k features, the scores are what they were."""
    d_k = qkv.q.shape[-1]
    pad = [(0, 0)] * (qkv.q.ndim - 1) + [(0, 3 * d_k)]
    y = backend.attention(qkv.q, qkv.k, qkv.v)
    padded = backend.attention(np.pad(2 * qkv.q, pad), np.pad(qkv.k, pad), qkv.v)

    assert_same(padded, y)


@requirement(
    "ATT-9",
    qkv=attention_inputs(
        scale=(0.5, 0.0, 2.0, -1.0, 4.0), content=MODERATE, mask=("none", "some", "none"), causal=(False, False, True)
    ),
)
def test_an_explicit_scale_replaces_the_default(backend, qkv):
    """A scale of 0.5 c gives what c q gives with a scale of 0.5; c is a power of two, 0 or negative.

    The scale comes alone, with a mask, and with the causal order: another option must not switch it off.
    Alone, and times 0.3 no power of two, it gives the formula.
    """
    q = held_times(backend, qkv.scale, qkv.q) if qkv.scale else qkv.q
    folded = backend.run(qkv.replace(q=qkv.scale * q, scale=0.5))
    scaled = backend.run(qkv.replace(q=q, scale=0.5 * qkv.scale))

    assert_same(scaled, folded)
    assert_formula(backend.attention(qkv.q, qkv.k, qkv.v, scale=0.3 * qkv.scale))


@requirement(
    "ATT-10",
    qkv=attention_inputs(content=WHOLE_NUMBERS, exponent=(0, 1, 2), mask=("none", *MASKED), m=(2, 3, 4, 5, 8, 17, 33, 65)),
)
def test_a_constant_added_to_the_scores_changes_nothing(backend, qkv):
    """One vector added to every key adds one number to all scores of a query, and softmax takes it back.

    The keys are whole numbers (or halves) and so is the vector: k + c is exact in every dtype.
    """
    c = np.exp2(np.ceil(np.log2(np.maximum(1, np.abs(qkv.k).max()))))
    y = backend.attention(qkv.q, qkv.k, qkv.v, **qkv.options)
    largest = power_of_two_within(room(backend, qkv.operation, np.abs(qkv.q).sum(axis=-1).max(initial=0.0)))
    large = min(2.0**16, whole_numbers(backend.dtype) / 4, largest)
    for shift in (2 * c, large, -large):
        assert_same(backend.attention(qkv.q, qkv.k + shift, qkv.v, **qkv.options), y)


@requirement(
    "ATT-11", qkv=attention_inputs(content=("large", "low", "peaked"), exponent=(4, 0, 2, 8), values=("indicator", "normal"))
)
def test_scores_of_any_finite_size_are_handled(backend, qkv):
    """A score far above the others picks its value: exp of the score itself would overflow at 89 in float32."""
    assert_formula(backend.attention(qkv.q, qkv.k, qkv.v, **qkv.options))


@requirement("ATT-12", qkv=attention_inputs(mask=("none", *MASKED)))
def test_repeating_every_key_changes_nothing(backend, qkv):
    """Twice the keys with twice the values: each pair shares the weight of one, and the mean stays."""
    twice = {name: np.concatenate([array, array], axis=-2) for name, array in (("k", qkv.k), ("v", qkv.v))}
    mask = np.concatenate([qkv.mask, qkv.mask], axis=-1) if "mask" in qkv.options else None
    y = backend.attention(qkv.q, qkv.k, qkv.v, **qkv.options)

    assert_same(backend.run(qkv.replace(**twice, mask=mask)), y)


@requirement("ATT-13", qkv=FEW.beside(STEP, LONG))
def test_every_allowed_key_counts(backend, qkv):
    """Each column of v is the indicator of one key, so that the result is the weight of that key.

    The first and the last key are among them, and both sides of block edges, also of thousands of keys: a block that is
    dropped shows, and so does one key, which moves the mean of all values by less than their rounding.
    """
    assert_formula(backend.attention(qkv.q, qkv.k, qkv.v))


@requirement(
    "ATT-14",
    qkv=attention_inputs(causal=(True,), values=("indicator", "normal", "ramp"), n=(2, 1, 3, 4, 5, 8, 17, 33, 65)).beside(
        *changed((LOW, LOWER, TOKENS, HEADS), causal=True), after=SMALL
    ),
)
def test_causal_queries_see_the_keys_up_to_their_own_place(backend, qkv):
    """Query i of n sees keys j <= i + (m - n), or j <= i where top-left is declared; n and m differ both ways."""
    assert_formula(backend.attention(qkv.q, qkv.k, qkv.v, causal=True))


@requirement(
    "ATT-15",
    qkv=attention_inputs(causal=(True,), scale=(None, None, 0.5), n=(2, 3, 4, 5, 8, 17, 33, 65), content=(*MODERATE, "low")),
)
def test_the_future_never_influences_the_past(backend, qkv):
    """Other keys and values after the first half of the sequence leave the first half of the result as it was.

    n = m here, so that both alignments agree.  The later keys score far above all others, and are loud.
    """
    square = squared(qkv)
    half = square.q.shape[-2] // 2
    later = (np.arange(square.q.shape[-2]) >= half)[:, None]
    y = backend.run(square)
    for size in loud_sizes(backend, qkv.operation, np.abs(square.q).sum(axis=-1).max(initial=0.0)):
        changed = square.replace(k=np.where(later, loud_keys(square, size), square.k), v=np.where(later, 2.0**14, square.v))
        assert_close(backend.run(changed).got[..., :half, :], finite(y)[..., :half, :], 2 * y.radius[..., :half, :])


@requirement("ATT-16", qkv=attention_inputs(causal=(True,)))
def test_the_first_token_returns_its_own_value(backend, qkv):
    """With as many queries as keys, the first query sees the first key alone, in both alignments."""
    square = squared(qkv)
    y = backend.run(square)

    assert_close(y.got[..., :1, :], square.v[..., :1, :], y.radius[..., :1, :])


@requirement(
    "ATT-17",
    qkv=attention_inputs(
        causal=(True,),
        mask=("some", "tail", "open", "head"),
        scale=(None, None, 0.5),
        n=(2, 3, 4, 5, 8, 17),
        m=(2, 3, 4, 5, 8, 17, 33),
    ).beside(*changed((LOW, LOWER, TOKENS, WIDE), causal=True, mask="some"), after=SMALL),
)
def test_mask_and_causal_combine_by_and(backend, qkv):
    """A key is seen where the mask and the causal order both allow it: one mask that says so gives the same."""
    both = allowed_keys(qkv, backend.declared("attention"))
    combined = qkv.replace(mask=both, causal=None)

    assert_same(backend.run(qkv), backend.run(combined))


@requirement(
    "ATT-18",
    qkv=attention_inputs(
        mask=("empty", "none", "one", "none", "blank", "none"),
        causal=(False, True, True, True, False, True),
        n=(2, 4, 17, 8, 1, 130),
        m=(3, 2, 17, 5, 1, 129),
        values=("ramp", "normal", "offset"),
    ).beside(SINGLE, after=2),
)
def test_a_query_without_keys_gives_what_is_declared(backend, qkv):
    """zeros, nan, the mean of all values, or an exception.

    The mask leaves queries without keys, or all of an entry's, and so does the causal order where n > m, and so do both together.
    """
    choice = backend.declared("attention").choices["empty_row"]
    if choice == "unspecified":
        raise NotApplicable("empty_row is declared unspecified")
    empty = ~allowed_keys(qkv, backend.declared("attention")).any(axis=-1)
    if not empty.any():
        raise Irrelevant
    if choice == "raises":
        assert_that(backend.rejects(qkv), "accepted", "a query without any key was accepted; required, as declared: an exception")
        return
    y = backend.run(qkv)
    if not (is_right(y)[~empty].all() and options_hold(backend, qkv)):
        raise Irrelevant  # which keys are allowed is another requirement's affair

    got = y.got[empty]
    if choice == "nan":
        message = f"{describe(got)} for a query without keys; required, as declared: NaN"
        assert_that(bool(np.isnan(got).all()), "value", message, got=got)
    elif choice == "zeros":
        assert_that(
            bool((got == 0).all()),
            "value",
            f"{describe(got)} for a query without keys; required: zeros",
            got=got,
            required=np.zeros_like(got),
        )
    else:
        mean = backend.required(qkv.replace(mask=None, causal=None, q=np.zeros_like(qkv.q)))
        assert_close(got, mean.value[empty], mean.radius[empty], what="query without keys, the mean of all values, ")


@requirement(
    "ATT-19",
    qkv=attention_inputs(mask=("tail", "some"), content=("literal", "ramp", "normal"), m=(3, 4, 5, 2, 8, 17), exponent=(0,)),
)
def test_a_masked_nan_or_infinity_does_what_is_declared(backend, qkv):
    """isolated: the result is what it would be without it.  propagates: that, or not finite; never another number."""
    assert_strays_do_what_is_declared(backend, qkv)


@requirement(
    "ATT-20",
    qkv=attention_inputs(
        mask=MASKED,
        shape=("full",),
        lead=((2,), (2, 3), (3, 2), (2, 2), (3,)),
        n=(2, 3, 5, 17),
        m=(3, 4, 7, 33),
        d_k=(2, 3, 8),
        d_v=(2, 3, 5),
    ),
)
def test_a_mask_serves_every_entry_of_a_leading_axis(backend, qkv):
    """A mask with a leading axis of 1, or without one, gives what the same mask repeated gives.

    Each leading axis in turn is 1, as of a mask for each batch entry, or each head; then all; then some are missing.
    """
    if not qkv.leading:
        raise NotApplicable("inputs without leading axes have no entries")
    for served in served_masks(qkv.mask):
        repeated = np.broadcast_to(served, qkv.mask.shape).copy()
        y = backend.run(qkv.replace(mask=repeated))
        assert_same(backend.run(qkv.replace(mask=served)), y, what=f"result with a mask of shape {served.shape} ")


def assert_strays_do_what_is_declared(backend, qkv):
    """Put NaN and infinities where no query attends, and hold the result to the declared `masked_nonfinite`."""
    choice = backend.declared(qkv.operation).choices["masked_nonfinite"]
    unseen = hidden_keys(qkv)
    y = backend.run(qkv)
    if not np.isfinite(y.got[np.isfinite(y.radius)]).all():
        raise Irrelevant
    for stray in (np.nan, np.inf, -np.inf):
        for name in ("k", "v"):
            got = backend.run(qkv.replace(**{name: np.where(unseen, stray, qkv.arrays[name])})).got
            propagated = ~np.isfinite(got) & np.isfinite(y.radius) & (choice == "propagates")
            answered = int(propagated.sum())
            note_checked(answered, excused=-answered)  # what is not finite there is the answer
            radius = np.where(propagated, np.inf, 2 * y.radius)
            assert_close(got, y.got, radius, what=f"with a masked {stray} in {name}, the result ")


def is_right(answer):
    """Tell of each element whether it is within its radius."""
    return np.abs(answer.got - answer.value) <= answer.radius


def options_hold(backend, qkv):
    """Tell whether the mask and the causal order, each in a call of its own, leave the keys that they should."""
    n, m = qkv.q.shape[-2], qkv.k.shape[-2]
    holds = True
    if "mask" in qkv.options:
        first = np.broadcast_to(np.arange(m) == 0, (n, m)).copy()
        holds &= bool(is_right(backend.run(qkv.replace(mask=first, causal=None))).all())
    if "causal" in qkv.options:
        ordered = qkv.replace(mask=None)
        seen = allowed_keys(ordered, backend.declared("attention")).any(axis=-1)
        holds &= m > 1 and bool(is_right(backend.run(ordered))[..., seen, :].all())  # one key shows no order
    return holds


def masked(qkv, part):
    """Return that part of the mask, or None where there is no mask."""
    return np.ascontiguousarray(qkv.mask[part]) if "mask" in qkv.options else None


def finite(y):
    """Return what came back, or the required value where the element is excused or not finite."""
    return np.where(np.isfinite(y.radius) & np.isfinite(y.got), y.got, y.value)


def hidden_keys(qkv):
    """Return, as [..., m, 1], the keys that no query of their batch entry may attend to."""
    seen = np.asarray(np.broadcast_to(qkv.mask, (*qkv.q.shape[:-1], qkv.k.shape[-2])).any(axis=-2))
    if seen.all():
        raise Irrelevant
    return ~seen[..., None]


def loud_keys(qkv, size):
    """Return keys that score far above the others: along the sum of the queries, where it is not zero."""
    along = qkv.q.sum(axis=-2, keepdims=True)
    return size * np.broadcast_to(np.where(along < 0, -1.0, 1.0), qkv.k.shape)


def squared(qkv):
    """Return the same inputs with as many keys as queries: keys are left out, or repeated."""
    if qkv.q.shape[-2] == qkv.k.shape[-2]:
        return qkv  # where one array is q, k and v it stays so
    at = np.arange(qkv.q.shape[-2]) % qkv.k.shape[-2]
    return qkv.replace(k=qkv.k[..., at, :], v=qkv.v[..., at, :])


def served_masks(mask):
    """Yield parts of a mask that serve several entries: by an axis of length 1, or by a missing one."""
    for axis in range(mask.ndim - 2):
        yield mask.take([0], axis=axis)
    yield mask[(np.s_[:1],) * (mask.ndim - 2)]
    for missing in range(1, mask.ndim - 1):
        yield mask[(0,) * missing]


def describe(got):
    """Return the first number of a result, for a message."""
    return f"{got.flat[0]:.6g}" if got.size else "nothing"
