"""Segmentation: weighted sums over the counted pixels, nothing from ignored ones, and legible pictures. A stand-in is the network."""

import json
import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import log_softmax

from cvjax import config as configs
from cvjax import evaluate, overlay, predict
from cvjax.build import build, initial_state
from cvjax.errors import UserError
from cvjax.ops import losses
from cvjax.tasks import segmentation
from cvjax.train import train
from tiny import tiny

RNG = np.random.default_rng(0)
B, H, W, K = 8, 6, 5, 4
LOGITS = jnp.asarray(RNG.normal(0, 2, (B, H, W, K)), jnp.float32)
LABELS = np.where(RNG.random((B, H, W)) < 0.2, 255, RNG.integers(0, K, (B, H, W))).astype(np.uint8)
VALID = np.arange(B) < 5
COUNTED = (LABELS != 255) & VALID[:, None, None]
BATCH = {"image": jnp.zeros((B, H, W, 3)), "labels": jnp.asarray(LABELS), "valid": jnp.asarray(VALID)}
BORDERS = {**BATCH, "weights": jnp.asarray(RNG.random((B, H, W)) * 10, jnp.float32)}
SETTINGS = pytest.mark.parametrize(
    ("settings", "batch"),
    [
        ({}, BATCH),
        ({"class_weights": (1.0, 0.0, 2.5, 0.5), "dice": 0.5}, BATCH),
        ({"class_weights": (2.0, 1.0, 0.5, 3.0), "dice": 2.0}, BORDERS),
    ],
)
INFO = types.SimpleNamespace(classes=("sky", "road", "car", "bicyclist"))


def of(batch, chosen):
    return {name: x[chosen] for name, x in batch.items()}


def loss_of(logits, batch, **settings):
    """The terms, compiled as the step compiles them."""
    return jax.jit(partial(segmentation.loss, **settings))({"logits": logits}, batch)


def mean(term):
    return float(term.sum / term.count)


def test_loss_is_the_mean_over_counted_pixels():
    terms = loss_of(LOGITS, BATCH)
    nats = -log_softmax(np.asarray(LOGITS, np.float64), -1)[COUNTED][np.arange(COUNTED.sum()), LABELS[COUNTED]]
    right = np.asarray(LOGITS).argmax(-1)[COUNTED] == LABELS[COUNTED]
    assert {name: (mean(t), t.weight) for name, t in terms.items()} == {
        "loss": (pytest.approx(nats.mean(), rel=1e-5), 1), "pixel_acc": (pytest.approx(right.mean()), 0)}  # fmt: skip
    assert float(terms["loss"].count) == float(terms["pixel_acc"].count) == COUNTED.sum()


def test_weights_of_classes_and_pixels_multiply():
    of_class = (1.0, 0.0, 2.5, 0.5)
    nats = -log_softmax(np.asarray(LOGITS, np.float64), -1)[COUNTED][np.arange(COUNTED.sum()), LABELS[COUNTED]]
    weight = np.asarray(of_class)[LABELS[COUNTED]] * np.asarray(BORDERS["weights"])[COUNTED]
    terms = loss_of(LOGITS, BORDERS, class_weights=of_class)
    assert mean(terms["loss"]) == pytest.approx((weight * nats).sum() / weight.sum(), rel=1e-5)
    assert float(terms["loss"].count) == pytest.approx(weight.sum(), rel=1e-5)
    assert mean(terms["pixel_acc"]) == mean(loss_of(LOGITS, BATCH)["pixel_acc"]), "of unweighted pixels"


def test_dice_is_a_second_term():
    term = loss_of(LOGITS, BATCH, dice=0.25)["dice_loss"]
    want = losses.dice(jax.nn.softmax(LOGITS), jnp.asarray(LABELS, jnp.int32), jnp.asarray(COUNTED))
    assert float(term.sum) == pytest.approx(float(want[:5].sum()), rel=1e-6) and term.count == 5 and term.weight == 0.25


@SETTINGS
def test_ignored_pixels_and_padding_count_nothing_whatever_they_hold(settings, batch):
    logits = jnp.where(COUNTED[..., None], LOGITS, jnp.nan)
    bad = {**batch, "labels": jnp.where(VALID[:, None, None], batch["labels"], 3)}
    if "weights" in bad:
        bad["weights"] = jnp.where(COUNTED, bad["weights"], jnp.inf)
    clean = loss_of(LOGITS[:5], of(batch, slice(5)), **settings)
    for name, term in loss_of(logits, bad, **settings).items():
        np.testing.assert_allclose(term[:2], clean[name][:2], rtol=1e-6, err_msg=name)

    def objective(logits):
        return sum(t.weight * t.sum for t in segmentation.loss({"logits": logits}, bad, **settings).values())

    slope = jax.jit(jax.grad(objective))
    for given in (LOGITS, logits):
        gradient = np.asarray(slope(given))
        assert np.isfinite(gradient).all() and (gradient[~COUNTED] == 0).all() and (gradient[COUNTED] != 0).any()


