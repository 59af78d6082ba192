"""What is hidden from a network that shall guess it.

b batch · n tokens
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, Shaped, UInt32

SHARE, AS_MASK, AS_ANY = 0.15, 0.8, 0.1  # Devlin et al. 2019 (arXiv:1810.04805), appendix A.1: the rest of the chosen stay as they are


def seeds(content: Shaped[Array, "b *s"], keys: Key[Array, "b"] | None) -> UInt32[Array, "b"]:
    """A number for each example to draw from: from its key, or, for an evaluation, from the example itself.

    So in evaluation an example is hidden alike every time, wherever it stands in a batch and on whichever device.
    """
    if keys is not None:
        return jax.vmap(jax.random.bits)(keys)
    words = jax.lax.bitcast_convert_type(content, jnp.uint32).reshape(len(content), -1)
    place = jnp.arange(words.shape[1], dtype=jnp.uint32)[None]
    first, second = jnp.uint32(2654435761), jnp.uint32(2246822519)  # odd factors lose no bit
    mixed = (words + place * first) * (place * 2 + 1) * second
    return (mixed ^ (mixed >> 15)).sum(1, dtype=jnp.uint32)


def corrupt(
    tokens: Int[Array, "b n"], seeds: UInt32[Array, "b"], vocabulary: int, mask: int
) -> tuple[Int[Array, "b n"], Bool[Array, "b n"]]:
    """BERT's corruption of SHARE of the tokens, at least one, and which they are.

    Of these AS_MASK become the token `mask`, AS_ANY any of the first `vocabulary` tokens, the others stay.
    """
    n = tokens.shape[1]
    chosen = max(1, round(SHARE * n))

    def draws(seed: Array) -> tuple[Array, Array, Array]:
        order, fate, other = jax.random.split(jax.random.key(seed), 3)
        return jax.random.uniform(order, (n,)), jax.random.uniform(fate, (n,)), jax.random.randint(other, (n,), 0, vocabulary)

    order, fate, other = jax.vmap(draws)(seeds)
    masked = jnp.argsort(jnp.argsort(order, 1), 1) < chosen
    instead = jnp.where(fate < AS_MASK, mask, jnp.where(fate < AS_MASK + AS_ANY, other, tokens))
    return jnp.where(masked, instead, tokens).astype(tokens.dtype), masked
