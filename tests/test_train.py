"""The loop's promises: resume, device count, accumulation, cached or streamed, early stopping, not-finite losses."""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from cvjax import parallel, step
from cvjax import train as loop
from cvjax.batches import training
from cvjax.build import build, initial_state
from cvjax.checkpoint import Checkpoints
from cvjax.data import _pipeline
from cvjax.errors import Interrupted, UserError
from cvjax.evaluate import Evaluator
from cvjax.preprocess import host_train
from cvjax.train import due, train
from tiny import tiny

ROOT = Path(__file__).parent.parent


def lines(folder):
    """Metric lines without their times."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in found]


def final_state(config, folder):
    e = build(config)
    with Checkpoints(folder) as checkpoints:
        return checkpoints.restore(initial_state(e)[0])[0]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def first_updates(config, steps=2, **parts):
    """The state and the last metrics after a few steps, without the loop."""
    e = dataclasses.replace(build(config), **parts)
    state, optimiser, schedule = initial_state(e)
    cached = e.loading.cache == "device"
    update = parallel.per_device(step.update(e, optimiser, schedule), (None, 0, None if cached else 0))
    batches = training(e, 0)
    for _ in range(steps):
        state, values = update(state, parallel.rows(e.loading.batch_size), next(batches))
    assert parallel.replicas_agree(state)
    return state, jax.device_get(values)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    config = tiny(optim={"ema": 0.9}, train={"duration": "6 steps"})
    whole = train(config, tmp_path / "whole")
    asked = []
    monkeypatch.setattr(loop, "_watched_signals", lambda: contextlib.nullcontext(asked))
    monkeypatch.setattr(loop, "_evaluate", lambda *a, f=loop._evaluate: asked.append(15) or f(*a))  # the loop sees it a step later
    with pytest.raises(Interrupted):
        train(config, tmp_path / "parts")
    assert json.loads((tmp_path / "parts" / "status.json").read_text())["state"] == "stopped"
    monkeypatch.undo()
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "train/loss": 9}\n{"step": 6, "tr')  # what a kill after the checkpoint leaves behind
    assert train(config, tmp_path / "parts") == whole
    assert equal(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "parts"))
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    assert [line["step"] for line in lines(tmp_path / "whole") if "train/loss" in line] == [1, 2, 3, 4, 5, 6]


def test_other_seed_other_result():
    a, b, again = (first_updates(tiny(seed=seed))[0] for seed in (0, 1, 0))
    assert equal(a, again) and not equal(a.params, b.params)


def test_cached_on_the_device_equals_streamed():
    image = {"size": 6, "crop_fraction": 0.5}
    streamed, cached = (first_updates(tiny(data={"cache": cache}, image=image), steps=3)[0] for cache in ("none", "device"))
    for a, b in zip(jax.tree.leaves(streamed), jax.tree.leaves(cached), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def without_batchnorm():
    """A network whose rows do not meet, so that micro-batches cannot show."""
    import flax.linen as nn

    class Mean(nn.Module):
        num_classes: int = 7

        @nn.compact
        def __call__(self, inputs, *, train):
            return {"logits": nn.Dense(self.num_classes)(nn.relu(nn.Dense(16)(inputs["image"].mean((1, 2)))))}

    return Mean()


def test_accumulated_equals_the_big_batch():
    states = []
    for accumulate in (1, 2):
        config = tiny(data={"batch_size": 32, "num_examples": 64}, augment={"mixup": 0.2}, train={"accumulate": accumulate})
        states.append(first_updates(config, model=without_batchnorm()))
    for a, b in zip(jax.tree.leaves(states[0]), jax.tree.leaves(states[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


ONE_DEVICE = """
import sys, numpy as np
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
import jax
from test_train import first_updates, MANY
assert jax.device_count() == 1
state, values = first_updates(MANY())
np.savez(sys.argv[2], *jax.tree.leaves(jax.device_get((state, values))))
"""


def MANY():
    return tiny(data={"batch_size": 16, "num_examples": 32}, augment={"flip": True, "crop": "pad", "pad": 1, "mixup": 0.2, "erase": 0.5})


def test_eight_devices_equal_one(tmp_path):
    """Data order, augmentation, BatchNorm, loss and gradients do not depend on the number of devices."""
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    subprocess.run([sys.executable, "-c", ONE_DEVICE, str(ROOT), str(tmp_path / "one.npz")], env=env, check=True)
    assert jax.device_count() == 8
    many = jax.tree.leaves(jax.device_get(first_updates(MANY())))
    one = list(np.load(tmp_path / "one.npz").values())
    for a, b in zip(many, one, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_evaluation_is_exact_for_any_batch_size():
    """44 examples: in batches of 8 the last one is half padding; of 48 the only one is."""
    found = []
    for batch_size in (8, 48):
        e = build(tiny(data={"batch_size": batch_size, "num_examples": 52, "val": "val[:44]"}))
        found.append(Evaluator(e)(initial_state(e)[0], "val"))
    (small, rows), (large, _) = found
    assert len(rows["label"]) == 44
    for name, value in small.items():
        assert value == pytest.approx(large[name], rel=1e-5)
    right = (rows["top"][:, 0] == rows["label"]).mean()
    assert small["val/top1"] == pytest.approx(right, abs=1e-9)


def test_evaluation_uses_the_averaged_parameters():
    e = build(tiny(optim={"ema": 0.5, "lr": 1.0}))
    state, _ = first_updates(tiny(optim={"ema": 0.5, "lr": 1.0}), steps=3)
    plain = state.replace(opt=())
    assert Evaluator(e)(state, "val")[0] != Evaluator(e)(plain, "val")[0]


def test_early_stopping_and_best_checkpoint(tmp_path):
    config = tiny(optim={"lr": 0.0}, train={"duration": "20 steps", "patience": "4 steps"})
    train(config, tmp_path)
    status = json.loads((tmp_path / "status.json").read_text())
    best = status["best"]["best_step"]
    assert status["step"] == best + 4 < 20
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() == best and checkpoints.steps()[-1] == best + 4
        assert best in checkpoints.steps()


def test_training_ends_where_it_is_good_enough(tmp_path, capsys):
    train(tiny(train={"until": 0.0}), tmp_path)
    assert json.loads((tmp_path / "status.json").read_text())["step"] == 2
    assert "early stop: val/top1 is" in capsys.readouterr().out


def test_what_never_is_good_enough_is_said(tmp_path, capsys):
    train(tiny(train={"until": 1.1}), tmp_path)
    assert re.search(r"warning: val/top1 is .* at best after 4 steps, not config.train.until=1.1", capsys.readouterr().out)


def test_another_config_in_the_same_folder_is_refused(tmp_path):
    train(tiny(), tmp_path)
    with pytest.raises(UserError, match=r"optim.lr: 0.05 -> 0.1"):
        train(tiny(optim={"lr": 0.1}), tmp_path)


def test_begin_from_another_run(tmp_path, capsys):
    config = tiny(optim={"ema": 0.9}, train={"duration": "2 steps"})  # its best checkpoint is its last
    train(config, tmp_path / "first")
    e = build(tiny(init=str(tmp_path / "first"), data={"num_classes": 3}))
    state = initial_state(e)[0]
    assert "initialised anew: params/head/bias, params/head/kernel" in capsys.readouterr().out
    first = final_state(config, tmp_path / "first")
    average = jax.tree.leaves(optax.tree.get(first.opt, "average")["stem_conv"])
    assert equal(state.params["stem_conv"], average) and not equal(state.params["stem_conv"], first.params["stem_conv"])
    assert equal(state.stats, first.stats)


def test_multilabel_trains_and_is_measured_by_mean_average_precision(tmp_path):
    final = train(tiny("multilabel", train={"monitor": "val/mAP", "mode": "max"}), tmp_path)
    assert {"val/loss", "val/mAP", "val/F1_micro", "val/F1_macro"} <= set(final) and 0 <= final["val/mAP"] <= 1
    assert (tmp_path / "images" / "predictions.png").is_file()


def test_streaming_by_processes_equals_threads():
    crop = {"crop": "resized"}
    states = [first_updates(tiny(data={"worker_kind": kind, "workers": 2}, augment=crop))[0] for kind in ("thread", "process")]
    assert equal(*states)


ON_ONE_DEVICE = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
from cvjax.batches import training
from cvjax.build import build, initial_state
from tiny import tiny
initial_state(build(tiny(init=sys.argv[2])))
"""


