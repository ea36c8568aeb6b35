"""What a failing backend behaves like: the fault that it has, and never one that it has not."""

from __future__ import annotations

import numpy as np
import pytest
import toise
import torch
from misbehaviours import judged
from toise import engine
from toise.backend import Backend
from toise.diagnosis import likeness
from toise.faults import catalogue
from toise.operations import OPERATIONS
from toise.targets import load

SCALE = "attention.no_scale"


def alike(target, operation, dtype="float32"):
    """Return what a target behaves like."""
    with engine.quiet():
        return likeness(Backend(load(target), dtype), operation)


def unscaled(q, k, v, *, mask=None, causal=False, scale=None):
    """Forget the scale, with torch's own kernel."""
    if causal:
        lower = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2])
        mask = lower if mask is None else lower & mask
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0 if scale is None else scale)


@pytest.mark.parametrize("slug", catalogue())
def test_no_fault_is_taken_for_another(slug):
    """A fault is named as what it is, or not at all: one that shows in a history, or does as another does, is not."""
    fault = catalogue()[slug]
    if fault.operation != "mlm_corrupt":
        assert alike(fault.target(), fault.operation, OPERATIONS[fault.operation].dtype or "float32") in (slug, "")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_another_library_with_the_same_mistake_is_named_in_every_precision(dtype):
    """The numbers are torch's, and differ from the fault's by rounding."""
    assert alike({"attention": unscaled, "__toise__": {"arrays": "torch"}}, "attention", dtype) == SCALE


@pytest.mark.parametrize("target", ["reference", "torch"])
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "mlm_corrupt"])
def test_a_right_implementation_behaves_like_no_fault(target, operation):
    """Nor is it asked, save where something fails."""
    assert alike(target, operation, OPERATIONS[operation].dtype or "float32") == ""


def test_two_mistakes_at_once_are_no_one_of_them():
    """Neither explains the results."""

    def both(q, k, v, *, mask=None, causal=False, scale=None):
        return right(q, k, v, mask=mask, causal=causal, scale=1.0 if scale is None else scale) + np.float32(0.5)

    right = load("reference").operations["attention"]

    assert alike({"attention": both}, "attention") == ""


def test_the_report_names_it_and_the_terminal_says_what_to_look_at():
    """The slug stands beside each counterexample."""
    report = judged({"attention": unscaled, "__toise__": {"arrays": "torch"}}, ["ATT-8"])

    assert report.requirements["ATT-8"].counterexample.like == SCALE
    assert isinstance(report, toise.Report)
