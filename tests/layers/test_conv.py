"""The convolution's own derivatives against XLA's, and its padding against arithmetic by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.layers.conv import Conv, convolve, in_loop, plain

# channels in, out, kernel, stride, groups, height, width: every road through the code, odd sizes and one pixel too
CASES = [
    (3, 16, 3, 1, 1, 8, 8), (16, 16, 3, 1, 1, 6, 10), (16, 16, 3, 1, 1, 7, 5), (20, 24, 3, 1, 1, 8, 8), (16, 32, 3, 2, 1, 8, 8),
    (16, 32, 3, 2, 1, 9, 7), (3, 20, 7, 2, 1, 16, 16), (3, 20, 7, 2, 1, 15, 14), (20, 12, 1, 1, 1, 5, 5), (20, 12, 1, 2, 1, 6, 6),
    (20, 12, 1, 2, 1, 5, 7), (8, 8, 3, 1, 4, 6, 6), (4, 4, 3, 1, 1, 1, 1), (4, 4, 3, 2, 1, 1, 2), (5, 6, 5, 3, 1, 11, 8),
    (4, 6, 2, 2, 1, 8, 8), (4, 6, 2, 1, 1, 6, 6),
    (5, 6, 7, 1, 1, 4, 9), (5, 6, 7, 1, 1, 1, 1), (4, 6, 5, 1, 1, 9, 30), (4, 6, 4, 1, 1, 5, 5),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_derivatives_are_those_of_the_plain_convolution(case, dtype):
    i, o, k, stride, groups, h, w = case
    x = jax.random.normal(jax.random.key(0), (2, h, w, i)).astype(dtype)
    kernel = jax.random.normal(jax.random.key(1), (k, k, i // groups, o)).astype(dtype)

    @jax.jit
    def both(x, kernel, g):
        results = []
        for function in (convolve, plain):
            y, backward = jax.vjp(lambda x, kernel, f=function: f(x, kernel, stride, groups), x, kernel)
            results.append((y, *backward(g)))
        return results

    g = jax.random.normal(jax.random.key(2), (2, *_size(h, w, k, stride), o)).astype(dtype)
    for ours, theirs in zip(*both(x, kernel, g), strict=True):
        assert ours.dtype == theirs.dtype == jnp.dtype(dtype)
        scale = float(jnp.abs(theirs).max()) + 1e-6
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-5 if dtype == "float32" else 2e-2)


def _size(h, w, k, stride):
    return tuple((n + 2 * (k // 2) - k) // stride + 1 for n in (h, w))


def test_a_corner_by_hand():
    """3x3 of ones, stride 2, on 4x4 of ones: two rows and columns of zeros lie *before* the first pixel's window."""
    y = convolve(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), 2)
    np.testing.assert_array_equal(y[0, :, :, 0], [[4, 6], [6, 9]])


def test_he_initialisation_keeps_the_size_of_gradients():
    kernel = Conv(256, 3).init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]["kernel"]
    assert kernel.dtype == jnp.float32
    np.testing.assert_allclose(kernel.std(), (2 / (9 * 256)) ** 0.5, rtol=0.01)
    assert float(jnp.abs(kernel).max()) > 3.5 * float(kernel.std()), "not cut off"


def test_second_derivative_in_reverse():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.linspace(-1, 1, 36).reshape(3, 3, 2, 2)

    def size_of_gradient(x, function):
        return jnp.square(jax.grad(lambda x: jnp.square(function(x, kernel)).sum())(x)).sum()

    ours, theirs = (jax.grad(size_of_gradient)(x, f) for f in (convolve, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_forward_mode_says_no_and_plain_has_it():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: convolve(x, kernel), (x,), (x,))
    assert jax.jvp(lambda x: plain(x, kernel), (x,), (x,))[1].shape == (1, 4, 4, 2)


@pytest.mark.parametrize("size, stride, side", [(3, 1, 7), (3, 2, 8), (3, 2, 7), (1, 2, 9), (7, 2, 12)])
def test_in_a_branch_a_convolution_has_the_derivatives_that_it_has_elsewhere(size, stride, side):
    x = jax.random.normal(jax.random.key(0), (2, side, side + 1, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 5))

    def slopes(convolution):
        return jax.grad(lambda x, kernel: jnp.sin(convolution(x, kernel, stride)).sum(), (0, 1))(x, kernel)

    np.testing.assert_allclose(in_loop(x, kernel, stride), plain(x, kernel, stride), rtol=1e-5)
    for ours, theirs in zip(slopes(in_loop), slopes(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
