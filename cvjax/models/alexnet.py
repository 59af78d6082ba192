"""AlexNet (Krizhevsky, Sutskever & Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS 2012).

Two networks go by this name. "two_gpu" is the paper's: five convolutions, of which the second, fourth and fifth see half the channels each
(they lay on two GPUs), local response normalisation after the first two, overlapping pooling, dropout *behind* the two hidden layers.
"one_column" is torchvision's, Krizhevsky's later single-GPU net (2014, arXiv:1404.5997): other widths, no groups, no normalisation,
dropout *before* the two hidden layers.

Where we depart from the paper:
- 224-pixel images are padded by 2 (the paper's 55 x 55 map needs 227); other sizes are averaged to the 6 x 6 map that 224 gives.
- LRN divides no alpha by its window, as the paper; torch and Caffe do, so alpha = 1e-4 here is 5e-4 there.
- Weights of the first net start at N(0, 0.01) and its biases at 0 or 1 as in the paper; the other's weights as in torch, biases at 0.

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from cvjax.layers.norm import local_response_norm
from cvjax.layers.pool import adaptive_average_pool, channels_first, max_pool
from cvjax.models import _settings, _torch


class Variant(NamedTuple):
    """Channels of the five convolutions, groups of each, and what surrounds them."""

    channels: tuple[int, ...]
    groups: tuple[int, ...]
    normalised: tuple[int, ...]  # numbers of the convolutions that LRN follows
    ones: tuple[str, ...]  # layers whose biases start at 1: "the ReLUs with positive inputs", section 5
    dropout_behind: bool


VARIANTS = {
    "two_gpu": Variant((96, 256, 384, 384, 256), (1, 2, 1, 2, 2), (1, 2), ("conv2", "conv4", "conv5", "fc6", "fc7"), dropout_behind=True),
    "one_column": Variant((64, 192, 384, 256, 256), (1, 1, 1, 1, 1), (), (), dropout_behind=False),
}
CONVOLUTIONS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # size, stride, padding: Figure 2
POOLED = (1, 2, 5)
SMALLEST = 63  # pixels on a side
TINY = {"variant": "two_gpu", "width": 12}


class Model(nn.Module):
    """Either network.

    variant: "two_gpu" or "one_column".
    width: channels of the first convolution, all other layers in proportion; 0 as in the paper.
    dropout: share of the hidden units that is left out in training.
    dtype: of the arithmetic. Parameters and logits are float32 always.
    """

    num_classes: int
    variant: str = "two_gpu"
    width: int = 0
    dropout: float = 0.5
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised, at least 63 x 63. Returns the maps "conv1" to "conv5" (b h w c, `dtype`, pooled
        where the paper pools), the last hidden layer "features" (b c, float32) and "logits" (b k, float32)."""
        x = jnp.asarray(inputs["image"], self.dtype)
        variant, scale = self._choices(x.shape)
        out: dict = {}
        for number in range(1, 6):
            out[f"conv{number}"] = x = self._convolve(x, number, variant, scale)
        x = channels_first(adaptive_average_pool(x, 6))
        for name in ("fc6", "fc7"):
            x = x if variant.dropout_behind else self._drop(x, train)
            x = nn.relu(nn.Dense(round(4096 * scale), dtype=self.dtype, name=name, **self._start(name, variant))(x))
            x = self._drop(x, train) if variant.dropout_behind else x
        out["features"] = jnp.asarray(x, jnp.float32)
        out["logits"] = nn.Dense(self.num_classes, name="head", **self._start("head", variant))(out["features"])
        return out

    def _convolve(self, x: Float[Array, "b h w c"], number: int, variant: Variant, scale: float) -> Float[Array, "b p q d"]:
        channels, groups = variant.channels[number - 1], variant.groups[number - 1]
        size, stride, pad = CONVOLUTIONS[number - 1]
        name = f"conv{number}"
        x = nn.Conv(round(channels * scale), (size, size), stride, pad, feature_group_count=groups, dtype=self.dtype,
                    name=name, **self._start(name, variant))(x)  # fmt: skip
        x = nn.relu(x)
        x = local_response_norm(x) if number in variant.normalised else x
        return max_pool(x, 3, 2) if number in POOLED else x

    def _choices(self, shape: tuple[int, ...]) -> tuple[Variant, float]:
        """The variant and its share of the paper's width, or a ValueError that names what is wrong."""
        if self.variant not in VARIANTS:
            raise ValueError(f"alexnet: no variant {self.variant!r}; have {', '.join(map(repr, VARIANTS))}")
        if min(shape[1:3]) < SMALLEST:
            raise ValueError(f"alexnet: images of {shape[1]} x {shape[2]} are too small; at least {SMALLEST} x {SMALLEST}")
        variant = VARIANTS[self.variant]
        _settings.dropout(self)
        whole = 6 if 2 in variant.groups else 1  # with which every layer is a whole number of channels in each group
        if self.width < 0 or self.width % whole:
            raise ValueError(f"alexnet: width {self.width}; a multiple of {whole}, or 0 for the paper's")
        return variant, (self.width or variant.channels[0]) / variant.channels[0]

    def _drop(self, x: Array, train: bool) -> Array:
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    def _start(self, layer: str, variant: Variant) -> dict:
        """Initialisers of a layer's kernel and bias."""
        kernel = nn.initializers.normal(0.01) if variant.dropout_behind else _torch.uniform
        return {"kernel_init": kernel, "bias_init": nn.initializers.constant(float(layer in variant.ones))}


def layer(path: str) -> int:
    """The number of the layer that a parameter belongs to, for layer-wise learning rates: conv1 0 ... fc7 6, head 7."""
    return ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "head"].index(path.partition("/")[0])


# ---- the reference implementation: torchvision's

REFERENCES = {"alexnet": {"variant": "one_column", "num_classes": 1000}}
PLACES = {"conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8", "conv5": "features.10",
          "fc6": "classifier.1", "fc7": "classifier.4", "head": "classifier.6"}  # fmt: skip


def usual(variant: str) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for."""
    return (224, 224, 3), 1000


PUBLISHED = {  # top-1 accuracy in %, and how it was measured
    "alexnet": (56.522, _torch.ONE_CROP),
    "alexnet-two_gpu": (59.3, "ImageNet val, 10 crops of 224, Krizhevsky et al. 2012, Table 2"),
}


def reference_name(path: str, model: Model) -> str:
    """ "conv2/kernel" -> "features.3.weight" """
    module, leaf = path.split("/")
    return f"{PLACES[module]}.{_torch.LEAF[leaf]}"


def reference_settings(arrays: dict, name: str) -> dict:
    """The number of classes, which the arrays themselves say."""
    return _torch.classes(arrays, "classifier.6.weight")


def canonical(name: str) -> str:
    return name
