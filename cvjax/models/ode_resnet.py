"""ResNet of which any stage's residual blocks are one equation (He et al. 2015, arXiv:1512.03385; Chen et al. 2018, arXiv:1806.07366).

Blocks that keep the shape of their input are steps of Euler's method along some dh/dt = f(h). In a stage named in `stages` all of them are
left out for one ODE block, which has f's parameters once; the block that changes the shape, first in a stage, stays. So a ResNet-20 whose
third stage is an equation has 197 thousand parameters instead of 270.

Where we depart from the papers: f is that of ODE-Net, with GroupNorm, since statistics of a batch would couple its examples' equations; and
no ReLU stands after the equation.

b batch · h w height, width · c channels · k classes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.odeblock import ACTIVATIONS, Field, ODEBlock, reports
from cvjax.models import resnet
from cvjax.ops import ode

VARIANTS = {n: variant for n, variant in resnet.VARIANTS.items() if n != 8}  # whose stages have one block, none to replace
SMALLEST = resnet.SMALLEST
layer = resnet.layer
TINY = {"variant": 8, "stages": (1,)}


class Model(nn.Module):
    """A ResNet with equations.

    variant, shortcut, width: as of `resnet.Model`.
    stages: those whose blocks are one equation, counted from 1.
    activation: of the equations: "relu", "softplus" or "tanh".
    solve: settings of `cvjax.ops.ode.Solve`: solver, steps, tol, gradient, max_steps, control.
    dtype: of the arithmetic. Parameters, the state of an equation, statistics and logits are float32 always.
    """

    num_classes: int
    variant: int = 20
    shortcut: str = ""
    width: int = 0
    stages: tuple[int, ...] = (3,)
    activation: str = "relu"
    solve: Mapping = field(default_factory=dict)
    dtype: DTypeLike = "float32"

    def __post_init__(self) -> None:
        self.stages, self.solve = tuple(self.stages), FrozenDict(self.solve)  # a module that jit compares must be hashable
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """What `resnet.Model` returns, and of all equations "metric/nfe_forward" and "metric/unfinished", see `reports`."""
        net = resnet.Model(self.num_classes, self.variant, self.shortcut, width=self.width, dtype=self.dtype)
        nn.share_scope(self, net)  # so that parameters have a ResNet's names
        how, blocks = self._choices(net)
        found: list[ode.Stats] = []

        def equation(stage: int, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
            if stage not in self.stages:
                return x
            f = Field(x.shape[-1], self.activation, self.dtype, name="field", parent=None)
            x, stats = ODEBlock(f, how, name=f"stage{stage}_ode")(x, inputs.get("tally"))
            found.append(stats)
            return jnp.asarray(x, self.dtype)

        return {**net(inputs, train=train, blocks=blocks, after=equation), **reports(found)}

    @property
    def tallies(self) -> tuple[str, ...]:
        """What the backward pass counts, summed over the equations, see `cvjax.step`."""
        return ode.TALLIES

    def _choices(self, net: resnet.Model) -> tuple[ode.Solve, tuple[int, ...]]:
        """How to solve, and the residual blocks left in each stage; or a ValueError that names the field and its legal values."""
        variant, option = net._choices()
        blocks = list(variant.blocks)
        known = range(1, len(blocks) + 1)
        if not self.stages or any(type(stage) is not int or stage not in known for stage in self.stages):
            raise ValueError(f"ode_resnet: stages {self.stages}; name some of {tuple(known)}")
        if len(set(self.stages)) < len(self.stages):
            raise ValueError(f"ode_resnet: stages {self.stages} name one twice")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"ode_resnet: no activation {self.activation!r}; have {', '.join(map(repr, ACTIVATIONS))}")
        if option == "none":
            raise ValueError("ode_resnet: a plain net (shortcut 'none') has no residual blocks to make an equation of")
        for stage in self.stages:
            stays = int(stage > 1 or variant.bottleneck)
            if blocks[stage - 1] == stays:
                raise ValueError(f"ode_resnet: stage {stage} of variant {self.variant} has no block to replace; take a deeper one")
            blocks[stage - 1] = stays
        return ode.Solve.of(self.solve), tuple(blocks)


def usual(variant: int) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for."""
    return resnet.usual(variant)
