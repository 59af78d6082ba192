"""Boxes over a picture, each in its class's colour, with a word on what it holds.

h w pixels · n boxes
"""

from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from cvjax import lettering, overlay


def boxed(image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, words: Sequence[str] = ()) -> np.ndarray:
    """The picture, enlarged if small, with its boxes; uint8, the picture's size or a multiple of it, 3 channels.

    Args:
        image: uint8 h w 1 or 3.
        boxes: n 4, xyxy in pixels of `image`; what lies outside is cut off.
        classes: n, whole numbers, which choose the colours (those of `overlay.palette`).
        words: one for each box, or none.

    The first box lies on top: give the surest first.
    """
    picture = lettering.enlarged(image)
    draw = ImageDraw.Draw(picture)
    scale = picture.width / image.shape[1]
    size = max(11, min(picture.size) // 30)
    line = max(2, min(picture.size) // 160)
    for i in reversed(range(len(boxes))):
        left, top, right, bottom = np.clip(scale * boxes[i], -1, max(picture.size)).round().astype(int).tolist()
        colour = _colour(int(classes[i]))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line)
        if len(words):
            _word(draw, picture.size, (left, top), words[i], size, colour)
    return np.asarray(picture)


def beside(pictures: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Pictures of one size next to each other, or under each other where they are no higher than wide; uint8 h w 3."""
    axis = int(pictures[0].shape[0] >= pictures[0].shape[1])
    height, width = pictures[0].shape[:2]
    between = np.full((height, gap, 3) if axis else (gap, width, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (between, picture)][1:], axis)


def _word(draw: ImageDraw.ImageDraw, room: tuple[int, int], corner: tuple[int, int], word: str, size: int, colour: tuple) -> None:
    """The word on a ground of the box's colour: over the box's top left corner, or below that where the picture ends above it."""
    letters = lettering.font(size)
    word = lettering.fit(word, letters, room[0] - size // 2)
    width, height = round(letters.getlength(word)) + size // 2, round(1.35 * size)
    x = max(0, min(corner[0], room[0] - width))
    y = corner[1] - height if corner[1] >= height else max(0, corner[1])
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    dark = np.dot(colour, (0.299, 0.587, 0.114)) < 128
    draw.text((x + size // 4, y + height // 2), word, lettering.PAPER if dark else lettering.INK, letters, anchor="lm")


def _colour(number: int) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in overlay.palette()[number % 255])
    return red, green, blue
