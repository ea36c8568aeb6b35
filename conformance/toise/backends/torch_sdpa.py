"""`scaled_dot_product_attention`, held to one of its kernels by `torch.nn.attention.sdpa_kernel`.

What that kernel does not take, torch refuses, and its warnings say why: that is NOT PROVIDED, in torch's own words.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch.nn.attention import SDPBackend, sdpa_kernel

from toise.backends.torch_adapter import attention as with_nan_refused
from toise.backends.torch_adapter import declared, dot_product_attention
from toise.errors import Unsupported, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

REFUSALS = ("No available kernel", "No viable backend for scaled_dot_product_attention")
"""How torch begins where the kernels that it may use cannot do what is asked."""


class Kernel:
    """`attention` by one kernel."""

    def __init__(self, backend: SDPBackend) -> None:
        self.backend = backend
        self.attention = _by(backend)

    def __toise__(self, device: str | None) -> dict[str, Any]:
        """Return what torch declares of attention."""
        told = declared(device)
        shared = {key: told[key] for key in ("version", "arrays", "dtypes", "attention")}
        return {"name": f"scaled_dot_product_attention by {self.backend.name}", **shared}


def _by(backend: SDPBackend) -> Callable[..., torch.Tensor]:
    ask = with_nan_refused if backend is SDPBackend.FLASH_ATTENTION else dot_product_attention

    def attention(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        mask: torch.Tensor | None = None,
        causal: bool = False,
        scale: float | None = None,
    ) -> torch.Tensor:
        with warnings.catch_warnings(record=True) as reasons, sdpa_kernel(backend):
            warnings.simplefilter("always")
            try:
                return ask(q, k, v, mask=mask, causal=causal, scale=scale)
            except RuntimeError as error:
                if not text_of(error).startswith(REFUSALS):
                    raise
                words = [text_of(reason.message).partition(" (Triggered internally")[0] for reason in reasons]
                raise Unsupported(f"{backend.name}: {' '.join(words) or text_of(error)}") from None

    return attention


math = Kernel(SDPBackend.MATH)
flash = Kernel(SDPBackend.FLASH_ATTENTION)
efficient = Kernel(SDPBackend.EFFICIENT_ATTENTION)
cudnn = Kernel(SDPBackend.CUDNN_ATTENTION)
