"""ViT (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", arXiv:2010.11929): a Transformer whose words are patches of the image.

Patches of P x P pixels, each a token by one matrix; a class token before them; a position embedding added; pre-norm blocks; LayerNorm; the
class token, or the average of the others, classified.

Where we depart from the paper: the activation is exact GELU (timm's; big_vision takes the tanh approximation of flax), and the head
starts at 0 as in the authors' code. `position="sincos_2d"` with `pool="average"` and `prelogits` is the plain ViT of
Beyer, Zhai & Kolesnikov 2022 (arXiv:2205.01580).

b batch · h w height, width · n tokens · c channels · k classes
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from cvjax.layers.patch import Embed, refitted
from cvjax.layers.transformer import ACTIVATIONS, Block, Stack
from cvjax.models import _settings, _torch, _vit_weights


class Size(NamedTuple):
    depth: int
    width: int
    mlp: int
    heads: int


SIZES = {  # Table 1, Touvron et al. 2021 (Ti, S: arXiv:2012.12877), big_vision (mu); Pi is ours, for images of 32x32
    "mu": Size(1, 32, 128, 2),
    "Pi": Size(6, 48, 192, 3),
    "Ti": Size(12, 192, 768, 3),
    "S": Size(12, 384, 1536, 6),
    "B": Size(12, 768, 3072, 12),
    "L": Size(24, 1024, 4096, 16),
    "H": Size(32, 1280, 5120, 16),
}
VARIANTS = {f"{size}/{patch}": (SIZES[size], patch)
            for size, patch in (("Ti", 16), ("S", 32), ("S", 16), ("B", 32), ("B", 16), ("L", 32), ("L", 16), ("H", 14))}  # fmt: skip
SMALLEST = 8  # pixels on a side, of TINY
TINY = {"variant": "mu/8"}


class Model(nn.Module):
    """Any network of the family.

    variant: size and patch, "B/16": a name in SIZES and the pixels on a side of a patch. "B4/16" has 4 blocks, "B4h6/16" and 6 heads.
    pool: "token", what has become of the class token, or "average" of the patches, without a class token.
    position: "learned", "learned_2d", "sincos_2d" or "none", see `cvjax.layers.patch.Embed`.
    prelogits: a hidden layer of tanh before the head, as the paper has in pre-training.
    activation: "gelu", or "gelu_tanh", its approximation.
    dropout: after the position embedding and each dense layer, not of attention weights.
    layers: "unrolled", "scanned", "dots" or "remat", see `cvjax.layers.transformer.Stack`.
    dtype: of the arithmetic. Parameters and logits are float32 always.
    """

    num_classes: int
    variant: str = "B/16"
    pool: str = "token"
    position: str = "learned"
    prelogits: bool = False
    activation: str = "gelu"
    dropout: float = 0.0
    layers: str = "unrolled"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised. Returns "tokens" (b n c, `dtype`, the class token first), "features" (b c, float32)
        and "logits" (b k, float32).
        """
        size, patch = self._choices()
        embed = Embed(size.width, patch, self.position, self.pool == "token", self.dtype, name="embed")
        x = nn.Dropout(self.dropout, deterministic=not train)(embed(jnp.asarray(inputs["image"])))
        block = partial(Block, size.heads, size.mlp, dropout=self.dropout, activation=self.activation, dtype=self.dtype)
        x = Stack(size.depth, block, self.layers, name="encoder")(x, train=train)
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        features = (x[:, 0] if self.pool == "token" else x.mean(1, dtype=jnp.float32)).astype(jnp.float32)
        hidden = nn.tanh(nn.Dense(size.width, name="prelogits")(features)) if self.prelogits else features
        logits = nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(hidden)
        return {"tokens": x, "features": features, "logits": logits}

    def _choices(self) -> tuple[Size, int]:
        """The size and the patch, or a ValueError that names the field and its legal values."""
        if self.pool not in ("token", "average"):
            raise ValueError(f"vit: no pool {self.pool!r}; have 'token', 'average'")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"vit: no activation {self.activation!r}; have {', '.join(map(repr, ACTIVATIONS))}")
        _settings.dropout(self)
        return sized(self.variant)


def sized(variant: str) -> tuple[Size, int]:
    """Size and patch of a variant; raises ValueError for one that there is not."""
    found = re.fullmatch(r"([A-Za-z]+?)(\d*)(h(\d+))?/(\d+)", variant)
    if not found or found[1] not in SIZES or 0 in (int(found[5]), int(found[2] or 1), int(found[4] or 1)):
        raise ValueError(f"vit: no variant {variant!r}; have {', '.join(SIZES)} with a patch, 'B/16', and blocks and heads, 'B4h6/16'")
    size = SIZES[found[1]]
    return size._replace(depth=int(found[2] or size.depth), heads=int(found[4] or size.heads)), int(found[5])


