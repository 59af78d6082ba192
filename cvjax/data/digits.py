"""scikit-learn's handwritten digits: 1,797 real grey pictures of 8x8 pixels that come inside the package, no download.

Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI repository (its test set).
"""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cvjax.data._source import Info, Source, select

TINY = {"split": "test[:20]"}


def load(split: str) -> Source:
    """Splits "train" (80%) and "test" (every fifth picture of each digit), sliced as TFDS does: "train[:90%]"."""
    # The file that sklearn.datasets.load_digits reads; importing sklearn for it takes a second.
    package = find_spec("sklearn")
    assert package and package.origin
    table = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 8, 8, 1), table[:, -1].astype(int)
    pixels = np.round(images * (255 / 16)).astype(np.uint8).repeat(3, axis=-1)
    place = np.zeros(len(labels), int)  # of each picture among those of its digit
    for digit in range(10):
        place[labels == digit] = np.arange((labels == digit).sum())
    held_out = place % 5 == 4
    chosen = select(split, {"train": np.flatnonzero(~held_out).tolist(), "test": np.flatnonzero(held_out).tolist()})
    info = Info(tuple("0123456789"), len(chosen), image_size=(8, 8))
    return Source(info, partial(_read, pixels[chosen], labels[chosen]))


def _read(pixels: np.ndarray, labels: np.ndarray, index: int) -> dict:
    return {"image": pixels[index], "label": int(labels[index])}
