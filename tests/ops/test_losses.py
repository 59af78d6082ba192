"""Losses against scipy and closed forms, at any size of logit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit, log_softmax

from cvjax.ops import losses

LOGITS = np.random.default_rng(0).normal(0, 3, (6, 4)).astype(np.float32)
LABEL = np.array([0, 3, 1, 2, 2, 0], np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_softmax_cross_entropy(smoothing):
    target = (1 - smoothing) * np.eye(4)[LABEL] + smoothing / 4
    want = -(target * log_softmax(LOGITS.astype(np.float64), -1)).sum(-1)
    got = losses.softmax_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABEL), smoothing)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_sigmoid_cross_entropy():
    target = np.random.default_rng(1).random((6, 4)).astype(np.float32)
    want = -target * log_expit(LOGITS.astype(np.float64)) - (1 - target) * log_expit(-LOGITS.astype(np.float64))
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(target)), want, rtol=1e-5)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits_stay_finite(size):
    logits, label = jnp.array([[size, -size], [-size, size]]), jnp.array([0, 0])
    right, wrong = losses.softmax_cross_entropy(logits, label)
    assert right == 0 and wrong == pytest.approx(2 * size)
    np.testing.assert_array_equal(losses.sigmoid_cross_entropy(logits, jnp.eye(2)), jnp.zeros((2, 2)))
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(logits, 1 - jnp.eye(2)), jnp.full((2, 2), size))
    for gradient in (
        jax.grad(lambda x: losses.softmax_cross_entropy(x, label, 0.1).sum())(logits),
        jax.grad(lambda x: losses.sigmoid_cross_entropy(x, 1 - jnp.eye(2)).sum())(logits),
    ):
        assert jnp.isfinite(gradient).all() and (gradient != 0).any()


def test_gradients_are_probability_minus_target():
    gradient = jax.grad(lambda x: losses.softmax_cross_entropy(x, jnp.asarray(LABEL)).sum())(jnp.asarray(LOGITS))
    np.testing.assert_allclose(gradient, jax.nn.softmax(LOGITS) - np.eye(4)[LABEL], atol=1e-6)
    gradient = jax.grad(lambda x: losses.sigmoid_cross_entropy(x, jnp.eye(4)).sum())(jnp.asarray(LOGITS[:4]))
    np.testing.assert_allclose(gradient, jax.nn.sigmoid(LOGITS[:4]) - np.eye(4), atol=1e-6)


def test_bfloat16_logits_are_summed_in_float32():
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    got = losses.softmax_cross_entropy(logits, jnp.asarray(LABEL))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, losses.softmax_cross_entropy(logits.astype(jnp.float32), jnp.asarray(LABEL)))


def test_mixed_labels():
    logits, label = jnp.asarray(LOGITS), jnp.asarray(LABEL)
    score = lambda target: losses.softmax_cross_entropy(logits, target)  # noqa: E731
    batch = {"label": label, "label2": (label + 1) % 4, "share": jnp.linspace(0, 1, 6)}
    np.testing.assert_array_equal(losses.mixed(score, {"label": label}), score(label))
    want = batch["share"] * score(label) + (1 - batch["share"]) * score(batch["label2"])
    np.testing.assert_allclose(losses.mixed(score, batch), want, rtol=1e-6)
    # equal to the loss against the mixed multi-hot target
    multi = {"label": jnp.eye(4)[label], "label2": jnp.eye(4)[batch["label2"]], "share": batch["share"]}
    target = batch["share"][:, None] * multi["label"] + (1 - batch["share"][:, None]) * multi["label2"]
    got = losses.mixed(lambda t: losses.sigmoid_cross_entropy(logits, t), multi)
    np.testing.assert_allclose(got, losses.sigmoid_cross_entropy(logits, target), rtol=1e-5, atol=1e-6)
