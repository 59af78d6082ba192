"""Drawn scenes: their truth is exact, the same for ever, and the outline alone says the class."""

import itertools
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from cvjax.data import fake, shapes
from cvjax.errors import UserError

ROOT = Path(__file__).parents[2]


def scenes(**settings):
    return shapes.load("train", **{"num_examples": 40, "num_classes": 8, "masks": True} | settings)


@pytest.mark.parametrize("difficulty", [0, 0.3, 1])
def test_boxes_are_tight_around_what_can_be_seen(difficulty):
    source = scenes(difficulty=difficulty)
    overlaps = 0
    for i in range(40):
        record = source[i]
        assert record["masks"].sum(0).max() <= 1, "a pixel shows one shape"
        for box, mask in zip(record["boxes"], record["masks"], strict=True):
            ys, xs = np.nonzero(mask)
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        x1, y1, x2, y2 = record["boxes"].T
        both = np.minimum(x2[:, None], x2) > np.maximum(x1[:, None], x1)
        overlaps += (both & (np.minimum(y2[:, None], y2) > np.maximum(y1[:, None], y1))).sum() - len(x1)
    assert overlaps > 100 if difficulty == 1 else overlaps < 60


def test_difficulty_makes_more_of_them_of_more_sizes_with_less_contrast():
    seen = []
    for difficulty in (0, 0.5, 1):
        source = scenes(difficulty=difficulty)
        records = [source[i] for i in range(40)]
        areas = np.concatenate([record["masks"].sum((1, 2)) for record in records])
        noise = np.mean([np.abs(np.diff(record["image"][~record["masks"].any(0)].astype(int), axis=0)).mean() for record in records])
        seen.append((len(areas) / 40, areas.std() / areas.mean(), noise))
        assert max(len(record["boxes"]) for record in records) <= source.info.most_objects
    assert all(a < b for first, second in itertools.pairwise(seen) for a, b in zip(first, second, strict=True)), seen


@pytest.mark.parametrize("difficulty", [0, 0.4, 1])
def test_shapes_under_others_and_at_the_edge_stay_in_sight(difficulty):
    style = shapes.Style(96, difficulty, 8, 10)
    whole = hidden = 0
    for i in range(30):
        alone: list[int] = []
        put = shapes._put

        def counted(front, patch, top, left, whole, share, put=put, alone=alone):
            if done := put(front, patch, top, left, whole, share):
                alone.append(int(patch.sum()))
            return done

        shapes._put = counted
        try:
            scene = shapes.draw((0, i), style)
        finally:
            shapes._put = put
        seen = np.bincount(scene.front.ravel(), minlength=len(alone) + 1)[1:]
        assert (seen >= (1 - difficulty / 2) * np.array(alone)).all()
        whole, hidden = whole + sum(alone), hidden + sum(alone) - seen.sum()
    assert hidden == 0 if difficulty == 0 else hidden > 0.01 * whole


def test_the_class_is_in_the_outline():
    """Masks in a common frame: the nearest mean of 200 drawn ones says the class of others; colours do not."""

    def frames(split):
        source = shapes.load(split, num_examples=150, num_classes=5, difficulty=0, masks=True)
        found, colours, classes = [], [], []
        for i in range(150):
            record = source[i]
            for mask, (x1, y1, x2, y2), k in zip(record["masks"], record["boxes"].astype(int), record["classes"], strict=True):
                rows, columns = np.linspace(y1, y2 - 1, 12).round().astype(int), np.linspace(x1, x2 - 1, 12).round().astype(int)
                found.append(mask[rows[:, None], columns].ravel())
                colours.append(record["image"][mask].mean(0))
                classes.append(k)
        return np.array(found, float), np.array(colours), np.array(classes)

    (masks, colours, classes), (others, other_colours, truth) = frames("train"), frames("val")

    def right(known, asked):
        means = np.stack([known[classes == k].mean(0) for k in range(5)])
        return (np.square(asked[:, None] - means).sum(-1).argmin(-1) == truth).mean()

    assert right(masks, others) > 0.95 and right(colours, other_colours) < 0.4
    assert np.bincount(truth, minlength=5).min() > 0.1 * len(truth)


def test_a_picture_is_the_same_for_ever():
    code = "from cvjax.data import shapes; import zlib; r = shapes.load('val', num_examples={})[3]; print(zlib.crc32(r['image'].tobytes()))"
    here = shapes.load("val", num_examples=4)[3]
    elsewhere = subprocess.run([sys.executable, "-c", code.format(99)], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(elsewhere.stdout) == zlib.crc32(here["image"].tobytes())
    assert not np.array_equal(here["image"], shapes.load("train", num_examples=4)[3]["image"])
    np.testing.assert_array_equal(here["image"], shapes.load("val[3:]", num_examples=4)[0]["image"])
    assert here["boxes"].tolist() == shapes.load("val", num_examples=4, masks=True)[3]["boxes"].tolist()


def test_truth_is_what_records_are_made_of():
    mask = pytest.importorskip("pycocotools.mask")
    source = scenes(difficulty=0.8)
    seen = set()
    for i in range(20):
        truth, record = source.truth(i), source[i]
        np.testing.assert_array_equal(truth.boxes[:, 2:], record["boxes"][:, 2:] - record["boxes"][:, :2])
        np.testing.assert_array_equal(truth.classes, record["classes"])
        np.testing.assert_array_equal(truth.area, record["masks"].sum((1, 2)))
        decoded = np.moveaxis(mask.decode(list(truth.segmentations)), -1, 0)
        np.testing.assert_array_equal(decoded, record["masks"])
        assert not seen & set(truth.ids.tolist()) and len(set(truth.ids.tolist())) == len(truth.ids)
        seen |= set(truth.ids.tolist())


def test_label_maps_are_of_the_same_scenes():
    maps = scenes(task="segmentation", masks=False)
    objects = scenes()
    assert maps.info.classes == ("ground", *objects.info.classes) and maps.info.largest == (96, 96)
    for i in range(10):
        record, labels = objects[i], maps[i]["labels"]
        assert np.array_equal(record["image"], maps[i]["image"]) and np.array_equal(labels > 0, record["masks"].any(0))
        assert all((labels[mask] == k + 1).all() for mask, k in zip(record["masks"], record["classes"], strict=True))


@pytest.mark.parametrize("size", [8, 11, 300])
def test_all_sizes_work(size):
    for difficulty in (0, 1):
        source = shapes.load("train", size=size, difficulty=difficulty, num_examples=10)
        for i in range(10):
            boxes = source[i]["boxes"]
            assert len(boxes) and (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= size
    source = fake.load("train", task="detection", size=size, num_classes=91, num_examples=4)
    assert len(source.info.classes) == len(source.info.groups) == 91 and all(len(source[i]["boxes"]) for i in range(4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 7}, "data.size is 7; it must be 8 to"),
        ({"difficulty": 1.5}, "data.difficulty is 1.5; it must be 0 to 1"),
        ({"num_classes": 9}, "data.num_classes is 9; it must be 1 to 8"),
        ({"max_objects": 0}, "data.max_objects is 0"),
        ({"task": "text"}, "data.task is 'text'; shapes are drawn for: detection, segmentation"),
    ],
)
def test_settings_that_are_none_are_said(settings, message):
    with pytest.raises(UserError, match=message):
        shapes.load("train", **settings)
    with pytest.raises(UserError, match="no split 'test'"):
        shapes.load("test")
