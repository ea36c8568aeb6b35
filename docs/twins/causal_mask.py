"""CAU · Right ways of writing the causal mask, and attention in causal order, as the faults of causal_mask are written."""

# ruff: noqa: RET504 - a result has a name here where faults go on to change it

import numpy as np
from toise.faults.attention import attend, visible
from toise.faults.causal_mask import bottom_right, in_heads

from twins import twin


@twin("causal_mask")
def triangle(n, m=None):
    """The triangle is NumPy's, moved by m - n."""
    m = n if m is None else m
    return np.tri(n, m, m - n, dtype=bool)


@twin("causal_mask")
def triangle_alone(n, m=None):
    """NumPy takes m = n where m is not given."""
    return np.tri(n, m, 0 if m is None else m - n, dtype=bool)


@twin("causal_mask")
def handed_on(n, m=None):
    """m is settled, and the mask made."""
    m = n if m is None else m
    return bottom_right(n, m)


@twin("causal_mask")
def one_line(n, m=None):
    """m is settled where the mask is made."""
    return bottom_right(n, n if m is None else m)


@twin("causal_mask")
def result_named(n, m=None):
    """The mask has a name."""
    mask = bottom_right(n, n if m is None else m)
    return mask


@twin("causal_mask")
def lengths_together(n, m=None):
    """The two lengths have a name."""
    lengths = n, n if m is None else m
    return bottom_right(*lengths)


@twin("causal_mask")
def lower_triangle(n, m=None):
    """The triangle is cut out of ones."""
    m = n if m is None else m
    return np.tril(np.ones((n, m), bool), m - n)


@twin("causal_mask")
def places_compared(n, m=None):
    """The place of each key is compared with that of each query."""
    m = n if m is None else m
    return np.arange(m) <= np.arange(m - n, m)[:, None]


@twin("causal_mask")
def places_from_zero(n, m=None):
    """Queries are counted from zero, and moved by m - n."""
    m = n if m is None else m
    return np.arange(m) <= np.arange(n)[:, None] + (m - n)


@twin("causal_mask")
def places_named(n, m=None):
    """The places of queries and keys have names."""
    m = n if m is None else m
    query, key = np.arange(n)[:, None] + (m - n), np.arange(m)
    return key <= query


@twin("causal_mask")
def row_by_row(n, m=None):
    """Each row is filled as far as its query sees."""
    m = n if m is None else m
    mask = np.zeros((n, m), bool)
    for row in range(n):
        mask[row, : max(0, row + m - n + 1)] = True
    return mask


@twin("causal_mask", stateful=True)
def copies_of_one():
    """One array is kept for each pair of lengths, and every caller gets a copy."""
    kept = {}

    def causal_mask(n, m=None):
        lengths = n, n if m is None else m
        if lengths not in kept:
            kept[lengths] = bottom_right(*lengths)
        return kept[lengths].copy()

    return causal_mask


@twin("causal_mask", stateful=True)
def copies_of_a_template():
    """Square masks of up to 64 tokens are copies of parts of one template."""
    template = bottom_right(64, 64)

    def causal_mask(n, m=None):
        m = n if m is None else m
        return template[:n, :n].copy() if n == m <= 64 else bottom_right(n, m)

    return causal_mask


@twin("causal_mask", stateful=True)
def copies_of_one_buffer():
    """All masks are written into one buffer, of which each call returns a copy of a part."""
    buffer = np.zeros((0, 0), bool)

    def causal_mask(n, m=None):
        nonlocal buffer
        m = n if m is None else m
        if n > buffer.shape[0] or m > buffer.shape[1]:
            buffer = np.zeros((max(n, buffer.shape[0]), max(m, buffer.shape[1])), bool)
        buffer[:n, :m] = bottom_right(n, m)
        return buffer[:n, :m].copy()

    return causal_mask


@twin("multi_head_attention")
def heads_share_a_mask(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """One mask serves all heads."""
    masks = [visible(q, k, mask, causal) for head in range(len(w_q))]
    return in_heads(q, k, v, w_q, w_k, w_v, w_o, masks)


@twin("multi_head_attention")
def heads_in_order(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """The causal order is put into the mask."""
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & np.tri(q.shape[-2], k.shape[-2], k.shape[-2] - q.shape[-2], dtype=bool)
    return in_heads(q, k, v, w_q, w_k, w_v, w_o, [allowed] * len(w_q))


@twin("attention")
def places_in_order(q, k, v, *, mask=None, causal=False, scale=None):
    """The places of keys and queries are compared for the causal order."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & (np.arange(m) <= np.arange(m - n, m)[:, None])
    return attend(q, k, v, mask=allowed, scale=scale)
