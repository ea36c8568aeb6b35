"""The checks that people use today, each written anew from its published rule, to race against the suite: see power.py.

A check takes a candidate, which is one implementation of one operation, and draws; it raises where it rejects the candidate.
The reference of all of them is the readable one, in float64, rounded to the dtype of the call.
Where a published check has no rule for an operation, its tolerance is applied to natural inputs of that operation.
"""
# ruff: noqa: S101

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import toise_reference
import torch
from toise.arrays import array_type
from toise.backends import torch_adapter
from toise.errors import Unsupported
from toise.inputs import Case
from toise.operations import OPERATIONS
from toise.targets import load
from torch.testing import assert_close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from toise.declarations import Declaration

    # What returns numbers of a shape.
    Numbers = Callable[..., np.ndarray]

Array = np.ndarray
Draw = np.random.Generator
SINGLE, DOUBLE = "float32", "float64"


# --- Calls, and who answers them --------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One call: data in the order of the signature, and options.

    For `residual` the second piece of data is a matrix, and the sublayer is the product with it.
    """

    operation: str
    data: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def rounded(self, dtype: str) -> Sample:
        """Return the same call with numbers that the dtype holds."""
        data = (x.astype(dtype).astype(float) if isinstance(x, Array) and x.dtype == float else x for x in self.data)
        return replace(self, data=tuple(data))

    def value(self, declared: Declaration) -> Array:
        """Return what the reference gives, with the alignment and the empty rows that are declared."""
        operation = OPERATIONS[self.operation]
        if self.operation == "residual":
            x, w = self.data
            return toise_reference.residual(x, lambda a: a @ w)
        named = dict(zip(operation.data, self.data, strict=True))
        if self.operation == "causal_mask":
            return operation.value(Case(self.operation, {}, {**named, **self.options}), declared).astype(bool)
        case = Case(self.operation, named, self.options)
        value = np.asarray(operation.value(case, declared), float)
        if declared.choices.get("empty_row") == "nan":
            value = np.where(operation.excused(case, declared), np.nan, value)
        return value


@dataclass(frozen=True)
class Candidate:
    """One implementation of one operation: a function, the arrays it takes, and what is declared of it."""

    operation: str
    function: Callable[..., Any]
    arrays: str
    declared: Declaration
    dtypes: tuple[str, ...]

    def native(self, data: Any, dtype: str) -> Any:
        """Return a fresh array of the candidate's kind, or the thing itself if it is no array."""
        if not isinstance(data, Array):
            return data
        return array_type(self.arrays, None).make(data, dtype if data.dtype == float else str(data.dtype))

    def natives(self, sample: Sample, dtype: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the data and the options of a call."""
        data = [self.native(x, dtype) for x in sample.data]
        if self.operation == "residual":
            w = data[1]
            data[1] = lambda a: a @ w
        return data, {name: self.native(value, dtype) for name, value in sample.options.items()}

    def call(self, sample: Sample, dtype: str = SINGLE) -> torch.Tensor:
        """Make a call, and return the result as a tensor."""
        data, options = self.natives(sample.rounded(dtype), dtype)
        return tensor(self.function(*data, **options))

    def required(self, sample: Sample, dtype: str = SINGLE) -> torch.Tensor:
        """Return what the reference gives for a call, rounded to the dtype."""
        value = torch.from_numpy(np.array(sample.rounded(dtype).value(self.declared)))
        return value if value.dtype == torch.bool else value.to(getattr(torch, dtype))

    def takes(self, dtype: str) -> bool:
        """Tell whether the candidate takes a dtype."""
        return not self.dtypes or dtype in self.dtypes


def candidate(target: object, operation: str) -> Candidate:
    """Return the candidate that a target has for an operation."""
    loaded = load(target)
    declarations = loaded.declarations
    function = loaded.operations[operation]
    return Candidate(operation, function, declarations.arrays, declarations.operations[operation], declarations.dtypes)


def tensor(result: Any) -> torch.Tensor:
    """Return a result as a tensor; raise TypeError for what is no array."""
    if isinstance(result, torch.Tensor):
        return result.detach()
    if not isinstance(result, (np.ndarray, np.generic)):
        raise TypeError(f"a {type(result).__name__} is no array")
    return torch.from_numpy(np.array(result))


def rejects(check: Callable[[Candidate, Draw], None], one: Candidate, seed: int) -> bool:
    """Tell whether a check rejects a candidate; an exception in the implementation counts as rejecting it."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(one, np.random.default_rng(seed))
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - an assertion, or whatever a wrong implementation raises
            return True
    return False


@contextlib.contextmanager
def provided() -> Iterator[None]:
    """Skip a call that the candidate says it does not implement."""
    with contextlib.suppress(Unsupported, NotImplementedError):
        yield


def close(one: Candidate, sample: Sample, dtype: str = SINGLE, **tolerance: float) -> None:
    """Hold a call to the reference by `torch.testing.assert_close`: shape, dtype and numbers; NaN matches NaN."""
    if one.takes(dtype):
        with provided():
            assert_close(one.call(sample, dtype), one.required(sample, dtype), equal_nan=True, **tolerance)


def all_close(one: Candidate, sample: Sample, rtol: float, atol: float) -> None:
    """Hold a call to the reference by `torch.allclose`: it broadcasts, and raises where the dtypes differ."""
    with provided():
        got, want = one.call(sample), one.required(sample)
        if want.dtype == torch.bool:
            assert torch.equal(got, want)
        else:
            assert torch.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True)


