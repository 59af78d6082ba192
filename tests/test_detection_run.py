"""A detector's run from end to end, on drawn scenes: what it leaves, and what can be done with it."""

import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from cvjax import config as configs
from cvjax import explain, explain_queries, looks, predict, report, step
from cvjax.build import build, initial_state
from cvjax.data import shapes
from cvjax.errors import TrainingFailed, UserError
from cvjax.schema import assign
from cvjax.score import score
from cvjax.tasks import detection
from cvjax.train import train
from tiny import tiny


def small(**train_settings):
    return tiny(
        "detection",
        data={"name": "shapes", "size": 40, "num_examples": 16, "num_classes": 3, "task": "detection"},
        image={"size": 32},
        optim={"name": "adamw", "lr": 1e-3, "momentum": 0.9},
        train={"monitor": "val/coco/AP50", "mode": "max", **train_settings},
    )


def without(config, *keys):
    with config.unlocked():
        for key in keys:
            del config.data[key]
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(without(small()), folder)
    return folder


def final(run):
    return json.loads((run / "status.json").read_text())["final"]


def test_results_file_scores_what_the_run_was_measured_at(run, capsys):
    """In pixels of the pictures as they are, though the network saw them smaller."""
    text = score(run / "eval" / "val_truth.json", run / "eval" / "val_detections.json", "bbox")
    told, measured = json.loads(text.splitlines()[-1]), final(run)
    for name, value in told.items():
        assert measured.get(f"val/coco/{name}", -1) == pytest.approx(value, abs=1e-12), name
    truth = json.loads((run / "eval" / "val_truth.json").read_text())
    source = shapes.load("val", size=40, num_examples=16, num_classes=3)
    assert len(truth["images"]) == 16 and all(image["height"] == image["width"] == 40 for image in truth["images"])
    assert len(truth["annotations"]) == sum(len(source[i]["boxes"]) for i in range(16))


def test_loss_of_an_evaluation_is_what_training_minimises(run):
    measured, parts = final(run), {"class_loss": 1, "box_loss": 5, "giou_loss": 2}
    total = sum(by * measured[f"val/{extra}{name}"] for name, by in parts.items() for extra in ("", "auxiliary_"))
    assert measured["val/loss"] == pytest.approx(total, rel=1e-5)
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if "train/loss" in line][-1]
    assert last["train/loss"] == pytest.approx(
        sum(by * last[f"train/{extra}{name}"] for name, by in parts.items() for extra in ("", "auxiliary_")), rel=1e-5
    )


