"""A small network before a large one: how often does the large one have to be asked? Wang et al. 2022, "Wisdom of Committees".

ResNet-20 and ResNet-56 on CIFAR-10, trained alone (ICLR 2022, arXiv:2012.01988: members are off the shelf). `compare` trains and compares
them; `cascade` then puts them in a row, chooses on held-out images below which confidence the second is asked, and measures accuracy
against average multiply-adds. `:small` has half the width (8/16/32 channels) and 3 epochs of a one-cycle schedule; `:paper` is He et al.'s
recipe for both.

Run:      python launch.py compare --study=experiments/comparisons/cascade.py:small --workdir=runs/cascade_members --parallel=2
          python launch.py cascade --workdir=runs/cascade runs/cascade_members/0*
Result:   ResNet-56's accuracy at 0.67 of its multiply-adds; 17 minutes of two shared cores; docs/results/cascade.md
"""

from cvjax.config import args, load
from cvjax.study import Claim, Study


def get_study(arg=""):
    a = args(arg, small=False, paper=False)  # of the two, paper is what it is without a word
    base = load("experiments/resnet_cifar10_quick.py") if a.small else load("experiments/resnet_cifar10.py")
    if a.small:
        with base.unlocked():
            base.model.width = 8
            base.optim.warmup = "0.5 epochs"
            base.train.update(duration="3 epochs", eval_every="1 epochs", checkpoint_every="1 epochs")
    return Study(
        base,
        arms={f"res-{n}": {"model.variant": n} for n in (20, 56)},
        seeds=(0,) if a.small else (0, 1, 2),
        measured=("val/error", "train/error"),
        claims=(Claim("the deeper network is the better one", "val/error", "res-56 < res-20"),),
    )
