"""What a picture of a detection set holds, in the set's own numbers: what evaluators compare with, and what training boxes are made from.

n objects
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Objects(NamedTuple):
    """The objects of one picture, or of several on end.

    Attributes:
        boxes: float64 n 4, x y w h in pixels of the file, as COCO writes them: nothing is clipped, rounded or left out.
        classes: int64 n, contiguous ids.
        area: float64 n, of the object's mask where the set has masks, else of its box.
        crowd: bool n, whether the box is around many objects that are not told apart (COCO's iscrowd).
        difficult: bool n, whether the object need not be found (VOC).
        ids: int64 n, numbers of the annotations, from 1 where the set has none. What a source gives has no 0 (see `Source.truth`): COCO's
            evaluation never counts that as found.
        segmentations: n polygons or run lengths as COCO writes them, or () where there are none.
        image: the picture's own number, None where the set has none.
    """

    boxes: np.ndarray
    classes: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    ids: np.ndarray
    segmentations: Sequence[Any] = ()
    image: int | None = None

    @property
    def ignored(self) -> np.ndarray:
        """bool n: what nothing is learned from and no detection need find."""
        return self.crowd | self.difficult
