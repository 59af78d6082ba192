"""Host-side geometry: crop, resize, flip one example, with everything that lives in its plane.

An example is a dict: `image` (uint8 h w c, or `Encoded`) and, when present, `boxes` (float32 n 4, xyxy in pixels),
`masks` (n h w), `labels` and `weights` of their pixels (h w). All geometry is composed of three primitives, `_crop`,
`_scale` and `_mirror`, that carry them all. Boxes are clipped to the picture and keep their number and order: dropping
those that are left without area is the task's.

A function that shrinks chooses its region from the header of an encoded image and decodes no more than it needs.
"""

import math
from typing import Any

import cv2
import numpy as np

from cvjax.data._decode import Encoded
from cvjax.data._randaugment import distort

cv2.setNumThreads(0)  # the pipeline has its own workers; OpenCV's threads inside them only get in each other's way

Example = dict[str, Any]
Size = int | tuple[int, int]
MAPS = ("labels", "weights")  # one value a pixel


def resize(example: Example, size: Size, enlarge: str = "linear") -> Example:
    """Resizes to `size` (one number: a square), aspect ratio not kept. `enlarge` is "linear" or "cubic"."""
    height, width = _pair(size)
    return _scale(pixels(example, (height, width)), height, width, enlarge)


def center_crop(example: Example, size: Size, crop_fraction: float = 0.875, enlarge: str = "linear") -> Example:
    """The usual evaluation crop: shorter side to size / crop_fraction, then the centre (224 / 0.875 = 256)."""
    height, width = _pair(size)
    tall, wide = _image_size(example)
    factor = max(height / tall, width / wide) / crop_fraction
    tall, wide = max(height, round(tall * factor)), max(width, round(wide * factor))
    example = _scale(pixels(example, (tall, wide)), tall, wide, enlarge)
    return _crop(example, round((tall - height) / 2), round((wide - width) / 2), height, width)


def random_resized_crop(
    example: Example,
    rng: np.random.Generator,
    size: Size,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    enlarge: str = "linear",
) -> Example:
    """A region of random area and shape, resized to `size` (Szegedy et al. 2015, arXiv:1409.4842; as in torchvision).

    Args:
        rng: source of all randomness.
        scale: range of the region's share of the picture's area.
        ratio: range of its width / height, drawn log-uniformly.
    """
    height, width = _pair(size)
    tall, wide = _image_size(example)
    top, left, h, w = random_region(rng, tall, wide, scale, ratio)
    # The whole picture may shrink as long as the region keeps `size`; a region smaller than that forbids it.
    shrink = min(1.0, max(height / h, width / w))
    example = pixels(example, (math.ceil(tall * shrink), math.ceil(wide * shrink)), rows=top + h)
    factor = _eighths(example["image"], wide)
    top, left, bottom, right = (round(edge * factor) for edge in (top, left, top + h, left + w))
    example = _crop(example, top, left, max(1, bottom - top), max(1, right - left))
    return _scale(example, height, width, enlarge)


def random_region(
    rng: np.random.Generator, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random region: ten tries, then the largest central one within `ratio`."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def flip(example: Example, rng: np.random.Generator, probability: float = 0.5) -> Example:
    """Mirrors left and right with the given probability."""
    return _mirror(pixels(example)) if rng.random() < probability else pixels(example)


def rand_augment(example: Example, rng: np.random.Generator, layers: int = 2, magnitude: float = 9) -> Example:
    """RandAugment, see `_randaugment`. It moves the image alone, so beside boxes, masks or labels it only changes
    colours.
    """
    example = pixels(example)
    geometric = not {"boxes", "masks", "labels"} & set(example)
    return {**example, "image": distort(example["image"], rng, layers, magnitude, geometric)}


def to_channels(example: Example, channels: int) -> Example:
    """Image with 1 (grey, ITU-R 601 weights) or 3 channels (grey repeated)."""
    image = pixels(example)["image"]
    if image.shape[-1] == channels:
        return {**example, "image": image}
    if (image.shape[-1], channels) == (3, 1):
        return {**example, "image": cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]}
    if (image.shape[-1], channels) == (1, 3):
        return {**example, "image": np.repeat(image, 3, axis=-1)}
    raise ValueError(f"an image of {image.shape[-1]} channels cannot become one of {channels}")


