"""From the objects that a set's files name to records with training boxes: shared by the sources of detection.

A record's boxes are clipped to the picture. Objects that have no area in it are left out of the record, counted and told, or refused;
`Source.truth` keeps them, and everything else, as the files have them.
n objects
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvjax.data._decode import DecodeError, Encoded
from cvjax.data._objects import Objects
from cvjax.data._odd_boxes import FORMS, suspicions
from cvjax.data._segmentations import instance_masks
from cvjax.data._source import Info, Source
from cvjax.errors import UserError
from cvjax.ops import boxes

FAULTY = ("drop", "refuse")


class Picture(NamedTuple):
    """One picture of a set, known before its file is opened.

    Attributes:
        file: its path.
        size: (height, width) in pixels, upright.
        objects: with contiguous class ids.
    """

    file: str
    size: tuple[int, int]
    objects: Objects


def clipped(xywh: np.ndarray, size: np.ndarray | tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as float32 n 4 xyxy inside their pictures, and bool n: which of them have an area there. NaN has none.

    Args:
        xywh: float n 4, as in `Objects`.
        size: (height, width) of the picture, or n 2 of each box's own.
    """
    corners = boxes.from_coco(np.asarray(xywh, np.float64).reshape(-1, 4))
    corners = boxes.clip(corners, size).astype(np.float32)
    return corners, (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])


def from_xml(corners: np.ndarray) -> np.ndarray:
    """VOC's corners, float64 n 4, as x y w h. A box that ends where it begins, or before, has no size: nobody annotates an object of one
    pixel, but many hands slip."""
    xywh = boxes.to_coco(boxes.from_voc(corners))
    slips = (corners[:, 2:] <= corners[:, :2]).any(-1, keepdims=True)
    xywh[:, 2:] = np.where(slips, corners[:, 2:] - corners[:, :2], xywh[:, 2:])
    return xywh


def fields(objects: Objects, size: tuple[int, int], masks: bool = False) -> dict[str, np.ndarray]:
    """A record's `boxes`, `classes` and `ignored`, with `masks`, bool n h w, where asked for, of the objects with an area there."""
    corners, kept = clipped(objects.boxes, size)
    record = {"boxes": corners[kept], "classes": objects.classes[kept].astype(np.int32), "ignored": objects.ignored[kept]}
    if masks:
        record["masks"] = instance_masks([objects.segmentations[k] for k in np.flatnonzero(kept).tolist()], size)
    return record


def source(
    pictures: Sequence[Picture],
    classes: Sequence[str],
    *,
    faulty: str,
    max_boxes: int,
    original_ids: Sequence[int] = (),
    groups: Sequence[str] = (),
    masks: bool = False,
    forms: tuple[str, str] = FORMS,
) -> Source:
    """Records of the pictures, after a look at the boxes of all.

    Args:
        faulty: "drop" leaves objects without area in their picture out of the records and says so once on stderr; "refuse" raises.
        max_boxes: how many objects a record is padded to later, 0 for as many as the fullest has.
        forms: what boxes that look odd may be, in words, see `suspicions`.

    Raises:
        UserError: settings that are none, objects without area under "refuse", more objects in a picture than `max_boxes`.
    """
    if faulty not in FAULTY:
        raise UserError(f"data.faulty is '{faulty}'; have: {', '.join(FAULTY)}")
    most = padded_length(_usable(pictures, faulty == "refuse", forms), max_boxes, [picture.file for picture in pictures])
    sizes = {picture.size for picture in pictures}
    info = Info(
        tuple(classes),
        len(pictures),
        "detection",
        next(iter(sizes)) if len(sizes) == 1 else None,
        original_ids=tuple(original_ids),
        most_objects=most,
        groups=tuple(groups),
    )
    return Source(info, partial(_read, pictures, masks), partial(_name, pictures), truth=partial(_truth, pictures))


