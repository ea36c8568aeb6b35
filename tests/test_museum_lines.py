"""Beside each fault stands right code that is nearly the same, and what is marked is what differs."""

import ast
import inspect

import numpy as np
import pytest
import toise
from beside import beside, closest, text_of_fault, text_of_twin
from toise.faults import call, catalogue, fault
from twins import twins

FAULTS = catalogue()
ROWS = call([[1, -1]], [1, 1], [0, 0])


@fault("layer_norm", fails=("LN-3",), on=ROWS, hint="planted")
def eps_forgotten(x, gamma, beta, *, eps=1e-5):
    """Eps is not added."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance) + beta


@fault("layer_norm", fails=("LN-1",), on=ROWS, hint="planted")
def scaled_by_two(x, gamma, beta, *, eps=1e-5):
    """Rows are doubled first."""
    # Where the numbers are small, this is not seen.
    x = 2 * x

    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@fault("layer_norm", fails=("LN-12",), on=ROWS, hint="planted", stateful=True)
def first_mean_kept():
    """The mean of the first call is kept."""
    kept = []

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        kept.append(mean)
        return gamma * (x - kept[0]) / np.sqrt(variance + eps) + beta

    return layer_norm


def marked(planted):
    """Return the lines that are marked on either side."""
    both = beside(planted)
    return [both.wrong[at].strip() for at in both.wrong_marked], [both.right[at].strip() for at in both.right_marked]


def same(text, without):
    """Return what is compared of a text, without some of its lines."""
    return [line for at, line in text.compared.items() if at not in without]


# --- The twins ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", twins())
def test_a_twin_is_right(name):
    """It is judged as faults are, and breaks nothing; none of its requirements is excused."""
    twin = twins()[name]

    report = toise.verify(twin.target(), operations=[twin.operation], budget="smoke")

    assert report.passed
    assert {row.outcome for row in report.requirements.values()} == {"PASS", "NOT RUN"}


def test_every_twin_is_the_closest_of_some_fault():
    """One that no page shows would be code for nothing."""
    assert {closest(each).name for each in FAULTS.values()} == set(twins())


@pytest.mark.parametrize("name", twins())
def test_a_twin_says_how_it_is_written(name):
    """In one line."""
    assert inspect.getdoc(twins()[name].function).endswith(".")
    assert "\n" not in inspect.getdoc(twins()[name].function)


# --- What is shown, of every fault ----------------------------------------------------------------------


def test_few_lines_are_marked():
    """In nine faults of ten, four at most on either side."""
    counts = [(len(each.wrong_marked), len(each.right_marked)) for each in map(beside, FAULTS.values())]

    assert sum(max(count) <= 4 for count in counts) >= 0.9 * len(counts)


@pytest.mark.parametrize("slug", FAULTS)
def test_a_fault_has_a_marked_line_and_is_none_of_the_twins(slug):
    """Something must be wrong with it, and be seen."""
    both, twin = beside(FAULTS[slug]), closest(FAULTS[slug])

    assert both.wrong_marked
    assert same(text_of_fault(FAULTS[slug]), ()) != same(text_of_twin(twin), ())
    assert twin.operation == FAULTS[slug].operation


@pytest.mark.parametrize("slug", FAULTS)
def test_what_is_not_marked_is_the_same_on_both_sides(slug):
    """In the same order; so nothing that differs goes unmarked."""
    both, wrong, right = beside(FAULTS[slug]), text_of_fault(FAULTS[slug]), text_of_twin(closest(FAULTS[slug]))
    before = len(both.wrong) - len(wrong.lines)
    at = [at - before for at in both.wrong_marked]
    left, other = same(wrong, at), same(right, both.right_marked)

    assert min(at) >= 0, "a helper is not marked"
    assert left == other or same(wrong, ()) == other, "what a fault leaves out marks the line after it"


@pytest.mark.parametrize("slug", FAULTS)
def test_both_sides_are_whole(slug):
    """They are Python, and the right one defines the operation."""
    both, twin = beside(FAULTS[slug]), closest(FAULTS[slug])
    wrong, right = ast.parse("\n".join(both.wrong)), ast.parse("\n".join(both.right))

    assert wrong.body[-1].name == slug.partition(".")[2]
    assert [node.name for node in right.body] == [twin.function.__name__ if twin.stateful else twin.operation]


# --- What is shown, of some -----------------------------------------------------------------------------


def test_the_line_that_differs_is_marked_on_both_sides():
    """The fault loses its decorator and its docstring, and its twin has the operation's name."""
    both = beside(eps_forgotten)

    assert both.wrong[0] == "def eps_forgotten(x, gamma, beta, *, eps=1e-5):"
    assert both.right[0] == "def layer_norm(x, gamma, beta, *, eps=1e-5):"
    assert both.wrong[1] == both.right[1]
    assert both.wrong[2] == "    return gamma * (x - mean) / np.sqrt(variance) + beta"
    assert both.right[2] == "    return gamma * (x - mean) / np.sqrt(variance + eps) + beta"
    assert (both.wrong_marked, both.right_marked) == ((2,), (2,))


