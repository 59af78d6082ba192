"""Proves on any experiment what cvjax promises of it, by running its first steps several times; writes a certificate.

Each run is a process of its own that is told where to stop (CVJAX_STOP_AFTER), so that the experiment is exactly the user's. Compared
are SHA-256 digests of every array of the state, and the metric lines.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cvjax.checkpoint import Checkpoints, digest_of
from cvjax.errors import TrainingFailed, UserError
from cvjax.files import now, write_json

STEPS = 6
KILLS = 3
TOLERANCE = 1e-3  # of the largest change that one step makes to an array, between one device and several


def verify(command: list[str], workdir: Path, say: Callable[[str], None] = print) -> dict:
    """Runs the proofs and writes workdir/certificate.json.

    Args:
        command: what trains the experiment, less its --workdir: [python, launch.py, train, --config=...].

    Raises:
        UserError: the experiment does not start.
        TrainingFailed: a promise is broken; the certificate says which.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    if (workdir / "verify").exists():
        shutil.rmtree(workdir / "verify")  # an earlier proof's runs
    whole, parts, other, alone = (workdir / "verify" / name for name in ("whole", "killed", "other_seed", "one_device"))
    say(f"whole: {STEPS} steps in one go")
    _run(command, whole, stop=STEPS)
    end = json.loads((whole / "status.json").read_text())["step"]  # an experiment may be shorter
    say("killed: step 1, then again, killed at random moments, to the end")
    _run(command, parts, stop=1)
    first, first_leaves = _state(parts, 1), _leaves(parts, 1)
    kills = [_run(command, parts, stop=STEPS, kill=True) for _ in range(KILLS)]
    _run(command, parts, stop=STEPS)
    say("another seed, one step")
    _run([*command, f"--config.seed={_seed(whole) + 1}"], other, stop=1)
    same, how = _leaves(whole, end) == _leaves(parts, end), f"killed {sum(kills)} times and stopped once"
    proofs = [
        _proof("resume", same, f"{how}: the same bits in every array"),
        _proof("metrics", _lines(whole) == _lines(parts), "the same metric lines, no step missing or doubled"),
        _proof("other seed", _leaves(other, 1) != first_leaves, "another seed gives other numbers"),
    ]  # fmt: skip
    if jax.device_count() > 1:
        say("one device, one step")
        _run(command, alone, stop=1, devices=1)
        worst = _difference(first, _state(alone, 1), _state(alone, 0))
        proofs.append(
            _proof("devices", worst < TOLERANCE, f"1 device and {jax.device_count()} differ by {worst:.1e} of what a step changes")
        )
    certificate = {
        "time": now(),
        "command": ["python", *sys.argv],
        "steps": end,
        "proofs": proofs,
        "digest": digest_of(_leaves(whole, end)),
    }
    write_json(workdir / "certificate.json", certificate)
    for proof in proofs:
        say(f"{'proved' if proof['holds'] else 'BROKEN'}  {proof['name']}: {proof['detail']}")
    broken = [proof["name"] for proof in proofs if not proof["holds"]]
    if broken:
        raise TrainingFailed(f"not as promised: {', '.join(broken)}; the runs are in {workdir / 'verify'}")
    say(f"certificate: {workdir / 'certificate.json'}")
    return certificate


def _proof(name: str, holds: bool, detail: str) -> dict:
    return {"name": name, "holds": bool(holds), "detail": detail}


def _run(command: list[str], folder: Path, stop: int, kill: bool = False, devices: int | None = None) -> bool:
    """Trains until step `stop`; with `kill`, only until a random moment of that. Returns whether it was killed."""
    environment = {**os.environ, "CVJAX_STOP_AFTER": str(stop)}
    if devices:
        environment |= {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "CUDA_VISIBLE_DEVICES": "0"}
    process = subprocess.Popen(
        [*command, f"--workdir={folder}"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if kill:
        _wait_for_a_start(folder, process)
        time.sleep(random.uniform(0, 2))
        process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    if process.returncode not in (0, 75, -signal.SIGKILL):
        raise UserError(f"the experiment itself fails: {errors.strip().splitlines()[-1] if errors.strip() else process.returncode}")
    return process.returncode == -signal.SIGKILL


def _wait_for_a_start(folder: Path, process: subprocess.Popen) -> None:
    """Until the run has appended to run.json, which it does before its first step: the interesting moments follow."""
    before = (folder / "run.json").stat().st_mtime_ns
    while process.poll() is None and (folder / "run.json").stat().st_mtime_ns == before:
        time.sleep(0.02)


def _leaves(folder: Path, step: int) -> dict:
    with Checkpoints(folder) as checkpoints:
        return checkpoints.manifest(step)["leaves"]


def _state(folder: Path, step: int) -> list[np.ndarray]:
    with Checkpoints(folder) as checkpoints:
        return [np.asarray(x, np.float64) for x in jax.tree.leaves(checkpoints.read_plain(step))]


def _difference(a: list[np.ndarray], b: list[np.ndarray], start: list[np.ndarray]) -> float:
    """The largest difference between two states, as a share of the largest change of that array since the start."""
    changes = [max(np.abs(y - z).max(initial=0), 1e-6) for y, z in zip(b, start, strict=True)]
    return max(float(np.abs(x - y).max(initial=0) / change) for x, y, change in zip(a, b, changes, strict=True))


def _seed(folder: Path) -> int:
    return json.loads((folder / "config.json").read_text())["seed"]


def _lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in found]
