"""COCO's two JSON files: instances (pictures, categories, objects) and results (detections), read with every mistake named, and written.

Boxes are x y w h in pixels, and nothing is changed on the way: what is read and written again is the same to the last bit.

n entries of a file
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvjax.data._json_table import Table, read
from cvjax.data._objects import Objects
from cvjax.errors import UserError

FAR = 1e6  # pixels: where pycocotools' whole numbers still hold
LONGEST = 7  # characters of a compressed run length: pycocotools' whole numbers have 32 bits


class Picture(NamedTuple):
    """A picture's file name and size; "" and 0 where a file that is only for scores does not say."""

    file: str
    height: int
    width: int


class Category(NamedTuple):
    name: str
    supercategory: str


class Dataset(NamedTuple):
    """What a file of instances says.

    Attributes:
        images: picture by id, in the order of the file.
        categories: by id, ascending.
        objects: of every picture, by its id, `classes` being ids of categories; those of a picture in the order of the file.
    """

    images: dict[int, Picture]
    categories: dict[int, Category]
    objects: dict[int, Objects]


class Results(NamedTuple):
    """Detections, a row each, in the order of the file.

    Attributes:
        image, category: int64 n, ids of the truth.
        score: float64 n.
        boxes: float64 n 4, x y w h; or None where the file has masks alone.
        segmentations: n run lengths as COCO writes them, or () where the file has boxes alone.
    """

    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    boxes: np.ndarray | None
    segmentations: Sequence[Any] = ()


def read_truth(path: Path, for_scores: bool = False) -> Dataset:
    """Reads a file of instances.

    Args:
        path: the file.
        for_scores: whether pictures may be without file name and size, and categories without a name: scores do without.

    Raises:
        UserError: the file cannot be read, is cut off or no file of instances; a key is missing or of a wrong type, a number not finite;
            an id occurs twice; an object is of a picture or category that the file does not have. A file without 'annotations', as COCO's
            of test pictures, is an error for scores only, else told on stderr.
    """
    content = read(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a file of instances: write images, categories and annotations")
    if "annotations" not in content and not for_scores:
        print(f"cvjax: warning: {path} has no 'annotations', so its pictures have no objects", file=sys.stderr, flush=True)
        content["annotations"] = []
    images, categories, table = (Table(path, _part(path, content, name), name) for name in ("images", "categories", "annotations"))
    image_ids, category_ids = images.unique("id"), categories.unique("id")
    if for_scores:
        image_files, names = images.lenient("file_name", ""), categories.lenient("name", "")
        sizes = list(zip(images.lenient("height", 0), images.lenient("width", 0), strict=True))
    else:
        image_files, names = images.texts("file_name"), categories.texts("name")
        sizes = np.stack([images.positive("height"), images.positive("width")], 1).tolist()
    pictures = {i: Picture(file, *size) for i, file, size in zip(image_ids.tolist(), image_files, sizes, strict=True)}
    kinds = {
        i: Category(name or str(i), over)
        for i, name, over in zip(category_ids.tolist(), names, categories.lenient("supercategory", ""), strict=True)
    }
    return Dataset(pictures, dict(sorted(kinds.items())), _objects(table, image_ids, category_ids))


def _objects(table: Table, images: np.ndarray, categories: np.ndarray) -> dict[int, Objects]:
    """Objects by image, of the annotations."""
    ids, image, category = table.unique("id"), table.whole("image_id"), table.whole("category_id")
    table.known("image_id", image, images, "images")
    table.known("category_id", category, categories, "categories")
    crowd, difficult = (np.array(table.flags(name), bool) for name in ("iscrowd", "ignore"))
    area = table.numbers("area", "write width x height of its box, or the area of its mask")
    columns = dict(boxes=table.boxes(), classes=category, area=area, crowd=crowd, difficult=difficult, ids=ids)
    segmentations = [entry.get("segmentation") for entry in table.entries]
    has = any(segmentations)
    order = np.argsort(image, kind="stable")
    start, stop = (np.searchsorted(image[order], images, side).tolist() for side in ("left", "right"))
    found = {}
    for i, first, last in zip(images.tolist(), start, stop, strict=True):
        rows = order[first:last]
        here: dict[str, Any] = {name: column[rows] for name, column in columns.items()}
        found[i] = Objects(**here, segmentations=[segmentations[row] for row in rows] if has else ())
    return found


def read_results(path: Path, truth: Dataset | None = None) -> Results:
    """Reads a file of results; an empty list is legal.

    Args:
        path: the file.
        truth: what the results are of, to find those of pictures and categories that it does not have.

    Raises:
        UserError: as for `read_truth`; also a box of negative width or height, and a file in which some entries have a box, or a mask,
            and others have none.
    """
    content = read(path)
    if not isinstance(content, list):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not a list of results: write [{{image_id, category_id, bbox, score}}, ...]"
        )
    table = Table(path, content, "")
    image, category, score = table.whole("image_id"), table.whole("category_id"), table.numbers("score")
    if truth is not None:
        table.known("image_id", image, np.array(list(truth.images), np.int64), "images of the truth")
        table.known("category_id", category, np.array(list(truth.categories), np.int64), "categories of the truth")
    first = table.entries[0] if table.entries else {"bbox": True}
    if not first.get("bbox") and not first.get("segmentation"):
        table.wrong(0, "has neither 'bbox' nor 'segmentation'; write one of them")
    for name in ("bbox", "segmentation"):
        if not first.get(name):
            odd = [row for row, entry in enumerate(table.entries) if entry.get(name)]
            for row in odd[:1]:
                table.wrong(row, f"has a '{name}' and the first entry has none; give all or none")
    boxes = table.boxes() if first.get("bbox") else None
    if boxes is not None:
        for row in np.flatnonzero((boxes[:, 2:] < 0).any(1))[:1]:
            table.wrong(row, f"'bbox' {boxes[row].tolist()} has a negative width or height; write [x, y, width, height]")
    return Results(image, category, score, boxes, table.column("segmentation") if first.get("segmentation") else ())


