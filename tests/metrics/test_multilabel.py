"""Multi-label scores against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from cvjax.metrics.multilabel import MultilabelScores, average_precision

RNG = np.random.default_rng(0)
TARGETS = (RNG.random((200, 6)) < [0.5, 0.1, 0.02, 0.9, 0.3, 0.0]).astype(np.float32)
SCORES = np.round(np.clip(0.3 * TARGETS + 0.7 * RNG.random((200, 6)), 0, 1), 2).astype(np.float32)  # with ties
SEEN = [0, 1, 2, 3, 4]


def scored(scores, targets, size=64):
    """Result after batches of `size`, the last one padded with rows that must not count."""
    metric = MultilabelScores(scores.shape[1])
    for start in range(0, len(scores), size):
        part = slice(start, start + size)
        padding = ((0, size - len(scores[part])), (0, 0))
        valid = np.arange(size) < len(scores[part])
        batch = {"label": np.pad(targets[part], padding, constant_values=1), "valid": valid}
        metric.update(batch, {"probability": np.pad(scores[part], padding, constant_values=0.9)})
    return metric.result()


def test_against_scikit_learn():
    result = scored(SCORES, TARGETS)
    want = metrics.average_precision_score(TARGETS[:, SEEN], SCORES[:, SEEN], average="macro")
    assert result["mAP"] == pytest.approx(want, rel=1e-9)
    predicted = SCORES >= 0.5
    assert result["F1_micro"] == pytest.approx(metrics.f1_score(TARGETS, predicted, average="micro"))
    assert result["F1_macro"] == pytest.approx(metrics.f1_score(TARGETS[:, SEEN], predicted[:, SEEN], average="macro"))
    assert result["classes_without_positives"] == 1


def test_order_and_batch_size_do_not_matter():
    order = RNG.permutation(200)
    assert scored(SCORES[order], TARGETS[order], size=7) == pytest.approx(scored(SCORES, TARGETS, size=200))


def test_average_precision_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    assert average_precision(scores, np.array([True, False, True, False])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, np.array([False, False, False, True])) == pytest.approx(1 / 4)
    assert average_precision(np.zeros(4), np.array([False, True, False, False])) == pytest.approx(1 / 4)  # all tied


def test_nothing_predicted_is_zero_not_nan():
    result = scored(np.zeros((5, 2), np.float32), np.eye(5, 2, dtype=np.float32))
    assert result["F1_micro"] == 0 and result["F1_macro"] == 0


def test_without_positives_the_scores_have_no_value():
    for found in (scored(SCORES[:3], np.zeros((3, 6), np.float32)), MultilabelScores(6).result()):
        assert found.pop("classes_without_positives") == 6
        assert found.keys() == {"mAP", "F1_micro", "F1_macro"} and all(np.isnan(x) for x in found.values())