def test_begin_from_a_run_of_other_devices(tmp_path):
    train(tiny(train={"duration": "2 steps"}), tmp_path)
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    run = subprocess.run([sys.executable, "-c", ON_ONE_DEVICE, str(ROOT), str(tmp_path)], env=env, capture_output=True, text=True)
    assert run.returncode == 0 and f"from {tmp_path}" in run.stdout, run.stderr[-2000:]


def test_a_run_that_failed_before_its_first_step_leaves_the_folder_free(tmp_path):
    with pytest.raises(UserError):
        train(tiny(optim={"name": "sdg"}), tmp_path)
    assert train(tiny(train={"duration": "2 steps"}), tmp_path)


def test_due():
    assert [n for n in range(1, 8) if due(n, 3, last=n == 7)] == [3, 6, 7]


def test_hosts_share_a_batch():
    e = build(tiny())
    both = [_pipeline.train_batches(e.splits["train"], host_train(e.pixels, e.augment, e.splits["train"]), batch_size=8, seed=0,
                                    process_index=i, process_count=2) for i in (0, 1)]  # fmt: skip
    transform = host_train(e.pixels, e.augment, e.splits["train"])
    with _pipeline.train_batches(e.splits["train"], transform, batch_size=8, seed=0) as whole, both[0], both[1]:
        halves = np.concatenate([next(both[0])["image"], next(both[1])["image"]])
        assert np.array_equal(next(whole)["image"], halves)
