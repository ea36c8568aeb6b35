"""The adapters to JAX, Flax, Equinox and Keras declare what is seen, and backends on JAX's arrays are judged as others are."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
from misbehaviours import judged
from toise.backends import ADAPTERS
from toise.errors import TargetError, Unsupported
from toise.targets import load

jax = pytest.importorskip("jax", reason="needs jax: pip install 'toise[jax]'")
jnp = jax.numpy

NAMES = {
    "jax": {
        "attention",
        "multi_head_attention",
        "feed_forward",
        "layer_norm",
        "residual",
        "causal_mask",
        "mlm_corrupt",
        "mlm_loss",
        "sequence_log_prob",
    },
    "flax": {"attention", "multi_head_attention", "feed_forward", "layer_norm", "causal_mask", "mlm_loss", "sequence_log_prob"},
    "equinox": {"multi_head_attention", "feed_forward", "layer_norm"},
    "keras": {"attention", "multi_head_attention", "feed_forward", "layer_norm", "residual", "mlm_loss", "sequence_log_prob"},
}
with_attention = pytest.mark.parametrize("name", ["jax", "flax", "keras"])


def adapter(name):
    """Return an adapter as a target, or skip where its library is missing."""
    if reason := ADAPTERS[name].missing():
        pytest.skip(reason)
    return load(name)


def formula(x, gamma, beta, *, eps=1e-5):
    """Normalise rows as the formula says."""
    centred = x - x.mean(-1, keepdims=True)
    return gamma * centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + eps) + beta


compiled = jax.jit(formula)


def backend(layer_norm):
    """Return a backend on JAX's arrays with one operation."""
    return {"__toise__": {"arrays": "jax", "dtypes": ["float32"]}, "layer_norm": layer_norm}


def outcomes(layer_norm, *requirements):
    """Return what becomes of each requirement."""
    report = judged(backend(layer_norm), requirements, dtypes=["float32"])
    return {row.requirement: row.outcome for row in report.results}


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_has_the_operations_that_it_says(name):
    """Each is found, with the version of its library and JAX's arrays."""
    target = adapter(name)

    assert set(target.operations) == NAMES[name]
    assert target.declarations.version
    assert target.declarations.arrays == "jax"


@with_attention
def test_the_causal_mask_of_attention_is_top_left(name):
    """The first query sees the first key alone, whatever the number of keys."""
    target = adapter(name)
    v = jnp.array([[1.0], [2.0], [4.0]])

    y = target.operations["attention"](jnp.zeros((2, 1)), jnp.zeros((3, 1)), v, causal=True)

    assert target.declarations.operations["attention"].choices["causal_alignment"] == "top-left"
    assert np.allclose(y, [[1], [1.5]])


@with_attention
def test_a_query_without_keys_gives_the_mean(name):
    """The fill of jax.nn.dot_product_attention is finite, so that a row of it has equal weights."""
    target = adapter(name)
    q, v = jnp.ones((1, 1)), jnp.array([[1.0], [2.0], [6.0]])

    y = target.operations["attention"](q, v, v, mask=jnp.zeros((1, 3), bool))

    assert target.declarations.operations["attention"].choices["empty_row"] == "mean"
    assert np.allclose(y, 3)


@with_attention
def test_values_of_another_width_are_unsupported(name):
    """The library would raise, or return what has another shape."""
    q, v = jnp.ones((2, 4)), jnp.ones((2, 3))

    with pytest.raises(Unsupported, match=r"width|value shape"):
        adapter(name).operations["attention"](q, q, v)


def test_jax_itself_refuses_values_of_another_width():
    """The adapter says beforehand what JAX would say."""
    q, v = jnp.ones((2, 1, 4)), jnp.ones((2, 1, 3))

    with pytest.raises(ValueError, match="value shape should be"):
        jax.nn.dot_product_attention(q, q, v)


@pytest.mark.parametrize("name", ["jax", "flax", "equinox"])
def test_float64_is_computed_in_float64_and_the_setting_stays(name):
    """jax_enable_x64 holds for the one call alone."""
    target = adapter(name)
    x = target.arrays.make(np.array([[1.0, 2.0, 4.0]]), "float64")
    one = target.arrays.make(np.ones(3), "float64")

    y = target.operations["layer_norm"](x, one, one - one, eps=1e-5)

    row = np.array([1, 2, 4]) - 7 / 3
    assert y.dtype == "float64"
    assert np.abs(np.asarray(y)[0] - row / np.sqrt((row**2).mean() + 1e-5)).max() < 1e-14
    assert not jax.config.jax_enable_x64


