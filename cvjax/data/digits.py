"""scikit-learn's handwritten digits: 1,797 real grey pictures of 8x8 pixels that come inside the package, no download.

Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI repository (its test set).
"""

from functools import partial

import numpy as np

from cvjax.data._source import Info, Source, select

TINY = {"split": "val[:20]"}


def load(split: str) -> Source:
    """Splits "train" (80%) and "val" (every fifth picture of each digit), sliced as TFDS does: "train[:500]"."""
    from sklearn.datasets import load_digits  # 1 s to import

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8).repeat(3, axis=-1)
    place = np.zeros(len(labels), int)  # of each picture among those of its digit
    for digit in range(10):
        place[labels == digit] = np.arange((labels == digit).sum())
    held_out = place % 5 == 4
    chosen = select(split, {"train": np.flatnonzero(~held_out), "val": np.flatnonzero(held_out)})
    info = Info(tuple("0123456789"), len(chosen), image_size=(8, 8))
    return Source(info, partial(_read, pixels[chosen], labels[chosen].astype(int)))


def _read(pixels: np.ndarray, labels: np.ndarray, index: int) -> dict:
    return {"image": pixels[index], "label": int(labels[index])}
