"""What the whole loop costs over its bare compiled step: ResNet-20 on CIFAR-sized fake data, device cache on.

    python benchmarks/loop.py [--rounds=5] [--steps=40]

Each round times `steps` calls of the compiled step, then the same number of steps inside `train` (data order, metrics of every
step to files and the screen, status; evaluation and checkpoints excluded). Prints seconds per step and their ratio.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from absl import flags

from cvjax import environment

environment.prepare()

import jax  # noqa: E402

from cvjax import config as configs  # noqa: E402
from cvjax import parallel, step  # noqa: E402
from cvjax import train as loop  # noqa: E402
from cvjax.build import build, initial_state  # noqa: E402

ROUNDS = flags.DEFINE_integer("rounds", 5, "How often the two are timed, in turn.")
STEPS = flags.DEFINE_integer("steps", 40, "Steps of each timing.")


def experiment():
    config = configs.load(str(Path(__file__).parents[1] / "experiments" / "resnet_cifar10_quick.py"))
    with config.unlocked():
        config.data = dict(name="fake", train="train", val="val", batch_size=128, cache="device", size=32, num_examples=8192)
        config.train.update(duration=f"{2 * STEPS.value} steps", log_every=f"{STEPS.value // 2} steps", eval_every="9999 epochs")
        config.optim.warmup = "1 steps"
    return config


def bare(update, state, rows, data) -> tuple:
    """The state after `steps` updates, and seconds per step."""
    start = time.perf_counter()
    for _ in range(STEPS.value):
        state, values = update(state, rows, data)
    jax.block_until_ready((state, values))
    return state, (time.perf_counter() - start) / STEPS.value


def whole(config) -> float:
    """Seconds per step of the second half of a run of twice the steps: the first half compiles."""
    with tempfile.TemporaryDirectory() as folder:
        loop.train(config, Path(folder))
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["time/images_per_s"] for line in lines if line["step"] > STEPS.value and "time/images_per_s" in line]
    return statistics.mean(128 / speed for speed in speeds)


def main() -> None:
    config = experiment()
    e = build(config)
    state, optimiser, schedule = initial_state(e)
    update = parallel.per_device(step.update(e, optimiser, schedule), (None, 0, None), donate=True)
    rows, data = parallel.rows(128), next(loop._batches(e, 0))
    state, _ = bare(update, state, rows, data)
    ratios = []
    for number in range(ROUNDS.value):
        state, alone = bare(update, state, rows, data)
        inside = whole(config)
        ratios.append(inside / alone)
        print(f"round {number}: bare step {alone:.4f} s, in the loop {inside:.4f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"loop / bare step: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    flags.FLAGS(sys.argv)
    main()
