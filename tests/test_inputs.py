"""The inputs: the mapping from recipe to arrays is fixed, draws depend on the seed alone, and the kinds are what they say."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import toise
import toise.inputs.attention
import toise.inputs.layer_norm
import toise_reference
from recipes_of import digest, drawn, identity
from toise.arrays import DTYPES
from toise.backend import Backend
from toise.engine import properties
from toise.inputs import RECIPE_VERSION, Attention, TokenRows, attention_inputs, bits, token_rows
from toise.inputs.magnitudes import held_times, loud_sizes, power_of_two_within
from toise.targets import load
from within import in_float64

MODULES = {"attention": toise.inputs.attention, "layer_norm": toise.inputs.layer_norm}
FUNCTIONS = {"attention": attention_inputs, "layer_norm": token_rows}

# ruff: noqa: E501 - a recipe prints on one line
# What the fixed recipes leave out: with these, every kind of content, values, mask and parameter is among the golden ones.
MORE = (
    Attention(
        lead=(2,), n=3, m=5, d_k=2, d_v=3, content="integers", values="offset", seed=12, mask="empty", shape="full", causal=True
    ),
    Attention(lead=(2, 1), n=2, m=3, d_k=4, d_v=2, content="ramp", exponent=-8),
    Attention(n=2, m=600, d_k=1, d_v=40, content="ties", values="indicator", seed=99, mask="tail"),
    Attention(lead=(3, 2), n=2, m=4, d_k=2, d_v=2, content="normal", seed=17, mask="blank", shape="first"),
    Attention(lead=(2, 3), n=2, m=4, d_k=2, d_v=2, content="normal", seed=18, mask="entries", shape="last"),
    TokenRows(lead=(2,), d=5, content="constant", seed=12, beta="normal"),
    TokenRows(lead=(2, 3), d=7, content="outlier", seed=99, exponent=-9, gamma="powers", eps=0.0),
    TokenRows(lead=(2,), d=3, content="zeros", seed=12),
    toise.inputs.layer_norm.PADDED,
)
GOLDEN = {
    "attention(literal=(1.0, 1.0, 0.0, 1.0, 0.0), mask='one')": "3e3e48b4f7d8f355",
    "attention(literal=(1.0, 0.0, 2.0), n=2, m=3, d_k=2, mask='some')": "28a11d999d247362",
    "attention(lead=(2,), content='ramp', n=3, d_k=3, d_v=2, mask='some', shape='full', scale=0.5)": "c1912123d38d2584",
    "attention(lead=(3,), content='normal', seed=14, n=3, m=3, d_k=3, d_v=3, mask='open', shape='full', given='self')": "727443d8fd1c87e5",
    "attention(lead=(2, 1, 3), content='padded', seed=15, n=3, m=4, d_k=2, d_v=2, mask='some', shape='full', given='memory')": "f5b80ad94349106b",
    "attention(content='normal', seed=16, n=5, m=5, d_k=4, d_v=3, values='spread', mask='head', given='pair')": "ade62cfae2e5adb7",
    "attention(content='ties', seed=1, n=4, m=4, d_k=2, d_v=4, values='indicator', mask='tail')": "274c5758648bbbcf",
    "attention(lead=(2, 3), content='normal', seed=2, n=5, m=7, d_k=4, d_v=3, values='normal', mask='some', shape='full')": "4e79837f46f3e099",
    "attention(lead=(1, 2), content='normal', seed=3, m=33, d_k=8, d_v=8, values='indicator', mask='tail', shape='ones')": "1c3b47dcf8c69f39",
    "attention(content='cancel', seed=4, n=7, m=5, d_k=6, d_v=5, values='indicator', mask='one', scale=2.0)": "d4d0e3a29776bc6d",
    "attention(lead=(2, 2), content='peaked', seed=5, n=17, m=17, d_k=16, d_v=16, values='indicator', mask='some')": "b966a38cd13f65ef",
    "attention(lead=(1, 1), content='large', seed=6, n=9, m=31, d_k=5, d_v=9, values='indicator', mask='some', shape='ones')": "3d7a3c8846591344",
    "attention(lead=(2,), content='low', seed=7, n=8, m=8, d_k=3, d_v=2, values='normal', mask='some')": "ae3fb505a4ea1acc",
    "attention(lead=(1, 1), content='normal', seed=10, n=2, m=1030, d_k=8, d_v=16, values='indicator', mask='some')": "89305d88fa718719",
    "attention(lead=(3, 4), content='normal', seed=12, n=5, m=6, d_k=128, d_v=128, values='normal', mask='some', shape='full')": "8d4503de41bbc0ac",
    "attention(lead=(1, 1), content='integers', seed=11, n=130, m=3, d_v=7, values='normal', mask='one', scale=-1.0)": "a9827f095880639a",
    "attention(lead=(1, 1), content='normal', seed=8, n=65, m=129, d_k=64, d_v=16, values='indicator', mask='some', shape='full')": "ef9a280042058421",
    "attention(lead=(1, 1), content='normal', seed=9, n=128, m=128, d_k=64, d_v=64, values='offset', mask='tail')": "8ed1feb759d0c609",
    "layer_norm(literal=(1.0, -1.0), eps=0.5)": "c59fb962de24414c",
    "layer_norm(literal=(0.0, 0.0, 3.0), d=3, eps=0.25)": "92de5be7a3ac8e0e",
    "layer_norm(lead=(2,), content='ramp', d=3, eps=0.5)": "13650e2ef2bd43ed",
    "layer_norm(lead=(3,), content='tiny', d=4)": "51f6e144a21e3cb5",
    "layer_norm(lead=(2, 3), content='integers', seed=1, d=5, gamma='powers', beta='normal')": "61b66149478725f2",
    "layer_norm(lead=(4,), content='normal', seed=2, d=8, gamma='normal', beta='normal', eps=1e-12)": "d9ac704d843c1986",
    "layer_norm(lead=(3,), content='outlier', seed=3, d=7, gamma='normal')": "3cde999a6d144663",
    "layer_norm(lead=(), content='normal', seed=4, d=6, beta='normal')": "88d0717249304a18",
    "layer_norm(lead=(2, 2, 3), content='offset', seed=5, d=64, gamma='normal')": "990e7a7fdfdbf89c",
    "layer_norm(lead=(5,), content='tiny', seed=6, d=65, gamma='normal', beta='normal')": "6c62cf0edd5cddcf",
    "layer_norm(lead=(17,), content='normal', seed=7, d=128, gamma='normal', beta='normal')": "4a33ca475f910707",
    "layer_norm(lead=(2, 2), content='normal', exponent=6, seed=8, d=255, eps=0.5)": "dd346aa6f6334e5e",
    "layer_norm(lead=(3,), content='normal', exponent=-6, seed=9, d=768, gamma='normal', beta='normal')": "bee9d13c2361c429",
    "layer_norm(lead=(130,), content='integers', seed=10, d=3, gamma='powers')": "cde104fabf47c20d",
    "layer_norm(content='normal', seed=11, d=4097)": "906cf44c7c1f3ed2",
    "attention(lead=(2,), content='integers', seed=12, n=3, m=5, d_k=2, d_v=3, values='offset', mask='empty', shape='full', causal=True)": "4b16a8d217e11830",
    "attention(lead=(2, 1), content='ramp', exponent=-8, n=2, m=3, d_k=4, d_v=2)": "d29e205241e6f791",
    "attention(content='ties', seed=99, n=2, m=600, d_v=40, values='indicator', mask='tail')": "b8f2226e26e94336",
    "attention(lead=(3, 2), content='normal', seed=17, n=2, m=4, d_k=2, d_v=2, mask='blank', shape='first')": "a8dd055e50e3f79d",
    "attention(lead=(2, 3), content='normal', seed=18, n=2, m=4, d_k=2, d_v=2, mask='entries', shape='last')": "7d8f71cf313c2fb2",
    "layer_norm(lead=(2,), content='constant', seed=12, d=5, beta='normal')": "af206193c84aecd2",
    "layer_norm(lead=(2, 3), content='outlier', exponent=-9, seed=99, d=7, gamma='powers', eps=0.0)": "4d5237fd43ce3e95",
    "layer_norm(lead=(2,), content='zeros', seed=12, d=3)": "4da7f3cd9e7ec6d7",
    "layer_norm(lead=(5,), content='padded', seed=13, d=6, gamma='normal', beta='normal')": "57f3eda6c020f82c",
}


def golden_recipes():
    """Return the recipes whose arrays are written down: the fixed ones as they stand, and a few more."""
    return [*toise.inputs.attention.FIXED, *toise.inputs.layer_norm.FIXED, *MORE]


def fields_of(recipe):
    """Return the fields of a recipe by name."""
    return {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}


# --- The mapping from recipe to arrays ----------------------------------------------------------------


def test_the_arrays_of_a_recipe_are_those_of_its_version():
    """Another digest means other inputs under an old name: RECIPE_VERSION takes the next number, and all digests are new."""
    assert RECIPE_VERSION == 1
    assert {str(recipe): digest(recipe) for recipe in golden_recipes()} == GOLDEN


def test_every_kind_has_a_golden_digest():
    """A new kind of content, values, mask or parameter needs a recipe in MORE and a digest."""
    for operation, module in MODULES.items():
        golden = [recipe for recipe in golden_recipes() if recipe.operation == operation]
        kinds = {name: {c for c in choices if isinstance(c, str)} for name, choices in module.CHOICES.items()}
        kinds["content"].add("literal")
        if operation == "attention":
            kinds["mask"] |= {*module.MASKS, *module.EMPTY}
        missing = {name: wanted - {getattr(recipe, name) for recipe in golden} for name, wanted in kinds.items()}

        assert not any(missing.values()), f"{operation}: {missing}"


@pytest.mark.parametrize("operation", MODULES)
def test_an_unknown_kind_is_refused(operation):
    """A slip of the pen in a requirement's inputs is an error, and the message says what there is."""
    kind = type(MODULES[operation].FIXED[0])
    strings = [field.name for field in dataclasses.fields(kind) if field.type == "str" and field.name != "shape"]
    for name in strings:
        with pytest.raises(ValueError, match=r"^unknown .*'colourful'; required: "):
            kind(**{"content": "ramp", name: "colourful"}).build(identity)

    assert strings


