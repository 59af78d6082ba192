"""COCO's numbers against pycocotools, to the last bit, on made-up worlds and on photos; and by hand."""

import json

import numpy as np
import pytest
from coco_worlds import columns, pycocotools, world

from cvjax.data._segmentations import run_lengths
from cvjax.metrics import _matching
from cvjax.metrics.average_precision import Detections, Truths, evaluate

ARRAYS = ("precision", "recall", "scores")


def same(truth, results, kind="bbox"):
    """Our evaluation, after every number was found equal to theirs."""
    theirs, ours = pycocotools(truth, results, kind), evaluate(*columns(truth, results, kind == "segm"), kind == "segm")
    for name in ARRAYS:
        assert np.array_equal(theirs.eval[name], getattr(ours, name)), name
    assert list(ours.summary().values()) == theirs.stats.tolist()
    return ours


@pytest.mark.parametrize("seed", range(6))
def test_boxes(seed):
    found = same(*world(seed)).summary()
    assert found["AP50"] > 0 and found["AR1"] <= found["AR10"] <= found["AR100"]


@pytest.mark.parametrize("seed", range(3))
def test_masks(seed):
    assert same(*world(seed, images=8, masks=True, size=200), "segm").summary()["AP50"] > 0


def test_more_detections_than_count():
    truth, results = world(1, images=5, categories=2, most=30, detections=200)
    groups = {(x["image_id"], x["category_id"]) for x in results}
    assert max(sum((x["image_id"], x["category_id"]) == group for x in results) for group in groups) > 120
    same(truth, results)


def test_many_parts(monkeypatch):
    """Pairs are looked at in parts, and crowds of pairs do not fit into one."""
    monkeypatch.setattr(_matching, "AT_ONCE", 7)
    same(*world(2))


def test_number_0_is_never_found():
    truth, results = world(3, images=4, ids=range)
    assert truth["annotations"][0]["id"] == 0
    first = truth["annotations"][0] | {"iscrowd": 0}
    truth["annotations"][0] = first
    results.append({"image_id": first["image_id"], "category_id": first["category_id"], "bbox": first["bbox"], "score": 1.0})
    before = same(truth, results).summary()
    first["id"] = 10_000
    assert same(truth, results).summary()["AP"] > before["AP"]


def test_nothing_true_or_nothing_found():
    truth, results = world(4)
    empty = evaluate(*columns(truth, [])).summary()
    assert empty["AP"] == 0 and empty["AR100"] == 0
    one = pycocotools(truth, [{"image_id": truth["images"][0]["id"], "category_id": 1000, "bbox": [0, 0, 1, 1], "score": 1}])
    assert list(empty.values()) == one.stats.tolist(), "as of a detection that does not count"
    assert set(same(truth | {"annotations": []}, results).summary().values()) == {-1}
    assert set(evaluate(*columns(truth | {"annotations": []}, [])).summary().values()) == {-1}


def test_of_equal_ious_the_later_object_is_found():
    """The surer detection lies between two objects and takes the one that stands later; the other detection reaches the right one only."""
    left, right = [0, 0, 40, 40], [20, 0, 40, 40]
    results = [{"image_id": 1, "category_id": 1, "bbox": box, "score": s} for box, s in (([10, 0, 40, 40], 0.9), (right, 0.8))]
    for boxes, recall in (((left, right), 0.5), ((right, left), 1)):
        objects = [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": box, "area": 1600, "iscrowd": 0} for i, box in enumerate(boxes, start=1)
        ]
        truth = {"images": [{"id": 1, "height": 50, "width": 80}], "categories": [{"id": 1}], "annotations": objects}
        assert same(truth, results).recall[0, 0, 0, 2] == recall


def perfect(truth):
    return [
        {"image_id": x["image_id"], "category_id": x["category_id"], "bbox": x["bbox"], "score": 0.5}
        for x in truth["annotations"]
        if not x["iscrowd"]
    ]


def test_perfect_detections_and_those_that_are_not():
    truth, _ = world(5, most=2, ids=lambda n: range(1, n + 1))
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = 0
    found = same(truth, perfect(truth)).summary()
    assert found["AR100"] == 1 and found["AP"] == found["AP75"] == pytest.approx(1, abs=1e-12), "its precision has an epsilon below"
    shaken = [x | {"bbox": [x["bbox"][0] + 4, *x["bbox"][1:]]} for x in perfect(truth)]
    found = same(truth, shaken).summary()
    assert 1 > found["AP50"] > found["AP75"] and found["AP50"] > found["AP"] > 0


def test_of_category_is_the_mean_of_its_curve():
    found = evaluate(*columns(*world(0)))
    seen = found.of_category() > -1
    assert seen.any() and not seen.all(), "one category is in no picture"
    assert found.of_category()[seen].mean() == pytest.approx(found.summary()["AP"])


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_photos(dev_data, kind):
    """COCO's own annotations, with detections made from them: moved, doubled, of wrong classes and with tied scores."""
    truth = json.loads((dev_data / "coco_tiny" / "annotations" / "instances_val.json").read_text())
    draw, results = np.random.default_rng(0), []
    masks = {x["id"]: (x["height"], x["width"]) for x in truth["images"]}
    for x in truth["annotations"]:
        for _ in range(int(draw.integers(3))):
            category = x["category_id"] if draw.random() < 0.8 else truth["categories"][draw.integers(len(truth["categories"]))]["id"]
            entry = {"image_id": x["image_id"], "category_id": category, "score": round(float(draw.random()), 1)}
            if kind == "segm":
                runs = run_lengths(x["segmentation"], masks[x["image_id"]])
                results.append(entry | {"segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode()}})
            else:
                results.append(entry | {"bbox": (np.array(x["bbox"]) * draw.normal(1, 0.05, 4)).tolist()})
    assert any(x["iscrowd"] for x in truth["annotations"])
    assert same(truth, results, kind).summary()["AP50"] > 0.2


def test_truths_of_pictures_without_objects():
    assert len(Truths.of({}).image) == 0
    none = np.zeros(0)
    found = evaluate(Truths.of({}), Detections(none.astype(int), none.astype(int), none, none.reshape(0, 4)), [3, 5])
    assert set(found.summary().values()) == {-1} and found.categories.tolist() == [3, 5]
