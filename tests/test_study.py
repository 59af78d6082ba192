"""Studies: what a file may say, which runs it means, and what a second command finds."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvjax import config as configs
from cvjax import lock, plan, standing, study, sweeps
from cvjax.errors import UserError
from cvjax.executors import local
from cvjax.search import Between, Choice, Search
from cvjax.study import Claim, Hyper, Paper, Study

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "experiments").glob("*/*.py"))


def base():
    return configs.load(str(ROOT / "experiments" / "digits.py"))


def listed(**arms):
    return plan.runs(Study(base(), {name: {"optim.lr": lr} for name, lr in arms.items()}, seeds=(0, 1)))


# ---- what a file may say


def test_the_hyper_of_public_configs():
    h = Hyper()
    two, three = h.sweep("config.a", [1, 2]), h.sweep("config.b", [3, 4, 5])
    assert (
        h.product([two, three])[:2] == [{"config.a": 1, "config.b": 3}, {"config.a": 1, "config.b": 4}]
        and len(h.product([two, three])) == 6
    )
    assert h.zipit([two, h.sweep("b", [3, 4])]) == [{"config.a": 1, "b": 3}, {"config.a": 2, "b": 4}]
    assert h.product([h.fixed("c", 7, length=1), two]) == [{"c": 7, "config.a": 1}, {"c": 7, "config.a": 2}]
    assert h.chainit([two, three]) == two + three
    with pytest.raises(UserError, match="do not fit together"):
        h.zipit([two, three])
    with pytest.raises(UserError, match="set twice"):
        h.product([two, two])
    with pytest.raises(UserError, match="did you mean 'product'"):
        h.prodct([two])


def write(path, text):
    path.write_text(
        f"from cvjax.config import load\ndef get_config():\n    return load({str(ROOT / 'experiments' / 'digits.py')!r})\n{text}"
    )
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "def get_hyper(hyper):\n    return hyper.product([hyper.sweep('config.optim.lr', [0.1, 0.2]), hyper.sweep('config.seed', [0, 1])])",
        "def sweep():\n    for lr in (0.1, 0.2):\n        for seed in (0, 1):\n            yield {'optim.lr': lr, 'seed': seed}",
    ],
    ids=["get_hyper", "sweep"],
)
def test_both_public_forms_mean_the_same_runs(tmp_path, text):
    found = plan.runs(study.load(write(tmp_path / "s.py", text)))
    assert [(run.config.optim.lr, run.config.seed) for run in found] == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]


def test_a_quick_sweep():
    found = plan.runs(sweeps.quick(base(), "optim.lr=[1e-3, 3e-4] seed=range(3) model.variant=14"))
    assert [(run.config.optim.lr, run.seed) for run in found] == [(lr, seed) for lr in (1e-3, 3e-4) for seed in range(3)]
    assert all(run.config.model.variant == 14 for run in found) and found[0].arm == "optim.lr=0.001"
    assert len({run.folder for run in found}) == 6


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no sweep"),
        ("def sweep():\n    return []", "no arm"),
        ("def sweep():\n    yield 3", "not 3"),
        ("def sweep():\n    yield {'optim.lr': 0.1}\n    yield {'optim.lr': 0.1}", "the same"),
        ("def sweep():\n    yield {}['a']", "line 5: KeyError"),
        ("def get_study(arg):\n    return 3", "not a cvjax.study.Study"),
        ("def get_hyper(hyper):\n    return hyper.swep('a', [1])", "did you mean 'sweep'"),
    ],
)
def test_a_file_that_says_nothing_useful_is_told(tmp_path, text, told):
    with pytest.raises(UserError, match=told):
        plan.runs(study.load(write(tmp_path / "s.py", text)))


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ({"optim.lrr": 0.1}, "did you mean 'lr'"),
        ({"optimm.lr": 0.1}, "no section 'optimm'"),
        ({"optim.lr": "fast"}, "must be a number"),
        ({"optim": 1}, "is a section"),
        ({"data.batch_size": 1.5}, "must be a whole number"),
        ({"model.name": "resnt"}, "did you mean 'resnet'"),
    ],
)
def test_an_arm_that_cannot_be_is_told_with_its_name(arm, told):
    with pytest.raises(UserError, match=told) as error:
        plan.runs(Study(base(), {"odd": arm}))
    assert "arm 'odd'" in str(error.value)


def test_two_arms_that_are_one_run():
    with pytest.raises(UserError, match="arm 'a', seed 0 and arm 'b', seed 0 are the same run"):
        listed(a=0.1, b=0.1)


def test_claims_and_papers_name_arms_that_there_are():
    arms = {"plain-20": {}, "res-20": {"optim.lr": 0.3}}
    with pytest.raises(UserError, match="did you mean 'plain-20'"):
        Study(base(), arms, claims=(Claim("c", "val/error", "plain-2 > res-20"),))
    with pytest.raises(UserError, match="names 'res-56'"):
        Study(base(), arms, paper=Paper("who", "how", {"val/error": {"res-56": 0.1}}))
    with pytest.raises(UserError, match="write it as"):
        Study(base(), arms, claims=(Claim("c", "val/error", "plain-20 is worse"),))
    with pytest.raises(UserError, match="names 'res-56'"):
        Study(base(), arms, claims=(Claim("c", "val/error", "plain-20 > res-20 - res-56"),))
    closing = Claim("c", "m", "res-56 - res-20 < plain-56 - plain-20 + 0.01").parts()
    assert closing == ("res-56 - res-20", "<", "plain-56 - plain-20", 0.01)
    assert Claim("c", "m", "plain-20 <= res-20 + 0.01").parts() == ("plain-20", "<=", "res-20", 0.01)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_lists_its_runs_without_jax(path):
    text = path.read_text()
    assert f"--study=experiments/{path.parent.name}/{path.name}" in text, "the header has its command"
    for arg in (":paper", ":small") if ":small" in text else ("",):
        verb = "compare" if path.parent.name == "comparisons" else "sweep"
        program = "import sys, launch; code = launch.main(sys.argv); sys.exit(code or 'jax' in sys.modules)"
        command = [
            sys.executable,
            "-c",
            program,
            verb,
            f"--study=experiments/{path.parent.name}/{path.name}{arg}",
            "--workdir=x",
            "--dry_run",
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and not (ROOT / "x").exists(), done.stderr


# ---- searches


def test_a_search_space_draws_within_it():
    part, whole, choice = Between(1e-4, 1e-1, log=True), Between(1, 3), Choice(("a", "b"))
    assert part.at(0) == 1e-4 and part.at(0.5) == pytest.approx(10**-2.5, rel=1e-4)
    assert [whole.at(x) for x in (0, 0.34, 0.99, 1)] == [1, 2, 3, 3] and [choice.at(x) for x in (0, 0.6, 1)] == ["a", "b", "b"]
    for sampler in ("random", "sobol"):
        arms = Search({"x": part, "y": choice}, goals={"m": "max"}, sampler=sampler, trials=6).listed()
        assert len(arms) == 6 and all(1e-4 <= arm["x"] <= 1e-1 for arm in arms)
        assert arms == Search({"x": part, "y": choice}, goals={"m": "max"}, sampler=sampler, trials=6).listed(), "the same every time"
    assert len(Search({"x": Choice((1, 2)), "y": choice}, goals={"m": "max"}, sampler="grid").listed()) == 4


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sampler": "best"}, "have: grid"),
        ({"trials": 0}, "at least 1"),
        ({"goals": {"m": "up"}}, "have: max, min"),
        ({"goals": {"m": "max", "n": "min"}}, "several goals need"),
        ({"space": {}}, "no space"),
        ({"sampler": "grid"}, "needs choices"),
    ],
)
def test_a_search_that_cannot_be_is_told(settings, told):
    with pytest.raises(UserError, match=told):
        Search(**{"space": {"x": Between(0.0, 1.0)}, "goals": {"m": "max"}, **settings})
    with pytest.raises(UserError, match="low must be below high"):
        Between(1, 1)


# ---- the folder


def test_the_list_is_written_once_and_another_study_is_refused(tmp_path):
    runs = listed(a=0.1, b=0.2)
    assert plan.is_new(tmp_path, runs)
    plan.write(tmp_path, runs)
    assert not plan.is_new(tmp_path, runs)
    assert configs.read(plan.place(tmp_path, runs[3])).to_dict() == runs[3].config.to_dict()
    with pytest.raises(UserError, match="run 2 has sets .* 0.2.* there"):
        plan.is_new(tmp_path, listed(a=0.1, b=0.3))
    with pytest.raises(UserError, match="of 4 runs, this one has 2"):
        plan.is_new(tmp_path, listed(a=0.1))
    text = (tmp_path / "runs.jsonl").read_text()
    (tmp_path / "runs.jsonl").write_text(text[:-30])
    assert plan.is_new(tmp_path, runs), "a torn list is written again"


def test_settings_that_are_tuples_are_the_same_study_again(tmp_path):
    runs = plan.runs(Study(base(), {"small": {"image.mean": (0.1,)}, "large": {"image.mean": (0.2,)}}))
    plan.write(tmp_path, runs)
    assert not plan.is_new(tmp_path, runs)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_text("")
    with pytest.raises(UserError, match="holds no study but photo.jpg"):
        plan.is_new(tmp_path, listed(a=0.1))


def test_who_must_run_again(tmp_path):
    run = tmp_path / "0000"
    run.mkdir()
    assert plan.state(run) == "pending" and local.needed(run, 0)

    def says(**facts):
        (run / "status.json").write_text(json.dumps({"host": plan.socket.gethostname(), "pid": 1 << 22, "heartbeat": plan.now(), **facts}))

    says(state="running")
    assert plan.state(run) == "interrupted" and local.needed(run, 0), "its process has gone"
    with lock.owned(run, begun=lambda: True):
        assert plan.state(run) == "running"
    says(state="finished")
    assert not local.needed(run, 5)
    says(state="running")
    assert plan.note_failure(run, -9) == "killed by signal 9" and plan.state(run) == "failed"
    assert local.needed(run, 1) and not local.needed(run, 0), "one failure, one more try"
    says(state="failed", reason="TrainingFailed: the loss is nan")
    plan.note_failure(run, 1)
    assert not local.needed(run, 5), "numbers that are not finite would be so again"
    (run / "config.json").write_text("{}")
    assert "1 runs: 1 failed" in standing.table(tmp_path)


def launch(folder, *arguments):
    command = [sys.executable, "launch.py", "sweep", "--config=experiments/digits.py:smoke", f"--workdir={folder}", *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_study_goes_on_after_kill_9(tmp_path):
    """Its run saves and stops with it; the same command ends it; a run that diverges is marked and the others go on."""
    folder, arms = tmp_path / "study", "--sweep=optim.lr=[0.1,1e30]"
    often = {"duration": 1000, "checkpoint_every": 500, "eval_every": 500, "log_every": 20}
    length = [f"--config.train.{name}={count} steps" for name, count in often.items()]
    first = launch(folder, arms, *length)
    run = wait_for(lambda: next((path for path in folder.glob("0000*") if (path / "status.json").exists()), None))
    wait_for(lambda: json.loads((run / "status.json").read_text())["step"] > 0)
    second = launch(folder, arms, *length)
    _, said = second.communicate(timeout=100)
    assert second.returncode == 2 and f"in use by process {first.pid}" in said
    first.send_signal(signal.SIGKILL)
    first.communicate()
    wait_for(lambda: json.loads((run / "status.json").read_text())["state"] == "stopped")
    stopped = json.loads((run / "status.json").read_text())["step"]
    again = launch(folder, arms, *length)
    said, errors = again.communicate(timeout=500)
    assert again.returncode == 0, errors
    states = {path.name[:4]: plan.state(path) for path in sorted(folder.glob("0*"))}
    assert states == {"0000": "finished", "0001": "failed"}
    assert [start["step"] for start in json.loads((run / "run.json").read_text())] == [0, stopped]
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines() if '"train/loss"' in line]
    assert steps == list(range(1, 1001)), "no step lost, none twice"
    assert "0 of 1, 1 failed" in (folder / "comparison.md").read_text()
    once_more = launch(folder, arms, *length)
    said, _ = once_more.communicate(timeout=100)
    assert once_more.returncode == 0 and "2 done before" in said


def wait_for(question, seconds=200):
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)
    return answer
