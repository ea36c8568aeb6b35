"""The bound of attention is computed fast: some queries at a time, in float32 where that is enough, by a few terms of a series.

Each of these is held to the plain form that it stands for.
"""

from __future__ import annotations

import dataclasses
import importlib
import math

import numpy as np
import pytest
from toise import bounds
from toise.bounds import PRECISIONS, Bounded
from toise.bounds.bounded import constant
from toise.inputs import Attention, attention_inputs
from within import FUSED16, STRICT32, STRICT64, bound, built

module = importlib.import_module("toise.bounds.attention")  # `bounds.attention` is the function
EVERY = attention_inputs(mask=("none", "some", "tail", "one", "empty"), causal=(False, True)).fixed
# What the series may add, at the greatest slip for which it is used: (1 + x)^2 / (1 - x).
SERIES = (1 + module.NEAR) ** 2 / (1 - module.NEAR) - 1
CLASSES = {f"{dtype} {kind}": precision for dtype, kinds in PRECISIONS.items() for kind, precision in kinds.items()}


def same(first: Bounded, second: Bounded, rtol: float) -> bool:
    """Tell whether values agree to float64, and radii to a share."""
    values = np.allclose(first.value, second.value, rtol=1e-12, atol=1e-12)
    return values and np.allclose(first.radius, second.radius, rtol=rtol, atol=0)


@pytest.mark.parametrize("kind", ["float32 STRICT", "float16 EAGER"])
def test_a_tile_of_queries_at_a_time_gives_what_all_together_give(kind, monkeypatch):
    """Whatever the tile; where the slips of one tile are far smaller than those of another, its radius is a little smaller."""
    for recipe in EVERY:
        case = built(recipe, kind.split()[0])
        whole = bound(case, CLASSES[kind])
        with monkeypatch.context() as patched:
            patched.setattr(module, "TILE", 40)
            tiled = bound(case, CLASSES[kind])
        assert same(tiled, whole, rtol=SERIES), recipe


@pytest.mark.parametrize("kind", ["float32 STRICT", "bfloat16 FUSED"])
def test_the_series_for_small_slips_is_above_the_exponentials_and_near_them(kind, monkeypatch):
    """A radius by the series is at least that by the exponentials, and five hundredths more at most."""
    near = 0
    for recipe in EVERY:
        case = built(recipe, kind.split()[0])
        series = bound(case, CLASSES[kind])
        with monkeypatch.context() as patched:
            patched.setattr(module, "NEAR", -1.0)
            exponentials = bound(case, CLASSES[kind])
        near += bool((series.radius != exponentials.radius).any())
        assert (series.radius >= exponentials.radius * (1 - 1e-9)).all(), recipe
        assert same(series, exponentials, rtol=SERIES), recipe
    assert near > len(EVERY) / 2, "the series was hardly used"


@pytest.mark.parametrize("shift", [0.0, 100.0, 2.0**100])
def test_distances_in_float32_add_up_to_no_less_than_they_are(shift):
    """sum_j a_j |v_j - out|, with weights of any size, is never below the exact sum, and hardly above it."""
    noise = np.random.default_rng(0)
    for m, d in ((3, 1), (17, 5), (700, 64)):
        a = noise.random((2, 5, m)) * 2.0 ** noise.integers(-60, 0, (2, 5, m))
        v = (noise.standard_normal((2, m, d)) + shift).astype(np.float32).astype(np.float64)
        out = (a / a.sum(-1, keepdims=True)) @ v
        exact = (a[..., None] * np.abs(v[..., None, :, :] - out[..., None, :])).sum(-2)
        scale = exact + a.sum(-1, keepdims=True) * np.abs(out) * 2.0**-22

        assert (module.spread(a, v, out, STRICT64) >= exact * (1 - 1e-12)).all()
        for precision in (STRICT32, FUSED16):
            got = module.spread(a, v, out, precision)
            assert (got >= exact).all()
            assert (got <= scale * (1 + 2 * (m + 4) * 2.0**-23)).all()


def test_long_rows_are_looked_at_in_parts():
    """4096 keys, with queries whose scores reach the hull beside others: what the tiles give is what one query gives alone."""
    case = built(Attention(n=40, m=4096, d_k=4, d_v=3, content="large", values="normal", seed=3), "float32")
    whole = bound(case, STRICT32)
    alone = bound(case.replace(q=case.q[-1:]), STRICT32)

    assert same(alone, Bounded(whole.value[-1:], whole.radius[-1:], STRICT32), rtol=SERIES)


def test_a_number_of_the_code_is_rounded_where_it_does_not_fit():
    """1/8 is the same in every format; 0.1 is rounded to the coarser of the two in which a step and an array are."""
    eager = PRECISIONS["float16"]["EAGER"]

    assert constant(0.125, eager).radius == 0
    assert constant(1 + 2.0**-10, eager).radius == 0
    assert constant(1 + 2.0**-11, eager).radius == 2.0**-11 * (1 + 2.0**-11) + 2.0**-25
    assert constant(0.1, STRICT32).radius == 2.0**-24 * 0.1 + 2.0**-126


def test_a_declared_trait_widens_the_radius_and_no_more():
    """Each trait of attention allows what it names: the radius grows, the value stays, and no declaration leaves all as it is."""
    case = built(Attention(n=5, m=40, d_k=8, d_v=4, content="normal", values="offset", seed=1), "bfloat16")
    plain = bound(case, FUSED16)
    for trait in ("rounded-normaliser", "many-rescales", "stored-prescale", "lse-weights", "split-k"):
        declared = bound(case, dataclasses.replace(FUSED16, traits=frozenset({trait})))
        assert (declared.value == plain.value).all()
        assert (declared.radius > plain.radius).all(), trait


def test_scores_near_zero_are_no_reason_for_a_wide_radius():
    """With q = 0 all weights are equal, whatever k: what is left is the rounding of the mean."""
    k = np.full((64, 8), 1000.0)
    radius = bounds.attention(np.zeros((1, 8)), k, np.ones((64, 2)), np.ones((1, 1), bool), math.sqrt(1 / 8), STRICT32).radius

    assert (radius < 2.0**-24 * 256).all()