def pixels(example: Example, at_least: tuple[int, int] | None = None, rows: int | None = None) -> Example:
    """The example with its image decoded; `at_least` and `rows` say what suffices, see `cvjax.data._decode.decode`.

    When decoding shrinks the picture or leaves out its bottom, boxes, masks and label maps follow.
    """
    if not isinstance(example["image"], Encoded):
        return example
    tall, wide = example["image"].size
    image = example["image"].pixels(at_least, rows)
    factor = _eighths(image, wide)
    carried = {**example, "image": image}
    if factor < 1:
        carried |= _scale_fields(example, (tall, wide), (math.ceil(tall * factor), image.shape[1]))
    return _crop(carried, 0, 0, *image.shape[:2]) if image.shape[0] < math.ceil(tall * factor) else carried


def _eighths(image: np.ndarray, width: int) -> float:
    """The scale at which a picture of this width was decoded, a multiple of 1/8."""
    return round(8 * image.shape[1] / width) / 8


def _image_size(example: Example) -> tuple[int, int]:
    image = example["image"]
    return image.size if isinstance(image, Encoded) else image.shape[:2]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


# ---- the geometry core


def _crop(example: Example, top: int, left: int, height: int, width: int) -> Example:
    rows, columns = slice(top, top + height), slice(left, left + width)
    out = {**example, "image": example["image"][rows, columns]}
    if "boxes" in example:
        shifted = example["boxes"] - np.array([left, top, left, top], np.float32)
        out["boxes"] = np.clip(shifted, 0, np.array([width, height, width, height], np.float32))
    if "masks" in example:
        out["masks"] = example["masks"][:, rows, columns]
    return out | {key: example[key][rows, columns] for key in MAPS if key in example}


def _scale(example: Example, height: int, width: int, enlarge: str = "linear") -> Example:
    image = example["image"]
    if image.shape[:2] == (height, width):
        return example
    if image.shape[0] > 2 * height or image.shape[1] > 2 * width:
        how = cv2.INTER_AREA  # the others would skip pixels; up to a factor of two bilinear reads them all, five times faster
    elif height > image.shape[0] or width > image.shape[1]:
        how = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}[enlarge]
    else:
        how = cv2.INTER_LINEAR
    out = cv2.resize(image, (width, height), interpolation=how).reshape(height, width, image.shape[-1])
    return {**example, "image": out} | _scale_fields(example, image.shape[:2], (height, width))


def _scale_fields(example: Example, old: tuple[int, int], new: tuple[int, int]) -> Example:
    """Boxes, masks, label maps and weights (nearest pixel) of a picture that was resized from `old` to `new`."""
    out = {}
    rows = ((np.arange(new[0]) + 0.5) * old[0] / new[0]).astype(int)
    columns = ((np.arange(new[1]) + 0.5) * old[1] / new[1]).astype(int)
    if "boxes" in example:
        scaled = example["boxes"] * np.array([new[1] / old[1], new[0] / old[0]] * 2, np.float32)
        out["boxes"] = np.minimum(scaled, np.array([new[1], new[0]] * 2, np.float32))  # rounding may put them beyond the edge
    if "masks" in example:
        out["masks"] = example["masks"][:, rows[:, None], columns]
    return out | {key: example[key][rows[:, None], columns] for key in MAPS if key in example}


def _mirror(example: Example) -> Example:
    width = example["image"].shape[1]
    image = example["image"]
    mirrored = cv2.flip(image, 1).reshape(image.shape)  # a copy in order: stacking NumPy's reversed view takes ten times as long
    out = {**example, "image": mirrored}
    if "boxes" in example:
        x0, y0, x1, y1 = example["boxes"].T
        out["boxes"] = np.stack([width - x1, y0, width - x0, y1], axis=-1)
    if "masks" in example:
        out["masks"] = example["masks"][:, :, ::-1]
    return out | {key: example[key][:, ::-1] for key in MAPS if key in example}
