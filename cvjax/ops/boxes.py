"""Boxes: every convention in use to ours and back, how much two boxes agree, and deltas between them.

Our own form, wherever nothing else is said: xyxy = (x1, y1, x2, y2) in pixels of the image, continuous coordinates, so that pixel (0, 0)
is the box (0, 0, 1, 1) and the width is x2 - x1. `from_NAME` gives this form, `to_NAME` takes it. A `size` is (height, width) in pixels, of
one image or of each of several: its leading axes are then the first ones of the boxes (size b 2, boxes b n 4).

All take NumPy or JAX arrays of float32 or float64 and keep the kind and the type; the file itself does not import jax, for workers that
read data import it. Measures of two boxes (iou, giou, diou, ciou) compare `a` and `b` one by one, their leading axes broadcast; `pairwise`
compares each with each. A box without area (padding) gives no NaN and gets no gradient, nor does what it is compared with; ranges are of
boxes whose corners are the right way round.

*b any leading axes · n m numbers of boxes
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num

Weights = tuple[float | int, float | int, float | int, float | int]  # of dx, dy, dw, dh
Size = tuple[int, int] | Num[Any, "*i 2"]
LARGEST = float(np.log(1000 / 16))  # of dw and dh: what is found may be 62.5 times as large as its anchor and no larger


# ---- conventions


def from_coco(xywh: Float[Any, "*b 4"]) -> Float[Any, "*b 4"]:
    """COCO's files: left, top, width, height in pixels, continuous."""
    x, y, w, h = _parts(xywh)
    return _box(x, y, x + w, y + h)


def to_coco(boxes: Float[Any, "*b 4"]) -> Float[Any, "*b 4"]:
    x1, y1, x2, y2 = _parts(boxes)
    return _box(x1, y1, x2 - x1, y2 - y1)


