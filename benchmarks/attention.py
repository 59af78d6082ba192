"""Attention: memory against length, time against torch's; what compiling a deep stack costs, scanned or not.

    python benchmarks/attention.py [--parts=memory,time,compile] [--torch_python=PYTHON] [--rounds=5]

memory: what XLA plans for temporaries of forward and backward, one example, 8 heads of 64 channels, float32; compiled, never run.
time: forward and backward of the same, cvjax's plain and chunked forms on one JAX device against torch's
`scaled_dot_product_attention` on all cores; each a process of its own, in turns.
compile: seconds to compile a ViT's training step (S/16, one image), 12 and 48 blocks, unrolled and scanned, in turns, without a cache.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import train_step

LENGTHS = (1024, 2048, 4096, 8192, 16384)
HEADS, CHANNELS = 8, 64


def main() -> None:
    args = _args()
    if args.half == "compile":
        print(_compiled(args.net))
        return
    if args.half:
        train_step._serve(_torch if args.half == "torch" else _cvjax, args)
        return
    if "memory" in args.parts:
        _memory()
    if "time" in args.parts:
        for length in LENGTHS[: args.lengths]:
            _time(length, args)
    if "compile" in args.parts:
        _compile(args)


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="memory,time,compile")
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="passes a round")
    parser.add_argument("--lengths", type=int, default=4, help="how many of the lengths are timed; plain needs 8 GB of weights at 16,384")
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


def _prepare() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from cvjax import environment

    os.environ["JAX_PLATFORMS"] = "cpu"
    environment.prepare()


def _gradient(implementation: str):
    import jax

    from cvjax.ops.attention import attend

    return jax.jit(jax.grad(lambda *x: attend(*x, implementation=implementation).sum(), (0, 1, 2)))


def _memory() -> None:
    _prepare()
    import jax

    print("temporaries of forward and backward, MB")
    for implementation in ("plain", "chunked"):
        found = []
        for length in LENGTHS:
            x = jax.ShapeDtypeStruct((1, length, HEADS, CHANNELS), "float32")
            plan = _gradient(implementation).lower(x, x, x).compile().memory_analysis()
            found.append(f"{length}: {plan.temp_size_in_bytes / 1e6:.1f}")
        print(f"{implementation:8} {', '.join(found)}", flush=True)


def _time(length: int, args: argparse.Namespace) -> None:
    pythons = {"plain": sys.executable, "chunked": sys.executable, "torch": args.torch_python}
    halves = {name: train_step._start(python, name, str(length), args) for name, python in pythons.items()}
    rounds = train_step._in_turns(halves, args.rounds + 1)
    for name in ("plain", "chunked"):
        for clock in ("wall", "cpu"):
            pairs = zip(rounds[name][1:], rounds["torch"][1:], strict=True)
            ratios = [theirs[clock] / ours[clock] for ours, theirs in pairs]
            least = [min(round[clock] for round in rounds[half][1:]) for half in (name, "torch")]
            ends = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"{length} places, {name}, {clock}: torch's time / ours {ends}; best {least[0]:.4f} / {least[1]:.4f} s", flush=True)


def _cvjax(args: argparse.Namespace):
    _prepare()
    import jax

    x = [jax.random.normal(key, (1, int(args.net), HEADS, CHANNELS)) for key in jax.random.split(jax.random.key(0), 3)]
    gradient = _gradient(args.half)
    return lambda: jax.block_until_ready(gradient(*x))


def _torch(args: argparse.Namespace):
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    x = [torch.randn(1, HEADS, int(args.net), CHANNELS, requires_grad=True) for _ in range(3)]

    def once() -> None:
        for y in x:
            y.grad = None
        torch.nn.functional.scaled_dot_product_attention(*x).sum().backward()

    return once


def _compile(args: argparse.Namespace) -> None:
    kinds = [f"{layers}-{depth}" for depth in (12, 48) for layers in ("unrolled", "scanned")]
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(args.rounds):
        for kind in kinds:
            run = subprocess.run(
                [sys.executable, sys.argv[0], "--half=compile", f"--net={kind}"], capture_output=True, text=True, check=True
            )
            seconds[kind].append(float(run.stdout))
    for kind, found in seconds.items():
        print(f"{kind}: {statistics.median(found):.2f} s to compile ({min(found):.2f}-{max(found):.2f})")


def _compiled(kind: str) -> float:
    """Seconds for tracing, lowering and compiling."""
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    _prepare()
    import jax
    import jax.numpy as jnp

    from cvjax.models import vit

    layers, depth = kind.split("-")
    model, image = vit.Model(10, f"S{depth}/16", layers=layers), {"image": jnp.zeros((1, 224, 224, 3))}
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    jax.jit(lambda x: x + 1)(1.0).block_until_ready()  # JAX itself awake
    start = time.perf_counter()
    jax.jit(jax.grad(lambda v: model.apply(v, image, train=False)["logits"].sum())).lower(variables).compile()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
