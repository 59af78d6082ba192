"""RandAugment's operations on one uint8 picture (Cubuk et al. 2020, arXiv:1909.13719).

Every operation grows stronger with the magnitude, 0 to 30, over the ranges of torchvision's RandAugment. (In the first
published code posterize and solarize grew weaker.) What comes in from outside the picture is mid-grey.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

GREY = 128
Operation = Callable[[Image.Image, float], Image.Image]


def distort(image: np.ndarray, rng: np.random.Generator, layers: int, magnitude: float, geometric: bool = True) -> np.ndarray:
    """`layers` operations drawn with replacement, one after another.

    Args:
        image: uint8 h w c, c 1 or 3.
        magnitude: 0 to 30.
        geometric: whether operations that move pixels are among those drawn.
    """
    if not 0 <= magnitude <= 30:
        raise ValueError(f"RandAugment's magnitude goes from 0 to 30, not {magnitude}")
    names = list(PHOTOMETRIC | GEOMETRIC if geometric else PHOTOMETRIC)
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    for _ in range(layers):
        picture = apply(picture, names[rng.integers(len(names))], magnitude / 30, sign=1 if rng.random() < 0.5 else -1)
    return np.asarray(picture).reshape(image.shape)


def apply(picture: Image.Image, name: str, strength: float, sign: int = 1) -> Image.Image:
    """One operation by name. `strength` 0 to 1; `sign` chooses a direction where there are two."""
    if name in GEOMETRIC:
        return GEOMETRIC[name](picture, sign * strength)
    return PHOTOMETRIC[name](picture, sign * strength if name in SIGNED else strength)


def _enhance(kind: type) -> Operation:
    return lambda picture, strength: kind(picture).enhance(1 + 0.9 * strength)


def _affine(picture: Image.Image, coefficients: tuple[float, ...]) -> Image.Image:
    """Output pixel (x, y) comes from (a x + b y + c, d x + e y + f)."""
    fill = GREY if picture.mode == "L" else (GREY,) * 3
    return picture.transform(picture.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=fill)


def _rotate(picture: Image.Image, strength: float) -> Image.Image:
    fill = GREY if picture.mode == "L" else (GREY,) * 3
    return picture.rotate(30 * strength, Image.Resampling.BILINEAR, fillcolor=fill)


def _shear(strength: float, middle: float, along_x: bool) -> tuple[float, ...]:
    slope = 0.3 * strength
    return (1, slope, -slope * middle, 0, 1, 0) if along_x else (1, 0, 0, slope, 1, -slope * middle)


SIGNED = ("color", "contrast", "brightness", "sharpness")
PHOTOMETRIC: dict[str, Operation] = {
    "identity": lambda picture, _: picture,
    "autocontrast": lambda picture, _: ImageOps.autocontrast(picture),
    "equalize": lambda picture, _: ImageOps.equalize(picture),
    "solarize": lambda picture, strength: ImageOps.solarize(picture, round(256 - 256 * strength)),
    "posterize": lambda picture, strength: ImageOps.posterize(picture, 8 - round(4 * strength)),
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
}
GEOMETRIC: dict[str, Operation] = {
    "rotate": _rotate,
    "shear_x": lambda picture, strength: _affine(picture, _shear(strength, picture.height / 2, True)),
    "shear_y": lambda picture, strength: _affine(picture, _shear(strength, picture.width / 2, False)),
    "translate_x": lambda picture, strength: _affine(picture, (1, 0, 150 / 331 * strength * picture.width, 0, 1, 0)),
    "translate_y": lambda picture, strength: _affine(picture, (1, 0, 0, 0, 1, 150 / 331 * strength * picture.height)),
}
