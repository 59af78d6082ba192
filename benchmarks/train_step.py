"""One training step (forward, backward, SGD with momentum), or a forward pass, of cvjax against torch in channels-last, on the same cores.

    python benchmarks/train_step.py --torch_python=PYTHON [--nets=20,18,alexnet,vgg16,Ti/16,B/16] [--forward] [--rounds=10]

PYTHON: an interpreter that has torch (and timm, for ViTs); the torch half runs under it, ResNets and torchvision's AlexNet and VGG-16
written in torch.nn. Each half of each net is a process of its own that keeps its network; the halves take turns, `--steps` steps at a
time, so that both meet the same neighbours. cvjax runs as under the launcher (one JAX device per core; `--xla_flags` adds to
that), torch with one thread per core. Printed: seconds and CPU-seconds per step (minimum and median over the rounds), and
torch's time over cvjax's, round by round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

NETS = {"20": (128, 32, 10), "18": (16, 224, 1000), "alexnet": (16, 224, 1000), "vgg16": (8, 224, 1000), "Ti/16": (16, 224, 1000),
        "B/16": (8, 224, 1000)}  # -> images, size, classes  # fmt: skip
TIMM = {"Ti/16": "vit_tiny_patch16_224", "B/16": "vit_base_patch16_224"}


def main() -> None:
    args = _args()
    if args.half:
        _serve({"cvjax": _cvjax, "torch": _torch}[args.half], args)
        return
    for net in args.nets.split(","):
        halves = {"cvjax": _start(sys.executable, "cvjax", net, args), "torch": _start(args.torch_python, "torch", net, args)}
        rounds = _in_turns(halves, args.rounds + 1)
        _report(
            f"{net}{' forward' * args.forward}", NETS[net], {name: results[1:] for name, results in rounds.items()}
        )  # the first round warms up


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--nets", default="20,18", help="of 20 and 18 (ResNets), alexnet, vgg16, Ti/16 and B/16 (ViTs)")
    parser.add_argument("--forward", action="store_true", help="time inference instead of training")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=2, help="steps per round")
    parser.add_argument("--xla_flags", default="", help="more XLA flags than the launcher sets")
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- the two steps: functions without arguments that do one step and wait for it


def _cvjax(args: argparse.Namespace):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {args.xla_flags}".strip()
    _prepare()
    import numpy as np
    import optax

    from cvjax.models import alexnet, resnet, vgg, vit

    size, side, classes = NETS[args.net]
    ours = {"alexnet": lambda: alexnet.Model(classes, "one_column"), "vgg16": lambda: vgg.Model(classes, 16)}
    ours |= {name: lambda name=name: vit.Model(classes, name) for name in TIMM}
    model = ours[args.net]() if args.net in ours else resnet.Model(classes, int(args.net))
    rng = np.random.default_rng(0)
    batch = {"image": rng.standard_normal((size, side, side, 3), np.float32), "label": rng.integers(0, classes, size)}

    def loss(out, batch):
        return optax.softmax_cross_entropy_with_integer_labels(out["logits"], batch["label"]).sum() / size

    return _once(model, batch, None if args.forward else loss)


def _prepare() -> None:
    """As the launcher does, on a CPU."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from cvjax import environment

    os.environ["JAX_PLATFORMS"] = "cpu"
    environment.prepare()


def _once(model, batch: dict, loss, outputs: tuple[str, ...] = ("logits",), optimizer=None):
    """One training step of cvjax, or without a loss one forward pass to these outputs.

    loss: of (outputs, batch) on one device, to be summed over all. optimizer: SGD with momentum where none is given.
    """
    import jax
    import optax

    from cvjax import parallel
    from cvjax.state import streams

    optimizer, image = optimizer or optax.sgd(0.01, 0.9), batch["image"][:1]
    variables = jax.jit(lambda: model.init(jax.random.key(0), {"image": image}, train=False))()
    batch = parallel.shard(batch)

    if loss is None:

        def forward(variables, batch):
            out = model.apply(variables, batch, train=False)
            return parallel.gather({name: out[name] for name in outputs})

        variables, passed = parallel.replicate(variables), parallel.per_device(forward, (None, 0))
        return lambda: passed(variables, batch)

    def step(state, batch):
        params, stats, momentum, number = state
        rngs = streams(0, number, jax.lax.axis_index(parallel.AXIS))

        def objective(params):
            variables = {"params": params, "batch_stats": stats}
            out, new = model.apply(variables, batch, train=True, rngs=rngs, mutable=["batch_stats"])
            return loss(out, batch), new.get("batch_stats", {})

        (value, stats), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        value, gradient = parallel.psum((value, gradient))
        updates, momentum = optimizer.update(gradient, momentum, params)
        return (optax.apply_updates(params, updates), stats, momentum, number + 1), value

    compiled = parallel.per_device(step, (None, 0), donate=True)
    state = parallel.replicate(
        (variables["params"], variables.get("batch_stats", {}), optimizer.init(variables["params"]), jax.numpy.int32(0))
    )

    def once() -> None:
        nonlocal state
        state, _ = compiled(state, batch)

    return once


def _torch(args: argparse.Namespace):
    import torch
    from torch.nn.functional import cross_entropy

    size, side, classes = NETS[args.net]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    net = _torch_net(args.net, classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, 0.9)
    x = torch.randn(size, 3, side, side).to(memory_format=torch.channels_last)
    y = torch.randint(classes, (size,))
    if args.forward:
        net.eval()
        return torch.inference_mode()(lambda: net(x))

    def once() -> None:
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        optimizer.step()

    return once


