"""Arms that train together against arms that train alone: the same files, and numbers that differ by the order of sums."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cvjax import config as configs
from cvjax import plan
from cvjax.errors import UserError
from cvjax.executors import vmap
from cvjax.files import write_json
from cvjax.study import Study
from cvjax.train import train
from tiny import tiny

ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-4  # of the loss, relative, over the first ten steps; see docs


def arms(steps, every="5 steps", **data):
    base = tiny(data={"cache": "device", "num_examples": 40, **data}, optim={"weight_decay": 1e-3},
                train={"duration": f"{steps} steps", "eval_every": every, "checkpoint_every": every})  # fmt: skip
    return plan.runs(
        Study(base, {"slow": {"optim.lr": 0.01}, "fast": {"optim.lr": 0.05}, "held": {"optim.weight_decay": 0.1}}, seeds=(0, 1))
    )


def place(folder, runs):
    for run in runs:
        (folder / run.folder).mkdir(parents=True)
        write_json(folder / run.folder / "config.json", json.loads(configs.to_json(run.config)))
    return [folder / run.folder for run in runs]


def start(paths):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-m", "cvjax.together", *map(str, paths)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def losses(path):
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    found = [(row["step"], row["train/loss"], row["train/lr"]) for row in rows if "train/loss" in row]
    return np.array(found)


def test_together_as_alone(tmp_path):
    runs = arms(10)
    paths = place(tmp_path / "together", runs)
    process = start(paths)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    for run, path in zip(runs, paths, strict=True):
        train(run.config, tmp_path / run.folder)
        a, b = losses(path), losses(tmp_path / run.folder)
        np.testing.assert_array_equal(a[:, 0], b[:, 0])
        np.testing.assert_allclose(a, b, rtol=TOLERANCE)
        ours, theirs = (json.loads((folder / "status.json").read_text()) for folder in (path, tmp_path / run.folder))
        assert ours["state"] == theirs["state"] == "finished"
        assert ours["final"]["val/loss"] == pytest.approx(theirs["final"]["val/loss"], rel=1e-3)
    first = [losses(path)[0, 1] for path in paths]
    assert len(set(first)) == 2, "the seed decides the first loss, the other numbers do not"
    assert len({losses(path)[-1, 1] for path in paths}) == len(paths), "all numbers decide the last"


def test_stopped_and_continued_and_one_that_diverges(tmp_path):
    """SIGTERM saves every arm; the same runs go on; an arm whose numbers are not finite leaves the others alone."""
    runs = arms(3000, every="500 steps")
    base = runs[0].config.copy_and_resolve_references()
    with base.unlocked():
        base.optim.lr = 1e30
    odd = plan.Run(9, "odd", 0, {}, base, "", "0009-odd")
    paths = place(tmp_path, [*runs[:2], odd])
    process = start(paths)
    end = time.monotonic() + 200
    while not all((path / "status.json").exists() for path in paths) or json.loads((paths[0] / "status.json").read_text())["step"] == 0:
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 75 and plan.state(paths[0]) == plan.state(paths[1]) == "stopped", said
    assert plan.state(paths[2]) == "failed"
    process = start(paths[:2])
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    for path in paths[:2]:
        np.testing.assert_array_equal(losses(path)[:, 0], np.arange(1, 3001))


def test_data_that_stream_are_refused():
    with pytest.raises(UserError, match="set config.data.cache='device'"):
        vmap.check(arms(10, cache="none"))
