"""Transformers of text: GPT-2 (Radford et al. 2019), which sees what came before, and BERT (Devlin et al. 2019), which sees both sides.

"Language Models are Unsupervised Multitask Learners", and arXiv:1810.04805. One Transformer, two orders: GPT-2 normalises before each
branch and at the end, and masks what comes later; BERT normalises after each sum and after the embeddings, and has a hidden layer before
its output. Both give logits by the matrix of their embeddings.

Where we depart from the papers: BERT's segment embedding and next-sentence head are left out, since a text here is one segment.

b batch · n places · c channels · k vocabulary
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Int

from cvjax.layers import position
from cvjax.layers.transformer import Block, Stack, gelu
from cvjax.models import _settings


class Size(NamedTuple):
    depth: int
    width: int
    heads: int
    causal: bool


VARIANTS = {
    "gpt2": Size(12, 768, 12, causal=True),
    "gpt2-medium": Size(24, 1024, 16, causal=True),
    "gpt-mini": Size(4, 128, 4, causal=True),  # mini, micro and tiny are ours
    "gpt-micro": Size(2, 64, 2, causal=True),
    "gpt-tiny": Size(1, 16, 2, causal=True),
    "bert-base": Size(12, 768, 12, causal=False),
    "bert-large": Size(24, 1024, 16, causal=False),
    "bert-mini": Size(4, 128, 4, causal=False),
    "bert-micro": Size(2, 64, 2, causal=False),
    "bert-tiny": Size(1, 16, 2, causal=False),
}
SMALLEST = 1
TINY = {"variant": "gpt-tiny", "places": 16}
POSITIONS = ("learned", "sincos", "none")
normal = nn.initializers.normal(0.02)  # of all matrices, as both papers' code


class Model(nn.Module):
    """variant: a key of VARIANTS.

    places: the longest text, in tokens.
    position: "learned", "sincos" (Vaswani et al. 2017, section 3.5) or "none".
    heads: of attention; 0 for the variant's.
    dropout: after the embeddings and each branch, not of attention weights.
    layers: "unrolled", "scanned", "dots" or "remat", see `cvjax.layers.transformer.Stack`.
    decode: tokens come a few at a time; see `cvjax.layers.attention.Attention`.
    dtype: of the arithmetic. Parameters and logits are float32 always.
    """

    num_classes: int
    variant: str = "gpt-mini"
    places: int = 512
    position: str = "learned"
    heads: int = 0
    dropout: float = 0.0
    layers: str = "unrolled"
    decode: bool = False
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(self, inputs: dict, *, train: bool) -> dict:
        """inputs["tokens"]: int b n. Returns "features" (b n c, `dtype`) and "logits" (b n k, float32)."""
        size, tokens = self._choices(), inputs["tokens"]
        embed = nn.Embed(self.num_classes, size.width, embedding_init=normal, dtype=self.dtype, name="embed")
        norm = partial(nn.LayerNorm, epsilon=1e-5 if size.causal else 1e-12, dtype=self.dtype)
        x = embed(tokens) + self._positions(tokens, size.width)
        x = x if size.causal else norm(name="embed_norm")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Stack(size.depth, self._block(size), self.layers, name="blocks")(x, train=train)
        if size.causal:
            x = norm(name="norm")(x)
            return {"features": x, "logits": embed.attend(x).astype(jnp.float32)}
        hidden = gelu(nn.Dense(size.width, kernel_init=normal, dtype=self.dtype, name="head")(x))
        bias = self.param("head_bias", nn.initializers.zeros, (self.num_classes,), jnp.float32)
        logits = embed.attend(norm(name="head_norm")(hidden)).astype(jnp.float32) + bias.reshape(1, 1, -1)
        return {"features": x, "logits": logits}

    def _block(self, size: Size) -> partial:
        block = partial(Block, size.heads, 4 * size.width, causal=size.causal, decode=self.decode, dropout=self.dropout, dtype=self.dtype)
        if size.causal:
            return partial(block, norm="pre", activation="gelu_tanh", eps=1e-5)
        return partial(block, norm="post", activation="gelu", eps=1e-12)

    def _positions(self, tokens: Int[Array, "b n"], width: int) -> Array:
        """1 n c: the vectors of the places of these tokens, which in decoding come after those before."""
        n = tokens.shape[1]
        if n > self.places:
            raise ValueError(f"transformer: {n} tokens, but model.places is {self.places}; shorten the text or give it more places")
        if self.position == "learned":
            table: Array = self.param("position", normal, (self.places, width), jnp.float32)
        else:
            table = jnp.asarray(position.sincos_1d(self.places, width)) if self.position == "sincos" else jnp.zeros((self.places, width))
        begun = self.has_variable("cache", "place")
        at = self.variable("cache", "place", jnp.zeros, (), jnp.int32) if self.decode else None
        start = at.value if at and begun else 0
        if at and begun:
            at.value = at.value + n
        return jax.lax.dynamic_slice_in_dim(table, start, n)[None].astype(self.dtype)

    def _choices(self) -> Size:
        if self.variant not in VARIANTS:
            raise ValueError(f"transformer: no variant {self.variant!r}; have {', '.join(VARIANTS)}")
        if self.position not in POSITIONS:
            raise ValueError(f"transformer: no position {self.position!r}; have {', '.join(map(repr, POSITIONS))}")
        if self.decode and not VARIANTS[self.variant].causal:
            raise ValueError(f"transformer: {self.variant} sees both sides, so it cannot write from left to right; decode a gpt")
        _settings.dropout(self)
        size = VARIANTS[self.variant]
        return size._replace(heads=self.heads or size.heads)


def example(n: int, key: Array) -> dict:
    """Inputs to try the network with: n texts."""
    return {"tokens": jax.random.randint(key, (n, 8), 0, 7)}
