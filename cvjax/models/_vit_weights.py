"""What the parameters of Vision Transformers are called by timm, by Hugging Face, and in the npz files of vit_jax and big_vision.

Arrays of any of them become one kind, `unified`: timm's names and torch's axes, but query, key and value apart and tables c n. From there
`cvjax.pretrained` goes on; `written` leads back. Names that are none of a ViT's stay as they are, a hybrid's ResNet for instance.

c channels · n tokens · h heads · d channels of a head · o i p q outputs, inputs, pixels of a patch
"""

import math
import re
from collections.abc import Mapping

import numpy as np

from cvjax.models._torch import LEAF

Arrays = Mapping[str, np.ndarray]
PARTS = ("query", "key", "value")
# Unified, Hugging Face's hub, its state_dict since version 5, vit_jax. # is the number of the block.
LAYERS = (
    ("patch_embed.proj", "vit.embeddings.patch_embeddings.projection", "vit.embeddings.patch_embeddings.projection", "embedding"),
    ("norm", "vit.layernorm", "vit.layernorm", "Transformer/encoder_norm"),
    ("pre_logits.fc", "", "", "pre_logits"),
    ("head", "classifier", "classifier", "head"),
    *((f"blocks.#.{ours}", f"vit.encoder.layer.#.{hub}", f"vit.layers.#.{state}", f"Transformer/encoderblock_#/{jax}")
      for ours, hub, state, jax in (
          *((f"attn.{part}", f"attention.attention.{part}", f"attention.{part[0]}_proj", f"MultiHeadDotProductAttention_1/{part}")
            for part in PARTS),
          ("attn.proj", "attention.output.dense", "attention.o_proj", "MultiHeadDotProductAttention_1/out"),
          ("norm1", "layernorm_before", "layernorm_before", "LayerNorm_0"),
          ("norm2", "layernorm_after", "layernorm_after", "LayerNorm_2"),
          ("mlp.fc1", "intermediate.dense", "mlp.fc1", "MlpBlock_3/Dense_0"),
          ("mlp.fc2", "output.dense", "mlp.fc2", "MlpBlock_3/Dense_1"),
      )),
)  # fmt: skip
TABLES = (
    ("cls_token", "vit.embeddings.cls_token", "vit.embeddings.cls_token", "cls"),
    ("pos_embed", "vit.embeddings.position_embeddings", "vit.embeddings.position_embeddings", "Transformer/posembed_input/pos_embedding"),
)
HUB, JAX = 1, 3
TORCH_NAMES = {row[column]: row[0] for row in (*LAYERS, *TABLES) for column in (1, 2) if row[column]}
JAX_NAMES = {row[JAX]: row[0] for row in (*LAYERS, *TABLES)}
NUMBER = re.compile(r"(?<=blocks\.)\d+|(?<=encoder\.layer\.)\d+|(?<=layers\.)\d+|(?<=encoderblock_)\d+")
OURS = {"attention": "attn", "out": "proj", "hidden": "fc1", "prelogits": "pre_logits.fc"}


def reference_name(path: str) -> str:
    """ "encoder/block1/attention/query/kernel" -> "blocks.0.attn.query.weight" """
    if path in ("embed/token", "embed/position"):
        return {"embed/token": "cls_token", "embed/position": "pos_embed"}[path]
    name = path.replace("embed/patch/", "patch_embed.proj/").replace("mlp/out", "mlp/fc2")
    *modules, leaf = re.sub(r"encoder/block(\d+)/", lambda found: f"blocks/{int(found[1]) - 1}/", name).split("/")
    return ".".join([*(OURS.get(module, module) for module in modules), LEAF.get(leaf, leaf)])


# ---- in


def unified(arrays: Arrays) -> dict[str, np.ndarray]:
    """Arrays of a file of any of them, as the header says. The hub's `pooler`, which its classifier has no use for, is left out."""
    if any(name.endswith("embedding/kernel") for name in arrays):
        return _of_jax(arrays)
    found: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        module, _, leaf = name.rpartition(".")
        if module.endswith("attn.qkv") and value.ndim and len(value) % 3 == 0:
            for part, x in zip(PARTS, np.split(value, 3), strict=True):
                _put(found, f"{module[:-3]}{part}.{leaf}", x, name)
        elif module.removeprefix("vit.") != "pooler.dense":
            _put(found, _torch_name(name), value, name)
    return _with_tables(found)


def _put(found: dict[str, np.ndarray], name: str, value: np.ndarray, given: str) -> None:
    """Raises ValueError where two arrays of a file, by names of different libraries, are the same parameter."""
    if name in found:
        raise ValueError(f"two arrays are for {name}; one of them is '{given}'")
    found[name] = value


