"""Weight standardisation (Qiao, Wang, Liu, Shen & Yuille 2019, arXiv:1903.10520): a convolution whose filters have mean 0 and variance 1.

It makes up for the batch statistics that GroupNorm does without (BiT: Kolesnikov et al. 2020, arXiv:1912.11370, section 3.1).

b batch · h w height, width · i o channels in, out · p q the kernel's height, width
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cvjax.layers.conv import convolve


class StandardConv(nn.Module):
    """A convolution without bias, of filters standardised over all their inputs; padded as TensorFlow's "SAME", more at the end.

    features: channels out. size: pixels on a side of the kernel. Parameter `kernel`, float32, as drawn; the result has type `dtype`.
    """

    features: int
    size: int
    stride: int = 1
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = standardised(self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if self.stride == 1 or self.size == 1:
            return convolve(x, kernel, self.stride)  # both kinds of padding are one
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (self.stride, self.stride), "SAME", dimension_numbers=layout)


def standardised(kernel: Float[Array, "p q i o"], eps: float = 1e-8) -> Float[Array, "p q i o"]:
    """Every filter less its mean, over its deviation. eps: added to the variance; timm's for hybrids."""
    centred = kernel - kernel.mean((0, 1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean((0, 1, 2), keepdims=True) + eps)
