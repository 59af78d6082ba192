"""DeconvNet (Noh, Hong & Han 2015, "Learning Deconvolution Network for Semantic Segmentation", arXiv:1505.04366).

VGG-16 with BatchNorm and its mirror image: every pooling remembers where its maxima were, and the unpooling opposite puts values back
there. Two fully-connected layers as convolutions stand between, so that a picture of 224 x 224 is one value wide in the middle.

Where we depart from the paper:
- Larger pictures go through as a whole; zeros bring any picture to a multiple of 32 and at least 224 pixels. (The paper pastes 50 proposals
  together.)
- `unpool="corner"` is the control without switches: values come to the upper left of their window.
- "small" and "tiny" are ours: fewer stages and channels, and a narrower middle.

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import Conv, he_fan_in
from cvjax.layers.norm import BatchNorm
from cvjax.models import _settings, _torch, vgg
from cvjax.ops import upsample


class Size(NamedTuple):
    """convolutions: of each stage. width: channels of the first, each next has twice as many, at most 8 times. hidden: channels of the
    middle. middle: pixels on a side of its window."""

    convolutions: tuple[int, ...]
    width: int
    hidden: int
    middle: int


VARIANTS = {
    "deconvnet": Size((2, 2, 3, 3, 3), 64, 4096, 7),  # Table 1 of the supplement
    "small": Size((2, 2, 2), 16, 128, 5),  # ours, for two CPU cores
    "tiny": Size((1, 1), 4, 8, 3),
}
UNPOOL = ("switches", "corner")
SMALLEST = 1  # pixels on a side
TINY = {"variant": "tiny"}


class Model(nn.Module):
    """variant: a key of VARIANTS.

    unpool: "switches", or "corner" without them.
    dtype: of the arithmetic. Parameters, statistics and logits are float32 always.
    """

    num_classes: int
    variant: str = "deconvnet"
    unpool: str = "switches"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns "middle" (b p q c), "features" (b h w c), the last map, and "logits"
        (b h w k, float32)."""
        size = self._checked()
        image, coarsest = jnp.asarray(inputs["image"], self.dtype), 2 ** len(size.convolutions)
        (h, w), (tall, wide) = image.shape[1:3], (max(-(-n // coarsest), size.middle) * coarsest for n in image.shape[1:3])
        x, switches = jnp.pad(image, ((0, 0), (0, tall - h), (0, wide - w), (0, 0))), []
        widths = [size.width * min(2**stage, 8) for stage in range(len(size.convolutions))]
        for stage, (count, width) in enumerate(zip(size.convolutions, widths, strict=True), 1):
            x = self._convolved(x, [width] * count, f"conv{stage}", train)
            x, places = upsample.max_pool_with_switches(x, 2)
            switches.append(places)
        x, middle = self._through(x, size, widths[-1], train)
        for stage in range(len(size.convolutions), 0, -1):
            x = self._unpooled(x, switches[stage - 1])
            count, last = size.convolutions[stage - 1], widths[max(stage - 2, 0)]
            x = self._convolved(x, [widths[stage - 1]] * (count - 1) + [last], f"deconv{stage}", train)
        x = x[:, :h, :w]
        head = Conv(self.num_classes, 1, kernel_init=_torch.uniform, bias_init=nn.initializers.zeros, name="head")
        return {"middle": middle, "features": x, "logits": head(x.astype(jnp.float32))}

    def _convolved(self, x: Float[Array, "b h w c"], widths: list[int], name: str, train: bool) -> Float[Array, "b h w d"]:
        """3x3 convolutions with BatchNorm and ReLU. (A transposed 3x3 convolution of stride 1 is one too, its filter turned round.)"""
        for number, width in enumerate(widths, 1):
            x = Conv(width, kernel_init=he_fan_in, bias_init=nn.initializers.zeros, dtype=self.dtype, name=f"{name}_{number}")(x)
            x = self._rectified(x, f"{name.replace('conv', 'norm')}_{number}", train)
        return x

    def _through(self, x: Float[Array, "b p q c"], size: Size, width: int, train: bool) -> tuple[Array, Array]:
        """fc6 and fc7, and deconv-fc6 back to the map's size: windows without padding, and that window transposed."""
        edge = size.middle // 2
        fc6 = Conv(size.hidden, size.middle, kernel_init=he_fan_in, bias_init=nn.initializers.zeros, dtype=self.dtype, name="fc6")
        y = self._rectified(fc6(x)[:, edge : x.shape[1] - edge, edge : x.shape[2] - edge], "norm_fc6", train)
        fc7 = Conv(size.hidden, 1, kernel_init=he_fan_in, bias_init=nn.initializers.zeros, dtype=self.dtype, name="fc7")
        y = middle = self._rectified(fc7(y), "norm_fc7", train)
        y = jnp.pad(y, ((0, 0), (2 * edge, 2 * edge), (2 * edge, 2 * edge), (0, 0)))
        back = Conv(width, size.middle, kernel_init=he_fan_in, bias_init=nn.initializers.zeros, dtype=self.dtype, name="deconv_fc6")
        y = back(y)[:, edge : y.shape[1] - edge, edge : y.shape[2] - edge]
        return self._rectified(y, "denorm_fc6", train), middle

    def _rectified(self, x: Float[Array, "b h w c"], name: str, train: bool) -> Float[Array, "b h w c"]:
        return nn.relu(BatchNorm(dtype=self.dtype, name=name)(x, train=train))

    def _unpooled(self, x: Float[Array, "b p q c"], switches: Array) -> Float[Array, "b h w c"]:
        if self.unpool == "corner":
            return upsample.bed_of_nails(x, 2)
        return upsample.max_unpool(x, switches, 2 * x.shape[1], 2 * x.shape[2])

    def _checked(self) -> Size:
        _settings.one_of(self, variant=VARIANTS, unpool=UNPOOL)
        return VARIANTS[self.variant]


# ---- begun from torchvision's VGG-16 with BatchNorm (`--init=torchvision:vgg16_bn.pth`), whose last layer is left

canonical, unified = vgg.canonical, vgg.as_convolutions


def reference_name(path: str, model: Model) -> str:
    """ "conv2_1/kernel" -> "features.7.weight"; what VGG has not keeps its name."""
    return vgg.name_if_shared(path, vgg.Model(0, 16, batch_norm=True))
