"""Committees of classifiers: ensembles, and cascades that ask the next member only where those before it are unsure.

Wang, Kondratyuk, Christiansen, Kitani, Alon & Eban 2022, "Wisdom of Committees: An Overlooked Approach to Faster and More Accurate Models"
(ICLR, arXiv:2012.01988), section 3: predictions of members are averaged, and a cascade stops at the first average that is confident.

n images · k classes · m members, in the order in which they are asked
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCES = ("max_probability", "margin", "entropy")
NEVER = 1.01  # a threshold that no confidence reaches
MOST = 4  # members of a cascade
POINTS = {1: 101, 2: 21, 3: 11}  # thresholds tried for each stage but the last, by how many these are
RESAMPLES = 10_000


class Outcome(NamedTuple):
    """What a cascade makes of n images.

    right: whether each is classified rightly. stage: the member after which each left, from 0. cost: average over the images of what the
    members asked cost together.
    """

    right: np.ndarray
    stage: np.ndarray
    cost: float

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


class Choice(NamedTuple):
    """Members by number, in the order in which they are asked, and a threshold for each but the last."""

    members: tuple[int, ...]
    thresholds: tuple[float, ...]


def averages(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """m n k: the mean prediction of the first member, of the first two, and so on, from m arrays n k."""
    totals = np.cumsum(np.stack(probabilities), axis=0)
    return totals / np.arange(1, len(totals) + 1, dtype=totals.dtype)[:, None, None]


def confidence(predictions: np.ndarray, kind: str) -> np.ndarray:
    """How sure predictions (... k) are, from 0 to 1: the largest probability, its lead over the second, or 1 - entropy / log k."""
    if kind == "max_probability":
        found = predictions.max(-1)
    elif kind == "margin":
        second, first = np.moveaxis(np.partition(predictions, -2)[..., -2:], -1, 0)
        found = first - second
    else:
        p = np.maximum(predictions, np.finfo(predictions.dtype).tiny)
        found = 1 + (p * np.log(p)).sum(-1) / np.log(p.shape[-1])
    return np.clip(found, 0, 1)


class Committee:
    """Members in the order in which they are asked, on images whose labels are known.

    probabilities: m arrays n k. labels: n. costs: of each member alone, in any unit. kind: one of CONFIDENCES.
    """

    def __init__(self, probabilities: Sequence[np.ndarray], labels: np.ndarray, costs: Sequence[float], kind: str):
        predictions = averages(probabilities)
        self.right = predictions.argmax(-1) == labels[None]
        self.sure = confidence(predictions, kind)
        self.costs = np.cumsum(np.asarray(costs, float))

    def cascade(self, thresholds: Sequence[float]) -> Outcome:
        """An image leaves after the first member at which the confidence reaches the threshold; after the last in any case."""
        if len(thresholds) != len(self.sure) - 1:
            raise ValueError(f"{len(thresholds)} thresholds for {len(self.sure)} members; all but the last have one")
        leaves = self.sure[:-1] >= np.reshape(thresholds, (-1, 1))
        stage = np.where(leaves.any(0), leaves.argmax(0), len(self.sure) - 1) if len(leaves) else np.zeros(self.sure.shape[1], int)
        return Outcome(self.right[stage, np.arange(len(stage))], stage, float(self.costs[stage].mean()))

    def ensemble(self) -> Outcome:
        """All members are asked about every image."""
        return self.cascade([NEVER] * (len(self.sure) - 1))

    def grids(self) -> list[np.ndarray]:
        """Thresholds to try at each stage but the last: 0, quantiles of its confidence, NEVER."""
        stages = len(self.sure) - 1
        levels = np.linspace(0, 1, POINTS[stages])[1:-1]
        return [np.array([0.0, *np.unique(np.quantile(sure, levels)), NEVER]) for sure in self.sure[:-1]]

    def trials(self) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy and average cost at every combination of the thresholds of `grids`, an axis for each stage but the last.

        How many of those still there leave under each threshold is a product of two matrices of 0 and 1: float32 counts exactly up to
        2^24 images, and this is hundreds of times faster than a cascade for each combination.
        """
        n = self.sure.shape[1]
        there, hits, cost = np.ones((1, n), np.float32), np.zeros(1), np.zeros(1)
        for sure, right, price, grid in zip(self.sure[:-1], self.right[:-1], self.costs[:-1], self.grids(), strict=True):
            leaves = (sure >= grid[:, None]).astype(np.float32)
            hits = (hits[:, None] + (there * right) @ leaves.T).ravel()
            cost = (cost[:, None] + price * (there @ leaves.T)).ravel()
            there = (there[:, None] * (1 - leaves)).reshape(-1, n)
        shape = [len(grid) for grid in self.grids()]
        hits, cost = hits + there @ self.right[-1].astype(np.float32), cost + self.costs[-1] * there.sum(-1)
        return (hits / n).reshape(shape), (cost / n).reshape(shape)


class Search:
    """Every order of two to four members at every combination of thresholds, tried on images to choose on; cheap members first."""

    def __init__(self, probabilities: Sequence[np.ndarray], labels: np.ndarray, costs: Sequence[float], kind: str):
        self.tried: list[tuple[tuple[int, ...], list[np.ndarray], np.ndarray, np.ndarray]] = []
        cheap = sorted(range(len(costs)), key=lambda i: costs[i])
        for size in range(2, min(MOST, len(costs)) + 1):
            for members in itertools.permutations(cheap, size):
                committee = Committee([probabilities[i] for i in members], labels, [costs[i] for i in members], kind)
                self.tried.append((members, committee.grids(), *committee.trials()))

    def best(self, target: str, value: float) -> tuple[Choice, float] | None:
        """The best choice and its accuracy on these images; None where none reaches the target. The first of equals.

        target: "accuracy", at least `value` at the least cost, or "compute", the highest accuracy at a cost of `value` at most. Members
        that nobody reaches, as those before them have a threshold of 0, are left out: what remains may be one network alone.
        """
        best: tuple[tuple[float, float], Choice, float] | None = None
        for members, grids, accuracy, cost in self.tried:
            worth = (-cost, accuracy) if target == "accuracy" else (accuracy, -cost)
            reached = np.flatnonzero(accuracy >= value if target == "accuracy" else cost <= value)
            if not len(reached):
                continue
            top = reached[np.lexsort([-key.ravel()[reached] for key in reversed(worth)])[0]]
            found = float(worth[0].flat[top]), float(worth[1].flat[top])
            if best is None or found > best[0]:
                at = np.unravel_index(top, accuracy.shape)
                thresholds = tuple(float(grid[i]) for grid, i in zip(grids, at, strict=True))
                asked = thresholds.index(0) if 0 in thresholds else len(thresholds)
                best = found, Choice(members[: asked + 1], thresholds[:asked]), float(accuracy.flat[top])
        return None if best is None else best[1:]


def interval(values: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of few distinct values, as right or wrong (Efron 1979); the same each time.

    To draw n of n images again and again is to draw how often each value comes.
    """
    distinct, counts = np.unique(np.asarray(values, float), return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(values), counts / len(values), RESAMPLES)
    low, high = np.quantile(drawn @ distinct / len(values), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