# --- Natural inputs ---------------------------------------------------------------------------------------


def attention(
    draw: Numbers,
    lead: tuple[int, ...] = (2, 4),
    n: int = 64,
    m: int | None = None,
    d_k: int = 64,
    d_v: int | None = None,
    **options: Any,
) -> Sample:
    """q, k and v of [batch, heads, rows, features]."""
    m = n if m is None else m
    shapes = ((*lead, n, d_k), (*lead, m, d_k), (*lead, m, d_k if d_v is None else d_v))
    return Sample("attention", tuple(draw(shape) for shape in shapes), options)


def multi_head(
    draw: Numbers,
    lead: tuple[int, ...] = (2,),
    n: int = 64,
    m: int | None = None,
    h: int = 4,
    d_k: int = 32,
    d_v: int | None = None,
    d_model: int = 128,
    weights: Numbers | None = None,
    **options: Any,
) -> Sample:
    """Rows, and weights of variance 1 / width; without m it is self-attention."""
    d_v, weights = d_k if d_v is None else d_v, weights or draw
    q = draw((*lead, n, d_model))
    k, v = (q, q) if m is None else (draw((*lead, m, d_model)), draw((*lead, m, d_model)))
    shapes = ((h, d_model, d_k), (h, d_model, d_k), (h, d_model, d_v), (h * d_v, d_model))
    return Sample("multi_head_attention", (q, k, v, *(weights(shape) / math.sqrt(shape[-2]) for shape in shapes)), options)


def feed_forward(
    draw: Numbers, lead: tuple[int, ...] = (2, 64), d_model: int = 128, d_ff: int = 512, weights: Numbers | None = None
) -> Sample:
    """Rows, weights of variance 1 / width, and biases."""
    weights = weights or draw
    w1, w2 = weights((d_model, d_ff)) / math.sqrt(d_model), weights((d_ff, d_model)) / math.sqrt(d_ff)
    return Sample("feed_forward", (draw((*lead, d_model)), w1, weights((d_ff,)), w2, weights((d_model,))))


def layer_norm(draw: Numbers, lead: tuple[int, ...] = (2, 64), d: int = 512, **options: Any) -> Sample:
    """Rows, gamma and beta."""
    return Sample("layer_norm", (draw((*lead, d)), draw((d,)), draw((d,))), options)


def residual(draw: Numbers, lead: tuple[int, ...] = (2, 64), d: int = 128) -> Sample:
    """Rows, and the matrix of a linear sublayer."""
    return Sample("residual", (draw((*lead, d)), draw((d, d)) / math.sqrt(d)))


def causal_mask(_: Numbers, n: int = 64, **options: Any) -> Sample:
    """A number of queries."""
    return Sample("causal_mask", (n,), options)


def tokens_of(rng: Draw, shape: tuple[int, ...], vocab: int) -> Array:
    """Return ids."""
    return rng.integers(0, vocab, shape)


def mlm_loss(
    draw: Numbers, rng: Draw, lead: tuple[int, ...] = (2,), n: int = 64, vocab: int = 1000, rate: float = 0.15
) -> Sample:
    """Logits, labels and a selection with something in it."""
    selected = rng.random((*lead, n)) < rate
    selected[..., 0] = True
    return Sample("mlm_loss", (draw((*lead, n, vocab)), tokens_of(rng, (*lead, n), vocab), selected))


def sequence_log_prob(draw: Numbers, rng: Draw, lead: tuple[int, ...] = (2,), n: int = 64, vocab: int = 1000) -> Sample:
    """Logits and tokens."""
    return Sample("sequence_log_prob", (draw((*lead, n, vocab)), tokens_of(rng, (*lead, n), vocab)))


def mlm_corrupt(rng: Draw, shape: tuple[int, ...] = (8, 128), vocab: int = 1000, **options: Any) -> Sample:
    """Tokens, [MASK] and three special ids."""
    options = {"mask_id": 3, "vocab_size": vocab, "special_ids": (0, 1, 2, 3), "seed": int(rng.integers(2**31)), **options}
    return Sample("mlm_corrupt", (tokens_of(rng, shape, vocab),), options)


def usual(operation: str, rng: Draw, draw: Numbers | None = None) -> Sample:
    """Return one natural call at a usual shape, with standard normal numbers unless others are asked for."""
    draw = draw or rng.standard_normal
    made = {
        "attention": attention,
        "multi_head_attention": multi_head,
        "feed_forward": feed_forward,
        "layer_norm": layer_norm,
        "residual": residual,
        "causal_mask": causal_mask,
        "mlm_loss": lambda numbers: mlm_loss(numbers, rng),
        "sequence_log_prob": lambda numbers: sequence_log_prob(numbers, rng),
    }
    return made[operation](draw)


