"""Studies that a user or a crash has spoilt: told in a line before anything starts, or mended."""

import datetime
import json
import socket

import pytest

from cvjax import lock, plan, study, sweeps
from cvjax.errors import UserError
from cvjax.search import Choice, Search
from cvjax.study import Claim, Study
from test_study import base, listed, write


def test_arms_that_differ_in_their_seed_are_one_arm(tmp_path):
    text = (
        "def get_hyper(hyper):\n    return hyper.product([hyper.sweep('config.optim.lr', (.1, .2)), hyper.sweep('config.seed', range(3))])"
    )
    found = study.load(write(tmp_path / "s.py", text))
    assert list(found.arms) == ["optim.lr=0.1", "optim.lr=0.2"] and set(found.seeds.values()) == {(0, 1, 2)}
    drawn = Search({"optim.lr": Choice((0.1, 0.2)), "seed": Choice((4, 5))}, {"val/top1": "max"}, sampler="grid")
    assert [(run.arm, run.seed) for run in plan.runs(Study(base(), search=drawn))] == [
        ("optim.lr=0.1", 4), ("optim.lr=0.1", 5), ("optim.lr=0.2", 4), ("optim.lr=0.2", 5)]  # fmt: skip


def test_names_have_as_many_digits_as_they_need():
    found = sweeps.quick(base(), "optim.lr=[0.10001,0.10002]")
    assert list(found.arms) == ["optim.lr=0.10001", "optim.lr=0.10002"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"seeds": 2}, "a row of whole numbers"),
        ({"seeds": (0, 0)}, "given twice"),
        ({"arms": ["a"]}, "settings by name"),
        ({"arms": {"a": None}}, "an arm is a dict"),
        ({"arms": {"a": {3: 1}}}, "an arm is a dict"),
        ({"base": {}}, "not the ConfigDict"),
        ({"measured": "val/top1"}, "a row of metrics"),
        ({"claims": (Claim("c", "val/top1", "a > b - 0.1"),)}, "arm > other arm \\+ 0.01"),
    ],
)
def test_a_study_that_cannot_be_is_told(settings, told):
    with pytest.raises(UserError, match=told):
        Study(**{"base": base(), "arms": {"a": {}, "b": {"optim.lr": 0.5}}, **settings})


@pytest.mark.parametrize("text", ["raise ValueError('first\\nsecond')", "import sys; sys.exit('bye')"])
def test_what_a_study_file_raises_is_one_line(tmp_path, text):
    (tmp_path / "s.py").write_text(text)
    with pytest.raises(UserError) as told:
        study.load(str(tmp_path / "s.py"))
    assert "\n" not in str(told.value) and "line 1" in str(told.value)


@pytest.mark.parametrize("text", ["seed=range(1,2,0)", "seed=range(1,2,3,4)", "seed=range(-)", "optim.lr=[0.1,0.2"])
def test_a_quick_sweep_that_cannot_be(text):
    with pytest.raises(UserError, match="--sweep"):
        sweeps.quick(base(), text)


def test_a_single_value_is_a_sweep_too():
    assert [run.seed for run in plan.runs(sweeps.quick(base(), "seed=3"))] == [3]


@pytest.mark.parametrize("metric", ["val/topp1", "tst/error", "layer_response"])
def test_a_metric_that_no_run_measures_is_told(tmp_path, metric):
    found = Study(base(), {"a": {}}, measured=(metric,))
    with pytest.raises(UserError, match="no run measures|names none"):
        sweeps.run(found, "here", tmp_path / "study", sweeps.Place())
    assert not (tmp_path / "study").exists()


def test_what_a_killed_launcher_left_half_written_is_completed(tmp_path):
    """Killed between the folders of its runs, or with a folder deleted since: the list stands, folders are made again."""
    runs = listed(a=0.1, b=0.2)
    plan.place(tmp_path, runs[0])
    (tmp_path / "lock").write_text("")
    (tmp_path / "report.html").write_text("")
    assert plan.is_new(tmp_path, runs), "its own folders are no other study"
    with pytest.raises(UserError, match="holds no study but 0000"):
        plan.is_new(tmp_path, listed(a=0.7))


@pytest.mark.parametrize(
    ("host", "minutes", "state"), [("elsewhere", 5, "running"), ("elsewhere", 45, "interrupted"), ("", 0, "interrupted")]
)
def test_who_is_at_a_run(tmp_path, host, minutes, state):
    """A lock that is held tells it; of another machine, a sign of life within the last half hour."""
    sign = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=minutes)
    status = {"state": "running", "host": host or socket.gethostname(), "pid": 1, "heartbeat": sign.isoformat()}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert plan.state(tmp_path) == state
    with lock.owned(tmp_path, begun=lambda: True):
        assert plan.state(tmp_path) == "running"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"executor": "vmap", "parallel": 0}, "--parallel is 0"),
        ({"executor": "slurm", "parallel": -1}, "--parallel is -1"),
        ({"slurm": "partition=main"}, "needs --executor=slurm"),
        ({"retries": -1}, "--retries is -1"),
    ],
)
def test_a_place_that_cannot_be_is_told(tmp_path, place, told):
    with pytest.raises(UserError, match=told):
        sweeps.dry_run(Study(base(), {"a": {}}), tmp_path, sweeps.Place(**place))


def test_devices_must_divide_the_batch():
    with pytest.raises(UserError, match="does not divide over 7 devices"):
        plan.runs(Study(base(), {"a": {}}, devices={"a": 7}))


def test_claims_may_be_mended_after_the_runs(tmp_path):
    runs, arms = listed(a=0.1, b=0.2), {"a": {"optim.lr": 0.1}, "b": {"optim.lr": 0.2}}
    plan.write(tmp_path, runs)
    for says in ("a > b", "a < b", "a < b"):
        plan.describe(tmp_path, Study(base(), arms, (0, 1), claims=(Claim("c", "val/top1", says),)), "here")
        assert not plan.is_new(tmp_path, runs)
        assert json.loads((tmp_path / "study.json").read_text())["claims"][0]["says"] == says
