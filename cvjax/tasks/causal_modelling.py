"""Every token from those before it (GPT: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training").

The sum of the losses is minus the logarithm of the text's probability, given its first token.

b batch · n tokens · k vocabulary
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float32, Key

from cvjax.ops import losses
from cvjax.state import Term

NEEDS = ()
DATA = ("text",)
TINY = {"name": "transformer", "variant": "gpt-tiny"}  # the smallest model to test this task with


def fields(info) -> dict:
    return {"num_classes": len(info.classes)}


def inputs(batch: dict, keys: Key[Array, "b"] | None, info) -> dict:
    """All tokens but the last, to guess all but the first."""
    return {"tokens": batch["tokens"][:, :-1], "target": batch["tokens"][:, 1:]}


def loss(outputs: dict, batch: dict) -> dict[str, Term]:
    """Terms over the tokens of valid examples: "loss" in nats, "top1", and "bits_per_character" (of bytes: per byte)."""
    nats = losses.softmax_cross_entropy(outputs["logits"], batch["target"], 0.0)
    valid = jnp.broadcast_to(batch["valid"][:, None], nats.shape)
    right = outputs["logits"].argmax(-1) == batch["target"]
    total, count = jnp.where(valid, nats, 0.0).sum(), valid.sum(dtype=jnp.float32)
    characters = jnp.where(batch["valid"], batch["characters"], 0).sum(dtype=jnp.float32)
    return {
        "loss": Term(total, count, 1.0),
        "top1": Term((right & valid).sum(dtype=jnp.float32), count),
        "bits_per_character": Term(total / math.log(2), characters),
    }


def derived(values: dict[str, float]) -> dict[str, float]:
    """The perplexity of a whole split, from its mean loss."""
    return {"perplexity": math.exp(min(values["loss"], 700))}


def decode(outputs: dict) -> dict[str, Array]:
    """`top` (b n), the likeliest token at each place."""
    return {"top": outputs["logits"].argmax(-1).astype(jnp.int32)}


def following(outputs: dict) -> Float32[Array, "b k"]:
    """Logits of the token after the last: what `cvjax.generate` draws from."""
    return outputs["logits"][:, -1]


def host_metrics(source) -> None:
    return None
