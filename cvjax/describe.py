"""How large a network is and what one forward pass costs, from shapes alone: no weights are made, nothing is run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def parameters(model: nn.Module, inputs: dict) -> int:
    """How many numbers the model learns. inputs: arrays or jax.ShapeDtypeStruct, as the model takes them."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_variables(model, inputs)["params"]))


def multiply_adds(model: nn.Module, inputs: dict) -> int:
    """Multiply-adds of the convolutions and matrix products in one evaluation of all of `inputs` (batch 1: per image).

    The papers' "FLOPs": each product-and-sum counts once, positions in the padding included, everything else is free.
    A `while_loop` counts one turn of its body, because its number of turns is not known from shapes.
    """
    program = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(_variables(model, inputs), inputs)
    return _count(program.jaxpr)


def _variables(model: nn.Module, inputs: dict) -> dict:
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), inputs)


def _count(jaxpr: Jaxpr) -> int:
    return sum(_cost(eqn) for eqn in jaxpr.eqns)


def _cost(eqn: JaxprEqn) -> int:
    if eqn.primitive.name == "conv_general_dilated":
        return _convolution(eqn)
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        lhs = _array(eqn.invars[0]).shape
        return _array(eqn.outvars[0]).size * math.prod(lhs[i] for i in contracted)
    if eqn.primitive.name == "cond":  # one branch is taken: the dearest
        return max(_count(branch.jaxpr) for branch in eqn.params["branches"])
    turns = eqn.params["length"] if eqn.primitive.name == "scan" else 1
    return turns * sum(_count(inner) for inner in _inside(eqn))


def _convolution(eqn: JaxprEqn) -> int:
    """Outputs x the weights each one sees: k x k x i / groups, all of a kernel but its output channels."""
    kernel = _array(eqn.invars[1]).shape
    outputs = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    return _array(eqn.outvars[0]).size * math.prod(kernel) // outputs


def _array(variable: Any) -> jax.core.ShapedArray:
    return variable.aval


def _inside(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """The programs an operation contains: of jit, remat, scan, while, custom derivatives, pmap, ..."""
    for value in eqn.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
