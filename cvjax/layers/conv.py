"""Convolution, padded as torch pads, NHWC; with derivatives that are fast on a CPU.

b batch · h w height, width · i o channels in, out · k kernel size · p q height, width of the result
"""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# He et al. 2015 (arXiv:1502.01852), fan-out and untruncated as torchvision's ResNet does it: keeps the size of the
# gradients from layer to layer. Fan-in keeps that of the activations.
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class Conv(nn.Module):
    """k x k convolution with k // 2 zeros on *both* sides, whatever the stride.

    "SAME" pads a strided convolution on the right only, which gives other numbers from torch's weights.
    conditional: it stands in a branch of a `cond`, see `in_loop`.
    dilation: pixels from one tap of the kernel to the next (à trous); then it has as many zeros times k // 2 on both sides, and stride 1.
    Parameters: `kernel` (k k i/groups o) and, where `bias_init` is given, `bias` (o), float32; the arithmetic is done in `dtype`.
    """

    features: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    conditional: bool = False
    dilation: int = 1
    dtype: DTypeLike = "float32"
    kernel_init: nn.initializers.Initializer = he_fan_out
    bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        y = self._convolved(x, kernel)
        if self.bias_init is None:
            return y
        return y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(self.dtype).reshape(1, 1, 1, -1)

    def _convolved(self, x: Float[Array, "b h w i"], kernel: Float[Array, "k k j o"]) -> Float[Array, "b p q o"]:
        if self.dilation > 1:
            return dilated(x, kernel, self.dilation)
        return in_loop(x, kernel, self.stride) if self.conditional else convolve(x, kernel, self.stride, self.groups)


def dilated(x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], rate: int) -> Float[Array, "b h w o"]:
    """A convolution whose taps are `rate` pixels apart: of rate x rate smaller images, each of every rate-th pixel, so that it is as fast
    as `convolve` in both directions."""
    b, h, w, i = x.shape
    rows, columns = -(-h // rate), -(-w // rate)
    x = jnp.pad(x, ((0, 0), (0, rows * rate - h), (0, columns * rate - w), (0, 0)))  # zeros, as lie beyond the border anyway
    apart = x.reshape(b, rows, rate, columns, rate, i).transpose(0, 2, 4, 1, 3, 5)
    y = convolve(apart.reshape(b * rate * rate, rows, columns, i), kernel)
    together = y.reshape(b, rate, rate, rows, columns, -1).transpose(0, 3, 1, 4, 2, 5)
    return together.reshape(b, rows * rate, columns * rate, -1)[:, :h, :w]


def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "k k j o"], stride: int = 1, groups: int = 1) -> Float[Array, "b p q o"]:
    """The convolution itself; j = i / groups.

    On a CPU, where XLA's own derivatives cost two to three times what they need to, it carries its own first
    derivatives: forward-mode differentiation (`jax.jvp`, `jax.hessian`) is then an error; use `plain` for that.
    """
    if jax.default_backend() == "cpu" and groups == 1 and x.dtype == jnp.float32 and (stride <= kernel.shape[0] or kernel.shape[0] == 1):
        k = kernel.shape[0]
        large = stride == 1 and k % 2 and k > 3 and min(x.shape[1:3]) < 2 * k
        return _of_windows(x, kernel) if large else _fast(x, kernel, stride)
    return plain(x, kernel, stride, groups)


