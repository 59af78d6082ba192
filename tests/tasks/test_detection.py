"""Detection: what every detector shares, and the scores of a split against pycocotools."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import frames
from cvjax.data._objects import Objects
from cvjax.log import collapsed
from cvjax.metrics import detection as scores
from cvjax.tasks import detection

RNG = np.random.default_rng(0)
INFO = types.SimpleNamespace(classes=("cat", "dog"))


def test_padding_is_black_and_outside_of_the_mask():
    batch = {"image": jnp.ones((2, 4, 6, 3)), "size": jnp.array([[4, 6], [2, 3]])}
    given = detection.inputs(batch, None, INFO)
    assert given["mask"].sum((1, 2)).tolist() == [24, 6] and bool(given["mask"][1, :2, :3].all())
    assert given["image"].sum((1, 2, 3)).tolist() == [72, 18]
    assert detection.inputs({"image": batch["image"]}, None, INFO).keys() == {"image"}


def row(**fields):
    """A picture of 50 x 100 pixels, seen at twice its size, with a cat and a dog; the dog is found, and something else."""
    found = {"detected_boxes": np.array([[0.1, 0, 0.2, 1], [0.5, 0.5, 1, 1], [0, 0, 0.1, 0.1]], np.float32),
             "detected_scores": np.array([0.2, 0.9, 0.6], np.float32), "detected_classes": np.array([0, 1, 1])}  # fmt: skip
    true = {"boxes": np.array([[100, 50, 200, 100], [0, 0, 20, 10], [0, 0, 0, 0]], np.float32), "classes": np.array([1, 0, 0]),
            "box_valid": np.array([True, True, False]), "size": np.array([100, 200])}  # fmt: skip
    return {**found, **(true if fields.get("truth", True) else {})}


def test_boxes_are_drawn_and_told_in_pixels_of_the_picture_the_surest_first():
    boxes, classes, sure = detection.detections(row(), (50, 100), 0.5)
    assert boxes.tolist() == [[50, 25, 100, 50], pytest.approx([0, 0, 10, 5])] and classes.tolist() == [1, 1]
    assert sure == pytest.approx([0.9, 0.6])
    boxes, classes = detection.truth(row(), (50, 100))
    assert boxes.tolist() == [[50, 25, 100, 50], [0, 0, 10, 5]] and classes.tolist() == [1, 0]


def test_caption_says_what_is_there_and_how_well_it_was_read():
    text, score = detection.caption(row(), INFO)
    assert score == pytest.approx(0.5) and text.startswith("AP50\t50 %") and "of 2: 2 dog" in text
    assert detection.caption(row(truth=False), INFO) == ("2 dog", None)
    nothing = row(truth=False) | {"detected_scores": np.zeros(3, np.float32)}
    assert detection.caption(nothing, INFO) == ("none surer than 50 %", None)


def test_one_prediction_as_json():
    told = detection.describe(row(), INFO)["objects"]
    assert [one["class"] for one in told] == ["dog", "dog", "cat"] and told[0] == {"class": "dog", "score": 0.9, "box": [0.5, 0.5, 1, 1]}


def test_a_box_is_drawn_on_its_edge_and_leaves_the_inside():
    image = np.zeros((300, 400, 1), np.uint8)
    drawn = frames.boxed(image, np.array([[100.0, 50, 200, 150]]), np.array([0]), ["cat 90 %"])
    assert drawn.shape == (300, 400, 3) and drawn[100, 100].any() and drawn[149, 150].any()
    assert not drawn[60:140, 110:190].any() and not drawn[151:].any() and drawn[40:50, 100:120].any()


@pytest.mark.parametrize("box", [[-50, -50, 900, 900], [399, 299, 400, 300], [10, 10, 10, 10], [500, 500, 600, 600]])
def test_any_box_can_be_drawn(box):
    assert frames.boxed(np.zeros((300, 400, 3), np.uint8), np.array([box], float), np.array([300]), ["x" * 200]).shape == (300, 400, 3)


def test_pictures_stand_beside_each_other_or_below():
    assert frames.beside([np.zeros((40, 20, 3), np.uint8)] * 2).shape == (40, 44, 3)
    assert frames.beside([np.zeros((20, 40, 3), np.uint8)] * 2).shape == (44, 40, 3)


# ---- scores of a split


def objects(boxes, classes, **fields):
    n = len(boxes)
    boxes = np.array(boxes, float).reshape(-1, 4)
    plain = {"crowd": np.zeros(n, bool), "difficult": np.zeros(n, bool), "ids": np.arange(1, n + 1)}
    return Objects(boxes, np.array(classes, int), boxes[:, 2] * boxes[:, 3], **{**plain, **fields})


def split(of_picture):
    info = types.SimpleNamespace(classes=("cat", "dog", "emu"))
    return types.SimpleNamespace(info=info, truth=lambda i: of_picture[i])


def batch_of(index, size, boxes, sure, classes):
    n = len(index)
    return {"index": np.array(index), "original_size": np.array([size] * n), "detected_boxes": np.array(boxes, np.float32),
            "detected_scores": np.array(sure, np.float32), "detected_classes": np.array(classes), "valid": np.ones(n, bool)}  # fmt: skip


def test_finding_all_of_it_is_one_and_what_is_not_there_is_left_out():
    source = split([objects([[10, 10, 50, 40], [100, 20, 60, 60]], [0, 1]), objects([], [])])
    perfect = np.array([[10, 10, 60, 50], [100, 20, 160, 80]]) / [200, 100, 200, 100]
    metric = detection.host_metrics(source)
    nothing = [[0.5, 0.5, 0.6, 0.6]] * 2
    metric.update(*[batch_of([0, 1], (100, 200), [perfect, nothing], [[0.9, 0.8], [0.1, 0.05]], [[0, 1], [2, 2]])] * 2)
    found = metric.result()
    assert [found[f"coco/{name}"] for name in ("AP", "AP50", "AP/cat", "APm")] == pytest.approx([1] * 4)
    assert "coco/AP/emu" not in found and "coco/APs" not in found and set(found) <= set(metric.names)
    assert found["same_box"] == 0


def test_without_an_object_there_is_no_score():
    metric = detection.host_metrics(split([objects([], [])]))
    metric.update(*[batch_of([0], (9, 9), [[[0, 0, 1, 1]]], [[0.5]], [[0]])] * 2)
    assert np.isnan(metric.result()["coco/AP"])


def test_padding_rows_count_nothing():
    source = split([objects([[0, 0, 50, 50]], [0])])
    batch = batch_of([0, 0], (100, 100), [[[0, 0, 0.5, 0.5]], [[0.5, 0.5, 1, 1]]], [[0.5], [0.9]], [[0], [0]])
    batch["valid"][1] = False
    metric = detection.host_metrics(source)
    metric.update(batch, batch)
    assert metric.result()["coco/AP"] == pytest.approx(1)


@pytest.mark.parametrize("kind", ["within", "across", "neither"])
def test_one_box_over_and_over_is_noticed(kind):
    """Four pictures of two objects each, apart from each other."""
    true = [objects([[10 + 20 * i, 10, 10, 10], [50, 50 + 10 * i, 20, 20]], [0, 1]) for i in range(4)]
    apart = [np.array([[10 + 20 * i, 10, 20 + 20 * i, 20], [50, 50 + 10 * i, 70, 70 + 10 * i]]) / 100 for i in range(4)]
    found = {"within": [np.array([box[0], box[0]]) for box in apart], "across": [apart[0]] * 4, "neither": apart}[kind]
    metric = detection.host_metrics(split(true))
    metric.update(*[batch_of(range(4), (100, 100), found, [[0.9, 0.8]] * 4, [[0, 1]] * 4)] * 2)
    same = metric.result()["same_box"]
    assert same == pytest.approx(0 if kind == "neither" else 1, abs=0.01)
    assert bool(collapsed({"val/same_box": same})) == (kind != "neither")


def test_quality_of_a_picture_is_ap_at_half():
    boxes, classes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]), np.array([0, 1])
    assert scores.quality(boxes, classes, boxes, classes, np.array([0.9, 0.8])) == pytest.approx(1)
    assert scores.quality(boxes, classes, boxes[:1], classes[:1], np.array([0.9])) == pytest.approx(0.5)
    none = np.zeros((0, 4))
    assert scores.quality(none, classes[:0], boxes, classes, np.array([0.4, 0.1])) == 1
    assert scores.quality(none, classes[:0], boxes, classes, np.array([0.6, 0.1])) == 0


def test_a_legend_has_the_colours_of_boxes():
    legend = detection.legend(INFO)
    drawn = frames.boxed(np.zeros((300, 300, 3), np.uint8), np.array([[50, 50, 200, 200]]), np.array([0]))
    assert legend.shape == (280, 280, 3) and (legend[18, 18] == drawn[50, 100]).all()
