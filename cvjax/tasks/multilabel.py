"""Any number of labels per image: sigmoid cross-entropy, mean average precision over classes, micro and macro F1.

The loss of an example is the mean over the classes (as torch's BCEWithLogitsLoss averages), whatever their number.

b batch · k classes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from cvjax import lettering
from cvjax.metrics.multilabel import MultilabelScores
from cvjax.ops import losses
from cvjax.state import Term

NEEDS = ()
DATA = ("multilabel",)
TINY = {"name": "resnet", "variant": 8}  # the smallest model to test this task with


def fields(info) -> dict:
    return {"num_classes": len(info.classes)}


def inputs(batch: dict, keys: Key[Array, "b"] | None, info) -> dict:
    return {"image": batch["image"]}


def loss(outputs: dict, batch: dict) -> dict[str, Term]:
    """Term "loss" over the valid examples; `label` is multi-hot float32 b k. Mixed images count both, by share."""
    values = losses.mixed(lambda target: losses.sigmoid_cross_entropy(outputs["logits"], target), batch).mean(-1)
    return {"loss": Term(jnp.where(batch["valid"], values, 0.0).sum(), batch["valid"].sum(dtype=jnp.float32), 1.0)}


def decode(outputs: dict) -> dict[str, Array]:
    """`probability` (b k), one for each class by itself."""
    return {"probability": jax.nn.sigmoid(outputs["logits"].astype(jnp.float32))}


def derived(values: dict[str, float]) -> dict[str, float]:
    return {}


def host_metrics(source) -> MultilabelScores:
    return MultilabelScores(len(source.info.classes))


def draw(image: np.ndarray, row: dict, info) -> np.ndarray:
    """The picture over its labels (0.5 or more), at most eight, likeliest first; if none, the likeliest class."""
    order = np.argsort(-row["probability"])
    shown = [i for i in order[:8] if row["probability"][i] >= 0.5] or order[:1]
    return lettering.scores(image, [(info.classes[i], float(row["probability"][i])) for i in shown])


def panel(image: np.ndarray, row: dict, info) -> np.ndarray:
    """What stands in a sheet of examples over the caption."""
    return image


def caption(row: dict, info) -> tuple[str, bool | None]:
    """What to write under a picture, and whether all its labels are right (None: the truth is not known)."""
    found = row["probability"] >= 0.5
    text = ", ".join(np.asarray(info.classes)[found]) or "nothing"
    if "label" not in row:
        return text, None
    truth = row["label"] >= 0.5
    return f"{text}\ntrue: {', '.join(np.asarray(info.classes)[truth]) or 'nothing'}", bool((found == truth).all())


def describe(row: dict, info) -> dict:
    """One prediction as plain JSON: the probability of every class by name."""
    return {"probability": {name: round(float(p), 6) for name, p in zip(info.classes, row["probability"], strict=True)}}
