"""Where is membrane, where is cell? U-Net on few slices of an electron microscope (Ronneberger et al. 2015, arXiv:1505.04597).

A fourth of the paper's width with padded convolutions and BatchNorm, for two CPU cores; flips and changes of grey. (With the paper's
elastic deformation, turns and changes of size too, 600 steps made 9.4 % errors: docs/results/unet_few_images.md.) The last six slices
validate, so of 24 there are 18 to learn from; `border=10` weighs membranes between cells.

Run:      python launch.py train --config=experiments/unet_isbi.py:root=isbi_membrane --workdir=runs/isbi
Expected: 7.7 % pixel error, IoU 0.91 of cells and 0.68 of membranes (18 slices, seed 0), 6 minutes of a CPU core
Smoke:    python launch.py train --config=experiments/unet_isbi.py:smoke --workdir=runs/isbi_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, root="isbi_membrane", border=0.0, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="segmentation"),
        model=dict(name="unet", variant="small", batch_norm=True),
        data=dict(name="isbi_membrane", root=a.root, border=a.border, train="train", val="val", batch_size=8 if a.smoke else 4),
        image=dict(size=32 if a.smoke else 256, channels=1, mean=(0.5,), std=(0.25,)),
        augment=dict(flip=True, photometric=0.2),
        optim=dict(name="adamw", lr=2e-3, weight_decay=1e-4, schedule="cosine", warmup="50 steps", clip=1.0),
        train=dict(duration="300 steps", log_every="10 steps", eval_every="100 steps", checkpoint_every="100 steps", monitor="val/mIoU"),
    )
    return smoke(config, variant="tiny") if a.smoke else config
