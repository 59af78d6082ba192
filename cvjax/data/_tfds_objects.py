"""TFDS sets with objects: coco/2014, coco/2017, voc/2007, voc/2012 and others whose feature `objects` has `bbox` and `label`.

TFDS keeps boxes as fractions of the picture, (ymin, xmin, ymax, xmax), in float32, so pixels come back to about 0.0001. A prepared set can
only be asked for whole records, pictures and all; so objects are not counted beforehand, and `max_boxes` is a number from the start.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cvjax.data import voc
from cvjax.data._decode import Encoded
from cvjax.data._detection import FAULTY, clipped, fields, first_told, from_xml
from cvjax.data._objects import Objects
from cvjax.data._source import Info
from cvjax.errors import UserError
from cvjax.ops import boxes

OBJECTS = "objects"
# Of the numbers 1 to 90, which COCO's json and the published networks use, ten stand for no category; TFDS numbers the others from 0.
COCO_IDS = tuple(k for k in range(1, 91) if k not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
COCO_GROUPS = {
    "person": 1, "vehicle": 8, "outdoor": 5, "animal": 10, "accessory": 5, "sports": 10, "kitchen": 7, "food": 10, "furniture": 6,
    "electronic": 6, "appliance": 5, "indoor": 7,
}  # fmt: skip  # how many of the 80 follow each other in each


class Reading(NamedTuple):
    """How a set's records are read.

    Attributes:
        image: name of the feature.
        classes: how many there are.
        xml: whether boxes are VOC's, which count pixels from 1 and end on the last one inside.
        name: index -> what to call the record.
        faulty, max_boxes: see `_detection.source`.
        told: of objects that were left out; empty until the first.
    """

    image: str
    classes: int
    xml: bool
    name: Callable[[int], str]
    faulty: str
    max_boxes: int
    told: list[str]


def reading(dataset: str, info: Any, labels: str, tfds: Any, name: Callable[[int], str], faulty: str, max_boxes: int) -> Reading | None:
    """How to read the set's objects, when they are asked for by name or no feature is a class label; None for a set of another kind."""
    inner = getattr(info.features[OBJECTS], "feature", None) if OBJECTS in info.features else None
    there = isinstance(inner, tfds.features.FeaturesDict) and {"bbox", "label"} <= set(inner)
    single = any(isinstance(feature, tfds.features.ClassLabel) for feature in info.features.values())
    if labels != OBJECTS and (labels or single or not there):
        return None
    if not there:
        raise UserError(f"'{dataset}' has no feature 'objects' with 'bbox' and 'label'; has: {', '.join(info.features)}")
    if faulty not in FAULTY:
        raise UserError(f"data.faulty is '{faulty}'; have: {', '.join(FAULTY)}")
    if max_boxes < 1:
        raise UserError(
            f"data.max_boxes is {max_boxes}; counting would read every picture, so give a number: 100 is enough for COCO and VOC"
        )
    images = [key for key, feature in info.features.items() if isinstance(feature, tfds.features.Image)]
    if len(images) != 1:
        raise UserError(f"'{dataset}' has {len(images)} features that are images, it must be one; has: {', '.join(info.features)}")
    return Reading(images[0], len(info.features[OBJECTS].feature["label"].names), info.name == "voc", name, faulty, max_boxes, [])


def info(of: Any, reading: Reading, count: int) -> Info:
    """The facts of a split."""
    classes = tuple(of.features[OBJECTS].feature["label"].names)
    coco = of.name == "coco" and len(classes) == len(COCO_IDS)
    groups = tuple(group for group, following in COCO_GROUPS.items() for _ in range(following)) if coco else ()
    if reading.xml and set(classes) <= set(voc.GROUPS):
        groups = tuple(voc.GROUPS[name] for name in classes)
    shape = of.features[reading.image].shape
    size = (shape[0], shape[1]) if shape[0] and shape[1] else None
    return Info(classes, count, "detection", size, original_ids=COCO_IDS if coco else (), most_objects=reading.max_boxes, groups=groups)


def truth(reading: Reading, example: Any) -> Objects:
    """All objects of a record, given as the features of its tf.train.Example."""
    number = example[f"{reading.image}/id"].int64_list.value  # COCO's sets have it
    objects = _objects(reading, example, Encoded(example[reading.image].bytes_list.value[0]).size)
    return objects._replace(image=int(number[0]) if number else None)


def record(reading: Reading, index: int, example: Any) -> dict[str, Any]:
    """Raises UserError for a label that is no class, more objects than `max_boxes`, and under "refuse" one without area in the picture."""
    image = Encoded(example[reading.image].bytes_list.value[0])
    objects = _objects(reading, example, image.size)
    odd = (objects.classes < 0) | (objects.classes >= reading.classes)
    if odd.any():
        k = int(np.argmax(odd))
        labelled = f"{first_told(objects, k)} has label {objects.classes[k]}"
        raise UserError(f"{labelled}, but there are {reading.classes} classes, from 0; choose another split, or prepare the set again")
    usable = fields(objects, image.size)
    count = len(usable["boxes"])
    if count > reading.max_boxes:
        raise UserError(
            f"it has {count} objects, more than data.max_boxes={reading.max_boxes}; set it to {count} or more: none may be lost"
        )
    if count < len(objects.boxes):
        _tell(reading, index, objects, image.size)
    return {"image": image, **usable, "index": np.int32(index)}


def _tell(reading: Reading, index: int, objects: Objects, size: tuple[int, int]) -> None:
    told = first_told(objects, int(np.argmin(clipped(objects.boxes, size)[1])))
    if reading.faulty == "refuse":
        raise UserError(f"{told} has no area in the picture; set data.faulty='drop' to leave such objects out")
    if not reading.told:
        reading.told.append(told)
        where = f"{told} of {reading.name(index)}"
        print(f"cvjax: warning: {where} has no area in its picture; left out, as others like it will be (data.faulty)", file=sys.stderr)


def _objects(reading: Reading, example: Any, size: tuple[int, int]) -> Objects:
    def numbers(name: str, default: np.ndarray) -> np.ndarray:
        found = example[f"{OBJECTS}/{name}"].int64_list.value
        return np.array(found, np.int64) if len(found) == len(default) else default

    corners = boxes.from_tfds(np.array(example[f"{OBJECTS}/bbox"].float_list.value, np.float64).reshape(-1, 4), size)
    xywh = from_xml(corners) if reading.xml else boxes.to_coco(corners)
    count = len(xywh)
    none, counted = np.zeros(count, np.int64), np.arange(1, count + 1)
    ids = numbers("id", counted)
    return Objects(
        boxes=xywh,
        classes=numbers("label", none - 1),
        area=numbers("area", xywh[:, 2] * xywh[:, 3]).astype(np.float64),
        crowd=numbers("is_crowd", none).astype(bool),
        difficult=numbers("is_difficult", none).astype(bool),
        ids=ids if ids.all() else counted,  # COCO's evaluation never counts number 0 as found
    )
