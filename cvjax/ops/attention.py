"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1): softmax(Q K^T / sqrt(d) + M) V.

One function, three ways to compute it that agree: `plain` writes the weights down, `chunked` goes through the queries in blocks and
computes each block again in the backward pass, so that memory grows with N instead of N^2, and `cudnn` is NVIDIA's fused kernel.

b batch · q k queries, keys · h heads · d e channels of a head
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

IMPLEMENTATIONS = ("auto", "plain", "chunked", "cudnn")
BLOCK = 256  # queries that `chunked` computes at a time
LONG = 2048**2  # weights of a head, above which they are not written down


def attend(
    query: Float[Array, "b q h d"],
    key: Float[Array, "b k h d"],
    value: Float[Array, "b k h e"],
    mask: Bool[Array, "#b #h #q #k"] | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
    rng: Key[Array, ""] | None = None,
    implementation: str = "auto",
) -> Float[Array, "b q h e"]:
    """What every query makes of the values. A query that may look at nothing gets zeros and gives no gradient.

    mask: True where a query may look at a key. What is hidden weighs exactly 0, but must be finite: 0 times NaN is NaN.
    causal: the last query is at the last key, and no query looks at keys after its own place.
    dropout: share of the weights that is left out, at least 0 and below 1, drawn from `rng`; none without a key.
    implementation: one of IMPLEMENTATIONS; "auto" takes cudnn on an NVIDIA GPU in half precision where nothing is dropped or masked,
        chunked where the weights are more than LONG, else plain.

    Raises ValueError where the shapes do not fit or the implementation cannot do what is asked.
    """
    _check(query, key, value, mask, dropout, implementation)
    dropout = dropout if rng is not None else 0.0
    chosen = _chosen(query, key, value, mask, causal, dropout) if implementation == "auto" else implementation
    if chosen == "cudnn":
        if dropout or not _fused(query, value):
            raise ValueError(
                "attention: cudnn computes on an NVIDIA GPU in bfloat16 or float16, values as wide as queries, without dropout; use 'auto'"
            )
        return _cudnn(query, key, value, mask, causal)
    if chosen == "chunked":
        return _chunked(query, key, value, mask, causal, dropout, rng)
    return _plain(query, key, value, _with_causal(mask, query.shape[1], key.shape[1], causal), dropout, rng)


def weights(
    query: Float[Array, "b q h d"], key: Float[Array, "b k h d"], mask: Bool[Array, "#b #h #q #k"] | None = None, *, causal: bool = False
) -> Float[Array, "b h q k"]:
    """How much every query looks at every key: rows that sum to 1, or to 0 where a query may look at nothing; float32."""
    mask = _with_causal(mask, query.shape[1], key.shape[1], causal)
    # Heads before places, and queries scaled, not logits: on a CPU a fifth faster together.
    query, key = query.swapaxes(1, 2) / math.sqrt(query.shape[-1]), key.swapaxes(1, 2)
    logits = jnp.einsum("bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.float32)
    if mask is None:
        return jax.nn.softmax(logits)
    # Not -inf: a row of nothing else has no maximum, and its gradient is NaN.
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(jnp.float32).min)), 0.0)


def _plain(query: Array, key: Array, value: Array, mask: Array | None, dropout: float, rng: Array | None) -> Array:
    looks = weights(query, key, mask)
    if rng is not None and dropout:
        kept = jax.random.bernoulli(rng, 1 - dropout, looks.shape)
        looks = jnp.where(kept, looks / (1 - dropout), 0.0)
    return jnp.einsum("bhqk,bhke->bhqe", looks.astype(value.dtype), value.swapaxes(1, 2)).swapaxes(1, 2)


