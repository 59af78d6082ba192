"""Back to a finer map: the five in-network up-samplings as parts that a network is given by name.

b batch · h w height, width · c d channels
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cvjax.layers.conv import Conv, he_fan_in
from cvjax.ops import upsample

OPERATIONS = ("transposed", "bilinear", "nearest", "bed_of_nails", "unpool")


class Upsample(nn.Module):
    """Twice as fine, and `features` channels: a 2x2 transposed convolution with stride 2, or a 1x1 convolution and then the `operation`.

    "unpool" puts every value where the mirrored pooling found its maximum, and needs that pooling's switches for as many channels.
    Parameters: `kernel` (2 2 c d) and `bias` of "transposed", else those of the convolution.
    """

    features: int
    operation: str = "transposed"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], switches: Int[Array, "b h w d"] | None = None) -> Float[Array, "b h2 w2 d"]:
        if self.operation not in OPERATIONS:
            raise ValueError(f"no upsample {self.operation!r}; have {', '.join(map(repr, OPERATIONS))}")
        zeros, shape = nn.initializers.zeros, (2, 2, x.shape[-1], self.features)
        if self.operation == "transposed":
            kernel = self.param("kernel", he_fan_in, shape, jnp.float32).astype(self.dtype)
            bias = self.param("bias", zeros, (self.features,), jnp.float32).astype(self.dtype)
            return upsample.transposed_conv(x.astype(self.dtype), kernel, stride=2, pad=0) + bias.reshape(1, 1, 1, -1)
        x = Conv(self.features, 1, kernel_init=he_fan_in, bias_init=zeros, dtype=self.dtype, name="conv")(x)
        return doubled(x, self.operation, switches)


def doubled(x: Float[Array, "b h w c"], operation: str, switches: Int[Array, "b h w d"] | None = None) -> Float[Array, "b h2 w2 c"]:
    """By an operation without parameters. Switches of one channel serve all."""
    height, width = 2 * x.shape[1], 2 * x.shape[2]
    if operation == "nearest":
        return upsample.nearest(x, 2)
    if operation == "bilinear":
        return upsample.bilinear(x, height, width)
    if operation == "bed_of_nails":
        return upsample.bed_of_nails(x, 2)
    assert switches is not None  # of which networks make sure that have the operation "unpool"
    return upsample.max_unpool(x, jnp.broadcast_to(switches, x.shape), height, width)
