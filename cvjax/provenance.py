"""What decided a run: command, config, code, versions, devices, data. Appended to run.json at every start."""

import hashlib
import os
import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jax
import numpy as np

from cvjax import config as configs
from cvjax import describe
from cvjax.build import Experiment
from cvjax.data._source import Source
from cvjax.errors import UserError
from cvjax.files import now, read_json, write_json
from cvjax.state import State

PACKAGES = ("cvjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def record(folder: Path, e: Experiment, state: State, start: int) -> None:
    """Appends to run.json what decided this start of the run; uncommitted changes go to code.diff.

    Warns where the code, the versions or the data are not those of the start before.
    """
    if jax.process_index() != 0:
        return
    starts = read_json(folder / "run.json") if (folder / "run.json").exists() else []
    diff = _git("diff", "HEAD")
    if diff:
        (folder / "code.diff").write_text(diff if len(diff) < 1_000_000 else "too large to keep\n")
    variables = ("JAX_", "XLA_", "CVJAX_", "SLURM_JOB", "SLURM_RESTART")
    found = {
        "time": now(),
        "command": ["python", *sys.argv],
        "step": start,
        "seed": e.seed,
        "config": _sha256(configs.to_json(e.config)),
        "data": fingerprint(e.splits["train"]),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: metadata.version(name) for name in PACKAGES if _installed(name)},
        "devices": [device.device_kind for device in jax.devices()],
        "environment": {key: value for key, value in os.environ.items() if key.startswith(variables)},
        "git": {"commit": _git("rev-parse", "HEAD").strip() or None, "dirty": bool(diff), "diff": _sha256(diff)},
        "parameters": sum(int(np.prod(x.shape)) for x in jax.tree.leaves(state.params)),
        "multiply_adds": describe.multiply_adds(e.model, e.blank()),
    }
    if starts and start:
        for line in _changes(starts[-1], found):
            print(f"cvjax: warning: since the run's last start {line}", file=sys.stderr)
    write_json(folder / "run.json", [*starts, found])


def _changes(before: dict, after: dict) -> list[str]:
    """What changed between two starts and may change the numbers."""
    lines = []
    if before["git"] != after["git"]:
        lines.append(f"the code changed ({_code(before)} -> {_code(after)})")
    versions = before["versions"] | after["versions"]
    odd = [f"{name} {before['versions'].get(name)} -> {after['versions'].get(name)}" for name in versions
           if before["versions"].get(name) != after["versions"].get(name)]  # fmt: skip
    lines += [f"packages changed ({', '.join(odd)})"] if odd else []
    lines += [f"{key} changed ({before[key]} -> {after[key]})" for key in ("python", "devices") if before[key] != after[key]]
    return lines + (["the training data changed"] if before["data"] != after["data"] else [])


def _code(start: dict) -> str:
    return f"{(start['git']['commit'] or 'no commit')[:12]}{' with uncommitted changes' * start['git']['dirty']}"


def fingerprint(source: Source) -> str:
    """A SHA-256 of what a source is: its classes, its size, and the names, pixels and labels of eight records spread over it."""
    found = hashlib.sha256(repr((source.info.classes, len(source))).encode())
    for index in np.linspace(0, len(source) - 1, 8).astype(int).tolist():
        try:
            example = source[index]
        except UserError as error:
            example = {"unreadable": np.frombuffer(str(error).encode(), np.uint8)}
        found.update(source.name(index).rpartition("/")[2].encode())
        for name in sorted(example):
            found.update(np.ascontiguousarray(example[name]).tobytes())
    return found.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
