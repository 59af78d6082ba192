"""Measurements of a trained network beyond its metrics, one file of probes/ each, named in config.train.probes."""

from pathlib import Path

import jax
import numpy as np

from cvjax import lookup, optim
from cvjax.build import Experiment
from cvjax.files import write_json
from cvjax.preprocess import device_eval, host_eval
from cvjax.state import State

EXAMPLES = 256


def run(e: Experiment, state: State, folder: Path) -> None:
    """Writes probes.json: what every probe finds on the first examples of the val split."""
    if not e.training.probes or jax.process_index() != 0:
        return
    prepare, source = host_eval(e.pixels), e.splits["val"]
    examples = [prepare(source[i]) for i in range(min(EXAMPLES, len(source)))]
    batch = device_eval({name: np.stack([example[name] for example in examples]) for name in examples[0]}, e.pixels)
    state = jax.tree.map(lambda x: x.addressable_data(0), state)
    variables = {"params": optim.averaged(state.params, state.opt), "batch_stats": state.stats}
    found: dict = {}
    for name in e.training.probes:
        found |= lookup.find("probes", name).measure(e.model, variables, e.task.inputs(batch, None))
    write_json(folder / "probes.json", found)
