"""ViT: the published counts, what places are for, stacks that are the same network, mistakes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import describe
from cvjax.layers import patch as patches
from cvjax.models import vit
from cvjax.models.vit import Model
from cvjax.state import flat

IMAGES = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
COUNTS = {"Ti/16": 5_717_416, "S/16": 22_050_664, "B/16": 86_567_656, "B/32": 88_224_232, "L/16": 304_326_632, "L/32": 306_535_400,
          "H/14": 632_045_800}  # fmt: skip


def begun(**settings):
    """A small ViT whose parameters are all away from 0, so that nothing is uniform by accident."""
    model = Model(7, **{"variant": "mu2/8", **settings})
    params = model.init(jax.random.key(1), {"image": IMAGES}, train=False)["params"]
    noise = np.random.default_rng(0)
    return model, jax.tree.map(lambda x: x + jnp.asarray(0.3 * noise.standard_normal(x.shape), x.dtype), params)


def logits(model, params, images=IMAGES):
    return model.apply({"params": params}, {"image": images}, train=False)["logits"]


@pytest.mark.parametrize("variant", COUNTS)
def test_parameters_of_the_published_networks(variant):
    image = {"image": jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)}
    assert describe.parameters(Model(1000, variant), image) == COUNTS[variant]


@pytest.mark.parametrize(("variant", "giga"), [("Ti/16", 1.25), ("S/16", 4.60), ("B/16", 17.6), ("B/32", 4.41)])
def test_multiply_adds_of_the_published_networks(variant, giga):
    image = {"image": jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)}
    assert describe.multiply_adds(Model(1000, variant), image) / 1e9 == pytest.approx(giga, rel=0.01)


def exchanged(images, order):
    """The 8x8 patches of the images in another order."""
    cut = images.reshape(2, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(2, 16, 8, 8, 3)[:, order]
    return cut.reshape(2, 4, 4, 8, 8, 3).swapaxes(2, 3).reshape(2, 32, 32, 3)


@pytest.mark.parametrize("pool", ["average", "token"])
@pytest.mark.parametrize("position", patches.POSITIONS)
def test_without_places_a_picture_is_a_bag_of_patches(pool, position):
    model, params = begun(pool=pool, position=position)
    mixed = exchanged(IMAGES, np.random.default_rng(1).permutation(16))
    moved = float(jnp.abs(logits(model, params, mixed) - logits(model, params)).max())
    assert moved < 1e-4 if position == "none" else moved > 1e-2


@pytest.mark.parametrize("layers", ["scanned", "dots", "remat"])
def test_a_scanned_stack_is_the_same_network_there_and_back(layers):
    model, params = begun()
    stack = model.clone(layers=layers)
    shapes = jax.eval_shape(lambda: stack.init(jax.random.key(0), {"image": IMAGES}, train=False))["params"]
    paths = {f"params/{path}": x.shape for path, x in flat(shapes).items()}
    found = vit.arranged({f"params/{path}": np.asarray(x) for path, x in flat(params).items()}, paths)
    leaves = [jnp.asarray(found[path]) for path in paths]
    np.testing.assert_allclose(logits(stack, jax.tree.unflatten(jax.tree.structure(shapes), leaves)), logits(model, params), atol=1e-5)
    back = vit.arranged(found, {f"params/{path}": x.shape for path, x in flat(params).items()})
    assert all(np.array_equal(back[f"params/{path}"], x) for path, x in flat(params).items())


def test_a_table_of_places_at_another_resolution():
    """Linear in both directions, so a plane stays a plane; the class token's place is kept."""
    y, x = np.mgrid[:4, :4].reshape(2, 16, 1)
    table = jnp.asarray(np.concatenate([[[9.0]], 2.0 * y + x]), jnp.float32)
    fitted = np.asarray(patches.refitted(table, 65))
    assert fitted[0] == 9
    inner = fitted[1:].reshape(8, 8)[1:-1, 1:-1]  # beyond the outermost centres the edge is repeated
    np.testing.assert_allclose(np.diff(inner, axis=0), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.diff(inner, axis=1), 0.5, atol=1e-5)


def test_prelogits_and_dropout_are_where_the_paper_has_them():
    model, params = begun(prelogits=True)
    out = model.apply({"params": params}, {"image": IMAGES}, train=False)
    hidden = jnp.tanh(out["features"] @ params["prelogits"]["kernel"] + params["prelogits"]["bias"][None])
    np.testing.assert_allclose(out["logits"], hidden @ params["head"]["kernel"] + params["head"]["bias"][None], rtol=1e-4, atol=1e-4)
    dropped = model.clone(dropout=0.5)
    seen = [dropped.apply({"params": params}, {"image": IMAGES}, train=True, rngs={"dropout": jax.random.key(i)})["logits"] for i in (0, 1)]
    assert jnp.abs(seen[0] - seen[1]).max() > 1e-3
    np.testing.assert_array_equal(logits(dropped, params), out["logits"])


@pytest.mark.parametrize(("settings", "size", "says"), [
    ({}, 20, "20x20 pixels is not made of patches of 8x8"), ({"variant": "XL/8"}, 32, "no variant 'XL/8'; have mu"),
    ({"variant": "mu/0"}, 32, "no variant 'mu/0'"), ({"variant": "muh3/8"}, 32, "3 heads do not divide a width of 32"),
    ({"pool": "max"}, 32, "no pool 'max'; have 'token', 'average'"), ({"position": "rotary"}, 32, "no position 'rotary'"),
    ({"variant": "mu0/8"}, 32, "no variant 'mu0/8'"), ({"dropout": 1.5}, 32, "dropout 1.5; a share"),
    ({"activation": "swish"}, 32, "no activation 'swish'"), ({"layers": "looped"}, 32, "looped"),
])  # fmt: skip
def test_mistakes_are_named(settings, size, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Model(7, **{"variant": "mu/8", **settings}).init(jax.random.key(0), {"image": IMAGES[:, :size, :size]}, train=False)


def test_layers_are_numbered_for_layer_wise_learning_rates():
    assert [vit.layer(path) for path in ("embed/patch/kernel", "encoder/block1/norm1/scale", "encoder/block12/mlp/out/bias")] == [0, 1, 12]
    assert vit.layer("head/kernel") == vit.layer("norm/scale") > 12
