"""The page and the pictures of a comparison of networks."""

from collections.abc import Sequence
from pathlib import Path

from cvjax.reporting import complexity, figures, page, words
from cvjax.reporting.complexity import Row, at, density
from cvjax.reporting.complexity_charts import charts


def write(rows: Sequence[Row], folder: Path, where: str, headline: str) -> None:
    """complexity.html, which has all of it, and each chart as a PNG."""
    drawn = []
    for name, (title, seen, draw) in charts(rows).items():
        figures.chart_png(draw, folder / f"{name}.png", title)
        drawn.append(page.figure(page.Markup(figures.chart_svg(draw, title, name)), seen))
    body = [
        page.element("p", headline, "verdict"),
        page.join([page.element("p", said) for said in complexity.findings(rows)]),
        page.section("Charts", page.element("div", page.join(drawn), "curves")) if drawn else "",
        page.section("Networks", _networks(rows), page.element("p", NETWORKS, "quiet")),
        page.section("Time against operations", _fits(rows)),
        page.section("What the next larger network buys", _steps(rows)),
        page.section("Measured", _measured(rows)),
    ]
    page.save(folder / "complexity.html", page.page("Networks compared", where, body))


NETWORKS = (
    "For one image. Multiply-adds count once (Canziani's operations are twice as many); activations are the outputs of convolutions and "
    "matrix products. Accuracies compare within one protocol only."
)


def _networks(rows: Sequence[Row]) -> page.Markup:
    head = ["network", "image", "parameters", "multiply-adds", "activations", "top-1, %", "% per M", "protocol"]
    return page.table(head, [_network(row) for row in rows], numeric=range(2, 7))


def _network(row: Row) -> list[str]:
    numbers = [words.quantity(row[name]) for name in ("parameters", "multiply_adds", "activations")]
    accuracy = [words.MISSING if value is None else f"{value:.2f}" for value in (row["top1"], density(row))]
    return [row["name"], row["image"], *numbers, *accuracy, "; ".join(filter(None, [row["protocol"], row["remark"]]))]


def _fits(rows: Sequence[Row]) -> page.Markup:
    wall, cpu = complexity.fits(rows), complexity.fits(rows, "cpu")
    found = [[name, str(one.networks), *(f"{value:.3f}" for value in (one.r2, cpu[name].r2, one.spearman, cpu[name].spearman)),
              f"{1e3 * one.per_giga:.1f}"] for name, one in wall.items()]  # fmt: skip
    head = ["networks", "number", "R² of a line", "by CPU-seconds", "Spearman", "by CPU-seconds", "ms for 10⁹ multiply-adds"]
    note = page.element(
        "p", f"Least time of a pass at batch {complexity.batch(rows)}. CPU-seconds are what neighbours on a CPU move less.", "quiet"
    )
    return page.join([page.table(head, found, numeric=range(1, 7)), note]) if found else page.Markup("")


def _steps(rows: Sequence[Row]) -> page.Markup:
    found = [[f"{a['name']} → {b['name']}", f"{b['multiply_adds'] / a['multiply_adds']:.2f}", f"{b['parameters'] / a['parameters']:.2f}",
              f"{b['top1'] - a['top1']:+.2f}", protocol]
             for protocol, group in complexity.protocols(rows).items() for a, b in complexity.steps(group)]  # fmt: skip
    head = ["networks", "times the multiply-adds", "times the parameters", "points of top-1", "protocol"]
    return page.table(head, found, numeric=range(1, 4)) if found else page.Markup("")


def _measured(rows: Sequence[Row]) -> page.Markup:
    sizes = sorted({found["batch"] for row in rows for found in row["measured"]})
    if not sizes:
        return page.Markup("")
    cells = [[row["name"], *(_cell(at(row, size)) for size in sizes)] for row in rows if row["measured"]]
    note = page.element("p", "Inference on one device: median time of a pass · images a second · memory by the compiler.", "quiet")
    return page.join([page.table(["network", *(f"batch {size}" for size in sizes)], cells, numeric=range(1, len(sizes) + 1)), note])


def _cell(found: Row | None) -> str:
    if found is None:
        return words.MISSING
    return f"{1e3 * found['latency']:.3g} ms · {found['batch'] / found['latency']:.3g}/s · {found['memory'] / 2**20:.0f} MiB"
