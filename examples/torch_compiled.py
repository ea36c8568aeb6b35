"""A function through `torch.compile`, in a domain that is small enough to be compiled."""

import torch
from torch._dynamo import config

# Where torch gives up compiling it runs the function as it is, without a word.
config.recompile_limit = 1000
config.fail_on_recompile_limit_hit = True

__toise__ = {
    "arrays": "torch",
    "dtypes": ["float32"],
    "layer_norm": {"domain": {"rank": [2], "d": [2, 3, 16, 64]}},
}


@torch.compile(fullgraph=True, dynamic=True)
def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Gamma * (x - mean) / sqrt(variance + eps) + beta, in one kernel."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return gamma * centred / (variance + eps).sqrt() + beta
