"""Average precision by the rules of PASCAL VOC (Everingham et al. 2010, section 4.2), as py-faster-rcnn's voc_eval counts. NumPy only.

Its boxes end with a pixel and are x2 - x1 + 1 wide; here they are continuous like all others, so that w is that width already (see
`ops.boxes.from_voc`). An IoU must be above 0.5. A detection looks at one object, the one of its picture and class with the highest IoU: it
is wrong where another found that before, and counts as nothing where that is difficult.

n detections of a class, best first · K categories
"""

from collections.abc import Sequence

import numpy as np

from cvjax.metrics import _matching
from cvjax.metrics.average_precision import Detections, Truths

LEAST_IOU = 0.5


def evaluate(truths: Truths, detections: Detections, categories: Sequence[int], eleven_points: bool = False) -> np.ndarray:
    """K: the AP of each category, 0-1; NaN where it has no object that must be found. VOC's mAP is their mean.

    Args:
        truths: all objects of the set; those that are difficult, or crowds, need not be found.
        detections: of any pictures; all count.
        categories: ids, in the order of the result.
        eleven_points: VOC 2007's rule, else the area under the curve, as from 2010 on.
    """
    return np.array([average(*curve(truths, detections, category), eleven_points) for category in categories], np.float64)


def curve(truths: Truths, detections: Detections, category: int) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) after each detection of a category, n; recall is NaN where there is nothing to find."""
    true = np.flatnonzero(truths.category == category)
    true = true[np.argsort(truths.image[true], kind="stable")]
    rows = np.flatnonzero(detections.category == category)
    rows = rows[np.argsort(-np.asarray(detections.score)[rows], kind="stable")]
    by_image = np.argsort(detections.image[rows], kind="stable")
    found, boxes = np.asarray(detections.boxes, np.float64)[rows[by_image]], truths.boxes[true]
    overlaps = _matching.box_overlaps(found, boxes, np.zeros(len(boxes), bool))
    pairs = _matching.overlapping(detections.image[rows[by_image]], truths.image[true], overlaps, LEAST_IOU)
    order = np.lexsort((pairs.truth, -pairs.iou, pairs.detection))
    order = order[np.diff(pairs.detection[order], prepend=-1) > 0]  # the best object of each detection, of equals the first
    order = order[pairs.iou[order] > LEAST_IOU]
    object_of = np.full(len(rows), -1)
    object_of[by_image[pairs.detection[order]]] = pairs.truth[order]
    ignored = (truths.difficult | truths.crowd)[true]
    first = np.zeros(len(rows), bool)
    first[np.unique(object_of, return_index=True)[1]] = True
    nothing = (object_of >= 0) & np.append(ignored, False)[object_of]
    right = (object_of >= 0) & first & ~nothing
    tp, fp = np.cumsum(right, dtype=np.float64), np.cumsum(~right & ~nothing, dtype=np.float64)
    to_find = (~ignored).sum()
    recall = tp / to_find if to_find else np.full(len(rows), np.nan)
    return (recall if to_find or len(rows) else np.array([np.nan])), tp / np.maximum(tp + fp, np.finfo(np.float64).eps)


def average(recall: np.ndarray, precision: np.ndarray, eleven_points: bool = False) -> float:
    """AP of a curve: the mean, over recalls 0, 0.1, ... 1, of the highest precision from there on; or the area under that precision."""
    if np.isnan(recall).any():
        return float("nan")
    if eleven_points:
        ap = 0.0
        for least in np.arange(0.0, 1.1, 0.1):
            ap += precision[recall >= least].max(initial=0.0) / 11
        return float(ap)
    recall, precision = np.concatenate([[0.0], recall, [1.0]]), np.concatenate([[0.0], precision, [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(np.diff(recall))
    return float(np.sum((recall[steps + 1] - recall[steps]) * precision[steps + 1]))
