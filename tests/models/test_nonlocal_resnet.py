"""ResNets with attention: the plain net at the beginning, bit for bit; its weights taken over; who sees whom."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import transfer
from cvjax.describe import parameters
from cvjax.models import nonlocal_resnet, resnet
from cvjax.state import flat
from cvjax.train import train as run
from tiny import tiny

IMAGES = {"image": jax.random.normal(jax.random.key(0), (4, 16, 16, 3))}


@partial(jax.jit, static_argnums=(0, 3))
def apply(model, variables, inputs, train):
    return model.apply(variables, inputs, train=train, mutable=["batch_stats"])[0]


def begun(model, inputs=IMAGES):
    return jax.jit(partial(model.init, train=False))(jax.random.key(1), inputs)


@pytest.mark.parametrize("block", nonlocal_resnet.BLOCKS)
def test_is_the_plain_net_at_the_beginning(block):
    plain, model = resnet.Model(7, 8), nonlocal_resnet.Model(7, 8, stages=(2, 3), block=block)
    ours, theirs = begun(model), begun(plain)
    kept = {path: x for path, x in flat(ours).items() if block not in path}
    assert len(kept) < len(flat(ours)) and kept.keys() == flat(theirs).keys()
    for path, x in flat(theirs).items():
        np.testing.assert_array_equal(kept[path], x, path)
    for train in (False, True):
        a, b = apply(model, ours, IMAGES, train), apply(plain, theirs, IMAGES, train)
        assert a.pop("metric/gamma") == 0
        for name, x in b.items():
            np.testing.assert_array_equal(a[name], x, f"{name}, train={train}")


def test_a_plain_run_fills_all_but_the_block(tmp_path):
    run(tiny(model={"name": "resnet", "variant": 8}), tmp_path)
    model = nonlocal_resnet.Model(7, 8, stages=(1, 2))
    variables = begun(model)
    params, stats, fresh = transfer.initialise(variables["params"], variables["batch_stats"], str(tmp_path), model)
    assert fresh and all("embedded_gaussian" in path for path in fresh)
    plain, weights = resnet.Model(7, 8), {"params": flat(params), "batch_stats": flat(stats)}
    theirs = begun(plain)
    taken = {
        kind: jax.tree.unflatten(jax.tree.structure(theirs[kind]), [weights[kind][path] for path in flat(theirs[kind])]) for kind in theirs
    }
    ours = apply(model, {"params": params, "batch_stats": stats}, IMAGES, False)
    np.testing.assert_array_equal(ours["logits"], apply(plain, taken, IMAGES, False)["logits"])
    assert float(jnp.abs(ours["logits"] - apply(plain, theirs, IMAGES, False)["logits"]).max()) > 0.01


def counted(block, **kw):
    return parameters(nonlocal_resnet.Model(7, 8, stages=(2,), block=block, **kw), IMAGES) - parameters(
        resnet.Model(7, 8, width=kw["width"]), IMAGES
    )


@pytest.mark.parametrize("width", [8, 16, 64])
def test_parameters_of_the_blocks_and_of_the_control(width):
    c = 2 * width
    assert counted("embedded_gaussian", width=width) == counted("dot_product", width=width) == 2 * c * c + 2 * c
    assert counted("gaussian", width=width) == c * c + 2 * c
    assert counted("concatenation", width=width) == 2 * c * c + 3 * c
    assert counted("sagan", width=width) == 5 * c * c // 4 + 1
    assert 1 <= counted("convolution", width=width) / counted("embedded_gaussian", width=width) < 1.06


@pytest.mark.parametrize("block", ["none", *nonlocal_resnet.BLOCKS])
def test_corners_meet_in_attention_only(block):
    """Features of the experiment's net that change with one corner of a picture, and those that change with the other."""
    model = nonlocal_resnet.Model(2, 8, width=8, stages=() if block == "none" else (2,), block="sagan" if block == "none" else block)
    image = jax.random.normal(jax.random.key(0), (1, 40, 40, 1))
    variables, noise = begun(model, {"image": image}), np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(x + 0.1 * noise.standard_normal(x.shape), x.dtype), variables["params"])
    pictures = jnp.concatenate([image, image.at[:, :6, :6].add(3.0), image.at[:, -6:, -6:].add(3.0)])
    maps = apply(model, {**variables, "params": params}, {"image": pictures}, False)["stage3"]
    first, second = ((jnp.abs(maps[0] - maps[i]) > 0).any(-1) for i in (1, 2))
    assert first.any() and second.any()
    assert bool((first & second).any()) == (block not in ("none", "convolution"))


@pytest.mark.parametrize(("kw", "says"), [
    ({"stages": (4,)}, r"stages \(4,\); name some of \(1, 2, 3\), or none"), ({"stages": (2, 2)}, "name one twice"),
    ({"block": "nonlocal"}, "no block 'nonlocal'; have 'gaussian'"), ({"variant": 19}, "no variant 19"),
    ({"width": 2, "block": "sagan"}, "an eighth of 4 channels"),
])  # fmt: skip
def test_mistakes_are_named(kw, says):
    with pytest.raises(ValueError, match=says):
        nonlocal_resnet.Model(7, **{"variant": 8, **kw}).init(jax.random.key(0), IMAGES, train=False)
