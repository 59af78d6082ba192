"""Where a token stands: tables that are added to it.

n places · h w rows, columns of a grid · c channels
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32


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


def resized(table: Float[Array, "m c"], old: tuple[int, int], new: tuple[int, int]) -> Float[Array, "n c"]:
    """A table of places for a grid of another size, bilinear (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.2)."""
    grid = jnp.asarray(table).reshape(*old, -1)
    return jax.image.resize(grid, (*new, grid.shape[-1]), "bilinear", antialias=False).reshape(new[0] * new[1], -1)
