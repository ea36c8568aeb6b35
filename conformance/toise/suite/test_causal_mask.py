"""CAU · What causal_mask must do: one test for each numbered requirement.  Read with spec/toise_spec/causal_mask.md."""

import contextlib

import numpy as np

from toise.engine import requirement
from toise.inputs import Attention, CausalMask, attention_inputs, causal_mask_inputs, multi_head_attention_inputs
from toise.operations import allowed_keys
from toise.verdict import Violation, assert_same, assert_that, note_checked

SQUARE = (None,)
# So many of the fixed recipes are small, and come first.
SMALL = 11
TWO_OR_MORE = (2, 3, 4, 5, 7, 8, 16, 17, 33, 64, 100)
# More keys than a byte counts.
WIDE = (CausalMask(n=2, m=200), CausalMask(n=150, m=300), CausalMask(n=3, m=600))
# Past what one block of a kernel holds.  No longer: right code may build the square of the longer length, in float64.
MANY = 4100
# Past the whole numbers that int8, uint8 and bfloat16 have; with 2051 keys, those of float16.
LONG = (129, 258, 300, 257, 130, 513)
# What each operation with an option `causal` is tried on.
ORDERED = {
    "attention": attention_inputs(causal=(True,), values=("indicator", "normal", "ramp"), n=(2, 1, 3, 4, 5, 8, 17, 33)).beside(
        Attention(n=140, m=260, d_k=2, d_v=2, content="normal", values="indicator", seed=24, causal=True), after=SMALL
    ),
    "multi_head_attention": multi_head_attention_inputs(causal=(True,), n=(2, 1, 3, 4, 5, 8, 17)),
}


@requirement("CAU-1", lengths=causal_mask_inputs(m=SQUARE).beside(CausalMask(n=520), after=SMALL))
def test_a_query_sees_its_own_key_and_the_earlier_ones(backend, lengths):
    """mask[i, j] is True exactly where j <= i, with as many keys as queries."""
    mask = backend.causal_mask(lengths.n)

    assert_equal(mask.got, mask.value)


@requirement("CAU-2", lengths=causal_mask_inputs())
def test_the_mask_is_boolean(backend, lengths):
    """Numbers, be they 0 and 1 or 0 and -inf, are read in as many ways as there are readers."""
    got = backend.run(lengths).dtype

    assert_that(got == "bool", "dtype", f"dtype {got}; required bool", got=got, required="bool")


@requirement("CAU-3", lengths=causal_mask_inputs(m=SQUARE, n=(3, 4, 5, 8, 17, 64)))
def test_true_means_may_attend(backend, lengths):
    """The last query sees the first key, and the first query does not see the last.

    The corners of three tokens or more: a diagonal that is off by one does not reach them.
    """
    mask = backend.causal_mask(lengths.n)

    late, early = spoken(mask.got[-1, 0]), spoken(mask.got[0, -1])
    message = f"{late} for the last query and the first key, {early} for the first query and the last key"
    holds = (late, early) == ("True", "False")
    assert_that(holds, "value", f"{message}; required True and False", got=truth(mask.got), required=truth(mask.value))


@requirement("CAU-4", lengths=causal_mask_inputs(m=SQUARE))
def test_every_query_sees_its_own_key(backend, lengths):
    """The diagonal of the square mask is True from end to end."""
    diagonal = np.diagonal(backend.causal_mask(lengths.n).got)

    assert_equal(diagonal, np.ones(lengths.n), what="diagonal")


@requirement("CAU-5", lengths=causal_mask_inputs(m=SQUARE))
def test_as_many_keys_as_queries_unless_m_is_given(backend, lengths):
    """causal_mask(n) = causal_mask(n, m=n)."""
    given = backend.causal_mask(lengths.n, m=lengths.n)
    omitted = backend.causal_mask(lengths.n)

    assert_equal(omitted.got, given.got, what="without m, mask")


@requirement(
    "CAU-6", lengths=causal_mask_inputs("n < m", n=TWO_OR_MORE, m=TWO_OR_MORE).beside(*WIDE, CausalMask(n=2, m=MANY), after=SMALL)
)
def test_with_more_keys_the_last_query_stands_at_the_last_key(backend, lengths):
    """j <= i + (m - n), or j <= i where top-left is declared; one query alone is another requirement's affair."""
    mask = backend.causal_mask(lengths.n, m=lengths.m)

    assert_equal(mask.got, mask.value)


@requirement(
    "CAU-7",
    lengths=causal_mask_inputs(n=(1,), m=(2, 3, 4, 5, 8, 17, 33, 65, 100, 600)).beside(CausalMask(n=1, m=MANY), after=SMALL),
)
def test_a_single_query_sees_every_key(backend, lengths):
    """All m of them, or the first alone where top-left is declared."""
    mask = backend.causal_mask(1, m=lengths.m)

    assert_equal(mask.got, mask.value)


@requirement("CAU-8", lengths=causal_mask_inputs("n > m").beside(CausalMask(n=MANY, m=2), after=SMALL))
def test_with_more_queries_the_first_ones_see_nothing(backend, lengths):
    """j <= i + (m - n), where m - n is below zero, or j <= i where top-left is declared."""
    mask = backend.causal_mask(lengths.n, m=lengths.m)

    assert_equal(mask.got, mask.value)


