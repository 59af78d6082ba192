"""U-Net (Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv:1505.04597).

A contracting path of pairs of 3x3 convolutions and 2x2 poolings, an expanding path of up-convolutions and pairs of convolutions, and from
each map of the first a bridge to the second. "unet" is the paper's network, 23 convolutions.

Where we depart from the paper:
- `padding="same"` pads convolutions with zeros, as most re-implementations do; "valid" is the paper's.
- A picture of any size is mirrored outwards to one that fits, as the paper does at borders of tiles, and its result is cut to its size.
- BatchNorm (2015) where asked for; other ways to get finer than the paper's 2x2 up-convolution, and other bridges, to compare.
- Convolutions start as He et al. say, N(0, 2 / N), and the last one smaller, as torch starts it.

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import Conv
from cvjax.layers.expand import SKIPS, Convolutions, Expand, mirrored
from cvjax.layers.pool import max_pool
from cvjax.layers.upsample import OPERATIONS
from cvjax.models import _settings, _torch
from cvjax.ops.upsample import max_pool_with_switches


class Size(NamedTuple):
    """width: channels of the first level, each next has twice as many. levels: maps of different size."""

    width: int
    levels: int


VARIANTS = {
    "unet": Size(64, 5),  # figure 1
    "small": Size(16, 5),  # ours, for two CPU cores
    "mini": Size(8, 4),
    "tiny": Size(4, 3),
}
TINY = {"variant": "tiny"}
SMALLEST = 1  # pixels on a side


class Model(nn.Module):
    """variant: a key of VARIANTS.

    padding: "same" or "valid".
    upsample: how a map gets finer: an operation of `cvjax.layers.upsample`.
    skips: "concat", "sum" or "none": how the maps of the contracting path join.
    batch_norm: behind every 3x3 convolution.
    dropout: share of the values at the end of the contracting path that is left out in training (the paper does not say how many).
    dtype: of the arithmetic. Parameters, statistics and logits are float32 always.
    """

    num_classes: int
    variant: str = "unet"
    padding: str = "same"
    upsample: str = "transposed"
    skips: str = "concat"
    batch_norm: bool = False
    dropout: float = 0.0
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns "features" (b h w c, `dtype`) and "logits" (b h w k, float32)."""
        size = self._checked()
        image, valid = jnp.asarray(inputs["image"], self.dtype), self.padding == "valid"
        (tall, before), (wide, _) = (fitting(n, size.levels, valid) for n in image.shape[1:3])
        x, bridges = mirrored(image, tall, wide, before), []
        for level in range(size.levels):
            x = Convolutions(size.width * 2**level, self.batch_norm, valid, self.dtype, name=f"down{level + 1}")(x, train=train)
            if level < size.levels - 1:
                bridge, (x, switches) = x, self._pooled(x)
                bridges.append((bridge, switches))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for level, (bridge, switches) in reversed(list(enumerate(bridges, 1))):
            expand = Expand(size.width * 2 ** (level - 1), self.upsample, self.skips, self.batch_norm, valid, self.dtype, name=f"up{level}")
            x = expand(x, bridge, switches, train=train)
        x = x[:, : image.shape[1], : image.shape[2]]
        head = Conv(self.num_classes, 1, kernel_init=_torch.uniform, bias_init=nn.initializers.zeros, name="head")
        return {"features": x, "logits": head(x.astype(jnp.float32))}

    def _pooled(self, x: Float[Array, "b h w c"]) -> tuple[Array, Array | None]:
        return max_pool_with_switches(x, 2) if self.upsample == "unpool" else (max_pool(x, 2, 2), None)

    def _checked(self) -> Size:
        """The size, or a ValueError that names the field and its legal values."""
        _settings.one_of(self, variant=VARIANTS, padding=("same", "valid"), upsample=OPERATIONS, skips=SKIPS)
        if self.upsample == "unpool" and self.padding == "valid":
            raise ValueError("unet: upsample 'unpool' needs maps as large as the pooled ones; use padding 'same'")
        _settings.dropout(self)
        return VARIANTS[self.variant]


def fitting(pixels: int, levels: int, valid: bool) -> tuple[int, int]:
    """The pixels that a picture of so many in one direction is mirrored to, and how many of them come before it.

    With "valid" convolutions the smallest n whose pooled maps are all even and whose result is not smaller than the picture; that result
    begins as many pixels in as the picture does. (5 levels: n = 188 + 16 m, result n - 184.)
    """
    if not valid:
        return -(-pixels // 2 ** (levels - 1)) * 2 ** (levels - 1), 0
    n = pixels
    while result(n, levels) < pixels:
        n += 1
    return n, (n - result(n, levels)) // 2


def result(pixels: int, levels: int) -> int:
    """How many pixels "valid" convolutions leave of so many in one direction; 0 where a map cannot be pooled evenly."""
    for _ in range(levels - 1):
        pixels -= 4
        if pixels < 2 or pixels % 2:
            return 0
        pixels //= 2
    pixels = max(pixels - 4, 0)
    for _ in range(levels - 1):
        pixels = max(2 * pixels - 4, 0)
    return pixels
