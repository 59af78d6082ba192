"""What a trained network looks at, taken out of it whatever network it is: what its modules say of themselves decides.

Attention is what layers sow in the collection "attention". The map of Grad-CAM is the last that a module returns, or what the last
`Attention` looks at, whichever comes later; before the ReLU where a network applies it outside of its modules.

b batch · h heads · n places that look · k places looked at · p q height, width · c channels
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvjax import step
from cvjax.build import Experiment
from cvjax.errors import UserError
from cvjax.layers.attention import Attention
from cvjax.ops import saliency
from cvjax.preprocess import device_eval
from cvjax.state import State


def attention(e: Experiment, state: State) -> Callable[[dict], list[jax.Array]]:
    """The function `batch -> weights of every layer`, b h n k, first layer first. Raises UserError where there are none.

    batch: `image` and, of pictures that were padded, `size`.
    """

    def look(variables: dict, batch: dict) -> list[jax.Array]:
        _, kept = e.model.apply(variables, _inputs(e, batch), train=False, mutable=["attention"])
        found = _in_order(dict(kept).get("attention", {}))
        return [layer for weights in found for layer in (weights if weights.ndim == 5 else [weights])]  # 5: those of a scanned stack

    variables = step.variables(state)
    if not jax.eval_shape(look, variables, {"image": e.blank()["image"]}):
        instead = "predict, which draws its boxes" if e.info.task == "detection" else "--method=gradcam"  # that is not for detectors
        raise UserError(f"{_file(e)} has no attention to look at; use {instead}")
    return partial(jax.jit(look), variables)


def gradients(e: Experiment, state: State) -> Callable[[dict], tuple[jax.Array, jax.Array]]:
    """The function `batch -> (maps, slopes)`, b p q c each: the last map, and the gradient of the likeliest class's score.

    Raises UserError where there is no map, or the network says no classes.
    """
    noted: list[tuple[tuple[str, ...], int]] = []

    def score(added: dict, variables: dict, batch: dict, place: tuple[str, ...], mutable: list[str]) -> tuple[jax.Array, dict]:
        with nn.intercept_methods(partial(_watch, noted, place)):
            outputs, kept = e.model.apply(variables | added, _inputs(e, batch), train=False, mutable=["intermediates", *mutable])
        if "logits" not in outputs:
            raise UserError(f"{_file(e)} says no classes; --method=gradcam is about one")
        return outputs["logits"].max(-1).sum(), dict(kept)

    def look(variables: dict, batch: dict) -> tuple[jax.Array, jax.Array]:
        at = partial(score, variables=variables, batch=batch, place=place)
        shapes = jax.eval_shape(partial(at, {}, mutable=["perturbations"]))[1]["perturbations"]
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        found, kept = jax.grad(partial(at, mutable=[]), has_aux=True)({"perturbations": zeros})
        return _map(kept["intermediates"], axes), _map(found["perturbations"], axes)

    variables = step.variables(state)
    jax.eval_shape(partial(score, place=(), mutable=[]), {}, variables, {"image": e.blank()["image"]})
    if not noted:
        raise UserError(f"{_file(e)} has no map and no attention to look at, of which --method=gradcam takes the gradient")
    place, axes = noted[-1]
    return partial(jax.jit(look), variables)


def _watch(noted: list, wanted: tuple[str, ...], call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
    """Notes where there is a map and how many axes it has; at the `wanted` place it is kept, and something may be added to it."""
    module = context.module

    def note(x: jax.Array) -> jax.Array:
        noted.append((module.path, x.ndim))
        if module.path != wanted:
            return x
        module.sow("intermediates", "seen", x)
        return module.perturb("seen", x)

    if context.method_name != "__call__" or not module.path or not module.is_mutable_collection("intermediates"):
        return call(*args, **kwargs)  # the network itself, or what a solver calls by itself
    if isinstance(module, Attention):
        at = 1 if len(args) > 1 and args[1] is not None else 0  # what is looked at: another sequence, if there is one
        seen = note(args[at]) if saliency.side(args[at].shape[1]) else args[at]
        return call(*args[:at], seen, *args[at + 1 :], **kwargs)
    y = call(*args, **kwargs)
    first, rest = (y[0], y[1:]) if isinstance(y, tuple) else (y, None)
    if getattr(first, "ndim", 0) != 4:
        return y
    return note(first) if rest is None else (note(first), *rest)


def _map(tree: dict, axes: int) -> jax.Array:
    """What was kept at the one place, b p q c; the last block's of a scanned stack."""
    x = jax.tree.leaves(tree)[-1]
    x = x[-1] if x.ndim > axes else x
    return saliency.grid(x) if axes == 3 else x


def _in_order(tree: dict) -> list[jax.Array]:
    """What was sown, in the order in which the network ran: that of the collection while it is traced."""
    return [x for value in tree.values() for x in (_in_order(value) if isinstance(value, dict) else value)]


def _inputs(e: Experiment, batch: dict) -> dict:
    inputs: dict = e.task.inputs(device_eval(batch, e.pixels), None, e.info)
    return inputs


def _file(e: Experiment) -> str:
    return f"models/{e.model_file.__name__.rpartition('.')[2]}.py"
