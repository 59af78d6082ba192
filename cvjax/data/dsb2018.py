"""Data Science Bowl 2018: cell nuclei under the microscope (Caicedo et al. 2019, Nature Methods 16; BBBC038 of the Broad Institute).

PNGs in the folders "images" and "labels", where a label map numbers the nuclei from 1, in 16 bits; index.csv has a line for each, with its
"id" (the files' name) and "split".
"""

import csv
from pathlib import Path

import numpy as np

from cvjax.data._labels import table
from cvjax.data._pairs import Pair, Reading, folder, pairs, source
from cvjax.data._source import Source, select
from cvjax.errors import UserError

CLASSES = ("background", "nucleus")


def load(split: str, *, root: str, border: float = 0.0) -> Source:
    """The splits of index.csv, "train" and "val", sliced as TFDS does; every nucleus is of one class.

    Args:
        root: the folder that holds "images", "labels" and index.csv.
        border: height w0 of U-Net's weights between nuclei, see `_border`; 10 in the paper, 0 for none.

    Raises:
        UserError: files that are not there, an image without its label map, or label maps that do not fit, see `_labels.survey`.
    """
    images, labels = folder(root, "images"), folder(root, "labels")
    found = {Path(pair.image).stem: pair for pair in pairs(images, labels)}
    chosen = select(split, _splits(images.parent / "index.csv", found))
    return source(chosen, CLASSES, Reading(table({number: min(number, 1) for number in range(65536)}), border, _nuclei))


def _nuclei(numbers: np.ndarray) -> np.ndarray:
    return numbers


def _splits(file: Path, found: dict[str, Pair]) -> dict[str, list[Pair]]:
    if not file.is_file():
        raise UserError(f"data.root: there is no {file}, which says what trains and what validates")
    with open(file, newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    if not rows or not {"id", "split"} <= set(rows[0]):
        raise UserError(f"{file} needs the columns 'id' and 'split', and a line for each image")
    lacking = [row["id"] for row in rows if row["id"] not in found]
    if lacking:
        raise UserError(f"{file} lists '{lacking[0]}', but images/{lacking[0]}.png is not there; bring all of the set")
    splits: dict[str, list[Pair]] = {}
    for row in rows:
        splits.setdefault(row["split"], []).append(found[row["id"]])
    return splits
