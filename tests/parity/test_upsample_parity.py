"""torch's transposed convolution, bilinear interpolation, max pooling with indices and max unpooling: the same numbers and gradients."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import POOLED, RESIZED, TRANSPOSED, fill, image

from cvjax.ops.upsample import bilinear, max_pool_with_switches, max_unpool, transposed_conv

GOLDEN = np.load(Path(__file__).with_name("upsample.npz"))
X = jnp.asarray(image(5))


def agree(found, name, axes=(0, 3, 1, 2)):
    again = "intended? python tests/parity/make_upsample.py"
    np.testing.assert_allclose(np.transpose(found, axes), GOLDEN[name], rtol=1e-4, atol=1e-5, err_msg=again)


@pytest.mark.parametrize("how", TRANSPOSED, ids=str)
def test_transposed_convolution(how):
    name = "transposed " + " ".join(map(str, how))
    kernel = jnp.asarray(fill(name, (3, 2, how[0], how[0])).transpose(2, 3, 0, 1))
    y, back = jax.vjp(lambda x, kernel: transposed_conv(x, kernel, *how[1:]), X, kernel)
    dx, dkernel = back(2 * y)
    agree(y, name)
    agree(dx, f"{name} dx")
    agree(dkernel, f"{name} dw", (2, 3, 0, 1))


@pytest.mark.parametrize("size", RESIZED, ids=str)
@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear(size, align_corners):
    name = f"bilinear {size[0]} {size[1]} {align_corners}"
    y, back = jax.vjp(lambda x: bilinear(x, *size, align_corners), X)
    agree(y, name)
    agree(back(2 * y)[0], f"{name} dx")


@pytest.mark.parametrize(("side", "size"), POOLED)
def test_max_pooling_and_unpooling(side, size):
    y, switches = max_pool_with_switches(jnp.asarray(image(side)), size)
    agree(y, f"pooled {side} {size}")
    np.testing.assert_array_equal(switches.transpose(0, 3, 1, 2), GOLDEN[f"switches {side} {size}"])
    agree(max_unpool(y, switches, side, side, size), f"unpooled {side} {size}")
