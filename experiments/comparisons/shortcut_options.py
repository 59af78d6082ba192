"""Which shortcut where the shape changes: zeros (A), a projection (B), projections everywhere (C)? He et al. 2015, Table 3.

ResNet-34 in the paper (arXiv:1512.03385), where all three are far better than the plain net and differ little among themselves. `:small`
is a ResNet-20 of a quarter of the width (4/8/16 channels) on 10,000 images of CIFAR-10 for 4 epochs of a one-cycle schedule; `:paper`
is the paper's network on ImageNet by the recipe of experiments/resnet_imagenet.py. 3 seeds.

Run:      python launch.py compare --study=experiments/comparisons/shortcut_options.py:small --workdir=runs/shortcut_options --parallel=2
Result:   validation error plain 62.9, A 52.6, B 54.7, C 58.8 %; 36 minutes of two shared cores; docs/results/shortcut_options.md
"""

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

OPTIONS = {"plain": "none", "A": "A", "B": "B", "C": "C"}

PAPER = Paper(
    citation="He, Zhang, Ren & Sun 2015, Table 3 (options A, B, C) and Table 2 (plain)",
    protocol="ResNet-34 on ImageNet, 10-crop top-1 error on the validation images, 600,000 steps of 256",
    numbers={"val/error": {"plain": 0.2854, "A": 0.2503, "B": 0.2452, "C": 0.2419}},
)


def get_study(arg=""):
    a = args(arg, small=False, paper=False)  # of the two, paper is what it is without a word
    base = load("experiments/resnet_cifar10.py") if a.small else load("experiments/resnet_imagenet.py", "variant=34")
    if a.small:
        with base.unlocked():
            base.model.update(variant=20, width=4)
            base.data.update(train="train[:10000]", val="train[45000:]", test="", batch_size=32)
            base.optim = dict(name="sgd", lr=0.03, momentum=0.9, nesterov=True, weight_decay=1e-4, schedule="onecycle", warmup="1 epochs")
            base.train.update(duration="4 epochs", eval_every="1 epochs", checkpoint_every="4 epochs")
    differs = "the small study has another network, data set and schedule; only the order of the arms is held against the paper"
    return Study(
        base,
        arms={name: {"model.shortcut": option} for name, option in OPTIONS.items()},
        seeds=(0, 1, 2),
        measured=("val/error", "train/error"),
        claims=tuple(Claim(f"option {name} beats the plain net", "val/error", f"{name} < plain") for name in "ABC"),
        paper=Paper(PAPER.citation, PAPER.protocol, PAPER.numbers, differs if a.small else ""),
    )
