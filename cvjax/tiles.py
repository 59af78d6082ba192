"""Overlap-tile inference (Ronneberger et al. 2015, arXiv:1505.04597, figure 2): a picture of any size, seen a tile at a time.

Tiles overlap by a margin on each side, and of each only what lies inside of the margin is kept: where the margin is as wide as the network
can see, that is what it would say of the whole picture. Beyond the border the picture is mirrored.

b batch · h w height, width · c channels
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Num


def tiled(see: Callable[[np.ndarray], np.ndarray], image: Num[np.ndarray, "h w c"], tile: int, margin: int) -> Num[np.ndarray, "h w *k"]:
    """What `see` says of every pixel of a picture.

    Args:
        see: `1 tile tile c -> 1 tile tile ...`; always of the same shape, so it is compiled once.
        tile: pixels on a side of what is seen at once.
        margin: pixels on each side that only inform; below half of the tile.
    """
    height, width = image.shape[:2]
    step = tile - 2 * margin
    rows, columns = -(-height // step), -(-width // step)
    around = [(margin, margin + count * step - n) for count, n in ((rows, height), (columns, width))]
    mirrored = np.pad(image, (*around, (0, 0)), mode="reflect" if min(height, width) > 1 else "edge")

    def inner(row: int, column: int) -> np.ndarray:
        window = mirrored[row * step : row * step + tile, column * step : column * step + tile]
        return np.asarray(see(window[None]))[0, margin : margin + step, margin : margin + step]

    strips = [np.concatenate([inner(row, column) for column in range(columns)], 1) for row in range(rows)]
    return np.concatenate(strips)[:height, :width]
