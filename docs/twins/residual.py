"""RES · Right ways of writing residual, as the faults of residual are written."""

# ruff: noqa: RET504 - a result has a name here where faults go on to change it

from twins import twin


@twin("residual")
def one_line(x, sublayer):
    """The formula alone."""
    return x + sublayer(x)


@twin("residual")
def output_named(x, sublayer):
    """The output of the sublayer has a name."""
    output = sublayer(x)
    return x + output


@twin("residual")
def result_named(x, sublayer):
    """The sum has a name."""
    y = x + sublayer(x)
    return y


@twin("residual")
def copy_added_to(x, sublayer):
    """The output is added in place to a copy of x."""
    y = x.copy()
    y += sublayer(x)
    return y
