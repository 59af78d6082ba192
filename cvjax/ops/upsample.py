"""In-network up-sampling: nearest, bed of nails, max unpooling with switches, transposed convolution, bilinear; NHWC, all linear maps.

Each is the adjoint or the inverse of something that makes maps smaller; the derivatives follow from how they are written, as fast as the
maps themselves: pixels are taken apart and put together by slices and stacks, never by a gather or scatter (XLA's CPU loops over those).

b batch · h w height, width · c channels; i o channels in, out · k kernel size · p q height, width of the result
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int


def nearest(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b p q c"]:
    """Every pixel as a block of factor x factor equal ones; its adjoint sums the blocks (factor^2 times average pooling)."""
    b, h, w, c = x.shape
    columns = jnp.stack([x] * factor, 3)
    return jnp.stack([columns] * factor, 2).reshape(b, h * factor, w * factor, c)


def bed_of_nails(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b p q c"]:
    """Every pixel in the upper left corner of a factor x factor block of zeros; its adjoint takes every factor-th pixel."""
    nails = (0, factor - 1, factor - 1)
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), nails, nails, (0, 0, 0)))


def max_pool_with_switches(x: Float[Array, "b h w c"], size: int = 2) -> tuple[Float[Array, "b p q c"], Int[Array, "b p q c"]]:
    """The largest value of each size x size window, and its switch: where it was, as row * w + column of x; int32, as torch's indices.

    Windows do not overlap; rows and columns that fill none are dropped: p = h // size. Of equal values the first counts (row by row),
    a NaN counts as largest. The gradient of the values is `max_unpool` of theirs. Raises ValueError where not one window fits.
    """
    w, p, q = x.shape[2], x.shape[1] // size, x.shape[2] // size
    if not p or not q:
        raise ValueError(f"max pooling of {size}x{size} needs at least that many pixels, the map has {x.shape[1]}x{w}")
    first = _first(p, q, w, size)
    best, *others = _apart(x[:, : p * size, : q * size], size)
    switches = jnp.broadcast_to(first, best.shape)
    for place, value in zip(_places(w, size)[1:], others, strict=True):
        larger = (value > best) | jnp.isnan(value)
        best, switches = jnp.where(larger, value, best), jnp.where(larger, first + place, switches)
    return best, switches


def max_unpool(
    y: Float[Array, "b p q c"], switches: Int[Array, "b p q c"], height: int, width: int, size: int = 2
) -> Float[Array, "b {height} {width} c"]:
    """y at the places its switches name, zeros elsewhere: the adjoint of picking the maxima (Noh et al. 2015, arXiv:1505.04366, 3.2.1).

    switches: of `max_pool_with_switches` with the same size on a map of height x width; rows and columns that it dropped are zeros here.
    Raises ValueError where height and width are not those of such a map.
    """
    p, q = y.shape[1:3]
    if (height // size, width // size) != (p, q):
        raise ValueError(
            f"{size}x{size} pooling makes {height // size}x{width // size} of {height}x{width}, not {p}x{q}: no switches of it"
        )
    first = _first(p, q, width, size)
    x = _together([jnp.where(switches == first + place, y, jnp.zeros((), y.dtype)) for place in _places(width, size)], size)
    return jnp.pad(x, ((0, 0), (0, height - p * size), (0, width - q * size), (0, 0)))


def _first(p: int, q: int, width: int, size: int) -> Int[Array, "1 p q 1"]:
    """Flat index of the upper left pixel of each window in a map of this width."""
    return (jnp.arange(p, dtype=jnp.int32).reshape(1, p, 1, 1) * width + jnp.arange(q, dtype=jnp.int32).reshape(1, 1, q, 1)) * size


def _places(width: int, size: int) -> list[int]:
    """Flat index of each pixel of a window, from that of its first."""
    return [row * width + column for row in range(size) for column in range(size)]


def _apart(x: Float[Array, "b h w c"], size: int) -> list[Float[Array, "b p q c"]]:
    """The first pixels of all size x size blocks, their second pixels, ..., row by row. `split`, whose derivative is one concatenation."""
    b, h, w, c = x.shape
    rows = lax.split(x.reshape(b, h // size, size, w // size, size, c), [1] * size, 2)
    return [part[:, :, 0, :, 0] for row in rows for part in lax.split(row, [1] * size, 4)]


def _together(parts: list[Float[Array, "b p q c"]], size: int) -> Float[Array, "b h w c"]:
    """The inverse of `_apart`."""
    b, p, q, c = parts[0].shape
    rows = [jnp.stack(parts[n : n + size], 3) for n in range(0, size * size, size)]
    return jnp.stack(rows, 2).reshape(b, p * size, q * size, c)


# ---- transposed convolution


def transposed_conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], stride: int, pad: int = 0, output_pad: int = 0
) -> Float[Array, "b p q o"]:
    """The sum of copies of the kernel, each weighted by a pixel of x, `stride` pixels apart; `pad` rows are cut off on each side.

    PyTorch's convention (`torch.nn.ConvTranspose2d`, whose weight (i o k k) is this kernel transposed by (2, 3, 0, 1)); no bias. Pixel
    (m, n) of x adds x[m, n] @ kernel[a, c] to pixel (m * stride + a - pad, n * stride + c - pad). p = `output_size`(h, k, stride, pad,
    output_pad). The other conventions, of the same map:

    - `true_gradient` takes the kernel of the convolution that it is the gradient of, which has this one's channels exchanged.
    - `lax.conv_transpose` and `flax.linen.ConvTranspose` slide the kernel over x with zeros between: theirs is this kernel turned by 180
      degrees, kernel[::-1, ::-1], unless `transpose_kernel=True`, which takes the kernel of `true_gradient`. Their "SAME" makes h * stride.

    On a CPU, where XLA's derivative for the kernel takes fifty times as long as it needs to, it carries its own first derivatives:
    forward-mode differentiation is then an error. Raises ValueError where nothing remains or output_pad is not below the stride.
    """
    for n in x.shape[1:3]:
        output_size(n, kernel.shape[0], stride, pad, output_pad)
    return (_fast if jax.default_backend() == "cpu" else _plain)(x, kernel, stride, pad, output_pad)


def true_gradient(
    y: Float[Array, "b h w o"], kernel: Float[Array, "k k i o"], stride: int, pad: int = 0, output_pad: int = 0
) -> Float[Array, "b p q i"]:
    """The gradient that a convolution by this very kernel (from i to o channels) hands to its input when it gets y from above.

    TensorFlow's and Keras's convention: with A x = the convolution of x with `stride` and `pad` zeros on both sides, <A x, y> =
    <x, true_gradient(y)>. output_pad: rows of x by which the last window of that convolution falls short of its padded end.
    """
    return transposed_conv(y, kernel.swapaxes(2, 3), stride, pad, output_pad)


def output_size(n: int, kernel: int, stride: int, pad: int = 0, output_pad: int = 0) -> int:
    """Height (width) of the transposed convolution of a map of height n: (n - 1) stride - 2 pad + (kernel - 1) + output_pad + 1.

    Raises ValueError where nothing remains, or where output_pad is not below the stride and so says another n.
    """
    size = (n - 1) * stride - 2 * pad + (kernel - 1) + output_pad + 1
    if not 0 <= output_pad < stride:
        raise ValueError(f"output_pad is {output_pad}; it must be from 0 to {stride - 1}, less than the stride")
    if size < 1:
        raise ValueError(f"a transposed {kernel}x{kernel} convolution of {n} pixels leaves nothing when {pad} are cut off each side")
    return size


def _plain(x: Array, kernel: Array, stride: int, pad: int, output_pad: int) -> Array:
    """As a convolution of x with zeros between its pixels, which has the kernel turned; XLA does not multiply by the zeros."""
    before = kernel.shape[0] - 1 - pad
    around = [(before, before + output_pad)] * 2
    turned = kernel[::-1, ::-1]
    return lax.conv_general_dilated(x, turned, (1, 1), around, lhs_dilation=(stride, stride), dimension_numbers=("NHWC", "HWIO", "NHWC"))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _fast(x: Array, kernel: Array, stride: int, pad: int, output_pad: int) -> Array:
    return _plain(x, kernel, stride, pad, output_pad)


def _fast_forward(x: Array, kernel: Array, stride: int, pad: int, output_pad: int) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel, stride, pad, output_pad), (x, kernel)


def _fast_backward(stride: int, pad: int, output_pad: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    x, g = lax.optimization_barrier((x, g))  # else XLA repeats what made them inside each slice of them
    around = [(pad, pad - output_pad)] * 2
    turned_back = kernel.swapaxes(2, 3)
    dx = lax.conv_general_dilated(g, turned_back, (stride, stride), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return dx, _kernel_gradient(x, g, kernel.shape[0], stride, pad)


def _kernel_gradient(x: Array, g: Array, k: int, stride: int, pad: int) -> Array:
    """Products of matrices: x against the blocks of stride x stride pixels of g that lie at each of its pixels, then one block further."""
    (b, h, w, i), (_, p, q, o), reach = x.shape, g.shape, -(-k // stride)
    rows, columns = h + reach - 1, w + reach - 1
    ends = [(pad, n * stride - pad - size, 0) for n, size in ((rows, p), (columns, q))]
    g = lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *ends, (0, 0, 0)))
    blocks = g.reshape(b, rows, stride, columns, stride, o).swapaxes(2, 3).reshape(b, rows, columns, -1)
    steps = [(m, n) for m in range(reach) for n in range(reach)]
    parts = jnp.stack([jnp.einsum("bhwi,bhwn->in", x, blocks[:, m : m + h, n : n + w]) for m, n in steps])
    taps = parts.reshape(reach, reach, i, stride, stride, o).transpose(0, 3, 1, 4, 2, 5)
    return taps.reshape(reach * stride, reach * stride, i, o)[:k, :k]


_fast.defvjp(_fast_forward, _fast_backward)


# ---- bilinear


def bilinear_kernel(size: int, channels: int) -> Float[Array, "{size} {size} {channels} {channels}"]:
    """The kernel of a `transposed_conv` that interpolates each channel by itself, float32 (Long et al. 2015, arXiv:1411.4038, section 3.3).

    A tent: weights 1 - |n - centre| / f with f = (size + 1) // 2. For a stride of f, size 2 f - f % 2 and pad (size - f) // 2 double as
    `bilinear` does, but for a margin where the map ends in zeros.
    """
    f = (size + 1) // 2
    tent = 1 - np.abs(np.arange(size) - (f - 1 if size % 2 else f - 0.5)) / f
    return jnp.asarray(np.einsum("a,c,io->acio", tent, tent, np.eye(channels)), jnp.float32)


def bilinear(x: Float[Array, "b h w c"], height: int, width: int, align_corners: bool = False) -> Float[Array, "b {height} {width} c"]:
    """Resized to height x width, between the two nearest rows and columns; not antialiased. torch's interpolate(mode="bilinear").

    align_corners: the centres of the corner pixels stay where they are; else the corners of the map do ("half-pixel").
    Computed in float32; rows, then columns, each a product with a small matrix or, at a whole multiple of the size, sums of neighbours.
    """
    y = x.astype(jnp.float32)
    for axis, size in ((1, height), (2, width)):
        n = y.shape[axis]
        if size == n or (size % n == 0 and not align_corners):
            y = _multiplied(y, axis, size // n)
        else:
            subscripts = "mn,bnwc->bmwc" if axis == 1 else "mn,bhnc->bhmc"
            y = jnp.einsum(subscripts, _tents(n, size, align_corners), y, precision="highest")
    return y.astype(x.dtype)


def _multiplied(x: Array, axis: int, factor: int) -> Array:
    """An axis `factor` times as long. A ninth of the product's time on a CPU (64x64 to 128x128): each pixel has the same few weights."""
    ends = lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(x, -1, None, axis=axis)
    before = jnp.concatenate([ends[0], lax.slice_in_dim(x, 0, -1, axis=axis)], axis)
    after = jnp.concatenate([lax.slice_in_dim(x, 1, None, axis=axis), ends[1]], axis)
    places = [(r + 0.5) / factor - 0.5 for r in range(factor)]  # from the old pixel's centre, in old pixels
    parts = [(1 - abs(at)) * x + abs(at) * (before if at < 0 else after) if at else x for at in places]
    return jnp.stack(parts, axis + 1).reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


def _tents(n: int, size: int, align_corners: bool) -> Float[np.ndarray, "{size} {n}"]:
    """Row m: the weights of the n pixels of a line in pixel m of its new size."""
    if align_corners:
        at = np.arange(size) * ((n - 1) / max(1, size - 1))
    else:
        at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n))).astype(np.float32)
