"""A detector's mistakes by kind (Hoiem et al. 2012, as YOLO, Redmon et al. 2016, section 4.2, divides them), and what it takes for what.

K categories, in the order in which they are given
"""

from collections.abc import Sequence

import numpy as np

from cvjax.metrics import _matching
from cvjax.metrics.average_precision import Detections, Truths

KINDS = ("correct", "localisation", "similar", "other", "background")
FOUND, TOUCHED = 0.5, 0.1  # IoU above which a box is on an object, and above which it has to do with it


def split(truths: Truths, detections: Detections, categories: Sequence[int], groups: Sequence[str]) -> np.ndarray:
    """How many of the N best detections of each category are of each of `KINDS`, int64 K 5; N is the category's number of true objects.

    Correct: on an object of its class, IoU > 0.5. Localisation: near one of its class, IoU > 0.1. Similar, other: IoU > 0.1 with an
    object of a class of the same group, or of any. Background: nothing of these. The first that holds counts; two boxes on one object
    are both correct. Crowds and difficult objects are not in N, but who finds them has found something.

    Args:
        truths: all objects of the set.
        detections: of any pictures.
        categories: ids.
        groups: K, the name of the group that each category belongs to ("animal").
    """
    true, true_class = _sorted_by_image(truths.image, truths.category, categories)
    ignored = (truths.crowd | truths.difficult)[true]
    rows, class_of = _sorted_by_image(detections.image, detections.category, categories)
    number = np.bincount(true_class[~ignored], minlength=len(categories))
    order = np.lexsort((rows, -np.asarray(detections.score)[rows], class_of))
    best = np.sort(order[_matching.turns(class_of[order]) < number[class_of[order]]])
    rows, class_of = rows[best], class_of[best]
    boxes, crowd = np.asarray(detections.boxes, np.float64)[rows], truths.crowd[true]
    overlaps = _matching.box_overlaps(boxes, truths.boxes[true], crowd)
    pairs = _matching.overlapping(detections.image[rows], truths.image[true], overlaps, TOUCHED)
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    said, is_ = class_of[pairs.detection], true_class[pairs.truth]
    kind = np.where(said == is_, np.where(pairs.iou > FOUND, 0, 1), np.where(group[said] == group[is_], 2, 3))
    kind[pairs.iou <= TOUCHED] = 4
    kinds = np.full(len(rows), 4)
    np.minimum.at(kinds, pairs.detection, kind)
    return np.bincount(class_of * len(KINDS) + kinds, minlength=len(categories) * len(KINDS)).reshape(-1, len(KINDS))


def confusion(truths: Truths, detections: Detections, categories: Sequence[int], least_score: float) -> np.ndarray:
    """How often an object of one class (row) was taken for one of another (column): int64 K+1 K+1, the last for background.

    The surest detection of a picture takes the object with the highest IoU, whatever its class, then the next one of those that are left;
    an IoU of 0.5 is needed. In the last row are detections without an object, in the last column objects that were not found. Crowds and
    difficult objects are in no row, and nor are the detections that take them.

    Args:
        truths: all objects of the set.
        detections: of any pictures.
        categories: ids.
        least_score: of the detections that count.
    """
    true, true_class = _sorted_by_image(truths.image, truths.category, categories)
    rows, class_of = _sorted_by_image(detections.image, detections.category, categories)
    sure = np.asarray(detections.score)[rows] >= least_score
    rows, class_of = rows[sure], class_of[sure]
    order = np.lexsort((rows, -np.asarray(detections.score)[rows], detections.image[rows]))
    rows, class_of = rows[order], class_of[order]
    crowd, ignored = truths.crowd[true], (truths.crowd | truths.difficult)[true]
    image, boxes = detections.image[rows], np.asarray(detections.boxes, np.float64)[rows]
    pairs = _matching.overlapping(image, truths.image[true], _matching.box_overlaps(boxes, truths.boxes[true], crowd), FOUND)
    matches = _matching.match(pairs, image, crowd, ignored[:, None], np.array([FOUND]))
    object_of = np.full(len(rows), -1)
    object_of[matches.detection] = matches.truth[:, 0, 0]
    K = len(categories)
    row = np.append(true_class, K)[object_of]  # -1 is the last: background
    counted = ~np.append(ignored, False)[object_of]
    missed = np.setdiff1d(np.flatnonzero(~ignored), object_of)
    table = np.zeros((K + 1, K + 1), np.int64)
    np.add.at(table, (row[counted], class_of[counted]), 1)
    np.add.at(table, (true_class[missed], K), 1)
    return table


def _sorted_by_image(image: np.ndarray, category: np.ndarray, categories: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the given categories by image, those of one image as they stand, and each one's place in `categories`."""
    ids = np.asarray(categories)
    ascending = np.argsort(ids)
    rows = np.flatnonzero(np.isin(category, ids))
    rows = rows[np.argsort(image[rows], kind="stable")]
    return rows, ascending[np.searchsorted(ids[ascending], category[rows])]