def test_building_twice_gives_equal_arrays_that_are_not_the_same_ones():
    """A test that writes into a case spoils no other."""
    recipe = Attention(n=2, m=3, d_k=2, d_v=2, content="normal", values="indicator", mask="some")
    first, second = recipe.build(np.array), recipe.build(np.array)

    for name in ("q", "k", "v"):
        assert np.array_equal(first.arrays[name], second.arrays[name])
        assert not np.shares_memory(first.arrays[name], second.arrays[name])


def test_building_rounds_every_array():
    """Nothing reaches a backend that its dtype does not hold."""
    for recipe in golden_recipes():
        case = recipe.build(lambda array: np.full(array.shape, 7.0))

        assert all((array == 7).all() for array in case.arrays.values())


# --- The numbers of a dtype ---------------------------------------------------------------------------


def torch_backend(dtype):
    """Return PyTorch's functions at a dtype."""
    return Backend(load("torch"), dtype)


IN_FLOAT16 = {
    (1.0, -3.5): (1.0, -3.5),
    (2.0**20, 2.0**10): (2.0**13, 2.0**3),  # four times the largest is still below 65504
    (2.0**-30, -(2.0**-31)): (2.0**-14, -(2.0**-15)),
    (-np.inf, 2.0**17): (-np.inf, 2.0**13),
    (0.0, 0.0): (0.0, 0.0),
}


