"""VGG (Simonyan & Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556).

Configurations A, B, D and E of Table 1 (11, 13, 16 and 19 layers with weights): 3x3 convolutions alone, five stages each closed by 2x2
pooling, three fully-connected layers. `batch_norm=True` puts a BatchNorm (2015) behind every convolution.

Where we depart from the paper:
- Weights start as torchvision's do, convolutions by He's rule and the rest at N(0, 0.01); the paper warm-starts the deeper nets from A.
- Images of other sizes than 224 are averaged to the 7 x 7 map that 224 gives.

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

import re
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import Conv
from cvjax.layers.norm import BatchNorm
from cvjax.layers.pool import adaptive_average_pool, channels_first, max_pool
from cvjax.models import _settings, _torch

VARIANTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # Table 1: convolutions of each stage
SMALLEST = 32  # pixels on a side
TINY = {"variant": 11, "width": 4}


class Model(nn.Module):
    """Any of the four networks, with or without BatchNorm.

    variant: number of layers with weights, a key of VARIANTS.
    width: channels of the first stage, all other layers in proportion; 0 as in the paper (64).
    dropout: share of the hidden units that is left out in training.
    dtype: of the arithmetic. Parameters, statistics and logits are float32 always.
    """

    num_classes: int
    variant: int = 16
    batch_norm: bool = False
    width: int = 0
    dropout: float = 0.5
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised, at least 32 x 32. Returns the stages' maps, "stage1_conv" to "stage5_conv", pooled
        "stage1" to "stage5" (b h w c, `dtype`), and where there are classes the last hidden layer "features" (b c, float32) and "logits"
        (b k, float32)."""
        x = jnp.asarray(inputs["image"], self.dtype)
        self._check(x.shape)
        width = self.width or 64
        out: dict = {}
        for stage, count in enumerate(VARIANTS[self.variant], 1):
            for number in range(1, count + 1):
                x = self._convolve(x, width * min(2 ** (stage - 1), 8), f"{stage}_{number}", train)
            out[f"stage{stage}_conv"], x = x, max_pool(x, 2, 2)
            out[f"stage{stage}"] = x
        if not self.num_classes:
            return out
        x = channels_first(adaptive_average_pool(x, 7))
        for name in ("fc6", "fc7"):
            x = nn.relu(nn.Dense(64 * width, dtype=self.dtype, kernel_init=normal, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        out["features"] = jnp.asarray(x, jnp.float32)
        out["logits"] = nn.Dense(self.num_classes, kernel_init=normal, name="head")(out["features"])
        return out

    def _convolve(self, x: Float[Array, "b h w c"], channels: int, number: str, train: bool) -> Float[Array, "b h w d"]:
        x = Conv(channels, dtype=self.dtype, bias_init=nn.initializers.zeros, name=f"conv{number}")(x)
        if self.batch_norm:
            x = BatchNorm(dtype=self.dtype, name=f"norm{number}")(x, train=train)
        return nn.relu(x)

    def _check(self, shape: tuple[int, ...]) -> None:
        _settings.one_of(self, variant=VARIANTS)
        if min(shape[1:3]) < SMALLEST:
            raise ValueError(f"vgg: images of {shape[1]} x {shape[2]} are too small; at least {SMALLEST} x {SMALLEST}")
        _settings.dropout(self)
        if self.width < 0:
            raise ValueError(f"vgg: width {self.width}; it must be at least 1, or 0 for the paper's")


normal = nn.initializers.normal(0.01)


def layer(path: str) -> int:
    """The number of the layer that a parameter belongs to, for layer-wise learning rates: stage s s - 1, fc6 5, fc7 6, head 7."""
    stage = re.match(r"(?:conv|norm)(\d)_", path)
    return int(stage[1]) - 1 if stage else {"fc6": 5, "fc7": 6, "head": 7}[path.partition("/")[0]]


# ---- the reference implementation: torchvision's

REFERENCES = {
    f"vgg{n}{'_bn' * batch_norm}": {"variant": n, "batch_norm": batch_norm, "num_classes": 1000}
    for n in VARIANTS
    for batch_norm in (False, True)
}
HIDDEN = {"fc6": "classifier.0", "fc7": "classifier.3", "head": "classifier.6"}


def usual(variant: int) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for."""
    return (224, 224, 3), 1000


ACCURACY = {"vgg11": 69.020, "vgg13": 69.928, "vgg16": 71.592, "vgg19": 72.376,
            "vgg11_bn": 70.370, "vgg13_bn": 71.586, "vgg16_bn": 73.360, "vgg19_bn": 74.218}  # fmt: skip
PUBLISHED = {name: (top1, _torch.ONE_CROP) for name, top1 in ACCURACY.items()}


def reference_name(path: str, model: Any) -> str:
    """ "conv2_1/kernel" -> "features.5.weight": the place in torchvision's row of convolutions, BatchNorms, ReLUs and poolings."""
    module, leaf = path.split("/")
    if module in HIDDEN:
        return f"{HIDDEN[module]}.{_torch.LEAF[leaf]}"
    stage, number = map(int, module[4:].split("_"))
    step = 3 if model.batch_norm else 2
    place = sum(step * count + 1 for count in VARIANTS[model.variant][: stage - 1]) + step * (number - 1) + module.startswith("norm")
    return f"features.{place}.{_torch.LEAF[leaf]}"


def reference_settings(arrays: dict, name: str) -> dict:
    """The number of classes, which the arrays themselves say."""
    return _torch.classes(arrays, "classifier.6.weight")


def canonical(name: str) -> str:
    return name


# ---- for networks that begin as a VGG with its fully-connected layers as convolutions


def name_if_shared(path: str, model: Any) -> str:
    """torchvision's name of a parameter that VGG has too; others keep theirs. `model`: with VGG's variant and batch_norm."""
    return reference_name(path, model) if re.match(r"(conv|norm)\d|fc[67]/", path) else path


def as_convolutions(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """fc6 as a 7x7 convolution of the last map, fc7 as a 1x1."""
    sides = {"classifier.0.weight": 7, "classifier.3.weight": 1}
    return {name: x.reshape(len(x), -1, sides[name], sides[name]) if name in sides else x for name, x in arrays.items()}
