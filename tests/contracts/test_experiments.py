"""Every file in experiments, by glob: loads without JAX; `:smoke` trains, evaluates, resumes and ends where it should."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cvjax import config as configs
from cvjax import train as loop
from cvjax.errors import Interrupted
from cvjax.predict import evaluate_run
from cvjax.schema import check_names
from cvjax.train import train

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))
IDS = [path.stem for path in EXPERIMENTS]

WITHOUT_JAX = """
import sys
from cvjax import config
for path in sys.argv[1:]:
    for arg in ("", "smoke"):
        config.load(path, arg)
found = sorted({name.split(".")[0] for name in sys.modules} & {"jax", "flax", "optax", "tensorflow_datasets"})
sys.exit(f"loading experiments imported {found}" if found else 0)
"""


def test_experiments_load_without_jax():
    run = subprocess.run([sys.executable, "-c", WITHOUT_JAX, *map(str, EXPERIMENTS)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("path", EXPERIMENTS, ids=IDS)
def test_header_is_a_page_of_the_lab_book(path):
    text = path.read_text()
    assert f"launch.py train --config=experiments/{path.name}" in text and ":smoke" in text, "the header has its commands"
    assert configs.load(path, "").is_locked


@pytest.mark.parametrize("path", EXPERIMENTS, ids=IDS)
def test_smoke(path, tmp_path, monkeypatch):
    config = configs.load(path, "smoke")
    fitted = "duration" not in config.train  # in one step
    if not fitted:
        monkeypatch.setattr(loop, "_watched_signals", lambda: contextlib.nullcontext([signal.SIGTERM]))
        with pytest.raises(Interrupted, match="saved at step 1"):
            train(config, tmp_path)
        monkeypatch.undo()
    final = train(config, tmp_path)
    check_names(config)
    monitor = config.train.monitor if "monitor" in config.train else "val/top1"
    assert monitor in final
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert set(steps) == ({1} if fitted else {1, 2}) and steps == sorted(steps), "the interrupted run went on where it stood"
    assert train(config, tmp_path) == final, "a finished run does nothing"
    again = evaluate_run(config, tmp_path, "val", "latest")
    assert again[monitor] == pytest.approx(final[monitor], rel=1e-6)
