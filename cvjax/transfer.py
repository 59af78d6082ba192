"""Begin from the weights of another run: what fits is taken, the rest (a head of another size) starts anew and is named."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from cvjax import checkpoint, parallel
from cvjax.errors import UserError, did_you_mean


def initialise(params: Any, stats: Any, source: str) -> tuple[Any, Any, list[str]]:
    """Parameters and statistics with those of the run in folder `source` in place of all that agree in path and shape.

    Returns them and the paths that found no match and stay as they were initialised.
    Raises UserError when there is no such run or when nothing fits.
    """
    found = _flat(_stored(Path(source)))
    here = _flat({"params": params, "stats": stats})
    fits = {path for path, value in here.items() if path in found and found[path].shape == value.shape}
    if not any(path.startswith("params/") for path in fits):
        raise UserError(f"config.init='{source}': no parameter of that run fits this model")
    merged = {path: np.asarray(found[path] if path in fits else value) for path, value in here.items()}
    tree = jax.tree.unflatten(jax.tree.structure({"params": params, "stats": stats}), list(merged.values()))
    return tree["params"], tree["stats"], sorted(set(here) - fits)


def _stored(folder: Path) -> dict:
    """Parameters (the averaged ones, if there are any) and statistics of a run's best checkpoint, as plain arrays."""
    if not (folder / "checkpoints").is_dir():
        near = did_you_mean(folder.name, [p.name for p in folder.parent.glob("*")]) if folder.parent.is_dir() else ""
        raise UserError(f"config.init='{folder}' is no run of cvjax (it has no checkpoints){near}")
    with checkpoint.manager(folder) as checkpoints:
        step = checkpoint.best_step(checkpoints)
        if step is None:
            raise UserError(f"config.init='{folder}' has saved no checkpoint yet")
        like = parallel.shapes_everywhere(checkpoints.item_metadata(step)["state"].tree)
        state = checkpoints.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]
    average = [x for path, x in _subtrees(state["opt"]) if path == "average"]
    return {"params": average[0] if average else state["params"], "stats": state["stats"]}


def _subtrees(tree: Any) -> list[tuple[str, Any]]:
    """(name, subtree) of every inner node."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return [pair for name, sub in items for pair in [(str(name), sub), *_subtrees(sub)]]


def _flat(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in jax.tree.leaves_with_path(tree)}