@pytest.mark.parametrize(("values", "held"), IN_FLOAT16.items())
def test_an_array_without_room_in_float16_keeps_its_proportions(values, held):
    """All of it is moved by one power of two; wider dtypes hold it as it is."""
    array = np.array(values)

    assert tuple(torch_backend("float16").rounded(array)) == held
    for dtype in ("float64", "float32", "bfloat16"):
        assert tuple(torch_backend(dtype).rounded(array)) == values


@pytest.mark.parametrize("factor", [4.0, 64.0, -64.0, 0.25, 2.0**-6])
def test_the_multiple_of_an_array_is_held_where_a_law_needs_it(factor):
    """Large and subnormal numbers of float16 alike; in the wider dtypes the array is the one that was given."""
    array = torch_backend("float16").rounded(np.array([[3.3, 0.001], [1e4, 7e-7]]))
    for dtype in DTYPES:
        backend = torch_backend(dtype)
        given = backend.rounded(array)
        held = held_times(backend, factor, given)

        assert np.array_equal(backend.arrays.rounded(factor * held, dtype), factor * held)
        assert np.array_equal(backend.arrays.rounded(held, dtype), held)
        assert dtype == "float16" or np.array_equal(held, given)


def test_hidden_content_is_as_loud_as_the_dtype_and_the_class_can_take():
    """2^32 in the wide dtypes, the keys' own range in float16, and half that of the scores where these are stored in it."""
    for dtype in ("float64", "float32", "bfloat16"):
        assert loud_sizes(torch_backend(dtype), "attention", 1000.0) == (2.0**8, 2.0**32)
    assert loud_sizes(torch_backend("float16"), "attention", 1000.0) == (2.0**8, 2.0**15)

    eager = Backend(load("torch", declare={"attention": {"precision": {"float16": "EAGER"}}}), "float16")
    assert loud_sizes(eager, "attention", 100.0) == (2.0**8,)
    assert loud_sizes(eager, "attention", 1000.0) == (2.0**5,)


