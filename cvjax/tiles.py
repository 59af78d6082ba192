"""Overlap-tile inference (Ronneberger et al. 2015, arXiv:1505.04597, figure 2): a picture of any size, seen a tile at a time.

Tiles overlap by a margin on each side, and of each only what lies inside of the margin is kept. Where the margin is as wide as the network
can see, and tile and margin are multiples of its largest stride, that is what it would say of the whole picture. Beyond the border the
picture is mirrored.

b batch · h w height, width · c channels
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Num, PyTree


def tiled(see: Callable[[np.ndarray], Any], image: Num[np.ndarray, "h w c"], tile: int, margin: int) -> PyTree[Num[np.ndarray, "h w ..."]]:
    """What `see` says of every pixel of a picture: an array or, where `see` returns a dict of arrays, a dict of arrays.

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
    inside = slice(margin, margin + step)

    def inner(row: int, column: int) -> Any:
        window = mirrored[row * step : row * step + tile, column * step : column * step + tile]
        return jax.tree.map(lambda x: np.asarray(x)[0, inside, inside], see(window[None]))

    def joined(parts: list, axis: int) -> Any:
        return jax.tree.map(lambda *x: np.concatenate(x, axis), *parts)

    strips = [joined([inner(row, column) for column in range(columns)], 1) for row in range(rows)]
    return jax.tree.map(lambda x: x[:height, :width], joined(strips, 0))
