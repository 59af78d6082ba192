"""Your own label maps: a folder of images beside a folder of label PNGs.

    root/images/train/*.jpg  root/labels/train/*.png    the same names; "val" and "test" beside "train"
    root/images/*.jpg  root/labels/*.png                the same, split by `split_fraction`
    root/classes.txt                                    names of the classes, one a line: the first is 0 in the PNGs

The PNGs hold numbers of classes, in one channel or as indices of a palette, see `_labels`.
"""

import os
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from cvjax.data._border import components
from cvjax.data._class_list import class_list
from cvjax.data._labels import IGNORE, MOST_CLASSES, table
from cvjax.data._pairs import Pair, Reading, folder, pairs, source
from cvjax.data._source import Source, select
from cvjax.errors import UserError

SPLITS = ("train", "val", "test")
NAMES = "classes.txt"


def load(
    split: str,
    *,
    root: str,
    classes: tuple[str, ...] = (),
    ignore: int | tuple[int, ...] = IGNORE,
    split_fraction: float = 0.0,
    border: float = 0.0,
) -> Source:
    """Images with label maps below `root`. All label maps of the split are read once, to check them.

    Args:
        split: "train", "val" or "test", sliced as TFDS does.
        classes: names in the order of the numbers 0, 1, ...; or they are in classes.txt.
        ignore: number or numbers in the PNGs that no loss and no metric counts, () for none.
        split_fraction: share that becomes "val", about, where `root` is not split into folders, else 0. Each picture's name decides for it
            alone, so it stays where it is when others are added.
        border: height w0 of U-Net's weights between objects, see `_border`, 0 for none; the objects are the connected pieces of all
            classes but the first, which is the background.

    Raises:
        UserError: nothing there, no class list, a picture without a label map, or label maps that do not fit, see `_labels.survey`.
    """
    images, labels = folder(root, "images"), folder(root, "labels")
    names = class_list(Path(root).expanduser() / NAMES, classes, MOST_CLASSES)
    ignored = (ignore,) if isinstance(ignore, int) else tuple(ignore)
    if not all(isinstance(value, int) and 0 <= value < 65536 for value in ignored):
        raise UserError(f"data.ignore is {ignore}; it is a number in the label PNGs, 0 to 65535, or several")
    reading = Reading(table({k: k for k in range(len(names))}, ignored), border, partial(_objects, ignored))
    chosen = select(split, _splits(images, labels, split_fraction))
    mend = f"the classes are 0 to {len(names) - 1}: lengthen the class list, or name the values in data.ignore"
    return source(chosen, names, reading, mend)


def _objects(ignored: tuple[int, ...], numbers: np.ndarray) -> np.ndarray:
    return components((numbers > 0) & ~np.isin(numbers, ignored))


def _splits(images: Path, labels: Path, fraction: float) -> dict[str, list[Pair]]:
    parts = [name for name in SPLITS if (images / name).is_dir()]
    if "train" in parts:
        if fraction:
            raise UserError(f"{images} is already split into {', '.join(parts)}; remove data.split_fraction")
        return {name: pairs(images / name, labels / name) for name in parts}
    if not 0 < fraction < 1:
        given = f" (it is {fraction:g})" if fraction else ""
        raise UserError(f"{images} has no folder 'train'; make one, or set data.split_fraction between 0 and 1, say 0.2{given}")
    return _divide(images, pairs(images, labels), fraction)


def _divide(images: Path, found: list[Pair], fraction: float) -> dict[str, list[Pair]]:
    """To "val" the pictures whose hashed name, a number in [0, 1), lies below `fraction`; one each at least."""
    if len(found) < 2:
        raise UserError(f"{images} holds one picture; data.split_fraction needs two or more")
    place = {pair: (zlib.crc32(os.fsencode(os.path.relpath(pair.image, images))) / 2**32, pair.image) for pair in found}
    order = sorted(found, key=place.__getitem__)
    count = sum(place[pair][0] < fraction for pair in found)
    val = set(order[: min(max(count, 1), len(found) - 1)])
    return {"train": [pair for pair in found if pair not in val], "val": [pair for pair in found if pair in val]}
