"""DETR (Carion, Massa, Synnaeve, Usunier, Kirillov & Zagoruyko 2020, "End-to-End Object Detection with Transformers", arXiv:2005.12872).

A ResNet's last map, each of its places a word, goes through a Transformer's encoder; a decoder that is given a few learned queries, all at
once, answers with a class and a box for each, one of the classes being "no object". There are no anchors and nothing is suppressed: the
loss (`cvjax/models/_detr_loss.py`) finds the cheapest one-to-one matching of answers and objects.

A query has two parts. Its embedding, which is learned, serves it as a position: it is added at every attention of the decoder, to what
asks and, in self-attention, to what is asked, and so tells the queries apart. Its content begins at 0; it is what the layers change and
what class and box are read from.

The ResNet's parameters have the names of `models/resnet.py`, so that `--init=RUN` begins with a classifier's, and `freeze="stem|stage1"`,
`slower=(("stem|stage", 0.1),)` are the paper's treatment of it.

Where we depart from the paper: query, key and value are matrices of their own, and begin with Glorot's limits of such (the authors' code
begins the three as one, with smaller ones); biases begin at 0.

b batch · h w height, width · n places of the map · l decoder layers · q queries · k classes · c channels
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from cvjax.layers import position
from cvjax.layers.conv import Conv
from cvjax.layers.norm import BatchNorm, FrozenBatchNorm
from cvjax.models import _detr_weights, _settings, _torch, resnet

# Part of this file's interface, not used here: tasks/detection.py takes both from a detector's file (NEEDS). `as` exports them.
from cvjax.models._detr_loss import decode as decode
from cvjax.models._detr_loss import loss as loss
from cvjax.models._detr_transformer import LAYER_NORM, DecoderLayer, EncoderLayer


class Net(NamedTuple):
    """What a variant is made of: its backbone, a ResNet, and its Transformer.

    Attributes:
        resnet: variant of `models/resnet.py`.
        cell: pixels on a side of the image for each place of the ResNet's last map.
        blocks: of each of the ResNet's four stages; () as in its variant.
        stem: channels of the ResNet's first stage; 0 as in its variant.
        frozen: whether the ResNet's normalisation keeps the statistics and affine parameters of another training.
        width: channels of the Transformer.
        heads: of every attention.
        mlp: hidden width of the MLPs.
        encoder, decoder: layers of each half.
        queries: how many there are, hence how many objects can be found in a picture.
        temperature: of the sines that say where a place is: the lower, the more of them differ between near places.
    """

    resnet: int
    cell: int = 32
    blocks: tuple[int, ...] = ()
    stem: int = 0
    frozen: bool = True
    width: int = 256
    heads: int = 8
    mlp: int = 2048
    encoder: int = 6
    decoder: int = 6
    queries: int = 100
    temperature: float = 10_000.0


VARIANTS = {  # section 4 and table 1; DC5's last stage dilates in place of a stride
    "resnet50": Net(50),
    "resnet50-dc5": Net(50, cell=16),
    "resnet101": Net(101),
    "resnet101-dc5": Net(101, cell=16),
    # Ours, to be trained from nothing: pictures of 96 pixels have 36 places. With 10,000 most sines of so few hardly differ, and queries
    # take several times as long to tell them apart; 20 is that of DAB-DETR (Liu et al. 2022, arXiv:2201.12329).
    "small": Net(
        18, 16, (2, 2, 2, 0), stem=32, frozen=False, width=128, heads=4, mlp=256, encoder=3, decoder=3, queries=20, temperature=20.0
    ),
    "tiny": Net(18, 8, (1, 1, 0, 0), stem=8, frozen=False, width=16, heads=2, mlp=32, encoder=1, decoder=2, queries=5),
}
POSITIONS = ("sine", "learned", "sine_in_decoder", "sine_at_input", "none")  # table 3
LONGEST = 50  # places on a side for which there are learned positions, as in the authors' code
SMALLEST = 1  # pixels on a side
TINY = {"variant": "tiny"}
# The queries' contents are 0 before the first decoder layer, so that its self-attention answers with a constant, whatever these parameters
# are; their gradients are 0 up to rounding.
IDLE = r"^decoder1/self_attention/(query|key)/|^decoder1/self_attention/value/kernel"


class Model(nn.Module):
    """variant: a key of VARIANTS.

    queries, encoder, decoder: how many queries and layers of each half; -1 as in the variant. An encoder may have 0 layers.
    position: where places of the map and queries are told apart (table 3). "sine" and "learned", one for each row and column, at every
        attention, as the queries; "sine_in_decoder" not in the encoder's; "sine_at_input" and "none" say it, or nothing, of places once, at
        the encoder's input, and of queries at the decoder's.
    dropout: share that is left out in training of attention weights, of what is added to a shortcut, and inside of MLPs.
    dtype: of the arithmetic. Parameters, logits and boxes are float32 always.
    """

    num_classes: int
    variant: str = "resnet50"
    queries: int = -1
    encoder: int = -1
    decoder: int = -1
    position: str = "sine"
    dropout: float = 0.1
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["image"]: float b h w c, normalised, 0 beyond the picture; inputs["mask"]: bool b h w, True inside of it; may be absent.

        Returns "logits" (b q k+1, the last for no object) and "boxes" (b q 4: centre, width and height, 0-1 of the picture without its
        padding), the earlier decoder layers' "auxiliary_logits" (b l q k+1) and "auxiliary_boxes" (b l q 4), all float32; the ResNet's
        maps, "memory", the encoder's (b h w c), and "decoded", what the last layer makes of the queries (b q c).
        """
        net = self._choices()
        image = jnp.asarray(inputs["image"])
        out = self._maps(net, image, train)
        x = Conv(net.width, 1, dtype=self.dtype, kernel_init=_torch.uniform, bias_init=nn.initializers.zeros, name="projection")(
            out["stage4"]
        )
        b, h, w, c = x.shape
        inside = shrunk(jnp.asarray(inputs["mask"]), h, w) if "mask" in inputs else None
        places = self._places(inside, x, net.temperature)
        memory, keys, mask = self._encoded(net, x.reshape(b, h * w, c), places, inside, train)
        layers = self._decoded(net, memory, keys, mask, train)
        logits, boxes = self._answers(layers.astype(jnp.float32))
        return out | {
            "memory": memory.reshape(x.shape),
            "decoded": layers[:, -1],
            "logits": logits[:, -1],
            "boxes": boxes[:, -1],
            "auxiliary_logits": logits[:, :-1],
            "auxiliary_boxes": boxes[:, :-1],
        }

    def _choices(self) -> Net:
        _settings.one_of(self, variant=VARIANTS, position=POSITIONS)
        _settings.dropout(self)
        given = {name: getattr(self, name) for name in ("queries", "encoder", "decoder") if getattr(self, name) != -1}
        for name, value in given.items():
            if value < (name != "encoder"):
                raise ValueError(f"detr: {name} {value}; at least {int(name != 'encoder')}, or -1 for the variant's")
        return VARIANTS[self.variant]._replace(**given)

    def _maps(self, net: Net, image: Float[Array, "b h w c"], train: bool) -> dict:
        backbone = resnet.Model(0, net.resnet, width=net.stem, dtype=self.dtype)
        nn.share_scope(self, backbone)  # so that parameters have a ResNet's names
        norm = FrozenBatchNorm if net.frozen else BatchNorm
        found: dict = backbone({"image": image}, train=train, blocks=net.blocks or None, coarsest=net.cell, norm=norm)
        return found

    def _places(self, inside: Bool[Array, "b h w"] | None, x: Float[Array, "b h w c"], temperature: float) -> Float[Array, "#b n c"] | None:
        """What tells the places apart; None for nothing."""
        _, h, w, c = x.shape
        if self.position == "none":
            return None
        if self.position != "learned":
            inside = jnp.ones((1, h, w), bool) if inside is None else inside
            return position.sine_within(inside, c, temperature).reshape(len(inside), h * w, c)
        if max(h, w) > LONGEST:
            raise ValueError(f"detr: a map of {h}x{w} places has no learned positions beyond {LONGEST}; take 'sine' or smaller images")
        begin = nn.initializers.uniform(1.0)
        rows, columns = (self.param(name, begin, (LONGEST, c // 2), jnp.float32) for name in ("rows", "columns"))
        halves = jnp.broadcast_to(columns[None, :w], (h, w, c // 2)), jnp.broadcast_to(rows[:h, None], (h, w, c // 2))
        return jnp.concatenate(halves, -1).reshape(1, h * w, c)

    def _encoded(self, net: Net, x: Array, places: Array | None, inside: Array | None, train: bool) -> tuple[Array, Array, Array | None]:
        """What the encoder makes of the places (b n c), that with positions, for the decoder's keys, and which there are (b 1 1 n)."""
        mask = None if inside is None else inside.reshape(len(inside), 1, 1, -1)
        if places is not None:
            places = places.astype(x.dtype)
        if places is not None and self.position == "sine_at_input":
            x, places = x + places, None
        told = None if self.position == "sine_in_decoder" else places
        for i in range(1, net.encoder + 1):
            x = EncoderLayer(net.heads, net.mlp, self.dropout, self.dtype, name=f"encoder{i}")(x, told, mask, train=train)
        return x, x if places is None else x + places, mask

    def _decoded(self, net: Net, memory: Array, keys: Array, mask: Array | None, train: bool) -> Float[Array, "b l q c"]:
        """The queries' contents after each layer: from 0, with the embeddings as positions; or from the embeddings, without positions."""
        table = self.param("queries", nn.initializers.normal(1.0), (net.queries, net.width), jnp.float32)
        whole = jnp.broadcast_to(table[None].astype(memory.dtype), (len(memory), *table.shape))
        y, asked = (whole, None) if self.position in ("sine_at_input", "none") else (jnp.zeros_like(whole), whole)
        layers = []
        for i in range(1, net.decoder + 1):
            layer = DecoderLayer(net.heads, net.mlp, self.dropout, self.dtype, name=f"decoder{i}")
            y = layer(y, asked, memory, keys, mask, train=train)
            layers.append(y)
        return LAYER_NORM(dtype=self.dtype, name="decoder_norm")(jnp.stack(layers, 1))

    def _answers(self, x: Float[Array, "b l q c"]) -> tuple[Float[Array, "b l q k1"], Float[Array, "b l q 4"]]:
        """Logits and boxes; the heads are the same for all layers."""
        *leading, c = x.shape
        rows = x.reshape(-1, c)
        logits = nn.Dense(self.num_classes + 1, kernel_init=_torch.uniform, name="head")(rows)
        for name, width in (("box1", c), ("box2", c), ("box3", 4)):
            rows = nn.Dense(width, kernel_init=_torch.uniform, name=name)(rows if name == "box1" else nn.relu(rows))
        return logits.reshape(*leading, -1), nn.sigmoid(rows).reshape(*leading, 4)


def shrunk(mask: Bool[Array, "b h w"], p: int, q: int) -> Bool[Array, "b p q"]:
    """The mask of a map of p x q places: of each the pixel at its upper left, as nearest-neighbour interpolation takes it."""
    h, w = mask.shape[1:]
    return mask[:, jnp.arange(p) * h // p][:, :, jnp.arange(q) * w // q]


# ---- the reference implementations: facebookresearch's and Hugging Face's

REFERENCES = {
    **{f"facebook/detr-{variant.replace('resnet', 'resnet-')}": {"variant": variant, "num_classes": 91} for variant in list(VARIANTS)[:4]},
    **{f"detr_{variant.replace('-', '_')}": {"variant": variant, "num_classes": 91} for variant in list(VARIANTS)[:4]},
}


def usual(variant: str) -> tuple[tuple[int, int, int], int]:
    """The image (h, w, c) and the number of classes that a variant is made for; of COCO's pictures a usual one."""
    return ((800, 1066, 3), 91) if VARIANTS[variant].frozen else ((96, 96, 3), 10)


def reference_name(path: str, model: Model) -> str:
    """ "decoder1/cross_attention/query/kernel" -> "model.decoder.layers.0.encoder_attn.q_proj.weight", Hugging Face's"""
    return _detr_weights.reference_name(path, model)


arranged, canonical, unified = _detr_weights.arranged, _detr_weights.canonical, _detr_weights.unified
reference_settings, written = _detr_weights.reference_settings, _detr_weights.written
