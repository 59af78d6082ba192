"""FCN (Long et al. 2015, arXiv:1411.4038) on a dilated ResNet, as torchvision has it (dilation: Yu & Koltun 2016, arXiv:1511.07122).

The last two stages do not stride but dilate, so that the last map has one value to 8 pixels; a 3x3 convolution to a quarter of the
channels, a 1x1 convolution to scores, and bilinear enlargement to the picture. `auxiliary` adds scores of the third stage, which learn
with a loss of their own (torchvision: weight 0.5).

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import Conv
from cvjax.layers.norm import BatchNorm
from cvjax.models import _settings, _torch, resnet
from cvjax.ops.upsample import bilinear

VARIANTS = {n: resnet.VARIANTS[n] for n in (18, 34, 50, 101, 152)}
SMALLEST = 1  # pixels on a side
TINY = {"variant": 18, "width": 4}


class Model(nn.Module):
    """variant: of the ResNet, a key of VARIANTS.

    auxiliary: whether the third stage has scores too, the output "auxiliary".
    width: channels of the ResNet's first stage; 0 as in the paper (64).
    dropout: share of the values before the scores that is left out in training.
    dtype: of the arithmetic. Parameters, statistics and logits are float32 always.
    """

    num_classes: int
    variant: int = 50
    auxiliary: bool = False
    width: int = 0
    dropout: float = 0.1
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns the ResNet's maps and "logits", and where asked for "auxiliary", both
        b h w k, float32."""
        _settings.one_of(self, variant=VARIANTS)
        _settings.dropout(self)
        net = resnet.Model(0, self.variant, width=self.width, dtype=self.dtype)
        nn.share_scope(self, net)  # so that parameters have a ResNet's names
        image = jnp.asarray(inputs["image"])
        out = net({"image": image}, train=train, coarsest=8)
        heads = {"logits": ("stage4", "head")} | ({"auxiliary": ("stage3", "auxiliary")} if self.auxiliary else {})
        for name, (stage, prefix) in heads.items():
            out[name] = bilinear(self._scores(out[stage], prefix, train), image.shape[1], image.shape[2])
        return out

    def _scores(self, x: Float[Array, "b p q c"], prefix: str, train: bool) -> Float[Array, "b p q k"]:
        x = Conv(x.shape[-1] // 4, dtype=self.dtype, kernel_init=_torch.uniform, name=f"{prefix}_conv")(x)
        x = nn.relu(BatchNorm(dtype=self.dtype, name=f"{prefix}_norm")(x, train=train))
        x = nn.Dropout(self.dropout, deterministic=not train)(x).astype(jnp.float32)
        return Conv(self.num_classes, 1, kernel_init=_torch.uniform, bias_init=nn.initializers.zeros, name=prefix)(x)


# ---- the reference implementation: torchvision's

REFERENCES = {f"fcn_resnet{n}": {"variant": n, "auxiliary": True, "num_classes": 21} for n in (50, 101)}
HEADS = {"head_conv": "0", "head_norm": "1", "head": "4"}


def usual(variant: int) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for."""
    return (520, 520, 3), 21


def reference_name(path: str, model: Model) -> str:
    """ "stage1_block1/conv1/kernel" -> "backbone.layer1.0.conv1.weight", "auxiliary_conv/kernel" -> "aux_classifier.0.weight" """
    module, _, leaf = path.rpartition("/")
    of = "aux_classifier" if module.startswith("auxiliary") else "classifier"
    part = HEADS.get(module.replace("auxiliary", "head"))
    return f"{of}.{part}.{_torch.LEAF[leaf]}" if part else f"backbone.{resnet.reference_name(path, model)}"


def reference_settings(arrays: dict, name: str) -> dict:
    """What the arrays themselves say: the number of classes, and whether there are scores of the third stage."""
    return _torch.classes(arrays, "classifier.4.weight") | {"auxiliary": "aux_classifier.4.weight" in arrays}


def canonical(name: str) -> str:
    """As in torchvision's FCNs, whose ResNet is `backbone`; of a ResNet alone (`--init=torchvision:resnet50.pth`) the names begin there."""
    return name if name.startswith(("backbone.", "classifier.", "aux_classifier.")) else f"backbone.{resnet.canonical(name)}"