def test_a_line_too_many_is_marked_alone():
    """The other side has nothing to mark; comments and blank lines are not code."""
    assert marked(scaled_by_two) == (["x = 2 * x"], [])


def test_where_a_line_is_missing_the_next_one_is_marked():
    """The reader has to be shown some place."""
    wrong, right = marked(FAULTS["autoregressive.exponentials_unshifted"])

    assert wrong == ["return (picked(rows, tokens[..., 1:]) - np.log(np.exp(rows).sum(axis=-1))).sum(axis=-1)"]
    assert right == ["rows = rows - rows.max(axis=-1, keepdims=True)"]


def test_the_frame_of_what_keeps_something_is_not_marked():
    """What is kept is, and what is made of it."""
    wrong, right = marked(first_mean_kept)

    assert wrong == ["kept = []", "kept.append(mean)", "return gamma * (x - kept[0]) / np.sqrt(variance + eps) + beta"]
    assert right == ["return gamma * (x - mean) / np.sqrt(variance + eps) + beta"]


def test_a_twin_may_keep_something_too():
    """A wrong cache is set beside a right one, and differs in its key."""
    assert marked(FAULTS["causal_mask.one_buffer"]) == (["return buffer[:n, :m]"], ["return buffer[:n, :m].copy()"])


def test_another_default_is_marked():
    """The name of the function and the way of its parameters are not wrong; a default may be."""
    wrong, right = marked(FAULTS["layer_norm.default_eps_1e_6"])

    assert wrong == ["def default_eps_1e_6(x, gamma, beta, *, eps=1e-6):"]
    assert right == ["def layer_norm(x, gamma, beta, *, eps=1e-5):"]


def test_a_helper_of_faults_alone_is_shown():
    """With its docstring, unmarked, above the fault; one that twins use too is not."""
    both = beside(FAULTS["multi_head_attention.heads_pruned_by_sum"])

    assert both.wrong[0] == "def only(heads, w):"
    assert both.wrong[1].strip() == '"""Return the projections of some heads, and zeros for those of the others."""'
    assert both.wrong[5].startswith("def heads_pruned_by_sum(")
    assert min(both.wrong_marked) > 5
    assert not any("def attend(" in line for each in map(beside, FAULTS.values()) for line in each.wrong)


def test_a_local_variable_is_no_helper():
    """This one is called as a helper of its module is."""
    assert "def kept" not in "\n".join(beside(FAULTS["residual.output_kept_for_x"]).wrong)


def test_a_twin_speaks_of_what_the_fault_could():
    """Where a name means something else in the fault's module, or nothing, its twin would not be understood."""
    assert closest(FAULTS["general.relu_by_square_root"]).name == "general.feed_forward_written_out"
    with pytest.raises(LookupError, match="no twin for mlm_corrupt"):
        closest(stranger)


@fault("mlm_corrupt", fails=("MLM-4",), on=call([1], mask_id=0, vocab_size=2, special_ids=(), seed=0), hint="planted")
def stranger(tokens, **given):
    """Nothing is selected."""
    return tokens.copy(), np.zeros(tokens.shape, bool)


def test_a_text_is_not_changed_by_looking_at_it():
    """What `beside` returns for one fault depends on no other."""
    first = beside(eps_forgotten)
    for each in FAULTS.values():
        beside(each)

    assert beside(eps_forgotten) == first
