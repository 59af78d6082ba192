"""Learning curves: as SVG that takes the page's colours (dark mode included), and as one PNG for slides."""

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, GRID = "#1f2328", "#d9dee4"  # in SVG these become the page's own colours
SERIES = ("#0b63c5", "#c2570a", "#0e8060", "#8b3db8", "#b8860f", "#c22d55", "#4d6a8a", "#6f7f1a")
POINTS = 200  # a curve has no more: what is finer than the line is wide is averaged
STYLE: Any = {"font.size": 10.5, "svg.fonttype": "none", "svg.hashsalt": "cvjax", "text.parse_math": False, "axes.titleweight": "bold"}


class Line(NamedTuple):
    """One curve. `band` is the half width of a shaded band around it; `mark` an (x, y) to point out."""

    label: str
    x: np.ndarray
    y: np.ndarray
    colour: int = 0
    dashed: bool = False
    band: np.ndarray | None = None
    mark: tuple[float, float] | None = None


class Panel(NamedTuple):
    """One pair of axes; labelled curves get a legend.

    settled: the y axis is scaled to what follows the first tenth of training.
    decades: the y axis may be logarithmic, if the curves span two decades, with dots one and a half.
    dots: every point is measured and marked, and the x axis may be logarithmic too.
    """

    title: str
    xlabel: str
    lines: Sequence[Line]
    settled: bool = False
    decades: bool = False
    dots: bool = False


def svg(panel: Panel, name: str) -> str:
    """One panel as an <svg> element for inlining; `name` keeps its ids apart from other figures on the page."""
    return chart_svg(lambda ax: _draw(ax, panel), panel.title, name)


def chart_svg(draw: Callable[["Axes"], None], title: str, name: str) -> str:
    """The same for whatever a function draws on axes."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        file = io.StringIO()
        _chart(draw, title, (5.2, 3.1)).savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _inline(file.getvalue(), title, name)


def chart_png(draw: Callable[["Axes"], None], path: Path, title: str) -> None:
    """What a function draws on axes, on white."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        _chart(draw, title, (7, 4.4)).savefig(path, dpi=110)


def _chart(draw: Callable[["Axes"], None], title: str, size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    draw(ax)
    _plain(ax, title)
    return figure


def png(panels: Sequence[Panel], path: Path, title: str) -> None:
    """All panels side by side, two in a row, on white."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        figure = Figure(figsize=(5.2 * columns, 3.1 * rows + 0.4), layout=layout, dpi=150)
        figure.suptitle(title, fontsize=13, color=INK)
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for i, ax in enumerate(axes):
            _draw(ax, panels[i]) if i < len(panels) else ax.set_axis_off()
        figure.savefig(path)


def _draw(ax: "Axes", panel: Panel) -> None:
    for line in panel.lines:
        colour = SERIES[line.colour % len(SERIES)]
        x, y, band = _thin(line)
        ax.plot(
            x,
            y,
            color=colour,
            linestyle=(0, (4, 2)) if line.dashed else "-",
            linewidth=1.3 if line.dashed else 1.9,
            label=line.label,
            marker="o" if len(x) == 1 or panel.dots else None,
            markersize=4,
        )
        if band is not None:
            ax.fill_between(x, y - band, y + band, color=colour, alpha=0.18, linewidth=0)
        if line.mark:
            ax.plot(*line.mark, "o", color=colour, markersize=5, label="best")
    times = 30 if panel.dots else 100
    if panel.decades and _spans([line.y for line in panel.lines], times):
        ax.set_yscale("log")
        _unscientific(ax.yaxis)
    if panel.dots and _spans([line.x for line in panel.lines], times):
        ax.set_xscale("log")
        _unscientific(ax.xaxis)
    if panel.settled:
        ax.set_ylim(*_range(panel.lines, ax.get_yscale() == "log"))
    ax.set_xlabel(panel.xlabel)
    _plain(ax, panel.title)
    labelled = sum(bool(line.label) for line in panel.lines)
    if labelled:
        beside: Any = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if labelled > 4 else {}
        ax.legend(frameon=False, labelcolor=INK, fontsize=9.5, **beside)


def _plain(ax: "Axes", title: str) -> None:
    """Axes without boxes and ticks, in the page's ink."""
    ax.set_title(title, loc="left", color=INK, fontsize=11)
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)
    ax.tick_params(colors=INK, which="both", length=0)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(GRID)


def _thin(line: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """At most POINTS points: the means of runs of neighbours."""
    if len(line.x) <= POINTS:
        return line.x, line.y, line.band
    parts = np.array_split(np.arange(len(line.x)), POINTS)
    means = [np.array([values[part].mean() for part in parts]) for values in (line.x, line.y)]
    return means[0], means[1], None if line.band is None else np.array([line.band[part].mean() for part in parts])


def _unscientific(axis: "Axis") -> None:
    """0.001, not a power of ten, which would need mathematical text."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def _spans(curves: Sequence[np.ndarray], times: float) -> bool:
    """Whether a logarithmic axis shows more: all positive, and one end so many times the other."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    return len(values) > 0 and values.min() > 0 and values.max() > times * values.min()


def _range(lines: Sequence[Line], log: bool) -> tuple[float | None, float | None]:
    """Ends of the y axis that fit every curve, and its band, from the first tenth of the x axis on."""
    start = 0.1 * max(line.x.max() for line in lines)
    bands = [0 * line.y if line.band is None else line.band for line in lines]
    late = [line.y[line.x >= start] + sign * band[line.x >= start] for line, band in zip(lines, bands, strict=True) for sign in (-1, 1)]
    values = np.concatenate(late)
    values = values[np.isfinite(values)]
    if not len(values) or values.min() == values.max():
        return None, None
    if log:
        return values[values > 0].min() / 1.1, values.max() * 1.1
    margin = 0.05 * (values.max() - values.min())
    return values.min() - margin, values.max() + margin


def _inline(text: str, title: str, name: str) -> str:
    """matplotlib's SVG file as an element of a page: no header, no size, no addresses, the page's font and colours."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text)
    for colour, variable in ((INK, "currentColor"), (GRID, "var(--line)"), *((c, f"var(--s{i})") for i, c in enumerate(SERIES))):
        text = text.replace(colour, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
