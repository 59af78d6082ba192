"""Sweeps and comparisons: a study listed, checked, run where it shall run, and reported. The same command again continues it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cvjax import plan, storage, study, trials
from cvjax.errors import UserError
from cvjax.executors import local, slurm, vmap
from cvjax.search import LISTED
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
    check(found, place)
    environment = dict(os.environ)  # before JAX, which the runs do not share with us
    if found.search is not None and found.search.prunes_or_learns:
        with plan.owned(folder):
            fresh: bool | None = _search(found, source, folder, place, environment, say)
    else:
        fresh = _listed(found, source, folder, place, environment, say)
    if fresh is not None:
        _report(folder, fresh, say)


def check(found: Study, place: Place) -> None:
    """Raises UserError for a place where this study cannot run: all that can be told without JAX."""
    if place.retries < 0:
        raise UserError(f"--retries is {place.retries}; 0 starts nothing again")
    if place.slurm and place.executor != "slurm":
        raise UserError(f"--slurm={place.slurm} needs --executor=slurm")
    if place.parallel < 1:
        raise UserError(f"--parallel is {place.parallel}; it must be at least 1")
    if place.executor == "local":
        local.Pool(place.parallel, {})  # raises what is wrong with --parallel
    if found.search is None or not found.search.prunes_or_learns:
        return
    what = f"--sampler={found.search.sampler} --pruner={found.search.pruner}"
    if place.executor == "slurm":
        raise UserError(f"{what} runs with --executor=local only; on a cluster start this command on several nodes with one --storage=URL")
    if place.executor != "local":
        raise UserError(f"{what} runs with --executor=local only; grid, random and sobol without a pruner run everywhere")
    if found.seeds:
        raise UserError("a search takes its seeds from its space: Choice((0, 1, 2)) for 'seed', and no seeds of the study")


def _listed(found: Study, source: str, folder: Path, place: Place, environment: dict[str, str], say: Callable[[str], None]) -> bool | None:
    """Runs a study whose arms are known. Returns whether any run had still to run; None when they are left to Slurm."""
    listed, options = plan.runs(found), slurm.options(place.slurm)
    if place.executor == "slurm":
        slurm.check(folder, [item.index for item in listed], options)
    if place.executor == "vmap":
        vmap.check(listed)
    with plan.owned(folder):
        if plan.is_new(folder, listed):
            _check(listed, found)
            plan.write(folder, listed)
        plan.describe(folder, found, source)
        for item in listed:
            plan.place(folder, item)
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
    if plan.is_new_search(folder, found):
        search = found.search
        corners = [{key: part.at(share) for key, part in search.space.items()} for share in (0.0, 0.5, 1.0)]
        tried = search.listed() if search.sampler in LISTED else corners
        _check([plan.make(found, number, study.named([arm]).popitem()[0], arm) for number, arm in enumerate(tried)], found)
        storage.open_storage(found, folder, place.storage)  # raises where it cannot be reached
    plan.describe(folder, found, source)
    return trials.run(found, folder, place.storage, place.parallel, place.retries, environment, say)


def dry_run(found: Study, folder: Path, place: Place, say: Callable[[str], None] = print) -> None:
    """Prints every run and what it sets, and the script for Slurm. Touches nothing, and builds no config: that takes JAX."""
    check(found, place)
    if found.search is not None and found.search.prunes_or_learns:
        for key, part in found.search.space.items():
            say(f"{key}: {part}")
        say(f"{found.search.trials} trials, drawn by {found.search.sampler} as results come in")
        return
    listed = plan.runs(found)
    if place.executor == "vmap":
        vmap.check(listed)
    for item in listed:
        say(f"{item.folder}  " + " ".join(f"{key}={value}" for key, value in item.sets.items()))
    say(f"{len(listed)} runs")
    if place.executor == "slurm":
        say(slurm.script(folder, [item.index for item in listed], slurm.options(place.slurm), place.parallel))


def _check(listed: list[plan.Run], found: Study) -> None:
    """Raises UserError unless every run can be built and measures what is compared. On the CPU: the devices are for the runs."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    from cvjax import check, environment

    environment.prepare()
    check.studies_runs(((f"arm '{item.arm}'", item.config) for item in listed), found.metrics)


def _report(folder: Path, fresh: bool, say: Callable[[str], None]) -> None:
    from cvjax import report

    if fresh or _outdated(folder):
        report.report([folder])
        say(report.summary(folder))
    say(f"report: {folder / 'report.html'}")


def _outdated(folder: Path) -> bool:
    """Whether something has been written since the report, or there is none."""
    page, sources = folder / "report.html", [folder / "study.json", *folder.glob("*/status.json")]
    return not page.exists() or any(path.stat().st_mtime > page.stat().st_mtime for path in sources if path.exists())


def quick(base: study.ConfigDict, text: str) -> Study:
    """The study of `--sweep="optim.lr=[1e-3,3e-4] seed=range(3)"`."""
    return study.of_arms(base, study.grid(text))
