"""ResNet with attention after any of its stages (Wang et al. 2018, arXiv:1711.07971; Zhang et al. 2019, arXiv:1805.08318).

The ResNet keeps its own parameters under its own names, and a block begins as the identity: started from a trained ResNet (`--init`), or
with the same seed as one, the network gives that ResNet's outputs, bit for bit.

Where we depart from the papers: a block stands after the last residual block of a stage, where the non-local paper puts it before the
last one or after every second; "convolution" is a control of ours.

b batch · h w height, width · c channels
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import Conv
from cvjax.layers.non_local import FORMS, NonLocal, SelfAttention
from cvjax.layers.norm import BatchNorm
from cvjax.models import resnet

VARIANTS = resnet.VARIANTS
SMALLEST = resnet.SMALLEST
BLOCKS = (*FORMS, "sagan", "convolution")
TINY = {"variant": 8, "stages": (2,)}
layer = resnet.layer


class Model(nn.Module):
    """A ResNet with a block after some of its stages.

    variant, shortcut, width: as of `resnet.Model`.
    stages: those after which a block stands, counted from 1; () is the plain ResNet.
    block: a pairwise form of `cvjax.layers.non_local.NonLocal`, "sagan", or "convolution", as many parameters that see neighbours only.
    dtype: of the arithmetic. Parameters, statistics and logits are float32 always.
    """

    num_classes: int
    variant: int = 20
    shortcut: str = ""
    width: int = 0
    stages: tuple[int, ...] = (2, 3)
    block: str = "embedded_gaussian"
    dtype: DTypeLike = "float32"

    def __post_init__(self) -> None:
        self.stages = tuple(self.stages)  # a module that jit compares must be hashable
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """What `resnet.Model` returns, and with any block "metric/gamma", the mean size of the gains that began at 0."""
        net = resnet.Model(self.num_classes, self.variant, self.shortcut, width=self.width, dtype=self.dtype)
        nn.share_scope(self, net)  # so that parameters have a ResNet's names
        self._check(net)
        gains: list[Array] = []

        def after(stage: int, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
            if stage not in self.stages:
                return x
            block, kw = self._block(f"stage{stage}_{self.block}"), {} if self.block == "sagan" else {"train": train}
            x = block(x, **kw)
            params = block.variables["params"]
            gains.append(jnp.abs(params["gamma"] if "gamma" in params else params["norm"]["scale"]).mean())
            return x

        out = net(inputs, train=train, after=after)
        return out | ({"metric/gamma": jax.lax.stop_gradient(jnp.stack(gains).mean())} if gains else {})

    def _block(self, name: str) -> nn.Module:
        if self.block == "sagan":
            return SelfAttention(self.dtype, name=name)
        return Convolution(self.dtype, name=name) if self.block == "convolution" else NonLocal(self.block, dtype=self.dtype, name=name)

    def _check(self, net: resnet.Model) -> None:
        """Raises ValueError that names the field and its legal values."""
        known = range(1, len(net._choices()[0].blocks) + 1)
        if any(type(stage) is not int or stage not in known for stage in self.stages):
            raise ValueError(f"nonlocal_resnet: stages {self.stages}; name some of {tuple(known)}, or none for the plain ResNet")
        if len(set(self.stages)) < len(self.stages):
            raise ValueError(f"nonlocal_resnet: stages {self.stages} name one twice")
        if self.block not in BLOCKS:
            raise ValueError(f"nonlocal_resnet: no block {self.block!r}; have {', '.join(map(repr, BLOCKS))}")


class Convolution(nn.Module):
    """A residual bottleneck of 1x1, 3x3, 1x1 whose last BatchNorm scale starts at 0, as a non-local block's does.

    Its 3/8 of the channels make 2.02 c^2 weights, where theta, phi, g and W_z have 2 c^2.
    """

    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        c, y = x.shape[-1], x
        inner = max(1, 3 * c // 8)
        for i, size in enumerate((1, 3), 1):
            y = Conv(inner, size, dtype=self.dtype, name=f"conv{i}")(y)
            y = nn.relu(BatchNorm(dtype=self.dtype, name=f"norm{i}")(y, train=train))
        y = Conv(c, 1, dtype=self.dtype, name="conv3")(y)
        return x + BatchNorm(dtype=self.dtype, scale_init=nn.initializers.zeros, name="norm")(y, train=train)


def usual(variant: int) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for."""
    return resnet.usual(variant)
