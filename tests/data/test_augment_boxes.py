"""Boxes and masks that move with their picture. The truth: a mask is moved, and the tight box of what becomes of it is compared."""

from functools import partial

import numpy as np
import pytest

from cvjax.data import _augment, _pipeline, _views_boxes, shapes
from cvjax.data import _augment_boxes as a
from cvjax.data._decode import DecodeError
from cvjax.data._source import Info, Source
from cvjax.errors import UserError


def example(seed=0, size=96):
    """A drawn scene without noise in its truth, with masks; the class of each object is its own."""
    found = shapes.load("train", size=size, difficulty=0.6, masks=True, num_examples=50)[seed]
    count = len(found["boxes"])
    return {**found, "classes": np.arange(count, dtype=np.int32), "ignored": np.arange(count) % 2 == 1}


def blank(height, width):
    """One object: all of the picture but a rim of four pixels."""
    mask = np.zeros((1, height, width), bool)
    mask[:, 4:-4, 4:-4] = True
    box = np.array([[4, 4, width - 4, height - 4]], np.float32)
    image = np.where(mask[0, ..., None], 200, 20).astype(np.uint8).repeat(3, -1)
    return {"image": image, "boxes": box, "masks": mask, "classes": np.array([4], np.int32), "ignored": np.array([True])}


def tight(masks):
    """float n 4: x1 y1 x2 y2 of masks that are not empty."""
    found = []
    for mask in masks:
        ys, xs = np.nonzero(mask)
        found.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [np.nan] * 4)
    return np.array(found, np.float64).reshape(-1, 4)


def check(before, after, tolerance):
    """Every field keeps a row for each object, rows stay together, boxes lie tight around the moved masks, and colours move too."""
    count = len(after["boxes"])
    height, width = after["image"].shape[:2]
    assert {len(after[key]) for key in a.OBJECTS} == {count} and after["masks"].shape[1:] == (height, width)
    assert {key: after[key].dtype for key in a.OBJECTS} == {key: before[key].dtype for key in a.OBJECTS}
    assert (after["boxes"][:, 2:] > after["boxes"][:, :2]).all()
    assert after["boxes"].min(initial=0) >= 0 and (after["boxes"] <= [width, height] * 2).all()
    around = tight(after["masks"])
    seen = ~np.isnan(around[:, 0])
    np.testing.assert_allclose(after["boxes"][seen], around[seen], atol=tolerance)
    rows = [np.flatnonzero(before["classes"] == k)[0] for k in after["classes"]]
    np.testing.assert_array_equal(after["ignored"], before["ignored"][rows])


@pytest.mark.parametrize(
    ("size", "shorter", "longest", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1066)),  # 1066.67 is cut, not rounded
        ((640, 480), 800, 1333, (1066, 800)),
        ((375, 1242), 800, 1333, (402, 1331)),  # 1333 * 375 / 1242 = 402.5 -> 402; 402 * 3.312 = 1331.4
        ((100, 100), 64, 1333, (64, 64)),
        ((1, 1000), 800, 1333, (1, 1000)),
    ],
)
def test_the_size_rule_of_detr(size, shorter, longest, expected):
    assert a.shorter_size(size, shorter, longest) == expected


@pytest.mark.parametrize("seed", range(8))
def test_a_resize_keeps_boxes_tight(seed):
    before = example(seed)
    for size, factor in ((192, 2.0), (60, 0.625)):
        after = a.resize_shorter(before, size)
        assert after["image"].shape[:2] == (size, size) and len(after["boxes"]) == len(before["boxes"])
        np.testing.assert_allclose(after["boxes"], before["boxes"] * factor, rtol=1e-6)
        check(before, after, 0 if factor == 2 else 2)  # tips of one pixel are passed over


def test_a_crop_cuts_masks_and_boxes_alike_and_drops_what_is_left_outside():
    lost = 0
    for seed in range(40):
        before = example(seed)
        after = a.random_size_crop(before, np.random.default_rng(seed), 30, 60)
        height, width = after["image"].shape[:2]
        assert 30 <= height <= 60 and 30 <= width <= 60
        around = tight(after["masks"])
        assert (after["boxes"] - np.nan_to_num(around, nan=1e9))[:, :2].max(initial=0) <= 0  # a crop may cut what made the box wide
        for k, row in zip(after["classes"], after["masks"], strict=True):  # pixels of each object are its own still
            assert row.sum() <= before["masks"][k].sum()
            assert not row.any() or np.ptp(after["image"][row], axis=0).max() <= np.ptp(before["image"][before["masks"][k]], axis=0).max()
        assert (after["ignored"] == before["ignored"][after["classes"]]).all()
        lost += len(before["boxes"]) - len(after["boxes"])
    assert lost > 20


def test_a_crop_of_a_rectangle_is_exact():
    for seed in range(20):
        before = blank(50, 70)
        after = a.random_size_crop(before, np.random.default_rng(seed), 20, 60)
        check(before, after, 0)


@pytest.mark.parametrize("seed", range(12))
def test_detrs_view_moves_all_alike(seed):
    before = blank(90, 120)
    after = a.detr_view(before, np.random.default_rng(seed), sides=(60, 80, 100), longest=110, first=(50, 70), crop=(40, 60))
    assert min(after["image"].shape[:2]) <= 100 and max(after["image"].shape[:2]) <= 112
    check(before, after, 1.01 * max(1, after["image"].shape[0] / 40))  # a mask's pixel of the small picture may become several
    inner = after["masks"][0]
    assert after["image"][inner].mean() > 150 > 100 > after["image"][~inner].mean() if (~inner).any() else True


