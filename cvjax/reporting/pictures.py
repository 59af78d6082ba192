"""A grid of pictures with what a network said about each: right ones quiet, wrong ones marked in red."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cvjax.lettering import fit, font

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

RED, GREEN, INK, QUIET, PAPER, SHADE = "#c4232f", "#1a7f4b", "#1f2328", "#5b646e", "#ffffff", "#f0f2f5"
GAP, MARGIN, FRAME = 14, 18, 4  # pixels


def caption(predicted: str, confidence: float, true: str | None = None) -> str:
    """The text below one picture: label, confidence (0-1), and on a second line the true label, where it is known."""
    return f"{predicted}\t{100 * confidence:.0f} %" + ("" if true is None else f"\ntrue: {true}")


def prediction_grid(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    right: Sequence[bool | None],
    path: str | Path,
    *,
    columns: int = 6,
    tile: int = 180,
) -> Path:
    """Draws pictures with captions into one image file and returns its path.

    images: uint8 h w, h w 1 or h w 3, of any size; small ones are enlarged without smoothing: pixels stay pixels.
    captions: lines of text each (see `caption`); what follows a tab is set flush right; long lines end in an ellipsis.
    right: True (green tick), False (red cross and frame), None where the truth is not known (no mark).
    tile: side of a picture's square, in pixels of the file.
    """
    from PIL import Image, ImageDraw

    if not len(images) == len(captions) == len(right) or not len(images):
        raise ValueError(
            f"prediction_grid needs as many captions and marks as images, at least one: "
            f"{len(images)} images, {len(captions)} captions, {len(right)} marks"
        )
    size = max(12, tile // 11)
    lines = max(text.count("\n") + 1 for text in captions)
    columns = min(columns, len(images))
    width, height = tile + GAP, tile + round(1.45 * size * lines) + GAP + FRAME
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width - GAP + 2 * MARGIN, rows * height - GAP + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (image, text, good) in enumerate(zip(images, captions, right, strict=True)):
        corner = (MARGIN + i % columns * width, MARGIN + i // columns * height)
        _picture(sheet, draw, corner, tile, np.asarray(image), good)
        _text(draw, (corner[0], corner[1] + tile + FRAME), tile, size, text, good)
    sheet.save(path)
    return Path(path)


def _picture(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], tile: int, image: np.ndarray, good: bool | None
) -> None:
    """One picture, centred in its square, with its frame."""
    from PIL import Image

    if image.dtype != np.uint8:
        raise ValueError(f"prediction_grid draws uint8 images, got {image.dtype}; undo the normalisation first")
    x, y = corner
    draw.rectangle((x, y, x + tile - 1, y + tile - 1), fill=SHADE)
    picture = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image).convert("RGB")
    room = tile - 2 * FRAME
    scale = room / max(picture.size)
    scale = max(1, int(scale)) if scale >= 3 else scale  # whole pixels, so that each has the same size
    fitted = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
    picture = picture.resize(fitted, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    sheet.paste(picture, (x + (tile - fitted[0]) // 2, y + (tile - fitted[1]) // 2))
    if good is False:
        draw.rectangle((x, y, x + tile - 1, y + tile - 1), outline=RED, width=FRAME)


def _text(draw: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, size: int, text: str, good: bool | None) -> None:
    mark = {True: "✓ ", False: "✗ ", None: ""}[None if good is None else bool(good)]
    colour = {True: GREEN, False: RED, None: INK}[None if good is None else bool(good)]
    for row, line in enumerate(text.split("\n")):
        letters = font(size if row == 0 else round(0.92 * size), bold=row == 0)
        left, _, end = (mark * (row == 0) + line).partition("\t")
        y = corner[1] + round(1.4 * size * row)
        room = width - (letters.getlength(end) + 6 if end else 0)
        draw.text((corner[0], y), fit(left, letters, room), fill=colour if row == 0 else QUIET, font=letters)
        draw.text((corner[0] + width, y), end, fill=colour if row == 0 else QUIET, font=letters, anchor="ra")
