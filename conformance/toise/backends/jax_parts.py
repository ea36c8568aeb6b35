"""What the adapters to JAX's libraries share: how a call is compiled, how axes are folded, and how tokens are corrupted."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from toise.errors import Unsupported, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Each array that a line of a library names is in the dtype of the call; jnp.sum, jnp.mean and `@` add in float32.
EAGER = {"bfloat16": "EAGER", "float16": "EAGER"}
# What JAX says of matrix products that a device does not have, as those of float16 that add in float32 on a CPU (in 0.10.2).
REFUSAL = "is not supported by dot_general on"
# JAX compiles a program for each shape, and keeps thousands of them.
MOST_PROGRAMS = 1000
_PROGRAMS: set[tuple[object, ...]] = set()


def products(device: str | None) -> dict[str, str]:
    """Return the precision of what multiplies matrices of float32: on a GPU, by default, in TF32.

    The documentation of `jax.lax.Precision` has that of DEFAULT.
    """
    return {"float32": "TF32"} if jax.devices(device)[0].platform == "gpu" else {}


def double(array: jax.Array) -> contextlib.AbstractContextManager[object]:
    """Return the setting that a call on this array runs under: JAX has float64 only where `jax_enable_x64` is set."""
    return jax.enable_x64(True) if array.dtype == "float64" else contextlib.nullcontext()  # noqa: FBT003 - a setting's value


def wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function under `jax_enable_x64` exactly where its first array is of float64, and bound what JAX remembers."""

    @functools.wraps(function)
    def call(*data: Any, **options: Any) -> Any:
        shapes = tuple((thing.shape, str(thing.dtype)) for thing in (*data, *options.values()) if isinstance(thing, jax.Array))
        plain = tuple((name, thing) for name, thing in options.items() if not isinstance(thing, jax.Array))
        _make_room((function, shapes, plain))
        with double(data[0]):
            try:
                return function(*data, **options)
            except ValueError as error:
                if REFUSAL not in str(error):
                    raise
                raise Unsupported(text_of(error)) from None

    return call


def _make_room(program: tuple[object, ...]) -> None:
    """Let JAX forget its programs, of some two megabytes each, before there are too many."""
    if program not in _PROGRAMS and len(_PROGRAMS) == MOST_PROGRAMS:
        _PROGRAMS.clear()
        forget: Any = jax.clear_caches
        forget()
    _PROGRAMS.add(program)


def compiled(*static: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile an operation as a whole, as JAX's users do: `jax.jit`, with options that choose among programs as static ones."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return wide(jax.jit(function, static_argnames=static))

    return decorate


def folded(array: jax.Array, inner: int) -> jax.Array:
    """Fold all axes but the last `inner` ones into one batch."""
    lead = array.ndim - inner
    return array.reshape(math.prod(array.shape[:lead]), *array.shape[lead:])


def spread(mask: jax.Array, like: jax.Array) -> jax.Array:
    """Give a mask the leading axes of an array of rows; the last two axes are its own."""
    return jnp.broadcast_to(mask, (*like.shape[:-2], *mask.shape[-2:]))


@jax.jit
def mlm_corrupt(
    tokens: jax.Array,
    *,
    mask_id: int,
    vocab_size: int,
    special_ids: Sequence[int],
    rate: float = 0.15,
    seed: int,
) -> tuple[jax.Array, jax.Array]:
    """Draw with `jax.random`: the choice of the tokens, of what becomes of each, and of the random ones has a key of its own."""
    chosen, kind, other = jax.random.split(jax.random.key(seed), 3)
    special = jnp.isin(tokens, jnp.array(special_ids, tokens.dtype))
    selected = jax.random.bernoulli(chosen, jnp.where(special, 0.0, rate))
    random = jax.random.randint(other, tokens.shape, 0, vocab_size, tokens.dtype)
    share = jax.random.uniform(kind, tokens.shape)
    shown = jnp.where(share < 0.8, mask_id, jnp.where(share < 0.9, random, tokens))
    return jnp.where(selected, shown, tokens).astype(tokens.dtype), selected
