"""More layers, smaller steps: when does a residual network become an ODE? Chen et al. 2018 (arXiv:1806.07366), sections 1 and 3.

K residual blocks h + f(h) / K are Euler's method with K steps on dh/dt = f. ODE-Nets on MNIST with f of softplus, which has no kinks,
trained with 1, 4 and 16 steps that share their weights (tied) and with 4 that do not. The probe "ode" solves every trained equation with 1
to 64 steps of Euler and RK4: the error against fine steps falls as 1/K and 1/K^4. A network trained with few steps is far from the solution
of its equation, the nearer the more it has. 10,000 images, one epoch of Adam, 3 seeds: 12 minutes of a CPU core. There is no larger study:
orders of convergence are the same at any size.

Run:      python launch.py compare --study=experiments/comparisons/euler_steps.py --workdir=runs/euler_steps --parallel=2
Result:   Euler's error falls as K^-0.999, RK4's as K^-4.2; 6 minutes of two shared cores; docs/results/euler_steps.md
"""

import itertools

from cvjax.config import load
from cvjax.study import Claim, Paper, Study

TIED = (1, 4, 16)
PAPER = Paper(
    citation="Chen, Rubanova, Bettencourt & Duvenaud 2018, equations 1 and 2; orders: Hairer, Norsett & Wanner 1993, section II.3",
    protocol="the paper states the limit of small steps and measures none of it; orders of Euler and RK4 are theorems",
    numbers={"euler_slope": {"tied-16": -1.0}, "rk4_slope": {"tied-16": -4.0}},
)


def get_study(arg=""):
    base = load("experiments/odenet_mnist.py")
    with base.unlocked():
        base.model.activation = "softplus"
        base.data.update(train="train[:10000]", val="train[50000:52000]")
        base.augment = dict(crop="none", flip=False)
        base.optim = dict(name="adamw", lr=3e-3, weight_decay=0.0, schedule="onecycle", warmup="0.3 epochs")
        base.train.update(duration="1 epochs", log_every="10 steps", eval_every="1 epochs", checkpoint_every="1 epochs", probes=("ode",))
    tied = {f"tied-{k}": {"model.solve.solver": "euler", "model.solve.steps": k} for k in TIED}
    return Study(
        base,
        arms={**tied, "untied-4": {"model.variant": "untied", "model.blocks": 4}},
        seeds=(0, 1, 2),
        measured=("val/error", "parameters", "solver_error", "euler_slope", "rk4_slope", "gradient_seconds"),
        claims=(
            Claim("Euler's error falls as 1/K", "euler_slope", "tied-16 < -0.85"),
            Claim("and no faster", "euler_slope", "tied-16 > -1.15"),
            Claim("RK4's error falls as 1/K^4", "rk4_slope", "tied-16 < -3.5"),
            Claim("and not much faster", "rk4_slope", "tied-16 > -4.7"),
            *(
                Claim(f"{more} steps are nearer to the equation than {few}", "solver_error", f"tied-{more} < tied-{few}")
                for few, more in itertools.pairwise(TIED)
            ),
        ),
        paper=PAPER,
    )
