"""Text on pictures, legibly at any size: class names and probabilities under one, and the font for it."""

import functools
from collections.abc import Sequence
from importlib.metadata import distribution

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST = 224  # pixels; smaller pictures are enlarged by a whole factor, so that pixels stay pixels
LARGEST = 4096  # pixels; nothing is enlarged beyond
PAPER, BAR, INK = (255, 255, 255), (198, 219, 239), (31, 35, 40)


def scores(image: np.ndarray, lines: Sequence[tuple[str, float]]) -> np.ndarray:
    """`image` (uint8 h w 1 or 3) over one line for each (name, probability), the first one larger; uint8 h w 3."""
    picture = enlarged(image)
    size = max(13, min(picture.size) // 18)
    sizes = [round(1.3 * size), *[size] * (len(lines) - 1)]
    tops = np.cumsum([picture.height + size // 3, *[round(1.5 * s) for s in sizes]])
    sheet = Image.new("RGB", (max(picture.width, SMALLEST), int(tops[-1]) + size // 3), PAPER)
    sheet.paste(picture, (0, 0))
    for (name, probability), top, points in zip(lines, tops, sizes, strict=False):
        _line(ImageDraw.Draw(sheet), name, probability, int(top), points)
    return np.asarray(sheet)


def enlarged(image: np.ndarray) -> Image.Image:
    """A picture (uint8 h w 1 or 3) in colour, by a whole factor at least SMALLEST wide and high unless longer than LARGEST."""
    picture = Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))))
    factor = max(1, min(-(-SMALLEST // min(picture.size)), LARGEST // max(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _line(draw: ImageDraw.ImageDraw, name: str, probability: float, top: int, points: int) -> None:
    """A name flush left, its probability flush right, and behind them a bar as long as the probability."""
    width, letters, margin = draw.im.size[0], font(points), points // 2
    draw.rectangle((0, top, width * probability, top + round(1.35 * points)), fill=BAR)
    number = f"{100 * probability:.1f} %"
    middle = top + round(0.7 * points)
    draw.text((width - margin, middle), number, INK, letters, anchor="rm")
    draw.text((margin, middle), fit(name, letters, width - 3 * margin - letters.getlength(number)), INK, letters, anchor="lm")


def fit(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """`text`, shortened with an ellipsis until it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


@functools.cache
def font(points: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: nothing to install, and most of the world's letters."""
    folder = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf")  # without importing it: 0.5 s
    return ImageFont.truetype(f"{folder}/DejaVuSans{'-Bold' * bold}.ttf", points)
