"""The arms of a study held against each other, against its claims and against the paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvjax.files import lines
from cvjax.reporting import runs, statistics, words
from cvjax.reporting.importance import importance, seed_noise
from cvjax.reporting.runs import Run
from cvjax.reporting.study import differing

PROBES = "probes.json"  # what a run's probes found: {"layer_response": 0.4}
Table = tuple[list[str], list[list[str]]]


@dataclass(frozen=True)
class Comparison:
    """A study's folder. `arms`: name -> seed -> run, None where it has not begun. `measured`: what they are compared by.

    names: the arm of every run's folder.
    """

    facts: dict[str, Any]
    arms: dict[str, dict[int, Run | None]]
    measured: tuple[str, ...]
    names: dict[Path, str]

    def values(self, arm: str, metric: str) -> dict[int, float]:
        """Of the finished runs of an arm, by seed."""
        found = {seed: quantity(run, metric) for seed, run in self.arms[arm].items() if run is not None and run.finished}
        return {seed: value for seed, value in found.items() if value is not None and np.isfinite(value)}


def read(folder: Path) -> Comparison | None:
    """The comparison in a study's folder; None where there is no study."""
    if not (folder / "study.json").exists():
        return None
    facts = runs.read_json(folder / "study.json", {})
    arms: dict[str, dict[int, Run | None]] = {}
    names: dict[Path, str] = {}
    for line in lines(folder / "runs.jsonl"):
        path, arm = (folder / line["folder"]).resolve(), line["arm"]
        arm = f"{arm} #{line['index']}" if line["seed"] in arms.get(arm, {}) else arm  # draws of a search that look alike
        names[path] = arm
        begun = (path / "status.json").exists()
        arms.setdefault(arm, {})[line["seed"]] = runs.read(path) if begun else None
    if not arms:
        return None
    found = [run for seeds in arms.values() for run in seeds.values() if run is not None]
    metric = runs.main_metric(found)
    return Comparison(facts, arms, tuple(facts["measured"]) or ((runs.headline(found, metric),) if metric else ()), names)


def quantity(run: Run, name: str) -> float | None:
    """What a run is worth by one measure: its final value, its mean over the last epoch where the name starts with "train/".

    "start/x" is train/x as it was first logged, of the untrained network.
    ".../error" is 1 - ".../top1". Other names without a slash are what a probe found.
    """
    if name.endswith("/error"):
        top = quantity(run, f"{name.removesuffix('/error')}/top1")
        return None if top is None else 1 - top
    if "/" not in name:
        return runs.read_json(run.path / PROBES, {}).get(name)
    if name.startswith("start/"):
        values = runs.series(run, f"train/{name.removeprefix('start/')}")[1]
        return float(values[0]) if len(values) else None
    if not name.startswith("train/"):
        return runs.final(run, name)
    epochs, values = runs.series(run, name)
    last = values[epochs > epochs[-1] - 1] if len(epochs) else values
    return float(last.mean()) if len(last) else None


def table(c: Comparison) -> Table:
    """An arm a row: seeds, each measure as mean ± standard deviation [95 % interval], the paper's, parameters, time."""
    numbers = (c.facts["paper"] or {}).get("numbers", {})
    head = ["arm", "seeds"]
    for name in c.measured:
        head += [label(name)] + ["paper"] * (name in numbers)
    rows = []
    for arm, seeds in c.arms.items():
        row = [arm, standing(seeds)]
        for name in c.measured:
            values = list(c.values(arm, name).values())
            row += [f"{words.spread(name, values)} {_interval(name, values)}".strip()]
            row += [words.value(name, numbers[name].get(arm))] if name in numbers else []
        run = next((run for run in seeds.values() if run is not None), None)
        times = [seconds for run in seeds.values() if run and run.finished and (seconds := runs.wall_seconds(run)) is not None]
        row += [words.quantity(runs.cost(run, name) if run else None) for name in ("parameters", "multiply_adds")]
        rows.append([*row, words.duration(float(np.mean(times)) if times else None)])
    return [*head, "parameters", "multiply-adds", "wall time"], rows


def standing(seeds: dict[int, Run | None]) -> str:
    """ "3" when all have finished, else "1 of 3, 1 failed, 1 pending"."""
    done = sum(run is not None and run.finished for run in seeds.values())
    if done == len(seeds):
        return str(done)
    states = ["pending" if run is None else run.status["state"] for run in seeds.values() if run is None or not run.finished]
    return f"{done} of {len(seeds)}, " + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def label(name: str) -> str:
    return f"{words.split(name)} {words.metric(name)}" if "/" in name else name.replace("_", " ")


def _interval(name: str, values: Sequence[float]) -> str:
    """ "[64.6, 67.4]", "" where there are too few values."""
    return _pair(name, statistics.interval(values))


def _pair(name: str, bounds: tuple[float, float] | None) -> str:
    scale = 100 if words.is_fraction(name) else 1
    return f"[{', '.join(f'{scale * bound:.3g}' for bound in bounds)}]" if bounds is not None else ""


