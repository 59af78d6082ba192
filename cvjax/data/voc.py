"""Detection sets annotated as PASCAL VOC: VOC itself (Everingham et al. 2010, IJCV 88), and what annotation tools export in its form.

    root/JPEGImages/*.jpg  root/Annotations/*.xml  root/ImageSets/Main/train.txt

Boxes in the xml count pixels from 1 and name the last one inside; here they are continuous, so 1..640 of 640 is 0 to 640.
"""

import os
import re
import xml.etree.ElementTree as xml
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvjax import environment
from cvjax.data import _odd_boxes
from cvjax.data._class_list import checked, lines
from cvjax.data._decode import ENDINGS
from cvjax.data._detection import Picture, from_xml, source
from cvjax.data._objects import Objects
from cvjax.data._pairs import check_distinct, folder, picture_size
from cvjax.data._source import Source, select, split_names
from cvjax.errors import UserError, some

# In the order that TFDS and the devkit number them, with what is easily taken for each other after Hoiem et al. 2012, "Diagnosing Error in
# Object Detectors", section 2.1; their fourth pair, aeroplane and bird, would put these two into two groups at once.
GROUPS = {
    "aeroplane": "vehicle", "bicycle": "vehicle", "bird": "animal", "boat": "vehicle", "bottle": "bottle", "bus": "vehicle",
    "car": "vehicle", "cat": "animal", "chair": "furniture", "cow": "animal", "diningtable": "furniture", "dog": "animal",
    "horse": "animal", "motorbike": "vehicle", "person": "animal", "pottedplant": "pottedplant", "sheep": "animal", "sofa": "furniture",
    "train": "vehicle", "tvmonitor": "tvmonitor",
}  # fmt: skip
SIDES = ("xmin", "ymin", "xmax", "ymax")
FORMS = ("for pictures of another size", _odd_boxes.FORMS[1])
FLAGGED = re.compile(r"(?P<name>.*\S)\s+(?P<flag>1|-1|0)")
DIFFICULT = {"": False, "0": False, "1": True, "0.0": False, "1.0": True}


class Sheet(NamedTuple):
    """What an xml says: the picture's file and (height, width); the objects' names, boxes (xyxy as they stand) and difficult flags."""

    picture: str
    size: tuple[int, int]
    names: list[str]
    boxes: np.ndarray
    difficult: list[bool]


def load(split: str, *, root: str, classes: tuple[str, ...] = (), faulty: str = "drop", max_boxes: int = 0) -> Source:
    """Pictures below `root` with the objects of their xml files. Difficult objects are ignored.

    Args:
        split: a file in ImageSets/Main, "train" or "train+val"; sliced as TFDS does.
        classes: names in the order of the class ids; () are PASCAL's 20.
        faulty, max_boxes: see `_detection.source`.

    Raises:
        UserError: files that are not there or no xml, two pictures of one name, pictures of another size than their xml says, names that
            are no class, boxes that do not fit the settings.
    """
    where = folder(root)
    names = checked(tuple(classes), "data.classes") if classes else tuple(GROUPS)
    lists = {path.stem: path for path in sorted(folder(root, "ImageSets", "Main").glob("*.txt"))}
    pictures = _pictures(where)
    chosen = select(split, {name: _listed(path, pictures) if name in split_names(split) else [] for name, path in lists.items()})
    with ThreadPoolExecutor(environment.cores()) as threads:
        sheets = list(threads.map(partial(_sheet, where, pictures), chosen))
    _check_names(sheets, names, where)
    ends = np.cumsum([len(sheet.names) for sheet in sheets]).tolist()
    found = [_picture(sheet, names, end) for sheet, end in zip(sheets, ends, strict=True)]
    groups = () if classes else tuple(GROUPS.values())
    return source(found, names, faulty=faulty, max_boxes=max_boxes, groups=groups, forms=FORMS)


def _listed(file: Path, pictures: dict[str, str]) -> list[str]:
    """Names of the pictures, which may have blanks. The lists of one class, "aeroplane_train.txt", have 1, -1 or 0 behind a name: -1 says
    that it is not there."""
    found = []
    for line in lines(file):
        flagged = None if line in pictures else FLAGGED.fullmatch(line)
        if flagged is None or flagged["flag"] != "-1":
            found.append(flagged["name"] if flagged else line)
    return found