def _torch_net(net: str, classes: int):
    if net in TIMM:
        import timm

        return timm.create_model(TIMM[net], num_classes=classes)
    from torch import nn

    makers = {"alexnet": _torch_alexnet, "vgg16": _torch_vgg16}
    return nn.Sequential(*(makers[net](classes) if net in makers else _torch_resnet(int(net), classes)))


def _torch_resnet(net: int, classes: int) -> list:
    from torch import nn
    from torch.nn.functional import pad

    class Block(nn.Module):
        def __init__(self, i: int, o: int, stride: int):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
            self.relu, self.side, self.way = nn.ReLU(inplace=True), (o - i) // 2, None
            if net == 18 and i != o:  # projection; else zeros, as the paper's CIFAR networks
                self.way = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            if self.way:
                x = self.way(x)
            elif self.side:
                x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.side, self.side))
            return self.relu(y.add_(x))

    width, stages, blocks = (64, 4, 2) if net == 18 else (16, 3, 3)
    stem = nn.Conv2d(3, width, 7 if net == 18 else 3, 2 if net == 18 else 1, 3 if net == 18 else 1, bias=False)
    layers = [stem, nn.BatchNorm2d(width), nn.ReLU(inplace=True)] + [nn.MaxPool2d(3, 2, 1)] * (net == 18)
    widths = [width * 2**stage for stage in range(stages)]
    for stage, o in enumerate(widths):
        for block in range(blocks):
            first = stage > 0 and block == 0
            layers.append(Block(o // 2 if first else o, o, 2 if first else 1))
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)]


def _torch_alexnet(classes: int) -> list:
    from torch import nn

    relu, layers, before = nn.ReLU(inplace=True), [], 3
    for number, (channels, size, stride, pad) in enumerate(
        [(64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)]
    ):
        layers += [nn.Conv2d(before, channels, size, stride, pad), relu] + [nn.MaxPool2d(3, 2)] * (number in (0, 1, 4))
        before = channels
    hidden = [nn.Dropout(), nn.Linear(256 * 36, 4096), relu, nn.Dropout(), nn.Linear(4096, 4096), relu]
    return [*layers, nn.AdaptiveAvgPool2d(6), nn.Flatten(), *hidden, nn.Linear(4096, classes)]


def _torch_vgg16(classes: int) -> list:
    from torch import nn

    relu, layers, before = nn.ReLU(inplace=True), [], 3
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(before, channels, 3, padding=1), relu]
            before = channels
        layers.append(nn.MaxPool2d(2, 2))
    hidden = [nn.Linear(512 * 49, 4096), relu, nn.Dropout(), nn.Linear(4096, 4096), relu, nn.Dropout()]
    return [*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *hidden, nn.Linear(4096, classes)]


# ---- rounds


def _serve(make, args: argparse.Namespace) -> None:
    """For each line on stdin one round; answers with wall and CPU seconds per step."""
    once = make(args)
    for _ in range(2):
        once()
    for _ in sys.stdin:
        print(json.dumps(_timed(once, args.steps)), flush=True)


def _timed(once, steps: int = 1) -> dict[str, float]:
    """Wall and CPU seconds of each of so many calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        once()
    return {"wall": (time.perf_counter() - wall) / steps, "cpu": (time.process_time() - cpu) / steps}


def _start(python: str, half: str, net: str, args: argparse.Namespace) -> subprocess.Popen:
    command = [python, sys.argv[0], *sys.argv[1:], f"--half={half}", f"--net={net}"]
    sleeping = {"OMP_WAIT_POLICY": "PASSIVE"}  # torch's threads else spin while they wait, on a busy machine for twice the CPU-seconds
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**sleeping, **os.environ})


def _in_turns(halves: dict[str, subprocess.Popen], rounds: int) -> dict[str, list[dict]]:
    """What each half measures in each round; then they are let go."""
    found: dict[str, list[dict]] = {name: [] for name in halves}
    for _ in range(rounds):
        for name, process in halves.items():
            found[name].append(_ask(process))
    for process in halves.values():
        process.stdin.close()
        process.wait()
    return found


def _ask(process: subprocess.Popen) -> dict:
    process.stdin.write("go\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def _torchvision():
    """The module, also where it was built for another torch: its compiled operators are then missing, and names stand in for them."""
    from torch import library

    try:
        import torchvision
    except RuntimeError:
        for name in ("nms", "qnms"):
            library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision


def _report(net: str, shape: tuple[int, int, int], rounds: dict[str, list[dict]]) -> None:
    size, side, _ = shape
    print(f"{net}, {size} images of {side}x{side}, {len(rounds['cvjax'])} rounds")
    print("          s/step min  median   cpu-s/step min  median")
    for name, results in rounds.items():
        wall, cpu = ([result[clock] for result in results] for clock in ("wall", "cpu"))
        print(f"{name:8} {min(wall):11.3f} {statistics.median(wall):7.3f} {min(cpu):16.3f} {statistics.median(cpu):7.3f}")
    for clock, what in (("wall", "speed"), ("cpu", "speed per cpu-second")):
        pairs = zip(rounds["cvjax"], rounds["torch"], strict=True)
        ratios = [theirs[clock] / ours[clock] for ours, theirs in pairs]
        ends = f"({min(ratios):.2f}-{max(ratios):.2f})"
        best = min(r[clock] for r in rounds["torch"]) / min(r[clock] for r in rounds["cvjax"])
        print(f"cvjax over torch, {what}: median {statistics.median(ratios):.2f} {ends}, of the minima {best:.2f}", flush=True)


if __name__ == "__main__":
    main()
