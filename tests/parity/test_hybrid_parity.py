"""timm's hybrids with the same weights: the same logits, and as many parameters."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import HYBRIDS, fill, image

from cvjax import describe, pretrained
from cvjax.models import hybrid
from cvjax.state import flat

GOLDEN = np.load(Path(__file__).with_name("hybrid.npz"))
AGAIN = "intended? python tests/parity/make_hybrid.py"


def filled(model):
    """timm's arrays for one of our models: drawn by its names, query, key and value in one."""
    shapes = flat(pretrained._shapes(model, 64))
    ours = {hybrid.reference_name(path.partition("/")[2], model): leaf.shape for path, leaf in shapes.items()}
    whole = {name: shape[::-1] if len(shape) != 4 else tuple(shape[i] for i in (3, 2, 0, 1)) for name, shape in ours.items()}
    found = {}
    for name, shape in whole.items():
        if name in ("cls_token", "pos_embed"):
            found[name] = fill(name, (1, *shape[::-1]))
        elif "attn.query" in name:
            fused = name.replace("query", "qkv")
            found[fused] = fill(fused, (3 * shape[0], *shape[1:]))
        elif "attn.key" not in name and "attn.value" not in name:
            found[name] = fill(name, shape)
    return found


@pytest.mark.parametrize("name", HYBRIDS)
def test_same_logits_as_timm(name, monkeypatch, tmp_path):
    variant = hybrid.REFERENCES[name]["variant"]
    net = hybrid.VARIANTS[variant]
    monkeypatch.setitem(hybrid.VARIANTS, variant, net._replace(vit=f"{net.vit}2"))  # two blocks, as the golden numbers
    arrays = filled(hybrid.Model(20, variant))
    model, variables = pretrained.load(name, arrays)
    found = jax.jit(lambda v: model.apply(v, {"image": jnp.asarray(image(64))}, train=False)["logits"])(variables)
    np.testing.assert_allclose(found, GOLDEN[name], rtol=1e-4, atol=1e-4 * np.abs(GOLDEN[name]).max(), err_msg=AGAIN)
    pretrained.save(name, variables, tmp_path / "w.npz")
    written = pretrained.read(tmp_path / "w.npz")
    assert written.keys() == arrays.keys() and all(np.array_equal(written[key], arrays[key]) for key in arrays)


@pytest.mark.parametrize("name", HYBRIDS)
def test_as_many_parameters(name):
    picture = {"image": jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)}
    assert describe.parameters(hybrid.Model(**hybrid.REFERENCES[name]), picture) == GOLDEN[f"{name} parameters"], AGAIN
