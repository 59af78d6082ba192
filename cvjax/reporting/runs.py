"""Runs read back from their folders. Reads files only: no JAX, no model, no data.

A run is a folder with a `config.json`; everything else in it may be missing, because the run that failed early is the
one somebody wants to look at. Values are as in the files: fractions 0-1.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cvjax.errors import UserError
from cvjax.reporting import words

STATUS = {"state": "not started", "step": 0, "steps": None, "heartbeat": None, "reason": "", "best": None, "final": None}
NOT_EVALUATION = ("step", "epoch", "train/", "time/")


@dataclass(frozen=True)
class Run:
    """One workdir. `config` is flat ("optim.lr" -> 0.1); `starts`: one entry a (re)start; `rows`: metrics.jsonl."""

    path: Path
    config: dict[str, Any]
    starts: list[dict[str, Any]]
    status: dict[str, Any]
    rows: list[dict[str, Any]]
    info: dict[str, Any]

    @property
    def finished(self) -> bool:
        return self.status["state"] == "finished"


def find(workdirs: Sequence[Path]) -> list[Run]:
    """Every run in or below the folders, each once. Raises UserError where there is none, or a file is unreadable."""
    paths = [path for workdir in workdirs for path in _below(workdir)]
    return [read(path) for path in dict.fromkeys(paths)]


def _below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the workdir of a run, or a folder of runs")
    found = []
    for path, folders, files in os.walk(folder):
        folders.sort()
        if "config.json" in files:
            found.append(Path(path).resolve())
            folders.clear()  # what lies inside a run (checkpoints) belongs to it
        if "verify" in folders:
            folders.remove("verify")  # runs of a proof, which are no results
    if not found:
        raise UserError(f"no run in {folder}: looked for config.json in it and in every folder below it")
    return found


def read(path: Path) -> Run:
    status = {name: value for name, value in read_json(path / "status.json", {}).items() if value is not None}
    return Run(
        path=path,
        config=flatten(read_json(path / "config.json", {})),
        starts=read_json(path / "run.json", []),
        status=STATUS | status,
        rows=read_lines(path / "metrics.jsonl"),
        info=read_json(path / "info.json", {}),
    )


def read_json(path: Path, absent: Any) -> Any:
    if not path.exists():
        return absent
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); mend it, or move the run away") from None
    if type(value) is not type(absent):
        raise UserError(f"{path} holds a {type(value).__name__}, expected a {type(absent).__name__}; is it a cvjax run?")
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines up to the first that is not whole: a run that is being written, or was killed, ends in a torn line."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or "step" not in row:
            break
        rows.append(row)
    return rows


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 0.1}} -> {"optim.lr": 0.1}"""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return flat


# ---- questions about one run


def series(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs (or steps, where there are none) and values of a metric; of a step written twice the later line counts."""
    points = {row["step"]: (row["epoch"] if "epoch" in row else row["step"], row[name]) for row in run.rows if name in row}
    table = np.array([[np.nan if v is None else float(v) for v in points[step]] for step in sorted(points)]).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def names(run: Run) -> list[str]:
    return list(dict.fromkeys(name for row in run.rows for name in row))


def evaluations(run: Run) -> list[str]:
    """Names measured on held-out data, in the order of the file: "val/loss", "val/top1", ..."""
    return [name for name in dict.fromkeys([*names(run), *(run.status["final"] or {})]) if not name.startswith(NOT_EVALUATION)]


def final(run: Run, name: str) -> float | None:
    """What the run ended with; of a run that did not finish, its last evaluation."""
    if run.status["final"] and name in run.status["final"]:
        return run.status["final"][name]
    values = series(run, name)[1]
    return float(values[-1]) if len(values) else None


def lower_is_better(run: Run, name: str) -> bool:
    """As `train.mode` says of the metric that the run was judged by; of any other, losses and errors."""
    if {"train.mode", "train.monitor"} <= set(run.config) and run.config["train.monitor"] == name:
        return run.config["train.mode"] == "min"
    return words.lower_is_better(name)


def best(run: Run, name: str) -> tuple[float, float] | None:
    """(value, epoch) of the best evaluation by one metric; None where there is none that is a number."""
    epochs, values = series(run, name)
    if not np.isfinite(values).any():
        return None
    values = np.where(np.isfinite(values), values, np.inf if lower_is_better(run, name) else -np.inf)
    at = int(np.argmin(values) if lower_is_better(run, name) else np.argmax(values))
    return float(values[at]), float(epochs[at])


def main_metric(runs: Iterable[Run]) -> str | None:
    """The metric that runs are judged by: `train.monitor`, else their first that is not a loss, else any."""
    votes: Counter[str] = Counter()
    for run in runs:
        measured = evaluations(run)
        if "train.monitor" in run.config and run.config["train.monitor"] in measured:
            votes[run.config["train.monitor"]] += 1
        elif measured:
            votes[next((name for name in measured if not words.lower_is_better(name)), measured[0])] += 1
    return votes.most_common(1)[0][0] if votes else None


def headline(runs: Iterable[Run], metric: str) -> str:
    """Its twin on the test split, where a run was tested at its end on data that chose nothing; else the metric."""
    twin = "test/" + metric.partition("/")[2]
    return twin if any(twin in (run.status["final"] or {}) for run in runs) else metric


def setting(run: Run, key: str) -> str:
    """A configuration value as text; a dash where the run has no such key."""
    return words.setting(run.config[key]) if key in run.config else words.MISSING


def title(run: Run) -> str:
    """ "resnet 8 on digits", as far as the configuration says."""
    model = [str(run.config[key]) for key in ("model.name", "model.variant") if key in run.config]
    data = ["on", str(run.config["data.name"])] if "data.name" in run.config else []
    return " ".join(model + data) or run.path.name


def split(run: Run, name: str) -> str:
    """ "val/top1" -> "test" where the run was evaluated on a test set, else "validation"."""
    key = "data." + name.split("/")[0]
    return "test" if key in run.config and str(run.config[key]).startswith("test") else words.split(name)


def wall_seconds(run: Run) -> float | None:
    """From the first start to the last sign of life; pauses between restarts included."""
    start = _moment(run.starts[0]["time"]) if run.starts and "time" in run.starts[0] else None
    end = _moment(run.status["heartbeat"])
    return end - start if start is not None and end is not None and end >= start else None


def images_per_second(run: Run) -> float | None:
    """The median over the log windows, which the compilation in the first one does not move."""
    values = series(run, "time/images_per_s")[1]
    return float(np.median(values)) if len(values) else None


def cost(run: Run, name: str) -> int | None:
    """`parameters` or `multiply_adds` as the last start recorded it."""
    return run.starts[-1][name] if run.starts and name in run.starts[-1] else None


def _moment(value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return None
