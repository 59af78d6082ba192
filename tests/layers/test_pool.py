"""Max-pooling's own derivative against XLA's and, where values are equal, against torch's rule."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.layers.pool import max_pool


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 2), (3, 1), (5, 3), (3, 3)])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 7, 10, 2), (1, 5, 6, 1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_as_xla(size, stride, padded, shape, dtype):
    pad = size // 2 if padded else 0
    x = jax.random.permutation(jax.random.key(0), jnp.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)
    x = x + jnp.linspace(0, 0.5, x.size).reshape(shape).astype(dtype) if dtype == "float32" else x

    def xla(x):
        return nn.max_pool(x, (size, size), (stride, stride), ((pad, pad),) * 2)

    y, backward = jax.vjp(lambda x: max_pool(x, size, stride, pad), x)
    expected, reference = jax.vjp(xla, x)
    np.testing.assert_array_equal(y, expected)
    g = jax.random.normal(jax.random.key(1), y.shape).astype(dtype)
    np.testing.assert_allclose(backward(g)[0], reference(g)[0], rtol=1e-6, atol=1e-6 if dtype == "float32" else 0.06)


def test_the_first_of_equals_gets_the_gradient():
    g = jax.grad(lambda x: max_pool(x, 2, 2, pad=1)[0, 1, 1, 0])(jnp.zeros((1, 4, 4, 1)))
    np.testing.assert_array_equal(g[0, :, :, 0], [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_not_a_number_is_passed_on():
    assert bool(jnp.isnan(max_pool(jnp.full((1, 4, 4, 1), jnp.nan))).all())
