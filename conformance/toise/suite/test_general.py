"""GEN · What every operation must do: one test for each numbered requirement.  Read with spec/toise_spec/general.md."""

import contextlib
from typing import Any

import numpy as np

from toise.engine import requirement
from toise.inputs import (
    USUAL,
    Attention,
    FeedForward,
    MlmLoss,
    MultiHeadAttention,
    Residual,
    SequenceLogProb,
    TokenRows,
    attention_inputs,
    autoregressive,
    causal_mask_inputs,
    feed_forward_inputs,
    mlm_loss_inputs,
    multi_head_attention_inputs,
    residual_inputs,
    sequence_log_prob_inputs,
    token_rows,
)
from toise.inputs.magnitudes import whole_numbers
from toise.operations import OPERATIONS
from toise.verdict import Irrelevant, NotApplicable, NotProvided, Violation, assert_finite, assert_same, assert_that, note_checked

# What the requirements on every operation are tried on.
ANY_INPUTS = {
    "attention": attention_inputs(),
    "multi_head_attention": multi_head_attention_inputs(),
    "feed_forward": feed_forward_inputs(),
    "layer_norm": token_rows(),
    "residual": residual_inputs(),
    "causal_mask": causal_mask_inputs(),
    "mlm_loss": mlm_loss_inputs(),
    "sequence_log_prob": sequence_log_prob_inputs(),
}
BATCHES = ((2,), (2, 3), (3,), (1, 2), (2, 1), (2, 2), (9,))
ENTRIES_OF_ROWS = ((2, 2), (2, 3), (3, 2), (1, 2), (2, 1, 3), (2, 2, 1), (9, 1))
NORMAL: dict[str, Any] = {"content": "normal", "seed": 16}
BATCHED = {
    "attention": attention_inputs(
        lead=(*BATCHES, (24,), (2, 1, 3)),
        n=(1, 2, 3, 5, 17, 33),
        m=(2, 3, 5, 17, 33),
        d_k=(1, 2, 3, 8, 64),
        d_v=(1, 2, 3, 8, 17),
    ).beside(Attention(lead=(24,), n=2, m=3, **NORMAL), after=6),
    "multi_head_attention": multi_head_attention_inputs(lead=(*BATCHES, (5,), (2, 1, 2), (17,))),
    "feed_forward": feed_forward_inputs(lead=ENTRIES_OF_ROWS).beside(FeedForward(lead=(130, 1), d_model=2, d_ff=3, **NORMAL)),
    "layer_norm": token_rows(lead=ENTRIES_OF_ROWS).beside(TokenRows(lead=(130, 2), d=3, **NORMAL)),
    "residual": residual_inputs(lead=ENTRIES_OF_ROWS).beside(Residual(lead=(130, 2), d=3, **NORMAL)),
    "sequence_log_prob": sequence_log_prob_inputs(lead=((2,), (17,), *BATCHES[1:])).beside(autoregressive.BATCH, after=8),
}
ZEROS: dict[str, Any] = {"literal": (0.0,)}
EXTREME = {
    "attention": attention_inputs(
        content=("large", "low", "normal", "ties"), exponent=(4, -30, 8, -60, 12), values=("normal", "offset")
    ).beside(Attention(lead=(2,), n=2, m=3, **ZEROS)),
    "multi_head_attention": multi_head_attention_inputs(
        content=("large", "normal", "ties"), exponent=(4, -30, 8, -60, 12), values=("normal", "offset")
    ).beside(MultiHeadAttention(lead=(2,), n=2, m=3, **ZEROS)),
    "feed_forward": feed_forward_inputs(content=("normal", "outlier", "cancel"), exponent=(30, -30, 12, -60, 60)).beside(
        FeedForward(lead=(2,), d_model=2, d_ff=3, **ZEROS)
    ),
    "layer_norm": token_rows(content=("normal", "constant", "outlier", "offset"), exponent=(30, -30, 2, -60, 12, 60)).beside(
        TokenRows(lead=(2,), d=3, **ZEROS)
    ),
    "residual": residual_inputs(content=("normal", "outlier", "integers"), exponent=(30, -30, 12, -60, 90)).beside(
        Residual(lead=(2,), d=3, **ZEROS)
    ),
    "mlm_loss": mlm_loss_inputs(content=("normal", "large", "sure"), exponent=(12, -30, 4, -60, 60)).beside(
        MlmLoss(n=2, vocab=3, **ZEROS)
    ),
    "sequence_log_prob": sequence_log_prob_inputs(
        content=("normal", "wide", "large", "far"), exponent=(12, -30, 4, -60, 60)
    ).beside(autoregressive.FAR, SequenceLogProb(n=2, vocab=3, **ZEROS), after=8),
}
# The same call is made a hundred times where the seed is this one: the fixed list of each operation has a small call of it.
OFTEN = 1
# Of calls that hold more numbers one array alone is changed a little: the arithmetic of float16 is slow.
LARGE = 5000
# causal_mask is given lengths alone: what is asked about the arrays that go in says nothing of it.
ARRAYS_IN = {operation: recipes for operation, recipes in ANY_INPUTS.items() if operation != "causal_mask"}
# With options in half of the examples, so that enough are left for a backend that has none.
MASKS = ("none", "none", "some", "tail")
# Two entries that are equal, so that one of them may be given with a step of zero.
EQUAL: dict[str, Any] = {"lead": (2,), "literal": (1.0, 2.0)}
MASKED = {
    "attention": attention_inputs(mask=MASKS).beside(Attention(n=2, m=2, **EQUAL)),
    "multi_head_attention": multi_head_attention_inputs(mask=MASKS, n=(1, 2, 3, 5), m=(2, 3, 5), h=(1, 2, 3)).beside(
        MultiHeadAttention(n=2, m=3, **EQUAL)
    ),
    "feed_forward": feed_forward_inputs().beside(FeedForward(d_model=2, d_ff=3, **EQUAL)),
    "layer_norm": token_rows().beside(TokenRows(d=2, **EQUAL)),
    "residual": residual_inputs().beside(Residual(d=2, **EQUAL)),
    "mlm_loss": mlm_loss_inputs().beside(MlmLoss(n=3, vocab=2, **EQUAL)),
    "sequence_log_prob": sequence_log_prob_inputs().beside(SequenceLogProb(n=3, vocab=2, **EQUAL)),
}
WITH_OPTIONS = {
    **ARRAYS_IN,
    "attention": attention_inputs(mask=MASKS, causal=(False, False, False, True)),
    "multi_head_attention": multi_head_attention_inputs(mask=MASKS, causal=(False, False, False, True)),
}
DEGENERATE = {
    "attention": attention_inputs(n=(1, 3), m=(1, 5, 17)),
    "multi_head_attention": multi_head_attention_inputs(n=(1, 3), m=(1, 5, 17), h=(1, 2)),
    "feed_forward": feed_forward_inputs(d_model=(1, 2, 6), d_ff=(1, 5)),
    "layer_norm": token_rows(d=(1, 6, 9)),
    "residual": residual_inputs(d=(1, 6, 9), output=("zero", "other")),
    "mlm_loss": mlm_loss_inputs(n=(1, 2, 5), vocab=(1, 2, 7)),
    "sequence_log_prob": sequence_log_prob_inputs(n=(1, 2, 5), vocab=(1, 2, 7)),
}
SMALL_SIZES = {
    "attention": attention_inputs(n=(2, 3, 5), m=(2, 3, 5, 7), d_k=(2, 3, 8), d_v=(2, 3, 8)),
    "multi_head_attention": multi_head_attention_inputs(
        n=(2, 3, 5), m=(2, 3, 5, 7), d_model=(2, 3, 5), h=(2, 3), d_k=(2, 3, 8), d_v=(2, 3, 8)
    ),
    "feed_forward": feed_forward_inputs(d_model=(2, 3, 5, 8), d_ff=(2, 3, 5, 8)),
    "layer_norm": token_rows(d=(2, 3, 5, 8)),
    "residual": residual_inputs(d=(2, 3, 5, 8)),
    "mlm_loss": mlm_loss_inputs(n=(2, 3, 5), vocab=(2, 3, 8)),
    "sequence_log_prob": sequence_log_prob_inputs(n=(3, 4, 5), vocab=(2, 3, 8)),
}