@requirement("CAU-9", lengths=causal_mask_inputs(n=TWO_OR_MORE, m=(None, 100, 120)).beside(*WIDE, after=SMALL))
def test_each_row_allows_one_key_more(backend, lengths):
    """What was known stays known, and one token is added: the rows are held to each other, not to the formula."""
    seen = backend.run(lengths).got != 0

    many, kept = seen.sum(axis=1), (seen[1:] & seen[:-1]).sum(axis=1)
    wrong = np.flatnonzero((kept != many[:-1]) | (many[1:] != many[:-1] + 1))
    note_checked(lengths.n - 1)
    if len(wrong):
        above = wrong[0]
        message = f"row {above + 1} allows {many[above + 1]} keys, {kept[above]} of them among the {many[above]} of the row above"
        raise Violation("value", f"{message}; required those {many[above]} and one more")


@requirement(
    "CAU-10",
    lengths=causal_mask_inputs(n=(1, *TWO_OR_MORE), m=(3, 2, 1, 4, 5, 8, 16, 17, 33, 64, 100)).beside(*WIDE, after=SMALL),
)
def test_the_mask_is_a_corner_of_the_longer_square_one(backend, lengths):
    """A call for the last queries, or the last keys, gives what one call for the whole text gives.

    The bottom-right corner, or the top-left one where that is declared.
    """
    n, m = lengths.n, lengths.m
    whole = backend.causal_mask(max(n, m)).got
    part = backend.causal_mask(n, m=m).got

    top_left = backend.declared("causal_mask").choices["causal_alignment"] == "top-left"
    assert_equal(part, whole[:n, :m] if top_left else whole[-n:, -m:], what="as a corner of the longer mask, entry ")


@requirement("CAU-11", lengths=causal_mask_inputs(n=LONG, m=(None, None, None, 300, 2, None, 2051)))
def test_the_mask_knows_distances_alone_however_long_it_is(backend, lengths):
    """Each diagonal holds one truth value, past the whole numbers of int8, uint8, bfloat16 and float16 too."""
    got = backend.run(lengths).got

    differ = np.argwhere(got[1:, 1:] != got[:-1, :-1])
    note_checked(got.size)
    if len(differ):
        i, j = differ[0].tolist()
        before, after = spoken(got[i, j]), spoken(got[i + 1, j + 1])
        raise Violation("value", f"mask[{i + 1}, {j + 1}] is {after}, and mask[{i}, {j}] {before}; required the same")


@requirement("CAU-12", lengths=causal_mask_inputs(n=(2, 3, 1, 5, 8), m=(0,)))
def test_a_length_of_zero_gives_an_empty_mask(backend, lengths):
    """No queries, no keys, or neither: a result of another shape is a violation in every test that reads one."""
    backend.causal_mask(0)
    backend.causal_mask(0, m=lengths.n)
    backend.causal_mask(lengths.n, m=0)

    note_checked(3)


@requirement("CAU-13", lengths=causal_mask_inputs())
def test_writing_into_a_mask_changes_no_other(backend, lengths):
    """Of three masks of the same lengths, the second is written into; the first and the third are what they were before.

    What was written is taken back: a mask that all callers share would spoil the other requirements too.
    """
    backend.require_mutable()
    first, second = backend.run(lengths), backend.run(lengths)
    with contextlib.suppress(Exception):  # what cannot be written into may be shared
        backend.arrays.overwrite(second.native, second.got == 0)
    earlier = backend.arrays.numbers(first.native).astype(float)
    try:
        later = backend.run(lengths).got
    finally:
        with contextlib.suppress(Exception):
            backend.arrays.overwrite(second.native, second.got)

    assert_equal(earlier, first.got, what="after a caller wrote into another one, an earlier mask", kind="state")
    assert_equal(later, first.got, what="after a caller wrote into another one, a later mask", kind="state")


@requirement("CAU-14", call=ORDERED)
def test_causal_gives_what_the_mask_gives(backend, call):
    """causal=True and the mask of the causal order, in the declared alignment, give the same, each within its radius."""
    by_order = backend.run(call)
    mask = np.array(allowed_keys(call, backend.declared(call.operation)))
    by_mask = backend.run(call.replace(causal=None, mask=mask))

    assert_same(by_order, by_mask, what="with causal=True instead of the mask, the result ")


def assert_equal(got, required, *, what="mask", kind="value"):
    """Hold a mask, or a part of one, to what it must be; truth values have no radius."""
    note_checked(got.size)
    wrong = np.argwhere(got != required)
    if len(wrong):
        at = tuple(wrong[0].tolist())
        message = f"{what}{list(at)} is {spoken(got[at])}; required {spoken(required[at])}"
        raise Violation(kind, message, got=truth(got), required=truth(required), at=at)


def spoken(value):
    """Return a truth value as a word, and any other number as it is."""
    return {0.0: "False", 1.0: "True"}.get(float(value), f"{float(value):g}")


def truth(numbers):
    """Return zeros and ones as truth values, and other numbers as they are."""
    return numbers.astype(bool) if np.isin(numbers, (0, 1)).all() else numbers
