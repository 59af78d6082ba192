"""torch's attention and Transformer layers, and flax's attention, with the same weights: the same numbers."""

from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from filled import fill, sequence

from cvjax.layers.attention import Attention
from cvjax.layers.transformer import Block
from cvjax.ops.attention import attend

GOLDEN = np.load(Path(__file__).with_name("attention.npz"))
X, CONTEXT = (jnp.asarray(sequence(n)) for n in (7, 9))
ALLOWED = np.random.default_rng(3).random((7, 9)) < 0.6
ALLOWED[2] = True


def agree(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg="intended? python tests/parity/make_attention.py")


def attention_params(prefix=""):
    weight, bias = fill(f"{prefix}in_proj_weight", (48, 16)), fill(f"{prefix}in_proj_bias", (48,))
    out = fill(f"{prefix}out_proj.weight", (16, 16)), fill(f"{prefix}out_proj.bias", (16,))
    parts = [(weight[16 * i : 16 * i + 16], bias[16 * i : 16 * i + 16]) for i in range(3)] + [out]
    return {
        name: {"kernel": jnp.asarray(w.T), "bias": jnp.asarray(b)}
        for name, (w, b) in zip(("query", "key", "value", "out"), parts, strict=True)
    }


def test_layer_of_torch():
    layer, variables = Attention(4), {"params": attention_params()}
    found, kept = layer.apply(variables, X, mutable=["attention"])
    agree(found, GOLDEN["self"])
    agree(kept["attention"]["weights"][0], GOLDEN["weights"])
    agree(layer.apply(variables, X, CONTEXT, jnp.asarray(ALLOWED)[None, None]), GOLDEN["cross"])


@pytest.mark.parametrize("implementation", ["plain", "chunked"])
def test_core_of_torch(implementation):
    query, key = (x.reshape(2, -1, 4, 4) for x in (X, CONTEXT))
    agree(attend(query, key, key, jnp.asarray(ALLOWED)[None, None], implementation=implementation), GOLDEN["core"])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_of_torch(norm):
    def linear(name, shape):
        return {"kernel": jnp.asarray(fill(f"{name}.weight", shape).T), "bias": jnp.asarray(fill(f"{name}.bias", shape[:1]))}

    def scale(name):
        return {"scale": jnp.asarray(fill(f"{name}.weight", (16,))), "bias": jnp.asarray(fill(f"{name}.bias", (16,)))}

    params = {
        "attention": attention_params("self_attn."),
        "mlp": {"hidden": linear("linear1", (32, 16)), "out": linear("linear2", (16, 32))},
        "norm1": scale("norm1"),
        "norm2": scale("norm2"),
    }
    agree(Block(4, 32, norm, causal=True).apply({"params": params}, X), GOLDEN[norm])


@pytest.mark.parametrize("context", [X, CONTEXT])
def test_layer_of_flax(context):
    ours = attention_params()
    theirs = {name: {"kernel": p["kernel"].reshape(16, 4, 4), "bias": p["bias"].reshape(4, 4)} for name, p in ours.items() if name != "out"}
    theirs["out"] = {"kernel": ours["out"]["kernel"].reshape(4, 4, 16), "bias": ours["out"]["bias"]}
    mask = jnp.ones((2, 1, 7, context.shape[1]), bool).at[1, :, :, 4:].set(False)
    reference = nn.MultiHeadDotProductAttention(4, deterministic=True)
    agree(Attention(4).apply({"params": ours}, X, context, mask), reference.apply({"params": theirs}, X, context, mask=mask))
