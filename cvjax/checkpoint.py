"""Save and restore a run: the state, the loop's own memory (best value so far), and a digest of every number.

Orbax writes each checkpoint under a temporary name and renames it, so a kill never leaves half of one. What a disk does to it
afterwards Orbax does not see: a flipped bit reads back as another weight. So each checkpoint holds the SHA-256 of every leaf, and
nothing is restored whose digests differ: a damaged one is named and set aside, and the one before it is used.
"""

import gc
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from cvjax import parallel
from cvjax.errors import UserError, disk_error
from cvjax.state import State, flat


class Damaged(Exception):
    """A checkpoint does not hold what was saved. The message says where it shows."""


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best by the monitored value (`mode` "max" or "min").

    A save copies the arrays and returns; digests and files are made by a thread. Its error is raised by the next `save` or `wait`.
    `writing` is for the one process that owns the workdir: it clears away what a kill left half written.
    """

    def __init__(self, workdir: Path, keep: int = 2, mode: str = "max", writing: bool = False):
        self.folder, self.aside = (workdir / "checkpoints").absolute(), workdir / "damaged"
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["monitored"], reverse=mode == "min", n=1, keep_checkpoints_without_metrics=False
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(n=keep), best]),
            step_name_format=ocp.step.standard_name_format(step_format_fixed_length=8),
            enable_async_checkpointing=False,
            cleanup_tmp_directories=writing,
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "manifest": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.folder, item_handlers=handlers, options=options)
        self._thread = ThreadPoolExecutor(1, "cvjax-checkpoint")
        self._saving: Future | None = None
        self._room: Any = None  # the arrays of the last save, to copy the next one into

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._manager.close()

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, the earliest first."""
        self.wait()
        return sorted(self._manager.all_steps())

    def wait(self) -> None:
        """Until everything is on disk. Raises what went wrong with it."""
        if self._saving is not None:
            self._saving.result()

    def save(self, state: State, memory: dict, monitored: float | None) -> None:
        """Starts writing the state at its own step.

        Args:
            memory: what the loop remembers besides the state (JSON).
            monitored: the monitored value where it is the best so far, else None.

        Raises:
            UserError: the disk is full or the devices hold different values; here, or at the next `save` or `wait`.
        """
        self.wait()
        step, copies = int(state.step), parallel.snapshot(state, self._room)
        self._saving = self._thread.submit(self._write, step, copies, dict(memory), monitored)
        if jax.process_count() > 1:
            self.wait()  # all processes write one checkpoint together, step by step

    def _write(self, step: int, copies: Any, memory: dict, monitored: float | None) -> None:
        state = self._room = parallel.one_replica(copies)
        content = {"memory": memory, "leaves": digests(state)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), manifest=ocp.args.JsonSave({**content, "sha256": _sha256(_canonical(content))})
        )
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**20
        if shutil.disk_usage(self.folder).free < needed:
            raise disk_error(self.folder, needed)
        try:
            self._manager.save(step, args=items, metrics=None if monitored is None else {"monitored": monitored})
        except (OSError, ValueError) as error:
            raise (disk_error(self.folder, needed) if "No space left" in str(error) else error) from error

    def restore(self, like: State) -> tuple[State, dict] | None:
        """The newest whole state, on all local devices, and the loop's memory; None where nothing was ever saved.

        Newer damaged ones are named on standard error and moved to `damaged/`. `like` is a state of the same shapes.
        Raises UserError when all are damaged, or when the checkpoint is of another model or optimiser.
        """
        reasons: dict[int, str] = {}
        for step in reversed(self.steps()):
            try:
                found = self.read(step, like)
            except Damaged as damage:
                reasons[step] = str(damage)
                continue
            for number, reason in reasons.items():
                print(f"cvjax: warning: checkpoint {number} is damaged ({reason}); moved to {self._set_aside(number)}", file=sys.stderr)
            if reasons:
                print(f"cvjax: warning: going on from checkpoint {step}", file=sys.stderr)
                self._manager.reload()
            return found
        if reasons:
            every = "; ".join(f"{number}: {reason}" for number, reason in reasons.items())
            raise UserError(f"all checkpoints in {self.folder} are damaged ({every}); bring back a backup, or choose another --workdir")
        return None

    def read(self, step: int, like: State) -> tuple[State, dict]:
        """State and memory of one step. Raises Damaged, or UserError when it is of another model or optimiser."""
        manifest = self.manifest(step)
        _check_shapes(manifest["leaves"], like, f"checkpoint {step} in {self.folder}")
        return self._state(step, manifest, parallel.shapes_everywhere(like)), manifest["memory"]

    def read_plain(self, step: int) -> Any:
        """The state of one step as nested dicts and lists of arrays, whatever model it is of. Raises Damaged."""
        manifest = self.manifest(step)
        return self._state(step, manifest, parallel.shapes_everywhere(self._manager.item_metadata(step)["state"].tree))

    def manifest(self, step: int) -> dict:
        """{"memory": the loop's, "leaves": {path: [type, shape, digest]}} of one step. Raises Damaged."""
        found = self._restored(step, manifest=ocp.args.JsonRestore())
        if set(found) != {"memory", "leaves", "sha256"} or found.pop("sha256") != _sha256(_canonical(found)):
            raise Damaged("its manifest was changed")
        return found

    def best_step(self) -> int | None:
        """The step with the best monitored value, as the latest checkpoint remembers it; the latest where none was measured."""
        steps = self.steps()
        for step in reversed(steps):
            try:
                best = self.manifest(step)["memory"]["best_step"]
            except Damaged:
                continue
            return best if best in steps else step
        return None

    def _state(self, step: int, manifest: dict, shapes: Any) -> Any:
        state = self._restored(step, state=ocp.args.StandardRestore(shapes))
        found = digests(jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), state))
        odd = [path for path, digest in manifest["leaves"].items() if found.get(path) != digest]
        if odd:
            raise Damaged(f"{odd[0]}{f' and {len(odd) - 1} more' * (len(odd) > 1)} has other numbers than were saved")
        return state

    def _restored(self, step: int, **item: Any) -> Any:
        (name,) = item
        with _leftovers_unheard():
            try:
                return self._manager.restore(step, args=ocp.args.Composite(**item))[name]
            except Exception as error:  # Orbax and TensorStore raise many kinds; whatever it is, the files are not what was written
                damage = Damaged(f"its {name} cannot be read: {_reason(error)}")
            for _ in range(10):  # TensorStore's threads still hold some of what was being read
                gc.collect()
                time.sleep(0.02)
        raise damage

    def _set_aside(self, step: int) -> Path:
        """Moves a checkpoint out of the way; nothing is deleted."""
        self.aside.mkdir(exist_ok=True)
        name = f"{step:08d}"
        while (self.aside / name).exists():
            name += "_"
        shutil.move(self.folder / f"{step:08d}", self.aside / name)
        return self.aside / name


