"""Made-up pictures and texts that can be learned: the patterns of a picture's classes, and noise; coloured shapes on noise, with their
label maps; the drawn scenes of `shapes` with their boxes; tokens that mostly follow each other.

The same index gives the same example for ever, in every process. For smoke runs and tests.
"""

from functools import partial

import cv2
import numpy as np

from cvjax.data import shapes
from cvjax.data._labels import MOST_CLASSES
from cvjax.data._source import Info, Source, multi_hot, select
from cvjax.errors import UserError

TINY = {"split": "train", "size": 8, "num_examples": 20, "num_classes": 3}
TASKS = ("classification", "multilabel", "segmentation", "detection", "text")
SHAPES = 3  # in a picture of segmentation, and at most in one of detection


def load(
    split: str, *, task: str = "classification", num_classes: int = 10, size: int = 32, length: int = 16, num_examples: int = 256
) -> Source:
    """Splits "train" and "val" of `num_examples` examples each; sliced as TFDS does.

    Args:
        task: "classification" (label: class id), "multilabel" (label: multi-hot float32), "segmentation" (labels: uint8 h w; of the classes
            the first is the background, the odd ones are discs and the even ones rectangles, each of its own colour), "detection" (see
            `shapes`; of more classes than it has outlines, some look alike), or "text".
        size: of the square pictures, in pixels.
        length: of a text, in tokens.
    """
    if task not in TASKS:
        raise UserError(f"the fake source makes no data for task '{task}'; have: {', '.join(TASKS)}")
    for name, value in (("num_classes", num_classes), ("size", size), ("length", length), ("num_examples", num_examples)):
        if value < 1:
            raise UserError(f"config.data.{name} is {value}; it must be at least 1")
    splits = {"train": range(num_examples), "val": range(num_examples, 2 * num_examples)}
    seeds = select(split, splits)
    if task == "text":
        info = Info(tuple(chr(97 + k) for k in range(num_classes)), len(seeds), task, length=length)
        return Source(info, partial(_text, seeds, num_classes, length))
    if task == "detection":
        style = shapes.Style(size, 0.0, num_classes, SHAPES)
        return shapes.source(split, task, style, tuple(f"class {k}" for k in range(num_classes)), num_examples)
    if task == "segmentation":
        if num_classes > MOST_CLASSES:
            raise UserError(f"config.data.num_classes is {num_classes}; a label map has room for {MOST_CLASSES}")
        names = ("background", *(f"shape {k}" for k in range(1, num_classes)))
        info = Info(names, len(seeds), task, (size, size), largest=(size, size))
        return Source(info, partial(_scene, seeds, _colours(num_classes), size))
    info = Info(tuple(f"class {k}" for k in range(num_classes)), len(seeds), task, (size, size))
    return Source(info, partial(_read, seeds, _patterns(num_classes, size), task))


def _patterns(num_classes: int, size: int) -> np.ndarray:
    """One smooth pattern of colours for each class, float32 k h w 3 around zero."""
    coarse = np.random.default_rng(0).normal(0, 40, (num_classes, 4, 4, 3)).astype(np.float32)
    return np.stack([cv2.resize(pattern, (size, size), interpolation=cv2.INTER_LINEAR) for pattern in coarse])


def _read(seeds: list[int], patterns: np.ndarray, task: str, index: int) -> dict:
    rng = np.random.default_rng([1, seeds[index]])
    first = seeds[index] % len(patterns)  # equal shares of the classes
    present = [first] if task == "classification" else sorted({first, int(rng.integers(len(patterns)))})
    image = 128 + patterns[present].sum(0) + rng.normal(0, 16, patterns.shape[1:])
    label = first if task == "classification" else multi_hot(present, len(patterns))
    return {"image": image.clip(0, 255).astype(np.uint8), "label": label}


def _colours(num_classes: int) -> np.ndarray:
    """Grey for the background, hues for the others; float32 k 3."""
    hues = np.array([[[360 * k / max(1, num_classes - 1), 0.8, 0.9] for k in range(num_classes - 1)]], np.float32)
    bright = 255 * cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0] if num_classes > 1 else np.zeros((0, 3), np.float32)
    return np.concatenate([np.full((1, 3), 128, np.float32), bright])


def _scene(seeds: list[int], colours: np.ndarray, size: int, index: int) -> dict:
    rng = np.random.default_rng([3, seeds[index]])
    labels = np.zeros((size, size), np.uint8)
    kinds = len(colours) - 1
    for k in range(SHAPES if kinds else 0):
        kind = 1 + (seeds[index] % kinds if k == SHAPES - 1 else int(rng.integers(kinds)))  # equal shares of those in front
        x, y = rng.integers(size, size=2).tolist()
        wide, tall = rng.integers(size // 8, size // 4 + 1, 2).tolist()  # from the middle to the edge
        if kind % 2:
            cv2.circle(labels, (x, y), wide, kind, -1)
        else:
            cv2.rectangle(labels, (x - wide, y - tall), (x + wide, y + tall), kind, -1)
    image = colours[labels] + rng.normal(0, 16, (size, size, 3))
    return {"image": image.clip(0, 255).astype(np.uint8), "labels": labels}


def _text(seeds: list[int], num_classes: int, length: int, index: int) -> dict:
    """A walk through the alphabet: the next token three times in four, else any."""
    rng = np.random.default_rng([2, seeds[index]])
    strays = np.where(rng.random(length) < 0.75, 1, rng.integers(num_classes, size=length))
    return {"tokens": (np.cumsum(strays) % num_classes).astype(np.int32), "characters": np.int32(length - 1)}
