"""Which detection finds which object, by COCO's rules, for all pictures, classes, thresholds and sizes at once. NumPy only, but for masks.

Detections and objects meet in groups (COCO: of one picture and class), which stand one behind the other in both tables; a row is a place
in its table. The rules are those of pycocotools' cocoeval.py and maskApi.c, to the last bit: within a group, detections choose in the order
in which they stand, each the free object with the highest IoU.

d detections · g true objects · p pairs of both · s detections with a pair · t thresholds · a views (COCO: ranges of size)
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

AT_ONCE = 2**20  # pairs whose overlaps are in memory together


class Groups(NamedTuple):
    """Groups with detections and objects: the row of the first detection, how many there are, and the same of objects."""

    detection: np.ndarray
    detections: np.ndarray
    truth: np.ndarray
    truths: np.ndarray

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the detection and of the object, for every pair within a group; the object varies fastest."""
        sizes = self.detections * self.truths
        group = np.repeat(np.arange(len(sizes)), sizes)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        of_detection, of_truth = np.divmod(within, self.truths[group])
        return self.detection[group] + of_detection, self.truth[group] + of_truth


class Pairs(NamedTuple):
    """Detections and objects of one group that overlap: rows, and their IoU, each p."""

    detection: np.ndarray
    truth: np.ndarray
    iou: np.ndarray


class Matches(NamedTuple):
    """Rows of the detections that overlap an object, s, ascending; and the row of the object each found, or -1, int32 s t a."""

    detection: np.ndarray
    truth: np.ndarray


def turns(group: np.ndarray) -> np.ndarray:
    """How many of the same group stand before each of a sorted column."""
    _, first, size = np.unique(group, return_index=True, return_counts=True)
    return np.arange(len(group)) - np.repeat(first, size)


def overlapping(found: np.ndarray, true: np.ndarray, overlaps: Callable[[Groups], np.ndarray], least: float) -> Pairs:
    """Pairs of one group whose IoU is `least` or more.

    Args:
        found: d, the group of each detection, ascending.
        true: g, the group of each object, ascending.
        overlaps: groups -> IoU of all their pairs, in the order of `Groups.pairs`.
    """
    kept: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for groups in _parts(_meeting(found, true)):
        detection, truth = groups.pairs()
        iou = overlaps(groups)
        near = iou >= least
        kept.append((detection[near], truth[near], iou[near]))
    return Pairs(*(np.concatenate(column) for column in zip(*kept, strict=True)))


def _meeting(found: np.ndarray, true: np.ndarray) -> Groups:
    group, first, size = np.unique(found, return_index=True, return_counts=True)
    start, stop = np.searchsorted(true, group, "left"), np.searchsorted(true, group, "right")
    both = stop > start
    return Groups(first[both], size[both], start[both], (stop - start)[both])


def _parts(groups: Groups) -> Iterator[Groups]:
    """The groups in parts of some `AT_ONCE` pairs."""
    part = np.cumsum(groups.detections * groups.truths) // AT_ONCE
    for start, stop in pairwise([0, *np.flatnonzero(np.diff(part)) + 1, len(part)]):
        yield Groups(*(column[start:stop] for column in groups))


def match(pairs: Pairs, group: np.ndarray, crowd: np.ndarray, ignored: np.ndarray, thresholds: np.ndarray) -> Matches:
    """What each detection finds, at each threshold and in each view on its own.

    An object is found once, a crowd as often as there are detections on it. One that is ignored is only found by who reaches no other,
    whatever the IoU. Of equal IoUs the later object is taken.

    Args:
        pairs: with an IoU from the lowest threshold on.
        group: d, ascending; within a group detections stand in the order in which they choose.
        crowd: g bool.
        ignored: g a bool.
        thresholds: t, the IoU that is needed, inclusive; of 1 pycocotools leaves out a little.
    """
    seen, who = np.unique(pairs.detection, return_inverse=True)
    turn = turns(group[seen])
    order = np.lexsort((pairs.truth, pairs.iou, who, turn[who]))  # a detection's pairs together, better ones later
    who, truth = who[order], pairs.truth[order]
    near = pairs.iou[order, None] >= np.minimum(thresholds, 1 - 1e-10)
    first = np.flatnonzero(np.diff(who, prepend=-1))  # pair of each detection
    rounds = np.searchsorted(turn[who[first]], np.arange(turn.max(initial=-1) + 2))  # those of one turn are of different groups
    taken = np.zeros((len(crowd), len(thresholds), ignored.shape[1]), bool)
    found = np.full((len(seen), *taken.shape[1:]), -1, np.int32)
    first = np.append(first, len(who))
    for start, stop in pairwise(rounds):
        part = slice(first[start], first[stop])
        best = _best(near[part, :, None] & ~taken[truth[part]], ignored[truth[part]], first[start:stop] - first[start])
        has = np.nonzero(best >= 0)
        winner = truth[part][best[has]]
        found[who[first[start:stop]][has[0]], has[1], has[2]] = winner
        taken[winner, has[1], has[2]] = ~crowd[winner]
    return Matches(seen, found)


def _best(free: np.ndarray, ignored: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Which pair each detection takes, or -1: the last one that is free, one that is not ignored before all that are.

    Args:
        free: p t a bool.
        ignored: p a bool.
        first: where the pairs of each detection begin.
    """
    size = np.int32(len(free))
    value = np.arange(size, dtype=np.int32)[:, None] + size * ~ignored
    best = np.maximum.reduceat(np.where(free, value[:, None], np.int32(-1)), first, axis=0)
    return np.where(best >= size, best - size, best)


def box_iou(found: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU of pairs of boxes; on a crowd, the share of the detection that lies in it. Bit by bit what maskApi.c's bbIou gives.

    Args:
        found, true: float64 p 4, x y w h.
        crowd: p bool.
    """
    x, y, w, h = found.T
    left, top, width, height = true.T
    across = np.minimum(w + x, width + left) - np.maximum(x, left)
    down = np.minimum(h + y, height + top) - np.maximum(y, top)
    area, shared = w * h, across * down
    union = np.where(crowd, area, area + width * height - shared)
    return np.divide(shared, union, out=np.zeros(len(found)), where=(across > 0) & (down > 0))


def box_overlaps(found: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> Callable[[Groups], np.ndarray]:
    """For `overlapping`: boxes of all detections, d 4, and of all objects, g 4, with crowd, g."""

    def overlaps(groups: Groups) -> np.ndarray:
        detection, truth = groups.pairs()
        return box_iou(found[detection], true[truth], crowd[truth])

    return overlaps


def mask_overlaps(found: Sequence[Any], true: Sequence[Any], crowd: np.ndarray) -> Callable[[Groups], np.ndarray]:
    """The same for masks, as the compressed run lengths that pycocotools.mask works on."""
    from pycocotools import mask

    def overlaps(groups: Groups) -> np.ndarray:
        of_group = []
        for detection, detections, truth, truths in zip(*(column.tolist() for column in groups), strict=True):
            here = slice(truth, truth + truths)
            of_group.append(mask.iou(found[detection : detection + detections], true[here], crowd[here].astype(int).tolist()).ravel())
        return np.concatenate([np.zeros(0), *of_group])

    return overlaps
