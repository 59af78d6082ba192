"""What the workers make of a record: top-level functions of plain settings, so that `functools.partial` of them
pickles.

They live apart from the rest of the preprocessing because a worker process that imported JAX would take seconds to
start.
"""

import numpy as np

from cvjax.data import _augment


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
