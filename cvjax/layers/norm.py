"""Batch normalisation over the whole batch, on however many devices it lies (Ioffe & Szegedy, arXiv:1502.03167); GroupNorm; AlexNet's LRN.

The devices' sums and counts are added over the mapped axis named "batch" when that axis is bound while tracing
(inside a function that parallel.py maps); anywhere else the batch at hand is the whole batch. So a model needs no
axis name, and `model.apply(..., train=True)` works by itself.
"""

from __future__ import annotations

from functools import partial

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
        if not train:
            gain = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
            return (x * _as(gain, x) + _as(bias - running_mean.value * gain, x)).astype(self.dtype)
        y, mean, var = normalise(x, scale, bias, self.epsilon)
        if not self.is_initializing():
            count = _count(x)
            running_mean.value = _mix(running_mean.value, mean, self.momentum)
            running_var.value = _mix(running_var.value, var * (count / max(count - 1, 1)), self.momentum)
        return y.astype(self.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
    x: Float[Array, "*b c"], scale: Float[Array, " c"], bias: Float[Array, " c"], epsilon: float
) -> tuple[Float[Array, "*b c"], Float[Array, " c"], Float[Array, " c"]]:
    """x normalised by its own statistics, scaled and shifted; and those statistics, through which no gradient flows.

    The derivative is the paper's formula (section 3), three passes over memory where the derivative of the code takes
    six; forward-mode differentiation of it is an error. Under `pmap` each device gets its own part of the gradients of
    scale and bias, to be summed with all others, and the whole of x's.
    """
    return _normalise(x, scale, bias, epsilon)[0]


def _normalise(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[tuple, tuple]:
    mean, var = statistics(x)
    slope = jax.lax.rsqrt(var + epsilon)
    gain = scale * slope
    y = (x * _as(gain, x) + _as(bias - mean * gain, x)).astype(x.dtype)
    return (y, mean, var), (x, scale, mean, slope)


def _normalise_backward(epsilon: float, saved: tuple, gradients: tuple) -> tuple[Array, Array, Array]:
    x, scale, mean, slope = saved
    g = gradients[0].astype(jnp.float32)
    if jax.default_backend() == "cpu":
        g = jax.lax.optimization_barrier(g)  # read three times below, and XLA would make it anew each time
    axes = tuple(range(x.ndim - 1))
    of_bias = g.sum(axes)
    of_scale = (g * (x - _as(mean, x))).sum(axes) * slope
    gain = scale * slope
    sums = total(jnp.stack([of_scale, of_bias])) / _count(x)
    along = -gain * slope * sums[0]
    level = -gain * sums[1] - along * mean
    of_x = g * _as(gain, x) + x * _as(along, x) + _as(level, x)
    return of_x.astype(x.dtype), of_scale, of_bias


normalise.defvjp(_normalise, _normalise_backward)


def statistics(x: Float[Array, "*b c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and biased variance of each channel over every other axis and every device.

    Each device's own mean and variance are joined by Chan, Golub & LeVeque's formula (1979): one exchange, and exact
    also where the mean is large beside the spread.
    """
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.float32)
    mean = x.mean(axes)
    var = jnp.square(x - _as(mean, x)).mean(axes)
    if devices() == 1:
        return mean, var
    means, variances = jax.lax.all_gather(jnp.stack([mean, var]), AXIS, axis=1)
    mean = means.mean(0)
    return mean, variances.mean(0) + jnp.square(means - mean[None]).mean(0)


def devices() -> int:
    """How many devices share the batch: the size of the mapped axis "batch", 1 where it is not bound."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:
        return 1


def total(x: Array) -> Array:
    """The sum over the devices that share the batch."""
    return x if devices() == 1 else jax.lax.psum(x, AXIS)


def _count(x: Array) -> int:
    """How many values of each channel the whole batch has."""
    return x.size // x.shape[-1] * devices()


def _mix(old: Array, new: Array, keep: float) -> Array:
    return keep * old + (1 - keep) * new


def _as(channel: Float[Array, " c"], x: Float[Array, "*b c"]) -> Array:
    """The channel vector with x's number of axes (rank promotion is an error here)."""
    return channel.reshape((1,) * (x.ndim - 1) + channel.shape)


class FrozenBatchNorm(nn.Module):
    """BatchNorm of a network that is done learning: `BatchNorm` in inference, in training too, and nothing of it is trained.

    All four of `scale`, `bias`, `mean` and `var` (c, float32) are in the collection batch_stats, where no optimiser and no decay of weights
    finds them. For detectors, whose batches are too small for statistics (Ren et al. 2015, arXiv:1506.01497, and all after).
    """

    dtype: DTypeLike = "float32"
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b c"]:
        first = {"scale": self.scale_init, "bias": nn.initializers.zeros, "mean": nn.initializers.zeros, "var": nn.initializers.ones}
        key, shape = jax.random.key(0), x.shape[-1:]  # no draw: a constant each
        scale, bias, mean, var = (self.variable("batch_stats", name, init, key, shape, jnp.float32).value for name, init in first.items())
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * _as(gain, x) + _as(bias - mean * gain, x)).astype(self.dtype)


class GroupNorm(nn.Module):
    """Normalise groups of neighbouring channels over the positions of each example, then scale and shift (Wu & He 2018, arXiv:1803.08494).

    As many groups as torch's usage `min(32, channels)` makes. Parameters `scale` and `bias` (c) and the statistics are float32; the result
    has type `dtype`. Positions are summed first, channels of a group second, which XLA does several times faster than both at once.
    """

    groups: int = 32
    dtype: DTypeLike = "float32"
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        groups, c = min(self.groups, x.shape[-1]), x.shape[-1]
        if c % groups:
            raise ValueError(f"a width of {c} channels does not divide into {groups} groups")
        scale = self.param("scale", self.scale_init, (c,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (c,), jnp.float32)
        x = x.astype(jnp.float32)
        x = x - _group_means(x, groups)
        gain = jax.lax.rsqrt(_group_means(jnp.square(x), groups) + self.epsilon) * _as(scale, x)
        return (x * gain + _as(bias, x)).astype(self.dtype)


def _group_means(x: Float[Array, "b h w c"], groups: int) -> Float[Array, "b 1 1 c"]:
    """The mean of a channel's group, for every channel."""
    b, c = len(x), x.shape[-1]
    means = x.mean((1, 2)).reshape(b, groups, -1).mean(-1, keepdims=True)
    return jnp.broadcast_to(means, (b, groups, c // groups)).reshape(b, 1, 1, c)


def local_response_norm(
    x: Float[Array, "b h w c"], size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Float[Array, "b h w c"]:
    """x / (k + alpha * sum of squares over `size` neighbouring channels) ** beta (Krizhevsky et al. 2012, section 3.3)."""
    squares = jnp.pad(jnp.square(x), ((0, 0), (0, 0), (0, 0), (size // 2, size // 2)))
    neighbours = sum((squares[..., i : i + x.shape[-1]] for i in range(size)), jnp.zeros_like(x))
    return x * (k + alpha * neighbours) ** -beta
