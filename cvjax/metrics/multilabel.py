"""Multi-label scores of a whole split: average precision of each class and F1 at a threshold. NumPy only.

m examples · k classes.
"""

import numpy as np


class MultilabelScores:
    """Collects probabilities and targets batch by batch; `result()` scores them all at once.

    A class without a positive example has no average precision and no recall: it is left out of mAP and macro F1, and
    `classes_without_positives` counts such classes. Without any positive there is nothing to score but that count.
    """

    def __init__(self, num_classes: int, threshold: float = 0.5):
        self.names = ("mAP", "F1_micro", "F1_macro", "classes_without_positives")  # of what `result()` measures
        self.num_classes, self.threshold = num_classes, threshold
        self._scores: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []

    def update(self, batch: dict, decoded: dict) -> None:
        """Adds the valid rows of `decoded["probability"]` and `batch["label"]` (positive from 0.5 on), both m k."""
        valid = np.asarray(batch["valid"], bool)
        self._scores.append(np.asarray(decoded["probability"], np.float32)[valid])
        self._targets.append(np.asarray(batch["label"])[valid] >= 0.5)

    def result(self) -> dict[str, float]:
        """`mAP`, `F1_micro`, `F1_macro` (0-1; NaN where no class has a positive) and `classes_without_positives`."""
        empty = np.zeros((0, self.num_classes))
        scores, targets = np.concatenate([empty, *self._scores]), np.concatenate([empty, *self._targets]).astype(bool)
        seen = targets.any(0)
        missing = {"classes_without_positives": float((~seen).sum())}
        if not seen.any():
            return {"mAP": float("nan"), "F1_micro": float("nan"), "F1_macro": float("nan"), **missing}
        mean = np.mean([average_precision(scores[:, k], targets[:, k]) for k in np.flatnonzero(seen)])
        micro, macro = f1(scores >= self.threshold, targets)
        return {"mAP": float(mean), "F1_micro": micro, "F1_macro": macro, **missing}


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean over the positives of the precision at their rank: sum_n (R_n - R_{n-1}) P_n, not interpolated.

    Equal scores share one rank. (VOC 2007's score, an 11-point interpolation, is another number.)

    Args:
        scores: m, higher is more likely.
        targets: m bool, at least one True.
    """
    order = np.argsort(-scores, kind="stable")
    scores, targets = scores[order], targets[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # of each run of equal scores
    hits = np.cumsum(targets)[last]
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * hits / (last + 1)))


def f1(predicted: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """(micro, macro) F1 of m k bools; macro over the classes with a positive example, at least one of them."""
    right, wrong = (predicted & targets).sum(0), (predicted ^ targets).sum(0)
    seen = targets.any(0)
    micro = 2 * right.sum() / (2 * right.sum() + wrong.sum())
    return float(micro), float(np.mean(2 * right[seen] / (2 * right[seen] + wrong[seen])))