def test_powers_of_two_end_where_the_numbers_do():
    """Also beside the greatest number of float64, whose logarithm rounds to the next power."""
    assert power_of_two_within(65504.0) == 2.0**15
    assert power_of_two_within(2.0**-3) == 2.0**-3
    assert power_of_two_within(sys.float_info.max) == 2.0**1023


@pytest.mark.parametrize(("dtype", "kind"), [("bfloat16", "FUSED"), ("float16", "FUSED"), ("float16", "STEPWISE")])
def test_every_law_forms_numbers_that_the_dtype_holds(dtype, kind):
    """A run would stop at one that it does not: here nothing fails, in the strictest class and in the loosest."""
    names = ("attention", "multi_head_attention", "feed_forward", "layer_norm", "mlm_loss", "sequence_log_prob")
    target = {name: in_float64(getattr(toise_reference, name)) for name in names}
    target["residual"] = lambda x, sublayer: x + sublayer(x)
    declared = {name: {"precision": {dtype: kind}} for name in target}
    report = toise.verify(target, operations=list(target), dtypes=[dtype], budget="smoke", declare=declared)

    assert [row.requirement for row in report.results if row.outcome in ("FAIL", "CRASH")] == []
    assert report.requirements["ATT-5"].outcome == "PASS"


def test_recipes_with_room_to_overflow_say_so():
    """Large exponents, and the contents that are large by themselves; most recipes are neither."""
    assert Attention(content="low").aimed_at_overflow
    assert Attention(content="normal", exponent=8).aimed_at_overflow
    assert TokenRows(content="offset").aimed_at_overflow
    assert not Attention(content="normal", exponent=2).aimed_at_overflow
    assert not TokenRows().aimed_at_overflow


# --- Recipes ------------------------------------------------------------------------------------------


def every_recipe():
    """Return all fixed recipes of the suite, and some drawn ones."""
    fixed = (recipe for prop in properties() for recipes in prop.inputs.values() for recipe in recipes.fixed)
    strategies = [strategy for function in FUNCTIONS.values() for strategy in (function().general, function().tiny)]
    return [*dict.fromkeys(fixed), *(recipe for strategy in strategies for recipe in drawn(strategy))]


