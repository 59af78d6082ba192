"""Scores of a detector on a whole split: COCO's twelve numbers, VOC's, the AP of each class, and whether it finds one box over and over.

m detections of a picture · n its objects
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from cvjax.errors import TrainingFailed
from cvjax.metrics import voc
from cvjax.metrics._matching import box_iou
from cvjax.metrics.average_precision import NAMES, Detections, Truths, evaluate

NEEDED = ("index", "original_size", "detected_boxes", "detected_scores", "detected_classes")
VOC = {"voc/mAP07": True, "voc/mAP": False}  # whether by eleven points


class DetectionScores:
    """Collects detections batch by batch; `result()` scores them all at once, against `source.truth`: the set's own numbers.

    So the score is the one that pycocotools gives for the results file of the run and the annotations of the set. Pictures that were not
    seen have no detections, and their objects are not looked for.
    """

    def __init__(self, source: Any):
        self.source = source
        of_class = [f"coco/AP/{name}" for name in source.info.classes]
        self.names = (*(f"coco/{name}" for name in NAMES), *VOC, "same_box", *of_class)  # of what `result()` measures
        self._rows: list[dict[str, np.ndarray]] = []

    def update(self, batch: dict, decoded: dict) -> None:
        """Adds the valid rows: `index` and `original_size` (height, width) of the batch, `detected_...` of what was decoded.

        Raises TrainingFailed for answers that are not finite, which no file of results can hold.
        """
        valid = np.asarray(batch["valid"], bool)
        both = {**batch, **decoded}
        row = {name: np.asarray(both[name])[valid] for name in NEEDED}
        answers = np.concatenate([row["detected_boxes"], row["detected_scores"][..., None]], -1)
        if len(odd := row["index"][~np.isfinite(answers).all((1, 2))]):
            where = self.source.name(int(odd[0]))
            raise TrainingFailed(f"the network's boxes or scores of {where} are not finite: it has diverged; lower config.optim.lr")
        self._rows.append(row)

    def result(self) -> dict[str, float]:
        """Values 0-1. A number that nothing was there to measure by (no small object, no object of a class) is left out; AP then is NaN."""
        if not self._rows:
            return {"coco/AP": float("nan")}
        rows = {name: np.concatenate([row[name] for row in self._rows]) for name in NEEDED}
        objects = {int(i): self.source.truth(int(i)) for i in np.unique(rows["index"])}
        truths, detections = Truths.of(objects), found(rows)
        categories = list(range(len(self.source.info.classes)))
        coco = evaluate(truths, detections, categories)
        values = {f"coco/{name}": value for name, value in coco.summary().items()}
        values |= {name: _mean(voc.evaluate(truths, detections, categories, eleven_points=old)) for name, old in VOC.items()}
        values |= {f"coco/AP/{name}": value for name, value in zip(self.source.info.classes, coco.of_category(), strict=True)}
        measured = {name: float(value) for name, value in values.items() if value >= 0}
        return {"coco/AP": float("nan"), **measured, "same_box": same_box(rows, objects)}


def _mean(values: np.ndarray) -> float:
    """Over the classes that have objects; -1 for none."""
    measured = values[~np.isnan(values)]
    return float(measured.mean()) if len(measured) else -1.0


def found(rows: dict[str, np.ndarray]) -> Detections:
    """Detections of many pictures in pixels of their files; the picture is `index`, the category the class."""
    boxes, size = rows["detected_boxes"].astype(np.float64), rows["original_size"].astype(np.float64)
    corners = boxes * np.tile(size[:, ::-1], 2)[:, None]
    xywh = np.concatenate([corners[..., :2], corners[..., 2:] - corners[..., :2]], -1)
    image = np.repeat(rows["index"], boxes.shape[1])
    category, score = (rows[f"detected_{name}"].reshape(-1) for name in ("classes", "scores"))
    return Detections(image.astype(np.int64), category.astype(np.int64), score.astype(np.float64), xywh.reshape(-1, 4))


def quality(true_boxes: np.ndarray, true_classes: np.ndarray, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> float:
    """How well one picture was read, 0-1: AP at IoU 0.5, the mean over its classes; 1 for none where none is surer than 0.5.

    Args:
        true_boxes, true_classes: n 4 (xyxy) and n.
        boxes, classes, scores: m 4 (xyxy, of the same scale), m and m.
    """
    if not len(true_boxes):
        return float(not (np.asarray(scores) >= 0.5).any())
    n, m = len(true_boxes), len(boxes)
    nobody = np.zeros(n, bool)
    xywh = _xywh(true_boxes)
    truths = Truths(np.zeros(n, int), true_classes, xywh, xywh[:, 2] * xywh[:, 3], nobody, np.arange(1, n + 1), nobody)
    at_half = evaluate(truths, Detections(np.zeros(m, int), classes, scores, _xywh(boxes)), np.unique(true_classes)).precision[
        0, ..., 0, -1
    ]
    return float(at_half.mean())


def same_box(rows: dict[str, np.ndarray], objects: dict[int, Any]) -> float:
    """0 where detections differ as the objects do, 1 where all are one box: within pictures, or from each picture to the next.

    Of every picture as many detections, the surest, as it has objects. Theirs is the mean IoU of all pairs within a picture, or of the
    first of neighbouring pictures (in shares of width and height); the objects' own is taken off.
    """
    order = np.argsort(-rows["detected_scores"], axis=1, kind="stable")
    boxes = np.take_along_axis(rows["detected_boxes"].astype(np.float64), order[..., None], 1)
    true = [objects[int(i)].boxes / np.tile(size[::-1], 2) for i, size in zip(rows["index"], rows["original_size"], strict=True)]
    surest = [_xywh(box[: len(own)]) for box, own in zip(boxes, true, strict=True)]
    shares = [(seen - own) / (1 - own) for seen, own in zip(_sameness(surest), _sameness(true), strict=True) if own < 1]
    return float(max([0.0, *shares]))


def _sameness(pictures: Sequence[np.ndarray]) -> tuple[float, float]:
    """Mean IoU of pairs of boxes (x y w h) within pictures, and of the first boxes of neighbouring pictures; 0 where there are none."""
    pairs = [picture[list(pair)] for picture in pictures for pair in itertools.combinations(range(len(picture)), 2)]
    neighbours = [np.stack(pair) for pair in itertools.pairwise(picture[0] for picture in pictures if len(picture))]
    within, across = (_mean_iou(np.array(found).reshape(-1, 2, 4)) for found in (pairs, neighbours))
    return within, across


def _mean_iou(pairs: np.ndarray) -> float:
    return float(box_iou(pairs[:, 0], pairs[:, 1], np.zeros(len(pairs), bool)).mean()) if len(pairs) else 0.0


def _xywh(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
