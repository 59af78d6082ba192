"""The page of several runs: the best setting, all settings in a table, curves with seed bands, every single run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvjax.reporting import figures, page, run_page, runs, words
from cvjax.reporting.runs import Run
from cvjax.reporting.study import Group, Study, table

STRETCHES = 40  # points of a training curve
DRAWN = len(figures.SERIES)  # groups with a curve; more cannot be told apart


def build(studies: list[Study], folder: Path, title: str = "", opening: Sequence[page.Markup] = ()) -> str:
    """The HTML of the studies of a report; `folder` is where the page will lie, which runs are named relative to.

    title: what the runs are, where somebody said so. opening: sections to stand first, behind the verdict.
    """
    found = [run for study in studies for run in study.runs]
    sections = [section for number, study in enumerate(studies) for section in _sections(study, folder, number)]
    if len(studies) > 1:
        overview = f"{len(studies)} data sets or tasks, each with a ranking of its own: {'; '.join(study.name for study in studies)}."
        sections.insert(0, page.element("p", overview, "verdict"))
    first, *others = sections
    return page.page(title or _title(found), f"{len(found)} runs in {folder.name}", [first, *opening, *others])


def _sections(study: Study, folder: Path, number: int) -> list[page.Markup]:
    """What the page says of one study, the name of which heads it where there are several."""
    drawn = [page.figure(page.Markup(figures.svg(panel, f"s{number}f{i}"))) for i, panel in enumerate(panels(study))]
    more = f"The {DRAWN} best of {len(study.groups)} settings. " if len(study.groups) > DRAWN else ""
    legend = more + (
        "Colours as in the table; solid: held-out data, dashed: training. Mean over the finished seeds (all, where "
        "none has finished), shaded: one standard deviation. The axes fit what follows the first tenth of training."
    )
    curves = [page.element("div", page.join(drawn), "curves"), page.element("p", legend, "quiet")]
    opening = [page.element("p", verdict(study), "verdict"), page.element("p", _seeds(study), "quiet"), _alert(study)]
    return [
        page.section(study.name, *opening) if study.name else page.join(opening),
        page.section("Settings, best first", _groups(study)),
        page.section("Learning curves", *(curves if drawn else [page.element("p", "No metrics yet.", "quiet")])),
        page.section("Predictions", *_pictures(study)),
        page.section("Every run", _every(study, folder), _commands(study, folder)),
        page.section("Configuration all runs share", _shared(study)),
    ]


def verdict(study: Study) -> str:
    """One sentence: the best setting and its number, or that there is none yet."""
    done = sum(run.finished for run in study.runs)
    tally = f"{done} of {len(study.runs)} runs finished"
    first = study.groups[0]
    values = first.best(study.metric) if study.metric else []
    if study.metric is None or not values:
        return f"No finished run has metrics yet; {tally}."
    metric = f"best {runs.split(first.runs[0], study.metric)} {words.metric(study.metric)}"
    number = f"{words.spread(study.metric, values)} {metric} (n = {len(values)})"
    if not study.keys:
        return f"{number}; {tally}."
    return f"{_named(study, first)}: {number}, the best of {len(study.groups)} settings; {tally}."


def _named(study: Study, group: Group) -> str:
    """ "optim.lr = 0.1, model.variant = 20", or the name of an arm; empty where there is one setting only."""
    if study.keys == ["arm"]:
        return group.settings[0]
    return ", ".join(f"{key} = {value}" for key, value in zip(study.keys, group.settings, strict=True))


def panels(study: Study, named: bool = False) -> list[figures.Panel]:
    """The main metric, the held-out and the training loss; one colour a group, `named` in a legend."""
    if study.metric is None:
        return []
    split = study.metric.split("/")[0]
    train = "train/" + study.metric.partition("/")[2]  # dashed beside it, where it is measured
    wanted = [(study.metric, train), (f"{split}/loss", "train/loss")] if study.metric != f"{split}/loss" else [(study.metric, "train/loss")]
    found = []
    for names in wanted:
        label = [_named(study, group) if named else "" for group in study.groups[:DRAWN]]
        curves = [
            _curve(group, name, i, label[i] if name == names[0] else "") for name in names for i, group in enumerate(study.groups[:DRAWN])
        ]
        lines = [line for line in curves if line]
        unit = " (%)" if words.is_fraction(names[0]) else ""
        title = "loss" if names[0].endswith("/loss") else words.metric(names[0])
        found.append(figures.Panel(title[:1].upper() + title[1:] + unit, "epoch", lines, settled=True, decades=names[0].endswith("loss")))
    return [panel for panel in found if panel.lines]


def _curve(group: Group, name: str, colour: int, label: str = "") -> figures.Line | None:
    """Mean and standard deviation over the seeds, at the points that all of them have."""
    curves = [dict(zip(*_smooth(*runs.series(run, name), name), strict=True)) for run in group.finished or group.runs]
    curves = [curve for curve in curves if curve]
    common = sorted(set.intersection(*map(set, curves))) if curves else []
    if not common:
        return None
    values = np.array([[curve[x] for x in common] for curve in curves]) * (100 if words.is_fraction(name) else 1)
    band = values.std(0, ddof=1) if len(curves) > 1 else None
    return figures.Line(label, np.array(common), values.mean(0), colour, dashed=name.startswith("train/"), band=band)


def _smooth(x: np.ndarray, y: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What training measures batch by batch, as means of stretches; evaluations as they are."""
    if not name.startswith("train/") or len(x) <= STRETCHES:
        return x, y
    parts = np.array_split(np.arange(len(x)), STRETCHES)
    return np.array([x[part[-1]] for part in parts]), np.array([y[part].mean() for part in parts])


