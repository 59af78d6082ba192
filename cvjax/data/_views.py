"""What the workers make of a record: top-level functions of plain settings, so that `functools.partial` of them
pickles.

They live apart from the rest of the preprocessing because a worker process that imported JAX would take seconds to
start.
"""

import numpy as np

from cvjax.data import _augment, _augment_plane
from cvjax.errors import UserError

STEP = 64  # pixels


def training(
    example: dict,
    rng: np.random.Generator,
    *,
    size: int,
    channels: int = 3,
    crop: str = "none",
    scale: tuple[float, float] = (0.08, 1.0),
    randaugment: tuple = (),
) -> dict:
    """A random view: `crop` "resized" is a random resized crop, else the largest centre square; then RandAugment."""
    if crop == "resized":
        example = _augment.random_resized_crop(example, rng, size, scale)
    else:
        example = _augment.center_crop(example, size, 1.0)
    if randaugment:
        example = _augment.rand_augment(example, rng, *randaugment)
    return _augment.to_channels(example, channels)


def text(example: dict, rng: np.random.Generator | None = None) -> dict:
    """Tokens are what the network takes; nothing is to be made of them."""
    return example


def evaluation(example: dict, *, size: int, channels: int = 3, crop_fraction: float = 1.0) -> dict:
    """The same view every time: shorter side to size / crop_fraction, then the centre."""
    return _augment.to_channels(_augment.center_crop(example, size, crop_fraction), channels)


def patch(
    example: dict,
    rng: np.random.Generator,
    *,
    size: int | tuple[int, int],
    channels: int = 3,
    mean: tuple = _augment_plane.MEAN,
    zoom: tuple[float, float] = (1.0, 1.0),
    rotate: float = 0.0,
    elastic: float = 0.0,
    photometric: float = 0.0,
) -> dict:
    """A random view of a picture with a label map: resized by a factor in `zoom`, turned by up to `rotate` degrees, bent by `elastic`
    pixels, a crop of `size` with `mean` around it, its colours changed by `photometric`. (1, 1) and 0 leave one out.
    """
    if tuple(zoom) != (1, 1):
        example = _augment_plane.random_scale(example, rng, *zoom)
    if rotate:
        example = _augment_plane.rotate(example, rng, rotate)
    if elastic:
        example = _augment_plane.elastic(example, rng, elastic)
    example = _augment_plane.random_crop(example, rng, size, mean)
    if photometric:
        example = _augment_plane.photometric(example, rng, photometric)
    return _augment.to_channels(example, channels)


def canvas(example: dict, *, size: tuple[int, int] | None, channels: int = 3, mean: tuple = _augment_plane.MEAN) -> dict:
    """The whole picture at its own resolution, in the top left corner of `size` (height, width) pixels; the rest is `mean` and ignored.

    Without a size the next multiples of STEP, so that pictures of many sizes come in few.
    """
    example = _augment.pixels(example)
    tall, wide = example["image"].shape[:2]
    height, width = size or (-(-tall // STEP) * STEP, -(-wide // STEP) * STEP)
    if tall > height or wide > width:
        raise UserError(f"it is {tall} x {wide} pixels, more than the {height} x {width} of the largest image of its split")
    return _augment.to_channels(_augment_plane.pad(example, 0, 0, height, width, mean), channels)
