"""MLM · What mlm_corrupt and mlm_loss must do: one test a requirement.  Read with spec/toise_spec/masked_language_model.md."""

import itertools
import math
import random
import sys
from dataclasses import replace

import numpy as np

from toise.draws import (
    SEEDS,
    TOKENS,
    assert_actions_independent,
    assert_alike_in_groups,
    assert_ids_of_calls,
    assert_in_pool,
    assert_neighbours_independent,
    assert_nowhere,
    assert_pairs_between_rows,
    assert_pairs_in_rows,
    assert_places_independent,
    assert_random_tokens_differ,
    assert_rate,
    assert_results_differ,
    assert_rows_as_declared,
    assert_rows_of_seeds_independent,
    assert_rows_vary,
    assert_seeds_independent,
    assert_selected_alike,
    assert_share,
    assert_uniform,
    draws,
)
from toise.engine import requirement
from toise.inputs import WHOLE_NUMBERS, mlm_corrupt_draws, mlm_corrupt_inputs, mlm_loss_inputs
from toise.inputs import masked_language_model as inputs
from toise.inputs.magnitudes import power_of_two_within, storage_of, whole_numbers
from toise.verdict import (
    Irrelevant,
    NotApplicable,
    Violation,
    assert_close,
    assert_finite,
    assert_formula,
    assert_same,
    assert_that,
    note_checked,
)

MODERATE = ("literal", "ramp", "integers", "normal", "equal", "sure")
EXPONENTS = (0, 1, -1, -4)


@requirement("MLM-1", call=mlm_corrupt_inputs())
def test_both_results_have_the_shape_of_the_tokens(backend, call):
    """And `corrupted` is int64, and `selected` is bool."""
    backend.mlm_corrupt(call.tokens, **call.options)  # another shape or dtype is a violation in every test that reads a result

    note_checked(1)


@requirement("MLM-2", call=mlm_corrupt_inputs(lead=((2,), (3,), (2, 3), (1,), (5,))))
def test_no_tokens_give_no_tokens(backend, call):
    """No rows, or rows of no tokens."""
    for tokens in (call.tokens[:0], call.tokens[..., :0]):
        backend.mlm_corrupt(tokens, **call.options)

        note_checked(1)


@requirement("MLM-3", call=mlm_corrupt_inputs().beside(replace(inputs.ALL, rate=None)))
def test_a_token_that_is_not_selected_stays(backend, call):
    """Every replacement is recorded in `selected`."""
    drawn = draws(backend, call, calls=8)

    changed = (drawn.corrupted != drawn.tokens) & ~drawn.selected
    assert_nowhere(changed, drawn, "was changed, and is not selected")


@requirement(
    "MLM-4", call=mlm_corrupt_inputs(content=("literal", "any", "framed", "special"), specials=("low", "high", "spread"))
)
def test_a_special_token_is_never_selected(backend, call):
    """Wherever it stands, and whichever of the special ids it is; so it is never changed either.

    The same row backwards has its special tokens elsewhere: the places of an earlier call are no guide.
    """
    for tokens in (call.tokens, call.tokens[..., ::-1].copy()):
        drawn = draws(backend, call.replace(tokens=tokens), calls=8)

        assert_nowhere(drawn.selected & ~drawn.ordinary, drawn, "is special, and was selected")


@requirement("MLM-5", call=mlm_corrupt_draws(rate=(None,)))
def test_fifteen_of_a_hundred_tokens_are_selected(backend, call):
    """Each token that is not special is selected with probability 0.15, if no rate is given."""
    assert_rate(draws(backend, call))


@requirement(
    "MLM-6",
    call=mlm_corrupt_draws(rate=(0.0, 0.5, 1, 0.3, 0.05)).beside(
        replace(inputs.ROWS, rate=1.0), inputs.LONE, inputs.PAIRS, inputs.RARE
    ),
)
def test_an_explicit_rate_replaces_the_default(backend, call):
    """Also 0, at which nothing is selected, and 1, at which all is; with `fixed-count`, one of each row at 0."""
    assert_rate(draws(backend, call))


@requirement("MLM-7", call=mlm_corrupt_draws().beside(inputs.OFTEN))
def test_the_number_selected_in_a_row_is_as_declared(backend, call):
    """independent: it varies as a binomial number does.  fixed-count, rounded-count: it is exactly that.

    With independent draws it is judged given how many are selected in all, so that the rate has no part in it.
    """
    drawn = draws(backend, call)

    if drawn.selection == "independent":
        assert_rows_vary(drawn)
    else:
        assert_rows_as_declared(drawn)


