"""GEN · What every operation must do: one test for each numbered requirement.  Read with spec/toise_spec/general.md."""

import numpy as np

from toise.engine import requirement
from toise.inputs import ANY_INPUTS, attention_inputs, token_rows
from toise.operations import OPERATIONS
from toise.verdict import Irrelevant, NotApplicable, NotProvided, Violation, assert_finite, assert_same, assert_that, note_checked

BATCHES = ((2,), (2, 3), (3,), (1, 2), (2, 1))
BATCHED = {
    "attention": attention_inputs(lead=BATCHES),
    "layer_norm": token_rows(lead=((2, 2), (2, 3), (3, 2), (1, 2), (2, 1, 3))),
}
EXTREME = {
    "attention": attention_inputs(
        content=("large", "low", "normal", "ties"), exponent=(4, -30, 8, -60, 12), values=("normal", "offset")
    ),
    "layer_norm": token_rows(content=("normal", "constant", "outlier", "offset"), exponent=(30, -30, 12, -60, 60)),
}
# With options in half of the examples, so that enough are left for a backend that has none.
MASKS = ("none", "none", "some", "tail")
MASKED = {**ANY_INPUTS, "attention": attention_inputs(mask=MASKS)}
WITH_OPTIONS = {**ANY_INPUTS, "attention": attention_inputs(mask=MASKS, causal=(False, False, False, True))}
DEGENERATE = {"attention": attention_inputs(n=(1, 3), m=(1, 5, 17)), "layer_norm": token_rows(d=(1, 6, 9))}
SMALL = {
    "attention": attention_inputs(n=(2, 3, 5), m=(2, 3, 5, 7), d_k=(2, 3, 8), d_v=(2, 3, 8)),
    "layer_norm": token_rows(d=(2, 3, 5, 8)),
}


@requirement("GEN-1", call=ANY_INPUTS)
def test_the_shape_is_the_one_that_the_operation_defines(backend, call):
    """Any other shape is wrong, also one that broadcasting would accept."""
    backend.run(call)  # a wrong shape is a violation in every test that reads a result

    note_checked(1)


@requirement("GEN-2", call=ANY_INPUTS)
def test_the_dtype_is_that_of_the_inputs(backend, call):
    """float32 in gives float32 out."""
    got, required = backend.run(call).dtype, backend.result_dtype(call.operation)

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
        same = backend.arrays.bits(native) == before[name]
        assert_that(same, "mutated", f"the call wrote into {name}", got=backend.arrays.numbers(native))
    if failed:
        raise failed


@requirement("GEN-5", call=ANY_INPUTS)
def test_earlier_calls_have_no_influence(backend, call):
    """A call gives the same before and after another one, and with new contents in the very same memory.

    The calls are held to each other, not to the formula: a wrong formula is no memory of earlier calls.
    """
    other = scrambled(call)
    natives = backend.natives(call)
    first = backend.read(call, backend.invoke(call, natives))
    between = backend.run(other)
    later = backend.arrays.numbers(first.native)
    kept = np.array_equal(later, first.got, equal_nan=True)
    message = "an earlier result changed when the operation was called again"
    assert_that(kept, "state", message, got=later, required=first.got)
    assert_same(backend.run(call), first, kind="state", what="result, after another call, ")

    right = bool((np.abs(first.got - first.value) <= first.radius).all())
    apart = bool((np.abs(between.value - first.value) > between.radius + first.radius).any())
    stale = right and apart and np.array_equal(between.got, first.got)
    message = "other contents of the same shapes gave the result of the call before"
    assert_that(not stale, "state", message, got=between.got, required=between.value)

    for name, native in natives.items():
        backend.arrays.overwrite(native, other.arrays[name])
    reused = backend.read(other, backend.invoke(other, natives))
    assert_same(reused, between, kind="state", what="result, for new contents in the same memory, ")


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
    """The last entry of the first leading axis gives alone what it gives after all the others."""
    batch = backend.run(call)
    last = backend.run(of_entries(call, np.s_[-1:]))

    assert_same(last, batch, at=np.s_[-1:], what="last entry, alone, ")


@requirement("GEN-8", call=BATCHED)
def test_a_size_of_zero_gives_an_empty_result(backend, call):
    """No entries in the batch, or no rows: the result is empty and has the shape that it should."""
    for what, empty in (("leading axis", of_entries(call, np.s_[:0])), ("rows", without_rows(call))):
        elements = backend.run(empty).got.size
        assert_that(elements == 0, "shape", f"with {what} of size 0, the result has {elements} elements")


@requirement("GEN-9", call=SMALL)
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
    """Return other contents of the same shapes: each array reversed along all axes, and times -2 where it holds floats."""
    flipped = {name: np.flip(array) for name, array in call.arrays.items()}
    return call.replace(**{name: -2.0 * array if array.dtype == float else array for name, array in flipped.items()})


def of_entries(call, part):
    """Return the same call with that part of the first leading axis."""
    if not call.leading:
        raise NotApplicable("inputs without leading axes have no entries")
    arrays = {name: array[part] for name, array in call.arrays.items() if name not in OPERATIONS[call.operation].shared}
    return call.replace(**arrays)


def without_rows(call):
    """Return the same call without any row (of queries, or of tokens)."""
    first = next(iter(call.arrays))
    return call.replace(**{first: call.arrays[first][..., :0, :]})


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


def malformed_layer_norm(call):
    """Yield calls whose parameters have other lengths than the rows."""
    d = call.x.shape[-1]
    yield f"gamma of {2 * d} features for x of {d}", call.replace(gamma=twice(call.gamma, -1))
    yield f"beta of {2 * d} features for x of {d}", call.replace(beta=twice(call.beta, -1))


MALFORMED = {"attention": malformed_attention, "layer_norm": malformed_layer_norm}


def twice(array, axis):
    """Return an array of twice the length along one axis."""
    return np.concatenate([array, array], axis=axis)
