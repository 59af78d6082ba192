"""How well a language model knows a token in the middle of a text, from all that it may see of the rest.

A network that looks back has the tokens before; one that looks both ways has all others, and [MASK] in the token's place. In training it
never had so few: there 15 % are hidden. So the two are asked for the same tokens of the same texts.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

PLACES = 16  # in the middle of every text, one hidden at a time


def measure(model: nn.Module, variables: dict, inputs: dict) -> dict[str, Any]:
    """`middle_loss` in nats and `middle_accuracy`, means over places and texts; nothing of a network that guesses no tokens."""
    if "target" not in inputs or "tokens" not in inputs:
        return {}
    both = "masked" in inputs
    texts = inputs["target"] if both else jnp.concatenate([inputs["tokens"][:, :1], inputs["target"]], 1)
    n = texts.shape[1]
    places = jnp.arange(max(1, (n - PLACES) // 2), min(n, (n + PLACES) // 2))

    def looking_back(place: jax.Array) -> jax.Array:
        return _logits(model, variables, texts[:, :-1])[:, place - 1]

    def looking_both_ways(place: jax.Array) -> jax.Array:
        return _logits(model, variables, texts.at[:, place].set(model.num_classes - 1))[:, place]  # [MASK] is the last of the vocabulary

    logits = jax.jit(lambda places: jax.lax.map(looking_both_ways if both else looking_back, places))(places)
    truth = texts[:, places].T
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), truth[..., None], -1)
    return {"middle_loss": float(nats.mean()), "middle_accuracy": float((logits.argmax(-1) == truth).mean())}


def _logits(model: nn.Module, variables: dict, tokens: jax.Array) -> jax.Array:
    outputs: Any = model.apply(variables, {"tokens": tokens}, train=False)
    return outputs["logits"].astype(jnp.float32)
