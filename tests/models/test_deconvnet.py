"""DeconvNet: the paper's sizes, and what switches are for."""

import jax
import jax.numpy as jnp
import pytest

from cvjax.models import deconvnet


def test_the_papers_network():
    """Supplement, Table 1: 252 million parameters; one value wide in the middle of a picture of 224 pixels."""
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    model = deconvnet.Model(num_classes=21)
    out, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), {"image": x}, train=False), image)
    assert out["middle"].shape == (1, 1, 1, 4096) and out["logits"].shape == (1, 224, 224, 21)
    assert round(sum(x.size for x in jax.tree.leaves(variables["params"])) / 1e6) == 252
    assert sum("conv" in name or name.startswith("fc") for name in variables["params"] if "norm" not in name) == 13 + 2 + 1 + 13


@pytest.mark.parametrize("size", [(1, 1), (9, 30)])
def test_pictures_of_any_size(size):
    model = deconvnet.Model(num_classes=3, variant="tiny")
    image = jax.random.normal(jax.random.key(0), (2, *size, 3))
    out, _ = jax.jit(lambda x: model.init_with_output(jax.random.key(0), {"image": x}, train=False))(image)
    assert out["logits"].shape == (2, *size, 3) and bool(jnp.isfinite(out["logits"]).all())


def test_switches_say_where_corners_do_not():
    """Values come back to where they were: the same parameters give other scores from the corner, and every parameter is the same."""
    image = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    models = [deconvnet.Model(num_classes=3, variant="tiny", unpool=unpool) for unpool in deconvnet.UNPOOL]
    variables = jax.jit(lambda x: models[0].init(jax.random.key(0), {"image": x}, train=False))(image)
    found = [model.apply(variables, {"image": image}, train=False)["logits"] for model in models]
    assert float(jnp.abs(found[0] - found[1]).max()) > 1e-3


def test_mistakes_are_named():
    for settings, message in (({"variant": "big"}, "no variant 'big'"), ({"unpool": "middle"}, "no unpool 'middle'; have 'switches'")):
        with pytest.raises(ValueError, match=message):
            deconvnet.Model(num_classes=3, **settings).init(jax.random.key(0), {"image": jnp.zeros((1, 8, 8, 3))}, train=False)
