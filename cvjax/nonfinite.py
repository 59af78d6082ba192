"""When a loss or gradient is not finite: keep what made it, and find the first number that is not.

The update is not made (see `cvjax.step`), so the state at hand is the one that met the batch. Both are written to the workdir, and
`launch.py replay` looks at them again, in float32 for instance, as often as it takes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cvjax import parallel, step, workdir
from cvjax.build import Experiment, build, initial_state
from cvjax.errors import UserError
from cvjax.state import State, example_keys, flat, streams

FOLDER = "nonfinite"


def dump(e: Experiment, state: State, rows: jax.Array, data: Iterator[dict], number: int, folder: Path) -> str:
    """Writes nonfinite/step_<number>.npz: the batch of a step as the network saw it, and the parameters. Returns a line about it."""
    seen = parallel.per_device(step.seen(e, number - 1), step.data_axes(e))
    batch = jax.device_get(seen(state, rows, next(data)))
    variables = {"params": jax.device_get(state.params), "batch_stats": jax.device_get(state.stats)}
    if jax.process_index() == 0:
        (folder / FOLDER).mkdir(exist_ok=True)
        arrays = {f"batch/{name}": value for name, value in batch.items()} | flat(variables)
        np.savez(folder / FOLDER / f"step_{number:08d}.npz", allow_pickle=False, **arrays)
    lines = diagnosis(e, variables, batch, number)
    return f"step {number} is not finite, first in {lines[0] if lines else 'the norm of the gradient'}"


def replay(config: ConfigDict, folder: Path) -> list[str]:
    """Runs the last dumped step again and says, in the order of the computation, what is not finite.

    Raises UserError when no step was dumped, or one of another model.
    """
    files = sorted((folder / FOLDER).glob("step_*.npz"))
    if not files:
        raise UserError(f"{folder} has no {FOLDER}/step_*.npz: no step of it met a number that is not finite")
    with np.load(files[-1], allow_pickle=False) as stored:
        arrays = dict(stored)
    e = build(config, only=(), info=workdir.read_info(folder))
    state, _, _ = initial_state(e, restoring=True)
    like = {"params": state.params, "batch_stats": state.stats}
    missing = [path for path, leaf in flat(like).items() if path not in arrays or arrays[path].shape != leaf.shape]
    if missing:
        raise UserError(f"{files[-1]} is of another model: {', '.join(missing[:5])}")
    variables = jax.tree.unflatten(jax.tree.structure(like), [arrays[path] for path in flat(like)])
    batch = {name.partition("/")[2]: value for name, value in arrays.items() if name.startswith("batch/")}
    number = int(re.findall(r"\d+", files[-1].stem)[-1])
    print(f"{files[-1]}: step {number}, {len(next(iter(batch.values())))} examples")
    lines = diagnosis(e, variables, batch, number)
    for line in lines or ["every number is finite"]:
        print(f"  {line}")
    return lines


def diagnosis(e: Experiment, variables: dict, batch: dict, number: int) -> list[str]:
    """What is not finite, in the order of the computation: the batch, parameters, what each layer hands on, losses, gradients."""
    variables, batch = jax.tree.map(jnp.asarray, (variables, batch))
    rngs = streams(e.seed, number - 1, 0)
    inputs = e.task.inputs(batch, example_keys(e.seed, "task", number - 1, jnp.arange(len(next(iter(batch.values()))))), e.info)
    found = [("the batch's " + name, value) for name, value in batch.items()]
    found += [(f"the parameter {path}", leaf) for path, leaf in flat(variables).items()]

    @jax.jit
    def forward(params: Any) -> tuple:
        outputs, changed = e.model.apply(
            {**variables, "params": params}, inputs, train=True, rngs=rngs,
            mutable=["batch_stats", "intermediates"], capture_intermediates=True)  # fmt: skip
        terms = e.loss(outputs, batch | inputs)
        loss = sum(term.weight * term.sum / jnp.maximum(term.count, 1) for term in terms.values() if term.weight)
        return loss, (changed["intermediates"], outputs, {name: term.sum for name, term in terms.items()})

    (_, (layers, outputs, terms)), slope = jax.device_get(jax.value_and_grad(forward, has_aux=True)(variables["params"]))
    found += [(f"the output of {path.replace('/__call__', '').replace('__call__', 'the model')}", x) for path, x in _called(layers)]
    found += [(f"the model's {name}", x) for name, x in flat(outputs).items()]
    found += [(f"the sum of {name}", x) for name, x in terms.items()]
    found += [(f"the gradient of {path}", x) for path, x in reversed(flat(slope).items())]
    return [f"{name} ({_share(x)})" for name, x in found if not _finite(x)]


def _called(layers: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What the layers returned, inner ones first, in the order in which they were called."""
    for name, value in layers.items():
        if name != "__call__":
            yield from _called(value, f"{prefix}{name}/")
    if "__call__" in layers and prefix:
        yield from ((f"{prefix.rstrip('/')}", x) for x in jax.tree.leaves(layers["__call__"]))


def _finite(x: Any) -> bool:
    x = np.asarray(x)
    return (not np.issubdtype(x.dtype, np.inexact) and x.dtype.kind != "V") or bool(np.isfinite(x.astype(np.float32)).all())


def _share(x: Any) -> str:
    x = np.asarray(x).astype(np.float32)
    return f"{int(np.isnan(x).sum())} nan, {int(np.isinf(x).sum())} inf of {x.size}"