@requirement("GEN-1", call=ANY_INPUTS)
def test_the_shape_is_the_one_that_the_operation_defines(backend, call):
    """Any other shape is wrong, also one that broadcasting would accept."""
    backend.run(call)  # a wrong shape is a violation in every test that reads a result

    note_checked(1)


@requirement("GEN-2", call=ARRAYS_IN)
def test_the_dtype_is_that_of_the_inputs(backend, call):
    """float32 in gives float32 out, also where there are no numbers."""
    required = backend.result_dtype(call.operation)

    for got in (backend.run(call).dtype, *dtypes_of_nothing(backend, call)):
        assert_that(got == required, "dtype", f"dtype {got}; required {required}", got=got, required=required)


@requirement("GEN-3", call=EXTREME)
def test_finite_inputs_give_a_finite_result(backend, call):
    """Inputs of any size: the result is finite wherever no correct computation can overflow."""
    assert_finite(backend.run(call))


@requirement("GEN-4", call=WITH_OPTIONS)
def test_inputs_are_left_as_they_were(backend, call):
    """Every input, the mask too, holds the same bits after the call, also after one that fails."""
    natives = backend.natives(call)
    before = {name: backend.arrays.bits(native) for name, native in natives.items()}
    failed = None
    try:
        backend.invoke(call, natives)
    except Violation as violation:
        failed = violation

    for name, native in natives.items():
        same = backend.bits(name, native) == before[name]
        given = call.mask if name == "mask" else call.arrays[name]
        assert_that(same, "mutated", f"the call wrote into {name}", got=backend.arrays.numbers(native), required=given)
    if failed:
        raise failed


