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


def pixels(b=3, h=4, w=5, k=3, seed=0):
    """Probabilities, labels and which pixels count: half of them, in the last picture none."""
    draw = np.random.default_rng(seed)
    p = np.exp(draw.normal(size=(b, h, w, k))).astype(np.float32)
    counted = (draw.random((b, h, w)) < 0.5) & (np.arange(b) < b - 1)[:, None, None]
    return p / p.sum(-1, keepdims=True), draw.integers(0, k, (b, h, w)).astype(np.int32), counted


def test_dice_by_hand():
    p = jnp.array([[[[0.8, 0.2], [0.4, 0.6]]]])  # one picture of two pixels, two classes
    label, both = jnp.array([[[0, 1]]]), jnp.ones((1, 1, 2), bool)
    zero, one = 2 * 0.8 / (0.8**2 + 0.4**2 + 1), 2 * 0.6 / (0.2**2 + 0.6**2 + 1)
    np.testing.assert_allclose(losses.dice(p, label, both), [1 - (zero + one) / 2], rtol=1e-6)
    first = jnp.array([[[True, False]]])  # of the first pixel alone, and then class 1 is no class of the picture
    np.testing.assert_allclose(losses.dice(p, label, first), [1 - 2 * 0.8 / (0.8**2 + 1)], atol=1e-6)


def test_dice_is_its_formula_over_the_classes_of_each_picture():
    p, labels, counted = pixels()
    labels = np.where(np.arange(3)[:, None, None] == 0, labels % 2, labels)  # the first picture has no class 2
    want = []
    for i in range(2):
        q, g = p[i][counted[i]].astype(np.float64), np.eye(3)[labels[i][counted[i]]]
        ratios = 2 * (q * g).sum(0) / ((q**2).sum(0) + g.sum(0))
        want.append(1 - ratios[g.any(0)].mean())
    np.testing.assert_allclose(losses.dice(*map(jnp.asarray, (p, labels, counted))), [*want, 0], rtol=1e-5)


def test_dice_of_right_and_wrong():
    _, labels, counted = (jnp.asarray(x) for x in pixels())
    for shift, want in ((0, 0.0), (1, 1.0)):
        p = jax.nn.one_hot((labels + shift) % 3, 3)
        np.testing.assert_allclose(losses.dice(p, labels, counted), [want, want, 0], atol=1e-6)


def test_dice_is_finite_and_ignored_pixels_have_no_gradient():
    p, labels, counted = (jnp.asarray(x) for x in pixels())
    spoilt = jnp.where(counted[..., None], p, jnp.nan)
    both = jax.jit(jax.value_and_grad(lambda *x: losses.dice(*x).sum()))
    value, gradient = both(spoilt, labels, counted)
    assert jnp.isfinite(gradient).all() and (gradient[~counted] == 0).all() and (gradient[counted] != 0).any()
    np.testing.assert_allclose(value, both(p, labels, counted)[0], rtol=1e-6)
    value, gradient = both(jnp.zeros_like(p), 0 * labels, counted)  # exactly 0, also for absent classes, as of a softmax too sharp
    assert value == 2 and jnp.isfinite(gradient).all()
    for one in (True, False):  # a picture of one pixel, and that ignored
        value, gradient = both(p[:1, :1, :1], labels[:1, :1, :1], jnp.full((1, 1, 1), one))
        assert jnp.isfinite(gradient).all() and (value > 0) == one == bool((gradient != 0).any())
