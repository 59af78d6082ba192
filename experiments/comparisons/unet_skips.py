"""What do the bridges of a U-Net carry? Ronneberger, Fischer & Brox 2015 (arXiv:1505.04597).

A small U-Net on nuclei without bridges, with maps that are added, as FCN adds, and with maps that are joined; and a ResNet-18 as
its contracting path. 250 steps, 3 seeds. Budget: 30 CPU-minutes.

Run:      python launch.py compare --study=experiments/comparisons/unet_skips.py:root=dsb2018 --workdir=runs/unet_skips
Result:   90.5 % mIoU without, 90.8 added, 91.1 joined, 90.7 with a ResNet, undecided; outlines 89.6 against 91.5 %; 29 CPU-minutes;
          docs/results/unet_skips.md
"""

from cvjax.config import load
from cvjax.study import Claim, Study

SKIPS = ("none", "sum", "concat")


def get_study(arg=""):
    base = load("experiments/unet_nuclei.py", arg)
    with base.unlocked():
        base.optim.warmup = "20 steps"
        base.train.update(
            duration="250 steps", eval_every="250 steps", checkpoint_every="250 steps", probes=("upsampling",), monitor="val/mIoU"
        )
    return Study(
        base,
        arms={
            **{skips: {"model.skips": skips} for skips in SKIPS},
            "resnet": {"model.name": "resnet_unet", "model.variant": 18, "model.width": 8},
        },
        seeds=(0, 1, 2),
        measured=("val/mIoU", "val/boundary_F1", "val/pixel_acc", "forward_ms"),
        claims=(
            Claim("joined maps help", "val/mIoU", "concat > none"),
            Claim("added maps help", "val/mIoU", "sum > none"),
            Claim("joined maps make finer outlines", "val/boundary_F1", "concat > none"),
            Claim("adding is about as good as joining", "val/mIoU", "sum ~ concat + 0.02"),
            Claim("a ResNet with bridges is better than a U-Net without", "val/mIoU", "resnet > none"),
        ),
    )
