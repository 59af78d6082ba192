"""FCN on VGG and on a dilated ResNet: sizes from the paper and torchvision, and what the paper says of its skips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.layers.conv import dilated
from cvjax.layers.upsample import OPERATIONS
from cvjax.models import fcn, fcn_resnet


def shapes(model, size=64):
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), {"image": x}, train=False), image)


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def test_the_papers_network_has_134_million_parameters():
    _, variables = shapes(fcn.Model(num_classes=21, stride=32))
    assert count(variables) == 14_714_688 + 102_764_544 + 16_781_312 + 21 * 4096 + 21 == 134_346_581
    _, variables = shapes(fcn.Model(num_classes=21, stride=8))
    assert count(variables) == 134_346_581 + 2 * (21 * 512 + 21) - 21 * 256 + 2 * 4 * 4 * 21 * 21


@pytest.mark.parametrize(("name", "parameters"), [("fcn_resnet50", 35_322_218), ("fcn_resnet101", 54_314_346)])
def test_torchvisions_networks_have_as_many_parameters(name, parameters):
    out, variables = shapes(fcn_resnet.Model(**fcn_resnet.REFERENCES[name]))
    assert count(variables) == parameters
    assert out["stage4"].shape == (1, 8, 8, 2048), "the last map has one value to 8 pixels"


@pytest.mark.parametrize("upsample", OPERATIONS)
@pytest.mark.parametrize("stride", fcn.STRIDES)
def test_scores_are_of_every_pixel(upsample, stride):
    out, _ = shapes(fcn.Model(num_classes=3, variant=11, width=4, stride=stride, upsample=upsample), 50)
    assert out["logits"].shape == (1, 50, 50, 3)


def test_skips_add_nothing_at_the_beginning():
    """Section 4.2: their scores start at zero, so 16s and 8s begin as 32s, but for how it is enlarged."""
    image = {"image": jax.random.normal(jax.random.key(1), (1, 64, 64, 3))}
    found = {}
    for stride in fcn.STRIDES:
        model = fcn.Model(num_classes=3, variant=11, width=4, stride=stride, upsample="bilinear")
        found[stride] = jax.jit(lambda x, model=model: model.init_with_output(jax.random.key(0), x, train=False))(image)[0]["logits"]
    for stride in (16, 8):
        assert 0 < float(jnp.abs(found[stride] - found[32]).max()) < 0.25 * float(jnp.ptp(found[32]))
        np.testing.assert_allclose(found[stride].mean((1, 2)), found[32].mean((1, 2)), rtol=1e-3, atol=1e-6)


def test_a_dilated_convolution_is_xlas():
    x, kernel = jax.random.normal(jax.random.key(0), (2, 11, 14, 3)), jax.random.normal(jax.random.key(1), (3, 3, 3, 5))
    for rate in (2, 4):
        plain = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), [(rate, rate)] * 2, rhs_dilation=(rate, rate), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        np.testing.assert_allclose(dilated(x, kernel, rate), plain, rtol=1e-4, atol=1e-4)
