"""ISBI 2012: membranes between the cells of a fly's nerve cord under the electron microscope, the data of U-Net's first experiment.

Arganda-Carreras et al. 2015, "Crowdsourcing the creation of image segmentation algorithms for connectomics", Frontiers in Neuroanatomy 9.
Slices of 512 x 512 pixels of one stack, 30 in the challenge; PNGs in folders "image" and "label", there 0 is membrane and 255 cell.
"""

import numpy as np

from cvjax.data._border import components
from cvjax.data._labels import table
from cvjax.data._pairs import Reading, folder, pairs, source
from cvjax.data._source import Source, select
from cvjax.errors import UserError

CLASSES = ("membrane", "cell")
CELL = 255
HELD_OUT = 6


def load(split: str, *, root: str, border: float = 0.0) -> Source:
    """Splits "val", the last six slices, and "train", those before: 24 of the challenge's 30, 18 of 24; sliced as TFDS does.

    Neighbouring slices look alike, so the six are one block, not every fifth.

    Args:
        root: the folder that holds "image" and "label".
        border: height w0 of U-Net's weights on membranes between cells, see `_border`; 10 in the paper, 0 for none.

    Raises:
        UserError: a folder that is not there, a slice without its label map, or label maps that do not fit, see `_labels.survey`.
    """
    slices = pairs(folder(root, "image"), folder(root, "label"))
    if len(slices) <= HELD_OUT:
        raise UserError(f"data.root: {root} holds {len(slices)} slices, but {HELD_OUT} are for validation; bring all of them")
    chosen = select(split, {"train": slices[:-HELD_OUT], "val": slices[-HELD_OUT:]})
    return source(chosen, CLASSES, Reading(table({0: 0, CELL: 1}), border, _cells))


def _cells(numbers: np.ndarray) -> np.ndarray:
    return components(numbers == CELL)
