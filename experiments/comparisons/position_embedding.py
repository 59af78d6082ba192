"""Does a ViT need to know where its patches are, and in one dimension or in two? Dosovitskiy et al. 2021 (arXiv:2010.11929), Table 8.

No position embedding, a learned vector for each place (1-D), half a learned vector for each row and each column (2-D), and sines and
cosines in two dimensions. Without any, with the class token or not, a ViT sees a bag of patches. `:small` has 3 blocks of 48 channels,
patches of 4x4, 45,000 images of CIFAR-10, 1,500 steps of 64, 3 seeds; `:paper` is ViT-S/16 on ImageNet, 90 epochs.

Run:      python launch.py compare --study=experiments/comparisons/position_embedding.py:small --workdir=runs/position_embedding
Result:   47.1 % without, 50.0 % in 1-D, 49.6 % in 2-D, 52.3 % sines; 35 CPU-minutes; docs/results/position_embedding.md
"""

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

PAPER = Paper(
    citation="Dosovitskiy et al. 2021, Table 8",
    protocol="ViT-B/16 pre-trained on JFT, 5-shot linear accuracy on ImageNet",
    numbers={"val/top1": {"none": 0.61382, "1-D": 0.64206, "2-D": 0.64001}},
)


def get_study(arg=""):
    a = args(arg, small=False, paper=False)  # of the two, paper is what it is without a word
    base = load("experiments/vit_cifar10.py", "variant=Pi3/4") if a.small else load("experiments/vit_imagenet.py")
    if a.small:
        with base.unlocked():
            base.optim.warmup = "200 steps"
            base.train.update(duration="1500 steps", eval_every="500 steps", checkpoint_every="1500 steps")
    differs = (
        "the small study has a network of 7 M multiply-adds and two epochs of CIFAR-10" if a.small else "it is trained on ImageNet, not JFT"
    )
    return Study(
        base,
        arms={
            "none": {"model.position": "none"},
            "1-D": {"model.position": "learned"},
            "2-D": {"model.position": "learned_2d"},
            "sines": {"model.position": "sincos_2d"},
        },
        seeds=(0, 1, 2),
        measured=("val/top1", "val/loss"),
        claims=(
            Claim("places help", "val/top1", "1-D > none"),
            Claim("in two dimensions, too", "val/top1", "2-D > none"),
            Claim("two dimensions are no better than one", "val/top1", "1-D ~ 2-D + 0.01"),
        ),
        paper=Paper(PAPER.citation, PAPER.protocol, PAPER.numbers, differs),
    )
