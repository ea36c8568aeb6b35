"""What the models of Transformers call: its attention functions with the masks that it makes, a module of heads, and its losses.

`sdpa` and `eager` are its two attention functions for every device; `feed_forward` is the MLP of GPT-2, and
`multi_head_attention` that of SAM, which is given queries, keys and values of their own.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
import transformers

from toise.backends import torch_adapter
from toise.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Modules, and not the package's own names: these import no more than they need.  They have no types.
collators: Any = importlib.import_module("transformers.data.data_collator")
losses: Any = importlib.import_module("transformers.loss.loss_utils")
masking: Any = importlib.import_module("transformers.masking_utils")
gpt2: Any = importlib.import_module("transformers.models.gpt2.modeling_gpt2")
llama: Any = importlib.import_module("transformers.models.llama.modeling_llama")
sam: Any = importlib.import_module("transformers.models.sam.modeling_sam")
sdpa_attention: Any = importlib.import_module("transformers.integrations.sdpa_attention")

MASKS = {"sdpa": masking.sdpa_mask, "eager": masking.eager_mask}
FORWARDS = {"sdpa": sdpa_attention.sdpa_attention_forward, "eager": llama.eager_attention_forward}
# torch's own function gives zeros.  eager_mask adds finfo(dtype).min to the scores, and nothing is promised for a row of
# it: a mean of all values where it absorbs the scores, their softmax in float16, NaN in float64 (seen in 5.23.0).
EMPTY_ROW = {"sdpa": "zeros", "eager": "unspecified"}


class Backend:
    """The operations, with one of the attention functions."""

    def __init__(self, implementation: str) -> None:
        self.implementation = implementation

    def __toise__(self, device: str | None) -> dict[str, Any]:
        """Return what is declared on a device: what torch may round in its products there, it may round here."""
        narrow = "FUSED" if self.implementation == "sdpa" else "EAGER"
        eager = {"bfloat16": "EAGER", "float16": "EAGER"}
        of_torch = torch_adapter.declared(device)
        multiplied = {key: of_torch["feed_forward"][key] for key in ("precision", "traits") if key in of_torch["feed_forward"]}
        tf32 = {key: kind for key, kind in multiplied["precision"].items() if key == "float32"}
        eagerly = {"precision": {**eager, **tf32}, "traits": multiplied.get("traits", [])}
        implementation = self.implementation
        return {
            "name": f"transformers ({implementation})",
            "version": transformers.__version__,
            "arrays": "torch",
            "dtypes": of_torch["dtypes"],
            "attention": {
                # create_causal_mask counts the queries from the length of the cache: the last one sees every key.
                "causal_alignment": "bottom-right",
                "empty_row": EMPTY_ROW[implementation],
                **(eagerly if narrow == "EAGER" else {"precision": {"bfloat16": narrow, "float16": narrow, **tf32}}),
            },
            "multi_head_attention": {"empty_row": EMPTY_ROW[implementation], **eagerly},
            "feed_forward": eagerly,
            # ForMaskedLMLoss and ForCausalLMLoss in loss/loss_utils.py begin with logits.float().
            "mlm_loss": {"loss_dtype": "float32"},
            # One number for the whole batch: a batch of one sequence has its own.
            "sequence_log_prob": {"loss_dtype": "float32", "domain": {"rank": [2]}},
        }

    def attention(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        mask: torch.Tensor | None = None,
        causal: bool = False,
        scale: float | None = None,
    ) -> torch.Tensor:
        """Call the attention function as a layer does: [batch, heads, rows, features] in, [batch, rows, heads, features] out."""
        q4, k4, v4 = (x.reshape(x.shape[:-2].numel(), 1, *x.shape[-2:]) for x in (q, k, v))
        made = self.mask(q, k, mask, causal=causal)
        on_cpu = q.device.type == "cpu"
        if causal and made is None and scale is not None and scale <= 0 and q.shape[-2] > 1 and on_cpu:
            # It is left to is_causal of torch, which masks before it scales (seen in torch 2.13.0).
            raise Unsupported("on a CPU, scaled_dot_product_attention with is_causal gives NaN for a scale of 0 or less")
        layer = SimpleNamespace(is_causal=causal, num_key_value_groups=1, training=False)
        scaling = q.shape[-1] ** -0.5 if scale is None else scale
        result, _ = FORWARDS[self.implementation](layer, q4, k4, v4, made, scaling=scaling)
        return result.reshape(*q.shape[:-1], v.shape[-1])

    def multi_head_attention(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        w_q: torch.Tensor,
        w_k: torch.Tensor,
        w_v: torch.Tensor,
        w_o: torch.Tensor,
        *,
        mask: torch.Tensor | None = None,
        causal: bool = False,
    ) -> torch.Tensor:
        """Call `SamAttention` with biases of zero, on tokens [batch, points, rows, features]."""
        h, d_model, d_k = w_q.shape
        if w_v.shape[-1] != d_k or d_model % (h * d_k):
            raise Unsupported("SamAttention needs d_v = d_k, and an h d_k that divides d_model")
        config = SimpleNamespace(hidden_size=d_model, num_attention_heads=h, _attn_implementation=self.implementation)
        with torch.device("meta"):
            layer = sam.SamAttention(config, downsample_rate=d_model // (h * d_k))
        names = ("q_proj", "k_proj", "v_proj")
        rows = {name: w.transpose(1, 2).flatten(0, 1) for name, w in zip(names, (w_q, w_k, w_v), strict=True)}
        weights = {f"{name}.weight": w for name, w in {**rows, "out_proj": w_o.T}.items()}
        biases = {name.replace("weight", "bias"): w.new_zeros(len(w)) for name, w in weights.items()}
        layer.load_state_dict({**weights, **biases}, assign=True)
        tokens = (x.reshape(x.shape[:-2].numel(), 1, *x.shape[-2:]) for x in (q, k, v))
        made = self.mask(q, k, mask, causal=causal, skip=False)
        with torch.no_grad():
            result, _ = layer.eval()(*tokens, attention_similarity=made)
        return result.reshape(q.shape)

    def feed_forward(
        self, x: torch.Tensor, w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor
    ) -> torch.Tensor:
        """Call `GPT2MLP` with a ReLU: two layers `Conv1D`, whose weights are [in, out]."""
        config = SimpleNamespace(hidden_size=w1.shape[0], activation_function="relu", resid_pdrop=0.0)
        with torch.device("meta"):
            layer = gpt2.GPT2MLP(w1.shape[1], config)
        layer.load_state_dict({"c_fc.weight": w1, "c_fc.bias": b1, "c_proj.weight": w2, "c_proj.bias": b2}, assign=True)
        with torch.no_grad():
            return layer.eval()(x)

    def causal_mask(self, n: int, *, m: int | None = None) -> torch.Tensor:
        """Call `sdpa_mask`, where the first query stands after m - n keys that are kept."""
        m = n if m is None else m
        return masking.sdpa_mask(1, n, m, q_offset=m - n, allow_is_causal_skip=False)[0, 0]

    def mlm_corrupt(
        self,
        tokens: torch.Tensor,
        *,
        mask_id: int,
        vocab_size: int,
        special_ids: Sequence[int],
        rate: float = 0.15,
        seed: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Call `DataCollatorForLanguageModeling`, which makes -100 of the labels that are not asked for."""
        if not tokens.shape[:-1].numel():
            raise Unsupported(
                "DataCollatorForLanguageModeling takes a list of rows, and a list of none does not say how long they are"
            )
        collator = collators.DataCollatorForLanguageModeling(
            Tokenizer(mask_id, vocab_size, frozenset(special_ids)), mlm_probability=rate, seed=seed
        )
        # create_rng does this in the main process, and refuses a seed in another one that is no worker of a DataLoader.
        collator.generator = collator.get_generator(seed)
        batch = collator(list(tokens.reshape(tokens.shape[:-1].numel(), tokens.shape[-1])))
        return batch["input_ids"].reshape(tokens.shape), (batch["labels"] != -100).reshape(tokens.shape)

    def mlm_loss(self, logits: torch.Tensor, labels: torch.Tensor, selected: torch.Tensor) -> torch.Tensor:
        """Call `ForMaskedLMLoss`, with a label of -100 where nothing is asked."""
        return losses.ForMaskedLMLoss(logits, labels.masked_fill(~selected, -100), logits.shape[-1])

    def sequence_log_prob(self, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Call `ForCausalLMLoss`, whose `num_items_in_batch` makes a sum of its mean; it is shifted there."""
        return -losses.ForCausalLMLoss(logits[None], tokens[None], logits.shape[-1], num_items_in_batch=1)

    def mask(
        self, q: torch.Tensor, k: torch.Tensor, given: torch.Tensor | None, *, causal: bool, skip: bool = True
    ) -> torch.Tensor | None:
        """Make the mask of a model with `sdpa_mask` or `eager_mask`; None says that `is_causal` alone will do."""
        if given is None and not causal:
            return None
        n, m, batch = q.shape[-2], k.shape[-2], q.shape[:-2].numel()
        before = m - n if causal else 0
        allowed: Callable[..., Any] = masking.causal_mask_function if causal else masking.bidirectional_mask_function
        if given is not None:
            rows = given.expand(*q.shape[:-2], n, m).reshape(batch, n, m)
            allowed = masking.and_masks(allowed, lambda b, _, i, j: rows[b, i - before, j])
        return MASKS[self.implementation](
            batch,
            n,
            m,
            q_offset=before,
            mask_function=allowed,
            allow_is_causal_skip=skip and given is None,
            dtype=q.dtype,
            device=q.device,
        )


class Tokenizer:
    """What `DataCollatorForLanguageModeling` asks of a tokenizer, and no more."""

    mask_token = "[MASK]"  # noqa: S105 - the name of a token

    def __init__(self, mask_id: int, vocab_size: int, special: frozenset[int]) -> None:
        self._mask_id, self._size, self._special = mask_id, vocab_size, special

    def __len__(self) -> int:
        return self._size

    def convert_tokens_to_ids(self, token: str) -> int:  # noqa: ARG002 - there is one that it asks for
        """Return the id of the mask token."""
        return self._mask_id

    def get_special_tokens_mask(self, ids: Sequence[int], already_has_special_tokens: bool) -> list[int]:  # noqa: ARG002
        """Return 1 for each special token, else 0."""
        return [int(token in self._special) for token in ids]


sdpa, eager = Backend("sdpa"), Backend("eager")
