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
    "multi_head_attention, small": MultiHeadAttention(
        n=5, m=9, h=4, d_k=4, content="normal", values="normal", weights="normal", seed=2
    ),
    "feed_forward": FeedForward(lead=(96,), d_model=64, d_ff=256, content="normal"),
    "feed_forward, small": FeedForward(lead=(16,), d_model=8, d_ff=8, content="normal", b1="normal", b2="normal"),
    "layer_norm": TokenRows(lead=(96,), d=64, content="normal", gamma="normal", beta="normal"),
    "layer_norm, large mean": TokenRows(lead=(96,), d=64, content="offset", gamma="normal", beta="normal"),
    "residual": Residual(lead=(96,), d=64, content="normal"),
    "sequence_log_prob, one step": SequenceLogProb(lead=(100,), n=2, vocab=3, content="normal"),
    "sequence_log_prob, wide": SequenceLogProb(lead=(20,), n=16, vocab=8, content="wide"),
    "sequence_log_prob, peaked": SequenceLogProb(lead=(20,), n=9, vocab=65, content="peaked"),
    "sequence_log_prob, large vocabulary": SequenceLogProb(lead=(4,), n=9, vocab=513, content="normal"),
    "sequence_log_prob": SequenceLogProb(lead=(96,), n=17, vocab=64, content="normal"),
}
# The most that a radius may be, in these units.
LIMITS = {
    (name, machine): limit
    for name, limits in {
        "attention": {"float32 STRICT": 500, "float16 FUSED": 20, "bfloat16 FUSED": 20},
        "attention, offset values": {"float32 STRICT": 75},
        "multi_head_attention, small": {"float32 STRICT": 240, "bfloat16 FUSED": 8, "bfloat16 EAGER": 30},
        # Long sums in float32: the bound grows with the number of terms, and errors that happen to cancel do not.
        "feed_forward": {"float32 STRICT": 800, "bfloat16 FUSED": 3, "bfloat16 EAGER": 28},
        "feed_forward, small": {"float32 STRICT": 25, "bfloat16 FUSED": 3, "bfloat16 EAGER": 5},
        "layer_norm": {"float16 FUSED": 4, "bfloat16 FUSED": 4},
        "sequence_log_prob, one step": {
            "float32 STRICT": 9, "bfloat16 FUSED": 3, "bfloat16 EAGER": 19, "bfloat16 STEPWISE": 6,
        },
        "sequence_log_prob, wide": {
            "float32 STRICT": 38, "bfloat16 FUSED": 2.6, "bfloat16 EAGER": 18, "bfloat16 STEPWISE": 55,
        },
        "sequence_log_prob, peaked": {
            "float32 STRICT": 72, "bfloat16 FUSED": 18, "bfloat16 EAGER": 230, "bfloat16 STEPWISE": 180,
        },
        "sequence_log_prob, large vocabulary": {
            "float32 STRICT": 100, "bfloat16 FUSED": 2.4, "bfloat16 EAGER": 29, "bfloat16 STEPWISE": 23,
        },
    }.items()
    for machine, limit in limits.items()
}  # fmt: skip


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
