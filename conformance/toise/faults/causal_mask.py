"""CAU · What implementations of the causal mask, and of causal order, get wrong.  Read with spec/toise_spec/causal_mask.md."""

import numpy as np

from toise.faults import call, fault
from toise.faults.attention import ONE_TWO_FOUR, ZEROS, attend, visible


def bottom_right(n, m):
    """Return the mask of n queries and m keys."""
    return np.tri(n, m, m - n, dtype=bool)


def in_heads(q, k, v, w_q, w_k, w_v, w_o, masks):
    """Return multi-head attention, with a mask for each head."""
    heads = [attend(q @ w_q[i], k @ w_k[i], v @ w_v[i], mask=masks[i]) for i in range(len(w_q))]
    return np.concatenate(heads, axis=-1) @ w_o


# --- The diagonal --------------------------------------------------------------------------------------


@fault(
    "causal_mask",
    origin="pbloem/former#10",
    fails=("CAU-4", "CAU-1"),
    on=call(2),
    hint="a query sees the key at its own place: the triangle includes the diagonal",
)
def own_key_hidden(n, m=None):
    """A query does not see its own key: the triangle is strict."""
    m = n if m is None else m
    return np.tri(n, m, m - n - 1, dtype=bool)


@fault(
    "causal_mask",
    origin="RVC-Boss/GPT-SoVITS#965",
    fails=("CAU-1", "CAU-9"),
    on=call(2),
    hint="a query sees the keys up to its own place, and not the next one",
)
def next_key_seen(n, m=None):
    """A query sees one key beyond its own."""
    m = n if m is None else m
    return np.tri(n, m, m - n + 1, dtype=bool)


@fault(
    "causal_mask",
    fails=("CAU-3", "CAU-1"),
    on=call(2),
    hint="the lower triangle is kept: row i allows the columns up to i",
)
def past_for_future(n, m=None):
    """The other triangle is kept: a query sees itself and the later keys."""
    m = n if m is None else m
    return np.triu(np.ones((n, m), bool), m - n)


@fault(
    "causal_mask",
    origin="rasbt/LLMs-from-scratch#1061",
    fails=("CAU-3", "CAU-1", "CAU-4", "CAU-6", "CAU-7"),
    on=call(3),
    hint="True means may attend: the lower triangle is True",
)
def polarity_inverted(n, m=None):
    """True marks the keys that are hidden."""
    return ~bottom_right(n, n if m is None else m)


@fault(
    "causal_mask",
    origin="pytorch/pytorch#103082",
    fails=("CAU-6", "CAU-7", "CAU-8"),
    on=call(2, m=3),
    hint="the last query sees every key, unless the other alignment is declared",
)
def top_left(n, m=None):
    """The diagonal starts at the top left corner where n and m differ, which was not declared."""
    return np.tri(n, m, dtype=bool)


@fault(
    "causal_mask",
    origin="google/flax#5591",
    fails=("CAU-7", "CAU-10"),
    on=call(1, m=3),
    hint="the one query of a decoding step is the last of the tokens, and sees all keys",
)
def top_left_for_one_query(n, m=None):
    """A single query sees the first key alone; several see what they should."""
    m = n if m is None else m
    return np.tri(n, m, 0 if n == 1 else m - n, dtype=bool)


@fault(
    "causal_mask",
    origin="ml-explore/mlx#2967",
    fails=("CAU-8", "CAU-10"),
    on=call(3, m=2),
    hint="with more queries than keys m - n is below zero, and the first queries see nothing",
)
def top_left_where_n_exceeds_m(n, m=None):
    """The offset m - n is cut off at zero, so that more queries than keys are aligned top-left."""
    m = n if m is None else m
    return np.tri(n, m, max(m - n, 0), dtype=bool)