def test_predict_draws_pictures_of_any_size(run, tmp_path, capsys):
    for name, size in (("wide", (90, 33)), ("tall", (20, 64)), ("dot", (1, 1))):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in ("wide", "tall", "dot")]
    predict.predict_files(configs.read(run), run, files, "latest", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [line["drawn"] for line in lines] == ["wide.png", "tall.png", "dot.png"]
    assert all(len(line["objects"]) == 5 and 0 <= line["objects"][0]["score"] <= 1 for line in lines)
    assert Image.open(tmp_path / "out" / "tall.png").size[0] >= 20


def test_explain_shows_where_the_drawn_query_looks(run, tmp_path):
    Image.fromarray(shapes.load("val", size=40, num_examples=1)[0]["image"]).save(tmp_path / "scene.png")
    config = configs.read(run)
    explain.explain_files(config, run, [str(tmp_path / "scene.png")], "queries", "latest", tmp_path / "out")
    assert Image.open(tmp_path / "out" / "scene.png").size[0] > 400
    for method in ("attention", "gradcam"):
        with pytest.raises(UserError, match=rf"--method={method} is for networks that name the picture; of .* use --method=queries"):
            explain.explain_files(config, run, [str(tmp_path / "scene.png")], method, "latest", tmp_path / "other")


def test_heat_of_a_query_is_the_attention_of_the_last_decoder_layer_to_the_map():
    e = build(small())
    state, _, _ = initial_state(e)
    state = jax.tree.map(lambda x: x.addressable_data(0), state)
    batch = {"image": np.full((1, 64, 32, 3), 100, np.uint8), "size": np.array([[64, 32]], np.int32)}
    weights = looks.attention(e, state)(batch)[-1]
    places = explain_queries.grid((64, 32), weights.shape[-1])
    assert places is not None and places[0] == 2 * places[1] and weights.shape[2] == 5
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    half = {**batch, "size": np.array([[32, 32]], np.int32)}
    below = np.asarray(looks.attention(e, state)(half)[-1]).reshape(*weights.shape[:3], *places)[..., places[0] // 2 :, :]
    assert not below.any(), "nobody looks at padding"


def test_weights_are_measured_into_a_folder_of_their_own(run, tmp_path):
    """As COCO's results, so that public weights can be scored by other tools; what lies there is left alone."""
    config = assign(without(small()), [("init", str(run))])
    measured = predict.evaluate_weights(config, "val", tmp_path / "coco")
    told = score(tmp_path / "coco" / "eval" / "val_truth.json", tmp_path / "coco" / "eval" / "val_detections.json", "bbox").splitlines()[-1]
    assert json.loads(told)["AP"] == pytest.approx(measured["val/coco/AP"], abs=1e-12)
    with pytest.raises(UserError, match="holds an evaluation already"):
        predict.evaluate_weights(config, "val", tmp_path / "coco")


@pytest.mark.parametrize(("canvas", "n", "expected"), [((96, 96), 36, (6, 6)), ((800, 1344), 25 * 42, (25, 42)), ((96, 96), 35, None)])
def test_places_of_a_map_are_told_from_the_canvas(canvas, n, expected):
    assert explain_queries.grid(canvas, n) == expected


def test_report_shows_curves_mistakes_and_confusions(run):
    """Of the run's last evaluation and of others."""
    measured = predict.evaluate_run(configs.read(run), run, "val", "latest")
    told = score(run / "eval" / "val_latest_truth.json", run / "eval" / "val_latest_detections.json", "bbox").splitlines()[-1]
    assert json.loads(told)["AP50"] == pytest.approx(measured["val/coco/AP50"], abs=1e-12)
    page = report.report([run], out=None).read_text()
    for words in ("Precision and recall (validation)", "Confusions (validation)", "localisation", "background", "AP50"):
        assert words in page


def test_padding_changes_no_detection():
    """A picture in a canvas of its own size, and in a larger one: the network's normalisation aside, the same boxes."""
    e = build(small())
    state, _, _ = initial_state(e)
    state = jax.tree.map(lambda x: x.addressable_data(0), state)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    wide = np.zeros((64, 64, 3), np.uint8)
    wide[:32, :32] = picture
    see, size = step.forward(e), np.array([[32, 32]], np.int32)
    alone, framed = (see(state, {"image": image[None], "size": size})[0] for image in (picture, wide))
    np.testing.assert_allclose(alone["detected_boxes"], framed["detected_boxes"], atol=0.05)
    np.testing.assert_allclose(alone["detected_scores"], framed["detected_scores"], atol=0.05)


def test_overfit_is_of_eight_training_pictures_of_the_first_split():
    config = small()
    config.data.train = "train[10:]+val"
    config = configs.overfit(config, steps=40, lr=1e-3)
    assert (config.data.train, config.data.val, config.data.batch_size) == ("train[:8]", "train[:8]", 8)
    assert (config.train.until, config.train.monitor, config.optim.lr) == (0.9, "val/coco/AP", 1e-3) and not config.augment
    assert len(build(config).splits["train"]) == 8


def test_overfit_says_that_it_learns_eight_pictures():
    with pytest.raises(UserError, match=r"'train\[:8\]' reaches beyond its 3 examples; `overfit` learns 8 pictures by heart: bring"):
        build(configs.overfit(assign(small(), [("data.num_examples", "3")])))
    with pytest.raises(UserError, match=r"'train\[:9\]' reaches beyond its 3 examples$"):
        build(assign(small(), [("data.num_examples", "3"), ("data.train", "train[:9]")]))


def test_the_rate_of_detr_falls_after_two_thirds():
    for epochs, expected in ((300, "200 epochs"), (50, "33.3333 epochs")):
        assert configs.load("experiments/detr_coco.py", f"epochs={epochs}").optim.boundaries == (expected,)


@pytest.mark.parametrize("restoring", [False, True])
def test_random_weights_that_stay_are_told_without_init_too(capsys, restoring):
    config = small()
    with config.unlocked():
        config.optim.freeze = "stem|stage1"
    initial_state(build(config), restoring=restoring)
    assert ("config.optim.freeze keeps random weights as they are: stage1_block1/" in capsys.readouterr().err) != restoring


def test_a_task_that_needs_a_loss_says_which_model_has_none():
    with pytest.raises(UserError, match=r"config.task.name 'detection' needs a model with its own loss and decode; models/resnet.py has"):
        build(assign(small(), [("model.name", "resnet"), ("model.variant", "8")]))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([("augment.rotate", "10.0")], "config.augment.rotate is not for pictures with boxes; have: crop, flip, zoom, photometric, mosaic"),
        ([("augment.crop", "detr"), ("augment.zoom", "(0.5,2.0)")], "config.augment.zoom is (0.5, 2.0), but crop='detr' draws sizes of"),
        ([("augment.crop", "pad")], "config.augment.crop='pad' is not for pictures with boxes; have: none, detr"),
        ([("data.cache", "device")], "those with boxes are made anew"),
        ([("image.longest", "16")], "config.image.longest is 16, less than the shorter side's size=32"),
        ([("task.giou", "-1.0")], "config.task: detr: loss.giou is -1.0; a weight of at least 0"),
        ([("task.gio", "1.0")], "did you mean 'giou'"),
        ([("model.position", "cosine")], "no position 'cosine'"),
        ([("model.queries", "4")], "models/detr.py answers with 4 boxes a picture, and one may have 5 objects; raise"),
        ([("augment.mosaic", "0.5")], "a mosaic may have 20 objects; raise config.model.queries or set"),
    ],
)
def test_settings_that_do_not_fit_boxes_are_told(settings, told):
    with pytest.raises(UserError, match=re.escape(told)):
        e = build(assign(small(), settings))
        state, _, _ = initial_state(e)
        jax.eval_shape(step.evaluation(e, e.decode), state, next_batch(e))


def test_answers_that_are_not_finite_end_a_run_in_words(tmp_path):
    """And nothing is written that no tool reads."""
    with pytest.raises(TrainingFailed, match="boxes or scores of record 0 are not finite: it has diverged; lower config.optim.lr"):
        train(assign(without(small()), [("optim.lr", "1e30"), ("train.eval_every", "1 steps")]), tmp_path / "run")
    row = {"detected_boxes": np.full((5, 4), np.nan), "detected_scores": np.ones(5), "detected_classes": np.zeros(5, int)}
    with pytest.raises(UserError, match="take another --checkpoint"):
        detection.describe(row, None)


def next_batch(e):
    from cvjax.data import _pipeline
    from cvjax.preprocess import host_eval

    with _pipeline.eval_batches(e.splits["val"], host_eval(e.pixels, e.info), batch_size=8, buckets=e.buckets) as batches:
        return next(batches)
