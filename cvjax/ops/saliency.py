"""Where a network looks, as maps: its attention, followed through its layers, or the gradient of a class's score.

b batch · h heads · n places, of a square grid row by row, after a class token if n is one more · k places that are looked at
s side of the grid · p q height, width of a map · c channels
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32


def side(n: int) -> int | None:
    """Of the square grid that n places are, or all of them but a class token; None where they are none."""
    return next((math.isqrt(m) for m in (n, n - 1) if m > 0 and math.isqrt(m) ** 2 == m), None)


def has_token(n: int) -> bool:
    """Whether the first of n places is a class token: n - 1 make a square and n do not."""
    return math.isqrt(n) ** 2 != n and side(n) is not None


def grid(x: Float[Array, "b k *c"]) -> Float[Array, "b s s *c"]:
    """Places laid out as the picture has them, without a class token. Raises ValueError for places that make no square."""
    s = side(x.shape[1])
    if s is None:
        raise ValueError(f"{x.shape[1]} places make no square, with or without a class token")
    return x[:, x.shape[1] - s * s :].reshape(len(x), s, s, *x.shape[2:])


def looked_at(weights: Float[Array, "b n k"]) -> Float[Array, "b s s"]:
    """How much is looked at each place: by the class token, or by all places on average where there is none."""
    return grid(weights[:, 0] if has_token(weights.shape[1]) else weights.mean(1))


def rollout(layers: Sequence[Float[Array, "b _h n n"]]) -> Float32[Array, "b n n"]:
    """How much of each place of the first layer is in each of the last, if shortcuts carry half (Abnar & Zuidema 2020, arXiv:2005.00928).

    The product over layers of (A + I) / 2, A the mean over heads, rows summing to 1.
    """
    n = layers[0].shape[-1]
    through = jnp.eye(n)[None]
    for weights in layers:
        mixed = weights.astype(jnp.float32).mean(1) + jnp.eye(n)[None]
        through = (mixed / mixed.sum(-1, keepdims=True)) @ through
    return through


def grad_cam(maps: Float[Array, "b p q c"], slopes: Float[Array, "b p q c"]) -> Float32[Array, "b p q"]:
    """ReLU of the maps' sum, each times its slope's mean over places (Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2).

    slopes: the gradient of a class's score, before softmax, with respect to `maps`.
    """
    importance = slopes.astype(jnp.float32).mean((1, 2))
    return jax.nn.relu(jnp.einsum("bpqc,bc->bpq", maps.astype(jnp.float32), importance))
