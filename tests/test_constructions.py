"""Inputs that were constructed against the error analysis: each left a radius once, and stands for a term of it.

Those of tests/test_attacks.py were found by search or by other people; these by reading the derivations.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from soundness import attention, layer_norm
from soundness.campaign import bounded, ratios
from soundness.machine import Machine
from toise import bounds
from toise.inputs import Case
from within import worst

F32 = np.float32
STRICT32, EAGER, STEPWISE = Machine("float32", "STRICT"), Machine("float16", "EAGER"), Machine("float16", "STEPWISE")
FUSED = Machine("float16", "FUSED")


def rows(x, **options):
    """Return a call of layer_norm on one row."""
    return Case("layer_norm", {"x": np.array([x], float), "gamma": np.ones(len(x)), "beta": np.zeros(len(x))}, options)


def of_attention(q, k, v, scale):
    """Return a call of attention."""
    return Case("attention", {"q": np.array(q, float), "k": np.array(k, float), "v": np.array(v, float)}, {"scale": scale})


def drifting(n, mean, spread):
    """Return a row whose updated mean is rounded the same way at almost every feature, and an outlier at its end.

    A fifth of it lies above the mean, so that the error of the running mean goes with the distances from it.
    """
    row, running = [], F32(0)
    for count in range(1, n + 1):
        if count <= n / 5:
            x = F32(mean + spread)
        elif count == n:
            x = F32(mean - 2 * spread * math.sqrt(n))
        else:
            near = (mean - spread * (1 + np.arange(-60, 61) / 120)).astype(F32)
            new = running + (near - running) / F32(count)
            exact = float(running) + (near.astype(float) - float(running)) / count
            x = near[np.argmax(new.astype(float) - exact)]
        running = running + (x - running) / F32(count)
        row.append(float(x))
    return row


def nearly_constant(n):
    """Return a row near 31.5 whose sum, feature by feature, is rounded down each time, and one feature a little above."""
    apart = 2.0 ** (4 + math.log2(n) - 23)
    constant = math.floor(31.5 / apart) * apart + apart / 2 - 2.0**-18
    row = np.full(n, constant)
    row[-1] += math.sqrt(0.2 * 1e-5 * n)
    return row.astype(F32).astype(float)


def rising(count, times):
    """Return scores from 2^17 on, each a little greater, whose products with log2 e are rounded up by much; each many times."""
    grid = 2.0**17 + np.arange(2**14) * 2.0**-6
    exact = grid * float(F32(math.log2(math.e)))
    above = exact.astype(F32) - exact
    return np.repeat(grid[above > 0.8 * above.max()][:count], times)[:, None]


FIRST_BLOCK = (np.arange(4096) < 16)[:, None] * 1.0
WITHIN = {
    "a variance that is updated, with a mean that drifts": (
        layer_norm.ORGANISATIONS["Welford"],
        STRICT32,
        rows(drifting(1024, 520, 4)),
    ),
    "a variance that comes out far too large": (
        layer_norm.ORGANISATIONS["two passes, sums one by one"],
        STRICT32,
        rows(nearly_constant(16384)),
    ),
    "many contracted rescales, far from zero": (
        attention.ORGANISATIONS["flash, blocks of 16, contracted"],
        STRICT32,
        of_attention([[1]], rising(256, 16), FIRST_BLOCK, 1.0),
    ),
}


@pytest.mark.parametrize("construction", WITHIN)
def test_a_correct_organisation_stays_within_the_radius(construction):
    """And is not merely excused."""
    organisation, machine, case = WITHIN[construction]

    assert np.isfinite(bounded(case, machine).radius).all()
    assert worst(organisation, machine, case) <= 1


def radius_of(case, machine):
    """Return the radius of a call."""
    return bounded(case, machine).radius


EXCUSED = {
    "a result that is written out before it is divided": radius_of(
        of_attention([[0]], np.zeros((100, 1)), np.full((100, 1), 1000.0), 1.0), EAGER
    ),
    "a sum of exponentials that is written out": radius_of(
        of_attention([[0]], np.zeros((66000, 1)), np.zeros((66000, 1)), 1.0), EAGER
    ),
    "eps below what float16 has, and no variance": radius_of(rows([1.0] * 4, eps=1e-8), EAGER),
    "a query that is scaled up first": radius_of(of_attention([[60000.0]], [[2.0**-10], [0]], [[1.0], [2.0]], 2.0), EAGER),
    "a query that is scaled up first, in steps": radius_of(
        of_attention([[60000.0]], [[2.0**-10], [0]], [[1.0], [2.0]], 2.0), STEPWISE
    ),
    "heads that are added one by one": bounds.multi_head_attention(
        *[np.ones((1, 1))] * 3,
        *[np.ones((3, 1, 1))] * 2,
        np.array([40000.0, 40000.0, -40000.0])[:, None, None],
        np.ones((3, 1)),
        np.ones((1, 1), bool),
        EAGER.precision,
    ).radius,
    "the sum over a large vocabulary": bounds.mlm_loss(
        np.zeros((1, 66000)), np.zeros(1, int), np.ones(1, bool), EAGER.precision
    ).radius,
}


@pytest.mark.parametrize("construction", EXCUSED)
def test_what_overflows_where_it_is_written_out_is_excused(construction):
    """The result is representable; an array on the way, which float16 has no room for, is one that the class may write out."""
    assert np.isinf(EXCUSED[construction]).all()


def test_moderate_numbers_of_the_same_kind_are_not_excused():
    """The rules above do not reach further than they should."""
    moderate = (
        of_attention([[0]], np.zeros((60, 1)), np.full((60, 1), 1000.0), 1.0),
        of_attention([[30000.0]], [[2.0**-10], [0]], [[1.0], [2.0]], 2.0),
        of_attention(10 * np.ones((1, 64)), np.ones((64, 64)), np.ones((64, 2)), 0.125),
        rows([1.0, 1.0, 1.0, 2.0], eps=1e-3),
    )

    for case in moderate:
        for machine in (FUSED, EAGER, STEPWISE):
            assert np.isfinite(bounded(case, machine).radius).all(), machine


def test_a_prescaled_query_may_be_flushed_in_the_dtype_that_it_is_stored_in():
    """q / 8 of 3 2^-24 is no float16 number: stored before the product, it loses up to a quarter of itself."""
    q, k = np.full((1, 64), 3 * 2.0**-24), np.concatenate([np.full((1, 64), 60000.0), np.zeros((1, 64))])
    case = of_attention(q, k, [[1.0], [0.0]], 0.125)

    def stored_first(m, q, k, v, allowed, scale):
        s = m.narrow(q * m.number(scale)) @ k.swapaxes(-1, -2)
        weights = np.exp(s - s.max(-1, keepdims=True))
        return m.output(weights / weights.sum(-1, keepdims=True) @ v)

    got = stored_first(FUSED, *(FUSED.loaded(x) for x in (case.q, case.k, case.v)), None, 0.125)
    assert ratios(got, bounded(case, FUSED, ())).max() > 1
    assert ratios(got, bounded(case, FUSED, ("stored-prescale",))).max() <= 1
