"""Seconds per training step of a ResNet-56 of constant and of stochastic depth (p_L = 0.5), in turns on the same cores.

    python benchmarks/stochastic_depth.py [--variant=56] [--rounds=8]

The paper's ratio over whole trainings of ResNet-110 is 0.73 to 0.76 (Huang et al. 2016); 0.745 of its blocks are computed on average.
"""

import statistics
import sys
import time
from pathlib import Path

from absl import flags

sys.path[:0] = [str(Path(__file__).parents[1])]
VARIANT = flags.DEFINE_integer("variant", 56, "Layers of the ResNet.")
ROUNDS = flags.DEFINE_integer("rounds", 8, "Turns of each, of STEPS steps.")
STEPS, BATCH = 8, 64


def main() -> None:
    from cvjax import environment

    environment.prepare()
    from cvjax import config, parallel, step
    from cvjax.batches import training
    from cvjax.build import build, initial_state

    def trainer(survival: float):
        base = config.load("experiments/resnet_cifar10.py", f"smoke,variant={VARIANT.value}")
        with base.unlocked():
            base.model.update(variant=VARIANT.value, survival=survival)
            base.data.update(batch_size=BATCH, num_examples=4 * BATCH, cache="device")
            base.image.size = 32
        e = build(base)
        state, optimiser, schedule = initial_state(e)
        update = parallel.per_device(step.update(e, optimiser, schedule), step.data_axes(e), donate=True)
        batches, rows = training(e, 0, lambda bad: None), parallel.rows(BATCH)

        def turn(steps: int) -> tuple[float, float]:
            nonlocal state
            start, used = time.perf_counter(), time.process_time()
            for _ in range(steps):
                state, values = update(state, rows, next(batches))
            float(values["loss"])
            return (time.perf_counter() - start) / steps, (time.process_time() - used) / steps

        turn(2)
        return turn

    turns = {"constant": trainer(1.0), "stochastic": trainer(0.5)}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for _ in range(ROUNDS.value):
        for name, turn in turns.items():
            found[name].append(turn(STEPS))
    for i, what in enumerate(("seconds", "CPU-seconds")):
        constant, stochastic = ([pair[i] for pair in found[name]] for name in turns)
        low, middle, high = statistics.quantiles([s / c for s, c in zip(stochastic, constant, strict=True)], n=4)
        medians = f"constant depth {statistics.median(constant):.3f}, stochastic {statistics.median(stochastic):.3f} (medians)"
        print(f"{what} a step: {medians}; ratio of neighbouring turns {middle:.3f} ({low:.3f}-{high:.3f}, middle half)")


if __name__ == "__main__":
    flags.FLAGS(sys.argv)
    main()