def _chunked(query: Array, key: Array, value: Array, mask: Array | None, causal: bool, dropout: float, rng: Array | None) -> Array:
    """`_plain` of BLOCK queries after another; the weights of a block are forgotten, and made again for its gradient."""
    (b, q, h, d), k = query.shape, key.shape[1]
    if not q:
        return jnp.zeros((b, 0, h, value.shape[-1]), value.dtype)
    blocks = -(-q // BLOCK)
    short = blocks * BLOCK - q
    query = jnp.pad(query, ((0, 0), (0, short), (0, 0), (0, 0))).reshape(b, blocks, BLOCK, h, d).swapaxes(0, 1)
    rows: tuple[Array, ...] = ()
    if mask is not None and mask.shape[2] > 1:
        padded = jnp.pad(mask, ((0, 0), (0, 0), (0, short), (0, 0)))
        rows = (jnp.moveaxis(padded.reshape(*mask.shape[:2], blocks, BLOCK, mask.shape[3]), 2, 0),)

    @partial(jax.checkpoint, prevent_cse=False)
    def block(key: Array, value: Array, i: Array, query: Array, mask: Array | None) -> Array:
        if causal:
            before = jnp.arange(k)[None] <= (i * BLOCK + jnp.arange(BLOCK) + k - q)[:, None]
            mask = before[None, None] if mask is None else mask & before[None, None]
        return _plain(query, key, value, mask, dropout, jax.random.fold_in(rng, i) if rng is not None else None)

    def body(_: None, x: tuple) -> tuple[None, Array]:
        i, query, *rest = x
        return None, block(key, value, i, query, rest[0] if rest else mask)

    _, out = jax.lax.scan(body, None, (jnp.arange(blocks), query, *rows))
    return out.swapaxes(0, 1).reshape(b, blocks * BLOCK, h, -1)[:, :q]


def _cudnn(query: Array, key: Array, value: Array, mask: Array | None, causal: bool) -> Array:
    """The kernel takes even lengths only where it has a mask; it looks at rows of nothing as if all were allowed, so they are cleared."""
    q, k = query.shape[1], key.shape[1]
    if causal and q != k:
        mask, causal = _with_causal(mask, q, k, True), False
    if mask is not None and (q % 2 or k % 2):
        query, key, value = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value))
        mask = jnp.broadcast_to(mask, (*mask.shape[:2], q, k))
        mask = jnp.pad(mask, ((0, 0), (0, 0), (0, q % 2), (0, k % 2)))
    out = jax.nn.dot_product_attention(query, key, value, mask=mask, is_causal=causal, implementation="cudnn")
    if mask is not None:
        if causal:
            mask = mask & _before(query.shape[1], key.shape[1])
        out = jnp.where(mask.any(-1).swapaxes(1, 2)[..., None], out, jnp.zeros((), out.dtype))
    return out[:, :q]


def _with_causal(mask: Array | None, q: int, k: int, causal: bool) -> Array | None:
    if not causal:
        return mask
    return _before(q, k) if mask is None else mask & _before(q, k)


def _before(q: int, k: int) -> Bool[Array, "1 1 q k"]:
    return (jnp.arange(k)[None] <= (jnp.arange(q) + k - q)[:, None])[None, None]


def _chosen(query: Array, key: Array, value: Array, mask: Array | None, causal: bool, dropout: float) -> str:
    square = not causal or query.shape[1] == key.shape[1]
    if _fused(query, value) and mask is None and not dropout and square and query.shape[-1] % 8 == 0 and query.shape[-1] <= 128:
        return "cudnn"
    return "chunked" if query.shape[1] * key.shape[1] > LONG else "plain"


def _fused(query: Array, value: Array) -> bool:
    """Whether NVIDIA's kernel can be had here for such arrays."""
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    return jax.default_backend() == "gpu" and half and query.shape[-1] == value.shape[-1]


def _check(query: Array, key: Array, value: Array, mask: Array | None, dropout: float, implementation: str) -> None:
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"attention: no implementation {implementation!r}; have {', '.join(map(repr, IMPLEMENTATIONS))}")
    if not 0 <= dropout < 1:
        raise ValueError(f"attention: dropout {dropout}; a share of at least 0 and below 1")
    fits = len(query) == len(key) == len(value) and query.shape[-1] == key.shape[-1] and key.shape[1:3] == value.shape[1:3]
    if not fits or query.shape[2] != key.shape[2]:
        raise ValueError(f"attention: query {query.shape}, key {key.shape} and value {value.shape} do not fit each other")
    if mask is not None and mask.dtype != jnp.bool_:
        raise ValueError(f"attention: a mask is of bool, True where a query may look, not of {mask.dtype}")
    whole = (len(query), query.shape[2], query.shape[1], key.shape[1])
    if mask is not None and (mask.ndim != 4 or any(n not in (1, m) for n, m in zip(mask.shape, whole, strict=True))):
        raise ValueError(
            f"attention: a mask of {mask.shape} does not fit; it must be (batch, heads, queries, keys) = {whole}, or 1 for all"
        )
