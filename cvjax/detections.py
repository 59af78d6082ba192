"""The detections of a run as COCO's files, which any tool of the field reads: the results, and the objects they are scored against."""

from pathlib import Path

import numpy as np

from cvjax.data._coco_json import Category, Dataset, Picture, Results, write_results, write_truth
from cvjax.data._objects import Objects
from cvjax.data._source import Info, Source
from cvjax.metrics.detection import found


def write(folder: Path, name: str, rows: dict[str, np.ndarray], source: Source) -> None:
    """Writes <name>_detections.json and <name>_truth.json: what was detected in the pictures of `rows`, and what is in them.

    Both are in the set's own numbers; where those are not unique, pictures are numbered by their place in the source and objects from 1.
    `launch.py score --truth=<name>_truth.json --results=<name>_detections.json` gives the numbers of the run.
    """
    assert source.truth is not None  # what makes it a source of detection
    objects = {int(i): source.truth(int(i)) for i in rows["index"]}
    sizes = dict(zip(rows["index"].tolist(), rows["original_size"].tolist(), strict=True))
    numbers, ids = _picture_numbers(objects), category_ids(source.info)
    detected = found(rows)
    image = np.array([numbers[i] for i in detected.image.tolist()], np.int64)
    write_results(folder / f"{name}_detections.json", Results(image, ids[detected.category], detected.score, detected.boxes))
    groups = source.info.groups or source.info.classes
    categories = {int(k): Category(*pair) for k, pair in zip(ids, zip(source.info.classes, groups, strict=True), strict=True)}
    images = {numbers[i]: Picture(Path(source.name(i)).name, *size) for i, size in sizes.items()}
    of_image = {numbers[i]: one._replace(classes=ids[one.classes]) for i, one in _told_apart(objects).items()}
    write_truth(folder / f"{name}_truth.json", Dataset(images, categories, of_image))


def _picture_numbers(objects: dict[int, Objects]) -> dict[int, int]:
    """Index -> the picture's number: the set's own, or index + 1 where it has none, or one is of two pictures (two files, read as one)."""
    own = {i: one.image for i, one in objects.items() if one.image is not None}
    return own if len(set(own.values())) == len(objects) else {i: i + 1 for i in objects}


def _told_apart(objects: dict[int, Objects]) -> dict[int, Objects]:
    """The objects, their annotations under the set's own numbers, or counted from 1 where one is of two objects."""
    own = np.concatenate([one.ids for one in objects.values()])
    if len(np.unique(own)) == len(own):
        return objects
    ends = np.cumsum([len(one.ids) for one in objects.values()])
    return {i: one._replace(ids=np.arange(end - len(one.ids), end) + 1) for end, (i, one) in zip(ends, objects.items(), strict=True)}


def category_ids(info: Info) -> np.ndarray:
    """The set's own number of each class."""
    return np.array(info.original_ids or range(len(info.classes)), np.int64)
