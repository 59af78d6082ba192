"""What the workers make of a record with boxes: one view of the picture, and its objects in a table of fixed length.

n objects of a record, m places in the table
"""

import numpy as np

from cvjax.data import _augment, _augment_boxes, _augment_plane
from cvjax.data._source import Source
from cvjax.errors import UserError


def scene(
    example: dict,
    rng: np.random.Generator,
    *,
    size: int,
    longest: int,
    most: int,
    channels: int = 3,
    crop: str = "none",
    zoom: tuple[float, float] = (1.0, 1.0),
    flip: bool = False,
    photometric: float = 0.0,
    mosaic: float = 0.0,
    others: Source | None = None,
) -> dict:
    """A random view; every change but that of colours moves the boxes (and masks) with the picture.

    Args:
        size, longest: of the picture, see `_augment_boxes.resize_shorter`; nothing random makes it larger than that.
        crop: "detr", that paper's random sizes and crops, which leave `zoom` no room, or "none".
        zoom: range of the factor of the size; what grows over the edge is cut off, what shrinks leaves room.
        mosaic: probability of four pictures put together; the other three are drawn from `others`.
        most: places in the table, of one picture.
    """
    places = most
    if mosaic:
        assert others is not None
        places = _augment_boxes.PIECES * most
        if rng.random() < mosaic:
            drawn = [others[int(i)] for i in rng.integers(len(others), size=_augment_boxes.PIECES - 1)]
            example = _augment_boxes.mosaic([_augment.pixels(one) for one in (example, *drawn)], rng, size)
    if crop == "detr":
        example = _augment_boxes.detr_view(example, rng, *_detr_sizes(size, longest), mirror=False)  # mirrored below, as all are
    elif tuple(zoom) != (1, 1):
        canvas = _augment_boxes.shorter_size(_augment._image_size(example), size, longest or size)
        example = _augment_boxes.scale_jitter(example, rng, canvas, zoom[0], zoom[1])
    else:
        example = _resized(example, size, longest)
    if flip:
        example = _augment.flip(example, rng)
    if photometric:
        example = _augment_plane.photometric(example, rng, photometric)
    return _table(_augment_boxes.kept(example), channels, places)


def whole(example: dict, *, size: int, longest: int, most: int, channels: int = 3) -> dict:
    """The whole picture, the same every time, with `original_size`, the (height, width) that its file has."""
    original = np.array(_augment._image_size(example), np.int32)
    return {**_table(_resized(example, size, longest), channels, most), "original_size": original}


def _detr_sizes(size: int, longest: int) -> tuple[tuple[int, ...], int, tuple[int, ...], tuple[int, int]]:
    """The numbers of `detr_view`, which are for a shorter side of 800, for another."""
    sides, first, crop = ([max(1, round(side * size / 800)) for side in of] for of in (_augment_boxes.SIDES, (400, 500, 600), (384, 600)))
    return tuple(sides), longest or size, tuple(first), (crop[0], crop[1])


def _resized(example: dict, size: int, longest: int) -> dict:
    return _augment_boxes.resize_shorter(example, size, longest or size)


def _table(example: dict, channels: int, most: int) -> dict:
    """The example with `size`, (height, width), and its objects that are learned from in the first places of a table, `box_valid`.

    A picture that is looked at, not learned from, has no objects.
    """
    example = _augment.to_channels(example, channels)
    out = {"image": example["image"], "size": np.array(example["image"].shape[:2], np.int32)}
    if "boxes" not in example:
        return out
    learned = ~example["ignored"]
    count = int(learned.sum())
    if count > most:
        raise UserError(f"it has {count} objects, and there is room for {most}; raise config.data.max_boxes")

    def filled(field: np.ndarray) -> np.ndarray:
        table = np.zeros((most, *field.shape[1:]), field.dtype)
        table[:count] = field[learned]
        return table

    fields = {name: filled(example[name]) for name in ("boxes", "classes", "masks") if name in example}
    return {**out, **fields, "box_valid": np.arange(most) < count, "index": example["index"]}
