"""MHA · Multi-head attention: several attentions side by side.  Read with spec/toise_spec/multi_head_attention.md."""

import numpy as np

from toise_reference.attention import attention
from toise_reference.domain import checked


@checked
def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None, causal=False):
    """Let each head attend to features that it projects for itself, and mix what the heads found.

        concat(head_0, ..., head_(h-1)) w_o,   head_i = attention(q w_q[i], k w_k[i], v w_v[i])     (MHA-1)

    q      [..., n, d_model]    one row of features for each query
    k      [..., m, d_model]    one row for each key
    v      [..., m, d_model]    one row for each value
    w_q    [h, d_model, d_k]    for each head, what it makes of a query
    w_k    [h, d_model, d_k]    for each head, what it makes of a key
    w_v    [h, d_model, d_v]    for each head, what it makes of a value
    w_o    [h*d_v, d_model]     what is made of the heads, laid side by side
    mask   [..., n, m]          bool  True = may attend, the same for every head
    causal flag                 query i sees the keys j <= i + (m - n)
    ->     [..., n, d_model]

    Raises ValueError or TypeError where the arguments do not fit together.

    Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762), section 3.2.2.
    """
    heads = [
        attention(q @ w_q[i], k @ w_k[i], v @ w_v[i], mask=mask, causal=causal)
        for i in range(len(w_q))
    ]                                                       # h times [..., n, d_v]
    return np.concatenate(heads, axis=-1) @ w_o             # [..., n, d_model]  MHA-2: head after head
