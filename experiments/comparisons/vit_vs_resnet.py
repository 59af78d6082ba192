"""Who needs more images, a Transformer or a convolutional network? Dosovitskiy et al. 2021 (arXiv:2010.11929), figures 3 and 4.

A ViT and a ResNet of about as many multiply-adds, each trained as is usual for it, on subsets of growing size; validation images are the
same. `:small` has 2 M multiply-adds (ViT: 4 blocks of 48 channels, patches of 8x8; ResNet-8 of 6/12/24 channels) and 1,000, 6,000 and
45,000 images of CIFAR-10 for 1,500, 2,500 and 5,000 steps of 64, 3 seeds; a pilot with another seed chose the steps. `:paper` has 1, 10
and 100 % of ImageNet, ViT-S/16 and ResNet-50, 90 epochs of each.

Run:      python launch.py compare --study=experiments/comparisons/vit_vs_resnet.py:small --workdir=runs/vit_vs_resnet
Result:   the ResNet 15.7 points ahead with 1,000 images, 15.1 with 45,000; 49 CPU-minutes; docs/results/vit_vs_resnet.md
"""

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

STEPS = {1_000: 1_500, 6_000: 2_500, 45_000: 5_000}
PARTS = {"1%": "train[:1%]", "10%": "train[:10%]", "100%": "train"}
PAPER = Paper(
    citation="Dosovitskiy et al. 2021, figure 4 and Table 5",
    protocol="pre-trained on 9 to 303 million images of JFT, 5-shot linear accuracy on ImageNet: ViT-B/32 is below ResNet-50 at 9 million, "
    "above it from 90 million on; L/16 less B/16, pre-trained on 1.3, 14 and 303 million images: -1.38, +1.18, +2.97 points",
    differs="the paper's smallest set is 200 times our largest, and its networks are a thousand times dearer",
)


def get_study(arg=""):
    a = args(arg, small=False, paper=False)  # of the two, paper is what it is without a word
    return _small() if a.small else _paper()


def _small():
    base = load("experiments/vit_cifar10.py", "variant=Pi4/8")
    resnet = {"model.name": "resnet", "model.variant": 8, "model.width": 6, **_sgd(0.1, 5e-4)}
    arms = {}
    for n, steps in STEPS.items():
        part = {"data.train": f"train[:{n}]", "train.duration": f"{steps} steps", "train.eval_every": f"{steps // 5} steps",
                "train.checkpoint_every": f"{steps} steps"}  # fmt: skip
        arms[f"vit-{n}"] = {**part, "optim.warmup": f"{steps // 10} steps"}
        arms[f"resnet-{n}"] = {**part, **resnet, "optim.warmup": f"{steps // 4} steps"}
    return _study(base, arms, [str(n) for n in STEPS])


def _paper():
    base = load("experiments/vit_imagenet.py")
    resnet = {"model.name": "resnet", "model.variant": 50, **_sgd(0.4, 1e-4)}
    arms = {}
    for n, part in PARTS.items():
        arms[f"vit-{n}"] = {"data.train": part}
        arms[f"resnet-{n}"] = {"data.train": part, **resnet, "optim.warmup": "5 epochs"}
    return _study(base, arms, list(PARTS))


def _sgd(lr, decay):
    """What a ResNet is trained by."""
    return {"optim.name": "sgd", "optim.lr": lr, "optim.momentum": 0.9, "optim.nesterov": True, "optim.weight_decay": decay,
            "optim.schedule": "onecycle", "optim.decay_vectors": True, "optim.clip": 0.0}  # fmt: skip


def _study(base, arms, sizes):
    least, _, most = sizes
    return Study(
        base,
        arms=arms,
        seeds=(0, 1, 2),
        measured=("val/top1", "train/top1"),
        claims=(
            Claim("the ResNet is ahead where images are few", "val/top1", f"resnet-{least} > vit-{least}"),
            Claim("and where there are all of them", "val/top1", f"resnet-{most} > vit-{most}"),
            Claim("the gap closes", "val/top1", f"resnet-{most} - vit-{most} < resnet-{least} - vit-{least}"),
        ),
        paper=PAPER,
    )
