"""AlexNet against the paper's facts: its sizes, its groups and its normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.layers.norm import local_response_norm
from cvjax.models import alexnet


def shapes(**settings):
    model = alexnet.Model(num_classes=1000, **settings)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    return model, jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), {"image": x}, train=False), image)


@pytest.mark.parametrize(("variant", "count"), [("two_gpu", 60_965_224), ("one_column", 61_100_840)])
def test_parameters(variant, count):
    _, (out, variables) = shapes(variant=variant)
    assert sum(x.size for x in jax.tree.leaves(variables)) == count
    assert out["conv1"].shape[1:3] == (27, 27) and out["conv5"].shape[1:3] == (6, 6)
    assert out["features"].shape == (1, 4096)


def test_second_convolution_sees_half_the_channels():
    _, (_, variables) = shapes(variant="two_gpu")
    assert [variables["params"][f"conv{i}"]["kernel"].shape[2] for i in range(1, 6)] == [3, 48, 256, 192, 192]


def test_local_response_norm_by_its_sum():
    x = np.random.default_rng(0).standard_normal((1, 1, 1, 7)).astype(np.float32) * 30
    squares = [(x[..., max(0, i - 2) : i + 3] ** 2).sum() for i in range(7)]
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x)).ravel(), x.ravel() / (2 + 1e-4 * np.array(squares)) ** 0.75, rtol=1e-5)


def test_biases_start_as_the_paper_says():
    model = alexnet.Model(num_classes=3, width=6)
    params = model.init(jax.random.key(0), {"image": jnp.zeros((1, 63, 63, 3))}, train=False)["params"]
    start = {name: float(layer["bias"].mean()) for name, layer in params.items()}
    assert start == {"conv1": 0, "conv2": 1, "conv3": 0, "conv4": 1, "conv5": 1, "fc6": 1, "fc7": 1, "head": 0}


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ({"variant": "three"}, 64, "no variant 'three'"),
        ({"width": 8}, 64, "width 8; a multiple of 6"),
        ({"dropout": 1.5}, 64, "dropout 1.5"),
        ({}, 62, "62 x 62 are too small; at least 63"),
    ],
)
def test_mistakes_are_named(settings, size, message):
    with pytest.raises(ValueError, match=message):
        alexnet.Model(num_classes=3, **settings).init(jax.random.key(0), {"image": jnp.zeros((1, size, size, 3))}, train=False)
