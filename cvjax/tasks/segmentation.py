"""A class for every pixel: weighted pixel cross-entropy, Dice, and the scores of Long et al. 2015 (FCN) over the whole split.

Pixels whose label is 255, and the pictures that pad a batch, count nowhere and have no gradient.

b batch · h w pixels · k classes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int, Key
from PIL import Image

from cvjax import frames, overlay
from cvjax.errors import UserError
from cvjax.metrics import confusion
from cvjax.metrics.boundary import IGNORE
from cvjax.metrics.confusion import SegmentationScores
from cvjax.ops import losses
from cvjax.state import Term

NEEDS = ()
DATA = ("segmentation",)
TINY = {"name": "unet", "variant": "tiny"}  # the smallest model to test this task with
NAMED, LISTED = 5, 24  # so many classes, the largest, in a caption and in a legend


def fields(info) -> dict:
    return {"num_classes": len(info.classes)}


def inputs(batch: dict, keys: Key[Array, "b"] | None, info) -> dict:
    return {"image": batch["image"]}


def loss(outputs: dict, batch: dict, *, class_weights: tuple = (), dice: float = 0.0, auxiliary: float = 0.5) -> dict[str, Term]:
    """Terms "loss", a mean over the counted pixels, "dice_loss" (if asked for) over the pictures with one, and "pixel_acc".

    A pixel weighs its class's weight times its own in `batch["weights"]` (float b h w, where the data have one: U-Net's borders), and
    the mean is the weighted one; its weights should sum to 1 or more a batch. `pixel_acc` is of unweighted pixels.

    Args:
        outputs: `logits` b h w k, of the size of `batch["labels"]` (uint8 b h w).
        class_weights: one for every class, or none: all 1.
        dice: weight of `losses.dice` beside the cross-entropy.
        auxiliary: weight of the cross-entropy of the network's other scores, where it has some (`auxiliary`, as torchvision's FCN).
    """
    logits, labels = outputs["logits"], batch["labels"].astype(jnp.int32)
    _check(logits, labels, class_weights, dice)
    counted = (labels != IGNORE) & batch["valid"][:, None, None]
    logits = jnp.where(counted[..., None], logits, 0)  # before the loss, so that not even NaN has a gradient there
    weight = _weights(labels, counted, batch, class_weights)
    terms = {"loss": Term((weight * losses.softmax_cross_entropy(logits, labels)).sum(), weight.sum(), 1.0)}
    if "auxiliary" in outputs:
        others = jnp.where(counted[..., None], outputs["auxiliary"], 0)
        terms["auxiliary_loss"] = Term((weight * losses.softmax_cross_entropy(others, labels)).sum(), weight.sum(), auxiliary)
    if dice:
        missing = losses.dice(jax.nn.softmax(logits.astype(jnp.float32)), labels, counted)
        terms["dice_loss"] = Term(missing.sum(), counted.any((1, 2)).sum(dtype=jnp.float32), dice)
    right = (logits.argmax(-1) == labels) & ~jnp.isnan(logits).any(-1) & counted
    return terms | {"pixel_acc": Term(right.sum(dtype=jnp.float32), counted.sum(dtype=jnp.float32))}


def _check(logits: Array, labels: Array, class_weights: tuple, dice: float) -> None:
    """Raises UserError where the network or the settings do not fit."""
    if logits.shape[:-1] != labels.shape:
        rest = f"for labels of {labels.shape}; choose one that answers every pixel, as unet"
        raise UserError(f"config.model: the network gives logits of {logits.shape} {rest}")
    if class_weights and (len(class_weights) != logits.shape[-1] or min(class_weights) < 0 or not any(class_weights)):
        rest = f"they must be {logits.shape[-1]}, one for each class, none below 0 and not all 0; or () for none"
        raise UserError(f"config.task.class_weights={class_weights} are {len(class_weights)}; {rest}")
    if dice < 0:
        raise UserError(f"config.task.dice is {dice}; it must not be negative")


def _weights(labels: Int[Array, "b h w"], counted: Bool[Array, "b h w"], batch: dict, of_class: tuple) -> Float32[Array, "b h w"]:
    weight = counted.astype(jnp.float32)
    if of_class:
        weight *= jnp.take(jnp.asarray(of_class, jnp.float32), labels, mode="clip")
    return weight * jnp.where(counted, batch["weights"], 0) if "weights" in batch else weight


def decode(outputs: dict) -> dict[str, Array]:
    """`prediction`, uint8 b h w: the likeliest class of every pixel."""
    return {"prediction": outputs["logits"].argmax(-1).astype(jnp.uint8)}


def derived(values: dict[str, float]) -> dict[str, float]:
    return {}


def host_metrics(source) -> SegmentationScores:
    return SegmentationScores(source.info.classes)


def draw(image: np.ndarray, row: dict, info) -> np.ndarray:
    """The picture in the colours of its predicted classes over a legend of the largest; uint8 h w 3."""
    return overlay.segmentation(
        image, row["prediction"][: image.shape[0], : image.shape[1]], [(i, info.classes[i], share) for i, share in _shares(row)[:LISTED]]
    )


def label_map(row: dict) -> Image.Image:
    """The predicted classes as an index PNG in their colours, as `data/masks.py` reads it."""
    found = Image.fromarray(row["prediction"]).convert("P")
    found.putpalette(overlay.palette().astype(np.uint8).tobytes())
    return found


def panel(image: np.ndarray, row: dict, info) -> np.ndarray:
    """The picture in the colours of its labels, where there are some, and by or under it in those of its predicted classes; uint8 h w 3."""
    picture = Image.fromarray(np.broadcast_to(image, (*image.shape[:2], 3)))
    maps = [row[name][: picture.height, : picture.width] for name in ("labels", "prediction") if name in row]
    return frames.beside([np.asarray(overlay.coloured(picture, labels)) for labels in maps])


def legend(info) -> np.ndarray:
    """The colours of the classes, of many the first, to stand among pictures; uint8 s s 3."""
    return overlay.legend(info.classes[:LISTED])


def caption(row: dict, info) -> tuple[str, float | None]:
    """What to write under a picture, and its score: the mIoU over the classes of its labels. Without labels, what is in it, and None."""
    found = ", ".join(f"{info.classes[i]} {overlay.percent(share)}" for i, share in _shares(row)[:NAMED])
    if "labels" not in row:
        return found, None
    scores = _ious(row["labels"], row["prediction"])
    if not len(scores):
        return f"{found}\nno labelled pixel", None
    return f"mIoU\t{100 * scores.mean():.0f} %\n{found}", float(scores.mean())


def describe(row: dict, info) -> dict:
    """One prediction as plain JSON: by name the share of the picture, 0-1, of every class that is in it."""
    return {"share": {info.classes[i]: round(share, 6) for i, share in _shares(row)}}


def _shares(row: dict) -> list[tuple[int, float]]:
    """(class, share of the picture) of the predicted classes, largest first."""
    prediction = row["prediction"][row["labels"] != IGNORE] if "labels" in row else row["prediction"]
    counts = np.bincount(prediction.ravel())
    return [(int(i), float(counts[i] / counts.sum())) for i in np.argsort(-counts, kind="stable") if counts[i]]


def _ious(labels: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """IoU of each class in the labels of one picture."""
    table = confusion.pairs(labels, prediction)[:IGNORE].astype(np.float64)
    true = table.sum(1)
    here = np.flatnonzero(true)
    right = table[here, here]
    return right / (true[here] + table.sum(0)[here] - right)