@SETTINGS
def test_nothing_to_count_is_zero_of_zero(settings, batch):
    @jax.jit
    def objective(logits, batch):
        terms = segmentation.loss({"logits": logits}, batch, **settings)
        return sum(t.sum for t in terms.values()), [t[:2] for t in terms.values()]

    for empty in ({**batch, "valid": jnp.zeros(B, bool)}, {**batch, "labels": jnp.full((B, H, W), 255, jnp.uint8)}):
        gradient, terms = jax.jit(jax.grad(objective, has_aux=True))(LOGITS, empty)
        assert not np.any(terms) and not np.any(gradient)


@SETTINGS
def test_eight_devices_equal_one_in_any_order(settings, batch):
    order = jnp.asarray(RNG.permutation(B))
    terms = loss_of(LOGITS, batch, **settings)
    one_each = jax.jit(jax.vmap(lambda x, b: segmentation.loss({"logits": x}, b, **settings)))
    parts = one_each(LOGITS[order][:, None], {name: x[order][:, None] for name, x in batch.items()})
    for name, term in terms.items():
        np.testing.assert_allclose([parts[name].sum.sum(), parts[name].count.sum()], term[:2], rtol=1e-5, err_msg=name)


def test_one_pixel():
    batch = {"labels": jnp.array([[[2]]], jnp.uint8), "valid": jnp.array([True])}
    terms = loss_of(LOGITS[:1, :1, :1], batch, dice=1.0)
    assert mean(terms["loss"]) == pytest.approx(-float(jax.nn.log_softmax(LOGITS[0, 0, 0])[2]), rel=1e-6)
    assert all(np.isfinite(mean(term)) for term in terms.values())


def test_nan_is_never_right():
    batch = {"labels": jnp.zeros((1, 2, 2), jnp.uint8), "valid": jnp.array([True])}
    assert loss_of(jnp.full((1, 2, 2, 3), jnp.nan), batch)["pixel_acc"].sum == 0