def _torch_name(name: str) -> str:
    """A name of Hugging Face's in timm's words; others as they are."""
    whole = {True: (name, ""), False: name.rpartition(".")[::2]}[name.endswith(("cls_token", "position_embeddings"))]
    number, module = NUMBER.search(whole[0]), NUMBER.sub("#", whole[0])
    found = TORCH_NAMES.get(module) or TORCH_NAMES.get(f"vit.{module}")
    return ".".join(filter(None, (found.replace("#", number[0] if number else ""), whole[1]))) if found else name


def _of_jax(arrays: Arrays) -> dict[str, np.ndarray]:
    """vit_jax's kind, or big_vision's: there the places of the patches are apart from the class token's, which is none."""
    found: dict[str, np.ndarray] = {}
    for given, value in arrays.items():
        name = re.sub(r"^(params|opt/target)/", "", given)
        name = re.sub(r"MlpBlock_\d", "MlpBlock_3", re.sub(r"MultiHeadDotProductAttention_\d", "MultiHeadDotProductAttention_1", name))
        name = re.sub(r"^pos_embedding$", TABLES[1][JAX], name.replace("LayerNorm_1", "LayerNorm_2"))
        module, _, leaf = name.rpartition("/")
        if name in JAX_NAMES:
            _put(found, JAX_NAMES[name], value, given)
            continue
        number, layer = NUMBER.search(module), JAX_NAMES.get(NUMBER.sub("#", module))
        if layer is None or leaf not in LEAF:
            _put(found, given, value, given)
            continue
        _put(found, f"{layer.replace('#', number[0] if number else '')}.{LEAF[leaf]}", _to_torch(layer, leaf, value), given)
    return _with_tables(found)


def _to_torch(layer: str, leaf: str, x: np.ndarray) -> np.ndarray:
    """p q i o -> o i p q; c h d, h d, h d c -> h d c, h d, c (h d), with h d as one axis; i o -> o i. What fits nothing stays."""
    if ".attn." in layer and x.ndim == 2 and leaf == "bias":
        return x.reshape(-1)
    if ".attn." in layer and x.ndim == 3 and x.size:
        x = x.reshape(-1, x.shape[-1]) if layer.endswith("proj") else x.reshape(len(x), -1)
    return x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T if x.ndim == 2 and leaf == "kernel" else x


def _with_tables(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tables 1 n c as c n; the class token's place, where there is a token and none for it, is 0."""
    for name in ("cls_token", "pos_embed"):
        if name in arrays and arrays[name].ndim == 3 and len(arrays[name]) == 1:
            arrays[name] = arrays[name][0].T
    table = arrays.get("pos_embed")
    if (
        table is not None
        and table.ndim == 2
        and table.size
        and "cls_token" in arrays
        and math.isqrt(table.shape[-1]) ** 2 == table.shape[-1]
    ):
        arrays["pos_embed"] = np.concatenate([np.zeros_like(table[:, :1]), table], 1)
    return arrays


# ---- out


def written(arrays: Arrays, library: str, heads: int) -> dict[str, np.ndarray]:
    """`unified` arrays as a library has them: "timm", "huggingface" or "big_vision" (vit_jax's kind, which big_vision reads too)."""
    arrays = {name: x.T[None] if name in ("cls_token", "pos_embed") else x for name, x in arrays.items()}
    if library == "timm":
        whole = {name: x for name, x in arrays.items() if not re.search(r"attn\.(query|key|value)\.", name)}
        first = [name for name in arrays if "attn.query." in name]
        fused = {name.replace("query", "qkv"): np.concatenate([arrays[name.replace("query", part)] for part in PARTS]) for name in first}
        return whole | fused
    column = {"huggingface": HUB, "big_vision": JAX}[library]
    names = {row[0]: row[column] for row in (*LAYERS, *TABLES)}
    return dict(_named(name, x, names, column, heads) for name, x in arrays.items())


def _named(name: str, x: np.ndarray, names: dict[str, str], column: int, heads: int) -> tuple[str, np.ndarray]:
    if name in names:
        return names[name], x
    module, _, leaf = name.rpartition(".")
    number, layer = NUMBER.search(module), NUMBER.sub("#", module)
    theirs = names[layer].replace("#", number[0] if number else "")
    if column == HUB:
        return f"{theirs}.{leaf}", x
    leaf = "bias" if leaf == "bias" else "scale" if "norm" in layer else "kernel"
    return f"{theirs}/{leaf}", _to_jax(layer, x, heads)


def _to_jax(layer: str, x: np.ndarray, heads: int) -> np.ndarray:
    """The reverse of `_to_torch`."""
    x = x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T
    if layer.endswith("attn.proj") and x.ndim == 2:
        return x.reshape(heads, -1, x.shape[-1])
    return x.reshape(*x.shape[:-1], heads, -1) if ".attn." in layer and not layer.endswith("proj") else x