@requirement("GEN-5", call=ANY_INPUTS)
def test_earlier_calls_have_no_influence(backend, call):
    """A call gives the same before and after others, and with new contents in the very same memory.

    The calls are held to each other, not to the formula: a wrong formula is no memory of earlier calls.
    """
    first = backend.run(call)
    if call.seed % 4 == 0:
        call_other_sizes(backend, call)
    natives = backend.natives(call)
    latest = backend.read(call, backend.invoke(call, natives))
    assert_same(latest, first, kind="state", what="result, after another call, ")
    for _ in range(100 if call.seed == OFTEN else 0):
        backend.invoke(call, natives)

    # In the same memory and at once: what finds a kept result may look at less than every number of every array.
    for name, changed in changed_in_turn(backend, call):
        answer = with_new_contents(backend, changed, natives)
        assert_noticed(backend, answer, latest, name)
        latest = answer
    other = scrambled(call)
    reused = with_new_contents(backend, other, natives)
    fresh = backend.run(other)

    later = backend.arrays.numbers(first.native)
    kept = np.array_equal(later, first.got, equal_nan=True)
    message = "an earlier result changed when the operation was called again"
    assert_that(kept, "state", message, got=later, required=first.got)
    message = "other contents of the same shapes gave the result of the call before"
    stale = is_right(first) and is_apart(fresh, first) and np.array_equal(fresh.got, first.got)
    assert_that(not stale, "state", message, got=fresh.got, required=fresh.value)
    assert_same(reused, fresh, kind="state", what="result, for new contents in the same memory, ")
    assert_same(backend.run(call), first, kind="state", what="result, after other calls, ")


@requirement("GEN-6", call=MASKED)
def test_the_memory_layout_has_no_influence(backend, call):
    """Each input in turn is transposed, sliced, reversed, offset, expanded or read-only, and the values are the same."""
    plain, tried = backend.run(call), 0
    for name in backend.natives(call):
        for layout, native in backend.layouts(call, name):
            try:
                answer = backend.read(call, backend.invoke(call, {**backend.natives(call), name: native}))
            except Violation as broken:
                message = f"with {name} {layout}: {broken.message}"
                raise Violation("layout", message, got=broken.got, required=broken.required) from None
            assert_same(answer, plain, kind="layout", what=f"with {name} {layout}, the result ")
            tried += 1
    if not tried:
        raise NotApplicable("arrays of this kind have one layout")