@fault(
    "causal_mask",
    fails=("CAU-6", "CAU-7", "CAU-8", "CAU-10"),
    on=call(2, m=4),
    hint="the last query sees every key: the offset is m - n, and not half of it",
)
def centred_where_lengths_differ(n, m=None):
    """The offset is half of m - n, rounded down."""
    m = n if m is None else m
    return np.tri(n, m, (m - n) // 2, dtype=bool)


@fault(
    "causal_mask",
    origin="apache/tvm#14907",
    fails=("CAU-8", "CAU-10"),
    on=call(3, m=2),
    hint="with more queries than keys m - n is below zero, and the first queries see nothing",
)
def offset_without_sign(n, m=None):
    """The offset is |m - n|, so that more queries than keys see too much."""
    m = n if m is None else m
    return np.tri(n, m, abs(m - n), dtype=bool)


@fault(
    "causal_mask",
    fails=("CAU-8",),
    on=call(5, m=2),
    hint="with more queries than keys m - n is below zero, which an unsigned number cannot be",
)
def offset_wraps_below_zero(n, m=None):
    """The offset is an unsigned number, and m - n below zero is a huge one."""
    m = n if m is None else m
    return np.arange(m) <= np.arange(n)[:, None] + (m - n) % 2**32


@fault(
    "causal_mask",
    fails=("CAU-6",),
    on=call(2, m=200),
    hint="more keys than queries may be kept than eight bits can count",
)
def offset_in_int8(n, m=None):
    """The offset m - n is kept in eight bits, and wraps past 127."""
    m = n if m is None else m
    return np.tri(n, m, (m - n + 128) % 256 - 128, dtype=bool)


@fault(
    "causal_mask",
    fails=("CAU-6", "CAU-8", "CAU-9", "CAU-10"),
    on=call(2, m=5),
    hint="places are counted in tokens, for queries and keys alike",
)
def places_as_fractions(n, m=None):
    """Places are compared as fractions of the lengths, (j + 1) / m with (i + 1) / n."""
    m = n if m is None else m
    return np.arange(1, m + 1) / m <= np.arange(1, n + 1)[:, None] / n if n and m else bottom_right(n, m)


@fault(
    "causal_mask",
    fails=("CAU-1",),
    on=call(520),
    hint="the causal order has no window: every earlier key is seen, however far back",
)
def window_of_512(n, m=None):
    """A query sees no further back than 512 keys."""
    m = n if m is None else m
    return bottom_right(n, m) & ~np.tri(n, m, m - n - 512, dtype=bool)


# --- The lengths ---------------------------------------------------------------------------------------


@fault(
    "causal_mask",
    fails=("CAU-6", "GEN-1"),
    on=call(2, m=3),
    hint="the rows are queries, the columns keys",
)
def keys_by_queries(n, m=None):
    """The lengths are exchanged, and the mask is [m, n]."""
    m = n if m is None else m
    return bottom_right(m, n)


@fault(
    "causal_mask",
    origin="meta-llama/llama#899",
    fails=("CAU-6", "GEN-1"),
    on=call(2, m=3),
    hint="with keys kept from before there are more columns than rows",
)
def m_ignored(n, m=None):
    """A square mask is returned whatever m is."""
    return bottom_right(n, n)


@fault(
    "causal_mask",
    fails=("CAU-12",),
    on=call(2, m=0),
    hint="0 is a number of keys; only None means that none is given",
)
def m_or_n(n, m=None):
    """An m of zero is taken for one that is not given."""
    return bottom_right(n, m or n)


@fault(
    "causal_mask",
    fails=("CAU-12",),
    on=call(2, m=0),
    hint="0 is a number of tokens, and gives an empty mask",
)
def zero_lengths_refused(n, m=None):
    """A length of 0 is refused."""
    m = n if m is None else m
    if n < 1 or m < 1:
        raise ValueError("lengths must be positive")
    return bottom_right(n, m)


@fault(
    "causal_mask",
    fails=("CAU-5",),
    on=call(2),
    hint="without m there are as many keys as queries: both axes of the kept mask are cut",
)
def longest_columns_kept(n, m=None):
    """A mask for 1024 tokens is kept, and only its rows are cut where m is not given."""
    return bottom_right(1024, 1024)[:n].copy() if m is None else bottom_right(n, m)


@fault(
    "causal_mask",
    fails=("CAU-6", "CAU-7"),
    on=call(2, m=3),
    hint="keys from before the first query are earlier, and seen by all",
)
def kept_keys_hidden(n, m=None):
    """The keys before the first query are hidden, and only the square at the end has a triangle."""
    m = n if m is None else m
    return bottom_right(n, m) & ~np.tri(n, m, m - n - n, dtype=bool) & (np.arange(m) >= m - n)


@fault(
    "causal_mask",
    fails=("CAU-6",),
    on=call(2, m=3),
    hint="keys from before come first, and the triangle after them",
)
def kept_keys_last(n, m=None):
    """The columns of the keys that were there before are put after those of the new ones."""
    m = n if m is None else m
    return np.roll(bottom_right(n, m), min(n, m), axis=1)


@fault(
    "causal_mask",
    fails=("CAU-8", "CAU-10"),
    on=call(3, m=2),
    hint="a query that sees no key has a row of False; what attention makes of it is another matter",
)
def empty_rows_opened(n, m=None):
    """Queries that see no key are made to see all, so that no softmax divides by zero."""
    mask = bottom_right(n, n if m is None else m)
    return mask | ~mask.any(axis=1, keepdims=True)


@fault(
    "causal_mask",
    fails=("CAU-6", "CAU-7", "CAU-8", "CAU-10"),
    on=call(2, m=3),
    hint="a longer mask is cut so that its diagonal ends in the last row and the last column",
)
def cut_from_padded_mask(n, m=None):
    """The mask is made for lengths rounded up to multiples of 8, and cut from its top left corner."""
    m = n if m is None else m
    return bottom_right(-(-n // 8) * 8, -(-m // 8) * 8)[:n, :m].copy()


@fault(
    "causal_mask",
    fails=("CAU-6",),
    on=call(2, m=520),
    hint="the alignment is one for all lengths",
)
def wide_ones_top_left(n, m=None):
    """With more than 512 keys the mask is aligned top-left."""
    m = n if m is None else m
    return np.tri(n, m, 0 if m > 512 else m - n, dtype=bool)


# --- Blocks and places ---------------------------------------------------------------------------------


@fault(
    "causal_mask",
    fails=("CAU-1", "CAU-4", "CAU-7", "CAU-9", "CAU-3"),
    on=call(2),
    hint="the last row belongs to the last query, which sees every key",
)
def last_row_forgotten(n, m=None):
    """The loop over the rows ends one short, and the last row stays False."""
    m = n if m is None else m
    mask = np.zeros((n, m), bool)
    for row in range(n - 1):
        mask[row, : max(0, row + m - n + 1)] = True
    return mask


@fault(
    "causal_mask",
    origin="pytorch/pytorch#195910",
    fails=("CAU-1", "CAU-9"),
    on=call(3),
    hint="each query has a diagonal of its own",
)
def groups_of_four(n, m=None):
    """One decision is made for four queries, by the last of them."""
    m = n if m is None else m
    last_of_group = np.arange(n) // 4 * 4 + 3
    return np.arange(m) <= last_of_group[:, None] + (m - n)


@fault(
    "causal_mask",
    origin="tenstorrent/tt-metal#48700",
    fails=("CAU-1", "CAU-9"),
    on=call(3),
    hint="the block on the diagonal needs an order of its own",
)
def blocks_of_sixteen(n, m=None):
    """The order holds from block to block of 16 tokens, and a block sees itself in full."""
    m = n if m is None else m
    return np.arange(m) // 16 <= (np.arange(n)[:, None] + (m - n)) // 16


@fault(
    "causal_mask",
    fails=("CAU-1", "CAU-11", "CAU-10"),
    on=call(301),
    hint="the tile on the diagonal has the diagonal of the whole mask",
)
def long_ones_by_tiles(n, m=None):
    """Above 300 queries the mask is made by tiles of 100, and the tile on the diagonal is left open by one."""
    m = n if m is None else m
    query, key = np.arange(n)[:, None] + (m - n), np.arange(m)
    if n <= 300:
        return key <= query
    return (key // 100 < query // 100) | ((key // 100 == query // 100) & (key <= query + 1))


@fault(
    "causal_mask",
    fails=("CAU-1", "CAU-10"),
    on=call(514),
    hint="the buffer is as long as any text, or the mask is made for the lengths of the call",
)
def rows_past_buffer_open(n, m=None):
    """Rows past the 512 of a buffer see every key."""
    mask = bottom_right(n, n if m is None else m)
    mask[512:] = True
    return mask


@fault(
    "causal_mask",
    fails=("CAU-11",),
    on=call(129),
    hint="eight bits count to 127",
)
def places_in_int8(n, m=None):
    """Places are counted in int8, and wrap past 127."""
    m = n if m is None else m
    return np.arange(m).astype(np.int8) <= np.arange(m - n, m).astype(np.int8)[:, None]


@fault(
    "causal_mask",
    fails=("CAU-11",),
    on=call(258),
    hint="a number of few digits does not hold every place",
)
def places_in_bfloat16(n, m=None):
    """Places are kept in bfloat16, which has no odd numbers above 256."""
    m = n if m is None else m
    first = min(0, m - n)
    places = np.arange(first, m, dtype=np.float32).view(np.uint32)
    rounded = (places + 0x7FFF + (places >> 16 & 1) & 0xFFFF0000).view(np.float32)  # to the nearest, ties to even
    return rounded[-first:] <= rounded[m - n - first :, None]


@fault(
    "causal_mask",
    fails=("CAU-11",),
    on=call(3, m=2051),
    hint="a number of few digits does not hold every place",
)
def places_in_float16(n, m=None):
    """Places are kept in float16, which has no odd numbers above 2048."""
    m = n if m is None else m
    return np.arange(m).astype(np.float16) <= np.arange(m - n, m).astype(np.float16)[:, None]


@fault(
    "causal_mask",
    fails=("CAU-7",),
    on=call(1, m=32769),
    hint="sixteen bits count to 32767",
)
def places_in_int16(n, m=None):
    """Places are counted in int16, and wrap past 32767."""
    m = n if m is None else m
    return np.arange(m).astype(np.int16) <= np.arange(m - n, m).astype(np.int16)[:, None]


# --- What is returned ----------------------------------------------------------------------------------


@fault(
    "causal_mask",
    fails=("CAU-2",),
    on=call(2),
    hint="the mask holds truth values, not numbers",
)
def zeros_and_ones(n, m=None):
    """The mask holds the numbers 0 and 1."""
    return bottom_right(n, n if m is None else m).astype(np.float32)


@fault(
    "causal_mask",
    fails=("CAU-2",),
    on=call(2),
    hint="the mask holds truth values, and a byte is none: ~ makes 254 of 1",
)
def bytes_for_truth_values(n, m=None):
    """The mask holds 0 and 1 as bytes."""
    return bottom_right(n, n if m is None else m).astype(np.uint8)


@fault(
    "causal_mask",
    origin="pytorch/pytorch#103963",
    fails=("CAU-2",),
    on=call(2),
    hint="the mask holds truth values; what is added to the scores is made of it later",
)
def zeros_and_minus_infinity(n, m=None):
    """The mask holds what is added to the scores, 0 and minus infinity."""
    return np.where(bottom_right(n, n if m is None else m), np.float32(0), np.float32(-np.inf))


@fault(
    "causal_mask",
    fails=("CAU-13",),
    on=call(2),
    hint="a mask that is kept is copied before it is handed out",
    stateful=True,
)
def one_for_all():
    """One array is kept for each pair of lengths and handed to every caller."""
    kept = {}

    def causal_mask(n, m=None):
        lengths = n, n if m is None else m
        if lengths not in kept:
            kept[lengths] = bottom_right(*lengths)
        return kept[lengths]

    return causal_mask


@fault(
    "causal_mask",
    fails=("CAU-13",),
    on=call(129),
    hint="a mask that is kept is copied before it is handed out",
    stateful=True,
)
def long_ones_kept():
    """Masks of more than 128 rows are kept and handed to every caller."""
    kept = {}

    def causal_mask(n, m=None):
        lengths = n, n if m is None else m
        return kept.setdefault(lengths, bottom_right(*lengths)) if n > 128 else bottom_right(*lengths)

    return causal_mask


@fault(
    "causal_mask",
    fails=("CAU-13",),
    on=(call(2), call(3)),
    hint="what is cut from a mask that is kept is copied before it is handed out",
    stateful=True,
)
def view_of_a_template():
    """Square masks of up to 64 tokens are views of one template."""
    template = bottom_right(64, 64)

    def causal_mask(n, m=None):
        m = n if m is None else m
        return template[:n, :n] if n == m <= 64 else bottom_right(n, m)

    return causal_mask


@fault(
    "causal_mask",
    fails=("CAU-13",),
    on=(call(2), call(2, m=3)),
    hint="each mask needs memory of its own: the next call writes over a shared one",
    stateful=True,
)
def one_buffer():
    """All masks are written into one buffer, of which each call returns a part."""
    buffer = np.zeros((0, 0), bool)

    def causal_mask(n, m=None):
        nonlocal buffer
        m = n if m is None else m
        if n > buffer.shape[0] or m > buffer.shape[1]:
            buffer = np.zeros((max(n, buffer.shape[0]), max(m, buffer.shape[1])), bool)
        buffer[:n, :m] = bottom_right(n, m)
        return buffer[:n, :m]

    return causal_mask


# --- The causal order of attention ---------------------------------------------------------------------


@fault(
    "attention",
    origin="microsoft/onnxruntime#29020",
    fails=("CAU-14",),
    on=call([[0], [0]], ZEROS, ONE_TWO_FOUR, causal=True),
    hint="the two paths of the causal order need one alignment",
)
def attention_top_left_without_mask(q, k, v, *, mask=None, causal=False, scale=None):
    """The causal path of attention is aligned top-left, and a mask given beside it brings it to the bottom right."""
    if causal and mask is None:
        mask, causal = np.tri(q.shape[-2], k.shape[-2], dtype=bool), False
    return attend(q, k, v, mask=mask, causal=causal, scale=scale)


@fault(
    "attention",
    fails=("CAU-14",),
    on=call([[0], [0]], ZEROS, ONE_TWO_FOUR, causal=True),
    hint="several new tokens after kept ones have an order among themselves",
)
def attention_open_after_cache(q, k, v, *, mask=None, causal=False, scale=None):
    """Attention in causal order lets all queries see all keys where there are more keys than queries, as one query may."""
    return attend(q, k, v, mask=mask, causal=causal and q.shape[-2] >= k.shape[-2], scale=scale)


@fault(
    "attention",
    fails=("CAU-14", "ATT-14", "ATT-15", "ATT-16"),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], causal=True),
    hint="the tile that the diagonal crosses needs an order of its own",
)
def attention_order_by_tiles(q, k, v, *, mask=None, causal=False, scale=None):
    """In attention, keys of the tile of 64 that the diagonal crosses are all seen."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & (np.arange(m) // 64 <= np.arange(m - n, m)[:, None] // 64)
    return attend(q, k, v, mask=allowed, scale=scale)


@fault(
    "attention",
    fails=("CAU-14",),
    on=call([[0]], np.zeros((129, 1)), [[1]] * 128 + [[130]], causal=True),
    hint="eight bits count to 127",
)
def attention_order_in_int8(q, k, v, *, mask=None, causal=False, scale=None):
    """Attention counts places in int8 for the causal order."""
    n, m = q.shape[-2], k.shape[-2]
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & (np.arange(m).astype(np.int8) <= np.arange(m - n, m).astype(np.int8)[:, None])
    return attend(q, k, v, mask=allowed, scale=scale)


@fault(
    "attention",
    fails=("ATT-14",),
    on=call(np.zeros((257, 1)), np.zeros((257, 1)), np.arange(257)[:, None], causal=True),
    hint="the causal order holds for any lengths, on every path",
)
def attention_order_lost_past_256_queries(q, k, v, *, mask=None, causal=False, scale=None):
    """Attention loses the causal order above 256 queries, where it works in chunks."""
    return attend(q, k, v, mask=mask, causal=causal and q.shape[-2] <= 256, scale=scale)


@fault(
    "attention",
    fails=("CAU-14",),
    on=call([[0], [0]], [[0], [0]], [[1, 1], [2, 4]], causal=True),
    hint="the causal order holds for any widths, on every path",
)
def attention_order_for_equal_widths(q, k, v, *, mask=None, causal=False, scale=None):
    """Attention loses the causal order where d_v and d_k differ, on the path without a kernel."""
    return attend(q, k, v, mask=mask, causal=causal and q.shape[-1] == v.shape[-1], scale=scale)


@fault(
    "attention",
    fails=("CAU-14",),
    on=call(np.zeros((2, 2, 1)), np.zeros((2, 2, 1)), [[[1], [2]], [[1], [2]]], causal=True),
    hint="the causal order is one for every entry of the batch",
)
def attention_order_of_first_entry(q, k, v, *, mask=None, causal=False, scale=None):
    """Attention applies the causal order to the first entry of the batch alone."""
    y = attend(q, k, v, mask=mask, causal=causal, scale=scale)
    if q.ndim > 2:
        y[1:] = attend(q, k, v, mask=mask, scale=scale)[1:]
    return y


HEADS = [[[1]], [[1]]]


@fault(
    "multi_head_attention",
    fails=("CAU-14", "MHA-14", "MHA-17"),
    on=call([[0], [0]], [[0], [0]], [[1], [2]], HEADS, HEADS, HEADS, [[1], [10]], causal=True),
    hint="the causal order is one for every head",
)
def heads_order_of_first(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Multi-head attention applies the causal order to the first head alone."""
    masks = [visible(q, k, mask, causal and head == 0) for head in range(len(w_q))]
    return in_heads(q, k, v, w_q, w_k, w_v, w_o, masks)


@fault(
    "multi_head_attention",
    origin="ml-explore/mlx#2836",
    fails=("CAU-14", "MHA-14"),
    on=call([[0], [0]], ZEROS, ONE_TWO_FOUR, HEADS, HEADS, HEADS, [[1], [10]], causal=True),
    hint="the last query sees every key, unless the other alignment is declared",
)
def heads_top_left(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Multi-head attention aligns its causal order top-left, which was not declared."""
    allowed = visible(q, k, mask)
    if causal:
        allowed = allowed & np.tri(q.shape[-2], k.shape[-2], dtype=bool)
    return in_heads(q, k, v, w_q, w_k, w_v, w_o, [allowed] * len(w_q))
