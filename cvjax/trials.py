"""Searches that learn from finished runs: Optuna proposes by ask-and-tell, this process starts, prunes and tells.

The run folders are the truth (trial.json says what was drawn), the storage a cache of them: a journal in the study's folder that is
repaired when torn, or any storage of Optuna's by URL, which launchers on many machines can share. The same command goes on where it stood.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvjax import plan
from cvjax.executors import local
from cvjax.files import append_line, lines, read_json, write_json
from cvjax.search import LISTED, Between, Choice, Search
from cvjax.storage import counted, open_storage, reattach, taken, unfinished
from cvjax.study import Study, text

if TYPE_CHECKING:
    import optuna

LOOK = 1.0  # seconds between looks at what running trials have measured
REPEATS = 20  # draws in a row that were there before, after which a space is taken to hold no other


class Exhausted(Exception):
    """The space holds no arm that has not been tried."""


def run(
    found: Study, folder: Path, storage: str, parallel: int, retries: int, environment: dict[str, str], say: Callable[[str], None]
) -> bool:
    """Runs trials until the storage holds as many as the search asks for. Returns whether any ran.

    Raises UserError when the storage cannot be reached, Interrupted when a signal asks to stop.
    """
    search = found.search
    assert search is not None
    pool = local.Pool(parallel, environment)
    study = open_storage(found, folder, storage)
    restore(study, found, folder)
    if search.sampler in LISTED:
        for arm in search.listed():
            study.enqueue_trial({key: _word(value) for key, value in arm.items()}, skip_if_exists=True)
    again = [reattach(study, trial) for trial in unfinished(study, folder)]
    running = {place(found, folder, trial): trial for trial in again}
    waiting, asked = list(running), bool(running)
    looked_at, wanted = 0.0, search.trials
    with local.watched(pool) as check:
        while True:
            check()
            while not waiting and pool.free() and len(counted(study)) < wanted:
                try:
                    begun = propose(study, found, folder)
                except Exhausted:
                    wanted = len(counted(study))
                    say(f"the last {REPEATS} draws were there before: the search ends with {wanted} trials")
                    break
                if begun is None:
                    break
                running[begun[0]], asked = begun[1], True
                waiting.append(begun[0])
            for path in [path for path in waiting if pool.free() and plan.state(path) != "running"]:
                waiting.remove(path)
                if local.needed(path, retries):
                    pool.start(path)
                else:
                    say(tell(study, search, running.pop(path), path))
            looked = time.monotonic() - looked_at > LOOK
            for path in pool.running() if looked and search.pruner != "none" else ():
                looked_at = time.monotonic()
                if not (path / "pruned.json").exists() and poor(running[path], search, path):
                    write_json(path / "pruned.json", {"trial": running[path].number})
                    pool.stop(path)
            for path in pool.ended():
                if local.needed(path, retries):
                    waiting.append(path)
                else:
                    say(tell(study, search, running.pop(path), path))
            if not running and not waiting and not pool.busy() and len(counted(study)) >= wanted:
                return asked
            time.sleep(local.POLL)


def restore(study: "optuna.Study", found: Study, folder: Path) -> None:
    """Tells the storage, and runs.jsonl, of the trials in run folders that they do not know."""
    import optuna

    search = found.search
    assert search is not None
    known = {trial.user_attrs.get("folder") for trial in study.get_trials(deepcopy=False)}
    listed = {line["folder"] for line in lines(folder / "runs.jsonl")}
    for path in sorted(file.parent for file in folder.glob("*/trial.json")):
        drawn = read_json(path / "trial.json")
        if path.name not in listed:
            append_line(folder / "runs.jsonl", run_of(found, drawn["number"], drawn["params"]).line())
        if path.name in known:
            continue
        values = _values(search, path)
        done = bool(values) and plan.state(path) == "finished"
        state = optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.RUNNING
        study.add_trial(
            optuna.trial.create_trial(
                params=drawn["params"], distributions=distributions(search), state=state, values=values if done else None,
                user_attrs={"folder": path.name, "home": str(folder.resolve())},
            )
        )  # fmt: skip


# ---- one trial


def propose(study: "optuna.Study", found: Study, folder: Path) -> tuple[Path, "optuna.Trial"] | None:
    """A new trial and its run folder; None when other launchers have begun the last ones meanwhile.

    A draw that another trial had before would be the same run, bit for bit: it is told that one's result, does not count, and the next
    is drawn. Raises Exhausted after REPEATS of them in a row.
    """
    search = found.search
    assert search is not None
    for _ in range(REPEATS):
        study.sampler = _sampler(search, f"{folder.resolve()}/{len(study.get_trials(deepcopy=False))}")
        trial = study.ask(distributions(search))
        trial.set_user_attr("home", str(folder.resolve()))
        same = next((other for other in counted(study) if other.params == trial.params), None)
        if same is None:
            return _begin(study, found, folder, trial)
        values = same.values if same.state.name == "COMPLETE" else None
        _drop(study, trial, values)
    raise Exhausted


def _begin(study: "optuna.Study", found: Study, folder: Path, trial: "optuna.Trial") -> tuple[Path, "optuna.Trial"] | None:
    assert found.search is not None
    trial.set_user_attr("folder", run_of(found, trial.number, trial.params).folder)  # from here on it counts
    if len([number for number in taken(study) if number < trial.number]) >= found.search.trials:
        trial.set_user_attr("folder", "")
        _drop(study, trial, None)
        return None
    return place(found, folder, trial), trial


def _drop(study: "optuna.Study", trial: "optuna.Trial", values: list[float] | None) -> None:
    """Ends a trial that is not run."""
    from optuna.trial import TrialState

    study.tell(trial, values, state=TrialState.COMPLETE if values else TrialState.FAIL)


def run_of(found: Study, number: int, params: dict[str, Any]) -> plan.Run:
    """The run that a trial's draw means."""
    assert found.search is not None
    arm = {key: _value(part, params[key]) for key, part in found.search.space.items()}
    return plan.make(found, number, ",".join(f"{key}={text(value)}" for key, value in arm.items() if key != "seed"), arm)


