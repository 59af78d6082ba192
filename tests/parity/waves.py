"""A picture that is known between its pixels too: OpenCV centres a patch on a pixel, ours lies between two."""

import numpy as np

SIZE, CELL = 48, 4
CENTRES = [(x, y) for y in (12, 19, 28, 33) for x in (10, 20, 27, 36)]  # in pixels from the corner of the picture


def picture(offset: float) -> np.ndarray:
    """SIZE x SIZE brightnesses 0-255 at the pixels' indices plus `offset`, of 12 plane waves."""
    draw = np.random.default_rng(7)
    y, x = np.mgrid[:SIZE, :SIZE] + offset
    waves = [np.sin(a * x + b * y + phase) for a, b, phase in draw.uniform((-0.6, -0.6, 0), (0.6, 0.6, 6), (12, 3))]
    return np.round(127 + 127 * np.sum(waves, 0) / np.abs(np.sum(waves, 0)).max())
