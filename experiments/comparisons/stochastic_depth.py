"""Is a network that leaves out blocks at random in training cheaper, and as good? Huang et al. 2016 (arXiv:1603.09382).

Constant depth against stochastic depth with linear and with uniform survival probabilities, and against DropPath, which draws for
every example and saves nothing. `:small` is a ResNet-56 of a quarter of the width (4/8/16 channels) on 10,000 images of CIFAR-10 for 4
epochs of a one-cycle schedule, 3 seeds: long enough for the training loss to be higher and the steps to be cheaper, and, as the paper says
of short trainings, too short for the error to be lower. `:paper` is ResNet-110 for 500 epochs.

Run:      python launch.py compare --study=experiments/comparisons/stochastic_depth.py:small --workdir=runs/stochastic_depth --parallel=2
Result:   training loss 1.76 against 1.50, error 64.7 against 51.9 %; 53 CPU-minutes; docs/results/stochastic_depth.md
"""

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

PAPER = Paper(
    citation="Huang, Sun, Liu, Sedra & Weinberger 2016, Table 1 (5.25 in the text and the code's page, 5.23 in the last version)",
    protocol="ResNet-110 on CIFAR-10+, test error at the best validation epoch, 45,000 training images, 500 epochs of batch 128",
    numbers={"val/error": {"constant": 0.0641, "linear": 0.0525}},
)


def get_study(arg=""):
    a = args(arg, small=False, paper=False)  # of the two, paper is what it is without a word
    base = load("experiments/resnet_cifar10.py", "variant=56" if a.small else "variant=110")
    with base.unlocked():
        if a.small:
            base.model.width = 4
            base.data.update(train="train[:10000]", val="train[45000:]", test="", batch_size=32)
            base.optim = dict(name="sgd", lr=0.03, momentum=0.9, nesterov=True, weight_decay=1e-4, schedule="onecycle", warmup="1 epochs")
            base.train.update(duration="4 epochs", eval_every="1 epochs", checkpoint_every="4 epochs")
        else:
            base.optim = dict(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, schedule="step", factor=0.1,
                              boundaries=("250 epochs", "375 epochs"))  # fmt: skip
            base.train.duration = "500 epochs"
    differs = "the small study has another network, a quarter of its width, 10,000 images and 1,248 steps, and measures validation images"
    return Study(
        base,
        arms={
            "constant": {},
            "linear": {"model.survival": 0.5},
            "uniform": {"model.survival": 0.5, "model.drop": "uniform"},
            "DropPath": {"model.survival": 0.5, "model.drop": "sample"},
        },
        seeds=(0, 1, 2),
        measured=("val/error", "train/loss"),
        claims=(Claim("leaving blocks out makes training harder", "train/loss", "linear > constant"),),
        paper=Paper(PAPER.citation, PAPER.protocol, PAPER.numbers, differs if a.small else ""),
    )
