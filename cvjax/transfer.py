"""Begin from other weights, a run's or a reference implementation's: what fits is taken, the rest (a head of another size) starts anew."""

import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cvjax import checkpoint
from cvjax.errors import UserError, did_you_mean
from cvjax.pretrained import existing, fitting
from cvjax.state import flat

LIBRARIES = ("torchvision", "timm", "huggingface", "big_vision")  # said for the reader; the model file knows the names


def initialise(params: Any, stats: Any, source: str, model: nn.Module) -> tuple[Any, Any, list[str]]:
    """Parameters and statistics with those of `source` in place of all that agree in path and shape.

    source: folder of a run, or a file of the reference's weights as "torchvision:resnet50.pth" (see `cvjax.pretrained`).
    Returns them and the paths that found no match and stay as they were initialised.
    Raises UserError when there is no such run or when nothing fits.
    """
    here = flat({"params": params, "stats": stats})
    weights = check_source(source)
    found = fitting(model, weights, here) if weights.is_file() else flat(_stored(weights))
    file = sys.modules[type(model).__module__]
    if hasattr(file, "arranged"):
        found = file.arranged(found, {path: value.shape for path, value in here.items()})
    fits = {path for path, value in here.items() if path in found and found[path].shape == value.shape}
    if not any(path.startswith("params/") for path in fits):
        raise UserError(f"config.init='{source}': none of its parameters fits this model; is config.model that of the weights?")
    merged = {path: np.asarray(found[path] if path in fits else value) for path, value in here.items()}
    tree = jax.tree.unflatten(jax.tree.structure({"params": params, "stats": stats}), list(merged.values()))
    return tree["params"], tree["stats"], sorted(set(here) - fits)


def check_source(source: str) -> Path:
    """The weight file or the run's folder that `source` names. Raises UserError where there is none; reads no weights."""
    library, colon, weights = source.partition(":")
    if colon and library in LIBRARIES:
        return existing(weights)
    folder = Path(source)
    if not (folder / "checkpoints").is_dir():
        near = did_you_mean(folder.name, [p.name for p in folder.parent.glob("*")]) if folder.parent.is_dir() else ""
        raise UserError(f"config.init='{folder}' is no run of cvjax (it has no checkpoints){near}")
    return folder


def _stored(folder: Path) -> dict:
    """Parameters (the averaged ones, if there are any) and statistics of a run's best checkpoint, as plain arrays."""
    with checkpoint.Checkpoints(folder) as checkpoints:
        step = checkpoints.best_step()
        if step is None:
            raise UserError(f"config.init='{folder}' has saved no checkpoint yet")
        try:
            state = checkpoints.read_plain(step)
        except checkpoint.Damaged as damage:
            raise UserError(f"config.init='{folder}': checkpoint {step} is damaged: {damage}") from damage
    average = [x for path, x in _subtrees(state["opt"]) if path == "average"]
    return {"params": average[0] if average else state["params"], "stats": state["stats"]}


def _subtrees(tree: Any) -> list[tuple[str, Any]]:
    """(name, subtree) of every inner node."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return [pair for name, sub in items for pair in [(str(name), sub), *_subtrees(sub)]]
