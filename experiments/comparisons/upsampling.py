"""Five ways back to full resolution, in a network that doubles scores and in one that doubles features.

Nearest, bed of nails, max unpooling (Noh et al. 2015, arXiv:1505.04366), transposed convolution and bilinear interpolation in an FCN-8s
(Long et al. 2015, arXiv:1411.4038) and in a U-Net (Ronneberger et al. 2015, arXiv:1505.04597) on nuclei: mIoU, outlines, checkerboards
(the probe "upsampling") and milliseconds.
250 steps, 3 seeds. Budget: 45 CPU-minutes.

Result:   90.4 to 91.5 % mIoU in the U-Net, 86.2 to 87.7 % in the FCN; 103 minutes of a shared core; docs/results/upsampling.md
Run:      python launch.py compare --study=experiments/comparisons/upsampling.py:root=dsb2018 --workdir=runs/upsampling
"""

from cvjax.config import load
from cvjax.study import Claim, Study

OPERATIONS = ("transposed", "bilinear", "nearest", "bed_of_nails", "unpool")
NETS = {"fcn": {"model.name": "fcn", "model.variant": 11, "model.width": 16, "model.batch_norm": True, "model.dropout": 0.0},
        "unet": {}}  # fmt: skip


def get_study(arg=""):
    base = load("experiments/unet_nuclei.py", arg)
    with base.unlocked():
        base.optim.warmup = "20 steps"
        base.train.update(
            duration="250 steps", eval_every="250 steps", checkpoint_every="250 steps", probes=("upsampling",), monitor="val/mIoU"
        )
    return Study(
        base,
        arms={f"{net}-{way}": {**settings, "model.upsample": way} for net, settings in NETS.items() for way in OPERATIONS},
        seeds=(0, 1, 2),
        measured=("val/mIoU", "val/boundary_F1", "val/pixel_acc", "checkerboard", "forward_ms"),
        claims=(
            *(Claim(f"{net}: {operation} is no worse than nearest", "val/mIoU", f"{net}-nearest <= {net}-{operation} + 0.01")
              for net in NETS for operation in ("transposed", "unpool")),
            *(Claim(f"{net}: nails leave more of a checkerboard than interpolation", "checkerboard", f"{net}-bed_of_nails > {net}-bilinear")
              for net in NETS),
            *(Claim(f"{operation}: U-Net draws finer outlines", "val/boundary_F1", f"unet-{operation} > fcn-{operation}")
              for operation in OPERATIONS),
        ),
    )  # fmt: skip