def test_recipes_are_hashable_and_equal_by_content():
    """The engine counts each input once."""
    for recipe in every_recipe():
        again = type(recipe)(**fields_of(recipe))

        assert again == recipe
        assert hash(again) == hash(recipe)


def test_a_recipe_in_json_says_what_differs_from_the_defaults():
    """The corpus and the reports hold no more than is needed to build the arrays again."""
    for recipe in every_recipe():
        plain = json.loads(json.dumps(recipe.as_json(), allow_nan=False))
        assert (plain.pop("operation"), plain.pop("version")) == (recipe.operation, RECIPE_VERSION)
        defaults = fields_of(type(recipe)())
        assert all(value != json.loads(json.dumps(defaults[name])) for name, value in plain.items())

        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
        assert type(recipe)(**fields) == recipe


def test_a_recipe_prints_on_one_line_as_the_code_that_makes_it():
    """A counterexample can be pasted."""
    kinds = {recipe.operation: type(recipe) for recipe in every_recipe()}
    for recipe in every_recipe():
        text = str(recipe)

        assert "\n" not in text
        assert eval(text, kinds.copy()) == recipe  # noqa: S307 - the text is our own


def test_a_recipe_that_a_person_can_check_weighs_less():
    """Among failures the report shows the lightest: few numbers, then plain kinds, then small values."""
    order = [
        TokenRows(d=2, literal=(1.0, -1.0)),
        TokenRows(d=2, literal=(1.0, -2.0)),
        TokenRows(d=2, literal=(0.5, 0.5)),
        TokenRows(d=2, content="ramp"),
        TokenRows(d=2, content="normal", seed=3),
        TokenRows(d=3, literal=(1.0, -1.0, 0.0)),
        TokenRows(lead=(2,), d=64, content="normal"),
    ]

    assert sorted(order[3:] + order[:3], key=TokenRows.weight) == order


@pytest.mark.parametrize("operation", MODULES)
def test_the_numbers_of_a_literal_are_those_that_are_used(operation):
    """As many as `numbers` says fill the arrays, in their order."""
    for recipe in drawn(FUNCTIONS[operation]().tiny):
        case = recipe.build(identity)
        arrays = [array for name, array in case.arrays.items() if name not in ("gamma", "beta")]

        assert np.concatenate([array.ravel() for array in arrays]).tolist() == list(recipe.literal)


# --- Draws --------------------------------------------------------------------------------------------

ELSEWHERE = """
import full_of_constants
from test_inputs import drawn_here
print(*drawn_here(), sep="\\n")
"""


def drawn_here():
    """Return what this process draws, as text."""
    strategies = (attention_inputs().general, token_rows().general, token_rows().tiny)
    return [str(recipe) for strategy in strategies for recipe in drawn(strategy)]


def test_draws_do_not_depend_on_who_calls(tmp_path):
    """The same seed gives the same recipes, whatever modules the process has read.

    Hypothesis mixes the integers that it finds in a process's own source files into what it draws.
    """
    constants = [*range(-50, 200), *(2**power + off for power in range(8, 64) for off in (-1, 0, 1))]
    (tmp_path / "full_of_constants.py").write_text("\n".join(f"X{at} = {value}" for at, value in enumerate(constants)))
    path = f"import sys; sys.path[:] = {[str(tmp_path), *sys.path]!r}"
    command = [sys.executable, "-c", path + ELSEWHERE]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.splitlines()

    assert len(set(there)) > 100
    assert there == drawn_here()


def test_another_seed_draws_other_recipes():
    """`--seed` explores elsewhere."""
    assert drawn(token_rows().general, seed=0) == drawn(token_rows().general, seed=0)
    assert drawn(token_rows().general, seed=0) != drawn(token_rows().general, seed=1)


