"""Hugging Face's masked autoencoder with the same weights, the same patches hidden: the same pixels, the same loss."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from filled import fill, image, noise

from cvjax.models import mae
from cvjax.state import flat
from cvjax.tasks import masked_modelling

GOLDEN = np.load(Path(__file__).with_name("mae.npz"))
LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias"}
OUTER = {
    "embed/patch": "vit.embeddings.patch_embeddings.projection",
    "norm": "vit.layernorm",
    "decoder_embed": "decoder.decoder_embed",
    "decoder_norm": "decoder.decoder_norm",
    "decoder_head": "decoder.decoder_pred",
}
INNER = {
    **{f"attention/{ours}": f"attention.{theirs}_proj" for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o"))},
    "norm1": "layernorm_before", "norm2": "layernorm_after", "mlp/hidden": "mlp.fc1", "mlp/out": "mlp.fc2",
}  # fmt: skip
STACK = {"encoder": "vit.layers", "decoder": "decoder.decoder_layers"}


def of(path, shape):
    if path in ("embed/token", "mask_token"):
        name, whole = {"embed/token": ("vit.embeddings.cls_token", (1, 1, 32)), "mask_token": ("decoder.mask_token", (1, 1, 16))}[path]
        return fill(name, whole).reshape(shape)
    outer, _, leaf = path.rpartition("/")
    block = re.fullmatch(r"(\w+)/block(\d)/(.*)", outer)
    name = f"{STACK[block[1]]}.{int(block[2]) - 1}.{INNER[block[3]]}" if block else OUTER[outer]
    if len(shape) == 4:
        return fill(f"{name}.weight", (shape[3], shape[2], *shape[:2])).transpose(2, 3, 1, 0)
    return fill(f"{name}.{LEAF[leaf]}", shape[::-1]).T


def test_same_pixels_and_the_same_loss(monkeypatch):
    order = jnp.argsort(jnp.asarray(noise()), 1)
    monkeypatch.setattr(mae, "shuffled", lambda seeds, n, ratio: (order, int(n * (1 - ratio))))
    monkeypatch.setitem(mae.SIZES, "two", mae.Size(2, 32, 128, 2))
    model = mae.Model("two/8", decoder=(1, 16, 2))
    inputs = {"image": jnp.asarray(image(32)), "seeds": jnp.zeros(2, jnp.uint32)}
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), inputs, train=False))["params"]
    leaves = [jnp.asarray(of(path, leaf.shape)) for path, leaf in flat(shapes).items()]
    params = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    found = jax.jit(lambda p: model.apply({"params": p}, inputs, train=False))(params)
    loss = masked_modelling.loss(found, {"valid": jnp.ones(2, bool)})["loss"]
    again = "intended? python tests/parity/make_mae.py"
    np.testing.assert_array_equal(found["masked"], GOLDEN["masked"] == 1, again)
    np.testing.assert_allclose(found["prediction"], GOLDEN["prediction"], rtol=1e-4, atol=1e-4, err_msg=again)
    np.testing.assert_allclose(loss.sum / loss.count, GOLDEN["loss"], rtol=1e-4, err_msg=again)
