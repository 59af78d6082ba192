"""What every data source hands out: facts about the set, and records by index."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvjax.data._decode import DecodeError, Encoded
from cvjax.data._objects import Objects
from cvjax.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Info:
    """Facts about a data set; they live here and nowhere else.

    Attributes:
        classes: names, in the order of the contiguous ids 0, 1, ...
        num_examples: of the chosen split or slice.
        task: what the records are: "classification" (one label), "multilabel" (a multi-hot vector), "segmentation" (a label map),
            "detection" (objects with boxes) or "text" (tokens; `classes` is the vocabulary). Tasks say in DATA which of these they take.
        image_size: (height, width) when all images share it, else None.
        original_ids: ids of the classes in the original annotation, where they differ from 0, 1, ...
        ignore: value in label maps that no loss and no metric counts.
        length: tokens of a record of text; 0 for pictures.
        largest: of segmentation, the largest height and the largest width among the split's images: what evaluation pads to.
        most_objects: of detection, how many objects the fullest picture of the split has: what boxes are padded to.
        groups: of detection, for every class the name of the group of classes that are easily taken for each other ("animal"), or ().
    """

    classes: tuple[str, ...]
    num_examples: int
    task: str = "classification"
    image_size: tuple[int, int] | None = None
    original_ids: tuple[int, ...] = ()
    ignore: int | None = None
    length: int = 0
    largest: tuple[int, int] | None = None
    most_objects: int = 0
    groups: tuple[str, ...] = ()


class BeyondSplit(UserError):
    """A slice that reaches beyond its split."""


class Unreadable(UserError):
    """A record that cannot be read or decoded: its name, and why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)  # as they are, for a worker process sends an error by its arguments
        self.name = name

    def __str__(self) -> str:
        return ": ".join(self.args)


def _number(index: int) -> str:
    return f"record {index}"


@dataclass(frozen=True)
class Source:
    """Random access to the records of one split.

    Attributes:
        info: facts about the set.
        read: index -> record, a dict; text has `tokens`, int32; a label map is `labels`, uint8 h w, with `weights` of its pixels, float32
            h w, where the set has them. Objects are `boxes`, float32 n 4, xyxy in pixels, inside the picture and with an area; `classes`,
            int32 n; `ignored`, bool n, those that nothing is learned from; and `index`, int32, the record's own. An image is pixels
            (uint8 h w 3) or `Encoded`, bytes that the pipeline's transform decodes when it knows what it needs of them (see `_augment`).
        name: index -> what to call the record in a message (its file).
        read_many: indices -> records, where a format reads several at once faster than one by one.
        truth: of detection, index -> the record's objects in the set's own numbers, which evaluators compare with; no annotation is
            number 0.
    """

    info: Info
    read: Callable[[int], dict[str, Any]]
    name: Callable[[int], str] = _number
    read_many: Callable[[Sequence[int]], list[dict[str, Any]]] | None = None
    truth: Callable[[int], Objects] | None = None

    def __len__(self) -> int:
        return self.info.num_examples

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The example with its image decoded to uint8 h w 3. Raises UserError with the record's name, Unreadable when it cannot be read
        or decoded.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            return decoded(self.read(index))
        except DecodeError as error:
            raise Unreadable(self.name(index), str(error)) from error
        except OSError as error:
            raise Unreadable(self.name(index), f"cannot be read: {error.strerror or error}") from error
        except UserError as error:
            raise UserError(f"{self.name(index)}: {error}") from error


def decoded(record: dict[str, Any]) -> dict[str, Any]:
    """The record with an encoded image turned into pixels."""
    if isinstance(record.get("image"), Encoded):
        return {**record, "image": record["image"].pixels()}
    return record


_PART = re.compile(r"(?P<split>[\w-]+)(\[(?P<start>-?[\d_]+%?)?:(?P<stop>-?[\d_]+%?)?\])?")


def select(spec: str, splits: Mapping[str, Sequence]) -> list:
    """Items of a split written the TFDS way: "train", "train[:90%]", "train[45000:]", "train[:-5000]",
    "train+val[:10%]".

    Args:
        spec: the text. Percentages are rounded to the nearest example, as TFDS does.
        splits: name -> items.

    Raises:
        UserError: an unknown split, a text that is no slice, a slice beyond the split or an empty one.
    """
    items: list = []
    for part in spec.split("+"):
        match = _PART.fullmatch(part.strip())
        if not match:
            raise UserError(f"split '{spec}' is not understood; write 'train', 'train[:90%]' or 'train[5000:]'")
        if match["split"] not in splits:
            raise UserError(f"there is no split '{match['split']}'{did_you_mean(match['split'], splits)}; have: {', '.join(splits)}")
        whole = splits[match["split"]]
        start = _bound(match["start"], len(whole), 0, part)
        stop = _bound(match["stop"], len(whole), len(whole), part)
        items.extend(whole[start:stop])
    if not items:
        raise UserError(f"split '{spec}' is empty")
    return items


def split_names(spec: str) -> list[str]:
    """Names of the splits in a text that `select` takes, each once."""
    return list(dict.fromkeys(re.findall(r"[\w-]+", re.sub(r"\[.*?\]", "", spec))))


def _bound(text: str | None, size: int, default: int, part: str) -> int:
    if not text:
        return default
    value = round(int(text[:-1]) * size / 100) if text.endswith("%") else int(text)
    if abs(value) > size:
        raise BeyondSplit(f"split '{part}' reaches beyond its {size} examples")
    return value + size if text.startswith("-") else value


def multi_hot(ids: Sequence[int], num_classes: int) -> np.ndarray:
    """Class ids as a float32 vector of zeros and ones."""
    vector = np.zeros(num_classes, np.float32)
    vector[list(ids)] = 1
    return vector