def _title(found: Sequence[Run]) -> str:
    names = list(dict.fromkeys(runs.title(run) for run in found))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more" if len(names) > 3 else ", ".join(names)


def _seeds(study: Study) -> str:
    counts = [len(group.finished) for group in study.groups]
    few = " With one seed a setting, a difference may be luck." if max(counts) == 1 and len(study.groups) > 1 else ""
    return f"± is the sample standard deviation over seeds. A best value is the best of each run's evaluations.{few}"


def _alert(study: Study) -> page.Markup:
    open_ = [run for run in study.runs if not run.finished]
    if not open_:
        return page.Markup("")
    states = ", ".join(f"{sum(run.status['state'] == s for run in open_)} {s}" for s in dict.fromkeys(run.status["state"] for run in open_))
    return page.element("p", f"Not in the means: {states}. They are listed below with their reasons.", "alert")


def _groups(study: Study) -> page.Markup:
    head, rows = table(study)
    width = max(1, len(study.keys))
    chips = [
        page.Markup(f'<span class="chip" style="background: var(--s{i})"></span>') if i < DRAWN else page.Markup("")
        for i in range(len(rows))
    ]
    marked = [
        [page.element("div", page.Markup(chip + page.element("span", page.breakable(row[0]))), "named"), *row[1:]]
        for chip, row in zip(chips, rows, strict=True)
    ]
    return page.table(head, marked, numeric=range(width, len(head)), top=0 if len(rows) > 1 else None)


def _every(study: Study, folder: Path) -> page.Markup:
    metric = study.metric
    settings = {run.path: group.settings for group in study.groups for run in group.runs}
    rows = []
    for run in study.runs:
        top = runs.best(run, metric) if metric else None
        state = page.element("span", run_page.progress(run), "good" if run.finished else "bad")
        rows.append(
            [
                _relative(run, folder),
                runs.setting(run, "seed"),
                *(settings[run.path]),
                words.value(metric, runs.final(run, metric)) if metric else words.MISSING,
                words.value(metric, top[0] if top else None) if metric else words.MISSING,
                state,
                run.status["reason"],
            ]
        )
    name = words.metric(metric) if metric else "metric"
    head = ["run", "seed", *study.keys, f"last {name}", f"best {name}", "state", "reason"]
    if not any(run.status["reason"] for run in study.runs):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return page.table(head, rows, numeric={len(study.keys) + 2, len(study.keys) + 3})


def _commands(study: Study, folder: Path) -> page.Markup:
    rows = [
        [_relative(run, folder), page.element("code", run_page.command(run.starts[-1]))]
        for run in study.runs
        if run.starts and "command" in run.starts[-1]
    ]
    return page.details("The command of every run", page.table(["run", "command"], rows)) if rows else page.Markup("")


def _pictures(study: Study) -> Sequence[page.Markup]:
    """The first run of each of the best settings that has a picture: the same examples, seen by each."""
    parts = []
    for group in study.groups[:DRAWN]:
        path = next((path for run in group.runs if (path := run.path / "images" / "predictions.png").exists()), None)
        if path:
            name = _named(study, group) or "first seed"
            parts.append(page.details(name, page.picture(path.read_bytes(), f"predictions: {name}")))
    return parts


def _shared(study: Study) -> page.Markup:
    first = study.runs[0].config
    keys = [key for key in sorted(first) if key not in study.keys and key != "seed"]
    return page.details(f"{len(keys)} keys", page.table(["key", "value"], [[key, words.setting(first[key])] for key in keys]))


def _relative(run: Run, folder: Path) -> str:
    return str(run.path.relative_to(folder)) if run.path.is_relative_to(folder) else str(run.path)
