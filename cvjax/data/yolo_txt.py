"""Detection sets as YOLO's text files: a line "class cx cy w h" for each object, in shares of the picture's width and height.

    root/images/train/*.jpg  root/labels/train/*.txt    the same names; "val" and others beside "train"
    root/data.yaml                                      `names`, a list or a mapping from number to name
    root/classes.txt                                    or the names, one a line

A picture without a text file has no objects.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from cvjax import environment
from cvjax.data._class_list import checked, lines
from cvjax.data._decode import is_picture
from cvjax.data._detection import Picture, source
from cvjax.data._objects import Objects
from cvjax.data._pairs import check_distinct, folder, picture_size
from cvjax.data._source import Source, select, split_names
from cvjax.errors import UserError
from cvjax.ops import boxes

TABLE = "data.yaml"
NAMES = "classes.txt"
FORMS = ("of corners where centre x, centre y, width and height are meant", "divided by the picture's size twice")
PIXELS = 2  # a number above it is no share of the picture; one a little outside 0 to 1 is a faulty box, see `_detection.source`


def load(split: str, *, root: str, faulty: str = "drop", max_boxes: int = 0) -> Source:
    """Pictures below `root` with the objects of their text files.

    Args:
        split: a folder in root/images, sliced as TFDS does.
        faulty, max_boxes: see `_detection.source`.

    Raises:
        UserError: nothing there, no class list, a line that is none, named by file and number, a text file without its picture or for two
            of them, boxes that do not fit the settings.
    """
    images, where = folder(root, "images"), Path(root).expanduser()
    names = _classes(where)
    parts = sorted(path.name for path in images.iterdir() if path.is_dir())
    files = select(split, {name: _files(where, name) if name in split_names(split) else [] for name in parts})
    with ThreadPoolExecutor(environment.cores()) as threads:
        found = list(threads.map(partial(_picture, where, len(names)), files))
    first = 1
    for k, picture in enumerate(found):  # numbered through, as annotations are
        count = len(picture.objects.boxes)
        found[k] = picture._replace(objects=picture.objects._replace(ids=np.arange(first, first + count)))
        first += count
    return source(found, names, faulty=faulty, max_boxes=max_boxes, forms=FORMS)


def _classes(root: Path) -> tuple[str, ...]:
    if not (root / TABLE).is_file():
        if not (root / NAMES).is_file():
            told = f"write the names, one a line, into {root / NAMES}, or `names: [first, second]` into {root / TABLE}"
            raise UserError(f"there is no class list: {told}")
        return checked(lines(root / NAMES), str(root / NAMES))
    import yaml

    try:
        table = yaml.safe_load((root / TABLE).read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{root / TABLE} cannot be read: {' '.join(str(error).split())}") from error
    names = table.get("names") if isinstance(table, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[k] for k in range(len(names))]
    if not isinstance(names, list):
        raise UserError(f"{root / TABLE} needs `names`: a list, or a mapping from the numbers 0, 1, ... to the names of the classes")
    return checked(tuple(map(str, names)), str(root / TABLE))


def _files(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Every picture of a split, in the order of the names, with its text file, which need not be there."""
    images, labels = root / "images" / split, root / "labels" / split
    pictures = sorted(path for path in images.rglob("*") if is_picture(path))
    if not pictures:
        raise UserError(f"{images} holds no pictures")
    check_distinct(pictures)
    if not labels.is_dir():
        raise UserError(f"there is no folder {labels}; text files with the objects of {images} belong there")
    found = [(path, labels / path.relative_to(images).with_suffix(".txt")) for path in pictures]
    lonely = sorted(set(labels.rglob("*.txt")) - {text for _, text in found} - {labels / NAMES})
    if lonely:
        raise UserError(f"{len(lonely)} files in {labels} have no picture in {images}, first {lonely[0].name}; bring or remove it")
    return found


def _picture(root: Path, classes: int, files: tuple[Path, Path]) -> Picture:
    image, text = files
    height, width = picture_size(image)
    rows = _rows(text, classes) if os.path.lexists(text) else []  # a link to nothing is not "no objects"
    table = np.array(rows, np.float64).reshape(-1, 5)
    xywh = boxes.to_coco(boxes.from_detr(table[:, 1:], (height, width)))
    none, ids = np.zeros(len(table), bool), np.zeros(len(table), np.int64)
    return Picture(str(image), (height, width), Objects(xywh, table[:, 0].astype(np.int64), xywh[:, 2] * xywh[:, 3], none, none, ids))


def _rows(file: Path, classes: int) -> list[list[float]]:
    try:
        content = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; mend or remove it") from error
    return [_row(line.split(), classes, f"{file}, line {number}") for number, line in enumerate(content, 1) if line.strip()]


def _row(words: list[str], classes: int, where: str) -> list[float]:
    if len(words) != 5:
        raise UserError(f"{where}: {len(words)} numbers where 'class cx cy w h' are five; outlines and scores are not read")
    try:
        row = [float(word) for word in words]
    except ValueError:
        row = [math.nan] * 5
    if not all(map(math.isfinite, row)):
        raise UserError(f"{where}: '{' '.join(words)}' are not five numbers")
    if row[0] not in range(classes):
        raise UserError(
            f"{where}: no class is {words[0]}, they are 0 to {classes - 1}: lengthen the class list, count from 0, or mend the line"
        )
    if max(map(abs, row[1:])) > PIXELS:
        raise UserError(f"{where}: '{' '.join(words[1:])}' are not between 0 and 1; they are shares of the picture's width and height")
    return row
