"""Sweeps and comparisons: a study listed, checked, run where it shall run, and reported. The same command again continues it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cvjax import plan, study, trials
from cvjax.errors import UserError
from cvjax.executors import local, slurm, vmap
from cvjax.study import Study


@dataclass(frozen=True)
class Place:
    """Where runs run: `executor` "local", "vmap" or "slurm" (with the options of sbatch), how many at a time, how often one that fails.

    storage: of a search, any URL of Optuna's; "" is a journal in the study's folder.
    """

    executor: str = "local"
    slurm: str = ""
    parallel: int = 1
    retries: int = 1
    storage: str = ""


def run(found: Study, source: str, folder: Path, place: Place, say: Callable[[str], None] = print) -> None:
    """Runs what is not finished of a study, and writes its report.

    Args:
        source: what to say the study came from.

    Raises:
        UserError: before anything starts: an arm that cannot be built, a folder of another study, another launcher at work.
        Interrupted: a signal asked to stop and everything is saved.
    """
    if place.retries < 0:
        raise UserError(f"--retries is {place.retries}; 0 starts nothing again")
    if place.executor == "local":
        local.Pool(place.parallel, {})  # raises what is wrong with --parallel
    environment = dict(os.environ)  # before JAX, which the runs do not share with us
    if found.search is not None and found.search.prunes_or_learns:
        with plan.owned(folder):
            fresh: bool | None = _search(found, source, folder, place, environment, say)
    else:
        fresh = _listed(found, source, folder, place, environment, say)
    if fresh is not None:
        _report(folder, fresh, say)


def _listed(found: Study, source: str, folder: Path, place: Place, environment: dict[str, str], say: Callable[[str], None]) -> bool | None:
    """Runs a study whose arms are known. Returns whether any run had still to run; None when they are left to Slurm."""
    listed, options = plan.runs(found), slurm.options(place.slurm)
    if place.executor == "slurm":
        slurm.check(folder, options)
    if place.executor == "vmap":
        vmap.check(listed)
    with plan.owned(folder):
        if plan.is_new(folder, listed):
            _check(listed)
            plan.write(folder, found, source, listed)
        todo = [item for item in listed if local.needed(folder / item.folder, place.retries)]
        done = len(listed) - len(todo)
        say(f"{folder}: {len(listed)} runs" + (f", {done} done before" if done else ""))
        if todo and place.executor == "slurm":
            slurm.submit(folder, listed, options, place.parallel, place.retries, say)
            return None
        if todo and place.executor == "vmap":
            vmap.execute(folder, listed, place.parallel, place.retries, environment, say)
        elif todo:
            local.execute(folder, listed, place.parallel, place.retries, environment, say)
    return bool(todo)


def _search(found: Study, source: str, folder: Path, place: Place, environment: dict[str, str], say: Callable[[str], None]) -> bool:
    """Runs a study whose arms are drawn as results come in. Returns whether any trial ran."""
    assert found.search is not None
    if found.seeds:
        raise UserError("a search takes its seeds from its space: Choice((0, 1, 2)) for 'seed', and no seeds of the study")
    if place.executor != "local":
        what = f"--sampler={found.search.sampler} --pruner={found.search.pruner}"
        raise UserError(f"{what} runs here only; on a cluster start this command on several nodes with one --storage=URL")
    if plan.is_new_search(folder, found):
        corners = [{key: part.at(share) for key, part in found.search.space.items()} for share in (0.0, 0.5, 1.0)]
        _check([plan.make(found, number, "the space's corner", arm) for number, arm in enumerate(corners)])
        trials.open_storage(found.search, folder, place.storage)  # raises where it cannot be reached
        plan.describe(folder, found, source)
    return trials.run(found, folder, place.storage, place.parallel, place.retries, environment, say)


def dry_run(found: Study, folder: Path, place: Place, say: Callable[[str], None] = print) -> None:
    """Prints every run and what it sets, and the script for Slurm. Touches nothing."""
    if found.search is not None and found.search.prunes_or_learns:
        for key, part in found.search.space.items():
            say(f"{key}: {part}")
        say(f"{found.search.trials} trials, drawn by {found.search.sampler} as results come in")
        return
    listed = plan.runs(found)
    for item in listed:
        say(f"{item.folder}  " + " ".join(f"{key}={value}" for key, value in item.sets.items()))
    say(f"{len(listed)} runs")
    if place.executor == "slurm":
        say(slurm.script(folder, [item.index for item in listed], slurm.options(place.slurm), place.parallel))


def _check(listed: list[plan.Run]) -> None:
    """Raises UserError unless every run can be built. On the CPU: the devices are for the runs."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    from cvjax import check, environment

    environment.prepare()
    check.studies_runs((f"arm '{item.arm}'", item.config) for item in listed)


def _report(folder: Path, fresh: bool, say: Callable[[str], None]) -> None:
    from cvjax import report
    from cvjax.reporting import comparison, comparison_page

    if fresh or not (folder / "report.html").exists():
        report.report([folder])
        held = comparison.read(folder)
        say(comparison_page.terminal(held) if held is not None else "")
    say(f"report: {folder / 'report.html'}")


def quick(base: study.ConfigDict, text: str) -> Study:
    """The study of `--sweep="optim.lr=[1e-3,3e-4] seed=range(3)"`."""
    arms = study.grid(text)
    seeds = tuple(dict.fromkeys(arm["seed"] for arm in arms if "seed" in arm))
    if any(not isinstance(seed, int) for seed in seeds):
        raise UserError(f"--sweep: seeds are whole numbers, not {seeds}")
    plain = [{key: value for key, value in arm.items() if key != "seed"} for arm in arms]
    return Study(base, study.named([arm for number, arm in enumerate(plain) if arm not in plain[:number]]), seeds)
