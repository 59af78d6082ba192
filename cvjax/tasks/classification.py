"""One label per image: softmax cross-entropy, top-1 and (with more than five classes) top-5, which is ILSVRC's score.

b batch · k classes · t = min(5, k) best.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Key

from cvjax import lettering
from cvjax.errors import UserError
from cvjax.ops import losses
from cvjax.state import Term

NEEDS = ()
DATA = ("classification",)
TINY = {"name": "resnet", "variant": 8}  # the smallest model to test this task with


def fields(info) -> dict:
    return {"num_classes": len(info.classes)}


def inputs(batch: dict, keys: Key[Array, "b"] | None, info) -> dict:
    return {"image": batch["image"]}


def loss(outputs: dict, batch: dict, *, label_smoothing: float = 0.0) -> dict[str, Term]:
    """Terms over the valid examples: "loss", "top1" and, with more than five classes, "top5".

    Where mixup or CutMix gave an image two labels, each counts by its share, in the loss and in the scores.
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(f"config.task.label_smoothing is {label_smoothing}; it must be at least 0 and below 1")
    logits = outputs["logits"]
    xent = _over_valid(batch, lambda label: losses.softmax_cross_entropy(logits, label, label_smoothing))
    terms = {"loss": Term(*xent, weight=1.0)}
    for n in (1, 5):
        if n == 1 or logits.shape[-1] > 5:
            terms[f"top{n}"] = Term(*_over_valid(batch, lambda label, n=n: in_top(logits, label, n)))
    return terms


def in_top(logits: Float[Array, "b k"], label: Int[Array, "b"], n: int) -> Float32[Array, "b"]:
    """1 where the label is among the n best classes. Of equal logits the first class is better; NaN is never right."""
    own = jnp.take_along_axis(logits, label[:, None], axis=-1, mode="clip")
    after = jnp.arange(logits.shape[-1])[None] >= label[:, None]
    behind = (logits < own) | ((logits == own) & after)
    return ((logits.shape[-1] - behind.sum(-1) < n) & ~jnp.isnan(own[:, 0])).astype(jnp.float32)


def decode(outputs: dict) -> dict[str, Array]:
    """`top` (b t, class ids, best first) and `confidence` (b t, their probabilities)."""
    probability = jax.nn.softmax(outputs["logits"].astype(jnp.float32))
    confidence, top = jax.lax.top_k(probability, min(5, probability.shape[-1]))
    return {"top": top, "confidence": confidence}


def derived(values: dict[str, float]) -> dict[str, float]:
    return {}


def host_metrics(source) -> None:
    return None


def draw(image: np.ndarray, row: dict, info) -> np.ndarray:
    """The picture, enlarged if small, with its best classes and their probabilities written under it; uint8 h w 3."""
    best = zip(row["top"], row["confidence"], strict=True)
    return lettering.scores(image, [(info.classes[int(i)], float(p)) for i, p in best])


def _over_valid(batch: dict, score) -> tuple[Float32[Array, ""], Float32[Array, ""]]:
    """Sum of a per-example score over the valid examples, and how many they are."""
    values = jnp.where(batch["valid"], losses.mixed(score, batch), 0.0)
    return values.sum(), batch["valid"].sum(dtype=jnp.float32)


def panel(image: np.ndarray, row: dict, info) -> np.ndarray:
    """What stands in a sheet of examples over the caption."""
    return image


def caption(row: dict, info) -> tuple[str, bool | None]:
    """What to write under a picture, and whether it is right (None: the truth is not known)."""
    best, confidence = int(row["top"][0]), float(row["confidence"][0])
    text = f"{info.classes[best]}\t{100 * confidence:.0f} %"
    if "label" not in row:
        return text, None
    return f"{text}\ntrue: {info.classes[int(row['label'])]}", best == int(row["label"])


def describe(row: dict, info) -> dict:
    """One prediction as plain JSON: the best classes by name, and their probabilities."""
    return {"classes": [info.classes[int(i)] for i in row["top"]], "confidence": [round(float(p), 6) for p in row["confidence"]]}
