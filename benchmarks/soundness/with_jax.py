"""JAX as a further implementation, where it is installed: operation by operation, compiled, and its own attention.

It compiles for each shape, so that these take part on a few inputs only.
"""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from toise.operations import allowed_keys

from soundness.machine import UNDECLARED, Machine, Organisation

if TYPE_CHECKING:
    from collections.abc import Callable

    from toise.inputs import Case

Array = np.ndarray
INSTALLED = importlib.util.find_spec("jax") is not None


def _called(m: Machine, case: Case, function: Callable[..., Any], *more: Any, compiled: bool) -> Array:
    """Call a function on JAX's arrays, and return float64."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - JAX's own signature
    data = [jnp.asarray(array, dtype=m.dtype) if array.dtype == float else jnp.asarray(array) for array in case.arrays.values()]
    result = jax.jit(function)(*data, *more) if compiled else function(*data, *more)
    return np.asarray(result).astype(np.float64)


def attention(m: Machine, case: Case, *, compiled: bool) -> Array:
    """Multiply, mask, softmax, multiply."""
    import jax
    import jax.numpy as jnp

    scale = case.options.get("scale", 1 / math.sqrt(case.q.shape[-1]))

    def formula(q: Any, k: Any, v: Any, allowed: Any) -> Any:
        s = jnp.where(allowed, q @ k.swapaxes(-1, -2) * scale, -jnp.inf)
        return jax.nn.softmax(s, axis=-1) @ v

    return _called(m, case, formula, np.array(allowed_keys(case, UNDECLARED["attention"])), compiled=compiled)


def layer_norm(m: Machine, case: Case, *, compiled: bool) -> Array:
    """Write the formula with JAX's functions."""
    import jax.numpy as jnp

    eps = case.options.get("eps", 1e-5)

    def formula(x: Any, gamma: Any, beta: Any) -> Any:
        d = x - x.mean(-1, keepdims=True)
        return d / jnp.sqrt((d * d).mean(-1, keepdims=True) + eps) * gamma + beta

    return _called(m, case, formula, compiled=compiled)


def feed_forward(m: Machine, case: Case, *, compiled: bool) -> Array:
    """Write the formula with JAX's functions."""
    import jax

    return _called(m, case, lambda x, w1, b1, w2, b2: jax.nn.relu(x @ w1 + b1) @ w2 + b2, compiled=compiled)


def sequence_log_prob(m: Machine, case: Case, *, compiled: bool) -> Array:
    """Pick from log_softmax, and add up."""
    import jax
    import jax.numpy as jnp

    def formula(logits: Any, tokens: Any) -> Any:
        log_p = jax.nn.log_softmax(logits[..., :-1, :], axis=-1)
        return jnp.take_along_axis(log_p, tokens[..., 1:, None], axis=-1)[..., 0].sum(-1)

    return _called(m, case, formula, compiled=compiled)


def _organisations(function: Callable[..., Array]) -> dict[str, Organisation]:
    # Op by op, softmax and the means are steps in the dtype; what a compiler fuses of them, it need not.
    return {
        f"jax, {how}": Organisation(
            lambda m, case, compiled=compiled: function(m, case, compiled=compiled),  # type: ignore[misc]
            classes=("STRICT", "STEPWISE"),
            slow=True,
        )
        for how, compiled in (("operation by operation", False), ("compiled", True))
    }


ORGANISATIONS: dict[str, dict[str, Organisation]] = {
    function.__name__: _organisations(function) if INSTALLED else {}
    for function in (attention, layer_norm, feed_forward, sequence_log_prob)
}
