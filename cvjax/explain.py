"""Pictures of what a trained network looks at: one sheet for each picture, the picture and the heat that a method finds over it.

h heads · n places that look · k places looked at · s side of a square of places
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from cvjax import explain_queries, looks, predict
from cvjax.build import Experiment
from cvjax.errors import UserError
from cvjax.ops import saliency
from cvjax.preprocess import host_eval
from cvjax.reporting.heat import overlay
from cvjax.reporting.pictures import FRAME, prediction_grid

TABLE = "explanations.jsonl"
TILE = 224  # pixels on a side of every panel
POINTS = (
    (0.5, 0.5),
    (0.25, 0.25),
    (0.25, 0.75),
    (0.75, 0.25),
    (0.75, 0.75),
)  # (row, column) whose attention is drawn without a class token
Panel = tuple[str, np.ndarray, tuple[float, float] | None]  # caption, heat s s, the place it is seen from (row, column, each 0-1)


def explain_files(config: ConfigDict, folder: Path, paths: list[str], method: str, which: str, out: Path) -> None:
    """Draws for each picture (files, or folders with all below them) what the network looks at, a sheet each, see `predict.draw_each`.

    method: "attention", of the last layer; "rollout", of all layers; "gradcam", of the class that the network says; "queries", of each
        detection of a detector.
    Raises UserError where the network answers every pixel or has nothing for a method, before any picture is read.
    """
    files = predict.pictures(paths, "explain")
    e, state = predict.finished(config, folder, which, "explain")
    if e.info.task == "segmentation":
        raise UserError(f"explain is for networks with one answer a picture, and {folder} has one for every pixel; use predict")
    if e.info.task == "detection" and method != "queries":
        raise UserError(f"--method={method} is for networks that name the picture; of {folder} use --method=queries")
    if e.info.task != "detection" and method == "queries":
        raise UserError(f"--method=queries is for networks that find objects; of {folder} use --method=attention")
    if method == "queries":
        look_of_each = explain_queries.drawer(e, state)
        predict.draw_each(e, state, files, out, TABLE, partial(_draw_queries, e, look_of_each))
        return
    find, panels = METHODS[method]
    look = find(e, state)
    assert e.pixels is not None  # of which `predict.finished` has made sure
    black = np.zeros((1, e.pixels.size, e.pixels.size, e.pixels.channels), np.uint8)
    panels(look({"image": black}))  # says what is wrong before any picture is read

    def draw(record: dict, example: dict, row: dict, path: Path) -> None:
        view, (text, _) = _view(e, record), e.task.caption(row, e.info)
        found = panels(look(predict.batch_of(e, example)))
        _sheet([(text, view), *((caption, overlay(view, heat, point)) for caption, heat, point in found)], path)

    predict.draw_each(e, state, files, out, TABLE, draw)


def _draw_queries(e: Experiment, look: Callable, record: dict, example: dict, row: dict, path: Path) -> None:
    view = np.broadcast_to(example["image"], (*example["image"].shape[:2], 3))
    _sheet([(e.task.caption(row, e.info)[0], e.task.draw(view, row, e.info)), *look(predict.batch_of(e, example), example, row)], path)


def _sheet(panels: list[tuple[str, np.ndarray]], path: Path) -> None:
    """Pictures with their captions in one file, in a row, or in three of many."""
    columns = len(panels) if len(panels) <= 7 else -(-len(panels) // 3)
    captions, images = zip(*panels, strict=True)
    prediction_grid(images, captions, [None] * len(images), path, columns=columns, tile=TILE + 2 * FRAME)


def of_attention(layers: list[jax.Array]) -> list[Panel]:
    """The last layer's. Of the class token: the mean over heads, then each head. Where there is none: the mean over all places, then what
    single places look at, means over heads. Each with its largest weight as a multiple of even attention."""
    weights = layers[-1][0]
    _, n, k = weights.shape
    if saliency.side(n) is None or saliency.side(k) is None:
        raise UserError(f"attention of {n} places to {k} is not between places of a picture; use --method=gradcam")
    mean = weights.mean(0)
    if saliency.has_token(n):
        return [_share("all heads", mean), *(_share(f"head {i}", head) for i, head in enumerate(weights, 1))]
    side = saliency.side(n) or 1
    panels = [_share("all places", mean)]
    for row, column in ((int(side * y), int(side * x)) for y, x in POINTS):
        place = ((row + 0.5) / side, (column + 0.5) / side)
        panels.append(_share("from the point", mean[row * side + column][None], place))
    return panels


def of_rollout(layers: list[jax.Array]) -> list[Panel]:
    """How much of each place has come to the class token, or to all places on average."""
    if len({weights.shape[-2:] for weights in layers}) > 1 or layers[0].shape[-1] != layers[0].shape[-2]:
        raise UserError(
            "rollout follows attention among the same places through all layers, which this network has not; use --method=gradcam"
        )
    return [_share("rollout", saliency.rollout(layers)[0])]


def of_gradients(found: tuple[jax.Array, jax.Array]) -> list[Panel]:
    """Grad-CAM of the likeliest class. Where no place speaks for it, all is dark, and the caption says so."""
    heat = np.asarray(saliency.grad_cam(*found))[0]
    return [("Grad-CAM" if heat.max() > 0 else "Grad-CAM\nno place speaks for it", heat, None)]


def _share(caption: str, weights: jax.Array, place: tuple[float, float] | None = None) -> Panel:
    """weights: n k, rows that sum to 1. The caption ends with the largest as a multiple of 1 / k."""
    heat = np.asarray(saliency.looked_at(weights[None]))[0]
    return f"{caption}\nat most {heat.max() * weights.shape[-1]:.1f} x even", heat, place


METHODS: dict[str, tuple[Callable, Callable]] = {  # what takes it out of the network, and what makes panels of it
    "attention": (looks.attention, of_attention),
    "rollout": (looks.attention, of_rollout),
    "gradcam": (looks.gradients, of_gradients),
}


def _view(e: Experiment, record: dict) -> np.ndarray:
    """What the network sees, uint8 h w 3 with TILE pixels on a side: as sharp as the picture is, or its pixels enlarged."""
    assert e.pixels is not None  # of which `predict.finished` has made sure
    height, width = record["image"].size
    size = min(TILE, max(e.pixels.size, int(min(height, width) * e.pixels.crop_fraction)))
    view = np.broadcast_to(host_eval(replace(e.pixels, size=size), e.info)(record)["image"], (size, size, 3))
    return np.asarray(Image.fromarray(view).resize((TILE, TILE), Image.Resampling.NEAREST))
