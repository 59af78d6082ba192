"""What DETR's parameters are called by Hugging Face and by facebookresearch.

Arrays of either become one kind, `unified`: the names of files on Hugging Face's hub and torch's axes, query, key and value apart, and
tables with their channels first. From there `cvjax.pretrained` goes on; `written` leads back.

c channels · q queries
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from cvjax.models import _torch, resnet

Arrays = Mapping[str, np.ndarray]
BACKBONE = "model.backbone.conv_encoder.model."
PARTS = ("q_proj", "k_proj", "v_proj")
ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
# Ours, Hugging Face's, facebookresearch's; # is the number of the layer, which they count from 0.
LAYERS = (
    ("projection", "model.input_projection", "input_proj"),
    ("head", "class_labels_classifier", "class_embed"),
    *((f"box{i + 1}", f"bbox_predictor.layers.{i}", f"bbox_embed.layers.{i}") for i in range(3)),
    *((f"encoder#/{ours}", f"model.encoder.layers.#.{hub}", f"transformer.encoder.layers.#.{theirs}") for ours, hub, theirs in (
        *((f"attention/{ours}", f"self_attn.{part}", f"self_attn.{part}") for ours, part in ATTENTION.items()),
        ("norm1", "self_attn_layer_norm", "norm1"),
        ("mlp/hidden", "fc1", "linear1"), ("mlp/out", "fc2", "linear2"),
        ("norm2", "final_layer_norm", "norm2"))),
    *((f"decoder#/{ours}", f"model.decoder.layers.#.{hub}", f"transformer.decoder.layers.#.{theirs}") for ours, hub, theirs in (
        *((f"self_attention/{ours}", f"self_attn.{part}", f"self_attn.{part}") for ours, part in ATTENTION.items()),
        ("norm1", "self_attn_layer_norm", "norm1"),
        *((f"cross_attention/{ours}", f"encoder_attn.{part}", f"multihead_attn.{part}") for ours, part in ATTENTION.items()),
        ("norm2", "encoder_attn_layer_norm", "norm2"),
        ("mlp/hidden", "fc1", "linear1"), ("mlp/out", "fc2", "linear2"),
        ("norm3", "final_layer_norm", "norm3"))),
    ("decoder_norm", "model.decoder.layernorm", "transformer.decoder.norm"),
)  # fmt: skip
TABLES = (
    ("queries", "model.query_position_embeddings.weight", "query_embed.weight"),
    ("rows", "model.backbone.position_embedding.row_embeddings.weight", "backbone.1.row_embed.weight"),
    ("columns", "model.backbone.position_embedding.column_embeddings.weight", "backbone.1.col_embed.weight"),
)
OURS = {ours: hub for ours, hub, _ in (*LAYERS, *TABLES)}
THEIRS = {theirs: hub for _, hub, theirs in (*LAYERS, *TABLES)}
HUB = {hub: theirs for _, hub, theirs in (*LAYERS, *TABLES)}
NUMBER = re.compile(r"(?<=coder\.layers\.)\d+|(?<=coder)\d+(?=/)")
FUSED = re.compile(r"\.in_proj_(weight|bias)$")


def reference_name(path: str, model: nn.Module) -> str:
    """ "encoder1/attention/query/kernel" -> "model.encoder.layers.0.self_attn.q_proj.weight" """
    if path in OURS:
        return OURS[path]
    module, _, leaf = path.rpartition("/")
    number = NUMBER.search(module)
    name = OURS.get(NUMBER.sub("#", module))
    if name is None:
        return BACKBONE + resnet.reference_name(path, model)
    return f"{name.replace('#', str(int(number[0]) - 1) if number else '')}.{_torch.LEAF[leaf]}"


def canonical(name: str) -> str:
    """A name of any of them as on the hub. Of a ResNet alone (`--init=torchvision:resnet50.pth`) the names begin there.

    Hugging Face's state_dicts have other names since version 5; those of a backbone that is not timm's are rebuilt too.
    """
    if name in THEIRS:
        return THEIRS[name]
    if name.startswith(("transformer.", "backbone.0.body.", "input_proj.", "class_embed.", "bbox_embed.")):
        module, _, leaf = FUSED.sub(r".q_proj.in_\1", name).rpartition(".")
        number = NUMBER.search(module)
        found = THEIRS.get(NUMBER.sub("#", module), "").replace("#", number[0] if number else "")
        found = found.removesuffix(".q_proj") + f".in_proj_{leaf[3:]}" if leaf.startswith("in_") else f"{found}.{leaf}"
        return BACKBONE + name.removeprefix("backbone.0.body.") if name.startswith("backbone.") else found
    if name.startswith(("model.encoder.", "model.decoder.")):
        return name.replace(".mlp.fc", ".fc").replace(".o_proj.", ".out_proj.")
    if name.startswith(("model.", "class_labels_classifier.", "bbox_predictor.")):
        name = re.sub(r"^model\.position_embedding\.", "model.backbone.position_embedding.", name)
        inner = re.sub(r"^model\.backbone\.(conv_encoder\.)?model\.(_backbone\.)?", "", name)
        return name if inner == name else BACKBONE + _timm(inner)
    return BACKBONE + resnet.canonical(name)


def _timm(name: str) -> str:
    """ "encoder.stages.1.layers.0.layer.2.normalization.bias" -> "layer2.0.bn3.bias", of a ResNet of Hugging Face's own."""
    part = {"convolution": "conv", "normalization": "bn"}
    name = re.sub(r"^embedder\.embedder\.(\w+)\.", lambda found: f"{part[found[1]]}1.", name)
    name = re.sub(r"^encoder\.stages\.(\d+)\.layers\.", lambda found: f"layer{int(found[1]) + 1}.", name)
    name = re.sub(r"\.layer\.(\d+)\.(\w+)\.", lambda found: f".{part[found[2]]}{int(found[1]) + 1}.", name)
    return name.replace(".shortcut.convolution.", ".downsample.0.").replace(".shortcut.normalization.", ".downsample.1.")