def digests(tree: Any) -> dict[str, list]:
    """{path: [type, shape, SHA-256 of the bytes]} of every array of a tree."""
    leaves = {path: np.asarray(leaf) for path, leaf in flat(tree).items()}
    with ThreadPoolExecutor() as threads:  # hashlib lets go of Python's lock
        hashes = threads.map(lambda x: _sha256(np.ascontiguousarray(x).view(np.uint8).data if x.size else b""), leaves.values())
        return {path: [str(x.dtype), list(x.shape), digest] for (path, x), digest in zip(leaves.items(), hashes, strict=True)}


def digest(tree: Any) -> str:
    """One SHA-256 of a whole tree: equal for equal bits under equal paths."""
    return digest_of(digests(tree))


def digest_of(leaves: dict[str, list]) -> str:
    """The digest of the tree that a manifest's `leaves` describe."""
    return _sha256(_canonical(leaves))


def restore_for_inference(workdir: Path, like: State, which: str) -> tuple[State, int]:
    """State of the "best" or "latest" checkpoint of a finished or running experiment, and its step. Changes nothing on disk."""
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir} has no checkpoints; train first: python launch.py train --config=... --workdir={workdir}")
    with Checkpoints(workdir) as checkpoints:
        steps = checkpoints.steps()[::-1] if which == "latest" else [checkpoints.best_step()]
        for step in steps:
            try:
                if step is not None:
                    return checkpoints.read(step, like)[0], step
            except Damaged as damage:
                print(f"cvjax: warning: checkpoint {step} is damaged ({damage})", file=sys.stderr)
    raise UserError(
        f"{workdir}/checkpoints has no whole {which} checkpoint" + (f"; damaged: {steps}" if any(steps) else "; nothing is saved yet")
    )


def _check_shapes(saved: dict[str, list], like: State, what: str) -> None:
    """Raises UserError naming the leaves in which a checkpoint and a state differ."""
    here = flat(like)
    odd = [f"{path} is not in it" for path in here if path not in saved]
    odd += [f"{path} is not in this model" for path in saved if path not in here]
    both = [path for path in here if path in saved and saved[path][1] != list(here[path].shape)]
    odd += [f"{path} is {tuple(saved[path][1])} in it, {here[path].shape} here" for path in both]
    if odd:
        more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
        raise UserError(f"{what} is of another model or optimiser: {'; '.join(odd[:5])}{more}")


@contextmanager
def _leftovers_unheard() -> Iterator[None]:
    """At the first array it cannot read, Orbax leaves the others half read; what those say when thrown away is not news."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook


def _reason(error: BaseException) -> str:
    """The first words of what lies under a foreign error, without the objects that some print."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = re.sub(r"<[^<>]*>|\{.*", "", (str(error).strip().splitlines() or [""])[0])
    return f"{type(error).__name__} {words}"[:240].strip()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()
