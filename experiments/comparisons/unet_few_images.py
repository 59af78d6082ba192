"""How few pictures are enough, and what elastic deformation adds. Ronneberger, Fischer & Brox 2015 (arXiv:1505.04597), section 3.1.

A small U-Net on 5, 10 and all of the ISBI slices that are not for validation, as many steps each, with and without the paper's elastic
deformation and with no other change of the pictures. 200 steps, 3 seeds. Budget: 20 CPU-minutes.

Run:      python launch.py compare --study=experiments/comparisons/unet_few_images.py:root=isbi_membrane --workdir=runs/unet_few_images
Result:   70.8, 74.3, 76.5 % mIoU from 5, 10, 18 slices, two points less with deformation; 16 CPU-minutes; docs/results/unet_few_images.md
"""

from cvjax.config import load
from cvjax.study import Claim, Study

SLICES = {"5": "train[:5]", "10": "train[:10]", "all": "train"}
ELASTIC = {"plain": 0.0, "elastic": 10.0}


def get_study(arg=""):
    base = load("experiments/unet_isbi.py", arg)
    with base.unlocked():
        base.model.variant = "mini"
        base.data.batch_size = 5
        base.image.size = 128
        base.augment = dict(elastic=0.0)
        base.optim.warmup = "20 steps"
        base.train.update(duration="200 steps", eval_every="200 steps", checkpoint_every="200 steps")
    return Study(
        base,
        arms={f"{name}-{slices}": {"augment.elastic": sigma, "data.train": part}
              for slices, part in SLICES.items() for name, sigma in ELASTIC.items()},
        seeds=(0, 1, 2),
        measured=("val/mIoU", "val/pixel_acc", "val/IoU/membrane", "val/IoU/cell", "train/pixel_acc"),
        claims=(
            *(Claim(f"deforming {n} slices does no harm", "val/mIoU", f"plain-{n} <= elastic-{n} + 0.003") for n in SLICES),
            *(Claim(f"{name}: all slices are better than 5", "val/mIoU", f"{name}-all > {name}-5") for name in ELASTIC),
            Claim("deformation helps most where slices are few", "val/mIoU", "elastic-5 - plain-5 > elastic-all - plain-all"),
        ),
    )  # fmt: skip
