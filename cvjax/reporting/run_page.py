"""The page of one run: what it is, how good, how it learned, where it errs, what it cost, where it came from."""

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from cvjax.reporting import confusion, detection, figures, page, runs, words
from cvjax.reporting.runs import Run


def build(run: Run) -> str:
    """The HTML of one run; every part whose file is missing is left out."""
    metric = runs.main_metric([run])
    curves = panels(run, metric)
    drawn = [page.figure(page.Markup(figures.svg(panel, f"f{i}"))) for i, panel in enumerate(curves)]
    return page.page(
        runs.title(run),
        f"run {run.path.name}",
        [
            page.join(
                [_alert(run), page.element("p", verdict(run, metric), "verdict"), _certainty(run, metric), page.tiles(_facts(run, metric))]
            ),
            page.section(
                "Learning curves",
                page.element("div", page.join(drawn), "curves") if drawn else page.element("p", "No metrics yet.", "quiet"),
            ),
            page.section("Metrics", _metrics(run)),
            page.section("Predictions", _pictures(run.path)),
            *confusion.sections(run.path, _classes(run), lambda name: runs.split(run, name)),
            *detection.sections(run.path, lambda name: runs.split(run, name)),
            page.section("Provenance", *_provenance(run)),
        ],
    )


def verdict(run: Run, metric: str | None) -> str:
    """One sentence: the number, on what, after how much training."""
    metric = runs.headline([run], metric) if metric else None
    value = runs.final(run, metric) if metric else None
    if metric is None or value is None:
        return "No metrics yet."
    split, n = runs.split(run, metric), _num_examples(run, metric)
    on = f"on {n:,} {split} examples" if n else f"on the {split} split"
    epochs = [row["epoch"] for row in run.rows if "epoch" in row]
    after = f" after {words.number(epochs[-1])} epochs" if epochs else f" after {run.status['step']:,} steps"
    seconds = runs.wall_seconds(run)
    took = f", trained in {words.duration(seconds)}" if seconds is not None and run.finished else ""
    return f"{words.value(metric, value, words.decimals(n))} {words.metric(metric)} {on}{after}{took}{_on_devices(run)}."


def progress(run: Run) -> str:
    """ "running, step 120 of 900", "finished at step 900"."""
    if run.finished:
        return f"finished at step {run.status['step']:,}"
    of = f" of {run.status['steps']:,}" if run.status["steps"] else ""
    return f"{run.status['state']}, step {run.status['step']:,}{of}"


def panels(run: Run, metric: str | None) -> list[figures.Panel]:
    """Loss, main metric, learning rate, gradient norm, as far as the run has them: training dashed, held-out solid."""
    split = metric.split("/")[0] if metric else "val"
    wanted = [f"{split}/loss", *([metric] if metric and metric != f"{split}/loss" else []), "train/lr", "train/grad_norm"]
    found = [_panel(run, name, split) for name in dict.fromkeys(wanted)]
    return [panel for panel in found if panel.lines]


def _panel(run: Run, name: str, split: str) -> figures.Panel:
    rest = name.partition("/")[2]
    scale, unit = (100, " (%)") if words.is_fraction(name) else (1, "")
    lines = []
    for part in ("train", split) if name.startswith(f"{split}/") else ("train",):
        x, y = runs.series(run, f"{part}/{rest}")
        if np.isfinite(y).any():
            label = runs.split(run, part) if name.startswith(f"{split}/") else ""
            top = runs.best(run, name) if part == split and words.is_fraction(name) else None
            lines.append(
                figures.Line(
                    label,
                    x,
                    scale * y,
                    colour=int(part == "train"),
                    dashed=part == "train" and bool(label),
                    mark=(top[1], scale * top[0]) if top and len(x) > 1 else None,
                )
            )
    title = words.metric(name)
    xlabel = "epoch" if any("epoch" in row for row in run.rows) else "step"
    return figures.Panel(title[:1].upper() + title[1:] + unit, xlabel, lines, decades=rest.endswith("loss"))


def _alert(run: Run) -> page.Markup:
    if run.finished:
        return page.Markup("")
    reason = f": {run.status['reason']}" if run.status["reason"] else ""
    alive = f"; last sign of life {run.status['heartbeat']}" if run.status["state"] == "running" and run.status["heartbeat"] else ""
    return page.element("p", f"This run is not finished ({progress(run)}){reason}{alive}", "alert")


def _certainty(run: Run, metric: str | None) -> page.Markup:
    """How far the number can be trusted, where predictions were saved: so many right, and a 95 % interval."""
    split = runs.headline([run], metric).split("/")[0] if metric else ""
    known = confusion.counts(run.path, split) if metric and metric.endswith("/top1") else None
    if not known or not known[1]:
        return page.Markup("")
    low, high = words.wilson(*known)
    return page.element(
        "p",
        f"Saved predictions (eval/{split}.npz): {known[0]:,} of {known[1]:,} right, 95 % interval over the choice of "
        f"images {100 * low:.1f} to {100 * high:.1f} % (Wilson). One seed: retraining varies beside that.",
        "quiet",
    )


