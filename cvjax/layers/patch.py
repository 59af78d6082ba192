"""From a map to a sequence: patches as tokens, their places, a class token (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1).

b batch · h w height, width · i c channels in, of a token · n tokens
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers import position

POSITIONS = ("learned", "learned_2d", "sincos_2d", "none")


class Embed(nn.Module):
    """Every patch of a map, row by row, times one matrix, plus its place.

    width: of a token. patch: pixels on a side; 1 where the map comes from a network.
    position: "learned", a vector for each token, the class token too (`position`); "learned_2d", half a vector for each row and each
        column (`rows`, `columns`); "sincos_2d", fixed; "none".
    token: begin with a class token (`token`), which is 0 at first.
    """

    width: int
    patch: int
    position: str = "learned"
    token: bool = True
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b n c"]:
        if self.position not in POSITIONS:
            raise ValueError(f"no position {self.position!r}; have {', '.join(map(repr, POSITIONS))}")
        b, height, width, _ = x.shape
        if height % self.patch or width % self.patch:
            raise ValueError(f"an image of {height}x{width} pixels is not made of patches of {self.patch}x{self.patch}; change one")
        kernel_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
        strides = (self.patch, self.patch)
        x = nn.Conv(self.width, strides, strides, "VALID", dtype=self.dtype, kernel_init=kernel_init, name="patch")(x)
        h, w = x.shape[1:3]
        x = x.reshape(b, h * w, self.width) + self._places(h, w).astype(self.dtype)[None]
        if not self.token:
            return x
        first = self.param("token", nn.initializers.zeros, (1, self.width), jnp.float32)
        if self.position == "learned":
            first = first + self._table(h * w + 1)[:1]
        return jnp.concatenate([jnp.broadcast_to(first.astype(self.dtype)[None], (b, 1, self.width)), x], 1)

    def _places(self, h: int, w: int) -> Float[Array, "n c"]:
        if self.position == "learned":
            return self._table(h * w + self.token)[int(self.token) :]
        if self.position == "learned_2d":
            half = self.width // 2
            rows = self.param("rows", nn.initializers.normal(0.02), (h, half), jnp.float32)
            columns = self.param("columns", nn.initializers.normal(0.02), (w, self.width - half), jnp.float32)
            return jnp.concatenate([jnp.repeat(rows, w, 0), jnp.tile(columns, (h, 1))], 1)
        if self.position == "sincos_2d":
            return jnp.asarray(position.sincos_2d(h, w, self.width))
        return jnp.zeros((h * w, self.width))

    def _table(self, n: int) -> Float[Array, "n c"]:
        if self.has_variable("params", "position"):
            return self.get_variable("params", "position")
        return self.param("position", nn.initializers.normal(0.02), (n, self.width), jnp.float32)


def refitted(table: Float[Array, "m c"], n: int) -> Float[Array, "n c"] | None:
    """A learned table of `position` for n tokens of another square image, bilinear; None where the tokens are no square, or one more.

    The class token's place is kept aside, and is 0 where the table has none.
    """
    old, new = _side(len(table)), _side(n)
    if old is None or new is None:
        return None
    first, grid = table[: len(table) - old**2], table[len(table) - old**2 :]
    grid = grid if old == new else position.resized(grid, (old, old), (new, new))
    if n == new**2:
        return grid
    return jnp.concatenate([first if len(first) else jnp.zeros((1, table.shape[1])), grid])


def _side(n: int) -> int | None:
    return next((math.isqrt(m) for m in (n, n - 1) if math.isqrt(m) ** 2 == m and m), None)
