"""From the local descriptors of an image to one vector of fixed length: bag of words, VLAD, Fisher vector; and their normalisations.

An encoding takes the descriptors and how far each belongs to each of k words: wholly to the nearest centre of k-means (bag of words, VLAD)
or in parts to the Gaussians of a mixture (Fisher vector).

b batch · n descriptors of an image · d their length · k words
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def nearest(x: Float[Array, "b n d"], centres: Float[Array, "k d"]) -> Float[Array, "b n k"]:
    """1 for the nearest centre, 0 for the others."""
    apart = jnp.square(centres).sum(-1)[None, None] - 2 * x @ centres.T  # less |x|^2, which all share
    return jax.nn.one_hot(apart.argmin(-1), len(centres), dtype=x.dtype)


def posteriors(
    x: Float[Array, "b n d"], means: Float[Array, "k d"], variances: Float[Array, "k d"], priors: Float[Array, "k"]
) -> Float[Array, "b n k"]:
    """p(Gaussian | descriptor) under a mixture of Gaussians with diagonal covariances."""
    square = jnp.square(x) @ (1 / variances).T - 2 * x @ (means / variances).T
    constant = jnp.log(priors) - ((jnp.square(means) / variances).sum(-1) + jnp.log(variances).sum(-1)) / 2
    return jax.nn.softmax(constant[None, None] - square / 2, axis=-1)


def bag_of_words(q: Float[Array, "b n k"]) -> Float[Array, "b k"]:
    """The share of each word (Csurka et al. 2004)."""
    return q.mean(1)


def vlad(x: Float[Array, "b n d"], q: Float[Array, "b n k"], centres: Float[Array, "k d"]) -> Float[Array, "b k*d"]:
    """The mean of what descriptors differ from their centre, word by word (Jegou et al. 2010)."""
    first = jnp.einsum("bnk,bnd->bkd", q, x)
    return _flat(first - q.sum(1)[..., None] * centres[None]) / x.shape[1]


def fisher_vector(
    x: Float[Array, "b n d"],
    q: Float[Array, "b n k"],
    means: Float[Array, "k d"],
    variances: Float[Array, "k d"],
    priors: Float[Array, "k"],
) -> Float[Array, "b 2*k*d"]:
    """The gradient of the mean log likelihood by the means, then by the deviations, over the root of its Fisher information.

    Perronnin et al. 2010, equations 7 and 8; the gradient by the priors, which says little, is left out.
    """
    zeroth, first, second = q.sum(1)[..., None], jnp.einsum("bnk,bnd->bkd", q, x), jnp.einsum("bnk,bnd->bkd", q, jnp.square(x))
    m, v, p = means[None], variances[None], priors[None, :, None]
    by_mean = (first - m * zeroth) / jnp.sqrt(v * p)
    by_deviation = (second - 2 * m * first + (jnp.square(m) - v) * zeroth) / (v * jnp.sqrt(2 * p))
    return jnp.concatenate([_flat(by_mean), _flat(by_deviation)], -1) / x.shape[1]


def power(x: Float[Array, "b m"]) -> Float[Array, "b m"]:
    """sign(x) sqrt|x|, which brings sparse vectors nearer to a Gaussian; its slope at 0 is taken as 0."""
    away = jnp.abs(x) > 1e-12
    return jnp.where(away, jnp.sign(x) * jnp.sqrt(jnp.where(away, jnp.abs(x), 1.0)), 0.0)


def l2(x: Float[Array, "b m"]) -> Float[Array, "b m"]:
    """Each vector at length 1; an image without structure gives 0 and stays 0."""
    square = jnp.square(x).sum(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def _flat(x: Float[Array, "b k d"]) -> Float[Array, "b k*d"]:
    return x.reshape(len(x), -1)
