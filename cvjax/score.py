"""Scores a file of detections against a file of true objects: COCO's twelve numbers, whoever made the files. Free of JAX."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvjax.data import _coco_json
from cvjax.data._coco_json import Dataset, Results
from cvjax.data._odd_boxes import suspicions
from cvjax.data._segmentations import run_lengths
from cvjax.errors import UserError
from cvjax.metrics.average_precision import Detections, Evaluation, Truths, evaluate
from cvjax.reporting.words import MISSING, aligned

MOST_CLASSES = 80  # whose AP is shown one by one: COCO's
WORDS = {  # sizes are areas, and both ends count: an object of exactly 32 x 32 pixels is in two ranges
    "AP": "average precision, mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "of objects up to 32 x 32 pixels",
    "APm": "from 32 x 32 to 96 x 96",
    "APl": "from 96 x 96 on",
    "AR1": "average recall with 1 detection a picture and class",
    "AR10": "with 10",
    "AR100": "with 100",
    "ARs": "of objects up to 32 x 32 pixels",
    "ARm": "from 32 x 32 to 96 x 96",
    "ARl": "from 96 x 96 on",
}


def score(truth_file: Path, results_file: Path, iou: str) -> str:
    """A table for people, times 100, and on the last line the twelve numbers as JSON, 0-1, or -1 where there is nothing to measure.

    Args:
        truth_file: instances as COCO writes them.
        results_file: detections as COCO writes them; none at all score 0, where pycocotools stops.
        iou: "bbox" or "segm", what must overlap.

    Raises:
        UserError: the files are not what they should be.
    """
    truth = _coco_json.read_truth(truth_file, for_scores=True)
    results = _coco_json.read_results(results_file, truth)
    truths, masks = Truths.of(truth.objects), iou == "segm"
    if (truths.ids == 0).any():
        print(f"{truth_file}: an annotation has id 0, which COCO's evaluation never counts as found; number them from 1", file=sys.stderr)
    if masks:
        objects = [x for one in truth.objects.values() for x in one.segmentations or [None] * len(one.ids)]
        truths = truths._replace(masks=_run_lengths(objects, truths.image, truth, truth_file, truths.ids))
    elif results.boxes is not None:
        _tell_odd(results.image, results.boxes, truth, results_file)
    found = evaluate(truths, _detections(results, truth, results_file, masks), list(truth.categories), masks)
    what = f"{len(results.score)} detections, {len(truths.ids)} objects, {len(truth.images)} pictures, {len(truth.categories)} classes"
    return f"{iou}: {what}\n\n{_tables(found, truths, truth)}\n{json.dumps(found.summary())}"


def _tell_odd(image: np.ndarray, boxes: np.ndarray, truth: Dataset, file: Path) -> None:
    sizes = np.array([(truth.images[i].height, truth.images[i].width) for i in image.tolist()]).reshape(-1, 2)
    for told in suspicions(boxes, sizes, lambda k: f"entry {k} ({', '.join(f'{x:g}' for x in boxes[k])})"):
        print(f"cvjax: warning: {file}: {told}", file=sys.stderr)


def _detections(results: Results, truth: Dataset, file: Path, masks: bool) -> Detections:
    """Sizes of detections as pycocotools takes them: of the boxes where the file has any, also for masks; and boxes of the masks else."""
    boxes, area, runs = results.boxes, None, []
    if masks and not len(results.segmentations) and len(results.score):
        raise UserError(f"{file} has boxes and no 'segmentation'; score them with --iou=bbox")
    if masks or boxes is None:
        runs = _run_lengths(results.segmentations, results.image, truth, file)
    if boxes is None:
        from pycocotools import mask

        boxes = np.array([mask.toBbox(x) for x in runs]).reshape(-1, 4)
        area = np.array([mask.area(x) for x in runs], np.float64)  # one by one: of more than 255 pycocotools 2.0.11 stops
    return Detections(results.image, results.category, results.score, boxes, area, runs)


def _run_lengths(segmentations: Sequence[Any], image: np.ndarray, truth: Dataset, file: Path, ids: np.ndarray | None = None) -> list:
    """What pycocotools.mask works on. Raises UserError for what it cannot read."""
    found = []
    for row, (segmentation, i) in enumerate(zip(segmentations, image.tolist(), strict=True)):
        size = truth.images[i].height, truth.images[i].width
        if min(size) < 1:
            raise UserError(f"image {i} of the truth has no 'height' and 'width', which masks need; write them")
        if problem := _coco_json.fault(segmentation, *size):
            name = f"entry {row}" if ids is None else f"annotation {ids[row]}"
            raise UserError(f"{file}: {name} {problem}; write its 'segmentation' as COCO does, or score with --iou=bbox")
        found.append(run_lengths(segmentation, size))
    return found


def _tables(found: Evaluation, truths: Truths, truth: Dataset) -> str:
    text = aligned([(name, _percent(value), WORDS[name]) for name, value in found.summary().items()])
    if len(found.categories) > MOST_CLASSES:
        return text
    rows = [("class", "AP", "objects")]
    for category, value in zip(found.categories.tolist(), found.of_category(), strict=True):
        number = int((~truths.crowd[truths.category == category]).sum())
        rows.append((truth.categories[category].name, _percent(value), str(number)))
    return f"{text}\n\n{aligned(rows)}"


def _percent(value: float) -> str:
    return MISSING if value < 0 else f"{100 * value:.1f}"
