"""torchvision's AlexNet and VGGs with the same weights: the same numbers. The 2012 net's convolutions by torch's own layers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn import drawn
from filled import PLAIN, fill, image

from cvjax import pretrained
from cvjax.models import alexnet

GOLDEN = np.load(Path(__file__).with_name("plain.npz"))
AGAIN = "intended? python tests/parity/make_plain.py"


@pytest.mark.parametrize("name", PLAIN)
def test_same_logits_as_torchvision(name):
    file, settings = pretrained._reference(name)
    model, variables = pretrained.load(name, drawn(file.Model(**settings), PLAIN[name], file.reference_name))
    found = jax.jit(lambda v: model.apply(v, {"image": jnp.asarray(image(PLAIN[name]))}, train=False)["logits"])(variables)
    np.testing.assert_allclose(found[:, :20], GOLDEN[name], rtol=1e-4, atol=1e-4 * np.abs(GOLDEN[name]).max(), err_msg=AGAIN)


def test_the_paper_s_convolutions_as_torch_has_them():
    model = alexnet.Model(num_classes=3)
    pictures = {"image": jnp.asarray(image(224))}
    params = model.init(jax.random.key(0), pictures, train=False)["params"]
    for name in (f"conv{i}" for i in range(1, 6)):
        shape = params[name]["kernel"].shape
        kernel = fill(f"{name}.weight", tuple(shape[i] for i in (3, 2, 0, 1)))
        params[name] = {"kernel": jnp.asarray(kernel.transpose(2, 3, 1, 0)), "bias": jnp.asarray(fill(f"{name}.bias", shape[3:]))}
    found = jax.jit(lambda p: model.apply({"params": p}, pictures, train=False)["conv5"])(params)
    expected = GOLDEN["two_gpu"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[..., :20], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=AGAIN)
