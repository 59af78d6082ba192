"""Drawn scenes for detection and segmentation: discs, rectangles, triangles and others on a mottled ground, all of their truth exact.

The outline alone says the class; colour, size and place are drawn without looking at it. Later shapes lie over earlier ones, and all that
is said of a shape is said of what can be seen of it, as COCO does: its mask, the tight box of that mask, the label map. No shape is put
where less than `1 - difficulty / 2` of it, or of one below it, would stay in sight, what the picture's edge cuts off included.

Split and index decide on all of a picture, whatever the number of examples, in every process.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from cvjax.data._objects import Objects
from cvjax.data._segmentations import encoded
from cvjax.data._source import Info, Source, select
from cvjax.errors import UserError
from cvjax.ops import boxes

TINY = {"split": "train", "size": 24, "num_examples": 20}
TASKS = ("detection", "segmentation")
SUBPIXEL = 4  # bits of the fraction that OpenCV draws with
TRIES = 6  # places that are tried for each shape


def _regular(corners: int, inner: float = 1.0, turn: float = 0.0) -> list[np.ndarray]:
    """A polygon around 0 within radius 1, upright at `turn` 0; every other corner at radius `inner`."""
    angles = turn - np.pi / 2 + 2 * np.pi * np.arange(corners) / corners
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return [np.stack([radii * np.cos(angles), radii * np.sin(angles)], -1)]


def _plus(arm: float) -> list[np.ndarray]:
    quarter = np.array([[arm, -1], [arm, -arm], [1, -arm]])
    turns = [np.array([[c, s], [-s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return [np.concatenate([quarter @ turn for turn in turns])]


# Name -> outline: polygons n 2 around 0, of which an inner one is a hole; and what each is easily taken for.
OUTLINES: dict[str, list[np.ndarray]] = {
    "disc": _regular(32),
    "rectangle": [np.array([[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]])],
    "triangle": _regular(3),
    "cross": _plus(0.35),
    "ring": [*_regular(32), 0.55 * _regular(32)[0]],
    "star": _regular(10, 0.42),
    "crescent": [np.concatenate([_regular(32)[0][:17], [0.45, 1] * _regular(32)[0][16:0:-1]])],
    "frame": [0.85 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]), 0.5 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])],
}
COARSE = 8  # spots of the ground, along each side
GROUPS = ("round", "angular", "angular", "pointed", "round", "pointed", "round", "angular")


KINDS = [np.concatenate(polygons) for polygons in OUTLINES.values()]
HOLES = [[len(polygon) for polygon in polygons[:-1]] for polygons in OUTLINES.values()]  # where in KINDS the inner one begins


class Scene(NamedTuple):
    """A drawn picture.

    Attributes:
        image: uint8 h w 3.
        front: uint8 h w, the number of the shape in sight from 1, 0 where the ground is.
        classes: int64 n, of the shapes.
    """

    image: np.ndarray
    front: np.ndarray
    classes: np.ndarray


class Style(NamedTuple):
    """What all pictures of a source have in common."""

    size: int
    difficulty: float
    num_classes: int
    most: int


def load(
    split: str,
    *,
    task: str = "detection",
    size: int = 96,
    num_examples: int = 2000,
    difficulty: float = 0.3,
    num_classes: int = 5,
    max_objects: int = 10,
    masks: bool = False,
) -> Source:
    """Splits "train" and "val" of `num_examples` pictures each, sliced as TFDS does.

    Args:
        task: "detection", or "segmentation" (`labels`, where 0 is the ground).
        size: of the square pictures, in pixels.
        difficulty: 0 to 1. More shapes, of more different sizes, turned and stretched, over each other, with less contrast, in more noise.
        num_classes: so many of the shapes, the first ones; with "segmentation" the ground is a class more.
        max_objects: shapes in a picture at difficulty 1, at most; at 0 a third of them.
        masks: whether detection has `masks` too, bool n h w.
    """
    if task not in TASKS:
        raise UserError(f"data.task is '{task}'; shapes are drawn for: {', '.join(TASKS)}")
    for name, value, low, high in (
        ("size", size, 8, 4096), ("num_examples", num_examples, 1, 10**9), ("difficulty", difficulty, 0, 1),
        ("num_classes", num_classes, 1, len(OUTLINES)), ("max_objects", max_objects, 1, 200),
    ):  # fmt: skip
        if not low <= value <= high:
            raise UserError(f"data.{name} is {value}; it must be {low} to {high}")
    style = Style(size, difficulty, num_classes, max(1, round(max_objects * (1 + 2 * difficulty) / 3)))
    return source(split, task, style, tuple(OUTLINES)[:num_classes], num_examples, masks)


def source(split: str, task: str, style: Style, names: tuple[str, ...], num_examples: int, masks: bool = False) -> Source:
    """Records of drawn scenes; where there are more names than outlines, these come round again."""
    seeds = select(split, {name: [(k, i) for i in range(num_examples)] for k, name in enumerate(("train", "val"))})
    square = (style.size, style.size)
    if task == "segmentation":
        return Source(Info(("ground", *names), len(seeds), task, square, largest=square), partial(_labels, seeds, style))
    groups = tuple(GROUPS[k % len(GROUPS)] for k in range(len(names)))
    info = Info(names, len(seeds), task, square, most_objects=style.most, groups=groups)
    return Source(info, partial(_detection, seeds, style, masks), truth=partial(_truth, seeds, style, masks))


def _labels(seeds: list, style: Style, index: int) -> dict[str, Any]:
    scene = draw(seeds[index], style)
    return {"image": scene.image, "labels": np.append(0, 1 + scene.classes).astype(np.uint8)[scene.front]}


def _detection(seeds: list, style: Style, masks: bool, index: int) -> dict[str, Any]:
    scene = draw(seeds[index], style)
    count = len(scene.classes)
    record = {
        "image": scene.image,
        "boxes": boxes.from_coco(_rectangles(scene).astype(np.float32)),
        "classes": scene.classes.astype(np.int32),
        "ignored": np.zeros(count, bool),
        "index": np.int32(index),
    }
    return record | ({"masks": _visible(scene)} if masks else {})


def _truth(seeds: list, style: Style, masks: bool, index: int) -> Objects:
    scene = draw(seeds[index], style)
    count = len(scene.classes)
    area = np.bincount(scene.front.ravel(), minlength=count + 1)[1:].astype(np.float64)
    none, ids = np.zeros(count, bool), 1 + index * style.most + np.arange(count, dtype=np.int64)
    return Objects(_rectangles(scene), scene.classes, area, none, none, ids, encoded(_visible(scene)) if masks else ())


def _visible(scene: Scene) -> np.ndarray:
    """bool n h w."""
    return scene.front == np.arange(1, len(scene.classes) + 1, dtype=np.uint8)[:, None, None]


def _rectangles(scene: Scene) -> np.ndarray:
    """float64 n 4, x y w h: the tight boxes of the shapes in sight."""
    found = [cv2.boundingRect((scene.front == k).view(np.uint8)) for k in range(1, len(scene.classes) + 1)]
    return np.array(found, np.float64).reshape(-1, 4)


# ---- drawing


def draw(seed: tuple[int, int], style: Style) -> Scene:
    """The scene of one seed (number of the split, index)."""
    size, hard = style.size, style.difficulty
    rng = np.random.default_rng([4, *seed])
    front = np.zeros((size, size), np.uint8)
    classes: list[int] = []
    whole: list[int] = []  # pixels of each shape, had nothing hidden it
    for _ in range(int(rng.integers(1, style.most + 1))):
        kind = int(rng.integers(style.num_classes))
        patch = _stamp(rng, kind, style)
        middle = np.array(patch.shape) / 2
        for _ in range(100 if not classes else TRIES):
            top, left = (rng.random(2) * size - middle).round().astype(int).tolist()
            if _put(front, patch, top, left, whole, 1 - hard / 2):
                classes.append(kind)
                break
    return Scene(_painted(rng, front, len(classes), hard), front, np.array(classes, np.int64))


def _stamp(rng: np.random.Generator, kind: int, style: Style) -> np.ndarray:
    """bool h w: a shape in its size, stretched and turned."""
    hard = style.difficulty
    low, high = 0.12 - 0.07 * hard, 0.18 + 0.12 * hard
    size, stretch, turn = rng.random(3).tolist()
    radius = max(1.5, style.size * low * (high / low) ** size)
    wider = math.exp((0.1 + 0.3 * hard) * (2 * stretch - 1))
    cos, sin = (f((0.15 + 0.6 * hard) * (2 * turn - 1)) for f in (math.cos, math.sin))
    outline = KINDS[kind % len(KINDS)] @ (radius * np.array([[wider * cos, wider * sin], [-sin / wider, cos / wider]]))
    corner = np.floor(outline.min(0)) - 1
    wide, tall = (np.ceil(outline.max(0)) + 2 - corner).astype(int).tolist()
    patch = np.zeros((tall, wide), np.uint8)
    fixed = np.rint((outline - corner) * 2**SUBPIXEL).astype(np.int32)
    cv2.fillPoly(patch, np.split(fixed, HOLES[kind % len(KINDS)]), 1, shift=SUBPIXEL)
    return patch.view(bool)


def _put(front: np.ndarray, patch: np.ndarray, top: int, left: int, whole: list[int], share: float) -> bool:
    """Lays a shape over the others, unless less than `share` of it or of one of them would stay in sight; whether it did."""
    (tall, wide), size = patch.shape, len(front)
    inside = patch[max(0, -top) : size - top, max(0, -left) : size - left]
    under = front[max(0, top) : top + tall, max(0, left) : left + wide]
    pixels = int(patch.sum())
    hidden = np.bincount(under[inside], minlength=len(whole) + 1)
    if hidden.sum() < share * pixels:
        return False
    if hidden[1:].any():
        seen = np.bincount(front.ravel(), minlength=len(whole) + 1)
        if (seen[1:] - hidden[1:] < share * np.array(whole)).any():
            return False
    under[inside] = len(whole) + 1
    whole.append(pixels)
    return True


def _painted(rng: np.random.Generator, front: np.ndarray, count: int, hard: float) -> np.ndarray:
    """The picture: each shape in a colour that stands off from the ground, softened edges, mottling and noise over all."""
    size = len(front)
    colours = _colours(rng, count, 110 - 50 * hard)
    image = cv2.GaussianBlur(colours[front], (3, 3), 0)
    coarse = np.frombuffer(rng.bytes(3 * COARSE**2), np.uint8).reshape(COARSE, COARSE, 3)
    mottled = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
    noise = np.frombuffer(rng.bytes(3 * size**2), np.uint8).reshape(size, size, 3)
    for field, strength in ((mottled, 0.1 + 0.15 * hard), (noise, 0.08 + 0.2 * hard)):
        image = cv2.addWeighted(image, 1, field, strength, -127.5 * strength)
    return image


def _colours(rng: np.random.Generator, count: int, contrast: float) -> np.ndarray:
    """uint8 1 + count, 3: the ground's, and others at the distance `contrast` from it, each the farthest of four from those before."""
    ground = rng.uniform(70, 185, 3)
    away = rng.normal(size=(count, 4, 3))
    away *= contrast / np.sqrt(np.square(away).sum(-1, keepdims=True))
    offered = np.where(np.abs(ground + away - 127.5) > 127.5, ground - away, ground + away)
    chosen = [ground]
    for four in offered:
        apart = np.square(four[:, None] - np.array(chosen)).sum(-1).min(-1)
        chosen.append(four[np.argmax(apart)])
    return np.array(chosen).astype(np.uint8)
