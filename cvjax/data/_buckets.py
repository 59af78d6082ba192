"""Pictures of many sizes in batches of few: all of a batch are padded, to the right and below, to the smallest bucket that holds them."""

from collections.abc import Sequence

import numpy as np

from cvjax.errors import UserError

Buckets = Sequence[tuple[int, int]]  # (height, width), the smallest area first
PLANES = {"image": 0, "masks": 1}  # fields that are padded: where height and width begin among their axes


def alike(parts: list[dict[str, np.ndarray]], buckets: Buckets, batched: bool = False) -> list[dict[str, np.ndarray]]:
    """Examples, or with `batched` batches, whose pictures all have the size of one bucket: zeros around, masks False.

    Without buckets they are as they were. Raises UserError where no bucket holds one.
    """
    if not buckets:
        return parts
    height = max(part["image"].shape[batched] for part in parts)
    width = max(part["image"].shape[batched + 1] for part in parts)
    bucket = next((bucket for bucket in buckets if height <= bucket[0] and width <= bucket[1]), None)
    if bucket is None:
        raise UserError(f"a picture of {height} x {width} pixels is larger than any of {', '.join(f'{h} x {w}' for h, w in buckets)}")
    return [{name: _padded(x, PLANES[name] + batched, bucket) if name in PLANES else x for name, x in part.items()} for part in parts]


def _padded(x: np.ndarray, axis: int, size: tuple[int, int]) -> np.ndarray:
    """x with `size` from `axis` on; itself where it has that already."""
    if x.shape[axis : axis + 2] == size:
        return x
    out = np.zeros((*x.shape[:axis], *size, *x.shape[axis + 2 :]), x.dtype)
    out[(slice(None),) * axis + (slice(x.shape[axis]), slice(x.shape[axis + 1]))] = x
    return out
