"""What the whole loop costs over its bare compiled step: ResNet-20 on CIFAR-sized fake data, device cache on.

    python benchmarks/loop.py [--blocks=30] [--steps=10]

One run of the loop (data order, metrics of every step to files and the screen, status; no evaluation or checkpoint), into which
blocks of bare steps are slipped: `steps` inside the loop, then `steps` calls of the compiled step alone, and so on, so that both meet
the same noise. Prints the median and the middle half of the ratio of neighbouring blocks, in wall and in CPU-seconds, and, where the step
does not run ahead of the loop (CPU), the share of the loop's time that passes outside the step.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from absl import flags

from cvjax import environment

environment.prepare()

import jax  # noqa: E402

from cvjax import config as configs  # noqa: E402
from cvjax import parallel, step, workdir  # noqa: E402
from cvjax import train as loop  # noqa: E402
from cvjax.batches import training  # noqa: E402
from cvjax.build import Experiment, build, initial_state  # noqa: E402
from cvjax.checkpoint import Checkpoints  # noqa: E402
from cvjax.evaluate import Evaluator  # noqa: E402
from cvjax.log import Log  # noqa: E402

BLOCKS = flags.DEFINE_integer("blocks", 30, "How often the two take turns.")
STEPS = flags.DEFINE_integer("steps", 10, "Steps of a turn.")


class Turns:
    """The compiled step, which counts its calls and times bare steps on a state of its own after every `STEPS` of them."""

    def __init__(self, e: Experiment, update: Callable):
        self.update, self.calls, self.inside = update, 0, 0.0
        self.state, self.rows, self.data = initial_state(e)[0], parallel.rows(e.loading.batch_size), next(training(e, 0))
        self.in_loop: list[tuple] = []
        self.bare: list[tuple] = []
        self.outside: list[float] = []

    def __call__(self, state, rows, data) -> tuple:
        if self.calls % STEPS.value == 0:
            jax.block_until_ready(state)
            if self.calls > STEPS.value:  # the first block compiles and opens files
                passed = since(self.start)
                self.in_loop.append(passed)
                self.outside.append((passed[0] - self.inside) / passed[0])
            self._alone()
            self.start, self.inside = now(), 0.0
        self.calls += 1
        start = time.perf_counter()
        result = self.update(state, rows, data)
        self.inside += time.perf_counter() - start
        return result

    def _alone(self) -> None:
        start = now()
        for _ in range(STEPS.value):
            self.state, values = self.update(self.state, self.rows, self.data)
        jax.block_until_ready((self.state, values))
        if self.calls > STEPS.value:
            self.bare.append(since(start))


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(start: tuple) -> tuple:
    return tuple(b - a for a, b in zip(start, now(), strict=True))


def main() -> None:
    config = configs.load(str(Path(__file__).parents[1] / "experiments" / "resnet_cifar10_quick.py"))
    with config.unlocked():
        config.data = dict(name="fake", train="train", val="val", batch_size=128, cache="device", size=32, num_examples=8192)
        duration = f"{(BLOCKS.value + 2) * STEPS.value + 1} steps"
        config.train.update(duration=duration, log_every="100 steps", eval_every="9999 epochs", checkpoint_every="9999 epochs")
        config.optim.warmup = "1 steps"
    e = build(config)
    with tempfile.TemporaryDirectory() as name, Checkpoints(Path(name)) as checkpoints:
        workdir.claim(Path(name), e)
        state, optimiser, schedule = initial_state(e)
        turns = Turns(e, parallel.per_device(step.update(e, optimiser, schedule), (None, 0, None), donate=True))
        with Log(Path(name), total_steps=e.total_steps, start_step=0, steps_per_epoch=e.steps_per_epoch) as log:
            loop._loop(e, turns, state, {"best": None, "best_step": 0}, Evaluator(e), checkpoints, log, Path(name), [])
    for i, unit in enumerate(("wall", "CPU")):
        ratios = [a[i] / b[i] for a, b in zip(turns.in_loop, turns.bare, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{unit}: loop / bare step, median {middle:.3f} ({low:.3f}-{high:.3f}) of {len(ratios)} blocks of {STEPS.value} steps; "
              f"bare step {statistics.median(b[i] for b in turns.bare) / STEPS.value:.4f} s")  # fmt: skip
    if jax.default_backend() == "cpu":
        print(f"outside the step: {100 * statistics.median(turns.outside):.2f} % of the loop's wall time")


if __name__ == "__main__":
    flags.FLAGS(sys.argv)
    main()
