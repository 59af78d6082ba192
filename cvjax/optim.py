"""The optimiser: one optax chain and its learning-rate schedule, from config.optim.

Order: clip the global norm, add L2 decay (sgd, adam), the optimiser's own direction, decoupled decay (adamw, lamb),
LAMB's trust ratio, layer-wise factors and those of slower parts, minus the learning rate. Frozen parameters stand outside
of it all: they do not count in the norm and have no slots. The state is a plain tree of arrays and named tuples; its counts
are int32.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cvjax import config
from cvjax import schedule as schedules
from cvjax.schedule import Schedule, check_choice, check_range

NAMES = ("sgd", "adam", "adamw", "lamb")
Layer = Callable[[str], int]


def make(
    params: Any,
    *,
    name: str,
    lr: float,
    total_steps: int,
    steps_per_epoch: int,
    layer: Layer | None = None,
    schedule: str = "constant",
    warmup: str = "0 steps",
    warmup_lr: float = 0.0,
    warmup_shape: str = "linear",
    boundaries: tuple[str, ...] = (),
    factor: float = 0.1,
    final_lr: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decay_vectors: bool = True,
    no_decay: str = "",
    clip: float = 0.0,
    freeze: str = "",
    layer_decay: float = 1.0,
    slower: tuple[tuple[str, float], ...] = (),
    ema: float = 0.0,
) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimiser and the learning rate of each step (for the log), from config.optim.

    Args:
        params: the parameters, or only their shapes (jax.eval_shape).
        name: sgd, adam (weight decay is L2, part of the gradient, as in torch), adamw or lamb (decay is decoupled).
        layer: the model file's `layer(path) -> int`, from the stem up to the head; needed when layer_decay < 1. Only the order counts.
        schedule, warmup, warmup_lr, warmup_shape, boundaries, factor, final_lr: see `cvjax.schedule.make`.
        momentum, nesterov: for sgd, as torch defines them; the others pass them over, so that `name` can be swept.
        b1, b2, eps: for adam, adamw and lamb.
        decay_vectors: False leaves biases and norm parameters (one dimension or none) out of the weight decay.
        no_decay: regular expression; parameters whose path it finds ("pos_embedding|cls") are not decayed.
        clip: largest global norm of the gradient; 0 is off.
        freeze: regular expression; parameters whose path it finds ("stem|stage1/") keep their values.
        layer_decay: a layer learns at layer_decay ** (layers behind it) of the rate (BEiT, arXiv:2106.08254); 1 is off.
        slower: (regular expression, factor); parameters whose path it finds learn at factor times the rate, a backbone for instance:
            (("stem|stage", 0.1),). Where several find one, the factors multiply.
        ema: decay of the moving average of the parameters, see `averaged`; 0 is off.

    Raises:
        UserError: naming the impossible key.
    """
    check_choice("name", name, NAMES)
    check_range("clip", clip, 0, float("inf"))
    check_range("ema", ema, 0, 1)
    check_range("weight_decay", weight_decay, 0, float("inf"))
    rate = schedules.make(
        lr=lr,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        warmup=warmup,
        warmup_lr=warmup_lr,
        warmup_shape=warmup_shape,
        boundaries=boundaries,
        factor=factor,
        final_lr=final_lr,
    )
    decay = optax.add_decayed_weights(weight_decay, _decayed(params, decay_vectors, no_decay))
    chain = optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        *_direction(name, decay, momentum=momentum, nesterov=nesterov, b1=b1, b2=b2, eps=eps),
        _scale_layers(params, layer_decay, layer) if layer_decay != 1 else optax.identity(),
        _scale_parts(params, slower) if slower else optax.identity(),
        optax.scale_by_learning_rate(rate),
    )
    if freeze:
        chain = optax.partition({"train": chain, "freeze": optax.set_to_zero()}, _frozen(params, freeze))
    return (optax.chain(chain, _average(ema)) if ema else chain), rate


