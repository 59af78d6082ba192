"""Save and restore a run: the state, the experiment's own memory (best value so far), and what the numbers mean.

Orbax writes each checkpoint to a temporary name and renames it, in the background. The latest ones and the best one are kept.
"""

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from cvjax import parallel
from cvjax.errors import UserError
from cvjax.state import State


def manager(workdir: Path, keep: int = 2, mode: str = "max") -> ocp.CheckpointManager:
    """Checkpoints of a run: the last `keep`, and the best by the monitored value (`mode` "max" or "min")."""
    best = policies.BestN(
        get_metric_fn=lambda metrics: metrics["monitored"], reverse=mode == "min", n=1, keep_checkpoints_without_metrics=False
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(n=keep), best]),
        step_name_format=ocp.step.standard_name_format(step_format_fixed_length=8),
    )
    handlers = {"state": ocp.StandardCheckpointHandler(), "memory": ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager((workdir / "checkpoints").absolute(), item_handlers=handlers, options=options)


def save(checkpoints: ocp.CheckpointManager, state: State, memory: dict, monitored: float | None) -> None:
    """Starts writing the state at its own step.

    Args:
        memory: what the loop remembers besides the state (JSON).
        monitored: the monitored value where it is the best so far, else None.
    """
    parallel.check_replicas(state)
    items = ocp.args.Composite(state=ocp.args.StandardSave(parallel.to_save(state)), memory=ocp.args.JsonSave(memory))
    checkpoints.save(int(state.step), args=items, metrics=None if monitored is None else {"monitored": monitored})


def restore(checkpoints: ocp.CheckpointManager, like: State, step: int | None = None) -> tuple[State, dict]:
    """The state of a step (the latest when None), replicated over the local devices, and the loop's memory.

    Args:
        like: a state of the same shapes; only shapes and types are looked at.
    """
    step = checkpoints.latest_step() if step is None else step
    items = ocp.args.Composite(state=ocp.args.StandardRestore(parallel.shapes_everywhere(like)), memory=ocp.args.JsonRestore())
    try:
        found = checkpoints.restore(step, args=items)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"checkpoint {step} in {checkpoints.directory} is of another model or optimiser: {reason}") from error
    return found.state, found.memory


def best_step(checkpoints: ocp.CheckpointManager) -> int | None:
    """The step with the best monitored value, as the latest checkpoint remembers it; the latest where none was measured."""
    latest = checkpoints.latest_step()
    if latest is None:
        return None
    memory = checkpoints.restore(latest, args=ocp.args.Composite(memory=ocp.args.JsonRestore())).memory
    return memory["best_step"] if memory["best_step"] in checkpoints.all_steps() else latest


def restore_for_inference(workdir: Path, like: Any, which: str) -> tuple[Any, int]:
    """State of the "best" or "latest" checkpoint of a finished or running experiment, and its step."""
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir} has no checkpoints; train first: python launch.py train --config=... --workdir={workdir}")
    with manager(workdir) as checkpoints:
        step = best_step(checkpoints) if which == "best" else checkpoints.latest_step()
        if step is None:
            raise UserError(f"{workdir}/checkpoints is empty; the run has not saved yet")
        return restore(checkpoints, like, step)[0], step
