"""The five up-samplings: worked examples by hand, exact adjoints, and what each promises of its result."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cvjax import describe
from cvjax.ops import upsample
from cvjax.ops.upsample import (
    bed_of_nails,
    bilinear,
    bilinear_kernel,
    max_pool_with_switches,
    max_unpool,
    nearest,
    output_size,
    transposed_conv,
    true_gradient,
)

A = [[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]
B = [[1, 2], [3, 4]]


def plane(rows):
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


def normal(seed, shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def dot(a, b):
    return float(np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64)))


def shows(found, rows):
    np.testing.assert_array_equal(found[0, :, :, 0], rows)


# ---- worked examples (papers file, section 12)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_worked_example_of_pooling_and_copies(wrap):
    y, switches = wrap(max_pool_with_switches)(plane(A))
    shows(y, [[5, 6], [7, 8]])
    shows(switches, [[5, 2], [12, 15]])
    assert switches.dtype == jnp.int32
    shows(wrap(lambda y: max_unpool(y, switches, 4, 4))(plane(B)), [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]])
    shows(wrap(lambda y: nearest(y, 2))(plane(B)), [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
    shows(wrap(lambda y: bed_of_nails(y, 2))(plane(B)), [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_worked_example_of_transposed_convolution(wrap):
    found = wrap(lambda y: transposed_conv(y, jnp.ones((3, 3, 1, 1)), 2, 1, 1))(plane(B))
    shows(found, [[1, 3, 2, 2], [4, 10, 6, 6], [3, 7, 4, 4], [3, 7, 4, 4]])
    found = wrap(lambda y: transposed_conv(y, bilinear_kernel(4, 1), 2, 1))(plane(B))
    rows = [[0.5625, 0.9375, 1.3125, 1.125], [1.125, 1.75, 2.25, 1.875], [1.875, 2.75, 3.25, 2.625], [1.6875, 2.4375, 2.8125, 2.25]]
    shows(found, rows)


def test_bilinear_by_hand():
    shows(bilinear(plane([[0, 4]]), 1, 4), [[0, 1, 3, 4]])
    shows(bilinear(plane([[0, 3]]), 1, 4, align_corners=True), [[0, 1, 2, 3]])


# ---- adjoints

KERNELS = [
    (2, 2, 0, 0),
    (3, 2, 1, 1),
    (4, 2, 1, 0),
    (3, 1, 1, 0),
    (5, 3, 2, 1),
    (2, 3, 0, 2),
    (4, 2, 4, 1),
    (1, 1, 0, 0),
    (1, 2, 0, 1),
]  # k s p op
LINEAR = {
    "nearest": lambda x: nearest(x, 3),
    "bed_of_nails": lambda x: bed_of_nails(x, 3),
    "bilinear": lambda x: bilinear(x, 2 * x.shape[1], 3 * x.shape[2]),
    "bilinear_between": lambda x: bilinear(x, x.shape[1] + 2, 7),
    "bilinear_corners": lambda x: bilinear(x, 2 * x.shape[1], 7, align_corners=True),
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("size", [(5, 4), (1, 1)])
def test_adjoint(name, size):
    @jax.jit
    def all_three(x, y):
        up, back = jax.vjp(LINEAR[name], x)
        return up, back(y)[0], jax.linear_transpose(LINEAR[name], x)(y)[0]

    x = normal(0, (2, *size, 3))
    y = normal(1, jax.eval_shape(LINEAR[name], x).shape)
    up, back, transposed = all_three(x, y)
    np.testing.assert_allclose(dot(up, y), dot(x, back), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(transposed, back, rtol=1e-6)


def test_adjoint_of_nearest_sums_blocks_and_that_of_nails_takes_corners():
    g = normal(0, (1, 6, 4, 2))
    x = jnp.zeros((1, 3, 2, 2))
    np.testing.assert_allclose(jax.vjp(lambda x: nearest(x, 2), x)[1](g)[0], g.reshape(1, 3, 2, 2, 2, 2).sum((2, 4)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(jax.vjp(lambda x: bed_of_nails(x, 2), x)[1](g)[0], g[:, ::2, ::2])


@pytest.mark.parametrize(("shape", "size"), [((2, 6, 6, 3), 2), ((1, 7, 11, 2), 2), ((1, 7, 11, 2), 3), ((1, 3, 4, 1), 1)])
def test_unpooling_is_the_adjoint_of_picking_the_maxima(shape, size):
    """<maxima of x, y> = <x, unpooled y>, and the gradients of pooling and unpooling are each other."""

    @jax.jit
    def both(x, y):
        maxima, back, switches = jax.vjp(lambda x: max_pool_with_switches(x, size), x, has_aux=True)
        unpooled, pick = jax.vjp(lambda y: max_unpool(y, switches, *shape[1:3], size), y)
        return maxima, unpooled, back(y)[0], pick(x)[0]

    x, y = normal(0, shape), normal(1, (shape[0], shape[1] // size, shape[2] // size, shape[3]))
    maxima, unpooled, back, picked = both(x, y)
    np.testing.assert_allclose(dot(maxima, y), dot(x, unpooled), rtol=1e-5)
    np.testing.assert_array_equal(back, unpooled)
    np.testing.assert_array_equal(picked, maxima)


@pytest.mark.parametrize("case", KERNELS, ids=str)
def test_true_gradient_is_the_adjoint_of_the_convolution_by_the_same_kernel(case):
    k, stride, pad, output_pad = case

    @jax.jit
    def both(x, y, kernel):
        below = lax.conv_general_dilated(x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return below, true_gradient(y, kernel, stride, pad, output_pad)

    x, y = normal(2, (2, *(output_size(n, *case) for n in (5, 4)), 3)), normal(1, (2, 5, 4, 2))
    below, up = both(x, y, normal(0, (k, k, 3, 2)))
    assert below.shape == y.shape and up.shape == x.shape
    np.testing.assert_allclose(dot(below, y), dot(x, up), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("case", "dtype"), [*((case, "float32") for case in KERNELS), ((3, 2, 1, 1), "bfloat16")], ids=str)
def test_derivatives_of_transposed_convolution_are_xlas(case, dtype):
    k, *how = case
    x, kernel = normal(0, (2, 5, 4, 3), dtype), normal(1, (k, k, 3, 2), dtype)

    @jax.jit
    def both(x, kernel, g):
        pulled = (jax.vjp(lambda x, kernel, f=f: f(x, kernel, *how), x, kernel) for f in (upsample._fast, upsample._plain))
        return [(y, *back(g)) for y, back in pulled]

    g = normal(2, (2, *(output_size(n, k, *how) for n in (5, 4)), 2), dtype)
    for ours, theirs in zip(*both(x, kernel, g), strict=True):
        assert ours.dtype == theirs.dtype == jnp.dtype(dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 if dtype == "float32" else 0.3)


# ---- transposed convolution: sizes and conventions


@pytest.mark.parametrize("case", KERNELS, ids=str)
def test_it_adds_copies_of_the_kernel(case):
    k, stride, pad, output_pad = case
    x, kernel = normal(0, (1, 4, 5, 3)), normal(1, (k, k, 3, 2))
    whole = np.zeros((4 * stride + k + output_pad, 5 * stride + k + output_pad, 2))
    for m, n in np.ndindex(4, 5):
        whole[m * stride : m * stride + k, n * stride : n * stride + k] += np.einsum("i,acio->aco", np.asarray(x)[0, m, n], kernel)
    p, q = (output_size(n, *case) for n in (4, 5))
    found = jax.jit(lambda x, kernel: transposed_conv(x, kernel, *case[1:])[0])(x, kernel)
    np.testing.assert_allclose(found, whole[pad : pad + p, pad : pad + q], rtol=1e-4, atol=1e-4)


def test_how_lax_and_flax_write_it():
    x, kernel = normal(0, (2, 4, 5, 3)), normal(1, (3, 3, 3, 2))
    ours = transposed_conv(x, kernel, 2)
    turned = lax.conv_transpose(x, kernel[::-1, ::-1], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(ours, turned, rtol=1e-5, atol=1e-5)
    exchanged = kernel.swapaxes(2, 3)
    keras = lax.conv_transpose(x, exchanged, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), transpose_kernel=True)
    np.testing.assert_allclose(true_gradient(x, exchanged, 2), keras, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("k", "alternates"), [(2, False), (3, True), (4, False), (5, True), (6, False)])
def test_checkerboard_unless_the_stride_divides_the_kernel(k, alternates):
    inside = transposed_conv(jnp.ones((1, 8, 8, 1)), jnp.ones((k, k, 1, 1)), 2)[0, k:-k, k:-k, 0]
    assert (float(inside.var()) > 0) == alternates
    assert set(np.unique(inside).tolist()) == {2: {1}, 3: {1, 2, 4}, 4: {4}, 5: {4, 6, 9}, 6: {9}}[k]


@pytest.mark.parametrize(("size", "stride", "pad"), [(4, 2, 1), (3, 2, 1), (16, 8, 4), (1, 1, 0)])
def test_bilinear_kernel_reproduces_ramps_inside(size, stride, pad):
    ramp = jnp.arange(8.0).reshape(8, 1) * 2 + jnp.arange(7.0).reshape(1, 7)
    up = transposed_conv(plane(ramp), bilinear_kernel(size, 1), stride, pad)[0, :, :, 0]
    inside = up[stride:-stride, stride:-stride]
    for axis, slope in ((0, 2), (1, 1)):
        np.testing.assert_allclose(jnp.diff(inside, axis=axis), slope / stride, rtol=1e-4, atol=1e-5)


def test_bilinear_kernel_keeps_channels_apart_and_doubles_as_bilinear_does():
    kernel = bilinear_kernel(4, 3)
    assert kernel.shape == (4, 4, 3, 3) and kernel.dtype == jnp.float32
    np.testing.assert_array_equal(kernel[0, :, 1, 1], np.array([0.25, 0.75, 0.75, 0.25]) * 0.25)
    assert not kernel[:, :, 0, 1].any()
    x = normal(0, (1, 5, 6, 3))
    inside = (slice(None), slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(transposed_conv(x, kernel, 2, 1)[inside], bilinear(x, 10, 12)[inside], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", [(2, 0, 2), (2, 0, -1), (1, 9, 0)])
def test_impossible_sizes_are_refused(how):
    with pytest.raises(ValueError, match=r"output_pad|nothing"):
        transposed_conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), *how)


def test_described_by_the_products_it_needs():
    class Up(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            return {"map": transposed_conv(inputs["image"], self.param("kernel", nn.initializers.ones, (4, 4, 3, 5)), 2, 1)}

    assert describe.multiply_adds(Up(), {"image": jnp.zeros((1, 6, 7, 3))}) == 6 * 7 * 4 * 4 * 3 * 5


# ---- pooling and unpooling


@pytest.mark.parametrize(("shape", "size"), [((2, 8, 8, 3), 2), ((1, 7, 5, 2), 2), ((1, 9, 11, 2), 3), ((1, 1, 1, 1), 1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pooling_what_was_unpooled(shape, size, dtype):
    pool = jax.jit(max_pool_with_switches, static_argnums=1)
    _, switches = pool(normal(0, shape, dtype), size)
    y = jnp.abs(normal(1, switches.shape, dtype))
    unpooled = jax.jit(lambda y: max_unpool(y, switches, *shape[1:3], size))(y)
    assert unpooled.shape == shape and unpooled.dtype == y.dtype
    np.testing.assert_array_equal(pool(unpooled, size)[0], y)
    assert np.count_nonzero(unpooled) == np.count_nonzero(y) <= y.size


def test_switches_are_flat_indices_of_the_whole_map_even_where_rows_are_dropped():
    x = normal(0, (2, 7, 9, 3))
    y, switches = jax.jit(max_pool_with_switches)(x)
    flat, places = np.asarray(x).reshape(2, 63, 3), np.asarray(switches).reshape(2, -1, 3)
    np.testing.assert_array_equal(np.take_along_axis(flat, places, 1).reshape(y.shape), y)
    assert not max_unpool(y, switches, 7, 9)[:, 6:].any()


def test_the_first_of_equals_and_not_a_number():
    assert int(max_pool_with_switches(jnp.zeros((1, 2, 2, 1)))[1][0, 0, 0, 0]) == 0
    assert int(max_pool_with_switches(jnp.full((1, 2, 2, 1), -jnp.inf))[1][0, 0, 0, 0]) == 0
    y, switches = max_pool_with_switches(plane([[1, jnp.nan], [2, 3]]))
    assert jnp.isnan(y).all() and int(switches[0, 0, 0, 0]) == 1


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least that many pixels, the map has 1x1"):
        max_pool_with_switches(jnp.zeros((1, 1, 1, 1)))
    y, switches = max_pool_with_switches(jnp.zeros((1, 4, 4, 1)))
    with pytest.raises(ValueError, match="makes 3x2 of 6x4, not 2x2"):
        max_unpool(y, switches, 6, 4)


# ---- bilinear, and what holds for all


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (10, 4), (12, 15)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_keeps_constants(size, align_corners):
    np.testing.assert_allclose(bilinear(jnp.full((1, 4, 5, 2), 3.0), *size, align_corners), 3, rtol=1e-6)


def test_bilinear_of_a_whole_multiple_is_the_product():
    x = normal(0, (2, 5, 4, 3))
    rows, columns = upsample._tents(5, 15, False), upsample._tents(4, 8, False)
    np.testing.assert_allclose(bilinear(x, 15, 8), np.einsum("ph,qw,bhwc->bpqc", rows, columns, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LINEAR)
def test_one_pixel_fills_the_map(name):
    up = jax.jit(LINEAR[name])(jnp.full((1, 1, 1, 1), 2.0))
    expected = {0.0, 2.0} if name == "bed_of_nails" else {2.0}
    assert set(np.unique(up).tolist()) == expected


@pytest.mark.parametrize("name", LINEAR)
def test_bfloat16_stays_and_is_near_float32(name):
    x = normal(0, (1, 4, 4, 2), "bfloat16")
    up = jax.jit(LINEAR[name])(x)
    assert up.dtype == jnp.bfloat16
    np.testing.assert_allclose(up.astype("float32"), LINEAR[name](x.astype("float32")), rtol=0.01, atol=0.01)
