"""Hybrids: standardised filters by what they must be, the map that the Transformer sees, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import describe
from cvjax.layers.standardised import StandardConv, standardised
from cvjax.models import hybrid
from cvjax.models.hybrid import Model

KERNEL = jax.random.normal(jax.random.key(0), (3, 3, 4, 5))


def test_a_standardised_filter_has_mean_0_and_variance_1_whatever_it_was():
    found = np.asarray(standardised(KERNEL)).reshape(-1, 5)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(found.var(0), 1, atol=1e-5)
    np.testing.assert_allclose(standardised(3 * KERNEL + 7), standardised(KERNEL), atol=1e-5)


@pytest.mark.parametrize(("n", "size", "stride"), [(8, 3, 1), (8, 3, 2), (9, 3, 2), (8, 7, 2), (7, 1, 2), (10, 1, 1)])
def test_the_convolution_pads_as_tensorflow_does(n, size, stride):
    """ceil(n / stride) positions; what is missing is shared out among both ends, the odd one to the end: in plain loops."""
    x = jax.random.normal(jax.random.key(1), (1, n, n, 2))
    conv = StandardConv(3, size, stride)
    variables = conv.init(jax.random.key(2), x)
    places = -(-n // stride)
    missing = max((places - 1) * stride + size - n, 0)
    padded = np.pad(np.asarray(x), ((0, 0), *[(missing // 2, missing - missing // 2)] * 2, (0, 0)))
    kernel = np.asarray(standardised(variables["params"]["kernel"]))
    at = [i * stride for i in range(places)]
    expected = [[np.einsum("pqi,pqio->o", padded[0, y : y + size, z : z + size], kernel) for z in at] for y in at]
    np.testing.assert_allclose(conv.apply(variables, x)[0], expected, atol=1e-4)


def test_a_small_one_costs_as_much_as_a_vit_of_its_kind():
    picture = {"image": jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)}
    assert 10e6 < describe.multiply_adds(Model(10, "R11+Pi3/4"), picture) < 15e6


@pytest.mark.parametrize(("variant", "shape"), [("R26+S/32", (2, 2, 2048)), ("R50+B/16", (4, 4, 1024)), ("R11+Pi3/4", (16, 16, 128))])
def test_the_map_has_a_place_for_every_word(variant, shape):
    image = {"image": jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)}
    out, variables = jax.eval_shape(lambda x: Model(7, variant).init_with_output(jax.random.key(0), x, train=False), image)
    assert out["map"].shape[1:] == shape and out["tokens"].shape[1] == shape[0] ** 2 + 1
    assert {"embed", "encoder", "norm", "head", "stem_conv", "stage1_block1"} <= set(variables["params"])


def test_layers_for_layer_wise_learning_rates():
    paths = ("stem_conv/kernel", "stage3_block1/conv1/kernel", "embed/position", "encoder/block2/norm1/scale")
    assert [hybrid.layer(path) for path in paths] == [0, 0, 0, 2] and hybrid.layer("head/bias") > 12


@pytest.mark.parametrize(("settings", "says"), [
    ({"variant": "R50"}, "no variant 'R50'; have 'R26"), ({"variant": "R26+S/32"}, "32x32 pixels, and 48x48 are no multiple"),
    ({"pool": "max"}, "no pool 'max'"), ({"position": "2d"}, "no position '2d'"),
])  # fmt: skip
def test_mistakes_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        Model(7, **{"variant": "R11+Pi3/4", **settings}).init(jax.random.key(0), {"image": jnp.zeros((1, 48, 48, 3))}, train=False)
