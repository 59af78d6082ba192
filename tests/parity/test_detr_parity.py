"""Hugging Face's DETR with the same weights: the same answers of every decoder layer, and the same loss. Names of all libraries."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn import drawn
from filled import fill, objects, padded

from cvjax import pretrained, transfer
from cvjax.models import detr, resnet
from cvjax.state import flat

GOLDEN = np.load(Path(__file__).with_name("detr.npz"))
AGAIN = "intended? python tests/parity/make_detr.py"
TINY = detr.Model(3, "tiny")
CASES = ["small", "facebook/detr-resnet-50", "facebook/detr-resnet-50-dc5"]


def close(found, expected, what):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=f"{what}; {AGAIN}")


@pytest.mark.parametrize("case", CASES)
def test_same_answers_as_hugging_face(case):
    """By the names of today's state_dicts, a backbone of timm's and one of their own; two pictures of different sizes."""
    arrays = {name: fill(name, tuple(shape)) for name, shape in json.loads(str(GOLDEN[f"{case}/shapes"])).items()}
    model, variables = pretrained.load(case if "/" in case else "facebook/detr-resnet-50", arrays)
    assert model.position == ("learned" if case == "small" else "sine")
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == GOLDEN[f"{case}/parameters"]
    picture, mask = padded()
    out = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, {"image": jnp.asarray(picture), "mask": jnp.asarray(mask)})
    for name in ("logits", "boxes"):
        found = np.concatenate([out[f"auxiliary_{name}"], out[name][:, None]], 1)[:, :, ::6]
        close(found, GOLDEN[f"{case}/{name}"], f"{case} {name}")


def test_same_loss_as_hugging_face():
    """Of the answers that are stored, with their matcher, which is scipy's; boxes given in pixels of pictures of two sizes."""
    logits, boxes = jnp.asarray(GOLDEN["small/all_logits"]), jnp.asarray(GOLDEN["small/all_boxes"])
    size, n = np.array([[101, 130], [70, 97]], np.int32), 6
    batch = {"boxes": np.zeros((2, n, 4), np.float32), "classes": np.zeros((2, n), np.int32), "box_valid": np.zeros((2, n), bool)}
    for i, (classes, centres) in enumerate(objects()):
        corners = np.concatenate([centres[:, :2] - centres[:, 2:] / 2, centres[:, :2] + centres[:, 2:] / 2], 1)
        batch["boxes"][i, : len(classes)], batch["classes"][i, : len(classes)] = corners * size[i][[1, 0, 1, 0]], classes
        batch["box_valid"][i, : len(classes)] = True
    batch |= {"size": size, "valid": np.ones(2, bool)}
    outputs = {"logits": logits[:, -1], "boxes": boxes[:, -1], "auxiliary_logits": logits[:, :-1], "auxiliary_boxes": boxes[:, :-1]}
    terms = jax.jit(detr.loss)(outputs, jax.tree.map(jnp.asarray, batch))
    means = {name: float(x / count) for name, (x, count, _) in terms.items()}
    for ours, theirs in (("class_loss", "loss_ce"), ("box_loss", "loss_bbox"), ("giou_loss", "loss_giou")):
        close(means[ours], GOLDEN[f"small/{theirs}"], ours)
        close(means[f"auxiliary_{ours}"], sum(GOLDEN[f"small/{theirs}_{i}"] for i in range(2)), f"auxiliary {ours}")
    close(means["cardinality_error"], GOLDEN["small/cardinality_error"], "cardinality_error")
    close(sum(weight * means[name] for name, (_, _, weight) in terms.items()), GOLDEN["small/loss"], "loss")