@requirement("GEN-7", call=BATCHED)
def test_the_entries_of_a_batch_are_independent(backend, call):
    """The last entry of the first leading axis, and the first of the last one, give alone what they give among all the others."""
    batch = backend.run(call)

    last_axis = (slice(None),) * (call.leading - 1)
    for which, part in (("last", np.s_[-1:]), ("first", (*last_axis, np.s_[:1]))):
        assert_same(backend.run(of_entries(call, part)), batch, at=part, what=f"{which} entry, alone, ")


@requirement("GEN-8", call=BATCHED)
def test_a_size_of_zero_gives_an_empty_result(backend, call):
    """No entries in the batch, or no rows: the result is empty and has the shape that it should."""
    for what, empty in empty_calls(call):
        elements = backend.run(empty).got.size
        assert_that(elements == 0, "shape", f"with {what} of size 0, the result has {elements} elements")


@requirement("GEN-9", call=SMALL_SIZES)
def test_a_malformed_call_is_rejected(backend, call):
    """Arguments that do not fit together raise an exception, of whatever type."""
    backend.run(call)  # one that refuses everything rejects nothing

    tried = 0
    for what, malformed in malformed_calls(call):
        try:
            result = backend.invoke(malformed, backend.natives(malformed))
        except NotProvided:
            rejected = True
        except Violation as violation:
            rejected = violation.kind == "raised"
        else:
            rejected = False
            what = f"{what}, and returned shape {tuple(result.shape)}"
        assert_that(rejected, "accepted", f"accepted {what}")
        tried += 1
    if not tried:
        raise Irrelevant


@requirement("GEN-10", call=DEGENERATE)
def test_the_result_has_memory_of_its_own(backend, call):
    """Writing into the result leaves the inputs alone.

    With one key, or one feature, the result is an input or has its shape, and returning it is tempting.
    """
    backend.require_mutable()
    natives = backend.natives(call)
    result = backend.invoke(call, natives)

    for name, native in natives.items():
        assert_that(not backend.arrays.share_memory(result, native), "shared", f"the result shares memory with {name}")


@requirement("GEN-11", call=ANY_INPUTS)
def test_the_same_call_gives_the_same_bits(backend, call):
    """Twice the same arguments give the same result to the last bit."""
    first, second = backend.run(call), backend.run(call)

    same = backend.arrays.bits(first.native) == backend.arrays.bits(second.native)
    assert_that(same, "bits", "two calls with the same arguments differ", got=second.got, required=first.got)


def scrambled(call):
    """Return other contents of the same shapes: each array reversed along all axes, and every other float of it times -2.

    What cancelled before does not do so any more, and both factors are exact, for subnormal numbers too.
    """
    flipped = {name: np.flip(array) for name, array in call.arrays.items()}
    return call.replace(**{name: partly_doubled(array) if array.dtype == float else array for name, array in flipped.items()})


def partly_doubled(array):
    """Return an array with every other number times -2, the first among them."""
    return array * np.where(np.arange(array.size) % 2, 1.0, -2.0).reshape(array.shape)


def call_other_sizes(backend, call):
    """Call the operation with a usual size, larger than most of those that are judged; of lengths, exchanged ones too."""
    usual = backend.domain(call.operation).fit(USUAL[call.operation])
    exchanged = () if call.arrays else (call.replace(n=call.options.get("m", call.n), m=call.n),)
    for other in (backend.build(usual), *exchanged):
        with contextlib.suppress(NotProvided):
            backend.invoke(other, backend.natives(other))


def with_new_contents(backend, call, natives):
    """Put other contents into the memory of an earlier call, and call."""
    return backend.read(call, backend.invoke(call, backend.refilled(natives, call)))


def changed_in_turn(backend, call):
    """Yield calls in which one array after the other is changed a little, each on top of those before, and its name."""
    given = {**call.arrays, **({"mask": call.mask} if "mask" in call.options else {})}
    apart = [*{id(array): array for array in given.values()}.values()]
    large = sum(array.size for array in apart) > LARGE
    for at, array in enumerate(apart):
        if large and at != call.seed % len(apart):
            continue
        names = [name for name, other in given.items() if other is array]
        if names == ["mask"]:
            new = np.ones_like(array)  # so that no query is left without keys
        else:
            new = two_exchanged(array) if (call.seed + at) % 2 else one_changed(backend, call, array)
        if not np.array_equal(new, array):
            call = call.replace(**dict.fromkeys(names, new))
            yield names[0], call


