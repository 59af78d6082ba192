"""What the promises cost: a checkpoint with its digests, the guard against numbers that are not finite, `check` on a large network.

    python benchmarks/promises.py [--rounds=5] [--megabytes=400] [--parts=checkpoints,guard,check]

Checkpoint: how long `save` keeps the loop waiting, until it is on disk, and reading it back with every digest checked.
Guard: a ResNet-20 step with it and without, taking turns (ratio of medians, wall and CPU). Check: the ResNet-50 recipe on made-up pictures.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from absl import flags

from cvjax import environment

environment.prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from cvjax import config as configs  # noqa: E402
from cvjax import parallel, step  # noqa: E402
from cvjax.batches import training  # noqa: E402
from cvjax.build import build, initial_state  # noqa: E402
from cvjax.checkpoint import Checkpoints  # noqa: E402
from cvjax.state import State  # noqa: E402

ROOT = Path(__file__).parents[1]
ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is timed.")
MEGABYTES = flags.DEFINE_integer("megabytes", 400, "Size of the saved state.")
PARTS = flags.DEFINE_list("parts", "checkpoints,guard,check", "What to time.")
MEMORY = {"best": None, "best_step": 0}


def checkpoints() -> None:
    arrays = [np.random.default_rng(i).standard_normal(250_000, np.float32) for i in range(MEGABYTES.value)]
    blocked, written, restored = [], [], []
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as saved:
        for number in range(ROUNDS.value + 1):
            state = parallel.replicate(State(step=np.int32(number), params=arrays, stats={}, opt=()))
            jax.block_until_ready(state)
            start = time.perf_counter()
            saved.save(state, MEMORY, None)
            blocked.append(time.perf_counter() - start)
            saved.wait()
            written.append(time.perf_counter() - start)
            start = time.perf_counter()
            saved.restore(state)
            restored.append(time.perf_counter() - start)
    first, *later = blocked  # the first is made before the first step
    print(f"checkpoint of {MEGABYTES.value} MB: blocks for {_text(later, 1e3)} ms; the first, before step 1, for {1e3 * first:.0f} ms")
    print(f"  on disk after {_text(written)} s, restored in {_text(restored)} s")


def guard() -> None:
    config = configs.load(str(ROOT / "experiments" / "resnet_cifar10_quick.py"))
    with config.unlocked():
        config.data = dict(name="fake", train="train", val="val", batch_size=128, cache="device", size=32, num_examples=4096)
        config.optim.warmup = "1 steps"
    e = build(config)
    rows, data = parallel.rows(128), next(training(e, 0))
    guarded, runs = step._unless_broken, {}
    for name, function in (("with", guarded), ("without", lambda old, new, finite, skip: new)):
        step._unless_broken = function
        state, optimiser, schedule = initial_state(e)
        update = parallel.per_device(step.update(e, optimiser, schedule), (None, 0, None), donate=True)
        runs[name] = [update, update(state, rows, data)[0], [], []]
    step._unless_broken = guarded
    for _ in range(4 * ROUNDS.value):
        for run in runs.values():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(4):
                run[1], _values = run[0](run[1], rows, data)
            jax.block_until_ready(run[1])
            run[2].append((time.perf_counter() - wall) / 4)
            run[3].append((time.process_time() - cpu) / 4)
    for place, unit in ((2, "wall"), (3, "CPU")):
        ratios = [a / b for a, b in zip(runs["with"][place], runs["without"][place], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"guard, {unit}: step with / without, median {middle:.3f} ({low:.3f}-{high:.3f})")


def check() -> None:
    made_up = ["name=fake", "train=train", "val=val", "size=224", "num_examples=128", "num_classes=1000", "batch_size=64"]
    command = [sys.executable, "launch.py", "check", "--config=experiments/resnet_imagenet.py", *(f"--config.data.{x}" for x in made_up)]
    times = []
    for _ in range(ROUNDS.value):
        start = time.perf_counter()
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        times.append(time.perf_counter() - start)
        if found.returncode:
            sys.exit(found.stderr)
    print(f"check of ResNet-50: {_text(times)} s, the process's start included")


def _text(seconds: list[float], scale: float = 1.0) -> str:
    return f"{scale * statistics.median(seconds):.2f} ({scale * min(seconds):.2f}-{scale * max(seconds):.2f})"


if __name__ == "__main__":
    flags.FLAGS(sys.argv)
    for part in PARTS.value:
        {"checkpoints": checkpoints, "guard": guard, "check": check}[part]()
