"""What a run leaves on disk besides checkpoints and metrics: what it is, where it ran, how it stands, what it predicts."""

import dataclasses
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cvjax import config as configs
from cvjax import detections, lock
from cvjax.build import Experiment
from cvjax.data._decode import ENDINGS
from cvjax.data._source import Info
from cvjax.errors import UserError
from cvjax.files import now, read_json, write_json

PICTURES = 24


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Makes the folder where there is none and holds its lock. Raises UserError when it is another process's, or holds something else."""
    if jax.process_index() != 0:
        yield
        return
    with lock.owned(folder, begun=lambda: any((folder / "checkpoints").glob("*"))):
        _check_is_a_run(folder)
        yield


def _check_is_a_run(folder: Path) -> None:
    """Raises UserError for a folder that holds something else: pictures, say. Files of job managers may be there before a run."""
    if not (folder / "config.json").exists():
        other = [path for path in sorted(folder.iterdir()) if (path.is_dir() and path.name != "verify") or path.suffix.lower() in ENDINGS]
        if other:
            (folder / "lock").unlink()
            raise UserError(f"--workdir={folder} holds no run but {other[0].name}; choose a folder of its own")


def claim(folder: Path, e: Experiment) -> dict | None:
    """Makes the folder this experiment's. Returns the final metrics when it is finished already, else None.

    A folder without a checkpoint is free: what began there failed before its first step.
    Raises UserError when the folder holds another experiment, naming the keys that differ.
    """
    if (folder / "config.json").exists() and any((folder / "checkpoints").glob("*")):
        check_config(folder, e)
        if read_info(folder) != e.info:
            raise UserError(f"{folder} was trained on other data: classes or number of examples differ; choose another --workdir")
        if (folder / "status.json").exists():
            found = read_json(folder / "status.json")
            return found["final"] if found["state"] == "finished" else None
        return None
    if (folder / "status.json").exists() and read_json(folder / "status.json").get("step"):
        raise UserError(f"{folder} has lost its checkpoints: bring back a backup of {folder / 'checkpoints'}, or choose another --workdir")
    if jax.process_index() == 0:
        write_json(folder / "config.json", json.loads(configs.to_json(e.config)))
        write_json(folder / "info.json", dataclasses.asdict(e.info))
    return None


def check_config(folder: Path, e: Experiment) -> None:
    """Raises UserError when the run in a folder is of another experiment, naming the keys that differ."""
    differing = differences(configs.read(folder), e.config)
    if differing:
        raise UserError(f"{folder} holds a run of another config ({'; '.join(differing[:5])}); choose another --workdir")


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """ "optim.lr: 0.1 -> 0.2" for every key in which two configs differ."""
    a, b = _flat(json.loads(configs.to_json(old))), _flat(json.loads(configs.to_json(new)))
    return [f"{key}: {a.get(key, 'absent')} -> {b.get(key, 'absent')}" for key in sorted({*a, *b}) if a.get(key) != b.get(key)]


def read_info(folder: Path) -> Info:
    """Facts about the training data of a run. Raises UserError where they are not there."""
    if not (folder / "info.json").is_file():
        raise UserError(f"{folder} has no info.json: its run is only beginning, or not all of it was copied; wait, or copy it again")
    facts = read_json(folder / "info.json")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    return Info(**values)


def keep_predictions(folder: Path, e: Experiment, split: str, rows: dict[str, np.ndarray], name: str = "") -> None:
    """What the run made of the examples of a split (eval/val.npz), and a picture of some, the worst and then the best (images/).

    Detections are also kept as COCO's results file, see `cvjax.detections`.

    `name` keeps another evaluation apart from that of the end of the run: eval/<name>.npz, images/<name>.png.
    """
    from cvjax.reporting.pictures import prediction_grid

    (folder / "eval").mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    np.savez_compressed(folder / "eval" / f"{name or split}.npz", allow_pickle=False, **rows)
    if e.info.task == "detection":
        detections.write(folder / "eval", name or split, rows, e.splits[split])
    if e.pixels is None:
        return
    source = e.splits[split]
    said = [e.task.caption({name: x[i] for name, x in rows.items()}, source.info) for i in range(len(rows["valid"]))]
    scores = [1.0 if score is None else score for _, score in said]
    worst = sorted(range(len(said)), key=scores.__getitem__)[: PICTURES // 3]
    best = sorted(set(range(len(said))) - set(worst), key=lambda i: (-scores[i], i))
    explained = [e.task.legend(source.info)] if hasattr(e.task, "legend") else []
    shown = (worst + best)[: PICTURES - len(explained)]
    panels = [e.task.panel(source[i]["image"], {name: x[i] for name, x in rows.items()}, source.info) for i in shown] + explained
    large = {"columns": 4, "tile": 280} if max(panels[0].shape[:2]) > 280 else {}
    prediction_grid(
        panels,
        [said[i][0] for i in shown] + ["classes"] * len(explained),
        [None if said[i][1] is None else said[i][1] >= 0.5 for i in shown] + [None] * len(explained),
        folder / "images" / f"{name or 'predictions'}.png",
        **large,
    )


def status(folder: Path, state: str, **facts: object) -> None:
    """Replaces status.json; facts not given stay as they were. `state`: running, finished, failed or stopped."""
    if jax.process_index() != 0:
        return
    path = folder / "status.json"
    before = read_json(path) if path.exists() else {}
    write_json(path, {**before, "state": state, "heartbeat": now(), "host": socket.gethostname(), "pid": os.getpid(), **facts})


def note_unreadable(folder: Path, found: dict[str, str]) -> None:
    """Names training records that cannot be read in unreadable.txt, each once, and says that there are some."""
    if not found or jax.process_index() != 0:
        return
    path = folder / "unreadable.txt"
    known = path.read_text().splitlines() if path.exists() else []
    new = [reason for reason in (" ".join(text.split()) for text in found.values()) if reason not in known]
    if new:
        path.write_text("".join(f"{line}\n" for line in known + new))
        count = len(known) + len(new)
        if not known:
            print(f"cvjax: warning: training records cannot be read, others stand in for them; see {path}", file=sys.stderr)
        status(folder, "running", unreadable=count)


def _flat(tree: dict, prefix: str = "") -> dict:
    flat: dict = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
