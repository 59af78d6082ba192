"""Pictures of two corners: what a reader of the picture finds, exact shares, and that no sum of corners can tell."""

import itertools
from collections import Counter

import numpy as np
import pytest

from cvjax.data import corners
from cvjax.errors import UserError

K = len(corners.SIGNS)


def read(image):
    """The signs in both corners, found by looking for them, and the picture's ink elsewhere."""
    ink = image[..., 0] > 128
    found = []
    for corner in (np.s_[:6, :6], np.s_[-6:, -6:]):
        hits = [k for k, sign in enumerate(corners.SIGNS) for i, j in itertools.product((0, 1), repeat=2)
                if np.array_equal(ink[corner], np.pad(sign, ((i, 1 - i), (j, 1 - j))))]  # fmt: skip
        found.append(hits)
        ink[corner] = False
    return found, ink.any()


def test_the_label_is_what_the_picture_shows_in_exact_shares():
    source = corners.load("train", noise=0.0, num_examples=48)
    seen = Counter()
    for example in source:
        (first, second), elsewhere = read(example["image"])
        assert len(first) == len(second) == 1 and not elsewhere
        assert example["label"] == (first == second)
        seen[first[0], second[0]] += 1
    assert all(seen[i, j] == (6 if i == j else 2) for i in range(K) for j in range(K))


def test_every_picture_is_another_and_val_none_of_train():
    train, val = corners.load("train", num_examples=30), corners.load("val", num_examples=30)
    assert len({example["image"].tobytes() for source in (train, val) for example in source}) == 60


def test_no_sum_of_what_corners_say_is_better_than_chance_by_entropy_or_right_three_times_in_four():
    from sklearn.linear_model import LogisticRegression

    pairs = [(i, j) for i in range(K) for j in range(K)]
    onehots = np.array([[*np.eye(K)[i], *np.eye(K)[j]] for i, j in pairs])
    same, share = np.array([i == j for i, j in pairs]), np.array([1 / K if i == j else 1 / (K * (K - 1)) for i, j in pairs])
    fitted = LogisticRegression(C=1e6).fit(onehots, same, sample_weight=share)
    np.testing.assert_allclose(fitted.predict_proba(onehots), 0.5, atol=1e-3)
    scores = np.random.default_rng(0).normal(size=(20_000, 2 * K)) @ onehots.T
    stairs = np.array([i - j + 0.5 for i, j in pairs])
    right = ((np.stack([*scores, stairs]) > 0) == same[None]) @ share / 2
    assert right.max() == pytest.approx(0.75) == right[-1]


@pytest.mark.parametrize(("settings", "says"), [
    ({"size": 11}, "config.data.size is 11; two corners of 6 pixels need at least 12"), ({"noise": -1.0}, "noise is -1.0"),
    ({"num_examples": 0}, "num_examples is 0"), ({"split": "test"}, "no split 'test'"),
])  # fmt: skip
def test_mistakes_are_named(settings, says):
    with pytest.raises(UserError, match=says):
        corners.load(**{"split": "train", **settings})