def corrupted(one: Candidate, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
    """Corrupt tokens, and hold what needs no statistics: shapes, dtypes, and that only what was selected changes."""
    (tokens,), options = one.natives(sample, SINGLE)
    result, selected = map(tensor, one.function(tokens, **options))
    before = torch.from_numpy(sample.data[0])
    assert result.dtype == torch.int64
    assert selected.dtype == torch.bool
    assert result.shape == selected.shape == before.shape
    assert torch.equal(result[~selected], before[~selected])
    assert not selected[torch.isin(before, torch.tensor(sample.options["special_ids"]))].any()
    return result, selected


def corrupts(one: Candidate, rng: Draw, trials: int = 1) -> None:
    """Corrupt a batch of tokens; some are selected, and not all."""
    for _ in range(trials):
        _, selected = corrupted(one, mlm_corrupt(rng))
        assert selected.any()
        assert not selected.all()


# --- One randn, and a few ---------------------------------------------------------------------------------


def one_randn(one: Candidate, rng: Draw) -> None:
    """One standard normal input at a usual shape, held by `torch.testing.assert_close` at its defaults.

    Rule: pytorch/pytorch, torch/testing/_comparison.py, `_DTYPE_PRECISIONS`: float32 has rtol 1.3e-6 and atol 1e-5;
    shapes and dtypes have to be equal.
    """
    if one.operation == "mlm_corrupt":
        corrupts(one, rng)
    else:
        close(one, usual(one.operation, rng))


def allclose_1e4(one: Candidate, rng: Draw) -> None:
    """Three standard normal inputs at a usual shape, held by `torch.allclose` with rtol = atol = 1e-4.

    Rule: torch's and NumPy's documentation of `allclose`: |got - required| <= atol + rtol |required|.
    """
    if one.operation == "mlm_corrupt":
        corrupts(one, rng, trials=3)
        return
    for _ in range(3):
        all_close(one, usual(one.operation, rng), 1e-4, 1e-4)


# --- KernelBench ------------------------------------------------------------------------------------------


TRIALS = 5


def kernelbench(one: Candidate, rng: Draw) -> None:
    """Five trials with new inputs, equal shapes, and `torch.allclose` with rtol = atol = 1e-4 in float32.

    Rule: ScalingIntelligence/KernelBench, src/kernelbench/eval.py: `run_and_check_correctness` (every trial must pass,
    shapes are compared first) and `get_tolerance_for_precision` (float32: 1e-4); scripts/eval_from_generations.py:
    `num_correct_trials = 5`.  Inputs as in KernelBench/level1/97_ScaledDotProductAttention.py and 40_LayerNorm.py:
    `torch.rand`, and a LayerNorm as it is initialised.  Attention is tried in causal order too.  Sizes are cut down for a CPU.
    """
    if one.operation == "mlm_corrupt":
        corrupts(one, rng, TRIALS)
        return
    for _ in range(TRIALS):
        for sample in _kernelbench_inputs(one.operation, rng):
            with provided():
                assert one.call(sample).shape == one.required(sample).shape
                all_close(one, sample, 1e-4, 1e-4)


def _kernelbench_inputs(operation: str, rng: Draw) -> Iterator[Sample]:
    def linear(shape: tuple[int, ...]) -> Array:
        return rng.uniform(-1, 1, shape)  # as nn.Linear is initialised, once it is divided by the root of its width

    if operation == "attention":
        yield attention(rng.random, (2, 2))
        yield attention(rng.random, (2, 2), causal=True)
    elif operation == "multi_head_attention":
        yield multi_head(rng.random, weights=linear)
        yield multi_head(rng.random, weights=linear, causal=True)
    elif operation == "feed_forward":
        yield feed_forward(rng.random, weights=linear)
    elif operation == "layer_norm":
        x = rng.random((16, 64, 256))
        yield Sample("layer_norm", (x, np.ones(256), np.zeros(256)))
    else:
        yield usual(operation, rng, rng.random)


# --- flash-attention --------------------------------------------------------------------------------------


# Rows of queries and keys in test_flash_attn_output, up to 1024.
LENGTHS = (
    (113, 203),
    (128, 217),
    (113, 211),
    (108, 256),
    (256, 512),
    (512, 256),
    (1024, 1024),
    (1023, 1024),
    (1024, 1023),
)
HEAD_WIDTHS = (32, 40, 59, 64, 80, 96, 111, 128, 160)
HIDDEN = (192, 2048, 2560, 3000, 8192)


def flash_attention(one: Candidate, rng: Draw) -> None:
    """The greatest error is at most twice that of an ordinary implementation in the same precision.

    Rule: Dao-AILab/flash-attention, tests/cute/test_flash_attn.py, `check_tensor_vs_ref`:
    max |out - ref| <= 2 max |pt - ref| + atol, with atol = 2 max |(ref + 0.3 - 0.3) - ref|.  Lengths and widths are those of
    test_flash_attn_output, with and without causal, and with random key padding as in the tests of varlen.
    layer_norm: tests/ops/triton/test_layer_norm.py, 2 max |pt - ref| + 1e-4, widths 192 to 8192, eps 1e-6, random weights.
    mlm_loss: tests/losses/test_cross_entropy.py, allclose with rtol 1e-5, atol 1e-6, and 10 positions left out.
    Elsewhere the rule of attention.  Everything in float32, with fewer heads than there, while its authors test float16 and
    bfloat16, where rounding the result alone gives more room; the ordinary implementation is torch's.
    """
    if one.operation == "mlm_corrupt":
        corrupts(one, rng)
        return
    for sample in _flash_inputs(one.operation, rng):
        with provided():
            if one.operation == "mlm_loss":
                all_close(one, sample, 1e-5, 1e-6)
            else:
                _at_most_twice(one, sample)


def _flash_inputs(operation: str, rng: Draw) -> Iterator[Sample]:
    draw = rng.standard_normal
    if operation == "attention":
        for (n, m), d in zip(LENGTHS, HEAD_WIDTHS, strict=True):
            lead = (2, 2) if n < 1000 else (1, 1)
            yield attention(draw, lead, n, m, d)
            yield attention(draw, lead, n, m, d, causal=True)
        lengths = rng.integers(1, 204, (4, 1, 1, 1))
        yield attention(draw, (4, 1), 113, 203, 64, mask=np.broadcast_to(np.arange(203) < lengths, (4, 1, 113, 203)).copy())
    elif operation == "multi_head_attention":
        for n, m in LENGTHS[:4]:
            yield multi_head(draw, n=n, m=m)
            yield multi_head(draw, n=n, m=m, causal=True)
    elif operation == "layer_norm":
        for d in HIDDEN:
            yield layer_norm(draw, (2, 32), d, eps=1e-6)
    elif operation == "mlm_loss":
        sample = mlm_loss(draw, rng, (), 128, 5000)
        selected = np.ones(128, bool)
        selected[rng.permutation(128)[:10]] = False
        yield replace(sample, data=(*sample.data[:2], selected))
    elif operation == "sequence_log_prob":
        yield sequence_log_prob(draw, rng, (64,), 64, 200)  # the greatest of a few errors says little
    else:
        yield usual(operation, rng)


def _at_most_twice(one: Candidate, sample: Sample) -> None:
    want = one.required(sample)
    got = one.call(sample)
    if want.dtype == torch.bool:
        assert torch.equal(got, want)
        return
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    same_nan = torch.isnan(got) & torch.isnan(want)
    error = torch.where(same_nan, 0, (got - want).abs()).max()
    ordinary = torch.nan_to_num((_ordinary(sample, one.declared) - want).abs()).max()
    spare = 1e-4 if one.operation == "layer_norm" else 2 * torch.nan_to_num((want + 0.3 - 0.3 - want).abs()).max()
    assert error <= 2 * ordinary + spare


def _ordinary(sample: Sample, declared: Declaration) -> torch.Tensor:
    """Return what a plain torch implementation gives in float32, as flash-attention's attention_ref with upcast=False."""
    single = sample.rounded(SINGLE)
    data = [torch.from_numpy(x).float() if x.dtype == float else torch.from_numpy(x) for x in single.data]
    if sample.operation == "residual":
        return data[0] + data[0] @ data[1]
    if sample.operation == "attention":
        return _plain_attention(*data, _hidden(sample, declared))
    if sample.operation == "multi_head_attention":
        q, k, v, w_q, w_k, w_v, w_o = data
        q, k, v = (x.unsqueeze(-3) @ w for x, w in ((q, w_q), (k, w_k), (v, w_v)))
        hidden = _hidden(sample, declared)
        return _plain_attention(q, k, v, hidden).transpose(-2, -3).flatten(-2) @ w_o
    return getattr(torch_adapter, sample.operation)(*data, **sample.options)


def _hidden(sample: Sample, declared: Declaration) -> torch.Tensor:
    n, m = sample.data[0].shape[-2], sample.data[1].shape[-2]
    hidden = ~torch.from_numpy(sample.options.get("mask", np.ones((n, m), bool)))
    if sample.options.get("causal"):
        offset = m - n if declared.choices["causal_alignment"] == "bottom-right" else 0
        hidden = hidden | ~torch.ones(n, m, dtype=torch.bool).tril(offset)
    return hidden


def _plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    scores = (q @ (k / math.sqrt(q.shape[-1])).mT).masked_fill(hidden, -torch.inf)
    return torch.softmax(scores, dim=-1).masked_fill(hidden.all(dim=-1, keepdim=True), 0.0) @ v


# --- OpInfo -----------------------------------------------------------------------------------------------


XS, S, M = 3, 5, 10
OPINFO_TOLERANCE = {"attention": {"rtol": 5e-6, "atol": 5e-5}, "layer_norm": {"rtol": 1e-3, "atol": 1e-5}}


def opinfo(one: Candidate, rng: Draw) -> None:
    """PyTorch's sample inputs: in float64 against the reference, and in float32; contiguous and not.

    Rule: torch/testing/_internal/common_methods_invocations.py of PyTorch 2.13: the functions sample_inputs_* of
    scaled_dot_product_attention, multi_head_attention_forward, linear, layer_norm, cross_entropy, tril_triu, add_sub and
    bernoulli, of log_softmax in opinfo/definitions/_masked.py, with numbers of `make_tensor`, uniform from -9 to 9;
    pytorch/pytorch, test/test_ops.py: test_numpy_ref (float64, rtol = atol = 1e-7), test_compare_cpu (atol = rtol = 1e-3; the
    narrower float32 tolerance of an OpInfo where it has one) and test_noncontiguous_samples (float32, defaults, which
    the two attentions skip).  multi_head_attention_forward takes no part in test_compare_cpu.
    """
    if one.operation == "mlm_corrupt":
        for shape in ((3,), (0, 3), (2, 3, 4)):
            sample = mlm_corrupt(rng, shape, 20)
            first, again = corrupted(one, sample), corrupted(one, sample)
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        return
    for sample in _opinfo_samples(one.operation, rng):
        close(one, sample, DOUBLE, rtol=1e-7, atol=1e-7)
        if one.operation != "multi_head_attention":
            close(one, sample, **OPINFO_TOLERANCE.get(one.operation, {"rtol": 1e-3, "atol": 1e-3}))
        if one.operation not in ("attention", "multi_head_attention", "causal_mask"):
            _strided(one, sample)


def _strided(one: Candidate, sample: Sample) -> None:
    """The same result where the elements of each array lie apart, with NaN between them."""
    with provided():
        data, options = one.natives(sample.rounded(SINGLE), SINGLE)
        data = [_apart(x) if isinstance(x, (np.ndarray, torch.Tensor)) else x for x in data]
        assert_close(tensor(one.function(*data, **options)), one.call(sample), equal_nan=True)


def _apart(array: Any) -> Any:
    """Return the same numbers, each beside one that is not to be read, as common_utils.noncontiguous_like does."""
    wide = torch.stack([torch.as_tensor(array)] * 2, dim=-1)
    wide[..., 0] = math.nan if wide.is_floating_point() else wide.dtype == torch.bool or 12
    return wide[..., 1] if isinstance(array, torch.Tensor) else wide.numpy()[..., 1]


def _opinfo_samples(operation: str, rng: Draw) -> Iterator[Sample]:  # noqa: C901, PLR0912 - a case for each operation
    def draw(shape: tuple[int, ...], high: float = 9) -> Array:
        return rng.uniform(-high, high, shape)

    if operation == "attention":
        for lead in ((4,), (4, 4)):
            for causal in (True, False):
                yield attention(draw, lead, 3, 6, 8, **({"causal": True} if causal else {}))
        yield attention(draw, (4, 4), 3, 6, 8, 16)
        yield attention(draw, (4, 4), 3, 6, 8, mask=_some(rng, (3, 6)))
    elif operation == "multi_head_attention":
        for lead in ((), (2,)):
            for width in (2, 4):
                for m in (XS, S):
                    for h in (1, 2):
                        sizes = {"d_k": width // h, "d_model": width, "weights": lambda shape: draw(shape) * math.sqrt(shape[-2])}
                        for options in ({}, {"mask": _some(rng, (XS, m))}, {"mask": _some(rng, (*lead, XS, m))}):
                            yield multi_head(draw, lead, XS, m, h, **sizes, **options)
    elif operation == "feed_forward":
        for d_model, d_ff in ((3, 4), (8, 8)):
            for lead in ((), (0,), (8,), (2, 3)):
                yield feed_forward(lambda shape: draw(shape, 2), lead, d_model, d_ff)
        yield feed_forward(lambda shape: draw(shape, 2), (2, 1, 2, 1), 2, 4)
    elif operation == "layer_norm":
        yield layer_norm(draw, (1, 2), 3, eps=0.5)
        for lead, d in (((), 1), ((1,), 2), ((0,), 1), ((2, 2), 3)):
            yield layer_norm(draw, lead, d)
        yield Sample("layer_norm", (draw((1, 2)), np.ones(2), np.zeros(2)))
    elif operation == "residual":
        for lead in ((), (M,), (S, M), (M, 1), (0, 1)):
            yield residual(draw, lead, S)
    elif operation == "causal_mask":
        yield causal_mask(draw, M)
        yield causal_mask(draw, S)
        yield causal_mask(draw, M, m=S)
    elif operation == "mlm_loss":
        for lead in ((), (1,), (1, 2), (1, 2, 3)):
            yield mlm_loss(draw, rng, lead, 2, 3, rate=1)
        logits, labels, _ = mlm_loss(draw, rng, (), 2, 3).data
        labels[0] = 0
        yield Sample("mlm_loss", (logits, labels, labels != 1))
    else:
        for lead, n in (((), S), ((S,), M)):
            yield sequence_log_prob(draw, rng, lead, n, S)


def _some(rng: Draw, shape: tuple[int, ...]) -> Array:
    """Return a mask that leaves each query a key at least."""
    mask = rng.random(shape) < 0.6
    mask[..., 0] |= ~mask.any(axis=-1)
    return mask


# --- A diligent engineer ----------------------------------------------------------------------------------


DRAWS = 64
LOOSE = {"rtol": 1e-3, "atol": 1e-3}


def diligent(one: Candidate, rng: Draw) -> None:
    """What a good engineer writes in an afternoon.

    Odd and unequal sizes, one row, one key, no batch and an empty batch, all options; float32 and float64 at the defaults of
    `assert_close`; large scores, an offset, tiny and constant rows, a confident label; inputs that stay as they were, and results
    too; the same call again; a batch against its entries; transposed memory; rubbish in hidden keys, in the future and where
    nothing is asked for; a row without keys; malformed calls that must raise; frequencies for what is random.
    """
    if one.operation == "mlm_corrupt":
        _rates(one, rng)
        return
    for sample in _diligent_samples(one.operation, rng):
        close(one, sample)
        close(one, sample, DOUBLE)
    for sample in _hard_samples(one.operation, rng):
        close(one, sample, **LOOSE)
    _as_it_was(one, rng)
    _laid_out(one, rng)
    _entries(one, rng)
    _special_laws(one, rng)
    for sample in _malformed(one.operation, rng):
        _raises(one, sample)


def _diligent_samples(operation: str, rng: Draw) -> Iterator[Sample]:  # noqa: C901, PLR0912 - a case for each operation
    draw = rng.standard_normal
    yield usual(operation, rng)
    if operation == "attention":
        sizes = (((2, 3), 5, 7, 8, 8), ((1,), 1, 9, 16, 4), ((), 7, 1, 3, 5), ((2,), 33, 65, 1, 2), ((0,), 3, 4, 8, 8))
        for lead, n, m, d_k, d_v in sizes:
            mask = _some(rng, (*lead, n, m))
            for options in ({}, {"causal": True}, {"mask": mask}, {"scale": 0.3}, {"mask": _some(rng, (n, m))}):
                if not (options.get("causal") and n > m):
                    yield attention(draw, lead, n, m, d_k, d_v, **options)
        mask = _some(rng, (6, 6))
        mask[:, 0] = True
        yield attention(draw, (2,), 6, 6, 8, mask=mask, causal=True)
        lengths = np.full((2, 5, 1), 130)
        lengths[0] = 100
        yield attention(draw, (2,), 5, 130, 24, mask=np.arange(130) < lengths)
        yield attention(draw, (3, 2), 5, 6, 8, mask=_some(rng, (3, 1, 5, 6)))
    elif operation == "multi_head_attention":
        ordinary = (((2,), 5, 7, 3, 4, 6, 10), ((), 4, 4, 1, 8, 8, 8), ((2, 2), 1, 9, 2, 3, 3, 6), ((1,), 17, 17, 8, 2, 2, 16))
        for lead, n, m, h, d_k, d_v, d_model in (*ordinary, ((0,), 3, 4, 2, 4, 4, 8)):
            each = {"mask": _some(rng, (*lead, n, m))} if 0 not in lead else {}  # torch has no such mask for an empty batch
            for options in ({}, {"causal": True}, each, {"mask": _some(rng, (n, m))}):
                yield multi_head(draw, lead, n, m, h, d_k, d_v, d_model, **options)
                if n == m:
                    yield multi_head(draw, lead, n, None, h, d_k, d_v, d_model, **options)
    elif operation == "feed_forward":
        for lead, d_model, d_ff in (((3,), 5, 7), ((), 4, 9), ((2, 1), 8, 3), ((1,), 1, 1), ((0,), 4, 8)):
            yield feed_forward(draw, lead, d_model, d_ff)
    elif operation == "layer_norm":
        for lead, d in (((3,), 5), ((), 8), ((2, 1, 3), 7), ((1,), 1), ((2,), 2), ((4,), 1000), ((0,), 4)):
            yield layer_norm(draw, lead, d)
        for eps in (1e-12, 1e-3, 0.1):
            yield layer_norm(draw, (4,), 9, eps=eps)
    elif operation == "residual":
        for lead, d in (((3,), 5), ((), 4), ((2, 1, 3), 1), ((0,), 4)):
            yield residual(draw, lead, d)
    elif operation == "causal_mask":
        for n in (1, 2, 5, 33):
            yield causal_mask(draw, n)
        for n, m in ((1, 4), (3, 5), (5, 5), (2, 9), (5, 3)):
            yield causal_mask(draw, n, m=m)
    elif operation == "mlm_loss":
        for lead, n, vocab, rate in (((2,), 5, 7, 0.5), ((), 4, 3, 1), ((3, 2), 6, 50, 0.3), ((1,), 1, 2, 1)):
            yield mlm_loss(draw, rng, lead, n, vocab, rate)
        logits, labels, selected = mlm_loss(draw, rng, (3,), 6, 5).data
        yield Sample("mlm_loss", (logits, labels, selected & (np.arange(6) < np.array([[1], [6], [3]]))))
        yield Sample("mlm_loss", (logits, labels, np.arange(6) < np.array([[0], [5], [2]])))
    else:
        for lead, n, vocab in (((2,), 5, 7), ((), 4, 3), ((3, 2), 9, 50), ((1,), 2, 2), ((1,), 1, 4), ((0,), 4, 4)):
            yield sequence_log_prob(draw, rng, lead, n, vocab)


def _hard_samples(operation: str, rng: Draw) -> Iterator[Sample]:  # noqa: C901 - a case for each operation
    """Large, small and shifted numbers: overflow in an exponential, a variance of next to nothing."""
    draw = rng.standard_normal
    if operation == "attention":
        yield attention(lambda shape: 30 * draw(shape), n=6, m=8, d_k=16)
        yield attention(lambda shape: draw(shape) + 3, n=6, m=8, d_k=16, scale=8.0)
        yield attention(lambda shape: -np.abs(draw(shape)) * 20, n=5, m=9, d_k=8, causal=True)
    elif operation == "multi_head_attention":
        yield multi_head(lambda shape: 10 * draw(shape), n=6, m=8, weights=draw)
    elif operation == "feed_forward":
        yield feed_forward(lambda shape: 100 * draw(shape), (4,), 8, 16, weights=draw)
    elif operation == "layer_norm":
        for centre, spread in ((100, 1), (0, 1e-3), (0, 100), (5, 0)):
            x, gamma, beta = layer_norm(draw, (4,), 64).data
            yield Sample("layer_norm", (centre + spread * x, gamma, beta))
    elif operation == "residual":
        yield residual(lambda shape: 1000 * draw(shape), (3,), 8)
    elif operation == "causal_mask":
        yield causal_mask(draw, 300)
    elif operation == "mlm_loss":
        for scale, offset in ((100, 0), (1, 1000), (1, -1000)):
            yield mlm_loss(lambda shape, scale=scale, offset=offset: scale * draw(shape) + offset, rng, (2,), 8, 11, 0.5)
    else:
        for scale, offset in ((100, 0), (1, 1000), (1, -1000)):
            yield sequence_log_prob(lambda shape, scale=scale, offset=offset: scale * draw(shape) + offset, rng, (2,), 8, 11)


def _as_it_was(one: Candidate, rng: Draw) -> None:
    """Inputs stay, the first result stays, and the same call on other numbers of the same shapes is computed anew."""
    first, second = (usual(one.operation, rng).rounded(SINGLE) for _ in range(2))
    data, options = one.natives(first, SINGLE)
    before = [np.array(x) for x in data if isinstance(x, (np.ndarray, torch.Tensor))]
    with provided():
        result = tensor(one.function(*data, **options))
        kept = result.clone()
        after = [np.array(x) for x in data if isinstance(x, (np.ndarray, torch.Tensor))]
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        close(one, second)
        assert_close(tensor(one.function(*data, **options)), kept)
        assert torch.equal(result, kept)
        if one.operation == "residual":
            calls = []
            x = data[0]
            assert_close(tensor(one.function(x, lambda a: calls.append(a) or a)), tensor(x) * 2)
            assert len(calls) == 1
            assert np.array_equal(np.array(x), before[0])


def _laid_out(one: Candidate, rng: Draw) -> None:
    """The memory of every array transposed, as by a `swapaxes` before the call."""
    sample = usual(one.operation, rng)
    data, options = one.natives(sample.rounded(SINGLE), SINGLE)
    data = [_transposed(x) if isinstance(x, (np.ndarray, torch.Tensor)) and x.ndim > 1 else x for x in data]
    with provided():
        assert_close(tensor(one.function(*data, **options)), one.required(sample))


def _transposed(array: Any) -> Any:
    if isinstance(array, torch.Tensor):
        return array.transpose(-1, -2).contiguous().transpose(-1, -2)
    return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)


def _entries(one: Candidate, rng: Draw) -> None:
    """A batch gives what each of its entries gives alone."""
    if one.operation in ("causal_mask", "mlm_loss"):
        return
    sample = usual(one.operation, rng)
    shared = OPERATIONS[one.operation].shared
    names = OPERATIONS[one.operation].data
    with provided():
        together = one.call(sample)
        for i in range(len(together)):
            alone = (
                x if name in shared or (one.operation == "residual" and name == "sublayer") else x[i]
                for name, x in zip(names, sample.data, strict=True)
            )
            assert_close(one.call(replace(sample, data=tuple(alone))), together[i])


def _special_laws(one: Candidate, rng: Draw) -> None:
    """Rubbish where nothing may look: hidden keys, the future, positions that are not asked for; and a row without keys."""
    draw = rng.standard_normal
    if one.operation in ("attention", "multi_head_attention"):
        make = attention if one.operation == "attention" else multi_head
        mask = np.ones((6, 6), bool)
        mask[:, 4:] = False
        for options, seen in (({"mask": mask}, slice(0, 6)), ({"causal": True}, slice(0, 4))):
            sample = make(draw, (2,), 6, 6, **options)
            q, k, v, *weights = (x.copy() for x in sample.data)
            k[..., 4:, :], v[..., 4:, :] = 1e4, -1e4
            with provided():
                loud = one.call(replace(sample, data=(q, k, v, *weights)))
                assert_close(loud[..., seen, :], one.call(sample)[..., seen, :])
        empty = np.ones((5, 6), bool)
        empty[2] = False
        close(one, make(draw, (2,), 5, 6, mask=empty))
    elif one.operation == "mlm_loss":
        sample = mlm_loss(draw, rng)
        logits, labels, selected = (x.copy() for x in sample.data)
        logits[~selected], labels[~selected] = 1e4, 0
        assert_close(one.call(replace(sample, data=(logits, labels, selected))), one.call(sample))
    elif one.operation == "sequence_log_prob":
        sample = sequence_log_prob(draw, rng)
        logits, tokens = (x.copy() for x in sample.data)
        logits[..., -1, :] = 1e4
        assert_close(one.call(replace(sample, data=(logits, tokens))), one.call(sample))


def _malformed(operation: str, rng: Draw) -> Iterator[Sample]:
    draw = rng.standard_normal
    if operation == "attention":
        yield Sample("attention", (draw((2, 3, 4)), draw((2, 3, 5)), draw((2, 3, 5))))
    elif operation == "feed_forward":
        _, *weights = feed_forward(draw, (3,), 4, 8).data
        yield Sample("feed_forward", (draw((3, 5)), *weights))
    elif operation == "layer_norm":
        yield Sample("layer_norm", (draw((3, 4)), draw((5,)), draw((5,))))


def _raises(one: Candidate, sample: Sample) -> None:
    try:
        one.call(sample)
    except Exception:  # noqa: BLE001 - any of them will do
        return
    raise AssertionError("a malformed call is accepted")


def _rates(one: Candidate, rng: Draw) -> None:
    """Frequencies over 64 draws of 1024 tokens, each within five standard deviations; seeds, shapes, and rates of 0 and 1."""
    sample = mlm_corrupt(rng)
    tokens, vocab = torch.from_numpy(sample.data[0]), sample.options["vocab_size"]
    (native,), options = one.natives(sample, SINGLE)
    one.function(native, **options)
    assert np.array_equal(np.array(native), sample.data[0])
    assert all(torch.equal(a, b) for a, b in zip(corrupted(one, sample), corrupted(one, sample), strict=True))
    pairs = [corrupted(one, replace(sample, options={**sample.options, "seed": seed})) for seed in range(DRAWS)]
    assert not torch.equal(pairs[0][1], pairs[1][1])
    result, selected = (torch.stack(each) for each in zip(*pairs, strict=True))
    ordinary = ~torch.isin(tokens, torch.tensor(sample.options["special_ids"])).expand(DRAWS, -1, -1)
    _near(selected[ordinary], 0.15)
    _near(selected[ordinary.clone().index_fill_(2, torch.arange(64, 128), value=False)], 0.15)
    count = selected.sum(dim=(1, 2)).double()
    assert 0.4 < count.var() / (ordinary[0].sum() * 0.15 * 0.85) < 2
    after, before = result[selected], tokens.expand(DRAWS, -1, -1)[selected]
    _near(after == 3, 0.8 + 0.1 / vocab)
    _near(after == before, 0.1 + 0.1 / vocab)
    random = after[(after != 3) & (after != before)]
    assert 0 <= int(random.min()) <= int(random.max()) < vocab
    _near(random < vocab // 2, 0.5)
    _near(random % 2 == 0, 0.5)
    for rate in (0.5, 0.02):
        chosen = corrupted(one, replace(sample, options={**sample.options, "rate": rate}))[1]
        _near(chosen[ordinary[0]], rate)
    assert not corrupted(one, replace(sample, options={**sample.options, "rate": 0.0}))[1].any()
    assert corrupted(one, replace(sample, options={**sample.options, "rate": 1.0}))[1][ordinary[0]].all()
    for shape in ((7,), (1, 1), (2, 3, 5), (0, 4)):
        corrupted(one, mlm_corrupt(rng, shape))
    corrupted(one, mlm_corrupt(rng, (4, 9), special_ids=()))
    assert not corrupted(one, mlm_corrupt(rng, (4, 9), vocab=4))[1].any()


def _near(truths: torch.Tensor, rate: float) -> None:
    spread = math.sqrt(rate * (1 - rate) / truths.numel())
    assert abs(float(truths.double().mean()) - rate) <= 5 * spread


# Names as they stand in tables.
RIVALS: dict[str, Callable[[Candidate, Draw], None]] = {
    "one randn": one_randn,
    "allclose 1e-4": allclose_1e4,
    "KernelBench": kernelbench,
    "flash-attention": flash_attention,
    "OpInfo": opinfo,
    "diligent": diligent,
}
