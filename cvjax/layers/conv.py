"""Convolution without bias, padded as torch pads, NHWC.

b batch · h w height, width · i o channels in, out · k kernel size
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jax.typing import DTypeLike

# He et al. 2015 (arXiv:1502.01852), fan-out and untruncated as torchvision's ResNet does it: keeps the size of the
# gradients from layer to layer.
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """k x k convolution with k // 2 zeros on *both* sides, whatever the stride.

    "SAME" pads a strided convolution on the right only, which gives other numbers from torch's weights.
    The one parameter is `kernel` (k k i/groups o), float32; the arithmetic is done in `dtype`.
    """

    features: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", he_fan_out, shape, jnp.float32)
        return convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.groups)


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k j o"], stride: int = 1, groups: int = 1
) -> Float[Array, "b p q o"]:
    """The convolution itself; j = i / groups."""
    pad = [(k // 2, k // 2) for k in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )
