"""The charts of Canziani, Paszke & Culurciello (2016, arXiv:1605.07678): balls, time against operations, accuracy against speed, memory."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cvjax.reporting.complexity import FEWEST, Row, at, batch, density, protocols
from cvjax.reporting.figures import INK, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Draw = Callable[["Axes"], None]
LEGEND: Any = {"frameon": False, "labelcolor": INK, "fontsize": 9}
LARGEST = 1500  # area of the largest ball, in square points


def charts(rows: Sequence[Row]) -> dict[str, tuple[str, str, Draw]]:
    """File name -> (title, what is to be seen, how it is drawn on axes); only of what the rows have."""
    rows = [row for row in rows if row["multiply_adds"]]
    family = list(dict.fromkeys(row["family"] for row in rows))
    colour = {row["name"]: SERIES[family.index(row["family"]) % len(SERIES)] for row in rows}
    size = batch(rows)
    found: dict[str, tuple[str, str, Draw]] = {}
    for number, (protocol, group) in enumerate((p, g) for p, g in protocols(rows).items() if len(g) >= FEWEST):
        found[f"balls{number}"] = ("Accuracy against operations", f"{protocol}. Area: parameters.", partial(_balls, group, colour))
        timed = [row for row in group if at(row, size)]
        if len(timed) >= FEWEST:
            found[f"speed{number}"] = (
                "Accuracy against speed",
                f"{protocol}. Images a second at batch {size}.",
                partial(_speed, timed, colour),
            )
        found[f"density{number}"] = (
            "Information density",
            f"{protocol}. Top-1 in % over million parameters.",
            partial(_density, group, colour),
        )
    timed = [row for row in rows if at(row, size)]
    if timed:
        found["time"] = (
            "Time against operations",
            f"Least time of a pass at batch {size}. Dotted: the pace of the fastest.",
            partial(_time, timed, colour),
        )
    series = [row for row in rows if len(row["measured"]) > 1]
    if series:
        found["memory"] = ("Memory against batch", "Weights, images, results and the compiler's temporaries; a line a network.",
                           partial(_against_batch, series, colour, lambda one: one["memory"] / 2**20, "MiB"))  # fmt: skip
        found["throughput"] = ("Throughput against batch", "Images a second; a line a network.",
                               partial(_against_batch, series, colour, lambda one: one["batch"] / one["latency"], "images/s"))  # fmt: skip
    return found


def _balls(rows: Sequence[Row], colour: dict[str, str], ax: "Axes") -> None:
    largest = max(row["parameters"] for row in rows)
    for row in sorted(rows, key=lambda row: -row["parameters"]):
        area = LARGEST * row["parameters"] / largest
        ax.scatter(row["multiply_adds"] / 1e9, row["top1"], s=area, color=colour[row["name"]], alpha=0.45, linewidth=0)
        ax.plot(row["multiply_adds"] / 1e9, row["top1"], ".", color=colour[row["name"]], markersize=3)
    ax.margins(0.14)
    _named(ax, [(row["multiply_adds"] / 1e9, row["top1"], row["name"]) for row in rows])
    ax.set(xlabel="multiply-adds, 10⁹", ylabel="top-1, %")
    for share in (0.25, 0.0625):
        ax.scatter([], [], s=LARGEST * share, color=INK, alpha=0.3, linewidth=0, label=f"{share * largest / 1e6:.3g} M parameters")
    ax.legend(loc="lower right", **LEGEND)


def _speed(rows: Sequence[Row], colour: dict[str, str], ax: "Axes") -> None:
    from matplotlib.ticker import LogLocator

    size = batch(rows)
    points = [(size / at(row, size)["latency"], row["top1"], row["name"]) for row in rows]  # type: ignore[index, operator]
    for x, y, name in points:
        ax.plot(x, y, "o", color=colour[name], markersize=6)
    ax.set(xscale="log", xlabel="images/s", ylabel="top-1, %")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    _plain_numbers(ax)
    ax.margins(0.1)
    _named(ax, points)


def _density(rows: Sequence[Row], colour: dict[str, str], ax: "Axes") -> None:
    ordered = sorted(rows, key=lambda row: density(row) or 0)
    bars = ax.barh([row["name"] for row in ordered], [density(row) or 0 for row in ordered], color=[colour[row["name"]] for row in ordered])
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8, color=INK)
    ax.margins(x=0.15)
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel("% per million parameters")


def _time(rows: Sequence[Row], colour: dict[str, str], ax: "Axes") -> None:
    size = batch(rows)
    points = [(size * row["multiply_adds"] / 1e9, 1e3 * at(row, size)["fastest"], row) for row in rows]  # type: ignore[index, operator]
    labelled = set()
    for x, y, row in points:
        ax.plot(x, y, "o", color=colour[row["name"]], markersize=5, label=row["family"] if row["family"] not in labelled else None)
        labelled.add(row["family"])
    ax.set(xscale="log", yscale="log", xlabel="multiply-adds, 10⁹", ylabel="ms")
    _plain_numbers(ax)
    fastest = max(x / y for x, y, _ in points)
    ends = [min(x for x, _, _ in points), max(x for x, _, _ in points)]
    ax.plot(ends, [x / fastest for x in ends], ":", color=INK, linewidth=1, label=f"{1e3 * fastest:.3g} · 10⁹ a second")
    ax.legend(**LEGEND)


def _against_batch(rows: Sequence[Row], colour: dict[str, str], value: Callable[[Row], float], unit: str, ax: "Axes") -> None:
    labelled = set()
    for row in rows:
        x, y = [found["batch"] for found in row["measured"]], [value(found) for found in row["measured"]]
        label = row["family"] if row["family"] not in labelled else None
        labelled.add(row["family"])
        ax.plot(x, y, "-o", color=colour[row["name"]], linewidth=1, markersize=3, alpha=0.7, label=label)
    ax.set(xscale="log", yscale="log", xlabel="batch", ylabel=unit)
    ax.set_xticks(sorted({found["batch"] for row in rows for found in row["measured"]}))
    _plain_numbers(ax)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), **LEGEND)  # beside: lines cross all of the axes


def _plain_numbers(ax: "Axes") -> None:
    """0.01, 1, 100 on logarithmic axes."""
    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")


def _named(ax: "Axes", points: Sequence[tuple[float, float, str]]) -> None:
    """A name at each point: below it where a neighbour stands above it, else above."""
    seen = [(*ax.transData.transform((x, y)), x, y, name) for x, y, name in points]
    for left, low, x, y, name in seen:
        near = [other[1] - low for other in seen if abs(other[0] - left) < 0.08 * ax.bbox.width]
        under = any(0 < height < 0.15 * ax.bbox.height for height in near)
        ax.annotate(name, (x, y), (0, -7 if under else 6), textcoords="offset points", ha="center", va="top" if under else "bottom",
                    fontsize=7.5, color=INK)  # fmt: skip
