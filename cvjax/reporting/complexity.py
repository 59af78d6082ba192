"""What a comparison of networks shows (Canziani, Paszke & Culurciello 2016, arXiv:1605.07678), out of the rows of `cvjax.complexity`."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Row = dict[str, Any]
FEWEST = 4  # points that a fit is made of, at least
SPREAD = 2  # and how many times the multiply-adds of the cheapest the dearest has: of equals there is no order


class Fit(NamedTuple):
    """How well the multiply-adds tell the time: R^2 of the straight line, Spearman's rank correlation, seconds for 10^9 multiply-adds."""

    networks: int
    r2: float
    spearman: float
    per_giga: float


def density(row: Row) -> float | None:
    """Information density: top-1 accuracy in % for each million parameters."""
    return row["top1"] / (row["parameters"] / 1e6) if row["top1"] is not None and row["parameters"] else None


def protocols(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The networks whose accuracy is known, by how it was measured: only within one protocol do accuracies compare."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["top1"] is not None and row["parameters"]:
            found.setdefault(row["protocol"], []).append(row)
    return found


def batch(rows: Sequence[Row]) -> int | None:
    """The batch size at which most networks were measured, the largest of those; None where nothing was."""
    sizes = [found["batch"] for row in rows for found in row["measured"]]
    return max(set(sizes), key=lambda size: (sizes.count(size), size)) if sizes else None


def at(row: Row, size: int | None) -> dict[str, Any] | None:
    """What was measured of a network at a batch size."""
    return next((found for found in row["measured"] if found["batch"] == size), None)


def fits(rows: Sequence[Row], clock: str = "fastest") -> dict[str, Fit]:
    """Time against operations within each model file at one image size, and over all networks; of few, or of like ones, there is no fit.

    clock: "fastest", the least time of a pass, which others on the machine spoil least; "latency", the median; "cpu", CPU-seconds.
    One multiply-add is not like another: where images and channels are small, it takes longer.
    """
    size = batch(rows)
    timed = {row["name"]: row for row in rows if at(row, size)}
    groups: dict[str, list[Row]] = {"all": list(timed.values())}
    for row in timed.values():
        groups.setdefault(f"{row['family']}, {row['image']}", []).append(row)
    found = {}
    for name, group in groups.items():
        costs = [row["multiply_adds"] for row in group]
        if len(set(costs)) >= FEWEST and max(costs) >= SPREAD * min(costs):
            found[name] = fit([(cost * size, at(row, size)[clock]) for cost, row in zip(costs, group, strict=True)])  # type: ignore[index, operator]
    return found


def fit(points: Sequence[tuple[float, float]]) -> Fit:
    """points: (multiply-adds, seconds) of one pass each."""
    from scipy.stats import linregress, spearmanr

    x, y = np.array(points, float).T
    line = linregress(x, y)
    return Fit(len(x), float(line.rvalue**2), float(spearmanr(x, y).statistic), float(line.slope * 1e9))


def curves(times: Sequence[float], accuracies: Sequence[float]) -> tuple[float, float]:
    """R^2 of accuracy = a + b time, and of the hyperbola a - b / time, which says that the last points cost most."""
    x, y = np.array(times, float), np.array(accuracies, float)
    line, hyperbola = np.corrcoef(x, y)[0, 1] ** 2, np.corrcoef(1 / x, y)[0, 1] ** 2
    return float(line), float(hyperbola)


def steps(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Neighbours in multiply-adds of one family: what the next larger network buys."""
    ordered = sorted(rows, key=lambda row: (row["family"], row["multiply_adds"]))
    return [(a, b) for a, b in itertools.pairwise(ordered) if a["family"] == b["family"] and a["multiply_adds"]]


def headline(rows: Sequence[Row]) -> str:
    """One sentence: how many networks, and how far their operations tell their time."""
    said = f"{len(rows)} networks"
    wall, cpu = ([one.spearman for name, one in fits(rows, clock).items() if name != "all"] for clock in ("fastest", "cpu"))
    if wall:
        said += f"; within a family operations rank the times with Spearman {min(wall):.2f} or more, the CPU-seconds with {min(cpu):.2f}"
    return said + "."


def findings(rows: Sequence[Row]) -> list[str]:
    """Sentences on density and on what accuracy costs, a protocol at a time."""
    said, size = [], batch(rows)
    for protocol, group in protocols(rows).items():
        if len(group) < 2:
            continue
        ranked = sorted(group, key=lambda row: density(row) or 0)
        ends = [f"{row['name']} ({density(row):.2f} % per million parameters)" for row in (ranked[-1], ranked[0])]
        said.append(f"{protocol}: densest {ends[0]}, least dense {ends[1]}.")
        timed = [(found["fastest"], row["top1"]) for row in group if (found := at(row, size))]
        if len(timed) >= FEWEST:
            line, hyperbola = curves(*zip(*timed, strict=True))
            said.append(f"{protocol}: accuracy against time at batch {size}, R² of a line {line:.2f}, of a hyperbola {hyperbola:.2f}.")
    return said
