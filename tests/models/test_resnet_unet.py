"""A U-Net on a ResNet: begun from a trained one, at every size, with every part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.models import resnet, resnet_unet


def made(size=(20, 33), **settings):
    model = resnet_unet.Model(num_classes=3, **settings)
    image = jax.random.normal(jax.random.key(0), (1, *size, 3))
    return model, image, jax.jit(lambda x: model.init_with_output(jax.random.key(0), {"image": x}, train=False))(image)


@pytest.mark.parametrize("settings", [{"variant": 50}, {"variant": 8, "skips": "sum"}, {"variant": 18, "width": 4, "skips": "none"},
                                      *({"variant": 8, "upsample": upsample} for upsample in resnet_unet.UPSAMPLE)])  # fmt: skip
def test_scores_are_of_every_pixel(settings):
    model = resnet_unet.Model(num_classes=3, **settings)
    out, _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), {"image": jnp.zeros((1, 20, 33, 3))}, train=False))
    assert out["logits"].shape == (1, 20, 33, 3)


def test_its_contracting_path_is_a_resnet():
    """The same parameters under the same names, but for the head, and the same maps."""
    _, image, (_, variables) = made((24, 32), variant=8, width=4)
    net = resnet.Model(num_classes=3, variant=8)
    theirs = jax.eval_shape(lambda: net.init(jax.random.key(0), {"image": image}, train=False))["params"]
    assert set(theirs) - {"head"} == {name for name in variables["params"] if not name.startswith("up") and name != "head"}
    for name in set(theirs) - {"head"}:
        assert jax.tree.map(jnp.shape, variables["params"][name]) == jax.tree.map(jnp.shape, theirs[name])


def test_dilation_in_place_of_strides_keeps_the_weights():
    """The network with its last stage dilated says of every second place what the strided one says, where the border is far."""
    net = resnet.Model(num_classes=0, variant=8, shortcut="B")
    image = {"image": jax.random.normal(jax.random.key(0), (1, 64, 64, 3))}
    variables = jax.jit(lambda x: net.init(jax.random.key(0), x, train=False))(image)
    strided, dilated = (net.apply(variables, image, train=False, coarsest=n)["stage2"] for n in (4, 1))
    assert strided.shape[1] == 32 and dilated.shape[1] == 64
    np.testing.assert_allclose(dilated[:, 8:-8:2, 8:-8:2], strided[:, 4:-4, 4:-4], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("settings", "message"), [({"variant": 9}, "no variant 9"), ({"upsample": "unpool"}, "no upsample 'unpool'; have"),
                                                   ({"skips": "all"}, "no skips 'all'"), ({"width": -1}, "width -1")])  # fmt: skip
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings)
