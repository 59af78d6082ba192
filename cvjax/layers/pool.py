"""Max-pooling, padded as torch pads, NHWC; with a derivative that is fast on a CPU.

b batch · h w height, width · c channels · p q height, width of the result
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "b h w c"], size: int = 3, stride: int = 2) -> Float[Array, "b p q c"]:
    """The largest value of each size x size window, size // 2 pixels of nothing on both sides.

    The gradient goes to the first of equal values. On a CPU forward-mode differentiation of it is an error: there XLA's
    derivative takes ten times as long as this one, and a seventh of a ResNet-18's whole step.
    """
    if jax.default_backend() == "cpu":
        return _fast(x, size, stride, x.shape[1:3])
    return nn.max_pool(x, (size, size), (stride, stride), ((size // 2, size // 2),) * 2)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _fast(x: Array, size: int, stride: int, shape: tuple[int, int]) -> Array:
    return _fast_forward(x, size, stride, shape)[0]


def _fast_forward(x: Array, size: int, stride: int, shape: tuple[int, int]) -> tuple[Array, Array]:
    """The values, and for each the number of the tap (0 to size * size - 1) that it came from."""
    half = size // 2
    p, q = ((n + 2 * half - size) // stride + 1 for n in shape)
    padded = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)), constant_values=-jnp.inf)
    best = jnp.full((x.shape[0], p, q, x.shape[3]), -jnp.inf, x.dtype)
    source = jnp.zeros(best.shape, jnp.uint8)
    for tap in range(size * size):
        i, j = divmod(tap, size)
        value = padded[:, i : i + stride * (p - 1) + 1 : stride, j : j + stride * (q - 1) + 1 : stride]
        source = jnp.where(value > best, jnp.uint8(tap), source)
        best = jnp.maximum(best, value)
    return best, source


def _fast_backward(size: int, stride: int, shape: tuple[int, int], source: Array, g: Array) -> tuple[Array]:
    """Pixels whose row and column leave the same remainders by the stride are summed together, then interleaved."""
    (h, w), (b, p, q, c), reach = shape, g.shape, -(-size // stride)
    rows, columns = p + reach - 1, q + reach - 1
    parts = [[jnp.zeros((b, rows, columns, c), g.dtype)] * stride for _ in range(stride)]
    for tap in range(size * size):
        i, j = divmod(tap, size)
        hit = jnp.where(source == tap, g, 0)
        before = (i // stride, j // stride)
        pad = [(0, 0), (before[0], rows - p - before[0]), (before[1], columns - q - before[1]), (0, 0)]
        parts[i % stride][j % stride] += jnp.pad(hit, pad)
    x = jnp.stack([jnp.stack(part, 3) for part in parts], 2).reshape(b, rows * stride, columns * stride, c)
    half = size // 2
    spare = [max(0, half + n - m * stride) for n, m in ((h, rows), (w, columns))]
    x = jnp.pad(x, ((0, 0), (0, spare[0]), (0, spare[1]), (0, 0)))
    return (x[:, half : half + h, half : half + w],)


_fast.defvjp(_fast_forward, _fast_backward)
