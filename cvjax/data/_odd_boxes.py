"""Boxes that can be, but look as if they were written in another form than is read: each suspicion is a line, and nothing is changed.

n boxes
"""

from collections.abc import Callable

import numpy as np

SHARE, LEAST = 0.1, 3  # of the boxes, and how many, that may reach beyond their picture: annotators are not exact
SMALL = 2.0  # pixels
FORMS = ("x1 y1 x2 y2 where x y width height is meant", "shares of the picture where pixels are meant")


def suspicions(xywh: np.ndarray, sizes: np.ndarray, name: Callable[[int], str], forms: tuple[str, str] = FORMS) -> list[str]:
    """What to ask about boxes of which many reach beyond their picture, or all are tiny; [] for boxes as they should be.

    Args:
        xywh: float n 4, in pixels.
        sizes: int n 2, (height, width) of each box's picture, 0 where it is not known.
        name: k -> what to call a box.
        forms: what boxes beyond the picture, and tiny ones, may be, in words.
    """
    known = (sizes > 0).all(1)
    outside = (xywh[:, :2] < -1).any(1) | (xywh[:, :2] + xywh[:, 2:] > sizes[:, ::-1] + 1).any(1)
    beyond = np.flatnonzero(known & outside)
    found = []
    if len(beyond) >= LEAST and len(beyond) > SHARE * known.sum():
        told = f"{len(beyond):,} of {known.sum():,} boxes reach beyond their picture, first {name(int(beyond[0]))}"
        found.append(f"{told}: are they {forms[0]}?")
    if len(xywh) and (xywh[:, 2:] < SMALL).all():
        found.append(f"all {len(xywh):,} boxes are smaller than {SMALL:g} pixels: are they {forms[1]}?")
    return found
