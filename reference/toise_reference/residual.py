"""RES · Residual connection: a sublayer adds to its input.  Read with spec/toise_spec/residual.md."""

from toise_reference.domain import checked


@checked
def residual(x, sublayer):
    """Add to `x` what a sublayer makes of it.

        y = x + sublayer(x)                             (RES-1)

    x         [..., d]   one row of features for each position
    sublayer  function   takes an array, and gives one of the same shape and dtype
    ->        [..., d]

    Raises ValueError or TypeError where the arguments, or what the sublayer gives, do not fit together.

    He et al., "Deep Residual Learning for Image Recognition", 2016 (arXiv:1512.03385), section 3.2.
    """
    return x + sublayer(x)                              # [..., d]
