"""Where a token stands: tables that are added to it.

b batch · n places · h w rows, columns of a grid · c channels
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32


def sincos_1d(n: int, c: int, temperature: float = 10_000.0) -> Float32[np.ndarray, "n c"]:
    """sin and cos of place / temperature^(2i/c) in turn (Vaswani et al. 2017, section 3.5). Raises ValueError for an odd c."""
    if c % 2:
        raise ValueError(f"position: sines and cosines need an even width, not {c}")
    angle = np.arange(n)[:, None] / temperature ** (np.arange(0, c, 2) / c)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(n, c).astype(np.float32)


def sincos_2d(h: int, w: int, c: int, temperature: float = 10_000.0) -> Float32[np.ndarray, "n c"]:
    """A quarter of the channels each: sin and cos of the column, of the row, as Beyer et al. 2022 (arXiv:2205.01580) have it.

    Raises ValueError where c is no multiple of 4.
    """
    if c % 4:
        raise ValueError(f"position: two-dimensional sines and cosines need a width that 4 divides, not {c}")
    rate = 1 / temperature ** (np.arange(c // 4) / (c // 4 - 1 or 1))
    y, x = np.mgrid[:h, :w].reshape(2, -1, 1)
    return np.concatenate([np.sin(x * rate), np.cos(x * rate), np.sin(y * rate), np.cos(y * rate)], -1).astype(np.float32)


def sine_within(mask: Bool[Array, "b h w"], c: int, temperature: float = 10_000.0) -> Float32[Array, "b h w c"]:
    """sin and cos in turn, half the channels of the row, half of the column, both as shares of the picture in its padding times 2 pi.

    mask: True inside the picture, whose rows count from 1 (Carion et al. 2020, arXiv:2005.12872, section A.4). Raises ValueError where
    c is no multiple of 4.
    """
    if c % 4:
        raise ValueError(f"position: two-dimensional sines and cosines need a width that 4 divides, not {c}")
    counts = [jnp.cumsum(mask, axis, dtype=jnp.float32) for axis in (1, 2)]
    shares = jnp.stack([counts[0] / (counts[0][:, -1:] + 1e-6), counts[1] / (counts[1][:, :, -1:] + 1e-6)], -1)
    rate = jnp.asarray(2 * np.pi / temperature ** (2 * np.arange(c // 4) / (c // 2)), jnp.float32)
    angle = shares[..., None] * rate.reshape(1, 1, 1, 1, -1)
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], -1).reshape(*mask.shape, c)


def resized(table: Float[Array, "m c"], old: tuple[int, int], new: tuple[int, int]) -> Float[Array, "n c"]:
    """A table of places for a grid of another size, bilinear (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.2)."""
    grid = jnp.asarray(table).reshape(*old, -1)
    return jax.image.resize(grid, (*new, grid.shape[-1]), "bilinear", antialias=False).reshape(new[0] * new[1], -1)
