"""Hybrid of ResNet and ViT (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1): a Transformer whose words are a ResNet's features.

The ResNet is BiT's (Kolesnikov et al. 2020, arXiv:1912.11370): GroupNorm and standardised weights in place of BatchNorm, stride in the 3x3
convolutions. Behind it stands `models/vit.py` with patches of one position each. R50+B/16 leaves the fourth stage out and has its blocks in
the third; R26 has two blocks in each of four (Steiner et al. 2022, arXiv:2106.10270).

Where we depart from the papers: padding, poolings and the 1e-8 in the standard deviation are those of timm, whose weights fit.

b batch · h w height, width · c channels
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.norm import GroupNorm
from cvjax.layers.pool import max_pool
from cvjax.layers.standardised import StandardConv
from cvjax.models import _torch, _vit_weights, vit


class Net(NamedTuple):
    """blocks: of each stage. width: channels of the stem and inside of the first stage's blocks. small: the stem keeps the image's size."""

    blocks: tuple[int, ...]
    vit: str
    width: int = 64
    small: bool = False

    @property
    def cell(self) -> int:
        """Pixels on a side of the square that a word stands for."""
        return (1 if self.small else 4) * 2 ** (len(self.blocks) - 1)


VARIANTS = {
    "R26+S/32": Net((2, 2, 2, 2), "S"),
    "R50+B/16": Net((3, 4, 9), "B"),
    "R11+Pi3/4": Net((1, 1, 1), "Pi3", width=8, small=True),  # ours, for images of 32x32: 64 words
}
TINY = {"variant": "R11+Pi3/4"}
SMALLEST = 4  # pixels on a side, of TINY


class Model(nn.Module):
    """variant: a key of VARIANTS. The other fields are those of `vit.Model`."""

    num_classes: int
    variant: str = "R26+S/32"
    pool: str = "token"
    position: str = "learned"
    dropout: float = 0.0
    layers: str = "unrolled"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns "map" (b h/cell w/cell c, `dtype`) and what `vit.Model` does."""
        if self.variant not in VARIANTS:
            raise ValueError(f"hybrid: no variant {self.variant!r}; have {', '.join(map(repr, VARIANTS))}")
        net, image = VARIANTS[self.variant], jnp.asarray(inputs["image"])
        if image.shape[1] % net.cell or image.shape[2] % net.cell:
            size = f"{image.shape[1]}x{image.shape[2]}"
            raise ValueError(
                f"hybrid: {self.variant} makes a word of {net.cell}x{net.cell} pixels, and {size} are no multiple; resize the image"
            )
        x = self._stem(net, image)
        for stage, blocks in enumerate(net.blocks):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                x = Bottleneck(net.width * 2**stage, stride, self.dtype, name=f"stage{stage + 1}_block{block + 1}")(x)
        kind = partial(vit.Model, pool=self.pool, position=self.position, dropout=self.dropout, layers=self.layers, dtype=self.dtype)
        words = kind(self.num_classes, f"{net.vit}/1")
        nn.share_scope(self, words)  # so that parameters have a ViT's names
        return {"map": x} | words({"image": x}, train=train)

    def _stem(self, net: Net, image: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        x = StandardConv(net.width, 3 if net.small else 7, 1 if net.small else 2, dtype=self.dtype, name="stem_conv")(image)
        x = nn.relu(GroupNorm(dtype=self.dtype, name="stem_norm")(x))
        if net.small:
            return x
        ends = [(0, 1) if n % 2 == 0 else (1, 1) for n in x.shape[1:3]]  # as TensorFlow pads; behind a ReLU zeros are as good as nothing
        return max_pool(jnp.pad(x, ((0, 0), *ends, (0, 0))), 3, 2)


class Bottleneck(nn.Module):
    """1x1 to `width`, 3x3 with the stride, 1x1 to 4 `width`, each with GroupNorm, plus a shortcut; the last scale starts at 0."""

    width: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c4"]:
        conv, norm = partial(StandardConv, dtype=self.dtype), partial(GroupNorm, dtype=self.dtype)
        y = nn.relu(norm(name="norm1")(conv(self.width, 1, name="conv1")(x)))
        y = nn.relu(norm(name="norm2")(conv(self.width, 3, self.stride, name="conv2")(y)))
        y = norm(scale_init=nn.initializers.zeros, name="norm3")(conv(4 * self.width, 1, name="conv3")(y))
        if x.shape != y.shape:
            x = norm(name="shortcut_norm")(conv(4 * self.width, 1, self.stride, name="shortcut_conv")(x))
        return nn.relu(x + y)


def layer(path: str) -> int:
    """The number of the layer that a parameter belongs to, for layer-wise learning rates: the ResNet 0, then as in a ViT."""
    return 0 if path.startswith("st") else vit.layer(path)


arranged = vit.arranged

# ---- the reference implementation: timm's

REFERENCES = {
    "vit_small_r26_s32_224": {"variant": "R26+S/32", "num_classes": 1000},
    "vit_base_r50_s16_224": {"variant": "R50+B/16", "num_classes": 1000},
}


def usual(variant: str) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for."""
    return ((32, 32, 3), 10) if VARIANTS[variant].small else ((224, 224, 3), 1000)


def reference_name(path: str, model: Model) -> str:
    """ "stage1_block2/conv1/kernel" -> "patch_embed.backbone.stages.0.blocks.1.conv1.weight"; the rest as a ViT's."""
    if not path.startswith("st"):
        return _vit_weights.reference_name(path)
    *modules, leaf = path.split("/")
    name = ".".join(modules).replace("stem_", "stem.").replace("shortcut_", "downsample.")
    name = re.sub(r"stage(\d+)_block(\d+)", lambda found: f"stages.{int(found[1]) - 1}.blocks.{int(found[2]) - 1}", name)
    return f"patch_embed.backbone.{name}.{_torch.LEAF[leaf]}"


canonical, reference_settings, unified = vit.canonical, vit.reference_settings, vit.unified


def written(arrays: dict, name: str) -> dict:
    """`unified` arrays as timm has them."""
    return _vit_weights.written(arrays, "timm", heads=0)


def pictured(arrays: dict, model: Model) -> int:
    """Pixels on a side of the images that a table of places is made for."""
    places = arrays["pos_embed"].shape[-1] if "pos_embed" in arrays and arrays["pos_embed"].ndim else 0
    return VARIANTS[model.variant].cell * math.isqrt(places) or usual(model.variant)[0][0]
