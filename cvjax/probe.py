"""Measurements inside a network beyond its metrics, one file of probes/ each, named in config.train.probes or --probe=NAME,NAME.

A probe file has any of these functions:

    measure(model, variables, inputs) -> dict   of the trained network on EXAMPLES pictures, once, written to probes.json
    captures(module, method) -> bool            which modules' outputs training shall keep, for
    of_outputs(outputs) -> dict                 their measures in every step, and
    of_gradients(gradients, layer) -> dict      those of the gradients, by path; layer: the model file's `layer(path)`, or None

What is measured in steps is logged with the other metrics as "train/NAME". A run without probes is compiled as if there were none.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from cvjax import lookup, optim
from cvjax.build import Experiment
from cvjax.data._buckets import alike
from cvjax.errors import UserError
from cvjax.files import write_json
from cvjax.preprocess import device_eval, host_eval
from cvjax.state import State, Term, flat

EXAMPLES = 256


def run(e: Experiment, state: State, folder: Path) -> None:
    """Writes probes.json: what every probe finds on the first examples of the val split."""
    probes = _having(e, "measure")
    if not probes or jax.process_index() != 0:
        return
    prepare, source = host_eval(e.pixels, e.splits["val"].info), e.splits["val"]
    examples = alike([prepare(source[i]) for i in range(min(EXAMPLES, len(source)))], e.buckets)
    batch = device_eval({name: jnp.stack([example[name] for example in examples]) for name in examples[0]}, e.pixels)
    state = jax.tree.map(lambda x: x.addressable_data(0), state)
    variables = {"params": optim.averaged(state.params, state.opt), "batch_stats": state.stats}
    found: dict = {}
    print(f"probes {', '.join(e.training.probes)} look into the trained network", flush=True)
    for measure in probes:
        found |= measure(e.model, variables, e.task.inputs(batch, None, e.info))
    write_json(folder / "probes.json", found)


def captures(e: Experiment) -> Callable[[Any, str], bool] | bool:
    """Which modules' outputs training keeps, as `apply` takes it; False for none."""
    filters = _having(e, "captures")
    return (lambda module, method: any(wanted(module, method) for wanted in filters)) if filters else False


def of_outputs(e: Experiment, outputs: dict) -> dict[str, Term]:
    """Measures of the captured outputs of one device's micro-batch; to be averaged."""
    if not outputs:
        names = ", ".join(name for name, file in _files(e).items() if hasattr(file, "captures"))
        raise UserError(
            f"probe {names}: {e.model_file.__name__} has no layers whose outputs it measures; leave it out of config.train.probes"
        )
    found: dict[str, Any] = {}
    for measure in _having(e, "of_outputs"):
        found |= measure(outputs)
    return {name: Term(value, jnp.ones(())) for name, value in found.items()}


def of_gradients(e: Experiment, gradients: Any) -> dict[str, jax.Array]:
    """Measures of the gradient of the whole batch."""
    found: dict[str, jax.Array] = {}
    for measure in _having(e, "of_gradients"):
        found |= measure(flat(gradients), getattr(e.model_file, "layer", None))
    return found


def _having(e: Experiment, function: str) -> list[Callable]:
    return [getattr(file, function) for file in _files(e).values() if hasattr(file, function)]


def _files(e: Experiment) -> dict[str, ModuleType]:
    return {name: lookup.find("probes", name) for name in e.training.probes}