def unified(arrays: Arrays) -> dict[str, np.ndarray]:
    """Arrays by the hub's names, as the header says."""
    tables = [hub for _, hub, _ in TABLES]
    found = {name: x.T if name in tables else x for name, x in arrays.items() if not FUSED.search(name)}
    for name, x in arrays.items():
        if (fused := FUSED.search(name)) and x.ndim and len(x) % 3 == 0:
            found |= {name.replace(fused[0], f".{part}.{fused[1]}"): third for part, third in zip(PARTS, np.split(x, 3), strict=True)}
        elif fused:
            found[name] = x  # and be named as what has no use
    return found


def written(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """`unified` arrays as the reference has them: Hugging Face's, of files on the hub, or facebookresearch's ("detr_...")."""
    tables = [hub for _, hub, _ in TABLES]
    arrays = {name: np.ascontiguousarray(x.T) if name in tables else x for name, x in arrays.items()}
    if not name.startswith("detr_"):
        return arrays
    found: dict[str, np.ndarray] = {}
    for hub, x in arrays.items():
        module, _, leaf = hub.rpartition(".")
        if module.endswith(PARTS[0]):
            parts = [arrays[hub.replace(PARTS[0], part)] for part in PARTS]
            found[f"{_theirs(module).removesuffix('.' + PARTS[0])}.in_proj_{leaf}"] = np.concatenate(parts)
        elif not module.endswith(PARTS):
            found[HUB[hub] if hub in HUB else f"{_theirs(module)}.{leaf}"] = x
    return found


def _theirs(module: str) -> str:
    if module.startswith(BACKBONE):
        return module.replace(BACKBONE, "backbone.0.body.")
    number = NUMBER.search(module)
    return HUB[NUMBER.sub("#", module)].replace("#", number[0] if number else "")


def reference_settings(arrays: Arrays, name: str) -> dict[str, Any]:
    """What the arrays themselves say: the numbers of classes, queries and layers, and whether places are learned."""
    classes = {key: n - 1 for key, n in _torch.classes(arrays, "class_labels_classifier.weight").items()}
    table = arrays.get("model.query_position_embeddings.weight")
    queries = {"queries": table.shape[-1]} if table is not None and table.ndim == 2 else {}
    layers = {half: _layers(arrays, half) for half in ("encoder", "decoder")}
    learned = {"position": "learned"} if TABLES[1][1] in arrays else {}
    return classes | queries | layers | learned


def _layers(arrays: Arrays, half: str) -> int:
    numbers = [int(found[1]) for name in arrays if (found := re.match(rf"model\.{half}\.layers\.(\d+)\.", name))]
    return max(numbers, default=-2 if half == "decoder" else -1) + 1


def arranged(found: dict, shapes: dict[str, tuple[int, ...]]) -> dict:
    """Arrays of another run's by path: of a frozen normalisation scale and bias are where another's ResNet has parameters."""
    fixed = {path: path.replace("stats/", "params/", 1) for path in shapes if re.match(r"stats/.*/(scale|bias)$", path)}
    return found | {path: found[other] for path, other in fixed.items() if other in found and path not in found}
