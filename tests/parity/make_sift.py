"""Writes sift.npz: OpenCV's SIFT descriptors of upright patches at given places, for test_sift_parity.py.

python tests/parity/make_sift.py        # needs numpy and opencv-python-headless; last made with 5.0.0
"""

from pathlib import Path

import cv2
import numpy as np
from waves import CELL, CENTRES, picture

if __name__ == "__main__":
    sift = cv2.SIFT_create(sigma=0.5)  # a sigma of 0.5 is taken to be in the picture already: nothing is blurred
    size = CELL * 2 / 3  # a keypoint's diameter, of which a cell is 1.5
    points = [cv2.KeyPoint(float(x), float(y), size, 0) for x, y in CENTRES]
    kept, found = sift.compute(picture(-0.5).astype(np.uint8), points)
    assert [point.pt for point in kept] == [point.pt for point in points]
    np.savez_compressed(Path(__file__).parent / "sift.npz", descriptors=found.astype(np.uint8))
