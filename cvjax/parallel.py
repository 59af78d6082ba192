"""Many devices, one program: the only file that says pmap.

Every device runs the same function on its part of the batch and holds the same state. The state has no device axis: it
goes in with `in_axes=None` and comes out with `out_axes=None`, so `float(metrics["loss"])` and checkpoints see plain
arrays. What must agree across devices is summed with `psum`; a forgotten sum raises nothing, so `replicas_agree` looks.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from cvjax.errors import UserError
from cvjax.state import flat

AXIS = "batch"


def start() -> None:
    """Joins the other processes of this job when a cluster (Slurm, TPU) or CVJAX_* variables say that there are some."""
    names = ("CVJAX_COORDINATOR", "CVJAX_NUM_PROCESSES", "CVJAX_PROCESS_ID")
    missing = [name for name in names if name not in os.environ]
    if missing and len(missing) < len(names):
        raise UserError(f"{', '.join(names)} go together; {missing[0]} is not set")
    if not missing:
        address, count, index = (os.environ[name] for name in names)
        jax.distributed.initialize(address, int(count), int(index))
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 or len(os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1:
        jax.distributed.initialize(local_device_ids=local_gpus())


def local_gpus() -> list[int] | None:
    """All GPUs of the node where Slurm starts one process on it; of its own accord JAX takes one a process. Else None: as JAX does."""
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "").partition("(")[0]
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return list(range(len(visible))) if tasks == "1" and len(visible) > 1 else None


def check_devices() -> None:
    """Raises UserError when JAX finds no device of the kind that it is told to use."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = (str(error).splitlines() or ["there is none of this kind"])[0].rstrip(".")
        raise UserError(f"JAX finds no device (JAX_PLATFORMS={asked!r}): {reason}; unset JAX_PLATFORMS to use what there is") from error


def _sharding(*axes: str) -> NamedSharding:
    return NamedSharding(jax.sharding.Mesh(jax.local_devices(), (AXIS,)), P(*axes))


def everywhere() -> NamedSharding:
    """The sharding of an array of which every device of every process holds a copy."""
    return NamedSharding(jax.sharding.Mesh(jax.devices(), (AXIS,)), P())


def shapes_everywhere(tree: Any) -> Any:
    """Shapes and types of a tree, to be restored onto every device, whichever devices saved it."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere()), tree)


def replicate(tree: Any) -> Any:
    """The same arrays on every local device; copies, so that nothing handed in is donated away."""
    return jax.tree.map(lambda x: jax.device_put(np.array(x), _sharding()), tree)


def shard(batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """This host's batch (rows first) split over its devices: leaves become (devices, rows / devices, ...)."""
    devices = jax.local_device_count()
    split = {name: x.reshape(devices, -1, *x.shape[1:]) for name, x in batch.items()}
    return jax.device_put(split, _sharding(AXIS)) if jax.process_count() == 1 else split


def check_divides(batch_size: int, where: str, parts: int = 1) -> None:
    """Raises UserError unless the global batch splits evenly over all devices (times `parts` micro-batches)."""
    devices = jax.device_count()
    if batch_size < 1 or batch_size % (devices * parts):
        good = max(1, round(batch_size / (devices * parts))) * devices * parts
        micro = f" x {parts} micro-batches" if parts > 1 else ""
        raise UserError(f"{where}={batch_size} does not divide over {devices} devices{micro}; use {good}")


def per_device(function: Callable, in_axes: tuple[int | None, ...], donate: bool = False) -> Callable:
    """`function(state, ...)` on every device; of its arguments 0 marks those split by `shard`, None those that all share.

    What comes out must be equal on all devices (summed or gathered over AXIS): one copy of it is returned. `donate` gives
    the memory of the old state to the new one.
    """
    mapped = jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=None, donate_argnums=(0,) if donate else ())
    # On a CPU the devices are threads of one pool. A second call that starts before the first has ended can leave both
    # waiting for a thread at a sum over devices, for ever; and running ahead gains nothing there.
    return (lambda *args: jax.block_until_ready(mapped(*args))) if jax.default_backend() == "cpu" else mapped


def psum(tree: Any) -> Any:
    return jax.lax.psum(tree, AXIS)


def gather(tree: Any) -> Any:
    """All devices' rows, in the order of the global batch, on every device."""
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), tree)


def rows(batch_size: int) -> jax.Array:
    """Positions in the global batch of the examples that each local device holds: (devices, rows)."""
    local = batch_size // jax.process_count()
    return shard({"rows": jax.process_index() * local + np.arange(local, dtype=np.int32)})["rows"]


def replicas_agree(tree: Any) -> bool:
    """True when all devices hold bit-identical copies of every leaf."""
    return not disagreeing(tree)


def snapshot(tree: Any, room: Any = None) -> Any:
    """The tree in memory of its own: the next step overwrites the original. To be read by `one_replica`.

    Accelerators copy while the host goes on. On a CPU nobody else can: there one replica is copied into `room`, a snapshot no
    longer needed, for the first touch of fresh memory costs ten times as much as a copy.
    """
    if jax.default_backend() != "cpu":
        return jax.device_put(tree, jax.tree.map(lambda leaf: leaf.sharding, tree), may_alias=False)
    return one_replica(tree, into=room or jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree))


def disagreeing(tree: Any, into: Any = None) -> list[str]:
    """Paths of the leaves of which the devices hold different copies, as "stats/norm/mean". Copies a replica `into` NumPy arrays."""

    def agrees(leaf: Any, target: np.ndarray | None) -> bool:
        first, *others = _replicas(leaf)
        if target is not None:
            np.copyto(target, first)
            first = target  # what was just written is still near the processor
        return all(np.array_equal(_bits(other), _bits(first)) for other in others)

    leaves = flat(tree)
    targets = [None] * len(leaves) if into is None else jax.tree.leaves(into)
    each = list(zip(leaves, leaves.values(), targets, strict=True))
    with ThreadPoolExecutor(2) as threads:  # one does not fill the memory's bandwidth, and NumPy lets go of Python's lock
        halves = threads.map(lambda half: [path for path, leaf, target in half if not agrees(leaf, target)], (each[::2], each[1::2]))
        return [path for half in halves for path in half]


def one_replica(tree: Any, into: Any = None) -> Any:
    """NumPy arrays; those of `into` where given. Raises UserError when devices have drifted apart, as a forgotten sum makes them."""
    odd = disagreeing(tree, into)
    if odd:
        raise UserError(f"devices hold different values of {odd[0]} and {len(odd) - 1} more; BatchNorm must be cvjax.layers.norm's")
    return jax.tree.map(lambda leaf: _replicas(leaf)[0], tree) if into is None else into


def _replicas(leaf: Any) -> list[np.ndarray]:
    return [leaf] if isinstance(leaf, np.ndarray) else [np.asarray(shard.data) for shard in leaf.addressable_shards]


def _bits(x: np.ndarray) -> np.ndarray:
    """As integers, so that equal means every bit: 0 is not -0, and a NaN is itself."""
    return np.ascontiguousarray(x).reshape(-1).view(np.uint64 if x.nbytes % 8 == 0 else np.uint8)


def agree_to_stop(received: list[int], step: int) -> bool:
    """Whether to stop after this step: `received` holds a signal, or, with several processes, any of them got SIGTERM.

    There JAX's own handler spreads the news and all processes are told at the same step.
    """
    return bool(received) if jax.process_count() == 1 else multihost_utils.reached_preemption_sync_point(step)