def two_exchanged(array):
    """Return an array with two different numbers exchanged, one of them seldom at the edge of a row: their sum stays."""
    new = array.copy().reshape(-1)
    at = 5 * new.size // 8
    others = np.roll(np.arange(new.size), -at)[np.roll(new, -at) != new[at]]
    if others.size:
        new[[at, others[0]]] = new[[others[0], at]]
    return new.reshape(array.shape)


def one_changed(backend, call, array):
    """Return an array with another token in one place, one more or less selected, or one number changed in half of its digits."""
    new = array.copy().reshape(-1)
    at = 5 * new.size // 8
    if array.dtype == bool:
        new[at] = not new[at] or new.sum() == 1
    elif array.dtype != float:
        new[at] = (new[at] + 1) % call.logits.shape[-1]
    else:
        new[at] = new[at] * (1 + whole_numbers(backend.dtype) ** -0.5) or 1.0
        new = backend.arrays.rounded(new, backend.dtype)
    return new.reshape(array.shape)


def assert_noticed(backend, answer, before, name):
    """Require another result than that of the call before, where only one array differs and a right result does too.

    A formula that has no use for the array, or not for its last digits, is no memory.  It is wrong for contents never seen,
    and was right before only by chance: that array was a special one, all its numbers the same, or some of them, or others
    were, such as values that cancel.  So it has to be seen what was kept: all of the call, that array, or all weights; what
    is right for these beside new contents comes back.
    """
    if not (np.array_equal(answer.got, before.got) and is_apart(answer, before) and is_right(before)):
        return
    other = backend.run(scrambled(answer.case))
    remembered = is_right(other) and is_right(backend.run(scrambled(other.case)))  # once may be chance too
    arrays, weights = before.case.arrays, OPERATIONS[before.case.operation].shared
    array = arrays.get(name)
    if array is not None and (np.unique(array).size == array.size or (array.dtype != float and np.unique(array).size > 1)):
        alone = backend.run(answer.case.replace(**{name: other.case.arrays[name]}))
        besides = [other.case.replace(**{each: arrays[each] for each in kept}) for kept in ([name], weights) if name in kept]
        kept = np.array_equal(other.got, before.got) or any(is_right(backend.run(beside)) for beside in besides)
        remembered |= kept and is_apart(alone, before) and np.array_equal(alone.got, before.got)
    message = f"another {name} alone gave the result of the call before"
    assert_that(not remembered, "state", message, got=answer.got, required=answer.value)


def is_right(answer):
    """Tell whether a result is the formula's."""
    return bool((np.abs(answer.got - answer.value) <= answer.radius).all())


def is_apart(answer, other):
    """Tell whether no implementation can be right with one result for both."""
    return bool((np.abs(answer.value - other.value) > answer.radius + other.radius).any())


def of_entries(call, part):
    """Return the same call with that part of the first leading axis."""
    if not call.leading:
        raise NotApplicable("inputs without leading axes have no entries")
    arrays = {name: array[part] for name, array in call.arrays.items() if name not in OPERATIONS[call.operation].shared}
    return call.replace(**arrays)


def dtypes_of_nothing(backend, call):
    """Yield the dtype of the result where a size is zero; that such a call is served at all, GEN-8 requires."""
    for _, empty in empty_calls(call) if call.leading and call.operation in BATCHED else ():
        with contextlib.suppress(Violation, NotProvided):
            yield backend.run(empty).dtype


def empty_calls(call):
    """Yield calls with a size of zero, and what has it; a sequence of tokens has at least one."""
    yield "leading axis", of_entries(call, np.s_[:0])
    if call.operation != "sequence_log_prob":
        yield "rows", without_rows(call)


def without_rows(call):
    """Return the same call without any row (of queries, or of tokens)."""
    emptied = ("x", "sublayer") if call.operation == "residual" else (next(iter(call.arrays)),)
    return call.replace(**{name: call.arrays[name][..., :0, :] for name in emptied})


def malformed_calls(call):
    """Yield what is wrong with a call, and the call; no size of 1, which broadcasting might serve."""
    return MALFORMED[call.operation](call)


