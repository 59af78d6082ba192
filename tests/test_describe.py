"""Counts against arithmetic by hand, for each kind of operation that can hold a convolution or a product."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cvjax.describe import multiply_adds, parameters
from cvjax.layers.conv import Conv

X = {"x": jax.ShapeDtypeStruct((2, 8, 8, 6), jnp.float32)}
KERNEL = jnp.ones((6, 6))


class Net(nn.Module):
    """`function(module, x)` as a model."""

    function: object

    @nn.compact
    def __call__(self, inputs, *, train):
        return {"y": self.function(inputs["x"])}


def matmul(x):
    return x @ KERNEL


PRODUCT = 2 * 8 * 8 * 6 * 6


@pytest.mark.parametrize(("function", "count"), [
    (matmul, PRODUCT),
    (lambda x: jnp.einsum("bhwc,bhwd->bcd", x, x), PRODUCT),
    (jax.jit(matmul), PRODUCT),
    (jax.checkpoint(matmul), PRODUCT),
    (jax.vmap(matmul), PRODUCT),
    (lambda x: jax.lax.scan(lambda c, _: (matmul(c), None), x, None, length=5)[0], 5 * PRODUCT),
    (lambda x: jax.lax.scan(lambda c, _: (jax.lax.fori_loop(0, 3, lambda i, c: matmul(c), c), None), x, None, length=2)[0], 6 * PRODUCT),
    (lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, matmul, x), PRODUCT),
    (lambda x: jax.lax.cond(x.sum() > 0, lambda x: matmul(matmul(x)), matmul, x), 2 * PRODUCT),
    (lambda x: nn.relu(x + 1), 0),
], ids=str)  # fmt: skip
def test_multiply_adds_by_hand(function, count):
    assert multiply_adds(Net(function), X) == count


@pytest.mark.parametrize(("kw", "count", "learned"), [
    (dict(features=4, size=3), 2 * 8 * 8 * 4 * 9 * 6, 9 * 6 * 4),
    (dict(features=20, size=3, stride=2), 2 * 4 * 4 * 20 * 9 * 6, 9 * 6 * 20),
    (dict(features=12, size=3, groups=3), 2 * 8 * 8 * 12 * 9 * 2, 9 * 2 * 12),
    (dict(features=12, size=1), 2 * 8 * 8 * 12 * 6, 6 * 12),
])  # fmt: skip
def test_convolutions_by_hand(kw, count, learned):
    class One(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            return {"y": Conv(**kw)(inputs["x"])}

    assert multiply_adds(One(), X) == count
    assert parameters(One(), X) == learned


def test_nothing_is_made_or_run():
    """A layer whose kernel alone would fill 4 TB is described."""

    class Huge(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            return {"y": nn.Dense(10**6)(inputs["x"])}

    wide = {"x": jax.ShapeDtypeStruct((1, 10**6), jnp.float32)}
    assert parameters(Huge(), wide) == 10**12 + 10**6 and multiply_adds(Huge(), wide) == 10**12
