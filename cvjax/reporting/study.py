"""Several runs put side by side: which settings differ, which runs are seeds of one setting, and what each is worth."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvjax.reporting import runs, words
from cvjax.reporting.runs import Run

# What a run is measured on. Runs that differ in one of these are not ranked against each other.
QUESTION = ("task.name", "data.name", "data.dataset", "data.root", "data.val", "data.test")


@dataclass(frozen=True)
class Group:
    """Runs whose configurations differ in the seed only. `settings`: their values of the study's differing keys."""

    settings: tuple[str, ...]
    runs: list[Run]

    @property
    def finished(self) -> list[Run]:
        """One finished run a seed: a repetition of the same seed says nothing about the spread over seeds."""
        return list({runs.setting(run, "seed"): run for run in self.runs if run.finished}.values())

    def final(self, metric: str) -> list[float]:
        """What its finished runs ended with; runs that failed or still run have no say."""
        return [value for run in self.finished if (value := runs.final(run, metric)) is not None]

    def best(self, metric: str) -> list[float]:
        return [top[0] for run in self.finished if (top := runs.best(run, metric)) is not None]


@dataclass(frozen=True)
class Study:
    """Runs that can be compared: of one task, measured on the same data.

    `name`: what tells it from the other studies of a report, "" when it is alone. `keys`: configuration keys whose values
    differ between groups. `groups`: the best first. `metric`: judged by.
    """

    name: str
    keys: list[str]
    groups: list[Group]
    metric: str | None

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]


def collect(found: list[Run], arms: Mapping[Path, str] | None = None) -> list[Study]:
    """A study for each data set and task: numbers measured on different data have no common ranking.

    arms: names of settings, by the folder of the run; where given, they stand for the keys that differ.
    """
    if arms and all(run.path in arms for run in found):
        return [_study("", found, ["arm"], lambda run, _: arms[run.path])]
    question = [key for key in differing(found) if key in QUESTION]
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in found:
        members.setdefault(tuple(runs.setting(run, key) for key in question), []).append(run)
    names = {values: ", ".join(value for value in values if value not in ("", words.MISSING)) for values in members}
    return [_study(names[values], members[values], differing(members[values]), runs.setting) for values in members]


def _study(name: str, found: list[Run], keys: list[str], setting: Callable[[Run, str], str]) -> Study:
    """Groups the runs by what `setting` says of the keys, and sorts the groups by their mean best value."""
    metric = runs.main_metric(found)
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in found:
        members.setdefault(tuple(setting(run, key) for key in keys), []).append(run)
    groups = [Group(settings, sorted(group, key=lambda run: runs.setting(run, "seed"))) for settings, group in members.items()]
    return Study(name, keys, sorted(groups, key=lambda group: _rank(group, metric)), metric)


def differing(found: list[Run]) -> list[str]:
    """Keys that not all runs agree on, the seed aside; a key that some runs lack differs too."""
    every = dict.fromkeys(key for run in found for key in run.config)
    return [key for key in every if key != "seed" and len({_identity(run, key) for run in found}) > 1]


def _identity(run: Run, key: str) -> str:
    return json.dumps(run.config[key], sort_keys=True) if key in run.config else words.MISSING


def _rank(group: Group, metric: str | None) -> tuple[bool, float]:
    values = group.best(metric) if metric else []
    mean = float(np.mean(values)) if values else np.nan
    if metric is None or not np.isfinite(mean):
        return True, 0.0
    return False, mean if runs.lower_is_better(group.runs[0], metric) else -mean


def table(study: Study) -> tuple[list[str], list[list[str]]]:
    """Head and rows, one row a group: settings, seeds, mean ± sample standard deviation of best and final values."""
    shown = [study.metric] if study.metric else []
    last = [runs.headline(study.runs, study.metric)] if study.metric else []
    losses = [name for name in (runs.evaluations(study.runs[0]) if study.metric else []) if name.endswith("/loss") and name != study.metric]
    head = [
        *(study.keys or ["setting"]),
        "seeds finished",
        *(f"best {runs.split(study.runs[0], m)} {words.metric(m)}" for m in shown),
        *(f"final {runs.split(study.runs[0], m)} {words.metric(m)}" for m in last + losses[:1]),
        "parameters",
        "wall time",
    ]
    rows = []
    for group in study.groups:
        times = [seconds for run in group.finished if (seconds := runs.wall_seconds(run)) is not None]
        rows.append(
            [
                *(group.settings or [runs.title(group.runs[0])]),
                f"{len(group.finished)} of {len({runs.setting(run, 'seed') for run in group.runs})}",
                *(words.spread(m, group.best(m)) for m in shown),
                *(words.spread(m, group.final(m)) for m in last + losses[:1]),
                words.quantity(runs.cost(group.runs[0], "parameters")),
                words.duration(float(np.mean(times)) if times else None),
            ]
        )
    return head, rows


def write_markdown(studies: list[Study], path: Path) -> None:
    """The tables of groups, for a paper's draft or an issue."""
    parts = []
    for study in studies:
        head, rows = table(study)
        cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in [head, ["---"] * len(head), *rows]]
        title = f"### {study.name}\n\n" if study.name else ""
        parts.append(title + "".join(f"| {' | '.join(line)} |\n" for line in cells))
    path.write_text("\n".join(parts), encoding="utf-8")


def write_csv(studies: list[Study], path: Path) -> None:
    """One line a run, failed ones too, numbers as in the files (fractions 0-1); first the settings that differ."""
    found = [run for study in studies for run in study.runs]
    keys, names = differing(found), list(dict.fromkeys(name for run in found for name in runs.evaluations(run)))
    finals, bests = [f"final {name}" for name in names], [f"best {name}" for name in names]
    costs = ["parameters", "multiply_adds", "images_per_s", "wall_s"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "state", "reason", "step", "seed", *keys, *finals, *bests, *costs])
        writer.writerows(_line(run, keys, names) for run in found)


def _line(run: Run, keys: list[str], names: list[str]) -> list[Any]:
    bests = [runs.best(run, name) for name in names]
    return [
        run.path,
        run.status["state"],
        run.status["reason"],
        run.status["step"],
        runs.setting(run, "seed"),
        *(runs.setting(run, key) if key in run.config else None for key in keys),
        *(runs.final(run, name) for name in names),
        *(top[0] if top else None for top in bests),
        runs.cost(run, "parameters"),
        runs.cost(run, "multiply_adds"),
        runs.images_per_second(run),
        runs.wall_seconds(run),
    ]
