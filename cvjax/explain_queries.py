"""What each query of a detector looks at: the attention of its decoder's last layer over the picture, a panel a detection, with its box.

h heads · q queries · n places of the map
"""

import math
from collections.abc import Callable

import numpy as np

from cvjax import frames, looks
from cvjax.build import Experiment
from cvjax.errors import UserError
from cvjax.reporting.heat import overlay
from cvjax.state import State

MOST = 6  # detections that are drawn, the surest
SURE = 0.5  # score from which one is drawn; the surest is always
Panel = tuple[str, np.ndarray]  # caption, uint8 h w 3


def drawer(e: Experiment, state: State) -> Callable[[dict, dict, dict], list[Panel]]:
    """`(batch, example, row) -> panels`: of what the network is fed, the picture as it was prepared, and what it said.

    Raises UserError where the last attention is not of the detections to places of a map.
    """
    look = looks.attention(e, state)

    def panels(batch: dict, example: dict, row: dict) -> list[Panel]:
        weights, canvas = look(batch)[-1][0], batch["image"].shape[1:3]
        places = grid(canvas, weights.shape[-1])
        if places is None or weights.shape[1] != len(row["detected_scores"]):
            raise UserError("explain: the network's last attention is not of its detections to a map; use predict, which draws its boxes")
        heat = np.asarray(weights.mean(0)).reshape(-1, *places)
        return [_panel(e, example["image"], canvas, heat[i], row, int(i)) for i in _surest(row["detected_scores"])]

    return panels


def grid(canvas: tuple[int, int], n: int) -> tuple[int, int] | None:
    """(rows, columns) of the map that n places make of a picture of `canvas` (height, width) pixels; None where they make none."""
    stride = math.sqrt(canvas[0] * canvas[1] / n)
    rows, columns = round(canvas[0] / stride), round(canvas[1] / stride)
    return (rows, columns) if rows * columns == n else None


def _surest(scores: np.ndarray) -> np.ndarray:
    order = np.argsort(-scores, kind="stable")[:MOST]
    return order[: max(1, int((scores[order] >= SURE).sum()))]


def _panel(e: Experiment, image: np.ndarray, canvas: tuple[int, int], heat: np.ndarray, row: dict, query: int) -> Panel:
    view = np.broadcast_to(image, (*image.shape[:2], 3))
    shown = overlay(view, _cut(heat, canvas, view.shape[:2]), None)
    box = row["detected_boxes"][query] * np.array([view.shape[1], view.shape[0]] * 2)
    kind, score = int(row["detected_classes"][query]), float(row["detected_scores"][query])
    words = f"{e.info.classes[kind]}\t{100 * score:.0f} %\nquery {query + 1}, {heat.max() * heat.size:.1f} x even"
    return words, frames.boxed(shown, box[None], np.array([kind]))


def _cut(heat: np.ndarray, canvas: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The part of a map that is about the picture, `size` pixels of the padded `canvas`, stretched over it."""
    rows, columns = (max(1, round(heat.shape[i] * size[i] / canvas[i])) for i in (0, 1))
    return heat[:rows, :columns]
