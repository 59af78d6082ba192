"""What a run leaves on disk besides checkpoints and metrics: what it is, where it ran, how it stands, what it predicts."""

import dataclasses
import datetime
import json
import os
import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cvjax import config as configs
from cvjax import describe
from cvjax.build import Experiment
from cvjax.data._source import Info
from cvjax.errors import UserError
from cvjax.log import write_json
from cvjax.state import State

PACKAGES = ("cvjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
PICTURES = 24


def claim(folder: Path, e: Experiment) -> dict | None:
    """Makes the folder this experiment's. Returns the final metrics when it is finished already, else None.

    A folder without a checkpoint is free: what began there failed before its first step.
    Raises UserError when the folder holds another experiment, naming the keys that differ, or cannot be written.
    """
    if (folder / "config.json").exists() and any((folder / "checkpoints").glob("*")):
        differing = differences(configs.read(folder), e.config)
        if differing:
            raise UserError(f"{folder} holds a run of another config ({'; '.join(differing[:5])}); choose another --workdir")
        if read_info(folder) != e.info:
            raise UserError(f"{folder} was trained on other data: classes or number of examples differ; choose another --workdir")
        if (folder / "status.json").exists():
            found = json.loads((folder / "status.json").read_text())
            return found["final"] if found["state"] == "finished" else None
        return None
    if jax.process_index() == 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", json.loads(configs.to_json(e.config)))
            write_json(folder / "info.json", dataclasses.asdict(e.info))
        except OSError as error:
            raise UserError(f"--workdir={folder} cannot be written: {error.strerror}") from None
    return None


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """ "optim.lr: 0.1 -> 0.2" for every key in which two configs differ."""
    a, b = _flat(json.loads(configs.to_json(old))), _flat(json.loads(configs.to_json(new)))
    return [f"{key}: {a.get(key, 'absent')} -> {b.get(key, 'absent')}" for key in sorted({*a, *b}) if a.get(key) != b.get(key)]


def read_info(folder: Path) -> Info:
    """Facts about the training data of a run."""
    facts = json.loads((folder / "info.json").read_text())
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    return Info(**values)


def describe_start(folder: Path, e: Experiment, state: State, start: int) -> None:
    """Appends to run.json: command, place, versions, devices, git commit, size of the network. Uncommitted changes go to code.diff."""
    if jax.process_index() != 0:
        return
    starts = json.loads((folder / "run.json").read_text()) if (folder / "run.json").exists() else []
    commit, diff = _git("rev-parse", "HEAD"), _git("diff", "HEAD")
    if diff:
        (folder / "code.diff").write_text(diff if len(diff) < 1_000_000 else "too large to keep\n")
    starts.append(
        {
            "time": now(),
            "command": ["python", *sys.argv],
            "step": start,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "system": platform.platform(),
            "versions": {name: metadata.version(name) for name in PACKAGES if _installed(name)},
            "devices": [device.device_kind for device in jax.devices()],
            "environment": {k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_", "CVJAX_", "SLURM_JOB", "SLURM_RESTART"))},
            "git": {"commit": commit.strip() or None, "dirty": bool(diff)},
            "parameters": sum(int(np.prod(x.shape)) for x in jax.tree.leaves(state.params)),
            "multiply_adds": describe.multiply_adds(e.model, e.blank()),
        }
    )
    write_json(folder / "run.json", starts)


def keep_predictions(folder: Path, e: Experiment, split: str, rows: dict[str, np.ndarray], name: str = "") -> None:
    """What the run made of every example of a split (eval/val.npz), and a picture of some, mistakes first (images/).

    `name` keeps another evaluation apart from that of the end of the run: eval/<name>.npz, images/<name>.png.
    """
    from cvjax.reporting.pictures import prediction_grid

    (folder / "eval").mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    np.savez_compressed(folder / "eval" / f"{name or split}.npz", allow_pickle=False, **rows)
    source = e.splits[split]
    said = [e.task.caption({name: x[i] for name, x in rows.items()}, source.info) for i in range(len(rows["label"]))]
    wrong = [i for i, (_, right) in enumerate(said) if right is False][: PICTURES // 3]
    shown = (wrong + [i for i in range(len(said)) if i not in wrong])[:PICTURES]
    prediction_grid(
        [source[i]["image"] for i in shown],
        [said[i][0] for i in shown],
        [said[i][1] for i in shown],
        folder / "images" / f"{name or 'predictions'}.png",
    )


def status(folder: Path, state: str, **facts: object) -> None:
    """Replaces status.json; facts not given stay as they were. `state`: running, finished, failed or stopped."""
    if jax.process_index() != 0:
        return
    path = folder / "status.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, {**before, "state": state, "heartbeat": now(), "host": socket.gethostname(), "pid": os.getpid(), **facts})


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _flat(tree: dict, prefix: str = "") -> dict:
    flat: dict = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _git(*arguments: str) -> str:
    """Output of a git command about the code that runs; empty where there is no git or no repository."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        return found.stdout
    except (OSError, subprocess.SubprocessError):
        return ""
