"""A language model at work: it goes on with a text, a token at a time.

Keys and values of the places before are kept (`decode` of the model, collection "cache"), so a token costs one place and not all of them.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cvjax import checkpoint, optim, workdir
from cvjax.build import Experiment, build, initial_state
from cvjax.data._spelling import decode, encode
from cvjax.errors import UserError
from cvjax.state import key


def generate(config: ConfigDict, folder: Path, which: str, prompt: str, length: int, temperature: float, seed: int) -> str:
    """The prompt and `length` tokens more, as the run in `folder` writes them.

    temperature: the logits are divided by it; 0 takes the likeliest token each time.

    Raises UserError before anything is computed: for a network that does not write, a prompt that is empty or has characters that the
    network does not know, more tokens than it has places for.
    """
    e = build(config, only=(), info=workdir.read_info(folder))
    if not hasattr(e.task, "following"):
        raise UserError(
            f"{folder} was trained for {e.task.__name__.rpartition('.')[2]} and writes no text; generate is for causal_modelling"
        )
    if length < 1 or not 0 <= temperature < float("inf") or not 0 <= seed < 2**31:
        given = f"--length={length} --temperature={temperature:g} --seed={seed}"
        raise UserError(f"{given}: length is at least 1, temperature and seed are not negative")
    if not prompt:
        raise UserError("--prompt is empty, and the network goes on from something: --prompt='A'")
    ids = encode(prompt, e.info.classes)
    seen = len(ids) + length - 1  # tokens; what follows the last of them is the last that is written
    model = _decoding(e, seen)
    if seen > e.info.length - 1:
        print(f"cvjax: warning: training saw {e.info.length - 1} places, and this text takes {seen}", file=sys.stderr)
    state, _ = checkpoint.restore_for_inference(folder, initial_state(e, restoring=True)[0], which)
    params = jax.tree.map(lambda x: x.addressable_data(0), optim.averaged(state.params, state.opt))
    write = jax.jit(partial(written, model, e.task.following, length=length, temperature=temperature, seed=seed))
    return prompt + decode(jax.device_get(write({"params": params}, jnp.asarray([ids], jnp.int32)))[0], e.info.classes)


def _decoding(e: Experiment, places: int) -> nn.Module:
    """The network with a cache. Raises UserError where it has none, or no room for so many places."""
    if not hasattr(e.model, "decode"):
        raise UserError(f"{e.model_file.__name__.replace('.', '/')}.py has no field decode, so it keeps nothing of what came before")
    model = e.model.clone(decode=True)
    try:
        cache_of(model, jax.ShapeDtypeStruct((1, places), jnp.int32))
    except ValueError as error:
        raise UserError(f"--length and --prompt make {places} tokens to be read: {str(error).splitlines()[0]}") from error
    return model


def cache_of(model: nn.Module, tokens: jax.ShapeDtypeStruct) -> Any:
    """An empty cache with room for so many (b n) tokens."""
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), {"tokens": x}, train=False), tokens)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes["cache"])


def written(
    model: nn.Module,
    following: Callable[[dict], jax.Array],
    variables: dict,
    prompt: jax.Array,
    *,
    length: int,
    temperature: float,
    seed: int,
) -> jax.Array:
    """int32 b `length`: the tokens that a model with `decode` writes after the prompt (b n). following: as the task has it."""

    def seen(cache: Any, tokens: jax.Array, number: Any) -> tuple[Any, jax.Array]:
        """The cache with these tokens too, and the token that follows, the `number`th that is written."""
        outputs, changed = model.apply({**variables, "cache": cache}, {"tokens": tokens}, train=False, mutable=["cache"])
        return changed["cache"], chosen(following(outputs), temperature, seed, number)

    def another(carry: tuple[Any, jax.Array], number: jax.Array) -> tuple[tuple[Any, jax.Array], jax.Array]:
        cache, token = carry
        cache, after = seen(cache, token[:, None], number)
        return (cache, after), after

    room = jax.ShapeDtypeStruct((len(prompt), prompt.shape[1] + length - 1), jnp.int32)
    cache, first = seen(cache_of(model, room), prompt, 0)
    _, rest = jax.lax.scan(another, (cache, first), jnp.arange(1, length))
    return jnp.concatenate([first[None], rest]).T


def chosen(logits: jax.Array, temperature: float, seed: int, number: Any) -> jax.Array:
    """int32 b, drawn from logits b k; the same for the same seed and number."""
    if not temperature:
        return logits.argmax(-1).astype(jnp.int32)
    return jax.random.categorical(key(seed, "generate", number), logits / temperature).astype(jnp.int32)