def layer(path: str) -> int:
    """The number of the layer that a parameter belongs to, for layer-wise learning rates: the embedding 0, block n n, head last.

    Raises ValueError for a scanned stack, whose arrays hold all blocks.
    """
    if path.startswith("encoder/blocks/"):
        raise ValueError("a scanned stack has its layers in one array; set config.model.layers='unrolled'")
    block = re.match(r"encoder/block(\d+)/", path)
    return int(block[1]) if block else 0 if path.startswith("embed/") else max(size.depth for size in SIZES.values()) + 1


def arranged(found: dict, shapes: dict[str, tuple[int, ...]]) -> dict:
    """Arrays of another run's by path, made to fit parameters of these shapes: places interpolated, blocks stacked or taken apart.

    What does not fit is left as it is.
    """
    prefix, scanned = "params/encoder/", any(path.startswith("params/encoder/blocks/") for path in shapes)
    blocks = {path: x for path, x in found.items() if re.match(prefix + r"block\d+/", path)}
    if scanned and blocks:
        depth = len({path.split("/")[2] for path in blocks})
        inner = [path.removeprefix(f"{prefix}block1/") for path in blocks if path.startswith(f"{prefix}block1/")]
        stacked = {f"{prefix}blocks/{p}": np.stack([blocks[f"{prefix}block{i + 1}/{p}"] for i in range(depth)]) for p in inner}
        found = {path: x for path, x in found.items() if path not in blocks} | stacked
    if not scanned:
        whole = {path: x for path, x in found.items() if path.startswith(prefix + "blocks/")}
        parts = {path.replace("/blocks/", f"/block{i + 1}/"): x for path, y in whole.items() for i, x in enumerate(y)}
        found = {path: x for path, x in found.items() if path not in whole} | parts
    place = "params/embed/position"
    if place in found and place in shapes and len(found[place]) != shapes[place][0]:
        fitted = refitted(jnp.asarray(found[place]), shapes[place][0])
        found = found | ({} if fitted is None else {place: np.asarray(fitted)})
    return found


# ---- the reference implementations: timm's, Hugging Face's, and big_vision's, whose GELU is the approximation

REFERENCES: dict[str, dict[str, Any]] = {
    **{f"vit_{name}_patch{patch}_224": {"variant": f"{size}/{patch}", "num_classes": 1000}
       for name, size, patch in (("tiny", "Ti", 16), ("small", "S", 16), ("base", "B", 16), ("base", "B", 32), ("large", "L", 16))},
    **{f"google/vit-{name}-patch{patch}-{size}": {"variant": f"{name[0].upper()}/{patch}", "num_classes": 1000}
       for name, patch, size in (("base", 16, 224), ("base", 32, 384), ("large", 16, 224), ("large", 32, 384))},
    **{f"big_vision_{variant}": {"variant": variant, "activation": "gelu_tanh", "num_classes": 1000} for variant in VARIANTS},
}  # fmt: skip
DEIT = "ImageNet val, trained on ImageNet alone for 300 epochs, Touvron et al. 2021 (arXiv:2012.12877)"
PUBLISHED = {f"vit_{name}_patch16_224": (top1, DEIT) for name, top1 in (("tiny", 72.2), ("small", 79.9), ("base", 81.8))}


def usual(variant: str) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for."""
    return (224, 224, 3), 1000


def reference_name(path: str, model: Model) -> str:
    """ "encoder/block1/attention/query/kernel" -> "blocks.0.attn.query.weight" """
    return _vit_weights.reference_name(path)


def reference_settings(arrays: dict, name: str) -> dict:
    """What the arrays themselves say: the number of classes, a hidden layer; of big_vision's networks, which may be without a class token
    and a table of places, whether there are these."""
    found: dict[str, Any] = _torch.classes(arrays, "head.weight")
    if name.startswith("big_vision"):
        found |= ({} if "cls_token" in arrays else {"pool": "average"}) | ({} if "pos_embed" in arrays else {"position": "sincos_2d"})
    return found | ({"prelogits": True} if "pre_logits.fc.weight" in arrays else {})


def canonical(name: str) -> str:
    return name


unified = _vit_weights.unified


def written(arrays: dict, name: str) -> dict:
    """`unified` arrays as the library has them that calls a network by this name."""
    library = "big_vision" if name.startswith("big_vision") else "huggingface" if "/" in name else "timm"
    return _vit_weights.written(arrays, library, sized(REFERENCES[name]["variant"])[0].heads)


def pictured(arrays: dict, model: Model) -> int:
    """Pixels on a side of the images that a table of places is made for."""
    places = arrays["pos_embed"].shape[-1] if "pos_embed" in arrays and arrays["pos_embed"].ndim else 0
    patch = sized(model.variant)[1]
    return patch * (math.isqrt(places) or usual(model.variant)[0][0] // patch)
