"""Max unpooling and transposed convolutions, forward, and forward and backward, of cvjax against torch in channels-last, on the same cores.

    python benchmarks/upsample.py --torch_python=PYTHON [--maps=unpool,transposed2,transposed4,bilinear] [--rounds=10] [--steps=4]

unpool: 8 maps of 64x64, 128 channels, doubled; transposed2, transposed4: 8 maps of 32x32, 256 -> 128 channels, 2x2 and 4x4 (pad 1)
kernels, stride 2; bilinear: as unpool. Each half of each map is a process of its own; they take turns, `--steps` passes at a time; cvjax
as under the launcher (one JAX device per core), torch with one thread per core. Printed: torch's time over cvjax's, round by round,
median (range), and the best seconds of each.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

import train_step

MAPS = {
    "unpool": (8, 64, 128),
    "transposed2": (8, 32, 256),
    "transposed4": (8, 32, 256),
    "bilinear": (8, 64, 128),
}  # images, side, channels
CHANNELS = 128  # that a transposed convolution makes


def main() -> None:
    args = _args()
    if args.half:
        train_step._serve({"cvjax": _cvjax, "torch": _torch}[args.half], args)
        return
    for net in args.maps.split(","):
        for passes in ("forward", "both"):
            _compare(f"{net}-{passes}", args)


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--maps", default="unpool,transposed2,transposed4", help=", ".join(MAPS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=4, help="passes a round")
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


def _compare(net: str, args: argparse.Namespace) -> None:
    pythons = {"cvjax": sys.executable, "torch": args.torch_python}
    halves = {name: train_step._start(python, name, net, args) for name, python in pythons.items()}
    rounds = train_step._in_turns(halves, args.rounds + 1)
    for clock in ("wall", "cpu"):
        ours, theirs = ([round[clock] for round in rounds[name][1:]] for name in halves)  # the first round warms up
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        ends = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{net}, {clock}: torch's time / ours {ends}; best {min(ours):.4f} / {min(theirs):.4f} s", flush=True)


def _cvjax(args: argparse.Namespace):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from cvjax import environment

    os.environ["JAX_PLATFORMS"] = "cpu"
    environment.prepare()
    import jax
    import numpy as np

    from cvjax import parallel
    from cvjax.ops import upsample

    kind, _, passes = args.net.partition("-")
    images, side, channels = MAPS[kind]
    rng = np.random.default_rng(0)
    kernel = {"transposed2": 2, "transposed4": 4}.get(kind, 1)
    weight = parallel.replicate(rng.standard_normal((kernel, kernel, channels, CHANNELS), np.float32))
    x = rng.standard_normal((images, side, side, channels), np.float32)
    _, switches = upsample.max_pool_with_switches(rng.standard_normal((images, 2 * side, 2 * side, channels), np.float32))
    g = rng.standard_normal((images, 2 * side, 2 * side, CHANNELS), np.float32)
    batch = parallel.shard({"x": x, "switches": np.asarray(switches), "g": g})

    def up(x, weight, switches):
        if kind == "unpool":
            return upsample.max_unpool(x, switches, 2 * side, 2 * side)
        if kind == "bilinear":
            return upsample.bilinear(x, 2 * side, 2 * side)
        return upsample.transposed_conv(x, weight, 2, kernel // 2 - 1)

    def run(weight, batch):
        if passes == "forward":
            return up(batch["x"], weight, batch["switches"])
        y, back = jax.vjp(lambda x, weight: up(x, weight, batch["switches"]), batch["x"], weight)
        dx, dweight = back(batch["g"])
        return y, dx, parallel.psum(dweight)

    compiled = parallel.per_device(run, (None, 0))  # hands out one device's maps; all are computed
    return lambda: compiled(weight, batch)


def _torch(args: argparse.Namespace):
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    kind, _, passes = args.net.partition("-")
    images, side, channels = MAPS[kind]

    def maps(channels: int, side: int):
        return torch.randn(images, channels, side, side).to(memory_format=torch.channels_last)

    x, g = maps(channels, side).requires_grad_(), maps(CHANNELS, 2 * side)
    _, switches = F.max_pool2d(maps(channels, 2 * side), 2, return_indices=True)
    kernel = {"transposed2": 2, "transposed4": 4}.get(kind, 1)
    weight = torch.randn(channels, CHANNELS, kernel, kernel).to(memory_format=torch.channels_last).requires_grad_()

    def up():
        if kind == "unpool":
            return F.max_unpool2d(x, switches, 2)
        if kind == "bilinear":
            return F.interpolate(x, scale_factor=2, mode="bilinear")
        return F.conv_transpose2d(x, weight, None, 2, kernel // 2 - 1)

    def both() -> None:
        x.grad = weight.grad = None
        up().backward(g)

    return torch.inference_mode()(up) if passes == "forward" else both


if __name__ == "__main__":
    main()