@pytest.mark.parametrize("operation", MODULES)
def test_a_tiny_recipe_has_few_numbers_and_simple_ones(operation):
    """A person checks it in the head: at most 13 numbers, whole or halves."""
    for recipe in drawn(FUNCTIONS[operation]().tiny, count=200):
        assert recipe.content == "literal"
        assert len(recipe.literal) == recipe.numbers() <= 13
        assert all(float(2 * number).is_integer() for number in recipe.literal)


RESTRICTED = {
    "attention": [
        {"content": ("normal", "large"), "exponent": (4, -30)},
        {"content": ("literal", "ramp", "integers"), "mask": ("none", "some", "tail")},
        {"mask": ("empty",), "n": (1, 3)},
        {"causal": (True,), "n": (2, 1, 5), "m": (3, 7)},
        {"scale": (0.5, 0.0, -1.0), "values": ("indicator",), "d_v": (4, 8)},
        {"lead": ((2,), (2, 3)), "shape": ("full",), "seed": (5,)},
    ],
    "layer_norm": [
        {"content": ("constant",), "d": (1, 255)},
        {"content": ("literal", "normal"), "eps": (0.5, 0.25)},
        {"eps": (0.0,), "d": (3, 4)},
        {"gamma": ("powers",), "beta": ("normal",), "lead": ((3, 2),)},
        {"exponent": (30, -30), "seed": (1, 2)},
    ],
}


@pytest.mark.parametrize(
    ("operation", "given_fields"), [(operation, each) for operation, several in RESTRICTED.items() for each in several], ids=str
)
def test_a_restricted_field_is_one_of_the_choices_left(operation, given_fields):
    """Fixed, drawn and tiny recipes alike keep to what a requirement asks for."""
    recipes = FUNCTIONS[operation](**given_fields)
    tiny = [] if recipes.tiny is None else drawn(recipes.tiny)
    assert recipes.fixed
    for recipe in (*recipes.fixed, *drawn(recipes.general), *tiny):
        for name, choices in given_fields.items():
            assert getattr(recipe, name) in choices, f"{name} in {recipe}"


@pytest.mark.parametrize("operation", MODULES)
def test_an_unrestricted_field_is_one_of_its_choices(operation):
    """Drawn recipes are made of what the module lists, and options are those of the plainest call."""
    module = MODULES[operation]
    for recipe in drawn(FUNCTIONS[operation]().general):
        for name, choices in module.CHOICES.items():
            assert getattr(recipe, name) in choices, f"{name} in {recipe}"


def test_every_choice_of_an_option_is_among_the_fixed_recipes():
    """They take turns, so that no choice waits for a lucky draw."""
    masks, scales = ("none", "some", "tail", "one"), (0.5, 0.0, 1.0, -1.0, 0.3)

    assert {recipe.mask for recipe in attention_inputs(mask=masks).fixed} == set(masks)
    assert {recipe.scale for recipe in attention_inputs(scale=scales).fixed} == set(scales)
    assert {recipe.eps for recipe in token_rows(eps=(0.5, 0.25)).fixed} == {0.5, 0.25}


def test_without_a_restriction_there_is_no_mask_no_order_and_no_scale():
    """A requirement that does not speak of an option is tried without it."""
    for recipe in (*attention_inputs().fixed, *drawn(attention_inputs().general), *drawn(attention_inputs().tiny)):
        assert not {"mask", "causal", "scale"} & recipe.build(identity).options.keys()


def test_there_is_nothing_tiny_where_literals_are_ruled_out():
    """A requirement about large numbers has no small ones to show."""
    assert attention_inputs(content=("large",)).tiny is None
    assert attention_inputs(d_k=(64,)).tiny is None
    assert token_rows(content=("literal", "normal")).tiny is not None


@pytest.mark.parametrize("operation", MODULES)
def test_an_unknown_field_is_refused(operation):
    """A misspelt restriction would restrict nothing."""
    with pytest.raises(ValueError, match="has no field colour; it has content, "):
        FUNCTIONS[operation](colour=("red",))


