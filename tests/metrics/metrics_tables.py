"""Truths and detections written as rows of numbers."""

import numpy as np

from cvjax.metrics.average_precision import Detections, Truths


def table(objects, difficult=()):
    """Truths of rows (image, category, x, y, w, h)."""
    rows = np.array(objects, float).reshape(-1, 6)
    n = len(rows)
    hard = np.isin(np.arange(n), difficult)
    return Truths(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:], np.ones(n), hard & False, np.arange(1, n + 1), hard)


def found(rows):
    """Detections of rows (image, category, score, x, y, w, h)."""
    rows = np.array(rows, float).reshape(-1, 7)
    return Detections(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2], rows[:, 3:])
