"""Pictures of many sizes in batches of few sizes."""

from functools import partial

import numpy as np
import pytest

from cvjax.data import _pipeline, _views_boxes
from cvjax.data._buckets import alike
from cvjax.data._source import Info, Source
from cvjax.errors import UserError
from cvjax.preprocess import Pixels


def example(height, width, value=7):
    return {"image": np.full((height, width, 3), value, np.uint8), "masks": np.ones((2, height, width), bool), "label": value}


def test_all_are_padded_to_the_smallest_bucket_that_holds_them():
    found = alike([example(10, 30), example(20, 5)], ((32, 32), (64, 64)))
    assert [one["image"].shape for one in found] == [(32, 32, 3)] * 2
    assert (found[0]["image"][:10, :30] == 7).all() and found[0]["image"].sum() == 10 * 30 * 3 * 7
    assert found[1]["masks"].shape == (2, 32, 32) and found[1]["masks"].sum() == 2 * 20 * 5
    assert found[0]["label"] == 7


def test_what_fits_no_bucket_is_told():
    with pytest.raises(UserError, match=r"a picture of 10 x 65 pixels is larger than any of 32 x 32, 64 x 64"):
        alike([example(10, 65)], ((32, 32), (64, 64)))


@pytest.mark.parametrize(("size", "longest", "count"), [(96, 0, 1), (96, 128, 4), (800, 1333, 9), (100, 0, 1), (1, 0, 1)])
def test_there_are_few_buckets_and_every_picture_fits_one(size, longest, count):
    buckets = Pixels(size, longest=longest).buckets
    assert len(buckets) == count and all(side % 32 == 0 for bucket in buckets for side in bucket)
    assert [h * w for h, w in buckets] == sorted(h * w for h, w in buckets)
    most = longest or size
    for height, width in ((size, most), (most, size), (most, most), (1, most)):
        assert any(height <= h and width <= w for h, w in buckets)


def source_of(sizes):
    def read(index):
        height, width = sizes[index]
        boxes = np.array([[1, 2, width - 1, height]], np.float32)
        picture = np.full((height, width, 3), index + 1, np.uint8)
        return {"image": picture, "boxes": boxes, "classes": np.zeros(1, np.int32), "ignored": np.zeros(1, bool), "index": np.int32(index)}

    return Source(Info(("thing",), len(sizes), "detection", most_objects=3), read)


def test_batches_have_the_size_of_a_bucket_whoever_made_their_rows():
    sizes = [(30, 40), (64, 20), (50, 60), (20, 64), (64, 64)]
    view = partial(_views_boxes.whole, size=64, longest=0, most=3)
    buckets = Pixels(64).buckets
    for workers in (1, 2, 3):
        with _pipeline.eval_batches(source_of(sizes), view, batch_size=4, workers=workers, buckets=buckets) as batches:
            first, last = list(batches)
        assert first["image"].shape == last["image"].shape == (4, 64, 64, 3)
        assert first["index"].tolist() == [0, 1, 2, 3] and last["valid"].tolist() == [True, False, False, False]
        for i, (height, width) in enumerate(first["size"].tolist()):
            assert height <= 64 and width <= 64 and max(height, width) in (63, 64)
            assert (first["image"][i, :height, :width] == i + 1).all()
            assert not first["image"][i, height:].any() and not first["image"][i, :, width:].any()
            assert first["original_size"][i].tolist() == list(sizes[i])


def test_objects_stand_in_a_table_of_fixed_length():
    record = source_of([(64, 64)])[0]
    record |= {"boxes": np.array([[0, 0, 5, 5], [1, 1, 6, 6], [2, 2, 7, 7]], np.float32), "classes": np.array([2, 1, 0], np.int32),
               "ignored": np.array([False, True, False])}  # fmt: skip
    found = _views_boxes.whole(record, size=64, longest=0, most=4)
    assert found["box_valid"].tolist() == [True, True, False, False]
    assert found["boxes"].tolist() == [[0, 0, 5, 5], [2, 2, 7, 7], [0] * 4, [0] * 4] and found["classes"].tolist() == [2, 0, 0, 0]
    with pytest.raises(UserError, match=r"it has 2 objects, and there is room for 1; raise config.data.max_boxes"):
        _views_boxes.whole(record, size=64, longest=0, most=1)


def test_training_views_keep_boxes_on_what_they_frame():
    """A white box on black: wherever a view puts it, the box's edges are where white ends."""
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[30:60, 40:80] = 255
    record = {"image": picture, "boxes": np.array([[40, 30, 80, 60]], np.float32), "classes": np.zeros(1, np.int32),
              "ignored": np.zeros(1, bool), "index": np.int32(0)}  # fmt: skip
    kinds = ({"flip": True}, {"zoom": (0.5, 1.5)}, {"crop": "detr"}, {"mosaic": 1.0, "others": [record] * 4}, {})
    for settings in kinds:
        for seed in range(8):
            view = _views_boxes.scene(record, np.random.default_rng(seed), size=96, longest=128, most=4, **settings)
            height, width = view["size"]
            assert min(height, width) <= 96 and max(height, width) <= 128
            for box in view["boxes"][view["box_valid"]]:
                left, top, right, bottom = box.round().astype(int)
                inner = view["image"][top + 2 : bottom - 2, left + 2 : right - 2]
                assert inner.size == 0 or inner.mean() > 250, (settings, seed, box)
