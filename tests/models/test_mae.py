"""The masked autoencoder: what the encoder sees, what it does not, what a ViT takes over from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import transfer
from cvjax.models import mae, vit
from cvjax.state import flat
from cvjax.tasks import masked_modelling
from cvjax.train import train
from tiny import tiny

IMAGES = jax.random.normal(jax.random.key(0), (3, 32, 32, 3))
SEEDS = jnp.arange(3, dtype=jnp.uint32)


def begun(ratio=0.75):
    model = mae.Model("mu/8", ratio, (1, 16, 2))
    return model, model.init(jax.random.key(1), {"image": IMAGES, "seeds": SEEDS}, train=False)


@pytest.mark.parametrize(("ratio", "visible"), [(0.75, 4), (0.5, 8), (0.15, 13), (0.9, 1)])
def test_the_encoder_sees_so_many_patches_and_a_class_token(ratio, visible):
    model, variables = begun(ratio)
    out = model.apply(variables, {"image": IMAGES, "seeds": SEEDS}, train=False)
    assert out["tokens"].shape == (3, visible + 1, 32)
    np.testing.assert_array_equal(out["masked"].sum(1), 16 - visible)
    assert (out["masked"][0] != out["masked"][1]).any(), "every image hides its own"


def test_hidden_pixels_do_not_come_through():
    model, variables = begun()
    inputs = {"image": IMAGES, "seeds": SEEDS}
    out = model.apply(variables, inputs, train=False)
    hidden = jnp.repeat(jnp.repeat(out["masked"].reshape(3, 4, 4), 8, 1), 8, 2)[..., None]
    for changed, same in ((jnp.where(hidden, 5.0, IMAGES), True), (jnp.where(hidden, IMAGES, 5.0), False)):
        other = model.apply(variables, {**inputs, "image": changed}, train=False)["prediction"]
        assert bool((other == out["prediction"]).all()) == same


def test_patches_are_squares_of_the_picture_and_their_targets_have_mean_0_and_variance_1():
    cut = mae.patches(IMAGES, 8)
    np.testing.assert_array_equal(cut[1, 6].reshape(8, 8, 3), IMAGES[1, 8:16, 16:24])
    target = np.asarray(mae.standardised(cut))
    np.testing.assert_allclose(target.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(target.var(-1, ddof=1), 1, atol=1e-4)
    assert bool(jnp.isfinite(mae.standardised(jnp.ones((1, 2, 12)))).all())


def test_the_loss_of_hidden_patches_alone():
    model, variables = begun()
    inputs = {"image": IMAGES, "seeds": SEEDS}

    def loss(prediction, out):
        return masked_modelling.loss({**out, "prediction": prediction}, {"valid": jnp.array([True, True, False])})["loss"].sum

    out = model.apply(variables, inputs, train=False)
    slope = jnp.abs(jax.grad(loss)(out["prediction"], out)).sum(-1) > 0
    np.testing.assert_array_equal(slope, out["masked"] & jnp.array([[True], [True], [False]]))


def test_a_vit_begins_with_the_encoder(tmp_path):
    config = tiny(image={"size": 16}, train={"monitor": "val/loss", "mode": "min"})
    with config.unlocked():
        config.task, config.model = {"name": "masked_modelling"}, {"name": "mae", **mae.TINY}
    train(config, tmp_path)
    model = vit.Model(7, "mu/8", position="sincos_2d", layers="scanned")
    variables = model.init(jax.random.key(2), {"image": IMAGES}, train=False)
    params, _, fresh = transfer.initialise(variables["params"], {}, str(tmp_path), model)
    assert fresh == ["params/head/bias", "params/head/kernel"]
    stored = transfer._stored(tmp_path)["params"]
    np.testing.assert_array_equal(
        params["encoder"]["blocks"]["mlp"]["out"]["kernel"][0], stored["encoder"]["block1"]["mlp"]["out"]["kernel"]
    )
    assert any("decoder" in path for path in flat(stored))


@pytest.mark.parametrize(("settings", "size", "says"), [
    ({"ratio": 1.0}, 32, "ratio 1.0; it is the share"), ({"ratio": 0.0}, 32, "ratio 0.0"),
    ({"decoder": (1, 16, 3)}, 32, "heads divide the channels"), ({"decoder": (1, 16, 0)}, 32, "at least 1 each"),
    ({"ratio": 0.9}, 16, "leaves none of 4 patches visible"),
    ({}, 20, "20x20 pixels is not made of patches of 8x8"), ({"variant": "XS/8"}, 32, "no variant 'XS/8'"),
])  # fmt: skip
def test_mistakes_are_named(settings, size, says):
    model = mae.Model(**{"variant": "mu/8", "decoder": (1, 16, 2), **settings})
    with pytest.raises(ValueError, match=says):
        model.init(jax.random.key(0), {"image": IMAGES[:, :size, :size], "seeds": SEEDS}, train=False)
