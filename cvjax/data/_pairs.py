"""Segmentation sets that lie as pairs of files: an image, and a label PNG of the same name in another folder."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvjax.data import _labels
from cvjax.data._border import border_weights
from cvjax.data._decode import DecodeError, Encoded, is_picture, size
from cvjax.data._labels import Labelled
from cvjax.data._source import Source
from cvjax.errors import UserError

HEADER = 1 << 16  # bytes that hold the header of almost every image


class Pair(NamedTuple):
    image: str
    labels: str


class Reading(NamedTuple):
    """How a set's label maps are read.

    Attributes:
        table: the id of each number in the files, see `_labels.table`.
        border: height w0 of U-Net's border weights, 0 for none.
        instances: numbers -> whole numbers h w, of which each but 0 is one object; used for the weights.
    """

    table: np.ndarray
    border: float = 0.0
    instances: Callable[[np.ndarray], np.ndarray] | None = None


def folder(root: str, *parts: str) -> Path:
    """A folder below `root`, checked to be there."""
    path = Path(root).expanduser().joinpath(*parts)
    if not path.is_dir():
        raise UserError(f"data.root: there is no folder {path}")
    return path


def pairs(images: Path, labels: Path) -> list[Pair]:
    """Every picture below `images`, in the order of the names, with its label map. Raises UserError for none, one without its map, or two
    that would share one."""
    pictures = sorted(path for path in images.rglob("*") if is_picture(path))
    if not pictures:
        raise UserError(f"{images} holds no pictures")
    check_distinct(pictures)
    found = [Pair(str(path), str(labels / path.relative_to(images).with_suffix(".png"))) for path in pictures]
    lacking = [pair for pair in found if not Path(pair.labels).is_file()]
    if lacking:
        more = f" ({len(lacking)} pictures have none)" if len(lacking) > 1 else ""
        raise UserError(f"{lacking[0].image} has no label map {lacking[0].labels}{more}; add it, or take the picture out")
    return found


def source(chosen: Sequence[Pair], classes: tuple[str, ...], reading: Reading, mend: str = "is this another set?") -> Source:
    """Records of image and `labels` (with `weights` where `border` is set), after a look at all label maps, see `_labels.survey`."""
    if reading.border < 0:
        raise UserError(f"data.border is {reading.border:g}; it is the height of the weights at borders, 10 in the paper, or 0 for none")
    seen = _labels.survey(len(chosen), partial(_labelled, chosen), partial(_map_name, chosen), reading.table, classes, mend)
    return Source(_labels.info(classes, len(chosen), reading.table, seen), partial(_read, chosen, reading), partial(_name, chosen))


def _read(chosen: Sequence[Pair], reading: Reading, index: int) -> dict[str, Any]:
    pair = chosen[index]
    numbers = _labels.values(Path(pair.labels).read_bytes())
    record = {"image": Encoded(Path(pair.image).read_bytes()), "labels": _labels.ids(numbers, reading.table)}
    if reading.border and reading.instances:
        record["weights"] = border_weights(reading.instances(numbers), reading.border)
    return record


def _labelled(chosen: Sequence[Pair], index: int) -> Labelled:
    pair = chosen[index]
    try:
        return Labelled(_labels.values(Path(pair.labels).read_bytes()), picture_size(Path(pair.image)))
    except OSError as error:
        raise DecodeError(f"cannot be read: {error}") from error


def picture_size(image: Path) -> tuple[int, int]:
    """(height, width) of a file, upright, from its header. Raises UserError for what is no picture, or cannot be read."""
    try:
        with open(image, "rb") as file:
            head = file.read(HEADER)
        try:
            return size(head)
        except DecodeError:
            return size(image.read_bytes())
    except DecodeError as error:
        raise UserError(f"{image}: {error}") from error
    except OSError as error:
        raise UserError(f"{image} cannot be read: {error.strerror}; mend the file, or remove it") from error


def check_distinct(pictures: Iterable[Path]) -> None:
    """Raises UserError for two pictures whose names differ in the ending alone: which of them is annotated under that name?"""
    seen: dict[Path, Path] = {}
    for path in pictures:
        other = seen.setdefault(path.with_suffix(""), path)
        if other != path:
            raise UserError(f"{other} and {path.name} have one name, and so one annotation; rename or remove one of them")


def _name(chosen: Sequence[Pair], index: int) -> str:
    return chosen[index].image


def _map_name(chosen: Sequence[Pair], index: int) -> str:
    return chosen[index].labels
