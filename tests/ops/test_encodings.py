"""Encodings against scikit-image's Fisher vector, scikit-learn's posteriors and plain sums; dense SIFT by its symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.feature import fisher_vector
from sklearn.mixture import GaussianMixture

from cvjax.ops import descriptors, encodings

K, D = 3, 4


@pytest.fixture(scope="module")
def mixture():
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(m, s, (80, D)) for m, s in ((-2, 1), (0, 0.5), (2, 1.5))])
    return GaussianMixture(K, covariance_type="diag", random_state=0).fit(x), jnp.asarray(x[::7], jnp.float32)


def parameters(mixture):
    return tuple(jnp.asarray(a, jnp.float32) for a in (mixture.means_, mixture.covariances_, mixture.weights_))


def test_posteriors_are_scikit_learns(mixture):
    found, x = mixture
    np.testing.assert_allclose(encodings.posteriors(x[None], *parameters(found))[0], found.predict_proba(np.asarray(x)), atol=2e-5)


def test_fisher_vector_is_scikit_images(mixture):
    found, x = mixture
    q = encodings.posteriors(x[None], *parameters(found))
    ours = np.asarray(encodings.fisher_vector(x[None], q, *parameters(found))[0])
    theirs = fisher_vector(np.asarray(x), found)[K:]  # without the gradient by the priors
    half = K * D
    np.testing.assert_allclose(ours[:half], theirs[:half], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours[half:], -theirs[half:], rtol=1e-3, atol=1e-4, err_msg="scikit-image's has the other sign")


def test_power_and_l2_are_scikit_images_improved(mixture):
    found, x = mixture
    q = encodings.posteriors(x[None], *parameters(found))
    ours = np.abs(encodings.power(encodings.fisher_vector(x[None], q, *parameters(found)))[0])
    theirs = np.abs(fisher_vector(np.asarray(x), found, improved=True))[K:]
    np.testing.assert_allclose(ours / np.linalg.norm(ours), theirs / np.linalg.norm(theirs), rtol=1e-3, atol=1e-4)


def test_bag_of_words_and_vlad_are_plain_sums():
    draw = np.random.default_rng(1)
    x, centres = draw.normal(size=(20, D)).astype(np.float32), draw.normal(size=(K, D)).astype(np.float32)
    word = np.linalg.norm(x[:, None] - centres[None], axis=-1).argmin(1)
    q = encodings.nearest(jnp.asarray(x[None]), jnp.asarray(centres))
    np.testing.assert_allclose(encodings.bag_of_words(q)[0], np.bincount(word, minlength=K) / 20, atol=1e-6)
    vlad = np.stack([(x[word == k] - centres[k]).sum(0) for k in range(K)]) / 20
    np.testing.assert_allclose(encodings.vlad(jnp.asarray(x[None]), q, jnp.asarray(centres))[0].reshape(K, D), vlad, atol=1e-5)


def test_normalisations_of_nothing_are_nothing_with_finite_gradients():
    zero = jnp.zeros((1, 5))
    slope = jax.grad(lambda x: encodings.l2(encodings.power(x)).sum())(zero)
    assert not encodings.l2(encodings.power(zero)).any() and jnp.isfinite(slope).all()


def test_l2_is_length_1():
    x = jax.random.normal(jax.random.key(0), (3, 7))
    np.testing.assert_allclose(jnp.linalg.norm(encodings.l2(x), axis=-1), 1, rtol=1e-5)


def test_a_ramp_has_one_direction():
    """Brightness that grows to the right: only bin 0; downwards: bin 2, a quarter of a turn on."""
    ramp = jnp.tile(jnp.arange(16.0), (16, 1))
    for image, direction in ((ramp, 0), (ramp.T, 2)):
        x = descriptors.dense_sift(image[None, ..., None], 2, 2)[0].reshape(-1, 16, 8)
        inside = x[len(x) // 2]
        assert (inside.argmax(-1) == direction).all() and float(inside.sum() - inside[:, direction].sum()) < 1e-5


def test_brightness_and_contrast_do_not_matter():
    image = jax.random.uniform(jax.random.key(0), (2, 20, 18, 3))
    x = descriptors.dense_sift(image, 3, 2)
    np.testing.assert_allclose(descriptors.dense_sift(0.5 * image + 0.2, 3, 2), x, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 1, atol=1e-5)
    assert x.shape[1] == len(descriptors.centres(20, 3, 2)) * len(descriptors.centres(18, 3, 2))


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="needs 16 pixels, the image has 12"):
        descriptors.dense_sift(jnp.zeros((1, 12, 12, 3)), 4, 2)