@requirement("MLM-8", call=mlm_corrupt_draws().beside(inputs.ROWS, inputs.OFTEN))
def test_every_token_is_as_likely_to_be_selected_as_any_other(backend, call):
    """Wherever it stands, the first and the last place included, and whichever id it is; given the number of each row."""
    drawn = draws(backend, call)

    assert_selected_alike(drawn, drawn.places, drawn.tokens.shape[-1], "selected at position {0}")
    assert_selected_alike(drawn, drawn.part(drawn.tokens), drawn.parts, f"selected of {drawn.part_name}")


@requirement(
    "MLM-9",
    call=mlm_corrupt_draws(n=(4, 8, 17, 33, 64, 128), lead=((2,), (2, 3), (16,), (4, 16), (256,))).beside(
        inputs.ROWS, inputs.OFTEN
    ),
)
def test_what_is_selected_says_nothing_about_other_tokens(backend, call):
    """Two tokens of a row, or of two rows of a batch, are both selected as often as independent ones.

    Neighbours and distant ones; the same place of two rows, and a place beside it; given the number of each row.
    """
    drawn = draws(backend, call)

    assert_pairs_in_rows(drawn)
    assert_pairs_between_rows(drawn)


@requirement("MLM-10", call=mlm_corrupt_draws().beside(inputs.OFTEN, inputs.ALL))
def test_eighty_are_masked_ten_are_random_and_ten_stay(backend, call):
    """Of the selected tokens; a random token may be `mask_id`, or the token itself, and the shares take account of that.

    Tokens that were `mask_id` already tell nothing, and are left out.
    """
    drawn = draws(backend, call, tokens=2 * TOKENS)
    before, after = drawn.of_selected()
    masked, same = after == drawn.mask_id, after == before
    to_mask_id, to_itself = (drawn.mask_id in drawn.pool) / len(drawn.pool), 1 / len(drawn.pool)

    assert_share(masked, 0.8 + 0.1 * to_mask_id, "selected tokens that became mask_id")
    assert_share(same, 0.1 + 0.1 * to_itself, "selected tokens that stayed as they were")
    assert_share(~masked & ~same, 0.1 * (1 - to_mask_id - to_itself), "selected tokens that became another one")


@requirement("MLM-11", call=mlm_corrupt_draws().beside(inputs.OFTEN, inputs.ALL))
def test_random_tokens_are_uniform_over_the_pool(backend, call):
    """All ids of the vocabulary, the first and the last included, or all that are not special; each drawn on its own.

    What became another token than itself and than `mask_id` is uniform over the rest of the pool.
    """
    drawn = draws(backend, call, tokens=2 * TOKENS)
    before, after, at = drawn.of_random()
    rest = drawn.pool[drawn.pool != drawn.mask_id]

    assert_in_pool(after, drawn)
    if not len(after) or len(rest) < 2:
        raise Irrelevant
    assert_uniform(before, after, rest, drawn)
    assert_random_tokens_differ(before, after, at, rest, drawn)
    assert_ids_of_calls(before, after, at, rest, drawn)


@requirement("MLM-12", call=mlm_corrupt_draws().beside(inputs.OFTEN, inputs.ALL))
def test_what_becomes_of_a_token_depends_on_nothing(backend, call):
    """Neither on the token, nor on its place, nor on what becomes of its neighbours; given how many there are of each kind."""
    drawn = draws(backend, call)
    before, after = drawn.of_selected()
    place = np.nonzero(drawn.told)[-1]

    for found, what in ((after == drawn.mask_id, "became mask_id"), (after == before, "stayed")):
        assert_alike_in_groups(found, place, f"selected tokens at position {{0}} that {what}")
        assert_alike_in_groups(found, drawn.part(before), f"selected tokens with {drawn.part_name} that {what}")
        assert_neighbours_independent(found, f"neighbouring selected tokens that both {what}")
        assert_places_independent(found, drawn, what)