def place(found: Study, folder: Path, trial: "optuna.Trial") -> Path:
    """The trial's run folder, made where a launcher died before it was."""
    run = run_of(found, trial.number, trial.params)
    path = plan.place(folder, run)
    if not (path / "trial.json").exists():
        write_json(path / "trial.json", {"number": trial.number, "params": trial.params})
    if run.folder not in {line["folder"] for line in lines(folder / "runs.jsonl")}:
        append_line(folder / "runs.jsonl", run.line())
    return path


def distributions(search: Search) -> dict[str, "optuna.distributions.BaseDistribution"]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict = {}
    for key, part in search.space.items():
        if isinstance(part, Choice):
            found[key] = CategoricalDistribution([_word(value) for value in part.values])
        else:
            kind: Any = IntDistribution if part.whole else FloatDistribution
            found[key] = kind(part.low, part.high, log=part.log)
    return found


def _word(value: Any) -> Any:
    """A choice as a storage can hold it."""
    return value if isinstance(value, int | float | str | bool | None) else str(value)


def _value(part: Between | Choice, drawn: Any) -> Any:
    return next(value for value in part.values if _word(value) == drawn) if isinstance(part, Choice) else drawn


def poor(trial: "optuna.Trial", search: Search, path: Path) -> bool:
    """Reports what the run has measured since the last look, by whole evaluations; whether the pruner would stop it."""
    (name, _), *_ = search.goals.items()
    if not (path / "metrics.jsonl").exists():
        return False
    written = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    found = [json.loads(line) for line in written if f'"{name}"' in line and line.endswith("\n")]
    rows = [row for row in found if not name.startswith("train/") or row["epoch"] % 1 == 0]
    known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for number, row in enumerate(rows, 1):
        if number not in known:
            trial.report(row[name], number)
    return len(rows) > search.warmup and trial.should_prune()


def tell(study: "optuna.Study", search: Search, trial: "optuna.Trial", path: Path) -> str:
    """Tells Optuna how a run ended. Returns the line for the terminal."""
    from optuna.trial import TrialState

    state, values = plan.state(path), _values(search, path)
    if state == "finished" and values:
        study.tell(trial, values, skip_if_finished=True)
    elif state == "pruned":
        write_json(path / "status.json", {**read_json(path / "status.json"), "state": "pruned", "reason": "poor beside earlier trials"})
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    else:
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
    drawn = " ".join(f"{key}={text(value)}" for key, value in trial.params.items())
    return f"[{trial.number + 1}/{search.trials}] {drawn}: {'pruned' if state == 'pruned' else local.outcome(path)}"


def _values(search: Search, path: Path) -> list[float] | None:
    """What a finished run is worth by every goal; None where it has no number."""
    from cvjax.reporting import comparison, runs

    if plan.state(path) != "finished":
        return None
    run = runs.read(path)
    found = [comparison.quantity(run, name) for name in search.goals]
    return [float(value) for value in found if value is not None] if None not in found else None


def _sampler(search: Search, where: str) -> "optuna.samplers.BaseSampler":
    """A sampler with a seed of its own for every trial: a search that goes on does not repeat its draws."""
    import optuna

    seed = int(hashlib.sha256(f"{search.seed}/{where}".encode()).hexdigest()[:8], 16)
    kind = {"tpe": optuna.samplers.TPESampler, "cmaes": optuna.samplers.CmaEsSampler, "nsga2": optuna.samplers.NSGAIISampler}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind.get(search.sampler, optuna.samplers.RandomSampler)(seed=seed)
