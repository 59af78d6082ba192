"""Classification and multi-label: exact sums over the valid examples, ties, mixed labels, and legible pictures."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from cvjax.errors import UserError
from cvjax.tasks import classification, multilabel

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(0, 2, (16, 8)), jnp.float32)
LABEL = jnp.asarray(RNG.integers(0, 8, 16), jnp.int32)
VALID = jnp.asarray(np.arange(16) < 11)
BATCH = {"image": jnp.zeros((16, 4, 4, 3)), "label": LABEL, "valid": VALID}
MULTI = {**BATCH, "label": jnp.asarray(RNG.random((16, 8)) < 0.3, jnp.float32)}
BOTH = pytest.mark.parametrize(("task", "batch"), [(classification, BATCH), (multilabel, MULTI)])


def info(*classes):
    return types.SimpleNamespace(classes=classes)


def mean(term):
    return float(term.sum / term.count)


def test_loss_and_scores_over_the_valid_examples():
    terms = classification.loss({"logits": LOGITS}, BATCH)
    nll = -log_softmax(np.asarray(LOGITS, np.float64), -1)[np.arange(16), LABEL]
    ranks = np.argsort(-np.asarray(LOGITS), -1)
    assert mean(terms["loss"]) == pytest.approx(nll[:11].mean(), rel=1e-5)
    assert mean(terms["top1"]) == pytest.approx(np.mean([l in r[:1] for l, r in zip(LABEL[:11], ranks)]))  # noqa: B905, E741
    assert mean(terms["top5"]) == pytest.approx(np.mean([l in r[:5] for l, r in zip(LABEL[:11], ranks)]))  # noqa: B905, E741
    assert {name: (float(t.count), t.weight) for name, t in terms.items()} == {
        "loss": (11, 1), "top1": (11, 0), "top5": (11, 0)}  # fmt: skip


def test_top5_needs_more_than_five_classes():
    for classes, names in ((5, {"loss", "top1"}), (6, {"loss", "top1", "top5"})):
        batch = {**BATCH, "label": LABEL % 5}
        assert set(classification.loss({"logits": LOGITS[:, :classes]}, batch)) == names


def test_ties_and_nan_are_not_right_by_default():
    label = jnp.arange(8)
    equal = classification.in_top(jnp.zeros((8, 8)), label, 1)
    np.testing.assert_array_equal(equal, [1, 0, 0, 0, 0, 0, 0, 0])  # as argmax breaks ties
    np.testing.assert_array_equal(classification.in_top(jnp.zeros((8, 8)), label, 5), [1, 1, 1, 1, 1, 0, 0, 0])
    assert not classification.in_top(jnp.full((8, 8), jnp.nan), label, 5).any()
    logits = jnp.asarray(RNG.normal(size=(500, 8)), jnp.bfloat16)  # many ties
    many = jnp.asarray(RNG.integers(0, 8, 500))
    np.testing.assert_array_equal(classification.in_top(logits, many, 1), logits.argmax(-1) == many)


def test_label_smoothing():
    plain, smooth = (classification.loss({"logits": LOGITS}, BATCH, label_smoothing=s)["loss"] for s in (0.0, 0.1))
    uniform = -jax.nn.log_softmax(LOGITS).mean(-1)[:11].mean()
    assert mean(smooth) == pytest.approx(0.9 * mean(plain) + 0.1 * float(uniform), rel=1e-5)


def test_mixed_labels_count_by_share():
    share = jnp.full(16, 0.75)
    second = (LABEL + 1) % 8
    got = classification.loss({"logits": LOGITS}, {**BATCH, "label2": second, "share": share})
    one = classification.loss({"logits": LOGITS}, BATCH)
    two = classification.loss({"logits": LOGITS}, {**BATCH, "label": second})
    for name in ("loss", "top1", "top5"):
        assert mean(got[name]) == pytest.approx(0.75 * mean(one[name]) + 0.25 * mean(two[name]), rel=1e-5)


def test_multilabel_loss_is_the_mean_over_classes_and_examples():
    p, t = np.asarray(jax.nn.sigmoid(LOGITS), np.float64)[:11], np.asarray(MULTI["label"])[:11]
    want = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    term = multilabel.loss({"logits": LOGITS}, MULTI)["loss"]
    assert mean(term) == pytest.approx(want, rel=1e-5) and term.count == 11 and term.weight == 1


@BOTH
def test_padding_counts_nothing_whatever_it_holds(task, batch):
    bad = {**batch, "label": jnp.where(VALID.reshape(-1, *[1] * (batch["label"].ndim - 1)), batch["label"], 999)}
    logits = jnp.where(VALID[:, None], LOGITS, jnp.nan)
    for name, term in task.loss({"logits": logits}, bad).items():
        clean = task.loss({"logits": LOGITS[:11]}, {k: v[:11] for k, v in batch.items()})[name]
        np.testing.assert_allclose(term.sum, clean.sum, rtol=1e-6)
        assert term.count == clean.count
    gradient = jax.grad(lambda x: task.loss({"logits": x}, bad)["loss"].sum)(LOGITS)
    assert (gradient[11:] == 0).all() and (gradient[:11] != 0).all()


@BOTH
def test_a_batch_of_padding_alone_is_zero_of_zero(task, batch):
    for term in task.loss({"logits": LOGITS}, {**batch, "valid": jnp.zeros(16, bool)}).values():
        assert term.sum == 0 and term.count == 0


@BOTH
def test_eight_devices_equal_one_in_any_order(task, batch):
    order = jnp.asarray(RNG.permutation(16))
    terms = task.loss({"logits": LOGITS}, batch)
    shuffled = {k: v[order] for k, v in batch.items()}
    parts = jax.vmap(lambda x, b: [t[:2] for t in task.loss({"logits": x}, b).values()])(
        LOGITS[order].reshape(8, 2, 8), jax.tree.map(lambda v: v.reshape(8, 2, *v.shape[1:]), shuffled)
    )
    for (total, count), term in zip(parts, terms.values(), strict=True):
        np.testing.assert_allclose(total.sum(), term.sum, rtol=1e-5)
        assert count.sum() == term.count


def test_decode_and_fields():
    decoded = classification.decode({"logits": LOGITS})
    np.testing.assert_array_equal(decoded["top"], np.argsort(-np.asarray(LOGITS), -1)[:, :5])
    np.testing.assert_allclose(decoded["confidence"][:, 0], jax.nn.softmax(LOGITS).max(-1), rtol=1e-6)
    assert classification.decode({"logits": LOGITS[:, :3]})["top"].shape == (16, 3)
    np.testing.assert_allclose(multilabel.decode({"logits": LOGITS})["probability"], jax.nn.sigmoid(LOGITS))
    assert classification.fields(info("cat", "dog")) == {"num_classes": 2} == multilabel.fields(info("cat", "dog"))
    assert classification.host_metrics(types.SimpleNamespace(info=info("cat", "dog"))) is None


def test_multilabel_host_metrics_take_what_decode_gives():
    metric = multilabel.host_metrics(types.SimpleNamespace(info=info(*"abcdefgh")))
    metric.update(jax.tree.map(np.asarray, MULTI), jax.tree.map(np.asarray, multilabel.decode({"logits": LOGITS})))
    assert 0 < metric.result()["mAP"] < 1


@pytest.mark.parametrize("size", [(8, 8, 1), (32, 32, 3), (1, 1, 3), (333, 500, 3), (900, 100, 3)])
def test_drawing_keeps_the_picture_and_adds_text(size):
    image = RNG.integers(0, 256, size).astype(np.uint8)
    row = {"top": np.array([1, 0]), "confidence": np.array([0.9, 0.1])}
    drawn = classification.draw(image, row, info("a name that is far too long to fit in any line " * 5, "Schäferhund"))
    factor = drawn.shape[1] // size[1]
    assert drawn.dtype == np.uint8 and min(size[0], size[1]) * factor >= min(224, drawn.shape[1])
    enlarged = np.broadcast_to(image, (*size[:2], 3)).repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_array_equal(drawn[: size[0] * factor], enlarged)
    assert (drawn[size[0] * factor :] < 100).all(-1).sum() > 100  # dark pixels of letters under it


def test_drawing_a_thread_of_pixels_stays_small_and_wide_enough_to_read():
    row = {"top": np.array([0]), "confidence": np.array([1.0])}
    for size in ((5000, 1, 3), (1, 5000, 3)):
        drawn = classification.draw(np.zeros(size, np.uint8), row, info("thread"))
        assert drawn.shape[1] >= 224 and drawn.size < 5e6


def test_multilabel_draws_the_labels_it_believes_in():
    image, names = np.zeros((64, 64, 3), np.uint8), info(*"abc")
    heights = [
        multilabel.draw(image, {"probability": np.array(p, np.float32)}, names).shape[0]
        for p in ([0.1, 0.2, 0.3], [0.1, 0.9, 0.3], [0.6, 0.9, 0.7])
    ]
    assert heights[0] == heights[1] < heights[2]


@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0])
def test_impossible_label_smoothing(value):
    with pytest.raises(UserError, match="config.task.label_smoothing is"):
        classification.loss({"logits": jnp.zeros((2, 3))}, {}, label_smoothing=value)
