"""Probes while a run trains: what they log is what can be computed by hand, and without them nothing is."""

import json

import numpy as np
import pytest

from cvjax.errors import UserError
from cvjax.train import train
from tiny import tiny


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_probes_log_every_layer_and_change_nothing(tmp_path):
    settings = {"duration": "2 steps", "log_every": "1 steps"}
    train(tiny(train={**settings, "probes": ("gradients", "responses")}), tmp_path / "with")
    train(tiny(train=settings), tmp_path / "without")
    probed, plain = rows(tmp_path / "with"), rows(tmp_path / "without")
    first = probed[0]
    norms = [value for name, value in first.items() if name.startswith("train/gradients/")]
    assert np.sqrt(np.square(norms).sum()) == pytest.approx(first["train/grad_norm"], rel=1e-5), "every parameter is in it once"
    stds = {name: value for name, value in first.items() if name.startswith("train/responses/")}
    assert len(stds) == 7 and all(0.5 < value < 1.5 for value in stds.values()), "a fresh BatchNorm's output has deviation 1"
    assert "train/responses/stage1_block1/norm2" in stds and first["train/gradient_ratio"] > 0
    for a, b in zip(plain, probed, strict=True):
        assert not any("gradients" in name or "responses" in name for name in a)
        assert a["train/loss"] == pytest.approx(b["train/loss"], rel=1e-5) if "train/loss" in a else True


def test_a_probe_that_finds_nothing_is_told_before_the_first_step(tmp_path):
    config = tiny(model=None, train={"probes": ("responses",)})
    with config.unlocked():
        config.model = {"name": "mlp"}
    with pytest.raises(UserError, match="probe responses: cvjax.models.mlp has no layers whose outputs it measures"):
        train(config, tmp_path)
