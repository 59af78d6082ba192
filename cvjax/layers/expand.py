"""Parts of a U-Net (Ronneberger et al. 2015, arXiv:1505.04597): pairs of convolutions, and a step of the expanding path.

b batch · h w height, width · c d channels
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cvjax.layers.conv import Conv, he_fan_in
from cvjax.layers.norm import BatchNorm
from cvjax.layers.upsample import Upsample

SKIPS = ("concat", "sum", "none")


class Convolutions(nn.Module):
    """Two 3x3 convolutions, each with BatchNorm (if asked for) and ReLU. `valid` ones lose a pixel on every side, twice."""

    features: int
    batch_norm: bool = False
    valid: bool = False
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        bias = None if self.batch_norm else nn.initializers.zeros
        for number in (1, 2):
            x = Conv(self.features, kernel_init=he_fan_in, bias_init=bias, dtype=self.dtype, name=f"conv{number}")(x)
            x = x[:, 1:-1, 1:-1] if self.valid else x
            if self.batch_norm:
                x = BatchNorm(dtype=self.dtype, name=f"norm{number}")(x, train=train)
            x = nn.relu(x)
        return x


class Expand(nn.Module):
    """A step of the expanding path: twice as fine, joined with the map of the contracting path, two convolutions.

    upsample: see `cvjax.layers.upsample`.
    skips: "concat" (the paper), "sum" (as FCN joins), or "none".
    """

    features: int
    upsample: str = "transposed"
    skips: str = "concat"
    batch_norm: bool = False
    valid: bool = False
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        skip: Float[Array, "b p q s"] | None,
        switches: Int[Array, "b h w d"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b h2 w2 d"]:
        x = Upsample(self.features, self.upsample, self.dtype, name="up")(x, switches)
        if skip is not None and self.skips != "none":
            skip = middle(skip, *x.shape[1:3])
            x = jnp.concatenate([skip, x], -1) if self.skips == "concat" else x + self._narrowed(skip)
        return Convolutions(self.features, self.batch_norm, self.valid, self.dtype, name="convs")(x, train=train)

    def _narrowed(self, skip: Float[Array, "b h w s"]) -> Float[Array, "b h w d"]:
        """With as many channels as it is added to."""
        if skip.shape[-1] == self.features:
            return skip
        return Conv(self.features, 1, kernel_init=he_fan_in, dtype=self.dtype, name="skip")(skip)


def middle(x: Float[Array, "b h w c"], height: int, width: int) -> Float[Array, "b p q c"]:
    """The middle of a map, p x q = height x width."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]


def mirrored(x: Float[Array, "b h w c"], height: int, width: int, before: int = 0) -> Float[Array, "b p q c"]:
    """A picture made height x width with its own mirror image: `before` pixels at the top and left, the rest at the bottom and right."""
    after = [size - before - n for size, n in zip((height, width), x.shape[1:3], strict=True)]
    around = ((0, 0), (before, after[0]), (before, after[1]), (0, 0))
    one_pixel = min(x.shape[1:3]) == 1  # which has no mirror image beside itself
    return jnp.pad(x, around, mode="edge" if one_pixel else "reflect")
