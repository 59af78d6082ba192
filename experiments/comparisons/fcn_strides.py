"""How fine must the scores be that are enlarged to the picture? Long, Shelhamer & Darrell 2015 (arXiv:1411.4038), Table 2.

FCN-32s, 16s and 8s on nuclei: a VGG-11 of a quarter of the width with BatchNorm, from scratch, since no VGG is trained here.
250 steps, 3 seeds. Budget: 20 CPU-minutes. With VOC and a trained VGG: experiments/fcn_voc.py.

Run:      python launch.py compare --study=experiments/comparisons/fcn_strides.py:root=dsb2018 --workdir=runs/fcn_strides
Result:   58.0, 81.4, 86.1 % mIoU and 7.6, 44.9, 59.5 % boundary F1 for 32s, 16s, 8s; 15 CPU-minutes; docs/results/fcn_strides.md
"""

from cvjax.config import load
from cvjax.study import Claim, Paper, Study

STRIDES = (32, 16, 8)
PAPER = Paper(
    citation="Long et al. 2015, Table 2",
    protocol="VGG-16 trained on ImageNet, then on VOC 2011 and SBD, each stride begun from the coarser one's; 736 validation images",
    numbers={
        "val/mIoU": {"32s": 0.594, "16s": 0.624, "8s": 0.627},
        "val/pixel_acc": {"32s": 0.891, "16s": 0.900, "8s": 0.903},
        "val/mean_acc": {"32s": 0.733, "16s": 0.757, "8s": 0.759},
        "val/fwIoU": {"32s": 0.814, "16s": 0.830, "8s": 0.832},
    },
    differs="nuclei are 20 pixels wide, smaller than the coarsest stride; random weights, and all strides learn from the beginning",
)


def get_study(arg=""):
    base = load("experiments/unet_nuclei.py", arg)
    with base.unlocked():
        base.model = dict(name="fcn", variant=11, width=16, batch_norm=True, dropout=0.0, stride=8)
        base.optim.warmup = "20 steps"
        base.train.update(duration="250 steps", eval_every="250 steps", checkpoint_every="250 steps", monitor="val/mIoU")
    return Study(
        base,
        arms={f"{stride}s": {"model.stride": stride} for stride in STRIDES},
        seeds=(0, 1, 2),
        measured=("val/mIoU", "val/pixel_acc", "val/mean_acc", "val/fwIoU", "val/boundary_F1"),
        claims=(
            Claim("16s is better than 32s", "val/mIoU", "16s > 32s"),
            Claim("8s is no worse than 16s", "val/mIoU", "16s <= 8s + 0.003"),
            Claim("16s draws finer outlines than 32s", "val/boundary_F1", "16s > 32s"),
            Claim("8s draws finer outlines than 16s", "val/boundary_F1", "8s > 16s"),
        ),
        paper=PAPER,
    )
