"""Is one equation as good as six residual blocks, and what does it cost? Chen et al. 2018 (arXiv:1806.07366), Table 1 and Figure 3.

ResNet, RK-Net (the solver's steps differentiated, each computed again) and ODE-Net (continuous adjoint) on MNIST. The paper gives single
runs and memory and time as orders of growth; here there are seeds, and both are measured, of a gradient of 64 pictures on one device by the
probe "ode", which also draws the panels of Figure 3 for the trained networks. `:small` takes 1.6 epochs of Adam by a one-cycle schedule, no
crops, 6 seeds of ResNet and ODE-Net (3 did not decide) and 1 of RK-Net: 86 minutes of a CPU core. `:paper` is the recipe of
experiments/odenet_mnist.py, 160 epochs, 6 seeds of two arms and 3 of RK-Net.

Run:      python launch.py compare --study=experiments/comparisons/ode_net.py:small --workdir=runs/ode_net
          python launch.py compare --study=experiments/comparisons/ode_net.py:paper --workdir=runs/ode_net_paper
Result:   error 1.34 % with 208 k parameters, ResNet 1.04 % with 577 k; docs/results/ode_net.md
"""

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

RESNET = 576_778  # parameters

PAPER = Paper(
    citation="Chen, Rubanova, Bettencourt & Duvenaud 2018, Table 1",
    protocol="MNIST, test error in %, single runs; ODE-Net by implicit Adams; optimiser, schedule and batch are not given",
    numbers={"val/error": {"ResNet": 0.0041, "RK-Net": 0.0047, "ODE-Net": 0.0042}},
)


def get_study(arg=""):
    a = args(arg, small=False, paper=False)  # of the two, paper is what it is without a word
    base = load("experiments/odenet_mnist.py")
    with base.unlocked():
        base.train.probes = ("ode",)
        if a.small:
            base.augment = dict(crop="none", flip=False)
            base.optim = dict(name="adamw", lr=2e-3, weight_decay=0.0, schedule="onecycle", warmup="0.3 epochs")
            base.train.update(duration="1.6 epochs", log_every="10 steps", eval_every="1.6 epochs", checkpoint_every="0.4 epochs")
    differs = "the small study sees 80,000 pictures in all, and measures the 10,000 kept from training"
    return Study(
        base,
        arms={"ResNet": {"model.variant": "resnet"}, "ODE-Net": {}, "RK-Net": {"model.solve.gradient": "checkpointed"}},
        seeds={"ResNet": range(6), "ODE-Net": range(6), "RK-Net": (0,) if a.small else (0, 1, 2)},
        measured=(
            "val/error",
            "train/nfe_forward",
            "train/nfe_backward",
            "val/unfinished",
            "parameters",
            "gradient_megabytes",
            "gradient_seconds",
            "backward_over_forward",
            "adjoint_over_direct",
        ),
        claims=(
            Claim("ODE-Net is as good as its ResNet", "val/error", "ODE-Net <= ResNet + 0.005"),
            Claim("with at most 0.39 of the parameters", "parameters", f"ODE-Net <= {0.39 * RESNET:.0f}"),
            Claim("and at least 0.36", "parameters", f"ODE-Net >= {0.36 * RESNET:.0f}"),
            Claim("the adjoint needs less than half the memory of steps kept", "adjoint_over_direct", "ODE-Net < 0.5"),
            Claim("a smaller tolerance never needs fewer evaluations", "nfe_rises", "ODE-Net >= 1"),
            Claim("the numerical error follows the tolerance", "error_slope", "ODE-Net > 0.5"),
            Claim("time is proportional to evaluations", "time_correlation", "ODE-Net > 0.9"),
        ),
        paper=Paper(PAPER.citation, PAPER.protocol, PAPER.numbers, differs if a.small else "it tests on images kept from training"),
    )