def tests(c: Comparison) -> Table:
    """Every arm against the first by the first measure, in pairs of equal seed: difference, p, p after Holm, number of pairs."""
    head = ["arm", f"{label(c.measured[0])} less that of the first" if c.measured else "", "pairs", "p", "p (Holm)"]
    first, *others = c.arms
    if not c.measured or not others:
        return head, []
    name = c.measured[0]
    found = [(arm, statistics.paired(c.values(arm, name), c.values(first, name))) for arm in others]
    tested = [(arm, differences, statistics.sign_flip(differences)) for arm, differences in found if len(differences) > 1]
    corrected = statistics.holm([p for _, _, p in tested])
    rows = [
        [arm, words.spread(name, differences), str(len(differences)), f"{p:.3g}", f"{q:.3g}"]
        for (arm, differences, p), q in zip(tested, corrected, strict=True)
    ]
    return head, rows


def noise(c: Comparison) -> str:
    """One sentence on what seeds alone change; "" where no arm has two."""
    name = c.measured[0] if c.measured else ""
    floor = seed_noise([list(c.values(arm, name).values()) for arm in c.arms]) if name else None
    if floor is None:
        return ""
    one, two = words.value(name, floor), words.value(name, 2.8 * floor)
    return f"Seeds alone move the {label(name)} by {one} (standard deviation); two single runs within {two}, 2.8 times that, may be equal."


def explained(c: Comparison) -> Table:
    """The settings that differ, by the share of the variance of the first measure that they explain."""
    head = ["setting", "share of the variance (fANOVA)"]
    found = [run for seeds in c.arms.values() for run in seeds.values() if run is not None]
    if not c.measured or c.measured[0].startswith("train/") or "/" not in c.measured[0]:
        return head, []
    keys = differing(found) if found else []
    shares = importance(found, [*keys, "seed"], c.measured[0]) if keys else {}  # where only seeds differ, they explain it all
    return head, [[key, f"{100 * share:.0f} %"] for key, share in shares.items()]


def responses(c: Comparison) -> dict[str, dict[str, list[float]]]:
    """What probes found as lists, one number a layer: name -> arm -> mean over its finished seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for arm, seeds in c.arms.items():
        probed = [runs.read_json(run.path / PROBES, {}) for run in seeds.values() if run is not None and run.finished]
        for name in {name for probe in probed for name, value in probe.items() if isinstance(value, list) and value}:
            found.setdefault(name, {})[arm] = np.mean([probe[name] for probe in probed if name in probe], axis=0).tolist()
    return found


def curves(c: Comparison) -> dict[tuple[str, str], dict[str, list[list[float]]]]:
    """What probes found as curves, {"x", "y", "xlabel"}: (name, label of x) -> arm -> [x, y], means over its finished seeds."""
    found: dict[tuple[str, str], dict[str, list[list[float]]]] = {}
    for arm, seeds in c.arms.items():
        probed = [runs.read_json(run.path / PROBES, {}) for run in seeds.values() if run is not None and run.finished]
        for name in dict.fromkeys(name for probe in probed for name, value in probe.items() if isinstance(value, dict)):
            drawn = [probe[name] for probe in probed if name in probe]
            points = np.mean([[curve["x"], curve["y"]] for curve in drawn], axis=0)
            found.setdefault((name, drawn[0]["xlabel"]), {})[arm] = points.tolist()
    return found


@dataclass(frozen=True)
class Judged:
    """A claim and what the runs say of it."""

    name: str
    says: str
    verdict: statistics.Verdict
    evidence: str


def claims(c: Comparison) -> list[Judged]:
    """Every claim of the study with its verdict. UNDECIDED: too few seeds, or bounds that hold both answers."""
    return [_judge(c, claim) for claim in c.facts["claims"]]


def _side(c: Comparison, side: str, metric: str) -> dict[int, float]:
    """What a side of a claim is worth by seed: an arm, or the difference of two."""
    first, *second = (c.values(arm, metric) for arm in side.split(" - "))
    return {seed: value - second[0][seed] for seed, value in first.items() if seed in second[0]} if second else first


def _judge(c: Comparison, claim: dict[str, Any]) -> Judged:
    left, right = claim["left"], claim["right"]
    says, metric = f"{label(claim['metric'])}: {claim['says']}", claim["metric"]
    a = _side(c, left, metric)
    b = _side(c, right, metric) if right.split(" - ")[0] in c.arms else dict.fromkeys(a, float(right))
    if not a or not b:
        return Judged(claim["name"], says, "UNDECIDED", f"pending: {left if not a else right} has no finished run")
    differences = statistics.paired(a, b)
    means = f"{words.value(metric, float(np.mean(list(a.values()))))} against {words.value(metric, float(np.mean(list(b.values()))))}"
    if len(differences) < 2:
        return Judged(claim["name"], says, "UNDECIDED", f"{means}; {len(differences)} pair of seeds decides nothing")
    bounds = _pair(metric, statistics.bounds(differences))
    evidence = f"{means}; difference {words.spread(metric, differences)}, {bounds}, n = {len(differences)}"
    return Judged(claim["name"], says, statistics.verdict(differences, claim["relation"], claim["margin"]), evidence)
