"""Your own pictures: folders of class folders, or a folder of pictures with a table of labels.

    root/train/cat/*.jpg  root/val/cat/*.jpg            one label each; the folder's name is the class
    root/cat/*.jpg  root/dog/*.jpg                      the same, split by `split_fraction`
    root/train/labels.csv  root/val/labels.csv          several labels each; or one root/labels.csv and `split_fraction`

labels.csv has the columns `file` (relative to it) and `labels` (separated by `;`, may be empty).
"""

import csv
import os
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cvjax.data._decode import Encoded, is_picture
from cvjax.data._source import Info, Source, multi_hot, select
from cvjax.errors import UserError

SPLITS = ("train", "val", "test")
TABLE = "labels.csv"


class Item(NamedTuple):
    file: str
    labels: tuple[str, ...]


def load(split: str, *, root: str, split_fraction: float = 0.0) -> Source:
    """Pictures below `root`. Classes are numbered in the order of their names; files that are no pictures are passed
    over.

    Args:
        split: "train", "val" or "test", sliced as TFDS does.
        split_fraction: share that becomes "val", about, where `root` is not split into folders, else 0. Each picture's
            name decides for it alone, so it stays where it is when others are added. Only a class whose names all fall
            to one side lends one picture to the other, until it has one there of its own.

    Raises:
        UserError: nothing there, an empty class, too few pictures to split, a table that is not UTF-8 or has a row
            without a file, or classes of one split that another does not have.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.root: there is no folder {folder}")
    parts = [name for name in SPLITS if (folder / name).is_dir()]
    if "train" in parts:
        if split_fraction:
            raise UserError(f"{folder} is already split into {', '.join(parts)}; remove data.split_fraction")
        splits = {name: _items(folder / name) for name in parts}
    else:
        if not 0 < split_fraction < 1:
            given = f" (it is {split_fraction:g})" if split_fraction else ""
            raise UserError(f"{folder} has no folder 'train'; make one, or set data.split_fraction between 0 and 1, say 0.2{given}")
        splits = _divide(folder, _items(folder), split_fraction)
    classes = _classes(folder, splits)
    items = select(split, splits)
    multilabel = (folder / TABLE).exists() or any((folder / name / TABLE).exists() for name in parts)
    info = Info(classes, len(items), "multilabel" if multilabel else "classification")
    return Source(info, partial(_read, items, {name: k for k, name in enumerate(classes)}, multilabel), partial(_name, items))


def _read(items: list[Item], ids: dict[str, int], multilabel: bool, index: int) -> dict:
    item = items[index]
    labels = [ids[name] for name in item.labels]
    return {"image": Encoded(Path(item.file).read_bytes()), "label": multi_hot(labels, len(ids)) if multilabel else labels[0]}


def _name(items: list[Item], index: int) -> str:
    return items[index].file


def _items(folder: Path) -> list[Item]:
    return _table(folder) if (folder / TABLE).exists() else _class_folders(folder)


def _class_folders(folder: Path) -> list[Item]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise UserError(f"{folder} holds no class folders; expected {folder}/<class>/<picture>.jpg")
    items = []
    for name in names:
        files = sorted(str(path) for path in (folder / name).rglob("*") if is_picture(path))
        if not files:
            raise UserError(f"class folder {folder / name} holds no pictures; remove it or fill it")
        items += [Item(file, (name,)) for file in files]
    return items


def _table(folder: Path) -> list[Item]:
    try:
        with open(folder / TABLE, newline="", encoding="utf-8-sig") as file:  # spreadsheets put a byte order mark first
            items = _rows(folder, csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{folder / TABLE} is not UTF-8; save it as 'CSV UTF-8' in the spreadsheet, as encoding UTF-8 in an editor"
        ) from error
    if not items:
        raise UserError(f"{folder / TABLE} lists no pictures")
    return items


def _rows(folder: Path, reader: csv.DictReader) -> list[Item]:
    if not {"file", "labels"} <= set(reader.fieldnames or ()):
        raise UserError(f"{folder / TABLE} needs the columns 'file' and 'labels' in its first line")
    items = []
    for row in reader:
        labels = tuple(sorted({label.strip() for label in (row["labels"] or "").split(";")} - {""}))
        if not row["file"]:  # None where the row is short
            raise UserError(f"{folder / TABLE}, line {reader.line_num}: the column 'file' is empty")
        if not (folder / row["file"]).is_file():
            raise UserError(f"{folder / TABLE}, line {reader.line_num}: there is no file {folder / row['file']}")
        items.append(Item(str(folder / row["file"]), labels))
    return items


def _divide(folder: Path, items: list[Item], fraction: float) -> dict[str, list[Item]]:
    """To "val" the pictures whose hashed name, a number in [0, 1), lies below `fraction`; the rest is "train".

    Every class gets a picture in "train" and, if it has two, one in "val"; with a table, where a picture may have
    several labels, "val" gets one at all. Where the hashes give none, the nearest to the fraction changes sides.

    Raises:
        UserError: too few pictures for two splits.
    """
    place = {item.file: _place(folder, item.file) for item in items}
    val = {file for file in place if place[file] < (fraction, "")}
    classes: dict[str, set[str]] = {}
    for item in items:
        for label in item.labels:
            classes.setdefault(label, set()).add(item.file)
    groups = [classes[name] for name in sorted(classes)]
    for files in [set(place)] if (folder / TABLE).exists() else groups:
        if len(files) > 1 and not files & val:
            val.add(min(files, key=place.__getitem__))
    for files in groups:
        if files <= val:
            val.remove(max(files, key=place.__getitem__))
    splits = {"train": [item for item in items if item.file not in val], "val": [item for item in items if item.file in val]}
    for name, part in splits.items():
        if not part:
            raise UserError(f"{folder}: data.split_fraction {fraction} leaves '{name}' empty; it needs more pictures")
    return splits


def _place(folder: Path, file: str) -> tuple[float, str]:
    """Where the file's name below `folder` falls in [0, 1), whatever else is there; the name settles a draw."""
    name = os.path.relpath(file, folder)
    return zlib.crc32(os.fsencode(name)) / 2**32, name


def _classes(folder: Path, splits: dict[str, list[Item]]) -> tuple[str, ...]:
    """The training split's class names, sorted. Another split must not bring new ones or, with folders, lack any."""
    have = {name: {label for item in items for label in item.labels} for name, items in splits.items()}
    for name, labels in have.items():
        extra, lacking = sorted(labels - have["train"]), sorted(have["train"] - labels)
        if extra:
            raise UserError(f"{folder}: '{name}' has the class '{extra[0]}', which 'train' has not")
        if lacking and not any((path / TABLE).exists() for path in (folder, folder / name)) and (folder / name).is_dir():
            raise UserError(f"{folder}: 'train' has the class '{lacking[0]}', which '{name}' has not")
    return tuple(sorted(have["train"]))
