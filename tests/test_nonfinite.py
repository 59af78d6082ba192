"""A number that is not finite: the update is not made, the step and the first bad value are named, the batch is kept, replay finds it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import nonfinite, parallel, step
from cvjax.batches import training
from cvjax.build import build, initial_state
from cvjax.checkpoint import Checkpoints, digest
from cvjax.errors import TrainingFailed, UserError
from cvjax.train import train
from tiny import tiny

DIVERGING = {"optim": {"lr": 1e30}, "train": {"duration": "20 steps", "log_every": "7 steps"}}


def first_bad(lines):
    """The step of the first line of metrics that is not finite."""
    bad = [line for line in lines if "train/loss" in line and not np.isfinite([line["train/loss"], line["train/grad_norm"]]).all()]
    return bad[0]["step"]


def read(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "diverged"
    with pytest.raises(TrainingFailed) as reason:
        train(tiny(**DIVERGING), folder)
    return folder, str(reason.value)


def test_the_step_and_the_first_bad_value_are_named(stopped):
    folder, reason = stopped
    number = first_bad(read(folder))
    assert reason.startswith(f"step {number} is not finite, first in ") and "launch.py replay" in reason
    assert read(folder)[-1]["step"] == number, "no line of a step after it"
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed" and reason in status["reason"]


def test_the_checkpoint_before_it_is_kept(stopped):
    folder, _ = stopped
    with Checkpoints(folder) as checkpoints:
        state, _ = checkpoints.restore(initial_state(build(tiny(**DIVERGING)))[0])
    assert int(state.step) < first_bad(read(folder))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_replay_finds_it_again(stopped, capsys):
    folder, reason = stopped
    lines = nonfinite.replay(tiny(**DIVERGING), folder)
    assert lines and lines[0] in reason and lines[0] in capsys.readouterr().out
    with np.load(next((folder / "nonfinite").glob("step_*.npz"))) as kept:
        assert kept["batch/image"].shape[0] == 8
        assert all(np.isfinite(kept[name]).all() for name in kept.files if name.startswith("params/")), "the state from before the update"


def test_replay_without_a_dump(tmp_path):
    train(tiny(), tmp_path)
    with pytest.raises(UserError, match="no step of it met"):
        nonfinite.replay(tiny(), tmp_path)


def poisoned(on_nan, bad):
    """The states after each of four steps of which those in `bad` (from 0) see a picture of NaN."""
    e = build(tiny(train={"on_nan": on_nan}))
    state, optimiser, schedule = initial_state(e)
    update = parallel.per_device(step.update(e, optimiser, schedule), (None, 0, 0))
    states, batches = [state], training(e, 0)
    for number in range(4):
        batch = next(batches)
        if number in bad:
            batch = {**batch, "image": jnp.full(batch["image"].shape, jnp.nan)}
        state, values = update(states[-1], parallel.rows(8), batch)
        assert bool(values["finite"]) == (number not in bad or int(states[-1].step) < 0)
        states.append(state)
    return states


def test_stop_makes_no_update_from_the_bad_step_on():
    before, *after = (digest(s.replace(step=0)) for s in poisoned("stop", bad=[1])[1:])
    assert {before} == set(after)


def test_the_state_tells_the_step_that_was_not_made():
    assert [int(s.step) for s in poisoned("stop", bad=[1])] == [0, 1, -2, -2, -2]


def test_skip_leaves_out_the_bad_step_alone():
    states = poisoned("skip", bad=[1])
    assert [int(s.step) for s in states] == [0, 1, 2, 3, 4]
    one, two, three = (digest(s.replace(step=0)) for s in states[1:4])
    assert one == two != three


def test_skip_counts_and_ends_when_it_only_skips(tmp_path):
    config = tiny(optim={"lr": 1e30}, train={"duration": "60 steps", "on_nan": "skip", "log_every": "3 steps"})
    with pytest.raises(TrainingFailed, match="is not finite"):
        train(config, tmp_path)
    lines = [line for line in read(tmp_path) if "train/skipped" in line]
    assert sum(line["train/skipped"] for line in lines) == 20 and lines[-1]["step"] == first_bad(lines) + 19
