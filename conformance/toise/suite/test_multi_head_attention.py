"""MHA · Multi-head attention: one test for each numbered requirement.  Read with spec/toise_spec/multi_head_attention.md."""

import numpy as np

from toise.engine import requirement
from toise.inputs import multi_head_attention_inputs
from toise.inputs.magnitudes import held_times, loud_sizes, power_of_two_within, room
from toise.inputs.multi_head_attention import LARGE, LARGE_FEW, large
from toise.operations import allowed_keys
from toise.suite.test_attention import assert_strays_do_what_is_declared, describe, finite, hidden_keys, masked, squared
from toise.verdict import Irrelevant, NotApplicable, assert_close, assert_formula, assert_same, assert_that

MASKED = ("some", "tail", "one", "head")
SEVERAL_HEADS = (2, 3, 4, 5)
NARROW = (1, 2, 3, 4, 5)
HEADS = ("w_q", "w_k", "w_v")
# Values that are nowhere 0, so that what is wrong in another way still has room to round in.
NONZERO = ("normal", "offset")
# Masks that serve several entries of a leading axis, that open some entries to every key, or that fit another axis too.
SHAPED = (
    large(40, mask="some", shape="last"),
    large(41, mask="some", shape="first"),
    large(42, lead=(3,), mask="entries", shape="full"),
    large(43, lead=(2,), m=2, mask="open", shape="full"),
    large(44, lead=(3,), m=4, h=3, mask="some", shape="full"),
    large(45, lead=(3,), n=3, mask="some"),
)


def few_large(**options):
    """Return recipes with one size that is large, and with these options."""
    return tuple(large(50 + at, **{**sizes, **options}) for at, sizes in enumerate(LARGE_FEW))


@requirement("MHA-1", call=multi_head_attention_inputs().beside(*LARGE, after=12))
def test_the_result_is_the_formula(backend, call):
    """concat(head_0, ..., head_(h-1)) w_o, with head_i = attention(q w_q[i], k w_k[i], v w_v[i])."""
    assert_formula(backend.run(call))


@requirement("MHA-2", call=multi_head_attention_inputs(h=SEVERAL_HEADS))
def test_heads_are_concatenated_in_order(backend, call):
    """Where all tokens are one token x, head i is x w_v[i], and the result is those side by side, times w_o.

    A mean of equal rows is that row, so that neither the scores nor what is compared with what has a say here.
    """
    x = call.v[..., :1, :]
    alike = {name: np.broadcast_to(x, call.arrays[name].shape) for name in ("q", "k", "v")}

    assert_formula(backend.run(call.replace(**alike)))


@requirement("MHA-3", call=multi_head_attention_inputs(h=(3, 2, 5), n=(1,), d_k=NARROW, d_v=NARROW))
def test_each_head_has_projections_of_its_own(backend, call):
    """Let every head be a copy of head i: over all i, these results sum to h times the result.

    All rows of w_o are one row, so that the order of the features has no say, and the calls have the same sizes.
    """
    alike = call.replace(w_o=rows_alike(call, len(call.w_o)))
    h = len(call.w_q)
    y = backend.run(alike)
    copies = [
        backend.run(alike.replace(**{name: np.repeat(alike.arrays[name][i : i + 1], h, axis=0) for name in HEADS}))
        for i in range(h)
    ]

    total, radius = sum(finite(copy) for copy in copies), sum(copy.radius for copy in copies)
    assert_close(h * y.got, total, radius + h * y.radius, what=f"{h} times the result ")


@requirement("MHA-4", call=multi_head_attention_inputs())
def test_w_o_is_applied_once_and_last(backend, call):
    """The columns of w_o are those of the result: exchanged and doubled, they give it exchanged and doubled."""
    order = call.permutation(call.w_o.shape[-1])
    y = backend.run(call)
    moved = backend.run(call.replace(w_o=2 * call.w_o[:, order]))

    assert_close(moved.got, 2 * finite(y)[..., order], moved.radius + 2 * y.radius[..., order])


@requirement("MHA-5", call=multi_head_attention_inputs(h=(1,)))
def test_one_head_is_attention_on_projections(backend, call):
    """attention(q w_q[0], k w_k[0], v w_v[0]) w_o."""
    assert_formula(backend.run(call))


@requirement("MHA-6", call=multi_head_attention_inputs(h=SEVERAL_HEADS))
def test_permuting_the_heads_changes_nothing(backend, call):
    """Heads have no order but that of the rows of w_o: permuted with their rows, they give the same result."""
    order = call.permutation(len(call.w_q))
    y = backend.run(call)
    permuted = {name: call.arrays[name][order] for name in HEADS}

    assert_same(backend.run(call.replace(**permuted, w_o=by_head(call)[order].reshape(call.w_o.shape))), y)


