"""FCN (Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", arXiv:1411.4038): 32s, 16s and 8s.

VGG with its fully-connected layers as convolutions, and a 1x1 convolution to scores of every class. 32s enlarges these to the picture; 16s
doubles them, adds scores of the fourth stage's pooled map, and enlarges the sum; 8s does so once more with the third's.

Where we depart from the paper:
- No border of 100 pixels: the picture gets zeros at the bottom and right up to a multiple of 32, and fc6 three on every side.
- The last enlargement is bilinear to the pixel; the paper's fixed filters do the same, but for zeros beyond the border.
- The scores start small, not at zero, so that there is something to learn everything from at once; those of the skips start at zero.

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

import re

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import Conv
from cvjax.layers.upsample import OPERATIONS, doubled
from cvjax.models import _settings, vgg
from cvjax.ops import upsample

VARIANTS = vgg.VARIANTS
STRIDES = {32: (), 16: (4,), 8: (4, 3)}  # pixels to a score of the finest map -> stages whose pooled maps have scores too
SMALLEST = 1  # pixels on a side
TINY = {"variant": 11, "width": 4}


class Model(nn.Module):
    """variant: number of VGG's layers, a key of VARIANTS.

    stride: 32, 16 or 8, of FCN-32s, 16s, 8s.
    upsample: how scores are doubled. "transposed": a learned 4x4 filter that starts bilinear; else an operation of
        `cvjax.layers.upsample` without parameters. "unpool" takes the switches of the mean over the pooled map's channels.
    batch_norm, width, dropout: as of `vgg.Model`.
    dtype: of the arithmetic. Parameters, statistics and logits are float32 always.
    """

    num_classes: int
    variant: int = 16
    stride: int = 8
    upsample: str = "transposed"
    batch_norm: bool = False
    width: int = 0
    dropout: float = 0.5
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns VGG's maps, "features" (b h/32 w/32 c), and in float32
        "scores" (b p q k), of the finest map that has some, and "logits" (b h w k)."""
        self._check()
        net = vgg.Model(0, self.variant, self.batch_norm, self.width, dtype=self.dtype)
        nn.share_scope(self, net)  # so that parameters have a VGG's names
        image = jnp.asarray(inputs["image"])
        (h, w), (tall, wide) = image.shape[1:3], (-(-n // 32) * 32 for n in image.shape[1:3])
        out = net({"image": jnp.pad(image, ((0, 0), (0, tall - h), (0, wide - w), (0, 0)))}, train=train)
        out["features"] = x = self._hidden(out["stage5"], train)
        scores = self._scores(x, "head", nn.initializers.normal(0.01))
        for stage in STRIDES[self.stride]:
            finer = self._scores(out[f"stage{stage}"], f"score{stage}", nn.initializers.zeros)
            scores = self._doubled(scores, out[f"stage{stage + 1}_conv"], stage) + finer
        return out | {"scores": scores, "logits": upsample.bilinear(scores, tall, wide)[:, :h, :w]}

    def _hidden(self, x: Float[Array, "b p q c"], train: bool) -> Float[Array, "b p q d"]:
        for name, size in (("fc6", 7), ("fc7", 1)):
            conv = Conv(64 * (self.width or 64), size, dtype=self.dtype, kernel_init=vgg.normal, bias_init=nn.initializers.zeros, name=name)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(conv(x)))
        return x

    def _scores(self, x: Float[Array, "b p q c"], name: str, init: nn.initializers.Initializer) -> Float[Array, "b p q k"]:
        return Conv(self.num_classes, 1, kernel_init=init, bias_init=nn.initializers.zeros, name=name)(x.astype(jnp.float32))

    def _doubled(self, scores: Float[Array, "b p q k"], pooled: Float[Array, "b h w c"], stage: int) -> Float[Array, "b h w k"]:
        if self.upsample == "transposed":
            start = jnp.asarray(upsample.bilinear_kernel(4, self.num_classes))
            kernel = self.param(f"double{stage}", lambda key: start)
            return upsample.transposed_conv(scores, kernel, stride=2, pad=1)
        switches = None
        if self.upsample == "unpool":
            switches = upsample.max_pool_with_switches(pooled.astype(jnp.float32).mean(-1, keepdims=True), 2)[1]
        return doubled(scores, self.upsample, switches)

    def _check(self) -> None:
        _settings.one_of(self, variant=VARIANTS, stride=STRIDES, upsample=OPERATIONS)
        _settings.dropout(self)


def layer(path: str) -> int:
    """The number of the layer that a parameter belongs to, for layer-wise learning rates: VGG's, scores and filters 7."""
    return 7 if re.match(r"score|double", path) else vgg.layer(path)


# ---- begun from a VGG of torchvision's (`--init=torchvision:vgg16.pth`), whose last layer does not fit and is left

canonical, unified = vgg.canonical, vgg.as_convolutions


def reference_name(path: str, model: Model) -> str:
    """ "fc6/kernel" -> "classifier.0.weight"; what VGG has not keeps its name."""
    return vgg.name_if_shared(path, model)