# --- Kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 5, 17, 65, 1030])
def test_indicator_values_watch_the_first_and_the_last_key(m):
    """Each column is the indicator of one key, no two of the same while there are keys left; an edge of a block is next."""
    for seed in range(20):
        v = Attention(m=m, d_v=4, content="normal", values="indicator", seed=seed).build(identity).v
        watched = v.argmax(axis=0).tolist()

        assert (v.sum(axis=0) == 1).all()
        assert set(np.unique(v)) == {0.0, 1.0}
        assert watched[:2] == [m - 1, 0]
        assert len(set(watched)) == min(m, 4)
        assert m != 1030 or watched[2:] == [1023, 1024]


def test_every_key_is_watched_where_there_are_columns_enough():
    """With as many columns as keys, the result is the weights."""
    v = Attention(m=40, d_v=40, content="normal", values="indicator", seed=3).build(identity).v

    assert (v.sum(axis=1) == 1).all()


@pytest.mark.parametrize("kind", toise.inputs.attention.MASKS)
def test_a_mask_leaves_every_query_a_key(kind):
    """Only "empty" and "blank" have queries without any."""
    for recipe in drawn(attention_inputs(mask=(kind,)).general):
        mask = recipe.build(identity).options["mask"]

        assert mask.any(axis=-1).all()
        assert kind != "one" or (mask.sum(axis=-1) == 1).all()
        assert kind not in ("tail", "head") or (recipe.m == 1 or not mask.all())
        assert kind != "open" or mask[..., ::2, :].all()


def test_an_empty_mask_has_a_query_without_keys():
    """And with three queries or more, one that has some."""
    for recipe in drawn(attention_inputs(mask=("empty",)).general):
        some = recipe.build(identity).options["mask"].any(axis=-1)

        assert not some.all()
        assert recipe.n == 1 or some.any()


def test_a_blank_mask_has_an_entry_without_keys():
    """One of those that the mask knows, and each query of the others has some."""
    for recipe in drawn(attention_inputs(mask=("blank",)).general):
        some = recipe.build(identity).options["mask"].any(axis=-1)
        entries = some.reshape(-1, recipe.n)

        assert np.array_equal(entries.all(axis=-1), entries.any(axis=-1))
        assert entries.any(axis=-1).sum() == len(entries) - 1


@pytest.mark.parametrize("given", toise.inputs.attention.GIVEN)
def test_arrays_that_are_one_are_the_same_object(given):
    """As in self-attention, in attention to a memory, and where queries and keys are one."""
    same = {"self": {"qk", "kv", "qv"}, "memory": {"kv"}, "pair": {"qk"}, "apart": set()}[given]
    for recipe in drawn(attention_inputs(given=(given,)).general):
        arrays = recipe.build(identity).arrays

        assert {a + b for a, b in ("qk", "kv", "qv") if arrays[a] is arrays[b]} == same


def test_padded_rows_are_zero_and_spread_values_are_not():
    """One row of three is zero, in q and in k; beside columns of 1 there are some of 2^40 and of 2^-40."""
    case = Attention(n=6, m=9, d_k=4, d_v=3, content="padded", values="spread", seed=1).build(identity)
    sizes = np.log2(np.abs(case.v).max(axis=0))

    assert (case.q == 0).all(axis=-1).sum() == 2
    assert (case.k == 0).all(axis=-1).sum() == 3
    assert sorted(np.round(sizes / 40)) == [-1, 0, 1]


def test_a_mask_has_the_leading_axes_that_its_shape_says():
    """None, ones, those of q, or one of those."""
    for shape, lead in (("plain", ()), ("ones", (1, 1)), ("full", (2, 3)), ("first", (2, 1)), ("last", (3,))):
        mask = Attention(lead=(2, 3), n=4, m=5, content="ramp", mask="some", shape=shape).build(identity).options["mask"]

        assert mask.shape == (*lead, 4, 5)
        assert mask.dtype == bool


def scores(content, d_k):
    """Return the scores of 64 queries and 64 keys, and the sums of the products' magnitudes."""
    case = Attention(n=64, m=64, d_k=d_k, content=content, seed=1).build(identity)
    return case.q @ case.k.T / np.sqrt(d_k), np.abs(case.q) @ np.abs(case.k.T)