def _facts(run: Run, metric: str | None) -> list[tuple[str, str, str]]:
    top = runs.best(run, metric) if metric else None
    places = words.decimals(_num_examples(run, metric)) if metric else 2
    wait = runs.series(run, "time/data_wait")[1]
    facts = [
        (f"best {runs.split(run, metric)} {words.metric(metric)}", words.value(metric, top[0], places), f"at epoch {words.number(top[1])}")
        if metric and top
        else None,
        ("parameters", words.quantity(runs.cost(run, "parameters")), _exact(runs.cost(run, "parameters"))),
        ("multiply-adds per image", words.quantity(runs.cost(run, "multiply_adds")), ""),
        (
            "images per second",
            words.quantity(runs.images_per_second(run)),
            f"{100 * np.mean(wait):.1f} % of the time waiting for data" if len(wait) else "",
        ),
        ("wall time", words.duration(runs.wall_seconds(run)), f"{len(run.starts)} starts" if len(run.starts) > 1 else ""),
    ]
    return [fact for fact in facts if fact and fact[1] != words.MISSING]


def _metrics(run: Run) -> page.Markup | str:
    """Final and best of everything measured on held-out data, and the last training value beside it."""
    rows = []
    for name in runs.evaluations(run):
        places = words.decimals(_num_examples(run, name))
        top, train = runs.best(run, name), runs.series(run, f"train/{name.partition('/')[2]}")[1]
        rows.append(
            [
                words.metric(name),
                runs.split(run, name),
                words.value(name, runs.final(run, name), places),
                words.value(name, top[0] if top else None, places),
                words.number(top[1]) if top else words.MISSING,
                words.value(name, float(train[-1]) if len(train) else None),
            ]
        )
    if not rows:
        return ""
    return page.table(["metric", "split", "final", "best", "at epoch", "training, last"], rows, numeric={2, 3, 4, 5})


def _pictures(workdir: Path) -> page.Markup | str:
    path = workdir / "images" / "predictions.png"
    return page.picture(path.read_bytes(), "examples with predicted and true labels") if path.exists() else ""


def _provenance(run: Run) -> list[page.Markup]:
    settings = page.details(
        "Configuration", page.table(["key", "value"], [[key, words.setting(run.config[key])] for key in sorted(run.config)])
    )
    if not run.starts:
        return [settings]
    last = run.starts[-1]
    facts = [
        ("seed", runs.setting(run, "seed")),
        ("git commit", _commit(last)),
        ("devices", _devices(last)),
        *((key, last[key]) for key in ("host", "system", "python", "time") if key in last),
        ("folder", run.path),
    ]
    versions = sorted(last.get("versions", {}).items())
    restarts = [[start.get("time", ""), _commit(start), _devices(start)] for start in run.starts]
    return [
        page.element("pre", command(last)) if "command" in last else page.Markup(""),
        page.table(["", ""], [*facts, ("versions", ", ".join(f"{name} {version}" for name, version in versions))]),
        page.details(f"{len(restarts)} starts", page.table(["time", "git commit", "devices"], restarts))
        if len(restarts) > 1
        else page.Markup(""),
        settings,
    ]


def command(start: dict[str, Any]) -> str:
    typed = start["command"]
    return typed if isinstance(typed, str) else shlex.join(map(str, typed))


def _commit(start: dict[str, Any]) -> str:
    git = start.get("git") or {}
    if not git.get("commit"):
        return "not in git"
    return git["commit"][:12] + (" with uncommitted changes" if git.get("dirty") else "")


def _devices(start: dict[str, Any]) -> str:
    """ "8 × NVIDIA H200"; the number that tells one device from the next ("cuda:0", "TFRT_CPU_1") is left out."""
    kinds = [re.sub(r"(_|:|\(id=)\d+\)?$", "", str(device)).removeprefix("TFRT_") for device in start.get("devices", [])]
    devices = Counter(kinds)
    return ", ".join(f"{count} × {name}" for name, count in devices.items()) or words.MISSING


def _on_devices(run: Run) -> str:
    devices = _devices(run.starts[-1]) if run.starts else words.MISSING
    return "" if devices == words.MISSING else f" on {devices}"


def _classes(run: Run) -> list[str]:
    return [str(name) for name in run.info.get("classes", [])]


def _num_examples(run: Run, metric: str) -> int | None:
    """Of the split that a metric was measured on: as many as there are saved predictions."""
    return confusion.examples(run.path, metric.split("/")[0])


def _exact(number: int | None) -> str:
    return "" if number is None or number < 1000 else f"{number:,}"
