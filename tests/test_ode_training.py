"""What a run says of its equations: evaluations forward and backward in every step, and solves that gave up."""

import json

from cvjax.train import train
from tiny import tiny


def trained(folder, solve, **sections):
    model = dict(name="odenet", variant="ode", width=4, solve=solve)
    sections = {"data": {"size": 12}, "image": {"size": 12}, **sections}
    train(tiny(model=model, **sections), folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "train/loss" in line], lines


def test_evaluations_are_logged_in_every_step(tmp_path):
    data, twice = {"size": 12, "batch_size": 16, "num_examples": 40}, {"accumulate": 2, "duration": "2 steps"}
    steps, _ = trained(tmp_path, {"solver": "rk4", "steps": 2}, data=data, train=twice)
    assert len(steps) == 2
    for line in steps:
        assert line["train/nfe_forward"] == line["train/nfe_backward"] == 8
        assert line["train/unfinished"] == line["train/unfinished_backward"] == 0


def test_a_solve_that_gives_up_is_said_once_and_measured_always(tmp_path, capsys):
    steps, lines = trained(tmp_path, {"tol": 1e-5, "max_steps": 1}, train={"duration": "2 steps"})
    assert all(line["train/unfinished"] == line["train/unfinished_backward"] == 1 for line in steps)
    assert [line["val/unfinished"] for line in lines if "val/unfinished" in line][-1] == 1
    said = capsys.readouterr()
    assert (said.out + said.err).count("gave up at config.model.solve.max_steps") == 1
