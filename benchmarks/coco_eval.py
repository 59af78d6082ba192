"""COCO's evaluation of boxes of a whole set against pycocotools' COCOeval, with the same numbers to the last bit.

    python benchmarks/coco_eval.py [--images=5000] [--detections=100] [--rounds=3]

Both halves evaluate the same made-up set in one process, in turns: 80 categories, of which some are rare, 7 objects a picture, one in 60 a
crowd; half of the detections are near an object, most of those of its class. Timed is what comes after loading: from columns, and from
COCO's index with its results, to the twelve numbers. All entries of precision, recall and scores must be equal. Printed: seconds (best of
the rounds), and pycocotools' time over ours, round by round.
"""

import argparse
import contextlib
import io
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from cvjax.metrics.average_precision import Detections, Truths, evaluate

CATEGORIES, OBJECTS, SIZE = 80, 7, 640


def main() -> None:
    args = _args()
    truths, detections = _world(args.images, args.detections)
    coco, found = _theirs(truths, detections, args.images)
    took: dict[str, list[dict]] = {"cvjax": [], "pycocotools": []}
    for _ in range(args.rounds):
        ours = _timed(took["cvjax"], lambda: evaluate(truths, detections, range(1, CATEGORIES + 1)))
        theirs = _timed(took["pycocotools"], lambda: _evaluated(coco, found))
        for name in ("precision", "recall", "scores"):
            assert np.array_equal(getattr(ours, name), theirs.eval[name]), name
        assert list(ours.summary().values()) == theirs.stats.tolist()
    print(f"{args.images} pictures, {len(truths.ids)} objects, {len(detections.score)} detections")
    print(f"AP {ours.summary()['AP']:.4f} of both, and all arrays equal bit by bit")
    _report(took)


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="a picture")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _world(images: int, detections: int) -> tuple[Truths, Detections]:
    draw = np.random.default_rng(0)
    n, d = images * OBJECTS, images * detections
    often = 1 / np.arange(1, CATEGORIES + 1)
    category = 1 + draw.choice(CATEGORIES, size=n, p=often / often.sum())
    boxes = _boxes(draw, n)
    image = np.repeat(np.arange(1, images + 1), OBJECTS)
    crowd = draw.random(n) < 1 / 60
    truths = Truths(image, category, boxes, boxes[:, 2] * boxes[:, 3] * 0.7, crowd, np.arange(1, n + 1), crowd & False)
    of = np.repeat(np.arange(images) * OBJECTS, detections) + draw.integers(OBJECTS, size=d)
    near = draw.random(d) < 0.5
    shaken = boxes[of] + draw.normal(0, 0.08, (d, 4)) * np.tile(boxes[of, 2:], 2)
    right = near & (draw.random(d) < 0.8)
    score = np.round(np.where(right, draw.beta(2, 2, d), draw.beta(1, 4, d)), 4)
    said = np.where(right, category[of], 1 + draw.choice(CATEGORIES, size=d, p=often / often.sum()))
    return truths, Detections(image[of], said, score, np.where(near[:, None], shaken, _boxes(draw, d)))


def _boxes(draw, n: int) -> np.ndarray:
    size = np.exp(draw.uniform(np.log(8), np.log(400), (n, 2)))
    return np.concatenate([draw.random((n, 2)) * (SIZE - size), size], 1)


def _theirs(truths: Truths, detections: Detections, images: int):
    """COCO's index and that of the results."""
    from pycocotools.coco import COCO

    columns = (truths.ids, truths.image, truths.category, truths.boxes, truths.area, truths.crowd.astype(int))
    names = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    results = zip(*(x.tolist() for x in (detections.image, detections.category, detections.boxes, detections.score)), strict=True)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(1, images + 1)],
            "categories": [{"id": i} for i in range(1, CATEGORIES + 1)],
            "annotations": [dict(zip(names, row, strict=True)) for row in zip(*(x.tolist() for x in columns), strict=True)],
        }
        coco.createIndex()
        found = coco.loadRes([dict(zip(("image_id", "category_id", "bbox", "score"), row, strict=True)) for row in results])
    return coco, found


def _evaluated(coco, found):
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _timed(took: list[dict], once):
    wall, cpu = time.perf_counter(), time.process_time()
    found = once()
    took.append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
    return found


def _report(took: dict[str, list[dict]]) -> None:
    for name, rounds in took.items():
        print(f"{name:12} {min(x['wall'] for x in rounds):8.2f} s, {min(x['cpu'] for x in rounds):8.2f} CPU-s", end="")
        for clock in ("wall", "cpu"):
            ratios = [theirs[clock] / ours[clock] for ours, theirs in zip(took["cvjax"], rounds, strict=True)]
            print(f"; {clock} over ours {statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
