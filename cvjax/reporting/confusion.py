"""Which class is taken for which: a confusion matrix and the pairs confused most, out of `eval/<split>.npz`."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cvjax.errors import UserError
from cvjax.reporting import page, words

CELLS = 20  # up to so many classes the matrix is a table of numbers; above, a picture
PAIRS = 8
IGNORE = 255  # in label maps: counts nowhere


def sections(workdir: Path, classes: list[str], named: Callable[[str], str]) -> list[page.Markup]:
    """One section for every split with saved predictions; multi-label ones have no confusion matrix and are left out.

    named: what the reader calls a split, "val" -> "validation".
    """
    found = []
    for path in sorted((workdir / "eval").glob("*.npz")):
        label, prediction, unit = _read(path)
        if label.ndim == 1 and prediction.shape == label.shape and len(label):
            found.append(_section(unit, named(path.stem), label, prediction, classes))
    return found


def counts(workdir: Path, split: str) -> tuple[int, int] | None:
    """(right, all) of a split's saved predictions of whole pictures; None where there are none."""
    path = workdir / "eval" / f"{split}.npz"
    if not path.exists():
        return None
    label, prediction, unit = _read(path)
    if unit:
        return None
    return (int((label == prediction).sum()), len(label)) if label.ndim == 1 and label.shape == prediction.shape else None


def matrix(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts, int k k: row true, column predicted."""
    parts = range(0, max(len(label), 1), 2**24)  # label maps of many pictures would need eight times their memory at once
    both = ((label[at : at + 2**24].astype(int), prediction[at : at + 2**24].astype(int)) for at in parts)
    counts = sum(np.bincount(true * num_classes + said, minlength=num_classes**2) for true, said in both)
    return np.reshape(counts, (num_classes, num_classes))


def pairs(table: np.ndarray) -> list[tuple[int, int, int]]:
    """(true, predicted, count) of the mistakes, the most frequent first, at most PAIRS."""
    wrong = table - np.diag(np.diag(table))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    found = [(int(i) // len(table), int(i) % len(table), int(wrong.flat[i])) for i in order]
    return [pair for pair in found if pair[2]]


def examples(workdir: Path, split: str) -> int | None:
    """How many pictures of a split have saved predictions; None where none have."""
    path = workdir / "eval" / f"{split}.npz"
    if not path.exists():
        return None
    with _arrays(path) as arrays:
        return len(arrays[arrays.files[0]])


@contextmanager
def _arrays(path: Path) -> Iterator[Any]:
    """The arrays of a file. Raises UserError where it cannot be read."""
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            yield arrays
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}); remove it and run `launch.py eval` again") from None


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """Labels and predicted classes, int n, and what they are of: "" or "pixels "; `prediction`, or the first column of `top` (class ids,
    best first). Of label maps the pixels that count."""
    with _arrays(path) as arrays:
        if {"labels", "prediction"} <= set(arrays):
            labels = arrays["labels"]
            return labels[labels != IGNORE], arrays["prediction"][labels != IGNORE], "pixels "
        if "label" not in arrays or not {"top", "prediction"} & set(arrays):
            return np.zeros((0, 0)), np.zeros(0), ""  # another task's predictions
        return arrays["label"], arrays["prediction"] if "prediction" in arrays else arrays["top"][:, 0], ""


def _section(unit: str, split: str, label: np.ndarray, prediction: np.ndarray, classes: list[str]) -> page.Markup:
    size = max(int(label.max()), int(prediction.max())) + 1
    names = [*classes, *(str(i) for i in range(len(classes), size))]
    table = matrix(label, prediction, len(names))
    caption = f"{len(label):,} {unit}of {split}; rows: true class, columns: predicted class"
    return page.section(f"Confusions ({split})", drawn(table, names, caption))


def drawn(table: np.ndarray, names: list[str], caption: str) -> page.Markup:
    """The matrix, and which classes are confused most."""
    draw = _table if len(names) <= CELLS else _image
    wrong = [(names[true], names[said], count, f"{100 * count / table[true].sum():.1f} %") for true, said, count in pairs(table)]
    most = (
        page.table(["true", "predicted as", "times", "of the class"], wrong, numeric={2, 3}) if wrong else page.element("p", "No mistakes.")
    )
    both = page.join(
        [page.figure(draw(table, names), caption), page.element("div", page.join([page.element("h3", "Most confused"), most]))]
    )
    return page.element("div", both, "two")


def _table(table: np.ndarray, names: list[str]) -> page.Markup:
    """Cells shaded by the share of their row: blue on the diagonal, red off it; the last column is the recall."""
    head = ["", *names, "recall"]
    rows = [page.element("tr", page.join([page.element("th", name) if name else page.Markup("<th></th>") for name in head]))]
    for i, name in enumerate(names):
        total = int(table[i].sum())
        cells = [_cell(int(count), total, i == j) for j, count in enumerate(table[i])]
        recall = words.value("recall", table[i, i] / total if total else None, 1)
        rows.append(page.element("tr", page.join([page.element("th", name, "row"), *cells, page.element("td", recall)])))
    return page.element("div", page.element("table", page.join(rows), "matrix"), "wide")


def _cell(count: int, total: int, right: bool) -> page.Markup:
    share = (count / total) ** 0.6 * 0.75 if total else 0.0  # rare mistakes stay visible
    colour = "hit" if right else "miss"
    return page.Markup(f'<td style="background: rgb(var(--{colour}) / {share:.2f})">{count or ""}</td>')


def _image(table: np.ndarray, names: list[str]) -> page.Markup:
    """One pixel per cell; transparent where empty, so that it suits a light and a dark page."""
    from PIL import Image

    share = (table / np.maximum(table.sum(1, keepdims=True), 1)) ** 0.5
    pixels = np.zeros((*table.shape, 4), np.uint8)
    pixels[...] = (214, 48, 62, 0)
    pixels[np.diag_indices(len(table))] = (40, 120, 220, 0)
    pixels[..., 3] = np.round(255 * share)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return page.picture(file.getvalue(), f"confusion matrix of {len(names)} classes", "matrix")
