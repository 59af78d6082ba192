"""The page of a committee: every network, ensemble and cascade in one table, accuracy against cost, and who left where."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvjax.files import write_json, write_text
from cvjax.reporting import figures, page, words
from cvjax.reporting.committee import Result, Row

HEAD = ["", "for", "accuracy", "less the dearest's", "average multiply-adds", "at worst", "speed-up", "left at each stage", "thresholds"]


def write(result: Result, folder: Path) -> Path:
    """cascade.json, .csv, .md, .png and .html into a folder; returns the last."""
    write_json(folder / "cascade.json", dataclasses.asdict(result))
    write_text(folder / "cascade.csv", _csv(result))
    write_text(folder / "cascade.md", f"{words.grid(HEAD, table(result))}\n\n{_key(result)}\n")
    figures.png([panel(result)], folder / "cascade.png", "Accuracy against average cost")
    return page.save(folder / "cascade.html", build(result))


def terminal(result: Result) -> str:
    return f"{words.aligned([HEAD, *table(result)])}\n{_key(result)}"


def table(result: Result) -> list[list[str]]:
    places = words.decimals(result.images)

    def percent(value: float) -> str:
        return f"{100 * value:.{places}f}"

    def line(row: Row) -> list[str]:
        low, high = row.between
        gain = f"{100 * row.gain:+.{places}f} [{percent(row.gain_between[0])}, {percent(row.gain_between[1])}]"
        return [
            f"{row.kind} {row.name}",
            row.target or words.MISSING,
            f"{percent(row.accuracy)} % [{percent(low)}, {percent(high)}]",
            gain if row.gain or row.gain_between != (0.0, 0.0) else words.MISSING,
            words.quantity(row.average),
            words.quantity(row.worst),
            f"{row.speedup:.2f} x",
            _stages(row),
            ", ".join(f"{value:.3f}" for value in row.thresholds) or words.MISSING,
        ]

    return [line(row) for row in result.rows]


def build(result: Result) -> str:
    best = [row for row in result.rows if row.kind == "cascade"]
    drawn = page.figure(
        page.Markup(figures.svg(panel(result), "f0")),
        "Points: networks and ensembles; dashed: the best networks alone. Lines: cascades as the first threshold rises from 0.",
    )
    stages = max(len(row.shares) for row in best)
    exits = page.table(
        ["cascade", "for", *(f"stage {i + 1}" for i in range(stages))], [[row.name, row.target, *_bars(row, stages)] for row in best]
    )
    whole = page.table(HEAD, table(result), numeric=(4, 5, 6))
    return page.page(
        " · ".join(row.name for row in result.rows if row.kind == "single"),
        "committee",
        [
            page.element("p", verdict(result), "verdict"),
            page.section("Networks, ensembles, cascades", whole, page.element("p", _key(result), "quiet")),
            page.section("Accuracy against average cost", drawn),
            page.section("Who leaves where", exits),
        ],
    )


def verdict(result: Result) -> str:
    """One sentence on the first cascade."""
    row = next(row for row in result.rows if row.kind == "cascade")
    return (
        f"{row.name}: {100 * row.accuracy:.{words.decimals(result.images)}f} % at {words.quantity(row.average)} multiply-adds an image, "
        f"{100 * row.gain:+.2f} points from the dearest network alone, which takes {row.speedup:.2f} times as many."
    )


def panel(result: Result) -> figures.Panel:
    """Cost in millions, accuracy in percent. Networks have letters; a long name for every line would leave no room for the lines."""
    letters = {row.name: chr(ord("A") + i) for i, row in enumerate(row for row in result.rows if row.kind == "single")}

    def line(label: str, cost: Sequence[float], accuracy: Sequence[float], colour: int, dashed: bool = False) -> figures.Line:
        return figures.Line(label, np.array(cost) / 1e6, 100 * np.array(accuracy), colour, dashed)

    singles = [row for row in result.rows if row.kind == "single"]
    best = frontier(singles)
    lines = [line(f"{letters[row.name]} {row.name}", [row.average], [row.accuracy], i) for i, row in enumerate(singles)]
    lines.append(line("networks alone", [row.average for row in best], [row.accuracy for row in best], 6, dashed=True))
    ensembles = [row for row in result.rows if row.kind == "ensemble"]
    lines += [line("" if i else "ensembles", [row.average], [row.accuracy], 7) for i, row in enumerate(ensembles)]
    for i, (name, (cost, accuracy)) in enumerate(result.curves.items(), len(singles)):
        lines.append(line(" → ".join(letters[member] for member in name.split(" -> ")), cost, accuracy, i % 6))
    return figures.Panel("Accuracy (%)", "average multiply-adds (millions)", lines)


def frontier(rows: Sequence[Row]) -> list[Row]:
    """Those that no cheaper one equals in accuracy, from the cheapest on."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.average, -row.accuracy)):
        if not best or row.accuracy > best[-1].accuracy:
            best.append(row)
    return best


def _stages(row: Row) -> str:
    """ "62 % (91 % right), 38 % (55 % right)" """
    if len(row.shares) == 1:
        return words.MISSING
    parts = zip(row.shares, row.accuracies, strict=True)
    return ", ".join(f"{100 * share:.0f} %{_right(right)}" for share, right in parts)


def _right(share: float | None) -> str:
    return "" if share is None else f" ({100 * share:.0f} % right)"


def _bars(row: Row, stages: int) -> list[page.Markup]:
    """The histogram of exits: a bar, its share and how many of it are right, for every stage."""
    bars = [
        page.Markup(f'<span class="chip" style="width:{8 * share:.2f}em;background:var(--s{i})"></span>{100 * share:.1f} %{_right(right)}')
        for i, (share, right) in enumerate(zip(row.shares, row.accuracies, strict=True))
    ]
    return bars + [page.Markup(words.MISSING)] * (stages - len(bars))


def _key(result: Result) -> str:
    return (
        f"{result.protocol}. Confidence: {result.confidence.replace('_', ' ')}. [ ]: 95 % bootstrap interval over images; differences "
        "are paired. Multiply-adds count all members that were asked; speed-up: of the dearest network alone over these, nothing was timed."
    )


def _csv(result: Result) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    fields = [field for field in dataclasses.asdict(result.rows[0]) if field not in ("between", "gain_between")]
    writer.writerow([*fields, "low", "high", "gain_low", "gain_high"])
    for row in map(dataclasses.asdict, result.rows):
        cells = [" ".join(map(str, row[field])) if isinstance(row[field], tuple) else row[field] for field in fields]
        writer.writerow([*cells, *row["between"], *row["gain_between"]])
    return file.getvalue()
