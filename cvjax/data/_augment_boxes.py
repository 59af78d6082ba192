"""Host-side geometry for detection: what moves an image moves its boxes, and its objects' masks, with it.

Examples are those of `_augment`, with the objects' `classes` and `ignored`, n each, beside `boxes` (n 4) and `masks` (n h w). What a crop
leaves of a box is clipped to it; `kept` then drops the objects that have no area left from every field alike.
"""

from collections.abc import Sequence

import numpy as np

from cvjax.data._augment import Example, Size, _crop, _image_size, _pair, _scale, flip, pixels
from cvjax.data._augment_plane import MEAN, pad

OBJECTS = ("boxes", "classes", "ignored", "masks")  # fields with a row for each object
SIDES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)  # of DETR's training
PIECES = 4  # pictures of a mosaic
LONGEST = 1333


def kept(example: Example) -> Example:
    """The example without the objects whose box has no area."""
    x1, y1, x2, y2 = example["boxes"].T
    there = (x2 > x1) & (y2 > y1)
    return example if there.all() else {**example, **{key: example[key][there] for key in OBJECTS if key in example}}


def shorter_size(size: tuple[int, int], shorter: int, longest: int) -> tuple[int, int]:
    """(height, width) whose shorter side is `shorter`, aspect ratio kept, unless the longer one would exceed `longest`, which then rules.

    DETR's rule (Carion et al. 2020, arXiv:2005.12872; its transforms): where the longer side rules, the shorter is rounded first; the
    longer follows from the shorter, cut to whole pixels. There it may exceed `longest` by a few, and here it does not.
    """
    low, high = min(size), max(size)
    if high / low * shorter > longest:
        shorter = max(1, round(longest * low / high))
    long = max(1, min(int(shorter * high / low), max(longest, shorter)))
    return (shorter, long) if size[0] <= size[1] else (long, shorter)


def resize_shorter(example: Example, size: int, longest: int = LONGEST) -> Example:
    """Resizes to the size of `shorter_size`. Encoded JPEGs are decoded at the scale that suffices."""
    height, width = shorter_size(_image_size(example), size, longest)
    return _scale(pixels(example, (height, width)), height, width)


def random_size_crop(example: Example, rng: np.random.Generator, smallest: int, largest: int) -> Example:
    """A piece from anywhere, its height and its width each drawn evenly from `smallest` to `largest` or to what the picture has."""
    example = pixels(example)
    tall, wide = _image_size(example)
    height, width = (int(rng.integers(min(smallest, side), min(largest, side) + 1)) for side in (tall, wide))
    top, left = int(rng.integers(tall - height + 1)), int(rng.integers(wide - width + 1))
    return kept(_crop(example, top, left, height, width))


def random_resize(example: Example, rng: np.random.Generator, sides: Sequence[int] = SIDES, longest: int = LONGEST) -> Example:
    """The shorter side becomes one of `sides`."""
    return resize_shorter(example, int(rng.choice(sides)), longest)


def detr_view(
    example: Example,
    rng: np.random.Generator,
    sides: Sequence[int] = SIDES,
    longest: int = LONGEST,
    first: Sequence[int] = (400, 500, 600),
    crop: tuple[int, int] = (384, 600),
    mirror: bool = True,
) -> Example:
    """DETR's training view: mirrored half of the time; then, half of the time, resized to one of `first`, a random piece taken, its height
    and width within `crop`; in the end resized to one of `sides`.

    An empty `first` leaves the crop out, `mirror=False` the mirror images. The picture of `first` has no longest side, as in DETR.
    """
    if first and rng.random() < 0.5:
        example = random_size_crop(random_resize(example, rng, first, 1 << 30), rng, *crop)
    example = random_resize(example, rng, sides, longest)
    return flip(example, rng) if mirror else example  # mirrored last: smaller pictures are mirrored faster


def scale_jitter(
    example: Example, rng: np.random.Generator, size: Size, low: float = 0.1, high: float = 2.0, mean: tuple = MEAN
) -> Example:
    """Large-scale jitter (Ghiasi et al. 2021, arXiv:2012.07177, section 3): the picture, made to fit into `size`, is resized by a factor
    drawn evenly from [low, high]; where it is then larger a piece from anywhere is cut, where it is smaller it lies in the top left corner
    and the rest is `mean`.
    """
    height, width = _pair(size)
    tall, wide = _image_size(example)
    factor = min(height / tall, width / wide) * rng.uniform(low, high)
    tall, wide = max(1, round(tall * factor)), max(1, round(wide * factor))
    example = _scale(pixels(example, (tall, wide)), tall, wide)
    top, left = int(rng.integers(max(0, tall - height) + 1)), int(rng.integers(max(0, wide - width) + 1))
    return kept(pad(_crop(example, top, left, min(tall, height), min(wide, width)), 0, 0, height, width, mean))


def mosaic(examples: Sequence[Example], rng: np.random.Generator, size: Size) -> Example:
    """Four pictures around a point in the middle half of each side (Bochkovskiy et al. 2020, arXiv:2004.10934, section 3.3).

    Each is resized, aspect ratio kept, until it covers its part, and a piece from anywhere in it is cut to fill the part.

    Args:
        examples: of top left, top right, bottom left and bottom right, either all with masks or none. What is not of objects comes from the
            first.
        size: of the whole; 2 pixels at least.
    """
    height, width = _pair(size)
    y, x = (int(rng.integers(max(1, side // 4), side - max(1, side // 4) + 1)) for side in (height, width))
    places = ((0, 0, y, x), (0, x, y, width - x), (y, 0, height - y, x), (y, x, height - y, width - x))
    parts = [_filling(example, rng, tall, wide) for example, (*_, tall, wide) in zip(examples, places, strict=True)]
    image = np.empty((height, width, parts[0]["image"].shape[-1]), np.uint8)
    for part, (top, left, tall, wide) in zip(parts, places, strict=True):
        image[top : top + tall, left : left + wide] = part["image"]
    framed = [pad(part, top, left, height, width) for part, (top, left, *_) in zip(parts, places, strict=True)]
    objects = {key: np.concatenate([part[key] for part in framed]) for key in OBJECTS if key in parts[0]}
    return kept({**parts[0], **objects, "image": image})


def _filling(example: Example, rng: np.random.Generator, height: int, width: int) -> Example:
    """The picture resized until it just covers `height` x `width`, and a piece of that size from anywhere in it."""
    tall, wide = _image_size(example)
    factor = max(height / tall, width / wide)
    tall, wide = max(height, round(tall * factor)), max(width, round(wide * factor))
    example = _scale(pixels(example, (tall, wide)), tall, wide)
    return _crop(example, int(rng.integers(tall - height + 1)), int(rng.integers(wide - width + 1)), height, width)
