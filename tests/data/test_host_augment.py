"""Host geometry: what is painted, boxed and masked at one place stays together, whatever is done to the picture."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from cvjax.data import _augment as augment
from cvjax.data import _randaugment
from cvjax.data._decode import Encoded


def scene(height=120, width=160, box=(40, 30, 100, 90)):
    """A white rectangle on black, with its box, mask and label map."""
    x0, y0, x1, y1 = box
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    image = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, -1)
    return {"image": image, "boxes": np.array([box], np.float32), "masks": mask[None], "labels": mask.astype(np.int32)}


def encoded(example):
    out = io.BytesIO()
    Image.fromarray(example["image"]).save(out, "JPEG", quality=98)
    return {**example, "image": Encoded(out.getvalue())}


def agree(example):
    """Image, mask, label map and box show the same rectangle, up to a pixel."""
    height, width = example["image"].shape[:2]
    seen = example["image"][..., 0] > 127
    assert example["masks"].shape == (1, height, width) and example["labels"].shape == (height, width)
    assert (example["labels"] == example["masks"][0]).all()
    x0, y0, x1, y1 = example["boxes"][0]
    y, x = np.mgrid[:height, :width] + 0.5
    inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
    edge = 2 * (height + width) * 1.5
    assert (seen != example["masks"][0]).sum() <= edge and (seen != inside).sum() <= edge


GEOMETRY = {
    "resize": lambda example, rng: augment.resize(example, (70, 50)),
    "enlarge": lambda example, rng: augment.resize(example, 300, "cubic"),
    "center": lambda example, rng: augment.center_crop(example, 64),
    "random": lambda example, rng: augment.random_resized_crop(example, rng, 48, scale=(0.3, 1)),
    "flip": lambda example, rng: augment.flip(example, rng, 1.0),
}


@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("form", [dict, encoded])
@pytest.mark.parametrize("scale", [1, 3])
def test_boxes_masks_and_labels_travel_with_the_image(name, form, scale):
    for seed in range(5):
        example = scene(120 * scale, 160 * scale, tuple(scale * edge for edge in (40, 30, 100, 90)))
        agree(GEOMETRY[name](form(example), np.random.default_rng(seed)))


def test_large_jpegs_are_decoded_small_and_look_the_same():
    noise = np.asarray(Image.effect_noise((10, 8), 60).convert("RGB"))
    example = encoded({"image": cv2.resize(noise, (800, 600), interpolation=cv2.INTER_CUBIC)})

    def view(of, seed):
        return augment.random_resized_crop(of, np.random.default_rng(seed), 32, scale=(0.3, 0.6))["image"].astype(int)

    whole = augment.pixels(example)
    for seed in range(5):
        same, other = (np.abs(view(example, seed) - view(whole, k)).mean() for k in (seed, seed + 1))
        assert same < 4 and other > 5 * same  # edges of the region are rounded to pixels of the smaller picture


def test_center_crop_is_the_centre():
    image = np.zeros((256, 300, 3), np.uint8)
    image[16:240, 38:262] = 200
    out = augment.center_crop({"image": image}, 224)["image"]
    assert out.shape == (224, 224, 3) and (out == 200).all()
    assert (augment.center_crop({"image": image}, 256, 1.0)["image"] == image[:, 22:278]).all()
    assert augment.center_crop({"image": image[:1, :1]}, 8)["image"].shape == (8, 8, 3)  # one pixel


def test_random_regions_keep_their_ranges_and_cover_the_picture():
    rng = np.random.default_rng(0)
    regions = np.array([augment.random_region(rng, 200, 300, (0.2, 0.5), (3 / 4, 4 / 3)) for _ in range(2000)])
    top, left, height, width = regions.T
    assert top.min() == left.min() == 0 and (top + height).max() == 200 and (left + width).max() == 300
    area, aspect = height * width / 60_000, width / height
    assert 0.19 < area.min() < 0.21 and 0.49 < area.max() < 0.51 and abs(area.mean() - 0.35) < 0.01
    assert aspect.min() > 0.74 and aspect.max() < 1.35 and abs(np.log(aspect).mean()) < 0.02


def test_a_picture_too_long_for_any_region_gives_its_centre():
    assert augment.random_region(np.random.default_rng(0), 10, 1000, (0.5, 1.0), (3 / 4, 4 / 3)) == (0, 493, 10, 13)


def test_flip_is_its_own_inverse_and_as_likely_as_said():
    example, rng = scene(), np.random.default_rng(0)
    twice = augment.flip(augment.flip(example, rng, 1.0), rng, 1.0)
    assert all((twice[key] == example[key]).all() for key in example)
    flipped = [bool((augment.flip(example, rng, 0.3)["boxes"] != example["boxes"]).any()) for _ in range(1000)]
    assert 0.25 < np.mean(flipped) < 0.35


def test_to_channels():
    grey = augment.to_channels({"image": np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)}, 1)["image"]
    assert grey.shape == (1, 2, 1) and grey.ravel().tolist() == [76, 150]  # 0.299, 0.587 of 255
    assert augment.to_channels({"image": grey}, 3)["image"].shape == (1, 2, 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(_randaugment.PHOTOMETRIC | _randaugment.GEOMETRIC))
def test_randaugment_operations_keep_shape_and_grow_with_strength(name, channels):
    y, x = np.mgrid[:60, :80]
    smooth = np.stack([20 + 2 * x, 20 + x + y, 120 - y], -1).astype(np.uint8)
    if name == "sharpness":  # does nothing to slopes
        smooth[::4] = 200
    picture = Image.fromarray(smooth if channels == 3 else smooth[..., 0])

    def change(strength):
        out = _randaugment.apply(picture, name, strength)
        assert out.size == picture.size and out.mode == picture.mode
        return np.abs(np.asarray(out).astype(int) - np.asarray(picture)).mean()

    if name in ("identity", "autocontrast", "equalize"):
        assert change(0) == change(1)
    elif name == "color" and channels == 1:
        assert change(1) == 0
    else:
        assert change(0) <= 0.01 < change(0.5) < change(1)


def test_randaugment_leaves_annotated_pictures_in_place():
    example = scene()
    for seed in range(30):
        out = augment.rand_augment(example, np.random.default_rng(seed), 1, 30)
        assert (out["masks"] == example["masks"]).all()
        corner, inside = out["image"][5, 5].astype(int), out["image"][60, 70].astype(int)
        same = (out["image"] == corner).all(-1) == ~example["masks"][0]
        assert (corner == inside).all() or same.mean() > 0.97
    plain = [augment.rand_augment({"image": example["image"]}, np.random.default_rng(k), 2, 15)["image"] for k in (1, 1, 2)]
    assert (plain[0] == plain[1]).all() and (plain[0] != plain[2]).any()
