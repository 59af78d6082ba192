"""Hugging Face's GPT-2 and BERT with the same weights: the same logits."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import fill, tokens

from cvjax.models.transformer import Model
from cvjax.state import flat

GOLDEN = np.load(Path(__file__).with_name("transformer.npz"))
LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias"}
GPT = {"embed/embedding": "transformer.wte.weight", "position": "transformer.wpe.weight", "norm": "transformer.ln_f"}
GPT_BLOCK = {"norm1": "ln_1", "norm2": "ln_2", "attention/out": "attn.c_proj", "mlp/hidden": "mlp.c_fc", "mlp/out": "mlp.c_proj"}
BERT = {
    "embed/embedding": "bert.embeddings.word_embeddings.weight",
    "position": "bert.embeddings.position_embeddings.weight",
    "embed_norm": "bert.embeddings.LayerNorm",
    "head": "cls.predictions.transform.dense",
    "head_norm": "cls.predictions.transform.LayerNorm",
    "head_bias": "cls.predictions.bias",
}
BERT_BLOCK = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "mlp/hidden": "intermediate.dense",
    "mlp/out": "output.dense",
    "norm2": "output.LayerNorm",
}


def of_gpt(path, shape):
    """GPT-2's matrices are inputs x outputs, and query, key and value are one."""
    if path in GPT:
        return fill(GPT[path], shape)
    if path.startswith("norm/"):
        return fill(f"transformer.ln_f.{LEAF[path.rpartition('/')[2]]}", shape)
    block, inner, leaf = re.fullmatch(r"blocks/block(\d)/(.*)/(\w+)", path).groups()
    prefix = f"transformer.h.{int(block) - 1}."
    if inner in GPT_BLOCK:
        return fill(f"{prefix}{GPT_BLOCK[inner]}.{LEAF[leaf]}", shape)
    part = ("attention/query", "attention/key", "attention/value").index(inner)
    width = shape[-1]
    return fill(f"{prefix}attn.c_attn.{LEAF[leaf]}", (*shape[:-1], 3 * width))[..., part * width : (part + 1) * width]


def of_bert(path, shape):
    if path in BERT:
        return fill(BERT[path], shape)
    *names, leaf = path.split("/")
    match = re.fullmatch(r"blocks/block(\d)/(.*)", "/".join(names))
    name = f"bert.encoder.layer.{int(match[1]) - 1}.{BERT_BLOCK[match[2]]}" if match else BERT["/".join(names)]
    return fill(f"{name}.{LEAF[leaf]}", shape[::-1]).T


@pytest.mark.parametrize(("variant", "of"), [("gpt", of_gpt), ("bert", of_bert)])
def test_same_logits(variant, of):
    model, inputs = Model(23, f"{variant}-mini", places=16), {"tokens": jnp.asarray(tokens(), jnp.int32)}
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), inputs, train=False))["params"]
    leaves = [jnp.asarray(of(path, leaf.shape)) for path, leaf in flat(shapes).items()]
    params = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    found = jax.jit(lambda p: model.apply({"params": p}, inputs, train=False)["logits"])(params)
    expected = GOLDEN[variant]
    again = "intended? python tests/parity/make_transformer.py"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=again)
