"""What is hidden, from what is left: tokens of a text (BERT: Devlin et al. 2019, arXiv:1810.04805), patches of a picture (MAE, BEiT).

The loss is of what was hidden alone. In evaluation the same is hidden every time.

b batch · n tokens or patches · k vocabulary
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from cvjax import lettering
from cvjax.ops import losses, masking
from cvjax.state import Term

NEEDS = ()
DATA = ("text", "classification", "multilabel")
TINY = {"name": "transformer", "variant": "bert-tiny"}  # the smallest model to test this task with


def fields(info) -> dict:
    """Of text the vocabulary, and one more for [MASK]."""
    return {"num_classes": len(info.classes) + 1} if info.length else {}


def inputs(batch: dict, keys: Key[Array, "b"] | None, info) -> dict:
    """Of text what is left of it, `masked` and `target`; of pictures the picture and a number to draw from, for the network to hide by."""
    if "tokens" not in batch:
        return {"image": batch["image"], "seeds": masking.seeds(batch["image"], keys)}
    tokens, mask = batch["tokens"], len(info.classes)
    corrupted, masked = masking.corrupt(tokens, masking.seeds(tokens, keys), vocabulary=mask, mask=mask)
    return {"tokens": corrupted, "masked": masked, "target": tokens}


def loss(outputs: dict, batch: dict) -> dict[str, Term]:
    """Terms over what was hidden in valid examples. Text: "loss" in nats, "top1". Pictures: "loss", the mean squared error of a patch."""
    if "prediction" in outputs:
        hidden = outputs["masked"] & batch["valid"][:, None]
        error = jnp.square(outputs["prediction"] - outputs["target"]).mean(-1)
        return {"loss": Term(jnp.where(hidden, error, 0.0).sum(), hidden.sum(dtype=jnp.float32), 1.0)}
    hidden = batch["masked"] & batch["valid"][:, None]
    count = hidden.sum(dtype=jnp.float32)
    nats = losses.softmax_cross_entropy(outputs["logits"], batch["target"], 0.0)
    right = outputs["logits"].argmax(-1) == batch["target"]
    return {"loss": Term(jnp.where(hidden, nats, 0.0).sum(), count, 1.0), "top1": Term((right & hidden).sum(dtype=jnp.float32), count)}


def derived(values: dict[str, float]) -> dict[str, float]:
    """Of text the perplexity of the hidden tokens of a whole split, from their mean loss."""
    return {"perplexity": math.exp(min(values["loss"], 700))} if "top1" in values else {}


def decode(outputs: dict) -> dict[str, Array]:
    """Of text `top` (b n), the likeliest token at each place; of pictures `error` (b), of the hidden patches."""
    if "prediction" not in outputs:
        return {"top": outputs["logits"].argmax(-1).astype(jnp.int32)}
    hidden = outputs["masked"]
    error = jnp.square(outputs["prediction"] - outputs["target"]).mean(-1)
    return {"error": jnp.where(hidden, error, 0.0).sum(1) / jnp.maximum(hidden.sum(1), 1)}


def host_metrics(source) -> None:
    return None


def draw(image: np.ndarray, row: dict, info) -> np.ndarray:
    """The picture with the error of its hidden patches under it, against 1 for a network that says grey."""
    return lettering.scores(image, [("error", float(row["error"]))])


def panel(image: np.ndarray, row: dict, info) -> np.ndarray:
    """What stands in a sheet of examples over the caption."""
    return image


def caption(row: dict, info) -> tuple[str, bool | None]:
    return f"error {float(row['error']):.2f}", None


def describe(row: dict, info) -> dict:
    return {"error": round(float(row["error"]), 6)}