def averaged(params: Any, opt_state: Any) -> Any:
    """The moving average of the parameters when `opt_state` holds one, else `params`.

    The n-th update keeps min(ema, (1 + n) / (10 + n)) of the average, so that a short run is not held by its initial
    parameters. Evaluate it with the latest BatchNorm statistics.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, AverageState))
    found = [node.average for node in nodes if isinstance(node, AverageState)]
    return found[0] if found else params


class AverageState(NamedTuple):
    average: Any  # like the parameters
    updates: jax.Array  # int32, how many it has seen


def _average(decay: float) -> optax.GradientTransformation:
    """Passes the updates on and keeps average <- decay * average + (1 - decay) * updated parameters."""

    def init(params: Any) -> AverageState:
        # A copy: an alias of a donated buffer crashes the step.
        return AverageState(jax.tree.map(jnp.copy, params), jnp.int32(0))

    def update(updates: Any, state: AverageState, params: Any) -> tuple[Any, AverageState]:
        new = optax.apply_updates(params, updates)
        keep = jnp.minimum(decay, (1 + state.updates) / (10 + state.updates))
        average = jax.tree.map(lambda a, p: a + (1 - keep).astype(a.dtype) * (p - a), state.average, new)
        return updates, AverageState(average, state.updates + 1)

    return optax.GradientTransformation(init, update)


def _direction(name: str, decay: optax.GradientTransformation, **settings: Any) -> tuple[optax.GradientTransformation, ...]:
    """The part that tells the optimisers apart: from gradient (plus decay) to the direction of a step of length lr."""
    if name == "sgd":
        momentum = check_range("momentum", settings["momentum"], 0, 1)
        if settings["nesterov"] and not momentum:
            raise config.UserError("config.optim.nesterov needs optim.momentum above 0")
        return decay, optax.trace(momentum, nesterov=settings["nesterov"]) if momentum else optax.identity()
    b1, b2 = check_range("b1", settings["b1"], 0, 1), check_range("b2", settings["b2"], 0, 1)
    adam = optax.scale_by_adam(b1, b2, check_range("eps", settings["eps"], 0, float("inf")))
    return {"adam": (decay, adam), "adamw": (adam, decay), "lamb": (adam, decay, optax.scale_by_trust_ratio())}[name]


def _scale_layers(params: Any, decay: float, layer: Layer | None) -> optax.GradientTransformation:
    if not 0 < decay <= 1:
        raise config.UserError(f"config.optim.layer_decay is {decay}; it must be above 0 and at most 1")
    if layer is None:
        raise config.UserError(f"config.optim.layer_decay is {decay}, but the model file has no layer(path); set it to 1 or write one")
    try:
        numbers = jax.tree.map(layer, _paths(params))
    except ValueError as error:
        raise config.UserError(f"config.optim.layer_decay is {decay}, but {error}") from error
    behind = {number: i for i, number in enumerate(sorted(set(jax.tree.leaves(numbers)), reverse=True))}  # how many layers there are

    def scale(path: tuple, update: jax.Array) -> jax.Array:
        return update * decay ** behind[layer(_name(path))]

    return optax.stateless(lambda updates, params: jax.tree.map_with_path(scale, updates))


def _scale_parts(params: Any, slower: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    """Updates times the factors of the parts that a parameter belongs to."""
    factors = dict.fromkeys(jax.tree.leaves(_paths(params)), 1.0)
    for pair in slower:
        if len(pair) != 2 or not isinstance(pair[0], str) or not pair[0] or isinstance(pair[1], str | bool):
            raise config.UserError(f"config.optim.slower has {pair!r}; it holds pairs like ('stem|stage', 0.1)")
        pattern, factor = pair
        check_range("slower", factor, 0, float("inf"))
        found = jax.tree.leaves(_found(params, pattern, "slower"))
        factors = {path: old * factor if here else old for (path, old), here in zip(factors.items(), found, strict=True)}
    return optax.stateless(lambda updates, params: jax.tree.map_with_path(lambda path, update: update * factors[_name(path)], updates))


def _decayed(params: Any, decay_vectors: bool, no_decay: str) -> Any:
    """True for the parameters that weight decay acts on, in a tree like `params`."""
    spared = _found(params, no_decay, "no_decay")
    return jax.tree.map(lambda p, out: not out and (decay_vectors or p.ndim > 1), params, spared)


def _frozen(params: Any, freeze: str) -> Any:
    """ "freeze" or "train" for each parameter. Raises UserError when nothing is left to train."""
    found = _found(params, freeze, "freeze")
    if all(jax.tree.leaves(found)):
        raise config.UserError(f"config.optim.freeze '{freeze}' freezes every parameter; leave something to train")
    return jax.tree.map(lambda frozen: "freeze" if frozen else "train", found)


def _found(params: Any, pattern: str, key: str) -> Any:
    """True where `pattern` is found in a parameter's path. Raises UserError when one of its a|b|c is found in none."""
    paths = _paths(params)
    if not pattern:
        return jax.tree.map(lambda path: False, paths)
    for part in [pattern] if "(" in pattern else pattern.split("|"):
        try:
            expression = re.compile(part)
        except re.error as error:
            raise config.UserError(f"config.optim.{key} '{pattern}' is not a regular expression: {error}") from None
        if not part or not any(expression.search(path) for path in jax.tree.leaves(paths)):
            raise config.UserError(f"config.optim.{key}: '{part}' matches no parameter; top-level names: {', '.join(params)}")
    return jax.tree.map(lambda path: bool(re.search(pattern, path)), paths)


def _paths(params: Any) -> Any:
    return jax.tree.map_with_path(lambda path, _: _name(path), params)


def _name(path: tuple) -> str:
    """ "stage1/block0/conv/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
