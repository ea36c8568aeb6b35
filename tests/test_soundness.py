"""No correct implementation leaves its radius, in any precision class: a slice of the campaign in `benchmarks/soundness`.

The whole of it is `nox -s soundness`.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from soundness.campaign import CONCEPTS, ORGANISATIONS, TRAITS, Tally, check
from soundness.cases import any_bits, built, cases, suite_recipes
from soundness.climb import climb
from soundness.machine import MACHINES, Machine, Organisation, flushing
from soundness.tightness import LIMITS, tightness
from toise.bounds import PRECISIONS
from toise.declarations import TRAITS as DECLARABLE

EVERY = [(operation, machine) for operation in CONCEPTS for machine in MACHINES]
LARGE = 1000  # elements of a recipe that is tried in one class, in turn
STEP = {"attention": 18, "multi_head_attention": 18}  # one organisation in so many is tried on a recipe, in turn


def organisations(operation, machine):
    """Return those that a backend with this arithmetic may have, those that declare a trait too."""
    every = {**ORGANISATIONS[operation], **TRAITS[operation]}
    return {name: organisation for name, organisation in every.items() if organisation.on(machine) and not organisation.slow}


def some(every, turn, step):
    """Return each `step`-th of them, one at least, and others in the next turn."""
    step = min(step, len(every))
    return dict(list(every.items())[turn % step :: step])


def assert_sound(tally, every):
    """Require that none of them left its radius, that all of them took part, and that not everything was excused."""
    assert {name: worst for name, worst in tally.every.items() if worst[0] > 1} == {}
    assert tally.implementations == set(every)
    assert tally.excused < 0.8 * tally.elements


@pytest.mark.parametrize(("operation", "machine"), EVERY, ids=str)
def test_no_correct_organisation_leaves_its_radius_on_the_suites_recipes(operation, machine):
    """Every fixed recipe, each in every class unless it is large, and each with some of the organisations in turn."""
    every, tally, at = organisations(operation, machine), Tally(), MACHINES.index(machine)
    for turn, recipe in enumerate(suite_recipes(operation)):
        if recipe.elements() <= LARGE or turn % len(MACHINES) == at:
            check(built(recipe, machine.dtype), str(recipe), machine, some(every, turn + at, STEP.get(operation, 10)), tally)

    assert_sound(tally, every)


@pytest.mark.parametrize(("operation", "machine"), EVERY, ids=str)
def test_no_correct_organisation_leaves_its_radius_on_other_inputs(operation, machine):
    """Recipes drawn far more widely, the long ones too, and any bits."""
    every, tally = organisations(operation, machine), Tally()
    for turn, (words, case) in enumerate(itertools.islice(cases(operation, machine.dtype, seed=1), 30)):
        if turn % 3:  # the others are recipes of the suite
            check(case, words, machine, some(every, turn, 4), tally)

    assert_sound(tally, every)


@pytest.mark.parametrize("operation", CONCEPTS)
def test_no_correct_organisation_leaves_its_radius_where_subnormal_numbers_are_flushed(operation):
    """The processor flushes every subnormal operand and result, products and weights among them."""
    machine, tally = Machine("float32", "STRICT"), Tally()
    every = organisations(operation, machine)
    with flushing() as able:
        if not able:
            pytest.skip("this processor has no such mode")
    fixed = [recipe for recipe in suite_recipes(operation) if recipe.elements() <= LARGE][:12]
    for turn, (recipe, exponent) in enumerate(itertools.product(fixed, (-62, -64, -125))):
        case = built(dataclasses.replace(recipe, exponent=exponent), machine.dtype)
        check(case, f"{recipe} times 2^{exponent}", machine, some(every, turn, 5), tally, flushed=True)

    assert_sound(tally, every)


@pytest.mark.parametrize("operation", CONCEPTS)
def test_a_search_finds_no_way_out(operation):
    """Not in a moment; `nox -s soundness` searches for longer."""
    for machine in MACHINES:
        found = climb(operation, machine, 0, ascents=1)

        assert found["worst"] <= 1, found
        assert found["evaluations"] > 0


@pytest.mark.parametrize("operation", ["attention", "layer_norm"])
def test_a_search_finds_more_than_chance_does(operation):
    """The ratio rises from the problems that were drawn to the worst."""
    found = climb(operation, Machine("float32", "STRICT"), 0, ascents=6)

    assert 0 < 1.2 * found["drawn"] < found["worst"] <= 1


@pytest.mark.parametrize(("operation", "machine"), EVERY, ids=str)
def test_there_are_several_organisations_of_every_operation_in_every_class(operation, machine):
    """Eight of attention, four at least of all others."""
    here = [name for name, organisation in ORGANISATIONS[operation].items() if organisation.on(machine)]

    assert len(here) >= (8 if operation == "attention" else 4)


def test_every_trait_that_can_be_declared_has_an_organisation():
    """And none declares what it cannot."""
    for operation, traits in DECLARABLE.items():
        declared = {trait for organisation in TRAITS[operation].values() for trait in organisation.traits}

        assert declared == set(traits), operation


def test_a_wrong_result_is_an_alarm():
    """A number that is off by a hundredth, NaN, and infinity, wherever the radius is finite."""
    machine, tally = Machine("bfloat16", "FUSED"), Tally()
    right = ORGANISATIONS["layer_norm"]["divided by the root"]
    wrong = {
        "right": right,
        "off": Organisation(lambda m, case: right.run(m, case) * 1.01 + 0.01),
        "NaN": Organisation(lambda m, case: right.run(m, case) * np.nan),
        "infinite": Organisation(lambda m, case: right.run(m, case) + np.inf),
    }
    words, case = next(cases("layer_norm", "bfloat16", seed=0))
    check(case, words, machine, wrong, tally)

    assert {name for name, (worst, _) in tally.every.items() if worst > 1} == {"off", "NaN", "infinite"}
    assert tally.alarms == 3


@pytest.mark.parametrize(("name", "machine"), LIMITS, ids=str)
def test_the_radius_is_no_wider_than_it_may_be(name, machine):
    """Where something would be missed if it were: in units of the worst error that correct organisations make."""
    assert 1 <= tightness(name, Machine(*machine.split())) <= LIMITS[name, machine]


def test_machines_round_as_their_class_says():
    """To the dtype and nothing else, between kernels, in weights, in operands: a third is 1/3 in each way."""
    third = np.array([1 / 3])
    names = ("stored", "weights", "operand")
    rounding = {str(m): [getattr(m, name)(m.loaded(third))[0] != m.loaded(third)[0] for name in names] for m in MACHINES}

    assert rounding == {
        "float64 STRICT": [False, False, False],
        "float32 STRICT": [False, False, False],
        "float32 TF32": [False, False, True],
        "float16 FUSED": [False, True, False],
        "float16 EAGER": [True, True, False],
        "float16 STEPWISE": [False, False, False],
        "bfloat16 FUSED": [False, True, False],
        "bfloat16 EAGER": [True, True, False],
        "bfloat16 STEPWISE": [False, False, False],
    }
    assert {str(m) for m in MACHINES} == {f"{dtype} {kind}" for dtype, kinds in PRECISIONS.items() for kind in kinds}


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_any_bits_are_finite_numbers_of_the_dtype(dtype):
    """Subnormal ones among them, and, where a reach is asked for, none beyond it."""
    rng = np.random.default_rng(0)
    numbers, near = any_bits(rng, (4000,), dtype, 0), any_bits(rng, (4000,), dtype, 4)
    machine = Machine(dtype, "STEPWISE" if "STEPWISE" in PRECISIONS[dtype] else "STRICT")

    for some in (numbers, near):
        assert (machine.output(machine.loaded(some)) == some).all()
    assert (np.abs(near) <= 16).all()
    assert np.abs(numbers).max() > 100 * np.abs(near).max()
