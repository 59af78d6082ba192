"""DETR's encoder and decoder layers (Carion et al. 2020, arXiv:2005.12872, section A.3, figure 10).

Those of Vaswani et al. 2017 with the normalisation after each sum, but what says where a place is, is added again at every attention, to
queries and keys alone: values are the contents.

b batch · n places of the map · q queries · c channels
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from cvjax.layers.attention import Attention
from cvjax.layers.transformer import Mlp

Mask = Bool[Array, "#b #h #q #n"] | None
LAYER_NORM = partial(nn.LayerNorm, epsilon=1e-5)  # torch's


class EncoderLayer(nn.Module):
    """heads, mlp: of the attention, hidden width of the MLP. dropout: of attention weights, of both branches, of the MLP's hidden layer."""

    heads: int
    mlp: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], places: Float[Array, "#b n c"] | None, mask: Mask, *, train: bool) -> Array:
        """places: added to queries and keys. mask: True where a place may be looked at."""
        at, (drop, norm, attention, mlp) = _added(x, places), _parts(self, train)
        x = norm(name="norm1")(x + drop(attention(name="attention")(at, at, mask, values=x, train=train)))
        return norm(name="norm2")(x + mlp(x))


class DecoderLayer(nn.Module):
    """The fields are those of `EncoderLayer`."""

    heads: int
    mlp: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b q c"],
        asked: Float[Array, "#b q c"] | None,
        memory: Float[Array, "b n c"],
        keys: Float[Array, "b n c"],
        mask: Mask,
        *,
        train: bool,
    ) -> Float[Array, "b q c"]:
        """asked: the query embedding, added at both attentions. memory, keys: what the encoder made of the map; that with its places."""
        drop, norm, attention, mlp = _parts(self, train)
        at = _added(x, asked)
        x = norm(name="norm1")(x + drop(attention(name="self_attention")(at, at, values=x, train=train)))
        at = _added(x, asked)
        x = norm(name="norm2")(x + drop(attention(name="cross_attention")(at, keys, mask, values=memory, train=train)))
        return norm(name="norm3")(x + mlp(x))


def _parts(layer: EncoderLayer | DecoderLayer, train: bool) -> tuple[Callable, Callable, Callable, Callable]:
    """Dropout, LayerNorm, attention and the MLP as this layer has them; `Mlp` drops of its hidden layer and of its result."""
    return (
        nn.Dropout(layer.dropout, deterministic=not train),
        partial(LAYER_NORM, dtype=layer.dtype),
        partial(Attention, layer.heads, dropout=layer.dropout, dtype=layer.dtype),
        partial(Mlp(layer.mlp, "relu", layer.dropout, layer.dtype, name="mlp"), train=train),
    )


def _added(x: Float[Array, "b n c"], places: Float[Array, "#b n c"] | None) -> Float[Array, "b n c"]:
    return x if places is None else x + places.astype(x.dtype)
