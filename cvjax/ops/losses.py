"""Losses of classification, per example (or place) and in float32 whatever the logits are; the caller masks, sums and divides.

b batch · k classes · h w pixels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Num


def softmax_cross_entropy(logits: Float[Array, "*b k"], label: Int[Array, "*b"], label_smoothing: float = 0.0) -> Float32[Array, "*b"]:
    """-sum_k q_k log p_k with q = (1 - s) onehot + s / k (Szegedy et al. 2015, arXiv:1512.00567, section 7)."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    picked = jnp.take_along_axis(log_p, label[..., None], axis=-1, mode="clip")[..., 0]
    if not label_smoothing:
        return -picked
    return -(1 - label_smoothing) * picked - label_smoothing * log_p.mean(-1)


def sigmoid_cross_entropy(logits: Float[Array, "b k"], target: Num[Array, "b k"]) -> Float32[Array, "b k"]:
    """-t log p - (1 - t) log(1 - p), p = sigmoid(logit), finite for any finite logit; t in 0-1."""
    logits, target = logits.astype(jnp.float32), target.astype(jnp.float32)
    return target * jax.nn.softplus(-logits) + (1 - target) * jax.nn.softplus(logits)


def dice(probability: Float[Array, "b h w k"], labels: Int[Array, "b h w"], counted: Bool[Array, "b h w"]) -> Float32[Array, "b"]:
    """1 - the mean over an image's classes of 2 sum p g / (sum p^2 + sum g^2), 0-1 (Milletari et al. 2016, V-Net, section 3, of one class).

    Sums are over counted pixels, g is 1 where the label is the class, else 0. A class without a pixel in an image is none of its classes:
    its ratio would be 0 whatever p is, without a gradient; what is wrongly given to it is missing elsewhere. An image without a counted
    pixel gives 0.
    """
    present = (labels[..., None] == jnp.arange(probability.shape[-1])[None, None, None]) & counted[..., None]
    p = jnp.where(counted[..., None], probability.astype(jnp.float32), 0.0)
    size = present.sum((1, 2), dtype=jnp.float32)
    both, squares = jnp.where(present, p, 0.0).sum((1, 2)), (p * p).sum((1, 2))
    missing = jnp.where(size > 0, 1 - 2 * both / jnp.where(size > 0, squares + size, 1.0), 0.0)
    return missing.sum(-1) / jnp.maximum((size > 0).sum(-1), 1)


def mixed(score: Callable[[Array], Float32[Array, "b *k"]], batch: dict[str, Array]) -> Float32[Array, "b *k"]:
    """`score(label)`; after mixup or CutMix, share * score(label) + (1 - share) * score(label2)."""
    own = score(batch["label"])
    if "share" not in batch:
        return own
    share = batch["share"].reshape(-1, *[1] * (own.ndim - 1))
    return share * own + (1 - share) * score(batch["label2"])
