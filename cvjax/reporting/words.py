"""How a report writes names and numbers: the field's words, percent for fractions, only digits that mean something."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

WORDS = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "accuracy": "accuracy",
    "error": "error",
    "f1": "F1",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "images_per_s": "images per second",
    "data_wait": "time waiting for data",
}
SPLITS = {"val": "validation", "train": "training", "test": "test"}
FRACTION = re.compile(
    r"(top\d+|(\w+_)?acc(uracy)?|aAcc|mAcc|error|mAP\w*|AP\w*|AR\d*\w?|(m|fw)?IoU\w*|(\w+_)?[fF]1\w*|precision|recall|[PSR]Q|dice|data_wait)"
)
MISSING = "–"


def metric(name: str) -> str:
    """ "val/top1" -> "top-1 accuracy"; "val/coco/AP50" -> "coco AP50": the split is left out."""
    *path, last = name.split("/")
    return " ".join([*path[1:], WORDS.get(last, last.replace("_", " "))])


def split(name: str) -> str:
    """ "val/top1" -> "validation"."""
    first = name.split("/")[0]
    return SPLITS.get(first, first)


def is_fraction(name: str) -> bool:
    return of_one_class(name) or FRACTION.fullmatch(name.rpartition("/")[2]) is not None


def of_one_class(name: str) -> bool:
    """val/IoU/car, val/coco/AP/car: one of many."""
    return "/IoU/" in name or "/AP/" in name


def in_detail(name: str) -> bool:
    """What lines that are read at a glance leave out: one of many classes, layers or sizes."""
    return of_one_class(name) or re.search("/auxiliary_|coco/(AR|AP[sml]|AP75)", name) is not None


def lower_is_better(name: str) -> bool:
    """Losses and errors; every score of the field is better when higher."""
    return name.rpartition("/")[2] == "error" or not is_fraction(name)


def decimals(num_examples: int | None) -> int:
    """Decimals of a percentage that one example more or less could move: 1 for 360 examples, 2 from 1,001 on."""
    return 2 if not num_examples else min(2, max(0, math.ceil(math.log10(num_examples / 100))))


def value(name: str, number: float | None, places: int = 2) -> str:
    """A metric's value for people: 0.9125 of a fraction -> "91.25 %", of anything else four digits."""
    if number is None:
        return MISSING
    if not math.isfinite(number):
        return "not finite"
    return f"{100 * number:.{places}f} %" if is_fraction(name) else f"{number:.4g}"


def spread(name: str, numbers: Sequence[float]) -> str:
    """Mean ± sample standard deviation: two digits of the deviation, and the mean as far as those go."""
    if not numbers:
        return MISSING
    if len(numbers) == 1 or not np.isfinite(numbers).all():
        return value(name, float(np.mean(numbers)))
    scale, unit = (100, " %") if is_fraction(name) else (1, "")
    mean, deviation = scale * float(np.mean(numbers)), scale * float(np.std(numbers, ddof=1))
    places = 2 if deviation == 0 else min(2 if unit else 5, max(0, 1 - math.floor(math.log10(deviation))))
    return f"{mean:.{places}f} ± {deviation:.{places}f}{unit}"


def quantity(number: float | None, unit: str = "") -> str:
    """269722 -> "270 k", 40813184 -> "40.8 M"."""
    if number is None:
        return MISSING
    for scale, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= scale:
            return f"{_digits(number / scale)}{letter}{unit}"
    return f"{_digits(number)}{unit}"


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def duration(seconds: float | None) -> str:
    """4 s · 1 min 3 s · 3 h 20 min · 2 d 4 h"""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    for size, unit, next_size, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s" if whole else f"{seconds:.1f} s"


def setting(value: Any) -> str:
    """A configuration value as it would be typed: 0.1, cosine, (32, 32)."""
    if isinstance(value, list | tuple):
        return "(" + ", ".join(setting(part) for part in value) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927): honest for small n and for accuracies near 100 %."""
    z, p = 1.959964, right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def number(value: float) -> str:
    """An epoch or a count of them: 30, 2.5."""
    return f"{value:.4g}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns for a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
