"""Weights of pixels between objects that nearly touch (Ronneberger et al. 2015, arXiv:1505.04597, section 3, equation 2)."""

import math

import cv2
import numpy as np


def border_weights(instances: np.ndarray, w0: float = 10.0, sigma: float = 5.0) -> np.ndarray:
    """1 + w0 exp(-(d1 + d2)^2 / (2 sigma^2)) on the background, 1 elsewhere; 1 everywhere with fewer than two objects.

    d1 and d2 are the distances to the nearest and to the second nearest object, in pixels, counted from the pixels that touch the object:
    0 there, so that a gap of one pixel has 1 + w0. (Between the middles of pixels each would be 1 more.) The paper's 1 is a map of class
    weights; those are the loss's.

    Args:
        instances: integers h w, 0 is background, every other number one object.
        w0: height of the weights.
        sigma: their width in pixels.

    Returns:
        float32 h w.
    """
    reach = math.ceil(6 * sigma)  # beyond it the exponential is below 2e-8
    nearest, second = (np.full(instances.shape, np.inf, np.float32) for _ in range(2))  # squares
    for number, (rows, columns) in _boxes(instances):
        window = (_widen(rows, reach, instances.shape[0]), _widen(columns, reach, instances.shape[1]))
        outside = (instances[window] != number).astype(np.uint8)
        # OpenCV's last bits depend on where an array lies in memory; squares of distances between pixels are whole numbers.
        square = np.rint(np.square(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)))
        second[window] = np.minimum(second[window], np.maximum(nearest[window], square))
        nearest[window] = np.minimum(nearest[window], square)
    apart = np.sqrt(nearest) + np.sqrt(second) - 2
    weights = 1 + w0 * np.exp(-np.square(apart) / (2 * sigma**2))
    return np.where(instances == 0, weights, 1).astype(np.float32)


def components(mask: np.ndarray) -> np.ndarray:
    """int32 h w: the pieces of a mask that hang together by the sides of pixels, numbered from 1; 0 outside."""
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]


def _boxes(instances: np.ndarray) -> list[tuple[int, tuple[slice, slice]]]:
    """Each object's number with the rows and columns that it lies in."""
    from scipy.ndimage import find_objects

    numbers, contiguous = np.unique(instances, return_inverse=True)
    boxes = find_objects(contiguous.reshape(instances.shape) + (0 if 0 in numbers else 1))
    return list(zip(numbers[numbers != 0].tolist(), boxes, strict=True))


def _widen(span: slice, reach: int, size: int) -> slice:
    return slice(max(0, span.start - reach), min(size, span.stop + reach))
