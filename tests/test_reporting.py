"""The parts of a report, each against numbers worked out elsewhere: words, confusions, curves, the grid of pictures."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvjax.reporting import confusion, figures, words
from cvjax.reporting.pictures import caption, prediction_grid


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(
    ("name", "numbers", "expected"),
    [
        ("val/top1", [0.9], "90.00 %"),
        ("val/top1", [0.9, 0.9], "90.00 ± 0.00 %"),
        ("val/top1", [0.91, 0.93], "92.0 ± 1.4 %"),
        ("val/top1", [0.2, 0.8], "50 ± 42 %"),
        ("val/loss", [1.0, 1.1], "1.050 ± 0.071"),
        ("val/loss", [], "–"),
    ],
)
def test_spread_has_the_digits_that_mean_something(name: str, numbers: list[float], expected: str):
    assert words.spread(name, numbers) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (59, "59 s"), (63, "1 min 3 s"), (3600, "1 h"), (12000, "3 h 20 min"), (187200, "2 d 4 h")]
)
def test_duration(seconds: float, expected: str):
    assert words.duration(seconds) == expected


def test_wilson_interval_of_a_textbook_case():
    """Newcombe 1998, Statistics in Medicine 17:857, Table I: 81 of 263 gives 0.2553 to 0.3662."""
    np.testing.assert_allclose(words.wilson(81, 263), (0.2553, 0.3662), atol=5e-5)


def test_digits_follow_the_number_of_examples():
    assert [words.decimals(n) for n in (10, 100, 360, 1000, 5000, 50000, None)] == [0, 0, 1, 1, 2, 2, 2]


def test_confusion_matrix_counts_rows_true_columns_predicted():
    table = confusion.matrix(np.array([0, 0, 2, 2, 2]), np.array([0, 1, 0, 0, 2]), 3)
    assert table.tolist() == [[1, 1, 0], [0, 0, 0], [2, 0, 1]] and confusion.pairs(table) == [(2, 0, 2), (0, 1, 1)]


def test_more_classes_than_a_table_takes_become_a_picture(tmp_path: Path):
    (tmp_path / "eval").mkdir()
    np.savez(tmp_path / "eval" / "val.npz", label=np.arange(50), prediction=np.arange(50)[::-1])
    assert "<img" in confusion.sections(tmp_path, [], str)[0]


def test_long_curves_are_averaged_not_sampled():
    x, y, _ = figures._thin(figures.Line("", np.arange(1000.0), np.tile([0.0, 1.0], 500)))
    assert len(x) == figures.POINTS and np.abs(y - 0.5).max() < 0.2


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (32, 32, 3), (500, 300, 3), (120, 500, 3), (1, 1, 3), (2, 400, 3)])
def test_grid_takes_any_size_and_keeps_the_aspect(tmp_path: Path, shape: tuple[int, ...]):
    image = np.full(shape, 200, np.uint8)
    image[0, 0] = 200
    sheet = pixels(prediction_grid([image], [caption("cat", 0.97)], [None], tmp_path / "x.png"))
    rows, columns = np.nonzero((sheet == 200).all(-1))
    tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert 150 <= max(tall, wide) <= 180
    assert abs(tall / wide - shape[0] / shape[1]) < 0.02


def test_grid_marks_only_the_wrong_ones_in_red(tmp_path: Path):
    sheet = pixels(prediction_grid([np.zeros((8, 8, 3), np.uint8)] * 3, ["a", "b", "c"], [True, False, None], tmp_path / "x.png"))
    red = [(sheet[:, i * 194 + 18 : i * 194 + 198] == (0xC4, 0x23, 0x2F)).all(-1).sum() for i in range(3)]
    assert red[0] == red[2] == 0 and red[1] > 4 * 4 * 170


def test_grid_rejects_what_it_cannot_draw(tmp_path: Path):
    with pytest.raises(ValueError, match="uint8"):
        prediction_grid([np.zeros((8, 8))], ["a"], [True], tmp_path / "x.png")
    with pytest.raises(ValueError, match="2 captions"):
        prediction_grid([np.zeros((8, 8), np.uint8)], ["a", "b"], [True], tmp_path / "x.png")


def test_loss_over_decades_is_logarithmic_with_plain_numbers():
    line = figures.Line("", np.arange(5.0), np.array([2.0, 1.0, 0.1, 0.01, 0.001]))
    drawn = figures.svg(figures.Panel("Loss", "epoch", [line], decades=True), "f")
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert {"0.001", "0.01", "0.1", "1"} <= set(labels) and not any("$" in label for label in labels)
    assert "0.001" not in figures.svg(figures.Panel("Learning rate", "epoch", [line]), "f")


def test_confusions_of_label_maps_are_of_pixels(tmp_path):
    (tmp_path / "eval").mkdir()
    labels = np.array([[[0, 1], [1, 255]], [[0, 0], [255, 255]]], np.uint8)
    np.savez(tmp_path / "eval" / "val.npz", valid=[True, True], labels=labels, prediction=np.zeros_like(labels))
    assert confusion.examples(tmp_path, "val") == 2 and confusion.counts(tmp_path, "val") is None
    (section,) = confusion.sections(tmp_path, ["a", "b"], lambda split: "validation")
    assert "5 pixels of validation" in section and "100.0 %" in section