@requirement("MHA-7", call=multi_head_attention_inputs(h=SEVERAL_HEADS))
def test_a_head_acts_through_its_own_rows_of_w_o_alone(backend, call):
    """Where these rows are zero, the head is gone: other projections for it, and loud ones, change nothing."""
    own = (np.arange(len(call.w_q)) == call.seed % len(call.w_q))[:, None, None]
    silent = call.replace(w_o=np.where(own, 0, by_head(call)).reshape(call.w_o.shape))
    y = backend.run(silent)
    scores = np.abs(call.k).max(initial=1.0) * reached_by_keys(call)
    largest = max(1.0, room(backend, call.operation, scores))
    size = min(32.0, power_of_two_within(largest**0.5))  # of queries and keys alike: the scores have its square
    loud = {name: np.where(own, -size * np.flip(silent.arrays[name]), silent.arrays[name]) for name in HEADS}

    assert_same(backend.run(silent.replace(**loud)), y)


@requirement(
    "MHA-8",
    call=multi_head_attention_inputs(
        content=("literal", "ramp", "integers", "normal", "peaked"),
        values=NONZERO,
        n=(1,),
        m=(2, 3, 4, 5, 7),
        h=(2, 1, 4),
        d_model=NARROW,
        d_k=(1, 2, 3, 4),
        d_v=(1, 2, 3, 4),
    ),
)
def test_the_scale_is_one_over_the_root_of_d_k(backend, call):
    """With all widths filled up to four times as much by zeros, and w_q doubled, the scores are what they were.

    So they are with four times the heads on tokens as wide, d_k kept: neither d_model nor h takes part.  All rows of
    w_o are one row, so that the order of the features has no say.
    """
    call = call.replace(w_o=held_times(backend, 1 / 4, call.w_o))
    h, d_model, d_k = call.w_q.shape
    d_v = call.w_v.shape[-1]
    tokens = {name: filled(call.arrays[name], 0, d_model) for name in ("q", "k", "v")}
    y = backend.run(call.replace(w_o=rows_alike(call, h * d_v)))

    wider = {"w_q": 2 * filled(call.w_q, d_model, d_k), "w_k": filled(call.w_k, d_model, d_k)}
    wider |= {"w_v": filled(call.w_v, d_model, d_v), "w_o": filled(rows_alike(call, 4 * h * d_v), 0, d_model)}
    assert_same(y, backend.run(call.replace(**tokens, **wider)), at=np.s_[..., :d_model], what="result, before it is widened, ")

    more = {name: np.tile(filled(call.arrays[name], d_model, 0), (4, 1, 1)) for name in HEADS}
    more |= {"w_o": filled(rows_alike(call, 4 * h * d_v) / 4, 0, d_model)}
    assert_same(y, backend.run(call.replace(**tokens, **more)), at=np.s_[..., :d_model], what="result, with fewer heads, ")


@requirement("MHA-9", call=multi_head_attention_inputs(widths=("free",), n=(1,)))
def test_the_widths_are_independent(backend, call):
    """Columns of zeros after those of each w_v[i] change nothing, with as many rows of w_o: d_v need not be d_k.

    All rows of w_o are one row, so that the order of the features has no say.
    """
    h, _, d_v = call.w_v.shape
    more = d_v + (2 if d_v + 1 == call.w_k.shape[-1] else 1)
    wider = np.pad(call.w_v, ((0, 0), (0, 0), (0, more - d_v)))
    y = backend.run(call.replace(w_o=rows_alike(call, h * d_v)))

    assert_same(backend.run(call.replace(w_v=wider, w_o=rows_alike(call, h * more))), y)


@requirement("MHA-10", call=multi_head_attention_inputs(weights=("ramp", "normal"), values=NONZERO, m=(2, 3, 4, 5, 7, 9, 17)))
def test_queries_keys_and_values_come_from_q_k_and_v(backend, call):
    """Equal rows of v: k and q have no say.  Equal rows of k: q has none.  Equal rows of q: each query gives the same."""
    same = {name: np.broadcast_to(array[..., :1, :], array.shape) for name, array in call.arrays.items() if name in "qkv"}
    for name, others in {"v": {"q": -2 * call.q, "k": -2 * call.k}, "k": {"q": -2 * call.q}}.items():
        y = backend.run(call.replace(**{name: same[name]}))
        changed = backend.run(call.replace(**{name: same[name]}, **others))
        assert_same(changed, y, what=f"with equal rows of {name}, for other {' and '.join(others)}, result ")

    y = backend.run(call.replace(q=same["q"]))
    first, radius = finite(y)[..., :1, :], y.radius + y.radius[..., :1, :]
    assert_close(y.got, np.broadcast_to(first, y.got.shape), radius, what="with equal rows of q, the result ")


