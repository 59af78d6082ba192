"""VOC's average precision by hand, and against voc_eval's loop written out."""

import numpy as np
import pytest
from metrics_tables import found, table

from cvjax.metrics import voc
from cvjax.ops import boxes

A, B = (1, 1, 0, 0, 10, 10), (2, 1, 0, 0, 10, 10)


def test_right_wrong_right():
    """Two of two found with one mistake between: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
    detections = found([(1, 1, 0.9, 0, 0, 10, 10), (1, 1, 0.8, 50, 50, 10, 10), (2, 1, 0.7, 0, 0, 10, 10)])
    recall, precision = voc.curve(table([A, B]), detections, 1)
    assert recall.tolist() == [0.5, 0.5, 1] and precision.tolist() == [1, 0.5, 2 / 3]
    assert voc.average(recall, precision) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert voc.average(recall, precision, eleven_points=True) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_the_last_pixel_counts_once():
    """10 x 10 pixels, 1 to 10 in the XML, against the 5 x 10 at their left are IoU 0.5, which is not enough; 6 x 10 are."""
    true = boxes.to_coco(boxes.from_voc(np.array([1.0, 1, 10, 10])))
    for last, ap in ((5.0, 0), (6.0, 1)):
        seen = boxes.to_coco(boxes.from_voc(np.array([1, 1, last, 10])))
        assert voc.evaluate(table([(1, 1, *true)]), found([(1, 1, 0.9, *seen)]), [1]).tolist() == [ap]


def test_only_the_best_object_is_looked_at():
    """Two detections on A; the second also reaches C, but looks at A alone and is wrong."""
    C = (1, 1, 0, 2, 10, 10)
    detections = found([(1, 1, 0.9, 0, 0, 10, 10), (1, 1, 0.8, 0, 0, 10, 10)])
    recall, precision = voc.curve(table([A, C]), detections, 1)
    assert recall.tolist() == [0.5, 0.5] and precision.tolist() == [1, 0.5]


def test_difficult_objects_count_as_nothing():
    detections = found([(1, 1, 0.9, 0, 0, 10, 10), (1, 1, 0.8, 0, 0, 10, 10), (2, 1, 0.7, 0, 0, 10, 10)])
    recall, precision = voc.curve(table([A, B], difficult=[0]), detections, 1)
    assert recall.tolist() == [0, 0, 1] and precision.tolist() == [0, 0, 1]
    assert np.isnan(voc.evaluate(table([A], difficult=[0]), detections, [1, 2])).all()
    assert voc.evaluate(table([A]), found([]), [1]).tolist() == [0]


def test_perfect_is_one_by_both_rules():
    detections = found([(*A[:2], 0.5, *A[2:]), (*B[:2], 0.5, *B[2:])])
    assert voc.evaluate(table([A, B]), detections, [1])[0] == 1
    assert voc.evaluate(table([A, B]), detections, [1], eleven_points=True)[0] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_against_a_loop(seed):
    draw = np.random.default_rng(seed)
    objects = np.column_stack(
        [draw.integers(1, 9, 40), draw.integers(1, 3, 40), draw.integers(0, 40, (40, 2)), draw.integers(9, 40, (40, 2))]
    )
    shaken = objects[draw.integers(40, size=120)] + draw.integers(-3, 4, (120, 6)) * [0, 0, 1, 1, 1, 1]
    rows = np.column_stack([shaken[:, :2], draw.permutation(120) / 120, shaken[:, 2:]])
    truths, detections = table(objects, difficult=range(0, 40, 5)), found(rows)
    for category in (1, 2):
        recall, precision = voc.curve(truths, detections, category)
        want = loop(truths, detections, category)
        assert np.array_equal(recall, want[0]) and np.array_equal(precision, want[1]) and recall[-1] > 0.5


def loop(truths, detections, category):
    taken, tp, fp = set(), [], []
    rows = np.flatnonzero(detections.category == category)
    for row in rows[np.argsort(-detections.score[rows])]:
        best, of = 0.5, None
        x, y, w, h = detections.boxes[row] - [0, 0, 1, 1]  # voc_eval's: the last pixel less the first
        for i in np.flatnonzero((truths.image == detections.image[row]) & (truths.category == category)):
            left, top, width, height = truths.boxes[i] - [0, 0, 1, 1]
            across = min(x + w, left + width) - max(x, left) + 1
            down = min(y + h, top + height) - max(y, top) + 1
            shared = max(across, 0) * max(down, 0)
            iou = shared / ((w + 1) * (h + 1) + (width + 1) * (height + 1) - shared)
            if iou > best:
                best, of = iou, i
        hard = of is not None and truths.difficult[of]
        tp.append(of is not None and not hard and of not in taken)
        fp.append(of is None or (not hard and of in taken))
        taken.add(of)
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    return tp / (~truths.difficult[truths.category == category]).sum(), tp / np.maximum(tp + fp, np.finfo(float).eps)
