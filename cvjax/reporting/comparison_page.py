"""How a comparison is written: sections of the HTML page, Markdown, LaTeX, and a table for the terminal."""

from pathlib import Path

import numpy as np

from cvjax.reporting import comparison, figures, page, words
from cvjax.reporting.comparison import Comparison, Table

COLOUR = {"PASS": "good", "FAIL": "bad", "UNDECIDED": "quiet"}
BOUNDS = "[ ]: between one-sided 95 % bounds of the mean difference over seeds (Student's t). A claim is decided where both bounds agree."


def sections(c: Comparison) -> list[page.Markup]:
    """What stands first on the page of a study: the claims, the arms, the tests and the paper."""
    found = []
    judged = comparison.claims(c)
    if judged:
        rows = [[one.name, one.says, page.element("span", one.verdict, COLOUR[one.verdict]), one.evidence] for one in judged]
        found.append(page.section("Claims", page.table(["claim", "says", "verdict", "evidence"], rows), page.element("p", BOUNDS, "quiet")))
    head, rows = comparison.table(c)
    named = [[page.breakable(row[0]), *row[1:]] for row in rows]
    found.append(page.section("Arms", page.table(head, named, numeric=range(2, len(head))), page.element("p", _key(c), "quiet")))
    head, rows = comparison.tests(c)
    if rows:
        found.append(page.section("Against the first arm", page.table(head, rows, numeric=range(1, len(head)))))
    head, rows = comparison.explained(c)
    if rows:
        found.append(page.section("What decided", page.table(head, rows, numeric={1})))
    drawn = [page.figure(page.Markup(figures.svg(panel, f"probe{i}"))) for i, panel in enumerate(probe_panels(c))]
    if drawn:
        found.append(page.section("Inside the networks", page.element("div", page.join(drawn), "curves")))
    if c.facts["paper"]:
        found.append(page.section("The paper", *[page.element("p", line) for line in _paper(c)]))
    return found


def _key(c: Comparison) -> str:
    """What the marks in the tables of arms and of tests mean, as far as there are any; "" where every arm has one seed."""
    if not comparison.noise(c):
        return ""
    test = "p: paired permutation test (random signs), corrected after Holm." if comparison.tests(c)[1] else ""
    return " ".join(filter(None, ["[ ]: 95 % bootstrap interval of the mean over seeds.", test, comparison.noise(c)]))


def _paper(c: Comparison) -> list[str]:
    paper = c.facts["paper"]
    lines = [paper["citation"], f"Protocol: {paper['protocol']}"]
    return lines + ([f"Not comparable, because {paper['differs']}"] if paper["differs"] else [])


def probe_panels(c: Comparison) -> list[figures.Panel]:
    """What probes found, an arm a line: their curves; and layer by layer, in order and sorted, as He et al. draw their Figure 7."""
    panels = []
    for (name, xlabel), found in comparison.curves(c).items():
        curves = [figures.Line(arm, np.array(x), np.array(y), number) for number, (arm, (x, y)) in enumerate(found.items())]
        panels.append(figures.Panel(name.replace("_", " ").capitalize(), xlabel, curves[: len(figures.SERIES)], decades=True, dots=True))
    for name, arms in comparison.responses(c).items():
        label = name.replace("_", " ").capitalize()
        for title, order in ((label, list), (f"{label}, sorted", lambda values: sorted(values, reverse=True))):
            lines = [
                figures.Line(arm, np.arange(1, len(values) + 1), np.array(order(values)), number)
                for number, (arm, values) in enumerate(arms.items())
            ]
            panels.append(figures.Panel(title, "layer", lines[: len(figures.SERIES)]))
    return panels


def write(c: Comparison, folder: Path) -> None:
    """comparison.md, comparison.tex and, where probes looked into the networks, probes.png."""
    panels = probe_panels(c)
    if panels:
        figures.png(panels, folder / "probes.png", "Inside the networks")
    (folder / "comparison.md").write_text(markdown(c), encoding="utf-8")
    (folder / "comparison.tex").write_text(latex(comparison.table(c)), encoding="utf-8")


def markdown(c: Comparison) -> str:
    parts = [words.grid(*comparison.table(c)), _key(c)]
    parts += [words.grid(*table) for table in (comparison.tests(c), comparison.explained(c)) if table[1]]
    judged = comparison.claims(c)
    if judged:
        parts.append(words.grid(["claim", "says", "verdict", "evidence"], [[j.name, j.says, j.verdict, j.evidence] for j in judged]))
        parts.append(BOUNDS)
    if c.facts["paper"]:
        parts.append("\n".join(_paper(c)))
    return "\n\n".join(parts) + "\n"


def latex(table: Table) -> str:
    """A tabular for a paper's draft; needs the package booktabs."""
    head, rows = table
    escaped = [" & ".join(_escape(cell) for cell in line) + r" \\" for line in [head, *rows]]
    body = "\n".join(["\\toprule", escaped[0], "\\midrule", *escaped[1:], "\\bottomrule"])
    return f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n{body}\n\\end{{tabular}}\n"


def _escape(text: str) -> str:
    special = {"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "–": "--", "<": "$<$", ">": "$>$", "\\": r"\textbackslash{}"}
    return "".join(special.get(letter, letter) for letter in text)


def terminal(c: Comparison) -> str:
    """The arms and the claims, for the end of a sweep."""
    head, rows = comparison.table(c)
    return "\n".join(
        [words.aligned([head, *rows]), *(f"{one.verdict:9} {one.name}: {one.says} ({one.evidence})" for one in comparison.claims(c))]
    )
