"""Device augmentation: the same however the batch is divided, exact shares, and boxes that follow their pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from cvjax.ops import augment

SIZE = 12
flip = jax.jit(augment.flip, static_argnums=2)
pad_crop = jax.jit(augment.pad_crop, static_argnums=2, static_argnames=("fill", "ignore"))
erase = jax.jit(augment.erase, static_argnums=(2, 3, 4), static_argnames="noise")
mixup = jax.jit(augment.mixup, static_argnums=2)
cutmix = jax.jit(augment.cutmix, static_argnums=2)
mixup_or_cutmix = jax.jit(augment.mixup_or_cutmix, static_argnums=(2, 3), static_argnames="switch")


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def pictures(n=16, seed=0, dtype=np.uint8, size=SIZE):
    images = np.random.default_rng(seed).integers(1, 256, (n, size, size, 3))
    if dtype == np.float32:
        images = (images / 255 - 0.5) / 0.25
    return {"image": jnp.asarray(images, dtype), "label": jnp.arange(n, dtype=jnp.int32), "valid": jnp.ones(n, bool)}


def scene(n=16, size=SIZE):
    """Batches with one marked rectangle each: in the image (255), as box, as mask, and in the label map (class 7)."""
    draw = np.random.default_rng(1)
    x1, y1 = draw.integers(0, size - 4, (2, n))
    boxes = np.stack([x1, y1, x1 + 4, y1 + 2], -1).astype(np.float32)
    inside = np.zeros((n, size, size), bool)
    for i, (a, b, c, d) in enumerate(boxes.astype(int)):
        inside[i, b:d, a:c] = True
    return {
        "image": jnp.asarray(255 * inside[..., None].repeat(3, -1), jnp.uint8),
        "boxes": jnp.asarray(boxes)[:, None],
        "box_valid": jnp.ones((n, 1), bool),
        "masks": jnp.asarray(inside)[:, None],
        "labels": jnp.asarray(7 * inside, jnp.int32),
    }


ALL = {
    "flip": flip,
    "pad_crop": lambda batch, keys: pad_crop(batch, keys, 4),
    "erase": erase,
    "mixup": lambda batch, keys: mixup(batch, keys, 0.4),
    "cutmix": lambda batch, keys: cutmix(batch, keys, 1.0),
    "mixup_or_cutmix": lambda batch, keys: mixup_or_cutmix(batch, keys, 0.4, 1.0),
}


@pytest.mark.parametrize("name", ALL)
def test_dividing_the_batch_changes_nothing(name):
    dtype = np.uint8 if name in ("flip", "pad_crop") else np.float32
    batch, k, function = pictures(dtype=dtype), keys(16), ALL[name]
    whole = function(batch, k)
    for rows in (slice(0, 8), slice(8, 16)):
        part = function({field: values[rows] for field, values in batch.items()}, k[rows])
        for field in whole:
            np.testing.assert_array_equal(part[field], whole[field][rows], err_msg=field)
    assert whole["image"].dtype == batch["image"].dtype and whole["image"].shape == batch["image"].shape
    assert (whole["image"] != batch["image"]).any()


@pytest.mark.parametrize("name", ALL)
def test_other_keys_other_pictures(name):
    one, two = (ALL[name](pictures(), keys(16, seed))["image"] for seed in (0, 1))
    assert (one != two).any()


def test_the_functions_draw_independently_from_one_array_of_keys():
    n = 4000
    batch, k = pictures(n, size=5), keys(n)
    flipped = (flip(batch, k)["image"] != batch["image"]).any((1, 2, 3))
    erased = (erase(batch, k)["image"] != batch["image"]).any((1, 2, 3))
    switched = mixup_or_cutmix(batch, k, 1.0, 1.0)["share"] * 25 % 1 < 1e-4  # CutMix: a count of 25 pixels
    for a, b in ((flipped, erased), (flipped, switched), (erased, switched)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.07  # four standard deviations are 0.063


def test_normalize():
    image = jnp.asarray([[[[0, 51, 255]]]], jnp.uint8)
    want = [(0 - 0.5) / 0.2, (0.2 - 0.4) / 0.5, (1 - 0.3) / 0.25]
    for pixels in (image, image.astype(jnp.float32) / 255):
        got = augment.normalize({"image": pixels}, (0.5, 0.4, 0.3), (0.2, 0.5, 0.25))["image"]
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got[0, 0, 0], want, rtol=1e-6)


def test_normalize_by_a_mean_image():
    batch = pictures(2)
    mean = batch["image"][0].astype(jnp.float32) / 255
    got = augment.normalize(batch, mean, (1.0, 1.0, 1.0))["image"]
    assert (got[0] == 0).all() and (got[1] != 0).any()


# ---- geometry


def test_flip_mirrors_half_and_twice_is_nothing():
    batch, k = pictures(2000, size=4), keys(2000)
    once = flip(batch, k)
    mirrored = (once["image"] == batch["image"][:, :, ::-1]).all((1, 2, 3))
    same = (once["image"] == batch["image"]).all((1, 2, 3))
    assert (mirrored ^ same).all() and 0.45 < mirrored.mean() < 0.55
    assert (flip(once, k)["image"] == batch["image"]).all()
    assert (flip(batch, k, 1.0)["image"] == batch["image"][:, :, ::-1]).all()


def test_pad_crop_reaches_every_offset_equally():
    n, pad = 5000, 2
    image = np.zeros((n, 5, 5, 1), np.float32)
    image[:, 2, 2] = 1  # the centre stays in the picture
    moved = pad_crop({"image": jnp.asarray(image)}, keys(n), pad)["image"]
    assert (moved.sum((1, 2, 3)) == 1).all()
    counts = moved.sum((0, 3))
    assert counts.min() > 0.7 * n / 25 and counts.max() < 1.3 * n / 25


def test_pad_crop_cuts_from_the_padded_picture():
    batch, pad = pictures(), 4
    moved = np.asarray(pad_crop(batch, keys(16), pad, fill=9)["image"])
    padded = np.pad(batch["image"], ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=9)
    for one, whole in zip(moved, padded, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(whole, one.shape)
        assert (windows == one).all((-3, -2, -1)).any()


def test_pad_crop_by_nothing_is_nothing():
    assert (pad_crop(pictures(), keys(16), 0)["image"] == pictures()["image"]).all()


@pytest.mark.parametrize("change", [lambda b, k: flip(b, k, 0.7), lambda b, k: pad_crop(b, k, 5, ignore=0)])
def test_boxes_masks_and_labels_follow_the_picture(change):
    batch = scene()
    moved = change(batch, keys(16))
    assert (moved["image"] != batch["image"]).any()
    inside = np.asarray(moved["image"][..., 0] == 255)
    np.testing.assert_array_equal(moved["masks"][:, 0], inside)
    np.testing.assert_array_equal(moved["labels"], 7 * inside)
    for plane, (x1, y1, x2, y2), valid in zip(inside, moved["boxes"][:, 0], moved["box_valid"][:, 0], strict=True):
        rows, columns = np.nonzero(plane)
        assert bool(valid) == plane.any()
        if valid:
            assert (x1, y1, x2, y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_a_box_that_left_the_picture_is_no_longer_valid():
    batch = scene(200)
    moved = pad_crop(batch, keys(200), 9)
    gone = ~np.asarray(moved["masks"]).any((2, 3))
    assert gone.any() and (gone == ~np.asarray(moved["box_valid"])).all()
    assert not flip({**batch, "box_valid": ~batch["box_valid"]}, keys(200))["box_valid"].any()


def test_padding_of_a_label_map_is_ignored():
    moved = pad_crop(scene(), keys(16), 5)["labels"]
    assert set(np.unique(moved)) == {0, 7, 255}


# ---- erasing


@pytest.mark.parametrize("size", [(32, 32), (20, 60)])
def test_erase_areas_and_shapes(size):
    n, (h, w) = 3000, size
    batch = {"image": jnp.ones((n, h, w, 1), jnp.float32)}
    gone = np.asarray(erase(batch, keys(n), 1.0, (0.05, 0.3), (0.5, 2.0), noise=False)["image"][..., 0] == 0)
    rows, columns = gone.any(2), gone.any(1)
    tall, wide = rows.sum(1), columns.sum(1)
    assert (gone.sum((1, 2)) == tall * wide).all()  # one full rectangle each
    share = tall * wide / (h * w)
    edge = 0.5 / tall + 0.5 / wide  # rounding the sides to whole pixels changes the area by at most this factor
    assert (share >= 0.05 * (1 - edge)).all() and (share <= 0.3 * (1 + edge) + 1e-3).all()
    if h == w:  # every shape fits, so the area is uniform on 0.05-0.3
        assert share.mean() == pytest.approx(0.175, abs=0.006)
        assert (tall / wide).max() < 2 * (1 + edge.max()) and (tall / wide).min() > 0.5 / (1 + edge.max())
    top, left = rows.argmax(1), columns.argmax(1)
    assert top.min() == 0 and left.min() == 0 and (top + tall).max() == h and (left + wide).max() == w


def test_erase_happens_with_its_probability():
    batch = pictures(2000)
    changed = (erase(batch, keys(2000), 0.25)["image"] != batch["image"]).any((1, 2, 3))
    assert 0.21 < changed.mean() < 0.29
    assert (erase(batch, keys(2000), 0.0)["image"] == batch["image"]).all()


def test_erase_noise_fits_the_dtype():
    for dtype, mean, std in ((np.uint8, 127.5, 73.9), (np.float32, 0.0, 1.0)):  # of all 256 bytes
        batch = {"image": jnp.full((100, 16, 16, 3), 7, dtype)}
        image = np.asarray(erase(batch, keys(100), 1.0)["image"], np.float64)
        noise = image[image != 7]
        assert abs(noise.mean() - mean) < 0.02 * std and noise.std() == pytest.approx(std, rel=0.02)


# ---- mixing


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    n = 4000
    share = np.asarray(mixup(pictures(2 * n, size=1), keys(2 * n), alpha)["share"][::2])
    assert (share >= 0).all() and (share <= 1).all()
    for x in (0.001, 0.05, 0.3, 0.5, 0.8, 0.99):  # not Kolmogorov-Smirnov: for 0.1 a tenth is below float32's resolution
        want = scipy.stats.beta(alpha, alpha).cdf(x)
        assert np.mean(share <= x) == pytest.approx(want, abs=4 * np.sqrt(want * (1 - want) / n) + 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_mixup_is_the_weighted_mean_of_the_pair(dtype):
    batch = pictures(dtype=dtype)
    mixed = mixup(batch, keys(16), 1.0)
    share, image = np.asarray(mixed["share"]), np.asarray(batch["image"], np.float64)
    other = np.arange(16) ^ 1
    np.testing.assert_array_equal(mixed["label2"], other)
    np.testing.assert_array_equal(share, share[other])  # one share a pair
    assert len(np.unique(share)) == 8
    own = share[:, None, None, None]
    want = own * image + (1 - own) * image[other]
    np.testing.assert_allclose(mixed["image"], want, atol=0.51 if dtype == np.uint8 else 1e-5)


def test_cutmix_shares_are_exactly_the_pixels():
    batch = {"image": jnp.broadcast_to(jnp.arange(64)[:, None, None, None], (64, 7, 13, 1)).astype(jnp.float32),
             "label": jnp.arange(64)}  # fmt: skip
    mixed = cutmix(batch, keys(64), 1.0)
    own = np.asarray(mixed["image"] == batch["image"])
    np.testing.assert_allclose(mixed["share"], own.mean((1, 2, 3)), rtol=1e-6)
    assert ((mixed["image"] == batch["image"]) | (mixed["image"] == batch["label"][:, None, None, None] ^ 1)).all()
    assert 0.3 < own.mean() < 0.8 and own.any((1, 2, 3)).all()
    rectangle = (~own).any(2)[..., 0].sum(1) * (~own).any(1)[..., 0].sum(1)
    np.testing.assert_array_equal(rectangle, (~own).sum((1, 2, 3)))


def test_mixup_or_cutmix_takes_one_of_them_per_pair():
    batch, k = pictures(64, dtype=np.float32), keys(64)
    both = mixup_or_cutmix(batch, k, 0.4, 1.0, switch=0.5)
    blended, cut = mixup(batch, k, 0.4), cutmix(batch, k, 1.0)
    is_cut = (both["image"] == cut["image"]).all((1, 2, 3)) & (both["share"] == cut["share"])
    is_blend = (both["image"] == blended["image"]).all((1, 2, 3)) & (both["share"] == blended["share"])
    assert (is_cut ^ is_blend).all() and 10 < is_cut.sum() < 54
    assert (is_cut[::2] == is_cut[1::2]).all()


def test_multi_hot_labels_mix_too():
    batch = {**pictures(4), "label": jnp.eye(4)}
    assert (mixup(batch, keys(4), 1.0)["label2"] == jnp.eye(4)[jnp.array([1, 0, 3, 2])]).all()


def test_an_odd_batch_has_no_pairs():
    with pytest.raises(ValueError, match="must be even, not 3"):
        mixup(pictures(3), keys(3), 1.0)
