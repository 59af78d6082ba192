"""Committees of runs from the command's side: what is measured, on which images, and what makes no committee."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from cvjax.cascade import Member, _divided, _overlap, _result, cascade, read_target
from cvjax.errors import UserError
from cvjax.files import read_json, write_json
from cvjax.reporting.cascade_page import frontier
from cvjax.train import train
from tiny import tiny


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs on the same made-up pictures."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        config = tiny(data=dict(num_examples=64), train=dict(duration="4 steps", eval_every="4 steps", checkpoint_every="4 steps"))
        with config.unlocked():
            config.seed = seed
        train(config, folder / f"seed{seed}")
    return folder


def test_rows_charts_and_tables_are_written(runs, tmp_path, capsys):
    page = cascade([f"{runs}/seed0", f"{runs}/seed1@12"], tmp_path / "out", "", "margin", "latest")
    found = json.loads((tmp_path / "out" / "cascade.json").read_text())
    kinds = [row["kind"] for row in found["rows"]]
    assert kinds == ["single", "single", "ensemble", "cascade", "cascade"] and "one half of the val split" in found["protocol"]
    small, large, both, *_ = found["rows"]
    assert both["average"] == small["average"] + large["average"] and large["average"] > small["average"]
    for row in found["rows"]:
        assert np.isclose(sum(row["shares"]), 1) and row["between"][0] <= row["accuracy"] <= row["between"][1]
    assert {"cascade.csv", "cascade.md", "cascade.png", "cascade.html"} <= {path.name for path in page.parent.iterdir()}
    assert "Confidence: margin" in capsys.readouterr().out


def test_two_equal_runs_are_as_good_as_one(runs, tmp_path):
    shutil.copytree(runs / "seed0", tmp_path / "again")
    cascade([f"{runs}/seed0", f"{tmp_path}/again"], tmp_path / "out", "compute:1e12", "margin", "latest")
    found = json.loads((tmp_path / "out" / "cascade.json").read_text())
    one, other, both, best = found["rows"]
    assert one["accuracy"] == other["accuracy"] == both["accuracy"] and both["gain"] == 0
    assert best["members"] == ["seed0"] and best["average"] == one["average"], "to ask an equal adds nothing"
    ((cost, accuracy),) = found["curves"].values()  # and shows that
    assert cost[-1] == 2 * cost[0] and set(accuracy) == {one["accuracy"]}


@pytest.mark.parametrize(
    "words, target, message",
    [
        (["{}/seed0"], "", "two runs or more"),
        (["{}/seed0", "{}/seed0"], "", "named twice"),
        (["{}/seed0", "{}/seed1/../seed0@8"], "", "seed0@8 is named twice"),
        (["{}/seed0", "{}/seed0@65"], "", "8 pixels is asked at 1 to 64"),
        (["{}/seed0", "{}/seed0@0"], "", "8 pixels is asked at 1 to 64"),
        (["{}/seed0", "{}"], "", "holds no run .*the runs in it"),
        (["{}/seed0", "{}/none"], "", "holds no run"),
        (["{}/seed0", "{}/seed1"], "accuracy:1", "reached by no cascade.*the best reaches"),
        (["{}/seed0", "{}/seed1"], "compute:3", "below the cheapest"),
    ],
)
def test_what_makes_no_committee(runs, tmp_path, words, target, message):
    with pytest.raises(UserError, match=message):
        cascade([word.format(runs) for word in words], tmp_path, target, "margin", "latest")


def test_frontier_is_of_those_that_no_cheaper_one_equals():
    rows = [SimpleNamespace(average=cost, accuracy=accuracy) for cost, accuracy in [(3, 0.8), (1, 0.5), (2, 0.5), (4, 0.7), (3, 0.6)]]
    assert [row.average for row in frontier(rows)] == [1, 3]


@pytest.mark.parametrize("text", ["accuracy", "accuracy:2", "accuracy:x", "speed:3", "compute:-1", "compute:inf", "accuracy:nan"])
def test_targets_that_are_none(text):
    with pytest.raises(UserError, match="write accuracy:0.9"):
        read_target(text)


def changed(folder, to, **sections):
    """A copy of a run whose config says something else."""
    shutil.copytree(folder, to)
    config = read_json(to / "config.json")
    write_json(to / "config.json", {**config, **{name: {**config[name], **keys} for name, keys in sections.items()}})
    return str(to)


def test_too_few_images_and_another_task(runs, tmp_path):
    few = [changed(runs / f"seed{seed}", tmp_path / f"few{seed}", data={"num_examples": 30}) for seed in (0, 1)]
    with pytest.raises(UserError, match="15 images to choose on, a cascade needs 20: give the runs a larger val split"):
        cascade(few, tmp_path / "out", "", "margin", "latest")
    other = changed(runs / "seed1", tmp_path / "tags", task={"name": "multilabel"}, data={"task": "multilabel"})
    with pytest.raises(UserError, match="tags is a run of task 'multilabel'"):
        cascade([few[0], other], tmp_path / "out", "", "margin", "latest")


def test_a_network_of_one_input_size_says_so(runs, tmp_path):
    data = dict(num_examples=64)
    config = tiny(model=None, data=data, train=dict(duration="1 steps", eval_every="1 steps", checkpoint_every="1 steps"))
    with config.unlocked():
        config.model = {"name": "mlp"}
    train(config, tmp_path / "mlp")
    with pytest.raises(UserError, match="mlp@12: the network does not take pictures of this size"):
        cascade([f"{runs}/seed0", f"{tmp_path}/mlp@12"], tmp_path / "out", "", "margin", "latest")


def test_a_member_that_was_trained_on_the_images_is_refused(runs, tmp_path):
    seen = changed(runs / "seed1", tmp_path / "seen", data={"train": "train[:50000]", "val": "train[45000:]"})
    same = changed(runs / "seed0", tmp_path / "same", data={"train": "train[:45000]", "val": "train[45000:]"})
    with pytest.raises(UserError, match=r"seen was trained on images of its val split: train\[:50000\] and train\[45000:\]"):
        cascade([same, seen], tmp_path / "out", "", "margin", "latest")


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("train[:10]", "train[10:]", False),
        ("train[:11]", "train[10:]", True),
        ("train", "train[3:5]", True),
        ("train", "val", False),
        ("train[:80%]", "train[70%:]", False),  # not told apart from its text
        ("train", "", False),
    ],
)
def test_slices_that_share_images(one, other, shared):
    assert _overlap(one, other) is shared


def test_a_runs_own_folder_is_not_written_into(runs):
    with pytest.raises(UserError, match="holds a run; name another folder"):
        cascade([f"{runs}/seed0", f"{runs}/seed1"], runs / "seed0", "", "margin", "latest")


def member(right, seed):
    """Predictions on 40 val and 60 test images: right on the named split only."""
    labels = {"val": np.arange(40) % 3, "test": np.arange(60) % 3}
    draw = np.random.default_rng(seed)
    wrong = {split: (y + 1 + draw.integers(2, size=len(y))) % 3 for split, y in labels.items()}
    return Member(f"m{seed}", {s: np.eye(3)[labels[s] if s == right else wrong[s]] for s in labels}, labels, 1 + seed)


def test_thresholds_are_chosen_on_val_and_measured_on_test():
    found = _result([member("test", 0), member("val", 1)], ("accuracy", 0.9), "margin")
    chosen = found.rows[-1]
    assert chosen.members == ("m1",) and chosen.chosen_accuracy == 1 and chosen.accuracy == 0
    assert found.images == 60 and "chosen on the val split, measured on the test split" in found.protocol


def test_halves_of_val_share_no_image():
    one, other = (member("val", seed) for seed in (0, 1))
    halves = [Member(m.name, {"val": np.arange(40)[:, None] * np.ones((1, 3))}, {"val": np.arange(40)}, m.cost) for m in (one, other)]
    (_, chose), (_, measured), _ = _divided(halves)
    assert sorted([*chose, *measured]) == list(range(40))


def test_unfinished_runs_and_other_data(runs, tmp_path):
    shutil.copytree(runs / "seed1", tmp_path / "other")
    write_json(tmp_path / "other" / "status.json", {**read_json(tmp_path / "other" / "status.json"), "state": "stopped"})
    with pytest.raises(UserError, match="not finished"):
        cascade([f"{runs}/seed0", f"{tmp_path}/other"], tmp_path / "out", "", "margin", "latest")
    config = read_json(runs / "seed1" / "config.json")
    write_json(tmp_path / "other" / "status.json", read_json(runs / "seed1" / "status.json"))
    write_json(tmp_path / "other" / "config.json", {**config, "data": {**config["data"], "num_classes": 5}})
    with pytest.raises(UserError, match=r"same images: config.data differs \(num_classes"):
        cascade([f"{runs}/seed0", f"{tmp_path}/other"], tmp_path / "out", "", "margin", "latest")