@requirement("MHA-11", call=multi_head_attention_inputs(mask=("none", *MASKED), values=NONZERO, n=(2, 3, 4, 5, 8, 17)))
def test_each_query_has_its_own_result(backend, call):
    """Permuted queries give the result permuted alike, and a query alone gives what it gives among others."""
    order = call.permutation(call.q.shape[-2])
    y = backend.run(call)
    permuted = backend.run(call.replace(q=call.q[..., order, :], mask=masked(call, np.s_[..., order, :])))
    assert_same(permuted, y, at=np.s_[..., order, :])

    alone = backend.run(call.replace(q=call.q[..., -1:, :], mask=masked(call, np.s_[..., -1:, :])))
    assert_same(alone, y, at=np.s_[..., -1:, :], what="last query, alone, ")


@requirement("MHA-12", call=multi_head_attention_inputs(mask=("none", *MASKED), values=NONZERO, m=(3, 4, 5, 2, 8, 17, 33)))
def test_permuting_the_keys_changes_nothing(backend, call):
    """Keys have no order of their own: permuted with their values and mask columns, they give the same result."""
    order = call.permutation(call.k.shape[-2])
    y = backend.run(call)
    permuted = call.replace(k=call.k[..., order, :], v=call.v[..., order, :], mask=masked(call, np.s_[..., order]))

    assert_same(backend.run(permuted), y)


@requirement(
    "MHA-13",
    call=multi_head_attention_inputs(
        mask=("tail", "some", "open", "one", "head", "entries"),
        shape=("full", "plain", "ones", "last", "first"),
        values=NONZERO,
        h=SEVERAL_HEADS,
    ).beside(*SHAPED, *few_large(mask="some"), after=12),
)
def test_every_head_attends_where_the_mask_is_true(backend, call):
    """A query gives what it gives alone, with the keys that are hidden from it left out of the call."""
    assert_hidden_keys_are_absent(backend, call)


@requirement(
    "MHA-14",
    call=multi_head_attention_inputs(causal=(True,), values=NONZERO, n=(3, 2, 4, 5, 8, 17, 1, 33), h=SEVERAL_HEADS).beside(
        *few_large(causal=True), large(46, lead=(), n=130, m=130, h=1, causal=True), large(47, n=130, m=66, causal=True)
    ),
)
def test_every_head_is_causal(backend, call):
    """Query i of n sees keys j <= i + (m - n), or j <= i where top-left is declared; n and m differ both ways."""
    assert_hidden_keys_are_absent(backend, call)


@requirement(
    "MHA-15",
    call=multi_head_attention_inputs(
        causal=(True,), mask=("tail", "some", "open", "head"), values=NONZERO, n=(3, 2, 4, 1, 5, 8, 17), h=SEVERAL_HEADS
    ).beside(*few_large(mask="some", shape="full", causal=True)),
)
def test_mask_and_causal_combine_by_and(backend, call):
    """A key is seen where the mask and the causal order both allow it."""
    assert_hidden_keys_are_absent(backend, call)


@requirement("MHA-16", call=multi_head_attention_inputs(mask=MASKED, values=NONZERO, m=(2, 3, 4, 5, 7, 8, 17, 33)))
def test_a_masked_key_never_influences_the_result(backend, call):
    """Masked keys and values of any finite content leave the result as it was.

    The new keys score far above all others in the sum over the heads, and their values are loud.
    """
    unseen = hidden_keys(call)
    y = backend.run(call)
    v = loud_value(backend, call)
    for size in loud_sizes(backend, call.operation, reached_by_keys(call)):
        loud = call.replace(k=np.where(unseen, size * loud_direction(call), call.k), v=np.where(unseen, v, call.v))
        assert_same(backend.run(loud), y)


@requirement("MHA-17", call=multi_head_attention_inputs(causal=(True,), values=NONZERO, n=(2, 3, 4, 5, 8, 17)))
def test_the_future_never_influences_the_past(backend, call):
    """Other keys and values after the first half of the sequence leave the first half of the result as it was.

    n = m here, so that both alignments agree.  The later keys score far above all others, and are loud.
    """
    square = squared(call)
    half = square.q.shape[-2] // 2
    later = (np.arange(square.q.shape[-2]) >= half)[:, None]
    y = backend.run(square)
    v = loud_value(backend, square)
    for size in loud_sizes(backend, square.operation, reached_by_keys(square)):
        loud = size * loud_direction(square)
        changed = square.replace(k=np.where(later, loud, square.k), v=np.where(later, v, square.v))
        assert_close(backend.run(changed).got[..., :half, :], finite(y)[..., :half, :], 2 * y.radius[..., :half, :])


