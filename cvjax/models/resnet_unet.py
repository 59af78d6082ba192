"""U-Net whose contracting path is a ResNet (Ronneberger et al. 2015, arXiv:1505.04597; He et al. 2015, arXiv:1512.03385).

The maps of a ResNet at every scale, 2 to 32 pixels wide in ImageNet's networks, 1 to 4 in CIFAR's, are joined on the way back as U-Net
joins its own; the last step of ImageNet's, to single pixels, has nothing to join. The ResNet keeps its parameters under its own names, so
a trained one can be begun from (`--init=torchvision:resnet34.pth`).

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from cvjax.layers.conv import Conv
from cvjax.layers.expand import SKIPS, Expand, mirrored
from cvjax.layers.upsample import OPERATIONS
from cvjax.models import _settings, _torch, resnet

VARIANTS = resnet.VARIANTS
SMALLEST = 1  # pixels on a side
TINY = {"variant": 8, "width": 4}
UPSAMPLE = tuple(name for name in OPERATIONS if name != "unpool")  # a ResNet's maps get coarser by strides, which leave no switches


class Model(nn.Module):
    """variant: of the ResNet, a key of VARIANTS.

    width: channels of the expanding path at the finest scale, each coarser one has twice as many; 0 for 16.
    upsample: how a map gets finer: an operation of `cvjax.layers.upsample` that needs no switches.
    skips: "concat", "sum" or "none": how the ResNet's maps join.
    dtype: of the arithmetic. Parameters, statistics and logits are float32 always.
    """

    num_classes: int
    variant: int = 34
    width: int = 0
    upsample: str = "bilinear"
    skips: str = "concat"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns "features" (b h w c, `dtype`) and "logits" (b h w k, float32)."""
        self._check()
        net = resnet.Model(0, self.variant, dtype=self.dtype)
        nn.share_scope(self, net)  # so that parameters have a ResNet's names
        image, width = jnp.asarray(inputs["image"]), self.width or 16
        imagenet = len(VARIANTS[self.variant].blocks) == 4
        coarsest = 32 if imagenet else 4
        tall, wide = (-(-n // coarsest) * coarsest for n in image.shape[1:3])
        maps = net({"image": mirrored(image, tall, wide)}, train=train)
        bridges = [None, maps["stem_conv"], *(maps[f"stage{n}"] for n in (1, 2, 3))] if imagenet else [maps["stage1"], maps["stage2"]]
        x = maps["stage4" if imagenet else "stage3"]
        for level, bridge in reversed(list(enumerate(bridges))):
            x = Expand(width * 2**level, self.upsample, self.skips, True, False, self.dtype, name=f"up{level + 1}")(x, bridge, train=train)
        x = x[:, : image.shape[1], : image.shape[2]]
        head = Conv(self.num_classes, 1, kernel_init=_torch.uniform, bias_init=nn.initializers.zeros, name="head")
        return {"features": x, "logits": head(x.astype(jnp.float32))}

    def _check(self) -> None:
        _settings.one_of(self, variant=VARIANTS, upsample=UPSAMPLE, skips=SKIPS)
        if self.width < 0:
            raise ValueError(f"resnet_unet: width {self.width}; it must be at least 1, or 0 for 16")


# ---- begun from a ResNet of torchvision's (`--init=torchvision:resnet34.pth`), whose last layer is left

canonical = resnet.canonical


def reference_name(path: str, model: Model) -> str:
    """ "stage1_block1/conv1/kernel" -> "layer1.0.conv1.weight"; what a ResNet has not keeps its name."""
    return resnet.reference_name(path, model) if path.startswith(("stem_", "stage")) else path
