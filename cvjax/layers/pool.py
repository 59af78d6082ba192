"""Pooling as torch pools, NHWC; max-pooling with a derivative that is fast on a CPU.

b batch · h w height, width · c channels · p q height, width of the result
"""

from __future__ import annotations

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "b h w c"], size: int = 3, stride: int = 2, pad: int = 0) -> Float[Array, "b p q c"]:
    """The largest value of each size x size window, `pad` pixels of nothing on all sides.

    The gradient goes to the first of equal values. On a CPU forward-mode differentiation of it is an error: there XLA's
    derivative takes ten times as long as this one, and a seventh of a ResNet-18's whole step.
    """
    if jax.default_backend() == "cpu":
        return _fast(x, size, stride, pad, x.shape[1:3])
    return nn.max_pool(x, (size, size), (stride, stride), ((pad, pad),) * 2)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _fast(x: Array, size: int, stride: int, pad: int, shape: tuple[int, int]) -> Array:
    return _fast_forward(x, size, stride, pad, shape)[0]


def _fast_forward(x: Array, size: int, stride: int, pad: int, shape: tuple[int, int]) -> tuple[Array, Array]:
    """The values, and for each the number of the tap (0 to size * size - 1) that it came from."""
    p, q = ((n + 2 * pad - size) // stride + 1 for n in shape)
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=-jnp.inf)
    best = jnp.full((x.shape[0], p, q, x.shape[3]), -jnp.inf, x.dtype)
    source = jnp.zeros(best.shape, jnp.uint8)
    for tap in range(size * size):
        i, j = divmod(tap, size)
        value = padded[:, i : i + stride * (p - 1) + 1 : stride, j : j + stride * (q - 1) + 1 : stride]
        source = jnp.where(value > best, jnp.uint8(tap), source)
        best = jnp.maximum(best, value)
    return best, source


def _fast_backward(size: int, stride: int, pad: int, shape: tuple[int, int], source: Array, g: Array) -> tuple[Array]:
    """Pixels whose row and column leave the same remainders by the stride are summed together, then interleaved."""
    (h, w), (b, p, q, c), reach = shape, g.shape, -(-size // stride)
    rows, columns = p + reach - 1, q + reach - 1
    around = ((0, 0), (reach - 1, reach - 1), (reach - 1, reach - 1), (0, 0))
    g, source = jnp.pad(g, around), jnp.pad(source, around)

    def part(row: int, column: int) -> Array:
        total = jnp.zeros((b, rows, columns, c), g.dtype)
        for i, j in itertools.product(range(row, size, stride), range(column, size, stride)):
            y, x = reach - 1 - i // stride, reach - 1 - j // stride
            window = (slice(None), slice(y, y + rows), slice(x, x + columns))
            total += jnp.where(source[window] == i * size + j, g[window], 0)
        return total

    x = jnp.stack([jnp.stack([part(i, j) for j in range(stride)], 3) for i in range(stride)], 2)
    x = x.reshape(b, rows * stride, columns * stride, c)
    spare = [max(0, pad + n - m * stride) for n, m in ((h, rows), (w, columns))]
    x = jnp.pad(x, ((0, 0), (0, spare[0]), (0, spare[1]), (0, 0)))
    return (x[:, pad : pad + h, pad : pad + w],)


_fast.defvjp(_fast_forward, _fast_backward)


def adaptive_average_pool(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b p q c"]:
    """Averages over size x size windows that cover the map, as torch's AdaptiveAvgPool2d places them; p = q = size."""
    rows, columns = (jnp.asarray(_windows(n, size), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("ph,qw,bhwc->bpqc", rows, columns, x)


def _windows(n: int, size: int) -> np.ndarray:
    """size x n: row i is the mean over pixels floor(i n / size) to ceil((i + 1) n / size)."""
    windows = np.zeros((size, n))
    for i in range(size):
        start, end = i * n // size, -((-(i + 1) * n) // size)
        windows[i, start:end] = 1 / (end - start)
    return windows


def channels_first(x: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
    """Every map as one row, in the order in which torch's fully-connected layers expect it: n = c h w."""
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)
