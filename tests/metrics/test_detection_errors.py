"""Kinds of mistakes and the confusion matrix, by hand."""

import numpy as np
from metrics_tables import found, table

from cvjax.metrics.detection_errors import KINDS, confusion, split

# categories 3 cat, 5 dog, 9 car, in this order; one object each in picture 1, a second cat in picture 2
CATEGORIES, GROUPS = (3, 5, 9), ("animal", "animal", "vehicle")
CAT, DOG, CAR, CAT_2 = (1, 3, 0, 0, 10, 10), (1, 5, 100, 0, 10, 10), (1, 9, 200, 0, 10, 10), (2, 3, 0, 0, 10, 10)
TRUTHS = table([CAT, DOG, CAR, CAT_2])


def kinds(category, *boxes, truths=TRUTHS):
    """Of detections (image, x, y, w, h), the surest first."""
    rows = [(image, category, 1 - place / 10, *box) for place, (image, *box) in enumerate(boxes)]
    counts = split(truths, found(rows), CATEGORIES, GROUPS)
    assert counts.sum() == counts[CATEGORIES.index(category)].sum()
    return {kind: int(n) for kind, n in zip(KINDS, counts[CATEGORIES.index(category)], strict=True) if n}


def test_each_kind():
    assert kinds(3, (1, 0, 0, 10, 10)) == {"correct": 1}
    assert kinds(3, (1, 0, 0, 10, 5)) == {"localisation": 1}, "IoU 0.5 is not above"
    assert kinds(3, (1, 0, 0, 10, 5.1)) == {"correct": 1}
    assert kinds(3, (1, 0, 0, 10, 1)) == {"background": 1}, "IoU 0.1 is not above"
    assert kinds(3, (1, 0, 0, 10, 1.1)) == {"localisation": 1}
    assert kinds(3, (1, 100, 0, 10, 10)) == {"similar": 1}
    assert kinds(3, (1, 200, 0, 10, 2)) == {"other": 1}
    assert kinds(3, (2, 200, 0, 10, 2)) == {"background": 1}, "there is no car in that picture"


def test_only_as_many_as_there_are_objects():
    assert kinds(3, (1, 0, 0, 10, 10), (1, 50, 0, 9, 9), (2, 0, 0, 10, 10)) == {"correct": 1, "background": 1}
    assert kinds(5, (1, 100, 0, 10, 10), (1, 50, 0, 9, 9)) == {"correct": 1}


def test_own_class_goes_before_others():
    """A dog on the cat's place: own class near is localisation, though a cat is nearer."""
    truths = table([CAT, (1, 5, 6, 0, 10, 10)])
    assert kinds(5, (1, 0, 0, 10, 10), truths=truths) == {"localisation": 1}


def test_what_is_difficult_is_not_in_the_number():
    assert kinds(5, (1, 100, 0, 10, 10), truths=table([CAT, DOG], difficult=[1])) == {}
    assert kinds(3, (1, 0, 0, 10, 10), truths=table([CAT, (1, 3, 0, 0, 10, 10)], difficult=[1])) == {"correct": 1}


def test_confusion():
    rows = [
        (1, 3, 0.9, 0, 0, 10, 10),  # cat as cat
        (1, 9, 0.8, 0, 0, 10, 10),  # again, as a car: taken, so on background
        (1, 3, 0.7, 100, 0, 10, 10),  # dog as cat
        (1, 9, 0.6, 200, 0, 10, 5),  # car, IoU 0.5 is enough
        (2, 3, 0.2, 0, 0, 10, 10),  # not sure enough: missed
    ]
    counts = confusion(TRUTHS, found(rows), CATEGORIES, 0.5)
    assert counts.tolist() == [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    assert confusion(TRUTHS, found(rows[::-1]), CATEGORIES, 0.5).tolist() == counts.tolist(), "the order of rows does not matter"
    assert confusion(TRUTHS, found([]), CATEGORIES, 0.5)[:, 3].tolist() == [2, 1, 1, 0]


def test_confusion_leaves_out_what_is_difficult():
    counts = confusion(table([CAT, DOG], difficult=[1]), found([(1, 3, 0.9, 100, 0, 10, 10)]), CATEGORIES, 0.5)
    assert counts.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_categories_in_any_order():
    rows = found([(1, 9, 0.9, 200, 0, 10, 10)])
    assert np.argwhere(confusion(TRUTHS, rows, (9, 3, 5), 0.5)[:3, :3]).tolist() == [[0, 0]]
    assert split(TRUTHS, rows, (9, 3, 5), ("a", "b", "b"))[:, 0].tolist() == [1, 0, 0]