@requirement(
    "MLM-13", call=mlm_corrupt_inputs(seed=(*range(10), SEEDS - 1), content=("literal", "any", "words", "framed", "ramp"))
)
def test_the_same_arguments_give_the_same_result(backend, call):
    """Whatever was called in between, and however the tokens lie in memory; a seed of 0 is a seed too."""
    tokens = np.tile(call.tokens, 1 + 256 // call.tokens.size)  # a few tokens may well be drawn alike twice
    for seed in (call.seed, 0, SEEDS - 1):
        asked = call.replace(tokens=tokens, seed=seed)
        first = backend.mlm_corrupt(tokens, **asked.options)
        backend.mlm_corrupt(tokens[..., ::-1].copy(), **{**asked.options, "seed": SEEDS - 2})
        again = backend.mlm_corrupt(tokens, **asked.options)
        assert_same_corruption(again, first, "state", f"with seed {seed}, made again, the call")
    assert_layouts_alike(backend, asked, first)


@requirement(
    "MLM-14",
    call=mlm_corrupt_draws(content=("words", "any"), n=(64, 33, 128), lead=((64,), (128,), (8, 16))).beside(inputs.SEEDED),
)
def test_different_seeds_draw_independently(backend, call):
    """Two seeds give two results, and a token that one selects is selected by the other as often as any.

    Seeds beside each other, and seeds that differ in high bits or in low bits of large numbers; the same place, the place
    beside it, and the row below, as where each row counts its seed on.  Two results of 2000 tokens are equal by chance
    less than once in 10^200.
    """
    first = call.seed % 1000
    seeds = [first, first + 1, first + 2, first + 2**16, first + 2**24, first + 2**24 + 1, first + 2**30, SEEDS - 2, SEEDS - 1]
    drawn = draws(backend, call, seeds=seeds)

    for a, b in itertools.combinations(range(len(seeds)), 2):
        assert_results_differ(drawn, a, b)
        assert_seeds_independent(drawn, a, b)
        assert_rows_of_seeds_independent(drawn, a, b)
    assert_actions_independent(drawn)


@requirement("MLM-15", call=mlm_corrupt_inputs())
def test_the_tokens_are_left_as_they_were(backend, call):
    """The caller still needs them: they are the labels."""
    natives = backend.natives(call)
    before, failed = backend.arrays.bits(natives["tokens"]), None
    try:
        backend.corruption(call, natives)
    except Violation as violation:
        failed = violation

    same = backend.bits("tokens", natives["tokens"]) == before
    now = backend.arrays.numbers(natives["tokens"])
    assert_that(same, "mutated", "the call wrote into tokens", got=now, required=call.tokens)
    if failed:
        raise failed


@requirement("MLM-16", call=mlm_corrupt_inputs(content=("literal", "any", "words")))
def test_no_global_generator_is_touched(backend, call):
    """Python's, NumPy's legacy one and torch's default one are in the state that they were in."""
    before = {name: read() for name, (read, _) in generators(backend).items()}
    backend.mlm_corrupt(call.tokens, **call.options)

    for name, (read, restore) in generators(backend).items():
        same = name not in before or plain(read()) == plain(before[name])
        if not same:
            restore(before[name])
        assert_that(same, "state", f"the call changed the state of {name}")


@requirement("MLM-17", call=mlm_corrupt_inputs(content=("special", "words", "framed")))
def test_the_corrupted_tokens_have_memory_of_their_own(backend, call):
    """Where nothing was selected, returning the tokens themselves is tempting."""
    backend.require_mutable()
    natives = backend.natives(call)
    drawn = backend.corruption(call, natives)

    shared = backend.arrays.share_memory(drawn.natives[0], natives["tokens"])
    assert_that(not shared, "shared", "corrupted shares memory with tokens")


@requirement(
    "MLM-18",
    asked=mlm_loss_inputs(content=MODERATE, exponent=EXPONENTS).beside(
        inputs.SURE, inputs.LONG, inputs.ENTRIES, inputs.VOCABULARY, after=8
    ),
)
def test_the_loss_is_the_formula(backend, asked):
    """-mean over the selected positions of log_softmax(logits)[label]."""
    assert_formula(backend.mlm_loss(asked.logits, asked.labels, asked.selected))


@requirement(
    "MLM-19",
    asked=mlm_loss_inputs(content=MODERATE, exponent=EXPONENTS, selected=("some", "one", "uneven"), n=(2, 3, 4, 5, 8, 16, 33)),
)
def test_a_position_that_is_not_selected_has_no_influence(backend, asked):
    """Its logits, of any finite size, and its label can be anything."""
    unasked = ~asked.selected
    if not unasked.any():
        raise Irrelevant
    loss = backend.run(asked)

    assert_same(backend.run(with_other_labels(asked, unasked)), loss, what="with other labels elsewhere, the result ")
    largest = power_of_two_within(storage_of(backend.dtype).huge)
    for size in (2.0**8, -min(2.0**40, largest), min(2.0**100, largest)):
        loud = backend.run(with_noise(asked, unasked, size))
        assert_same(loud, loss, what=f"with logits of {abs(size):.0e} elsewhere, the result ")


@requirement(
    "MLM-20",
    asked=mlm_loss_inputs(
        content=MODERATE, exponent=EXPONENTS, selected=("uneven", "some", "all"), n=(2, 3, 4, 5, 8, 16, 33)
    ).beside(replace(inputs.ENTRIES, selected="uneven"), after=8),
)
def test_all_selected_positions_weigh_the_same(backend, asked):
    """The loss times the number of positions is the sum of that for any two parts: no row has a mean of its own.

    Rows with many selected positions and rows with one, split unevenly.
    """
    one, two = two_parts(asked.selected)
    if not two.any():
        raise Irrelevant
    whole = backend.run(asked)
    together, radius = put_together([(backend.run(asked.replace(selected=part)), part.sum()) for part in (one, two)])

    usable = np.isfinite(together)
    required = np.where(usable, together, whole.value)
    assert_close(whole.got, required, whole.radius + radius, what="loss, put together from two parts, ")


@requirement(
    "MLM-21",
    asked=mlm_loss_inputs(
        content=MODERATE,
        exponent=EXPONENTS,
        n=(2, 3, 4, 5, 8, 16, 33),
        labels=("any", "likely"),
        lead=((2,), (3,), (2, 3), (), (5,)),
    ),
)
def test_a_position_is_scored_by_its_own_label(backend, asked):
    """Positions, and entries of the batch, permuted with their labels and with what is selected, give the same loss."""
    at = [asked.permutation(size) for size in asked.labels.shape]
    permuted = {name: array[np.ix_(*at)] for name, array in asked.arrays.items()}

    assert_same(backend.run(asked.replace(**permuted)), backend.run(asked))


@requirement("MLM-22", asked=mlm_loss_inputs(content=MODERATE, exponent=EXPONENTS, vocab=(2, 3, 4, 5, 8, 17, 33, 65, 129, 1030)))
def test_no_token_of_the_vocabulary_has_a_special_place(backend, asked):
    """Logits permuted, and labels renamed alike, give the same loss; all labels may be the first token, or the last."""
    order = asked.permutation(asked.logits.shape[-1])
    renamed = asked.replace(logits=asked.logits[..., order], labels=np.argsort(order)[asked.labels])

    assert_same(backend.run(renamed), backend.run(asked))


@requirement("MLM-23", asked=mlm_loss_inputs(content=WHOLE_NUMBERS, exponent=(0,)))
def test_a_constant_added_to_the_logits_changes_nothing(backend, asked):
    """Each position has a constant of its own; logits and constants are whole numbers (or halves), so that the sums are exact."""
    large = min(2.0**16, whole_numbers(backend.dtype) / 4)
    loss = backend.run(asked)
    constants = np.round(4 * asked.normal(1, (*asked.labels.shape, 1)))
    for shift in (constants, large + constants, -large + constants):
        assert_same(backend.run(asked.replace(logits=asked.logits + shift)), loss)


@requirement("MLM-24", asked=mlm_loss_inputs(content=("equal",), exponent=(0, 3, -4), selected=("one",), lead=((), (1,))))
def test_equal_logits_give_the_logarithm_of_the_vocabulary(backend, asked):
    """In nats: every token has the probability 1 / vocab, whatever the label; one position is asked for."""
    loss = backend.run(asked)

    assert_close(loss.got, np.array(math.log(asked.logits.shape[-1])), loss.radius, what="loss for equal logits ")


@requirement("MLM-25", asked=mlm_loss_inputs())
def test_the_loss_is_never_negative(backend, asked):
    """A probability is at most 1, and its logarithm at most 0; what is no number at all is judged elsewhere."""
    loss = backend.run(asked)

    assert_close(loss.got, np.maximum(loss.got, 0), loss.radius)


@requirement("MLM-26", asked=mlm_loss_inputs(content=("large",), exponent=(0, 1, 4, 12), labels=("unlikely", "any", "likely")))
def test_logits_of_any_finite_size_are_handled(backend, asked):
    """The loss is finite for logits of thousands, and the formula, where it is the formula for logits 4096 times smaller.

    exp of the logit itself would overflow at 89 in float32, and the logarithm of a finished softmax would be -inf.
    """
    loss, small = backend.run(asked), backend.run(asked.replace(logits=backend.rounded(asked.logits / 4096)))
    assert_finite(loss)
    if np.abs(small.got - small.value) <= small.radius:
        assert_formula(loss)


@requirement("MLM-27", asked=mlm_loss_inputs(content=MODERATE, exponent=EXPONENTS, vocab=(2, 3, 4, 5, 8, 17, 33)))
def test_a_logit_of_minus_infinity_is_a_probability_of_zero(backend, asked):
    """At another token than the label it does what a logit does that is 1000 below; at the label the loss is infinite."""
    without, unlikely = (with_logit(asked, asked.selected, asked.labels + 1, low) for low in (-np.inf, -1024.0))
    assert_same(backend.run(without), backend.run(unlikely), what="loss with -inf at another token ")

    got = backend.run(with_logit(asked, the_last(asked.selected), asked.labels, -np.inf)).got
    message = f"loss with -inf at a label is {got:.9g}; required inf"
    assert_that(bool(np.isposinf(got)), "value", message, got=got, required=np.array(np.inf))


@requirement("MLM-28", asked=mlm_loss_inputs(selected=("none",)))
def test_with_nothing_selected_the_loss_is_what_is_declared(backend, asked):
    """nan, zero, or an exception; also where there are no positions at all."""
    choice = backend.declared("mlm_loss").choices["nothing_selected"]
    if choice == "unspecified":
        raise NotApplicable("nothing_selected is declared unspecified")
    for what, call in (("nothing selected", asked), ("no positions", without_positions(asked))):
        assert_declared_loss(backend, call, choice, what)


def assert_same_corruption(second, first, kind, what):
    """Require the same results to the last token."""
    same = np.array_equal(second.corrupted, first.corrupted) and np.array_equal(second.selected, first.selected)
    assert_that(same, kind, f"{what} gave another result", got=second.corrupted, required=first.corrupted)


def assert_layouts_alike(backend, call, first):
    """Require the result of `first` for the same tokens in other memory layouts."""
    for layout, native in backend.layouts(call, "tokens"):
        try:
            again = backend.corruption(call, {"tokens": native})
        except Violation as broken:
            raise Violation("layout", f"with tokens {layout}: {broken.message}") from None
        assert_same_corruption(again, first, "layout", f"with tokens {layout}, the call")


def generators(backend):
    """Return the global generators: how the state of each is read, and restored."""
    found = {
        "Python's random": (random.getstate, random.setstate),
        "numpy.random": (np.random.get_state, np.random.set_state),  # the legacy one is what is watched
    }
    torch, device = sys.modules.get("torch"), backend.arrays.device
    if torch is not None:
        found["torch's default generator"] = (torch.get_rng_state, torch.set_rng_state)
    if torch is not None and backend.arrays.name == "torch" and device != "cpu":
        own = torch.get_device_module(device)
        found[f"torch's generator of {device}"] = (
            lambda: own.get_rng_state(device),
            lambda state: own.set_rng_state(state, device),
        )
    return found


def plain(state):
    """Return a state as numbers in lists, which can be compared."""
    return [plain(part) for part in state] if isinstance(state, tuple) else getattr(state, "tolist", lambda: state)()


def without_positions(asked):
    """Return the same call with n = 0."""
    return asked.replace(logits=asked.logits[..., :0, :], labels=asked.labels[..., :0], selected=asked.selected[..., :0])


def with_other_labels(asked, where):
    """Return the same call with other labels at some positions."""
    return asked.replace(labels=np.where(where, asked.logits.shape[-1] - 1 - asked.labels, asked.labels))


def with_noise(asked, where, size):
    """Return the same call with logits of that size, of both signs, at some positions."""
    noise = size * np.where(np.arange(asked.logits.size) % 2, 1.0, -0.5).reshape(asked.logits.shape)
    return asked.replace(logits=np.where(where[..., None], noise, asked.logits))


def with_logit(asked, where, ids, value):
    """Return the same call with one logit of some positions changed: that of the id given for each, modulo the vocabulary."""
    vocab = asked.logits.shape[-1]
    there = where[..., None] & (np.arange(vocab) == (ids % vocab)[..., None])
    return asked.replace(logits=np.where(there, value, asked.logits))


def two_parts(selected):
    """Return every third selected position, and the others."""
    rank = np.cumsum(selected).reshape(selected.shape)
    return selected & (rank % 3 == 1), selected & (rank % 3 != 1)


def the_last(selected):
    """Return the last selected position alone."""
    return selected & (np.cumsum(selected).reshape(selected.shape) == selected.sum())


def put_together(parts):
    """Return the mean of (loss, number of positions), and its radius."""
    count = sum(positions for _, positions in parts)
    together = sum(part.got * positions for part, positions in parts) / count
    return together, sum(part.radius * positions for part, positions in parts) / count


def assert_declared_loss(backend, call, choice, what):
    """Hold the loss where nothing is selected to the declared choice."""
    if choice == "raises":
        assert_that(backend.rejects(call), "accepted", f"{what} was accepted; required, as declared: an exception")
        return
    got = backend.run(call).got
    right = bool(np.isnan(got)) if choice == "nan" else bool(got == 0)
    assert_that(right, "value", f"loss with {what} is {got:.9g}; required, as declared or by default: {choice}", got=got)
