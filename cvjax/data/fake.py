"""Made-up pictures and texts that can be learned: the patterns of a picture's classes, and noise; tokens that mostly follow each other.

The same index gives the same example for ever, in every process. For smoke runs and tests.
"""

from functools import partial

import cv2
import numpy as np

from cvjax.data._source import Info, Source, multi_hot, select
from cvjax.errors import UserError

TINY = {"split": "train", "size": 8, "num_examples": 20, "num_classes": 3}
TASKS = ("classification", "multilabel", "text")


def load(
    split: str, *, task: str = "classification", num_classes: int = 10, size: int = 32, length: int = 16, num_examples: int = 256
) -> Source:
    """Splits "train" and "val" of `num_examples` examples each; sliced as TFDS does.

    Args:
        task: "classification" (label: class id) or "multilabel" (label: multi-hot float32), or "text".
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


def _text(seeds: list[int], num_classes: int, length: int, index: int) -> dict:
    """A walk through the alphabet: the next token three times in four, else any."""
    rng = np.random.default_rng([2, seeds[index]])
    strays = np.where(rng.random(length) < 0.75, 1, rng.integers(num_classes, size=length))
    return {"tokens": (np.cumsum(strays) % num_classes).astype(np.int32), "characters": np.int32(length - 1)}
