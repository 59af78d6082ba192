"""Labelling by patches (Ciresan et al. 2012; Farabet et al. 2013): a small network says of a window what its middle pixel is.

Slid over a picture it computes again and again what neighbouring windows share. The same weights as convolutions of the whole picture give
the same scores of every pixel at once (Long et al. 2015, arXiv:1411.4038, section 3): a pooling then takes every place, not every second,
and all that follows is dilated, so no map is ever coarser than the picture. `Model(sliding=True)` is the window, to compare.

Where we depart from the papers: sizes are ours; theirs label windows some pixels apart, or look at several scales.

b batch · h w height, width · c channels · k classes · r rate: pixels of the picture between neighbouring places
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import Conv, he_fan_in
from cvjax.layers.pool import max_pool
from cvjax.models import _settings, _torch


class Size(NamedTuple):
    """widths: channels of each stage, two 3x3 convolutions; between stages a 2x2 pooling. hidden: channels of the last layer."""

    widths: tuple[int, ...]
    hidden: int

    @property
    def window(self) -> int:
        """Pixels on a side of what one label is said from."""
        return 1 + sum(4 * 2**stage for stage in range(len(self.widths))) + sum(2**stage for stage in range(len(self.widths) - 1))


VARIANTS = {"patch32": Size((16, 32, 64), 64), "patch14": Size((16, 32), 64), "tiny": Size((4, 8), 8)}
SMALLEST = 1  # pixels on a side
TINY = {"variant": "tiny"}


class Model(nn.Module):
    """variant: a key of VARIANTS.

    sliding: says each pixel's scores by its window alone; the same scores of the same weights, at the cost of every window.
    dtype: of the arithmetic; parameters and logits are float32 always.
    """

    num_classes: int
    variant: str = "patch32"
    sliding: bool = False
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool, window: bool = False) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns "logits" (b h w k, float32).

        window: the pictures are windows, and what is said of their middle is all: b 1 1 k.
        """
        _settings.one_of(self, variant=VARIANTS)
        size, rate = VARIANTS[self.variant], 1
        if self.sliding and not window and not self.is_initializing():
            return {"logits": jax.vmap(partial(slide, self.clone(parent=None), self.variables))(inputs["image"])}
        x = jnp.asarray(inputs["image"], self.dtype)
        x = x if window else surrounded(x, size.window)
        for stage, width in enumerate(size.widths, 1):
            if stage > 1:
                x, rate = (max_pool(x, 2, 2), 1) if window else (_maxima(x, rate), 2 * rate)
            for number in (1, 2):
                conv = Conv(width, dilation=rate, kernel_init=he_fan_in, bias_init=nn.initializers.zeros, dtype=self.dtype,
                            name=f"conv{stage}_{number}")  # fmt: skip
                x = nn.relu(conv(x)[:, rate:-rate, rate:-rate])
        hidden = Conv(size.hidden, 1, kernel_init=he_fan_in, bias_init=nn.initializers.zeros, dtype=self.dtype, name="hidden")
        head = Conv(self.num_classes, 1, kernel_init=_torch.uniform, bias_init=nn.initializers.zeros, name="head")
        return {"logits": head(nn.relu(hidden(x)).astype(jnp.float32))}


def surrounded(image: Float[Array, "b h w c"], window: int) -> Float[Array, "b p q c"]:
    """A picture with zeros on all sides, so that every pixel is the middle of a window. Of an even one the middle is before the half."""
    around = ((window - 1) // 2, window // 2)
    return jnp.pad(image, ((0, 0), around, around, (0, 0)))


def _maxima(x: Float[Array, "b h w c"], rate: int) -> Float[Array, "b p q c"]:
    """2x2 pooling at every place, of values `rate` pixels apart."""
    x = jnp.maximum(x[:, rate:], x[:, :-rate])
    return jnp.maximum(x[:, :, rate:], x[:, :, :-rate])


def slide(model: Model, variables: Mapping, image: Float[Array, "h w c"]) -> Float[Array, "h w k"]:
    """The scores of every pixel by its window alone, a row of windows at a time."""
    (h, w), size = image.shape[:2], VARIANTS[model.variant].window
    whole = surrounded(image[None], size)[0]

    def row(top: Array) -> Array:
        strip = jax.lax.dynamic_slice_in_dim(whole, top, size, axis=0)
        windows = jax.vmap(lambda left: jax.lax.dynamic_slice_in_dim(strip, left, size, axis=1))(jnp.arange(w))
        out: Any = model.apply(variables, {"image": windows}, train=False, window=True)
        scores: Array = out["logits"][:, 0, 0]
        return scores

    return jax.lax.map(row, jnp.arange(h))
