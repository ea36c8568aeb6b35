"""Formats and precision classes: what a backend may round, and how, as data.

A new precision is a new row of `PRECISIONS`; no rule changes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A rounding: |fl(x) - x| <= u |x| + tiny, and overflow above huge.

    `tiny` is the smallest normal number, so that flushing subnormals to zero is allowed.
    """

    u: float
    tiny: float
    huge: float


EXACT = Format(0.0, 0.0, float("inf"))
FLOAT64 = Format(2.0**-53, 2.0**-1022, 1.7976931348623157e308)
FLOAT32 = Format(2.0**-24, 2.0**-126, 3.4028234663852886e38)
BFLOAT16 = Format(2.0**-8, 2.0**-126, 3.3895313892515355e38)
# Tensor cores truncate while they accumulate in float32: twice the unit of rounding to nearest.
ACCUMULATE32 = Format(2.0**-23, 2.0**-126, 3.4028234663852886e38)


@dataclass(frozen=True)
class Precision:
    """Where an implementation may round, and to what.

    storage      inputs are exact in it, and the result is rounded to it
    tensor       an array that is written out between two kernels
    step         an elementary operation inside a kernel
    accumulate   one addition of a long sum
    operand      the operands of a matrix product, rounded once more
    weights      attention weights, before they meet the values
    ulps         error of exp and 1/sqrt in units of step.u: 4 units are 2 ulp, as CUDA's `__expf` near 0
    """

    storage: Format
    tensor: Format
    step: Format
    accumulate: Format
    operand: Format = EXACT
    weights: Format = EXACT
    ulps: float = 4.0

    @property
    def step_and_store(self) -> float:
        """The error of a step that is written out; equal units count once, as the second rounding finds nothing to round."""
        return sum({self.step.u, self.tensor.u})


# STRICT: every intermediate in the dtype itself.  FUSED: the dtype outside, float32 inside and between kernels.
# EAGER: float32 inside a kernel, the dtype between two.  STEPWISE: every step in the dtype, narrow as it is.
PRECISIONS: dict[str, dict[str, Precision]] = {
    "float64": {"STRICT": Precision(FLOAT64, FLOAT64, FLOAT64, FLOAT64)},
    "float32": {"STRICT": Precision(FLOAT32, FLOAT32, FLOAT32, FLOAT32)},
    "bfloat16": {
        "FUSED": Precision(BFLOAT16, FLOAT32, FLOAT32, ACCUMULATE32, weights=BFLOAT16),
        "EAGER": Precision(BFLOAT16, BFLOAT16, FLOAT32, ACCUMULATE32, weights=BFLOAT16),
        "STEPWISE": Precision(BFLOAT16, BFLOAT16, BFLOAT16, BFLOAT16, weights=BFLOAT16),
    },
}
# What is no floating-point number is not rounded.
UNROUNDED = Precision(EXACT, EXACT, EXACT, EXACT)