def _pictures(root: Path) -> dict[str, str]:
    """Name -> file, of all pictures."""
    images = folder(str(root), "JPEGImages")
    found = [path for path in map(images.joinpath, sorted(os.listdir(images))) if path.suffix.lower() in ENDINGS]
    check_distinct(found)
    return {path.stem: str(path) for path in found}


def _sheet(root: Path, pictures: dict[str, str], name: str) -> Sheet:
    file = root / "Annotations" / f"{name}.xml"
    if name not in pictures:
        raise UserError(f"ImageSets/Main lists '{name}', but {root / 'JPEGImages'} has no such picture; bring it, or take it off the list")
    try:
        tree = xml.parse(file).getroot()
    except FileNotFoundError as error:
        raise UserError(f"ImageSets/Main lists '{name}', but there is no {file}; bring it, or take it off the list") from error
    except xml.ParseError as error:
        raise UserError(f"{file} is no whole XML ({error}); write it again") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; bring it again") from error
    objects = tree.findall("object")
    size = _numbers(tree, ("size/height", "size/width"), file, "the picture's size")
    if picture_size(Path(pictures[name])) != tuple(size):
        tall, wide = picture_size(Path(pictures[name]))
        raise UserError(f"{file} is for {size[0]:g} x {size[1]:g} pixels, but {pictures[name]} has {tall} x {wide}; mend the file")
    sides = [_numbers(one, [f"bndbox/{side}" for side in SIDES], file, f"object {k + 1}'s box") for k, one in enumerate(objects)]
    return Sheet(
        pictures[name],
        (int(size[0]), int(size[1])),
        [_name(one, f"{file}: object {k + 1}") for k, one in enumerate(objects)],
        np.array(sides, np.float64).reshape(-1, 4),
        [_difficult(one, f"{file}: object {k + 1}") for k, one in enumerate(objects)],
    )


def _name(one: xml.Element, where: str) -> str:
    name = (one.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{where} has no name; write its class there, or remove it")
    return name


def _difficult(one: xml.Element, where: str) -> bool:
    flag = (one.findtext("difficult") or "").strip()
    if flag not in DIFFICULT:
        raise UserError(f"{where} has <difficult>{flag}</difficult>; write 0 or 1")
    return DIFFICULT[flag]


def _numbers(tree: xml.Element, names: tuple[str, ...] | list[str], file: Path, what: str) -> list[float]:
    try:
        found = [float(tree.findtext(name) or "") for name in names]
    except ValueError:
        found = [np.nan]
    if not np.isfinite(found).all():
        raise UserError(f"{file} does not say {what} ({', '.join(name.split('/')[-1] for name in names)}); mend the file")
    return found


def _check_names(sheets: list[Sheet], classes: tuple[str, ...], root: Path) -> None:
    counts = Counter(name for sheet in sheets for name in sheet.names)
    if unknown := sorted(set(counts) - set(classes)):
        first = next(sheet.picture for sheet in sheets if not set(sheet.names) <= set(classes))
        listed = some([f"'{name}' ({counts[name]} objects)" for name in unknown])
        every = (*classes, *unknown) if set(classes) & set(counts) else tuple(sorted(counts))
        raise UserError(
            f"names in {root / 'Annotations'} that are no class: {listed}, first of {first}; set data.classes={every}, or mend the files"
        )


def _picture(sheet: Sheet, classes: tuple[str, ...], end: int) -> Picture:
    """`end`: number of the picture's last object among those of the split, from 1."""
    count = len(sheet.names)
    xywh = from_xml(sheet.boxes)
    none = np.zeros(count, bool)
    ids = np.arange(end - count + 1, end + 1, dtype=np.int64)
    numbers = np.array([classes.index(name) for name in sheet.names], np.int64)
    return Picture(sheet.picture, sheet.size, Objects(xywh, numbers, xywh[:, 2] * xywh[:, 3], none, np.array(sheet.difficult, bool), ids))
