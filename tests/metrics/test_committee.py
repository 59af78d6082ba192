"""Cascades against their ends, which are known exactly, against a plain loop, and against SciPy's bootstrap."""

import itertools

import numpy as np
import pytest
from scipy import stats

from cvjax.metrics import committee
from cvjax.metrics.committee import Committee, Search


def members(n=400, classes=5, seed=0, sharpness=(1.0, 3.0)):
    """Predictions of members that are the better the sharper, and labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=n)
    logits = [draw.normal(size=(n, classes)) + s * np.eye(classes)[labels] for s in sharpness]
    return [(np.exp(x) / np.exp(x).sum(-1, keepdims=True)).astype(np.float32) for x in logits], labels


@pytest.mark.parametrize("kind", committee.CONFIDENCES)
def test_threshold_0_is_the_first_member_and_above_1_the_ensemble(kind):
    p, labels = members(sharpness=(1, 2, 3))
    c = Committee(p, labels, (1, 2, 4), kind)
    first, last = c.cascade((0, 0)), c.cascade((1.0001, 1.0001))
    assert (first.right == (p[0].argmax(-1) == labels)).all() and first.cost == 1
    assert (last.right == (committee.averages(p)[-1].argmax(-1) == labels)).all() and last.cost == 7
    assert (c.ensemble().stage == 2).all()


@pytest.mark.parametrize("kind", committee.CONFIDENCES)
def test_also_of_predictions_without_a_doubt_and_with_nothing_else(kind):
    one_hot, level = np.eye(4, dtype=np.float32)[[0, 1, 2, 3]], np.full((4, 4), 0.25, np.float32)
    assert (Committee([one_hot, level], np.arange(4), (1, 2), kind).ensemble().stage == 1).all(), "no confidence reaches NEVER"
    assert (Committee([level, one_hot], np.arange(4), (1, 2), kind).cascade((0,)).stage == 0).all(), "every confidence reaches 0"
    assert ((committee.confidence(one_hot, kind) >= 0) & (committee.confidence(one_hot, kind) <= 1)).all()


def test_thresholds_are_one_for_each_member_but_the_last():
    p, labels = members(sharpness=(1, 2, 3))
    with pytest.raises(ValueError, match="1 thresholds for 3 members"):
        Committee(p, labels, (1, 2, 4), "margin").cascade((0.5,))


def test_of_equally_accurate_ones_the_cheaper_is_best_and_of_equally_cheap_ones_the_better():
    right, labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.array([0, 1, 2, 0])
    poor = np.eye(3, dtype=np.float32)[[0, 0, 0, 0]]
    choice, _ = Search([right, right], labels, (1, 5), "margin").best("compute", 10)
    assert choice == ((0,), ()), "nobody else is asked"
    choice, accuracy = Search([poor, right], labels, (3, 3), "margin").best("accuracy", 0.1)
    assert choice == ((1,), ()) and accuracy == 1


@pytest.mark.parametrize("kind", committee.CONFIDENCES)
def test_average_cost_rises_with_the_threshold(kind):
    p, labels = members()
    c = Committee(p, labels, (1, 3), kind)
    costs = [c.cascade((t,)).cost for t in np.linspace(0, 1.01, 50)]
    assert costs == sorted(costs) and costs[0] == 1 and costs[-1] == 4


def test_an_ensemble_of_equals_is_each_of_them_bit_for_bit():
    p, _ = members()
    assert (committee.averages([p[0], p[0]])[1] == p[0]).all()


def test_a_cascade_is_what_a_plain_loop_makes():
    p, labels = members(sharpness=(1, 2, 3))
    thresholds, costs = (0.7, 0.5), (1, 2, 4)
    found = Committee(p, labels, costs, "max_probability").cascade(thresholds)
    for i, label in enumerate(labels):
        for stage in range(3):
            mean = sum(member[i] for member in p[: stage + 1]) / np.float32(stage + 1)
            if stage == 2 or mean.max() >= thresholds[stage]:
                break
        assert found.stage[i] == stage and found.right[i] == (mean.argmax() == label)


def test_confidences_by_hand():
    p = np.array([[0.5, 0.3, 0.2], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(committee.confidence(p, "max_probability"), [0.5, 1, 1 / 3])
    np.testing.assert_allclose(committee.confidence(p, "margin"), [0.2, 1, 0], atol=1e-12)
    np.testing.assert_allclose(committee.confidence(p, "entropy"), 1 - stats.entropy(p, axis=-1, base=3), atol=1e-12)


def every(c):
    """A cascade for each combination of the thresholds that are tried."""
    return [c.cascade(thresholds) for thresholds in itertools.product(*c.grids())]


def test_all_thresholds_at_once_are_each_of_them_alone():
    p, labels = members(sharpness=(1, 2, 3))
    c = Committee(p, labels, (1, 2, 4), "entropy")
    accuracy, cost = c.trials()
    np.testing.assert_array_equal(accuracy.ravel(), [found.accuracy for found in every(c)])
    np.testing.assert_allclose(cost.ravel(), [found.cost for found in every(c)], rtol=1e-12)


def test_the_chosen_cascade_reaches_its_target_and_no_tried_one_is_better():
    p, labels = members()
    search = Search(p, labels, (1, 3), "margin")
    choice, accuracy = search.best("accuracy", 0.8)
    c = Committee(p, labels, (1, 3), "margin")
    assert accuracy >= 0.8 and choice.members == (0, 1)
    assert c.cascade(choice.thresholds).cost == min(x.cost for x in every(c) if x.accuracy >= 0.8)
    cheap, accuracy = search.best("compute", 2.0)
    assert c.cascade(cheap.thresholds).cost <= 2 and accuracy == max(x.accuracy for x in every(c) if x.cost <= 2)
    assert search.best("compute", 0.5) is None


def test_members_are_chosen_too():
    p, labels = members(sharpness=(0.1, 2, 2))
    needed = Committee(p[1:], labels, (1, 3), "margin").ensemble().accuracy  # more than one of them reaches
    choice, _ = Search(p, labels, (50, 1, 3), "margin").best("accuracy", needed - 0.01)
    assert choice.members == (1, 2), "the dear one that knows nothing is left out"


def test_and_so_is_their_order():
    p, labels = members(sharpness=(3, 0.1))  # of two that cost the same the good one is asked first, and then nobody else
    assert Search(p[::-1], labels, (1, 1), "margin").best("compute", 1) == ((((1,), ())), float((p[0].argmax(-1) == labels).mean()))


def test_a_network_alone_is_always_within_reach():
    p, labels = members(sharpness=(0.1, 3))
    sure_and_wrong = np.eye(5, dtype=np.float32)[(labels + 1) % 5]
    alone = float((p[1].argmax(-1) == labels).mean())
    choice, accuracy = Search([sure_and_wrong, p[1]], labels, (1, 3), "margin").best("accuracy", alone)
    assert choice == ((1,), ()) and accuracy == alone


def test_interval_is_the_bootstrap_of_the_mean():
    right = np.random.default_rng(1).random(500) < 0.8
    theirs = stats.bootstrap((right.astype(float),), np.mean, method="percentile", n_resamples=5000, random_state=0).confidence_interval
    np.testing.assert_allclose(committee.interval(right), theirs, atol=0.005)
