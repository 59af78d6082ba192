"""A block whose output is where its input arrives along dh/dt = f(t, h) at t = 1 (Chen et al. 2018, arXiv:1806.07366).

b batch · h w height, width · c channels in · n hidden channels · o channels out
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from cvjax.layers.conv import in_loop
from cvjax.layers.norm import GroupNorm
from cvjax.ops.ode import Solve, Stats, odeint

ACTIVATIONS: dict[str, Callable] = {"relu": nn.relu, "softplus": jax.nn.softplus, "tanh": jnp.tanh}
as_torch = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class ODEBlock(nn.Module):
    """The state at t = 1 of the equation with right-hand side `field`, from the input at t = 0; and what the solve took.

    field: a module, called as `field(t, h)`, t one number an example; it must treat examples one by one and keep no statistics.
    """

    field: nn.Module
    solve: Solve

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], tally: Float32[Array, "2"] | None = None) -> tuple[Float32[Array, "b h w c"], Stats]:
        x = x.astype(jnp.float32)  # the solver adds small steps
        if self.is_initializing():
            self.field(jnp.zeros(len(x)), x)
        field = self.field.clone(parent=None)

        def f(params: Any, t: Array, y: Array) -> Array:
            slope: Any = field.apply({"params": params}, t, y)
            return slope

        return odeint(f, self.field.variables["params"], x, self.solve, tally)


def reports(found: list[Stats]) -> Mapping[str, Any]:
    """What a network says of its solves: evaluations of all of them, and the share of examples of which one gave up."""
    evaluations = sum(stats.evaluations for stats in found)
    unfinished = jnp.stack([stats.unfinished for stats in found]).max(0)
    return {"metric/nfe_forward": jnp.mean(evaluations), "metric/unfinished": unfinished.mean()}


class Field(nn.Module):
    """f(t, h): GroupNorm, activation and convolution twice, and a GroupNorm; the convolutions see t as a channel before the others."""

    hidden: int
    activation: str = "relu"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, t: Float[Array, " b"], x: Float[Array, "b h w c"]) -> Float32[Array, "b h w c"]:
        activate, c = ACTIVATIONS[self.activation], x.shape[-1]
        y = activate(GroupNorm(dtype=self.dtype, name="norm1")(x))
        y = TimeConv(self.hidden, dtype=self.dtype, name="conv1")(t, y)
        y = activate(GroupNorm(dtype=self.dtype, name="norm2")(y))
        y = TimeConv(c, dtype=self.dtype, name="conv2")(t, y)
        return GroupNorm(name="norm3")(y)


class TimeConv(nn.Module):
    """3x3 convolution with bias of the image with one more channel, the first, that is t everywhere: `kernel` is 3 3 c+1 o.

    t's part is the same map for all examples, times t; so no channel is put in and no example computes it again.
    """

    features: int
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, t: Float[Array, " b"], x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        kernel = self.param("kernel", as_torch, (3, 3, x.shape[-1] + 1, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        of_time = in_loop(jnp.ones((1, *x.shape[1:3], 1)), kernel[:, :, :1])
        added = t.reshape(-1, 1, 1, 1) * of_time + bias.reshape(1, 1, 1, -1)
        return in_loop(x.astype(self.dtype), kernel[:, :, 1:].astype(self.dtype)) + added.astype(self.dtype)
