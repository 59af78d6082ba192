"""Made-up truths and detections in COCO's form, and what pycocotools says of them."""

import contextlib
import copy
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cvjax.data._segmentations import run_lengths
from cvjax.metrics.average_precision import Detections, Truths


def world(seed, images=12, categories=5, most=4, detections=20, masks=False, ids=None, size=300):
    """(truth, results), as their files say it: many ties, crowds, every range of size, ids with gaps and in no order.

    Of the categories one is in no picture and one is never detected; the first picture has no object, the second no detection, the third
    neither.
    """
    draw = np.random.default_rng(seed)
    image_ids = draw.permutation(1000)[:images].tolist()
    category_ids = draw.permutation(90)[:categories].tolist()
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": size, "width": size} for i in image_ids],
        "categories": [{"id": i, "name": f"class {i}"} for i in category_ids],
        "annotations": [],
    }
    results = []
    for place, image in enumerate(image_ids):
        objects = [] if place in (0, 2) else [_object(draw, size) for _ in range(draw.integers(most * categories + 1))]
        for box in objects:
            category = int(draw.choice(category_ids[1:] or category_ids))
            truth["annotations"].append(_annotation(draw, image, category, box, masks, size))
        if place in (1, 2):
            continue
        for _ in range(draw.integers(detections * categories)):
            box = _shaken(draw, objects[draw.integers(len(objects))]) if objects and draw.random() < 0.7 else _object(draw, size)
            near = [a["category_id"] for a in truth["annotations"] if a["image_id"] == image] or category_ids
            category = int(draw.choice(near if draw.random() < 0.7 else category_ids))
            if category == category_ids[-1] and categories > 2:
                continue
            entry = {"image_id": image, "category_id": category, "score": float(draw.integers(12)) / 12}
            results.append(entry | ({"segmentation": _ellipse(box, size)} if masks else {"bbox": box}))
    numbers = draw.permutation(len(truth["annotations"]) * 3) if ids is None else ids(len(truth["annotations"]))
    for number, annotation in zip(numbers, truth["annotations"], strict=False):
        annotation["id"] = int(number)
    return truth, results


def _object(draw, size):
    """A box x y w h on a coarse grid, so that IoUs tie, and areas lie on the bounds of the ranges."""
    side = draw.choice([8, 16, 32, 64, 96, 160], size=2)
    at = [draw.integers(0, (size - s) // 4 + 1) * 4 for s in side]
    return [float(x) for x in (*at, *side)]


def _shaken(draw, box):
    """Another near it, often the same."""
    moved = np.array(box) + draw.choice([0, 0, 0, 1, 2.5, 8], size=4) * draw.choice([-1, 1], size=4)
    return [max(float(moved[0]), 0), max(float(moved[1]), 0), max(float(moved[2]), 0), max(float(moved[3]), 0)]


def _annotation(draw, image, category, box, masks, size):
    crowd = int(draw.random() < 0.15)
    area = box[2] * box[3] * draw.choice([1, 1, 0.5])
    found = {"image_id": image, "category_id": category, "bbox": box, "area": float(area), "iscrowd": crowd}
    if masks:
        x, y, w, h = box
        polygon = [[x, y, x + w, y, x + w / 2, y + h], [x, y, x + w / 3, y, x, y + h / 2]][: int(draw.integers(1, 3))]
        plain = {"size": [size, size], "counts": _runs(_pixels(box, size))}
        found["segmentation"] = plain if crowd else [polygon, polygon, _ellipse(box, size)][draw.integers(3)]
    return found


def _pixels(box, size):
    x, y, w, h = box
    rows, columns = np.mgrid[:size, :size]
    return (((columns - x - w / 2) / max(w / 2, 0.5)) ** 2 + ((rows - y - h / 2) / max(h / 2, 0.5)) ** 2 <= 1).astype(np.uint8)


def _ellipse(box, size):
    from pycocotools import mask

    found = mask.encode(np.asfortranarray(_pixels(box, size)))
    return {"size": found["size"], "counts": found["counts"].decode()}


def _runs(pixels):
    """Run lengths that are not packed."""
    flat = pixels.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return ([0] if flat[0] else []) + np.diff([0, *edges, len(flat)]).tolist()


def pycocotools(truth, results, kind="bbox"):
    """COCOeval after all its work. It writes into what it is given, so it gets copies."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def columns(truth, results, masks=False):
    """(truths, detections, category ids) for our own evaluation."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    objects = truth["annotations"]
    a, d = ({name: [x.get(name, 0) for x in rows] for name in NAMES} for rows in (objects, results))
    runs = [[run_lengths(x["segmentation"], sizes[x["image_id"]]) for x in rows] if masks else () for rows in (objects, results)]
    crowd = np.array(a["iscrowd"], bool)
    truths = Truths(
        *(np.array(a[name], np.int64) for name in ("image_id", "category_id")),
        np.array(a["bbox"], float).reshape(-1, 4), np.array(a["area"], float), crowd, np.array(a["id"], np.int64), crowd & False, runs[0],
    )  # fmt: skip
    area = None
    if masks:
        from pycocotools import mask

        area = np.array([mask.area(x) for x in runs[1]])
    boxes = np.zeros((len(results), 4)) if masks else np.array(d["bbox"], float).reshape(-1, 4)
    found = (np.array(d["image_id"], np.int64), np.array(d["category_id"], np.int64), np.array(d["score"], float))
    return truths, Detections(*found, boxes, area, runs[1]), [c["id"] for c in truth["categories"]]


NAMES = ("image_id", "category_id", "bbox", "area", "iscrowd", "id", "score")
