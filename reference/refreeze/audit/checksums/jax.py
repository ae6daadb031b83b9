"""Checksums of JAX arrays: two sums modulo 2^32 of all words, mixed with their places, in one compiled function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

_ROW = 256
_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}


def _words(array: Any) -> list[Any]:
    """Return the bits of an array as 32-bit words, and zeros that fill the last row."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    if jnp.iscomplexobj(array):
        array = jnp.stack([array.real, array.imag])
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.uint8)
    words = lax.bitcast_convert_type(array, _WORDS[array.dtype.itemsize]).reshape(-1).astype(jnp.uint32)
    return [words, jnp.zeros(-words.size % _ROW, jnp.uint32)]


@partial(jax.jit, static_argnums=1)
def _sums(arrays: Sequence[Any], many: tuple[int, ...]) -> Any:
    """Return two sums for each array; ``many`` are its rows."""
    place = np.concatenate([np.arange(rows, dtype=np.uint32) for rows in many]) * np.uint32(_ROW)
    words = jnp.concatenate([part for array in arrays for part in _words(array)])
    words = lax.optimization_barrier(words).reshape(-1, _ROW)  # fused, every word would look for its array
    words ^= (jnp.asarray(place)[:, None] + lax.iota(jnp.uint32, _ROW) + 1) * jnp.uint32(0x9E3779B1)
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)  # murmur3's finish
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    words ^= words >> 16
    other = words * jnp.uint32(0x846CA68B)
    both = jnp.stack([words.sum(1, dtype=jnp.uint32), (other ^ (other >> 15)).sum(1, dtype=jnp.uint32)], 1)
    owner = jnp.asarray(np.repeat(np.arange(len(many)), many))
    return jax.ops.segment_sum(both, owner, len(many), indices_are_sorted=True)


def checksums(arrays: Sequence[Any]) -> list[str]:
    """Return the checksum of each array, 16 hexadecimal digits; compiles anew when shapes or kinds of values change."""
    shapes = jax.eval_shape(lambda every: [_words(array)[0] for array in every], list(arrays))
    many = tuple(-(-shape.size // _ROW) for shape in shapes)
    if not any(many):
        return ["0" * 16] * len(many)
    return [f"{int(one):08x}{int(two):08x}" for one, two in jax.device_get(_sums(list(arrays), many))]


def make() -> Callable[[Sequence[Any]], list[str]]:
    """Return ``checksums``."""
    return checksums