def blank(model):
    """Zeros in the shapes of its parameters and statistics."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), {"image": jnp.zeros((1, 32, 32, 3))}, train=False))
    return (jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes[name]) for name in ("params", "batch_stats"))


def test_another_number_of_classes_begins_a_new_head_alone(tmp_path):
    arrays = drawn(TINY, 32, detr.reference_name)
    np.savez(tmp_path / "theirs.npz", **detr.written(arrays, "detr_resnet50"))
    model = TINY.clone(num_classes=5)
    params, _, fresh = transfer.initialise(*blank(model), f"huggingface:{tmp_path / 'theirs.npz'}", model)
    assert fresh == ["params/head/bias", "params/head/kernel"]
    assert np.array_equal(params["queries"], arrays["model.query_position_embeddings.weight"].T)
    key = arrays["model.decoder.layers.1.encoder_attn.k_proj.weight"]
    assert np.array_equal(params["decoder2"]["cross_attention"]["key"]["kernel"], key.T)


def test_torchvisions_resnet_fills_the_backbone_alone(tmp_path):
    source = resnet.Model(5, 18, width=8)
    np.savez(tmp_path / "resnet.npz", **drawn(source, 32, resnet.reference_name))
    params, stats, fresh = transfer.initialise(*blank(TINY), f"torchvision:{tmp_path / 'resnet.npz'}", TINY)
    found = {path for path in flat({"params": params, "stats": stats}) if path not in fresh}
    assert found == {path for path in flat({"params": params, "stats": stats}) if path.split("/")[1].startswith(("stem", "stage"))}


def test_a_frozen_backbone_takes_a_classifiers_normalisation():
    found = {"params/stem_norm/scale": 1, "params/stem_norm/bias": 2, "stats/stem_norm/mean": 3, "params/stem_conv/kernel": 4}
    shapes = dict.fromkeys(("stats/stem_norm/scale", "stats/stem_norm/bias", "stats/stem_norm/mean", "params/stem_conv/kernel"), ())
    assert {path: detr.arranged(found, shapes)[path] for path in shapes} == dict(zip(shapes, (1, 2, 3, 4), strict=True))


def test_names_of_every_library_are_read():
    name = detr.canonical
    trunk = "model.backbone.conv_encoder.model."
    assert name("layer1.0.conv2.weight") == name("backbone.0.body.layer1.0.conv2.weight") == f"{trunk}layer1.0.conv2.weight"
    for backbone in ("model.backbone.conv_encoder.model.", "model.backbone.model."):
        assert name(f"{backbone}encoder.stages.1.layers.0.layer.2.normalization.bias") == f"{trunk}layer2.0.bn3.bias"
        assert name(f"{backbone}encoder.stages.1.layers.0.shortcut.convolution.weight") == f"{trunk}layer2.0.downsample.0.weight"
        assert name(f"{backbone}embedder.embedder.normalization.running_var") == f"{trunk}bn1.running_var"
        assert name(f"{backbone}layer3.4.bn1.weight") == f"{trunk}layer3.4.bn1.weight"
    assert name("model.decoder.layers.3.mlp.fc1.bias") == "model.decoder.layers.3.fc1.bias"
    assert name("model.decoder.layers.3.encoder_attn.o_proj.bias") == "model.decoder.layers.3.encoder_attn.out_proj.bias"
    assert name("transformer.decoder.layers.11.multihead_attn.in_proj_bias") == "model.decoder.layers.11.encoder_attn.in_proj_bias"
    assert name("transformer.decoder.norm.weight") == "model.decoder.layernorm.weight"
    assert name("query_embed.weight") == "model.query_position_embeddings.weight"


@pytest.mark.parametrize("reference", ["facebook/detr-resnet-50", "detr_resnet50"])
def test_there_and_back(reference, tmp_path):
    model = detr.Model(3, "resnet50", queries=4, encoder=1, decoder=1)
    arrays = detr.written(drawn(model, 32, detr.reference_name), reference)
    assert any("in_proj" in name for name in arrays) == (reference == "detr_resnet50")
    table = "query_embed.weight" if reference == "detr_resnet50" else "model.query_position_embeddings.weight"
    assert arrays[table].shape == (4, 256)
    found, variables = pretrained.load(reference, arrays | {"backbone.0.body.bn1.num_batches_tracked": np.zeros(())})
    assert (found.num_classes, found.queries, found.encoder, found.decoder, found.variant) == (3, 4, 1, 1, "resnet50")
    pretrained.save(reference, variables, tmp_path / "back.npz")
    back = np.load(tmp_path / "back.npz")
    assert set(back.files) == set(arrays) and all(np.array_equal(back[name], arrays[name]) for name in arrays)
