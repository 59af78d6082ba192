"""The runs of a study: listed before the first starts, each with a folder of its own. The list never changes once it is written.

    WORKDIR/study.json         what is compared: arms, measured, claims, the paper's numbers
    WORKDIR/runs.jsonl         a line a run: its arm, seed, settings and the SHA-256 of its config
    WORKDIR/0003-plain-20,seed=1-5f2c81d0/     an ordinary run, as `train` leaves it

The run folders are the truth; everything else can be made again from the study and from them. Free of JAX.
"""

import dataclasses
import datetime
import hashlib
import json
import re
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cvjax import config as configs
from cvjax import lock
from cvjax.errors import UserError
from cvjax.files import append_line, lines, now, read_json, write_json, write_text
from cvjax.schema import assign
from cvjax.study import Arm, Study, of_arms

OURS = re.compile(r"lock|study\.json|trials\.journal.*|vmap\.txt|slurm|(report|results|comparison|curves|probes)\.\w+|.*\.tmp")
CLAIM = ("left", "relation", "right", "margin")  # a claim's inequality, taken apart


@dataclass(frozen=True)
class Run:
    """One arm with one seed.

    digest: of its config. folder: its name inside the study's folder. devices: how many it is to use, 0 for all it is given.
    """

    index: int
    arm: str
    seed: int
    sets: Arm
    config: ConfigDict
    digest: str
    folder: str
    devices: int = 0

    def line(self) -> dict[str, Any]:
        """What runs.jsonl says of it."""
        return {"index": self.index, "arm": self.arm, "seed": self.seed, "sets": self.sets, "folder": self.folder,
                "config": self.digest, "devices": self.devices}  # fmt: skip


def runs(study: Study) -> list[Run]:
    """Every run of a study whose arms are known. Raises UserError naming the arm that cannot be, or two that are the same run."""
    if study.search is not None:
        drawn = of_arms(study.base, study.search.listed())
        study = dataclasses.replace(study, search=None, arms=drawn.arms, seeds=study.seeds or drawn.seeds)
    listed: list[Run] = []
    known: dict[str, str] = {}
    for arm, sets in study.arms.items():
        for seed in study.seeds_of(arm):
            run = make(study, len(listed), arm, sets if seed is None else {**sets, "seed": seed})
            what = f"arm '{arm}', seed {run.seed}"
            if same := known.get(f"{run.digest} {run.devices}"):
                raise UserError(f"{same} and {what} are the same run; take one away")
            known[f"{run.digest} {run.devices}"] = what
            listed.append(run)
    return listed


def make(study: Study, index: int, arm: str, sets: Arm) -> Run:
    """One run. Raises UserError for a setting that does not exist or has the wrong type."""
    config = study.base.copy_and_resolve_references()
    try:
        assign(config, list(sets.items()))
    except UserError as error:
        raise UserError(f"arm '{arm}': {str(error).removeprefix('--')}") from error
    config.lock()
    devices = study.devices.get(arm, 0)
    if devices and config.data.batch_size % devices:
        raise UserError(f"arm '{arm}': config.data.batch_size is {config.data.batch_size}, which does not divide over {devices} devices")
    seed = config["seed"]
    name = re.sub(r"[^\w=.,+-]+", "_", f"{arm},seed={seed}")[:80]
    sha256 = digest(config)
    return Run(index, arm, seed, dict(sets), config, sha256, f"{index:04d}-{name}-{sha256[:8]}", devices)


def digest(config: ConfigDict) -> str:
    return hashlib.sha256(configs.to_json(config).encode()).hexdigest()


# ---- on disk


def owned(folder: Path) -> AbstractContextManager[None]:
    """Makes the study's folder and holds its lock. Raises UserError when another launcher holds it, or when it cannot be written."""
    return lock.owned(folder, begun=lambda: any(folder.glob("*/status.json")))


def is_new(folder: Path, listed: list[Run]) -> bool:
    """Whether nothing of the study is in the folder yet. Raises UserError when another study, or anything else, is."""
    path = folder / "runs.jsonl"
    found, wanted = lines(path), [json.loads(json.dumps(run.line())) for run in listed]  # tuples are lists there
    if not found:
        folders = {run.folder for run in listed}
        _refuse_others(folder, lambda item: item.name in folders)
        return True
    for old, new in zip(found, wanted, strict=False):
        if old != new:
            what = next(key for key in new if old.get(key) != new[key])
            then = f"run {new['index']} has {what} {old.get(what)} there, {new[what]} here"
            raise UserError(f"{folder} holds another study ({then}); choose another --workdir")
    if len(found) == len(wanted):
        return False
    kept = all((folder / run.folder).exists() for run in listed[len(found) :])
    torn = kept or len(found) < len(path.read_text(errors="replace").splitlines())
    if len(found) > len(wanted) or not torn:
        raise UserError(f"{folder} holds another study of {len(found)} runs, this one has {len(wanted)}; choose another --workdir")
    print(f"cvjax: warning: {path} is torn after {len(found)} of {len(wanted)} runs; it is written again", file=sys.stderr)
    return True


