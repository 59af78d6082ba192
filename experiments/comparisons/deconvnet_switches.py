"""Does it matter where a maximum was? Noh, Hong & Han 2015 (arXiv:1505.04366), section 3.2.1.

A small DeconvNet on nuclei that puts values back where its poolings found them, and one that puts them into the corners of their windows.
250 steps, 3 seeds. Budget: 25 CPU-minutes. The paper's own network: experiments/deconvnet_voc.py:unpool=corner and without.

Run:      python launch.py compare --study=experiments/comparisons/deconvnet_switches.py:root=dsb2018 --workdir=runs/deconvnet_switches
Result:   91.1 against 89.6 % mIoU, 90.8 against 85.6 % boundary F1; 21 CPU-minutes; docs/results/deconvnet_switches.md
"""

from cvjax.config import load
from cvjax.study import Claim, Paper, Study

PAPER = Paper(
    citation="Noh et al. 2015, sections 3.2.1 and 5",
    protocol="VOC 2012 test, mIoU: FCN-8s 62.2, DeconvNet with switches 69.6; the paper does not try it without",
    differs="no proposals, no ImageNet; three stages of 16 to 64 channels",
)


def get_study(arg=""):
    base = load("experiments/unet_nuclei.py", arg)
    with base.unlocked():
        base.model = dict(name="deconvnet", variant="small", unpool="switches")
        base.optim.warmup = "20 steps"
        base.train.update(
            duration="250 steps", eval_every="250 steps", checkpoint_every="250 steps", probes=("upsampling",), monitor="val/mIoU"
        )
    return Study(
        base,
        arms={unpool: {"model.unpool": unpool} for unpool in ("switches", "corner")},
        seeds=(0, 1, 2),
        measured=("val/mIoU", "val/boundary_F1", "val/pixel_acc", "checkerboard", "forward_ms"),
        claims=(
            Claim("switches make better segmentations", "val/mIoU", "switches > corner"),
            Claim("and finer outlines", "val/boundary_F1", "switches > corner"),
        ),
        paper=PAPER,
    )
