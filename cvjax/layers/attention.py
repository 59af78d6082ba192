"""Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2), of a sequence to itself or to another.

X_Q (N_Q x D_Q) asks and X (N_X x D_X) answers: Q = X_Q W_Q, K = X W_K, V = X W_V, each split into heads, the heads' results beside each
other through W_O. Self-attention is X_Q = X.

b batch · q x queries, what they look at (N_Q, N_X) · c d their channels (D_Q, D_X) · h heads
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from cvjax.ops import attention


class Attention(nn.Module):
    """Parameters `query`, `key`, `value`, `out`, each a Dense.

    heads: the width, D_Q, is split among them.
    causal: no place looks at later ones.
    decode: the places come in order, a few at a time; keys and values of those before are kept in the collection "cache", whose size
        the sequence at initialisation says.
    dropout: share of attention weights that is left out in training (random stream "dropout").
    implementation: see `cvjax.ops.attention.attend`.
    The weights (b h q x) are sown as "weights" where the collection "attention" is mutable.
    """

    heads: int
    causal: bool = False
    decode: bool = False
    dropout: float = 0.0
    implementation: str = "auto"
    dtype: DTypeLike = "float32"

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "b q c"],
        context: Float[Array, "b x d"] | None = None,
        mask: Bool[Array, "#b #h #q #x"] | None = None,
        *,
        values: Float[Array, "b x e"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b q c"]:
        """context: what is looked at; the queries themselves when not given. mask: True where a query may look.

        values: what is taken from there, the context itself when not given; DETR's keys say where they are, and its values do not.
        """
        width = queries.shape[-1]
        if self.heads < 1 or width % self.heads:
            raise ValueError(f"attention: {self.heads} heads do not divide a width of {width}")
        context = queries if context is None else context

        def projected(name: str, x: Array) -> Array:
            y = nn.Dense(width, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), name=name)(x.reshape(-1, x.shape[-1]))
            return y.reshape(*x.shape[:2], self.heads, width // self.heads)

        query, key, value = (
            projected("query", queries),
            projected("key", context),
            projected("value", context if values is None else values),
        )
        causal = self.causal
        if self.decode:
            if mask is not None:
                raise ValueError("attention: a decoded sequence takes no mask; its places come in order and all may be looked at")
            key, value, mask, causal = self._remembered(key, value)
        if self.is_mutable_collection("attention") and not self.is_initializing():
            self.sow("attention", "weights", attention.weights(query, key, mask, causal=causal))
        rng = self.make_rng("dropout") if train and self.dropout else None
        y = attention.attend(query, key, value, mask, causal=causal, dropout=self.dropout, rng=rng, implementation=self.implementation)
        return nn.Dense(width, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), name="out")(y.reshape(-1, width)).reshape(
            queries.shape
        )

    def _remembered(self, key: Array, value: Array) -> tuple[Array, Array, Array | None, bool]:
        """All keys and values so far, which of them may be looked at, and whether a causal mask is still to be laid on them."""
        begun = self.has_variable("cache", "at")
        keys = self.variable("cache", "keys", jnp.zeros, key.shape, key.dtype)
        values = self.variable("cache", "values", jnp.zeros, value.shape, value.dtype)
        at = self.variable("cache", "at", jnp.zeros, (), jnp.int32)
        if not begun:
            return key, value, None, self.causal
        n, longest = key.shape[1], keys.value.shape[1]
        if n > longest:
            raise ValueError(f"attention: {n} places do not fit a cache of {longest}")
        keys.value = jax.lax.dynamic_update_slice_in_dim(keys.value, key, at.value, axis=1)
        values.value = jax.lax.dynamic_update_slice_in_dim(values.value, value, at.value, axis=1)
        written = jnp.arange(longest)[None] <= (at.value + jnp.arange(n))[:, None]
        at.value = at.value + n
        return keys.value, values.value, written[None, None], False