def plain(x: Float[Array, "b h w i"], kernel: Float[Array, "k k j o"], stride: int = 1, groups: int = 1) -> Float[Array, "b p q o"]:
    """The convolution as XLA has it, derivatives included."""
    pad = [(k // 2, k // 2) for k in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def _of_windows(x: Array, kernel: Array) -> Array:
    """A product of matrices, a row for each window: where windows are about as large as the map, XLA takes up to eighty times as long."""
    (_, h, w, _), k = x.shape, kernel.shape[0]
    x = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    taps = [x[:, row : row + h, column : column + w] for row in range(k) for column in range(k)]
    return jnp.einsum("bhwn,no->bhwo", jnp.concatenate(taps, -1), kernel.reshape(-1, kernel.shape[-1]))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _fast(x: Array, kernel: Array, stride: int) -> Array:
    return plain(x, kernel, stride)  # where nothing is derived; also what `describe` counts


def _fast_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _forward(x, kernel, stride), (x, kernel)


def _fast_backward(stride: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    x, g = lax.optimization_barrier((x, g))  # else XLA repeats what made x and g inside each of their transposes
    return _input_gradient(x, kernel, stride, g), _kernel_gradient(x, kernel, stride, g)


_fast.defvjp(_fast_forward, _fast_backward)


def _forward(x: Array, kernel: Array, stride: int) -> Array:
    """Two neighbouring pixels at once where the channels are few: `kernel` beside itself, one step to the right.

    XLA's fast library takes no convolution of 16 channels or fewer; a third more products, but several times faster. From a
    picture's three channels it computes 17 to 63 two to four times as fast when a fourth, of zeros, stands beside them.
    """
    b, h, w, i = x.shape
    k, _, _, o = kernel.shape
    if i == 3 and 16 < o < 64 and k > 1:
        x, kernel = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1))), jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
    if stride > 1 or k == 1 or k % 2 == 0 or w % 2 or max(i, o) > 16:
        return plain(x, kernel, stride)
    pair = jnp.concatenate([jnp.pad(kernel, ((0, 0), (n, 1 - n), (0, 0), (0, 0))) for n in (0, 1)], -1)
    pad = [(k // 2, k // 2)] * 2
    y = lax.conv_general_dilated(x, pair, (1, 2), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.reshape(b, h, w, o)


def _input_gradient(x: Array, kernel: Array, stride: int, g: Array) -> Array:
    if stride == 1 and kernel.shape[0] % 2:
        return _forward(g, kernel[::-1, ::-1].swapaxes(2, 3), 1)
    return jax.vjp(lambda x: plain(x, kernel, stride), x)[1](g)[0]


def _kernel_gradient(x: Array, kernel: Array, stride: int, g: Array) -> Array:
    """g as a window sliding over x, images as channels: as XLA does it, but by Eigen instead of YNNPACK.

    XLA chooses YNNPACK, which is two to six times slower with such large windows, unless the window is taller than the
    image; a row of zeros below g makes it so. (A larger *area* would make XLA exchange window and image, so x gets its
    zeros at the sides beforehand.) A stride in height is undone by taking x's rows n-th by n-th.
    """
    if kernel.shape[0] == 1:
        return jnp.einsum("bpqi,bpqo->io", x[:, ::stride, ::stride], g)[None, None]
    w, (p, q), k = x.shape[2], g.shape[1:3], kernel.shape[0]
    half = k // 2
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (0, 0, 0), (half, k + stride * (q - 1) - w - half, 0), (0, 0, 0)))
    g = jnp.pad(g, ((0, 0), (0, 1), (0, 0), (0, 0)))
    rows: dict[int, Array] = {}
    for phase in range(min(stride, k)):
        taps = [tap for tap in range(k) if (tap - half - phase) % stride == 0]
        lines = x[:, phase::stride]
        before = -((taps[0] - half) // stride)
        after = len(taps) + p - lines.shape[1] - before
        part = lax.conv_general_dilated(
            lines, g, (1, 1), ((before, after), (0, 0)), rhs_dilation=(1, stride), dimension_numbers=("CHWN", "IHWO", "HWNC")
        )
        rows |= dict(zip(taps, part, strict=True))
    return jnp.stack([rows[tap] for tap in range(k)])


def in_loop(x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], stride: int = 1) -> Float[Array, "b p q o"]:
    """`convolve` of odd size and one group for the body of a `scan` or `while_loop`, or a branch of a `cond`.

    There XLA's CPU takes forty times as long for a weight gradient written as a convolution; this one is a single product of matrices.
    """
    return _looped(stride, x, kernel) if jax.default_backend() == "cpu" else plain(x, kernel, stride)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _looped(stride: int, x: Array, kernel: Array) -> Array:
    return plain(x, kernel, stride)


def _looped_backward(stride: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    """A stride is undone by zeros between g's pixels. The image k times side by side, shifted in width, against g k times, in height."""
    x, kernel = saved
    x, g = lax.optimization_barrier((x, g))
    if stride > 1:
        g = jnp.zeros((*x.shape[:3], g.shape[-1]), g.dtype).at[:, ::stride, ::stride].set(g)
    (_, _, w, i), (k, _, _, o) = x.shape, kernel.shape
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    columns = jnp.concatenate([padded[:, :, n : n + w] for n in range(k)], -1)
    rows = jnp.concatenate([jnp.pad(g, ((0, 0), (n, k - 1 - n), (0, 0), (0, 0))) for n in range(k)], -1)
    taps = jnp.einsum("bhwi,bhwo->io", columns, rows).reshape(k, i, k, o)
    return plain(g, kernel[::-1, ::-1].swapaxes(2, 3)), taps.transpose(2, 0, 1, 3)


_looped.defvjp(lambda stride, x, kernel: (plain(x, kernel, stride), (x, kernel)), _looped_backward)
