"""How large a network is and what one forward pass costs, from shapes alone: no weights are made, nothing is run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from cvjax.state import streams


class Layer(NamedTuple):
    """What the operations of one module cost, its submodules' aside.

    name: path of the module, "stage1_block1/conv1". output: shape of its last product. outputs: numbers that its convolutions and matrix
    products give (timm's "activations"). multiply_adds: each product-and-sum counts once.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    outputs: int


def parameters(model: nn.Module, inputs: dict) -> int:
    """How many numbers the model learns. inputs: arrays or jax.ShapeDtypeStruct, as the model takes them."""
    return count(_variables(model, inputs)["params"])


def multiply_adds(model: nn.Module, inputs: dict) -> int:
    """Multiply-adds of the convolutions and matrix products in one evaluation of all of `inputs` (batch 1: per image).

    The papers' "FLOPs": each product-and-sum counts once, positions in the padding included, everything else is free.
    Loops count as often as they turn; a `while_loop` whose number of turns is not known from its code counts one.
    """
    return sum(found.multiply_adds for found in _operations(_program(model, inputs, _variables(model, inputs))))


def layers(model: nn.Module, inputs: dict) -> list[Layer]:
    """The modules that have parameters or products, in the order in which they are first used; their sums are the network's."""
    variables = _variables(model, inputs)
    sizes: dict[str, int] = {}
    for path, leaf in jax.tree.leaves_with_path(variables["params"]):
        name = jax.tree_util.keystr(path[:-1], simple=True, separator="/")
        sizes[name] = sizes.get(name, 0) + math.prod(leaf.shape)
    found: dict[str, Layer] = {}
    known = set(sizes)
    for op in _operations(_program(model, inputs, variables)):
        inner = op.module.partition("/")[2]  # of a network made of another, whose parameters have that one's names
        name = inner if inner in known and op.module not in known else op.module
        old = found.get(name, Layer(name, (), sizes.pop(name, 0), 0, 0))
        found[name] = old._replace(output=op.shape, multiply_adds=old.multiply_adds + op.multiply_adds, outputs=old.outputs + op.outputs)
    unused = [Layer(name, (), size, 0, 0) for name, size in sizes.items()]
    return [layer for layer in [*found.values(), *unused] if layer.parameters or layer.outputs]


def activations(model: nn.Module, variables: dict, inputs: dict) -> int:
    """Bytes that the forward pass in training keeps for the backward pass, before the compiler saves some of them."""

    def backward(params: Any, variables: dict, inputs: dict) -> Any:
        def loss(params: Any) -> jax.Array:
            out, _ = model.apply({**variables, "params": params}, inputs, train=True, rngs=streams(0, 0, 0), mutable=["batch_stats"])
            return sum(x.sum() for x in jax.tree.leaves(out) if jax.numpy.issubdtype(x.dtype, jax.numpy.inexact))

        return jax.vjp(loss, params)[1]

    kept = jax.tree.leaves(jax.eval_shape(backward, variables["params"], variables, inputs))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in kept)


def count(params: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _program(model: nn.Module, inputs: dict, variables: dict) -> Jaxpr:
    return jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, inputs).jaxpr


def _variables(model: nn.Module, inputs: dict) -> dict:
    return dict(jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), inputs))


class Operation(NamedTuple):
    """One operation of a program: the module that it is of, the shape of its result, and what it costs."""

    module: str
    shape: tuple[int, ...]
    multiply_adds: int = 0
    outputs: int = 0


def _operations(jaxpr: Jaxpr, around: str = "", turns: int = 1) -> Iterator[Operation]:
    """Every operation, those inside other operations included as often as they run."""
    for eqn in jaxpr.eqns:
        stack = f"{around}/{eqn.source_info.name_stack}"
        if eqn.primitive.name in ("conv_general_dilated", "dot_general"):
            product = _convolution(eqn) if eqn.primitive.name == "conv_general_dilated" else _dot(eqn)
            yield Operation(_module(stack), _array(eqn.outvars[0]).shape, turns * product, turns * _array(eqn.outvars[0]).size)
        elif eqn.primitive.name == "cond":  # one branch is taken: the dearest
            branches = [list(_operations(branch.jaxpr, stack, turns)) for branch in eqn.params["branches"]]
            yield from max(branches, key=lambda found: sum(op.multiply_adds for op in found))
        elif eqn.primitive.name == "while":
            yield from _operations(eqn.params["body_jaxpr"].jaxpr, stack, turns * _turns(eqn))
        else:
            for inner in _inside(eqn):
                yield from _operations(inner, stack, turns * _repeats(eqn))
            if eqn.outvars:
                yield Operation(_module(stack), getattr(_array(eqn.outvars[0]), "shape", ()))


def _dot(eqn: JaxprEqn) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    lhs = _array(eqn.invars[0]).shape
    return _array(eqn.outvars[0]).size * math.prod(lhs[i] for i in contracted)


def _convolution(eqn: JaxprEqn) -> int:
    """Outputs x the weights each one sees: k x k x i / groups, all of a kernel but its output channels.

    A transposed convolution's see zeros between the pixels of its input, which do not count.
    """
    kernel = _array(eqn.invars[1]).shape
    outputs = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    return _array(eqn.outvars[0]).size * math.prod(kernel) // outputs // math.prod(eqn.params["lhs_dilation"])


def _turns(eqn: JaxprEqn) -> int:
    """Of a while loop that counts a number up by one from a constant to a constant: how often it turns. Else 1."""
    condition, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    constants, carried = eqn.params["cond_nconsts"], eqn.invars[eqn.params["cond_nconsts"] + eqn.params["body_nconsts"] :]
    if len(condition.eqns) != 1 or condition.eqns[0].primitive.name != "lt":
        return 1
    counter, limit = condition.eqns[0].invars
    if not isinstance(limit, Literal) or counter not in condition.invars[constants:]:
        return 1
    place = condition.invars[constants:].index(counter)
    start, inner, after = carried[place], body.invars[eqn.params["body_nconsts"] + place], body.outvars[place]
    steps = [e for e in body.eqns if e.outvars[0] is after and e.primitive.name == "add" and e.invars[0] is inner]
    by_one = steps and isinstance(steps[0].invars[1], Literal) and int(steps[0].invars[1].val) == 1
    return max(0, int(limit.val) - int(start.val)) if by_one and isinstance(start, Literal) else 1


def _repeats(eqn: JaxprEqn) -> int:
    """How often the programs inside an operation run: a scan's steps; a pmap's (a shard_map's) devices, each on its part."""
    match eqn.primitive.name:
        case "scan":
            return eqn.params["length"]
        case "shard_map":
            return eqn.params["mesh"].size
        case _:
            return 1


def _module(stack: str) -> str:
    """The module of a name stack: "/Model/stage1_block1/conv1/conv1.product/..." -> "stage1_block1/conv1"."""
    words = [word for word in stack.split("/") if word and "(" not in word and "." not in word]
    return "/".join(words[1:])


def _array(variable: Any) -> jax.core.ShapedArray:
    return variable.aval


def _inside(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """The programs an operation contains: of jit, remat, scan, custom derivatives, pmap, ..."""
    for value in eqn.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
