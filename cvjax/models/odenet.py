"""ODE-Net, and the residual networks that it is the limit of (Chen, Rubanova, Bettencourt & Duvenaud 2018, arXiv:1806.07366, section 3).

A residual block h + f(h) is Euler's step of size 1 along dh/dt = f. K blocks h + f(h) / K with weights of their own ("untied"), one block's
weights K times (Euler's method with K steps), and any other solver of the equation ("ode") are one network, read three ways. The networks
of Table 1: a stem that makes 28x28 pixels 6x6 or 7x7, a body, a head.

Where we depart from the paper: the architecture is that of the example in its authors' torchdiffeq, whose solver is dopri5 (the paper's is
implicit Adams); biases start at 0.

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from cvjax.layers.conv import Conv
from cvjax.layers.norm import GroupNorm
from cvjax.layers.odeblock import ACTIVATIONS, Field, ODEBlock, reports
from cvjax.models import _settings, _torch
from cvjax.ops import ode

VARIANTS = {
    "ode": "one equation, solved as `solve` says",
    "untied": "Euler's steps of size 1 / blocks, each with weights of its own",
    "resnet": "pre-activation residual blocks, Table 1's ResNet with 6",
}
STEMS = ("conv", "res")
SMALLEST = 12  # pixels on a side
TINY = {"variant": "ode", "width": 8, "solve": {"tol": 1e-3}}


class Model(nn.Module):
    """Stem, body and head.

    variant: the body, a key of VARIANTS.
    stem: "conv", three convolutions, or "res", a convolution and two residual blocks that stride.
    blocks: of "untied" and "resnet".
    width: channels of all maps.
    activation: of the equation: "relu", or one without kinks, "softplus" or "tanh", for which a solver has its order.
    solve: settings of `cvjax.ops.ode.Solve`: solver, steps, tol, gradient, max_steps, control. Of "ode".
    dtype: of the arithmetic of convolutions. Parameters, the state of an equation and logits are float32 always.
    """

    num_classes: int
    variant: str = "ode"
    stem: str = "conv"
    blocks: int = 6
    width: int = 64
    activation: str = "relu"
    solve: Mapping = field(default_factory=dict)
    dtype: DTypeLike = "float32"

    def __post_init__(self) -> None:
        self.solve = FrozenDict(self.solve)  # a module that jit compares must be hashable
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c. Returns the maps "stem" and "body" (b h w c), "features" (b c, float32), "logits" (b k, float32)
        and, of "ode", "metric/nfe_forward" and "metric/unfinished", means over the batch of what `ode.Stats` says."""
        how = self._choices(inputs["image"].shape)
        out: dict = {"stem": self._stem(jnp.asarray(inputs["image"], self.dtype))}
        if self.variant == "ode":
            block = ODEBlock(Field(self.width, self.activation, self.dtype, name="field", parent=None), how, name="ode")
            out["body"], stats = block(out["stem"], inputs.get("tally"))
            out |= reports([stats])
        else:
            out["body"] = self._euler(out["stem"]) if self.variant == "untied" else self._residual(out["stem"])
        x = nn.relu(GroupNorm(dtype=self.dtype, name="head_norm")(out["body"]))
        out["features"] = x.mean((1, 2), dtype=jnp.float32)
        out["logits"] = nn.Dense(self.num_classes, kernel_init=_torch.uniform, name="head")(out["features"])
        return out

    @property
    def tallies(self) -> tuple[str, ...]:
        """What the backward pass counts, see `cvjax.step`."""
        return ode.TALLIES if self.variant == "ode" else ()

    def _choices(self, shape: tuple[int, ...]) -> ode.Solve:
        """How to solve, or a ValueError that names the field and its legal values."""
        _settings.one_of(self, variant=VARIANTS, stem=STEMS, activation=ACTIVATIONS)
        for name in ("blocks", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"odenet: {name} is {getattr(self, name)}; it must be at least 1")
        if min(shape[1:3]) < SMALLEST:
            raise ValueError(f"odenet: images of {shape[1]} x {shape[2]} are too small; at least {SMALLEST} x {SMALLEST}")
        return ode.Solve.of(self.solve)

    def _euler(self, x: Float[Array, "b h w c"]) -> Float32[Array, "b h w c"]:
        x = x.astype(jnp.float32)
        for k in range(self.blocks):
            x = x + Field(self.width, self.activation, self.dtype, name=f"block{k + 1}")(jnp.full(len(x), k / self.blocks), x) / self.blocks
        return x

    def _residual(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        for k in range(self.blocks):
            x = Residual(self.width, 1, self.dtype, name=f"block{k + 1}")(x)
        return x

    def _stem(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q d"]:
        x = self._conv(x, 3, 1, 0, "stem_conv1")
        for number in (1, 2):
            if self.stem == "res":
                x = Residual(self.width, 2, self.dtype, name=f"stem_block{number}")(x)
            else:
                x = nn.relu(GroupNorm(dtype=self.dtype, name=f"stem_norm{number}")(x))
                x = self._conv(x, 4, 2, 1, f"stem_conv{number + 1}")
        return x

    def _conv(self, x: Array, size: int, stride: int, pad: int, name: str) -> Array:
        return nn.Conv(self.width, (size, size), stride, pad, dtype=self.dtype, kernel_init=_torch.uniform, name=name)(x)


class Residual(nn.Module):
    """x + convolution(relu(norm(convolution(relu(norm(x)))))), of no bias; where it strides, a 1x1 convolution of relu(norm(x)) for x."""

    width: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q d"]:
        y = nn.relu(GroupNorm(dtype=self.dtype, name="norm1")(x))
        if self.stride > 1:
            x = Conv(self.width, 1, self.stride, dtype=self.dtype, kernel_init=_torch.uniform, name="shortcut")(y)
        y = Conv(self.width, 3, self.stride, dtype=self.dtype, kernel_init=_torch.uniform, name="conv1")(y)
        y = nn.relu(GroupNorm(dtype=self.dtype, name="norm2")(y))
        return x + Conv(self.width, 3, 1, dtype=self.dtype, kernel_init=_torch.uniform, name="conv2")(y)


def usual(variant: str) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for: MNIST's."""
    return (28, 28, 1), 10