def test_kinds_of_queries_and_keys_are_what_they_say():
    """Ties: one score in each row.  Peaked: one weight above all others together.  Cancel: nothing is left but rounding."""
    ties, _ = scores("ties", 16)
    peaked = np.exp(scores("peaked", 16)[0])
    cancelling, products = scores("cancel", 16)

    assert (ties == ties[:, :1]).all()
    assert np.median(peaked.max(axis=-1) / peaked.sum(axis=-1)) > 0.5
    assert (np.abs(cancelling) <= 16 * 2.0**-53 * products).all()
    assert (products > 1).all()
    assert np.abs(scores("large", 16)[0]).max() > 500
    assert (np.abs(scores("low", 1)[0] + 25000) < 2500).all()


def test_kinds_of_rows_are_what_they_say():
    """The noise in them is never beyond 2 sqrt(3)."""
    rows = {
        content: TokenRows(lead=(9,), d=257, content=content, seed=1).build(identity).x
        for content in toise.inputs.layer_norm.CHOICES["content"]
    }
    most = 2 * np.sqrt(3.0)

    assert (rows["constant"] == rows["constant"][:, :1]).all()
    assert len(np.unique(rows["constant"])) == 9
    assert (np.abs(rows["tiny"]) <= most * 2.0**-9).all()
    assert (np.abs(rows["offset"] - 1000) <= most).all()
    assert ((rows["outlier"] >= 2.0**10 - most).sum(axis=-1) == 1).all()
    assert ((np.abs(rows["outlier"]) <= most).sum(axis=-1) == 256).all()


# --- Bits ---------------------------------------------------------------------------------------------

COUNT = 40_000


@pytest.mark.parametrize("seed", range(5))
def test_uniform_numbers_lie_from_zero_to_below_one(seed):
    """Multiples of 2^-53; their mean is within five standard deviations, 5 / sqrt(12 N), of a half."""
    numbers = bits.uniform(seed, 1, (COUNT,))

    assert 0 <= numbers.min() < numbers.max() < 1
    assert (numbers * 2.0**53 == np.floor(numbers * 2.0**53)).all()
    assert abs(numbers.mean() - 0.5) < 5 / np.sqrt(12 * COUNT)


@pytest.mark.parametrize("seed", range(5))
def test_normal_numbers_have_mean_zero_and_variance_one(seed):
    """Each within five standard deviations.

    A sum of four uniform numbers has the kurtosis 3 - 1.2 / 4, so that N squares average to 1 with a variance of 1.7 / N.
    No number is beyond 2 sqrt(3).
    """
    numbers = bits.normal(seed, 1, (COUNT,))

    assert abs(numbers.mean()) < 5 / np.sqrt(COUNT)
    assert abs((numbers**2).mean() - 1) < 5 * np.sqrt(1.7 / COUNT)
    assert np.abs(numbers).max() <= 2 * np.sqrt(3.0)


def test_integers_take_every_value_from_low_to_high():
    """Both ends included, and nothing beyond."""
    assert set(bits.integers(0, 1, (2000,), -3, 3)) == set(range(-3, 4))


def test_seeds_and_streams_are_sequences_of_their_own():
    """No two of them begin alike."""
    beginnings = {tuple(bits.words(seed, stream, (4,)).tolist()) for seed in range(100) for stream in range(10)}

    assert len(beginnings) == 1000


def test_a_longer_array_begins_with_the_shorter_one():
    """The words are one sequence, whatever the shape."""
    assert bits.words(3, 1, (2, 5)).ravel().tolist() == bits.words(3, 1, (50,))[:10].tolist()


def test_a_permutation_is_never_the_identity():
    """A law that permutes would say nothing; and every index is there once."""
    for size in (1, 2, 3, 4, 17):
        for seed in range(200):
            order = bits.permutation(seed, 99, size)

            assert sorted(order) == list(range(size))
            assert size == 1 or (order != np.arange(size)).any()
