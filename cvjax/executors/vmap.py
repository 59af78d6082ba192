"""Runs that differ in numbers only, many in one program: `cvjax.together` in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cvjax import plan
from cvjax.errors import Interrupted, UserError
from cvjax.executors import local
from cvjax.reporting.runs import flatten

NUMBERS = ("seed", "optim.lr", "optim.final_lr", "optim.weight_decay")  # what may differ between arms of one program


def execute(
    folder: Path, listed: list[plan.Run], most: int, retries: int, environment: dict[str, str], say: Callable[[str], None] = print
) -> None:
    """Runs everything that is not finished, `most` arms at a time in one program. What cannot go together goes one after the other."""
    names = {folder / run.folder: f"{run.arm} seed {run.seed}" for run in listed}
    while todo := [run for run in listed if local.needed(folder / run.folder, retries)]:
        first, *others = todo
        group = [first, *(run for run in others if _shape(run) == _shape(first))][:most]
        paths = [folder / run.folder for run in group]
        say(f"{len(paths)} arms in one program: {', '.join(names[path] for path in paths)}")
        code = _process(paths, environment)
        for path in paths:
            plan.note_end(path)
            if plan.state(path) in ("interrupted", "pending"):  # the program itself broke
                plan.note_failure(path, code)
            say(f"{names[path]}: {local.outcome(path)}")


def check(listed: list[plan.Run]) -> None:
    """Raises UserError for a run whose data do not lie on the device, or that has devices of its own."""
    for run in listed:
        if run.devices:
            raise UserError(f"arm '{run.arm}' has devices of its own, which needs --executor=local")
        if dict(run.config.data).get("cache") != "device":
            raise UserError(f"--executor=vmap draws all arms' batches on the device: set config.data.cache='device' (arm '{run.arm}')")


def _shape(run: plan.Run) -> str:
    """Equal for runs that differ in numbers only."""
    flat = flatten(run.config.to_dict())
    return json.dumps({key: value for key, value in flat.items() if key not in NUMBERS}, default=str) + str(sorted(flat))


def _process(paths: list[Path], environment: dict[str, str]) -> int:
    """Runs a group to its end in a process of its own. A signal is handed on; it saves every arm, then Interrupted is raised."""
    received: list[int] = []
    command = [sys.executable, "-m", "cvjax.together", *map(str, paths)]
    path = os.pathsep.join([str(local.LAUNCHER.parent), *filter(None, [environment.get("PYTHONPATH")])])
    ours = {"PYTHONPATH": path, "CVJAX_LAUNCHER": str(os.getpid()), "CVJAX_CORES": ",".join(map(str, local.cores_here()))}
    with open(paths[0].parent / "vmap.txt", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**environment, **ours}, start_new_session=True)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while process.poll() is None:
            if received:
                process.terminate()
            time.sleep(local.POLL)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received or process.returncode == Interrupted.exit_code:
        raise Interrupted("stopped by a signal; every arm is saved. Run the same command to continue")
    return process.returncode
