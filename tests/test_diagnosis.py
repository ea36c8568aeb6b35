"""What a failing backend behaves like: the fault that it has, and never one that it has not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toise import verify
from toise.backend import Backend
from toise.diagnosis import likeness
from toise.faults import catalogue
from toise.operations import OPERATIONS
from toise.quiet import quiet
from toise.targets import load

SCALE = "attention.no_scale"
NAMED = (
    "attention.mask_inverted", "attention.softmax_over_queries", "attention.order_one_too_high", "layer_norm.eps_outside_root",
    "layer_norm.annotated_transformer", "multi_head_attention.scale_of_d_model", "autoregressive.negated",
)  # fmt: skip


def alike(target, operation, dtype="float32"):
    """Return what a target behaves like."""
    with quiet():
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


@pytest.mark.parametrize("slug", NAMED)
def test_a_fault_that_shows_in_its_numbers_is_named(slug):
    """One of each kind."""
    fault = catalogue()[slug]

    assert alike(fault.target(), fault.operation, OPERATIONS[fault.operation].dtype or "float32") == slug


def test_a_backend_that_refuses_what_the_fault_answers_is_not_like_it():
    """It computes as the fault does where it computes, and raises for all other shapes."""
    fault = catalogue()["layer_norm.eps_outside_root"]

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        if x.shape != (1, 2):
            raise ValueError("another shape")
        return fault.function(x, gamma, beta, eps=eps)

    assert alike({"layer_norm": layer_norm}, "layer_norm") == ""


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
    target = {"attention": unscaled, "__toise__": {"arrays": "torch"}}
    report = verify(target, operations=["attention"], budget="smoke")

    assert report.requirements["ATT-8"].counterexample.like == SCALE


def test_a_backend_that_ends_its_process_when_it_is_compared_costs_no_verdict(toise, backend_file):
    """Under `-n` the rows stand as they were judged, and nothing is said of what it is like."""
    path = backend_file("""
        import os
        import sys

        def layer_norm(x, gamma, beta, *, eps=1e-5):
            if "toise.diagnosis" in sys.modules:
                os._exit(7)
            return x * 0
    """)
    done = toise("check", path, "--budget", "smoke", "-k", "LN-1 or LN-2", "-n", "1")

    assert done.returncode == 1
    assert "FAIL LN-1" in done.stdout
    assert "CRASH" not in done.stdout
    assert "behaves like" not in done.stdout
