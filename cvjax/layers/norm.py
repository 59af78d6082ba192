"""Batch normalisation over the whole batch, on however many devices it lies (Ioffe & Szegedy, arXiv:1502.03167).

The devices' sums and counts are added over the mapped axis named "batch" when that axis is bound while tracing
(inside a function that parallel.py maps); anywhere else the batch at hand is the whole batch. So a model needs no
axis name, and `model.apply(..., train=True)` works by itself.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

AXIS = "batch"


class BatchNorm(nn.Module):
    """Normalise each channel (last axis), then scale and shift.

    Parameters `scale`, `bias` and the running statistics `mean`, `var` (collection batch_stats) are float32, as are the
    statistics' sums; the result has type `dtype`. Numbers are torch's: eps 1e-5, `momentum` is the share of the old
    value kept (torch's 0.1 is 0.9 here), and `var` runs over the *unbiased* variance.
    """

    dtype: DTypeLike = "float32"
    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b c"]:
        shape = x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        mean, var = running_mean.value, running_var.value
        if train:
            mean, var, count = statistics(x)
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = _mix(running_mean.value, mean, self.momentum)
                running_var.value = _mix(running_var.value, unbiased, self.momentum)
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * _as(gain, x) + _as(bias - mean * gain, x)).astype(self.dtype)


def statistics(x: Float[Array, "*b c"]) -> tuple[Float[Array, " c"], Float[Array, " c"], int]:
    """Mean and biased variance of each channel over every other axis and every device, and the number of values."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.float32)
    count = x.size // x.shape[-1] * devices()
    mean = total(x.sum(axes)) / count
    return mean, total(jnp.square(x - _as(mean, x)).sum(axes)) / count, count


def devices() -> int:
    """How many devices share the batch: the size of the mapped axis "batch", 1 where it is not bound."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:
        return 1


def total(x: Array) -> Array:
    """The sum over the devices that share the batch."""
    return x if devices() == 1 else jax.lax.psum(x, AXIS)


def _mix(old: Array, new: Array, keep: float) -> Array:
    return keep * old + (1 - keep) * jax.lax.stop_gradient(new)


def _as(channel: Float[Array, " c"], x: Float[Array, "*b c"]) -> Array:
    """The channel vector with x's number of axes (rank promotion is an error here)."""
    return channel.reshape((1,) * (x.ndim - 1) + channel.shape)
