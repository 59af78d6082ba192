"""Reports from run folders that the tests write themselves; numbers are checked against ones worked out by hand."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvjax.errors import UserError
from cvjax.report import report
from cvjax.reporting import runs, study
from cvjax.reporting.pictures import prediction_grid

VOID = {"meta", "img", "br", "hr", "link", "input"}
FETCHES = re.compile(r"""https?:|//\w|<script|<link|<iframe|@import|(?:src|href)="(?!data:|\#)|url\((?!\#)""")


# fmt: off
def write_run(path: Path, *, seed: int = 0, lr: float = 0.1, tops: tuple = (0.5, 0.9), state: str = "finished",
              reason: str = "", name: str = "resnet", torn: bool = False) -> Path:
    """A run of one evaluation per epoch, two steps an epoch, with top-1 accuracies `tops`."""
    path.mkdir(parents=True)
    config = {"experiment": "experiments/x.py", "seed": seed, "model": {"name": name, "variant": 8},
              "optim": {"lr": lr, "betas": [0.9, 0.99]}, "data": {"name": "digits", "val": "test"}}
    rows = []
    for i, top in enumerate(tops):
        rows += [{"step": 2 * i + 1, "epoch": i + 0.5, "train/loss": 1 / (i + 1), "train/lr": lr},
                 {"step": 2 * i + 2, "epoch": i + 1.0, "val/loss": 1 - top, "val/top1": top}]
    lines = "".join(json.dumps(row) + "\n" for row in rows) + ('{"step": 99, "val/top1": 0.99' if torn else "")
    start = {"command": ["python", "launch.py", "--name=a b"], "time": "2026-01-01T10:00:00+00:00", "host": "h",
             "devices": ["cuda:0", "cuda:1"], "git": {"commit": "0123456789abcdef", "dirty": True},
             "versions": {"jax": "0.10.2"}, "parameters": 78042, "multiply_adds": 12500000}
    final = {"val/loss": 1 - tops[-1], "val/top1": tops[-1]} if tops and state == "finished" else None
    status = {"state": state, "step": 2 * len(tops), "steps": 2 * len(tops) if state == "finished" else 100,
              "reason": reason, "heartbeat": "2026-01-01T10:01:03+00:00", "final": final,
              "best": {"best": max(tops, default=None), "best_step": 2}}
    info = {"classes": ["cat", "dog"], "num_examples": 90}
    for file, value in {"config": config, "run": [start], "status": status, "info": info}.items():
        (path / f"{file}.json").write_text(json.dumps(value))
    (path / "metrics.jsonl").write_text(lines)
    return path
# fmt: on


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


