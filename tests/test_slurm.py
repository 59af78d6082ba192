"""Studies on a real Slurm: pre-empted, out of time, crashed, cancelled and left alone; and a run on two nodes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cluster
from cvjax import parallel, plan
from cvjax.errors import UserError
from cvjax.executors import slurm

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Slurm's, and that of a user without JAX settings. Skipped where there can be none, unless CVJAX_NEEDS_SLURM says that there is."""
    reason = cluster.missing()
    if reason and "CVJAX_NEEDS_SLURM" not in os.environ:
        pytest.skip(reason)
    assert not reason
    folder = tmp_path_factory.mktemp("slurm")
    found = cluster.start(folder)
    found.pop("XLA_FLAGS", None)
    yield found
    cluster.stop(folder, found)


def sweep(environment, folder, seeds, steps, options, parallel=5):
    settings = {"train.duration": f"{steps} steps", "train.checkpoint_every": "100 steps", "train.eval_every": "100 steps"}
    arguments = [f"--sweep=seed=range({seeds})", f"--parallel={parallel}", f"--slurm={options}"]
    done = launch(environment, folder, *arguments, *(f"--config.{key}={value}" for key, value in settings.items()))
    assert done.returncode == 0, done.stderr
    return done.stdout


def launch(environment, folder, *arguments):
    command = [
        sys.executable,
        "launch.py",
        "sweep",
        "--config=experiments/digits.py",
        f"--workdir={folder}",
        "--executor=slurm",
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def preempt(environment, nodes):
    """A job that goes before all others takes whole nodes for a moment."""
    urgent = ["sbatch", "--partition=high", "--exclusive", f"--nodelist={nodes}", "--output=/dev/null", "--wrap=sleep 5"]
    subprocess.run(urgent, env=environment, check=True)


def runs(folder):
    return sorted(folder.glob("0*"))


def status(run):
    path = run / "status.json"
    return json.loads(path.read_text()) if path.exists() else {"state": "pending", "step": 0}


def starts(run):
    return json.loads((run / "run.json").read_text())


def tasks(environment):
    """Number in the array -> state, of every task that Slurm remembers."""
    lines = cluster.command(environment, "scontrol", "show", "job", "-o").splitlines()
    found = [dict(word.partition("=")[::2] for word in line.split()) for line in lines]
    return {task["ArrayTaskId"]: task["JobState"] for task in found if "ArrayTaskId" in task}


def test_an_array_of_every_fate(environment, tmp_path):
    """0 is pre-empted, 1 runs out of time, 2 crashes, 3 is cancelled, 4 is left alone; each as soon as it trains."""
    folder = tmp_path / "study"
    said = sweep(environment, folder, 5, 1000, "partition=low,time=5,cpus-per-task=1,signal=USR2@30", parallel=3)
    job = said.partition("as job ")[2].partition(";")[0]
    every = preempted, timed, crashed, cancelled, plain = runs(folder)
    fates = {
        preempted: lambda: preempt(environment, cluster.command(environment, "squeue", "-h", "-r", f"--jobs={job}_0", "-o", "%N").strip()),
        timed: lambda: os.kill(status(timed)["pid"], signal.SIGUSR2),  # what Slurm sends before the time is up
        crashed: lambda: os.kill(status(crashed)["pid"], signal.SIGKILL),
        cancelled: lambda: cluster.command(environment, "scancel", f"{job}_3"),
    }

    def all_have_met_theirs():
        for run in every:
            if run in fates and status(run)["step"] > 0 and plan.state(run) == "running":
                fates.pop(run)()
        return not fates and all(status(run)["state"] == "finished" for run in (preempted, timed, plain))

    cluster.wait(all_have_met_theirs, 400)
    cluster.wait(lambda: "COMPLETING" not in tasks(environment).values(), 120)  # a cancelled task lingers while its node is cleared
    found = tasks(environment)
    assert found["2"] == "FAILED" and found["3"] == "CANCELLED", found
    assert len(starts(preempted)) > 1 and len(starts(timed)) > 1 and plan.state(crashed) != "finished" != plan.state(cancelled)
    for run in (preempted, timed, plain):
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines() if '"train/loss"' in line]
        assert steps == list(range(1, 1001)), "every step once"
    before = len(starts(plain))
    assert "submitted 2 runs" in sweep(environment, folder, 5, 1000, "partition=low,time=5,cpus-per-task=1")
    cluster.wait(lambda: all(status(run)["state"] == "finished" for run in every), 300)
    assert len(starts(plain)) == before and len(starts(crashed)) > 1 and len(starts(cancelled)) > 1
    assert "5 done before" in sweep(environment, folder, 5, 1000, "partition=low,time=5")


def test_a_run_on_two_nodes_goes_on_where_it_was_preempted(environment, tmp_path):
    """Bit for bit as one that was left alone."""
    folders = [tmp_path / name for name in ("preempted", "alone")]
    for folder in folders:
        said = sweep(environment, folder, 1, 200, "partition=low,time=10,nodes=2,ntasks-per-node=1,cpus-per-task=1")
        (run,) = runs(folder)
        if folder.name == "preempted":
            cluster.wait(lambda run=run: status(run)["step"] > 0, 200)
            preempt(environment, "one,two")
        cluster.wait(lambda run=run: status(run)["state"] == "finished", 300)
        assert "submitted 1 runs" in said
    (stopped,), (alone,) = map(runs, folders)
    assert len(starts(stopped)) == 2 and len(starts(alone)) == 1
    assert len(starts(alone)[0]["devices"]) % 2 == 0, "as many on each node"
    assert weights(stopped) == weights(alone)


def weights(run):
    from cvjax.checkpoint import Checkpoints

    with Checkpoints(run) as checkpoints:
        step = checkpoints.steps()[-1]
        return step, checkpoints.manifest(step)["leaves"]


@pytest.mark.parametrize(
    ("options", "told"), [("partition=nowhere", "sbatch refuses"), ("partition", "sets nothing"), ("no-such-option=1", "sbatch refuses")]
)
def test_what_slurm_refuses_is_told_before_anything_is_written(environment, tmp_path, options, told):
    done = launch(environment, tmp_path / "study", "--sweep=seed=range(2)", f"--slurm={options}")
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "study").exists()


def test_one_process_a_node_takes_all_its_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    for tasks, taken in (("1(x2)", [0, 1, 2, 3]), ("1", [0, 1, 2, 3]), ("4(x2)", None)):
        monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", tasks)
        assert parallel.local_gpus() == taken


def test_without_slurm_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no sbatch here"):
        slurm.check(tmp_path, [0], slurm.options("partition=main"))


def test_the_script_names_what_it_runs(tmp_path):
    text = slurm.script(tmp_path / "a study", [0, 1, 2, 5, 7, 8], slurm.options("partition=main,gpus_per_node=2"), 4)
    assert "#SBATCH --array=0-2,5,7-8%4\n" in text and "#SBATCH --gpus-per-node=2\n" in text
    assert f"'{tmp_path}/a study'/slurm/folders.txt" in text and "SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
