"""Segmentation scores by hand, against scikit-learn, and boundary F1 against distance transforms of every class."""

import warnings

import cv2
import numpy as np
import pytest
from sklearn import metrics

from cvjax import log
from cvjax.errors import UserError
from cvjax.metrics import boundary, confusion
from cvjax.metrics.confusion import SegmentationScores
from cvjax.reporting import words

RNG = np.random.default_rng(0)
SCORES = ("pixel_acc", "mean_acc", "mIoU", "fwIoU", "boundary_F1")


def maps(n=6, size=(40, 56), classes=5, wrong=0.3, seed=0):
    """Blocks of classes with ignored pixels, and predictions of which some blocks and some pixels are wrong."""
    draw = np.random.default_rng(seed)
    blocks = lambda: draw.integers(classes, size=(n, size[0] // 8, size[1] // 8)).repeat(8, 1).repeat(8, 2)  # noqa: E731
    labels, other = blocks(), blocks()
    prediction = np.where(draw.random(labels.shape) < 0.02, other, np.where(other < classes * wrong, other, labels))
    labels[draw.random(labels.shape) < 0.05] = 255
    return labels.astype(np.uint8), prediction.astype(np.uint8)


def scored(labels, prediction, classes, size=None):
    """Result after batches of `size`, the last one padded with pictures that must not count."""
    metric, size = SegmentationScores([f"c{i}" for i in range(classes)]), size or len(labels)
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        padding = ((0, size - len(labels[part])), (0, 0), (0, 0))
        batch = {"labels": np.pad(labels[part], padding, constant_values=254), "valid": np.arange(size) < len(labels[part])}
        metric.update(batch, {"prediction": np.pad(prediction[part], padding)})
    return metric.result()


def one(labels, prediction, classes):
    return scored(np.array([labels], np.uint8), np.array([prediction], np.uint8), classes)


def test_two_by_two_by_hand():
    found = one([[0, 0], [1, 1]], [[0, 1], [1, 1]], 2)
    want = {"pixel_acc": 3 / 4, "mean_acc": (1 / 2 + 1) / 2, "mIoU": (1 / 2 + 2 / 3) / 2, "fwIoU": (2 * 1 / 2 + 2 * 2 / 3) / 4}
    assert {name: found[name] for name in want} == pytest.approx(want)
    assert found["IoU/c0"] == 1 / 2 and found["IoU/c1"] == pytest.approx(2 / 3) and found["absent_classes"] == 0
    # the tolerance is below a pixel here: of class 0 P is 1 and R 1/2, of class 1, of which the corner bounds nothing, both are 1/2
    assert found["boundary_F1"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_against_scikit_learn():
    labels, prediction = maps()
    found, counted = scored(labels, prediction, 5), labels != 255
    true, said = labels[counted], prediction[counted]
    table = confusion.pairs(labels, prediction)
    np.testing.assert_array_equal(table[:5, :5], metrics.confusion_matrix(true, said))
    assert table.sum() == labels.size and table[255].sum() == (~counted).sum()
    iou = metrics.jaccard_score(true, said, average=None)
    assert [found[f"IoU/c{i}"] for i in range(5)] == pytest.approx(list(iou), rel=1e-12)
    assert found["mIoU"] == pytest.approx(iou.mean(), rel=1e-12)
    assert found["fwIoU"] == pytest.approx(metrics.jaccard_score(true, said, average="weighted"), rel=1e-12)
    assert found["pixel_acc"] == pytest.approx(metrics.accuracy_score(true, said), rel=1e-12)
    assert found["mean_acc"] == pytest.approx(metrics.balanced_accuracy_score(true, said), rel=1e-12)


def test_counts_stay_exact_beyond_what_float32_holds(monkeypatch):
    big = np.zeros((4100, 4100), np.uint8)  # more than 2^24 pixels of one pair
    big[-1, -1] = 3
    table = confusion.pairs(big, big)
    assert table[0, 0] == 4100**2 - 1 and table[3, 3] == 1
    monkeypatch.setattr(confusion, "MOST", 1000)
    labels, prediction = maps()
    cut = confusion.pairs(labels, prediction)
    monkeypatch.undo()
    np.testing.assert_array_equal(cut, confusion.pairs(labels, prediction))


def test_order_and_batches_do_not_matter():
    labels, prediction = maps(n=7)
    order = RNG.permutation(7)
    whole = scored(labels, prediction, 5)
    assert scored(labels, prediction, 5, size=3) == pytest.approx(whole, rel=1e-12)
    assert scored(labels[order], prediction[order], 5, size=2) == pytest.approx(whole, rel=1e-12)


def test_perfect_and_entirely_wrong():
    labels, _ = maps()
    perfect = scored(labels, np.where(labels == 255, 0, labels).astype(np.uint8), 5)
    assert [perfect[name] for name in SCORES] == [1] * 5
    wrong = scored(labels, np.where(labels == 255, 0, (labels + 1) % 5).astype(np.uint8), 5)
    assert [wrong[name] for name in SCORES[:4]] == [0] * 4


def test_absent_never_predicted_and_never_true_classes():
    found = one([[0, 0, 1, 1]], [[0, 2, 2, 0]], 4)  # 1 is never predicted, 2 never true, 3 absent
    assert found["IoU/c0"] == 1 / 3 and found["IoU/c1"] == 0 and found["IoU/c2"] == 0 and "IoU/c3" not in found
    assert found["mIoU"] == pytest.approx(1 / 9) and found["mean_acc"] == 1 / 4 and found["absent_classes"] == 2
    assert found["fwIoU"] == pytest.approx(1 / 6) and found["boundary_F1"] == 0


def test_names_of_the_scores():
    labels, prediction = maps()
    metric = SegmentationScores("abcde")
    assert metric.result() == {"absent_classes": 5}
    metric.update({"labels": labels, "valid": np.ones(6, bool)}, {"prediction": prediction})
    assert set(metric.result()) == {*SCORES, "absent_classes", *(f"IoU/{name}" for name in "abcde")}


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (16, 12)])
def test_all_ignored_is_nothing_at_all(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = one(np.full(shape, 255), np.zeros(shape), 3)
    assert found == {"absent_classes": 3}
    labels, prediction = maps(n=1)
    more = scored(np.concatenate([labels, np.full_like(labels, 255)]), np.concatenate([prediction, prediction]), 5)
    assert more == scored(labels, prediction, 5)


def test_one_pixel_and_a_single_class():
    right, wrong = one([[1]], [[1]], 2), one([[1]], [[0]], 2)
    assert right["pixel_acc"] == right["mean_acc"] == right["mIoU"] == right["fwIoU"] == 1 and right["absent_classes"] == 1
    assert wrong["pixel_acc"] == wrong["mean_acc"] == wrong["mIoU"] == wrong["fwIoU"] == 0 and wrong["absent_classes"] == 1
    alone = one(np.zeros((9, 9)), np.zeros((9, 9)), 1)
    assert alone["mIoU"] == 1 and "boundary_F1" not in alone, "one class everywhere has no boundary"


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(UserError, match="label values 7, 9 are none of the 5 classes"):
        one([[0, 7, 9, 255]], [[0, 0, 0, 0]], 5)


def test_scores_are_read_as_fractions_of_which_more_is_better():
    values = {f"val/{name}": value for name, value in scored(*maps(), 5).items()}
    for name in values:
        assert words.is_fraction(name) == (name != "val/absent_classes"), name
        assert words.lower_is_better(name) == (name == "val/absent_classes"), name
    told = log.summary(values)
    assert told.count("%") == len(SCORES) and "absent_classes 0" in told and "c0" not in told, "150 classes are no line to read"


# ---- boundary F1


def plain(labels, prediction, tolerance):
    """The same by its definition: a mask, its boundary and a distance transform for each class."""
    seen, scores = np.where(labels == 255, 255, prediction), []
    radius = tolerance * np.hypot(*(np.ptp(at) + 1 for at in np.nonzero(labels != 255))) if (labels != 255).any() else 0

    def outline(of, k):
        around = np.pad(of, 1, constant_values=255)
        near = [around[1:-1, :-2], around[1:-1, 2:], around[:-2, 1:-1], around[2:, 1:-1]]
        return (of == k) & np.any([(x != k) & (x != 255) for x in near], 0)

    def share(of, among):
        distance = cv2.distanceTransform((~among).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return (distance[of] <= radius + 1e-4).mean()

    for k in np.unique(labels[labels != 255]):
        true, said = outline(labels, k), outline(seen, k)
        if true.any() and said.any():
            p, r = share(said, true), share(true, said)
            scores.append(2 * p * r / (p + r) if p + r else 0)
        elif true.any() or said.any():
            scores.append(0)
    return np.mean(scores) if scores else None


@pytest.mark.parametrize("tolerance", [0.0, 0.0075, 0.05, 0.5])
@pytest.mark.parametrize("size", [(40, 56), (8, 200), (200, 8)])
def test_boundary_f1_is_its_definition(size, tolerance):
    labels, prediction = maps(n=4, size=size)
    for picture in zip(labels, prediction, strict=True):
        assert boundary.f1(*picture, tolerance) == pytest.approx(plain(*picture, tolerance), rel=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 4), (4, 1), (1, 3), (2, 2), (3, 5)])
def test_also_of_the_smallest_pictures(size):
    for seed in range(8):
        draw = np.random.default_rng(seed)
        labels, prediction = draw.choice([0, 1, 255], (2, *size)).astype(np.uint8)
        prediction %= 2
        for tolerance in (0.0, 0.5, 1.0):
            found, want = boundary.f1(labels, prediction, tolerance), plain(labels, prediction, tolerance)
            assert found == (None if want is None else pytest.approx(want, rel=1e-9))


def test_also_where_a_row_of_the_neighbourhood_is_longer_than_a_word():
    labels, prediction = np.zeros((300, 400), np.uint8), np.zeros((300, 400), np.uint8)
    labels[:, 200:], prediction[:, 205:] = 1, 1
    prediction[:40, :60] = 2
    for tolerance in (0.0075, 0.1, 0.3):  # to 150 pixels
        assert boundary.f1(labels, prediction, tolerance) == pytest.approx(plain(labels, prediction, tolerance), rel=1e-9)


def test_tolerance_is_a_distance_in_pixels():
    labels, shifted = np.zeros((300, 400), np.uint8), np.zeros((300, 400), np.uint8)  # diagonal 500: 3.75 pixels
    labels[:, 200:] = 1
    for shift, want in ((0, 1), (3, 1), (4, 0)):
        shifted[:], shifted[:, 200 + shift :] = 0, 1
        assert boundary.f1(labels, shifted) == want


def test_padding_changes_no_score():
    labels, prediction = maps(n=1, size=(40, 56))
    labels[labels == 255] = 0
    around = ((0, 0), (3, 50), (7, 90))
    padded = np.pad(labels, around, constant_values=255), np.pad(prediction, around)
    for tolerance in (0.0075, 0.05):
        assert boundary.f1(padded[0][0], padded[1][0], tolerance) == boundary.f1(labels[0], prediction[0], tolerance)


def test_ignored_pixels_are_no_boundary():
    labels, prediction = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    labels[:, 40:], prediction[:, 40:] = 1, 1
    prediction[20:30, 5:15] = 1
    labels[15:35, :20] = 255
    assert boundary.f1(labels, prediction) == 1
    labels[:, 38:42] = 255  # a ring round everything, and no boundary is left
    assert boundary.f1(labels, prediction) is None
