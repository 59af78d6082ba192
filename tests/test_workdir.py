"""A workdir belongs to one process and one experiment; what decided the run is written down, and changes are told."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cvjax import provenance, workdir
from cvjax.build import build, initial_state
from cvjax.data import fake
from cvjax.errors import UserError
from cvjax.train import train
from tiny import tiny

ROOT = Path(__file__).parent.parent
HOLD = """
import sys, time
from pathlib import Path
from cvjax import workdir
with workdir.owned(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_a_dead_one_does_not_block(holder, tmp_path):
    with pytest.raises(UserError, match=rf"is in use by process {holder.pid} on .* since .*; wait for it"):
        train(tiny(), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with workdir.owned(tmp_path / "run"):
        pass


def test_a_mistake_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError, match="is not measured"):
        train(tiny(train={"monitor": "val/top9"}), tmp_path / "new" / "run")
    assert not (tmp_path / "new" / "run").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/run cannot be written: Not a directory"):
        train(tiny(), tmp_path / "file" / "run")


def test_what_decided_the_run_is_written_at_every_start(tmp_path):
    train(tiny(), tmp_path)
    (start,) = json.loads((tmp_path / "run.json").read_text())
    assert start["seed"] == 0 and start["step"] == 0 and len(start["config"]) == len(start["data"]) == 64
    assert {"jax", "flax", "optax", "orbax-checkpoint"} <= set(start["versions"]) and start["devices"] and start["command"]
    assert len(start["git"]["commit"]) == 40


def test_changes_between_starts_are_told(tmp_path, capsys, monkeypatch):
    e = build(tiny())
    state = initial_state(e)[0]
    provenance.record(tmp_path, e, state, 0)
    provenance.record(tmp_path, e, state, 2)
    assert "warning" not in capsys.readouterr().err
    starts = json.loads((tmp_path / "run.json").read_text())
    starts[-1]["versions"]["jax"] = "0.1"
    starts[-1]["git"]["commit"] = 40 * "0"
    starts[-1]["data"] = "other"
    (tmp_path / "run.json").write_text(json.dumps(starts))
    provenance.record(tmp_path, e, state, 4)
    said = capsys.readouterr().err
    assert "the code changed (000000000000" in said and "jax 0.1 -> " in said and "the training data changed" in said
    assert len(json.loads((tmp_path / "run.json").read_text())) == 3


def test_a_fingerprint_is_of_the_data():
    one, same, other, fewer = (fake.load("train", size=8, num_examples=n, num_classes=k) for n, k in ((20, 3), (20, 3), (20, 4), (19, 3)))
    assert provenance.fingerprint(one) == provenance.fingerprint(same)
    assert len({provenance.fingerprint(source) for source in (one, other, fewer)}) == 3


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="holds no run but cat; choose a folder of its own"):
        train(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cat"]


def test_lost_checkpoints_never_mean_from_scratch(tmp_path):
    train(tiny(), tmp_path)
    (tmp_path / "checkpoints").rename(tmp_path / "gone")
    with pytest.raises(UserError, match="has lost its checkpoints: bring back a backup"):
        train(tiny(), tmp_path)


@pytest.mark.parametrize("name", ["status.json", "config.json", "info.json"])
def test_a_torn_file_is_named(tmp_path, name):
    train(tiny(), tmp_path)
    (tmp_path / name).write_text((tmp_path / name).read_text()[:20])
    with pytest.raises(UserError, match=rf"{name} is damaged"):
        train(tiny(), tmp_path)


def test_a_run_that_is_only_beginning_has_no_facts_yet(tmp_path):
    with pytest.raises(UserError, match="has no info.json: its run is only beginning"):
        workdir.read_info(tmp_path)


def test_lost_lines_of_metrics_are_told(tmp_path, capsys):
    from cvjax.log import truncate

    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": n}) + "\n" for n in range(1, 6)) + '{"st')
    truncate(path, 4)
    assert path.read_text().count("\n") == 4 and not capsys.readouterr().err
    truncate(path, 9)
    assert "the lines of steps 5 to 9 are lost" in capsys.readouterr().err


def test_the_worst_pictures_come_first_and_then_the_best(tmp_path, monkeypatch):
    e = build(tiny("segmentation", data={"num_examples": 40}))
    scores, seen = np.random.default_rng(0).permutation(40) / 40, {}
    monkeypatch.setattr(e.task, "caption", lambda row, info: (str(row["prediction"][0, 0]), float(scores[row["prediction"][0, 0]])))
    monkeypatch.setattr(
        "cvjax.reporting.pictures.prediction_grid", lambda images, texts, right, path, **_: seen.update(texts=texts, right=right)
    )
    rows = {"valid": np.ones(40, bool), "prediction": np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)}
    workdir.keep_predictions(tmp_path, e, "val", rows)
    order = np.argsort(scores)
    assert [int(text) for text in seen["texts"][:-1]] == [*order[:8], *order[::-1][:15]] and seen["texts"][-1] == "classes"
    assert seen["right"] == [*(bool(scores[int(text)] >= 0.5) for text in seen["texts"][:-1]), None]
