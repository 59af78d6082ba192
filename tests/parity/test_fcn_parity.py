"""torchvision's fcn_resnet50 and fcn_resnet101 with the same weights: the same scores of every pixel."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn import drawn
from filled import image

from cvjax import pretrained, transfer
from cvjax.models import deconvnet, fcn, fcn_resnet, resnet, resnet_unet, vgg
from cvjax.state import flat

GOLDEN = np.load(Path(__file__).with_name("fcn.npz"))
AGAIN = "intended? python tests/parity/make_fcn.py"


@pytest.mark.parametrize("name", fcn_resnet.REFERENCES)
def test_same_scores_as_torchvision(name):
    arrays = drawn(fcn_resnet.Model(**fcn_resnet.REFERENCES[name]), 32, fcn_resnet.reference_name)
    model, variables = pretrained.load(name, arrays)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == GOLDEN[f"{name}/parameters"]
    found = jax.jit(lambda v: model.apply(v, {"image": jnp.asarray(image(75))}, train=False))(variables)
    for key in ("logits", "auxiliary"):
        expected = GOLDEN[f"{name}/{key}"]
        ours = found[key][:, ::7, ::7]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=f"{key}; {AGAIN}")


def test_weights_without_auxiliary_scores_make_a_network_without(tmp_path):
    whole = drawn(fcn_resnet.Model(**fcn_resnet.REFERENCES["fcn_resnet50"]), 32, fcn_resnet.reference_name)
    arrays = {name: value for name, value in whole.items() if not name.startswith("aux_classifier")}
    model, variables = pretrained.load("fcn_resnet50", arrays)
    assert not model.auxiliary and not any("auxiliary" in name for name in variables["params"])
    pretrained.save("fcn_resnet50", variables, tmp_path / "back.npz")
    back = np.load(tmp_path / "back.npz")
    assert set(back.files) == set(arrays) and all(np.array_equal(back[name], arrays[name]) for name in arrays)


def test_begun_from_torchvisions_vgg(tmp_path):
    """Its fully-connected layers are our convolutions: of a picture of 224 pixels the middle of fc7's map is what VGG's fc7 says."""
    image = {"image": jax.random.normal(jax.random.key(1), (1, 224, 224, 3))}
    source, model = vgg.Model(5, variant=11, width=4), fcn.Model(3, variant=11, width=4)
    np.savez(tmp_path / "vgg.npz", **drawn(source, 224, vgg.reference_name))
    params = {}
    for net in (source, model):
        blank = jax.jit(lambda x, net=net: net.init(jax.random.key(0), x, train=False)["params"])(image)
        params[net], _, fresh = transfer.initialise(blank, {}, f"torchvision:{tmp_path / 'vgg.npz'}", net)
    assert {path.split("/")[1] for path in fresh} == {"head", "score4", "score3", "double4", "double3"}
    ours, theirs = (
        jax.jit(lambda p, net=net: net.apply({"params": p}, image, train=False)["features"])(params[net]) for net in (model, source)
    )
    np.testing.assert_allclose(ours[0, 3, 3], theirs[0], rtol=1e-4, atol=1e-5)


def test_a_deconvnet_begins_as_a_vgg(tmp_path):
    source, model = vgg.Model(5, variant=16, batch_norm=True), deconvnet.Model(3)
    shapes = {name: jax.eval_shape(lambda x, net=net: net.init(jax.random.key(0), x, train=False), {"image": jnp.zeros((1, 224, 224, 3))})
              for name, net in (("vgg", source), ("deconvnet", model))}  # fmt: skip
    theirs = {vgg.reference_name(path.partition("/")[2], source) for path in flat(shapes["vgg"])}
    ours = {deconvnet.reference_name(path.partition("/")[2], model): path for path in flat(shapes["deconvnet"])}
    assert theirs - set(ours) == {"classifier.6.weight", "classifier.6.bias"}
    assert all(re.search("/(conv|norm)[1-5]_|/fc[67]/", path) for name, path in ours.items() if name in theirs)


@pytest.mark.parametrize("net", [fcn_resnet.Model(3, 18, width=4), resnet_unet.Model(3, 8, width=4)])
def test_begun_from_torchvisions_resnet(tmp_path, net):
    """All that a ResNet has is taken, weights and statistics, and nothing else."""
    source, image = resnet.Model(5, net.variant, width=4 * (net.variant == 18)), {"image": jnp.zeros((1, 32, 32, 3))}
    np.savez(tmp_path / "resnet.npz", **drawn(source, 32, resnet.reference_name))
    whole = {}
    for model in (net, source):
        shapes = jax.eval_shape(lambda model=model: model.init(jax.random.key(0), image, train=False))
        blank = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
        params, stats, fresh = transfer.initialise(blank["params"], blank["batch_stats"], f"torchvision:{tmp_path / 'resnet.npz'}", model)
        whole[model] = flat({"params": params, "stats": stats}), fresh
    (ours, fresh), (theirs, none) = whole[net], whole[source]
    shared = {path for path in theirs if "/head/" not in path}
    assert not none and set(fresh) == set(ours) - shared
    assert all(np.array_equal(ours[path], theirs[path]) for path in shared)
