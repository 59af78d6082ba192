"""Killed, stopped and moved to other devices through the command line, a run ends with the bits of one that nothing touched."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cvjax.checkpoint import Checkpoints

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "launch.py", "train", "--config=experiments/digits.py", "--config.train.duration=40 steps",
           "--config.train.log_every=3 steps", "--config.train.eval_every=10 steps", "--config.train.checkpoint_every=2 steps",
           "--config.optim.ema=0.9"]  # fmt: skip


def start(folder, devices=2):
    env = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return subprocess.Popen([*COMMAND, f"--workdir={folder}"], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, code=0):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    return errors


def leaves(folder):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.manifest(checkpoints.steps()[-1])["leaves"]


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in found]


def after_a_step(folder, process):
    """Waits until the process has appended to run.json and made a step."""
    before = (folder / "run.json").read_text() if (folder / "run.json").exists() else ""
    while process.poll() is None and (not (folder / "run.json").exists() or (folder / "run.json").read_text() == before):
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(start(folder))
    return folder


def test_killed_at_ten_random_moments(whole, tmp_path):
    folder, moments, killed = tmp_path / "run", random.Random(0), 0
    for _ in range(10):
        process = start(folder)
        after_a_step(folder, process)
        time.sleep(moments.uniform(0, 1.5))  # between the rehearsal and the last steps, saves included
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        process.communicate()
    finish(start(folder))
    assert killed >= 5, "the kills came too late to prove anything"
    assert leaves(folder) == leaves(whole) and lines(folder) == lines(whole)


def test_stopped_by_signals(whole, tmp_path):
    folder = tmp_path / "run"
    for signals in ((signal.SIGTERM,), (signal.SIGINT, signal.SIGINT), (signal.SIGUSR2,)):
        process = start(folder)
        after_a_step(folder, process)
        time.sleep(0.5)
        for number in signals:
            process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        assert process.returncode in (0, 75) and "Traceback" not in errors, errors
    finish(start(folder))
    assert leaves(folder) == leaves(whole) and lines(folder) == lines(whole)


def test_going_on_with_other_devices(whole, tmp_path):
    folder = tmp_path / "run"
    for devices in (2, 1, 4):
        process = start(folder, devices)
        after_a_step(folder, process)
        time.sleep(0.7)
        process.kill()
        process.communicate()
    finish(start(folder, 8))
    one, other = lines(whole), lines(folder)
    assert [line["step"] for line in one] == [line["step"] for line in other]
    np.testing.assert_allclose(
        [x["train/loss"] for x in one if "train/loss" in x], [x["train/loss"] for x in other if "train/loss" in x], rtol=0.05
    )
