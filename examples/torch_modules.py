"""Modules of PyTorch as a backend: each is made with the weights of the call."""

import torch
from torch import nn

__toise__ = {"arrays": "torch", "dtypes": ["float32", "float64"]}


@torch.inference_mode()
def layer_norm(x, gamma, beta, *, eps=1e-5):
    """nn.LayerNorm: its weight is gamma, its bias beta."""
    module = nn.LayerNorm(x.shape[-1], eps=eps).to(x)
    module.load_state_dict({"weight": gamma, "bias": beta})
    return module.eval()(x)


@torch.inference_mode()
def feed_forward(x, w1, b1, w2, b2):
    """nn.Linear, ReLU, nn.Linear: a Linear keeps its weight as [out, in]."""
    d_model, d_ff = w1.shape
    layers = nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model)
    module = nn.Sequential(*layers).to(x)
    module.load_state_dict({"0.weight": w1.mT, "0.bias": b1, "2.weight": w2.mT, "2.bias": b2})
    return module.eval()(x)


@torch.inference_mode()
def multi_head_attention(q, k, v, w_q, w_k, w_v, w_o, *, mask=None):
    """nn.MultiheadAttention: all projections lie in one matrix [3 d_model, d_model]."""
    h, d_model, d_k = w_q.shape
    if h * d_k != d_model or w_v.shape != w_q.shape:
        raise NotImplementedError("nn.MultiheadAttention needs h d_k = d_model and d_v = d_k")
    if q.ndim > 3:
        raise NotImplementedError("nn.MultiheadAttention takes one leading axis at most")
    module = nn.MultiheadAttention(d_model, h, bias=False, batch_first=True).to(q)
    stacked = [w.mT.flatten(0, 1) for w in (w_q, w_k, w_v)]  # [h, d_model, d_k] -> [h d_k, d_model]
    module.load_state_dict({"in_proj_weight": torch.cat(stacked), "out_proj.weight": w_o.mT})
    hidden = None if mask is None else ~mask  # in attn_mask True means hidden
    if hidden is not None and hidden.ndim == 3:
        hidden = hidden.expand(len(q), -1, -1).repeat_interleave(h, dim=0)  # [batch h, n, m]
    result, _ = module.eval()(q, k, v, attn_mask=hidden, need_weights=False)
    return result