def test_detrs_view_is_mirrored_and_cropped_half_of_the_time():
    before = blank(64, 128)
    before["image"][:, :64] //= 2
    views = [a.detr_view(before, np.random.default_rng(k), (64,), 10_000, (64,), (40, 60)) for k in range(300)]
    whole = [view["image"].shape == (64, 128, 3) for view in views]
    mirrored = [view["image"][:, 10:30].mean() > view["image"][:, -30:-10].mean() for view, w in zip(views, whole, strict=True) if w]
    assert 110 < sum(whole) < 190 and 0.35 < np.mean(mirrored) < 0.65
    assert all(a.detr_view(before, np.random.default_rng(k), (64,), 10_000, ())["image"].shape == (64, 128, 3) for k in range(20))


def test_a_view_of_detr_is_mirrored_only_where_that_is_asked_for():
    before = blank(64, 128) | {"index": np.int32(0)}
    before["image"][:, :64] //= 2
    for flip, expected in ((False, 0), (True, 50)):
        views = [
            _views_boxes.scene(before, np.random.default_rng(k), size=64, longest=128, most=1, crop="detr", flip=flip)["image"]
            for k in range(100)
        ]
        mirrored = [view[:, : view.shape[1] // 4].mean() > view[:, -view.shape[1] // 4 :].mean() for view in views]
        assert abs(sum(mirrored) - expected) <= (20 if flip else 8), "a crop may show one side alone"


@pytest.mark.parametrize("seed", range(12))
def test_scale_jitter_fits_its_canvas(seed):
    before = blank(40, 80)
    after = a.scale_jitter(before, np.random.default_rng(seed), (64, 96), 0.3, 2.0, mean=(0.0,))
    assert after["image"].shape == (64, 96, 3)
    check(before, after, 2.5)  # masks take the nearest pixel of a picture magnified up to 2.4 times
    if seed == 0:
        small = a.scale_jitter(before, np.random.default_rng(0), (64, 96), 0.5, 0.5, mean=(0.0,))
        assert not small["image"][24:].any() and not small["masks"][:, 24:].any() and (small["image"][5:18, 5:40] > 100).all()
        np.testing.assert_allclose(small["boxes"], [[2.4, 2.4, 45.6, 21.6]])


def test_a_mosaic_puts_four_pictures_around_a_point():
    for seed in range(10):
        four = [blank(40 + 10 * k, 60) | {"classes": np.array([k], np.int32), "ignored": np.array([k % 2 == 0])} for k in range(4)]
        for k, one in enumerate(four):
            one["image"] = np.full_like(one["image"], 50 * (k + 1))
        after = a.mosaic(four, np.random.default_rng(seed), (80, 100))
        corners = [after["image"][y, x, 0] for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
        assert after["image"].shape == (80, 100, 3) and corners == [50, 100, 150, 200]
        check({**four[0], "classes": np.arange(4, dtype=np.int32), "ignored": np.arange(4) % 2 == 0}, after, 2.5)
        for k, mask in zip(after["classes"], after["masks"], strict=True):
            assert (after["image"][mask] == 50 * (k + 1)).all() and mask.any()
        y, x = (int((after["image"][:, 0, 0] == 50).sum()), int((after["image"][0, :, 0] == 50).sum()))
        assert 20 <= y <= 60 and 25 <= x <= 75


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_mosaic_names_the_picture_that_it_cannot_read(kind):
    source = Source(Info(("a",), 8, "detection"), partial(scene_but_for, 5), "photos/{}.jpg".format)
    view = partial(_views_boxes.scene, size=64, longest=64, most=1, mosaic=1.0, others=source)
    draw = dict(batch_size=4, seed=0, workers=1, kind=kind, buckets=((64, 64),))
    with _pipeline.train_batches(source, view, unreadable=1, **draw) as batches:
        seen = np.concatenate([next(batches)["index"] for _ in range(4)])
    assert batches.unreadable == {"photos/5.jpg": "photos/5.jpg: damaged"} and 5 not in seen
    with pytest.raises(UserError, match=r"^photos/5.jpg: damaged$"), _pipeline.train_batches(source, view, **draw) as batches:
        for _ in range(4):
            next(batches)


def scene_but_for(bad, index):
    if index == bad:
        raise DecodeError("damaged")
    return blank(40, 60) | {"index": np.int32(index)}


def test_without_objects_or_masks_nothing_breaks():
    bare = {"image": np.zeros((30, 40, 3), np.uint8), "boxes": np.zeros((0, 4), np.float32), "classes": np.zeros(0, np.int32)}
    bare["ignored"] = np.zeros(0, bool)
    rng = np.random.default_rng(0)
    for after in (
        a.detr_view(bare, rng),
        a.scale_jitter(bare, rng, 32),
        a.mosaic([bare] * 4, rng, 32),
        a.random_size_crop(bare, rng, 5, 9),
    ):
        assert after["boxes"].shape == (0, 4) and after["classes"].shape == after["ignored"].shape == (0,) and "masks" not in after


def test_twice_mirrored_is_as_before():
    before = example(3)
    after = _augment._mirror(_augment._mirror(before))
    assert all(np.array_equal(after[key], before[key]) for key in ("image", "masks", "labels") if key in before)
    np.testing.assert_allclose(after["boxes"], before["boxes"])
    check(before, _augment._mirror(before), 0)
