"""Objects in boxes: the network's own set of losses, COCO's and VOC's average precision, boxes drawn over the picture.

What a paper is about, how predictions are matched to objects and what they cost, is in the model's file, whose `loss` and `decode` those
here get as `of_model`; here is what all detectors share. Boxes are xyxy; those of a batch in pixels of the padded image, those that a
network has detected as shares, 0-1, of the picture's own width and height.

b batch · h w pixels · n objects · m detections · k classes
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from cvjax import frames, overlay
from cvjax.errors import UserError
from cvjax.metrics.detection import DetectionScores, quality
from cvjax.state import Term

NEEDS = ("loss", "decode")
DATA = ("detection",)
TINY = {"name": "detr", "variant": "tiny", "dropout": 0.0}  # the smallest model to test this task with
SHOWN = 0.5  # score from which a detection is drawn
LISTED = 2  # classes in a caption
EXPLAINED = 32  # classes in a legend
NOTHING = f"none surer than {100 * SHOWN:.0f} %"


def fields(info) -> dict:
    return {"num_classes": len(info.classes)}


def inputs(batch: dict, keys: Key[Array, "b"] | None, info) -> dict:
    """`image`, 0 where it is padded, and `mask` b h w, True on pixels of the picture (absent where nothing says its size)."""
    image = batch["image"]
    if "size" not in batch:
        return {"image": image}
    mask = inside(batch["size"], image.shape[1], image.shape[2])
    return {"image": jnp.where(mask[..., None], image, 0), "mask": mask}


def inside(size: Int[Array, "b 2"], height: int, width: int) -> Bool[Array, "b h w"]:
    """True on the pixels of a picture of `size` (height, width) in the top left corner."""
    rows, columns = (jnp.arange(n)[None] < size[:, i, None] for i, n in enumerate((height, width)))
    return rows[:, :, None] & columns[:, None]


def loss(outputs: dict, batch: dict, *, of_model) -> dict[str, Term]:
    """The terms of the model's own loss. Raises UserError where its settings, those of config.task, are impossible."""
    try:
        terms = of_model(outputs, batch)
    except ValueError as error:
        raise UserError(f"config.task: {str(error).splitlines()[0]}") from error
    return {name: Term(*term) for name, term in terms.items()}


def decode(outputs: dict, *, of_model) -> dict[str, Array]:
    """`detected_boxes` b m 4, `detected_scores` b m, 0-1, `detected_classes` b m: of the model's own decoding, in no order."""
    return {f"detected_{name}": x for name, x in of_model(outputs).items()}


def derived(values: dict[str, float]) -> dict[str, float]:
    return {}


def host_metrics(source) -> DetectionScores:
    return DetectionScores(source)


def draw(image: np.ndarray, row: dict, info) -> np.ndarray:
    """The picture, enlarged if small, with a box, the class and the score of every detection from SHOWN on; uint8 h w 3."""
    boxes, classes, scores = detections(row, image.shape[:2], SHOWN)
    words = [f"{info.classes[k]} {100 * score:.0f} %" for k, score in zip(classes, scores, strict=True)]
    return frames.boxed(image, boxes, classes, words)


def panel(image: np.ndarray, row: dict, info) -> np.ndarray:
    """The picture with its objects' boxes, where they are known, and beside or under it with those that were detected; uint8 h w 3."""
    boxes, classes, _ = detections(row, image.shape[:2], SHOWN)
    pictures = [frames.boxed(image, boxes, classes)]
    if "boxes" in row:
        pictures.insert(0, frames.boxed(image, *truth(row, image.shape[:2])))
    return frames.beside(pictures)


def legend(info) -> np.ndarray:
    """The colours of the classes, of many the first, to stand among pictures; uint8 s s 3."""
    return overlay.legend(info.classes[:EXPLAINED], opacity=1.0)


def caption(row: dict, info) -> tuple[str, float | None]:
    """What to write under a picture, and its score, see `metrics.detection.quality`. Of a picture with unknown objects, what is in it, and
    None."""
    _, classes, _ = detections(row, (1, 1), SHOWN)
    counts = np.bincount(classes, minlength=len(info.classes))
    most = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    found = ", ".join(f"{counts[k]} {info.classes[k]}" for k in most[:LISTED]) + (", ..." if len(most) > LISTED else "")
    if "boxes" not in row:
        return found or NOTHING, None
    of_truth = truth(row, (1, 1))
    score = quality(*of_truth, *detections(row, (1, 1), 0.0))
    return f"AP50\t{100 * score:.0f} %\nof {len(of_truth[0])}: {found or NOTHING}", score


def describe(row: dict, info) -> dict:
    """One prediction as plain JSON: every detection, the surest first, its box in shares of the picture's width and height."""
    boxes, classes, scores = detections(row, (1, 1), 0.0)
    found = zip(boxes.tolist(), classes.tolist(), scores.tolist(), strict=True)
    return {"objects": [{"class": info.classes[k], "score": round(s, 6), "box": [round(x, 6) for x in box]} for box, k, s in found]}


def detections(row: dict, size: tuple[int, int], least: float) -> tuple[Float[np.ndarray, "m 4"], Int[np.ndarray, "m"], np.ndarray]:
    """Boxes in pixels of a picture of `size` (height, width), classes and scores, of at least `least`, the surest first.

    Raises UserError for answers that are not finite.
    """
    scores = np.asarray(row["detected_scores"], np.float64)
    if not (np.isfinite(scores).all() and np.isfinite(row["detected_boxes"]).all()):
        raise UserError("the network's boxes or scores are not finite: its training diverged; take another --checkpoint or train again")
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= least]
    boxes = np.asarray(row["detected_boxes"], np.float64)[order] * np.array([size[1], size[0]] * 2)
    return boxes, np.asarray(row["detected_classes"])[order], scores[order]


def truth(row: dict, size: tuple[int, int]) -> tuple[Float[np.ndarray, "n 4"], Int[np.ndarray, "n"]]:
    """Boxes in pixels of a picture of `size` (height, width), and classes, of the objects that are learned from."""
    real = np.asarray(row["box_valid"], bool)
    scale = np.array([size[1], size[0]] * 2) / np.tile(np.asarray(row["size"], np.float64)[::-1], 2)
    return np.asarray(row["boxes"], np.float64)[real] * scale, np.asarray(row["classes"])[real]
