"""Label maps: from the bytes of a PNG to class ids, and the look at a whole split before anything learns from it.

A label map's pixels are numbers of classes: the samples of a grey PNG of 1 to 16 bits, or the indices of a palette PNG, whose colours are
for the eye and are never looked at. A set's own numbers become the ids 0, 1, ... of its class list by a table, see `table`; pixels that
no loss and no metric counts become IGNORE.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from cvjax import environment
from cvjax.data._decode import DecodeError
from cvjax.data._source import Info
from cvjax.errors import UserError, some

IGNORE = 255  # in all label maps of cvjax
_UNKNOWN = 254
MOST_CLASSES = _UNKNOWN  # that uint8 has room for beside these two
_WIDENED = {2: 85, 4: 17}  # what Pillow multiplies grey samples of so many bits by


class Survey(NamedTuple):
    """What a split's label maps hold.

    Attributes:
        counts: pixels of each class, int64.
        largest: the largest height and the largest width.
        image_size: (height, width) where all have the same, else None.
    """

    counts: np.ndarray
    largest: tuple[int, int]
    image_size: tuple[int, int] | None


class Labelled(NamedTuple):
    """One image's label map, as its file has it, and the (height, width) of the image itself."""

    values: np.ndarray
    image_size: tuple[int, int]


def values(data: bytes) -> np.ndarray:
    """The numbers in a label PNG, uint8 or uint16 h w. Raises DecodeError for what holds no numbers of classes: colours, JPEG."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format != "PNG":
                raise DecodeError(f"a label map is a PNG, not {image.format}; save it as an index PNG: the others may change the numbers")
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
                raise DecodeError(f"{image.mode} pixels where class ids are expected; save it as a PNG with a palette or of one channel")
            numbers = np.asarray(image)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"not a readable PNG ({str(error) or type(error).__name__})") from error
    if image.mode == "L" and data[24] in _WIDENED:
        return numbers // _WIDENED[data[24]]
    return numbers.astype(np.uint8 if image.mode in ("1", "L", "P") else np.uint16)


def table(numbers: Mapping[int, int], ignored: Iterable[int] = ()) -> np.ndarray:
    """uint8 65536: the id of each number in the files. `numbers`: number -> id; those in `ignored` become IGNORE; others are no class."""
    ids = np.full(65536, _UNKNOWN, np.uint8)
    for number, known in numbers.items():
        ids[number] = known
    ids[list(ignored)] = IGNORE
    return ids


def ids(numbers: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The label map as uint8 ids. Raises UserError for numbers that are no class."""
    out = table[numbers]
    if (out == _UNKNOWN).any():
        odd = np.unique(numbers[out == _UNKNOWN])
        raise UserError(f"label values outside the class list: {some([str(value) for value in odd])}")
    return out


def info(classes: tuple[str, ...], count: int, table: np.ndarray, seen: Survey) -> Info:
    """The facts about a split whose label maps were surveyed."""
    ignore = IGNORE if (table == IGNORE).any() else None
    return Info(classes, count, "segmentation", seen.image_size, ignore=ignore, largest=seen.largest)


def survey(
    count: int,
    read: Callable[[int], Labelled],
    name: Callable[[int], str],
    table: np.ndarray,
    classes: Sequence[str],
    mend: str,
    blank: bool = False,
) -> Survey:
    """Reads every label map of a split, in threads.

    Args:
        count: of the split's records; `read` and `name` give label map and name of each.
        mend: what to do about numbers that are no class.
        blank: whether images without a pixel that counts may stay: where nobody can take them out.

    Raises:
        UserError: numbers outside the class list (each with its pixels, and the first file), an image and a label map of different sizes,
            an image of which every pixel is ignored.
    """

    def look(index: int) -> tuple[np.ndarray, tuple[int, int]]:
        try:
            numbers, size = read(index)
        except DecodeError as error:
            raise UserError(f"{name(index)}: {error}") from error
        if numbers.shape != size:
            (h, w), (tall, wide) = numbers.shape, size
            raise UserError(f"{name(index)} is {h} x {w} pixels, but its image {tall} x {wide}; make them the same size")
        return np.bincount(numbers.ravel(), minlength=256), size

    counts = np.zeros(65536, np.int64)
    first: dict[int, int] = {}  # where a number that is no class is met
    blanks: list[int] = []
    sizes: set[tuple[int, int]] = set()
    with ThreadPoolExecutor(environment.cores()) as threads:
        for index, (found, size) in enumerate(threads.map(look, range(count))):
            counts[: len(found)] += found
            present = np.flatnonzero(found)
            for number in present[table[present] == _UNKNOWN].tolist():
                first.setdefault(number, index)
            blanks += [index] if (table[present] == IGNORE).all() else []
            sizes.add(size)
    if first:
        odd = some([f"{number} ({counts[number]:,} pixels)" for number in sorted(first)])
        raise UserError(f"label values outside the class list: {odd}, first in {name(min(first.values()))}; {mend}")
    if blanks and not blank:
        more = f" (and of {len(blanks) - 1} more)" if len(blanks) > 1 else ""
        raise UserError(f"every pixel of {name(blanks[0])} is ignored{more}, so there is nothing to learn; take the image out")
    of_class = np.bincount(table, weights=counts, minlength=256)[: len(classes)].astype(np.int64)
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    return Survey(of_class, largest, next(iter(sizes)) if len(sizes) == 1 else None)
