"""A heat map over a picture: inferno, which grows evenly from dark to bright also for the colour-blind, over the picture in grey."""

import numpy as np
from PIL import Image, ImageDraw


def overlay(view: np.ndarray, heat: np.ndarray, point: tuple[float, float] | None) -> np.ndarray:
    """`heat` (any size) from 0, dark, to its largest value, bright, stretched bilinearly over `view` (uint8 h w 3); uint8 h w 3.

    The picture is made flat grey, so that what is bright is hot and not a white wall.

    point: a place to mark, as (row, column) from 0 to 1.
    """
    from matplotlib import colormaps

    heat = np.asarray(heat, np.float32) / max(float(heat.max()), 1e-12)
    smooth = np.asarray(Image.fromarray(heat).resize(view.shape[1::-1], Image.Resampling.BILINEAR))
    colours = colormaps["inferno"](smooth)[..., :3] * 255
    mixed = 0.4 * (96 + 0.3 * view.mean(-1, keepdims=True)) + 0.6 * colours
    sheet = Image.fromarray(mixed.astype(np.uint8))
    if point:
        y, x = point[0] * view.shape[0], point[1] * view.shape[1]
        ImageDraw.Draw(sheet).ellipse((x - 6, y - 6, x + 6, y + 6), fill="#ffffff", outline="#000000", width=2)
    return np.asarray(sheet)
