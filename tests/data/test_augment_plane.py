"""Label maps and weights stay on the pixels of their images, whatever moves them."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cvjax.data import _augment, _augment_plane, _views
from cvjax.data._decode import Encoded
from cvjax.data._source import Info
from cvjax.errors import UserError
from cvjax.preprocess import Augment, Pixels, host_eval, host_train


def scene(height=40, width=56, cell=8):
    """Patches of 0 or 200, the same in the image, the label map and the weights."""
    small = np.random.default_rng(0).integers(0, 2, (-(-height // cell), -(-width // cell))) * 200
    plane = small.repeat(cell, 0).repeat(cell, 1)[:height, :width].astype(np.uint8)
    return {"image": plane[..., None].repeat(3, -1), "labels": plane, "weights": plane.astype(np.float32)}


def seeded(seed=0):
    return np.random.default_rng(seed)


MOVES = {
    "scale": lambda example, rng: _augment_plane.random_scale(example, rng, 0.5, 2.0),
    "crop": lambda example, rng: _augment_plane.random_crop(example, rng, (30, 70)),
    "rotate": lambda example, rng: _augment_plane.rotate(example, rng, 45),
    "elastic": lambda example, rng: _augment_plane.elastic(example, rng, 4.0),
    "flip": lambda example, rng: _augment.flip(example, rng, 1.0),
    "resized crop": lambda example, rng: _augment.random_resized_crop(example, rng, 32),
    "patch": lambda example, rng: _views.patch(example, rng, size=36, zoom=(0.5, 2.0), rotate=20, elastic=3.0),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_is_painted_at_a_pixel_stays_with_its_label_and_its_weight(name):
    for seed in range(8):
        out = MOVES[name](scene(), seeded(seed))
        inside = out["labels"] != 255
        image, labels, weights = out["image"][..., 1].astype(int)[inside], out["labels"][inside], out["weights"][inside]
        assert set(np.unique(labels)) <= {0, 200} and (weights == labels).all()
        assert (np.abs(image - labels) > 100).mean() < 0.05
        assert 0.05 < (labels == 200).mean() < 0.95
        assert out["image"].dtype == np.uint8 and out["labels"].dtype == np.uint8 and out["weights"].dtype == np.float32


@pytest.mark.parametrize("name", MOVES)
def test_the_same_generator_gives_the_same_view(name):
    first, same, other = (MOVES[name](scene(), seeded(seed)) for seed in (3, 3, 4))
    for key in first:
        np.testing.assert_array_equal(first[key], same[key])
    if name != "flip":
        assert first["labels"].shape != other["labels"].shape or not np.array_equal(first["labels"], other["labels"])


@pytest.mark.parametrize("quarters", range(4))
def test_quarter_turns_are_exact(quarters):
    plane = seeded().integers(0, 9, (7, 7)).astype(np.uint8)
    out = _augment_plane.turn({"image": plane[..., None], "labels": plane}, 90 * quarters)
    np.testing.assert_array_equal(out["image"][..., 0], np.rot90(plane, quarters))
    np.testing.assert_array_equal(out["labels"], np.rot90(plane, quarters))


def test_angles_and_factors_keep_their_ranges():
    class Asked:
        def uniform(self, *between):
            self.between = between
            return between[0]

    asked = Asked()
    out = _augment_plane.random_scale(scene(), asked, 0.25, 3)
    assert asked.between == (0.25, 3) and out["image"].shape == (10, 14, 3)
    out = _augment_plane.rotate(scene(), asked, 30)
    assert asked.between == (-30, 30)
    np.testing.assert_array_equal(out["labels"], _augment_plane.turn(scene(), -30)["labels"])


def test_what_comes_in_is_mirrored():
    plane = np.tile(np.array([10, 20, 30, 40], np.uint8), (4, 1))
    shifted = _augment_plane._warp(
        {"image": plane[..., None], "labels": plane}, np.arange(4)[:, None] + np.zeros(4), np.tile(np.arange(4) - 2.0, (4, 1))
    )
    assert shifted["labels"][0].tolist() == shifted["image"][0, :, 0].tolist() == [20, 10, 10, 20]


def test_elastic_displacements_have_the_spread_of_their_points():
    x = np.tile(np.arange(90, dtype=np.float32), (90, 1))
    moved = []
    for seed in range(200):
        out = _augment_plane.elastic({"image": np.zeros((90, 90, 3), np.uint8), "weights": x}, seeded(seed), 5.0)["weights"] - x
        moved.append(out[45, 45])  # the middle of the middle cell: a point of the grid
        step = np.abs(np.diff(out, axis=1)[:, 20:70])
        assert step.max() <= 3 and step.mean() < 0.5  # smooth
    assert 4.3 < np.std(moved) < 5.7 and abs(np.mean(moved)) < 1.2
    still = _augment_plane.elastic(scene(), seeded(), 0.0)
    np.testing.assert_array_equal(still["image"], scene()["image"])


def test_a_crop_of_the_same_size_is_the_picture_and_a_smaller_one_comes_from_everywhere():
    example = scene()
    assert all((_augment_plane.random_crop(example, seeded(), (40, 56))[key] == example[key]).all() for key in example)
    y, x = np.mgrid[:6, :9]
    ids = (9 * y + x).astype(np.uint8)
    corners = {
        int(_augment_plane.random_crop({"image": ids[..., None], "labels": ids}, seeded(k), (4, 8))["labels"][0, 0]) for k in range(60)
    }
    assert corners == {9 * row + column for row in range(3) for column in range(2)}


def test_a_picture_smaller_than_the_crop_lies_anywhere_in_it_with_nothing_to_learn_around():
    example = {"image": np.full((3, 5, 3), 9, np.uint8), "labels": np.ones((3, 5), np.uint8), "weights": np.full((3, 5), 2, np.float32)}
    places = set()
    for seed in range(60):
        out = _augment_plane.random_crop(example, seeded(seed), (5, 6))
        inside = out["labels"] == 1
        assert inside.sum() == 15 and (out["labels"][~inside] == 255).all() and (out["weights"] == 2 * inside).all()
        assert (out["image"][inside] == 9).all() and (out["image"][~inside] == (124, 116, 104)).all()
        places.add(tuple(np.argwhere(inside)[0].tolist()))
    assert places == {(row, column) for row in range(3) for column in range(2)}
    narrow = _augment_plane.random_crop(scene(), seeded(), (60, 20))  # larger one way, smaller the other
    assert narrow["image"].shape == (60, 20, 3) and (narrow["labels"] != 255).sum() == 40 * 20
    assert _augment_plane.random_crop({"image": np.zeros((1, 1, 1), np.uint8)}, seeded(), 3)["image"].max() == 117  # the mean's grey


def test_boxes_and_masks_ride_along_into_the_frame():
    box = np.array([[1, 0, 3, 2]], np.float32)
    mask = np.zeros((1, 3, 5), bool)
    mask[0, 0:2, 1:3] = True
    out = _augment_plane.pad({"image": np.zeros((3, 5, 3), np.uint8), "boxes": box, "masks": mask}, 2, 1, 9, 9)
    assert out["boxes"].tolist() == [[2, 2, 4, 4]]
    assert out["masks"].shape == (1, 9, 9) and out["masks"].sum() == 4 and out["masks"][0, 2:4, 2:4].all()


def test_an_object_of_one_pixel_is_never_lost():
    labels = np.zeros((20, 20), np.uint8)
    labels[7, 11] = 1
    example = {"image": labels[..., None].repeat(3, -1), "labels": labels}
    for seed in range(10):
        out = _augment_plane.random_crop(_augment.flip(example, seeded(), 1.0), seeded(seed), 30)
        assert (out["labels"] == 1).sum() == 1 and (out["image"][out["labels"] == 1] == 1).all()


def test_photometric_changes_colours_alone_and_as_far_as_asked():
    example = scene() | {"image": seeded().integers(60, 190, (40, 56, 3)).astype(np.uint8)}
    views = [_augment_plane.photometric(example, seeded(seed), 0.2) for seed in range(20)]
    assert all((view[key] == example[key]).all() for view in views for key in ("labels", "weights"))
    bright = [view["image"].mean() / example["image"].mean() for view in views]
    assert 0.79 < min(bright) < 0.9 and 1.1 < max(bright) < 1.21
    np.testing.assert_array_equal(_augment_plane.photometric(example, seeded(), 0.0)["image"], example["image"])


def test_photometric_is_saturation_then_contrast_then_brightness():
    class Fixed:
        def __init__(self, *factors):
            self.factors = factors

        def uniform(self, *_):
            return self.factors

    image = np.array([[[200, 100, 50], [40, 80, 120]]], np.uint8)
    grey = image @ (0.299, 0.587, 0.114)
    for factors, expected in {
        (0.0, 1, 1): grey[..., None].repeat(3, -1),
        (1, 0.5, 1): 0.5 * image + 0.5 * grey.mean(),
        (1, 1, 1.3): 1.3 * image,
        (0.0, 0.5, 1.3): 1.3 * (0.5 * grey + 0.5 * grey.mean())[..., None].repeat(3, -1),
    }.items():
        out = _augment_plane.photometric({"image": image}, Fixed(*factors), 0.5)["image"]
        np.testing.assert_allclose(out, np.clip(expected, 0, 255), atol=0.51)
    one = _augment_plane.photometric({"image": np.full((2, 2, 1), 100, np.uint8)}, Fixed(0.3, 0.5, 1.2), 0.7)["image"]
    assert one.shape == (2, 2, 1) and (one == 120).all()


PARTS = {
    "zoom": ((0.5, 2.0), lambda example, rng: _augment_plane.random_scale(example, rng, 0.5, 2.0)),
    "rotate": (30.0, lambda example, rng: _augment_plane.rotate(example, rng, 30.0)),
    "elastic": (4.0, lambda example, rng: _augment_plane.elastic(example, rng, 4.0)),
    "photometric": (0.3, None),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_training_view_does_what_each_setting_says(name):
    setting, move = PARTS[name]
    rng = seeded(5)
    expected = _augment_plane.random_crop(move(scene(), rng) if move else scene(), rng, 32)
    expected = expected if move else _augment_plane.photometric(expected, rng, setting)
    out = _views.patch(scene(), seeded(5), size=32, **{name: setting})
    assert all((out[key] == expected[key]).all() for key in expected)
    plain = _views.patch(scene(), seeded(5), size=32)
    assert not np.array_equal(out["image"], plain["image"])


def test_encoded_pictures_and_grey():
    out = io.BytesIO()
    plane = scene(80, 112, 16)
    Image.fromarray(plane["image"]).save(out, "JPEG", quality=98)
    view = _views.patch(plane | {"image": Encoded(out.getvalue())}, seeded(), size=(24, 32), channels=1, zoom=(0.3, 0.4))
    assert view["image"].shape == (24, 32, 1) and view["labels"].shape == view["weights"].shape == (24, 32)
    assert (np.abs(view["image"][..., 0].astype(int) - view["labels"]) > 100).mean() < 0.08


def test_the_canvas_keeps_every_pixel_and_ignores_the_rest():
    example = scene()
    out = _views.canvas(example, size=(50, 60))
    for key in example:
        np.testing.assert_array_equal(out[key][:40, :56], example[key])
    assert (out["labels"][40:] == 255).all() and (out["labels"][:, 56:] == 255).all() and out["weights"].sum() == example["weights"].sum()
    assert (out["image"][45, 59] == (124, 116, 104)).all() and _views.canvas(example, size=(40, 56), channels=1)["image"].shape == (
        40,
        56,
        1,
    )
    with pytest.raises(UserError, match="it is 40 x 56 pixels, more than the 40 x 55"):
        _views.canvas(example, size=(40, 55))


@pytest.mark.parametrize(("channels", "mean"), [(1, (0.05,)), (3, (0.1, 0.5, 0.9))])
@pytest.mark.parametrize("stored", [1, 3])
def test_what_lies_around_a_picture_is_nought_to_the_network(stored, channels, mean):
    info, pixels = Info(("a", "b"), 1, "segmentation", largest=(6, 9)), Pixels(8, channels, mean=mean, std=(0.05,) * channels)
    example = {"image": np.full((4, 5, stored), 250, np.uint8), "labels": np.zeros((4, 5), np.uint8)}
    for made in (
        host_eval(pixels, info)(example),
        host_train(pixels, Augment(), SimpleNamespace(info=info))(example, np.random.default_rng(0)),
    ):
        around = made["image"][made["labels"] == 255] / 255
        expected = np.dot(mean, [0.299, 0.587, 0.114]) if stored < channels else mean
        assert len(around) and np.abs(around - expected).max() < 0.003