@pytest.mark.parametrize("shape", [(B, K), (B, H // 2, W // 2, K), (B, H, W + 1, K)])
def test_a_network_of_another_kind_or_resolution(shape):
    with pytest.raises(UserError, match=r"config.model: the network gives logits of \(8, .* for labels of \(8, 6, 5\)"):
        segmentation.loss({"logits": jnp.zeros(shape)}, BATCH)


@pytest.mark.parametrize("weights", [(1.0,), (1.0,) * 5, (1.0, -1.0, 1.0, 1.0), (0.0,) * 4])
def test_impossible_settings(weights):
    with pytest.raises(UserError, match="config.task.class_weights=.* must be 4, one for each class"):
        segmentation.loss({"logits": LOGITS}, BATCH, class_weights=weights)
    with pytest.raises(UserError, match="config.task.dice is -1"):
        segmentation.loss({"logits": LOGITS}, BATCH, dice=-1.0)


def test_host_metrics_take_what_decode_gives():
    decoded = jax.tree.map(np.asarray, segmentation.decode({"logits": LOGITS}))
    assert decoded["prediction"].dtype == np.uint8 and decoded["prediction"].shape == (B, H, W)
    metric = segmentation.host_metrics(types.SimpleNamespace(info=INFO))
    metric.update(jax.tree.map(np.asarray, BATCH), decoded)
    assert metric.result()["pixel_acc"] == pytest.approx(mean(loss_of(LOGITS, BATCH)["pixel_acc"]))
    assert segmentation.fields(INFO) == {"num_classes": 4} and set(segmentation.inputs(BATCH, None, INFO)) == {"image"}


# ---- what is said and drawn of one picture

ROW = {"labels": np.array([[0, 0, 1, 255]], np.uint8), "prediction": np.array([[0, 1, 1, 3]], np.uint8)}


def test_caption_is_the_miou_of_the_picture():
    text, good = segmentation.caption(ROW, INFO)
    assert text.splitlines() == ["mIoU\t50 %", "road 67 %, sky 33 %"] and good == 0.5
    assert segmentation.caption({**ROW, "prediction": 1 - ROW["labels"] % 2}, INFO)[1] < 0.5
    assert segmentation.caption({"prediction": ROW["prediction"]}, INFO) == ("road 50 %, sky 25 %, bicyclist 25 %", None)
    ignored = segmentation.caption({**ROW, "labels": np.full((1, 4), 255, np.uint8)}, INFO)
    assert ignored[0].endswith("no labelled pixel") and ignored[1] is None


def test_description_is_plain_json():
    assert json.loads(json.dumps(segmentation.describe({"prediction": ROW["prediction"]}, INFO))) == {
        "share": {"road": 0.5, "sky": 0.25, "bicyclist": 0.25}
    }


@pytest.mark.parametrize("size", [(8, 8, 1), (180, 240, 3), (1, 1, 3), (333, 500, 3), (900, 100, 3)])
def test_drawing_is_the_picture_in_colour_over_a_legend(size):
    image = RNG.integers(0, 256, size).astype(np.uint8)
    row = {"prediction": RNG.integers(0, 4, (6, 9)).astype(np.uint8)}
    drawn = segmentation.draw(image, row, INFO)
    factor = max(1, -(-224 // min(size[:2])))
    assert drawn.dtype == np.uint8 and drawn.shape[1] == max(224, factor * size[1]) and drawn.shape[0] > factor * size[0]
    assert (drawn[factor * size[0] :] < 100).all(-1).sum() > 100  # dark pixels of letters under it


def test_more_classes_make_a_longer_legend():
    image, few, many = np.zeros((300, 300, 3), np.uint8), np.zeros((4, 4), np.uint8), np.arange(4, dtype=np.uint8).reshape(2, 2)
    heights = [segmentation.draw(image, {"prediction": p}, INFO).shape[0] for p in (few, many)]
    assert 300 < heights[0] < heights[1]


def test_below_a_strip_shares_stay_near_their_names():
    legend = segmentation.draw(np.zeros((224, 2000, 3), np.uint8), {"prediction": np.zeros((1, 1), np.uint8)}, INFO)[225:]
    inked = np.flatnonzero((legend < 100).any((0, 2)))
    assert 100 < inked.max() < 320 and np.diff(inked).max() < 250


def test_ignored_pixels_keep_their_colour():
    picture = overlay.lettering.enlarged(RNG.integers(0, 256, (300, 300, 3)).astype(np.uint8))
    labels = np.array([[255, 0], [1, 255]], np.uint8)
    drawn, before = np.asarray(overlay.coloured(picture, labels)), np.asarray(picture)
    same = (drawn == before).all(-1)
    assert same[:150, :150].all() and same[150:, 150:].all() and same[:150, 150:].mean() < 0.01
    mixed = 0.6 * overlay.palette()[0] + 0.4 * before[0, 299].mean()
    np.testing.assert_allclose(drawn[0, 299], mixed, atol=1)


def test_colours_of_any_number_of_classes_are_distinct():
    colours = overlay.palette()
    assert colours.shape == (256, 3) and colours.min() >= 0 and colours.max() <= 255
    assert len(np.unique(colours.round(), axis=0)) == 256
    distance = np.linalg.norm(colours[:24, None] - colours[None, :24], axis=-1) + 999 * np.eye(24)
    assert distance.min() > 50


# ---- a run


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image": {"crop_fraction": 0.5}}, "those with label maps are seen whole"),
        ({"data": {"cache": "device"}}, "set it to 'none'"),
        ({"augment": {"crop": "pad"}}, "is not for pictures with label maps"),
        ({"model": {"name": "resnet", "variant": 8}}, "the network gives logits of"),
        ({"train": {"monitor": "val/IoU/horse"}}, "'val/IoU/horse' is not measured; have: .*val/IoU/shape 1"),
    ],
)
def test_mistakes_are_told_before_the_first_step(settings, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train(tiny("segmentation", **settings), tmp_path)


def test_of_many_maps_only_some_are_kept_and_all_are_measured(monkeypatch):
    e = build(tiny("segmentation"))
    state, _, _ = initial_state(e)
    whole, rows = evaluate.Evaluator(e)(state, "val")
    monkeypatch.setattr(evaluate, "KEPT", 1)
    values, first = evaluate.Evaluator(e)(state, "val")
    assert values == whole and 0 < len(first["labels"]) < len(rows["labels"]) == len(e.splits["val"])


def test_predicted_label_maps_are_kept_and_nothing_is_overwritten(tmp_path):
    train(tiny("segmentation"), tmp_path / "run")
    config = configs.read(tmp_path / "run")
    Image.fromarray(RNG.integers(0, 256, (9, 13, 3)).astype(np.uint8)).save(tmp_path / "photo.png")
    ask = partial(predict.predict_files, config, tmp_path / "run", [str(tmp_path / "photo.png")], "latest")
    for _ in range(2):
        ask(tmp_path / "out")
    with Image.open(tmp_path / "out" / "labels" / "photo.png") as kept:
        assert kept.mode == "P" and kept.size == (13, 9)
        shares = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())["share"]
        assert len(np.unique(np.asarray(kept))) == len(shares)
    (tmp_path / "mine" / "labels").mkdir(parents=True)
    (tmp_path / "mine" / "labels" / "photo.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="labels/photo.png would be overwritten"):
        ask(tmp_path / "mine")
    assert (tmp_path / "mine" / "labels" / "photo.png").read_bytes() == b"mine"
