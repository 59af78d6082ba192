"""ResNet (He, Zhang, Ren & Sun 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385).

Both families of the paper: ImageNet (Table 1: 18, 34, 50, 101, 152) and CIFAR-10 (section 4.2: 6n + 2 layers). Every
network has a plain twin, `shortcut="none"`, with the very same parameters as option A.

Where we depart from the paper:
- Bottlenecks stride in their 3x3 convolution as torchvision's do ("v1.5", about half a point better);
  `bottleneck="v1"` strides in the first 1x1, as the paper.
- Option A takes every second pixel and pads the channels equally on both sides (the paper leaves the side open; this
  is what the widely used CIFAR reproductions do).
- 8 and 14 are smaller CIFAR networks by the same rule, for teaching and tests.
Padding is torch's, k // 2 on both sides, so that torchvision's weights give torchvision's numbers.

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from cvjax.layers import stochastic_depth
from cvjax.layers.conv import Conv
from cvjax.layers.norm import BatchNorm
from cvjax.layers.pool import max_pool
from cvjax.models import _torch


class Variant(NamedTuple):
    """One column of the paper's tables: blocks per stage, width of the first stage, and the family's own choices."""

    blocks: tuple[int, ...]
    width: int
    bottleneck: bool
    shortcut: str


def _cifar(n: int) -> Variant:
    return Variant((n, n, n), 16, bottleneck=False, shortcut="A")


VARIANTS = {  # ImageNet: Table 1. CIFAR: section 4.2, 6n + 2 layers
    18: Variant((2, 2, 2, 2), 64, bottleneck=False, shortcut="B"),
    34: Variant((3, 4, 6, 3), 64, bottleneck=False, shortcut="B"),
    50: Variant((3, 4, 6, 3), 64, bottleneck=True, shortcut="B"),
    101: Variant((3, 4, 23, 3), 64, bottleneck=True, shortcut="B"),
    152: Variant((3, 8, 36, 3), 64, bottleneck=True, shortcut="B"),
    **{6 * n + 2: _cifar(n) for n in (1, 2, 3, 5, 7, 9, 18, 200)},
}
SMALLEST = 1  # pixels on a side
TINY = {"variant": 8}  # beside the fields that the data decides (num_classes)


class Model(nn.Module):
    """Any network of the two families.

    variant: number of layers, a key of VARIANTS.
    shortcut: "A" no parameters (zero-padded where channels grow), "B" projection where the shape changes, "C"
        projections everywhere, "none" the plain twin, "" what the paper uses for the family (CIFAR A, ImageNet B).
    bottleneck: "v1.5" or "v1", where a bottleneck strides (see above); basic blocks have no such choice.
    width: channels of the first stage, each next has twice as many; 0 as in the paper (64, or 16 for CIFAR).
    zero_init_gamma: start the last BatchNorm scale of each block at 0, so that residual blocks start as identities.
    survival: probability with which the last block is computed in training (stochastic depth, arXiv:1603.09382); 1 is constant depth.
    drop: "linear", the other blocks likelier the earlier they come, "uniform", all alike, or "sample", linear with a coin an example
        (other libraries' DropPath, which computes every block). With the first two the output has "metric/active_blocks".
    dtype: of the arithmetic. Parameters, statistics and logits are float32 always.
    """

    num_classes: int
    variant: int = 20
    shortcut: str = ""
    bottleneck: str = "v1.5"
    width: int = 0
    zero_init_gamma: bool = False
    survival: float = 1.0
    drop: str = "linear"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(
        self,
        inputs: dict,
        *,
        train: bool,
        blocks: tuple[int, ...] | None = None,
        after: Callable | None = None,
        coarsest: int = 32,
        norm: Callable = BatchNorm,
    ) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns the maps "stem_conv", "stem", "stage1", ... (b h w c, `dtype`), the
        averages "features" (b c, float32) and, where there are classes, "logits" (b k, float32).

        Another network made of this one says how many `blocks` a stage has, what stands `after` a stage (`after(stage, x)` is its map),
        how many pixels of the image the `coarsest` map may have to one of its own (what would stride beyond that is dilated instead), and
        what is its `norm`.
        """
        variant, option = self._choices()
        variant = variant._replace(blocks=blocks or variant.blocks)
        out = self._stem(jnp.asarray(inputs["image"]), variant, norm, train)
        x, active, number = out["stem"], [], 0
        for stage, (count, (stride, dilations)) in enumerate(zip(variant.blocks, _strides(variant, coarsest), strict=True), 1):
            for block in range(1, count + 1):
                number += 1
                layers = self._layers(variant.width * 2 ** (stage - 1), stride if block == 1 else 1, variant.bottleneck)
                kept = stochastic_depth.survival(number, sum(variant.blocks), self.survival, self.drop)
                rates = dilations if block == 1 else dilations[1:]
                x, computed = Block(layers, option, self.zero_init_gamma, kept, self.drop == "sample", rates, norm, self.dtype,
                                    name=f"stage{stage}_block{block}")(x, train=train)  # fmt: skip
                active.append(computed)
            x = after(stage, x) if after else x
            out[f"stage{stage}"] = x
        if self.survival < 1 and self.drop != "sample":
            out["metric/active_blocks"] = jnp.stack(active).sum()
        out["features"] = x.mean((1, 2), dtype=jnp.float32)
        if self.num_classes:
            out["logits"] = nn.Dense(self.num_classes, kernel_init=_torch.uniform, name="head")(out["features"])
        return out

    def _choices(self) -> tuple[Variant, str]:
        """The variant and the shortcut option, or a ValueError that names the field and its legal values."""
        if self.variant not in VARIANTS:
            raise ValueError(f"resnet: no variant {self.variant}; have {sorted(VARIANTS)}")
        if self.shortcut not in ("", "A", "B", "C", "none"):
            raise ValueError(f"resnet: no shortcut {self.shortcut!r}; have 'A', 'B', 'C', 'none', or '' for the family's")
        if self.bottleneck not in ("v1", "v1.5"):
            raise ValueError(f"resnet: no bottleneck {self.bottleneck!r}; have 'v1', 'v1.5'")
        if self.dtype not in ("float32", "bfloat16", "float16", jnp.float32, jnp.bfloat16, jnp.float16):
            raise ValueError(f"resnet: dtype {self.dtype!r} is no type to compute in; have 'float32', 'bfloat16', 'float16'")
        if self.shortcut == "none" and self.zero_init_gamma:
            raise ValueError("resnet: zero_init_gamma makes a block its shortcut, and a plain net (shortcut 'none') has none")
        if not 0 < self.survival <= 1:
            raise ValueError(f"resnet: survival {self.survival}; a probability above 0, 1 for constant depth")
        if self.survival < 1 and self.shortcut == "none":
            raise ValueError("resnet: a block that is left out leaves its shortcut, and a plain net (shortcut 'none') has none")
        if self.drop not in stochastic_depth.RULES:
            raise ValueError(f"resnet: no drop {self.drop!r}; have {', '.join(map(repr, stochastic_depth.RULES))}")
        if self.width < 0:
            raise ValueError(f"resnet: width {self.width}; it must be at least 1, or 0 for the paper's")
        variant = VARIANTS[self.variant]
        return variant._replace(width=self.width or variant.width), self.shortcut or variant.shortcut

    def _stem(self, x: Float[Array, "b h w c"], variant: Variant, norm: Callable, train: bool) -> dict[str, Float[Array, "b p q d"]]:
        """3x3 for CIFAR's three stages; 7x7 stride 2 ("stem_conv") and 3x3 stride 2 max-pooling ("stem") for ImageNet's four."""
        imagenet = len(variant.blocks) == 4
        x = Conv(variant.width, 7 if imagenet else 3, 2 if imagenet else 1, dtype=self.dtype, name="stem_conv")(x)
        x = nn.relu(norm(dtype=self.dtype, name="stem_norm")(x, train=train))
        return {"stem_conv": x, "stem": max_pool(x, 3, 2, pad=1)} if imagenet else {"stem": x}

    def _layers(self, width: int, stride: int, bottleneck: bool) -> tuple[tuple[int, int, int], ...]:
        """A block's convolutions as (channels, size, stride): Fig. 5 of the paper, left and right."""
        if not bottleneck:
            return (width, 3, stride), (width, 3, 1)
        first, second = (stride, 1) if self.bottleneck == "v1" else (1, stride)
        return (width, 1, first), (width, 3, second), (4 * width, 1, 1)


def _strides(variant: Variant, coarsest: int) -> list[tuple[int, tuple[int, int]]]:
    """Of each stage its first block's stride, and the dilations of its first 3x3 convolution, which would stride, and of the others."""
    pixels, dilation = 4 if len(variant.blocks) == 4 else 1, 1
    found = [(1, (1, 1))]
    for _ in variant.blocks[1:]:
        if 2 * pixels <= coarsest:
            pixels *= 2
            found.append((2, (dilation, dilation)))
        else:
            found.append((1, (dilation, 2 * dilation)))
            dilation *= 2
    return found


class Block(nn.Module):
    """Convolutions with `norm`, ReLU between them, the shortcut added, ReLU; and 1 or 0, whether the convolutions were computed."""

    layers: tuple[tuple[int, int, int], ...]
    shortcut: str
    zero_init_gamma: bool
    survival: float
    per_sample: bool
    dilations: tuple[int, ...]  # of the first 3x3 convolution and of the last
    norm: Callable
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> tuple[Float[Array, "b p q d"], Float32[Array, ""]]:
        def branch(block: Block, x: Array) -> Array:
            return block._convolutions(x, train)

        if self.shortcut == "none":
            return nn.relu(branch(self, x)), jnp.float32(1)
        shortcut = self._shortcut(x, train)
        if self.per_sample:
            y = stochastic_depth.drop_path(self, branch(self, x), self.survival, train)
            return nn.relu(shortcut + y), jnp.float32(1)
        y, computed = stochastic_depth.residual(self, branch, x, shortcut, self.survival, train)
        return nn.relu(y), computed

    def _convolutions(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b p q d"]:
        conditional = self.survival < 1 and not self.per_sample
        for i, (channels, size, stride) in enumerate(self.layers, 1):
            last = i == len(self.layers)
            scale = nn.initializers.zeros if last and self.zero_init_gamma else nn.initializers.ones
            second = i > 1 and self.layers[0][1] > 1  # of two 3x3 convolutions
            dilation = self.dilations[-1 if second else 0] if size > 1 else 1
            x = Conv(channels, size, stride, conditional=conditional, dilation=dilation, dtype=self.dtype, name=f"conv{i}")(x)
            x = self.norm(dtype=self.dtype, scale_init=scale, name=f"norm{i}")(x, train=train)
            x = x if last else nn.relu(x)
        return x

    def _shortcut(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b p q d"]:
        stride, channels = max(stride for _, _, stride in self.layers), self.layers[-1][0]
        changes = stride > 1 or channels != x.shape[-1]
        if self.shortcut == "C" or (self.shortcut == "B" and changes):
            x = Conv(channels, 1, stride, dtype=self.dtype, name="shortcut_conv")(x)
            return self.norm(dtype=self.dtype, name="shortcut_norm")(x, train=train)
        return zero_padded(x, stride, channels) if changes else x


def zero_padded(x: Float[Array, "b h w c"], stride: int, channels: int) -> Float[Array, "b p q d"]:
    """Option A: the shape changed without parameters, by taking every n-th pixel and adding channels of zeros on both sides."""
    before = (channels - x.shape[-1]) // 2
    after = channels - x.shape[-1] - before
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (before, after)))


def layer(path: str) -> int:
    """The number of the layer that a parameter belongs to, for layer-wise learning rates: stem 0, stage s s, head last.

    path: as "stage2_block1/conv1/kernel". Both families count the head 5; CIFAR's has no stage 4.
    """
    if path.startswith("head/"):
        return 5
    stage = re.match(r"stage(\d+)_", path)
    return int(stage[1]) if stage else 0


# ---- the reference implementations: torchvision's, and the CIFAR reproductions that follow its names

REFERENCES = {
    **{f"resnet{n}": {"variant": n, "num_classes": 1000} for n in (18, 34, 50, 101, 152)},
    **{f"resnet{n}_cifar10": {"variant": n, "num_classes": 10} for n in (20, 32, 44, 56, 110, 1202)},
    **{f"resnet{n}_cifar100": {"variant": n, "num_classes": 100} for n in (20, 32, 44, 56, 110, 1202)},
}


def usual(variant: int) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for."""
    return ((224, 224, 3), 1000) if len(VARIANTS[variant].blocks) == 4 else ((32, 32, 3), 10)


IMAGENET = {18: 69.758, 34: 73.314, 50: 76.130, 101: 77.374, 152: 78.312}
CIFAR = {20: 91.25, 32: 92.49, 44: 92.83, 56: 93.03, 110: 93.39, 1202: 92.07}  # 110: the mean of five runs
PUBLISHED = {
    **{f"resnet{n}": (top1, _torch.ONE_CROP) for n, top1 in IMAGENET.items()},
    **{f"resnet{n}_cifar10": (top1, "CIFAR-10 test, He et al. 2015, Table 6") for n, top1 in CIFAR.items()},
}


def reference_name(path: str, model: Any) -> str:
    """ "stage2_block1/shortcut_conv/kernel" -> "layer2.0.downsample.0.weight" """
    *module, leaf = path.split("/")
    name = ".".join(module).replace("head", "fc").replace("shortcut_conv", "downsample.0").replace("shortcut_norm", "downsample.1")
    name = re.sub(r"stage(\d+)_block(\d+)", lambda match: f"layer{match[1]}.{int(match[2]) - 1}", name)
    name = name.replace("stem_conv", "conv1").replace("stem_norm", "bn1").replace("norm", "bn")
    return f"{name}.{_torch.LEAF[leaf]}"


def reference_settings(arrays: dict, name: str) -> dict:
    """What the arrays themselves say: the number of classes, and projections in a CIFAR network (option B)."""
    projected = "layer2.0.downsample.0.weight" in arrays and "layer4.0.conv1.weight" not in arrays
    return _torch.classes(arrays, "fc.weight") | ({"shortcut": "B"} if projected else {})


def canonical(name: str) -> str:
    """The last layer is also called `linear`, and a projection `shortcut`."""
    return re.sub(r"^linear\.", "fc.", name).replace(".shortcut.", ".downsample.")
