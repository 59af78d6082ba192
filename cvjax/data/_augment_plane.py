"""Host-side changes for segmentation: what moves an image moves its label map, and the weights of its pixels, with it.

Images are interpolated linearly, label maps and weights take the nearest pixel, so that no class comes from between two others. Examples
are those of `_augment`; `rotate` and `elastic` leave boxes and masks behind, the others carry them too.
"""

import cv2
import numpy as np

from cvjax.data._augment import MAPS, Example, Size, _crop, _image_size, _pair, _scale, pixels
from cvjax.data._labels import IGNORE

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's pixels
GREY = (0.299, 0.587, 0.114)  # ITU-R 601


def random_scale(example: Example, rng: np.random.Generator, low: float, high: float) -> Example:
    """Resizes by a factor drawn evenly from [low, high], aspect ratio kept."""
    factor = rng.uniform(low, high)
    tall, wide = _image_size(example)
    height, width = max(1, round(tall * factor)), max(1, round(wide * factor))
    return _scale(pixels(example, (height, width)), height, width)


def random_crop(example: Example, rng: np.random.Generator, size: Size, mean: tuple = MEAN) -> Example:
    """A piece of `size` from anywhere. Where the picture is smaller it lies anywhere in the piece, see `pad`."""
    example = pixels(example)
    (height, width), (tall, wide) = _pair(size), _image_size(example)
    top, left = int(rng.integers(abs(tall - height) + 1)), int(rng.integers(abs(wide - width) + 1))
    cut = (top if tall > height else 0, left if wide > width else 0)
    example = _crop(example, *cut, min(tall, height), min(wide, width))
    return pad(example, top - cut[0], left - cut[1], height, width, mean)


def pad(example: Example, top: int, left: int, height: int, width: int, mean: tuple = MEAN) -> Example:
    """Puts the picture into `height` x `width` pixels, `top` from above. Around it are `mean` (one number or three, 0-1; what the network's
    images are standardised by, so that it sees about 0), IGNORE and weight 0."""
    image = example["image"]
    tall, wide, channels = image.shape
    if (tall, wide) == (height, width):
        return example

    def framed(field: np.ndarray, fill: object) -> np.ndarray:
        out = np.full((height, width, *field.shape[2:]), fill, field.dtype)
        out[top : top + tall, left : left + wide] = field
        return out

    colour = 255 * np.asarray(mean if len(mean) in (1, channels) else [np.dot(mean, GREY)])
    out = {**example, "image": framed(image, np.rint(colour))}
    if "boxes" in example:
        out["boxes"] = example["boxes"] + np.array([left, top, left, top], np.float32)
    if "masks" in example:
        out["masks"] = np.moveaxis(framed(np.moveaxis(example["masks"], 0, -1), False), -1, 0)
    return out | {key: framed(example[key], {"labels": IGNORE, "weights": 0}[key]) for key in MAPS if key in example}


def rotate(example: Example, rng: np.random.Generator, degrees: float) -> Example:
    """Turns about the middle by an angle drawn evenly from [-degrees, degrees]; the size stays, and what comes in is mirrored."""
    return turn(example, rng.uniform(-degrees, degrees))


def turn(example: Example, degrees: float) -> Example:
    """Turns about the middle, anticlockwise."""
    example = pixels(example)
    height, width = example["image"].shape[:2]
    middle = ((height - 1) / 2, (width - 1) / 2)
    y, x = np.arange(height)[:, None] - middle[0], np.arange(width) - middle[1]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _warp(example, y * cos + x * sin + middle[0], x * cos - y * sin + middle[1])


def elastic(example: Example, rng: np.random.Generator, sigma: float = 10.0, grid: int = 3) -> Example:
    """U-Net's deformation: smooth displacements, from Gaussian ones on a coarse grid by bicubic interpolation; mirrored at the border.

    Ronneberger et al. 2015, arXiv:1505.04597, section 3.1. The picture is divided into grid x grid cells, whose middles are the points.

    Args:
        sigma: standard deviation of each point's displacement, in pixels, along each axis.
    """
    example = pixels(example)
    height, width = example["image"].shape[:2]
    coarse = rng.normal(0, sigma, (grid, grid, 2)).astype(np.float32)
    moved = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return _warp(example, np.arange(height)[:, None] + moved[..., 0], np.arange(width) + moved[..., 1])


def photometric(example: Example, rng: np.random.Generator, strength: float) -> Example:
    """Changes saturation, contrast about the mean grey, and brightness, each by a factor drawn evenly from 1 -+ strength (0 to 1)."""
    example = pixels(example)
    image = example["image"]
    saturation, contrast, brightness = rng.uniform(1 - strength, 1 + strength, 3)
    channels = image.shape[-1]
    grey = np.array(GREY if channels == 3 else [1.0])
    mix = contrast * brightness * (saturation * np.eye(channels) + (1 - saturation) * grey)
    offset = brightness * (1 - contrast) * (cv2.mean(image)[:channels] @ grey)
    changed = cv2.transform(image, np.concatenate([mix, np.full((channels, 1), offset)], 1))
    return {**example, "image": changed.reshape(image.shape)}


def _warp(example: Example, rows: np.ndarray, columns: np.ndarray) -> Example:
    """Takes each pixel from (row, column), h w each, of the old picture."""
    y, x = rows.astype(np.float32), columns.astype(np.float32)
    image = example["image"]
    out = {**example, "image": cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).reshape(image.shape)}
    nearest = {key: cv2.remap(example[key], x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT) for key in MAPS if key in example}
    return out | nearest