@requirement(
    "MHA-18",
    call=multi_head_attention_inputs(
        mask=("empty", "one", "none", "blank", "empty"),
        causal=(False, True, True, False, True),
        n=(2, 4, 1, 8, 17),
        m=(3, 1, 2, 5),
        values=("ramp", "normal", "offset"),
    ),
)
def test_a_query_without_keys_gives_what_is_declared(backend, call):
    """Each head gives zeros, nan or the mean of its values, and w_o is applied to that; or the call raises.

    The mask leaves queries without keys, or all of an entry's, and so does the causal order where n > m, and so do both together.
    """
    declared = backend.declared(call.operation)
    choice = declared.choices["empty_row"]
    if choice == "unspecified":
        raise NotApplicable("empty_row is declared unspecified")
    empty = ~allowed_keys(call, declared).any(axis=-1)
    if not empty.any():
        raise Irrelevant
    if choice == "raises":
        assert_that(
            backend.rejects(call), "accepted", "a query without any key was accepted; required, as declared: an exception"
        )
        return
    y = backend.run(call)
    if not (np.abs(y.got - y.value) <= y.radius)[~empty].all():
        raise Irrelevant  # which keys are allowed is another requirement's affair

    got = y.got[empty]
    if choice == "mean":
        mean = backend.required(call.replace(mask=None, causal=None, q=np.zeros_like(call.q)))
        assert_close(got, mean.value[empty], mean.radius[empty], what="query without keys, from the mean of all values, ")
        return
    holds = bool(np.isnan(got).all() if choice == "nan" else (got == 0).all())
    message = f"{describe(got)} for a query without keys; required, as declared or by default: {choice}"
    assert_that(holds, "value", message, got=got, required=np.zeros_like(got) if choice == "zeros" else None)


@requirement(
    "MHA-19",
    call=multi_head_attention_inputs(
        mask=("tail", "some"), content=("literal", "ramp", "normal"), m=(3, 4, 5, 2, 8, 17), exponent=(0,)
    ),
)
def test_a_masked_nan_or_infinity_does_what_is_declared(backend, call):
    """isolated: the result is what it would be without it.  propagates: that, or not finite; never another number."""
    assert_strays_do_what_is_declared(backend, call)


def by_head(call):
    """Return w_o as the rows of each head: [h, d_v, d_model]."""
    return call.w_o.reshape(*call.w_v.shape[::2], call.w_o.shape[-1])


def rows_alike(call, count):
    """Return, for w_o, its first row `count` times: the result is then the sum of all features of the heads, times it."""
    return np.tile(call.w_o[:1], (count, 1))


def filled(array, rows, columns):
    """Return the array with three times as many rows and columns of zeros after its own."""
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, 3 * rows), (0, 3 * columns)])


def loud_direction(call):
    """Return signs for the features of keys, so that these score high, over all heads, for the sum of the queries."""
    along = call.q.sum(axis=-2, keepdims=True) @ (call.w_q @ call.w_k.swapaxes(-1, -2)).sum(axis=0)
    return np.broadcast_to(np.where(along < 0, -1.0, 1.0), call.k.shape)


def reached_by_keys(call):
    """Return the largest projection and score, by magnitudes, that a key leads to whose features are 1."""
    keys = np.abs(call.w_k).sum(axis=-2)  # [h, d_k]
    queries = np.abs(call.q)[..., None, :, :] @ np.abs(call.w_q)  # [..., h, n, d_k]
    return max(keys.max(initial=0.0), (queries * keys[:, None, :]).sum(axis=-1).max(initial=0.0))


def loud_value(backend, call):
    """Return what hidden values hold: 2^14, or as much as their projections can take."""
    return min(2.0**14, loud_sizes(backend, call.operation, np.abs(call.w_v).sum(axis=-2).max(initial=0.0))[-1])


def assert_hidden_keys_are_absent(backend, call):
    """Hold a few queries to what each gives alone, in a call that has only the keys that it sees.

    The first query is that of the last entry, and so on in turn along the queries and the leading axes: what takes one
    of them for another shows, as it would not for the first query of the first entry, or the last of the last.
    """
    allowed = allowed_keys(call, backend.declared(call.operation))
    y, n, leading = backend.run(call), call.q.shape[-2], call.q.ndim - 2
    for place, query in enumerate(sorted({0, n // 2, n - 1})):
        entry = tuple(slice(None, 1) if (place + axis) % 2 else slice(-1, None) for axis in range(leading))
        sees = allowed[entry][(0,) * leading][query]
        if sees.any():
            own = {name: call.arrays[name][entry][..., sees, :] for name in ("k", "v")}
            row = (*entry, slice(query, query + 1))
            alone = backend.run(call.replace(q=call.q[row], **own, mask=None, causal=None))
            assert_same(alone, y, at=row, what=f"query {query}, alone with the keys that it sees, ")
