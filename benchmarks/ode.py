"""Neural ODEs: memory of three gradients against the number of steps, and a training step of ODE-Net against torchdiffeq's adjoint.

    python benchmarks/ode.py [--parts=memory,step] [--torch_python=PYTHON] [--rounds=10]

memory: what XLA plans for temporaries of the gradient through one ODE block (64 channels, 6x6, 64 examples, RK4); compiled, never run.
step: forward, backward and SGD with momentum of the MNIST ODE-Net, batch 128, dopri5 at tolerance 1e-3, continuous adjoint. PYTHON has
torch and torchdiffeq, whose half is the architecture of its own example with `odeint_adjoint`, on a thread per core unless told otherwise;
the halves are processes that take turns, a step at a time. The solves differ in one thing: torchdiffeq takes the same steps for the whole
batch, by its mean error (cvjax with --control=batch), cvjax each example's own. Both print how often they evaluate f.
"""

import argparse
import os
import sys
from pathlib import Path

import train_step

BATCH, TOL, STEPS = 128, 1e-3, (8, 16, 32, 64, 128, 256, 512)


def main() -> None:
    args = _args()
    if args.half:
        train_step._serve({"cvjax": _cvjax, "torch": _torch}[args.half], args)
        return
    if "memory" in args.parts:
        _memory()
    if "step" in args.parts:
        pythons = {"cvjax": sys.executable, "torch": args.torch_python}
        halves = {name: train_step._start(python, name, "", args) for name, python in pythons.items()}
        rounds = train_step._in_turns(halves, args.rounds + 1)
        train_step._report("ODE-Net", (BATCH, 28, 10), {name: results[1:] for name, results in rounds.items()})


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="memory,step")
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1, help="training steps per round")
    parser.add_argument("--control", default="example", help="of cvjax: example or batch")
    parser.add_argument("--torch_threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


def _prepare() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from cvjax import environment

    os.environ["JAX_PLATFORMS"] = "cpu"
    environment.prepare()


def _memory() -> None:
    _prepare()
    import jax
    import jax.numpy as jnp

    from cvjax.layers.odeblock import Field
    from cvjax.ops.ode import GRADIENTS, Solve, odeint

    field, x = Field(64, parent=None), jnp.zeros((64, 6, 6, 64))
    params = field.init(jax.random.key(0), jnp.zeros(64), x)["params"]

    def megabytes(how: Solve) -> float:
        def loss(params, x):
            return odeint(lambda p, t, y: field.apply({"params": p}, t, y), params, x, how)[0].sum()

        memory = jax.jit(jax.grad(loss, (0, 1))).lower(params, x).compile().memory_analysis()
        return memory.temp_size_in_bytes / 1e6

    print("temporaries, MB   " + "".join(f"{steps:>9}" for steps in STEPS) + "  steps of RK4")
    for gradient in GRADIENTS:
        found = [megabytes(Solve("rk4", steps, gradient=gradient)) for steps in STEPS]
        print(f"{gradient:18}" + "".join(f"{x:9.1f}" for x in found), flush=True)


# ---- the two steps: functions without arguments that do one step and wait for it


def _cvjax(args: argparse.Namespace):
    _prepare()
    import jax
    import numpy as np
    import optax

    from cvjax import parallel
    from cvjax.models import odenet

    solve = {"tol": TOL, "gradient": "adjoint", "control": args.control}
    model, optimizer = odenet.Model(10, solve=solve), optax.sgd(0.01, 0.9)
    rng = np.random.default_rng(0)
    image = rng.random((BATCH, 28, 28, 1), np.float32)
    batch = parallel.shard({"image": image, "label": rng.integers(0, 10, BATCH)})
    variables = jax.jit(lambda: model.init(jax.random.key(0), {"image": image[:1]}, train=False))()

    def step(state, batch):
        params, momentum = state

        def loss(params, tally):
            out = model.apply({"params": params}, batch | {"tally": tally}, train=True)
            nll = optax.softmax_cross_entropy_with_integer_labels(out["logits"], batch["label"])
            return nll.sum() / BATCH, out["metric/nfe_forward"]

        (_, forward), (gradient, tally) = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, jax.numpy.zeros(2))
        gradient, forward, backward = parallel.psum((gradient, forward / jax.local_device_count(), tally[0] / BATCH))
        updates, momentum = optimizer.update(gradient, momentum, params)
        return (optax.apply_updates(params, updates), momentum), (forward, backward)

    compiled = parallel.per_device(step, (None, 0), donate=True)
    state = parallel.replicate((variables["params"], optimizer.init(variables["params"])))
    told = []

    def once() -> None:
        nonlocal state
        state, evaluations = compiled(state, batch)
        jax.block_until_ready(state)
        if not told:
            told.append(evaluations)
            print("cvjax: evaluations forward, backward (means)", *(float(x) for x in evaluations), file=sys.stderr)

    return once


def _torch(args: argparse.Namespace):
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy
    from torchdiffeq import odeint_adjoint

    class TimeConv(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(65, 64, 3, 1, 1)

        def forward(self, t, x):
            return self.conv(torch.cat([torch.ones_like(x[:, :1]) * t, x], 1))

    class Equation(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2, self.norm3 = (nn.GroupNorm(32, 64) for _ in range(3))
            self.conv1, self.conv2 = TimeConv(), TimeConv()
            self.calls = 0

        def forward(self, t, x):
            self.calls += 1
            x = self.conv1(t, self.norm1(x).relu())
            return self.norm3(self.conv2(t, self.norm2(x).relu()))

    class Solved(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = Equation()

        def forward(self, x):
            return odeint_adjoint(self.f, x, torch.tensor([0.0, 1.0]), rtol=TOL, atol=TOL, method="dopri5")[1]

    torch.set_num_threads(args.torch_threads)
    torch.manual_seed(0)
    stem = [nn.Conv2d(1, 64, 3, 1)]
    for _ in range(2):
        stem += [nn.GroupNorm(32, 64), nn.ReLU(), nn.Conv2d(64, 64, 4, 2, 1)]
    solved = Solved()
    net = nn.Sequential(*stem, solved, nn.GroupNorm(32, 64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    assert sum(p.numel() for p in net.parameters()) == 208_266
    optimizer = torch.optim.SGD(net.parameters(), 0.01, 0.9)
    x, y = torch.rand(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
    told = []

    def once() -> None:
        optimizer.zero_grad()
        solved.f.calls = 0
        loss = cross_entropy(net(x), y)
        forward = solved.f.calls
        loss.backward()
        optimizer.step()
        if not told:
            told.append(forward)
            print("torch: evaluations forward, backward", forward, solved.f.calls - forward, file=sys.stderr)

    return once


if __name__ == "__main__":
    main()
