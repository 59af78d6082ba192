"""A segmentation over its picture: every class in a colour of its own, and under the picture which colour is which.

h w pixels · k colours · c candidates.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from cvjax import lettering

IGNORE = 255  # stays as it is
OPACITY = 0.6
FIRST = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))  # Okabe and Ito 2008
DARKEST = 0.35  # OKLab lightness of the other colours, 0-1
# linear sRGB as seen by all, without long-wave cones and without middle-wave cones (Viénot, Brettel and Mollon 1999)
EYES = ([[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.004, -0.004, 1]],
        [[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]])  # fmt: skip


def segmentation(image: np.ndarray, labels: np.ndarray, lines: Sequence[tuple[int, str, float]]) -> np.ndarray:
    """The picture, enlarged if small, in the colours of its classes over a legend: a name and its share for each of `lines`.

    Args:
        image: uint8 h w 1 or 3.
        labels: uint8, of any size, stretched over the picture; 255 leaves it as it is.
        lines: (class, name, share of the picture 0-1), in the legend's order.

    Returns:
        uint8, the picture's size or larger, 3 channels.
    """
    picture = coloured(lettering.enlarged(image), labels)
    size = max(13, min(picture.size) // 24)
    width = max(picture.width, lettering.SMALLEST)
    columns = max(1, min(width // (12 * size), len(lines)))
    column = min(width // columns, 24 * size)  # below a long strip, too, a share is near its name
    rows = -(-len(lines) // columns)
    sheet = Image.new("RGB", (width, picture.height + round(1.5 * size * rows) + size), lettering.PAPER)
    sheet.paste(picture, (0, 0))
    for i, (number, name, share) in enumerate(lines):
        corner = (i % columns * column + size // 2, picture.height + size // 2 + round(1.5 * size * (i // columns)))
        _entry(ImageDraw.Draw(sheet), corner, column - size, size, number, f"{name}\t{percent(share)}")
    return np.asarray(sheet)


def legend(names: Sequence[str], side: int = 280, opacity: float = OPACITY) -> np.ndarray:
    """Which colour is which class, in a square, as it looks over mid-grey: uint8 side side 3."""
    columns = 1 if len(names) <= 12 else 2
    rows = -(-len(names) // columns)
    size = min(18, int(side / (1.5 * rows + 1)))
    sheet = Image.new("RGB", (side, side), lettering.PAPER)
    for number, name in enumerate(names):
        corner = (number // rows * side // columns + size // 2, size // 2 + round(1.5 * size * (number % rows)))
        _entry(ImageDraw.Draw(sheet), corner, side // columns - size, size, number, name, opacity)
    return np.asarray(sheet)


def coloured(picture: Image.Image, labels: np.ndarray) -> Image.Image:
    """Classes in colour over the picture in grey; where a label is 255 the picture as it is."""
    stretched = np.asarray(Image.fromarray(labels).resize(picture.size, Image.Resampling.NEAREST))
    pixels = np.asarray(picture)
    mixed = (OPACITY * palette()).astype(np.float32)[stretched]  # in half of the memory that float64 takes
    mixed += (1 - OPACITY) * pixels.mean(-1, keepdims=True, dtype=np.float32)
    return Image.fromarray(np.where(stretched[..., None] == IGNORE, pixels, mixed.astype(np.uint8)))


def _entry(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, size: int, number: int, text: str, opacity: float = OPACITY
) -> None:
    """A square of the class's colour as it looks over mid-grey, its name, and flush right its share."""
    (x, y), letters = corner, lettering.font(size)
    left, _, end = text.partition("\t")
    red, green, blue = (int(c) for c in opacity * palette()[number] + (1 - opacity) * 127)
    draw.rectangle((x, y, x + size, y + size), fill=(red, green, blue), outline=lettering.INK)
    room = width - 2 * size - letters.getlength(end)
    draw.text((x + 1.5 * size, y + size // 2), lettering.fit(left, letters, room), lettering.INK, letters, anchor="lm")
    draw.text((x + width, y + size // 2), end, lettering.INK, letters, anchor="rm")


def percent(share: float) -> str:
    """A share, 0-1, without decimals."""
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


@functools.cache
def palette() -> np.ndarray:
    """Colours for the classes 0 to 254, float 256 3 in 0-255; the same for a class whatever the number of classes.

    After the seven of Okabe and Ito each next one is the candidate whose nearest neighbour among those taken (black, white and grey are
    taken from the start) is farthest: by the mean of the distances in OKLab (Ottosson 2020) as seen by all and by the colour-blind.
    """
    steps = np.linspace(0, 255, 8)
    colours = np.array([(0, 0, 0), (127, 127, 127), (255, 255, 255), *FIRST, *itertools.product(steps, steps, steps)], float)
    seen = np.stack([_oklab(np.clip(_linear(colours) @ np.array(eye).T, 0, 1)) for eye in EYES])
    bright = seen[0, :, 0] >= DARKEST
    nearest = np.full(len(colours), np.inf)
    chosen: list[int] = []
    while len(chosen) < 3 + 256:
        given = len(chosen) < 3 + len(FIRST)
        following = len(chosen) if given else int(np.where(bright, nearest, -1).argmax())
        nearest = np.minimum(nearest, np.linalg.norm(seen - seen[:, following, None], axis=-1).mean(0))
        chosen.append(following)
    return colours[chosen[3:]]


def _linear(colours: np.ndarray) -> np.ndarray:
    """sRGB c 3 in 0-255 as amounts of light, 0-1."""
    x = colours / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _oklab(light: np.ndarray) -> np.ndarray:
    """Lightness and two opponent colours of linear sRGB c 3, in which equal distances look equal."""
    cones = np.array([[0.41222, 0.53633, 0.05145], [0.2119, 0.68070, 0.1074], [0.0883, 0.28172, 0.62998]])
    opponents = np.array([[0.21045, 0.79362, -0.00407], [1.978, -2.42859, 0.45059], [0.0259, 0.78277, -0.80868]])
    return np.cbrt(light @ cones.T) @ opponents.T
