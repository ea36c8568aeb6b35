r"""The error analysis of a residual connection.  Read with spec/toise_spec/residual.md.

x and the sublayer's output are what they are: the sublayer's own errors are its own affair.  What is left is one
addition, which rounds once to the format of a step, |fl(x + s) - (x + s)| <= u |x + s|, however much cancels; and
once more to the format of the result, where that is a narrower one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toise.bounds.bounded import given

if TYPE_CHECKING:
    import numpy as np

    from toise.bounds.bounded import Bounded
    from toise.bounds.formats import Precision

    Array = np.ndarray


def residual(x: Array, output: Array, precision: Precision) -> Bounded:
    """Bound x + output.

    x       [..., d]   exact in the storage format
    output  [..., d]   what the sublayer gives for x, exact in it too
    ->      [..., d]   value and radius
    """
    total = given(x, precision) + given(output, precision)
    return total if precision.storage is precision.step else total.output()
