"""Detection sets annotated in COCO's json: COCO itself (Lin et al. 2014, arXiv:1405.0312), and what annotation tools export in its form.

    root/annotations/instances_val2017.json  root/val2017/*.jpg

The numbers of the json stay in `Source.truth`, all but an annotation 0, and in `info.original_ids`; records have contiguous classes and
clipped boxes.
"""

import glob
import os
import re
import sys
from pathlib import Path

import numpy as np

from cvjax.data._class_list import MOST, checked
from cvjax.data._coco_json import Dataset, fault, read_truth
from cvjax.data._detection import Picture, source
from cvjax.data._objects import Objects
from cvjax.data._pairs import folder
from cvjax.data._source import Source, select, split_names
from cvjax.errors import UserError

SPLIT = "{split}"


def load(
    split: str,
    *,
    root: str,
    annotations: str = "annotations/instances_{split}.json",
    images: str = "{split}",
    faulty: str = "drop",
    max_boxes: int = 0,
    holes: bool = False,
    masks: bool = False,
) -> Source:
    """Pictures below `root` with the objects of a json. Crowds are ignored; pictures without annotations are records without objects.

    Args:
        split: every file that `annotations` fits names one ("train2017"); sliced as TFDS does.
        annotations, images: below `root`, the json and the folder that its file names begin from; {split} stands for the split's name.
        faulty, max_boxes: see `_detection.source`.
        holes: whether every number from 0 to the largest category id is a class, as the published weights of DETR have it (91 for COCO,
            of which "id 12" is one that no category has); else the categories alone, in the order of their ids.
        masks: whether records have `masks`, bool n h w, from polygons and run lengths.

    Raises:
        UserError: no such file, a json that is cut off or contradicts itself (see `_coco_json`), pictures that are not there, categories
            that differ between the splits, boxes that do not fit the settings.
    """
    files = _files(folder(root), annotations)
    read = {name: read_truth(files[name]) for name in split_names(split) if name in files}
    known = {name: _pictures(data, Path(root).expanduser() / images.replace(SPLIT, name), files[name]) for name, data in read.items()}
    chosen = select(split, {name: known.get(name, []) for name in files})
    first, *others = read
    for other in others:
        if read[other].categories != read[first].categories:
            raise UserError(f"{files[other]} and {files[first]} have different categories; give them the same, with the same ids")
    ids, names, groups = _classes(read[first], holes, files[first])
    numbers = np.array(ids, np.int64)
    places = [np.searchsorted(numbers, picture.objects.classes) for picture in chosen]
    pictures = [picture._replace(objects=picture.objects._replace(classes=k)) for picture, k in zip(chosen, places, strict=True)]
    if masks:
        _check_outlines(pictures)
    original = () if ids == tuple(range(len(ids))) else ids
    return source(pictures, names, faulty=faulty, max_boxes=max_boxes, original_ids=original, groups=groups, masks=masks)


def _files(root: Path, annotations: str) -> dict[str, Path]:
    """Split -> json, of all files that the pattern fits."""
    if annotations.count(SPLIT) != 1 or annotations.startswith("/"):
        raise UserError(f"data.annotations is '{annotations}'; write a path below data.root, {SPLIT} where the split's name stands, once")
    before, after = annotations.split(SPLIT)
    fits = re.compile(rf"{re.escape(before)}([\w-]+){re.escape(after)}")
    found = {}
    for path in sorted(root.glob(f"{glob.escape(before)}*{glob.escape(after)}")):
        if match := fits.fullmatch(path.relative_to(root).as_posix()):
            found[match[1]] = path
    if not found:
        raise UserError(f"there is no {root / before}*{after}; set data.root or data.annotations to where it lies")
    return found


def _pictures(data: Dataset, images: Path, file: Path) -> list[Picture]:
    """In the json's order. Raises UserError for files that are not there, or listed twice."""
    if not data.images:
        raise UserError(f"{file} lists no images")
    objects = _numbered(data, file)
    pictures = [
        Picture(str(images / entry.file), (entry.height, entry.width), objects[key]._replace(image=key))
        for key, entry in data.images.items()
    ]
    first: dict[str, int] = {}
    for picture, key in zip(pictures, data.images, strict=True):
        if first.setdefault(picture.file, key) != key:
            ids = f"ids {first[picture.file]} and {key}"
            raise UserError(f"{file} lists {picture.file} twice, {ids}; list it once, with the objects of both")
    there = {path for below in {os.path.dirname(picture.file) for picture in pictures} for path in _listed(below)}
    lacking = [picture.file for picture in pictures if picture.file not in there]
    if lacking:
        raise UserError(
            f"{file} lists {len(data.images)} images, of which {len(lacking)} are not there, first {lacking[0]}; "
            f"bring them, or set data.images to the folder below data.root that holds them"
        )
    return pictures


def _numbered(data: Dataset, file: Path) -> dict[int, Objects]:
    """The objects, none of which is annotation 0: COCO's evaluation takes that for none, and many tools count from 0."""
    ids = np.concatenate([one.ids for one in data.objects.values()])
    if ids.all():
        return data.objects
    free = ids.max() + 1
    told = f"{file} has an annotation 0, which COCO's evaluation never counts as found; it is number {free} here"
    print(f"cvjax: warning: {told}", file=sys.stderr, flush=True)
    return {key: one._replace(ids=np.where(one.ids == 0, free, one.ids)) for key, one in data.objects.items()}


def _listed(folder: str) -> list[str]:
    """Paths in a folder: one look where asking for every file takes minutes on a network disk."""
    try:
        with os.scandir(folder) as entries:
            return [os.path.join(folder, entry.name) for entry in entries]
    except OSError:
        return []


def _classes(data: Dataset, holes: bool, file: Path) -> tuple[tuple[int, ...], tuple[str, ...], tuple[str, ...]]:
    """Original ids, ascending, names and groups of the classes. Raises UserError for names and numbers that cannot be those of classes."""
    if not data.categories:
        raise UserError(f"{file} has no categories, so its objects have no names; add them")
    least, largest = min(data.categories), max(data.categories)
    if least < 0:
        raise UserError(f"{file} has a category {least} ('{data.categories[least].name}'); number the categories from 0 or more")
    if holes and largest >= MOST:
        raise UserError(f"{file} has a category {largest}, and data.holes=True makes every number up to it a class; set it to False")
    ids = tuple(range(max(data.categories) + 1)) if holes else tuple(sorted(data.categories))
    names = checked(tuple(data.categories[k].name if k in data.categories else f"id {k}" for k in ids), str(file))
    above = tuple(data.categories[k].supercategory if k in data.categories else "" for k in ids)
    return ids, names, tuple(group or name for group, name in zip(above, names, strict=True)) if any(above) else ()


def _check_outlines(pictures: list[Picture]) -> None:
    for picture in pictures:
        ids = picture.objects.ids.tolist()
        for number, outline in zip(ids, picture.objects.segmentations or [None] * len(ids), strict=True):
            if problem := fault(outline, *picture.size):
                where = f"annotation {number} of {picture.file}"
                raise UserError(f"data.masks: {where} {problem}; mend its segmentation, or set data.masks=False")