def padded_length(counts: np.ndarray, max_boxes: int, names: Sequence[str]) -> int:
    """What boxes are padded to, 1 at least. Raises UserError, naming the fullest picture, when `max_boxes` is less than it needs."""
    if max_boxes < 0:
        raise UserError(f"data.max_boxes is {max_boxes}; it is a number of objects, or 0 for as many as the fullest picture has")
    fullest = int(np.argmax(counts))
    if max_boxes and counts[fullest] > max_boxes:
        more = int((counts > max_boxes).sum())
        others = f", and {more - 1} other pictures have too many too" if more > 1 else ""
        raise UserError(
            f"{names[fullest]} has {counts[fullest]} objects, more than data.max_boxes={max_boxes}{others}; "
            f"set it to {counts[fullest]} or more, or to 0: none may be lost"
        )
    return max(1, max_boxes or int(counts[fullest]))


def _usable(pictures: Sequence[Picture], refuse: bool, forms: tuple[str, str]) -> np.ndarray:
    """int n: objects with an area in each of the pictures. Tells of the others, or raises UserError for them, and of what looks odd."""
    counts = np.array([len(picture.objects.boxes) for picture in pictures])
    of = np.repeat(np.arange(len(pictures)), counts)
    every = np.concatenate([np.asarray(picture.objects.boxes, np.float64).reshape(-1, 4) for picture in pictures])
    sizes = np.array([picture.size for picture in pictures])[of]
    _, kept = clipped(every, sizes)

    def name(k: int) -> str:
        first = pictures[of[k]]
        return f"{first_told(first.objects, k - int(counts[: of[k]].sum()))} of {first.file}"

    warnings = []
    if not kept.all():
        told = f"{_told(every[~kept], len(every))}, first {name(int(np.argmin(kept)))}"
        most = "; more than half: look at the annotations' form" * (2 * int(kept.sum()) < len(kept))
        if refuse:
            raise UserError(f"{told}; mend the annotations, or set data.faulty='drop' to leave such objects out{most}")
        warnings.append(f"{told}; left out of what is learned from (data.faulty){most}")
    if pictures and not kept.any():
        warnings.append(f"none of the {len(pictures):,} pictures has an object, first {pictures[0].file}; are these its annotations?")
    else:
        warnings += suspicions(every, sizes, name, forms)
    for told in warnings:
        print(f"cvjax: warning: {told}", file=sys.stderr, flush=True)
    return np.bincount(of[kept], minlength=len(pictures))


def _told(faulty: np.ndarray, every: int) -> str:
    """What is wrong with the boxes, x y w h, counted by kind."""
    sizeless = int((~(faulty[:, 2:] > 0).all(-1)).sum())
    kinds = [(sizeless, "of zero or negative size"), (len(faulty) - sizeless, "outside the picture")]
    told = " and ".join(f"{count} {kind}" for count, kind in kinds if count)
    return f"{len(faulty)} of {every:,} boxes have no area in their picture ({told})"


def first_told(objects: Objects, k: int) -> str:
    """What to call an object in a message."""
    box = ", ".join(f"{value:g}" for value in objects.boxes[k])
    return f"object {k + 1} (id {objects.ids[k]}; x, y, w, h = {box})"


def _read(pictures: Sequence[Picture], masks: bool, index: int) -> dict[str, Any]:
    picture = pictures[index]
    image = Encoded(Path(picture.file).read_bytes())
    if image.size != picture.size:
        (tall, wide), (height, width) = image.size, picture.size
        how = "as viewers show it (EXIF may turn it)" if (wide, tall) == picture.size else "as it is"
        raise DecodeError(f"it is {tall} x {wide} pixels, but its annotations are for {height} x {width}; annotate the picture {how}")
    return {"image": image, **fields(picture.objects, picture.size, masks), "index": np.int32(index)}


def _truth(pictures: Sequence[Picture], index: int) -> Objects:
    return pictures[index].objects


def _name(pictures: Sequence[Picture], index: int) -> str:
    return pictures[index].file