def malformed_attention(call):
    """Yield calls whose features, rows, mask or leading axes do not fit together."""
    n, m = call.q.shape[-2], call.k.shape[-2]
    yield f"k of {2 * call.q.shape[-1]} features for q of {call.q.shape[-1]}", call.replace(k=twice(call.k, -1))
    yield f"{2 * m} rows of v for {m} of k", call.replace(v=twice(call.v, -2))
    yield f"a mask of shape ({n}, {2 * m}) for {n} queries and {m} keys", call.replace(mask=np.ones((n, 2 * m), bool))
    if call.q.ndim > 2 and call.q.shape[0] > 1:
        yield "leading axes of k and v that differ from those of q", call.replace(k=twice(call.k, 0), v=twice(call.v, 0))


def malformed_multi_head_attention(call):
    """Yield calls whose tokens or mask do not fit together, as for attention, or whose weights do not."""
    yield from malformed_attention(call)
    h, _, d_k = call.w_k.shape
    yield f"w_q of {2 * h} heads for w_k of {h}", call.replace(w_q=twice(call.w_q, 0))
    yield f"w_k of {2 * d_k} columns for w_q of {d_k}", call.replace(w_k=twice(call.w_k, -1))
    yield f"w_o of {2 * len(call.w_o)} rows for heads of {len(call.w_o)}", call.replace(w_o=twice(call.w_o, 0))


def malformed_feed_forward(call):
    """Yield calls whose weights and biases have other lengths than d_model and d_ff."""
    d_model, d_ff = call.w1.shape
    yield f"w1 of {2 * d_model} rows for x of {d_model} features", call.replace(w1=twice(call.w1, 0))
    yield f"b1 of {2 * d_ff} numbers for {d_ff} hidden units", call.replace(b1=twice(call.b1, 0))
    yield f"w2 of {2 * d_ff} rows for {d_ff} hidden units", call.replace(w2=twice(call.w2, 0))
    yield f"b2 of {2 * d_model} numbers for {d_model} features", call.replace(b2=twice(call.b2, 0))


def malformed_layer_norm(call):
    """Yield calls whose parameters have other lengths than the rows."""
    d = call.x.shape[-1]
    yield f"gamma of {2 * d} features for x of {d}", call.replace(gamma=twice(call.gamma, -1))
    yield f"beta of {2 * d} features for x of {d}", call.replace(beta=twice(call.beta, -1))


def malformed_residual(call):
    """Yield calls whose sublayer gives another shape than that of x."""
    d = call.x.shape[-1]
    yield f"a sublayer that gives {2 * d} features for {d}", call.replace(sublayer=twice(call.sublayer, -1))
    if call.x.ndim > 1 and call.x.shape[-2] > 1:
        n = call.x.shape[-2]
        yield f"a sublayer that gives {2 * n} rows for {n}", call.replace(sublayer=twice(call.sublayer, -2))


def malformed_mlm_loss(call):
    """Yield calls whose labels, or whose selection, are not as many as the rows of logits."""
    n = call.labels.shape[-1]
    yield f"{2 * n} labels for {n} rows of logits", call.replace(labels=twice(call.labels, -1))
    yield f"a selection of {2 * n} for {n} rows of logits", call.replace(selected=twice(call.selected, -1))


def malformed_sequence_log_prob(call):
    """Yield calls whose tokens are not as many as the rows of logits, or whose leading axes differ."""
    n = call.tokens.shape[-1]
    yield f"{2 * n} tokens for {n} rows of logits", call.replace(tokens=twice(call.tokens, -1))
    if call.tokens.ndim > 1 and call.tokens.shape[0] > 1:
        yield "leading axes of tokens that differ from those of logits", call.replace(tokens=twice(call.tokens, 0))


MALFORMED = {
    "attention": malformed_attention,
    "multi_head_attention": malformed_multi_head_attention,
    "feed_forward": malformed_feed_forward,
    "layer_norm": malformed_layer_norm,
    "residual": malformed_residual,
    "mlm_loss": malformed_mlm_loss,
    "sequence_log_prob": malformed_sequence_log_prob,
}


def twice(array, axis):
    """Return an array of twice the length along one axis."""
    return np.concatenate([array, array], axis=axis)