def from_centre(cxcywh: Float[Any, "*b 4"]) -> Float[Any, "*b 4"]:
    """Centre and size to corners, in the same unit."""
    x, y, w, h = _parts(cxcywh)
    return _box(x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def to_centre(boxes: Float[Any, "*b 4"]) -> Float[Any, "*b 4"]:
    x1, y1, x2, y2 = _parts(boxes)
    return _box((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)


def from_fractions(boxes: Float[Any, "*b 4"], size: Size) -> Float[Any, "*b 4"]:
    """xyxy as fractions of the image to pixels."""
    return boxes * _sides(boxes, size)


def to_fractions(boxes: Float[Any, "*b 4"], size: Size) -> Float[Any, "*b 4"]:
    """Pixels to fractions of the image; of an image of size 0 (a padded row of a batch) pixels stay pixels."""
    sides = _sides(boxes, size)
    return boxes / _space(boxes, size).where(sides > 0, sides, 1)


def from_detr(cxcywh: Float[Any, "*b 4"], size: Size) -> Float[Any, "*b 4"]:
    """DETR: centre and size as fractions of the image without its padding."""
    return from_fractions(from_centre(cxcywh), size)


def to_detr(boxes: Float[Any, "*b 4"], size: Size) -> Float[Any, "*b 4"]:
    return to_centre(to_fractions(boxes, size))


def from_tfds(yxyx: Float[Any, "*b 4"], size: Size) -> Float[Any, "*b 4"]:
    """TFDS: (ymin, xmin, ymax, xmax) as fractions of the image."""
    y1, x1, y2, x2 = _parts(yxyx)
    return from_fractions(_box(x1, y1, x2, y2), size)


def to_tfds(boxes: Float[Any, "*b 4"], size: Size) -> Float[Any, "*b 4"]:
    x1, y1, x2, y2 = _parts(to_fractions(boxes, size))
    return _box(y1, x1, y2, x2)


def from_inclusive(corners: Float[Any, "*b 4"], first: int = 0) -> Float[Any, "*b 4"]:
    """The first and the last pixel inside: a width is x2 - x1 + 1.

    first: the number of the leftmost pixel; 0 in R-CNN and its successors on Caffe, 1 in VOC's XML files.
    """
    x1, y1, x2, y2 = _parts(corners)
    return _box(x1 - first, y1 - first, x2 + (1 - first), y2 + (1 - first))


def to_inclusive(boxes: Float[Any, "*b 4"], first: int = 0) -> Float[Any, "*b 4"]:
    x1, y1, x2, y2 = _parts(boxes)
    return _box(x1 + first, y1 + first, x2 - (1 - first), y2 - (1 - first))


def from_voc(corners: Float[Any, "*b 4"]) -> Float[Any, "*b 4"]:
    """VOC's XML files: the first and the last pixel inside, counted from 1."""
    return from_inclusive(corners, first=1)


def to_voc(boxes: Float[Any, "*b 4"]) -> Float[Any, "*b 4"]:
    return to_inclusive(boxes, first=1)


def from_cells(cell: Int[Any, "*b 2"], inside: Float[Any, "*b 4"], cells: int, size: Size) -> Float[Any, "*b 4"]:
    """YOLO (Redmon et al. 2016, arXiv:1506.02640, section 2): the image is cut into `cells` x `cells`, a box belongs to its centre's cell.

    Args:
        cell: row and column of the centre's cell.
        inside: where in the cell the centre lies, x and y in 0-1, then width and height as fractions of the image.
    """
    x, y, w, h = _parts(inside)
    return from_detr(_box((cell[..., 1] + x) / cells, (cell[..., 0] + y) / cells, w, h).astype(inside.dtype), size)


def to_cells(boxes: Float[Any, "*b 4"], cells: int, size: Size) -> tuple[Int[Any, "*b 2"], Float[Any, "*b 4"]]:
    """(cell, inside) as `from_cells` takes them; a centre on the image's right or lower edge, or beyond, counts to the last cell."""
    space = _space(boxes, size)
    x, y, w, h = _parts(to_detr(boxes, size))
    cell = space.clip(space.floor(space.stack([y, x], -1) * cells), 0, cells - 1)
    return cell.astype(np.int32), _box(x * cells - cell[..., 1], y * cells - cell[..., 0], w, h)


# ---- one box


def area(boxes: Float[Any, "*b 4"]) -> Float[Any, "*b"]:
    """Square pixels; 0 where the corners are the wrong way round."""
    x1, y1, x2, y2 = _parts(boxes)
    return _length(x1, x2) * _length(y1, y2)


def clip(boxes: Float[Any, "*b 4"], size: Size) -> Float[Any, "*b 4"]:
    """What lies inside the image; a box outside of it loses its area."""
    space = _space(boxes, size)
    return space.minimum(space.maximum(boxes, 0), _sides(boxes, size))


# ---- two boxes


def pairwise(measure: Callable[[Any, Any], Any], a: Float[Any, "*b n 4"], b: Float[Any, "*b m 4"]) -> Float[Any, "*b n m"]:
    """`measure` (iou, giou, diou, ciou) of each of `a` with each of `b`."""
    return measure(a[..., :, None, :], b[..., None, :, :])


def iou(a: Float[Any, "*#b 4"], b: Float[Any, "*#b 4"]) -> Float[Any, "*b"]:
    """Intersection over union, 0-1."""
    a, b = _still_without_area(a, b)
    common, union = _common_and_union(a, b)
    return _ratio(common, union)


def giou(a: Float[Any, "*#b 4"], b: Float[Any, "*#b 4"]) -> Float[Any, "*b"]:
    """IoU less the empty share of the smallest box around both, -1 to 1 (Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1)."""
    a, b = _still_without_area(a, b)
    common, union = _common_and_union(a, b)
    w, h = _hull(a, b)
    return _ratio(common, union) - _ratio(w * h - union, w * h)


def diou(a: Float[Any, "*#b 4"], b: Float[Any, "*#b 4"]) -> Float[Any, "*b"]:
    """IoU less the squared distance of the centres over that of the hull's corners, -1 to 1 (Zheng et al. 2020, arXiv:1911.08287)."""
    a, b = _still_without_area(a, b)
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _parts(a), _parts(b)
    x, y = (ax1 + ax2 - bx1 - bx2) / 2, (ay1 + ay2 - by1 - by2) / 2
    w, h = _hull(a, b)
    common, union = _common_and_union(a, b)
    return _ratio(common, union) - _ratio(x * x + y * y, w * w + h * h)


def ciou(a: Float[Any, "*#b 4"], b: Float[Any, "*#b 4"]) -> Float[Any, "*b"]:
    """DIoU less alpha v, where v compares the shapes, more than -2 to 1 (Zheng et al. 2020).

    alpha = v / (1 - IoU + v) is a weight and sends no gradient; that of v is the derivative as it is, w^2 + h^2 and all.
    """
    a, b = _still_without_area(a, b)
    v = (4 / np.pi**2) * (_slope(a) - _slope(b)) ** 2
    alpha = _ratio(v, 1 - iou(a, b) + v)
    return diou(a, b) - _constant(alpha) * v


# ---- deltas


def encode(boxes: Float[Any, "*#b 4"], anchors: Float[Any, "*#b 4"], weights: Weights = (1, 1, 1, 1)) -> Float[Any, "*b 4"]:
    """What makes anchors into boxes: shift of the centre over the anchor's size, and the logarithm of the sizes' ratio.

    Girshick et al. 2014 (R-CNN), appendix C; `weights` multiply (dx, dy, dw, dh), as 10, 10, 5, 5 do in Fast R-CNN's heads of today.
    0 where either has no area.
    """
    space = _space(boxes, anchors)
    real = ((area(boxes) > 0) & (area(anchors) > 0))[..., None]
    unit = space.asarray([0, 0, 1, 1], dtype=boxes.dtype).reshape((1,) * (real.ndim - 1) + (4,))
    (x, y, w, h), (ax, ay, aw, ah) = (_parts(to_centre(space.where(real, some, unit))) for some in (boxes, anchors))
    wx, wy, ww, wh = weights
    return _box(wx * (x - ax) / aw, wy * (y - ay) / ah, ww * space.log(w / aw), wh * space.log(h / ah))


def decode(deltas: Float[Any, "*#b 4"], anchors: Float[Any, "*#b 4"], weights: Weights = (1, 1, 1, 1)) -> Float[Any, "*b 4"]:
    """The boxes that `encode` gave these deltas; dw and dh above LARGEST count as LARGEST and send no gradient. Not clipped to an image."""
    space = _space(deltas, anchors)
    (x, y, w, h), (ax, ay, aw, ah) = _parts(deltas), _parts(to_centre(anchors))
    wx, wy, ww, wh = weights
    w, h = (aw * space.exp(space.minimum(w / ww, LARGEST)), ah * space.exp(space.minimum(h / wh, LARGEST)))
    return from_centre(_box(ax + aw * x / wx, ay + ah * y / wy, w, h))


# ---- parts


def _space(*arrays: Any) -> Any:
    """jax.numpy where one of the arrays is JAX's, else NumPy."""
    spaces = [array.__array_namespace__() for array in arrays if not isinstance(array, tuple)]
    return next((space for space in spaces if space is not np), np)


def _parts(boxes: Any) -> tuple[Any, Any, Any, Any]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _box(*parts: Any) -> Any:
    return _space(*parts).stack(parts, -1)


def _sides(boxes: Any, size: Size) -> Any:
    """(width, height, width, height), to be multiplied with the boxes."""
    sides = _space(boxes, size).asarray(size, dtype=boxes.dtype)
    sides = sides.reshape(sides.shape[:-1] + (1,) * (boxes.ndim - sides.ndim) + (2,))
    return sides[..., [1, 0, 1, 0]]


def _length(start: Any, end: Any) -> Any:
    return _space(start, end).maximum(end - start, 0)


def _common_and_union(a: Any, b: Any) -> tuple[Any, Any]:
    """Areas."""
    space, (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _space(a, b), _parts(a), _parts(b)
    w = _length(space.maximum(ax1, bx1), space.minimum(ax2, bx2))
    h = _length(space.maximum(ay1, by1), space.minimum(ay2, by2))
    return w * h, area(a) + area(b) - w * h


def _hull(a: Any, b: Any) -> tuple[Any, Any]:
    """Width and height of the smallest box around both."""
    space, (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _space(a, b), _parts(a), _parts(b)
    return space.maximum(ax2, bx2) - space.minimum(ax1, bx1), space.maximum(ay2, by2) - space.minimum(ay1, by1)


def _slope(boxes: Any) -> Any:
    """arctan(width / height)."""
    x1, y1, x2, y2 = _parts(boxes)
    return _space(boxes).arctan2(x2 - x1, y2 - y1)


def _ratio(part: Any, whole: Any) -> Any:
    """part / whole; 0 / 0 is 0."""
    return part / _space(part, whole).where(whole > 0, whole, 1)


def _constant(x: Any) -> Any:
    """Sends no gradient; NumPy's arrays never do."""
    if _space(x) is np:
        return x
    from jax import lax

    return lax.stop_gradient(x)


def _still_without_area(a: Any, b: Any) -> tuple[Any, Any]:
    """Both boxes; where one has no area, both as constants. A select, so that even a NaN of what follows does not come back."""
    space = _space(a, b)
    if space is np:
        return a, b
    real = ((area(a) > 0) & (area(b) > 0))[..., None]
    return space.where(real, a, _constant(a)), space.where(real, b, _constant(b))
