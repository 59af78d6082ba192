"""COCO's outlines of objects as masks of pixels, by pycocotools, whose rasterising every published number rests on."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def run_lengths(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed run lengths of polygons (the union of several), of run lengths as a list, or as they are: as its annToRLE.

    Args:
        segmentation: as it stands in the json, where `_coco_json.fault` finds nothing wrong.
        size: (height, width) of the picture.
    """
    from pycocotools import mask

    if isinstance(segmentation, list):
        return mask.merge(mask.frPyObjects(segmentation, *size))
    return mask.frPyObjects(segmentation, *size) if isinstance(segmentation["counts"], list) else segmentation


def instance_masks(segmentations: Sequence[Any], size: tuple[int, int]) -> np.ndarray:
    """bool n h w. A sliver of a polygon may cover no pixel."""
    from pycocotools import mask

    if not len(segmentations):
        return np.zeros((0, *size), bool)
    decoded = mask.decode([run_lengths(segmentation, size) for segmentation in segmentations])  # h w n, column-major
    return np.ascontiguousarray(np.moveaxis(decoded, -1, 0)).astype(bool)


def encoded(masks: np.ndarray) -> list[dict[str, Any]]:
    """Run lengths of masks, bool n h w, as COCO's json holds them."""
    from pycocotools import mask

    found = mask.encode(np.asfortranarray(np.moveaxis(masks, 0, -1).astype(np.uint8))) if len(masks) else []
    return [{"size": [int(side) for side in one["size"]], "counts": one["counts"].decode()} for one in found]