class Checker(HTMLParser):
    """Fails on tags that are not closed in order, and collects ids and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.ids += [value for key, value in attrs if key == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def read(path: Path) -> str:
    """The text of a page, after checking that it is well formed, has no double ids and fetches nothing."""
    html = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(html)
    assert checker.open == [] and html.startswith("<!DOCTYPE html>")
    assert len(checker.ids) == len(set(checker.ids))
    assert not FETCHES.search(re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", html)), FETCHES.search(html)
    return " ".join(" ".join(checker.text).split())


# ---- one run


def test_one_run_says_what_how_good_on_how_many_how_long(tmp_path: Path):
    run = write_run(tmp_path / "r", tops=(0.5, 0.9, 0.8))
    (run / "eval").mkdir()
    np.savez(
        run / "eval" / "val.npz", label=np.arange(10) % 2, prediction=np.where(np.arange(10) < 8, np.arange(10) % 2, 1 - np.arange(10) % 2)
    )
    page = report(run)
    text = read(page)
    assert page == run / "report.html" and "resnet 8 on digits" in text
    assert "80 % top-1 accuracy on 10 test examples after 3 epochs, trained in 1 min 3 s on 2 × cuda." in text
    assert "best test top-1 accuracy 90 % at epoch 2" in text
    assert "python launch.py '--name=a b'" in text and "0123456789ab with uncommitted changes" in text and "78,042" in text
    assert pixels(run / "curves.png").shape[1] > 1000


def test_predictions_and_confusions_are_on_the_page(tmp_path: Path):
    run = write_run(tmp_path / "r")
    (run / "eval").mkdir(), (run / "images").mkdir()
    np.savez(run / "eval" / "val.npz", label=[0, 0, 0, 0, 1, 1], prediction=[0, 1, 1, 0, 1, 1], probability=np.zeros((6, 2)))
    prediction_grid([np.zeros((8, 8), np.uint8)], ["x"], [True], run / "images" / "predictions.png")
    text = read(report(run))
    assert "4 of 6 right" in text and "Confusions (test)" in text
    assert re.search(r"true predicted as times of the class cat dog 2 50\.0 %", text)
    assert "data:image/png;base64," in (run / "report.html").read_text()


def test_a_test_split_is_the_headline_and_the_best_stays_validation(tmp_path: Path):
    """Selecting by one split and reporting another: the number that chose nothing comes first."""
    run = write_run(tmp_path / "r", tops=(0.5, 0.9))
    config, status = (json.loads((run / name).read_text()) for name in ("config.json", "status.json"))
    config["data"] |= {"val": "train[90%:]", "test": "test"}
    status["final"]["test/top1"] = 0.7
    (run / "config.json").write_text(json.dumps(config)), (run / "status.json").write_text(json.dumps(status))
    (run / "eval").mkdir()
    np.savez(
        run / "eval" / "test.npz", label=np.arange(10) % 2, top=np.stack([(np.arange(10) < 7) == (np.arange(10) % 2), np.zeros(10)], 1)
    )
    text = read(report(run))
    assert "70 % top-1 accuracy on 10 test examples" in text and "best validation top-1 accuracy 90.00 %" in text


def test_multilabel_predictions_have_no_confusions(tmp_path: Path):
    run = write_run(tmp_path / "r")
    (run / "eval").mkdir()
    np.savez(run / "eval" / "val.npz", label=np.eye(3), probability=np.eye(3))
    assert "Confusions" not in read(report(run))


def test_torn_last_line_is_ignored(tmp_path: Path):
    run = write_run(tmp_path / "r", tops=(0.5, 0.9), torn=True)
    assert "90.00 % top-1" in read(report(run)) and runs.find([run])[0].rows[-1]["step"] == 4


def test_step_written_twice_counts_once_the_later_line(tmp_path: Path):
    run = write_run(tmp_path / "r", tops=(0.5, 0.9))
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "epoch": 2.0, "val/top1": 0.7}\n')
    epochs, values = runs.series(runs.find([run])[0], "val/top1")
    assert epochs.tolist() == [1.0, 2.0] and values.tolist() == [0.5, 0.7]


def test_run_with_nothing_but_a_config(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    text = read(report(tmp_path))
    assert "No metrics yet." in text and "not started" in text
    assert not (tmp_path / "curves.png").exists()


def test_failed_run_with_infinite_loss_still_renders(tmp_path: Path):
    run = write_run(tmp_path / "r", tops=(0.5, float("nan")), state="failed", reason="non-finite loss at step 4")
    text = read(report(run))
    assert "failed, step 4 of 100" in text and "non-finite loss at step 4" in text and "not finite" in text


def test_odd_names_are_escaped(tmp_path: Path):
    odd = "<b>&\"$x_1$'</b>"
    run = write_run(tmp_path / "r", name=odd)
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 4, "epoch": 2.0, f"val/{odd}": 1.0}) + "\n")
    html = report(run).read_text()
    assert odd in read(run / "report.html") and odd not in html
    write_run(tmp_path / "s", name="| pipe\n")
    assert odd in read(report(tmp_path)) and "\\| pipe" in (tmp_path / "results.md").read_text()


# ---- several runs


def test_seeds_are_averaged_and_sorted_by_hand_computed_numbers(tmp_path: Path):
    for seed, top in enumerate((0.90, 0.92, 0.97)):  # mean 93, deviations -3 -1 4, sample sd sqrt(26 / 2) = 3.6056
        write_run(tmp_path / f"a{seed}", seed=seed, lr=0.1, tops=(0.5, top))
    write_run(tmp_path / "b0", lr=0.3, tops=(0.95,))
    text = read(report(tmp_path))
    markdown = (tmp_path / "results.md").read_text().splitlines()
    assert markdown[0].startswith("| optim.lr | seeds finished | best test top-1 accuracy | final test top-1 accuracy |")
    assert markdown[2].startswith("| 0.3 | 1 of 1 | 95.00 % |") and markdown[3].startswith("| 0.1 | 3 of 3 | 93.0 ± 3.6 % |")
    assert "optim.lr = 0.3: 95.00 % best test top-1 accuracy (n = 1), the best of 2 settings; 4 of 4 runs finished." in text


def test_unfinished_runs_are_listed_and_stay_out_of_the_means(tmp_path: Path):
    write_run(tmp_path / "a", seed=0, tops=(0.9,))
    write_run(tmp_path / "b", seed=1, tops=(0.1,), state="failed", reason="out of memory")
    write_run(tmp_path / "c", seed=2, tops=(), state="running")
    text = read(report(tmp_path))
    assert "90.00 % best test top-1 accuracy (n = 1); 1 of 3 runs finished." in text
    assert "1 failed, 1 running" in text and "out of memory" in text
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["state"], row["seed"], row["best val/top1"]) for row in rows] == [
        ("finished", "0", "0.9"),
        ("failed", "1", "0.1"),
        ("running", "2", ""),
    ]


def test_only_differing_keys_are_columns_and_a_missing_key_differs(tmp_path: Path):
    write_run(tmp_path / "a"), write_run(tmp_path / "b", lr=0.2), write_run(tmp_path / "c", seed=1)
    other = json.loads((tmp_path / "c" / "config.json").read_text())
    other["augment"] = {"flip": True}
    (tmp_path / "c" / "config.json").write_text(json.dumps(other))
    assert study.collect(runs.find([tmp_path]))[0].keys == ["optim.lr", "augment.flip"]


def test_loss_is_better_when_lower(tmp_path: Path):
    for name, top in (("a", 0.2), ("b", 0.6)):
        config = json.loads((write_run(tmp_path / name, lr=top, tops=(top,)) / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps(config | {"train": {"monitor": "val/loss"}}))
    assert [group.settings for group in study.collect(runs.find([tmp_path]))[0].groups] == [("0.6",), ("0.2",)]


def test_runs_on_different_data_are_not_ranked_against_each_other(tmp_path: Path):
    for name, data, top in (("a", "digits", 0.9), ("b", "cifar10", 0.7), ("c", "cifar10", 0.8)):
        path = write_run(tmp_path / name, lr=top, tops=(top,)) / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"data": {"name": "tfds", "dataset": data, "val": "test"}}))
    text = read(report(tmp_path))
    assert "optim.lr = 0.8: 80.00 % best test top-1 accuracy (n = 1), the best of 2 settings; 2 of 2 runs finished." in text
    markdown = (tmp_path / "results.md").read_text()
    assert markdown.index("### digits") < markdown.index("90.00 %") < markdown.index("### cifar10") < markdown.index("80.00 %")
    with open(tmp_path / "results.csv") as file:
        assert [row["data.dataset"] for row in csv.DictReader(file)] == ["digits", "cifar10", "cifar10"]


def test_curves_of_seeds_have_a_mean_and_a_band(tmp_path: Path):
    from cvjax.reporting import study_page

    for seed, tops in enumerate(((0.2, 0.4), (0.4, 0.8))):
        write_run(tmp_path / str(seed), seed=seed, tops=tops)
    line = study_page.panels(study.collect(runs.find([tmp_path]))[0])[0].lines[0]
    np.testing.assert_allclose(line.y, [30, 60])
    np.testing.assert_allclose(line.band, [np.sqrt(200), np.sqrt(800)])  # sd of two values: their distance / sqrt(2)


def test_several_folders_report_into_what_contains_them(tmp_path: Path):
    a, b = write_run(tmp_path / "x" / "a"), write_run(tmp_path / "x" / "b", seed=1)
    assert report([a, b]) == tmp_path / "x" / "report.html"
    assert report([a, b], out=tmp_path / "new" / "place") == tmp_path / "new" / "place" / "report.html"


def test_folder_inside_a_run_is_no_run(tmp_path: Path):
    run = write_run(tmp_path / "r")
    write_run(run / "checkpoints" / "nested")
    assert [found.path for found in runs.find([tmp_path, run])] == [run]


# ---- mistakes


def test_no_run_names_the_folder_and_what_was_looked_for(tmp_path: Path):
    with pytest.raises(UserError, match=rf"{tmp_path}.*config\.json"):
        report(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        report(tmp_path / "typo")


@pytest.mark.parametrize("text", ["{broken", "[1]"])
def test_damaged_config_is_named(tmp_path: Path, text: str):
    (write_run(tmp_path / "r") / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        report(tmp_path)


def test_damaged_predictions_are_named(tmp_path: Path):
    run = write_run(tmp_path / "r")
    (run / "eval").mkdir()
    (run / "eval" / "val.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError, match=r"val\.npz"):
        report(run)


def test_report_needs_no_jax():
    heavy = ("jax", "matplotlib.figure", "PIL")
    code = f"import sys; import cvjax.report, cvjax.listing; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
