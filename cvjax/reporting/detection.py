"""How a detector errs, out of `eval/<split>_detections.json` and the objects beside it: curves, kinds of mistakes, confusions.

K classes
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cvjax.data._coco_json import Dataset, read_results, read_truth
from cvjax.metrics import detection_errors
from cvjax.metrics.average_precision import RECALLS, THRESHOLDS, Detections, Evaluation, Truths, evaluate
from cvjax.reporting import confusion, figures, page, words

SURE = 0.5  # score from which a detection counts as said, in the confusion matrix
BESIDE = "_truth"  # <split>_truth.json holds the objects of the pictures of <split>_detections.json


def sections(workdir: Path, named: Callable[[str], str]) -> list[page.Markup]:
    """Of every split with saved detections.

    named: what the reader calls a split, "val" -> "validation".
    """
    found = []
    for truth_file in sorted((workdir / "eval").glob(f"*{BESIDE}.json")):
        split = truth_file.stem.removesuffix(BESIDE)
        results_file = truth_file.with_name(f"{split}_detections.json")
        if not results_file.is_file():
            continue  # somebody took it away: the rest of the page stands
        truth = read_truth(truth_file)
        results = read_results(results_file, truth)
        assert results.boxes is not None  # as `cvjax.detections` writes them
        detections = Detections(results.image, results.category, results.score, results.boxes)
        found += _sections(named(split), truth, Truths.of(truth.objects), detections)
    return found


def _sections(split: str, truth: Dataset, truths: Truths, detections: Detections) -> list[page.Markup]:
    ids = list(truth.categories)
    names = [category.name for category in truth.categories.values()]
    scored = evaluate(truths, detections, ids)
    curves = page.figure(page.Markup(figures.svg(_curves(scored), f"pr-{split}")), f"mean over the classes of {split}")
    kinds = detection_errors.split(truths, detections, ids, [category.supercategory for category in truth.categories.values()])
    table = detection_errors.confusion(truths, detections, ids, SURE)
    caption = f"objects (rows) and detections surer than {SURE} (columns) of {split}, by IoU 0.5; background: nothing there, or not found"
    return [
        page.section(f"Precision and recall ({split})", page.element("div", page.join([curves, _of_classes(names, scored, kinds)]), "two")),
        page.section(f"Confusions ({split})", confusion.drawn(table, [*names, "background"], caption)),
    ]


def _curves(scored: Evaluation) -> figures.Panel:
    """The mean precision of the classes at every recall, at three thresholds of IoU."""
    lines = []
    for colour, least in enumerate((0.5, 0.75, 0.9)):
        of_class = scored.precision[int(np.argmin(np.abs(THRESHOLDS - least))), :, :, 0, -1]
        measured = of_class[:, (of_class > -1).all(0)]
        if measured.size:
            lines.append(figures.Line(f"IoU {least:g}", 100 * RECALLS, 100 * measured.mean(1), colour))
    return figures.Panel("Precision (%)", "recall (%)", lines)


def _of_classes(names: list[str], scored: Evaluation, kinds: np.ndarray) -> page.Markup:
    """AP of each class, and of its N surest detections, N the number of its objects, the share of each kind of mistake (Hoiem et al.)."""
    half = int(np.argmin(np.abs(THRESHOLDS - 0.5)))
    rows = []
    for name, ap, at_half, of_kind in zip(names, scored.of_category(), scored.precision[half, :, :, 0, -1].mean(0), kinds, strict=True):
        shares = [_percent(count / of_kind.sum()) if of_kind.sum() else words.MISSING for count in of_kind]
        rows.append([name, _percent(ap), _percent(at_half), *shares])
    return page.table(["class", "AP", "AP50", *detection_errors.KINDS], rows, numeric=set(range(1, 3 + len(detection_errors.KINDS))))


def _percent(value: float) -> str:
    return words.MISSING if value < 0 else f"{100 * value:.1f} %"