def test_a_call_under_the_setting_gives_what_a_process_with_it_gives():
    """`jax.enable_x64(True)` around a call and the configuration of the whole process lead to the same bits."""
    x = np.random.default_rng(0).normal(size=(3, 7))
    around = load("jax").operations["layer_norm"]
    y = around(*(load("jax").arrays.make(part, "float64") for part in (x, x[0], x[1])), eps=1e-3)

    jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - the value of the setting
    try:
        whole = jax.jit(lambda x, g, b: jax.nn.standardize(x, epsilon=1e-3) * g + b)(x, x[0], x[1])
    finally:
        jax.config.update("jax_enable_x64", False)  # noqa: FBT003

    assert np.asarray(y).tobytes() == np.asarray(whole).tobytes()


def test_flax_makes_square_masks_alone():
    """nnx.make_causal_mask is for self-attention."""
    mask = adapter("flax").operations["causal_mask"]

    assert np.array_equal(mask(3), np.tri(3, dtype=bool))
    with pytest.raises(Unsupported, match="self-attention"):
        mask(2, m=3)


def test_keras_gives_a_loss_of_float32_and_of_zero():
    """Losses are of floatx, and nothing selected is a zero."""
    target = adapter("keras")
    logits = jnp.zeros((2, 3), "bfloat16")

    loss = target.operations["mlm_loss"](logits, jnp.zeros(2, int), jnp.zeros(2, bool))

    declared = target.declarations.operations["mlm_loss"].choices
    assert declared == {"loss_dtype": "float32", "nothing_selected": "zero"}
    assert loss.dtype == "float32"
    assert loss == 0


def test_keras_on_another_backend_is_refused(monkeypatch):
    """Keras has one backend for a process, so what was imported before decides."""
    adapter("keras")
    module = sys.modules["toise.backends.keras_adapter"]
    other = types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: "torch"))
    monkeypatch.setitem(sys.modules, "keras", other)

    with pytest.raises(TargetError, match="with the backend torch; required: jax"):
        module.imported()


@pytest.mark.parametrize("before", [None, "tensorflow"])
def test_keras_leaves_the_environment_as_it_was(monkeypatch, before):
    """KERAS_BACKEND is set for the import alone."""
    adapter("keras")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if before:
        monkeypatch.setenv("KERAS_BACKEND", before)

    sys.modules["toise.backends.keras_adapter"].imported()

    assert os.environ.get("KERAS_BACKEND") == before


def test_a_smoke_verdict_of_jax_passes_what_it_should():
    """A sublayer is called once, outside of any compiled program, and a sequence of one token has nothing to score."""
    report = judged("jax", ["RES-5", "AR-9"], dtypes=["float32"])

    assert {row.requirement: row.outcome for row in report.results} == {"RES-5": "PASS", "AR-9": "PASS"}


def test_a_donated_input_is_one_that_changed():
    """A donated array is gone after the call, and its bits with it."""
    donating = jax.jit(formula, donate_argnums=0)

    @functools.wraps(formula)
    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return donating(x, gamma, beta, eps=eps)

    assert outcomes(layer_norm, "GEN-4", "GEN-1") == {"GEN-4": "FAIL", "GEN-1": "PASS"}


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "complex64"])
def test_a_result_of_a_strange_dtype_fails(dtype):
    """float8 and complex numbers are read, or refused, and never end the run."""
    assert outcomes(lambda x, g, b, *, eps=1e-5: compiled(x, g, b, eps=eps).astype(dtype), "GEN-2") == {"GEN-2": "FAIL"}


def test_a_result_that_was_deleted_fails():
    """Its error is the target's."""

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        y = compiled(x, gamma, beta, eps=eps)
        y.delete()
        return y

    assert outcomes(layer_norm, "GEN-1") == {"GEN-1": "FAIL"}


FILE = """
    import jax
    import jax.numpy as jnp

    __toise__ = {"arrays": "jax", "dtypes": ["float32"]}

    @jax.jit
    def sequence_log_prob(logits, tokens):
        steps = jnp.take_along_axis(jax.nn.log_softmax(logits[..., :-1, :]), tokens[..., 1:, None], -1)
        return steps.sum((-2, -1))
"""


@pytest.mark.parametrize("wide", ["0", "1"])
@pytest.mark.parametrize("options", [[], ["--isolate"]])
def test_a_file_of_the_user_is_judged(tmp_path, monkeypatch, options, wide):
    """In one process or two, with JAX_ENABLE_X64 or without; what goes over the pipe as int64 arrives as JAX's ids."""
    file = tmp_path / "mine.py"
    file.write_text(textwrap.dedent(FILE), encoding="utf-8")
    monkeypatch.setenv("JAX_ENABLE_X64", wide)

    command = [sys.executable, "-m", "toise", "check", str(file), "-k", "AR-9", "--budget", "smoke", "-n", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_ids_are_int64_where_the_process_says_so():
    """JAX_ENABLE_X64=1, or the configuration."""
    arrays = load("jax").arrays
    assert arrays.ids == "int32"

    with jax.enable_x64(True):  # noqa: FBT003 - the value of the setting
        assert arrays.ids == "int64"
        assert arrays.make(np.array([2**40]), "int64").dtype == "int64"
