"""Scores of semantic segmentation over a whole split, from one confusion matrix of all its pixels. NumPy and OpenCV only.

n pictures · h w pixels · k classes.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from cvjax.errors import UserError
from cvjax.metrics import boundary
from cvjax.metrics.boundary import IGNORE

SCORES = ("pixel_acc", "mean_acc", "mIoU", "fwIoU", "boundary_F1", "absent_classes")
MOST = 2**24  # up to so many pixels OpenCV's counts, which are float32, are exact


class SegmentationScores:
    """Counts (label, prediction) pairs batch by batch, exactly; `result()` scores all pixels of the split at once.

    `absent_classes` counts the classes that are not in the labels of the split. Where they are not in the predictions either they have no
    IoU and are left out of every mean; one that is predicted but never true has IoU 0 and counts, as in FCN's own evaluation (shelhamer,
    score.py) and in torchmetrics' MulticlassJaccardIndex. Without a counted pixel there is nothing to score but that count.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.names = (*SCORES, *(f"IoU/{name}" for name in self.classes))  # of what `result()` may measure
        self._pairs = np.zeros((256, 256), np.int64)
        self._boundary: list[float] = []

    def update(self, batch: dict, decoded: dict) -> None:
        """Adds the valid pictures of `batch["labels"]` and `decoded["prediction"]`, both uint8 n h w; label 255 is ignored.

        Raises UserError for a label that is no class.
        """
        valid = np.asarray(batch["valid"], bool)
        labels, prediction = np.asarray(batch["labels"])[valid], np.asarray(decoded["prediction"])[valid]
        counts = pairs(labels, prediction)
        strange = np.flatnonzero(counts[len(self.classes) : IGNORE].any(1)) + len(self.classes)
        if len(strange):
            values = ", ".join(map(str, strange))
            raise UserError(f"label values {values} are none of the {len(self.classes)} classes; list their classes or write 255 (ignored)")
        self._pairs += counts
        scores = [boundary.f1(*picture) for picture in zip(labels, prediction, strict=True)]
        self._boundary += [score for score in scores if score is not None]

    def result(self) -> dict[str, float]:
        """Fractions 0-1, each where there is something to score; of K classes with n_ij pixels of class i taken for j:

        `pixel_acc`, `mean_acc` (over classes with pixels), `mIoU` and `fwIoU` (weighted by t_i = sum_j n_ij) as Long et al. 2015 (FCN,
        section 5), `boundary_F1` (mean over pictures with a boundary, see `boundary.f1`), `IoU/<class>`; and `absent_classes`, a number.
        """
        table = self._pairs[: len(self.classes), : len(self.classes)].astype(np.float64)
        right, true, said = np.diag(table), table.sum(1), table.sum(0)
        union = true + said - right
        values = {"absent_classes": float((true == 0).sum())}
        if true.any():
            here = union > 0
            iou = right[here] / union[here]
            of_class = {f"IoU/{self.classes[i]}": float(value) for i, value in zip(np.flatnonzero(here), iou, strict=True)}
            values = {
                "pixel_acc": float(right.sum() / true.sum()),
                "mean_acc": float((right[true > 0] / true[true > 0]).mean()),
                "mIoU": float(iou.mean()),
                "fwIoU": float((true[here] * iou).sum() / true.sum()),
            } | values | of_class  # fmt: skip
        return values | ({"boundary_F1": float(np.mean(self._boundary))} if self._boundary else {})


def pairs(labels: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """How many pixels have each label (row) and prediction (column): int64 256 256, exact. Both uint8, of one shape."""
    counts = np.zeros(256 * 256, np.int64)
    labels, prediction = labels.reshape(-1), prediction.reshape(-1)
    for start in range(0, labels.size, MOST):
        part = slice(start, start + MOST)
        both = cv2.merge([prediction[part], labels[part]]).view("<u2")  # 256 label + prediction
        counts += cv2.calcHist([both.reshape(1, -1)], [0], None, [65536], [0, 65536]).ravel().astype(np.int64)
    return counts.reshape(256, 256)
