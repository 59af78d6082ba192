"""VGG against the paper's and torchvision's sizes."""

import jax
import jax.numpy as jnp
import pytest

from cvjax.models import vgg

# Table 2 of the paper in millions (133, 133, 138, 144); exact numbers and those with BatchNorm are torchvision's
COUNTS = {(11, False): 132_863_336, (13, False): 133_047_848, (16, False): 138_357_544, (19, False): 143_667_240,
          (11, True): 132_868_840, (13, True): 133_053_736, (16, True): 138_365_992, (19, True): 143_678_248}  # fmt: skip


@pytest.mark.parametrize(("variant", "batch_norm"), COUNTS)
def test_parameters(variant, batch_norm):
    model = vgg.Model(num_classes=1000, variant=variant, batch_norm=batch_norm)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    out, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), {"image": x}, train=False), image)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == COUNTS[variant, batch_norm]
    assert sum(name.startswith(("conv", "fc", "head")) for name in variables["params"]) == variant, "layers with weights"
    assert [out[f"stage{i}"].shape[1:] for i in range(1, 6)] == [(112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 512)]


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [({"variant": 12}, 32, "no variant 12; have 11"), ({"width": -1}, 32, "width -1"), ({"dropout": -0.5}, 32, "dropout -0.5"),
     ({}, 31, "31 x 31 are too small; at least 32")],
)  # fmt: skip
def test_mistakes_are_named(settings, size, message):
    with pytest.raises(ValueError, match=message):
        vgg.Model(num_classes=3, **settings).init(jax.random.key(0), {"image": jnp.zeros((1, size, size, 3))}, train=False)