def write_results(path: Path, results: Results) -> None:
    """Writes detections so that `read_results`, and pycocotools, read the same numbers."""
    columns: dict[str, list] = {"image_id": results.image.tolist(), "category_id": results.category.tolist()}
    if results.boxes is not None:
        columns["bbox"] = np.asarray(results.boxes, np.float64).tolist()
    if len(results.segmentations):
        columns["segmentation"] = [_spelled(x) for x in results.segmentations]
    columns["score"] = np.asarray(results.score, np.float64).tolist()
    entries = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path.write_text(json.dumps(entries, allow_nan=False))


def write_truth(path: Path, dataset: Dataset) -> None:
    """Writes a file of instances that `read_truth`, and pycocotools, read."""
    annotations = []
    for image, objects in dataset.objects.items():
        columns = (objects.ids, objects.classes, objects.boxes, objects.area, objects.crowd.astype(int), objects.difficult)
        for row, (number, category, box, area, crowd, difficult) in enumerate(zip(*(x.tolist() for x in columns), strict=True)):
            entry = {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
            entry |= {"ignore": 1} if difficult else {}
            entry |= {"segmentation": _spelled(objects.segmentations[row])} if len(objects.segmentations) else {}
            annotations.append(entry)
    content = {
        "images": [{"id": i, "file_name": x.file, "height": x.height, "width": x.width} for i, x in dataset.images.items()],
        "categories": [{"id": i, "name": x.name, "supercategory": x.supercategory} for i, x in dataset.categories.items()],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content, allow_nan=False))


def _spelled(segmentation: Any) -> Any:
    """Run lengths with the text that JSON can hold: pycocotools gives bytes."""
    if isinstance(segmentation, Mapping) and isinstance(segmentation["counts"], bytes):
        return {"size": [int(x) for x in segmentation["size"]], "counts": segmentation["counts"].decode()}
    return segmentation


def _part(path: Path, content: dict[str, Any], name: str) -> list:
    if name not in content:
        raise UserError(f"{path} has no '{name}'; a file of instances has images, categories and annotations")
    if not isinstance(content[name], list):
        raise UserError(f"{path}: '{name}' is a {type(content[name]).__name__}; write a list")
    return content[name]


def fault(segmentation: Any, height: int, width: int) -> str:
    """What is wrong with an object's polygons or run lengths, in a picture of this size, or "". pycocotools may crash on them."""
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            return f"has run lengths of size {segmentation.get('size')} in a picture of [height, width] {[height, width]}"
        return _fault_of_counts(segmentation.get("counts"), height * width)
    if not isinstance(segmentation, list) or not segmentation:
        return "has no polygon and no run lengths"
    for polygon in segmentation:
        if not isinstance(polygon, list) or not all(type(x) in (int, float) and abs(x) < FAR for x in polygon):
            return f"has a polygon that is no list of numbers up to {FAR:g}"
    whole = all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in segmentation)
    return "" if whole else "has a polygon that is no list [x1, y1, x2, y2, x3, y3, ...]"


def _fault_of_counts(counts: Any, pixels: int) -> str:
    if not isinstance(counts, list | str) or not counts:
        return "has no 'counts'"
    if isinstance(counts, str) and not (counts := _unpacked(counts)):
        return "has 'counts' that are no run lengths, or are cut off"
    right = all(type(x) is int and x >= 0 for x in counts) and sum(counts) == pixels
    return "" if right else f"has run lengths that do not add up to the {pixels} pixels of its picture; they may be cut off"


def _unpacked(counts: str) -> list[int]:
    """Compressed run lengths as numbers, as maskApi.c's rleFrString reads them, or [] for a text that is none.

    A character has five bits of a number, lower ones first, and a sixth that says whether it goes on; the highest of all bits is its sign.
    From the fourth number on it is the difference to the run length before the last.
    """
    bits = np.frombuffer(counts.encode("utf-32-le"), np.uint32).astype(np.int64) - 48
    last = np.flatnonzero(bits & 32 == 0)  # of each number
    if ((bits < 0) | (bits > 63)).any() or last[-1:].tolist() != [len(bits) - 1]:
        return []
    sizes = np.diff(last, prepend=-1)
    if sizes.max() > LONGEST:
        return []
    first = last - sizes + 1
    runs = np.add.reduceat((bits & 31) << 5 * (np.arange(len(bits)) - np.repeat(first, sizes)), first)
    runs -= (bits[last] & 16) << 5 * sizes - 4
    for start in (1, 2):
        runs[start::2] = np.cumsum(runs[start::2])
    return runs.tolist()
