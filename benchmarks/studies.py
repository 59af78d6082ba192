"""What studies cost besides their runs, and what arms gain by training together.

    python benchmarks/studies.py [--parts=overhead,again,trials,together]

overhead: runs of a study (of 3 against of 1) against runs by hand. again: the command of a finished study of 100 runs. trials: 200 made-up
trials by 4 launchers on one storage. together: 8 arms in one program, against one arm alone, and against the 8 one after the other.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
PARTS = flags.DEFINE_list("parts", "overhead,again,trials,together", "What to time.")
DIGITS = ["--config=experiments/digits.py", "--config.train.checkpoint_every=500 steps", "--config.train.eval_every=500 steps"]


def launch(*arguments: str) -> float:
    """Seconds that the launcher takes."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "launch.py", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start


def overhead(folder: Path) -> None:
    short = [*DIGITS, "--config.train.duration=20 steps"]
    launch("train", *short, "--config.seed=9", f"--workdir={folder}/warm")  # every program into the compile cache
    rounds = []
    for i in range(5):  # in turns, since machines do not keep their speed
        by_hand = [launch("train", *short, f"--config.seed={seed}", f"--workdir={folder}/{i}-{seed}") for seed in range(2)]
        one, three = (launch("sweep", *short, f"--sweep=seed=range({n})", f"--workdir={folder}/{i}-of-{n}") for n in (1, 3))
        rounds.append((sum(by_hand) / 2, (three - one) / 2, one))
    hand, inside, one = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"overhead: a run by hand {hand:.2f} s, one more in a study {inside:.2f} s: {inside - hand:+.2f} s a run")
    print(f"  a study of one run {one:.2f} s: {one - inside:.1f} s once a study, for checking its runs and for its report")


def again(folder: Path) -> None:
    study = [*DIGITS, "--sweep=seed=range(100)", f"--workdir={folder}/study"]
    from cvjax import config as configs
    from cvjax import plan, sweeps
    from cvjax.schema import assign

    base = configs.load(str(ROOT / "experiments" / "digits.py"))
    assign(base, [tuple(word.removeprefix("--config.").split("=", 1)) for word in DIGITS[1:]])
    found = sweeps.quick(base, "seed=range(100)")
    listed = plan.runs(found)
    with plan.owned(folder / "study"):
        plan.write(folder / "study", listed)
        plan.describe(folder / "study", found, "here")
        for run in listed:
            plan.place(folder / "study", run)
    for run in listed:
        status = {"state": "finished", "host": "here", "pid": 0, "heartbeat": plan.now(), "step": 1, "steps": 1, "final": {"val/top1": 0.5}}
        (folder / "study" / run.folder / "status.json").write_text(json.dumps(status))
    (folder / "study" / "report.html").write_text("")
    print(f"again: a finished study of 100 runs answers in {min(launch('sweep', *study) for _ in range(3)):.2f} s")


def trials(folder: Path) -> None:
    import test_trials
    from cvjax import storage

    url = f"sqlite:///{folder}/shared.db"
    storage.open_storage(test_trials.searching(), folder / "same", url)
    homes = [folder / name / "same" for name in "abcd"]
    for home in homes:
        home.mkdir(parents=True)
    start = time.perf_counter()
    workers = [subprocess.Popen([sys.executable, "-c", test_trials.WORKER, str(ROOT), str(home), "200", url]) for home in homes]
    codes = [worker.wait() for worker in workers]
    passed = time.perf_counter() - start
    study = storage.open_storage(test_trials.searching(), homes[0], url)
    ended = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    drawn = {trial.params["optim.lr"] for trial in ended}
    print(f"trials: {len(ended)} of 200 complete, {len(drawn)} different draws, exit codes {codes}, {passed:.0f} s with 4 launchers")


def together(folder: Path) -> None:
    long = [*DIGITS, "--config.train.duration=1000 steps"]
    arms = "--sweep=optim.lr=[0.1,0.03] seed=range(4)"
    launch("train", *long, f"--workdir={folder}/warm")
    one = launch("train", *long, "--config.seed=9", f"--workdir={folder}/one")
    joint = launch("sweep", *long, arms, "--executor=vmap", "--parallel=8", f"--workdir={folder}/joint")
    turns = launch("sweep", *long, arms, f"--workdir={folder}/turns")
    side = launch("sweep", *long, arms, "--parallel=2", f"--workdir={folder}/side")
    print(f"together: one arm alone {one:.1f} s; 8 arms in one program {joint:.1f} s ({joint / one:.2f} x one)")
    print(f"  one after the other {turns:.1f} s ({turns / joint:.2f} x together), two by two {side:.1f} s ({side / joint:.2f} x together)")


if __name__ == "__main__":
    flags.FLAGS(sys.argv)
    for part in PARTS.value:
        with tempfile.TemporaryDirectory() as place:
            {"overhead": overhead, "again": again, "trials": trials, "together": together}[part](Path(place))
