"""How wide a radius is: its root mean square, over that of the worst error of all correct organisations at each element."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from toise.inputs import Attention, FeedForward, MultiHeadAttention, Residual, SequenceLogProb, TokenRows

from soundness.campaign import ORGANISATIONS, bounded, result
from soundness.cases import built

if TYPE_CHECKING:
    from soundness.machine import Machine

ROWS = {"n": 96, "m": 96, "d_k": 64, "d_v": 16}
CASES = {
    "attention": Attention(content="normal", values="normal", **ROWS),
    "attention, offset values": Attention(content="normal", values="offset", **ROWS),
    "attention, indicator values": Attention(content="normal", values="indicator", **ROWS),
    "attention, large scores": Attention(content="peaked", values="normal", **ROWS),
    "multi_head_attention": MultiHeadAttention(n=96, m=96, h=4, d_k=16, content="normal", values="normal", weights="normal"),
    "feed_forward": FeedForward(lead=(96,), d_model=64, d_ff=256, content="normal"),
    "layer_norm": TokenRows(lead=(96,), d=64, content="normal", gamma="normal", beta="normal"),
    "layer_norm, large mean": TokenRows(lead=(96,), d=64, content="offset", gamma="normal", beta="normal"),
    "residual": Residual(lead=(96,), d=64, content="normal"),
    "sequence_log_prob": SequenceLogProb(lead=(96,), n=17, vocab=64, content="normal"),
}
# The most that a radius may be, in these units.
LIMITS = {
    ("attention", "bfloat16 FUSED"): 20,
    ("attention", "float16 FUSED"): 20,
    ("attention", "float32 STRICT"): 500,
    ("attention, offset values", "float32 STRICT"): 75,
    ("layer_norm", "bfloat16 FUSED"): 4,
    ("layer_norm", "float16 FUSED"): 4,
}


def tightness(name: str, machine: Machine) -> float:
    """Return rms(radius) / rms(worst error), over the elements that have a radius.

    Infinity where no organisation errs, NaN where every element is excused.
    """
    case = built(CASES[name], machine.dtype)
    required = bounded(case, machine)
    held = np.isfinite(required.radius)
    worst = np.zeros(required.value.shape)
    for organisation in ORGANISATIONS[case.operation].values():
        if organisation.on(machine) and organisation.takes(case) and not organisation.slow:
            worst = np.maximum(worst, np.abs(result(organisation, machine, case) - required.value))
    if not worst[held].any():
        return math.inf if held.any() else math.nan
    return float(np.sqrt((required.radius[held] ** 2).mean() / (worst[held] ** 2).mean()))