def is_new_search(folder: Path, study: Study) -> bool:
    """The same for a search, whose runs are not known beforehand: it is told by its experiment and its space."""
    if not (folder / "study.json").exists():
        _refuse_others(folder, lambda item: item.name == "runs.jsonl" or (item / "trial.json").exists())
        return True
    found, here = read_json(folder / "study.json")["search"], _search(study)
    differ = [name for name in ("base", "space", "goals") if found is None or here is None or found[name] != here[name]]
    if differ:
        raise UserError(f"{folder} holds another study (its {differ[0]} differs); choose another --workdir")
    return False


def _refuse_others(folder: Path, ours: Callable[[Path], bool]) -> None:
    """Raises UserError for a folder that holds anything but what a study writes and the runs that are `ours`."""
    other = [item.name for item in sorted(folder.iterdir()) if not OURS.fullmatch(item.name) and not ours(item)]
    if other:
        raise UserError(f"--workdir={folder} holds no study but {other[0]}; choose a folder of its own")


def _search(study: Study) -> dict[str, Any] | None:
    """What tells one search from another, and how it draws."""
    if study.search is None:
        return None
    space = {key: str(part) for key, part in study.search.space.items()}
    return {"base": digest(study.base), "space": space, "goals": dict(study.search.goals), "sampler": study.search.sampler}


def search_digest(study: Study) -> str:
    """Of what tells one search from another; how it draws, and how often, may change."""
    facts = {name: value for name, value in (_search(study) or {}).items() if name != "sampler"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write(folder: Path, listed: list[Run]) -> None:
    """Writes the list of runs, whole or not at all."""
    write_text(folder / "runs.jsonl", "".join(json.dumps(run.line()) + "\n" for run in listed))


def place(folder: Path, run: Run) -> Path:
    """The run's folder, with its config, from which `train` starts and continues it."""
    path = folder / run.folder
    path.mkdir(exist_ok=True)
    if not (path / "config.json").exists():
        write_json(path / "config.json", json.loads(configs.to_json(run.config)))
    return path


def describe(folder: Path, study: Study, source: str) -> None:
    """Writes study.json, what a report needs to know besides the runs, where it says anything else: claims may be mended afterwards."""
    facts = {
        "source": source,
        "measured": list(study.measured),
        "claims": [dataclasses.asdict(claim) | dict(zip(CLAIM, claim.parts(), strict=True)) for claim in study.claims],
        "paper": dataclasses.asdict(study.paper) if study.paper else None,
        "search": _search(study),
    }
    path = folder / "study.json"
    if not path.exists() or path.read_text() != json.dumps(facts, indent=1):
        write_json(path, facts)


# ---- how a run stands


def state(run: Path) -> str:
    """pending, running, stopped (saved by a signal), interrupted (its process has gone), failed, pruned or finished."""
    if not (run / "status.json").exists():
        return "pending"
    status = read_json(run / "status.json")
    if (run / "pruned.json").exists() and status["state"] != "finished":
        return "pruned"
    return "interrupted" if status["state"] == "running" and not alive(run, status) else status["state"]


def alive(run: Path, status: dict[str, Any]) -> bool:
    """Whether a process is at a run: it holds the lock, or, on another machine, has given a sign within the last half hour."""
    silent = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(status["heartbeat"])
    return lock.held(run) or (status["host"] != socket.gethostname() and silent < datetime.timedelta(minutes=30))


def failures(run: Path) -> list[dict[str, Any]]:
    """The times that a run's process failed, as `note_failure` wrote them down."""
    return lines(run / "failures.jsonl")


def note_failure(run: Path, code: int) -> str:
    """Remembers that a run's process ended with a code that means failure, and says why."""
    status = read_json(run / "status.json") if (run / "status.json").exists() else {}
    reason = status.get("reason") if status.get("state") == "failed" else ""
    reason = reason or _last_words(run) or (f"killed by signal {-code}" if code < 0 else f"exit code {code}")
    append_line(run / "failures.jsonl", {"time": now(), "code": code, "reason": reason})
    status = {"host": socket.gethostname(), "pid": 0, "heartbeat": now(), **status, "state": "failed", "reason": reason}
    write_json(run / "status.json", status)
    return reason


def note_end(run: Path) -> None:
    """The same for a run whose process nobody here has seen end: if its status says failed, and that is not written down yet."""
    if not (run / "status.json").exists():
        return
    status, before = read_json(run / "status.json"), failures(run)
    if status["state"] == "failed" and (not before or before[-1]["time"] < status["heartbeat"]):
        note_failure(run, 1)


def _last_words(run: Path) -> str:
    """What the process said last, when it ended with an error of one line."""
    if not (run / "log.txt").exists():
        return ""
    said = (run / "log.txt").read_text(errors="replace").splitlines()
    return said[-1].removeprefix("cvjax: error: ") if said and said[-1].startswith("cvjax: ") else ""
