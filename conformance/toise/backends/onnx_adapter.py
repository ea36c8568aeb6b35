"""ONNX operators in models of their own, run by the reference evaluator of onnx (`reference`) or by ONNX Runtime (`runtime`).

One model holds one operator wherever ONNX has one for the operation, and takes any lengths; NumPy changes layouts and nothing
else.  `mlm_corrupt` is left out: the operators that draw have a seed in the model, and promise no distribution of a selection.
"""

from __future__ import annotations

import ctypes
import functools
from importlib import metadata
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx.parser
from onnx.reference import ReferenceEvaluator
from packaging.version import Version

from toise.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Array = np.ndarray
    Run = Callable[[Mapping[str, Array]], Array]

# Attention came with opset 23; for what is called here opset 24 says and gives the same (seen in onnx 1.23.2).
HEADER = '<ir_version: 11, opset_import: ["": 23]>'
TYPES = {"float64": "double", "float32": "float", "float16": "float16", "bfloat16": "bfloat16", "int64": "int64", "bool": "bool"}
HIDDEN = -100
MODELS = 512


class Models:
    """The operations, and one of two ways to run a model."""

    def __init__(
        self, package: str, ready: Callable[[onnx.ModelProto], Run], declared: Callable[[str], Mapping[str, Any]]
    ) -> None:
        self._package, self._declared = package, declared
        # A session is kept as its users keep it: they load a model once.
        self.ready = functools.lru_cache(MODELS)(lambda text: ready(onnx.parser.parse_model(text)))

    def __toise__(self, device: str | None) -> Mapping[str, Any]:
        version = metadata.version(self._package)
        return {"version": version, "arrays": "numpy", "dtypes": DTYPES, **self._declared(version)}

    def _run(self, nodes: str, rank: int, /, **given: Array) -> Array:
        """Run the model of these nodes, whose result `y` has the dtype of the first array, and that many axes."""
        inputs = ", ".join(_typed(name, str(array.dtype), array.ndim) for name, array in given.items())
        result = _typed("y", str(next(iter(given.values())).dtype), rank)
        return self.ready(f"{HEADER} toise ({inputs}) => ({result}) {{ {nodes} }}")(given)

    def attention(
        self, q: Array, k: Array, v: Array, *, mask: Array | None = None, causal: bool = False, scale: float | None = None
    ) -> Array:
        """Run `Attention`: three axes with one head, four as they are, and two with an axis for the batch."""
        if q.ndim > 4:
            raise Unsupported("Attention takes inputs of 3 or 4 axes")
        options = [f"is_causal = {int(causal)}"]
        if scale is not None:
            if scale < 0:
                raise Unsupported("Attention multiplies Q and K by sqrt(scale): there is none of a negative number")
            options += [f"scale = {_attribute('scale', scale, q.dtype)}"]
        if q.ndim < 4:
            options += ["q_num_heads = 1", "kv_num_heads = 1"]
        given = {"q": q, "k": k, "v": v} if q.ndim > 2 else {"q": q[None], "k": k[None], "v": v[None]}
        if mask is not None:
            given["mask"] = mask[:, None] if q.ndim == 3 and mask.ndim == 3 else mask  # [batch, heads, n, m]
        y = self._run(f"y = Attention <{', '.join(options)}> ({', '.join(given)})", given["q"].ndim, **given)
        return y if q.ndim > 2 else y[0]

    def multi_head_attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        w_q: Array,
        w_k: Array,
        w_v: Array,
        w_o: Array,
        *,
        mask: Array | None = None,
        causal: bool = False,
    ) -> Array:
        """Run `MatMul` for each projection, `Attention` with heads, and `MatMul`: ONNX has no operator for the whole.

        The weights of all heads stand in one matrix, head beside head.
        """
        if q.ndim > 3:
            raise Unsupported("Attention takes heads out of inputs of 3 axes: one leading axis at most")
        given = {"q": q, "k": k, "v": v} if q.ndim == 3 else {"q": q[None], "k": k[None], "v": v[None]}
        given |= {f"w_{x}": np.hstack([*w]) for x, w in zip("qkv", (w_q, w_k, w_v), strict=True)}
        given["w_o"] = w_o
        if mask is not None:
            given["mask"] = mask[:, None] if mask.ndim == 3 else mask  # [batch, heads, n, m]
        heads = "h_q, h_k, h_v" if mask is None else "h_q, h_k, h_v, mask"
        options = f"is_causal = {int(causal)}, q_num_heads = {len(w_q)}, kv_num_heads = {len(w_k)}"
        nodes = f"""h_q = MatMul (q, w_q) h_k = MatMul (k, w_k) h_v = MatMul (v, w_v)
            h = Attention <{options}> ({heads}) y = MatMul (h, w_o)"""
        y = self._run(nodes, 3, **given)
        return y if q.ndim == 3 else y[0]

    def feed_forward(self, x: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> Array:
        """Run `Gemm`, `Relu`, `Gemm` for two axes, and else `MatMul` and `Add` for `Gemm`, which takes no more than two."""
        if x.ndim == 2:
            nodes = "h = Gemm (x, w1, b1) r = Relu (h) y = Gemm (r, w2, b2)"
        else:
            nodes = "p = MatMul (x, w1) h = Add (p, b1) r = Relu (h) s = MatMul (r, w2) y = Add (s, b2)"
        return self._run(nodes, x.ndim, x=x, w1=w1, b1=b1, w2=w2, b2=b2)

    def layer_norm(self, x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> Array:
        """Run `LayerNormalization` over the last axis, with its default `stash_type`: statistics in float32."""
        epsilon = _attribute("epsilon", eps, x.dtype)
        nodes = f"y = LayerNormalization <axis = -1, epsilon = {epsilon}> (x, gamma, beta)"
        return self._run(nodes, x.ndim, x=x, gamma=gamma, beta=beta)

    def residual(self, x: Array, sublayer: Callable[[Array], Array]) -> Array:
        """Run `Add`; the sublayer is no part of the model."""
        return self._run("y = Add (x, s)", x.ndim, x=x, s=sublayer(x))

    def causal_mask(self, n: int, *, m: int | None = None) -> Array:
        """Run `Trilu`, whose diagonal `k` is an input."""
        m = n if m is None else m
        return self._run("y = Trilu <upper = 0> (x, k)", 2, x=np.ones((n, m), bool), k=np.array(m - n))

    def mlm_loss(self, logits: Array, labels: Array, selected: Array) -> Array:
        """Run `SoftmaxCrossEntropyLoss`, with the labels of positions that are not selected put to its `ignore_index`."""
        scores, targets = logits.reshape(-1, logits.shape[-1]), np.where(selected, labels, HIDDEN).reshape(-1)
        nodes = f"y = SoftmaxCrossEntropyLoss <ignore_index = {HIDDEN}> (scores, targets)"
        return self._run(nodes, 0, scores=scores, targets=targets)

    def sequence_log_prob(self, logits: Array, tokens: Array) -> Array:
        """Run `LogSoftmax`, pick the tokens that follow with `GatherElements`, and add up with `ReduceSum`."""
        # The axis by its number: the reference evaluator's GatherElements raises for a negative one (seen in 1.23.2).
        nodes = f"""log_prob = LogSoftmax <axis = -1> (logits)
            steps = GatherElements <axis = {logits.ndim - 1}> (log_prob, tokens)
            y = ReduceSum <keepdims = 0> (steps, axes)"""
        given = {"logits": logits[..., :-1, :], "tokens": tokens[..., 1:, None], "axes": np.array([-2, -1])}
        return self._run(nodes, logits.ndim - 2, **given)


def _typed(name: str, dtype: str, axes: int) -> str:
    """Return the declaration of an array of any lengths: `float[x0, x1] x`."""
    lengths = ", ".join(f"{name}{axis}" for axis in range(axes))
    return f"{TYPES[dtype]}[{lengths}] {name}" if axes else f"{TYPES[dtype]} {name}"


def _attribute(name: str, value: float, dtype: Any) -> float:
    """Return a number as an attribute of a model holds it, which is in float32."""
    held = float(np.float32(value))
    if dtype == np.float64 and held != value:
        raise Unsupported(f"{name} is an attribute, which ONNX holds in float32: {value!r} would be {held!r}")
    return held


def _by_reference(model: onnx.ModelProto) -> Run:
    """Return what runs a model with the reference evaluator."""
    evaluator = ReferenceEvaluator(model)

    def run(given: Mapping[str, Array]) -> Array:
        results: Any = evaluator.run(None, dict(given))
        return results[0]

    return run


def _by_runtime(model: onnx.ModelProto) -> Run:
    """Return what runs a model with ONNX Runtime, on one thread of the CPU, with its graph optimisations."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Lacking

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Lacking as error:
        raise Unsupported(str(error)) from None

    def value(array: Array) -> Any:
        array = np.ascontiguousarray(array)
        if array.dtype != ml_dtypes.bfloat16:
            return onnxruntime.OrtValue.ortvalue_from_numpy(array)
        bits = array.view(np.uint16)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.TensorProto.BFLOAT16)

    def run(given: Mapping[str, Array]) -> Array:
        (result,) = session.run_with_ort_values(None, {name: value(array) for name, array in given.items()})
        if result.element_type() != onnx.TensorProto.BFLOAT16:
            return result.numpy()
        bits = ctypes.string_at(result.data_ptr(), result.tensor_size_in_bytes())  # NumPy has no bfloat16 to ask for
        return np.frombuffer(bits, ml_dtypes.bfloat16).reshape(result.shape())

    return run


def _of_reference(version: str) -> dict[str, Any]:
    """Return what the reference evaluator declares.

    NumPy computes each step of an operator in the dtype of its inputs: onnx/reference/ops/op_attention.py (the softmax too, as
    the doc of softmax_precision says), op_gemm.py, op_layer_normalization.py, op_softmax_cross_entropy_loss.py and op_softmax.py
    (seen in 1.23.2).  The doc of Attention has q and k multiplied by sqrt(scale), and op_attention.py rounds both products.
    """
    stepwise = {"precision": dict.fromkeys(("bfloat16", "float16"), "STEPWISE")}
    # "A zero output row" by the doc of Attention, whose errata say that it was NaN before 1.23 (seen in 1.22.0).
    empty_row = "zeros" if Version(version) >= Version("1.23") else "nan"
    attention = {"causal_alignment": TOP_LEFT, "empty_row": empty_row, **stepwise, "traits": ["stored-prescale"]}
    return {
        "name": "onnx.reference",
        "attention": attention,
        "multi_head_attention": attention,
        "feed_forward": stepwise,
        "layer_norm": stepwise,
        "mlm_loss": stepwise,
        "sequence_log_prob": stepwise,
    }


def _of_runtime(version: str) -> dict[str, Any]:
    """Return what ONNX Runtime declares.

    Attention in float16 rounds scores and weights to it between its kernels: AttentionGemm of attention.cc, and
    ComputeAttentionSoftmaxInplace, in onnxruntime/core/providers/cpu/llm.  Other nodes have no kernel for float16, and the
    runtime puts casts to float32 around them and takes away those that meet; in the optimised model of SoftmaxCrossEntropyLoss
    some are left, so that the logarithms are written out in float16 (seen in 1.32.0, on x86-64).
    """
    eager = {"precision": {"float16": "EAGER"}}
    # Promised are zeros; seen are NaN in 1.23.2, the mean from 1.24.4 to 1.27.0, and zeros from 1.28.0 to 1.32.0.
    changes = {"1.24": "nan", "1.28": "mean"}
    empty_row = next((row for until, row in changes.items() if Version(version) < Version(until)), "zeros")
    attention = {"causal_alignment": TOP_LEFT, "empty_row": empty_row, **eager}
    return {"name": "onnxruntime", "attention": attention, "multi_head_attention": attention, "mlm_loss": eager}


DTYPES = ["float32", "float64", "bfloat16", "float16"]
# The doc of Attention: without cached keys the offset is 0, "the standard lower-triangular mask" (opset 24); query i attends key
# j iff j <= i + past_sequence_length (opset 23).  microsoft/onnxruntime#29020 reports another alignment on a CPU; it is seen in
# none of 1.23.2, 1.27.0 and 1.32.0.
TOP_LEFT = "top-left"
reference = Models("onnx", _by_reference, _of_reference)
runtime = Models("onnxruntime", _by_runtime, _of_runtime)
