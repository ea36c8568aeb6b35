"""Formats, precision classes and traits: what a backend may round, and how, as data.

A new precision is a new row of `PRECISIONS`; no rule changes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A rounding: |fl(x) - x| <= u |x| + tiny, and overflow above huge.

    Where numbers below the smallest normal one may be flushed to zero, `tiny` is that number; where they are
    kept, half of the smallest one.
    """

    u: float
    tiny: float
    huge: float


EXACT = Format(0.0, 0.0, float("inf"))
FLOAT64 = Format(2.0**-53, 2.0**-1022, 1.7976931348623157e308)
FLOAT32 = Format(2.0**-24, 2.0**-126, 3.4028234663852886e38)
# 11 significant bits in float32's range; a tensor core may cut the others off, which is twice the error of rounding them.
TF32 = Format(2.0**-10, 2.0**-126, 3.4028234663852886e38)
# Its subnormal numbers are kept, by CPUs and GPUs alike: they begin at 2^-14, where weights of long rows still count.
FLOAT16 = Format(2.0**-11, 2.0**-25, 65504.0)
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
    traits       what only some honest kernels do besides, by the names of `TRAITS`
    """

    storage: Format
    tensor: Format
    step: Format
    accumulate: Format
    operand: Format = EXACT
    weights: Format = EXACT
    ulps: float = 4.0
    traits: frozenset[str] = frozenset()

    @property
    def written(self) -> float:
        """The unit of an array that is written out: 0 where a step has rounded it to that format already."""
        return 0.0 if self.tensor is self.step else self.tensor.u

    @property
    def step_and_store(self) -> float:
        """The error of a step that is written out."""
        return self.step.u + self.written


def _narrow(storage: Format) -> dict[str, Precision]:
    """Return the classes of a dtype that is narrower than float32."""
    return {
        "FUSED": Precision(storage, FLOAT32, FLOAT32, ACCUMULATE32, weights=storage),
        "EAGER": Precision(storage, storage, FLOAT32, ACCUMULATE32, weights=storage),
        "STEPWISE": Precision(storage, storage, storage, storage, weights=storage),
    }


# STRICT: every intermediate in the dtype itself.  TF32: so, but for the operands of matrix products.
# FUSED: the dtype outside, float32 inside and between kernels.  EAGER: float32 inside a kernel, the dtype between two.
# STEPWISE: every step in the dtype, narrow as it is.  Of each dtype the strictest comes first, and is the default.
PRECISIONS: dict[str, dict[str, Precision]] = {
    "float64": {"STRICT": Precision(FLOAT64, FLOAT64, FLOAT64, FLOAT64)},
    "float32": {
        "STRICT": Precision(FLOAT32, FLOAT32, FLOAT32, FLOAT32),
        "TF32": Precision(FLOAT32, FLOAT32, FLOAT32, ACCUMULATE32, operand=TF32),
    },
    "float16": _narrow(FLOAT16),
    "bfloat16": _narrow(BFLOAT16),
}
# From the strictest to the widest.
CLASSES = ("STRICT", "FUSED", "TF32", "EAGER", "STEPWISE")
# What a class that is looser than another of the same dtype means, in a few words.
LOOSER = {
    "TF32": "operands of matrix products are cut to 11 significant bits, as by CUDA with allow_tf32",
    "EAGER": "every array that is written out between two kernels is in the dtype",
    "STEPWISE": "every single step is in the dtype",
}
# What is no floating-point number is not rounded.
UNROUNDED = Precision(EXACT, EXACT, EXACT, EXACT)

# What a backend may declare beside its class, each with what it allows.
TRAITS = {
    "rounded-normaliser": "the sum of the weights is taken after they were rounded",
    "many-rescales": "a running sum of exponentials is rescaled more often than once in 16 terms",
    "stored-prescale": "q and k are multiplied by the root of the scale, or q by the scale, and written out in the dtype",
    "lse-weights": "weights are exp(score - log-sum-exp), and nothing is divided by their sum",
    "stored-before-gamma": "the normalised row, and its product with gamma, are written out in the dtype",
    "split-k": "partial sums of a matrix product, 16 at most, are written out and added in the dtype",
}
