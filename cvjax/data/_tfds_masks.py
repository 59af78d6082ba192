"""TFDS sets with label maps: which feature holds them, and what the numbers in it stand for. TFDS's own schemas do not say."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from cvjax.data import _labels
from cvjax.data._labels import IGNORE, table


class Maps(NamedTuple):
    """Label maps of a set.

    Attributes:
        image, labels: names of the features.
        classes: names, by id.
        table: the id of each number in the files, see `_labels.table`.
        values: file -> its numbers.
    """

    image: str
    labels: str
    classes: tuple[str, ...]
    table: np.ndarray
    values: Callable[[bytes], np.ndarray] = _labels.values


# Parkhi et al. 2012, "Cats and Dogs"; annotations/README of the set: "1: Foreground 2: Background 3: Not classified", the last an outline.
_PETS = Maps("image", "segmentation_mask", ("foreground", "background", "outline"), table({1: 0, 2: 1, 3: 2}))

# Cordts et al. 2016, arXiv:1604.01685; cityscapesScripts' labels.py: the files hold its "id"; 19 have a "trainId" and are evaluated.
_STREET = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19, "traffic sign": 20,
    "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31,
    "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
_VOID = (set(range(34)) | {IGNORE}) - set(_STREET.values())
_CITYSCAPES = Maps(
    "image_left", "segmentation_label", tuple(_STREET), table({number: k for k, number in enumerate(_STREET.values())}, _VOID)
)

# Zhou et al. 2017, "Scene Parsing through ADE20K Dataset"; the benchmark's objectInfo150: 1 to 150 in this order, 0 is not evaluated.
_SCENES = tuple(
    """wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, table, mountain,
    plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe,
    lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
    refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind,
    coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar,
    arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane,
    dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt,
    canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank,
    trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray,
    ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock,
    flag""".replace("\n    ", " ").split(", ")
)
# The 50 of them of which placeschallenge's instanceInfo100 counts no objects; it numbers the other 100, in the same order, from 1.
_STUFF = set(
    """wall, building, sky, floor, tree, ceiling, road, grass, sidewalk, earth, mountain, plant, water, house, sea, rug, field, rock, base,
    sand, skyscraper, grandstand, path, runway, stairway, river, bridge, blind, hill, bar, hovel, tower, dirt track, land, escalator,
    buffet, poster, stage, conveyer belt, canopy, swimming pool, waterfall, tent, cradle, tank, lake, blanket, pier, crt screen,
    shower""".replace("\n    ", " ").split(", ")
)
_OBJECTS = np.array([0] + [k + 1 for k, name in enumerate(_SCENES) if name not in _STUFF], np.uint8)


def _scene(data: bytes) -> np.ndarray:
    """The benchmark's numbers, whichever of its two kinds of label map this is.

    TFDS 1.0.0 prepares `annotations_instance`: red is one of the 100 classes of objects, green the object; so what is no object is 0 there.
    Where all channels are equal, or there is one, it is the map of all 150.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.mode != "RGB":
            return _labels.values(data)
        red, green, blue = np.moveaxis(np.asarray(image), -1, 0)
    if (red == green).all() and (red == blue).all():
        return red
    return np.append(_OBJECTS, np.full(256 - len(_OBJECTS), 255, np.uint8))[red]  # 255: no class, so that it is noticed


MAPS = {
    "oxford_iiit_pet": _PETS,
    "cityscapes": _CITYSCAPES,
    "scene_parse150": Maps("image", "annotation", _SCENES, table({k + 1: k for k in range(len(_SCENES))}, (0,)), _scene),
}
